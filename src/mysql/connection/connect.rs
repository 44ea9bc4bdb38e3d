//! From a target to a connection, and from the driver's errors to the engine's.

use std::path::Path;
use std::time::Duration;

use mysql_async::{ClientIdentity, Conn, DriverError, IoError, Opts, OptsBuilder, SslOpts};
use secrecy::ExposeSecret;

use super::answer::TooMuch;
use super::single;
use super::single::Changed;
use super::{own_sessions, settings};
use crate::config::target::{Address, Target, Tls, TlsMode};
use crate::error::{Error, Finding, Result};

/// How long a connection may take to be made, TLS and login included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle time after which the kernel begins to ask whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Longer packets are neither sent nor taken, but for the change stream's.
const LARGEST_PACKET: usize = 64 << 20;

/// osc's statements differ from each other: a large cache would only hold memory on the server.
const STATEMENT_CACHE: usize = 8;

/// The driver's options for `target`.
///
/// TLS is used over TCP only. With [`TlsMode::Verify`] the server must show a certificate for its
/// host name that leads to [`Tls::ca`], or to the well-known public roots where none is given.
///
/// A password goes to another host over TLS only, unless the URL says otherwise: the driver would answer a
/// server that asks for the whole password with the password, encrypted by that server's own key.
///
/// The result holds the password in the clear and its `Debug` prints it: never log it.
///
/// # Errors
/// [`Error::Usage`] when a TLS file cannot be read or one of certificate and key is missing.
pub fn opts(target: &Target) -> Result<Opts> {
    let plain = target.tls.mode == TlsMode::Off && !target.address.is_local();
    if plain && target.password.is_some() && !target.wire.takes_public_key {
        return Err(Error::Usage {
            message: "osc sends no password to another host without TLS: it would encrypt it with \
                      whatever key the server shows"
                .into(),
            help: "leave ssl-mode=disabled out of the URL; or say get-server-public-key=true there, if \
                   nobody can be between you and the server"
                .into(),
        });
    }
    let builder = OptsBuilder::default()
        .user(Some(&target.user))
        .pass(target.password.as_ref().map(ExposeSecret::expose_secret))
        .db_name(target.database.as_ref())
        .tcp_keepalive(Some(KEEPALIVE))
        .tcp_nodelay(true)
        .stmt_cache_size(STATEMENT_CACHE)
        .connect_attribute("program_name", env!("CARGO_PKG_NAME"))
        .connect_attribute("program_version", env!("CARGO_PKG_VERSION"))
        // What the driver would ask for before the session has its settings: more than any statement or
        // value of osc's has, and what `settings` sets.
        .max_allowed_packet(Some(LARGEST_PACKET))
        .wait_timeout(Some(86_400))
        .setup(settings::for_driver(settings::every()))
        // The driver would leave TCP for the server's socket on loopback, and TLS with it.
        .prefer_socket(false);
    let builder = match &target.address {
        Address::Tcp { host, port } => {
            builder.ip_or_hostname(host).tcp_port(*port).ssl_opts(tls(&target.tls)?)
        }
        Address::Socket(path) => {
            let path = path.to_str().ok_or_else(|| Error::Usage {
                message: format!("the socket's path {} is not UTF-8", path.display()),
                help: String::new(),
            })?;
            builder.socket(Some(path))
        }
    };
    Ok(builder.into())
}

fn tls(tls: &Tls) -> Result<Option<SslOpts>> {
    // The driver takes the process's; fails only if there is one already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = match tls.mode {
        TlsMode::Off => return Ok(None),
        TlsMode::NoVerify => SslOpts::default()
            .with_danger_accept_invalid_certs(true)
            .with_danger_skip_domain_validation(true),
        TlsMode::Verify | TlsMode::VerifyCa => match &tls.ca {
            Some(ca) => SslOpts::default()
                .with_root_certs(vec![pem(ca)?.into()])
                .with_disable_built_in_roots(true),
            None => SslOpts::default(),
        }
        .with_danger_skip_domain_validation(tls.mode == TlsMode::VerifyCa),
    };
    let identity = match (&tls.cert, &tls.key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(ClientIdentity::new(pem(cert)?.into(), pem(key)?.into())),
        _ => {
            return Err(Error::Usage {
                message: "a client certificate and its key go together".into(),
                help: "give both files, or neither".into(),
            });
        }
    };
    Ok(Some(options.with_client_identity(identity)))
}

