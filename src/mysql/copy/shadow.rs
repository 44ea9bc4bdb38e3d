//! The shadow: created like the original, changed by the clauses, and proved to be what the plan
//! says before a row is copied.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::projection::project;
use super::put;
use super::statements::Statements;
use crate::error::{Error, Finding, Result};
use crate::mysql::catalog::key::{KeyColumn, KeyColumns, KeyKind};
use crate::mysql::catalog::table::{self, Column, Index, Table};
use crate::mysql::clauses::ClauseKind;
use crate::mysql::clauses::change::Change;
use crate::mysql::connection::errors::{LOCK_WAIT_TIMEOUT, connection_error, failed, is_passing};
use crate::mysql::connection::session::{run, run_ddl};
use crate::mysql::connection::settings::{Reading, Role};
use crate::mysql::connection::texts::text_rows;
use crate::mysql::connection::version::Flavor;
use crate::mysql::connection::{settings, single};
use crate::mysql::dependents::Dependents;
use crate::mysql::name::{Helpers, Ident, TableName, Text};
use crate::testing::failpoint::{self, Point};

/// What the changed table is made from.
#[derive(Clone, Copy)]
pub(crate) struct Draft<'a> {
    /// The server's family and version.
    pub flavor: Flavor,
    /// What plain sessions of the login have.
    pub role: &'a Role,
    /// The table as it is now.
    pub original: &'a Table,
    /// What is to change.
    pub change: &'a Change,
    /// What hangs on the table.
    pub dependents: &'a Dependents,
}

/// Creates the empty shadow; there is no table of its name.
pub(crate) async fn create(conn: &mut Conn, draft: &Draft<'_>, helpers: &Helpers) -> Result<()> {
    let sql = format!("CREATE TABLE {} LIKE {}", helpers.shadow, draft.original.name);
    run_ddl(conn, ACTION, &sql).await?;
    failpoint::hit(Point::ShadowCreated)?;
    match apply(conn, draft, &helpers.shadow, &[]).await? {
        Ok(()) => Ok(()),
        Err(error) => {
            drop_table(conn, &helpers.shadow).await?;
            Err(if is_passing(&error) {
                failed(ACTION, error.into())
            } else {
                not_taken(&error.message, error.code)
            })
        }
    }
}

const ACTION: &str = "creating the shadow";

/// Runs the clauses on an empty copy of the original, after `settings` such as `ALGORITHM=INSTANT`; the
/// inner error is what the server has against them.
pub(crate) async fn apply(
    conn: &mut Conn,
    draft: &Draft<'_>,
    place: &TableName,
    settings: &[&str],
) -> Result<std::result::Result<(), mysql_async::ServerError>> {
    if draft.change.clauses.clauses.is_empty() && settings.is_empty() {
        return Ok(Ok(()));
    }
    let checks = renamed_checks(conn, draft, place).await?;
    let alter = draft.change.for_shadow(place, &checks, settings);
    // The clauses mean what they mean to a plain session of the login.
    for sql in draft.role.for_clauses(has_zero_dates(draft.original)) {
        run(conn, ACTION, &sql).await?;
    }
    let altered = single::run(conn, &alter).await;
    for sql in settings::changes() {
        run(conn, ACTION, &sql).await?;
    }
    match altered {
        Ok(()) => Ok(Ok(())),
        Err(mysql_async::Error::Server(error)) => Ok(Err(error)),
        Err(error) => Err(connection_error(ACTION, error)),
    }
}

/// The refusal of clauses that the server did not take on an empty copy.
pub(crate) fn not_taken(message: &str, code: u16) -> Error {
    Error::Refused(vec![Finding::new(
        "clauses",
        format!("the server does not take these clauses: {message} ({code})"),
        match code {
            DUPLICATE_CHECK => ANOTHER_CHECK,
            _ => "they were tried on an empty copy of the table; the original is untouched",
        },
    )])
}

