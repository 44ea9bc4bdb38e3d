//! The copy takes what a server has to spare, and gives way when others feel it; on real servers.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use osc::config::target::{Address, Scheme, Target, Tls, TlsMode};
use osc::postgres::connection::connect::Options;
use osc::throttle::activity::ActivityProbe;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::cli_run::{Ended, Run};
use crate::support::postgres::{Major, Postgres};
use crate::support::server::{Kind, Server};

const ROWS: u32 = 20_000;
/// What the control file says: the copy lasts long enough, and comes to its end.
const SLOW: &str = "max_rows_per_second = 100\n";
const FAST: &str = "max_rows_per_second = 1000000\n";

const FULL: f64 = 4.0;
const LEAST: f64 = 0.25;

/// So many sessions wait for a row that one holds.
const WAITING: usize = 60;

/// A server of any kind, with the table `t` to be changed and another.
enum Any {
    Mysql(Server),
    Postgres(Postgres),
}

const DATABASE: &str = "shop";

/// A session of the application; a statement of it that fails ends the test.
enum Session {
    Mysql(mysql_async::Conn),
    Postgres(tokio_postgres::Client),
}

impl Session {
    async fn run(&mut self, sql: &str) {
        match self {
            Self::Mysql(conn) => conn.query_drop(sql).await.unwrap(),
            Self::Postgres(client) => client.batch_execute(sql).await.unwrap(),
        }
    }
}

impl Any {
    async fn mysql(kind: Kind) -> Self {
        Self::mysql_with(kind, &[]).await
    }

    async fn mysql_with(kind: Kind, options: &[&str]) -> Self {
        let server = Server::start_with(kind, options);
        server.exec(&format!("CREATE DATABASE {DATABASE}")).await;
        let any = Self::Mysql(server);
        let mut session = any.session().await;
        session.run("CREATE TABLE t (id INT PRIMARY KEY, n INT, v VARCHAR(100))").await;
        session.run("CREATE TABLE other (id INT PRIMARY KEY, n INT)").await;
        let depth = match kind {
            Kind::Mysql => "cte_max_recursion_depth",
            Kind::Mariadb => "max_recursive_iterations",
        };
        session.run(&format!("SET SESSION {depth} = {ROWS}")).await;
        session
            .run(&format!(
                "INSERT INTO t WITH RECURSIVE s AS (SELECT 1 AS i UNION ALL \
                 SELECT i + 1 FROM s WHERE i < {ROWS}) SELECT i, i, REPEAT('v', 90) FROM s"
            ))
            .await;
        session.run("INSERT INTO other VALUES (1, 0), (2, 0)").await;
        any
    }

    async fn postgres() -> Self {
        // commit_delay delays nothing without it.
        Self::postgres_with(&[("fsync", "on")]).await
    }

    async fn postgres_with(settings: &[(&str, &str)]) -> Self {
        let any = Self::Postgres(Postgres::start_with(Major::SYSTEM, settings));
        any.server().exec("postgres", &format!("CREATE DATABASE {DATABASE}")).await;
        let mut session = any.session().await;
        session
            .run(&format!(
                "CREATE TABLE t (id int PRIMARY KEY, n int, v text); \
                 INSERT INTO t SELECT i, i, repeat('v', 90) FROM generate_series(1, {ROWS}) AS i; \
                 CREATE TABLE other (id int PRIMARY KEY, n int); \
                 INSERT INTO other VALUES (1, 0), (2, 0); ANALYZE t"
            ))
            .await;
        any
    }

    fn server(&self) -> &Postgres {
        match self {
            Self::Postgres(server) => server,
            Self::Mysql(_) => unreachable!(),
        }
    }

    fn start(&self, arguments: &[&str]) -> Run {
        let (url, clauses) = match self {
            Self::Mysql(server) => (server.url(DATABASE), "MODIFY n BIGINT"),
            Self::Postgres(server) => (server.url(DATABASE), "ALTER n TYPE bigint"),
        };
        Run::at(&url, &[&["t", clauses], arguments].concat())
    }

