//! What the server would do: the clauses tried on an empty copy of the table, in osc's own database.
//!
//! ALGORITHM=INSTANT and INPLACE on a table without rows cost nothing, and the server's answer is the
//! one that it would give for the table itself, but for what a copy has not: row versions, a hidden
//! column, foreign keys. Those are looked at on the original, or reported as not certain.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, ServerError};
use rand::Rng as _;

use super::choose::{Attempt, is_refusal};
use crate::error::{Error, Finding, Result};
use crate::mysql::catalog::table::Table;
use crate::mysql::clauses::ClauseKind;
use crate::mysql::connection::errors::{ACCESS_DENIED, connection_error, is_passing};
use crate::mysql::connection::privileges;
use crate::mysql::connection::session::{Sessions, run, run_ddl};
use crate::mysql::connection::texts::text_rows;
use crate::mysql::connection::version::Flavor;
use crate::mysql::copy::shadow::{self, Draft, not_taken};
use crate::mysql::name::{Ident, TableName, Text, account};
use crate::mysql::runs::ledger::create_database;
use crate::mysql::runs::proof;
use crate::plan::method::Method;

const ACTION: &str = "trying the clauses on an empty copy";

/// What the copies are called, before a number in hexadecimal.
const PREFIX: &str = "osc_probe_";

/// One copy at a time on a server: names of MySQL's CHECK constraints are unique in a database.
const LOCK: &str = "osc_probe";

/// How long to wait for it, in seconds.
const LOCK_WAIT: u32 = 5;

/// What an attempt needs in osc's own database.
const RIGHTS: [&str; 5] = ["SELECT", "INSERT", "CREATE", "ALTER", "DROP"];

/// What was found out.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// The methods, from the one on that the copy took.
    pub(crate) methods: Vec<Attempt>,
    /// Why the first of them is not certain; empty: it is.
    pub(crate) doubts: Vec<String>,
    /// What was done to find it out.
    pub(crate) notes: Vec<String>,
    /// The table as the change would make it.
    pub(crate) shadow: Option<Table>,
}

/// What came of an attempt: outside, why the server was not heard; inside, what it has against the change.
type Heard<T> = Result<std::result::Result<T, Error>>;

/// Tries `methods` in their order on an empty copy of the table, which is dropped again. Where that cannot be
/// done, all of them are left open.
///
/// # Errors
/// `Refused` where the server does not take the clauses, or takes none of the methods.
pub(crate) async fn decide(
    opts: &Opts,
    draft: &Draft<'_>,
    schema: &Ident,
    methods: Vec<Attempt>,
) -> Result<Decided> {
    let mut notes = Vec::new();
    match attempt(opts, draft, schema, methods.clone(), &mut notes).await {
        Ok(heard) => Ok(Decided { notes, ..heard? }),
        Err(error @ Error::Internal(_)) => Err(error),
        Err(error) => {
            let doubts = vec![format!(
                "the clauses could not be tried on an empty copy of the table: {}",
                because(&error)
            )];
            Ok(Decided { methods, doubts, notes, shadow: None })
        }
    }
}

fn because(error: &Error) -> String {
    match error {
        Error::Refused(findings) => {
            let words = findings.iter().flat_map(|finding| [&*finding.problem, &*finding.help]);
            words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("; ")
        }
        Error::Stopped { reason, .. } => reason.clone(),
        error => error.problem(),
    }
}

fn obstacle(reason: String) -> Error {
    Error::Stopped { reason, help: String::new() }
}

