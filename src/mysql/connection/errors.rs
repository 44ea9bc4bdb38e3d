//! What the driver's and the server's errors mean.

use mysql_async::{DriverError, IoError};

use super::answer::TooMuch;
use super::single::{self, Changed};
use crate::error::{AGAIN, Error, Finding, ServerCode, end_transactions};

/// What a driver's error means to the engine. `action` completes "connection lost while …" and
/// "… failed", such as `reading the replica's status`.
///
/// A broken connection, and a server that is going down or has no connection left, become
/// [`Error::Connection`]; a missing right or a wrong certificate [`Error::Refused`]; settings that
/// can never work [`Error::Usage`]; whatever else the server says [`Error::Server`].
pub(crate) fn connection_error(action: &str, error: mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Server(error) => server_error(action, error),
        mysql_async::Error::Io(IoError::Io(error)) => match certificate_problem(&error) {
            Some(problem) => untrusted(action, &problem),
            None => Error::broken(action, error),
        },
        mysql_async::Error::Io(IoError::Tls(error)) => untrusted(action, &error.to_string()),
        mysql_async::Error::Driver(error) => driver_error(action, error),
        mysql_async::Error::Other(error) if error.is::<TooMuch>() => {
            Error::server(action, error.to_string())
        }
        mysql_async::Error::Other(error) if error.is::<Changed>() => {
            Error::Usage { message: format!("{action}: {error}"), help: single::HELP.into() }
        }
        error @ (mysql_async::Error::Url(_) | mysql_async::Error::Other(_)) => {
            Error::Internal(format!("{action}: {error}"))
        }
    }
}

pub(crate) fn untrusted(action: &str, problem: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "tls",
        format!("{action}: no trusted TLS connection: {problem}"),
        "name the CA that signed the server's certificate, and use a host name that it covers",
    )])
}

/// rustls hides in an I/O error when it turns a peer down.
pub(crate) fn certificate_problem(error: &std::io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        problem @ rustls::Error::InvalidCertificate(_) => Some(problem.to_string()),
        _ => None,
    }
}

pub(crate) fn driver_error(action: &str, error: DriverError) -> Error {
    match error {
        DriverError::ConnectionClosed
        | DriverError::PacketOutOfOrder
        | DriverError::PoolDisconnected
        | DriverError::UnexpectedPacket { .. }
        | DriverError::BadCompressedPacketHeader => Error::broken(action, error),
        DriverError::NoClientSslFlagFromServer => Error::Usage {
            message: format!("{action}: the server does not offer TLS"),
            help: "switch TLS on at the server, or off in the URL".into(),
        },
        DriverError::LocalInfile(_) => Error::server(
            action,
            "the server asked for a file of this machine (LOCAL INFILE), which osc never sends; this is no \
             honest server",
        ),
        DriverError::NoKeyFound
        | DriverError::UnknownAuthPlugin { .. }
        | DriverError::MysqlOldPasswordDisabled
        | DriverError::CleartextPluginDisabled => Error::Usage {
            message: format!("{action}: {error}"),
            help: "check how this user logs in".into(),
        },
        _ => Error::Internal(format!("{action}: {error}")),
    }
}

/// Numbers from the server's message reference (`mysqld_error.h`) after which this connection is
/// of no use, while another one may be.
pub(crate) const DISCONNECTS: [u16; 14] = [
    1040, // too many connections
    1053, // shutdown in progress
    1077, // normal shutdown
    1079, // shutdown complete
    1152, // aborting connection
    1158, 1159, 1160, 1161, // communication packets: read, read timeout, write, write timeout
    1184, // aborting connection
    1927, // MariaDB: connection was killed
    2006, // gone away
    2013, // lost during query
    4031, // MySQL: disconnected for inactivity
];

/// Numbers after which nothing can be written until an operator has seen to the server: no fault of the
/// run's.
pub(crate) const READ_ONLY: [u16; 2] = [
    1290, // read_only, super_read_only
    1836, // running in read-only mode
];

/// Numbers that are about the moment, or of the server as it is set up: the same statement may pass later.
pub(crate) const PASSING: [u16; 18] = [
    1028, // sort aborted
    1030, // error from the storage engine
    1037, 1038, 1041, // out of memory
    1180, // error during commit
    1205, 1206, 1213, // lock wait, lock table full, deadlock
    1223, // read lock
    1226, 1461, // limits of an account, of prepared statements
    1317, 1969, 3024, // interrupted; MariaDB's and MySQL's time limit
    1412, // table definition changed
    3169, // MySQL: session was killed
    3572, // NOWAIT
];