const ANOTHER_CHECK: &str = "MySQL's CHECK names are unique in a schema, and the original keeps its own until \
                             osc cleanup: give the new CHECK another name";

/// The new checks whose name another check of the schema has: MySQL would refuse the shadow for it.
pub(crate) async fn duplicate_checks(conn: &mut Conn, draft: &Draft<'_>) -> Result<Vec<Finding>> {
    if draft.flavor.is_mariadb() || !draft.flavor.at_least(8, 0, 16) {
        return Ok(Vec::new());
    }
    let added = draft.change.clauses.clauses.iter().filter_map(|clause| match &clause.kind {
        ClauseKind::AddCheck { name } => name.as_ref(),
        _ => None,
    });
    let added: Vec<String> = added.map(|name| Text(name.as_str()).to_string()).collect();
    if added.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT CONSTRAINT_NAME FROM information_schema.CHECK_CONSTRAINTS \
         WHERE CONSTRAINT_SCHEMA = {} AND CONSTRAINT_NAME IN ({})",
        Text(draft.original.name.schema.as_str()),
        added.join(", ")
    );
    let taken = text_rows::<1>(conn, "looking for names of checks", &sql).await?;
    let finding = |[name]: [String; 1]| {
        Finding::new(
            "clauses",
            format!("the schema has a CHECK named {name} already"),
            ANOTHER_CHECK,
        )
    };
    Ok(taken.into_iter().map(finding).collect())
}

/// `ER_CHECK_CONSTRAINT_DUP_NAME`
const DUPLICATE_CHECK: u16 = 3822;

/// MySQL names CHECK constraints once a schema, so that those of the shadow have other names than
/// the original's, and stand in another order: twins are told apart by what they check.
async fn renamed_checks(
    conn: &mut Conn,
    draft: &Draft<'_>,
    shadow: &TableName,
) -> Result<Vec<(Ident, Ident)>> {
    if draft.flavor.is_mariadb() {
        return Ok(Vec::new());
    }
    let mut twins = checks(&table::definition(conn, shadow).await?);
    let pairs = checks(&draft.original.create).into_iter().filter_map(|(name, check)| {
        let same = |(_, twin): &(Ident, String)| *twin == check;
        // The server keeps the quotes of the session that wrote the check, or has none.
        let unquoted = |text: &str| text.replace(['`', '"'], "");
        let alike = |(_, twin): &(Ident, String)| unquoted(twin) == unquoted(&check);
        let at = twins.iter().position(same).or_else(|| twins.iter().position(alike))?;
        Some((name, twins.swap_remove(at).0))
    });
    Ok(pairs.collect())
}

/// The named CHECK constraints and what they check.
pub(crate) fn checks(create: &str) -> Vec<(Ident, String)> {
    create
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("CONSTRAINT "))
        .filter_map(|rest| {
            let (name, rest) = quoted(rest)?;
            let check = rest.trim_start().strip_prefix("CHECK ")?;
            Some((name, check.trim_end_matches(',').to_owned()))
        })
        .collect()
}

/// A backquoted name at the start of `text`, and what follows it.
fn quoted(text: &str) -> Option<(Ident, &str)> {
    let mut rest = text.strip_prefix('`')?;
    let mut name = String::new();
    loop {
        let (head, tail) = rest.split_once('`')?;
        name.push_str(head);
        match tail.strip_prefix('`') {
            Some(more) => {
                name.push('`');
                rest = more;
            }
            None => return Some((Ident::new(name), tail)),
        }
    }
}

