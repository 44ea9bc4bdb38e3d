use std::collections::HashSet;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::config::notify::ReceiverUrl;

/// What a receiver was sent: head and body.
type Received = (String, Vec<u8>);

const QUICK: Timing = Timing {
    answer: Duration::from_millis(300),
    first: Duration::from_millis(40),
    longest: Duration::from_millis(80),
};

const PATIENCE: Duration = Duration::from_secs(10);

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn delivery(listener: &TcpListener, scheme: &str) -> Delivery {
    at(&format!("{scheme}http://{}/secret-path", listener.local_addr().unwrap()))
}

fn at(url: &str) -> Delivery {
    let receiver = Receiver::parse(&ReceiverUrl::from(url.to_owned())).unwrap();
    let secrets = [SecretSlice::from(vec![7; 32])];
    Delivery::start(receiver, Arc::new(secrets), QUICK)
}

fn notices(count: u64) -> impl Iterator<Item = Arc<Notice>> {
    (1..=count).map(|seq| Arc::new(Notice::example(seq)))
}

/// Reads one request.
async fn read(stream: &mut TcpStream) -> Received {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.unwrap();
        bytes.extend(&buffer[..length]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let wanted: usize = header(&head, "content-length").parse().unwrap();
        let body = &bytes[end + 4..];
        if body.len() == wanted {
            return (head, body.to_vec());
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(key, _)| *key == name).map(|(_, value)| value).next().unwrap_or_default()
}

/// Answers the requests that come with these answers, in turn; the last one is repeated.
fn serve(listener: TcpListener, answers: &'static [&'static str]) -> JoinHandle<Vec<Received>> {
    tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Ok(Ok((mut stream, _))) =
            timeout(Duration::from_millis(700), listener.accept()).await
        {
            let answer = answers.get(seen.len()).or(answers.last()).unwrap();
            seen.push(read(&mut stream).await);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        seen
    })
}

fn seqs(seen: &[Received]) -> Vec<u64> {
    let seq = |(_, body): &Received| {
        serde_json::from_slice::<Value>(body).unwrap()["seq"].as_u64().unwrap()
    };
    seen.iter().map(seq).collect()
}

const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";
const FAILS: &str = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";

/// HMAC-SHA256 by openssl: what signs is not what checks.
fn hmac(key: &[u8], message: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("message");
    std::fs::write(&file, message).unwrap();
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let output = std::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-mac", "HMAC", "-binary", "-macopt", &format!("hexkey:{key}")])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    STANDARD.encode(output.stdout)
}

#[tokio::test]
async fn messages_come_signed_and_in_order() {
    let listener = listener().await;
    let delivery = delivery(&listener, "");
    let serving = serve(listener, &[OK]);
    notices(5).for_each(|notice| delivery.send(notice));
    assert_eq!(delivery.finish(PATIENCE).await, None);
    let seen = serving.await.unwrap();
    assert_eq!(seqs(&seen), [1, 2, 3, 4, 5]);
    let mut ids = HashSet::new();
    for (head, body) in &seen {
        assert!(head.starts_with("POST /secret-path HTTP/1.1\r\n"), "{head}");
        assert_eq!(header(head, "content-type"), "application/json");
        let (id, time) = (header(head, "webhook-id"), header(head, "webhook-timestamp"));
        assert!(ids.insert(id.to_owned()));
        let signed = format!("{id}.{time}.{}", std::str::from_utf8(body).unwrap());
        let expected = format!("v1,{}", hmac(&[7; 32], &signed));
        assert_eq!(header(head, "webhook-signature"), expected);
    }
}

