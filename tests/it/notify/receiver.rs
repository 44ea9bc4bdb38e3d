//! A receiver of webhooks: takes what comes, and answers with the status that is set.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::support::schema;

/// What came.
#[derive(Debug, Clone)]
pub(super) struct Received {
    head: String,
    pub(super) body: String,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| *key == name).map(|(_, value)| value).next().unwrap_or_default()
    }

    /// The message, which must be as its schema says.
    pub(super) fn message(&self) -> Value {
        schema::read("a message", &self.body)
    }
}

pub(super) struct Receiver {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Received>>>,
    status: Arc<AtomicU16>,
}

/// Takes connections and never answers.
pub(super) const HANGS: u16 = 0;

impl Receiver {
    pub(super) fn start(status: u16) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), "http", status, None)
    }

    /// One over TLS, with the certificate and the key in this folder.
    pub(super) fn over_tls(folder: &Path) -> Self {
        let certificate = CertificateDer::from_pem_file(folder.join("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::at(listener, "https", 204, Some(Arc::new(config)))
    }

    fn at(
        listener: TcpListener,
        scheme: &str,
        status: u16,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let url = format!("{scheme}://{}/t0ken-path?key=t0ken", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let status = Arc::new(AtomicU16::new(status));
        let (all, answer) = (Arc::clone(&seen), Arc::clone(&status));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (all, answer, tls) = (Arc::clone(&all), Arc::clone(&answer), tls.clone());
                thread::spawn(move || match tls {
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        exchange(StreamOwned::new(connection, stream), &all, &answer);
                    }
                    None => exchange::<TcpStream>(stream, &all, &answer),
                });
            }
        });
        Self { url, seen, status }
    }

    pub(super) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// All that it took, in the order in which it came.
    pub(super) fn seen(&self) -> Vec<Received> {
        self.seen.lock().unwrap().clone()
    }

    /// The events of all messages.
    pub(super) fn events(&self) -> Vec<String> {
        let event = |one: &Received| one.message()["event"].as_str().unwrap().to_owned();
        self.seen().iter().map(event).collect()
    }

    /// Waits until it was sent so many.
    pub(super) fn wait_for(&self, count: usize) {
        let started = Instant::now();
        while self.seen().len() < count {
            assert!(started.elapsed() < Duration::from_secs(60), "{:?}", self.events());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn exchange<S: Read + Write>(mut stream: S, all: &Mutex<Vec<Received>>, answer: &AtomicU16) {
    let mut bytes = Vec::new();
    let received = loop {
        let mut buffer = [0; 4096];
        let Ok(length @ 1..) = stream.read(&mut buffer) else { return };
        bytes.extend(&buffer[..length]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let received =
            Received { head, body: String::from_utf8(bytes[end + 4..].to_vec()).unwrap() };
        if received.body.len() == received.header("content-length").parse().unwrap_or(0) {
            break received;
        }
    };
    let status = answer.load(Ordering::SeqCst);
    all.lock().unwrap().push(received);
    if status == HANGS {
        thread::sleep(Duration::from_secs(120));
    }
    // One that has waited for long enough has gone.
    let _ = write!(stream, "HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n");
    let _ = stream.flush();
}

/// The signature of a message by the secret in base64, computed by openssl: what signs is not what checks.
pub(super) fn signature(secret: &str, received: &Received) -> String {
    let (id, time) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("signed"), format!("{id}.{time}.{}", received.body)).unwrap();
    let script = "key=$(printf %s \"$1\" | base64 -d | od -An -v -tx1 | tr -d ' \\n'); \
                  openssl dgst -sha256 -mac HMAC -macopt hexkey:$key -binary signed | base64";
    let output = Command::new("sh")
        .args(["-c", script, "sh", secret])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    format!("v1,{}", String::from_utf8(output.stdout).unwrap().trim())
}
