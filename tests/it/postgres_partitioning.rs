//! A plain table that becomes a partitioned one: PostgreSQL has no clause for it, osc has.

use crate::support;
use std::time::Duration;

use crate::cli_run::{Run, osc, printed};
use crate::support::postgres::{Major, Postgres};
use crate::support::postgres_twin::{KeyKind, Twin};
use crate::support::writers::Writers;

/// `osc cleanup`, as soon as a killed run's sessions are gone.
async fn clean_up(server: &Postgres, database: &str) {
    let mut output = osc(server, database, &["cleanup", "t", "--yes", "--now"]);
    for _ in 0..50 {
        if output.status.code() == Some(0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        output = osc(server, database, &["cleanup", "t", "--yes", "--now"]);
    }
    panic!("{}", printed(&output));
}

/// Names of all tables, in order.
async fn tables(server: &Postgres, database: &str) -> String {
    let sql = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class \
               WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')";
    server.value(database, sql).await
}

const MANY: &str = "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
    at date NOT NULL, n int, note text DEFAULT 'none' CHECK (note <> ''));
    INSERT INTO t (at, n) SELECT date '2024-01-01' + i % 700, i FROM generate_series(1, 3000) i;
    ANALYZE t";

const BY_YEAR: &str = "DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, at), PARTITION BY RANGE (at) \
    (PARTITION t_2024 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01'), \
     PARTITION t_later DEFAULT)";

#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_lost_while_a_table_becomes_partitioned() {
    // The key names rows of the original; the first one is unique in each partition only.
    let weak = "DROP CONSTRAINT t_u_key, DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, k), \
                PARTITION BY RANGE (k) (PARTITION few FOR VALUES FROM (MINVALUE) TO (20), \
                PARTITION some FOR VALUES FROM (20) TO (75), PARTITION rest DEFAULT)";
    let text = weak.replace("(id, k)", "(id, k), ALTER COLUMN k FIRST");
    let strong = "DROP CONSTRAINT t_u_key, PARTITION BY HASH (a) \
                  (PARTITION h0 FOR VALUES WITH (MODULUS 2, REMAINDER 0), \
                  PARTITION h1 FOR VALUES WITH (MODULUS 2, REMAINDER 1))";
    for (major, key, clauses, partitions) in [
        (Major::SYSTEM, KeyKind::Int, weak, 3),
        (Major::SYSTEM, KeyKind::Text, text.as_str(), 3),
        (newest(), KeyKind::Int, weak, 3),
        (newest(), KeyKind::Composite, strong, 2),
    ] {
        let server = Postgres::start(major);
        let database = support::postgres_database(&server).await;
        let twin = Twin::create(&server, &database, key, 3000).await;
        let writers = Writers::start(&twin, 4, 5);
        writers.wait_for_more(50).await;
        let arguments = ["t", clauses, "--chunk-size", "100", "--max-rows-per-second", "3000"];
        let mut run = Run::at(&server.url(&database), &arguments);
        run.phase("copy").await;
        writers.wait_for_more(50).await;
        run.kill();
        writers.wait_for_more(50).await;
        let again = ["t", clauses, "--chunk-size", "100"];
        let mut ended = Run::at(&server.url(&database), &again).end().await;
        for _ in 0..20 {
            if ended.code != Some(4) {
                break;
            }
            // The killed run's sessions have its lock for a moment.
            tokio::time::sleep(Duration::from_millis(200)).await;
            ended = Run::at(&server.url(&database), &again).end().await;
        }
        assert_eq!(ended.code, Some(0), "{major:?} {clauses}: {ended:#?}");
        writers.wait_for_more(50).await;
        let mut report = writers.stop().await;
        // What says ON CONFLICT (id) needs an index over that alone, which is not there any more.
        report.unexpected.retain(|error, _| partitions == 2 || !error.contains("42P10"));
        report.assert_undisturbed();
        let columns = key.columns().join(", ") + ", u, v, n, d, j, ts, big, k";
        for (here, there) in [("public.t", "twin.t"), ("twin.t", "public.t")] {
            let only = format!(
                "SELECT count(*) FROM (SELECT ROW({columns})::text FROM {here} \
                 EXCEPT ALL SELECT ROW({columns})::text FROM {there}) differing"
            );
            assert_eq!(server.value(&database, &only).await, "0", "{clauses}: only in {here}");
        }
        let filled = "SELECT count(DISTINCT tableoid) FROM t";
        assert_eq!(server.value(&database, filled).await, partitions.to_string(), "{clauses}");
        let invalid = "SELECT count(*) FILTER (WHERE NOT i.indisvalid) || ' ' || count(*) \
                       FROM pg_index i WHERE i.indrelid = 't'::regclass OR i.indrelid IN \
                       (SELECT inhrelid FROM pg_inherits WHERE inhparent = 't'::regclass)";
        let indexes = format!("0 {}", 2 * (partitions + 1));
        assert_eq!(server.value(&database, invalid).await, indexes, "{clauses}");
    }
}