async fn attempt(
    opts: &Opts,
    draft: &Draft<'_>,
    schema: &Ident,
    methods: Vec<Attempt>,
    notes: &mut Vec<String>,
) -> Heard<Decided> {
    if !draft.original.engine.eq_ignore_ascii_case("InnoDB")
        || draft.original.create.contains("WITH SYSTEM VERSIONING")
    {
        return Err(obstacle("it is no plain table of InnoDB".into()));
    }
    let mut conn = Sessions::ddl(opts, ACTION).await?;
    let mut lacking: Vec<Finding> = unlogged(&mut conn, draft.flavor).await?.into_iter().collect();
    lacking.extend(privileges::lacking(&mut conn, schema, &RIGHTS).await?);
    if !lacking.is_empty() {
        return Err(Error::Refused(lacking));
    }
    alone(&mut conn).await?;
    let heard = on_a_copy(&mut conn, draft, schema, methods, notes).await;
    // The lock goes with the session, and at once this way.
    let _ = run(&mut conn, ACTION, &format!("DO RELEASE_LOCK('{LOCK}')")).await;
    let _ = conn.disconnect().await;
    heard
}

/// Keeps the session out of the binlog. A replica may have filters that leave osc's database out and the
/// copy in, and would stop; on a replica, what is logged is a transaction that its source has not.
async fn unlogged(conn: &mut Conn, flavor: Flavor) -> Result<Option<Finding>> {
    let denied = match conn.query_drop("SET SESSION sql_log_bin = 0").await {
        Ok(()) => return Ok(None),
        Err(mysql_async::Error::Server(error)) if error.code == ACCESS_DENIED => error.message,
        Err(error) => return Err(connection_error(ACTION, error)),
    };
    let sql = "SELECT @@GLOBAL.log_bin, CURRENT_USER()";
    let found = text_rows::<2>(conn, ACTION, sql).await?.into_iter().next();
    let [log, user] = found.unwrap_or_default();
    if log == "0" {
        return Ok(None);
    }
    let right = if flavor.is_mariadb() { "BINLOG ADMIN" } else { "SESSION_VARIABLES_ADMIN" };
    Ok(Some(Finding::new(
        "rights",
        format!("it must not be in the binlog, where replicas would find it: {denied}"),
        format!("GRANT {right} ON *.* TO {}", account(&user)),
    )))
}

/// Waits until no other osc tries clauses on this server.
async fn alone(conn: &mut Conn) -> Result<()> {
    let sql = format!("SELECT GET_LOCK('{LOCK}', {LOCK_WAIT})");
    let held = text_rows::<1>(conn, ACTION, &sql).await?;
    if held.first().is_some_and(|[held]| held == "1") {
        return Ok(());
    }
    Err(obstacle(format!(
        "another session, SELECT IS_USED_LOCK('{LOCK}'), has held the lock {LOCK} for {LOCK_WAIT} s"
    )))
}

async fn on_a_copy(
    conn: &mut Conn,
    draft: &Draft<'_>,
    schema: &Ident,
    methods: Vec<Attempt>,
    notes: &mut Vec<String>,
) -> Heard<Decided> {
    let number: u64 = rand::rng().random();
    let place = TableName::new(schema.as_str(), format!("{PREFIX}{number:016x}"));
    make(conn, draft, &place, notes).await?;
    let heard = tried(conn, draft, &place, methods).await;
    notes.push(match shadow::drop_table(conn, &place).await {
        Ok(()) => format!(
            "the clauses were tried on an empty copy of the table in the database {}, which is dropped again",
            schema.as_str()
        ),
        Err(error) => format!(
            "the clauses were tried on an empty copy of the table, {}, which the next osc drops: {}",
            place.plain(),
            error.problem()
        ),
    });
    heard
}

async fn make(
    conn: &mut Conn,
    draft: &Draft<'_>,
    place: &TableName,
    notes: &mut Vec<String>,
) -> Result<()> {
    let schema = &place.schema;
    let sql = format!(
        "SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
        Text(schema.as_str())
    );
    if text_rows::<1>(conn, ACTION, &sql).await?.is_empty() {
        // Replicas get it with the ledger.
        run_ddl(conn, ACTION, &create_database(schema)).await?;
        notes.push(format!("the database {} was made for osc's own tables", schema.as_str()));
    }
    run(conn, ACTION, "SET SESSION lock_wait_timeout = 2").await?;
    // What the clauses name without a schema is the original's neighbour.
    run(conn, ACTION, &format!("USE {}", draft.original.name.schema)).await?;
    sweep(conn, schema).await?;
    run_ddl(conn, ACTION, &format!("CREATE TABLE {place} LIKE {}", draft.original.name)).await
}

