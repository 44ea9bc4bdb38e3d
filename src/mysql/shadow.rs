//! The shadow: created like the original, changed by the clauses, and proved to be what the plan
//! says before a row is copied.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::engine::error::Finding;
use crate::engine::{Error, Result};
use crate::fault::{self, Point};
use crate::mysql::connect::connection_error;
use crate::mysql::inspect::{self, Column, Index, Table};
use crate::mysql::key::{KeyColumns, KeyKind};
use crate::mysql::name::{Helpers, Ident, TableName};
use crate::mysql::projection::project;
use crate::mysql::session::{Reading, is_contention, no_lock, run};
use crate::mysql::statements::Statements;
use crate::mysql::table::Setting;

/// Creates the empty shadow.
pub async fn create(conn: &mut Conn, setting: &Setting, helpers: &Helpers) -> Result<()> {
    let action = "creating the shadow";
    drop_table(conn, &helpers.shadow).await?;
    run(conn, action, &format!("CREATE TABLE {} LIKE {}", helpers.shadow, setting.original.name))
        .await?;
    fault::at(Point::ShadowCreated)?;
    if setting.change.clauses.clauses.is_empty() {
        return Ok(());
    }
    let checks = renamed_checks(conn, setting, &helpers.shadow).await?;
    let alter = setting.change.for_shadow(&helpers.shadow, &checks);
    match conn.query_drop(alter).await {
        Ok(()) => Ok(()),
        Err(mysql_async::Error::Server(error)) => {
            drop_table(conn, &helpers.shadow).await?;
            Err(Error::Refused(vec![Finding::new(
                "clauses",
                format!(
                    "the server does not take these clauses: {} ({})",
                    error.message, error.code
                ),
                "they were tried on an empty copy of the table; the original is untouched",
            )]))
        }
        Err(error) => Err(connection_error(action, error)),
    }
}

/// MySQL names CHECK constraints once a schema, so that those of the shadow have other names than
/// the original's, and stand in another order: twins are told by what they check.
async fn renamed_checks(
    conn: &mut Conn,
    setting: &Setting,
    shadow: &TableName,
) -> Result<Vec<(Ident, Ident)>> {
    if setting.flavor.is_mariadb() {
        return Ok(Vec::new());
    }
    let mut twins = checks(&inspect::definition(conn, shadow).await?);
    let pairs = checks(&setting.original.create).into_iter().filter_map(|(name, check)| {
        let at = twins.iter().position(|(_, twin)| *twin == check)?;
        Some((name, twins.swap_remove(at).0))
    });
    Ok(pairs.collect())
}

