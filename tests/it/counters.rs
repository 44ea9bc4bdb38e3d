//! Whatever counts never goes back: an id that was given out once, and whose row was deleted, is not given
//! out again after the cut-over.

use crate::support;

use crate::cli_run::Run;
use crate::support::server::Kind;
use mysql_async::prelude::Queryable;

const ROWS: u64 = 500;

/// The last attempt's preparations are over, and the lock is not asked for yet.
async fn ids_given_out_before_the_lock_are_not_given_out_again(kind: Kind) {
    let server = support::shared(kind);
    for restart_of_counting in [0_u64, 10_000] {
        let database = support::database(server).await;
        let mut application = server.conn_db(&database).await;
        application
            .query_drop("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
            .await
            .unwrap();
        for id in 1..=ROWS {
            application.query_drop(format!("INSERT INTO t (v) VALUES ({id})")).await.unwrap();
        }
        let url = server.url(&database);
        let (run, point) = Run::until(&url, &["t", "MODIFY v BIGINT"], "swap.ready").await;
        let mut last = 0;
        for _ in 0..20 {
            let value = if restart_of_counting == 0 || last > 0 {
                "NULL".to_owned()
            } else {
                restart_of_counting.to_string()
            };
            application
                .query_drop(format!("INSERT INTO t (id, v) VALUES ({value}, -1)"))
                .await
                .unwrap();
            last =
                application.query_first::<u64, _>("SELECT MAX(id) FROM t").await.unwrap().unwrap();
            application.query_drop("DELETE FROM t WHERE v = -1").await.unwrap();
        }
        assert!(last >= (ROWS + 20).max(restart_of_counting), "{last}");
        drop(point);
        run.done().await;
        application.query_drop("INSERT INTO t (v) VALUES (-2)").await.unwrap();
        let next: u64 =
            application.query_first("SELECT id FROM t WHERE v = -2").await.unwrap().unwrap();
        assert!(next > last, "the counter went back: {next} after {last}");
    }
}

on_both_servers! {
    ids_given_out_before_the_lock_are_not_given_out_again
}
