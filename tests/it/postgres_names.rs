//! Names that were not given are the server's; names that a user chose do not clash with osc's; and what the
//! server says of a long step is reported.

use crate::cli_run::{osc, printed};
use crate::support;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

const NAMES: &str = "SELECT string_agg(name, ' ' ORDER BY name) FROM (\
     SELECT conname AS name FROM pg_constraint WHERE contype <> 'n' AND connamespace = 'public'::regnamespace \
     UNION SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace) n \
     WHERE name NOT LIKE 'osc%'";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_no_name_has_the_servers() {
    let server = support::shared_postgres();
    let table = "CREATE TABLE p (id int PRIMARY KEY); \
                 CREATE TABLE t (id int PRIMARY KEY, a int, b int, c text, d int, \
                 CONSTRAINT t_c_key CHECK (a IS DISTINCT FROM -1)); \
                 CREATE TABLE other (id int, CONSTRAINT t_a_check CHECK (id > 0)); \
                 CREATE SEQUENCE t_d_idx; CREATE INDEX t_b_idx ON t USING hash (b); \
                 INSERT INTO t SELECT i, i, i, i, i FROM generate_series(1, 20) i; \
                 INSERT INTO p SELECT id FROM t";
    let long = "a_column_whose_name_is_so_long_that_the_servers_names_are_cut";
    let add = format!("ADD COLUMN {long} int, ADD UNIQUE ({long}, b), ADD CHECK ({long} > 0)");
    for change in [
        "ALTER TABLE t ADD CHECK (b > 0), ADD CHECK (b < 100)",
        "ALTER TABLE t ADD CHECK (a > 0), ADD CHECK (a < b + 1)",
        "ALTER TABLE t ADD UNIQUE (c), ADD FOREIGN KEY (d) REFERENCES p",
        "ALTER TABLE t ADD FOREIGN KEY (d) REFERENCES p, ADD FOREIGN KEY (d) REFERENCES p",
        "ALTER TABLE t ALTER COLUMN id TYPE bigint, ADD CHECK (b > 0), ADD UNIQUE (c), ADD UNIQUE (a, b)",
        "ALTER TABLE t ALTER COLUMN id TYPE bigint, ADD EXCLUDE (c WITH =), ADD COLUMN e serial",
        &format!("ALTER TABLE t {add}"),
        "CREATE INDEX ON t (lower(c), (a + b))",
        "CREATE INDEX ON t (d)",
        "CREATE UNIQUE INDEX ON t (b)",
    ] {
        let (ours, twin) =
            (support::postgres_database(server).await, support::postgres_database(server).await);
        server.exec(&ours, table).await;
        server.exec(&twin, table).await;
        server.exec(&twin, change).await;
        let output = osc(server, &ours, &["alter", change]);
        assert_eq!(output.status.code(), Some(0), "{change}: {}", printed(&output));
        let _ = osc(server, &ours, &["cleanup", "t", "--yes", "--now"]);
        let (ours, twin) = (server.value(&ours, NAMES).await, server.value(&twin, NAMES).await);
        assert_eq!(ours, twin, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_refused_before_the_copy() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    let table = "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE SEQUENCE taken";
    server.exec(&database, table).await;
    let clauses = "ALTER COLUMN id TYPE bigint, ADD CONSTRAINT taken EXCLUDE (v WITH =)";
    let output = osc(server, &database, &["alter", "t", clauses]);
    assert_eq!(output.status.code(), Some(4), "{}", printed(&output));
    assert!(printed(&output).contains("public.taken exists already"), "{}", printed(&output));
    let left = "SELECT count(*) FROM pg_class WHERE relname LIKE 't\\_osc%'";
    assert_eq!(server.value(&database, left).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitions_index_has_the_servers_name_and_is_not_built_twice() {
    let server = support::shared_postgres();
    let table = "CREATE TABLE t (id int, b int) PARTITION BY RANGE (id); \
                 CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10); \
                 CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id); \
                 CREATE TABLE t2a PARTITION OF t2 DEFAULT; CREATE INDEX mine ON t1 (b)";
    let (ours, twin) =
        (support::postgres_database(server).await, support::postgres_database(server).await);
    server.exec(&ours, table).await;
    server.exec(&twin, table).await;
    server.exec(&twin, "CREATE INDEX ON t (b)").await;
    let output = osc(server, &ours, &["alter", "CREATE INDEX ON t (b)"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let (ours, twin) = (server.value(&ours, NAMES).await, server.value(&twin, NAMES).await);
    assert!(ours.contains("mine") && !ours.contains("t1_b_idx"), "{ours}");
    assert_eq!(ours, twin);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_dropped_by_its_name_alone() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    let table = "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE INDEX k ON t (v); \
                 CREATE INDEX k2 ON t (v)";
    server.exec(&database, table).await;
    for change in ["DROP INDEX k", "DROP INDEX public.k2"] {
        let plan = osc(server, &database, &["plan", change]);
        assert_eq!(plan.status.code(), Some(0), "{}", printed(&plan));
        let output = osc(server, &database, &["alter", change]);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        let again = osc(server, &database, &["alter", change]);
        assert_eq!(again.status.code(), Some(4), "{}", printed(&again));
    }
    let left = "SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass";
    assert_eq!(server.value(&database, left).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_to_a_table_that_is_not_there_is_refused_at_once() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    server.exec(&database, "CREATE TABLE t (id int PRIMARY KEY, v int)").await;
    for clauses in [
        "ADD FOREIGN KEY (v) REFERENCES nowhere (id)",
        "ALTER COLUMN id TYPE bigint, ADD FOREIGN KEY (v) REFERENCES nowhere",
        "ADD COLUMN w int REFERENCES else_where.nowhere",
    ] {
        for command in ["plan", "alter"] {
            let output = osc(server, &database, &[command, "t", clauses]);
            assert_eq!(output.status.code(), Some(4), "{clauses}: {}", printed(&output));
            assert!(printed(&output).contains("nowhere"), "{}", printed(&output));
        }
    }
}

/// Duplicates are looked for by keys that have names of osc's beside the user's columns.
#[tokio::test(flavor = "multi_thread")]
async fn a_users_columns_may_have_the_names_of_oscs() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    let table = "CREATE TABLE t (osc_k0 int PRIMARY KEY, osc_k1 int, osc_u0 int, osc_h int, osc_n int, \
                 p int, q int, o int, s int, a int); \
                 INSERT INTO t SELECT i, i, i, i, i, i, i, i, i, i FROM generate_series(1, 100) i; \
                 UPDATE t SET osc_u0 = 7 WHERE osc_k0 = 9";
    server.exec(&database, table).await;
    for indexes in ["during", "after"] {
        let clauses = "ALTER COLUMN osc_k0 TYPE bigint, ADD CONSTRAINT one UNIQUE (osc_u0)";
        let output = osc(server, &database, &["alter", "t", clauses, "--indexes", indexes]);
        assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
        assert!(printed(&output).contains("(7)"), "{}", printed(&output));
    }
    let output = osc(server, &database, &["alter", "t", "ALTER COLUMN osc_k0 TYPE bigint"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_tells_its_phase_and_whom_it_waits_for() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    let table = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)";
    server.exec(&database, table).await;
    let writer = server.client(&database).await;
    writer.batch_execute("BEGIN; UPDATE t SET v = 2").await.unwrap();
    let pid: i32 = writer.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let mut child = support::osc()
        .args(["alter", "CREATE INDEX k ON t (v)", "--json", "--url", &server.url(&database)])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let blocked = format!("blocked by session {pid} ");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reported = lines.by_ref().map(Result::unwrap).find(|line| line.contains(&blocked));
    let reported = reported.expect("the blocker is named while the build waits for it");
    assert!(reported.contains("index public.k"), "{reported}");
    assert!(reported.contains("waiting for"), "{reported}");
    writer.batch_execute("COMMIT").await.unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:?}");
}
