//! What the ledger's tables are, and whether those that stand under their names are these.
//!
//! A view, a trigger or another table under these names would have its owner's statements run as osc,
//! so each object is looked at in the catalog before it is read or written for the first time. The
//! catalog alone is read for that: no view is opened and no trigger fires.

use std::fmt::Write as _;

use mysql_async::Conn;

use crate::error::{Finding, Result};
use crate::ledger::refusals::untrusted;
use crate::mysql::connection::texts::text_rows;
use crate::mysql::name::{Ident, TableName, Text};
use crate::testing::mutation::{self, Rule};

const ACTION: &str = "looking at the ledger's tables";

/// The character set and collation of the tables: names are compared by their bytes.
const CHARSET: &str = "DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";
const COLLATION: &str = "utf8mb4_bin";

/// One table.
pub(crate) struct Shape {
    /// Its name.
    table: &'static str,
    /// Its columns and what they are, in the catalog's words.
    columns: &'static [(&'static str, &'static str)],
    keys: &'static str,
    comment: &'static str,
}

/// A row for every run. Times are UTC in DATETIME, whatever zone a session has.
pub(crate) const RUNS: Shape = Shape {
    table: "osc_ledger",
    columns: &[
        ("server", "varchar(64) not null"),
        ("run", "bigint not null auto_increment"),
        ("schema_name", "varchar(64) not null"),
        ("table_name", "varchar(64) not null"),
        ("clauses", "mediumtext not null"),
        ("method", "varchar(16) not null"),
        ("phase", "varchar(16) not null"),
        ("result", "varchar(16) null"),
        ("detail", "mediumtext null"),
        ("state", "mediumtext null"),
        ("rows_copied", "bigint unsigned not null default 0"),
        ("rows_estimate", "bigint unsigned not null default 0"),
        ("rows_verified", "bigint unsigned null"),
        ("verification", "varchar(16) not null"),
        ("lock_ms", "double null"),
        ("owner", "char(32) not null"),
        ("beat", "bigint unsigned not null default 0"),
        ("carried", "mediumtext null"),
        ("started", "datetime(3) not null"),
        ("updated", "datetime(3) not null"),
        ("ended", "datetime(3) null"),
    ],
    keys: "PRIMARY KEY (server, run), KEY run (run), KEY table_name (schema_name, table_name)",
    comment: "The record of every run of osc",
};

/// The markers that the stream is drained to: `run` and `marker` come first, the stream reads them.
pub(crate) const MARKERS: Shape = Shape {
    table: "osc_marker",
    columns: &[
        ("run", "bigint not null"),
        ("marker", "bigint unsigned not null"),
        ("server", "varchar(64) not null"),
    ],
    keys: "PRIMARY KEY (server, run, marker)",
    comment: "Markers in the change stream of osc",
};

/// Orders for runs. Other accounts may be granted INSERT and SELECT on it: what the server knows by itself of an
/// order it fills in.
pub(crate) const ORDERS: Shape = Shape {
    table: "osc_order",
    columns: &[
        ("id", "bigint not null auto_increment"),
        ("run", "bigint not null"),
        ("verb", "varchar(32) not null"),
        ("arguments", "mediumtext null"),
        ("who", "varchar(255) not null default current_user()"),
        ("host", "varchar(255) not null default user()"),
        ("why", "mediumtext null"),
        ("made", "datetime(6) not null default utc_timestamp(6)"),
        ("expires", "datetime(3) null"),
        ("answer", "mediumtext null"),
        ("answered", "datetime(3) null"),
        ("server", "varchar(64) null"),
    ],
    // Where two sources replicate into one replica, numbers alone would collide.
    keys: "PRIMARY KEY (id, made), KEY run (run, answered)",
    comment: "Orders for runs of osc, and their answers",
};

/// Figures of runs over time; the last row of a run has its picture.
pub(crate) const SAMPLES: Shape = Shape {
    table: "osc_sample",
    columns: &[
        ("server", "varchar(64) not null"),
        ("run", "bigint not null"),
        ("at", "datetime(3) not null"),
        ("series", "mediumtext not null"),
        ("picture", "mediumtext null"),
    ],
    keys: "PRIMARY KEY (server, run, at)",
    comment: "Figures of runs of osc over time",
};

/// All of them. A ledger that was made before there were orders has the first two.
pub(crate) const ALL: [&Shape; 4] = [&RUNS, &MARKERS, &ORDERS, &SAMPLES];

/// Those without which there is no ledger.
const FIRST: [&Shape; 2] = [&RUNS, &MARKERS];

impl Shape {
    /// The table in `schema`.
    pub(crate) fn named(&self, schema: &Ident) -> TableName {
        TableName { schema: schema.clone(), table: Ident::new(self.table) }
    }

