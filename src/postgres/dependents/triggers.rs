//! Triggers, on the table or on a view.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::sql;
use crate::error::Result;
use crate::postgres::name::{Ident, TableName};

/// A trigger that a user made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trigger {
    /// Its name, which also orders it among others.
    pub name: Ident,
    /// `CREATE TRIGGER …` as the server writes it.
    pub definition: String,
    /// `pg_trigger.tgenabled`: `O`, `D`, `R` or `A`.
    pub enabled: String,
    /// Columns of the original that its UPDATE OF list or its condition names.
    pub columns: Vec<Ident>,
    /// Extensions that it was made to depend on.
    pub extensions: Vec<Ident>,
    /// Its comment.
    pub comment: Option<String>,
}

/// A subquery: the triggers of the relation `class` (an alias of `pg_class`) as a JSON array.
pub(super) fn of(class: &str) -> String {
    let columns = sql::columns_used("pg_trigger", "tg.oid");
    format!(
        "(SELECT coalesce(json_agg(row_to_json(t) ORDER BY t.name), '[]'::json) FROM (\
         SELECT tg.tgname AS name, pg_catalog.pg_get_triggerdef(tg.oid) AS definition, \
         tg.tgenabled::text AS enabled, {columns} AS columns, \
         ARRAY(SELECT e.extname::text FROM pg_catalog.pg_depend d \
         JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
         WHERE d.classid = 'pg_catalog.pg_trigger'::regclass AND d.objid = tg.oid \
         AND d.refclassid = 'pg_catalog.pg_extension'::regclass ORDER BY 1) AS extensions, \
         pg_catalog.obj_description(tg.oid, 'pg_trigger') AS comment \
         FROM pg_catalog.pg_trigger tg JOIN pg_catalog.pg_proc tf ON tf.oid = tg.tgfoid \
         WHERE tg.tgrelid = {class}.oid AND NOT tg.tgisinternal \
         AND NOT (tg.tgname LIKE 'osc\\_%' AND tf.proname ~ '(^|_)osc_')) t)"
    )
}

/// Reads the original's.
pub(super) async fn read(client: &Client, oid: u32) -> Result<Vec<Trigger>> {
    let query = format!(
        "SELECT t.* FROM pg_catalog.pg_class c, LATERAL pg_catalog.json_to_recordset({}) \
         AS t(name text, definition text, enabled text, columns json, extensions json, comment text) \
         WHERE c.oid = $1",
        of("c")
    );
    sql::rows(client, "triggers", &query, oid).await
}

/// Creates the trigger again. Its definition already names `relation`.
pub(super) fn create(trigger: &Trigger, relation: &TableName) -> Vec<String> {
    let name = &trigger.name;
    let mut statements = vec![trigger.definition.clone()];
    let state = match trigger.enabled.as_str() {
        "D" => Some("DISABLE"),
        "R" => Some("ENABLE REPLICA"),
        "A" => Some("ENABLE ALWAYS"),
        _ => None,
    };
    statements.extend(state.map(|state| format!("ALTER TABLE {relation} {state} TRIGGER {name}")));
    for extension in &trigger.extensions {
        statements
            .push(format!("ALTER TRIGGER {name} ON {relation} DEPENDS ON EXTENSION {extension}"));
    }
    let object = format!("TRIGGER {name} ON {relation}");
    statements.extend(sql::comment(&object, trigger.comment.as_ref()));
    statements
}

/// Takes the trigger off `relation`.
pub(super) fn drop(trigger: &Trigger, relation: &TableName) -> String {
    format!("DROP TRIGGER {} ON {relation}", trigger.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_keeps_its_state_and_its_comment() {
        let trigger = Trigger {
            name: Ident::new("tr"),
            definition: "CREATE TRIGGER tr …".into(),
            enabled: "A".into(),
            columns: vec![],
            extensions: vec![Ident::new("x")],
            comment: Some("why".into()),
        };
        assert_eq!(
            create(&trigger, &TableName::new("s", "t")),
            [
                "CREATE TRIGGER tr …",
                "ALTER TABLE \"s\".\"t\" ENABLE ALWAYS TRIGGER \"tr\"",
                "ALTER TRIGGER \"tr\" ON \"s\".\"t\" DEPENDS ON EXTENSION \"x\"",
                "COMMENT ON TRIGGER \"tr\" ON \"s\".\"t\" IS 'why'",
            ]
        );
    }
}
