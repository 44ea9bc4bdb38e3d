//! The triggers of a table, and how they get to the new table: every write of the application fires
//! each exactly once, before, during and after the swap.
//!
//! The order of steps and what a crash leaves is in `docs/decisions/0009-triggers.md`.

mod statement;

use mysql_async::Conn;
use statement::Statement;

use crate::error::{Error, Finding, Result};
use crate::mysql::catalog::query::{Patience, objection, run_patiently, temporary};
use crate::mysql::connection::session::run;
use crate::mysql::connection::texts::{raw_rows, text_rows};
use crate::mysql::name::{Ident, TableName, Text};
use crate::testing::failpoint::{self, Point};

/// A trigger, with all that makes it do what it does: from the catalog, never from the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Its name, unique in the schema.
    pub name: Ident,
    /// The whole CREATE TRIGGER statement in the bytes of `client_charset`.
    pub statement: Vec<u8>,
    /// The `sql_mode` it was made and runs under.
    pub sql_mode: String,
    /// The `character_set_client` it was made under.
    pub client_charset: String,
    /// The `collation_connection` it was made under: that of its literals.
    pub connection_collation: String,
    /// The schema's collation when it was made: that of its variables that name none.
    pub database_collation: String,
}

impl Trigger {
    fn parsed(&self) -> Result<Statement> {
        Statement::parse(&self.statement).ok_or_else(|| {
            let action = format!("reading the trigger {}", self.name);
            Error::server(action, "its CREATE TRIGGER statement has an unknown form")
        })
    }
}

/// The triggers of `table` in the order in which the server fires them.
///
/// # Errors
/// Those of the server. Without the right TRIGGER on the table the server shows none:
/// the checks before the start must have seen to that.
pub async fn read(conn: &mut Conn, table: &TableName) -> Result<Vec<Trigger>> {
    let action = "reading the triggers of a table";
    let sql = format!(
        "SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE, SQL_MODE, CHARACTER_SET_CLIENT, \
         COLLATION_CONNECTION, DATABASE_COLLATION, @@lower_case_table_names \
         FROM information_schema.TRIGGERS \
         WHERE EVENT_OBJECT_SCHEMA = {} AND EVENT_OBJECT_TABLE = {} \
         ORDER BY ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER, TRIGGER_NAME",
        Text(table.schema.as_str()),
        Text(table.table.as_str())
    );
    let mut triggers: Vec<Trigger> = Vec::new();
    for [name, on, sql_mode, client_charset, connection_collation, database_collation, case] in
        text_rows(conn, action, &sql).await?
    {
        let name = Ident(name);
        // The catalog compares without case; and a trigger for several events has a row for each.
        if (case == "0" && on != table.table.as_str())
            || triggers.iter().any(|known| known.name == name)
        {
            continue;
        }
        let statement = show_create(conn, table, &name).await?;
        triggers.push(Trigger {
            name,
            statement,
            sql_mode,
            client_charset,
            connection_collation,
            database_collation,
        });
    }
    Ok(triggers)
}

/// The triggers of these names as the catalog has them, on the first of `places` where one is: under its
/// own name, else under the name that stands in for it. One that is gone is left out.
///
/// # Errors
/// Those of [`read`].
pub async fn recall(
    conn: &mut Conn,
    places: [&TableName; 3],
    names: &[Ident],
) -> Result<Vec<Trigger>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut present = Vec::new();
    for place in places {
        present.extend(read(conn, place).await?);
    }
    let called = |name: &Ident| present.iter().find(|trigger| trigger.name.same(name));
    let recall = |name: &Ident| {
        let found = called(name).or_else(|| called(&temporary(name)))?;
        Some(Trigger { name: name.clone(), ..found.clone() })
    };
    Ok(names.iter().filter_map(recall).collect())
}

/// The statement as it was sent. The catalog's own column of it is converted to UTF-8, literals of
/// other character sets included, which garbles them.
async fn show_create(conn: &mut Conn, table: &TableName, name: &Ident) -> Result<Vec<u8>> {
    let action = "reading a trigger";
    let save = "SET @osc_results = @@SESSION.character_set_results, @osc_mode = @@SESSION.sql_mode";
    run(conn, action, save).await?;
    // The mode decides how the server quotes the definer's name.
    run(conn, action, "SET SESSION character_set_results = NULL, sql_mode = ''").await?;
    let show = format!("SHOW CREATE TRIGGER {}.{name}", table.schema);
    let rows = raw_rows(conn, action, &show).await;
    let restore = "SET SESSION character_set_results = @osc_results, sql_mode = @osc_mode";
    let restored = run(conn, action, restore).await;
    let rows = rows?;
    restored?;
    let statement = rows.into_iter().next().and_then(|row| row.into_iter().nth(2)).flatten();
    statement.ok_or_else(|| {
        Error::server(format!("reading the trigger {name}"), "the server does not show its text")
    })
}

