//! The verdict over tables that are written down here.

use super::undo_verdict::{Both, by_opposite, by_revert};
use crate::key::Rows;
use crate::mysql::catalog::table::{Column, Index, IndexPart, Table};
use crate::mysql::clauses::Clauses;
use crate::mysql::clauses::change::Change;
use crate::mysql::connection::settings::Role;
use crate::mysql::connection::version::{Family, Flavor};
use crate::mysql::copy::keys_back::demands;
use crate::mysql::copy::shadow::Draft;
use crate::mysql::dependents::Dependents;
use crate::mysql::dependents::foreign_keys::{ForeignKey, Rule};
use crate::mysql::name::{Helpers, Ident, TableName};
use crate::plan::undo::{Outcome, Verdict};

const MYSQL: Flavor = Flavor { family: Family::Mysql, version: (8, 4, 0) };

/// `name type`, and words after it: `null`, `default`, `latin1`.
fn column(ordinal: usize, text: &str) -> Column {
    let mut words = text.split(' ');
    let (name, column_type) = (words.next().unwrap(), words.next().unwrap());
    let words: Vec<&str> = words.collect();
    let (data_type, length) = column_type.split_once('(').unwrap_or((column_type, ""));
    let length: Option<u64> = length.trim_end_matches(')').parse().ok();
    let is_text = matches!(data_type, "varchar" | "char" | "text" | "enum");
    let charset = if words.contains(&"latin1") { "latin1" } else { "utf8mb4" };
    let width = if charset == "latin1" { 1 } else { 4 };
    Column {
        name: Ident::new(name),
        ordinal,
        data_type: data_type.into(),
        column_type: column_type.into(),
        nullable: words.contains(&"null"),
        charset: is_text.then(|| charset.into()),
        collation: is_text.then(|| format!("{charset}_bin")),
        octets: length.map(|length| length * width),
        characters: length,
        fraction: match data_type {
            "datetime" => length.and_then(|digits| u8::try_from(digits).ok()).unwrap_or(0),
            _ => 0,
        },
        generated: false,
        expression: String::new(),
        auto_increment: false,
        default: words.contains(&"default").then(|| "7".into()),
        extra: String::new(),
    }
}

fn unique(name: &str, columns: &[&str]) -> Index {
    let part = |column: &&str| IndexPart {
        column: Some(Ident::new(*column)),
        expression: None,
        prefix: None,
        descending: false,
        nullable: false,
    };
    Index {
        name: Ident::new(name),
        unique: true,
        kind: "BTREE".into(),
        visible: true,
        parts: columns.iter().map(part).collect(),
    }
}

fn table(columns: &[&str], indexes: Vec<Index>) -> Table {
    Table {
        name: TableName::new("s", "t"),
        engine: "InnoDB".into(),
        collation: "utf8mb4_bin".into(),
        columns: columns.iter().enumerate().map(|(at, text)| column(at, text)).collect(),
        indexes,
        partitioned: false,
        rows: Rows(0),
        bytes: 0,
        auto_increment: None,
        create: String::new(),
    }
}

fn primary() -> Vec<Index> {
    vec![unique("PRIMARY", &["id"])]
}

struct Changed {
    was: Table,
    now: Table,
    change: Change,
    dependents: Dependents,
}

impl Changed {
    fn of(was: Table, clauses: &str, now: Table) -> Self {
        let parsed = Clauses::parse(clauses).unwrap();
        let change = Change::of(clauses, parsed, MYSQL, &was, Vec::new()).unwrap();
        Self { was, now, change, dependents: Dependents::default() }
    }

    fn draft<'a>(&'a self, role: &'a Role) -> Draft<'a> {
        Draft {
            flavor: MYSQL,
            role,
            original: &self.was,
            change: &self.change,
            dependents: &self.dependents,
        }
    }

    fn verdict(&self) -> Verdict {
        let helpers = Helpers::of(&self.was.name);
        by_revert(&self.draft(&Role::default()), &helpers, &self.now).unwrap()
    }
}

fn verdict(was: &[&str], clauses: &str, now: &[&str]) -> Verdict {
    Changed::of(table(was, primary()), clauses, table(now, primary())).verdict()
}

