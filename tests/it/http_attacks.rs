//! What somebody without the token, a foreign page, or a broken client can send to `--listen`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::cli_run::Run;
use crate::http::client::{Answer, Follower, get, raw, request};
use crate::http::{TOKEN, Watched};
use crate::support;
use crate::support::server::Kind;

/// A table whose name a page could stumble over, and a change likewise.
const NAME: &str = "a'b\"<img src=x onerror=alert(1)>&c";
const CLAUSES: &str = "ADD COLUMN added VARCHAR(99) DEFAULT '</style><script>alert(2)</script>'";

/// Every answer has what keeps a browser from harm.
fn is_guarded(answer: &Answer) {
    let policy = answer.header("content-security-policy").unwrap_or_else(|| panic!("{answer:?}"));
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{answer:?}");
    for name in
        ["set-cookie", "access-control-allow-origin", "access-control-allow-headers", "location"]
    {
        assert_eq!(answer.header(name), None, "{answer:?}");
    }
    assert!(!answer.body.contains(TOKEN), "{answer:?}");
}

/// A run on such a table that waits, and its port.
async fn strange(more: &[&str]) -> (Run, Watched) {
    let server = support::shared(Kind::Mariadb);
    let database = support::database(server).await;
    server.exec_in(&database, &format!("CREATE TABLE `{NAME}` (id INT PRIMARY KEY)")).await;
    server.exec_in(&database, &format!("INSERT INTO `{NAME}` VALUES (1), (2)")).await;
    let watched = Watched::new();
    let (table, ledger) = (format!("`{NAME}`"), format!("{database}_osc"));
    let first = [table.as_str(), CLAUSES, "--hold", "--ledger", &ledger];
    let flags = if more.is_empty() { watched.flags().to_vec() } else { more.to_vec() };
    let mut run = Run::at(&server.url(&database), &[&first[..], &flags].concat());
    run.phase("hold").await;
    // The board is a moment behind.
    tokio::time::sleep(Duration::from_secs(1)).await;
    (run, watched)
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_foreign_page_nor_a_strange_request_gets_anything() {
    let (run, watched) = strange(&[]).await;
    let port = watched.port;
    let own = format!("127.0.0.1:{port}");
    let page = get(port, "/");
    is_guarded(&page);
    assert_eq!(page.status, 200);

    // Names become text wherever they are shown.
    let data = Follower::new(port, "/events?page=", None).event("page").data;
    let mut parts: Map<String, Value> = serde_json::from_str(&data).unwrap();
    // The script sets it as text.
    parts.remove("title");
    let parts: String = parts.values().map(|part| part.as_str().unwrap()).collect();
    for text in [&page.body, &parts] {
        assert!(!text.contains("<img") && !text.contains("<script>alert"), "{text}");
        assert!(text.contains("&lt;img src=x onerror=alert(1)&gt;&amp;c"), "{text}");
    }
    let scrape = watched.metrics();
    let named = scrape.0["osc_run_info"].samples[0].labels["table"].clone();
    assert!(named.ends_with(NAME), "{named}");

    // Hosts that are not ours (DNS rebinding), and pages that are not.
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "evil@127.0.0.1", "", "a b"]
    {
        for first in ["GET /", "GET /status", "GET /metrics", "GET /events", "POST /orders"] {
            let answer = request(port, first, &[("Host", host)], "");
            assert!([400, 421].contains(&answer.status), "{first} {host}: {answer:?}");
        }
    }
    for host in [&own, "localhost", "localhost:8080", "[::1]:1"] {
        let origin = format!("http://{host}");
        let answer = request(port, "GET /status", &[("Host", host), ("Origin", &origin)], "");
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
    }
    let bearer = format!("Bearer {TOKEN}");
    let pause = json!({"verb": "pause"}).to_string();
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", ""] {
        let fields = [
            ("Origin", origin),
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        let answer = request(port, "POST /orders", &fields, &pause);
        assert_eq!(answer.status, 403, "{origin}: {answer:?}");
        is_guarded(&answer);
        assert_eq!(request(port, "GET /status", &fields[..1], "").status, 403, "{origin}");
    }
    let image = [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "no-cors"),
        ("Sec-Fetch-Dest", "image"),
    ];
    assert_eq!(request(port, "GET /metrics", &image, "").status, 403);
    let frame = [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "iframe"),
    ];
    assert_eq!(request(port, "GET /", &frame, "").status, 403);
    let link = [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
    ];
    assert_eq!(request(port, "GET /", &link, "").status, 200);
    // What a browser asks beforehand is not permitted.
    let preflight = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")];
    is_guarded(&request(port, "OPTIONS /orders", &preflight, ""));

    // A form of another page could post text; the token counts in its header alone.
    let forms = [("Authorization", bearer.as_str()), ("Content-Type", "text/plain")];
    assert_eq!(request(port, "POST /orders", &forms, &pause).status, 415);
    for (name, value) in [
        ("Authorization", format!("Basic {}", base64(&format!("x:{TOKEN}")))),
        ("Authorization", format!("bearer{TOKEN}")),
        ("Authorization", TOKEN.to_owned()),
        ("Cookie", format!("token={TOKEN}")),
        ("X-Token", TOKEN.to_owned()),
    ] {
        let fields = [(name, value.as_str()), ("Content-Type", "application/json")];
        assert_eq!(request(port, "POST /orders", &fields, &pause).status, 401, "{name} {value}");
    }
    let answer = request(
        port,
        &format!("POST /orders?token={TOKEN}"),
        &[("Content-Type", "application/json")],
        &pause,
    );
    assert_eq!(answer.status, 401);

    // Path tricks and methods.
    for path in [
        "/../etc/passwd",
        "/%2e%2e/etc/passwd",
        "//",
        "/status/",
        "/STATUS",
        "/run/1",
        "/run/../status",
        "/.git/config",
        "/status%00",
        "/status;x",
        "/%3Cscript%3E",
    ] {
        let answer = get(port, path);
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        is_guarded(&answer);
    }
    for first in [
        "PUT /",
        "DELETE /status",
        "TRACE /",
        "POST /",
        "GET /orders",
        "POST /events",
        "PATCH /orders",
    ] {
        assert_eq!(request(port, first, &[], "").status, 405, "{first}");
    }
    assert_eq!(get(port, "/events?x=%3Cscript%3E").status, 400);

    // Heads and bodies that are too large, or none; what a header holds comes back nowhere.
    let large = "x".repeat(100_000);
    let answer =
        raw(port, format!("GET / HTTP/1.1\r\nHost: {own}\r\nX: {large}\r\n\r\n").as_bytes());
    assert!(answer.as_ref().is_none_or(|answer| answer.status == 431), "{answer:?}");
    let answer = raw(port, format!("GET /{large} HTTP/1.1\r\nHost: {own}\r\n\r\n").as_bytes());
    assert!(answer.as_ref().is_none_or(|answer| [414, 431].contains(&answer.status)), "{answer:?}");
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let answer = raw(port, format!("GET / HTTP/1.1\r\nHost: {own}\r\n{many}\r\n").as_bytes());
    assert!(answer.as_ref().is_none_or(|answer| answer.status == 431), "{answer:?}");
    assert_eq!(watched.order(&json!({"verb": "pause", "why": large})).status, 413);
    for bytes in [
        "\r\n\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nxxxxx",
        "GET / HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = raw(port, bytes.as_bytes());
        let refused = |answer: &Answer| (400..500).contains(&answer.status) || answer.status == 505;
        assert!(answer.as_ref().is_none_or(refused), "{bytes:?}: {answer:?}");
    }
    let injected = [("X-A", "b\r\nSet-Cookie: evil=1"), ("Last-Event-ID", "x\0y")];
    let answer = request(port, "GET /", &injected[..1], "");
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));

    for body in [
        "",
        "null",
        "[]",
        "{",
        "{\"verb\":1}",
        "{\"verb\":\"pause\",\"x\":1}",
        "{\"verb\":\"pause\"}{}",
    ] {
        let fields = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let answer = request(port, "POST /orders", &fields, body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        is_guarded(&answer);
    }
    let why = json!({"verb": "pause", "why": "a'); DROP TABLE x; --\u{7}"});
    assert_eq!(watched.order(&why).status, 400, "no control characters");
    let why = json!({"verb": "pause", "why": "a'); DROP TABLE x; -- <b>", "by": "<script>"});
    assert_eq!(watched.order(&why).status, 200);
    watched.status_where(|run| run["orders"][0]["outcome"] == "accepted").await;
    let page = get(port, "/").body;
    assert!(page.contains("DROP TABLE x; -- &lt;b&gt;") && !page.contains("<script> by"), "{page}");
    watched.status();
    run.kill();
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn elsewhere_nothing_is_read_without_the_token() {
    let watched = Watched::new();
    let listen = format!("0.0.0.0:{}", watched.port);
    let (run, _) = strange(&["--listen", &listen, "--token-file", &watched.token]).await;
    let port = watched.port;
    let bearer = format!("Bearer {TOKEN}");
    let basic = format!("Basic {}", base64(&format!("anybody:{TOKEN}")));
    for path in ["/", "/status", "/metrics", "/events", "/healthz", "/readyz", "/nothing"] {
        let answer = get(port, path);
        assert_eq!(answer.status, 401, "{path}: {answer:?}");
        is_guarded(&answer);
        assert!(answer.header("www-authenticate").unwrap().starts_with("Basic "), "{answer:?}");
        for wrong in ["Bearer x", "Basic x", "Basic Og==", "Bearer", "Digest x"] {
            let answer = request(port, &format!("GET {path}"), &[("Authorization", wrong)], "");
            assert_eq!(answer.status, 401, "{path} {wrong}");
        }
    }
    for path in ["/", "/status", "/metrics", "/healthz", "/readyz"] {
        for right in [&bearer, &basic] {
            let answer = request(port, &format!("GET {path}"), &[("Authorization", right)], "");
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
    }
    assert_eq!(watched.order(&json!({"verb": "pause"})).status, 200);
    run.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_no_orders_are_taken_and_the_page_says_so() {
    let watched = Watched::new();
    let (run, _) = strange(&["--listen", &watched.listen]).await;
    let answer = watched.order(&json!({"verb": "abort"}));
    assert_eq!((answer.status, &answer.json()["code"]), (403, &"no-token".into()), "{answer:?}");
    let page = get(watched.port, "/").body;
    assert!(
        page.contains("started without --token-file") && !page.contains("data-verb=\""),
        "{page}"
    );
    run.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_or_never_is_left_and_more_than_so_many_are_turned_away() {
    let (run, watched) = strange(&[]).await;
    let connect = || TcpStream::connect(("127.0.0.1", watched.port)).unwrap();
    let begun = Instant::now();
    let mut slow: Vec<TcpStream> = (0..64).map(|_| connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut turned = connect();
    let mut text = String::new();
    let _ = turned.read_to_string(&mut text);
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    // Their head has not come within ten seconds.
    let mut rest = Vec::new();
    let _ = slow[0].read_to_end(&mut rest);
    assert!((8..16).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    drop(slow);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(get(watched.port, "/healthz").status, 200);
    run.kill();
}