fn newest() -> Major {
    Major::installed().into_iter().max().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_on_the_table_hangs_on_the_partitioned_one() {
    for major in Major::installed() {
        let server = Postgres::start(major);
        let database = support::postgres_database(&server).await;
        server.exec(&database, MANY).await;
        let hangs = "CREATE ROLE reader; CREATE ROLE stranger;
            ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO stranger;
            REVOKE ALL ON t FROM stranger; GRANT SELECT ON t TO reader;
            ALTER TABLE t SET (fillfactor = 70), ALTER n SET STATISTICS 300,
                ALTER note SET STORAGE EXTERNAL;
            CREATE INDEX t_n ON t (n); CREATE INDEX t_low ON t (lower(note)) WHERE n > 5;
            ALTER TABLE t ADD CONSTRAINT t_at_n UNIQUE (at, n) WITH (fillfactor = 80);
            CREATE STATISTICS t_stat ON n, note FROM t;
            COMMENT ON TABLE t IS 'many'; COMMENT ON COLUMN t.n IS 'number';
            CREATE VIEW v AS SELECT id, n FROM t WHERE n > 0;
            CREATE TABLE log (id bigint);
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN INSERT INTO log VALUES (new.id); RETURN new; END';
            CREATE TRIGGER noted AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
            ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (n < 100000);
            CREATE PUBLICATION pub FOR TABLE t WITH (publish_via_partition_root = true)";
        server.exec(&database, hangs).await;
        let output = osc(&server, &database, &["alter", "t", BY_YEAR, "--yes"]);
        assert_eq!(output.status.code(), Some(0), "{major:?} {}", printed(&output));
        let one = async |sql: &str| server.value(&database, sql).await;
        assert_eq!(tables(&server, &database).await, "log t t_2024 t_later t_osc_old");
        for (what, sql, expected) in [
            ("rows", "SELECT count(*) || ' ' || sum(n) FROM t", "3000 4501500"),
            (
                "partitions",
                "SELECT string_agg(DISTINCT tableoid::regclass::text, ' ') FROM t WHERE \
              at < '2025-01-01'",
                "t_2024",
            ),
            ("trigger", "INSERT INTO t (at, n) VALUES ('2030-01-01', 9) RETURNING id", "3001"),
            ("trigger", "SELECT count(*) || ' ' || max(id) FROM log", "1 3001"),
            ("view", "SELECT max(id) FROM v", "3001"),
            (
                "comments",
                "SELECT obj_description('t'::regclass) || col_description('t'::regclass, 3)",
                "manynumber",
            ),
            (
                "storage",
                "SELECT string_agg(array_to_string(reloptions, ','), ' ') FROM pg_class \
              WHERE oid IN ('t'::regclass, 't_2024'::regclass, 't_later'::regclass)",
                "fillfactor=70 fillfactor=70",
            ),
            (
                "targets",
                "SELECT string_agg(attstattarget || attstorage::text, ' ') FROM pg_attribute \
              WHERE attrelid IN ('t'::regclass, 't_2024'::regclass) AND attname = 'n'",
                "300p 300p",
            ),
            (
                "column storage",
                "SELECT attstorage FROM pg_attribute WHERE attname = 'note' \
              AND attrelid = 't_2024'::regclass",
                "e",
            ),
            (
                "rights",
                "SELECT concat(has_table_privilege('reader', 't', 'SELECT'), \
              has_table_privilege('reader', 't_2024', 'SELECT'), \
              has_table_privilege('stranger', 't_2024', 'SELECT'), \
              has_table_privilege('stranger', 't', 'SELECT'))",
                "tfff",
            ),
            (
                "statistics",
                "SELECT stxname FROM pg_statistic_ext WHERE stxrelid = 't'::regclass",
                "t_stat",
            ),
            (
                "constraint",
                "SELECT pg_get_constraintdef(c.oid) || array_to_string(i.reloptions, ',') \
              FROM pg_constraint c JOIN pg_class i ON i.oid = c.conindid WHERE conname = 't_at_n' \
              AND conrelid = 't'::regclass",
                "UNIQUE (at, n)fillfactor=80",
            ),
            (
                "indexes",
                "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class \
              WHERE relkind = 'I'",
                "t_at_n t_low t_n t_pkey",
            ),
            (
                "policy",
                "SELECT relrowsecurity || ' ' || (SELECT count(*) FROM pg_policy \
              WHERE polrelid = c.oid) FROM pg_class c WHERE oid = 't'::regclass",
                "true 1",
            ),
            (
                "publication",
                "SELECT count(*) FROM pg_publication_tables WHERE pubname = 'pub' \
              AND tablename = 't'",
                "1",
            ),
            ("analysed", "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 't'", "t"),
        ] {
            assert_eq!(one(sql).await, expected, "{major:?} {what}");
        }
        clean_up(&server, &database).await;
        assert_eq!(tables(&server, &database).await, "log t t_2024 t_later");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_fits_no_partition_ends_the_run() {
    let server = support::shared_postgres();
    let only_2024 = BY_YEAR.replace(", PARTITION t_later DEFAULT", "");
    let database = support::postgres_database(server).await;
    server.exec(&database, MANY).await;
    server.exec(&database, "DELETE FROM t WHERE at >= '2025-01-01' AND id <> 500").await;
    let output = osc(server, &database, &["alter", "t", &only_2024, "--yes"]);
    let reported = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{reported}");
    assert!(
        reported.contains("no partition of relation") && reported.contains("id = 500"),
        "{reported}"
    );
    assert_eq!(tables(server, &database).await, "t");
    // One that comes while the others are copied.
    server.exec(&database, "DELETE FROM t WHERE id = 500").await;
    let arguments = ["t", &only_2024, "--chunk-size", "100", "--threads", "1"];
    let (run, point) = Run::until(&server.url(&database), &arguments, "chunk.copied@2").await;
    server.exec(&database, "UPDATE t SET at = '2031-01-01' WHERE id = 5").await;
    drop(point);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.complaints.contains("id = 5"), "{ended:#?}");
    assert_eq!(tables(server, &database).await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_runs_partitions_go_with_its_shadow() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    server.exec(&database, MANY).await;
    let arguments = ["t", BY_YEAR, "--chunk-size", "100", "--threads", "1"];
    let url = server.url(&database);
    Run::until(&url, &arguments, "chunk.copied").await.0.kill();
    assert_eq!(tables(server, &database).await, "t t_2024 t_later t_osc_new");
    clean_up(server, &database).await;
    assert_eq!(tables(server, &database).await, "t");
    // Somebody who adds a partition is noticed.
    let (run, point) = Run::until(&url, &arguments, "chunk.copied").await;
    server
        .exec(
            &database,
            "CREATE TABLE old PARTITION OF t_osc_new FOR VALUES FROM (MINVALUE) TO ('1999-01-01')",
        )
        .await;
    drop(point);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.complaints.contains("another session changed"), "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_clash_on_a_new_unique_key_are_named() {
    let server = support::shared_postgres();
    let clauses = format!("{BY_YEAR}, ADD UNIQUE (n, at)");
    for indexes in ["during", "after"] {
        let database = support::postgres_database(server).await;
        server.exec(&database, MANY).await;
        server.exec(&database, "UPDATE t SET n = 7, at = '2024-03-01' WHERE id IN (5, 2995)").await;
        let arguments =
            ["alter", "t", &clauses, "--yes", "--indexes", indexes, "--chunk-size", "100"];
        let output = osc(server, &database, &arguments);
        let reported = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{reported}");
        assert!(reported.contains("(5)") && reported.contains("(2995)"), "{indexes}: {reported}");
        assert_eq!(tables(server, &database).await, "t", "{indexes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlogged_table_gets_unlogged_partitions() {
    let server = Postgres::start(newest());
    let database = support::postgres_database(&server).await;
    server.exec(&database, &MANY.replace("CREATE TABLE", "CREATE UNLOGGED TABLE")).await;
    let output = osc(&server, &database, &["alter", "t", BY_YEAR, "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let kinds = "SELECT string_agg(relpersistence::text, '' ORDER BY relname) FROM pg_class \
                 WHERE relname IN ('t_2024', 't_later')";
    assert_eq!(server.value(&database, kinds).await, "uu");
    assert_eq!(server.value(&database, "SELECT count(*) FROM t").await, "3000");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_partitioned_is_refused_before_the_start() {
    let server = support::shared_postgres();
    let bare = BY_YEAR.replace("DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, at), ", "");
    let turned = BY_YEAR.replace("(id, at)", "(at, id)");
    let overlapping =
        BY_YEAR.replace("DEFAULT", "FOR VALUES FROM ('2024-05-01') TO ('2026-01-01')");
    let named = BY_YEAR.replace("t_later", "other");
    let helper = BY_YEAR.replace("t_later", "t_osc_new");
    let keyed = format!("{BY_YEAR}, ADD FOREIGN KEY (n) REFERENCES other");
    for (setup, clauses, words) in [
        ("", bare.as_str(), "must include all partitioning columns"),
        ("", turned.as_str(), "begins with id"),
        ("", overlapping.as_str(), "would overlap"),
        (
            "CREATE TABLE other (id int PRIMARY KEY)",
            &named,
            "the name other of a partition is taken",
        ),
        ("", &helper, "the name t_osc_new of a partition is taken"),
        ("CREATE TABLE other (id int PRIMARY KEY)", &keyed, "only by a scan under its lock"),
        ("ALTER TABLE t ADD UNIQUE (n)", BY_YEAR, "t_n_key"),
        (
            "CREATE TABLE o (id int PRIMARY KEY); INSERT INTO o SELECT n FROM t; \
             ALTER TABLE t ADD CONSTRAINT t_o FOREIGN KEY (n) REFERENCES o",
            BY_YEAR,
            "the foreign key t_o",
        ),
        (
            "CREATE TABLE c (t_id bigint CONSTRAINT c_t REFERENCES t)",
            BY_YEAR,
            "the foreign key c_t",
        ),
        ("CREATE PUBLICATION pub FOR TABLE t", BY_YEAR, "publish_via_partition_root"),
        ("ALTER TABLE t CLUSTER ON t_pkey", BY_YEAR, "WITHOUT CLUSTER"),
        ("ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey", BY_YEAR, "replica identity"),
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'; \
             CREATE TRIGGER tt AFTER INSERT ON t REFERENCING NEW TABLE AS fresh FOR EACH ROW \
             EXECUTE FUNCTION f()",
            BY_YEAR,
            "the trigger tt",
        ),
        ("ALTER TABLE t ADD CHECK (n > 0) NO INHERIT", BY_YEAR, "NO INHERIT"),
    ] {
        let database = support::postgres_database(server).await;
        server.exec(&database, MANY).await;
        server.exec(&database, setup).await;
        let before = tables(server, &database).await;
        let output = osc(server, &database, &["alter", "t", clauses, "--yes"]);
        let reported = printed(&output).replace('"', "");
        let both = [output.status.code() == Some(4), reported.contains(words)];
        assert_eq!(both, [true, true], "{setup}; {clauses}: {reported}");
        assert_eq!(tables(server, &database).await, before, "{setup}; {clauses}");
    }
    let database = support::postgres_database(server).await;
    server.exec(&database, MANY).await;
    for strategy in ["instant", "inplace"] {
        let output = osc(server, &database, &["alter", "t", BY_YEAR, "--strategy", strategy]);
        assert_eq!(output.status.code(), Some(4), "{}", printed(&output));
        assert!(
            printed(&output).contains("partitions no table that is there"),
            "{}",
            printed(&output)
        );
    }
    let plan = osc(server, &database, &["plan", "t", BY_YEAR]);
    assert_eq!(plan.status.code(), Some(0), "{}", printed(&plan));
    for words in ["PARTITION OF", "keeps id unique within each partition only", "copy: PostgreSQL"]
    {
        assert!(printed(&plan).contains(words), "{words}: {}", printed(&plan));
    }
    for wrong in ["PARTITION BY RANGE (at)", "PARTITION BY RANGE (at) (PARTITION p)"] {
        let output = osc(server, &database, &["alter", "t", wrong]);
        assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    }
    assert_eq!(tables(server, &database).await, "t");
}
