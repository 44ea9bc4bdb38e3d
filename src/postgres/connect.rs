//! From a target to a session, and from the driver's errors to the engine's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use secrecy::ExposeSecret;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::target::{Address, Target, Tls, TlsMode};
use crate::engine::error::{Error, Finding, Result};
use crate::ledger::taken_over;

/// How long a connection may take to be made, TLS and login included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle time after which the kernel begins to ask whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What a session calls itself in `pg_stat_activity`.
pub const APPLICATION_NAME: &str = "osc";

/// How to connect.
#[derive(Clone)]
pub struct Options {
    /// Where, and as whom.
    pub target: Target,
    config: Config,
    tls: Option<Arc<ClientConfig>>,
}

impl Options {
    /// The options for `target`. The database is the user's name where none is given, as psql has it.
    ///
    /// # Errors
    /// [`Error::Usage`] when a TLS file cannot be read or one of certificate and key is missing.
    pub fn of(target: &Target) -> Result<Self> {
        let mut config = Config::new();
        config
            .user(&target.user)
            .application_name(APPLICATION_NAME)
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(KEEPALIVE);
        if let Some(password) = &target.password {
            config.password(password.expose_secret());
        }
        if let Some(database) = &target.database {
            config.dbname(database);
        }
        let tls = match &target.address {
            Address::Tcp { host, port } => {
                config.host(host).port(*port);
                client_config(&target.tls)?
            }
            Address::Socket(path) => {
                let (directory, port) = socket(path);
                config.host_path(directory);
                config.port(port);
                None
            }
        };
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        Ok(Self { target: target.clone(), config, tls })
    }

    /// The same, in another database or on another host.
    ///
    /// # Errors
    /// Those of [`Options::of`].
    pub fn with(&self, change: impl FnOnce(&mut Target)) -> Result<Self> {
        let mut target = self.target.clone();
        change(&mut target);
        Self::of(&target)
    }
}

/// `/dir/.s.PGSQL.5433` is the directory and the port; a directory has the usual port.
pub(super) fn socket(path: &Path) -> (&Path, u16) {
    const USUAL: u16 = 5432;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.strip_prefix(".s.PGSQL.").and_then(|port| port.parse().ok()) {
        Some(port) => (path.parent().unwrap_or(path), port),
        None => (path, USUAL),
    }
}

/// The TLS settings for a driver; `None`: no TLS.
///
/// # Errors
/// [`Error::Usage`] when a file cannot be read or one of certificate and key is missing.
pub fn client_config(tls: &Tls) -> Result<Option<Arc<ClientConfig>>> {
    let provider = CryptoProvider::get_default()
        .map_or_else(|| Arc::new(rustls::crypto::ring::default_provider()), Arc::clone);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Internal(format!("TLS: {error}")))?;
    let builder = match tls.mode {
        TlsMode::Off => return Ok(None),
        TlsMode::NoVerify => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        }
        TlsMode::Verify => builder.with_root_certificates(roots(tls.ca.as_deref())?),
    };
    let config = match (&tls.cert, &tls.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, &e))?;
            builder
                .with_client_auth_cert(certificates(cert)?, key)
                .map_err(|error| unreadable(cert, &error))?
        }
        _ => {
            return Err(Error::Usage {
                message: "a client certificate and its key go together".into(),
                help: "give both files, or neither".into(),
            });
        }
    };
    Ok(Some(Arc::new(config)))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = match ca {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(found);
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Usage {
        message: format!("cannot use the TLS file {}: {error}", path.display()),
        help: "give the path of a PEM file that osc may read".into(),
    }
}

/// Takes whatever certificate the server shows, for `ssl-mode=require`.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Connects. `action` says what for, as in [`server_error`]. The session ends when the client is
/// dropped. Notices are not shown.
///
/// # Errors
/// Those of [`server_error`].
pub async fn connect(options: &Options, action: &str) -> Result<Client> {
    let failed = |error| server_error(action, &error);
    let made = async {
        match &options.tls {
            Some(tls) => {
                let connector = MakeRustlsConnect::new(ClientConfig::clone(tls));
                let (client, connection) =
                    options.config.connect(connector).await.map_err(failed)?;
                tokio::spawn(connection);
                Ok(client)
            }
            None => {
                let (client, connection) = options.config.connect(NoTls).await.map_err(failed)?;
                tokio::spawn(connection);
                Ok(client)
            }
        }
    };
    tokio::time::timeout(CONNECT_TIMEOUT, made).await.unwrap_or_else(|_| {
        Err(Error::Connection {
            action: action.into(),
            message: format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
        })
    })
}

/// SQLSTATE of a statement by a sitting whose run another one has taken over.
pub(super) const TAKEN_OVER: &str = "OS001";

/// What a driver's error means to the engine. `action` completes "connection lost while …" and
/// "… failed", such as `reading the catalog`.
///
/// A broken connection, and a server that is going down, starting up or has no connection left,
/// become [`Error::Connection`]; a missing right or a login that failed [`Error::Refused`]; a run
/// that another sitting has taken over [`Error::Stopped`];
/// whatever else the server says [`Error::Server`], with its SQLSTATE in the message.
pub fn server_error(action: &str, error: &tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        return without_answer(action, error);
    };
    let code = db.code();
    let mut message = db.message().to_owned();
    for (what, more) in [("detail", db.detail()), ("hint", db.hint())] {
        if let Some(more) = more {
            message = format!("{message} ({what}: {more})");
        }
    }
    if is_disconnect(code) {
        return Error::Connection { action: action.into(), message };
    }
    let refused = |check, help: &str| {
        Error::Refused(vec![Finding::new(check, format!("{action}: {message}"), help)])
    };
    match code.code() {
        TAKEN_OVER => taken_over(),
        "28000" | "28P01" => refused("login", "check user, password and pg_hba.conf"),
        "3D000" => refused("database", "check the database's name in the URL"),
        "42501" => refused("rights", "grant the right to the user that osc connects as"),
        code => Error::Server {
            action: action.into(),
            message: format!("{message} [{code}]"),
            code: None,
        },
    }
}

/// Classes of SQLSTATE after which this session is of no use, while another one may be.
fn is_disconnect(code: &SqlState) -> bool {
    let code = code.code();
    code.starts_with("08") || code.starts_with("57P") || matches!(code, "53300" | "25P03" | "25P04")
}

/// The driver's display hides the cause: the whole chain is told.
fn without_answer(action: &str, error: &tokio_postgres::Error) -> Error {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        if let Some(problem) = certificate_problem(cause) {
            return Error::Refused(vec![Finding::new(
                "tls",
                format!("{action}: no trusted TLS connection: {problem}"),
                "name the CA that signed the server's certificate, and connect by a name that \
                 stands in it",
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
    Error::Connection { action: action.into(), message }
}

fn certificate_problem(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let found = match cause.downcast_ref::<std::io::Error>() {
        Some(error) => error.get_ref()?.downcast_ref::<rustls::Error>()?,
        None => cause.downcast_ref::<rustls::Error>()?,
    };
    matches!(found, rustls::Error::InvalidCertificate(_)).then(|| found.to_string())
}

/// The SQLSTATE of a failed statement; `None` when the server did not answer.
pub fn sqlstate(error: &tokio_postgres::Error) -> Option<&str> {
    error.code().map(SqlState::code)
}
