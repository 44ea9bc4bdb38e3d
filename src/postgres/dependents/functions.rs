//! Functions whose body was parsed when they were made (`BEGIN ATOMIC`, `RETURN`): they are bound
//! to the table's OID.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::sql;
use crate::error::Result;
use crate::postgres::name::{Ident, Text};

/// Such a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Function {
    /// OID of the function.
    pub oid: u32,
    /// `schema.name(types)`.
    pub name: String,
    /// `CREATE OR REPLACE FUNCTION …` as the server writes it.
    pub definition: String,
    /// Columns of the original that it names.
    pub columns: Vec<Ident>,
    /// Its owner.
    pub owner: Ident,
    /// Whether osc's role may replace it.
    pub owned: bool,
}

/// Reads them.
pub(super) async fn read(client: &Client, oid: u32) -> Result<Vec<Function>> {
    let columns = sql::columns_used("pg_proc", "p.oid");
    let query = format!(
        "SELECT p.oid::bigint AS oid, p.oid::regprocedure::text AS name, \
         pg_catalog.pg_get_functiondef(p.oid) AS definition, {columns} AS columns, \
         pg_catalog.pg_get_userbyid(p.proowner) AS owner, \
         pg_catalog.pg_has_role(p.proowner, 'USAGE') AS owned \
         FROM pg_catalog.pg_proc p WHERE p.prosqlbody IS NOT NULL AND EXISTS (\
         SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::regclass \
         AND d.objid = p.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass \
         AND d.refobjid = $1) ORDER BY p.oid"
    );
    sql::rows(client, "functions", &query, oid).await
}

/// Binds the function to the new table; owner, rights and comment stay.
pub(super) fn replace(function: &Function) -> Vec<String> {
    let (name, owner) = (&function.name, &function.owner);
    // No lock keeps a function: one that was dropped by now is made, and would be osc's role's.
    let ours = format!(
        "(SELECT pg_catalog.pg_get_userbyid(proowner) FROM pg_catalog.pg_proc \
         WHERE oid = {}::pg_catalog.regprocedure) <> {}",
        Text(name),
        Text(owner.as_str())
    );
    vec![
        function.definition.trim_end().trim_end_matches(';').to_owned(),
        sql::when(&ours, &format!("ALTER ROUTINE {name} OWNER TO {owner}")),
    ]
}
