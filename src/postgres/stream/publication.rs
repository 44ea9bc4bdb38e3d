//! The publication, and whether the table can have one.

use tokio_postgres::Client;

use crate::error::{AGAIN, Error, Finding, Result};
use crate::postgres::catalog::key::KeyColumns;
use crate::postgres::connection::errors::{LOCK_NOT_AVAILABLE, server_error, sqlstate};
use crate::postgres::name::{Ident, TableName};
use crate::testing::mutation::{self, Rule};

use super::names::Names;

/// The first version whose publications can list columns.
const COLUMN_LISTS: i32 = 150_000;

/// How long to wait for the lock, which no reader and no writer minds.
const LOCK_TIMEOUT: &str = "10s";

/// What a changed row's message holds of the row before.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// These columns, those of a unique index.
    Columns(Vec<Ident>),
    /// All columns.
    Full,
}

/// Publishes the changes of `original`: of its key only, where the server can. `version_num` is the
/// server's `server_version_num`. A publication of this name is replaced.
///
/// # Errors
/// `Refused`, before anything is changed, when UPDATE and DELETE would fail on a published
/// `original`, when its replica identity does not contain `key`, or when a right is missing.
pub async fn prepare(
    client: &Client,
    original: &TableName,
    key: &KeyColumns,
    names: &Names,
    version_num: i32,
) -> Result<()> {
    let identified = if mutation::active(Rule::IdentityChecked) {
        Identity::Full
    } else {
        identity(client, original).await?
    };
    let columns = match identified {
        Identity::Full => None,
        Identity::Columns(columns) => {
            if let Some(column) = key.0.iter().find(|column| !columns.contains(&column.name)) {
                return Err(refused(
                    format!(
                        "the column {} of {}'s copy key is not in its replica identity, so that \
                         deletes would not tell their key",
                        column.name.as_str(),
                        original.plain()
                    ),
                    "let osc copy by the key that is the replica identity, or set \
                     REPLICA IDENTITY USING INDEX to the copy key's index",
                ));
            }
            Some(columns).filter(|_| version_num >= COLUMN_LISTS)
        }
    };
    let list = columns.map_or_else(String::new, |columns| {
        let columns: Vec<String> = columns.iter().map(Ident::to_string).collect();
        format!(" ({})", columns.join(", "))
    });
    // One message of several statements is one transaction.
    let sql = format!(
        "SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';
         DROP PUBLICATION IF EXISTS {name};
         CREATE PUBLICATION {name} FOR TABLE ONLY {original}{list}",
        name = names.publication
    );
    client.batch_execute(&sql).await.map_err(|error| match sqlstate(&error) {
        Some(LOCK_NOT_AVAILABLE) => Error::Stopped {
            reason: format!("another session alters or vacuums {}", original.plain()),
            help: format!("wait until it is done, then {AGAIN}"),
        },
        _ => server_error("publishing the table's changes", &error),
    })
}

async fn identity(client: &Client, original: &TableName) -> Result<Identity> {
    let action = "reading the replica identity";
    let failed = |error| server_error(action, &error);
    let rows = client
        .query(
            "SELECT c.relreplident::text, c.relpersistence::text, a.attname, a.attgenerated::text
             FROM pg_catalog.pg_class c
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid
               AND i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL
               AND CASE c.relreplident WHEN 'd' THEN i.indisprimary
                                       WHEN 'i' THEN i.indisreplident ELSE false END
             LEFT JOIN pg_catalog.pg_attribute a
               ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
             WHERE n.nspname = $1 AND c.relname = $2
             ORDER BY a.attnum",
            &[&original.schema.as_str(), &original.table.as_str()],
        )
        .await
        .map_err(failed)?;
    let Some(first) = rows.first() else {
        return Err(refused(format!("there is no table {}", original.plain()), "check the name"));
    };
    let kind: &str = first.try_get(0).map_err(failed)?;
    if first.try_get::<_, &str>(1).map_err(failed)? != "p" {
        return Err(refused(
            format!(
                "{} is not a logged table, so that its changes are in no log",
                original.plain()
            ),
            "let osc capture changes by triggers",
        ));
    }
    if kind == "f" {
        return Ok(Identity::Full);
    }
    let mut columns = Vec::new();
    for row in &rows {
        if let Some(name) = row.try_get::<_, Option<String>>(2).map_err(failed)? {
            if row.try_get::<_, Option<&str>>(3).map_err(failed)? != Some("") {
                return Err(refused(
                    format!(
                        "the generated column {name} is in the replica identity of {}",
                        original.plain()
                    ),
                    "set REPLICA IDENTITY USING INDEX to an index without it",
                ));
            }
            columns.push(Ident::new(name));
        }
    }
    if columns.is_empty() {
        let problem = match kind {
            "n" => "has REPLICA IDENTITY NOTHING",
            "i" => "has lost the index of its replica identity",
            _ => "has no primary key that is not deferrable, and no other replica identity",
        };
        return Err(refused(
            format!("{} {problem}: published, it would refuse UPDATE and DELETE", original.plain()),
            &format!(
                "ALTER TABLE {original} REPLICA IDENTITY USING INDEX, with a unique index on \
                      NOT NULL columns"
            ),
        ));
    }
    Ok(Identity::Columns(columns))
}

fn refused(problem: String, help: &str) -> Error {
    Error::Refused(vec![Finding::new("replica-identity", problem, help)])
}

/// Drops the publication, if it is there.
pub(super) async fn drop(client: &Client, names: &Names) -> Result<()> {
    client
        .batch_execute(&format!("DROP PUBLICATION IF EXISTS {}", names.publication))
        .await
        .map_err(|error| server_error("dropping the publication", &error))
}