/// Makes the statements from both tables' definitions; refuses where they do not fit together.
pub(crate) fn statements(
    draft: &Draft<'_>,
    helpers: &Helpers,
    shadow: &Table,
) -> Result<(Statements, Reading)> {
    let original = draft.original;
    let kept = &draft.change.kept;
    prove_columns(original, shadow, kept)?;
    referenced_keys_stay(draft, shadow)?;
    let (projection, findings) = project(original, shadow, kept, draft.flavor);
    if !findings.is_empty() {
        return Err(Error::Refused(findings));
    }
    let mut reasons = Vec::new();
    for index in original.copy_keys() {
        let key = original.key_columns(index)?;
        // The stream reports them in UTC, and a zone with summer time has no literal for each.
        if projection.zoned
            && key.0.iter().any(|column| matches!(column.kind, KeyKind::Timestamp { .. }))
        {
            reasons.push(format!(
                "{}: it has a TIMESTAMP, and this change must be made in the server's time zone",
                index.name
            ));
            continue;
        }
        match in_shadow(original, shadow, kept, &key) {
            Ok((shadow_key, shadow_index)) => {
                let reading = Reading { zoned: projection.zoned, strict_dates: projection.dated };
                let statements = Statements {
                    original: original.name.clone(),
                    shadow: helpers.shadow.clone(),
                    key,
                    index: index.name.clone(),
                    shadow_key,
                    shadow_index,
                    projection,
                    put: None,
                };
                return Ok((statements, reading));
            }
            Err(reason) => reasons.push(format!("{}: {reason}", index.name)),
        }
    }
    let problem = if reasons.is_empty() {
        format!(
            "{} has no primary key and no unique key on not-null columns",
            original.name.plain()
        )
    } else {
        format!("no unique key of both tables can order the copy ({})", reasons.join("; "))
    };
    Err(Error::Refused(vec![Finding::new(
        "copy-key",
        problem,
        "add a primary key, or a unique key on columns that are NOT NULL and keep their type",
    )]))
}

/// Makes the statements of an undo, in which the original is the live table and the shadow the one that goes
/// back: the copy key is one of the change that is undone.
pub(crate) fn statements_back(
    draft: &Draft<'_>,
    helpers: &Helpers,
    retired: &Table,
    manner: put::Manner<'_>,
) -> Result<(Statements, Reading)> {
    let (live, kept, flavor) = (draft.original, &draft.change.kept, draft.flavor);
    prove_columns(live, retired, kept)?;
    referenced_keys_stay(draft, retired)?;
    let (projection, put, findings) =
        put::way_back(&put::Ways { live, retired, kept, manner, flavor });
    if !findings.is_empty() {
        return Err(Error::Refused(findings));
    }
    let forth: Vec<(Ident, Ident)> =
        kept.iter().map(|(new, old)| (old.clone(), new.clone())).collect();
    let mut reasons = Vec::new();
    for index in retired.copy_keys() {
        let key = retired.key_columns(index)?;
        let zoned = |column: &KeyColumn| matches!(column.kind, KeyKind::Timestamp { .. });
        if projection.zoned && key.0.iter().any(zoned) {
            reasons.push(format!("{}: it has a TIMESTAMP", index.name));
            continue;
        }
        match in_shadow(retired, live, &forth, &key) {
            Ok((names, live_index)) => {
                let mut live_key = live.key_named(&names)?;
                for (column, old) in live_key.0.iter_mut().zip(&key.0) {
                    column.descending = old.descending;
                }
                let reading = Reading { zoned: projection.zoned, strict_dates: projection.dated };
                let statements = Statements {
                    original: live.name.clone(),
                    shadow: helpers.shadow.clone(),
                    key: live_key,
                    index: live_index,
                    shadow_key: key.0.iter().map(|column| column.name.clone()).collect(),
                    shadow_index: index.name.clone(),
                    projection,
                    put,
                };
                return Ok((statements, reading));
            }
            Err(reason) => reasons.push(format!("{}: {reason}", index.name)),
        }
    }
    Err(Error::Refused(vec![Finding::new(
        "copy-key",
        format!(
            "no unique key of both tables can tell which rows are one ({})",
            reasons.join("; ")
        ),
        "give the live table a unique key on the columns of the old primary key",
    )]))
}

