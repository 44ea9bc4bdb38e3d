//! Who hears of a run: hooks, webhooks and the outbox, by the built program on real servers.

mod receiver;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::cli_run::{Run, streams};
use crate::support;
use crate::support::postgres::Postgres;
use crate::support::server::{Kind, Server};
use receiver::{HANGS, Receiver, signature};
use tempfile::TempDir;

/// A table whose name a shell, a page and a message could stumble over.
const NAME: &str = "a'b\"<i>c";

/// A change over two lines.
const CLAUSES: &str = "ADD COLUMN added INT\nNOT NULL DEFAULT 5 /* ->relay-file:x <!channel> */";

const SECRET: &str = "c2VjcmV0IG9mIHRoaXJ0eS10d28gYnl0ZXMgbG9uZyE=";

#[derive(Clone, Copy)]
enum On {
    Mysql(&'static Server),
    Postgres(&'static Postgres),
}

/// The table in a database of its own, and a directory for all else.
struct Place {
    on: On,
    database: String,
    url: String,
    folder: TempDir,
}

impl Place {
    async fn on(kind: Kind) -> Self {
        let server = support::shared(kind);
        let database = support::database(server).await;
        let create = format!("CREATE TABLE `{NAME}` (id INT PRIMARY KEY, v INT)");
        server.exec_in(&database, &create).await;
        server.exec_in(&database, &format!("INSERT INTO `{NAME}` VALUES (1, 1), (2, 2)")).await;
        let url = server.url(&database);
        Self { on: On::Mysql(server), database, url, folder: tempfile::tempdir().unwrap() }
    }

    async fn postgres() -> Self {
        let server = support::shared_postgres();
        let database = support::postgres_database(server).await;
        let name = NAME.replace('"', "\"\"");
        server
            .exec(
                &database,
                &format!(
                    "CREATE TABLE \"{name}\" (id int PRIMARY KEY, v int); \
                     INSERT INTO \"{name}\" VALUES (1, 1), (2, 2); ANALYZE"
                ),
            )
            .await;
        let url = server.url(&database);
        Self { on: On::Postgres(server), database, url, folder: tempfile::tempdir().unwrap() }
    }

    async fn all() -> [Self; 3] {
        [Self::on(Kind::Mariadb).await, Self::on(Kind::Mysql).await, Self::postgres().await]
    }

    /// Columns of the live table that the change added.
    async fn added(&self) -> String {
        let sql = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'added'";
        match self.on {
            On::Mysql(server) => {
                let name = NAME.replace('\'', "''");
                let sql = format!(
                    "{sql} AND table_schema = '{}' AND table_name = '{name}'",
                    self.database
                );
                server.value(&sql).await
            }
            On::Postgres(server) => {
                let name = NAME.replace('\'', "''");
                server.value(&self.database, &format!("{sql} AND table_name = '{name}'")).await
            }
        }
    }

    /// The table as an argument.
    fn table(&self) -> String {
        match self.on {
            On::Mysql(_) => format!("`{NAME}`"),
            On::Postgres(_) => format!("\"{}\"", NAME.replace('"', "\"\"")),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn folder(&self, name: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn hook(&self, name: &str, script: &str) {
        let source = self.path("source");
        fs::write(&source, format!("#!/bin/sh\n{script}\n")).unwrap();
        let target = format!("{}/{name}", self.folder("hooks"));
        let installed = Command::new("install").args(["-m", "755", &source, &target]).status();
        assert!(installed.unwrap().success());
    }

    fn secret_file(&self) -> String {
        let path = self.path("secret");
        fs::write(&path, format!("whsec_{SECRET}\n")).unwrap();
        path
    }

    fn osc(&self, arguments: &[&str]) -> Output {
        support::osc().args(arguments).args(["--url", &self.url]).output().unwrap()
    }

    fn letters(&self) -> Vec<String> {
        let mut paths: Vec<_> = Path::new(&self.folder("outbox"))
            .read_dir()
            .unwrap()
            .map(|it| it.unwrap().path())
            .collect();
        // Their names have the numbers of the messages.
        paths.sort_by_key(|path| path.to_str().unwrap().rsplit('-').nth(1).map(str::to_owned));
        paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_tells_its_life_and_waits_for_its_hook() {
    for place in Place::all().await {
        let receiver = Receiver::start(204);
        let (log, go) = (place.path("log"), place.path("go"));
        for event in ["started", "hold", "done", "failed"] {
            place.hook(
                &format!("on-{event}"),
                &format!("echo \"$OSC_EVENT $OSC_TABLE\" >> {log}; cat >> {}", place.path("facts")),
            );
        }
        place.hook("before-cut-over", &format!("test -e {go} || {{ echo busy; exit 75; }}"));
        let (hooks, outbox) = (place.folder("hooks"), place.folder("outbox"));
        let secret = place.secret_file();
        let mut run = Run::at(
            &place.url,
            &[
                &place.table(),
                CLAUSES,
                "--hooks",
                &hooks,
                "--webhook",
                &receiver.url,
                "--webhook-secret-file",
                &secret,
                "--outbox",
                &outbox,
                "--backup-note",
                "Completed",
                "--undo-for",
                "24h",
            ],
        );
        run.phase("hold").await;
        run.event(|line| line["throttled"].as_str().is_some_and(|why| why.contains("busy"))).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let status = String::from_utf8(place.osc(&["status", &place.table()]).stdout).unwrap();
        assert!(
            status.contains("on hold: the hook before-cut-over says not yet: busy"),
            "{status}"
        );
        assert_eq!(place.added().await, "0");
        fs::write(&go, "").unwrap();
        let ended = run.end().await;
        assert_eq!((ended.code, place.added().await.as_str()), (Some(0), "1"), "{ended:#?}");
        for file in ["hold", "done"] {
            assert!(ended.complaints.contains(&format!("-{file}")), "{}", ended.complaints);
        }
        assert!(ended.complaints.contains("->relay-file:osc-"), "{}", ended.complaints);

        assert_eq!(receiver.events(), ["started", "hold", "done"]);
        for (number, received) in receiver.seen().iter().enumerate() {
            let message = received.message();
            assert_eq!(message["seq"], number as u64 + 1);
            assert!(message["table"].as_str().unwrap().contains("<i>c"), "{message}");
            assert_eq!(received.header("webhook-signature"), signature(SECRET, received));
        }
        let messages: Vec<_> = receiver.seen().iter().map(receiver::Received::message).collect();
        assert_eq!(
            (&messages[0]["backup"], &messages[0]["method"]),
            (&"Completed".into(), &"copy".into())
        );
        assert_eq!(messages[0]["clauses"], CLAUSES);
        assert!(
            messages[1]["reason"].as_str().unwrap().ends_with("not yet: busy"),
            "{}",
            messages[1]
        );
        assert_eq!(
            (&messages[2]["rows"], &messages[2]["validation"]),
            (&2.into(), &"passed".into())
        );

        let log = fs::read_to_string(log).unwrap();
        assert_eq!(log.lines().count(), 3, "{log}");
        let table = messages[0]["table"].as_str().unwrap();
        assert_eq!(log, format!("started {table}\nhold {table}\ndone {table}\n"));
        let facts = fs::read_to_string(place.path("facts")).unwrap();
        let events: Vec<_> = facts
            .lines()
            .map(|line| {
                support::schema::read("a message", line)["event"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(events, ["started", "hold", "done"]);

        let letters = place.letters();
        assert_eq!(letters.len(), 3, "{letters:#?}");
        let name = format!(
            "{table} ADD COLUMN added INT NOT NULL DEFAULT 5 /* ->relay-file:x <!channel> */"
        );
        assert!(letters[0].starts_with(&format!(
            "TO: Lead\n\nMIGRATION: Starting {name}\n- Records affected: ~"
        )));
        assert!(letters[0].ends_with("- Backup: Completed\n"), "{}", letters[0]);
        let lines: Vec<&str> = letters[2].lines().collect();
        assert_eq!(lines[..3], ["TO: Lead", "", &format!("DONE: {name} completed")]);
        assert_eq!(
            lines[4..],
            ["- Records migrated: 2", "- Validation: PASSED", "- Rollback window: 24h"],
            "{lines:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_stops_a_run_which_resumes_and_is_undone() {
    for place in Place::all().await {
        let table = place.table();
        let receiver = Receiver::start(200);
        let hooks = place.folder("hooks");
        let told = ["--hooks", &hooks, "--webhook", &receiver.url];
        let change =
            [&["alter", &table, CLAUSES, "--strategy", "copy", "--yes"], &told[..]].concat();
        place.hook("before-cut-over", "echo not today >&2; exit 1");
        let output = place.osc(&change);
        assert_eq!(output.status.code(), Some(3), "{}", streams(&output));
        let says = "the hook before-cut-over does not permit it (exit status: 1: not today)";
        assert!(streams(&output).contains(says), "{}", streams(&output));
        assert_eq!(place.added().await, "0");
        place.hook("before-cut-over", "exit 0");
        assert_eq!(place.osc(&change).status.code(), Some(0));
        assert_eq!(place.added().await, "1");
        // Only what an undo asks is asked.
        place.hook("before-cut-over", "exit 1");
        place.hook("before-revert", "exit 9");
        let undo = [&["revert", &table], &told[..]].concat();
        let output = place.osc(&undo);
        assert_eq!(output.status.code(), Some(3), "{}", streams(&output));
        assert_eq!(place.added().await, "1");
        place.hook("before-revert", "test \"$OSC_KIND\" = revert");
        let output = place.osc(&undo);
        assert_eq!(output.status.code(), Some(0), "{}", streams(&output));
        assert_eq!(place.added().await, "0");
        let output = place.osc(&[&["cleanup", &table, "--yes", "--now"], &told[..]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", streams(&output));
        assert_eq!(
            receiver.events(),
            [
                "started", "stopped", "resumed", "done", "started", "stopped", "resumed",
                "reverted", "cleaned"
            ]
        );
        let cleaned = receiver.seen()[8].message();
        assert!(!cleaned["dropped"].as_array().unwrap().is_empty(), "{cleaned}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_methods_ask_the_hook_too() {
    for place in Place::all().await {
        let receiver = Receiver::start(200);
        let hooks = place.folder("hooks");
        let change = [
            "alter",
            &place.table(),
            "ADD COLUMN added INT",
            "--strategy",
            "instant",
            "--hooks",
            &hooks,
            "--webhook",
            &receiver.url,
            "--webhook-events",
            "started,done",
        ];
        place.hook("before-cut-over", "exit 1");
        assert_eq!(place.osc(&change).status.code(), Some(3));
        assert_eq!(place.added().await, "0");
        let go = place.path("go");
        place.hook("before-cut-over", &format!("test -e {go} && exit; touch {go}; exit 75"));
        let output = place.osc(&change);
        assert_eq!(output.status.code(), Some(0), "{}", streams(&output));
        assert_eq!(place.added().await, "1");
        assert_eq!(receiver.events(), ["started", "started", "done"], "those that were asked for");
        assert_eq!(receiver.seen()[2].message()["validation"], "by-the-server");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_receiver_holds_a_run_up_and_what_was_not_delivered_is_named() {
    let place = Place::on(Kind::Mariadb).await;
    let (hangs, fails) = (Receiver::start(HANGS), Receiver::start(500));
    let started = Instant::now();
    let mut run = Run::at(
        &place.url,
        &[&place.table(), CLAUSES, "--webhook", &hangs.url, "--webhook", &fails.url],
    );
    run.event(|line| line["event"] == "summary").await;
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let summary = Instant::now();
    let ended = run.end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(summary.elapsed() < Duration::from_secs(13), "{:?}", summary.elapsed());
    let said = &ended.complaints;
    assert!(said.contains("2 messages were not delivered to http://127.0.0.1:"), "{said}");
    assert!(said.contains("it answers 500") && !said.contains("t0ken"), "{said}");
    assert_eq!(ended.events.last().unwrap()["event"], "summary");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_comes_back_gets_all_in_order() {
    let place = Place::postgres().await;
    let receiver = Receiver::start(503);
    let go = place.path("go");
    place.hook("before-cut-over", &format!("test -e {go} || exit 75"));
    let hooks = place.folder("hooks");
    let mut run = Run::at(
        &place.url,
        &[&place.table(), CLAUSES, "--hooks", &hooks, "--webhook", &receiver.url],
    );
    run.phase("hold").await;
    receiver.wait_for(3);
    let failed = receiver.seen().len();
    receiver.answer(204);
    fs::write(go, "").unwrap();
    let ended = run.end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let events = receiver.events();
    assert!(events[..failed].iter().all(|event| event == "started"), "{events:?}");
    let mut delivered = events[failed..].to_vec();
    delivered.dedup();
    assert_eq!(delivered, ["started", "hold", "done"]);
    assert!(ended.complaints.contains("takes messages again"), "{}", ended.complaints);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_or_in_the_environment_of_a_hook() {
    let place = Place::on(Kind::Mysql).await;
    let url = match place.on {
        On::Mysql(server) => server.as_osc(&place.database).await,
        On::Postgres(_) => unreachable!(),
    };
    let receiver = Receiver::start(500);
    let environment = place.path("environment");
    place.hook("on-started", &format!("env > {environment}"));
    let output = support::osc()
        .args([
            "alter",
            &place.table(),
            CLAUSES,
            "--strategy",
            "copy",
            "-vvv",
            "--hooks",
            &place.folder("hooks"),
        ])
        .args(["--webhook-secret-file", &place.secret_file()])
        .env("OSC_URL", &url)
        .env("OSC_WEBHOOK", format!("{} slack:{}", receiver.url, receiver.url))
        .env("OSC_LOG", "trace")
        .env("MYSQL_PWD", "t0ken")
        .env("MINE", "t0ken")
        .output()
        .unwrap();
    let printed = streams(&output);
    assert!(printed.contains("not delivered to slack:http://127.0.0.1:"), "{printed}");
    for secret in ["t0ken", SECRET] {
        assert!(!printed.contains(secret), "{printed}");
    }
    let environment = fs::read_to_string(environment).unwrap();
    assert!(environment.contains("OSC_EVENT=started"), "{environment}");
    for secret in ["t0ken", "mysql://", "http://", "MYSQL_PWD"] {
        assert!(!environment.contains(secret), "{environment}");
    }
}

/// Runs openssl in `folder`.
fn openssl(folder: &Path, arguments: &str) {
    let output =
        Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments}: {output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_trusted_as_the_machine_trusts_it() {
    let place = Place::postgres().await;
    let folder = place.folder.path();
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        folder,
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
    );
    openssl(
        folder,
        "req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr",
    );
    openssl(
        folder,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
    let receiver = Receiver::over_tls(folder);
    let asked = Receiver::over_tls(folder);
    asked.answer(200);
    let change = |trusted: Option<&str>, clauses: &str| {
        let mut command = support::osc();
        command.args(["alter", &place.table(), clauses, "--strategy", "copy", "--url", &place.url]);
        command.args(["--webhook", &receiver.url]);
        if let Some(file) = trusted {
            command.args(["--throttle-http", &asked.url]).env("SSL_CERT_FILE", file);
        }
        command.output().unwrap()
    };
    let output = change(None, "ADD COLUMN added INT");
    assert!(streams(&output).contains("UnknownIssuer"), "{}", streams(&output));
    assert!(output.status.success() && receiver.seen().is_empty());
    let output = change(Some(&place.path("ca.pem")), "DROP COLUMN added");
    assert!(output.status.success(), "{}", streams(&output));
    assert_eq!(receiver.events(), ["started", "done"]);
    assert!(!asked.seen().is_empty());
}

#[test]
fn settings_that_cannot_be_right_are_found_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("on-done"), "").unwrap();
    fs::write(path("secret"), "t0ken").unwrap();
    for (arguments, says) in [
        (["--hooks", folder.path().to_str().unwrap()], "on-done cannot be run"),
        (["--hooks", "/nowhere"], "/nowhere cannot be read"),
        (["--outbox", "/nowhere"], "is no directory"),
        (["--webhook", "ftp://h/t0ken"], "name an http:// or https:// address"),
        (["--webhook", "slack:http://h/t0ken"], "would send it in the clear"),
        (["--webhook-secret-file", &path("secret")], "does not begin with whsec_"),
        (["--webhook-events", "begun"], "throttled-long"),
    ] {
        for command in ["plan", "alter"] {
            let output = support::osc()
                .args([command, "t", "ADD COLUMN a INT", "--url", "mysql://me@127.0.0.1:1/d"])
                .args(arguments)
                .output()
                .unwrap();
            let printed = streams(&output);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {printed}");
            assert!(
                printed.contains(says) && !printed.contains("t0ken"),
                "{arguments:?}: {printed}"
            );
        }
    }
}
