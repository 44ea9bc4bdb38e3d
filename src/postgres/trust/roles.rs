//! Whom osc trusts, and whether its own schema is what it was made as. Everything here is read from
//! the catalog: nothing of the schema is opened before it is known to be plain.
//!
//! Trusted is who can do all that osc's role can do: the role itself, superusers, and roles that may
//! become it. Not those that osc's role is a member of (they are often the application's), and not
//! the database's owner. Data may also be written by members of `pg_write_all_data`.

use tokio_postgres::{Client, SimpleQueryRow};

use super::own_schema::Function;
use crate::error::{Finding, Result};
use crate::ledger::refusals::untrusted;
use crate::postgres::connection::session::rows;
use crate::postgres::name::{Ident, TableName, Text};
use crate::testing::mutation::{self, Rule};

const ACTION: &str = "looking at osc's own schema";

/// A table of osc's, as it must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain {
    /// Its name.
    pub name: &'static str,
    /// Its columns in order: name, type, and `!` after the type of one that is not null.
    pub columns: &'static [(&'static str, &'static str)],
    /// The column that counts, if one does.
    pub counter: Option<&'static str>,
    /// The defaults of columns, as the server shows them.
    pub defaults: &'static [(&'static str, &'static str)],
    /// Its primary key.
    pub key: &'static [&'static str],
    /// What it is for.
    pub comment: &'static str,
    /// What anybody may be granted.
    pub grants: &'static [&'static str],
}

/// What there is of osc's own schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct There {
    /// The schema.
    pub schema: bool,
    /// Tables, by name.
    pub tables: Vec<String>,
    /// Functions, by name.
    pub functions: Vec<String>,
}

/// An expression: whether osc trusts the role whose OID the expression `role` gives.
pub(crate) fn trusted(role: &str) -> String {
    format!(
        "EXISTS (SELECT FROM pg_catalog.pg_roles tr WHERE tr.oid = {role} AND (tr.rolsuper \
         OR tr.rolname = current_user \
         OR pg_catalog.pg_has_role(tr.oid, current_user, 'MEMBER')))"
    )
}

/// A subquery: the untrusted who have more of `acl` than `allowed`, with what they have.
fn others(acl: &str, allowed: &[&str]) -> String {
    let allowed: Vec<String> = allowed.iter().map(|right| Text(right).to_string()).collect();
    let trusted = trusted("a.grantee");
    format!(
        "(SELECT pg_catalog.string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE \
         pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END, ', ') \
         FROM pg_catalog.aclexplode({acl}) a \
         WHERE a.privilege_type <> ALL (ARRAY[{}]::pg_catalog.text[]) AND NOT {trusted} \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles w WHERE w.oid = a.grantee \
         AND pg_catalog.pg_has_role(w.oid, 'pg_write_all_data', 'MEMBER')))",
        allowed.join(", ")
    )
}

/// Looks at the schema and at what osc has in it.
///
/// # Errors
/// The server's. What osc does not trust is in the findings.
pub(crate) async fn look(
    client: &Client,
    schema: &Ident,
    tables: &[Plain],
) -> Result<(There, Vec<Finding>)> {
    let mut there = There::default();
    let mut findings = Vec::new();
    let sql = format!(
        "SELECT pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(n.nspowner)), {}, {} \
         FROM pg_catalog.pg_namespace n WHERE n.nspname = {}",
        trusted("n.nspowner"),
        others("coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))", &["USAGE"]),
        Text(schema.as_str())
    );
    let found = rows(client, ACTION, &sql).await?;
    let Some(row) = found.first() else { return Ok((there, findings)) };
    there.schema = true;
    if row.get(1) != Some("t") && !mutation::active(Rule::PgOwnSchemaChecked) {
        let owner = row.get(0).unwrap_or_default();
        findings.push(untrusted(
            format!("the schema {schema} belongs to {owner}, who is not trusted with osc's role"),
            format!(
                "if it is not needed: DROP SCHEMA {schema} CASCADE; or keep the ledger elsewhere: \
                 --ledger NAME"
            ),
        ));
        return Ok((there, findings));
    }
    if let Some(who) = row.get(2) {
        findings.push(untrusted(
            format!("{who} may create in the schema {schema}, which is osc's own"),
            format!("REVOKE CREATE ON SCHEMA {schema} FROM {who}"),
        ));
    }
    for table in tables {
        if let Some(row) = relation(client, schema, table).await? {
            there.tables.push(table.name.to_owned());
            findings.extend(judge(schema, table, &row));
        }
    }
    for function in Function::ALL {
        for row in function_rows(client, schema, function).await? {
            there.functions.push(function.name().to_owned());
            findings.extend(judge_function(schema, function, &row));
        }
    }
    if mutation::active(Rule::PgOwnSchemaChecked) {
        findings.clear();
    }
    Ok((there, findings))
}