/// Drops the copies of sessions that are gone: whoever has the lock is the only one with a copy.
async fn sweep(conn: &mut Conn, schema: &Ident) -> Result<()> {
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} \
         AND TABLE_TYPE = 'BASE TABLE' AND TABLE_NAME REGEXP '^{PREFIX}[0-9a-f]{{16}}$'",
        Text(schema.as_str())
    );
    for [name] in text_rows::<1>(conn, ACTION, &sql).await? {
        shadow::drop_table(conn, &TableName { schema: schema.clone(), table: Ident::new(name) })
            .await?;
    }
    Ok(())
}

async fn tried(
    conn: &mut Conn,
    draft: &Draft<'_>,
    place: &TableName,
    mut methods: Vec<Attempt>,
) -> Heard<Decided> {
    let mut refused: Vec<String> = Vec::new();
    let facts = Hidden::of(conn, draft).await?;
    // The copy has no foreign keys to drop.
    let unseen = !draft.change.foreign_keys.dropped.is_empty();
    while let Some(attempt) = methods.first()
        && attempt.method != Method::Copy
        && !unseen
    {
        let answer = match facts.obstacle(draft, attempt) {
            Some(why) => Err((None, why)),
            None => apply(conn, draft, place, attempt.settings)
                .await?
                .map_err(|error| (Some(error.code), error.message)),
        };
        match answer {
            Ok(()) => {
                if let Some(first) = methods.first_mut() {
                    first.reason = taken(first);
                }
                let doubts = facts.doubts(draft, &methods);
                let shadow = Table::read(conn, place).await?;
                return Ok(Ok(Decided { methods, doubts, shadow, ..Decided::default() }));
            }
            Err((None, why)) => refused.push(attempt.refused(&why)),
            Err((Some(code), why)) if is_refusal(code) => refused.push(attempt.refused(&why)),
            Err((Some(code), why)) => return Ok(Err(not_taken(&why, code))),
        }
        methods.remove(0);
    }
    if methods.is_empty() {
        return Ok(Err(Error::Refused(vec![Finding::new(
            "strategy",
            refused.join("; "),
            "use --strategy auto or copy",
        )])));
    }
    if let Err(error) = apply(conn, draft, place, &[]).await? {
        return Ok(Err(not_taken(&error.message, error.code)));
    }
    let shadow = Table::read(conn, place).await?;
    let mut doubts = Vec::new();
    match methods.first_mut() {
        Some(first) if first.method == Method::Copy => {
            refused.push(std::mem::take(&mut first.reason));
            first.reason = refused.join("; ");
        }
        _ => doubts.push("an empty copy has no foreign keys that could be dropped".into()),
    }
    Ok(Ok(Decided { methods, doubts, shadow, ..Decided::default() }))
}

/// The inner error is about the clauses.
async fn apply(
    conn: &mut Conn,
    draft: &Draft<'_>,
    place: &TableName,
    settings: &[&str],
) -> Result<std::result::Result<(), ServerError>> {
    match shadow::apply(conn, draft, place, settings).await? {
        // Rights on osc's database say nothing of those on the original's.
        Err(error) if is_passing(&error) || matches!(error.code, 1044 | 1142 | 1143) => {
            Err(connection_error(ACTION, error.into()))
        }
        answer => Ok(answer),
    }
}

/// Why the method was chosen.
fn taken(attempt: &Attempt) -> String {
    match attempt.method {
        Method::Instant => {
            "metadata only: the server takes ALGORITHM=INSTANT on an empty copy".into()
        }
        _ => format!("the server takes it in place on an empty copy; {}", attempt.reason),
    }
}

