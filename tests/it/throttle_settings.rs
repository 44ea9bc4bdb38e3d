//! Settings of the throttle as a user gives them: what can never be right is refused before anything is
//! made, and a rate is the rate.

use crate::support;
use std::time::Duration;

use crate::refusal::Place;
use crate::support::postgres::{Major, Postgres};
use crate::support::server::{Kind, Server};

const ADD: &str = "ADD COLUMN c INT";

/// Queries that are never right, and the error for each.
const QUERIES: [(&str, &str); 9] = [
    ("SELEC 1", "begins with none of SELECT"),
    ("", "it is empty"),
    ("SELECT 1 FROM", ""),
    ("SELECT 1; SELECT 2", ""),
    ("SELECT 1 FROM nowhere.nothing", ""),
    ("DELETE FROM t", "begins with none of SELECT"),
    ("SELECT 'idle'", "no number"),
    ("SELECT CURRENT_DATE", "no number"),
    ("SELECT a INTO made FROM t", ""),
];

async fn load_limits_are_refused(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    for flag in ["--max-load", "--critical-load"] {
        for (limit, says) in [
            ("Thread_running=50", "no status variable Thread_running"),
            ("Threads_running=50,Rpl_semi_sync=1", "no status variable Rpl_semi_sync"),
            ("Slow_launch_threads=1,Ssl_version=1", "no number"),
        ] {
            let words = [flag, says];
            place.refuses_given("t", ADD, &[flag, limit], "load", &words).await;
        }
    }
    let limits = ["--max-load", "threads_RUNNING=900", "--critical-load", "Threads_connected=900"];
    place.takes("t", ADD, &limits).await;
}

async fn queries_are_refused(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    let database = &place.database;
    place.run("CREATE FUNCTION writes() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN DELETE FROM t; RETURN 0; END").await;
    let writes = format!("SELECT {database}.writes()");
    let own = [
        (writes.as_str(), "READ ONLY"),
        ("SELECT id FROM t FOR UPDATE", "more than read"),
        ("SELECT 0 INTO OUTFILE '/tmp/osc-never'", "more than read"),
        ("SHOW STATUS", "no number"),
    ];
    for (sql, says) in QUERIES.iter().chain(&own) {
        let given = ["--throttle-query", sql];
        place.refuses_given("t", ADD, &given, "throttle-query", &[says]).await;
    }
    for sql in [
        "SELECT 0",
        "/* idle */ (SELECT 0)",
        "WITH a AS (SELECT 0 AS z) SELECT z FROM a",
        "SELECT COUNT(*) FROM t WHERE b = 'INTO'",
    ] {
        place.takes("t", "MODIFY id BIGINT", &["--throttle-query", sql]).await;
        place.run("ALTER TABLE t MODIFY id INT").await;
    }
    // No row may be there now, and one tomorrow: that pauses.
    for sql in ["SELECT NULL", "SELECT 1 FROM t WHERE FALSE"] {
        let answer = place.ask(&["plan", "t", ADD, "--throttle-query", sql]).await;
        assert_eq!(answer.code, Some(0), "{sql}: {}", answer.printed);
    }
}

async fn replicas_that_are_none_are_refused(kind: Kind) {
    let primary = Server::start(kind);
    let place = Place::new(&primary).await;
    let replica = primary.replica().await;
    let other_server = Server::start(kind);
    other_server.exec("CREATE DATABASE elsewhere").await;
    // A user that is there: for others MySQL names a plugin at random, which the driver may not have.
    other_server.exec("CREATE USER nobody IDENTIFIED BY 'right'").await;
    let other = other_server.replica().await;
    let further = replica.replica().await;
    let closed = format!("mysql://root@127.0.0.1:{}/", support::server::free_port());
    for (url, says) in [
        (primary.url(""), "it is no replica"),
        (other_server.url(""), "it is no replica"),
        (other.url(""), "a replica of another server"),
        (closed, "refused"),
        (other_server.url("").replace("root@", "nobody:wrong@"), "nobody"),
    ] {
        let words = ["--replica 127.0.0.1:", says];
        place.refuses_given("t", ADD, &["--replica", &url], "replica", &words).await;
    }
    // MariaDB's positions name the last writer only, and the kit has written on the replica.
    for _ in 0..2 {
        place.run("UPDATE t SET a = a + 1").await;
    }
    further.catch_up(&primary).await;
    for server in [&replica, &further] {
        let answer = place.ask(&["plan", "t", ADD, "--replica", &server.url("")]).await;
        assert_eq!(answer.code, Some(0), "{}", answer.printed);
    }
}

async fn a_url_that_is_none_is_wrong_usage(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    for url in ["", "freno", "ftp://freno/", "http://", "http://a:b@c/"] {
        for command in ["plan", "alter"] {
            let answer = place.ask(&[command, "t", ADD, "--yes", "--throttle-http", url]).await;
            assert_eq!(answer.code, Some(2), "{url}: {}", answer.printed);
        }
    }
}

/// 400 rows at 100 a second are four seconds: more where each worker pays for a whole chunk.
const SLOW: [&str; 4] = ["--max-rows-per-second", "100", "--threads", "4"];
const ROWS: u32 = 400;
const BOUND: Duration = Duration::from_secs(10);

async fn a_rate_counts_the_rows_that_are_copied(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    place.run("CREATE TABLE many (id INT PRIMARY KEY AUTO_INCREMENT, n INT)").await;
    let rows: Vec<String> = (1..=ROWS).map(|n| format!("({n}, {n})")).collect();
    place.run(&format!("INSERT INTO many VALUES {}", rows.join(", "))).await;
    let arguments = [&["alter", "many", "MODIFY n BIGINT", "--json"][..], &SLOW].concat();
    copies_in_time(&place.ask(&arguments).await.printed);
}

