//! What a server may do to osc over a connection that it answers on: it gets no password in the clear, and it
//! does not fill osc's memory.
//!
//! PostgreSQL's clear-text request (code 3) is answered by both drivers. Where the connection has no TLS and
//! leaves this machine, it ends the connection instead.
//!
//! The driver keeps what comes before the login's end, each session parameter, each message until it is whole,
//! and osc the rows of an answer. So each is counted here, where the bytes come in, and a server that
//! sends more than any answer to osc is long ends its connection.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

/// The server asked for the password in the clear.
#[derive(Debug, thiserror::Error)]
#[error("the server asks for the password in clear text, and the connection is not encrypted")]
pub(crate) struct ClearText;

/// The server sent more than osc takes.
#[derive(Debug, thiserror::Error)]
#[error("the server sent more than {} MiB {}; this is no honest server, or none of PostgreSQL", .most >> 20, .what)]
pub(crate) struct TooMuch {
    most: usize,
    what: &'static str,
}

/// Bytes before the login has ended. Honest servers send a few hundred.
const BEFORE_LOGIN: usize = 1 << 20;

/// Bytes of a session's parameters, each as it was sent last: osc sets the same few in each transaction.
const PARAMETERS: usize = 1 << 20;

/// Bytes of a parameter's name. One that is longer counts each time.
const NAME: usize = 64;

/// Bytes of one answer: far beyond the keys of the largest chunk.
const ANSWER: usize = 256 << 20;

/// What the server sends, as far as it is looked at.
#[derive(Debug)]
struct Watch {
    /// The type and length of the message that is being read, then an authentication's code.
    head: Vec<u8>,
    /// Bytes of the message that are of no interest.
    skip: usize,
    /// A request for the password in the clear ends the connection.
    clear_text_ends: bool,
    /// After the login nothing is looked at.
    login_only: bool,
    authenticated: bool,
    /// Ready for the first statement.
    ready: bool,
    /// Bytes since the server was ready last.
    since: usize,
    /// The length of the parameter that is being read, and its name so far.
    parameter: Option<(usize, Vec<u8>)>,
    /// The length of each parameter.
    known: HashMap<Vec<u8>, usize>,
    parameters: usize,
}

impl Watch {
    fn new(clear_text_ends: bool) -> Self {
        Self {
            head: Vec::with_capacity(9),
            skip: 0,
            clear_text_ends,
            login_only: false,
            authenticated: false,
            ready: false,
            since: 0,
            parameter: None,
            known: HashMap::new(),
            parameters: 0,
        }
    }

