//! The server's own triggers, which keep foreign keys and deferred keys, where they are disabled: by
//! `ALTER TABLE … DISABLE TRIGGER ALL`.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::sql;
use crate::error::Result;
use crate::postgres::name::{Ident, TableName, Text};

/// A trigger of a constraint that does not fire as usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Internal {
    /// The table that it is on.
    pub on: TableName,
    /// The table of its constraint.
    pub of: TableName,
    /// Its constraint.
    pub constraint: Ident,
    /// What it calls: one of the four of a foreign key.
    pub function: Ident,
    /// `pg_trigger.tgenabled`: `D`, `R` or `A`.
    pub enabled: String,
    /// Whether osc's role may alter it: only a superuser may.
    pub settable: bool,
}

/// Reads them: of the original's constraints, and of foreign keys to it.
pub(super) async fn read(client: &Client, oid: u32) -> Result<Vec<Internal>> {
    let (on, of) = (sql::table_name("o", "os"), sql::table_name("c", "cs"));
    let query = format!(
        "SELECT {on} AS \"on\", {of} AS \"of\", k.conname AS \"constraint\", p.proname AS function, \
         g.tgenabled::text AS enabled, (SELECT rolsuper FROM pg_catalog.pg_roles \
         WHERE rolname = current_user) AS settable \
         FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_constraint k ON k.oid = g.tgconstraint \
         JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid \
         JOIN pg_catalog.pg_class o ON o.oid = g.tgrelid \
         JOIN pg_catalog.pg_namespace os ON os.oid = o.relnamespace \
         JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
         JOIN pg_catalog.pg_namespace cs ON cs.oid = c.relnamespace \
         WHERE g.tgisinternal AND g.tgenabled <> 'O' AND k.conparentid = 0 \
         AND (k.conrelid = $1 OR k.confrelid = $1) \
         ORDER BY os.nspname, o.relname, cs.nspname, c.relname, k.conname, p.proname"
    );
    sql::rows(client, "disabled triggers of constraints", &query, oid).await
}

/// Gives the trigger of the constraint created again the same state, where the constraint is there.
pub(super) fn state(trigger: &Internal) -> String {
    let Internal { on, of, constraint, function, enabled, .. } = trigger;
    let state = match enabled.as_str() {
        "R" => "ENABLE REPLICA",
        "A" => "ENABLE ALWAYS",
        _ => "DISABLE",
    };
    let (name, of) = (on.to_string(), of.to_string());
    let alter = format!("ALTER TABLE {} {state} TRIGGER ", name.replace('%', "%%"));
    let body = format!(
        "DECLARE own text; BEGIN FOR own IN SELECT g.tgname FROM pg_catalog.pg_trigger g \
         JOIN pg_catalog.pg_constraint k ON k.oid = g.tgconstraint \
         JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid \
         WHERE g.tgrelid = {}::regclass AND k.conrelid = {}::regclass AND k.conname = {} \
         AND p.proname = {} LOOP EXECUTE pg_catalog.format({} || '%I', own); END LOOP; END",
        Text(&name),
        Text(&of),
        Text(constraint.as_str()),
        Text(function.as_str()),
        Text(&alter)
    );
    format!("DO {}", Text(&body))
}
