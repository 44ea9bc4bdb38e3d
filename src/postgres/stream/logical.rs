//! The change stream by logical replication.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgwire_replication::{
    Lsn, PgWireError, ReplicationClient, ReplicationConfig, ReplicationEvent, SslMode, TlsConfig,
};
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout, timeout_at};

use super::changes::Changes;
use super::{StreamConfig, position};
use crate::config::target::{Address, TlsMode};
use crate::engine::backend::Change;
use crate::error::{Error, Finding, Result};
use crate::key::Position;
use crate::postgres::connection::connect::{CONNECT_TIMEOUT, in_the_clear, socket};
use crate::postgres::connection::guarded::{RELAY_PORT, Relay};
use crate::postgres::connection::settings;
use crate::postgres::name::Text;
use crate::testing::mutation::{self, Rule};

/// What is being done, for errors.
const ACTION: &str = "reading the change stream";

/// How often the server learns what was confirmed, at most.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// How often the server hears of us when there is nothing to say.
const IDLE_INTERVAL: Duration = Duration::from_secs(2);

/// The server asks for a sign of life after half of this, in seconds, and ends the session after it.
const SENDER_TIMEOUT: u64 = 20;

/// Silence after which the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(30);

/// What a stream that was not read for longer than [`SILENCE`] gets to show that it lives.
const GRACE: Duration = Duration::from_secs(5);

/// Messages that may wait for us. Rows can be wide where whole ones are published.
const BUFFER: usize = 1024;

/// From the Unix epoch to the server's, in microseconds.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The stream.
pub(super) struct LogicalStream {
    /// Through which it reads where the server would get the password in the clear.
    _relay: Option<Relay>,
    client: ReplicationClient,
    config: StreamConfig,
    changes: Changes,
    clock: Clock,
    deadline: Instant,
    ended: bool,
}

impl fmt::Debug for LogicalStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogicalStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl LogicalStream {
    /// Opens the stream after `from`.
    pub(super) async fn open(config: StreamConfig, from: &Position) -> Result<Self> {
        let after = position::parse(from)?;
        let relay = match in_the_clear(&config.options.target) {
            Some((host, port, keepalive)) => {
                Some(Relay::to(host, port, keepalive).map_err(|error| lost(error.to_string()))?)
            }
            None => None,
        };
        let settings = replication(&config, after, relay.as_ref())?;
        let mut client = within(ReplicationClient::connect_gated(settings))
            .await?
            .map_err(|error| ended(after, error))?;
        let clock = occupy(&mut client, &config, after).await?;
        let started = async {
            client.start().await?;
            client.wait_started().await
        };
        within(started).await?.map_err(|error| ended(after, error))?;
        let changes = Changes::new(
            config.oid,
            config.original.clone(),
            config.key.clone(),
            config.run,
            Arc::clone(&config.seen),
            after,
        );
        let deadline = Instant::now() + SILENCE;
        Ok(Self { _relay: relay, client, config, changes, clock, deadline, ended: false })
    }

    /// The next change.
    pub(super) async fn next(&mut self) -> Result<Change> {
        loop {
            if let Some(change) = self.changes.pop() {
                return Ok(change);
            }
            if self.ended {
                return Err(lost("it has ended"));
            }
            if let Some(applied) = self.config.seen.confirmed() {
                self.client.update_applied_lsn(position::parse(&applied)?);
            }
            // The engine may not have read for a while.
            if self.deadline <= Instant::now() {
                self.deadline = Instant::now() + GRACE;
            }
            let event = tokio::select! {
                () = self.config.seen.confirming() => continue,
                event = timeout_at(self.deadline, self.client.recv()) => event,
            };
            let event = match event {
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None)) => return self.end(lost("the server ended it")),
                Ok(Err(error)) => return self.end(ended(self.changes.reached(), error)),
                Err(_) => {
                    let message = format!("not a word for {} seconds", SILENCE.as_secs());
                    return self.end(lost(message));
                }
            };
            self.deadline = Instant::now() + SILENCE;
            if let Err(error) = self.read(event) {
                return self.end(error);
            }
        }
    }

    fn end(&mut self, error: Error) -> Result<Change> {
        self.ended = true;
        Err(error)
    }

    fn read(&mut self, event: ReplicationEvent) -> Result<()> {
        match event {
            ReplicationEvent::KeepAlive { wal_end, server_time_micros, .. } => {
                self.clock.hear(server_time_micros);
                self.changes.idle(wal_end);
            }
            ReplicationEvent::Begin { xid, .. } => self.changes.begin(xid),
            ReplicationEvent::Commit { end_lsn, commit_time_micros, .. } => {
                self.changes.commit(end_lsn, self.clock.age(commit_time_micros));
            }
            ReplicationEvent::Message { prefix, content, .. } => {
                self.changes.message(&prefix, &content);
            }
            ReplicationEvent::XLogData { data, server_time_micros, .. } => {
                self.clock.hear(server_time_micros);
                self.changes.read(&data)?;
            }
            ReplicationEvent::StoppedAt { .. } => {}
        }
        Ok(())
    }
}