    /// Looks at what came.
    fn see(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !(bytes.is_empty() || self.ready && self.login_only) {
            if self.skip > 0 && self.parameter.is_some() {
                let Some((first, rest)) = bytes.split_first() else { break };
                bytes = rest;
                self.skip -= 1;
                self.name(*first)?;
                continue;
            }
            if self.skip > 0 {
                let now = self.skip.min(bytes.len());
                self.skip -= now;
                bytes = bytes.get(now..).unwrap_or_default();
                continue;
            }
            let Some((first, rest)) = bytes.split_first() else { break };
            self.head.push(*first);
            bytes = rest;
            let is_authentication = !self.authenticated && self.head.first() == Some(&b'R');
            match (self.head.len(), is_authentication) {
                (5, false) => self.message(4)?,
                (9, true) => {
                    match self.number(5) {
                        0 => self.authenticated = true,
                        3 if self.clear_text_ends => return Err(io::Error::other(ClearText)),
                        _ => {}
                    }
                    self.message(8)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn number(&self, at: usize) -> usize {
        let four = self.head.get(at..at + 4).and_then(|four| four.try_into().ok());
        usize::try_from(four.map_or(0, u32::from_be_bytes)).unwrap_or(usize::MAX)
    }

    /// A message has begun, of whose length `read` bytes have come: counted before the driver waits for it
    /// as a whole.
    fn message(&mut self, read: usize) -> io::Result<()> {
        let (kind, length) = (self.head.first().copied().unwrap_or_default(), self.number(1));
        self.skip = length.saturating_sub(read);
        self.head.clear();
        self.since = self.since.saturating_add(length).saturating_add(1);
        let (counted, most, what) = match kind {
            _ if !self.ready => (self.since, BEFORE_LOGIN, "before the login was over"),
            b'S' => {
                self.parameter = Some((length, Vec::new()));
                (length, PARAMETERS, "of parameters")
            }
            _ => (self.since, ANSWER, "as one answer"),
        };
        if counted > most {
            return Err(io::Error::other(TooMuch { most, what }));
        }
        if kind == b'Z' {
            self.ready = true;
            self.since = 0;
        }
        Ok(())
    }
}

impl Watch {
    /// One more byte of a parameter: the first are its name, up to a zero.
    fn name(&mut self, byte: u8) -> io::Result<()> {
        let Some((length, mut name)) = self.parameter.take() else { return Ok(()) };
        let whole = byte == 0 || self.skip == 0;
        if !whole && name.len() < NAME {
            name.push(byte);
            self.parameter = Some((length, name));
            return Ok(());
        }
        let before = if whole { self.known.insert(name, length) } else { None };
        let others = self.parameters.saturating_sub(before.unwrap_or_default());
        self.parameters = others.saturating_add(length);
        match self.parameters > PARAMETERS {
            true => Err(io::Error::other(TooMuch { most: PARAMETERS, what: "of parameters" })),
            false => Ok(()),
        }
    }
}

/// A connection on which the server is watched.
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    stream: S,
    watch: Watch,
}

impl<S> Guarded<S> {
    /// `in_the_clear`: what is sent leaves this machine unencrypted.
    pub(crate) fn new(stream: S, in_the_clear: bool) -> Self {
        Self { stream, watch: Watch::new(in_the_clear) }
    }
}

impl<S: TlsStream + Unpin> TlsStream for Guarded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// Makes TLS connections on which the server is watched, inside of TLS.
#[derive(Clone)]
pub(crate) struct GuardedTls<T>(pub(crate) T);

impl<S, T: MakeTlsConnect<S>> MakeTlsConnect<S> for GuardedTls<T>
where
    T::Stream: Unpin,
    <T::TlsConnect as TlsConnect<S>>::Future: Send + 'static,
{
    type Stream = Guarded<T::Stream>;
    type TlsConnect = GuardedTls<T::TlsConnect>;
    type Error = T::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, Self::Error> {
        self.0.make_tls_connect(domain).map(GuardedTls)
    }
}

impl<S, T: TlsConnect<S>> TlsConnect<S> for GuardedTls<T>
where
    T::Stream: Unpin,
    T::Future: Send + 'static,
{
    type Stream = Guarded<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let made = self.0.connect(stream);
        Box::pin(async move { Ok(Guarded::new(made.await?, false)) })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = read {
            let new = buf.filled().get(before..).unwrap_or_default();
            if let Err(problem) = self.watch.see(new) {
                return Poll::Ready(Err(problem));
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How the kernel watches a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keepalive {
    pub(crate) on: bool,
    pub(crate) idle: Duration,
    pub(crate) interval: Duration,
    pub(crate) count: u32,
    pub(crate) user_timeout: Option<Duration>,
}

/// A server that is reached without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plain {
    /// `away`: not on this machine.
    Tcp {
        host: String,
        port: u16,
        away: bool,
    },
    Socket {
        folder: PathBuf,
        port: u16,
    },
}

/// Connects without TLS, by TCP.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    away: bool,
    keepalive: Keepalive,
) -> io::Result<Guarded<TcpStream>> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    if keepalive.on {
        let alive = TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.count);
        socket.set_tcp_keepalive(&alive)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(keepalive.user_timeout)?;
    Ok(Guarded::new(stream, away))
}

/// Connects by the socket of a server on this machine.
pub(crate) async fn local(folder: &Path, port: u16) -> io::Result<Guarded<UnixStream>> {
    let stream = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?;
    Ok(Guarded::new(stream, false))
}

/// A socket of this process's own through which one connection reaches a server without TLS: for a driver
/// that opens its connections itself. Only this user reaches it. It goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    folder: PathBuf,
    work: tokio::task::JoinHandle<()>,
}

/// The port in the name of the relay's socket.
pub(crate) const RELAY_PORT: u16 = 5432;

impl Relay {
    /// Waits for the one connection.
    pub(crate) fn to(host: String, port: u16, keepalive: Keepalive) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let folder = std::env::temp_dir().join(format!(
            "osc-{}-{:016x}",
            std::process::id(),
            rand::random::<u64>()
        ));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let listener = UnixListener::bind(folder.join(format!(".s.PGSQL.{RELAY_PORT}")))?;
        let work = tokio::spawn(async move {
            let Ok((mut near, _)) = listener.accept().await else { return };
            drop(listener);
            let Ok(mut far) = connect(&host, port, true, keepalive).await else { return };
            // A change stream has no end; its driver bounds its messages.
            far.watch.login_only = true;
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
        Ok(Self { folder, work })
    }

    /// The folder of its socket.
    pub(crate) fn folder(&self) -> &std::path::Path {
        &self.folder
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.work.abort();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    /// Whether the bytes are let through, in pieces of each size.
    fn passes(bytes: &[u8]) -> bool {
        let whole = |size: usize| {
            let mut watch = Watch::new(true);
            bytes.chunks(size).all(|piece| watch.see(piece).is_ok())
        };
        let all: Vec<bool> = (1..=bytes.len()).map(whole).collect();
        assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
        all[0]
    }

    const QUICK: Keepalive = Keepalive {
        on: true,
        idle: Duration::from_secs(30),
        interval: Duration::from_secs(10),
        count: 3,
        user_timeout: None,
    };

    /// A scripted server, no real one: it takes a startup packet, asks for the password in the clear, and
    /// returns all that it gets then.
    async fn asks_for_a_clear_password() -> (u16, tokio::task::JoinHandle<Vec<u8>>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u32().await.unwrap();
            let mut startup = vec![0; usize::try_from(length).unwrap() - 4];
            stream.read_exact(&mut startup).await.unwrap();
            stream.write_all(&message(b'R', &3u32.to_be_bytes())).await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer
        });
        (port, script)
    }

    #[tokio::test]
    async fn no_password_is_sent_to_who_asks_for_it_in_the_clear() {
        let (port, script) = asks_for_a_clear_password().await;
        let mut config = tokio_postgres::Config::new();
        config.user("me").password("hunter2").ssl_mode(tokio_postgres::config::SslMode::Disable);
        let stream = connect("127.0.0.1", port, true, QUICK).await.unwrap();
        let made = config.connect_raw(stream, tokio_postgres::NoTls).await;
        let error = made.err().unwrap();
        let got = crate::postgres::connection::errors::server_error("connecting", &error);
        assert!(matches!(got, crate::error::Error::Refused(_)), "{got}");
        assert!(got.to_string().contains("clear text"), "{got}");
        assert_eq!(script.await.unwrap(), b"");
    }

    #[tokio::test]
    async fn the_kernel_watches_a_connection_as_the_settings_say() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for on in [true, false] {
            let user_timeout = Some(Duration::from_secs(7));
            let got = Keepalive { on, user_timeout, ..QUICK };
            let made = connect("127.0.0.1", port, false, got).await.unwrap();
            let socket = SockRef::from(&made.stream);
            assert_eq!(socket.keepalive().unwrap(), on);
            #[cfg(target_os = "linux")]
            assert_eq!(socket.tcp_user_timeout().unwrap(), user_timeout);
        }
    }

    #[tokio::test]
    async fn nor_through_the_relay() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (port, script) = asks_for_a_clear_password().await;
        let relay = Relay::to("127.0.0.1".into(), port, QUICK).unwrap();
        let socket = relay.folder().join(format!(".s.PGSQL.{RELAY_PORT}"));
        let mut near = tokio::net::UnixStream::connect(&socket).await.unwrap();
        near.write_all(&[0, 0, 0, 8, 0, 3, 0, 0]).await.unwrap();
        let mut got = Vec::new();
        let _ = near.read_to_end(&mut got).await;
        assert_eq!(got, b"", "the request does not reach the driver");
        drop(relay);
        assert!(!socket.exists());
        assert_eq!(script.await.unwrap(), b"");
    }

