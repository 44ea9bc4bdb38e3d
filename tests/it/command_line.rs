//! The program from outside: help, usage errors, exit codes, and that no password shows.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Stdio;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_empty, is_match};
use tempfile::TempDir;

/// The program in an empty home, with nothing in its environment that names a server.
fn osc(home: &TempDir) -> Command {
    let mut command = Command::cargo_bin("osc").unwrap();
    command.current_dir(home.path()).env_clear().env("HOME", home.path()).env("USER", "me");
    command
}

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(home: &TempDir, name: &str, text: &str) {
    let path = home.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).unwrap();
    std::fs::write(path, text).unwrap();
}

const COMMANDS: [&str; 11] = [
    "alter",
    "plan",
    "revert",
    "status",
    "pause",
    "resume",
    "set",
    "cut-over",
    "abort",
    "cleanup",
    "completions",
];

#[test]
fn help_is_given_for_the_program_and_each_command() {
    let home = home();
    osc(&home)
        .arg("--help")
        .assert()
        .success()
        .stdout(contains("Exit codes:").and(contains("alter")))
        .stderr(is_empty());
    for command in COMMANDS {
        osc(&home)
            .args([command, "--help"])
            .assert()
            .success()
            .stdout(contains("Examples:").and(contains(format!("Usage: osc {command}"))));
    }
}

/// Each is reviewed as a text: a flag that comes, goes or changes shows in the difference.
#[test]
fn help_is_what_the_snapshots_have() {
    let home = home();
    for command in [""].into_iter().chain(COMMANDS) {
        let arguments = command.split_whitespace().chain(["--help"]);
        let output = osc(&home).env("COLUMNS", "100").args(arguments).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        insta::assert_snapshot!(format!("help_{command}").trim_end_matches('_'), help);
    }
}

#[test]
fn the_help_of_alter_is_grouped_and_shows_no_environment() {
    let home = home();
    let mut assert = osc(&home)
        .env("OSC_URL", "mysql://u:HUNTER2@h")
        .args(["alter", "--help"])
        .assert()
        .success()
        .stdout(contains("HUNTER2").not());
    for heading in [
        "Connection:",
        "Speed:",
        "Throttle:",
        "Cut-over:",
        "Notifications:",
        "Page:",
        "Output:",
        "Exit codes:",
    ] {
        assert = assert.stdout(contains(heading));
    }
}

