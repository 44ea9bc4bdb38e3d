//! From a target to a session, and from the driver's errors to the engine's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::TlsStream;
use tokio_postgres::{Client, Config, Connection, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::certificates::client_config;
use super::errors::DIRECTLY;
use super::errors::is_of;
use super::errors::server_error;
use super::guarded::{self, GuardedTls, Keepalive, Plain, TooMuch};
use super::settings;
use crate::config::target::{Address, Target, TlsMode};
use crate::error::{Error, Finding, Result};

/// How long a connection may take to be made, TLS and login included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle time after which the kernel begins to ask whether the other side is still there, how often it
/// asks then, and how many questions may stay without an answer.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 3;

/// What keeps a session that has the role's settings from being ended by them.
const UNLIMITED: [(&str, &str); 3] =
    [("statement_timeout", "0"), ("idle_session_timeout", "0"), ("client_min_messages", "error")];

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
        honourable(target)?;
        let mut config = Config::new();
        let (wire, keepalive) = (&target.wire, keepalive(target));
        config
            .user(&target.user)
            .application_name(APPLICATION_NAME)
            .connect_timeout(wire.connect_timeout.unwrap_or(CONNECT_TIMEOUT))
            .keepalives(wire.keepalives.unwrap_or(true))
            .keepalives_idle(keepalive.idle)
            .keepalives_interval(keepalive.interval)
            .keepalives_retries(keepalive.count)
            .options(settings::startup());
        if let Some(limit) = wire.tcp_user_timeout {
            config.tcp_user_timeout(limit);
        }
        if let Some(address) = wire.hostaddr {
            config.hostaddr(address);
        }
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

/// Settings of the connection are the role's plain session's, where osc reads them; one
/// that osc fixes itself, or leaves, it could not honour.
fn honourable(target: &Target) -> Result<()> {
    let known = |name: &str| {
        name.eq_ignore_ascii_case("search_path")
            || settings::role_names().any(|known| known.eq_ignore_ascii_case(name))
    };
    match target.wire.options.iter().find(|(name, _)| !known(name)) {
        None => Ok(()),
        Some((name, _)) => Err(Error::Usage {
            message: format!("the connection's options set {name}, which osc's sessions have their own way"),
            help: "take it out of options (PGOPTIONS); osc honours search_path there, and settings that \
                   change values, such as DateStyle and TimeZone"
                .into(),
        }),
    }
}

fn keepalive(target: &Target) -> Keepalive {
    let wire = &target.wire;
    Keepalive {
        on: wire.keepalives.unwrap_or(true),
        user_timeout: wire.tcp_user_timeout,
        idle: wire.keepalives_idle.unwrap_or(KEEPALIVE),
        interval: wire.keepalives_interval.unwrap_or(KEEPALIVE_INTERVAL),
        count: wire.keepalives_count.unwrap_or(KEEPALIVE_COUNT),
    }
}

/// Where a password would go in the clear if the server requested it: the host and the port of a server on
/// another host, without TLS.
pub(crate) fn in_the_clear(target: &Target) -> Option<(String, u16, Keepalive)> {
    if target.tls.mode != TlsMode::Off {
        return None;
    }
    match plain(target) {
        Plain::Tcp { host, port, away: true } => Some((host, port, keepalive(target))),
        Plain::Tcp { .. } | Plain::Socket { .. } => None,
    }
}

/// Where to connect to without TLS.
fn plain(target: &Target) -> Plain {
    let wire = &target.wire;
    match &target.address {
        Address::Tcp { host, port } => Plain::Tcp {
            host: wire.hostaddr.map_or_else(|| host.clone(), |address| address.to_string()),
            port: *port,
            away: wire.hostaddr.map_or(!target.address.is_local(), |a| !a.is_loopback()),
        },
        Address::Socket(path) => {
            let (folder, port) = socket(path);
            Plain::Socket { folder: folder.to_owned(), port }
        }
    }
}

/// `/dir/.s.PGSQL.5433` is the directory and the port; a directory has the usual port.
pub(crate) fn socket(path: &Path) -> (&Path, u16) {
    const USUAL: u16 = 5432;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.strip_prefix(".s.PGSQL.").and_then(|port| port.parse().ok()) {
        Some(port) => (path.parent().unwrap_or(path), port),
        None => (path, USUAL),
    }
}

/// Connects. `action` says what for, as in [`server_error`]. The session ends when the client is
/// dropped. Notices are not shown. It has the settings that every session of osc's has.
///
/// # Errors
/// Those of [`server_error`].
pub async fn connect(options: &Options, action: &str) -> Result<Client> {
    let client = connect_bare(options, action).await?;
    settle(&client, action).await?;
    Ok(client)
}

/// A session that has the startup packet's settings only: nothing was set in it that a pooler could hand on
/// to the application.
///
/// # Errors
/// Those of [`server_error`].
pub(crate) async fn connect_bare(options: &Options, action: &str) -> Result<Client> {
    logged_in(options, &options.config, action).await
}

/// Sets what the startup packet cannot, once it is sure that what it holds has arrived.
///
/// # Errors
/// `Refused` where it has not; those of [`server_error`].
pub(crate) async fn settle(client: &Client, action: &str) -> Result<()> {
    let sql = format!("{}; {}", settings::ARRIVED, settings::later());
    let answer = client.simple_query(&sql).await.map_err(|error| {
        server_error(&format!("{action}: fixing the session's settings"), &error)
    })?;
    let shown = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    if settings::arrived(shown.unwrap_or_default()) {
        return Ok(());
    }
    Err(Error::Refused(vec![settings_dropped()]))
}

/// Something between osc and the server passed over the settings of the startup packet.
pub(crate) fn settings_dropped() -> Finding {
    Finding::new(
        "pooler",
        "a connection pooler (PgBouncer with ignore_startup_parameters, RDS Proxy or their like) answers in \
         place of the server: the settings that osc connects with did not arrive",
        DIRECTLY,
    )
}

/// Connects without any setting, not even osc's: what calls itself PostgreSQL may not know them.
///
/// # Errors
/// Those of [`server_error`].
pub(crate) async fn connect_unset(options: &Options, action: &str) -> Result<Client> {
    let mut config = options.config.clone();
    config.options("");
    logged_in(options, &config, action).await
}

/// Connects without any setting of osc's: what the role's own sessions have. For reading settings only.
///
/// # Errors
/// Those of [`server_error`].
pub async fn connect_plain(options: &Options, action: &str) -> Result<Client> {
    let mut config = options.config.clone();
    let asked = options.target.wire.options.iter();
    let asked = asked.map(|(name, value)| (name.as_str(), value.as_str()));
    // Limits would end the session before it has been read.
    config.options(settings::startup_of(UNLIMITED.into_iter().chain(asked)));
    logged_in(options, &config, action).await
}

async fn logged_in(options: &Options, config: &Config, action: &str) -> Result<Client> {
    let failed = |error| server_error(action, &error);
    let unconnected = |error: std::io::Error| Error::Connection {
        action: action.into(),
        message: format!("error connecting to server: {error}"),
        cause: Some(error.into()),
    };
    let made = async {
        if let Some(tls) = &options.tls {
            let connector = GuardedTls(MakeRustlsConnect::new(ClientConfig::clone(tls)));
            let (client, connection) = config.connect(connector).await.map_err(failed)?;
            drive(connection);
            return Ok(client);
        }
        match plain(&options.target) {
            Plain::Tcp { host, port, away } => {
                let keepalive = keepalive(&options.target);
                let stream = guarded::connect(&host, port, away, keepalive).await;
                let stream = stream.map_err(unconnected)?;
                let made = config.connect_raw(stream, NoTls).await;
                let (client, connection) = made.map_err(failed)?;
                drive(connection);
                Ok(client)
            }
            Plain::Socket { folder, port } => {
                let stream = guarded::local(&folder, port).await.map_err(unconnected)?;
                let made = config.connect_raw(stream, NoTls).await;
                let (client, connection) = made.map_err(failed)?;
                drive(connection);
                Ok(client)
            }
        }
    };
    let limit = options.target.wire.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
    tokio::time::timeout(limit, made).await.unwrap_or_else(|_| Err(Error::silence(action, limit)))
}

/// Lets a connection work until it ends. Those who wait for it learn only that it did, when it is dropped.
fn drive<S, T>(mut connection: Connection<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsStream + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let Err(error) = (&mut connection).await else { return };
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            if is_of::<TooMuch>(inner) {
                tracing::warn!("{inner}");
            }
            cause = inner.source();
        }
    });
}

