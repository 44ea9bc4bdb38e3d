//! What people and programs see of the built program: exit codes, JSON by its schemas, states, and what
//! it does when no terminal is there to show it.

use crate::support;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use crate::cli_run::Run;
use crate::support::server::{Kind, Server};
use crate::support::{postgres_database, schema, shared, shared_postgres};
use serde_json::{Value, json};

/// A server of any kind and a database with a table `t` of 20,000 rows in it.
async fn places() -> Vec<(String, String)> {
    let mut places = Vec::new();
    for kind in Kind::ALL {
        let server = shared(kind);
        let database = support::database(server).await;
        fill(server, &database).await;
        places.push((format!("{kind:?}"), server.url(&database)));
    }
    let server = shared_postgres();
    let database = postgres_database(server).await;
    let fill = "CREATE TABLE t (id int PRIMARY KEY, v text); \
                INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 20000) i; ANALYZE t";
    server.exec(&database, fill).await;
    places.push(("PostgreSQL".into(), server.url(&database)));
    places
}

async fn fill(server: &Server, database: &str) {
    server.exec_in(database, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))").await;
    let digits = "(SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 \
                  UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    let sql = format!(
        "INSERT INTO t SELECT n, CONCAT('v', n) FROM (SELECT a.d + 10*b.d + 100*c.d + 1000*e.d + \
         10000*f.d AS n FROM {digits} a, {digits} b, {digits} c, {digits} e, {digits} f) x WHERE n < 20000"
    );
    server.exec_in(database, &sql).await;
}

/// Runs a command to its end.
fn osc(url: &str, arguments: &[&str]) -> Output {
    support::osc().args(arguments).args(["--url", url]).output().unwrap()
}

fn lines(command: &str, output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| schema::read(command, line)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_as_its_schema_says_on_every_server() {
    for (name, url) in places().await {
        let plan = osc(&url, &["plan", "t", "ADD COLUMN a INT", "--json", "--strategy", "copy"]);
        let plan = lines("plan", &plan);
        assert_eq!(plan[0]["methods"][0]["method"], "copy", "{name}");
        let refused = osc(&url, &["alter", "nope", "ADD COLUMN a INT", "--json"]);
        assert_eq!(refused.status.code(), Some(4), "{name}");
        let error = lines("alter", &refused).pop().unwrap();
        assert_eq!(error["code"], "refused", "{name}");
        assert!(error["refusals"][0]["message"].as_str().unwrap().contains("nope"), "{error}");
        assert!(error["table"].as_str().unwrap().ends_with("nope"), "{error}");

        let done = osc(&url, &["alter", "t", "ADD COLUMN a INT", "--strategy", "copy", "--json"]);
        let events = lines("alter", &done);
        let summary = events.last().unwrap();
        assert_eq!(summary["event"], "summary", "{name}: {events:#?}");
        assert!(summary["chunk_ms"]["p50"].as_f64().is_some(), "{summary}");
        assert!(summary["run"].as_i64().is_some(), "{summary}");
        assert!(summary["table"].as_str().unwrap().ends_with(".t"), "{summary}");
        let status = lines("status", &osc(&url, &["status", "t", "--json"]));
        assert_eq!(status[0]["state"], "done", "{status:#?}");
        assert_eq!(status[0]["run"], summary["run"]);
        let native = osc(&url, &["alter", "t", "ADD COLUMN b INT", "--json", "--yes"]);
        let native = lines("alter", &native);
        assert!(native.iter().any(|line| line["event"] == "method"), "{native:#?}");
        let cleanup = lines("cleanup", &osc(&url, &["cleanup", "t", "--yes", "--now", "--json"]));
        assert_eq!(cleanup[0]["dropped"].as_array().unwrap().len(), 1, "{name}: {cleanup:?}");
    }
}

#[test]
fn a_line_that_is_not_as_its_schema_says_is_found() {
    let good = json!({"time": "2026-01-01T00:00:00.000Z", "event": "resumed", "rows": 7,
                      "server": "h:1", "table": "a.t", "run": 1});
    assert_eq!(schema::problem("alter", &good), None);
    for (key, value) in [
        ("rows", json!([7, 8])),
        ("run", json!("one")),
        ("event", json!("gives-way")),
        ("extra", json!(1)),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        assert!(schema::problem("alter", &bad).is_some(), "{bad}");
    }
    for key in ["run", "table", "server", "time", "rows"] {
        let mut bad = good.clone();
        bad.as_object_mut().unwrap().remove(key);
        assert!(schema::problem("alter", &bad).is_some(), "without {key}");
    }
}

/// A port at which no program listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A port at which something answers that is no database, and says this to everybody.
fn port_that_says(text: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut line in listener.incoming().flatten() {
            let _ = line.write_all(text);
            let _ = line.read(&mut [0; 64]);
        }
    });
    port
}