    /// The statement that makes it where it is missing.
    pub(crate) fn create(&self, schema: &Ident) -> String {
        let mut columns = String::new();
        for (name, what) in self.columns {
            // An expression stands in parentheses.
            let written = match what.split_once(" default ") {
                Some((kind, default)) if default.contains('(') => {
                    format!("{kind} default ({default})")
                }
                _ => (*what).to_owned(),
            };
            let _ = write!(columns, "{name} {written}, ");
        }
        format!(
            "CREATE TABLE IF NOT EXISTS {} ({columns}{}) ENGINE=InnoDB {CHARSET} COMMENT={}",
            self.named(schema),
            self.keys,
            Text(self.comment)
        )
    }
}

/// What stands under the ledger's names.
pub(crate) struct Found {
    /// The database is there.
    pub(crate) schema: bool,
    /// So are the tables of runs and markers.
    pub(crate) tables: bool,
    /// So are all others.
    pub(crate) whole: bool,
    /// What is not as osc makes it, with the statement that cures it.
    pub(crate) wrong: Vec<Finding>,
}

/// Looks at what stands under the ledger's names in `schema`.
///
/// # Errors
/// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
pub(crate) async fn look(conn: &mut Conn, schema: &Ident) -> Result<Found> {
    let text = Text(schema.as_str());
    let sql = format!("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {text}");
    let there = !text_rows::<1>(conn, ACTION, &sql).await?.is_empty();
    let mut found = Found { schema: there, tables: true, whole: true, wrong: Vec::new() };
    for shape in ALL {
        let name = shape.named(schema);
        let kind = kind(conn, &name).await?;
        let Some(kind) = kind else {
            found.whole = false;
            found.tables &= !FIRST.iter().any(|first| first.table == shape.table);
            continue;
        };
        if mutation::active(Rule::LedgerVetted) {
            continue;
        }
        match kind.flaw() {
            Some(flaw) => found.wrong.push(untrusted(
                format!("{} is {flaw}, which osc did not make: it is not read", name.plain()),
                kind.drop(&name),
            )),
            None => found.wrong.extend(inside(conn, shape, &name).await?),
        }
    }
    Ok(found)
}

/// What keeps `shape` from being used by an account that may only make orders: it is no plain table, or is not
/// there as far as the account can see. Who may write it is for osc to check.
///
/// # Errors
/// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
pub(crate) async fn seen_by_operator(
    conn: &mut Conn,
    schema: &Ident,
    shape: &Shape,
) -> Result<Option<Finding>> {
    let name = shape.named(schema);
    let Some(kind) = kind(conn, &name).await? else {
        return Ok(Some(untrusted(
            format!("there is no {}, or this account has no right on it", name.plain()),
            "see docs/use/operate.md for the rights that orders need; a run of osc makes the table",
        )));
    };
    Ok(kind.flaw().map(|flaw| {
        untrusted(
            format!("{} is {flaw}, which osc did not make: it is not read", name.plain()),
            kind.drop(&name),
        )
    }))
}

/// What an object is, as far as the list of tables says it.
struct Kind {
    kind: String,
    engine: String,
    options: String,
}

impl Kind {
    fn flaw(&self) -> Option<String> {
        if self.kind != "BASE TABLE" {
            return Some(format!("a {}", self.kind.to_lowercase()));
        }
        if !self.engine.eq_ignore_ascii_case("InnoDB") {
            return Some(format!("a table of {}", self.engine));
        }
        self.options.contains("partitioned").then(|| "a partitioned table".to_owned())
    }

    fn drop(&self, name: &TableName) -> String {
        let what = match self.kind.as_str() {
            "VIEW" => "VIEW",
            "SEQUENCE" => "SEQUENCE",
            _ => "TABLE",
        };
        format!("look who made it, then: DROP {what} {name}")
    }
}

/// `None`: there is nothing of this name.
async fn kind(conn: &mut Conn, name: &TableName) -> Result<Option<Kind>> {
    let sql = format!(
        "SELECT TABLE_TYPE, ENGINE, CREATE_OPTIONS FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        Text(name.schema.as_str()),
        Text(name.table.as_str())
    );
    let rows = text_rows(conn, ACTION, &sql).await?;
    Ok(rows.into_iter().next().map(|[kind, engine, options]| Kind { kind, engine, options }))
}