    async fn session(&self) -> Session {
        match self {
            Self::Mysql(server) => Session::Mysql(server.conn_db(DATABASE).await),
            Self::Postgres(server) => Session::Postgres(server.client(DATABASE).await),
        }
    }

    /// Makes each commit take a twentieth of a second longer, or no longer.
    async fn slow_commits(&self, slow: bool) {
        match self {
            Self::Postgres(server) => {
                server.set("commit_siblings", Some("0")).await;
                server.set("commit_delay", slow.then_some("50000")).await;
            }
            Self::Mysql(server) => {
                let micros = if slow { 50_000 } else { 0 };
                let settings = match server.kind() {
                    Kind::Mysql => vec![format!("binlog_group_commit_sync_delay = {micros}")],
                    Kind::Mariadb => vec![
                        format!("binlog_commit_wait_count = {}", if slow { 100 } else { 0 }),
                        format!("binlog_commit_wait_usec = {micros}"),
                    ],
                };
                for setting in settings {
                    server.exec(&format!("SET GLOBAL {setting}")).await;
                }
            }
        }
    }

    /// Holds a row that many sessions want.
    async fn lock_pileup(&self) -> (Session, Vec<JoinHandle<()>>) {
        let mut holder = self.session().await;
        holder.run("BEGIN").await;
        holder.run("UPDATE other SET n = n + 1 WHERE id = 1").await;
        let mut waiting = Vec::new();
        for _ in 0..WAITING {
            let mut session = self.session().await;
            waiting.push(tokio::spawn(async move {
                session.run("UPDATE other SET n = n + 1 WHERE id = 1").await;
            }));
        }
        (holder, waiting)
    }

    /// Somebody who writes some megabytes into the log, over and over.
    async fn bulk_writer(&self) -> JoinHandle<()> {
        let mut session = self.session().await;
        let (create, fill, write) = match self {
            Self::Mysql(_) => (
                "CREATE TABLE bulk (id INT PRIMARY KEY, v VARCHAR(4000))",
                "INSERT INTO bulk SELECT id, '' FROM t WHERE id <= 500",
                "UPDATE bulk SET v = REPEAT(CHAR(97 + FLOOR(26 * RAND())), 4000)",
            ),
            Self::Postgres(_) => (
                "CREATE TABLE bulk (id int PRIMARY KEY, v text); \
                 ALTER TABLE bulk ALTER v SET STORAGE PLAIN",
                "INSERT INTO bulk SELECT id, '' FROM t WHERE id <= 500",
                "UPDATE bulk SET v = repeat(md5(random()::text), 120)",
            ),
        };
        session.run(create).await;
        session.run(fill).await;
        tokio::spawn(async move {
            loop {
                session.run(write).await;
            }
        })
    }

    /// Somebody who writes a little.
    async fn writer(&self) -> JoinHandle<()> {
        let mut session = self.session().await;
        tokio::spawn(async move {
            loop {
                session.run("UPDATE other SET n = n + 1 WHERE id = 2").await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    }
}

/// A control file.
struct Control(PathBuf);

impl Control {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("feedback-{}-{name}", std::process::id());
        let control = Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name));
        control.write(text);
        control
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }

