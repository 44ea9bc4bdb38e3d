//! Where to connect.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

/// Which kind of server a target names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `mysql://` or `mariadb://`: the server itself says which of the two it is.
    Mysql,
    /// `postgres://` or `postgresql://`.
    Postgres,
}

impl Scheme {
    /// Its words.
    pub const WORDS: [&str; 2] = ["mysql", "postgres"];
}

impl FromStr for Scheme {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "mysql" => Ok(Self::Mysql),
            "postgres" => Ok(Self::Postgres),
            _ => Err(format!("{text:?} is none of {}", Self::WORDS.join(", "))),
        }
    }
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
    /// TLS, the certificate checked, and not whether it is for this host.
    VerifyCa,
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
    /// The schema (on MySQL and MariaDB: the database) that osc's ledger lives in.
    pub ledger: String,
    /// Further settings of the connection.
    pub wire: Wire,
}

/// What a URL, a service file or the environment asks of a connection beside where it goes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wire {
    /// Settings of the session, from `options` or PGOPTIONS, in their order.
    pub options: Vec<(String, String)>,
    /// The address to connect to, whatever the host's name says.
    pub hostaddr: Option<IpAddr>,
    /// The password file.
    pub passfile: Option<PathBuf>,
    /// How long a connection may take to be made.
    pub connect_timeout: Option<Duration>,
    /// Whether the kernel asks if the other side is still there.
    pub keepalives: Option<bool>,
    /// After this time without a word.
    pub keepalives_idle: Option<Duration>,
    /// So often.
    pub keepalives_interval: Option<Duration>,
    /// So many questions may stay without an answer.
    pub keepalives_count: Option<u32>,
    /// How long what was sent may stay without an answer.
    pub tcp_user_timeout: Option<Duration>,
    /// The system's roots are trusted: `sslrootcert=system`.
    pub system_roots: bool,
    /// TLS where the host is not this machine, whatever certificate it shows: `sslmode=prefer`.
    pub prefers_tls: bool,
    /// MySQL: a password is sent to another host without TLS, encrypted by whatever key it shows.
    pub takes_public_key: bool,
}

impl Wire {
    /// What this leaves open is as `other` has it.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            options: if self.options.is_empty() { other.options } else { self.options },
            hostaddr: self.hostaddr.or(other.hostaddr),
            passfile: self.passfile.or(other.passfile),
            connect_timeout: self.connect_timeout.or(other.connect_timeout),
            keepalives: self.keepalives.or(other.keepalives),
            keepalives_idle: self.keepalives_idle.or(other.keepalives_idle),
            keepalives_interval: self.keepalives_interval.or(other.keepalives_interval),
            keepalives_count: self.keepalives_count.or(other.keepalives_count),
            tcp_user_timeout: self.tcp_user_timeout.or(other.tcp_user_timeout),
            system_roots: self.system_roots || other.system_roots,
            prefers_tls: self.prefers_tls || other.prefers_tls,
            takes_public_key: self.takes_public_key || other.takes_public_key,
        }
    }
}

impl Address {
    /// Whether what is sent stays on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Tcp { host, .. } => {
                host.eq_ignore_ascii_case("localhost")
                    || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

/// The ledger's schema unless another is named.
pub const LEDGER: &str = "osc";

impl Target {
    /// The database on PostgreSQL: where none is named it is called like the user.
    pub fn database(&self) -> &str {
        self.database.as_deref().unwrap_or(&self.user)
    }
}
