//! Row security: the table's own policies, and those of other tables whose conditions read it.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::sql;
use crate::error::Result;
use crate::postgres::name::{Ident, TableName};

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Policy {
    /// Its table.
    pub on: TableName,
    /// Whether that is the original.
    pub own: bool,
    /// Its name.
    pub name: Ident,
    /// Whether it widens (permissive) or narrows what others allow.
    pub permissive: bool,
    /// `pg_policy.polcmd`: `r`, `a`, `w`, `d` or `*`.
    pub command: String,
    /// Whom it is for, quoted where they are names.
    pub roles: Vec<String>,
    /// Rows that are seen.
    pub using: Option<String>,
    /// Rows that may be written.
    pub check: Option<String>,
    /// Columns of the original that it names.
    pub columns: Vec<Ident>,
    /// Its comment.
    pub comment: Option<String>,
    /// Whether osc's role may alter the table that it is on.
    pub owned: bool,
}

/// Reads them.
pub(super) async fn read(client: &Client, oid: u32) -> Result<Vec<Policy>> {
    let (on, columns) = (sql::table_name("c", "n"), sql::columns_used("pg_policy", "p.oid"));
    let query = format!(
        "SELECT {on} AS \"on\", p.polrelid = $1 AS own, p.polname AS name, \
         p.polpermissive AS permissive, p.polcmd::text AS command, \
         ARRAY(SELECT CASE r WHEN 0 THEN 'PUBLIC' \
         ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r)) END \
         FROM pg_catalog.unnest(p.polroles) r ORDER BY 1) AS roles, \
         pg_catalog.pg_get_expr(p.polqual, p.polrelid) AS \"using\", \
         pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) AS \"check\", {columns} AS columns, \
         pg_catalog.obj_description(p.oid, 'pg_policy') AS comment, \
         pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned \
         FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE p.polrelid = $1 OR EXISTS (SELECT FROM pg_catalog.pg_depend d \
         WHERE d.classid = 'pg_catalog.pg_policy'::regclass AND d.objid = p.oid \
         AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = $1) ORDER BY n.nspname, c.relname, p.polname"
    );
    sql::rows(client, "policies", &query, oid).await
}

fn conditions(policy: &Policy) -> String {
    let using = policy.using.iter().map(|text| format!(" USING ({text})"));
    using.chain(policy.check.iter().map(|text| format!(" WITH CHECK ({text})"))).collect()
}

/// Takes an own policy off the original.
pub(super) fn drop(policy: &Policy, original: &TableName) -> Option<String> {
    policy.own.then(|| format!("DROP POLICY {} ON {original}", policy.name))
}

/// Creates an own policy again on `table`; binds another table's policy to it.
pub(super) fn create(policy: &Policy, table: &TableName) -> Vec<String> {
    let (name, conditions) = (&policy.name, conditions(policy));
    if !policy.own {
        return vec![format!("ALTER POLICY {name} ON {}{conditions}", policy.on)];
    }
    let permissive = if policy.permissive { "PERMISSIVE" } else { "RESTRICTIVE" };
    let command = match policy.command.as_str() {
        "r" => "SELECT",
        "a" => "INSERT",
        "w" => "UPDATE",
        "d" => "DELETE",
        _ => "ALL",
    };
    let roles = policy.roles.join(", ");
    let mut statements = vec![format!(
        "CREATE POLICY {name} ON {table} AS {permissive} FOR {command} TO {roles}{conditions}"
    )];
    let object = format!("POLICY {name} ON {table}");
    statements.extend(sql::comment(&object, policy.comment.as_ref()));
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(own: bool) -> Policy {
        Policy {
            on: TableName::new("s", "o"),
            own,
            name: Ident::new("p"),
            permissive: false,
            command: "w".into(),
            roles: vec!["a".into(), "PUBLIC".into()],
            using: Some("x > 0".into()),
            check: Some("x < 9".into()),
            columns: vec![],
            comment: None,
            owned: true,
        }
    }

    #[test]
    fn an_own_policy_is_created_again_and_anothers_is_bound_again() {
        let table = TableName::new("s", "t");
        assert_eq!(
            create(&policy(true), &table),
            ["CREATE POLICY \"p\" ON \"s\".\"t\" AS RESTRICTIVE FOR UPDATE TO a, PUBLIC \
              USING (x > 0) WITH CHECK (x < 9)"]
        );
        assert_eq!(
            create(&policy(false), &table),
            ["ALTER POLICY \"p\" ON \"s\".\"o\" USING (x > 0) WITH CHECK (x < 9)"]
        );
        assert_eq!(drop(&policy(false), &table), None);
    }
}