/// Whether the error says nothing of the statement itself: the server or the connection could not, just now.
pub(crate) fn is_passing(error: &mysql_async::ServerError) -> bool {
    let code = error.code;
    PASSING.contains(&code)
        || DISCONNECTS.contains(&code)
        || READ_ONLY.contains(&code)
        || is_full(code, &error.message)
}

pub(crate) fn server_error(action: &str, error: mysql_async::ServerError) -> Error {
    let (code, message) = (error.code, error.message.clone());
    match code {
        code if DISCONNECTS.contains(&code) => {
            Error::Connection { action: action.into(), message, cause: Some(error.into()) }
        }
        code if READ_ONLY.contains(&code) => Error::Stopped {
            reason: format!("{action} failed: {message}"),
            help: format!(
                "let the server write again (a primary that is not read only, with room on its disk), then \
                 {AGAIN}"
            ),
        },
        1045 | 1130 | 1698 => Error::Refused(vec![Finding::new(
            "login",
            format!("{action}: {message}"),
            "check the user, the password, and the hosts from which the user may log in",
        )]),
        1044 | 1142 | 1143 | ACCESS_DENIED | 1370 => Error::Refused(vec![Finding::new(
            "privileges",
            format!("{action}: {message}"),
            missing_right(&message),
        )]),
        code if is_full(code, &message) => Error::Full { action: action.into(), message },
        _ => Error::Server {
            action: action.into(),
            message,
            code: Some(ServerCode::Mysql(code)),
            cause: Some(error.into()),
        },
    }
}

/// Whether the server has no room: its disk (1021, 3675; MariaDB and MySQL put the system's error 28 into
/// many others' words), a tablespace that cannot grow (1114), a temporary file (1878).
pub(crate) fn is_full(code: u16, message: &str) -> bool {
    let words = ["No space left on device", "rrcode: 28", "errno: 28", "errno 28", "error 28"];
    matches!(code, 1021 | 1114 | 1878 | 3675) || words.iter().any(|word| message.contains(word))
}

/// The GRANT that the server's words ask for, as far as they say.
pub(crate) fn missing_right(message: &str) -> String {
    let between = |from: &str, to: &str| {
        let (_, rest) = message.split_once(from)?;
        Some(rest.split_once(to)?.0)
    };
    let user = message.split_once("user ").map(|(_, rest)| {
        rest.split_once(" for ").or_else(|| rest.split_once(" to ")).map_or(rest, |(user, _)| user)
    });
    let user = user.unwrap_or("the user that osc connects as");
    if let Some((right, _)) = message.split_once(" command denied") {
        format!("grant {right} there to {user}")
    } else if let Some(rights) = between("(at least one of) the ", " privilege") {
        // SUPER is more than anything here needs: another of them will do.
        let least = rights.split(", ").find(|right| *right != "SUPER").unwrap_or(rights);
        format!("GRANT {least} ON *.* to {user}")
    } else if let Some((_, schema)) = message.split_once("to database ") {
        format!("grant {user} rights on the database {schema}")
    } else {
        format!("grant {user} what is missing")
    }
}

/// What a failed write means.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// A value exists already in the unique index of this name.
    Duplicate {
        /// The index.
        index: String,
        /// The server's words.
        message: String,
    },
    /// A deadlock or a lock wait.
    Contention,
    /// A value does not fit the shadow; the row of the statement, from 1, where the server shows it.
    Unfit {
        /// The server's words.
        message: String,
        /// Which row.
        row: Option<u64>,
    },
    /// Anything else.
    Other(Error),
}

/// Reads the server's error for a write.
pub(crate) fn write_error(action: &str, error: mysql_async::Error) -> WriteError {
    let mysql_async::Error::Server(server) = &error else {
        return WriteError::Other(connection_error(action, error));
    };
    match server.code {
        // ER_DUP_ENTRY, ER_DUP_ENTRY_WITH_KEY_NAME
        1062 | 1586 => WriteError::Duplicate {
            index: index_of(&server.message),
            message: without_values(&server.message),
        },
        // ER_LOCK_DEADLOCK, ER_LOCK_WAIT_TIMEOUT, ER_CHECKREAD
        LOCK_WAIT_TIMEOUT | DEADLOCK | 1020 => WriteError::Contention,
        code if is_unfit(code) => WriteError::Unfit {
            row: row_of(&server.message),
            message: without_values(&server.message),
        },
        _ => WriteError::Other(connection_error(action, error)),
    }
}