/// The named CHECK constraints and what they check.
fn checks(create: &str) -> Vec<(Ident, String)> {
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
pub fn statements(
    setting: &Setting,
    helpers: &Helpers,
    shadow: &Table,
) -> Result<(Statements, Reading)> {
    let original = &setting.original;
    let kept = &setting.change.kept;
    prove_columns(original, shadow, kept)?;
    let (projection, findings) = project(original, shadow, kept);
    if !findings.is_empty() {
        return Err(Error::Refused(findings));
    }
    let mut reasons = Vec::new();
    for index in original.copy_keys() {
        let key = original.key_columns(index)?;
        // The stream tells them in UTC, and a zone with summer time has no literal for each.
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

/// The shadow must have exactly the columns that the clauses account for.
fn prove_columns(original: &Table, shadow: &Table, kept: &[(Ident, Ident)]) -> Result<()> {
    let unclear: Vec<Finding> = kept
        .iter()
        .filter(|(old, new)| original.column(old).is_none() || shadow.column(new).is_none())
        .map(|(old, new)| {
            Finding::new(
                "column-fate",
                format!("column {old} should have become {new}, but the server did otherwise"),
                "write the change in clauses that osc knows, or in several runs",
            )
        })
        .collect();
    if unclear.is_empty() { Ok(()) } else { Err(Error::Refused(unclear)) }
}

/// The copy key's columns and index in the shadow, or why it has none.
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
    let covers = |index: &&Index| {
        index.unique
            && index.kind == "BTREE"
            && index.parts.len() == names.len()
            && index.parts.iter().zip(&names).zip(&key.0).all(|((part, name), column)| {
                part.prefix.is_none()
                    && part.descending == column.descending
                    && part.column.as_ref().is_some_and(|column| column.same(name))
            })
    };
    let any_order = |index: &&Index| {
        index.unique
            && index.kind == "BTREE"
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
        .find(covers)
        .or_else(|| shadow.indexes.iter().find(any_order))
        .map(|index| (names.clone(), index.name.clone()))
        .ok_or_else(|| "the changed table has no unique key on the same columns".to_owned())
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

/// `ER_DUP_ENTRY`, and `ER_DUP_UNKNOWN_IN_INDEX`, which tells of the same where the row is not known.
const DUPLICATE_ENTRY: [u16; 2] = [1062, 1859];

/// Drops the secondary indexes that can be built after the copy; returns their definitions.
pub async fn drop_deferrable(
    conn: &mut Conn,
    shadow: &Table,
    statements: &Statements,
) -> Result<Vec<String>> {
    let leads_with_counter = |index: &Index| {
        index
            .parts
            .first()
            .and_then(|part| part.column.as_ref())
            .is_some_and(|name| shadow.column(name).is_some_and(|column| column.auto_increment))
    };
    let mut deferrable: Vec<(&Index, String)> = shadow
        .indexes
        .iter()
        .filter(|index| {
            !index.unique
                && index.kind == "BTREE"
                && !index.name.same(&statements.shadow_index)
                && !leads_with_counter(index)
                // Its hidden column cannot be added in place together with others.
                && index.parts.iter().all(|part| part.column.is_some())
        })
        .filter_map(|index| definition(&shadow.create, &index.name).map(|text| (index, text)))
        .collect();
    // In their order, which is how the server shows them, and which the optimizer prefers them by.
    deferrable.sort_by_key(|(_, text)| shadow.create.find(text.as_str()));
    if deferrable.is_empty() {
        return Ok(Vec::new());
    }
    let drops: Vec<String> =
        deferrable.iter().map(|(index, _)| format!("DROP INDEX {}", index.name)).collect();
    run(
        conn,
        "leaving indexes to after the copy",
        &format!("ALTER TABLE {} {}", shadow.name, drops.join(", ")),
    )
    .await?;
    Ok(deferrable.into_iter().map(|(_, text)| text).collect())
}

/// An index's definition in the server's own words.
fn definition(create: &str, name: &Ident) -> Option<String> {
    let start = format!("KEY {name} (");
    create
        .lines()
        .map(|line| line.trim().trim_end_matches(','))
        .find(|line| line.starts_with(&start))
        .map(ToOwned::to_owned)
}

/// How often the build of indexes waits for the shadow's lock in vain, each time for seconds.
const MOST_WAITS: u32 = 60;

/// Adds the indexes that were left out and are not there yet, in one pass over the table.
pub async fn add_deferred(conn: &mut Conn, shadow: &TableName, deferred: &[String]) -> Result<()> {
    let Some(table) = Table::read(conn, shadow).await? else {
        return Err(Error::Internal("the shadow is gone".into()));
    };
    let missing: Vec<String> = deferred
        .iter()
        .filter(|text| {
            text.strip_prefix("KEY ")
                .and_then(quoted)
                .is_none_or(|(name, _)| !table.indexes.iter().any(|index| index.name.same(&name)))
        })
        .map(|text| format!("ADD {text}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    // While a refresh changes a text key's case, InnoDB may take the row's two entries in an index
    // that is being built for duplicates, though the index is not unique: even where refreshes wait,
    // as long as the older entry is not purged. A copy of the table by the server cannot.
    let mut pause = Duration::from_millis(50);
    let mut attempt = 0;
    let mut waits = 0;
    loop {
        attempt += 1;
        let (algorithm, lock) = match attempt {
            1..=3 => ("INPLACE", "NONE"),
            4..=6 => ("INPLACE", "SHARED"),
            _ => ("COPY", "SHARED"),
        };
        let sql = format!(
            "ALTER TABLE {shadow} {}, ALGORITHM={algorithm}, LOCK={lock}",
            missing.join(", ")
        );
        match conn.query_drop(sql).await {
            Err(mysql_async::Error::Server(error))
                if DUPLICATE_ENTRY.contains(&error.code) && algorithm != "COPY" =>
            {
                tracing::info!(%error, "building indexes again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(mysql_async::Error::Server(error)) if is_contention(error.code) => {
                // Comparisons and refreshes hold the shadow too, each for a moment.
                waits += 1;
                if waits > MOST_WAITS {
                    return Err(no_lock("building indexes", &error.message));
                }
                tracing::info!(%error, "building indexes again");
                attempt -= 1;
            }
            outcome => return outcome.map_err(|error| connection_error("building indexes", error)),
        }
    }
}

/// Waits until transactions that a dead run left on the shadow are gone: its lock is granted only
/// when no session has the table in an open transaction.
pub async fn wait_for_the_dead(conn: &mut Conn, shadow: &TableName) -> Result<()> {
    let action = "waiting for sessions of the dead run";
    match conn.query_drop(format!("LOCK TABLES {shadow} WRITE")).await {
        Ok(()) => run(conn, action, "UNLOCK TABLES").await,
        // ER_NO_SUCH_TABLE: a rename of the dead run has come through.
        Err(mysql_async::Error::Server(error)) if error.code == 1146 => Ok(()),
        // ER_LOCK_WAIT_TIMEOUT: they are still there, maybe being rolled back.
        Err(mysql_async::Error::Server(error)) if error.code == 1205 => Err(Error::Stopped {
            reason: format!("sessions of the dead run are still at work on {}", shadow.plain()),
            help: "run the same command again in a moment; it goes on from the checkpoint".into(),
        }),
        Err(error) => Err(connection_error(action, error)),
    }
}

/// Drops a helper table, if it is there.
pub async fn drop_table(conn: &mut Conn, table: &TableName) -> Result<()> {
    run(conn, "dropping a helper table", &format!("DROP TABLE IF EXISTS {table}")).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_definition_is_found_in_the_servers_words() {
        let create = "CREATE TABLE `t` (\n  `a` int,\n  PRIMARY KEY (`a`),\n  UNIQUE KEY `u` (`b`),\n  \
                      KEY `k``1` (`c`(10) DESC,`d`) COMMENT 'x',\n  KEY `k` (`c`)\n) ENGINE=InnoDB";
        assert_eq!(
            definition(create, &Ident::new("k`1")).as_deref(),
            Some("KEY `k``1` (`c`(10) DESC,`d`) COMMENT 'x'")
        );
        assert_eq!(definition(create, &Ident::new("k")).as_deref(), Some("KEY `k` (`c`)"));
        assert_eq!(definition(create, &Ident::new("u")), None);
    }

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