#[test]
fn every_flag_of_the_contract_is_there() {
    let home = home();
    let mut assert = osc(&home).args(["alter", "--help"]).assert().success();
    for flag in [
        "url",
        "threads",
        "chunk-size",
        "chunk-time",
        "max-rows-per-second",
        "max-lag",
        "replica",
        "max-load",
        "critical-load",
        "throttle-query",
        "throttle-http",
        "window",
        "control-file",
        "hold",
        "hooks",
        "webhook",
        "webhook-secret-file",
        "webhook-events",
        "outbox",
        "outbox-to",
        "outbox-announce",
        "backup-note",
        "listen",
        "token-file",
        "cut-over-timeout",
        "cut-over-attempts",
        "kill-blockers-after",
        "indexes",
        "strategy",
        "no-verify",
        "dry-run",
        "json",
        "quiet",
        "yes",
    ] {
        assert = assert.stdout(is_match(format!(r"--{flag}\b")).unwrap());
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_wrong() {
    let url = ["--url", "mysql://me@127.0.0.1/db"];
    for (args, says) in [
        (vec![], "Usage"),
        (vec!["frobnicate"], "frobnicate"),
        (vec!["alter"], "TABLE"),
        (vec!["alter", "users"], "CLAUSES are missing"),
        (vec!["alter", "users", " "], "CLAUSES are empty"),
        (vec!["alter", "users", "/* nothing */"], "CLAUSES are empty"),
        (vec!["alter", "", "ADD a INT"], "empty"),
        (vec!["alter", "a.b.c", "ADD a INT"], "TABLE or SCHEMA.TABLE"),
        (vec!["alter", "ALTER IGNORE TABLE users ADD UNIQUE (a)"], "IGNORE"),
        (vec!["alter", "users", "ADD a INT", "--frob"], "--frob"),
        (vec!["alter", "users", "ADD a INT", "--threads", "0"], "whole number, 1 to 32"),
        (vec!["alter", "users", "ADD a INT", "--threads", "999999999999"], "1 to 32"),
        (vec!["alter", "users", "ADD a INT", "--window", "25:00-26:00"], "no window"),
        (vec!["alter", "users", "ADD a INT", "--throttle-http", "ftp://h"], "http://"),
        (vec!["alter", "users", "ADD a INT", "--threads", "-1"], "-1"),
        (vec!["alter", "users", "ADD a INT", "--chunk-time", "5"], "unit"),
        (vec!["alter", "users", "ADD a INT", "--max-load", "x"], "NAME=NUMBER"),
        (vec!["alter", "users", "ADD a INT", "--strategy", "slow"], "inplace"),
        (vec!["alter", "users", "ADD a INT", "--indexes", "never"], "during"),
        (vec!["alter", "users", "ADD a INT", "--max-lag", "1s"], "--replica"),
        (vec!["alter", "users", "ADD a INT", "--replica", "http://r"], "mysql://"),
        (vec!["alter", "users", "ADD a INT", "--json", "--quiet"], "--quiet"),
        (vec!["alter", "users", "ADD a INT", "--profile", "x"], "profile"),
        (vec!["alter", "users", "ADD a INT", "--config", "gone.toml"], "gone.toml"),
        (vec!["status", "a.b.c"], "TABLE or SCHEMA.TABLE"),
        (vec!["cleanup"], "TABLE"),
        (vec!["completions", "cmd"], "bash"),
    ] {
        let home = home();
        let connects = matches!(args.first(), Some(&("alter" | "status"))) && args.len() > 1;
        osc(&home)
            .args(&args)
            .args(if connects { &url[..] } else { &[] })
            .assert()
            .code(2)
            .stdout(is_empty())
            .stderr(contains(says).and(contains("panicked").not()));
    }
}

#[test]
fn a_name_that_is_too_long_is_wrong_usage() {
    let home = home();
    osc(&home)
        .args(["alter", &"x".repeat(65), "ADD a INT", "--url", "mysql://me@127.0.0.1/db"])
        .assert()
        .code(2)
        .stderr(contains("longer than 64"));
}

#[test]
fn no_bad_url_shows_its_password() {
    for url in [
        "mysql://u:SECRET@h/db?charset=utf8",
        "mysql://u:SECRET@h/db?ssl-mode=perhaps",
        "mysql://u:SECRET@h:port/db",
        "mysql://u:SECRET#@h/db",
        "mysql://u:1/SECRET@h/db",
        "mysql://u:SECRET@/db",
        "mysql://u:SECRET@h/a/b",
        "postgres://u:SECRET@h:port/db",
        "oracle://u:SECRET@h/db",
        "u:SECRET@h/db",
        "SECRET",
    ] {
        let home = home();
        let hidden = || contains("SECRET").not().and(contains("secret").not());
        let args = ["alter", "users", "ADD a INT"];
        osc(&home).args(args).args(["--url", url]).assert().code(2).stderr(hidden());
        osc(&home).args(args).env("OSC_URL", url).assert().code(2).stderr(hidden());
        osc(&home).args(args).env("DATABASE_URL", url).assert().code(2).stderr(hidden());
        write(&home, "osc.toml", &format!("[profiles.default]\nurl = '{url}'\n"));
        osc(&home).args(args).assert().code(2).stderr(hidden());
    }
}

#[test]
fn a_url_in_the_wrong_place_does_not_show_its_password() {
    let home = home();
    let url = "mysql://u:SECRET@h/db";
    for args in [vec!["status", url], vec!["alter", "a", "b", url], vec!["cleanup", "a", url]] {
        osc(&home).args(&args).assert().code(2).stderr(contains("SECRET").not());
    }
}

#[test]
fn without_any_place_to_connect_to_all_places_are_named() {
    let home = home();
    osc(&home)
        .args(["alter", "users", "ADD a INT"])
        .assert()
        .code(2)
        .stderr(contains("--url").and(contains("OSC_URL")).and(contains(".my.cnf")));
}

#[test]
fn mistakes_in_files_are_reported_with_their_line() {
    let home = home();
    write(&home, ".my.cnf", "[client]\nport = many\n");
    osc(&home).arg("status").assert().code(2).stderr(contains(".my.cnf line 2"));
    write(&home, ".config/osc/osc.toml", "[profiles.default]\nurls = 'x'\n");
    osc(&home).arg("status").assert().code(2).stderr(contains("osc.toml line 2"));
}

#[test]
fn with_json_a_failure_is_an_event() {
    let home = home();
    let output = osc(&home).args(["status", "--json"]).assert().code(2).get_output().stdout.clone();
    let event: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(event["event"], "error");
    assert_eq!(event["exit_code"], 2);
}

#[test]
fn completions_are_printed_for_each_shell() {
    let home = home();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        osc(&home)
            .args(["completions", shell])
            .assert()
            .success()
            .stdout(contains("cut-over-attempts"))
            .stderr(is_empty());
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for args in [vec!["completions", "bash"], vec!["alter", "--help"], vec!["status", "--json"]] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_osc"));
        let mut child =
            command.args(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(
            !printed.contains("panic") && !printed.contains("internal error"),
            "{args:?}: {printed}"
        );
    }
}

#[test]
fn to_treat_a_server_as_one_of_the_other_family_is_wrong_usage() {
    let home = home();
    for (url, like, other) in [
        ("postgres://me@127.0.0.1:1/db", "mysql", "postgres"),
        ("mysql://me@127.0.0.1:1/db", "postgres", "mysql"),
    ] {
        for command in ["plan", "alter"] {
            osc(&home)
                .args([command, "t", "ADD c int", "--url", url, "--treat-as", like])
                .assert()
                .code(2)
                .stderr(
                    contains(format!("--treat-as {like} has no meaning here"))
                        .and(contains(format!("give --treat-as {other}"))),
                );
        }
    }
}
