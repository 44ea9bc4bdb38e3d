//! A target as far as one source names it; what it leaves open is filled in at the end.

use std::net::IpAddr;
use std::path::PathBuf;

use secrecy::SecretString;

use super::target::{Address, LEDGER, Scheme, Target, Tls, TlsMode, Wire};
use super::usage;
use crate::error::Result;

/// What a URL or an option file says of a target.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The kind of server.
    pub scheme: Scheme,
    /// Name or address.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Unix socket; wins over host and port.
    pub socket: Option<PathBuf>,
    /// User.
    pub user: Option<String>,
    /// Password.
    pub password: Option<SecretString>,
    /// Default schema.
    pub database: Option<String>,
    /// How far to check the server's certificate.
    pub tls_mode: Option<TlsMode>,
    /// Extra root certificates (PEM).
    pub ca: Option<PathBuf>,
    /// Client certificate (PEM).
    pub cert: Option<PathBuf>,
    /// Client key (PEM).
    pub key: Option<PathBuf>,
    /// Further settings of the connection.
    pub wire: Wire,
}

impl Draft {
    /// Nothing known but the kind of server.
    pub fn new(scheme: Scheme) -> Self {
        Self {
            scheme,
            host: None,
            port: None,
            socket: None,
            user: None,
            password: None,
            database: None,
            tls_mode: None,
            ca: None,
            cert: None,
            key: None,
            wire: Wire::default(),
        }
    }