/// The server's clock, as far as its messages show it.
struct Clock {
    /// Microseconds that it is ahead of ours.
    ahead: i64,
}

impl Clock {
    fn new(server_micros: i64) -> Self {
        Self { ahead: server_micros.saturating_sub(now_micros()) }
    }

    /// A message was sent at this time; the one that was underway the shortest tells best.
    fn hear(&mut self, server_micros: i64) {
        self.ahead = self.ahead.max(server_micros.saturating_sub(now_micros()));
    }

    /// How long ago this was.
    fn age(&self, server_micros: i64) -> Duration {
        let age = now_micros().saturating_add(self.ahead).saturating_sub(server_micros);
        Duration::from_micros(u64::try_from(age).unwrap_or_default())
    }
}

/// Our clock, counted as the server counts.
fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX).saturating_sub(EPOCH_MICROS)
}

/// Makes sure that the slot has what follows `after` and that no dead session of ours holds it.
/// Returns the server's clock.
async fn occupy(
    client: &mut ReplicationClient,
    config: &StreamConfig,
    after: Lsn,
) -> Result<Clock> {
    let slot = Text(&config.names.slot);
    // A session that was cut off holds its slot until the server notices; it is named like ours.
    let sql = format!(
        "SELECT s.confirmed_flush_lsn::text, s.wal_status,
                s.active_pid IS NOT NULL
                  AND coalesce(pg_catalog.pg_terminate_backend(a.pid), true),
                ((extract(epoch FROM clock_timestamp()) * 1000000)::bigint - {EPOCH_MICROS})::text
         FROM pg_catalog.pg_replication_slots s
         LEFT JOIN pg_catalog.pg_stat_activity a
           ON a.pid = s.active_pid AND a.application_name = {slot} AND a.pid <> pg_backend_pid()
         WHERE s.slot_name = {slot}"
    );
    let gap =
        |reason: &str| Error::StreamGap { position: position::of(after), reason: reason.into() };
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        let rows = within(client.simple_query(&sql)).await?.map_err(|error| ended(after, error))?;
        let Some(row) = rows.first() else {
            return Err(gap("the replication slot is gone"));
        };
        let text = |at: usize| {
            row.get(at).and_then(Option::as_deref).and_then(|raw| std::str::from_utf8(raw).ok())
        };
        if text(1) == Some("lost") {
            return Err(gap("the replication slot was invalidated: its log has been removed"));
        }
        let confirmed = text(0).and_then(|lsn| Lsn::parse(lsn).ok()).unwrap_or_default();
        if confirmed > after {
            return Err(gap(&format!("the replication slot has been read up to {confirmed}")));
        }
        if text(2) == Some("f") {
            return Ok(Clock::new(text(3).and_then(|t| t.parse().ok()).unwrap_or_default()));
        }
        if Instant::now() > deadline {
            return Err(lost("another session reads the replication slot"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Fails when it takes longer than a connection may.
async fn within<T>(work: impl Future<Output = T>) -> Result<T> {
    timeout(CONNECT_TIMEOUT, work)
        .await
        .map_err(|_| lost(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())))
}

/// The client's settings. They hold the password: not for any log.
fn replication(
    config: &StreamConfig,
    after: Lsn,
    relay: Option<&Relay>,
) -> Result<ReplicationConfig> {
    let target = &config.options.target;
    let (host, port) = match &target.address {
        Address::Tcp { .. } if let Some(relay) = relay => {
            (relay.folder().display().to_string(), RELAY_PORT)
        }
        Address::Tcp { host, port } => {
            (target.wire.hostaddr.map_or_else(|| host.clone(), |a| a.to_string()), *port)
        }
        Address::Socket(path) => {
            let (directory, port) = socket(path);
            (directory.display().to_string(), port)
        }
    };
    let settings = settings::startup();
    let password = target.password.as_ref().map_or("", ExposeSecret::expose_secret);
    // Where the stream begins has been delivered, not always applied: it must not be confirmed.
    let confirmed = config.seen.confirmed().map_or(Ok(Lsn::ZERO), |p| position::parse(&p))?;
    let confirmed = if mutation::active(Rule::AppliedConfirmed) { after } else { confirmed };
    let mut replication = ReplicationConfig::new(
        host,
        &target.user,
        password,
        target.database(),
        &config.names.slot,
        config.names.publication.as_str(),
    )
    .with_port(port)
    .with_tls(tls(config))
    .with_start_lsn(after)
    .with_ack_lsn(confirmed)
    .with_status_interval(STATUS_INTERVAL)
    .with_wakeup_interval(IDLE_INTERVAL)
    .with_buffer_size(BUFFER)
    .with_application_name(&config.names.slot);
    replication.options = Some(format!("{settings} -c wal_sender_timeout={SENDER_TIMEOUT}s"));
    Ok(replication)
}

fn tls(config: &StreamConfig) -> TlsConfig {
    let target = &config.options.target;
    let Address::Tcp { host, .. } = &target.address else { return TlsConfig::disabled() };
    TlsConfig {
        mode: match target.tls.mode {
            TlsMode::Off => return TlsConfig::disabled(),
            TlsMode::NoVerify => SslMode::Require,
            TlsMode::VerifyCa => SslMode::VerifyCa,
            TlsMode::Verify => SslMode::VerifyFull,
        },
        ca_pem_path: target.tls.ca.clone().or_else(system_roots),
        // Said, an address is taken for a name too.
        sni_hostname: Some(host.clone()),
        client_cert_pem_path: target.tls.cert.clone(),
        client_key_pem_path: target.tls.key.clone(),
    }
}

/// The system's roots: the client would take a list of its own.
fn system_roots() -> Option<std::path::PathBuf> {
    const USUAL: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    std::env::var_os("SSL_CERT_FILE")
        .map(Into::into)
        .into_iter()
        .chain(USUAL.map(Into::into))
        .find(|path: &std::path::PathBuf| path.is_file())
}

fn lost(message: impl Into<String>) -> Error {
    Error::connection(ACTION, message)
}

/// What an error of the client means to a stream that had read up to `position`.
fn ended(position: Lsn, error: PgWireError) -> Error {
    let refused = |check, message: String, help: &str| {
        Error::Refused(vec![Finding::new(check, format!("{ACTION}: {message}"), help)])
    };
    match error {
        PgWireError::Server(message) => {
            let says = |code: &str| message.ends_with(&format!("(SQLSTATE {code})"));
            // No such slot or publication, slot invalidated, log removed.
            if ["42704", "55000", "58P01"].iter().any(|code| says(code)) {
                Error::StreamGap { position: position::of(position), reason: message }
            } else if says("42501") || says("28000") || says("28P01") {
                refused("rights", message, "the user needs REPLICATION and an entry in pg_hba.conf")
            } else {
                lost(message)
            }
        }
        PgWireError::Auth(message) => {
            refused("login", message, "check user, password and pg_hba.conf")
        }
        PgWireError::Tls(message) => refused(
            "tls",
            message,
            "name the CA that signed the server's certificate, and use a host name that it covers",
        ),
        other => lost(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_what_helps() {
        let ended = |text: &str| ended(Lsn(1), PgWireError::Server(text.into()));
        let gone = "requested WAL segment 1 has already been removed (SQLSTATE 58P01)";
        assert!(matches!(ended(gone), Error::StreamGap { .. }));
        assert!(matches!(
            ended("terminating connection (SQLSTATE 57P01)"),
            Error::Connection { .. }
        ));
        assert!(matches!(ended("must be superuser (SQLSTATE 42501)"), Error::Refused(_)));
    }

    #[test]
    fn an_age_goes_by_the_servers_clock() {
        let hour: i64 = 3_600_000_000;
        let mut clock = Clock::new(now_micros() + hour - 60_000_000);
        clock.hear(now_micros() + hour);
        let age = clock.age(now_micros() + hour - 5_000_000);
        assert!(age > Duration::from_millis(4900) && age < Duration::from_secs(30), "{age:?}");
        assert_eq!(clock.age(now_micros() + 2 * hour), Duration::ZERO);
    }
}