#[test]
fn what_columns_mean_for_an_undo() {
    use Outcome::{Impossible, Loses, Possible, PossibleWhile};
    let cases: &[(&str, &str, &str, Outcome, &str)] = &[
        ("", "ADD COLUMN a INT", "a int null", Possible, "a: its values stay in the retired table"),
        ("", "ENGINE=InnoDB", "", Possible, ""),
        ("v int", "RENAME COLUMN v TO w", "w int", Possible, "w: is called v again"),
        (
            "v int",
            "MODIFY v BIGINT NOT NULL",
            "v bigint",
            PossibleWhile,
            "v: possible while every value written to v fits int",
        ),
        ("v bigint", "MODIFY v INT NOT NULL", "v int", Possible, ""),
        ("v varchar(40)", "MODIFY v VARCHAR(20) NOT NULL", "v varchar(20)", Possible, ""),
        (
            "v datetime(6)",
            "MODIFY v DATETIME NOT NULL",
            "v datetime",
            Possible,
            "v: a value that is not written has what datetime holds no more",
        ),
        (
            "v int",
            "MODIFY v INT NULL",
            "v int null",
            PossibleWhile,
            "v: possible while no NULL is written to v",
        ),
        (
            "v enum('a')",
            "MODIFY v ENUM('a','b') NOT NULL",
            "v enum('a','b')",
            PossibleWhile,
            "v: possible while v gets no member that enum('a') lacks",
        ),
        ("v enum('a','b')", "MODIFY v ENUM('b','a') NOT NULL", "v enum('b','a')", Possible, ""),
        (
            "v varchar(9) latin1",
            "MODIFY v VARCHAR(9) CHARSET utf8mb4 NOT NULL",
            "v varchar(9)",
            PossibleWhile,
            "v: possible while every value written to v fits varchar(9) in latin1",
        ),
        (
            "v varchar(9)",
            "MODIFY v INT NOT NULL",
            "v int",
            PossibleWhile,
            "v: possible while every value written to v goes into varchar(9) and comes back the same",
        ),
        (
            "v datetime",
            "MODIFY v DATE NOT NULL",
            "v date",
            Possible,
            "v: a value that is not written has what date holds no more",
        ),
        (
            "v date",
            "MODIFY v TIME NOT NULL",
            "v time",
            Impossible,
            "v: impossible: column v: time cannot become date: a time has no date, and would get that of the day of the copy; else with --inverse v=EXPR",
        ),
        (
            "v int",
            "DROP COLUMN v",
            "",
            Loses,
            "v: possible while no row is created; else with --fill v=EXPR",
        ),
        (
            "v int null",
            "DROP COLUMN v",
            "",
            Loses,
            "v: has its values again; a row created since gets NULL, or --fill v=EXPR",
        ),
        (
            "v int default",
            "DROP COLUMN v",
            "",
            Loses,
            "v: has its values again; a row created since gets its DEFAULT, or --fill v=EXPR",
        ),
    ];
    for (was, clauses, now, outcome, line) in cases {
        let with_id = |other: &'static str| [&["id int"], [other].as_slice()].concat();
        let of =
            |other: &'static str| if other.is_empty() { vec!["id int"] } else { with_id(other) };
        let verdict = verdict(&of(was), clauses, &of(now));
        assert_eq!(verdict.outcome, *outcome, "{clauses}: {:?}", verdict.lines());
        let first = verdict.lines().into_iter().next().unwrap_or_default();
        assert_eq!(first, *line, "{clauses}");
    }
}

#[test]
fn what_a_row_loses_by_its_key_is_said_once() {
    let verdict = verdict(&["id int", "a int null", "b int null"], "DROP a, DROP b", &["id int"]);
    let losses = verdict.reasons.iter().filter(|reason| reason.outcome == Outcome::Loses);
    let texts: Vec<&str> = losses.map(|reason| reason.text.as_str()).collect();
    assert_eq!(texts.len(), 1);
    assert!(texts[0].starts_with("(a, b) of a row whose id is changed"), "{texts:?}");
}

#[test]
fn a_table_without_a_common_key_does_not_go_back() {
    let both = |now| {
        let was = table(&["id int", "u int"], primary());
        Changed::of(was, "ENGINE=InnoDB", table(&["id int", "u int"], now)).verdict()
    };
    let longer = both(vec![unique("PRIMARY", &["id", "u"])]);
    assert_eq!(longer.headline(), "possible while no two rows get the same id");
    let other = both(vec![unique("PRIMARY", &["u"])]);
    assert_eq!(other.outcome, Outcome::Impossible);
    assert_eq!(other.reasons[0].subject, "copy-key");
}

