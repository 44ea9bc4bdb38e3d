//! What is left to do after the swap, without hurry: every step can be done again.

use std::time::Duration;

use tokio_postgres::Client;

use super::foreign_keys::ForeignKey;
use super::{Dependents, Names, foreign_keys, validation};
use crate::error::Result;
use crate::postgres::catalog::table::oid_of;
use crate::postgres::connection::errors::LOCK_NOT_AVAILABLE;
use crate::postgres::connection::errors::{server_error, sqlstate};
use crate::postgres::connection::session::rows;
use crate::postgres::name::{Ident, TableName};
use crate::postgres::trust::guards;

/// How long one attempt waits for its lock, with others queueing behind it.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// How often a lock is requested, and the pause before the next time.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// How many orphans are shown.
const SHOWN: u32 = 10;

/// Checks the foreign keys that the swap put back unchecked, those apart that were so before, and
/// drops the snapshot guard once it is over. `unchecked`: those to check, each the table that it is on
/// and its name; what they are is read from the catalog. `trusts_owner`: whoever owns what it runs. What could not be done is told in the
/// warnings; calling this again does what is left. The session's `lock_timeout` and
/// `statement_timeout` are changed.
///
/// # Errors
/// Those of [`server_error`] where the catalog cannot be read.
pub async fn after_swap(
    client: &Client,
    names: &Names,
    unchecked: &[(TableName, Ident)],
    trusts_owner: bool,
) -> Result<Vec<String>> {
    let timeouts =
        format!("SET lock_timeout = {}; SET statement_timeout = 0", LOCK_TIMEOUT.as_millis());
    let action = "setting the session up for what follows the swap";
    client.batch_execute(&timeouts).await.map_err(|error| server_error(action, &error))?;
    let mut warnings = Vec::new();
    let wanted = |key: &&ForeignKey| {
        let named = |(child, name): &(TableName, Ident)| *child == key.child && *name == key.name;
        !key.validated && unchecked.iter().any(named)
    };
    if let Some(oid) = oid_of(client, &names.original).await? {
        for key in foreign_keys::read(client, oid).await?.iter().filter(wanted) {
            warnings.extend(validate(client, key, trusts_owner).await?);
        }
    }
    if !drop_guard(client, names).await? {
        warnings.push(format!(
            "a transaction from before the swap is still open: the guard on {} stays until `osc \
             cleanup`",
            names.original.plain()
        ));
    }
    Ok(warnings)
}

impl Dependents {
    /// Foreign keys that are checked, and that the swap puts back unchecked: what [`after_swap`] is to
    /// check.
    pub fn to_validate(&self) -> Vec<(TableName, Ident)> {
        let keys = self.foreign_keys.iter().filter(|key| key.to_validate());
        keys.map(|key| (key.child.clone(), key.name.clone())).collect()
    }
}

async fn drop_guard(client: &Client, names: &Names) -> Result<bool> {
    for _ in 1..ATTEMPTS {
        if guards::drop_if_over(client, &names.original).await? {
            return Ok(true);
        }
        tokio::time::sleep(PAUSE).await;
    }
    guards::drop_if_over(client, &names.original).await
}

/// Checks the rows of one key; a warning where that did not succeed.
async fn validate(client: &Client, key: &ForeignKey, trusts_owner: bool) -> Result<Option<String>> {
    let name = format!("the foreign key {} of {}", key.name, key.child.plain());
    let statement = validation::validate(&key.child, &key.name, trusts_owner);
    for attempt in 1..=ATTEMPTS {
        let Err(error) = client.batch_execute(&statement).await else { return Ok(None) };
        match sqlstate(&error) {
            Some(LOCK_NOT_AVAILABLE) if attempt < ATTEMPTS => tokio::time::sleep(PAUSE).await,
            Some("23503") => {
                let rows = orphans(client, key, trusts_owner).await?;
                return Ok(Some(format!(
                    "{name} stays NOT VALID, since rows have no parent: {}",
                    rows.join(", ")
                )));
            }
            Some(_) => {
                let error = server_error("validating it", &error);
                return Ok(Some(format!("{name} stays NOT VALID: {error}")));
            }
            None => return Err(server_error("validating foreign keys", &error)),
        }
    }
    Ok(None)
}

async fn orphans(client: &Client, key: &ForeignKey, trusts_owner: bool) -> Result<Vec<String>> {
    let sql = key.orphans(SHOWN, trusts_owner);
    let found = rows(client, "looking for rows without parent", &sql).await?;
    Ok(found.iter().filter_map(|row| row.get(0)).map(str::to_owned).collect())
}
