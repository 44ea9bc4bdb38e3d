//! Runs on servers with a replica: it ends with the same tables, its lag is kept to the limit, and
//! while it does not follow, the copy waits.

use crate::support;
use std::time::{Duration, Instant};

use crate::cli_run::Run;
use crate::support::postgres::{Major, Postgres};
use crate::support::server::{Kind, Server};
use crate::support::writers::Writers;
use crate::support::{postgres_twin, twin};
use serde_json::Value;

const ROWS: u64 = 8_000;

/// Transactions from which it is learnt how many rows one of the writers' inserts.
const LEARNT_FROM: u64 = 150;

const CLAUSES: &str = "ADD COLUMN added INT NOT NULL DEFAULT 7";

/// So slow a copy that the replica can be stopped under way, on a machine that has other work too.
const SLOWLY: [&str; 4] = ["--max-rows-per-second", "900", "--chunk-size", "100"];

/// What the application writes on the primary is to be read on the replica so soon, besides the limit.
const SLACK: Duration = Duration::from_secs(2);

/// A pause between the writers' transactions, so that most rows written are osc's.
const PACE: Duration = Duration::from_millis(20);

fn arguments(replica: &str) -> Vec<&str> {
    [&["t", CLAUSES, "--replica", replica, "--max-lag", "1s"][..], &SLOWLY].concat()
}

fn is_throttled(event: &Value) -> bool {
    event["event"] == "throttled" && event["reason"].as_str().is_some_and(|r| r.contains("replica"))
}

fn is_let_go(event: &Value) -> bool {
    event["event"] == "throttled" && event["reason"].is_null()
}

/// Switches semi-synchronous replication on, at both ends.
async fn acknowledge(primary: &Server, replica: &Server) {
    let (of_primary, of_replica): (&[&str], &[&str]) = match primary.kind() {
        Kind::Mariadb => (
            &[
                "SET GLOBAL rpl_semi_sync_master_timeout = 60000",
                "SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC",
                "SET GLOBAL rpl_semi_sync_master_enabled = ON",
            ],
            &[
                "SET GLOBAL rpl_semi_sync_slave_enabled = ON",
                "STOP SLAVE IO_THREAD",
                "START SLAVE IO_THREAD",
            ],
        ),
        Kind::Mysql => (
            &[
                "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
                "SET GLOBAL rpl_semi_sync_source_timeout = 60000",
                "SET GLOBAL rpl_semi_sync_source_wait_point = AFTER_SYNC",
                "SET GLOBAL rpl_semi_sync_source_enabled = ON",
            ],
            &[
                "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'",
                "SET GLOBAL rpl_semi_sync_replica_enabled = ON",
                "STOP REPLICA IO_THREAD",
                "START REPLICA IO_THREAD",
            ],
        ),
    };
    for sql in of_primary {
        primary.exec(sql).await;
    }
    for sql in of_replica {
        replica.exec(sql).await;
    }
    let begun = Instant::now();
    while semi_sync(primary, "clients").await != 1 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the replica does not acknowledge");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn semi_sync(primary: &Server, counter: &str) -> u64 {
    let side = if primary.kind() == Kind::Mariadb { "master" } else { "source" };
    counted(primary, &format!("Rpl_semi_sync_{side}_{counter}")).await
}

async fn counted(server: &Server, variable: &str) -> u64 {
    let rows = server.rows(&format!("SHOW GLOBAL STATUS LIKE '{variable}'")).await;
    rows.first().unwrap_or_else(|| panic!("no {variable}"))[1].parse().unwrap()
}

/// Rows that were inserted into any table.
async fn inserted(server: &Server) -> u64 {
    // MariaDB's InnoDB does not count them, and its handler counts temporary tables apart.
    let mariadb = server.kind() == Kind::Mariadb;
    counted(server, if mariadb { "Handler_write" } else { "Innodb_rows_inserted" }).await
}

/// A table's definition but its counter: what was rolled back has taken numbers on the primary only.
async fn shape(server: &Server, show: &str) -> String {
    let create = &server.rows(show).await[0][1];
    let words = create.split(' ').filter(|word| !word.starts_with("AUTO_INCREMENT="));
    words.collect::<Vec<_>>().join(" ")
}

async fn number(server: &Server, sql: &str) -> u64 {
    server.value(sql).await.parse().unwrap()
}

