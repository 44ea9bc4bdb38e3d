//! `--listen`: a run that is watched and steered over HTTP, on each server.

pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod openmetrics;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use client::{Follower, get, order, request};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli_run::{Run, streams};
use crate::orders::place::Place;
use crate::support;
use crate::support::schema;

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A port to listen on, and a token.
pub(crate) struct Watched {
    pub(crate) port: u16,
    pub(crate) listen: String,
    pub(crate) token: String,
    folder: TempDir,
}

impl Watched {
    pub(crate) fn new() -> Self {
        // Another may take it in between, which is not likely: the system gives out others first.
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        fs::write(&token, format!("{TOKEN}\n")).unwrap();
        fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
        let token = token.to_str().unwrap().to_owned();
        Self { port, listen: port.to_string(), token, folder }
    }

    pub(crate) fn flags(&self) -> [&str; 4] {
        ["--listen", &self.listen, "--token-file", &self.token]
    }

    pub(crate) fn order(&self, body: &Value) -> client::Answer {
        order(self.port, TOKEN, body)
    }

    pub(crate) fn status(&self) -> Value {
        let answer = get(self.port, "/status");
        assert_eq!(answer.status, 200, "{answer:?}");
        schema::read("GET /status", &answer.body)
    }

    /// The status of the run, once it is as wanted.
    pub(crate) async fn status_where(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if wanted(&status["runs"][0]) {
                return status["runs"][0].clone();
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{status:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn metrics(&self) -> openmetrics::Scrape {
        let answer = get(self.port, "/metrics");
        assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
        openmetrics::read(&answer.body).unwrap_or_else(|why| panic!("{why}\n{}", answer.body))
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_watched_and_steered_over_http() {
    for place in Place::all().await {
        let watched = Watched::new();
        let mut run = place.slow(&watched.flags()).await;
        let name = place.name();
        assert_eq!(get(watched.port, "/healthz").body, "ok\n");
        assert_eq!(get(watched.port, "/readyz").status, 200, "{name}");
        let page = get(watched.port, "/").body;
        for text in [&place.table(), "ADD COLUMN added INT", "Why it is not faster", "<svg"] {
            assert!(page.contains(text), "{name} {text}: {page}");
        }
        let mut follower = Follower::new(watched.port, "/events", None);
        let phase = follower.event("phase");
        assert_eq!(schema::read("alter", &phase.data)["phase"], "prepare");
        let first = schema::read("alter", &follower.event("progress").data);

        // Without a token, or with a wrong one, nothing happens.
        let pause = json!({"verb": "pause", "why": "peak hours", "by": "ann", "for": "1h"});
        let plain = [("Content-Type", "application/json")];
        let answer = request(watched.port, "POST /orders", &plain, &pause.to_string());
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
        assert_eq!(order(watched.port, "another-token-entirely", &pause).status, 401);
        assert!(place.answers().await.is_empty());

        let answer = watched.order(&pause);
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        assert_eq!((&answer["outcome"], &answer["verb"]), (&"accepted".into(), &"pause".into()));
        assert_eq!(answer["table"], place.table());
        let status = watched.status_where(|run| run["state"] == "paused").await;
        assert!(status["pace"].as_str().unwrap().contains("peak hours"), "{status:#}");
        assert!(
            status["snapshot"]["held_by"][0]["lift"].as_str().unwrap().starts_with("osc resume")
        );
        let event = schema::read("alter", &follower.event("order").data);
        assert_eq!(event["host"], "ann by HTTP from 127.0.0.1");
        assert!(follower.event("throttled").data.contains("peak hours"));

        tokio::time::sleep(Duration::from_secs(1)).await;
        let scrape = watched.metrics();
        let table = place.table();
        let of = [("table", table.as_str())];
        let operator = [("source", "operator"), of[0]];
        assert!((scrape.value("osc_throttled", &operator) - 1.0).abs() < 1e-9);
        assert!(scrape.value("osc_copy_rows_total", &of) > 0.0);
        assert!(scrape.value("osc_chunk_duration_seconds_count", &of) > 0.0);
        let of_verb = [("verb", "pause"), ("outcome", "accepted"), of[0]];
        assert!((scrape.value("osc_orders_total", &of_verb) - 1.0).abs() < 1e-9);
        assert!((scrape.value("osc_run_phase", &[("phase", "copy"), of[0]]) - 1.0).abs() < 1e-9);

        // What makes no sense is refused, with the reason; what others make by osc counts as well.
        let refused = watched.order(&json!({"verb": "set", "arguments": "threads=0"}));
        assert_eq!(refused.status, 409, "{refused:?}");
        assert!(refused.json()["message"].as_str().unwrap().contains("1 to 32"), "{refused:?}");
        assert_eq!(watched.order(&json!({"verb": "explode"})).status, 400);
        place.order(&["resume", "t"]);
        watched.status_where(|run| run["state"] == "running").await;
        let set = json!({"verb": "set", "arguments": "max_rows_per_second=1000000 threads=2"});
        assert_eq!(watched.order(&set).status, 200);
        run.phase("hold").await;
        let status = watched.status_where(|run| run["state"] == "holding").await;
        assert!(status["snapshot"]["held_by"][0]["what"].as_str().unwrap().contains("on hold"));
        let later = schema::read("alter", &follower.event("progress").data);
        assert!(later["rows_copied"].as_u64() > first["rows_copied"].as_u64());

        assert_eq!(watched.order(&json!({"verb": "cut-over", "why": "release 42"})).status, 200);
        let summary = run.done().await;
        assert!(place.is_changed().await);
        // Whoever follows has read the end, and the stream has ended.
        let last = schema::read("alter", &follower.event("summary").data);
        assert_eq!(last["rows"], summary["rows"], "{name}");
        while let Some(event) = follower.next() {
            assert_eq!(event.name, "progress");
        }
        // The record has who, whence and why, as of all orders.
        let recorded = place.status()["orders"].as_array().unwrap().clone();
        assert_eq!(recorded.last().unwrap()["why"], "release 42");
        assert_eq!(recorded.last().unwrap()["host"], "by HTTP from 127.0.0.1");
        assert_eq!(place.answers().await.len(), 5, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_reads_on_and_after_a_restart_reads_all() {
    for place in Place::all().await {
        let watched = Watched::new();
        let run = place.slow(&watched.flags()).await;
        let mut follower = Follower::new(watched.port, "/events", None);
        let first = follower.event("note");
        let second = follower.next().unwrap();
        assert!(!second.id.is_empty(), "{second:?}");
        assert!(first.data.contains("the live page is at http://127.0.0.1:"), "{first:?}");
        drop(follower);
        let mut again = Follower::new(watched.port, "/events", Some(&first.id));
        assert_eq!(again.next().unwrap().id, second.id);
        run.kill();
        // The same port, at once.
        let mut run = place.run(&[&watched.flags()[..], &["--hold"]].concat());
        run.phase("hold").await;
        let mut again = Follower::new(watched.port, "/events", Some(&second.id));
        assert_eq!(again.next().unwrap().name, "note", "numbers of another process mean nothing");
        again.event("resumed");
        watched.status_where(|run| run["state"] == "holding").await;
        let scrape = watched.metrics();
        let table = place.table();
        assert!((scrape.value("osc_run_resumed_total", &[("table", &table)]) - 1.0).abs() < 1e-9);
        run.terminate();
        assert_eq!(run.end().await.code, Some(3));
        let ended = schema::read("alter", &again.event("error").data);
        assert_eq!(ended["code"], "stopped", "{ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_the_servers_own_method_and_an_undo_are_watched_too() {
    for place in Place::all().await {
        place.run(&[]).done().await;
        let watched = Watched::new();
        let ledger = ["--ledger", place.ledger.as_str()];
        let arguments = [&["t", "--hold", "--yes"], &ledger[..], &watched.flags()[..]].concat();
        let mut run = Run::command(support::osc(), "revert", &place.url, &arguments);
        run.phase("hold").await;
        let status = watched.status_where(|run| run["state"] == "holding").await;
        assert_eq!((&status["kind"], &status["method"]), (&"revert".into(), &"revert".into()));
        assert!(get(watched.port, "/").body.contains("put-back"));
        assert_eq!(watched.order(&json!({"verb": "cut-over"})).status, 200);
        run.done().await;
        assert!(!place.is_changed().await);

        let watched = Watched::new();
        let instant = ["t", "ADD COLUMN other INT", "--strategy", "instant", "--hold"];
        let arguments = [&instant[..], &ledger[..], &watched.flags()[..]].concat();
        let mut run = Run::plainly(&place.url, &arguments);
        run.phase("hold").await;
        let status = watched.status_where(|run| run["state"] == "holding").await;
        assert_eq!(status["method"], "instant");
        watched.metrics();
        assert_eq!(watched.order(&json!({"verb": "cut-over"})).status, 200);
        run.done().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_after_the_change_is_shown_until_its_end() {
    for place in Place::all().await {
        let watched = Watched::new();
        let mut run = place.run(&[&watched.flags()[..], &["--watch", "5s"]].concat());
        run.phase("watch").await;
        let status = watched.status_where(|run| run["state"] == "watching").await;
        assert!(status["ended"].is_null(), "{status:#}");
        assert!(get(watched.port, "/").body.contains("watching: an undo is ready"));
        let mut follower = Follower::new(watched.port, "/events", None);
        follower.event("summary");
        assert_eq!(run.end().await.code, Some(0), "{}", place.name());
        while let Some(event) = follower.next() {
            assert_ne!(event.name, "error", "{event:?}");
        }
        assert!(place.is_changed().await);
    }
}

/// osc with these flags, which must not come to the server: how it ended and what it printed.
fn unserved(flags: &[&str]) -> (Option<i32>, String) {
    let arguments = ["alter", "t", "ADD a INT", "--url", "mysql://me@127.0.0.1:1/db"];
    let output = support::osc().args(arguments).args(flags).output().unwrap();
    (output.status.code(), streams(&output))
}

#[test]
fn an_address_or_a_token_that_cannot_be_is_an_error_before_the_run() {
    let watched = Watched::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", watched.port)).unwrap();
    let (readable, short) = (watched.path("readable"), watched.path("short"));
    fs::write(&readable, TOKEN).unwrap();
    fs::set_permissions(&readable, PermissionsExt::from_mode(0o640)).unwrap();
    fs::write(&short, "S3CRET").unwrap();
    fs::set_permissions(&short, PermissionsExt::from_mode(0o600)).unwrap();
    for (flags, says) in [
        (vec!["--listen", &watched.listen], "ddress already in use"),
        (vec!["--listen", "0.0.0.0:0"], "give --token-file"),
        (vec!["--listen", "[::]:0"], "give --token-file"),
        (vec!["--listen", "192.0.2.1:80", "--token-file", &watched.token], "cannot listen on"),
        (vec!["--listen", "0", "--token-file", &readable], "other accounts may read"),
        (vec!["--listen", "0", "--token-file", &short], "holds no token"),
        (vec!["--listen", "0", "--token-file", "/nowhere"], "does not exist"),
        (vec!["--listen", "nonsense"], "HOST:PORT"),
    ] {
        let (code, printed) = unserved(&flags);
        assert_eq!(code, Some(2), "{flags:?}: {printed}");
        assert!(printed.contains(says), "{flags:?}: {printed}");
        assert!(!printed.contains("S3CRET") && !printed.contains(TOKEN), "{printed}");
    }
    drop(taken);
}

/// What the dashboard and the alerts ask for is there.
#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_dashboard_and_of_the_alerts_exists() {
    let [place, ..] = Place::all().await;
    let watched = Watched::new();
    let run = place.slow(&watched.flags()).await;
    // What is known only while it copies, and what comes of an order.
    watched.status_where(|run| run["snapshot"]["eta_seconds"].is_u64()).await;
    let mut exist = watched.metrics().names();
    watched.order(&json!({"verb": "pause"}));
    watched.status_where(|run| run["state"] == "paused").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let scrape = watched.metrics();
    exist.extend(scrape.names());
    exist.extend(scrape.0.keys().cloned());
    let root = env!("CARGO_MANIFEST_DIR");
    for file in ["docs/observe/grafana.json", "docs/observe/alerts.yml", "docs/use/observe.md"] {
        let text = fs::read_to_string(format!("{root}/{file}")).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: BTreeSet<&str> = words.filter(|word| word.starts_with("osc_")).collect();
        // Those that a run has at its end, or where something is watched.
        let later = ["osc_cut_over_lock_seconds", "osc_replica_lag_seconds"];
        let not_metrics = ["osc_order", "osc_ledger", "osc_sample"];
        for name in named {
            assert!(
                exist.contains(name) || later.contains(&name) || not_metrics.contains(&name),
                "{file} names {name}; there are {exist:#?}"
            );
        }
    }
    let grafana = fs::read_to_string(format!("{root}/docs/observe/grafana.json")).unwrap();
    let grafana: Value = serde_json::from_str(&grafana).unwrap();
    assert!(grafana["panels"].as_array().unwrap().len() >= 6);
    run.kill();
}