#[test]
fn unique_keys_that_go_make_conditions() {
    let with = |indexes: &[(&str, &[&str])]| {
        let more = indexes.iter().map(|(name, columns)| unique(name, columns));
        primary().into_iter().chain(more).collect::<Vec<_>>()
    };
    let lines = |was: &[&str], before, clauses: &str, now: &[&str], after| {
        let changed = Changed::of(table(was, before), clauses, table(now, after));
        let conditions = changed.verdict().reasons.into_iter();
        let keys = conditions.filter(|reason| reason.subject.contains("key "));
        keys.map(|reason| reason.text).collect::<Vec<_>>()
    };
    let all = ["id int", "a int default", "b int default"];
    let gone = lines(&all, with(&[("u", &["a", "b"])]), "DROP INDEX u", &all, primary());
    assert_eq!(gone, ["no two rows get the same (a, b)"]);
    // A key on fewer columns tells more rows apart.
    let finer = with(&[("n", &["b"])]);
    assert!(lines(&all, with(&[("u", &["a", "b"])]), "DROP INDEX u", &all, finer).is_empty());
    let rest = ["id int", "b int default"];
    let gone = lines(&all, with(&[("u", &["a"])]), "DROP COLUMN a", &rest, primary());
    assert_eq!(
        gone,
        ["at most one row is created, which gets the DEFAULT of a; else with --fill a=EXPR"]
    );
    let part = lines(&all, with(&[("u", &["a", "b"])]), "DROP COLUMN a", &rest, primary());
    assert_eq!(part, ["no two rows get the same b, with what a has in them or its DEFAULT"]);
    let null = ["id int", "a int null", "b int default"];
    let gone = lines(&null, with(&[("u", &["a"])]), "DROP COLUMN a", &rest, primary());
    assert!(gone.is_empty(), "NULL is no duplicate: {gone:?}");
}

#[test]
fn foreign_keys_checks_and_partitions_that_go_make_conditions() {
    let key = ForeignKey {
        table: TableName::new("s", "t"),
        name: Ident::new("f"),
        columns: vec![Ident::new("p")],
        referenced: TableName::new("s", "parent"),
        referenced_columns: vec![Ident::new("id")],
        on_update: Rule::Restrict,
        on_delete: Rule::Restrict,
    };
    let mut was = table(&["id int", "p int"], primary());
    was.create =
        "CREATE TABLE `t` (\n  `id` int COMMENT ' CHECK (no',\n  `p` int CHECK (`p` > 1),\n  \
                  CONSTRAINT `c` CHECK ((`p` < 9)),\n  CONSTRAINT `d` CHECK ((`p` < 8))\n)\n \
                  PARTITION BY RANGE (`id`) (PARTITION p0 VALUES LESS THAN (100))"
            .into();
    was.partitioned = true;
    let mut now = table(&["id int", "p int"], primary());
    now.create = "CREATE TABLE `t` (\n  `p` int,\n  CONSTRAINT `t_chk_1` CHECK ((p < 8))\n)".into();
    let kept = [(Ident::new("id"), Ident::new("id")), (Ident::new("p"), Ident::new("p"))];
    let dropped = [&key];
    let both =
        Both { retired: &was, live: &now, kept: &kept, dropped_keys: &dropped, flavor: MYSQL };
    let texts: Vec<String> = demands(&both).into_iter().map(|reason| reason.text).collect();
    assert_eq!(
        texts,
        [
            "every p has its row in s.parent",
            "every row keeps the check ((p < 9))",
            "every row keeps the check (p > 1)",
            "the old table has a partition for every row",
        ]
    );
}

#[test]
fn the_servers_own_methods_are_undone_by_the_opposite() {
    let role = Role::default();
    let now = table(&["id int", "v bigint", "a int"], primary());
    let changed =
        Changed::of(table(&["id int", "v int"], primary()), "ADD a INT, MODIFY v BIGINT", now);
    let draft = changed.draft(&role);
    let verdict = by_opposite(&draft, Some(&changed.now), &[]).unwrap();
    assert_eq!(
        verdict.summary("t"),
        "by the opposite change; possible while every value written to v fits int; loses the values of a"
    );
    let gone = by_opposite(&draft, None, &["DROP COLUMN b".into()]).unwrap();
    assert_eq!(gone.summary("t"), "impossible: DROP COLUMN b keeps nothing of what was there");
    assert_eq!(by_opposite(&draft, None, &[]), None, "what is not known is not said");
}