/// What an error of a command's first connection to `target` is.
pub fn at_first(target: &Target) -> impl FnOnce(Error) -> Error + '_ {
    |error| error.at_first(&target.address, "a PostgreSQL server")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        crate::config::url::parse(url).unwrap().complete(Some("me")).unwrap()
    }

    #[test]
    fn what_leaves_this_machine_without_tls_is_watched() {
        let watched = |url: &str| in_the_clear(&target(url)).is_some();
        assert!(watched("postgres://me@10.0.0.1/db?sslmode=disable"));
        assert!(watched("postgres://me@localhost/db?hostaddr=10.0.0.1&sslmode=disable"));
        assert!(!watched("postgres://me@10.0.0.1/db"));
        assert!(!watched("postgres://me@127.0.0.1/db"));
        assert!(!watched("postgres:///db?host=/tmp"));
    }

    #[test]
    fn options_are_honoured_or_refused() {
        let made =
            |options: &str| Options::of(&target(&format!("postgres://me@h/db?options={options}")));
        assert!(made("-csearch_path%3Db").is_ok());
        assert!(made("-cdatestyle%3DGerman").is_ok());
        let error = made("-cstatement_timeout%3D5").err().unwrap();
        assert!(
            matches!(&error, Error::Usage { .. })
                && error.to_string().contains("statement_timeout")
        );
    }

    #[test]
    fn tls_is_what_libpq_means() {
        let mode = |query: &str| target(&format!("postgres://me@h/db?{query}")).tls.mode;
        assert_eq!(mode("sslmode=disable"), TlsMode::Off);
        assert_eq!(mode("sslmode=prefer"), TlsMode::NoVerify);
        assert_eq!(mode("sslmode=require"), TlsMode::NoVerify);
        assert_eq!(mode("sslmode=require&sslrootcert=/ca"), TlsMode::VerifyCa);
        assert_eq!(mode("sslmode=verify-ca"), TlsMode::VerifyCa);
        assert_eq!(mode("sslmode=verify-full"), TlsMode::Verify);
        assert_eq!(mode("sslrootcert=system"), TlsMode::Verify);
        assert_eq!(mode("requiressl=1"), TlsMode::NoVerify);
        let weak =
            crate::config::url::parse("postgres://me@h/db?sslrootcert=system&sslmode=require");
        assert!(weak.unwrap().complete(Some("me")).is_err());
    }
}
