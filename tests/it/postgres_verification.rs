//! Whatever is different in the shadow, PostgreSQL's verification finds it, and nothing is swapped.

use crate::support;

use crate::cli_run::Run;
use crate::support::postgres::Postgres;

/// Columns whose hash tells all, and columns whose text must be compared.
const TABLE: &str = "CREATE TYPE mood AS ENUM ('well', 'ill');
    CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE TABLE t (id int PRIMARY KEY, n int, name text, code char(8), d numeric, f float8,
                    m mood, folded text COLLATE any_case, doc jsonb, made int GENERATED ALWAYS AS (n + 1) STORED);
    INSERT INTO t SELECT i, i, 'name ' || i, 'c' || i, 1.0, 0, 'well', 'x', '{\"a\": 1.0}'
        FROM generate_series(1, 4000) AS i WHERE i <> 31;
    INSERT INTO t (id) VALUES (0);
    ANALYZE t";

async fn finds(server: &Postgres, damage: &str, keys: &[&str]) {
    let database = support::postgres_database(server).await;
    server.exec(&database, TABLE).await;
    let clauses = "ALTER n TYPE bigint, DROP COLUMN made, \
                   ADD made int GENERATED ALWAYS AS (id + 1) STORED";
    let arguments = ["t", clauses, "--chunk-size", "200", "--threads", "1"];
    let (run, point) = Run::until(&server.url(&database), &arguments, "chunk.copied").await;
    server.exec(&database, &damage.replace("shadow", "t_osc_new")).await;
    drop(point);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(5), "{damage}: {ended:#?}");
    for key in keys {
        assert!(ended.error().contains(key), "{damage}: {}", ended.error());
    }
    let kind = "SELECT atttypid::regtype FROM pg_attribute \
                WHERE attrelid = 't'::regclass AND attname = 'n'";
    assert_eq!(server.value(&database, kind).await, "integer", "it was swapped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_shadow_is_never_swapped_in() {
    let server = support::shared_postgres();
    tokio::join!(
        finds(server, "UPDATE shadow SET n = n + 1 WHERE id = 17", &["id = 17"]),
        finds(server, "UPDATE shadow SET name = NULL WHERE id = 18", &["id = 18"]),
        finds(server, "DELETE FROM shadow WHERE id = 19", &["id = 19"]),
        finds(server, "INSERT INTO shadow (id) VALUES (-5)", &["id = -5"]),
        // All else is NULL in the row.
        finds(server, "UPDATE shadow SET id = -1 WHERE id = 0", &["id = 0", "id = -1"]),
        finds(
            server,
            "UPDATE shadow SET n = CASE id WHEN 20 THEN 21 ELSE 20 END WHERE id IN (20, 21)",
            &["id = 20", "id = 21"],
        ),
        finds(server, "UPDATE shadow SET (name, code) = (code, name) WHERE id = 22", &["id = 22"],),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_equal_but_not_the_same_are_told_apart() {
    let server = support::shared_postgres();
    tokio::join!(
        finds(server, "UPDATE shadow SET d = 1.00 WHERE id = 23", &["id = 23"]),
        finds(server, "UPDATE shadow SET f = '-0' WHERE id = 24", &["id = 24"]),
        finds(server, "UPDATE shadow SET folded = 'X' WHERE id = 25", &["id = 25"]),
        finds(server, "UPDATE shadow SET doc = '{\"a\": 1.00}' WHERE id = 26", &["id = 26"]),
        finds(server, "UPDATE shadow SET m = 'ill' WHERE id = 27", &["id = 27"]),
    );
}