/// Tries whether each trigger can be made on the shadow: makes it there under a temporary name and
/// drops it at once. `shadow` must be empty and not in use.
///
/// # Errors
/// Those of the server when the trying itself fails; what the server has against a
/// trigger is a finding.
pub async fn validate(
    conn: &mut Conn,
    shadow: &TableName,
    triggers: &[Trigger],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if triggers.is_empty() {
        return Ok(findings);
    }
    remove_temporary(conn, shadow, triggers).await?;
    for trigger in triggers {
        let stand_in = temporary(&trigger.name);
        match create(conn, trigger, &stand_in, shadow).await {
            Err(Error::Refused(refused)) => findings.extend(refused),
            tried => match objection("the table", tried)? {
                None => drop_trigger(conn, shadow, &stand_in).await?,
                Some(message) => findings.push(Finding::new(
                    "trigger",
                    format!(
                        "the trigger {} cannot be made on the new table: {message}",
                        trigger.name
                    ),
                    "change or drop the trigger first, or leave the column that it uses",
                )),
            },
        }
    }
    findings.extend(foreseen(conn, shadow, triggers).await?);
    Ok(findings)
}

/// What stands against triggers of `table` that can be known without trying them.
///
/// # Errors
/// Those of the server.
pub async fn foreseen(
    conn: &mut Conn,
    table: &TableName,
    triggers: &[Trigger],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if triggers.is_empty() {
        return Ok(findings);
    }
    let collation = schema_collation(conn, table).await?;
    for trigger in triggers {
        let declares = trigger.parsed()?.body().to_ascii_uppercase().contains("DECLARE");
        if declares && trigger.database_collation != collation {
            findings.push(Finding::new(
                "trigger-collation",
                format!(
                    "the trigger {} was made when the schema's collation was {}; it is {collation} \
                     now, and the trigger's variables would follow",
                    trigger.name, trigger.database_collation
                ),
                "make the trigger again under the schema's collation, or give its variables theirs",
            ));
        }
    }
    Ok(findings)
}

async fn schema_collation(conn: &mut Conn, table: &TableName) -> Result<String> {
    let sql = format!(
        "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
        Text(table.schema.as_str())
    );
    let rows = text_rows(conn, "reading the schema's collation", &sql).await?;
    Ok(rows.into_iter().next().map(|[collation]: [String; 1]| collation).unwrap_or_default())
}

/// Makes all triggers on the shadow under temporary names, in their order. Called by the session
/// that holds the original and the shadow locked, after the last refresh: from here on writes to
/// the shadow fire them. [`remove_temporary`] undoes it.
///
/// # Errors
/// [`Error::Foreign`] when the original's triggers are not `triggers` any more; those of the
/// server otherwise. Some may be there already.
pub async fn install_temporary(
    conn: &mut Conn,
    original: &TableName,
    shadow: &TableName,
    triggers: &[Trigger],
) -> Result<()> {
    if read(conn, original).await? != triggers {
        return Err(Error::Foreign(format!(
            "the triggers of {} were changed while osc was copying",
            original.plain()
        )));
    }
    remove_temporary(conn, shadow, triggers).await?;
    for trigger in triggers {
        create(conn, trigger, &temporary(&trigger.name), shadow).await?;
    }
    Ok(())
}

/// Removes from the shadow what [`install_temporary`] put there: after an attempt at the swap that
/// failed, and before a run that was killed resumes, since every row copied would fire them.
///
/// # Errors
/// Those of the server; a repeated call continues.
pub async fn remove_temporary(
    conn: &mut Conn,
    shadow: &TableName,
    triggers: &[Trigger],
) -> Result<()> {
    for name in names(conn, shadow).await? {
        if triggers.iter().any(|trigger| temporary(&trigger.name).same(&name)) {
            drop_trigger(conn, shadow, &name).await?;
        }
    }
    Ok(())
}