#[test]
fn a_server_that_cannot_be_reached_is_exit_code_2_with_host_and_port() {
    let closed = closed_port();
    let ssh = port_that_says(b"SSH-2.0-OpenSSH_9.6 some more text so that it is longer\r\n");
    for scheme in ["mysql", "postgres"] {
        for command in [
            vec!["alter", "t", "ADD COLUMN a INT"],
            vec!["plan", "t", "ADD COLUMN a INT"],
            vec!["status", "t"],
            vec!["cleanup", "t", "--yes", "--now"],
        ] {
            for (place, says) in [
                (format!("127.0.0.1:{closed}"), "connection refused"),
                (format!("127.0.0.1:{ssh}"), ""),
                ("no-such-host.invalid:1".into(), ""),
            ] {
                let url = format!("{scheme}://me@{place}/d?ssl-mode=disabled");
                let output = osc(&url, &command);
                let printed = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(2), "{url} {command:?}: {printed}");
                assert!(
                    printed.contains(&format!("cannot connect to {place}: {says}")),
                    "{printed}"
                );
                assert!(!printed.contains("resume") && !printed.contains("internal"), "{printed}");
            }
        }
        let url = format!("{scheme}://me:pw@127.0.0.1:{closed}/d");
        let output = osc(&url, &["status", "t", "--json"]);
        let error = lines("status", &output).pop().unwrap();
        assert_eq!((&error["code"], &error["exit_code"]), (&"unreachable".into(), &2.into()));
        assert_eq!(error["server"], format!("127.0.0.1:{closed}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_tls_that_was_asked_for_is_exit_code_2() {
    let server = support::postgres::Postgres::start(support::postgres::Major::SYSTEM);
    let url = format!("{}?sslmode=require", server.url("postgres").split('?').next().unwrap());
    if url.contains("127.0.0.1") || url.contains("localhost") {
        let output = osc(&url, &["status"]);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(printed.contains("does not offer TLS"), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defect_in_the_copy_is_exit_code_1_and_one_in_a_source_pauses() {
    let server = shared(Kind::Mysql);
    let database = support::database(server).await;
    fill(server, &database).await;
    let url = server.url(&database);
    let arguments = ["alter", "t", "ADD COLUMN a INT", "--strategy", "copy", "--json"];
    let output = support::osc()
        .args(arguments)
        .args(["--url", &url])
        .env("OSC_FAULT", "chunk.copied=panic")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(lines("alter", &output).last().unwrap()["code"], "internal");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(printed.matches("please report this").count(), 2, "{printed}");

    let mut child = support::osc()
        .args(arguments)
        .args(["--url", &url, "--max-load", "Threads_running=100000"])
        .env("OSC_FAULT", "throttle.source=panic")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut text = String::new();
    let stdout = child.stdout.take().unwrap();
    for line in std::io::BufRead::lines(std::io::BufReader::new(stdout)) {
        let line = line.unwrap();
        text.push_str(&line);
        let line = schema::read("alter", &line);
        if line["throttled"].as_str().is_some_and(|why| why.contains("has stopped")) {
            support::process::signal(&child, rustix::process::Signal::TERM);
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(3), "{text}");
}

/// The first line of `osc status --json`.
fn status(url: &str) -> Value {
    lines("status", &osc(url, &["status", "t", "--json"])).swap_remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_paused_holding_and_at_once_when_a_run_is_not_running() {
    let folder = tempfile::tempdir().unwrap();
    for (name, url) in places().await {
        let file = folder.path().join(&name);
        let path = file.to_str().unwrap();
        std::fs::write(&file, "").unwrap();
        let mut run = Run::at(&url, &["t", "ADD COLUMN a INT", "--control-file", path, "--hold"]);
        run.event(|event| event["event"] == "throttled" && event["reason"].is_string()).await;
        // The second checkpoint after that has it.
        let begun = Instant::now();
        let paused = loop {
            let status = status(&url);
            if status["state"] == "paused" || begun.elapsed() > Duration::from_secs(20) {
                break status;
            }
        };
        assert_eq!(paused["state"], "paused", "{name}: {paused}");
        assert!(paused["reason"].as_str().unwrap().contains("is empty"), "{name}: {paused}");
        run.kill();
        // The server may take a moment to see that the connection has gone; no timer of osc's counts.
        let begun = Instant::now();
        let dead = loop {
            let status = status(&url);
            if status["state"] == "not-running" || begun.elapsed() > Duration::from_secs(5) {
                break status;
            }
        };
        assert_eq!(dead["state"], "not-running", "{name}: {dead}");
        let printed = String::from_utf8(osc(&url, &["status", "t"]).stdout).unwrap();
        assert!(printed.contains("not running (last seen"), "{name}: {printed}");

        std::fs::write(&file, "cut_over = \"hold\"\n").unwrap();
        let mut run = Run::at(&url, &["t", "ADD COLUMN a INT", "--control-file", path, "--hold"]);
        run.phase("hold").await;
        let begun = Instant::now();
        while status(&url)["state"] != "holding" && begun.elapsed() < Duration::from_secs(20) {}
        assert_eq!(status(&url)["state"], "holding", "{name}");
        std::fs::write(&file, "abort = true\n").unwrap();
        assert_eq!(run.end().await.code, Some(3), "{name}");
        assert_eq!(status(&url)["state"], "stopped", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_down_is_a_lost_connection_and_nothing_else() {
    let mut server = Server::start(Kind::Mariadb);
    let database = support::database(&server).await;
    fill(&server, &database).await;
    let mut run =
        Run::start(&server, &database, &["t", "ADD COLUMN a INT", "--max-rows-per-second", "2000"]);
    run.event(|event| event["rows_copied"].as_u64().is_some_and(|rows| rows > 0)).await;
    server.kill();
    let lost = run.event(|event| event["connection_lost_seconds"].as_f64().is_some()).await;
    for unknown in ["eta_seconds", "stream_lag_ms", "replica_lag_ms", "rows_per_second"] {
        assert!(lost[unknown].is_null(), "{unknown}: {lost}");
    }
    server.kill_and_restart();
    run.event(|event| event["event"] == "reconnected").await;
    let ended = run.end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.tells("connection-lost", ""), "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_one_to_see_it_ends_no_run_but_an_answer_that_cannot_be_written_is_a_failure() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    for (name, url) in places().await {
        let alter = |more: &[&str], out: File, err: File| {
            support::osc()
                .args(["alter", "t", "--strategy", "copy", "--url", &url, "--yes"])
                .args(more)
                .stdout(out)
                .stderr(err)
                .status()
                .unwrap()
                .code()
        };
        assert_eq!(alter(&["ADD COLUMN a INT", "-vvv"], full(), full()), Some(0), "{name}");
        assert!(osc(&url, &["cleanup", "t", "--yes", "--now"]).status.success(), "{name}");
        assert_eq!(alter(&["ADD COLUMN b INT", "--json"], full(), full()), Some(0), "{name}");
        for command in [
            &["status", "t"][..],
            &["status", "t", "--json"],
            &["plan", "t", "ADD COLUMN c INT"],
            &["plan", "t", "ADD COLUMN c INT", "--json"],
            &["cleanup", "t", "--yes", "--now"],
        ] {
            let output =
                support::osc().args(command).args(["--url", &url]).stdout(full()).output().unwrap();
            let printed = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{name} {command:?}: {printed}");
            assert!(printed.contains("cannot write to standard output"), "{printed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_goes_ends_a_run_resumably() {
    let server = shared(Kind::Mariadb);
    let database = support::database(server).await;
    fill(server, &database).await;
    let url = server.url(&database);
    let (run, point) = Run::until(&url, &["t", "ADD COLUMN a INT"], "chunk.copied").await;
    run.signal(rustix::process::Signal::HUP);
    drop(point);
    assert_eq!(run.end().await.code, Some(3));
}

#[test]
fn files_of_others_and_files_that_are_none_are_refused() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("osc.toml");
    let text =
        "[profiles.default]\nurl = 'mysql://me@127.0.0.1:1/d'\npassword_command = 'touch hit'\n";
    std::fs::write(&file, text).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = support::osc();
        command.args(["status"]).args(arguments).current_dir(home.path()).env("HOME", home.path());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // Only root can give a file away; elsewhere the same door is tried by a file that all may write to.
    let mut attacks: Vec<(&str, &str)> = vec![("everybody", "everybody may write to it")];
    if rustix::process::geteuid().is_root() {
        attacks.push(("another", "belongs to user 65534"));
    }
    for (attack, says) in attacks {
        match attack {
            "another" => {
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
                chown(&file, Some(65534), None).unwrap();
            }
            _ => {
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
            }
        }
        let (code, printed) = run(&[]);
        assert_eq!(code, Some(2), "{printed}");
        assert!(printed.contains(says) && printed.contains(file.to_str().unwrap()), "{printed}");
        assert!(!home.path().join("hit").exists(), "its command was run");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let (code, printed) = run(&[]);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("not a regular file"), "{printed}");
}
