//! Rules 3 to 6: the copy and the refreshes meet on the same rows, and none is lost or comes back.

use crate::support;
use std::time::Duration;

use crate::cli_run::Run;
use crate::held_run::{
    Control, SLOWLY, assert_nothing_lost, heartbeats, paused_unverified, run_all, settled, table,
    table_with, wait_for,
};
use crate::support::server::{Kind, Server};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// While the copy stands still in the middle of the table.
async fn rows_move_across_the_copys_edge(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let control = Control::new(&database, kind, SLOWLY);
    let run = paused_unverified(server, &database, &control).await;
    let mut application = server.conn_db(&database).await;
    run_all(
        &mut application,
        &[
            // Behind it: changed, deleted, inserted.
            "UPDATE t SET v = -1, w = NULL WHERE id = 10",
            "DELETE FROM t WHERE id = 11",
            "INSERT INTO t VALUES (-5, 5, 'new')",
            // Across it.
            "UPDATE t SET id = -12 WHERE id = 3990",
            "UPDATE t SET id = 4990 WHERE id = 12",
            "UPDATE t SET id = 11 WHERE id = 3991",
            "UPDATE t SET id = 3990 WHERE id = 13",
            // Away, and back again.
            "UPDATE t SET id = 5013 WHERE id = 14",
            "UPDATE t SET id = 14, v = -14 WHERE id = 5013",
            // Beyond the last row that there was at the start, where no chunk goes.
            "INSERT INTO t VALUES (6000, 1, 'x'), (6001, 1, 'x')",
            "UPDATE t SET v = 2 WHERE id = 6000",
            "DELETE FROM t WHERE id = 6001",
        ],
    )
    .await;
    heartbeats(server, &database, 2).await;
    control.let_go();
    run.done().await;
    assert_nothing_lost(server, &database).await;
}

/// The next key that the copy will read; the run is paused, one chunk at a time.
async fn next_key(server: &Server, database: &str) -> u64 {
    let last = format!("SELECT MAX(v) FROM {database}.t_osc_new");
    server.value(&last).await.parse::<u64>().unwrap() + 1
}

/// A transaction that holds a row of the shadow, so that whoever writes one there waits.
async fn blocker(server: &Server, database: &str, insert: &str) -> Conn {
    let mut blocker = server.conn_db(database).await;
    run_all(&mut blocker, &["BEGIN", insert]).await;
    blocker
}

async fn wait_for_a_stuck_chunk(server: &Server, database: &str) {
    let chunk = format!(
        "(SELECT COUNT(*) > 0 FROM information_schema.PROCESSLIST \
         WHERE INFO LIKE 'INSERT INTO `{database}`.`t\\_osc\\_new`%' AND TIME >= 1)"
    );
    wait_for(server, &chunk).await;
}

/// Waits for a refresh under way: one that meets a blocker.
async fn wait_for_a_refresh(server: &Server, database: &str) {
    let refresh = format!(
        "(SELECT COUNT(*) > 0 FROM information_schema.PROCESSLIST \
         WHERE INFO LIKE 'DELETE FROM `{database}`.`t\\_osc\\_new`%')"
    );
    wait_for(server, &refresh).await;
}

/// The chunk has read rows that it has not written yet; meanwhile the application deletes one.
/// Refreshed before the chunk ends, it would come back. (One that is changed would not: the chunk
/// would meet it, and begin again.)
async fn deleted_while_its_chunk_is_in_flight(kind: Kind, text: bool) {
    let server = support::shared(kind);
    let key = if text { "id VARCHAR(20) PRIMARY KEY" } else { "id INT PRIMARY KEY" };
    let database = table_with(server, key).await;
    if text {
        // So that the order of the keys is that of `v`.
        server.exec_in(&database, "UPDATE t SET id = CONCAT('k', LPAD(v, 6, '0'))").await;
    }
    let name = |v: u64| if text { format!("'k{v:06}'") } else { v.to_string() };
    server.exec_in(&database, "ALTER TABLE t ADD UNIQUE KEY one (v)").await;
    let control = Control::new(&database, kind, SLOWLY);
    let run = paused_unverified(server, &database, &control).await;
    let next = next_key(server, &database).await;
    // Its key is before all chunks, which may clear their ranges; its unique value is in the next.
    let first = if text { "'a'" } else { "-1" };
    let blocking = format!("INSERT INTO t_osc_new VALUES ({first}, {}, 'x', 7)", next + 20);
    let mut blocker = blocker(server, &database, &blocking).await;
    control.let_go();
    wait_for_a_stuck_chunk(server, &database).await;
    let mut application = server.conn_db(&database).await;
    let delete = format!("DELETE FROM t WHERE id = {}", name(next + 30));
    run_all(&mut application, &[&delete]).await;
    // The cycle that takes the key.
    heartbeats(server, &database, 1).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    blocker.query_drop("ROLLBACK").await.unwrap();
    run.done().await;
    assert_nothing_lost(server, &database).await;
}

async fn a_row_deleted_while_its_chunk_is_in_flight_stays_deleted(kind: Kind) {
    deleted_while_its_chunk_is_in_flight(kind, false).await;
}

async fn the_same_where_only_the_server_can_order_the_keys(kind: Kind) {
    deleted_while_its_chunk_is_in_flight(kind, true).await;
}

