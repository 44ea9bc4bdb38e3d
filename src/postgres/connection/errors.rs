//! What the driver's and the server's errors mean.

use tokio_postgres::error::{DbError, SqlState};

use super::guarded::ClearText;
use crate::error::{Error, Finding, ServerCode};
use crate::ledger::refusals::taken_over;

/// What a driver's error means to the engine. `action` completes "connection lost while …" and
/// "… failed", such as `reading the catalog`.
///
/// A broken connection, and a server that is going down, starting up or has no connection left,
/// become [`Error::Connection`]; a missing right or a login that failed [`Error::Refused`]; a run
/// that another attempt has taken over [`Error::Stopped`];
/// whatever else the server says [`Error::Server`], with its SQLSTATE in the message.
pub fn server_error(action: &str, error: &tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        return without_answer(action, error);
    };
    let code = db.code();
    let mut message = db.message().to_owned();
    for (what, more) in [("detail", detail(db)), ("hint", db.hint().map(str::to_owned))] {
        if let Some(more) = more {
            message = format!("{message} ({what}: {more})");
        }
    }
    // PgBouncer knows no settings of the startup packet but its own few.
    if db.message().contains("unsupported startup parameter") {
        return Error::Refused(vec![Finding::new(
            "pooler",
            format!(
                "a connection pooler (PgBouncer or its like) answers in place of the server: {message}"
            ),
            DIRECTLY,
        )]);
    }
    if is_disconnect(code) {
        return Error::connection(action, message);
    }
    let refused = |check, help: &str| {
        Error::Refused(vec![Finding::new(check, format!("{action}: {message}"), help)])
    };
    match code.code() {
        TAKEN_OVER => taken_over(),
        NOT_AS_MADE => Error::Foreign(message),
        "28000" | "28P01" => refused("login", "check user, password and pg_hba.conf"),
        "3D000" => refused("database", "check the database's name in the URL"),
        INSUFFICIENT_PRIVILEGE => {
            refused("rights", "grant the right to the user that osc connects as")
        }
        "53100" => Error::Full { action: action.into(), message },
        code => Error::Server {
            action: action.into(),
            message: format!("{message} [{code}]"),
            code: Some(ServerCode::SqlState(code.to_owned())),
            cause: None,
        },
    }
}

/// The SQLSTATE of a failed statement; `None` when the server did not answer.
pub fn sqlstate(error: &tokio_postgres::Error) -> Option<&str> {
    error.code().map(SqlState::code)
}

/// The same where the rows are named by their copy key: of `Key (a)=(…)` the columns are left.
pub fn detail(db: &DbError) -> Option<String> {
    let detail = detail_with_key(db)?;
    Some(match detail.starts_with("Key (").then(|| detail.split_once(")=(")).flatten() {
        Some((columns, _)) => format!("{columns}): value not shown"),
        None => detail.to_owned(),
    })
}

/// What the server adds to a message, unless it is a row: a value that is NULL or breaks a check comes
/// with all columns of its row. For where nothing else says which rows are meant.
pub fn detail_with_key(db: &DbError) -> Option<&str> {
    db.detail().filter(|_| !matches!(db.code().code(), "23502" | "23514"))
}

/// Classes of SQLSTATE after which this session is of no use, while another one may be.
pub(crate) fn is_disconnect(code: &SqlState) -> bool {
    let code = code.code();
    code.starts_with("08") || code.starts_with("57P") || matches!(code, "53300" | "25P03" | "25P04")
}

/// The driver's display hides the cause: the whole chain is shown.
pub(crate) fn without_answer(action: &str, error: &tokio_postgres::Error) -> Error {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        if is_of::<ClearText>(cause) {
            return Error::Refused(vec![Finding::new(
                "login",
                format!("{action}: {ClearText}"),
                "connect by TLS (sslmode=verify-full), or let the server ask for SCRAM in pg_hba.conf",
            )]);
        }
        if let Some(problem) = certificate_problem(cause) {
            return Error::Refused(vec![Finding::new(
                "tls",
                format!("{action}: no trusted TLS connection: {problem}"),
                "name the CA that signed the server's certificate, and use a host name that it covers",
            )]);
        }
        source = cause.source();
    }
    if message.contains("server does not support TLS") {
        return Error::Usage {
            message: format!("{action}: the server does not offer TLS"),
            help: "switch TLS on at the server, or off in the URL".into(),
        };
    }
    Error::connection(action, message)
}

pub(crate) fn is_of<E: std::error::Error + 'static>(
    cause: &(dyn std::error::Error + 'static),
) -> bool {
    let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<E>())
}

pub(crate) fn certificate_problem(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let found = match cause.downcast_ref::<std::io::Error>() {
        Some(error) => error.get_ref()?.downcast_ref::<rustls::Error>()?,
        None => cause.downcast_ref::<rustls::Error>()?,
    };
    matches!(found, rustls::Error::InvalidCertificate(_)).then(|| found.to_string())
}

/// SQLSTATE of a statement by an attempt whose run another one has taken over.
pub(crate) const TAKEN_OVER: &str = "OS001";

/// SQLSTATE of a statement before which the tables were not those of the run.
pub(crate) const NOT_AS_MADE: &str = "OS002";

/// What to do where a pooler answers.
pub(crate) const DIRECTLY: &str =
    "connect to PostgreSQL itself: its own host and port, not the pooler's";

/// lock_not_available: a lock was not granted within `lock_timeout`.
pub(crate) const LOCK_NOT_AVAILABLE: &str = "55P03";

/// deadlock_detected.
pub(crate) const DEADLOCK: &str = "40P01";

/// serialization_failure.
pub(crate) const SERIALIZATION_FAILURE: &str = "40001";

/// query_canceled: by a statement's time limit, or by another session.
pub(crate) const QUERY_CANCELED: &str = "57014";

/// unique_violation.
pub(crate) const UNIQUE_VIOLATION: &str = "23505";

/// undefined_table.
pub(crate) const UNDEFINED_TABLE: &str = "42P01";

/// insufficient_privilege.
pub(crate) const INSUFFICIENT_PRIVILEGE: &str = "42501";
