//! The schema of osc's own (`--ledger`, `osc` by default) and the functions in it. No other role may
//! write there, which `trust` checks at each start.
//!
//! Tables that osc makes beside the application's bear a trigger of one of these functions, which no
//! other role may give a trigger to. By this osc knows its tables, not by their names: the shadow by
//! `osc_shadow`, the retired table by `osc_guard`.

use tokio_postgres::Client;

use crate::error::Result;
use crate::postgres::connection::session::value;
use crate::postgres::name::{Ident, TableName, Text};

/// The setting in which an undo shows the guard its run's token, for the transaction.
pub(crate) const TOKEN: &str = "osc.token";

/// A trigger function of osc's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    /// Refuses writes to a retired table: whoever comes there was bound to its OID. An undo that puts rows into
    /// it gets through: who may write the ledger, and shows there in [`TOKEN`] that he has the run.
    Retired,
    /// Refuses writes by a snapshot from before the swap.
    Snapshot,
    /// Does nothing, and says by being there that osc made the shadow.
    Shadow,
}

impl Function {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Retired, Self::Snapshot, Self::Shadow];

    /// Its name in the schema.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Retired => "osc_retired",
            Self::Snapshot => "osc_snapshot",
            Self::Shadow => "osc_shadow",
        }
    }

    /// The name of the triggers that call it.
    pub(crate) fn trigger(self) -> &'static str {
        match self {
            Self::Retired => "osc_guard",
            Self::Snapshot => "osc_snapshot",
            Self::Shadow => "osc_shadow",
        }
    }

    /// `pg_proc.prosrc`. The guard finds the ledger beside its own function, since its text is the same wherever
    /// osc's schema is. `TG_ARGV[0]` of the snapshot's is the id of the swap's transaction.
    pub(crate) fn body(self) -> &'static str {
        match self {
            Self::Retired => {
                "DECLARE token text := pg_catalog.current_setting('osc.token', true); ledger text; mine boolean; \
                 BEGIN IF token <> '' AND TG_OP <> 'TRUNCATE' THEN \
                 SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) INTO ledger \
                 FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid \
                 JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
                 JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'osc_ledger' \
                 WHERE g.tgrelid = TG_RELID AND g.tgname = TG_NAME \
                 AND pg_catalog.has_table_privilege(c.oid, 'SELECT') \
                 AND pg_catalog.has_table_privilege(c.oid, 'UPDATE'); \
                 IF FOUND THEN EXECUTE 'SELECT EXISTS (SELECT FROM ' || ledger || ' WHERE owner = $1 \
                 AND method = ''revert'' AND result IS NULL \
                 AND carried::pg_catalog.json ->> ''shadow'' = $2)' \
                 INTO mine USING token, TG_RELID::pg_catalog.text; \
                 IF mine THEN RETURN NULL; END IF; END IF; END IF; \
                 RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = pg_catalog.format(\
                 'the table was replaced; %I.%I keeps its rows as they were', TG_TABLE_SCHEMA, \
                 TG_TABLE_NAME), HINT = 'Retry the transaction.'; END"
            }
            Self::Snapshot => {
                "BEGIN IF pg_catalog.current_setting('transaction_isolation') \
                 IN ('repeatable read', 'serializable') AND NOT pg_catalog.pg_visible_in_snapshot(\
                 TG_ARGV[0]::pg_catalog.xid8, pg_catalog.pg_current_snapshot()) THEN \
                 RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = pg_catalog.format(\
                 '%I.%I was replaced after this transaction''s snapshot', TG_TABLE_SCHEMA, \
                 TG_TABLE_NAME), HINT = 'Retry the transaction.'; END IF; RETURN NULL; END"
            }
            Self::Shadow => "BEGIN RETURN NULL; END",
        }
    }

    /// The function's setting, as the catalog has it.
    pub(crate) const CONFIG: &str = "search_path=pg_catalog, pg_temp";

    /// The statement that makes it, for no one else's triggers.
    pub(crate) fn create(self, schema: &Ident) -> String {
        let name = TableName { schema: schema.clone(), table: Ident::new(self.name()) };
        format!(
            "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql \
             SET search_path = pg_catalog, pg_temp AS {}; {}",
            Text(self.body()),
            keep_private("FUNCTION", &format!("{name}()"))
        )
    }

    /// The function as a trigger calls it.
    pub(crate) fn of(self, schema: &Ident) -> TableName {
        TableName { schema: schema.clone(), table: Ident::new(self.name()) }
    }
}

/// Takes away whatever rights others have on an object that was just made: those of PUBLIC, and those
/// that default privileges gave.
pub(crate) fn keep_private(kind: &str, object: &str) -> String {
    let (catalog, column, reg) = match kind {
        "SCHEMA" => ("pg_namespace", "nsp", "regnamespace"),
        "FUNCTION" => ("pg_proc", "pro", "regprocedure"),
        _ => ("pg_class", "rel", "regclass"),
    };
    let object_text = Text(object);
    let revoke = format!("REVOKE ALL ON {kind} {object} FROM ").replace('%', "%%");
    let body = format!(
        "DECLARE r text; BEGIN FOR r IN SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' \
         ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END \
         FROM (SELECT {column}acl AS acl, {column}owner AS owner FROM pg_catalog.{catalog} \
         WHERE oid = {object_text}::pg_catalog.{reg}) l, LATERAL pg_catalog.aclexplode(l.acl) a WHERE a.grantee <> l.owner \
         LOOP EXECUTE pg_catalog.format({} || '%s CASCADE', r); END LOOP; END",
        Text(&revoke)
    );
    format!("REVOKE ALL ON {kind} {object} FROM PUBLIC; DO {}", Text(&body))
}

/// A trigger that marks `shadow` as one that osc made; it never fires while rows are copied.
pub(crate) fn mark_shadow(schema: &Ident, shadow: &TableName) -> String {
    let function = Function::Shadow;
    format!(
        "CREATE TRIGGER {} AFTER TRUNCATE ON {shadow} FOR EACH STATEMENT EXECUTE FUNCTION {}()",
        function.trigger(),
        function.of(schema)
    )
}

/// Takes the mark off a shadow that becomes the new table.
pub(crate) fn unmark_shadow(shadow: &TableName) -> String {
    format!("DROP TRIGGER IF EXISTS {} ON {shadow}", Function::Shadow.trigger())
}

/// The OID of the table of this name where it bears a trigger of `function`: osc made it what it is.
///
/// # Errors
/// The server's.
pub(crate) async fn bearer(
    client: &Client,
    schema: &Ident,
    table: &TableName,
    function: Function,
) -> Result<Option<u32>> {
    let sql = format!(
        "SELECT c.oid FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid \
         JOIN pg_catalog.pg_namespace o ON o.oid = p.pronamespace \
         WHERE n.nspname = {} AND c.relname = {} AND g.tgname = {} AND p.proname = {} \
         AND o.nspname = {} AND NOT g.tgisinternal",
        Text(table.schema.as_str()),
        Text(table.table.as_str()),
        Text(function.trigger()),
        Text(function.name()),
        Text(schema.as_str())
    );
    let found = value(client, "looking for osc's tables", &sql).await?;
    found.map(|oid| crate::postgres::catalog::table::number(Some(&oid))).transpose()
}
