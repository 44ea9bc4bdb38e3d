//! How long a retired table is kept: `osc cleanup` refuses to drop it before that, and `osc status` says until when.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::cli_run::streams;
use crate::support::server::Kind;
use crate::support::{self, schema};

/// The commands on one server.
struct Osc {
    url: String,
}

impl Osc {
    fn run(&self, arguments: &[&str]) -> Output {
        support::osc().args(arguments).args(["--url", &self.url]).output().unwrap()
    }

    fn ends(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", streams(&output));
        streams(&output)
    }

    /// What `osc status` says of the newest run.
    fn newest(&self) -> Value {
        let output = self.run(&["status", "t", "--json"]);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        schema::read("status", printed.lines().next().unwrap())
    }

    fn alter(&self, clauses: &str, more: &[&str]) -> String {
        self.ends(0, &[&["alter", "t", clauses, "--strategy", "copy", "--yes"], more].concat())
    }
}

/// `retired`: how many retired tables there are.
async fn kept(osc: Osc, retired: impl AsyncFn() -> usize) {
    let printed = osc.alter("ADD COLUMN a INT", &[]);
    assert!(printed.contains("is kept until 2"), "{printed}");
    let until = osc.newest()["undo_until"].as_str().expect("undo until").to_owned();
    let until: jiff::civil::DateTime = until.parse().unwrap();
    let left = until - jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let left = left.total(jiff::Unit::Minute).unwrap();
    assert!((1435.0..1441.0).contains(&left), "{left} minutes");

    let refused = osc.ends(4, &["cleanup", "t", "--yes"]);
    assert!(refused.contains("[undo-window]") && refused.contains("--now"), "{refused}");
    assert_eq!(retired().await, 1, "{refused}");

    // One whose time is over goes, the other stays.
    osc.alter("ADD COLUMN b INT", &["--undo-for", "1s"]);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert!(osc.newest()["undo_until"].is_null(), "{}", osc.newest());
    let output = osc.run(&["cleanup", "t", "--yes", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", streams(&output));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer = schema::read("cleanup", printed.trim());
    assert_eq!(answer["dropped"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(answer["kept"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(retired().await, 1);

    osc.ends(0, &["cleanup", "t", "--yes", "--now"]);
    assert_eq!(retired().await, 0);
    // A change that cannot be undone any more is not promised.
    osc.alter("ADD COLUMN c INT", &[]);
    osc.ends(0, &["cleanup", "t", "--yes", "--now"]);
    assert!(osc.newest()["undo_until"].is_null(), "{}", osc.newest());
    assert!(osc.ends(0, &["cleanup", "t", "--yes"]).contains("no table to drop"));
}

async fn a_retired_table_is_kept_until_its_time_is_over(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    server.exec(&format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT)")).await;
    let list = format!("SHOW TABLES FROM {database} LIKE 't\\_osc\\_old%'");
    kept(Osc { url: server.url(&database) }, async || server.rows(&list).await.len()).await;
}

on_both_servers! { a_retired_table_is_kept_until_its_time_is_over }

mod postgres {
    use super::{Osc, kept};
    use crate::undo_postgres::place::Place;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_retired_table_is_kept_until_its_time_is_over() {
        let place = Place::new("CREATE TABLE t (id int PRIMARY KEY, v int)").await;
        let list =
            "SELECT relname FROM pg_class WHERE relname LIKE 't\\_osc\\_old%' AND relkind = 'r'";
        let osc = Osc { url: place.server.url(&place.database) };
        kept(osc, async || place.rows(list).await.len()).await;
    }
}
