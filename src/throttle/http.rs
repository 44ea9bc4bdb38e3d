//! A question over HTTP, as freno and the like answer it.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::{Source, Verdict};
use crate::control::Directives;
use crate::error::{Error, Result};

/// A status line longer than this is none.
const LONGEST_LINE: u64 = 1024;

/// A URL that can be asked: plain `http://`, without user and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// For a human: without the query, which may hold a token.
    shown: String,
    host: String,
    port: u16,
    request: String,
}

/// Pauses the copy while HEAD of a URL is answered by anything but status 200, or not at all.
#[derive(Debug)]
pub struct Http(pub HttpUrl);

impl FromStr for HttpUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let wrong = |problem: &str, help: &str| Error::Usage {
            message: format!("the URL to ask {problem}; {help}"),
            help: String::new(),
        };
        let example = "such as http://freno.example:8111/check/osc/mysql/shop";
        let url = Url::parse(url).map_err(|error| wrong(&format!("is none: {error}"), example))?;
        if url.scheme() != "http" {
            return Err(wrong(
                &format!("begins with {}://, and osc asks over http:// only", url.scheme()),
                "name an http:// address, or use --throttle-query",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("holds a user or a password", "name it without them"));
        }
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err(wrong("names no host", example)),
        };
        let authority = url.authority();
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Self {
            shown: format!("http://{authority}{}", url.path()),
            port: url.port_or_known_default().unwrap_or(80),
            request: format!(
                "HEAD {}{query} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: osc/{}\r\n\
                 Accept: */*\r\nConnection: close\r\n\r\n",
                url.path(),
                env!("CARGO_PKG_VERSION"),
            ),
            host,
        })
    }
}

impl Http {
    async fn status(&self) -> io::Result<u16> {
        let url = &self.0;
        let mut stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
        stream.write_all(url.request.as_bytes()).await?;
        let mut line = Vec::new();
        BufReader::new(stream.take(LONGEST_LINE)).read_until(b'\n', &mut line).await?;
        status_of(&line)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
    }
}

/// The number in `HTTP/1.1 200 OK`.
fn status_of(line: &[u8]) -> Option<u16> {
    let mut words = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_ascii_whitespace();
    words.next()?.strip_prefix("HTTP/1.")?;
    words.next()?.parse().ok()
}

impl Source for Http {
    fn name(&self) -> &'static str {
        "throttle-http"
    }

    fn period(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn check(&mut self, _: &Directives) -> Verdict {
        match self.status().await {
            Ok(200) => Verdict::Run,
            Ok(status) => Verdict::Pause(format!("{} answers {status}", self.0.shown)),
            Err(error) => Verdict::Pause(format!("{}: {error}", self.0.shown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    use super::*;

    /// Asks a server that gives this answer; returns the verdict and what the server was asked.
    async fn asked(answer: &'static str) -> (Verdict, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut http = Http(format!("http://127.0.0.1:{port}/check?token=x").parse().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        };
        let (verdict, request) =
            tokio::join!(async { http.check(&Directives::default()).await }, serve);
        (verdict, request.replace(&port.to_string(), "PORT"))
    }

    #[tokio::test]
    async fn only_status_200_lets_the_copy_run() {
        let (verdict, request) = asked("HTTP/1.1 200 OK\r\n\r\n").await;
        assert_eq!(verdict, Verdict::Run);
        assert!(request.starts_with("HEAD /check?token=x HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n"));
        for answer in ["HTTP/1.1 429 Too Many\r\n\r\n", "HTTP/1.1 204 No\r\n\r\n", "SSH-2\r\n", ""]
        {
            let (verdict, _) = asked(answer).await;
            let Verdict::Pause(reason) = verdict else { panic!("{answer}: {verdict:?}") };
            assert!(reason.contains("/check") && !reason.contains("token"), "{reason}");
        }
    }

    #[tokio::test]
    async fn nobody_there_pauses_the_copy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let verdict = Http(url.parse().unwrap()).check(&Directives::default()).await;
        assert!(matches!(verdict, Verdict::Pause(_)));
    }

    #[test]
    fn urls_that_cannot_be_asked_are_wrong_usage_and_keep_their_secrets() {
        for url in ["https://a/", "http://bob:s3cret@a/", "ftp://a", "a", "http://", ""] {
            let error = url.parse::<HttpUrl>().unwrap_err();
            assert!(matches!(error, Error::Usage { .. }), "{url}");
            assert!(!error.to_string().contains("s3cret"));
        }
        assert_eq!("http://[::1]:81".parse::<HttpUrl>().unwrap().host, "::1");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(line: Vec<u8>) {
            let _ = status_of(&line);
        }
    }
}
