//! Where to connect.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

/// Which kind of server a target names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `mysql://` or `mariadb://`: the server itself says which of the two it is.
    Mysql,
    /// `postgres://` or `postgresql://`.
    Postgres,
}

/// How a connection is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Over TCP.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Over a Unix socket.
    Socket(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How far the server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Off,
    /// TLS without looking at the certificate.
    NoVerify,
    /// TLS, certificate and name checked: the default for hosts that are not local.
    Verify,
}

/// TLS settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// How far to check.
    pub mode: TlsMode,
    /// Extra root certificates (PEM).
    pub ca: Option<PathBuf>,
    /// Client certificate (PEM).
    pub cert: Option<PathBuf>,
    /// Client key (PEM).
    pub key: Option<PathBuf>,
}

/// Where to connect, and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    /// The kind of server.
    pub scheme: Scheme,
    /// Host and port, or socket.
    pub address: Address,
    /// User.
    pub user: String,
    /// Password.
    pub password: Option<SecretString>,
    /// Default schema.
    pub database: Option<String>,
    /// TLS.
    pub tls: Tls,
}

impl Target {
    /// The database on PostgreSQL: where none is named it is called like the user.
    pub fn database(&self) -> &str {
        self.database.as_deref().unwrap_or(&self.user)
    }
}