async fn relation(
    client: &Client,
    schema: &Ident,
    table: &Plain,
) -> Result<Option<SimpleQueryRow>> {
    let mut allowed = vec!["SELECT"];
    allowed.extend(table.grants);
    let relacl = "coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))";
    let sequences = format!(
        "(SELECT pg_catalog.string_agg({}, ', ') FROM pg_catalog.pg_depend d \
         JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
         WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
         AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = c.oid)",
        others("s.relacl", &["SELECT"])
    );
    let columns = format!(
        "(SELECT pg_catalog.string_agg({}, ', ') FROM pg_catalog.pg_attribute a0 \
         WHERE a0.attrelid = c.oid AND a0.attacl IS NOT NULL)",
        others("a0.attacl", &allowed)
    );
    let count = |of: &str| format!("(SELECT pg_catalog.count(*) FROM pg_catalog.{of})");
    let sql = format!(
        "SELECT c.relkind::pg_catalog.text || c.relpersistence::pg_catalog.text, \
         pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.relowner)), {trusted}, \
         (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(g.tgname), ', ') \
          FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid), \
         (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(r.rulename), ', ') \
          FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid), \
         c.relrowsecurity OR c.relforcerowsecurity OR {policies} > 0, \
         c.relispartition OR c.reloftype <> 0 OR {inherits} > 0, \
         {constraints} + {indexes} + {statistics}, \
         (SELECT pg_catalog.string_agg(pg_catalog.concat(a.attname, ' ', \
          pg_catalog.format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN '!' END, \
          CASE WHEN t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace THEN ' foreign' END, \
          CASE WHEN a.attgenerated <> '' THEN ' generated' END), ',' ORDER BY a.attnum) \
          FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
         (SELECT pg_catalog.string_agg(a.attname, ',' ORDER BY o.place) \
          FROM pg_catalog.pg_index i, pg_catalog.unnest(i.indkey::pg_catalog.int2[]) \
          WITH ORDINALITY o(n, place), pg_catalog.pg_attribute a WHERE i.indrelid = c.oid \
          AND i.indisprimary AND a.attrelid = c.oid AND a.attnum = o.n), \
         {relations}, {columns}, {sequences}, \
         (SELECT pg_catalog.string_agg(pg_catalog.concat(a.attname, ' ', \
          pg_catalog.pg_get_expr(d.adbin, d.adrelid)), ', ' ORDER BY a.attname) \
          FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid \
          AND a.attnum = d.adnum WHERE d.adrelid = c.oid) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = {schema} AND c.relname = {name}",
        trusted = trusted("c.relowner"),
        policies = count("pg_policy p WHERE p.polrelid = c.oid"),
        inherits = count("pg_inherits h WHERE h.inhrelid = c.oid OR h.inhparent = c.oid"),
        constraints = count(
            "pg_constraint k WHERE c.oid IN (k.conrelid, k.confrelid) AND k.contype NOT IN ('p', 'n')"
        ),
        indexes = count("pg_index i WHERE i.indrelid = c.oid AND NOT i.indisprimary"),
        statistics = count("pg_statistic_ext x WHERE x.stxrelid = c.oid"),
        relations = others(relacl, &allowed),
        schema = Text(schema.as_str()),
        name = Text(table.name),
    );
    Ok(rows(client, ACTION, &sql).await?.into_iter().next())
}

/// What is wrong with a table, and what cures it: whose it is, what it is, and who may write it.
fn judge(schema: &Ident, table: &Plain, row: &SimpleQueryRow) -> Vec<Finding> {
    let name = TableName { schema: schema.clone(), table: Ident::new(table.name) };
    let text = |at: usize| row.get(at).unwrap_or_default();
    if text(0) == "rp" && text(2) != "t" {
        let problem = format!("{name} belongs to {}, who is not trusted with osc's role", text(1));
        return vec![untrusted(problem, drop_of(&name, row))];
    }
    let mut findings = judge_form(&name, table, row);
    if text(0) != "rp" {
        return findings;
    }
    if let Some(who) = row.get(10) {
        let cure = format!("REVOKE ALL ON {name} FROM {who}");
        findings.push(untrusted(format!("{who} may write {name}"), cure));
    }
    if let Some(who) = row.get(11) {
        let cure = format!("REVOKE ALL ({}) ON {name} FROM {who}", table.key.join(", "));
        findings.push(untrusted(format!("{who} may write columns of {name}"), cure));
    }
    if let Some(who) = row.get(12) {
        let cure = format!("REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {who}");
        findings.push(untrusted(format!("{who} may set the counter of {name}"), cure));
    }
    findings
}