/// Errors and warnings about a value that does not fit its column.
pub(crate) fn is_unfit(code: u16) -> bool {
    matches!(
        code,
        // NULL into NOT NULL, no default, out of range, truncated, invalid date, wrong value
        1048 | 1138 | 1364 | 1264 | 1265 | 1292 | 1366 | 1367 | 1406 | 1411 | 1441
        // numbers out of range, geometry, invalid JSON, CHECK of MySQL and MariaDB, partition
        | 1690 | 1416 | 3140..=3147 | 3156 | 3819 | 4025 | 1526 | 3854 | 3988 | 1300 | 3058 | 3643
        // division by zero in a generated column, functional index on a bad value, row too large
        | 1365 | 3751..=3759 | 1118 | 3903 | 3904 | 3907
        // bytes that are no VECTOR; MariaDB: a character that the column's set lacks
        | 6136 | 1977
    )
}

/// The server's words without a value of a row, which osc names by its key: `Incorrect … value: 'x' for column
/// 'c' at row 1`, `Duplicate entry 'x' for key 'u'`. A value may have quotes, too.
pub(crate) fn without_values(message: &str) -> String {
    // MariaDB: `Cannot convert 'utf8mb4' character 0xD0B6 to 'latin1'`
    if let Some((before, rest)) = message.split_once(" character 0x") {
        let after = rest.split_once(' ').map_or("", |(_, after)| after);
        return format!("{before} character (not shown) {after}");
    }
    let begins = ["value: '", "value '", "entry '"];
    let Some(from) = begins.iter().find_map(|word| Some(message.find(word)? + word.len() - 1))
    else {
        return message.to_owned();
    };
    let (before, rest) = message.split_at_checked(from).unwrap_or((message, ""));
    let after = ["' for ", "' at row"].iter().find_map(|end| rest.rfind(end));
    let after = after.or_else(|| rest.rfind('\'')).and_then(|end| rest.get(end + 1..));
    format!("{before}(value not shown){}", after.unwrap_or_default())
}

pub(crate) fn index_of(message: &str) -> String {
    let name = message.rsplit('\'').nth(1).unwrap_or_default();
    name.rsplit_once('.').map_or(name, |(_, index)| index).to_owned()
}

pub(crate) fn row_of(message: &str) -> Option<u64> {
    message.rsplit_once(" at row ").and_then(|(_, row)| row.trim().parse().ok())
}

/// What a failed statement that changes tables means.
pub(crate) fn failed(action: &str, error: mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Server(error) if is_contention(error.code) => {
            no_lock(action, &error.message)
        }
        error => connection_error(action, error),
    }
}

/// ER_LOCK_WAIT_TIMEOUT.
pub(crate) const LOCK_WAIT_TIMEOUT: u16 = 1205;

/// ER_LOCK_DEADLOCK.
pub(crate) const DEADLOCK: u16 = 1213;

/// ER_QUERY_INTERRUPTED: `KILL QUERY`.
pub(crate) const INTERRUPTED: u16 = 1317;

/// MariaDB's ER_STATEMENT_TIMEOUT.
pub(crate) const STATEMENT_TIMEOUT: u16 = 1969;

/// MySQL's ER_QUERY_TIMEOUT.
pub(crate) const QUERY_TIMEOUT: u16 = 3024;

/// ER_SPECIFIC_ACCESS_DENIED_ERROR: a right beyond those on tables is missing.
pub(crate) const ACCESS_DENIED: u16 = 1227;

/// Whether another session's lock was in the way.
pub(crate) fn is_contention(code: u16) -> bool {
    matches!(code, LOCK_WAIT_TIMEOUT | DEADLOCK)
}

/// Whether a statement ended that waited for too long, or was taken back while it waited.
pub(crate) fn is_given_up(code: u16) -> bool {
    matches!(code, LOCK_WAIT_TIMEOUT | INTERRUPTED | STATEMENT_TIMEOUT)
}

/// Whether it passes: a lock, a time limit, an interruption.
pub(crate) fn is_of_the_moment(code: u16) -> bool {
    is_contention(code) || is_given_up(code) || code == QUERY_TIMEOUT
}