/// The copy's phase took about as long as its rows at the rate.
fn copies_in_time(printed: &str) {
    let event = |name: &str, phase: Option<&str>| {
        printed
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|line| line["event"] == name && phase.is_none_or(|phase| line["phase"] == phase))
            .unwrap_or_else(|| panic!("no {name} {phase:?}: {printed}"))
    };
    let time = |event: serde_json::Value| -> jiff::Timestamp {
        event["time"].as_str().unwrap().parse().unwrap()
    };
    let copied = event("summary", None);
    assert_eq!(copied["rows"], ROWS, "{copied}");
    let took =
        time(event("phase", Some("verify"))).duration_since(time(event("phase", Some("copy"))));
    let took = Duration::try_from(took).unwrap();
    assert!(took > Duration::from_secs(3), "faster than the rate: {took:?}");
    assert!(took < BOUND, "{ROWS} rows took {took:?}");
}

on_both_servers! {
    a_rate_counts_the_rows_that_are_copied
    load_limits_are_refused
    queries_are_refused
    replicas_that_are_none_are_refused
    a_url_that_is_none_is_wrong_usage
}

/// Both commands end with 4 and the check; nothing of osc's is there afterwards.
async fn refuses(server: &Postgres, database: &str, given: &[&str], check: &str, says: &str) {
    for command in ["plan", "alter"] {
        let mut arguments = vec![command, "t", ADD, "--yes", "--strategy", "copy"];
        arguments.extend(given);
        let output = support::osc()
            .args(&arguments)
            .args(["--url", &server.url(database)])
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {printed}");
        for word in [&format!("[{check}]"), says, "help:"] {
            assert!(printed.contains(word), "{arguments:?} lacks {word}: {printed}");
        }
    }
    let made = "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE '%osc%' OR relname = 'made') \
                + (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'osc%') + (SELECT sum(a) FROM t)";
    assert_eq!(server.value(database, made).await, "6", "{given:?}");
}

async fn postgres_database(server: &Postgres) -> String {
    let database = support::postgres_database(server).await;
    let table = "CREATE TABLE t (id int PRIMARY KEY, a int, b text); \
                 INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y'), (3, 3, 'z'); \
                 CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'DELETE FROM public.t; SELECT 0'";
    server.exec(&database, table).await;
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_queries_that_can_never_be_right_are_refused_on_postgres() {
    let server = support::shared_postgres();
    let database = &postgres_database(server).await;
    for flag in ["--max-load", "--critical-load"] {
        refuses(server, database, &[flag, "active_session=3"], "load", "active_sessions").await;
        refuses(server, database, &[flag, "Threads_running=3"], "load", flag).await;
    }
    let own = [
        ("SELECT public.writes()", "read-only"),
        ("SELECT nextval('s')", ""),
        ("SELECT id FROM public.t FOR UPDATE", "read-only"),
        ("SELECT 'NaN'::float", "no number"),
        ("WITH d AS (DELETE FROM public.t RETURNING a) SELECT a FROM d", "read-only"),
        ("SELECT 1; SET default_transaction_read_only = off; DELETE FROM public.t", "multiple"),
    ];
    for (sql, says) in QUERIES.iter().chain(&own) {
        refuses(server, database, &["--throttle-query", sql], "throttle-query", says).await;
    }
    for sql in ["SELECT false", "TABLE pg_catalog.pg_statistic_ext LIMIT 0", "SELECT -1.5"] {
        let output = support::osc()
            .args(["plan", "t", ADD, "--throttle-query", sql, "--max-load", "CONNECTIONS=900"])
            .args(["--url", &server.url(database)])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_counts_the_rows_that_are_copied_on_postgres() {
    let server = support::shared_postgres();
    let database = &postgres_database(server).await;
    let table = format!(
        "CREATE TABLE many AS SELECT n AS id, n FROM generate_series(1, {ROWS}) n; \
         ALTER TABLE many ADD PRIMARY KEY (id)"
    );
    server.exec(database, &table).await;
    let arguments = ["alter", "many", "ALTER n TYPE bigint", "--json", "--yes"];
    let output = support::osc()
        .args(arguments)
        .args(SLOW)
        .args(["--url", &server.url(database)])
        .output()
        .unwrap();
    copies_in_time(&String::from_utf8_lossy(&output.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_are_none_are_refused_on_postgres() {
    let primary = Postgres::start(Major::SYSTEM);
    let database = &postgres_database(&primary).await;
    let standby = primary.standby().await;
    // Servers of the kit that have the same version come from one initdb.
    let installed = Major::installed();
    let another = installed.into_iter().find(|major| *major != Major::SYSTEM);
    let other_server = another.map(Postgres::start);
    let other = match &other_server {
        Some(other_server) => Some(other_server.standby().await),
        None => None,
    };
    let closed = format!("postgres://postgres@127.0.0.1:{}/postgres", support::server::free_port());
    for (url, says) in [(primary.url("postgres"), "no standby"), (closed, "refused")]
        .into_iter()
        .chain(other.iter().map(|other| (other.url("postgres"), "a standby of another server")))
    {
        refuses(&primary, database, &["--replica", &url], "replica", says).await;
    }
    let output = support::osc()
        .args(["plan", "t", ADD, "--replica", &standby.url("postgres")])
        .args(["--url", &primary.url(database)])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
