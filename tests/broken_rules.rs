//! The tests of the tests: with a rule of the design switched off (`src/broken.rs`), the test that is
//! there for it fails, and says what the rule is about.
//!
//! A part goes with every run of the tests; `scripts/broken-rules` does all, and writes
//! `docs/broken-rules.md`.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use osc::broken::Rule;

/// A rule, a test that must fail without it, and words that it must fail with.
struct Case {
    rule: &'static str,
    on: &'static str,
    program: &'static str,
    test: &'static str,
    says: &'static str,
}

/// The test programs, by name: built as this one is, and by the same cargo.
static PROGRAMS: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let features = if cfg!(feature = "bench") { "faults,bench" } else { "faults" };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--no-run", "--lib", "--tests", "--features", features]);
    cargo.args(["--quiet", "--message-format", "json"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).expect("JSON");
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    let program = |message: serde_json::Value| {
        let file = message["executable"].as_str()?.to_owned();
        let test = message["profile"]["test"].as_bool() == Some(true);
        test.then(|| (message["target"]["name"].as_str().unwrap_or_default().to_owned(), file))
    };
    messages.filter_map(program).collect()
});

/// Runs the case's test with or without its rule; `None`: it passed, else what it said.
fn run(case: &Case, broken: bool) -> Option<String> {
    let program = PROGRAMS.get(case.program).unwrap_or_else(|| panic!("no {}", case.program));
    let mut command = Command::new(program);
    command.args([case.test, "--exact", "--nocapture"]).env("RUST_BACKTRACE", "0");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("OSC_BROKEN_RULE");
    if broken {
        command.env("OSC_BROKEN_RULE", case.rule);
    }
    let output = command.output().expect("a test program can be run");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("running 1 test"), "{} has no {}: {said}", case.program, case.test);
    (!output.status.success()).then(|| said.into_owned())
}

fn check(case: &Case) {
    let rule = Rule::ALL.iter().find(|rule| rule.name() == case.rule).expect("a rule");
    let said = run(case, true);
    let Some(said) = said else {
        panic!("{}: {} passes without it", case.rule, case.test);
    };
    assert!(said.contains(case.says), "{}: not for its reason: {said}", case.rule);
    note(case, *rule);
}

/// A line of the table, where one is wanted.
fn note(case: &Case, rule: Rule) {
    let Some(folder) = std::env::var_os("OSC_BROKEN_RULES_TABLE") else { return };
    let line = format!(
        "| {} | {} | `{}`: `{}` | {} |\n",
        rule.words(),
        case.on,
        case.program,
        case.test,
        case.says
    );
    let at = Rule::ALL.iter().position(|other| *other == rule).unwrap_or_default();
    let file = format!("{at:03}-{}-{}", case.on, case.test.replace("::", "-"));
    std::fs::write(Path::new(&folder).join(file), line).expect("the folder is there");
}
