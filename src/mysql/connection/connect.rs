//! From a target to a connection, and from the driver's errors to the engine's.

use std::path::Path;
use std::time::Duration;

use mysql_async::{ClientIdentity, Conn, Opts, OptsBuilder, SslOpts};
use secrecy::ExposeSecret;

use super::errors::connection_error;
use super::{own_sessions, settings};
use crate::config::target::{Address, Target, Tls, TlsMode};
use crate::error::{Error, Result};

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
            help: "leave ssl-mode=disabled out of the URL; or say get-server-public-key=true there, if no one can listen between you and the server"
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
        Err(_) => Err(Error::silence(action, CONNECT_TIMEOUT)),
    }
}

/// A command's first connection to `target`.
///
/// # Errors
/// [`Error::Unreachable`] where there is none; else those of [`connection_error`].
pub async fn first(target: &Target) -> Result<Conn> {
    connect(&opts(target)?, "connecting")
        .await
        .map_err(|error| error.at_first(&target.address, "a MySQL or MariaDB server"))
}

/// The same in no database: an account that may only look at the ledger has no right on the application's.
///
/// # Errors
/// Those of [`first`].
pub(crate) async fn first_in_none(target: &Target) -> Result<Conn> {
    first(&Target { database: None, ..target.clone() }).await
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
}
