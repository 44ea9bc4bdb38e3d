//! A question over HTTP, as freno and the like answer it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Source, Verdict};
use crate::config::http_url::HttpUrl;
use crate::control::Directives;

/// A status line longer than this is none.
const LONGEST_LINE: u64 = 1024;

/// Pauses the copy while HEAD of a URL is answered by anything but status 200, or not at all.
#[derive(Debug)]
pub(super) struct Http(pub HttpUrl);

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
    async fn no_server_there_pauses_the_copy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let verdict = Http(url.parse().unwrap()).check(&Directives::default()).await;
        assert!(matches!(verdict, Verdict::Pause(_)));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(line: Vec<u8>) {
            let _ = status_of(&line);
        }
    }
}
