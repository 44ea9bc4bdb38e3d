//! Rewrite rules: the table's own, other relations' that name it, and those on views.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::sql;
use crate::error::Result;
use crate::postgres::name::{Ident, TableName};

/// A rule other than a view's definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rule {
    /// OID of its relation.
    pub relation: u32,
    /// Its relation.
    pub on: TableName,
    /// Its name.
    pub name: Ident,
    /// `CREATE RULE …` as the server writes it.
    pub definition: String,
    /// `pg_rewrite.ev_enabled`: `O`, `D`, `R` or `A`.
    pub enabled: String,
    /// Columns of the original that it names.
    pub columns: Vec<Ident>,
    /// Its comment.
    pub comment: Option<String>,
    /// Whether it names the original.
    pub names_original: bool,
    /// Whether osc's role may alter its relation.
    pub owned: bool,
}

/// Reads the rules on the original, those that name it, and all rules of the views `views`.
pub(super) async fn read(client: &Client, oid: u32, views: &[u32]) -> Result<Vec<Rule>> {
    let (on, columns) = (sql::table_name("c", "n"), sql::columns_used("pg_rewrite", "r.oid"));
    let views: Vec<String> = views.iter().map(u32::to_string).collect();
    let views = views.join(",");
    let query = format!(
        "SELECT r.ev_class::oid::bigint AS relation, {on} AS \"on\", r.rulename AS name, \
         pg_catalog.pg_get_ruledef(r.oid) AS definition, r.ev_enabled::text AS enabled, \
         {columns} AS columns, pg_catalog.obj_description(r.oid, 'pg_rewrite') AS comment, \
         u.named AS names_original, pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned \
         FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, \
         LATERAL (SELECT EXISTS (SELECT FROM pg_catalog.pg_depend d \
         WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid \
         AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = $1) AS named) u \
         WHERE r.rulename <> '_RETURN' \
         AND (r.ev_class = $1 OR u.named OR r.ev_class = ANY ('{{{views}}}'::oid[])) \
         ORDER BY n.nspname, c.relname, r.rulename"
    );
    sql::rows(client, "rules", &query, oid).await
}

/// Creates the rule again on its relation.
pub(super) fn create(rule: &Rule) -> Vec<String> {
    let (on, name) = (&rule.on, &rule.name);
    let mut statements = vec![rule.definition.trim_end_matches(';').to_owned()];
    let state = match rule.enabled.as_str() {
        "D" => Some("DISABLE"),
        "R" => Some("ENABLE REPLICA"),
        "A" => Some("ENABLE ALWAYS"),
        _ => None,
    };
    statements.extend(state.map(|state| format!("ALTER TABLE {on} {state} RULE {name}")));
    statements.extend(sql::comment(&format!("RULE {name} ON {on}"), rule.comment.as_ref()));
    statements
}

/// Binds the rule of a relation that stays to the new table; its state and comment stay too.
pub(super) fn replace(rule: &Rule) -> String {
    let definition = rule.definition.trim_end_matches(';');
    let rest = definition.strip_prefix("CREATE RULE").unwrap_or(definition);
    format!("CREATE OR REPLACE RULE{rest}")
}

/// Takes the rule off its relation.
pub(super) fn drop(rule: &Rule) -> String {
    format!("DROP RULE {} ON {}", rule.name, rule.on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_created_again_or_replaced() {
        let rule = Rule {
            relation: 1,
            on: TableName::new("s", "o"),
            name: Ident::new("r"),
            definition: "CREATE RULE r AS\n    ON INSERT TO s.o DO NOTHING;".into(),
            enabled: "D".into(),
            columns: vec![],
            comment: None,
            names_original: true,
            owned: true,
        };
        assert_eq!(
            create(&rule),
            [
                "CREATE RULE r AS\n    ON INSERT TO s.o DO NOTHING",
                "ALTER TABLE \"s\".\"o\" DISABLE RULE \"r\""
            ]
        );
        assert_eq!(replace(&rule), "CREATE OR REPLACE RULE r AS\n    ON INSERT TO s.o DO NOTHING");
    }
}