/// The shadow must have exactly the columns that the clauses account for.
fn prove_columns(original: &Table, shadow: &Table, kept: &[(Ident, Ident)]) -> Result<()> {
    let unclear: Vec<Finding> = kept
        .iter()
        .filter(|(old, new)| original.column(old).is_none() || shadow.column(new).is_none())
        .map(|(old, new)| {
            Finding::new(
                "column-outcomes",
                format!("column {old} should have become {new}, but the server did otherwise"),
                "write the change in clauses that osc knows, or in several runs",
            )
        })
        .collect();
    if unclear.is_empty() { Ok(()) } else { Err(Error::Refused(unclear)) }
}

/// MySQL drops no unique key that a child's foreign key references (1553), not even where a plain index
/// takes its place; the new table must not be what the server's own ALTER would have refused.
fn referenced_keys_stay(draft: &Draft<'_>, shadow: &Table) -> Result<()> {
    if draft.flavor.is_mariadb() {
        return Ok(());
    }
    let is_key = |table: &Table, columns: &[Ident]| {
        table.indexes.iter().any(|index| {
            index.unique
                && index.parts.len() == columns.len()
                && columns.iter().all(|name| {
                    index.parts.iter().any(|part| {
                        part.prefix.is_none()
                            && part.column.as_ref().is_some_and(|column| column.same(name))
                    })
                })
        })
    };
    let renamed = |name: &Ident| {
        let found = draft.change.kept.iter().find(|(old, _)| old.same(name));
        found.map(|(_, new)| new.clone())
    };
    let mut lost = Vec::new();
    for key in &draft.dependents.incoming {
        let now: Option<Vec<Ident>> = key.referenced_columns.iter().map(renamed).collect();
        let Some(now) = now else { continue };
        if is_key(draft.original, &key.referenced_columns) && !is_key(shadow, &now) {
            lost.push(Finding::new(
                "referenced-key",
                format!("the clauses drop the unique key that {} references", key.plain()),
                format!(
                    "keep a unique key on these columns, or first drop the foreign key: \
                     ALTER TABLE {} DROP FOREIGN KEY {}",
                    key.table, key.name
                ),
            ));
        }
    }
    if lost.is_empty() { Ok(()) } else { Err(Error::Refused(lost)) }
}

/// The copy key's columns and index in the shadow, or why it has none.
///
/// The shadow's key may be longer: `(id, created_at)` where the original's is `(id)`, as partitioning
/// wants it. The key of the original names the rows all the same, since no two of them share it:
/// chunks are ranges of it, and a refresh deletes whatever the shadow has under it. Only the shadow
/// itself would take a second row with the same `id`; that none comes about is rule 4, and that none
/// came about the verification shows, which counts the rows of each range (docs/understand/how-it-works.md).
fn in_shadow(
    original: &Table,
    shadow: &Table,
    kept: &[(Ident, Ident)],
    key: &KeyColumns,
) -> std::result::Result<(Vec<Ident>, Ident), String> {
    let mut names = Vec::new();
    for part in &key.0 {
        let (_, new) = kept
            .iter()
            .find(|(old, _)| old.same(&part.name))
            .ok_or_else(|| format!("its column {} is dropped", part.name))?;
        let old = original.column(&part.name).ok_or("its column is gone")?;
        let new = shadow.column(new).ok_or("its column is gone")?;
        if !comparable(old, new) {
            return Err(format!(
                "its column {} becomes {} and would be compared in another way",
                part.name, new.column_type
            ));
        }
        names.push(new.name.clone());
    }
    let leads = |index: &&Index| {
        index.orders_rows()
            && index.parts.len() >= names.len()
            && index.parts.iter().zip(&names).zip(&key.0).all(|((part, name), column)| {
                part.prefix.is_none()
                    && part.descending == column.descending
                    && part.column.as_ref().is_some_and(|column| column.same(name))
            })
    };
    let any_order = |index: &&Index| {
        index.orders_rows()
            && index.parts.len() == names.len()
            && names.iter().all(|name| {
                index.parts.iter().any(|part| {
                    part.prefix.is_none() && part.column.as_ref().is_some_and(|c| c.same(name))
                })
            })
    };
    shadow
        .indexes
        .iter()
        .find(|index| leads(index) && index.parts.len() == names.len())
        .or_else(|| shadow.indexes.iter().find(any_order))
        .or_else(|| shadow.indexes.iter().find(leads))
        .map(|index| (names.clone(), index.name.clone()))
        .ok_or_else(|| {
            "the changed table has no unique key that these columns are, or that begins with them"
                .to_owned()
        })
}

