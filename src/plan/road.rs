//! Which road an ALTER takes: the cheapest that holds nobody up.
//!
//! Whether a change can be made instantly is for the server to say: asking costs nothing, since
//! it refuses before it begins. A change in place is different: the server lets an index be built
//! or a table be rebuilt in place, and every replica then stands still for as long. So in place is
//! tried only for what is known to touch no rows (`docs/roads.md` has the experiments).

use std::fmt;
use std::str::FromStr;

use crate::engine::{Error, Result};
use crate::mysql::clauses::{Clause, ClauseKind, Clauses, ColumnDef, IndexKind};
use crate::mysql::flavor::Flavor;
use crate::mysql::name::{Ident, TableName};

/// What the operator asks for (`--strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The cheapest road that is safe.
    #[default]
    Auto,
    /// Instant or not at all.
    Instant,
    /// In place without locks or not at all, however long it takes.
    Inplace,
    /// Copy, whatever else could be done.
    Copy,
}

impl Strategy {
    /// The words that [`Strategy::from_str`] takes.
    pub const WORDS: [&'static str; 4] = ["auto", "instant", "inplace", "copy"];
}

impl FromStr for Strategy {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "instant" => Ok(Self::Instant),
            "inplace" => Ok(Self::Inplace),
            "copy" => Ok(Self::Copy),
            _ => Err(Error::Usage {
                message: format!("{word:?} is no strategy"),
                help: format!("one of {}", Self::WORDS.join(", ")),
            }),
        }
    }
}

/// How a change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    /// The server changes only what it knows about the table.
    Instant,
    /// The server changes the table in place, without locks and without rewriting rows.
    Inplace,
    /// osc copies the table.
    Copy,
}