    fn arguments(&self) -> [&str; 4] {
        let path = self.0.to_str().unwrap();
        ["--control-file", path, "--chunk-size", "50"]
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn width(event: &Value) -> Option<f64> {
    event["parallel_chunks"].as_f64()
}

fn is_full(event: &Value) -> bool {
    width(event).is_some_and(|width| width >= FULL)
}

async fn until_width(run: &mut Run, wanted: impl Fn(f64) -> bool) -> Value {
    run.event(|event| width(event).is_some_and(&wanted)).await
}

fn widths(ended: &Ended) -> Vec<f64> {
    ended.events.iter().filter_map(width).collect()
}

/// Full speed makes osc's own commits slow, but no other session feels it.
async fn where_nobody_else_works_the_copy_is_never_narrowed(any: Any) {
    let control = Control::new("alone", "cut_over = \"hold\"\n");
    let mut run = any.start(&control.arguments());
    run.phase("hold").await;
    // Idle sessions do no work.
    let _idle = any.session().await;
    for _ in 0..3 {
        until_width(&mut run, |_| true).await;
    }
    control.write("cut_over = \"now\"\n");
    let ended = run.end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let widths = widths(&ended);
    assert!(widths.len() >= 3 && widths.iter().all(|width| *width >= FULL), "{widths:?}");
    assert!(!ended.tells("slowed", ""), "{:#?}", ended.events);
}

async fn statements_that_pile_up_narrow_the_copy_until_they_are_through(any: Any) {
    let control = Control::new("jam", SLOW);
    let mut run = any.start(&control.arguments());
    run.event(is_full).await;
    let (mut holder, waiting) = any.lock_pileup().await;
    let reported = run.event(|event| event["event"] == "slowed").await;
    let reason = reported["reason"].as_str().unwrap();
    assert!(reason.contains("statements under way"), "{reason}");
    let narrow = until_width(&mut run, |width| width <= 1.0).await;
    assert!(narrow["slowed"].as_str().unwrap().contains("statements under way"), "{narrow}");
    // It is never stopped.
    let more = |event: &Value| event["rows_copied"].as_u64() > narrow["rows_copied"].as_u64();
    run.event(more).await;
    holder.run("ROLLBACK").await;
    for session in waiting {
        session.await.unwrap();
    }
    run.event(is_full).await;
    run.event(|event| event["event"] == "slowed" && event["reason"].is_null()).await;
    control.write(FAST);
    run.done().await;
}

async fn commits_that_become_slow_narrow_the_copy_until_they_are_quick_again(any: Any) {
    let control = Control::new("commits", SLOW);
    let writer = any.writer().await;
    let mut run = any.start(&control.arguments());
    run.event(is_full).await;
    any.slow_commits(true).await;
    let narrow = until_width(&mut run, |width| width <= 1.0).await;
    let reason = narrow["slowed"].as_str().unwrap();
    assert!(reason.starts_with("commits take"), "{narrow}");
    any.slow_commits(false).await;
    run.event(is_full).await;
    control.write(FAST);
    run.done().await;
    assert!(!writer.is_finished());
    writer.abort();
}

/// `any` keeps little log and does not hurry to flush; `says` is what the operator reads.
async fn a_log_that_fills_up_narrows_the_copy(any: Any, says: &str) {
    let control = Control::new("log", SLOW);
    let mut run = any.start(&control.arguments());
    run.event(is_full).await;
    let writer = any.bulk_writer().await;
    let gives_way = |event: &Value| event["slowed"].as_str().is_some_and(|it| it.contains(says));
    let narrow = run.event(gives_way).await;
    assert!(width(&narrow).unwrap() < FULL, "{narrow}");
    assert!(!writer.is_finished());
    writer.abort();
    run.event(is_full).await;
    control.write(FAST);
    run.done().await;
}

const LAZY_FLUSHING: [&str; 3] = [
    "--innodb-adaptive-flushing=OFF",
    "--innodb-max-dirty-pages-pct=99",
    "--innodb-max-dirty-pages-pct-lwm=0",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redo_log_that_fills_up_narrows_the_copy_on_mysql() {
    let options = [&LAZY_FLUSHING[..], &["--innodb-redo-log-capacity=8M"]].concat();
    let any = Any::mysql_with(Kind::Mysql, &options).await;
    a_log_that_fills_up_narrows_the_copy(any, "the redo log is at").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redo_log_that_fills_up_narrows_the_copy_on_mariadb() {
    let options = [&LAZY_FLUSHING[..], &["--innodb-log-file-size=4M"]].concat();
    let any = Any::mysql_with(Kind::Mariadb, &options).await;
    a_log_that_fills_up_narrows_the_copy(any, "the redo log is at").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wal_beyond_its_usual_size_narrows_the_copy() {
    let any = Any::postgres_with(&[("max_wal_size", "2MB"), ("fsync", "on")]).await;
    a_log_that_fills_up_narrows_the_copy(any, "times max_wal_size").await;
}

/// However slow the server is, and for whatever reason, the copy comes to its end.
async fn a_server_that_stays_slow_does_not_stop_the_copy(any: Any) {
    let writer = any.writer().await;
    let control = Control::new("slow", SLOW);
    let mut run = any.start(&control.arguments());
    run.event(is_full).await;
    any.slow_commits(true).await;
    until_width(&mut run, |width| width <= LEAST).await;
    control.write(FAST);
    run.done().await;
    assert!(!writer.is_finished());
    writer.abort();
}

async fn without_feedback_nothing_is_narrowed(any: Any) {
    let control = Control::new("off", SLOW);
    let mut run = any.start(&[&["--no-feedback"], &control.arguments()[..]].concat());
    run.phase("copy").await;
    let (mut holder, waiting) = any.lock_pileup().await;
    for _ in 0..3 {
        run.event(|event| event["event"] == "progress").await;
    }
    holder.run("ROLLBACK").await;
    for session in waiting {
        session.await.unwrap();
    }
    control.write(FAST);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(widths(&ended).is_empty() && !ended.tells("slowed", ""), "{ended:#?}");
}

/// Others at work, and their statements under way.
async fn sample(vitals: &mut impl ActivityProbe) -> (bool, Option<u32>) {
    let sample = vitals.sample().await.unwrap();
    let (load, words) = sample.log.unwrap();
    assert!((0.0..1.0).contains(&load), "{load} {words}");
    (sample.others, sample.working)
}

fn target(scheme: Scheme, port: u16, user: &str) -> Target {
    Target {
        scheme,
        address: Address::Tcp { host: "127.0.0.1".into(), port },
        user: user.into(),
        password: None,
        database: Some(DATABASE.into()),
        tls: Tls { mode: TlsMode::Off, ca: None, cert: None, key: None },
        ledger: osc::config::target::LEDGER.into(),
        wire: Default::default(),
    }
}

async fn look_until(vitals: &mut impl ActivityProbe, wanted: (bool, Option<u32>)) {
    let begun = Instant::now();
    loop {
        let seen = sample(vitals).await;
        if seen == wanted {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{seen:?}, not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Looking is a statement too, and osc's own.
async fn others_are_told(any: &Any, probe: &mut impl ActivityProbe) {
    let idle = any.session().await;
    look_until(probe, (false, Some(0))).await;
    let (mut holder, waiting) = any.lock_pileup().await;
    look_until(probe, (true, Some(u32::try_from(WAITING).unwrap()))).await;
    holder.run("ROLLBACK").await;
    for session in waiting {
        session.await.unwrap();
    }
    look_until(probe, (false, Some(0))).await;
    drop(idle);
}

fn postgres_probe(
    server: &Postgres,
    role: &str,
) -> osc::postgres::throttle::activity::ActivityProbe {
    let target = target(Scheme::Postgres, server.port(), role);
    osc::postgres::throttle::activity::ActivityProbe::new(Options::of(&target).unwrap())
}

async fn others_are_told_from_osc(any: Any) {
    match &any {
        Any::Mysql(server) => {
            let target = target(Scheme::Mysql, server.port(), "root");
            let opts = osc::mysql::connection::connect::opts(&target).unwrap();
            let mut probe = osc::mysql::throttle::activity::ActivityProbe::new(opts);
            others_are_told(&any, &mut probe).await;
        }
        Any::Postgres(server) => {
            others_are_told(&any, &mut postgres_probe(server, "postgres")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_told_from_osc_even_where_it_may_not_look_into_them() {
    let any = Any::postgres().await;
    any.server().exec("postgres", "CREATE ROLE weak LOGIN").await;
    let mut weak = postgres_probe(any.server(), "weak");
    look_until(&mut weak, (false, Some(0))).await;
    let _somebody = any.session().await;
    look_until(&mut weak, (true, None)).await;
}

on_servers! {
    {
        where_nobody_else_works_the_copy_is_never_narrowed
        statements_that_pile_up_narrow_the_copy_until_they_are_through
        commits_that_become_slow_narrow_the_copy_until_they_are_quick_again
        a_server_that_stays_slow_does_not_stop_the_copy
        without_feedback_nothing_is_narrowed
        others_are_told_from_osc
    }
    mariadb: super::Any::mysql(super::Kind::Mariadb).await;
    mysql: super::Any::mysql(super::Kind::Mysql).await;
    postgres: super::Any::postgres().await;
}