    #[test]
    fn the_request_for_a_clear_password_is_seen_wherever_it_stands() {
        let clear = message(b'R', &3u32.to_be_bytes());
        let scram = message(b'R', &[&10u32.to_be_bytes()[..], b"SCRAM-SHA-256\0\0"].concat());
        let notice = message(b'N', b"SFATAL\0R\0\0\0\x08\0\0\0\x03\0\0");
        assert!(!passes(&clear));
        assert!(!passes(&[scram.clone(), notice.clone(), clear.clone()].concat()));
        assert!(passes(&[notice, scram].concat()));
        // After the login a row may hold anything.
        assert!(passes(&[message(b'R', &0u32.to_be_bytes()), clear].concat()));
    }

    #[test]
    fn what_a_server_sends_is_bounded() {
        let seen = |login_only: bool, head: &[u8], message: &[u8], times: usize| {
            let mut watch = Watch { login_only, ..Watch::new(false) };
            watch.see(head).unwrap();
            (0..times).try_for_each(|_| watch.see(message))
        };
        let login = [message(b'R', &0u32.to_be_bytes()), message(b'Z', b"I")].concat();
        let mib = vec![0; 1 << 20];
        let of = |kind| message(kind, &mib);
        // Before the login.
        assert!(seen(false, &[], &message(b'N', &[0; 1000]), 1000).is_ok());
        assert!(seen(false, &[], &message(b'N', &[0; 1000]), 1100).is_err());
        assert!(seen(false, &[], &of(b'N'), 1).is_err());
        // Afterwards: answers, each up to its end; parameters; a message of which only the length has come.
        assert!(seen(false, &login, &of(b'D'), 255).is_ok());
        assert!(seen(false, &login, &of(b'D'), 256).is_err());
        assert!(seen(false, &login, &[of(b'D'), message(b'Z', b"I")].concat(), 300).is_ok());
        assert!(seen(false, &login, &of(b'S'), 1).is_err());
        let set = |name: &str| message(b'S', &[name.as_bytes(), &[b'v'; 1000]].concat());
        assert!(seen(false, &login, &set("TimeZone\0"), 100_000).is_ok());
        assert!(seen(false, &login, &set(&format!("{}\0", "n".repeat(100))), 1100).is_err());
        let others: Vec<u8> = (0..1100).flat_map(|at| set(&format!("name {at}\0"))).collect();
        assert!(seen(false, &login, &others, 1).is_err());
        assert!(seen(false, &login, &[b'D', 0x7f, 0xff, 0xff, 0xff], 1).is_err());
        // A change stream is one answer.
        assert!(seen(true, &login, &of(b'd'), 300).is_ok());
    }
}