impl Road {
    /// The word for it in output and in the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Inplace => "inplace",
            Self::Copy => "copy",
        }
    }
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A column of the original, from `information_schema.COLUMNS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnFacts {
    /// COLUMN_NAME.
    pub name: Ident,
    /// DATA_TYPE, such as `varchar`.
    pub data_type: String,
    /// CHARACTER_MAXIMUM_LENGTH.
    pub characters: Option<u64>,
    /// CHARACTER_OCTET_LENGTH.
    pub octets: Option<u64>,
    /// COLLATION_NAME.
    pub collation: Option<String>,
    /// IS_NULLABLE.
    pub nullable: bool,
    /// Whether GENERATION_EXPRESSION is not empty.
    pub generated: bool,
}

/// What the choice of a road needs to know of the original.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableFacts {
    /// `information_schema.TABLES.TABLE_COLLATION`.
    pub collation: String,
    /// Its columns.
    pub columns: Vec<ColumnFacts>,
}

/// One road to try, in its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The road.
    pub road: Road,
    /// Why it is tried, or, for the copy, why it is the road.
    pub reason: String,
    /// What stands before the clauses: `ALGORITHM=…`, and `LOCK=NONE` where it goes with it.
    pub settings: &'static [&'static str],
}

impl Attempt {
    /// The statement that tries it; `None` for the copy, which is more than a statement.
    ///
    /// It waits for an exclusive metadata lock and everybody else then waits behind it: run it
    /// with a short `lock_wait_timeout`, and with `foreign_key_checks` on.
    pub fn statement(&self, clauses: &Clauses, table: &TableName) -> Option<String> {
        (self.road != Road::Copy).then(|| clauses.for_table_with(table, self.settings))
    }

    /// The reason for the next road after the server refused this one with `message`.
    pub fn refused(&self, message: &str) -> String {
        format!("{} refused by the server: {message}", self.road.word().to_ascii_uppercase())
    }
}

/// The roads to try in their order. Where one fails with an error that [`is_refusal`] knows, the
/// next is tried; any other error is about the clauses or the data and would meet a copy too.
///
/// `Error::Usage` where the strategy asks for what the clauses cannot have.
pub fn attempts(
    strategy: Strategy,
    clauses: &Clauses,
    flavor: Flavor,
    facts: &TableFacts,
) -> Result<Vec<Attempt>> {
    let instant = |reason: &str| Attempt {
        road: Road::Instant,
        reason: reason.into(),
        // MySQL refuses INSTANT together with any LOCK but DEFAULT (error 1221).
        settings: &["ALGORITHM=INSTANT"],
    };
    let inplace = |reason: String, unbounded: bool| Attempt {
        road: Road::Inplace,
        reason,
        // MariaDB's NOCOPY is INPLACE without a rebuild.
        settings: if flavor.is_mariadb() && !unbounded {
            &["ALGORITHM=NOCOPY", "LOCK=NONE"]
        } else {
            &["ALGORITHM=INPLACE", "LOCK=NONE"]
        },
    };
    let copy = |reason: String| Attempt { road: Road::Copy, reason, settings: &[] };
    let blocked = clauses.clauses.iter().find_map(never_native);
    let asked = |word: &str| format!("--strategy {word}");
    match (strategy, blocked) {
        (Strategy::Copy, _) => Ok(vec![copy(asked("copy"))]),
        (Strategy::Auto, Some(reason)) => Ok(vec![copy(reason)]),
        (Strategy::Instant | Strategy::Inplace, Some(reason)) => Err(Error::Usage {
            message: format!("only a copy can make this change online: {reason}"),
            help: "use --strategy auto or copy".into(),
        }),
        (Strategy::Instant, None) => Ok(vec![instant(&asked("instant"))]),
        (Strategy::Inplace, None) => Ok(vec![inplace(asked("inplace"), true)]),
        (Strategy::Auto, None) => {
            let mut roads = Vec::new();
            if supports_instant(flavor) {
                roads.push(instant("the server may do without touching the rows; it is asked"));
            }
            match in_place(clauses, flavor, facts) {
                Ok(reason) => {
                    roads.push(inplace(reason, false));
                    roads.push(copy("the server can do it neither instantly nor in place".into()));
                }
                Err(reason) => roads.push(copy(reason)),
            }
            Ok(roads)
        }
    }
}

/// Whether the error says that the server cannot go this road with this table, and not that
/// something is wrong with the clauses or the data.
pub fn is_refusal(code: u16) -> bool {
    matches!(
        code,
        1221    // MySQL: settings that do not go together (ALGORITHM with LOCK or partitions)
        | 1845  // ALGORITHM or LOCK is not supported for this operation
        | 1846  // the same, with a reason
        | 1847  // the same, for partitioned tables
        | 4080 | 4092 // MySQL: the table has had as many INSTANT columns as it can (64; 255 since 9.1)
        | 4093 | 4157 // MySQL: the row could become too long
        | 4158 // MySQL: too many columns for INSTANT
    )
}

/// INSTANT came with MySQL 8.0.12 and MariaDB 10.3.
fn supports_instant(flavor: Flavor) -> bool {
    if flavor.is_mariadb() { flavor.at_least(10, 3, 7) } else { flavor.at_least(8, 0, 12) }
}

/// Why a clause rules out both INSTANT and INPLACE.
fn never_native(clause: &Clause) -> Option<String> {
    match &clause.kind {
        ClauseKind::AddForeignKey { .. } => Some(
            "adds a foreign key, which the server checks under a lock; osc looks for orphans \
             without one"
                .into(),
        ),
        // MariaDB does not heed ALGORITHM=INSTANT here: it copies under a lock.
        ClauseKind::Partitioning => Some("repartitions, which rewrites every row".into()),
        kind => kind.definitions().iter().find_map(|column| {
            let name = &column.name;
            if column.references.is_some() {
                Some(format!(
                    "column {name} has a foreign key, which the server proves under a lock"
                ))
            } else if column.check {
                // MariaDB takes an inline CHECK instantly and leaves rows that break it.
                Some(format!(
                    "column {name} has a check, which an instant change may leave unproved"
                ))
            } else {
                None
            }
        }),
    }
}

/// Whether all clauses are known to be quick in place; either way the reason.
fn in_place(
    clauses: &Clauses,
    flavor: Flavor,
    facts: &TableFacts,
) -> std::result::Result<String, String> {
    let mut reasons: Vec<String> = Vec::new();
    // The collation of a column that names none.
    let changes = clauses.option("CHARSET").or(clauses.option("COLLATE")).is_some();
    let collation = (!changes).then_some(facts.collation.as_str());
    for clause in &clauses.clauses {
        match quick(clause, flavor, facts, collation)? {
            Some(reason) if !reasons.contains(&reason) => reasons.push(reason),
            _ => {}
        }
    }
    Ok(format!("touches no rows: {}", reasons.join(", ")))
}

/// `Ok`: in place this clause is quick (with the reason; `None`: it does nothing). `Err`: why a
/// copy is the road.
fn quick(
    clause: &Clause,
    flavor: Flavor,
    facts: &TableFacts,
    collation: Option<&str>,
) -> std::result::Result<Option<String>, String> {
    let fine = |reason: &str| Ok(Some(reason.to_owned()));
    let copy = |reason: String| Err(format!("{reason}, so a copy"));
    match &clause.kind {
        ClauseKind::Algorithm(_) | ClauseKind::Lock(_) => Ok(None),
        ClauseKind::DropIndex { .. } => fine("drops an index"),
        ClauseKind::RenameIndex { .. } => fine("renames an index"),
        ClauseKind::AlterIndexVisibility { .. } => fine("changes an index's visibility"),
        ClauseKind::AlterColumnDefault { .. } => fine("changes a default"),
        ClauseKind::RenameColumn { .. } => fine("renames a column"),
        ClauseKind::DropForeignKey { .. } => fine("drops a foreign key"),
        ClauseKind::DropCheck { .. } => fine("drops a check"),
        ClauseKind::DropConstraint { .. } => fine("drops a constraint"),
        ClauseKind::TableOption { name, .. } if is_quick_option(name) => {
            fine("changes what the table says of itself")
        }
        ClauseKind::ModifyColumn { column, .. } => {
            quick_definition(&column.name, column, facts, collation)
        }
        ClauseKind::ChangeColumn { from, to, .. } => quick_definition(from, to, facts, collation),
        // NOCOPY keeps the server from rewriting the table; MySQL's INPLACE would do so.
        ClauseKind::AddColumns { columns, .. }
            if flavor.is_mariadb() && columns.iter().all(is_plain_addition) =>
        {
            fine("adds a column")
        }
        ClauseKind::DropColumn { .. } if flavor.is_mariadb() => fine("drops a column"),
        ClauseKind::AddIndex { kind: IndexKind::Fulltext | IndexKind::Spatial, .. } => {
            copy("adds an index whose building locks writers out".into())
        }
        ClauseKind::AddIndex { .. } => {
            copy("adds an index: building it in place would hold replicas up".into())
        }
        ClauseKind::AddPrimaryKey { .. } | ClauseKind::DropPrimaryKey => {
            copy("changes the primary key, which rewrites every row".into())
        }
        ClauseKind::AddCheck { .. } => {
            copy("adds a check, which the server proves under a lock".into())
        }
        ClauseKind::AlterCheck { .. } => {
            copy("changes a check, which the server may prove under a lock".into())
        }
        ClauseKind::ConvertCharset { .. } => copy("converts text, which rewrites every row".into()),
        ClauseKind::Force => copy("rebuilds the table".into()),
        ClauseKind::AddColumns { .. } => {
            copy("adds a column: in place would rewrite every row".into())
        }
        ClauseKind::DropColumn { .. } => {
            copy("drops a column: in place would rewrite every row".into())
        }
        _ => copy(format!("{}: not known to be quick in place", clause.text)),
    }
}

/// Options that change the table's description only (checked on both servers).
fn is_quick_option(name: &str) -> bool {
    matches!(
        name,
        "COMMENT"
            | "AUTO_INCREMENT"
            | "CHARSET"
            | "COLLATE"
            | "AVG_ROW_LENGTH"
            | "MAX_ROWS"
            | "MIN_ROWS"
            | "STATS_AUTO_RECALC"
            | "STATS_PERSISTENT"
            | "STATS_SAMPLE_PAGES"
    )
}

fn is_plain_addition(column: &ColumnDef) -> bool {
    !column.adds_key() && !column.auto_increment && column.references.is_none()
}

fn quick_definition(
    from: &Ident,
    column: &ColumnDef,
    facts: &TableFacts,
    collation: Option<&str>,
) -> std::result::Result<Option<String>, String> {
    let facts_of = facts.columns.iter().find(|known| known.name.same(from));
    if facts_of.is_some_and(|known| grows_within_its_class(known, column, collation)) {
        Ok(Some("lengthens a VARCHAR whose length byte stays".into()))
    } else {
        Err(format!("redefines column {from}, which may rewrite every row, so a copy"))
    }
}

/// Whether the new definition only lengthens a VARCHAR, and its length still takes as many bytes
/// (one up to 255 bytes, else two). The collation must stay for certain: MariaDB would otherwise
/// rebuild the column's indexes in place.
fn grows_within_its_class(known: &ColumnFacts, column: &ColumnDef, table: Option<&str>) -> bool {
    let (Some(characters), Some(octets)) = (known.characters, known.octets) else { return false };
    let length = column.type_arguments.as_deref().and_then(|text| text.trim().parse::<u64>().ok());
    let Some(length) = length.filter(|length| *length >= characters && characters > 0) else {
        return false;
    };
    let Some(new_octets) = (octets / characters).checked_mul(length) else { return false };
    let same_collation = match (&column.charset, &column.collate, &known.collation) {
        (_, Some(collate), Some(collation)) => collate.eq_ignore_ascii_case(collation),
        (None, None, Some(collation)) => {
            table.is_some_and(|table| collation.eq_ignore_ascii_case(table))
        }
        _ => false,
    };
    known.data_type.eq_ignore_ascii_case("varchar")
        && column.type_name == "VARCHAR"
        && (octets <= 255) == (new_octets <= 255)
        && same_collation
        && known.nullable != column.not_null
        && !(known.generated || column.generated)
        && !(column.adds_key() || column.check || column.auto_increment)
        && column.references.is_none()
        && column.place.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::flavor::Family;

    const MYSQL: Flavor = Flavor { family: Family::Mysql, version: (9, 7, 4) };
    const MARIADB: Flavor = Flavor { family: Family::Mariadb, version: (10, 11, 19) };

    fn text(name: &str, characters: u64, width: u64, nullable: bool) -> ColumnFacts {
        ColumnFacts {
            name: Ident::new(name),
            data_type: "varchar".into(),
            characters: Some(characters),
            octets: Some(characters * width),
            collation: Some("utf8mb4_bin".into()),
            nullable,
            generated: false,
        }
    }

    fn facts() -> TableFacts {
        TableFacts {
            collation: "utf8mb4_bin".into(),
            columns: vec![text("v", 60, 4, true), text("n", 60, 1, false), text("w", 70, 4, true)],
        }
    }

    fn roads(strategy: Strategy, clauses: &str, flavor: Flavor) -> Vec<Attempt> {
        let clauses = Clauses::parse(clauses).unwrap();
        attempts(strategy, &clauses, flavor, &facts()).unwrap()
    }

    fn words(clauses: &str, flavor: Flavor) -> String {
        let roads = roads(Strategy::Auto, clauses, flavor);
        roads.iter().map(|attempt| attempt.road.word()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn in_place_is_tried_only_for_what_touches_no_rows() {
        for clauses in [
            "DROP INDEX i",
            "RENAME INDEX i TO j, COMMENT 'x'",
            "ALTER c SET DEFAULT 3, DROP FOREIGN KEY f",
            "AUTO_INCREMENT=5 STATS_PERSISTENT=1",
            "MODIFY v VARCHAR(63)",
            "MODIFY n VARCHAR(255) NOT NULL",
            "CHANGE w w2 VARCHAR(9999) COLLATE utf8mb4_bin",
            "DROP INDEX i, LOCK=NONE",
        ] {
            assert_eq!(words(clauses, MYSQL), "instant inplace copy", "{clauses}");
            assert_eq!(words(clauses, MARIADB), "instant inplace copy", "{clauses}");
        }
        for clauses in [
            "ADD INDEX (a)",
            "DROP INDEX i, ADD INDEX i (a)",
            "MODIFY v VARCHAR(64)",
            "MODIFY v VARCHAR(59)",
            "MODIFY v VARCHAR(63) NOT NULL",
            "MODIFY n VARCHAR(70)",
            "MODIFY v VARCHAR(63) FIRST",
            "MODIFY v VARCHAR(63) CHARACTER SET utf8mb4",
            "MODIFY v VARCHAR(63) COLLATE utf8mb4_general_ci",
            "MODIFY v VARCHAR(63), COLLATE utf8mb4_bin",
            "MODIFY v TEXT",
            "MODIFY zz VARCHAR(63)",
            "ROW_FORMAT=DYNAMIC",
            "DROP PRIMARY KEY, ADD PRIMARY KEY (a)",
            "",
        ] {
            assert_eq!(words(clauses, MYSQL), "instant copy", "{clauses}");
            assert_eq!(words(clauses, MARIADB), "instant copy", "{clauses}");
        }
    }

    #[test]
    fn a_column_goes_in_place_only_where_the_server_can_be_kept_from_a_rebuild() {
        for clauses in ["DROP INDEX i, ADD a INT", "DROP COLUMN a"] {
            assert_eq!(words(clauses, MYSQL), "instant copy");
            assert_eq!(words(clauses, MARIADB), "instant inplace copy");
        }
        assert_eq!(words("ADD a INT UNIQUE", MARIADB), "instant copy");
        let roads = roads(Strategy::Auto, "DROP COLUMN a", MARIADB);
        assert_eq!(roads[1].settings, ["ALGORITHM=NOCOPY", "LOCK=NONE"]);
    }

    #[test]
    fn what_must_be_proved_and_partitions_are_always_copied() {
        for clauses in [
            "ADD FOREIGN KEY (a) REFERENCES p (id)",
            "ADD a INT REFERENCES p (id)",
            "MODIFY a INT CHECK (a > 5)",
            "PARTITION BY HASH (id)",
        ] {
            assert_eq!(words(clauses, MYSQL), "copy", "{clauses}");
            let clauses = Clauses::parse(clauses).unwrap();
            assert!(attempts(Strategy::Instant, &clauses, MYSQL, &facts()).is_err());
        }
    }

    #[test]
    fn the_strategy_is_obeyed() {
        let only = |strategy| roads(strategy, "ADD INDEX (a)", MYSQL);
        assert_eq!(only(Strategy::Copy)[0].road, Road::Copy);
        let inplace = only(Strategy::Inplace);
        let table = TableName::new("s", "t");
        let clauses = Clauses::parse("ADD INDEX (a)").unwrap();
        assert_eq!(inplace.len(), 1);
        assert_eq!(
            inplace[0].statement(&clauses, &table).unwrap(),
            "ALTER TABLE `s`.`t` ALGORITHM=INPLACE, LOCK=NONE, ADD INDEX (a)"
        );
        assert_eq!(only(Strategy::Instant)[0].settings, ["ALGORITHM=INSTANT"]);
        assert_eq!("InPlace".parse::<Strategy>().unwrap(), Strategy::Inplace);
        assert!("fast".parse::<Strategy>().is_err());
    }

    #[test]
    fn old_servers_are_not_asked_for_instant() {
        let old = Flavor { family: Family::Mysql, version: (5, 7, 44) };
        assert_eq!(words("ADD a INT", old), "copy");
    }
}