/// After the swap: gives the triggers of the table that is now called `original` their true names,
/// which those of `retired` have until now. Idempotent.
///
/// The caller's session holds both locked with WRITE, so that no write meets a trigger twice or
/// not at all: on MySQL still the lock of the swap, else see [`restore_names_locked`]. `retired`
/// may be gone.
///
/// # Errors
/// Those of the server; a repeated call continues.
pub async fn restore_names(
    conn: &mut Conn,
    original: &TableName,
    retired: &TableName,
    triggers: &[Trigger],
) -> Result<()> {
    let old = names(conn, retired).await?;
    let present = names(conn, original).await?;
    let has = |list: &[Ident], name: &Ident| list.iter().any(|known| known.same(name));
    for trigger in triggers {
        let stand_in = temporary(&trigger.name);
        if !has(&present, &stand_in) {
            // Done, or dropped by its owner since.
            continue;
        }
        if has(&old, &trigger.name) {
            drop_trigger(conn, original, &trigger.name).await?;
        }
        // A connection lost between the two leaves both for the moment, rather than none: a
        // trigger that did not fire leaves no trace by which to mend it.
        if !has(&present, &trigger.name) {
            create(conn, trigger, &trigger.name, original).await?;
        }
        failpoint::hit(Point::TriggerDoubled)?;
        drop_trigger(conn, original, &stand_in).await?;
    }
    Ok(())
}

/// [`restore_names`] under a lock of its own, for sessions that hold none. Does nothing, and locks
/// nothing, when nothing is left to do.
///
/// # Errors
/// Those of the server; a repeated call continues.
pub async fn restore_names_locked(
    conn: &mut Conn,
    original: &TableName,
    retired: &TableName,
    triggers: &[Trigger],
    patience: Patience,
) -> Result<()> {
    let present = names(conn, original).await?;
    let left = |trigger: &Trigger| {
        let stand_in = temporary(&trigger.name);
        present.iter().any(|name| name.same(&stand_in))
    };
    if !triggers.iter().any(left) {
        return Ok(());
    }
    let action = "locking the new table to give its triggers their names";
    let mut lock = format!("LOCK TABLES {original} WRITE");
    if exists(conn, retired).await? {
        lock.push_str(&format!(", {retired} WRITE"));
    }
    run(conn, action, "SET @osc_lock_wait = @@SESSION.lock_wait_timeout").await?;
    let wait = format!("SET SESSION lock_wait_timeout = {}", patience.seconds());
    run(conn, action, wait).await?;
    let mut result = run_patiently(conn, action, &lock, patience).await;
    if result.is_ok() {
        result = restore_names(conn, original, retired, triggers).await;
        result = result.and(run(conn, "unlocking the new table", "UNLOCK TABLES").await);
    }
    result.and(run(conn, action, "SET SESSION lock_wait_timeout = @osc_lock_wait").await)
}

async fn exists(conn: &mut Conn, table: &TableName) -> Result<bool> {
    let sql = format!(
        "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        Text(table.schema.as_str()),
        Text(table.table.as_str())
    );
    let rows: Vec<[String; 1]> = text_rows(conn, "looking for a table", &sql).await?;
    Ok(!rows.is_empty())
}

async fn names(conn: &mut Conn, table: &TableName) -> Result<Vec<Ident>> {
    let sql = format!(
        "SELECT DISTINCT TRIGGER_NAME FROM information_schema.TRIGGERS \
         WHERE EVENT_OBJECT_SCHEMA = {} AND EVENT_OBJECT_TABLE = {}",
        Text(table.schema.as_str()),
        Text(table.table.as_str())
    );
    let rows = text_rows(conn, "reading the names of triggers", &sql).await?;
    Ok(rows.into_iter().map(|[name]| Ident(name)).collect())
}

async fn drop_trigger(conn: &mut Conn, table: &TableName, name: &Ident) -> Result<()> {
    let sql = format!("DROP TRIGGER IF EXISTS {}.{name}", table.schema);
    run(conn, "dropping a trigger", sql).await
}

/// Makes `trigger` as `name` on `table`, under the settings that it was made under. The table's
/// schema is the session's default afterwards.
async fn create(conn: &mut Conn, trigger: &Trigger, name: &Ident, table: &TableName) -> Result<()> {
    let action = format!("making the trigger {}", trigger.name);
    let statement = trigger.parsed()?.with(name, &table.table);
    let save = "SET @osc_mode = @@SESSION.sql_mode, \
                @osc_client = @@SESSION.character_set_client, \
                @osc_collation = @@SESSION.collation_connection";
    run(conn, &action, save).await?;
    run(conn, &action, format!("USE {}", table.schema)).await?;
    let change = format!(
        "SET SESSION sql_mode = {}, character_set_client = {}, collation_connection = {}",
        Text(&trigger.sql_mode),
        Text(&trigger.client_charset),
        Text(&trigger.connection_collation)
    );
    let mut result = run(conn, &action, change).await;
    if result.is_ok() {
        result = run(conn, &action, statement).await;
    }
    let restore = "SET SESSION sql_mode = @osc_mode, character_set_client = @osc_client, \
                   collation_connection = @osc_collation";
    result.and(run(conn, "putting a session's settings back", restore).await)
}
