//! A question over HTTP, as freno and the like answer it.

use std::time::Duration;

use super::{Source, Verdict};
use crate::config::http_url::HttpUrl;
use crate::control::Directives;
use crate::http;

/// Pauses the copy while HEAD of a URL is answered by anything but status 200, or not at all.
#[derive(Debug)]
pub(super) struct Http(pub HttpUrl);

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
        match http::head(&self.0).await {
            Ok(http::Answer { status: 200, .. }) => Verdict::Run,
            Ok(answer) => Verdict::Pause(format!("{} answers {}", self.0.shown, answer.status)),
            Err(error) => Verdict::Pause(format!("{}: {error}", self.0.shown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
        assert!(request.starts_with("HEAD /check?token=x HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n"));
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
}