/// The end of a run that a lock stood in the way of.
pub(crate) fn no_lock(action: &str, message: &str) -> Error {
    Error::Stopped {
        reason: format!("{action} failed: {message}"),
        help: end_transactions("the table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_server(code: u16, message: &str) -> Error {
        let state = "HY000".into();
        let error = mysql_async::ServerError { code, message: message.into(), state };
        connection_error("reading rows", error.into())
    }

    #[test]
    fn a_server_that_goes_away_is_a_lost_connection() {
        for code in DISCONNECTS {
            assert!(from_server(code, "bye").is_connection(), "{code}");
        }
        assert!(!from_server(1317, "Query execution was interrupted").is_connection());
        let broken = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        assert!(connection_error("reading rows", broken.into()).is_connection());
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_refused_and_not_retried() {
        let problem = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, problem);
        assert!(matches!(connection_error("connecting", error.into()), Error::Refused(_)));
    }

    #[test]
    fn a_missing_right_is_named_with_its_user() {
        let help = |code, message: &str| match from_server(code, message) {
            Error::Refused(findings) => findings[0].help.clone(),
            other => panic!("{other}"),
        };
        assert_eq!(
            help(1142, "SELECT command denied to user 'bob'@'%' for table `shop`.`users`"),
            "grant SELECT there to 'bob'@'%'"
        );
        assert_eq!(
            help(
                1227,
                "Access denied; you need (at least one of) the SUPER, REPLICATION CLIENT \
                 privilege(s) for this operation"
            ),
            "GRANT REPLICATION CLIENT ON *.* to the user that osc connects as"
        );
        assert_eq!(
            help(1044, "Access denied for user 'bob'@'%' to database 'shop'"),
            "grant 'bob'@'%' rights on the database 'shop'"
        );
    }

    #[test]
    fn what_passes_says_nothing_of_the_statement() {
        let passing = |code| {
            let (message, state) = ("words".into(), "HY000".into());
            is_passing(&mysql_async::ServerError { code, message, state })
        };
        for code in [
            1021, 1028, 1030, 1114, 1205, 1213, 1290, 1317, 1836, 1878, 1969, 2006, 2013, 3024,
            1053, 1927, 1461,
        ] {
            assert!(passing(code), "{code}");
        }
        for code in
            [1054, 1060, 1061, 1064, 1067, 1072, 1091, 1118, 1146, 1227, 1845, 1846, 3822, 4092]
        {
            assert!(!passing(code), "{code}");
        }
    }

    #[test]
    fn a_server_without_room_is_told_apart() {
        for (code, message) in [
            (1114, "The table 't_osc_new' is full"),
            (1030, "Got error 28 \"No space left on device\" from storage engine InnoDB"),
            (3, "Error writing file './x' (Errcode: 28 \"No space left on device\")"),
            (1021, "Disk full (/tmp); waiting for someone to free some space..."),
        ] {
            assert!(from_server(code, message).is_full(), "{message}");
        }
        assert!(!from_server(1030, "Got error 168 from storage engine").is_full());
    }

    #[test]
    fn other_server_errors_keep_their_number() {
        let error = from_server(1062, "Duplicate entry");
        assert_eq!(error.mysql_code(), Some(1062));
    }

    #[test]
    fn the_index_of_a_duplicate_is_read_in_both_spellings() {
        assert_eq!(index_of("Duplicate entry 'a-b' for key 't_osc_new.u'"), "u");
        assert_eq!(index_of("Duplicate entry 'it''s' for key 'PRIMARY'"), "PRIMARY");
        assert_eq!(index_of("nonsense"), "");
    }

    #[test]
    fn values_of_rows_are_not_shown() {
        for (message, shown) in [
            (
                "Incorrect integer value: 'se' for x'' for column 'c' at row 1",
                "Incorrect integer value: (value not shown) for column 'c' at row 1",
            ),
            (
                "Truncated incorrect INTEGER value: 'se'",
                "Truncated incorrect INTEGER value: (value not shown)",
            ),
            (
                "Duplicate entry 'a-b' for key 't.u'",
                "Duplicate entry (value not shown) for key 't.u'",
            ),
            ("Data too long for column 'c' at row 1", "Data too long for column 'c' at row 1"),
        ] {
            assert_eq!(without_values(message), shown);
        }
    }

    #[test]
    fn the_row_of_an_unfit_value_is_read() {
        assert_eq!(row_of("Data too long for column 'c' at row 12"), Some(12));
        assert_eq!(row_of("Data too long"), None);
    }
}