/// The refresher is held up, so that the shadow still has the old owner of a unique value when the
/// chunk with the new one comes. The chunk repairs that, but not beside the refresher: of two
/// refreshes of one row the older could win.
async fn a_unique_value_moves_ahead_of_the_copy(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    server.exec_in(&database, "ALTER TABLE t ADD UNIQUE KEY one (v)").await;
    let control = Control::new(&database, kind, SLOWLY);
    let run = paused_unverified(server, &database, &control).await;
    let next = next_key(server, &database).await;
    let held = "SELECT * FROM t_osc_new WHERE id = 5 FOR UPDATE";
    let mut blocker = blocker(server, &database, held).await;
    let mut application = server.conn_db(&database).await;
    application.query_drop("UPDATE t SET w = 'changed' WHERE id = 5").await.unwrap();
    wait_for_a_refresh(server, &database).await;
    let ahead = next + 20;
    let give = "UPDATE t SET v = -100 WHERE id = 10".to_owned();
    let take = format!("UPDATE t SET v = 10 WHERE id = {ahead}");
    let back = format!("UPDATE t SET v = {ahead} WHERE id = 10");
    run_all(&mut application, &["BEGIN", &give, &take, &back, "COMMIT"]).await;
    control.let_go();
    let owner = format!("SELECT v FROM {database}.t_osc_new WHERE id = 10");
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(server.value(&owner).await, "10", "written beside the refresher");
    }
    blocker.query_drop("ROLLBACK").await.unwrap();
    run.done().await;
    assert_nothing_lost(server, &database).await;
}

/// The old owner's refresh is held up, while that of the new one is left to its chunk.
async fn a_unique_value_is_held_by_a_stale_row(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    server.exec_in(&database, "ALTER TABLE t ADD UNIQUE KEY one (v)").await;
    let control = Control::new(&database, kind, SLOWLY);
    let run = paused_unverified(server, &database, &control).await;
    let ahead = next_key(server, &database).await + 20;
    let held = "SELECT * FROM t_osc_new WHERE id = 10 FOR UPDATE";
    let mut blocker = blocker(server, &database, held).await;
    let mut application = server.conn_db(&database).await;
    let give = "UPDATE t SET v = -100 WHERE id = 10".to_owned();
    let take = format!("UPDATE t SET v = 10 WHERE id = {ahead}");
    run_all(&mut application, &["BEGIN", &give, &take, "COMMIT"]).await;
    wait_for_a_refresh(server, &database).await;
    control.let_go();
    tokio::time::sleep(Duration::from_millis(1000)).await;
    blocker.query_drop("ROLLBACK").await.unwrap();
    run.done().await;
    assert_nothing_lost(server, &database).await;
}

const MANY: u64 = 270_000;

async fn latest_dirty(run: &mut Run) -> u64 {
    run.event(|event| event["event"] == "progress").await["dirty_keys"].as_u64().unwrap()
}

/// The refresher is held up while more than half a million keys come.
async fn the_set_of_dirty_keys_is_bounded_and_the_copy_waits(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    let mut application = server.conn_db(&database).await;
    run_all(
        &mut application,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, v INT NULL, w VARCHAR(40))",
            "INSERT INTO t VALUES (2, 2, '')",
        ],
    )
    .await;
    let mut rows = 1;
    while rows < MANY {
        let double = format!(
            "INSERT INTO t SELECT id + 2 * {rows}, v + 2 * {rows}, w FROM t LIMIT {}",
            MANY - rows
        );
        application.query_drop(double).await.unwrap();
        rows = (rows * 2).min(MANY);
    }
    let control = Control::new(&database, kind, SLOWLY);
    let mut run = paused_unverified(server, &database, &control).await;
    let held = "SELECT * FROM t_osc_new WHERE id = 4 FOR UPDATE";
    let mut blocker = blocker(server, &database, held).await;
    run_all(
        &mut application,
        &["UPDATE t SET w = 'changed' WHERE id = 4", "SET binlog_row_image = MINIMAL"],
    )
    .await;
    wait_for_a_refresh(server, &database).await;
    // Two keys for each row.
    application.query_drop("UPDATE t SET id = id + 1").await.unwrap();
    while latest_dirty(&mut run).await < 500_000 {}
    control.let_go();
    let copied = format!("SELECT COUNT(*) FROM {database}.t_osc_new");
    let before: u64 = server.value(&copied).await.parse().unwrap();
    let mut most = 0;
    for _ in 0..2 {
        most = latest_dirty(&mut run).await.max(most);
    }
    // As many as one message of the stream brings may come on top.
    assert!((500_000..=504_096).contains(&most), "{most} keys");
    // But for a chunk that had leave to go already.
    let after: u64 = settled(server, &copied).await.parse().unwrap();
    assert!(after < before + 1000, "the copy did not wait: {after} rows");
    blocker.query_drop("ROLLBACK").await.unwrap();
    run.done().await;
    assert_nothing_lost(server, &database).await;
}

on_both_servers! {
    rows_move_across_the_copys_edge
    a_row_deleted_while_its_chunk_is_in_flight_stays_deleted
    the_same_where_only_the_server_can_order_the_keys
    a_unique_value_moves_ahead_of_the_copy
    a_unique_value_is_held_by_a_stale_row
    the_set_of_dirty_keys_is_bounded_and_the_copy_waits
}
