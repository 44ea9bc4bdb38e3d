//! What a run's stream leaves on the server is called.

use tokio_postgres::Client;

use crate::error::Result;
use crate::fnv::fnv1a;
use crate::postgres::connection::errors::server_error;
use crate::postgres::name::{Ident, TableName};

/// The names of a run's slot and publication, or of its log. Slots are the cluster's and runs are
/// numbered by the ledger, so database and ledger are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The replication slot: lower-case letters, digits and underscores, not to be quoted.
    pub slot: String,
    /// The publication.
    pub publication: Ident,
    /// The log of the triggers, in the schema of osc's own. Function and triggers are called like it.
    pub log: TableName,
}

/// What every name begins with.
const PREFIX: &str = "osc_";

/// The names for `run` of the ledger in the schema `ledger`, on the table of this OID in `database`.
pub fn names(run: i64, original_oid: u32, database: &str, ledger: &Ident) -> Names {
    let home = home(database, ledger);
    let name = format!("{PREFIX}{run}_{original_oid}_{home:08x}").replace('-', "m");
    Names::called(&name, ledger)
}

/// What tells apart the runs of the same number in other databases and ledgers.
fn home(database: &str, ledger: &Ident) -> u32 {
    fnv1a(format!("{database}\0{}", ledger.as_str()).as_bytes())
}

impl Names {
    fn called(name: &str, ledger: &Ident) -> Self {
        Self {
            slot: name.into(),
            publication: Ident::new(name),
            log: TableName { schema: ledger.clone(), table: Ident::new(name) },
        }
    }

    /// The names that go with a slot's or a publication's name, if it is one of `run` of the ledger in
    /// the schema `ledger` of `database`.
    pub fn parse(name: &str, run: i64, database: &str, ledger: &Ident) -> Option<Self> {
        let oid = name.strip_prefix(PREFIX)?.split('_').nth(1)?.parse().ok()?;
        Some(names(run, oid, database, ledger)).filter(|names| names.slot == name)
    }
}

/// What there is of a run's streams, whichever table it was on: slots and publications of this
/// database, logs in the schema of osc's own.
///
/// # Errors
/// Those of the connection.
pub async fn left(client: &Client, run: i64, database: &str, ledger: &Ident) -> Result<Vec<Names>> {
    let failed = |error| server_error("looking for what an unfinished run left", &error);
    let sql = "SELECT slot_name::text FROM pg_catalog.pg_replication_slots \
               WHERE database = pg_catalog.current_database() AND plugin = 'pgoutput' \
               UNION SELECT pubname::text FROM pg_catalog.pg_publication \
               UNION SELECT p.proname::text FROM pg_catalog.pg_proc p \
               JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1 \
               ORDER BY 1";
    let rows = client.query(sql, &[&ledger.as_str()]).await.map_err(failed)?;
    let mut found = Vec::new();
    for row in rows {
        let name: String = row.try_get(0).map_err(failed)?;
        found.extend(Names::parse(&name, run, database, ledger));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_are_known_again_and_differ() {
        let (own, other) = (Ident::new("osc"), Ident::new("osc_b"));
        let database = "d".repeat(63);
        let long = names(i64::MIN, u32::MAX, &database, &own);
        assert!(long.slot.len() <= Ident::MAX_BYTES);
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(long.slot.chars().all(valid));
        assert_eq!(Names::parse(&long.slot, i64::MIN, &database, &own), Some(long.clone()));
        for (run, database, ledger) in
            [(1, &*database, &own), (i64::MIN, "other", &own), (i64::MIN, &*database, &other)]
        {
            assert_eq!(Names::parse(&long.slot, run, database, ledger), None);
        }
        assert_ne!(names(1, 2, "a", &own), names(1, 2, "b", &own));
        assert_ne!(names(1, 2, "a", &own).slot, names(1, 2, "a", &other).slot);
        assert_ne!(names(1, 2, "a", &own), names(1, 3, "a", &own));
        for name in ["osc_1", "osc_1_2_x", "osc_1_2_0000000g", "osc_a_2_00000000", "mine"] {
            assert_eq!(Names::parse(name, 1, "a", &own), None, "{name}");
        }
    }
}