/// What is wrong with a plain table: its columns, constraints, triggers.
async fn inside(conn: &mut Conn, shape: &Shape, name: &TableName) -> Result<Vec<Finding>> {
    let (schema, table) = (Text(name.schema.as_str()), Text(name.table.as_str()));
    let sql = format!(
        "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, COLLATION_NAME \
         FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table} ORDER BY ORDINAL_POSITION"
    );
    let columns: Vec<(String, String)> = text_rows(conn, ACTION, &sql)
        .await?
        .into_iter()
        .map(|[name, kind, null, default, extra, collation]| {
            let what = described(&kind, null == "YES", &default, &extra, &collation);
            (name.to_lowercase(), what)
        })
        .collect();
    let wanted = shape.columns.iter().map(|(name, what)| ((*name).to_owned(), (*what).to_owned()));
    let mut wrong = Vec::new();
    if columns != wanted.collect::<Vec<_>>() {
        wrong.push(untrusted(
            format!("{} has other columns than osc makes: it is not read", name.plain()),
            format!(
                "it is another's, or of another build of osc; if what it records is not needed: \
                 DROP TABLE {name}"
            ),
        ));
    }
    let sql = format!(
        "SELECT CONSTRAINT_NAME, CONSTRAINT_TYPE FROM information_schema.TABLE_CONSTRAINTS \
         WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table} AND CONSTRAINT_TYPE <> 'PRIMARY KEY'"
    );
    for [constraint, kind] in text_rows(conn, ACTION, &sql).await? {
        let constraint = Ident(constraint);
        wrong.push(untrusted(
            format!("{} has the constraint {constraint} ({kind})", name.plain()),
            format!("ALTER TABLE {name} DROP CONSTRAINT {constraint}"),
        ));
    }
    let sql = format!(
        "SELECT DISTINCT TRIGGER_NAME FROM information_schema.TRIGGERS \
         WHERE EVENT_OBJECT_SCHEMA = {schema} AND EVENT_OBJECT_TABLE = {table}"
    );
    for [trigger] in text_rows(conn, ACTION, &sql).await? {
        let trigger = Ident(trigger);
        wrong.push(untrusted(
            format!("{} has the trigger {trigger}", name.plain()),
            format!("DROP TRIGGER {}.{trigger}", name.schema),
        ));
    }
    Ok(wrong)
}

/// A column in the words of [`Shape`]. Whatever else it has is added, so that it differs.
fn described(kind: &str, null: bool, default: &str, extra: &str, collation: &str) -> String {
    let kind = kind.to_lowercase();
    // MariaDB shows how wide whole numbers are printed.
    let kind = match kind.split_once('(') {
        Some(("bigint", rest)) => {
            format!("bigint{}", rest.split_once(')').map_or("", |(_, rest)| rest))
        }
        _ => kind,
    };
    let mut text = format!("{kind} {}", if null { "null" } else { "not null" });
    // MariaDB says that a column without a default has NULL.
    if !default.is_empty() && default != "NULL" {
        let _ = write!(text, " default {default}");
    }
    // MySQL's word for a default that is an expression.
    if !extra.is_empty() && extra != "DEFAULT_GENERATED" {
        let _ = write!(text, " {}", extra.to_lowercase());
    }
    if !collation.is_empty() && collation != COLLATION {
        let _ = write!(text, " collate {collation}");
    }
    text
}

/// The tables of an earlier build in the schema of the application, with the word for each in a DROP.
///
/// # Errors
/// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
pub(crate) async fn earlier(conn: &mut Conn, application: &Ident) -> Result<Vec<TableName>> {
    let mut tables = Vec::new();
    for shape in FIRST {
        let name = shape.named(application);
        if kind(conn, &name).await?.is_some() {
            tables.push(name);
        }
    }
    Ok(tables)
}

/// The statement that drops `tables`, whatever they are.
///
/// # Errors
/// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
pub(crate) async fn drop_of(conn: &mut Conn, tables: &[TableName]) -> Result<String> {
    let mut statements = Vec::new();
    for table in tables {
        let view = kind(conn, table).await?.is_some_and(|kind| kind.kind == "VIEW");
        statements.push(format!("DROP {} {table}", if view { "VIEW" } else { "TABLE" }));
    }
    Ok(statements.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_described_alike_on_both_servers() {
        let plain = |kind, null, default, extra| described(kind, null, default, extra, "");
        assert_eq!(
            plain("bigint(20) unsigned", false, "0", ""),
            "bigint unsigned not null default 0"
        );
        assert_eq!(plain("bigint unsigned", false, "0", ""), "bigint unsigned not null default 0");
        assert_eq!(plain("bigint", false, "", "auto_increment"), "bigint not null auto_increment");
        assert_eq!(plain("double", true, "NULL", ""), "double null");
        assert_eq!(
            plain("bigint(20)", true, "NULL", "VIRTUAL GENERATED"),
            "bigint null virtual generated"
        );
        let text = |collation| described("varchar(16)", false, "", "", collation);
        assert_eq!(text("utf8mb4_bin"), "varchar(16) not null");
        assert_ne!(text("utf8mb4_general_ci"), "varchar(16) not null");
    }
}