    /// Sets how the server is reached: `socket`, `ssl-mode`, `ssl-ca`, `ssl-cert`, `ssl-key`, with
    /// the names that other programs have for them. `Ok(false)`: not an option of these. The
    /// error is what is wrong with the value.
    pub(super) fn set_transport(
        &mut self,
        name: &str,
        value: &str,
    ) -> std::result::Result<bool, String> {
        let path = || Some(PathBuf::from(value)).filter(|_| !value.is_empty());
        match name {
            "socket" => self.socket = path(),
            "ssl-mode" | "sslmode" => self.tls_mode = tls_mode(value)?,
            "ssl-ca" | "sslrootcert" => self.ca = path(),
            "ssl-cert" | "sslcert" => self.cert = path(),
            "ssl-key" | "sslkey" => self.key = path(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes user and password from `main` where this names no user: for replicas.
    #[must_use]
    pub fn like(mut self, main: &Target) -> Self {
        if self.user.is_none() {
            self.user = Some(main.user.clone());
            self.password = self.password.or_else(|| main.password.clone());
        }
        self
    }

    /// What this leaves open is as `other` has it; where to connect to and as whom, and how. A file with a
    /// certificate goes with its key.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        if self.host.is_none() && self.socket.is_none() && self.wire.hostaddr.is_none() {
            (self.host, self.socket) = (other.host, other.socket);
            self.wire.hostaddr = other.wire.hostaddr;
        }
        let hostaddr = self.wire.hostaddr;
        self.port = self.port.or(other.port);
        self.user = self.user.or(other.user);
        self.password = self.password.or(other.password);
        self.database = self.database.or(other.database);
        if self.tls_mode.is_none() && !self.wire.prefers_tls {
            self.tls_mode = other.tls_mode;
        }
        if self.tls_mode.is_some() {
            self.wire.prefers_tls = false;
        }
        let prefers_tls = self.wire.prefers_tls;
        self.ca = self.ca.or(other.ca);
        if self.cert.is_none() && self.key.is_none() {
            (self.cert, self.key) = (other.cert, other.key);
        }
        self.wire = self.wire.or(other.wire);
        self.wire.hostaddr = hostaddr;
        self.wire.prefers_tls &= prefers_tls || self.tls_mode.is_none();
        self
    }

    /// The whole target. Open still: the user is `login`, the host `localhost`, the port the
    /// server's usual one. TLS is off on this machine and verified elsewhere, unless asked
    /// otherwise; naming a certificate asks for it.
    pub fn complete(mut self, login: Option<&str>) -> Result<Target> {
        if self.scheme == Scheme::Postgres
            && let Some(folder) = self.host.take_if(|host| host.starts_with('/'))
        {
            let port = self.port.unwrap_or(5432);
            self.socket = Some(PathBuf::from(folder).join(format!(".s.PGSQL.{port}")));
        }
        if self.host.is_none()
            && let Some(address) = self.wire.hostaddr
        {
            self.host = Some(address.to_string());
        }
        let user = self.user.or_else(|| login.map(str::to_owned)).ok_or_else(|| {
            usage("no user to connect as", "name one in the URL: mysql://USER@HOST/DATABASE")
        })?;
        if self.cert.is_some() != self.key.is_some() {
            return Err(usage("ssl-cert and ssl-key go together", "give both, or neither"));
        }
        let local = match self.wire.hostaddr {
            Some(address) => address.is_loopback(),
            None => self.socket.is_some() || self.host.as_deref().is_none_or(is_local),
        };
        let asked = self.ca.is_some() || self.cert.is_some();
        let default = match (local && !asked, self.wire.prefers_tls) {
            (true, _) => TlsMode::Off,
            (false, true) => TlsMode::NoVerify,
            (false, false) => TlsMode::Verify,
        };
        let mut mode = self.tls_mode.unwrap_or(default);
        if self.scheme == Scheme::Postgres && mode == TlsMode::NoVerify && self.ca.is_some() {
            // As libpq has it: who names a root wants the certificate checked.
            mode = TlsMode::VerifyCa;
        }
        if self.wire.system_roots {
            mode = match self.tls_mode {
                None | Some(TlsMode::Verify) => TlsMode::Verify,
                Some(_) => {
                    return Err(usage(
                        "sslrootcert=system goes with sslmode=verify-full only",
                        "everybody can have a certificate of such a root: say verify-full",
                    ));
                }
            };
        }
        let usual_port = match self.scheme {
            Scheme::Mysql => 3306,
            Scheme::Postgres => 5432,
        };
        let address = match self.socket {
            Some(path) => Address::Socket(path),
            None => Address::Tcp {
                host: self.host.unwrap_or_else(|| "localhost".into()),
                port: self.port.unwrap_or(usual_port),
            },
        };
        Ok(Target {
            scheme: self.scheme,
            address,
            user,
            password: self.password,
            database: self.database,
            tls: Tls { mode, ca: self.ca, cert: self.cert, key: self.key },
            ledger: LEDGER.into(),
            wire: self.wire,
        })
    }
}

fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// MySQL's and libpq's words. `preferred` asks for nothing, so it leaves the default standing.
fn tls_mode(word: &str) -> std::result::Result<Option<TlsMode>, String> {
    match word.to_ascii_lowercase().replace('_', "-").as_str() {
        "preferred" | "prefer" | "allow" => Ok(None),
        "disabled" | "disable" | "off" => Ok(Some(TlsMode::Off)),
        "required" | "require" => Ok(Some(TlsMode::NoVerify)),
        "verify-ca" => Ok(Some(TlsMode::VerifyCa)),
        "verify-identity" | "verify-full" | "verify" => Ok(Some(TlsMode::Verify)),
        _ => Err("ssl-mode is one of disabled, required (encrypted, any certificate) and \
                  verify-identity (certificate and name checked)"
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls_of(host: &str, change: impl FnOnce(&mut Draft)) -> TlsMode {
        let mut draft = Draft::new(Scheme::Mysql);
        draft.host = Some(host.into());
        change(&mut draft);
        draft.complete(Some("me")).unwrap().tls.mode
    }

    #[test]
    fn tls_is_verified_for_other_machines_and_off_for_this_one() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.0.1", "::1"] {
            assert_eq!(tls_of(host, |_| {}), TlsMode::Off, "{host}");
        }
        for host in ["db.example.com", "10.0.0.1", "fe80::1", "localhost.example.com"] {
            assert_eq!(tls_of(host, |_| {}), TlsMode::Verify, "{host}");
        }
        assert_eq!(tls_of("db", |draft| draft.socket = Some("/s".into())), TlsMode::Off);
    }

    #[test]
    fn what_is_asked_for_wins_over_the_default() {
        assert_eq!(tls_of("localhost", |draft| draft.ca = Some("/ca".into())), TlsMode::Verify);
        assert_eq!(tls_of("db", |draft| draft.tls_mode = Some(TlsMode::Off)), TlsMode::Off);
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let mut draft = Draft::new(Scheme::Mysql);
        draft.cert = Some("/cert".into());
        assert!(draft.complete(Some("me")).unwrap_err().to_string().contains("ssl-key"));
    }

    #[test]
    fn without_user_and_login_name_there_is_no_target() {
        assert!(Draft::new(Scheme::Mysql).complete(None).is_err());
    }
}