/// What keeps tables from being used by a role that may only make orders: they are not plain. Whoever granted
/// it that right owns them, and is trusted so far.
///
/// # Errors
/// The server's.
pub(crate) async fn look_as_operator(
    client: &Client,
    schema: &Ident,
    tables: &[Plain],
) -> Result<(There, Vec<Finding>)> {
    let mut there = There { schema: true, ..There::default() };
    let mut findings = Vec::new();
    for table in tables {
        if let Some(row) = relation(client, schema, table).await? {
            there.tables.push(table.name.to_owned());
            let name = TableName { schema: schema.clone(), table: Ident::new(table.name) };
            findings.extend(judge_form(&name, table, &row));
        }
    }
    Ok((there, findings))
}

fn drop_of(name: &TableName, row: &SimpleQueryRow) -> String {
    format!(
        "if no run needs it, drop it and let osc make it again: DROP {} {name}",
        match row.get(0).and_then(|kind| kind.chars().next()) {
            Some('v') => "VIEW",
            Some('m') => "MATERIALIZED VIEW",
            Some('f') => "FOREIGN TABLE",
            Some('S') => "SEQUENCE",
            _ => "TABLE",
        }
    )
}

/// What a table is.
fn judge_form(name: &TableName, table: &Plain, row: &SimpleQueryRow) -> Vec<Finding> {
    let text = |at: usize| row.get(at).unwrap_or_default();
    let drop = drop_of(name, row);
    if text(0) != "rp" {
        let problem = format!("{name} is no plain, logged table: it is not osc's");
        return vec![untrusted(problem, drop)];
    }
    let mut findings = Vec::new();
    if let Some(triggers) = row.get(3) {
        let first = triggers.split(", ").next().unwrap_or_default();
        findings.push(untrusted(
            format!("{name} has triggers: {triggers}"),
            format!("DROP TRIGGER {first} ON {name}"),
        ));
    }
    if let Some(rules) = row.get(4) {
        let first = rules.split(", ").next().unwrap_or_default();
        findings.push(untrusted(
            format!("{name} has rules: {rules}"),
            format!("DROP RULE {first} ON {name}"),
        ));
    }
    if text(5) != "f" {
        findings.push(untrusted(
            format!("{name} has row security or policies"),
            format!(
                "ALTER TABLE {name} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY; and \
                 DROP POLICY each of its policies"
            ),
        ));
    }
    if text(6) != "f" {
        findings
            .push(untrusted(format!("{name} inherits, is inherited from, or is typed"), &*drop));
    }
    let columns: Vec<String> =
        table.columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    let mut defaults: Vec<String> =
        table.defaults.iter().map(|(column, default)| format!("{column} {default}")).collect();
    defaults.sort_unstable();
    let as_made = text(7) == "0"
        && text(8) == columns.join(",")
        && text(9) == table.key.join(",")
        && text(13) == defaults.join(", ");
    if !as_made {
        findings.push(untrusted(
            format!(
                "{name} is not as this version of osc makes it (columns, key, defaults, constraints, \
                 indexes): another version's, or not osc's"
            ),
            format!("finish unfinished runs with the osc that began them; {drop}"),
        ));
    }
    findings
}

async fn function_rows(
    client: &Client,
    schema: &Ident,
    function: Function,
) -> Result<Vec<SimpleQueryRow>> {
    let sql = format!(
        "SELECT pg_catalog.pg_get_function_identity_arguments(p.oid), \
         pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(p.proowner)), {}, \
         p.prosrc = {} AND p.prokind = 'f' AND NOT p.prosecdef AND p.prosqlbody IS NULL \
         AND p.prolang = (SELECT oid FROM pg_catalog.pg_language WHERE lanname = 'plpgsql') \
         AND p.prorettype = 'pg_catalog.trigger'::pg_catalog.regtype \
         AND p.proconfig = ARRAY[{}], {} \
         FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
         WHERE n.nspname = {} AND p.proname = {} AND p.pronargs = 0",
        trusted("p.proowner"),
        Text(function.body()),
        Text(Function::CONFIG),
        others("coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))", &[]),
        Text(schema.as_str()),
        Text(function.name())
    );
    rows(client, ACTION, &sql).await
}

fn judge_function(schema: &Ident, function: Function, row: &SimpleQueryRow) -> Option<Finding> {
    let name = format!("{}()", function.of(schema));
    let owner = row.get(1).unwrap_or_default();
    let drop = format!("if nothing of osc's uses it: DROP FUNCTION {name}");
    if row.get(2) != Some("t") {
        let problem = format!("{name} belongs to {owner}, who is not trusted with osc's role");
        return Some(untrusted(problem, drop));
    }
    if row.get(3) != Some("t") {
        let problem = format!("{name} is another version's, or not osc's");
        return Some(untrusted(problem, drop));
    }
    let who = row.get(4)?;
    let cure = format!("REVOKE ALL ON FUNCTION {name} FROM {who}");
    Some(untrusted(format!("{who} may give {name} triggers"), cure))
}