/// Whether a literal of the old column compares with the new one as it did with the old.
fn comparable(old: &Column, new: &Column) -> bool {
    let int = |column: &Column| {
        matches!(
            column.data_type.as_str(),
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year"
        )
    };
    if old.is_text() {
        return new.is_text()
            && old.charset == new.charset
            && old.collation == new.collation
            && (old.data_type == "char") == (new.data_type == "char");
    }
    match old.data_type.as_str() {
        _ if int(old) => int(new),
        "enum" | "set" | "binary" => old.column_type == new.column_type,
        "decimal" => new.data_type == "decimal",
        _ => old.data_type == new.data_type && old.fraction <= new.fraction,
    }
}

/// Waits until transactions that an unfinished run left on the shadow are gone: its lock is granted only
/// when no session has the table in an open transaction.
pub(crate) async fn wait_for_the_dead(conn: &mut Conn, shadow: &TableName) -> Result<()> {
    let action = "waiting for sessions of the unfinished run";
    match conn.query_drop(format!("LOCK TABLES {shadow} WRITE")).await {
        Ok(()) => run(conn, action, "UNLOCK TABLES").await,
        // ER_NO_SUCH_TABLE: a rename of the unfinished run has come through.
        Err(mysql_async::Error::Server(error)) if error.code == 1146 => Ok(()),
        // ER_LOCK_WAIT_TIMEOUT: they are still there, maybe being rolled back.
        Err(mysql_async::Error::Server(error)) if error.code == LOCK_WAIT_TIMEOUT => {
            Err(Error::stopped(format!(
                "sessions of the interrupted run are still working on {}",
                shadow.plain()
            )))
        }
        Err(error) => Err(connection_error(action, error)),
    }
}

/// Whether a table has no rows. A view is refused, by the hint.
pub(crate) async fn is_empty(conn: &mut Conn, table: &TableName) -> Result<bool> {
    match conn.query_first::<u8, _>(format!("SELECT 1 FROM {table} USE INDEX () LIMIT 1")).await {
        Ok(row) => Ok(row.is_none()),
        // ER_NO_SUCH_TABLE: dropped in between.
        Err(mysql_async::Error::Server(error)) if error.code == 1146 => Ok(true),
        Err(error) => Err(connection_error("looking for rows", error)),
    }
}

/// Drops a helper table, if it is there. Whoever calls it knows that the table is osc's.
pub(crate) async fn drop_table(conn: &mut Conn, table: &TableName) -> Result<()> {
    run_ddl(conn, "dropping a helper table", &format!("DROP TABLE IF EXISTS {table}")).await
}

/// Whether the table has a default that a server with `NO_ZERO_DATE` or `NO_ZERO_IN_DATE` refuses.
pub(crate) fn has_zero_dates(table: &Table) -> bool {
    table.columns.iter().any(|column| {
        matches!(column.data_type.as_str(), "date" | "datetime" | "timestamp")
            && column.default.as_ref().is_some_and(|default| default.contains("-00"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_listed_with_what_they_check() {
        let create = "CREATE TABLE `t` (\n  `a` int,\n  CONSTRAINT `c``1` CHECK ((`a` > 1)),\n  \
                      CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES `p` (`a`),\n  \
                      CONSTRAINT `c2` CHECK ((`a` < 9))\n)";
        assert_eq!(
            checks(create),
            [
                (Ident::new("c`1"), "((`a` > 1))".to_owned()),
                (Ident::new("c2"), "((`a` < 9))".to_owned()),
            ]
        );
    }
}
