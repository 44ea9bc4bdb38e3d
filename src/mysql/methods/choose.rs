//! Which method an ALTER takes: the cheapest that makes no session wait.
//!
//! Whether a change can be made instantly is for the server to say: asking costs nothing, since
//! it refuses before it begins. A change in place is different: the server lets an index be built
//! or a table be rebuilt in place, and every replica then stands still for as long. So in place is
//! tried only for what is known to touch no rows (`docs/use/methods.md` has the experiments).

use super::inplace::in_place;
use crate::config::strategy::Strategy;
use crate::error::{Error, Result};
use crate::mysql::catalog::table::Table;
use crate::mysql::clauses::{Clause, ClauseKind, Clauses};
use crate::mysql::connection::version::Flavor;
use crate::mysql::name::TableName;
use crate::plan::method::Method;

/// One method to try, in its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The method.
    pub method: Method,
    /// Why it is tried, or, for the copy, why it is the method.
    pub reason: String,
    /// What stands before the clauses: `ALGORITHM=…`, and `LOCK=NONE` where it goes with it.
    pub settings: &'static [&'static str],
}

impl Attempt {
    /// The method of a resumed run: the copy that it had begun.
    pub(crate) fn resumed() -> Self {
        let reason = "resuming an unfinished run of the same change".into();
        Self { method: Method::Copy, reason, settings: &[] }
    }

    /// The statement that tries it; `None` for the copy, which is more than a statement.
    ///
    /// It waits for an exclusive metadata lock and everybody else then waits behind it: run it
    /// with a short `lock_wait_timeout`, and with `foreign_key_checks` on.
    pub(crate) fn statement(&self, clauses: &Clauses, table: &TableName) -> Option<String> {
        (self.method != Method::Copy).then(|| clauses.for_table_with(table, self.settings))
    }

    /// The reason for the next method after the server refused this one with `message`.
    pub(crate) fn refused(&self, message: &str) -> String {
        format!("{} refused by the server: {message}", self.method.word().to_ascii_uppercase())
    }
}

/// The methods to try in their order. Where one fails with an error that [`is_refusal`] knows, the
/// next is tried; any other error is about the clauses or the data and would meet a copy too.
///
/// `Error::Usage` where the strategy asks for what the clauses cannot have.
pub(crate) fn attempts(
    strategy: Strategy,
    clauses: &Clauses,
    flavor: Flavor,
    original: &Table,
) -> Result<Vec<Attempt>> {
    let instant = |reason: &str| Attempt {
        method: Method::Instant,
        reason: reason.into(),
        // MySQL refuses INSTANT together with any LOCK but DEFAULT (error 1221).
        settings: &["ALGORITHM=INSTANT"],
    };
    let inplace = |reason: String, unbounded: bool| Attempt {
        method: Method::Inplace,
        reason,
        // MariaDB's NOCOPY is INPLACE without a rebuild.
        settings: if flavor.is_mariadb() && !unbounded {
            &["ALGORITHM=NOCOPY", "LOCK=NONE"]
        } else {
            &["ALGORITHM=INPLACE", "LOCK=NONE"]
        },
    };
    let copy = |reason: String| Attempt { method: Method::Copy, reason, settings: &[] };
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
            let mut methods = Vec::new();
            if supports_instant(flavor) {
                methods.push(instant(
                    "osc tries ALGORITHM=INSTANT first; if the server refuses, nothing has changed",
                ));
            }
            match in_place(clauses, flavor, original) {
                Ok(reason) => {
                    methods.push(inplace(reason, false));
                    methods.push(copy("the server can do it neither instantly nor in place, so osc copies the table".into()));
                }
                Err(reason) => methods.push(copy(reason)),
            }
            Ok(methods)
        }
    }
}

/// Whether the error says that the server cannot go this method with this table, and not that
/// something is wrong with the clauses or the data.
pub(crate) fn is_refusal(code: u16) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Rows;
    use crate::mysql::catalog::table::Column;
    use crate::mysql::connection::version::Family;
    use crate::mysql::name::Ident;

    const MYSQL: Flavor = Flavor { family: Family::Mysql, version: (9, 7, 4) };
    const MARIADB: Flavor = Flavor { family: Family::Mariadb, version: (10, 11, 19) };

    fn text(name: &str, characters: u64, width: u64, nullable: bool) -> Column {
        Column {
            name: Ident::new(name),
            ordinal: 0,
            data_type: "varchar".into(),
            column_type: String::new(),
            nullable,
            charset: None,
            collation: Some("utf8mb4_bin".into()),
            octets: Some(characters * width),
            characters: Some(characters),
            fraction: 0,
            generated: false,
            expression: String::new(),
            auto_increment: false,
            default: None,
            extra: String::new(),
        }
    }

    fn original() -> Table {
        Table {
            name: TableName::new("s", "t"),
            engine: "InnoDB".into(),
            collation: "utf8mb4_bin".into(),
            columns: vec![text("v", 60, 4, true), text("n", 60, 1, false), text("w", 70, 4, true)],
            indexes: Vec::new(),
            partitioned: false,
            rows: Rows(0),
            bytes: 0,
            auto_increment: None,
            create: String::new(),
        }
    }

    fn methods(strategy: Strategy, clauses: &str, flavor: Flavor) -> Vec<Attempt> {
        let clauses = Clauses::parse(clauses).unwrap();
        attempts(strategy, &clauses, flavor, &original()).unwrap()
    }

    fn words(clauses: &str, flavor: Flavor) -> String {
        let methods = methods(Strategy::Auto, clauses, flavor);
        methods.iter().map(|attempt| attempt.method.word()).collect::<Vec<_>>().join(" ")
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
        let methods = methods(Strategy::Auto, "DROP COLUMN a", MARIADB);
        assert_eq!(methods[1].settings, ["ALGORITHM=NOCOPY", "LOCK=NONE"]);
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
            assert!(attempts(Strategy::Instant, &clauses, MYSQL, &original()).is_err());
        }
    }

    #[test]
    fn the_strategy_is_obeyed() {
        let only = |strategy| methods(strategy, "ADD INDEX (a)", MYSQL);
        assert_eq!(only(Strategy::Copy)[0].method, Method::Copy);
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
