//! The copy key's index of the shadow on PostgreSQL: built after the copy, or before its end where rows
//! wait for it. All without the verification, which would find what is missing.

use crate::support;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli_run::Run;
use crate::support::postgres::Postgres;

const INDEX: &str = "SELECT count(*) FROM pg_index WHERE indrelid = 't_osc_new'::regclass";

/// A table with `rows` rows, and a file that steers what is done to it.
struct Scenario {
    server: &'static Postgres,
    database: String,
    control: PathBuf,
}

impl Scenario {
    async fn with(rows: u32) -> Self {
        let server = support::shared_postgres();
        let database = support::postgres_database(server).await;
        let table = format!(
            "CREATE TABLE t (id int PRIMARY KEY, n int); \
             INSERT INTO t SELECT i, i FROM generate_series(1, {rows}) AS i; ANALYZE t"
        );
        server.exec(&database, &table).await;
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let control = folder.join(format!("key-index-{}-{database}", std::process::id()));
        Self { server, database, control }
    }

    fn steer(&self, text: &str) {
        std::fs::write(&self.control, text).unwrap();
    }

    async fn start(&self) -> Run {
        let control = self.control.to_str().unwrap();
        let arguments = ["t", "ALTER n TYPE bigint", "--no-verify", "--threads", "2"];
        let small = ["--chunk-size", "100", "--chunk-time", "10ms", "--control-file", control];
        let mut run = Run::at(&self.server.url(&self.database), &[&arguments[..], &small].concat());
        run.phase("copy").await;
        run
    }

    async fn value(&self, sql: &str) -> String {
        self.server.value(&self.database, sql).await
    }

    async fn wait_for(&self, sql: &str, wanted: &str) {
        for _ in 0..3000 {
            if self.value(sql).await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never {wanted}: {sql}");
    }

    /// Lets the copy go on to its end, and requires the sum of what is there.
    async fn ends_with(&self, run: Run, sum: u64) {
        std::fs::remove_file(&self.control).unwrap();
        run.done().await;
        let found = self.value("SELECT sum(n) || ' ' || pg_typeof(min(n)) FROM t").await;
        assert_eq!(found, format!("{sum} bigint"));
        let keys = "SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass AND indisprimary";
        assert_eq!(self.value(keys).await, "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_built_after_the_copy_and_what_changed_meanwhile_is_refreshed_then() {
    let scenario = Scenario::with(5000).await;
    scenario.steer("max_rows_per_second = 1000");
    let run = scenario.start().await;
    scenario.wait_for("SELECT count(*) >= 500 FROM t_osc_new", "t").await;
    scenario.server.exec(&scenario.database, "UPDATE t SET n = n + 1 WHERE id <= 100").await;
    // Long enough for a refresh, if there were one.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(scenario.value(INDEX).await, "0");
    assert_eq!(scenario.value("SELECT n FROM t_osc_new WHERE id = 50").await, "50");
    scenario.ends_with(run, 5000 * 5001 / 2 + 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_reads_again_what_waited_for_it() {
    let scenario = Scenario::with(5000).await;
    scenario.steer("max_rows_per_second = 1000");
    let run = scenario.start().await;
    scenario.wait_for("SELECT count(*) >= 500 FROM t_osc_new", "t").await;
    scenario.server.exec(&scenario.database, "UPDATE t SET n = n + 1 WHERE id <= 100").await;
    // Several checkpoints.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    run.kill();
    let run = scenario.start().await;
    // What was copied behind the checkpoint must be found before it is copied again.
    scenario.wait_for(INDEX, "1").await;
    scenario.ends_with(run, 5000 * 5001 / 2 + 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_built_between_chunks_when_many_rows_wait_for_it() {
    let scenario = Scenario::with(90_000).await;
    scenario.steer("max_rows_per_second = 40000");
    let run = scenario.start().await;
    scenario.wait_for("SELECT count(*) >= 60000 FROM t_osc_new", "t").await;
    scenario.steer("max_rows_per_second = 100");
    for from in (0..55_000).step_by(5000) {
        let sql = format!("UPDATE t SET n = n + 1 WHERE id > {from} AND id <= {}", from + 5000);
        scenario.server.exec(&scenario.database, &sql).await;
    }
    scenario.wait_for(INDEX, "1").await;
    scenario.wait_for("SELECT count(*) FROM t_osc_new WHERE n = id + 1", "55000").await;
    assert_eq!(scenario.value("SELECT count(*) < 90000 FROM t_osc_new").await, "t");
    scenario.ends_with(run, 90_000 * 90_001 / 2 + 55_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_whose_session_is_cut_before_it_is_there_is_copied_once() {
    let scenario = Scenario::with(5000).await;
    scenario.steer("max_rows_per_second = 1000");
    let run = scenario.start().await;
    scenario.wait_for("SELECT count(*) >= 500 FROM t_osc_new", "t").await;
    // One that is in the midst of a chunk: it waits for a lock on the shadow.
    let mut locker =
        support::postgres::connect(&scenario.server.url(&scenario.database)).await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE t_osc_new IN EXCLUSIVE MODE").await.unwrap();
    let waiting = "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity \
                   WHERE query LIKE '%t_osc_new% IN ROW EXCLUSIVE%' AND wait_event_type = 'Lock'";
    scenario.wait_for(waiting, "t").await;
    lock.rollback().await.unwrap();
    scenario.wait_for(INDEX, "1").await;
    assert_eq!(scenario.value("SELECT count(*) < 5000 FROM t_osc_new").await, "t");
    scenario.ends_with(run, 5000 * 5001 / 2).await;
}