#[tokio::test]
async fn a_receiver_that_fails_gets_all_in_order_later_each_with_its_id() {
    let listener = listener().await;
    let delivery = delivery(&listener, "");
    let serving = serve(listener, &[FAILS, FAILS, "nonsense\r\n\r\n", "", OK]);
    notices(3).for_each(|notice| delivery.send(notice));
    assert_eq!(delivery.finish(PATIENCE).await, None);
    let seen = serving.await.unwrap();
    assert_eq!(seqs(&seen), [1, 1, 1, 1, 1, 2, 3]);
    let ids: HashSet<_> = seen.iter().map(|(head, _)| header(head, "webhook-id")).collect();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn a_receiver_that_was_away_gets_all() {
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let delivery = delivery(&listener, "");
    drop(listener);
    notices(3).for_each(|notice| delivery.send(notice));
    sleep(Duration::from_millis(400)).await;
    let serving = serve(TcpListener::bind(address).await.unwrap(), &[OK]);
    assert_eq!(delivery.finish(PATIENCE).await, None);
    assert_eq!(seqs(&serving.await.unwrap()), [1, 2, 3]);
}

#[tokio::test]
async fn a_receiver_that_hangs_is_not_waited_for_and_what_is_left_is_told() {
    let listener = listener().await;
    let delivery = delivery(&listener, "");
    let started = Instant::now();
    notices(2).for_each(|notice| delivery.send(notice));
    assert!(started.elapsed() < Duration::from_millis(100), "it waits");
    let hanging = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            all.push(stream);
        }
    });
    let left = delivery.finish(Duration::from_secs(1)).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(left.starts_with("2 messages were not delivered to http://127.0.0.1:"), "{left}");
    assert!(left.ends_with("no answer within 300ms") && !left.contains("secret-path"), "{left}");
    hanging.abort();
}

#[tokio::test]
async fn an_answer_of_ten_megabytes_is_an_answer() {
    let listener = listener().await;
    let delivery = delivery(&listener, "");
    let mut answer = "HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n".to_owned();
    answer.push_str(&"x".repeat(10 << 20));
    let serving = serve(listener, vec![&*answer.leak()].leak());
    notices(2).for_each(|notice| delivery.send(notice));
    assert_eq!(delivery.finish(PATIENCE).await, None);
    assert_eq!(seqs(&serving.await.unwrap()), [1, 2]);
}

#[tokio::test]
async fn what_a_receiver_refuses_is_given_up_and_does_not_hold_up_the_rest() {
    let listener = listener().await;
    let delivery = delivery(&listener, "");
    const REFUSES: &str = "HTTP/1.1 400 Bad\r\n\r\n";
    let serving = serve(listener, &[REFUSES, REFUSES, REFUSES, OK]);
    notices(2).for_each(|notice| delivery.send(notice));
    assert_eq!(delivery.finish(PATIENCE).await, None);
    assert_eq!(seqs(&serving.await.unwrap()), [1, 1, 1, 2]);
}

#[tokio::test]
async fn a_receiver_that_is_gone_gets_no_more() {
    let listener = listener().await;
    let delivery = delivery(&listener, "");
    let serving = serve(listener, &["HTTP/1.1 410 Gone\r\n\r\n"]);
    notices(3).for_each(|notice| delivery.send(notice));
    sleep(Duration::from_millis(200)).await;
    assert_eq!(delivery.finish(PATIENCE).await, None);
    assert_eq!(seqs(&serving.await.unwrap()), [1]);
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let (target, listener) = (listener().await, listener().await);
    let delivery = delivery(&listener, "");
    let answer = format!(
        "HTTP/1.1 307 Elsewhere\r\nLocation: http://{}/\r\n\r\n",
        target.local_addr().unwrap()
    );
    let serving = serve(listener, vec![&*answer.leak()].leak());
    notices(1).for_each(|notice| delivery.send(notice));
    let left = delivery.finish(Duration::from_millis(500)).await.unwrap();
    assert!(left.contains("follows no redirect"), "{left}");
    assert!(timeout(Duration::from_millis(300), target.accept()).await.is_err());
    assert!(!serving.await.unwrap().is_empty());
}

#[tokio::test]
async fn a_chat_gets_a_text_without_commands() {
    let listener = listener().await;
    let delivery = delivery(&listener, "slack:");
    let serving = serve(listener, &["HTTP/1.1 200 OK\r\n\r\nok"]);
    notices(1).for_each(|notice| delivery.send(notice));
    assert_eq!(delivery.finish(PATIENCE).await, None);
    let seen = serving.await.unwrap();
    let value: Value = serde_json::from_slice(&seen[0].1).unwrap();
    assert_eq!(
        value,
        serde_json::json!({
            "text": "The change of shop.a'b &lt;b&gt;c on db1:3306 is ready and waits for permission\n\
                     ADD COLUMN a INT\nReason: a\u{fffd}b"
        })
    );
    assert_eq!(header(&seen[0].0, "webhook-signature"), "");
}