/// What only the original shows.
#[derive(Debug, Default)]
struct Hidden {
    /// Row versions of the table, the most of a partition's; `None`: they cannot be read.
    versions: Option<u64>,
    /// A column that a FULLTEXT index has left.
    full_text: bool,
}

impl Hidden {
    async fn of(conn: &mut Conn, draft: &Draft<'_>) -> Result<Self> {
        // Servers before have no versions, and MariaDB has no bound of them.
        if !counts_versions(draft.flavor) || !moves_columns(draft) {
            return Ok(Self { versions: Some(0), full_text: false });
        }
        match proof::row_versions(conn, &draft.original.name).await {
            Ok((versions, full_text)) => {
                let named = draft.original.column(&Ident::new("FTS_DOC_ID")).is_some();
                let indexed = draft.original.indexes.iter().any(|index| index.kind == "FULLTEXT");
                Ok(Self { versions, full_text: full_text && !named && !indexed })
            }
            Err(Error::Refused(_)) => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Why the original cannot take what an empty copy may.
    fn obstacle(&self, draft: &Draft<'_>, attempt: &Attempt) -> Option<String> {
        let most = if draft.flavor.at_least(9, 1, 0) { 255 } else { 64 };
        let full = self.versions.is_some_and(|versions| versions >= most);
        (attempt.method == Method::Instant && full)
            .then(|| format!("the table has {most} row versions, the most that the server keeps"))
    }

    /// Why what a copy has taken is not certain for the original.
    fn doubts(&self, draft: &Draft<'_>, methods: &[Attempt]) -> Vec<String> {
        let mut doubts = Vec::new();
        let instant = methods.first().is_some_and(|first| first.method == Method::Instant);
        if instant && self.versions.is_none() {
            doubts.push(
                "the table's row versions cannot be read, of which there may be too many".into(),
            );
        }
        if instant && self.full_text {
            doubts.push(
                "a FULLTEXT index has left the table a hidden column, which an empty copy has not"
                    .into(),
            );
        }
        if touches_keys(draft) {
            doubts.push(
                "columns of foreign keys change, and an empty copy has no foreign keys".into(),
            );
        }
        doubts
    }
}

fn counts_versions(flavor: Flavor) -> bool {
    !flavor.is_mariadb() && flavor.at_least(8, 0, 29)
}

/// Whether columns come, go or move: each time the rows get another version.
fn moves_columns(draft: &Draft<'_>) -> bool {
    draft.change.clauses.clauses.iter().any(|clause| {
        matches!(clause.kind, ClauseKind::AddColumns { .. } | ClauseKind::DropColumn { .. })
    })
}

/// Whether the clauses change something that a foreign key stands on.
fn touches_keys(draft: &Draft<'_>) -> bool {
    let (own, incoming) = (&draft.dependents.outgoing, &draft.dependents.incoming);
    let columns = || {
        own.iter()
            .flat_map(|key| &key.columns)
            .chain(incoming.iter().flat_map(|key| &key.referenced_columns))
    };
    if columns().next().is_none() {
        return false;
    }
    let among = |name: &Ident| columns().any(|column| column.same(name));
    draft.change.clauses.clauses.iter().any(|clause| match &clause.kind {
        ClauseKind::DropColumn { name, .. } => among(name),
        ClauseKind::ChangeColumn { from, .. } | ClauseKind::RenameColumn { from, .. } => {
            among(from)
        }
        ClauseKind::ModifyColumn { column, .. } => among(&column.name),
        ClauseKind::DropIndex { .. }
        | ClauseKind::DropConstraint { .. }
        | ClauseKind::DropPrimaryKey
        | ClauseKind::AddPrimaryKey { .. }
        | ClauseKind::ConvertCharset { .. } => true,
        _ => false,
    })
}
