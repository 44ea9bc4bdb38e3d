//! One list of checks serves `osc plan` and `osc alter`: every code of a refusal in the source has a case
//! here, in which both are run and end alike.

mod cases;

use crate::support;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;

use crate::refusal::Place;
use crate::support::postgres::{Major, Postgres};
use crate::support::server::Kind;
use cases::{CASES, COPY, Case, ELSEWHERE, LATER, On, SCRIPTED};
use serde_json::Value;

/// What stands in the source: `Finding::new("code", …)`, `refuse("code", …)`, `refused(name, "code", …)`, and the
/// tuples of the two files that list many.
fn codes() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            if !name.ends_with(".rs") || name.ends_with("tests.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            let listing =
                ["mysql/clauses/refuse.rs", "postgres/dependents/obstacles.rs"].contains(&&*name);
            for code in codes_of(text, listing) {
                found.entry(code).or_default().insert(name.clone());
            }
        }
    }
    found
}

fn codes_of(text: &str, listing: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('"') {
        let rest = &text[at + 1..];
        let Some(end) = rest.find('"') else { continue };
        let code = &rest[..end];
        let plain = |c: char| c.is_ascii_lowercase() || c == '-';
        if code.is_empty() || !code.chars().all(plain) || !rest[end + 1..].starts_with(',') {
            continue;
        }
        let before = text[..at].trim_end();
        let before = before.strip_suffix("name,").unwrap_or(before).trim_end();
        let Some(call) = before.strip_suffix('(') else { continue };
        let calls = ["Finding::new", "refuse", "refused"];
        if calls.iter().any(|name| call.ends_with(name)) || listing && !call.ends_with("text") {
            found.push(code.to_owned());
        }
    }
    found
}

#[test]
fn every_code_of_a_refusal_has_a_case() {
    let codes = codes();
    assert!(codes.len() > 80, "the source is not read as it is written: {codes:#?}");
    let mut cases: BTreeSet<&str> = CASES.iter().map(|case| case.0).collect();
    cases.extend(ELSEWHERE.iter().map(|case| case.0));
    cases.extend(SCRIPTED.iter().map(|case| case.0));
    cases.extend(LATER.iter().map(|case| case.0));
    let missing: Vec<_> = codes.iter().filter(|(code, _)| !cases.contains(&***code)).collect();
    assert!(missing.is_empty(), "no case provokes {missing:#?}");
    let gone: Vec<_> = cases.iter().filter(|code| !codes.contains_key(**code)).collect();
    assert!(gone.is_empty(), "nothing in the source is called {gone:?}");
    for (code, file, test) in ELSEWHERE {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(text.contains("fn ") && text.contains(test), "{code}: {file} has no {test}");
    }
}

/// The exit code and the codes of the refusals in the last line.
fn ending(output: &Output) -> (Option<i32>, BTreeSet<String>, String) {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    let last: Value =
        printed.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let codes = last["refusals"].as_array().into_iter().flatten();
    let codes = codes.filter_map(|one| one["code"].as_str().map(str::to_owned)).collect();
    (output.status.code(), codes, format!("{printed}{complaints}"))
}

/// What a user reads of a refusal, without what differs from run to run.
fn shown(code: &str, printed: &str, database: &str) -> String {
    let last = printed.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let refusals = last.as_ref().and_then(|last| last["refusals"].as_array()).cloned();
    let of = |one: &Value| one["code"] == code;
    let Some(one) = refusals.into_iter().flatten().find(of) else { return String::new() };
    let text = |key: &str| one[key].as_str().unwrap_or_default().replace(database, "shop");
    let text = |key: &str| without_numbers_of_the_run(&text(key));
    format!("[{code}] {}\n  help: {}", text("message"), text("help"))
}

/// Ports, versions and numbers of sessions, tables and runs are other ones each time.
pub(crate) fn without_numbers_of_the_run(text: &str) -> String {
    let mut settled = String::new();
    let mut digits = 0;
    for c in text.chars() {
        match (c.is_ascii_digit(), digits) {
            (true, _) => digits += 1,
            (false, 0) => settled.push(c),
            (false, _) => {
                settled.push_str(&format!("#{c}"));
                digits = 0;
            }
        }
    }
    if digits > 0 {
        settled.push('#');
    }
    settled
}