fn pem(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::Usage {
        message: format!("cannot read the TLS file {}: {error}", path.display()),
        help: "give the path of a PEM file that osc may read".into(),
    })
}

/// Connects, within [`CONNECT_TIMEOUT`]. `action` says what for, as in [`connection_error`].
///
/// # Errors
/// Those of [`connection_error`].
pub async fn connect(opts: &Opts, action: &str) -> Result<Conn> {
    let _opening = own_sessions::Opening::begin();
    match tokio::time::timeout(CONNECT_TIMEOUT, Conn::new(opts.clone())).await {
        Ok(connected) => {
            connected.inspect(own_sessions::note).map_err(|error| connection_error(action, error))
        }
        Err(_) => Err(Error::Connection {
            action: action.into(),
            message: format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
        }),
    }
}

/// A command's first connection to `target`.
///
/// # Errors
/// [`Error::Unreachable`] where there is none to be had; else those of [`connection_error`].
pub async fn first(target: &Target) -> Result<Conn> {
    connect(&opts(target)?, "connecting")
        .await
        .map_err(|error| error.at_first(&target.address, "a MySQL or MariaDB server"))
}

/// What a driver's error means to the engine. `action` completes "connection lost while …" and
/// "… failed", such as `reading the replica's status`.
///
/// A broken connection, and a server that is going down or has no connection left, become
/// [`Error::Connection`]; a missing right or a wrong certificate [`Error::Refused`]; settings that
/// can never work [`Error::Usage`]; whatever else the server says [`Error::Server`].
pub fn connection_error(action: &str, error: mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Server(error) => server_error(action, error),
        mysql_async::Error::Io(IoError::Io(error)) => match certificate_problem(&error) {
            Some(problem) => untrusted(action, &problem),
            None => lost(action, &error),
        },
        mysql_async::Error::Io(IoError::Tls(error)) => untrusted(action, &error.to_string()),
        mysql_async::Error::Driver(error) => driver_error(action, &error),
        mysql_async::Error::Other(error) if error.is::<TooMuch>() => {
            Error::Server { action: action.into(), message: error.to_string(), code: None }
        }
        mysql_async::Error::Other(error) if error.is::<Changed>() => {
            Error::Usage { message: format!("{action}: {error}"), help: single::HELP.into() }
        }
        error @ (mysql_async::Error::Url(_) | mysql_async::Error::Other(_)) => {
            Error::Internal(format!("{action}: {error}"))
        }
    }
}

fn lost(action: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::Connection { action: action.into(), message: cause.to_string() }
}

fn untrusted(action: &str, problem: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "tls",
        format!("{action}: no trusted TLS connection: {problem}"),
        "name the CA that signed the server's certificate, and connect by a name that stands in it",
    )])
}

/// rustls hides in an I/O error when it turns a peer down.
fn certificate_problem(error: &std::io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        problem @ rustls::Error::InvalidCertificate(_) => Some(problem.to_string()),
        _ => None,
    }
}

