use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// The outcome of one request to a server that gives `answer`, and what it was sent.
async fn asked(answer: &'static [u8]) -> (io::Result<Answer>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: HttpUrl = format!("http://{}/a?b=c", listener.local_addr().unwrap()).parse().unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        // Whoever has read enough goes away.
        let _ = stream.write_all(answer).await;
        String::from_utf8_lossy(&request[..length]).into_owned()
    };
    let headers = [("webhook-id", "msg_1".to_owned())];
    tokio::join!(post_json(&url, &headers, Bytes::from_static(b"{}")), serve)
}

#[tokio::test]
async fn a_request_names_its_host_and_ends_its_connection() {
    let (answer, request) = asked(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(answer.unwrap(), Answer { status: 204, retry_after: None });
    assert!(request.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{request}");
    for part in ["host: 127.0.0.1:", "connection: close", "webhook-id: msg_1", "\r\n\r\n{}"] {
        assert!(request.contains(part), "{request}");
    }
}

#[tokio::test]
async fn redirects_are_answers_and_are_not_followed() {
    let (answer, _) = asked(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n").await;
    assert_eq!(answer.unwrap().status, 302);
}

#[tokio::test]
async fn the_time_to_come_again_is_read_where_it_is_in_seconds() {
    let (answer, _) = asked(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\n\r\n").await;
    assert_eq!(answer.unwrap().retry_after, Some(Duration::from_secs(7)));
    let (answer, _) =
        asked(b"HTTP/1.1 503 No\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n\r\n").await;
    assert_eq!(answer.unwrap().retry_after, None);
}

#[tokio::test]
async fn what_is_no_http_is_an_error_in_plain_words() {
    for (answer, words) in [
        (&b"SSH-2.0\r\n\r\n"[..], "not HTTP"),
        (b"", "closed without an answer"),
        (b"HTTP/1.1 200", "closed without an answer"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "not HTTP"),
    ] {
        let error = asked(answer).await.0.unwrap_err().to_string();
        assert!(error.contains(words), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn a_head_without_an_end_is_not_read_for_ever() {
    let mut head = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
    head.resize(10 << 20, b'x');
    let error = asked(head.leak()).await.0.unwrap_err();
    assert!(error.to_string().contains("not HTTP"), "{error}");
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_not_read() {
    let mut body = b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n".to_vec();
    body.resize(body.len() + (10 << 20), b'x');
    assert_eq!(asked(body.leak()).await.0.unwrap().status, 200);
}