/// Plan and alter end alike, refused by `code`; returns what is wrong.
fn compared(
    url: &str,
    (code, on, setup, table, clauses, flags): &Case,
    texts: &mut Vec<String>,
) -> Option<String> {
    let run = |command: &str| {
        let output = support::osc()
            .args([command, table, clauses, "--yes", "--json", "--url", url])
            .args(*flags)
            .output()
            .unwrap();
        ending(&output)
    };
    let (plan, alter) = (run("plan"), run("alter"));
    let database = url.rsplit('/').next().and_then(|path| path.split('?').next());
    let shown = shown(code, &plan.2, database.unwrap_or("no database"));
    texts.push(format!("{clauses}\n  {shown}\n"));
    let right =
        plan.0 == Some(4) && plan.1.contains(*code) && (plan.0, &plan.1) == (alter.0, &alter.1);
    (!right).then(|| {
        format!(
            "{code} on {on:?}, {setup:?}, {table} {clauses} {flags:?}\n  plan  {:?} {:?}\n  alter {:?} {:?}\n  {}\n  {}",
            plan.0, plan.1, alter.0, alter.1, plan.2.trim(), alter.2.trim()
        )
    })
}

async fn plan_and_alter_refuse_alike(kind: Kind) {
    let server = support::shared(kind);
    let (mut wrong, mut texts) = (Vec::new(), Vec::new());
    for case in CASES {
        let here = match case.1 {
            On::Both => true,
            On::Mysql => kind == Kind::Mysql,
            On::Mariadb => kind == Kind::Mariadb,
            On::Postgres => false,
        };
        if !here {
            continue;
        }
        let place = Place::new(server).await;
        for statement in case.2.split("; ").filter(|statement| !statement.is_empty()) {
            place.run(statement).await;
        }
        let before = place.everything().await;
        wrong.extend(compared(&place.url, case, &mut texts));
        if place.everything().await != before {
            wrong.push(format!("{}: something was changed", case.0));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    insta::assert_snapshot!(format!("refusals_{}", kind.name()), texts.join("\n"));
}

async fn children_that_the_account_may_not_see_are_refused_alike(kind: Kind) {
    let mut place = Place::new(support::shared(kind)).await;
    let (database, hidden) = (place.database.clone(), support::database(place.server).await);
    let user = format!("'{database}'@'%'");
    for sql in [
        format!(
            "CREATE TABLE {hidden}.child (x INT, FOREIGN KEY (x) REFERENCES {database}.t (id))"
        ),
        format!("CREATE USER {user} IDENTIFIED BY 'secret'"),
        format!("GRANT ALL ON {database}.* TO {user}"),
        format!("GRANT ALL ON osc.* TO {user}"),
        format!("GRANT PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {user}"),
    ] {
        place.run(&sql).await;
    }
    place.url = format!("mysql://{database}:secret@127.0.0.1:{}/{database}", place.server.port());
    let case = ("hidden-children", On::Both, "", "t", "ADD c INT", COPY);
    let wrong = compared(&place.url, &case, &mut Vec::new());
    assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
}

on_both_servers! {
    plan_and_alter_refuse_alike
    children_that_the_account_may_not_see_are_refused_alike
}

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, a int, b text); \
                     INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y'), (3, 3, 'z')";

#[tokio::test(flavor = "multi_thread")]
async fn plan_and_alter_refuse_alike_on_postgres() {
    let server = support::shared_postgres();
    let (mut wrong, mut texts) = (Vec::new(), Vec::new());
    for (number, case) in CASES.iter().enumerate().filter(|(_, case)| case.1 == On::Postgres) {
        let database = support::postgres_database(server).await;
        server.exec(&database, TABLE).await;
        if !case.2.is_empty() {
            // Roles are the server's, not the database's.
            let setup = case.2.replace("OWNER", &format!("every_refusal_{number}"));
            server.exec(&database, &setup).await;
        }
        wrong.extend(compared(&server.url(&database), case, &mut texts));
        let left = "SELECT string_agg(relname, ' ') FROM pg_class WHERE relname LIKE 't\\_osc%' \
                    AND relname <> 't_osc_new'";
        let left = server.rows(&database, left).await;
        if left != [["NULL"]] && left != [[""]] {
            wrong.push(format!("{}: {left:?} is left", case.0));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    insta::assert_snapshot!("refusals_postgres", texts.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_server_of_the_run_is_refused_alike() {
    let primary = Postgres::start(Major::SYSTEM);
    let database = support::postgres_database(&primary).await;
    primary.exec(&database, TABLE).await;
    primary
        .exec(
            &database,
            "CREATE ROLE boss LOGIN; GRANT CREATE ON SCHEMA public TO boss; ALTER TABLE t OWNER TO boss; \
             ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        )
        .await;
    let grant = format!("GRANT CREATE ON DATABASE {database} TO boss");
    primary.exec(&database, &grant).await;
    let standby = primary.standby().await;
    let mut wrong = Vec::new();
    for (code, url) in [
        ("database", primary.url("nowhere")),
        ("standby", standby.url(&database)),
        ("row-security", primary.url_as("boss", &database)),
    ] {
        let case = (code, On::Postgres, "", "t", "ALTER a TYPE bigint", COPY);
        wrong.extend(compared(&url, &case, &mut Vec::new()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