fn driver_error(action: &str, error: &DriverError) -> Error {
    match error {
        DriverError::ConnectionClosed
        | DriverError::PacketOutOfOrder
        | DriverError::PoolDisconnected
        | DriverError::UnexpectedPacket { .. }
        | DriverError::BadCompressedPacketHeader => lost(action, error),
        DriverError::NoClientSslFlagFromServer => Error::Usage {
            message: format!("{action}: the server does not offer TLS"),
            help: "switch TLS on at the server, or off in the URL".into(),
        },
        DriverError::LocalInfile(_) => Error::Server {
            action: action.into(),
            message: "the server asked for a file of this machine (LOCAL INFILE), which osc never \
                      sends; this is no honest server"
                .into(),
            code: None,
        },
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
const DISCONNECTS: [u16; 14] = [
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

/// Numbers after which nothing can be written until somebody has seen to the server: no fault of the
/// run's.
const READ_ONLY: [u16; 2] = [
    1290, // read_only, super_read_only
    1836, // running in read-only mode
];

/// Numbers that tell of the moment, or of the server as it is set up: the same statement may pass later.
const PASSING: [u16; 18] = [
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

fn server_error(action: &str, error: mysql_async::ServerError) -> Error {
    let mysql_async::ServerError { code, message, .. } = error;
    match code {
        code if DISCONNECTS.contains(&code) => lost(action, &message),
        code if READ_ONLY.contains(&code) => Error::Stopped {
            reason: format!("{action} failed: {message}"),
            help: "let the server write again (a primary that is not read only, with room on its disk), then \
                   run the same command again; it goes on from the checkpoint"
                .into(),
        },
        1045 | 1130 | 1698 => Error::Refused(vec![Finding::new(
            "login",
            format!("{action}: {message}"),
            "check the user, the password, and the hosts from which the user may log in",
        )]),
        1044 | 1142 | 1143 | 1227 | 1370 => Error::Refused(vec![Finding::new(
            "privileges",
            format!("{action}: {message}"),
            missing_right(&message),
        )]),
        code if is_full(code, &message) => Error::Full { action: action.into(), message },
        _ => Error::Server { action: action.into(), message, code: Some(code) },
    }
}

/// Whether the server has no room: its disk (1021, 3675; MariaDB and MySQL put the system's error 28 into
/// many others' words), a tablespace that cannot grow (1114), a temporary file (1878).
fn is_full(code: u16, message: &str) -> bool {
    let words = ["No space left on device", "rrcode: 28", "errno: 28", "errno 28", "error 28"];
    matches!(code, 1021 | 1114 | 1878 | 3675) || words.iter().any(|word| message.contains(word))
}

/// The GRANT that the server's words ask for, as far as they say.
fn missing_right(message: &str) -> String {
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

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::config::target::{LEDGER, Scheme};

    fn target(address: Address, mode: TlsMode) -> Target {
        Target {
            scheme: Scheme::Mysql,
            address,
            user: "bob".into(),
            password: Some(SecretString::from("s3cret!")),
            database: Some("shop".into()),
            tls: Tls { mode, ca: None, cert: None, key: None },
            ledger: LEDGER.into(),
            wire: Default::default(),
        }
    }

    fn tcp(mode: TlsMode) -> Target {
        target(Address::Tcp { host: "db.example".into(), port: 3307 }, mode)
    }

    fn from_server(code: u16, message: &str) -> Error {
        let state = "HY000".into();
        let error = mysql_async::ServerError { code, message: message.into(), state };
        connection_error("reading rows", error.into())
    }

    #[test]
    fn tcp_targets_stay_on_tcp_and_verify_when_asked() {
        let options = opts(&tcp(TlsMode::Verify)).unwrap();
        assert_eq!((options.ip_or_hostname(), options.tcp_port()), ("db.example", 3307));
        assert!(!options.prefer_socket() && options.socket().is_none());
        let tls = options.ssl_opts().unwrap();
        assert!(!tls.accept_invalid_certs() && !tls.skip_domain_validation());
        assert_eq!(options.pass(), Some("s3cret!"));
        assert!(opts(&tcp(TlsMode::NoVerify)).unwrap().ssl_opts().unwrap().accept_invalid_certs());
        let mut plain = tcp(TlsMode::Off);
        plain.password = None;
        assert!(opts(&plain).unwrap().ssl_opts().is_none());
    }

    #[test]
    fn socket_targets_use_their_socket_and_no_tls() {
        let address = Address::Socket("/run/db.sock".into());
        let options = opts(&target(address, TlsMode::Verify)).unwrap();
        assert_eq!(options.socket(), Some("/run/db.sock"));
        assert!(options.ssl_opts().is_none());
    }

    #[test]
    fn tls_files_that_are_missing_are_wrong_usage() {
        let mut target = tcp(TlsMode::Verify);
        target.tls.ca = Some("/nowhere/ca.pem".into());
        assert!(matches!(opts(&target), Err(Error::Usage { .. })));
        target.tls.ca = None;
        target.tls.cert = Some("/nowhere/cert.pem".into());
        assert!(matches!(opts(&target), Err(Error::Usage { .. })));
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
        assert!(matches!(error, Error::Server { code: Some(1062), .. }));
    }
}
