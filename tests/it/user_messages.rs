//! What a user reads and what a program gets, as texts: the events of a run on each server, and errors that are
//! no refusals of a change (those are in `every_refusal.rs`). A word that changes shows in the difference.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;

use crate::cli_run::Run;
use crate::every_refusal::without_numbers_of_the_run;
use crate::support;
use crate::support::postgres::{Major, Postgres};
use crate::support::server::Kind;
use serde_json::Value;

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, v INT UNIQUE)";
const ROWS: &str = "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)";

/// Events that come as time, load and the machine have it.
const PASSING: [&str; 4] = ["progress", "throttled", "slowed", "note"];

/// The text without the database's own name and without numbers.
fn settled(text: &str, database: &str) -> String {
    without_numbers_of_the_run(&text.replace(database, "shop"))
}

/// The same of all that is in a value; how many rows and bytes there are is in its numbers.
fn settle(value: &mut Value, database: &str) {
    match value {
        Value::Number(_) => *value = "#".into(),
        Value::String(text) => *text = settled(text, database),
        Value::Array(all) => all.iter_mut().for_each(|one| settle(one, database)),
        Value::Object(all) => all.values_mut().for_each(|one| settle(one, database)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// A run by copy to its end, a line an event.
async fn events(url: &str, database: &str, clauses: &str) -> String {
    let ended = Run::at(url, &["t", clauses, "--indexes", "after"]).end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let mut text = String::new();
    for mut event in ended.events {
        if !event["event"].as_str().is_some_and(|name| PASSING.contains(&name)) {
            settle(&mut event, database);
            let _ = writeln!(text, "{event}");
        }
    }
    text
}

async fn the_events_of_a_run(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    for sql in [TABLE, ROWS] {
        server.exec_in(&database, sql).await;
    }
    let events = events(&server.url(&database), &database, "MODIFY v BIGINT").await;
    insta::assert_snapshot!(format!("events_{}", kind.name()), events);
}

#[tokio::test]
async fn the_events_of_a_run_on_postgres() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    server.exec(&database, &format!("{TABLE}; {ROWS}; ANALYZE t")).await;
    let events = events(&server.url(&database), &database, "ALTER v TYPE bigint").await;
    insta::assert_snapshot!("events_postgres", events);
}

/// A command in an empty home: what it was, how it ended, and what it printed.
fn complaint(home: &Path, arguments: &[&str], database: &str) -> String {
    let mut osc = support::osc();
    osc.args(arguments).current_dir(home).env("HOME", home).env("USER", "me");
    let output = osc.output().unwrap();
    let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let printed = printed.replace(home.to_str().unwrap(), "HOME");
    let command = arguments.join(" ");
    let code = output.status.code().unwrap_or_else(|| panic!("{command}: {printed}"));
    let (command, printed) = (settled(&command, database), settled(printed.trim(), database));
    format!("osc {command}\n=> {code}\n{printed}\n")
}

fn complaints(all: &[&[&str]], url: &str, database: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let with_url = |arguments: &&[&str]| {
        let url: &[&str] = if arguments.contains(&"--url") { &[] } else { &["--url", url] };
        complaint(home.path(), &[arguments, url].concat(), database)
    };
    all.iter().map(with_url).collect::<Vec<_>>().join("\n")
}

const ADD: &str = "ADD COLUMN a INT";

/// What a server at this address is not, and has not.
fn complaints_about(url: &str, wrong_password: &str, database: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let (scheme, _) = url.split_once("://").unwrap();
    let unreachable = format!("{scheme}://me:secret@{closed}/d");
    let option = format!("{url}?no_such_option=1");
    let elsewhere = url.replace(database, "nowhere");
    complaints(
        &[
            &["alter", "t", ADD, "--url", &unreachable],
            &["status", "t", "--url", &option],
            &["alter", "t", ADD, "--url", wrong_password],
            &["alter", "t", ADD, "--url", &elsewhere],
            &["alter", "nope", ADD],
            &["cleanup", "nope", "--yes", "--now"],
            &["alter", "t", "ADD COLUMN"],
            &["alter", "t", "FROB a"],
            &["alter", "t", ADD, "--max-lag", "1s", "--replica", &unreachable],
            &["alter", "t", ADD, "--strategy", "copy", "--throttle-query", "SELECT nonsense"],
        ],
        url,
        database,
    )
}

async fn what_a_server_has_not(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    server.exec_in(&database, TABLE).await;
    let url = server.as_osc(&database).await;
    let wrong = url.replace("secret", "guessed");
    insta::assert_snapshot!(
        format!("errors_{}", kind.name()),
        complaints_about(&url, &wrong, &database)
    );
}

#[tokio::test]
async fn what_a_server_has_not_on_postgres() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    server.exec(&database, TABLE).await;
    let asking = Postgres::start_with_passwords(Major::SYSTEM);
    let wrong = asking.url_as("postgres:guessed", "postgres");
    insta::assert_snapshot!(
        "errors_postgres",
        complaints_about(&server.url(&database), &wrong, &database)
    );
}

on_both_servers! {
    the_events_of_a_run
    what_a_server_has_not
}

/// Before any server is asked.
#[test]
fn what_is_wrong_with_settings() {
    let mut text = String::new();
    for (name, content) in [
        ("osc.toml", ""),
        ("osc.toml", "[profiles.default\n"),
        ("osc.toml", "[profiles.default]\nurls = 'mysql://me@h/d'\n"),
        ("osc.toml", "[profiles.default]\nurl = 7\n"),
        ("osc.toml", "[profiles.default]\nurl = 'oracle://me:secret@h/d'\n"),
        (".my.cnf", "[client]\nport = many\n"),
    ] {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(name), content).unwrap();
        let _ = writeln!(text, "{name}: {content:?}");
        let _ = writeln!(text, "{}", complaint(home.path(), &["alter", "t", ADD], "shop"));
    }
    let url = "mysql://me:secret@127.0.0.1:1/d";
    text += &complaints(
        &[
            &["alter", "t", ADD, "--url", "oracle://me:secret@h/d"],
            &["alter", "t", ADD, "--url", "mysql://me:secret@h:port/d"],
            &["alter", "t", ADD, "--profile", "gone"],
            &["alter", "t", ADD, "--config", "gone.toml"],
            &["alter", "t", ADD, "--window", "25:00-26:00"],
            &["alter", "t", ADD, "--max-load", "x"],
            &["alter", "t", ADD, "--throttle-http", "ftp://h"],
            &["alter", "t"],
            &["alter", "a.b.c", ADD],
        ],
        url,
        "shop",
    );
    insta::assert_snapshot!("errors_of_settings", text);
}