/// How long after it was written on the primary a row is read on the replica.
async fn follow(primary: &Server, replica: &Server, database: &str, beat: u64) -> Duration {
    primary.exec(&format!("REPLACE INTO {database}.beat VALUES (1, {beat})")).await;
    let begun = Instant::now();
    let sql = format!("SELECT COUNT(*) FROM {database}.beat WHERE n >= {beat}");
    while replica.value(&sql).await != "1" {
        assert!(begun.elapsed() < Duration::from_secs(60), "the replica does not follow");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

async fn ends_with_the_same(kind: Kind, acknowledging: bool) {
    let primary = Server::start(kind);
    let replica = primary.replica().await;
    if acknowledging {
        acknowledge(&primary, &replica).await;
    }
    let database = support::database(&primary).await;
    let twin = twin::Twin::create(&primary, &database, twin::KeyKind::Int, ROWS).await;
    primary.exec(&format!("CREATE TABLE {database}.beat (id INT PRIMARY KEY, n INT)")).await;
    replica.catch_up(&primary).await;
    let at_first = inserted(&replica).await;
    let writers = Writers::paced(&twin, 2, 1, PACE);
    writers.wait_for_more(LEARNT_FROM).await;
    replica.catch_up(&primary).await;
    let learnt = inserted(&replica).await - at_first;

    let replica_url = replica.url("");
    let mut run = Run::start(&primary, &database, &arguments(&replica_url));
    run.phase("copy").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let word = if kind == Kind::Mariadb { "SLAVE" } else { "REPLICA" };
    replica.exec(&format!("STOP {word} SQL_THREAD")).await;
    let reported = run.event(is_throttled).await;
    let printed = reported["reason"].as_str().unwrap();
    assert!(printed.contains(&replica.port().to_string()), "{printed}");
    let copied = "SELECT rows_copied FROM osc.osc_ledger";
    // Chunks that were under way end, and are recorded.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = number(&primary, copied).await;
    assert!(before < ROWS / 2, "{before} rows were copied before the replica was stopped");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(number(&primary, copied).await, before, "the copy goes on");
    replica.exec(&format!("START {word} SQL_THREAD")).await;
    run.event(is_let_go).await;

    let end = tokio::spawn(run.done());
    let mut longest = Duration::ZERO;
    let mut beat = 0;
    // Of the run's last writes too, however short what was left of it.
    while beat < 10 || !end.is_finished() {
        beat += 1;
        longest = longest.max(follow(&primary, &replica, &database, beat).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let summary = end.await.unwrap();
    let report = writers.stop().await;
    report.assert_undisturbed();
    assert!(longest < Duration::from_secs(1) + SLACK, "the replica lagged {longest:?}");

    replica.catch_up(&primary).await;
    let written = inserted(&replica).await - at_first;
    let (copied, refreshed) =
        (summary["rows"].as_u64().unwrap(), summary["refreshed"].as_u64().unwrap());
    eprintln!(
        "{} {acknowledging}: lag {longest:?}; {written} rows inserted at the replica, {copied} \
         copied, {refreshed} refreshed, {learnt} by {LEARNT_FROM} of {} transactions",
        kind.name(),
        report.transactions
    );
    assert!(written >= copied, "{written} rows, {copied} copied");
    // Each change of a row may be one refresh more, so that this bounds nothing but a runaway.
    let most = 5 * ROWS + 2 * learnt * report.transactions / LEARNT_FROM;
    assert!(written <= most, "{written} rows at the replica, expected {most} at most");

    for table in ["t", "t_osc_old", "t_twin", "osc_ledger"] {
        let ledger = table == "osc_ledger";
        let (database, order) = if ledger { ("osc", "run") } else { (&*database, "id") };
        let sql = format!("SELECT * FROM {database}.{table} ORDER BY {order}");
        assert!(primary.rows(&sql).await == replica.rows(&sql).await, "{table} differs");
        let sql = format!("SHOW CREATE TABLE {database}.{table}");
        assert_eq!(shape(&primary, &sql).await, shape(&replica, &sql).await);
        let sql = format!("CHECKSUM TABLE {database}.{table}");
        assert_eq!(primary.rows(&sql).await, replica.rows(&sql).await);
    }
    let ledger = "SELECT CONCAT(phase, ' ', result) FROM osc.osc_ledger";
    assert_eq!(replica.value(ledger).await, "done done");
    let helpers =
        "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME LIKE '%osc\\_new'";
    assert_eq!(replica.value(helpers).await, "0");
    if acknowledging {
        assert!(semi_sync(&primary, "yes_tx").await > report.transactions / 2);
        assert_eq!(semi_sync(&primary, "no_tx").await, 0, "the server gave up waiting");
    }
    twin.assert_equal(CLAUSES).await;
}

async fn a_replica_ends_with_the_same(kind: Kind) {
    ends_with_the_same(kind, false).await;
}

async fn a_replica_that_acknowledges_ends_with_the_same(kind: Kind) {
    ends_with_the_same(kind, true).await;
}

/// What the operator reads when the copy gives way to a replica that has not reached the limit.
fn gives_way(event: &Value) -> bool {
    event["slowed"].as_str().is_some_and(|reason| reason.starts_with("a replica lags"))
}

/// A replica that applies everything three seconds later; the limit is a little more.
const LATE: [&str; 6] = ["--max-lag", "4s", "--max-rows-per-second", "400", "--chunk-size", "100"];

async fn lag_near_its_limit_narrows_the_copy(kind: Kind) {
    let primary = Server::start(kind);
    let replica = primary.replica().await;
    let database = support::database(&primary).await;
    twin::Twin::create(&primary, &database, twin::KeyKind::Int, ROWS).await;
    replica.catch_up(&primary).await;
    let delay = async |seconds: u32| {
        let (word, change) = match kind {
            Kind::Mariadb => ("SLAVE", "CHANGE MASTER TO MASTER_DELAY"),
            Kind::Mysql => ("REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_DELAY"),
        };
        let sql = format!("STOP {word}; {change} = {seconds}; START {word}");
        replica.exec(&sql).await;
    };
    let replica_url = replica.url("");
    let arguments = [&["t", CLAUSES, "--replica", &replica_url][..], &LATE].concat();
    let mut run = Run::start(&primary, &database, &arguments);
    run.phase("copy").await;
    delay(3).await;
    let narrow = run.event(gives_way).await;
    assert!(narrow["parallel_chunks"].as_f64().unwrap() < 4.0, "{narrow}");
    delay(0).await;
    run.event(|event| event["parallel_chunks"].as_f64() == Some(4.0)).await;
    run.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_near_its_limit_narrows_the_copy_on_postgres() {
    let primary = Postgres::start(Major::SYSTEM);
    let standby = primary.standby().await;
    let database = support::postgres_database(&primary).await;
    let key = postgres_twin::KeyKind::Int;
    postgres_twin::Twin::create(&primary, &database, key, ROWS).await;
    standby.catch_up(&primary).await;
    let standby_url = standby.url(&database);
    let arguments = [&["t", CLAUSES, "--replica", &standby_url][..], &LATE].concat();
    let mut run = Run::at(&primary.url(&database), &arguments);
    run.phase("copy").await;
    standby.set("recovery_min_apply_delay", Some("3s")).await;
    let narrow = run.event(gives_way).await;
    assert!(narrow["parallel_chunks"].as_f64().unwrap() < 4.0, "{narrow}");
    standby.set("recovery_min_apply_delay", None).await;
    run.event(|event| event["parallel_chunks"].as_f64() == Some(4.0)).await;
    run.kill();
}

/// `synchronous`: commits wait for the standby.
async fn a_standby_ends_with_the_same(synchronous: bool) {
    let primary = Postgres::start(Major::SYSTEM);
    let standby = primary.standby().await;
    if synchronous {
        primary.set("synchronous_standby_names", Some("standby")).await;
    }
    let database = support::postgres_database(&primary).await;
    let key = postgres_twin::KeyKind::Int;
    let twin = postgres_twin::Twin::create(&primary, &database, key, ROWS).await;
    standby.catch_up(&primary).await;
    let writers = Writers::paced(&twin, 2, 1, PACE);

    let standby_url = standby.url(&database);
    let mut run = Run::at(&primary.url(&database), &arguments(&standby_url));
    run.phase("copy").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    standby.exec("postgres", "SELECT pg_wal_replay_pause()").await;
    let reported =
        run.event(|event| event["event"] == "throttled" && !event["reason"].is_null()).await;
    let printed = reported["reason"].as_str().unwrap();
    assert!(printed.contains("lag"), "{printed}");
    let copied = async || {
        let text = primary.value(&database, "SELECT rows_copied FROM osc.osc_ledger").await;
        text.parse::<u64>().unwrap()
    };
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = copied().await;
    assert!(before < ROWS / 2, "{before} rows were copied before the standby was stopped");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(copied().await, before, "the copy goes on");
    standby.exec("postgres", "SELECT pg_wal_replay_resume()").await;
    run.event(is_let_go).await;

    let end = tokio::spawn(run.done());
    let (mut longest, mut looks) = (Duration::ZERO, 0);
    while looks < 10 || !end.is_finished() {
        let begun = Instant::now();
        standby.catch_up(&primary).await;
        longest = longest.max(begun.elapsed());
        looks += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let summary = end.await.unwrap();
    let report = writers.stop().await;
    report.assert_undisturbed();
    eprintln!("standby: lag {longest:?}, {looks} looks, {summary}");
    assert!(longest < Duration::from_secs(1) + SLACK, "the standby lagged {longest:?}");

    standby.catch_up(&primary).await;
    for table in ["t", "t_osc_old", "twin.t", "osc.osc_ledger"] {
        let order = if table == "osc.osc_ledger" { "run" } else { "id" };
        let sql = format!("SELECT * FROM {table} ORDER BY {order}");
        let (here, there) =
            (primary.rows(&database, &sql).await, standby.rows(&database, &sql).await);
        assert!(!here.is_empty() && here == there, "{table} differs");
    }
    let ledger = "SELECT phase || ' ' || result FROM osc.osc_ledger";
    assert_eq!(standby.value(&database, ledger).await, "done done");
    twin.assert_equal(CLAUSES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_ends_with_the_same_as_its_primary() {
    a_standby_ends_with_the_same(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_standby_ends_with_the_same_as_its_primary() {
    a_standby_ends_with_the_same(true).await;
}

on_both_servers! {
    a_replica_ends_with_the_same
    a_replica_that_acknowledges_ends_with_the_same
    lag_near_its_limit_narrows_the_copy
}
