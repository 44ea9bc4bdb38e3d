//! `osc` on PostgreSQL as its users meet it: methods, refusals, data that does not fit, what is left.

use crate::cli_run::{osc, printed};
use crate::support;

use crate::cli_run::Run;
use crate::support::postgres::{Major, Postgres};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, n int, name text NOT NULL, note text);
    INSERT INTO t SELECT i, i, 'name ' || i, 'note' FROM generate_series(1, 3000) AS i; ANALYZE t";

async fn table(server: &Postgres) -> String {
    let database = support::postgres_database(server).await;
    server.exec(&database, TABLE).await;
    database
}

/// Nothing of osc's but its ledger, and the table as it was.
async fn untouched(server: &Postgres, database: &str, why: &str) {
    let left = server
        .value(
            database,
            "SELECT concat_ws(', ', \
             (SELECT string_agg(relname, ' ') FROM pg_class WHERE relname LIKE '%osc\\_new%' \
              OR relname LIKE '%osc\\_old%'), \
             (SELECT string_agg(slot_name, ' ') FROM pg_replication_slots \
              WHERE database = current_database()), \
             (SELECT string_agg(pubname, ' ') FROM pg_publication), \
             (SELECT string_agg(nspname, ' ') FROM pg_namespace WHERE nspname LIKE 'osc\\_%'), \
             (SELECT string_agg(tgname, ' ') FROM pg_trigger WHERE NOT tgisinternal))",
        )
        .await;
    assert_eq!(left, "", "left behind by {why}");
    let rows = "SELECT count(*) || ' ' || sum(n) || ' ' || count(DISTINCT name) FROM t";
    assert_eq!(server.value(database, rows).await, "3000 4501500 3000", "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_rewrite_is_done_at_once() {
    let server = support::shared_postgres();
    let database = table(server).await;
    let file = "SELECT relfilenode FROM pg_class WHERE relname = 't'";
    let before = server.value(&database, file).await;
    for clauses in [
        "ADD COLUMN added int NOT NULL DEFAULT 7",
        "ALTER COLUMN note TYPE varchar",
        "RENAME COLUMN note TO remark",
        "DROP COLUMN remark",
    ] {
        let output = osc(server, &database, &["alter", "t", clauses, "--json", "--yes"]);
        assert_eq!(output.status.code(), Some(0), "{clauses}: {}", printed(&output));
        assert!(printed(&output).contains("instant"), "{clauses}: {}", printed(&output));
    }
    assert_eq!(server.value(&database, file).await, before, "it was rewritten");
    untouched(server, &database, "instant changes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_an_online_way_goes_by_steps() {
    let server = support::shared_postgres();
    let database = table(server).await;
    server
        .exec(&database, "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p SELECT id FROM t")
        .await;
    for change in [
        "CREATE INDEX t_n ON t (n)",
        "ALTER TABLE t ADD CONSTRAINT t_name UNIQUE (name)",
        "ALTER TABLE t ADD CONSTRAINT t_p FOREIGN KEY (n) REFERENCES p",
        "ALTER TABLE t ADD CHECK (n > 0), ALTER n SET NOT NULL",
        "DROP INDEX t_n",
    ] {
        let arguments: Vec<&str> = match change.starts_with("DROP") {
            true => vec!["alter", "t", change, "--strategy", "inplace"],
            false => vec!["alter", change, "--strategy", "inplace"],
        };
        let output = osc(server, &database, &arguments);
        assert_eq!(output.status.code(), Some(0), "{change}: {}", printed(&output));
    }
    let constraints = "SELECT string_agg(conname || convalidated, ' ' ORDER BY conname) \
                       FROM pg_constraint WHERE conrelid = 't'::regclass AND contype <> 'n'";
    let made = server.value(&database, constraints).await;
    assert_eq!(made, "t_n_checktrue t_nametrue t_ptrue t_pkeytrue");
    let not_null = "SELECT attnotnull FROM pg_attribute \
                    WHERE attrelid = 't'::regclass AND attname = 'n'";
    assert_eq!(server.value(&database, not_null).await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_rows_do_not_allow_leaves_nothing() {
    let server = support::shared_postgres();
    let database = table(server).await;
    server.exec(&database, "UPDATE t SET note = NULL WHERE id = 17").await;
    let constraints = "SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass";
    let indexes = "SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass";
    let before =
        [server.value(&database, constraints).await, server.value(&database, indexes).await];
    for (change, named) in [
        ("CREATE UNIQUE INDEX t_note ON t (note)", "(note)=(note)"),
        ("ALTER TABLE t ADD CONSTRAINT t_note UNIQUE (note)", "(note)=(note)"),
        ("ALTER TABLE t ADD CONSTRAINT t_small CHECK (n < 2000)", "t_small"),
        ("ALTER TABLE t ALTER note SET NOT NULL", "note"),
    ] {
        let output = osc(server, &database, &["alter", change]);
        assert_eq!(output.status.code(), Some(1), "{change}: {}", printed(&output));
        assert!(printed(&output).contains(named), "{change}: {}", printed(&output));
        let after =
            [server.value(&database, constraints).await, server.value(&database, indexes).await];
        assert_eq!(after, before, "{change}");
    }
    untouched(server, &database, "failed steps").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_does_not_fit_ends_the_run_and_is_named() {
    let server = support::shared_postgres();
    for (clauses, named) in [
        ("ALTER n TYPE bigint, ADD CONSTRAINT t_u UNIQUE (note)", "note"),
        ("ALTER name TYPE varchar(8)", "id = 1000"),
        ("ALTER n TYPE smallint USING (n * 100)::smallint", "id = 328"),
        ("ALTER n TYPE bigint, ADD CHECK (n <> 1500)", "id = 1500"),
    ] {
        let database = table(server).await;
        // One chunk after another: the first of these rows is found first.
        let arguments = ["t", clauses, "--threads", "1"];
        let ended = Run::at(&server.url(&database), &arguments).end().await;
        assert_eq!(ended.code, Some(1), "{clauses}: {ended:#?}");
        assert!(ended.error().contains(named), "{clauses}: {}", ended.error());
        untouched(server, &database, clauses).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_refused_before_the_start() {
    let server = support::shared_postgres();
    for (setup, clauses, named) in [
        ("ALTER TABLE t DROP CONSTRAINT t_pkey", "ALTER n TYPE bigint", "[copy-key]"),
        ("", "ALTER id TYPE text", "[copy-key]"),
        ("", "DROP COLUMN id, ALTER n TYPE bigint", "[copy-key]"),
        ("CREATE TABLE t_osc_new ()", "ALTER n TYPE bigint", "[leftovers]"),
        ("CREATE TABLE t_osc_old ()", "ALTER n TYPE bigint", "[leftovers]"),
        ("CREATE MATERIALIZED VIEW m AS SELECT n FROM t", "ALTER note TYPE bytea USING NULL", "m"),
        ("ALTER TABLE t RENAME TO u; CREATE VIEW t AS SELECT * FROM u", "ADD a int", "is a view"),
        ("", "RENAME TO u", "[clauses]"),
        ("", "OWNER TO postgres, ALTER n TYPE bigint", "OWNER TO"),
    ] {
        let database = table(server).await;
        if !setup.is_empty() {
            server.exec(&database, setup).await;
        }
        let shape = "SELECT string_agg(concat_ws(' ', attname, atttypid, attnotnull), ',' \
                     ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass";
        let before = server.value(&database, shape).await;
        let output = osc(server, &database, &["alter", "t", clauses, "--yes"]);
        assert_eq!(output.status.code(), Some(4), "{setup}; {clauses}: {}", printed(&output));
        assert!(printed(&output).contains(named), "{setup}; {clauses}: {}", printed(&output));
        assert_eq!(server.value(&database, shape).await, before, "{clauses}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_reported_with_its_place() {
    let server = support::shared_postgres();
    let database = table(server).await;
    for (clauses, named) in [
        ("ADD COLUMN", "line 1"),
        ("FROB x", "line 1"),
        ("ADD a int; DROP TABLE t", "one statement"),
    ] {
        let output = osc(server, &database, &["alter", "t", clauses]);
        assert_eq!(output.status.code(), Some(2), "{clauses}: {}", printed(&output));
        assert!(printed(&output).contains(named), "{clauses}: {}", printed(&output));
    }
    let output = osc(server, &database, &["alter", "nowhere", "ADD a int"]);
    assert_eq!(output.status.code(), Some(4), "{}", printed(&output));
    untouched(server, &database, "nonsense").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_changes_nothing() {
    let server = support::shared_postgres();
    let database = table(server).await;
    let everything = "SELECT count(*) FROM pg_class";
    let before = server.value(&database, everything).await;
    for (clauses, method) in [
        ("ADD a int", "instant"),
        ("ADD CONSTRAINT u UNIQUE (name)", "inplace"),
        ("ALTER n TYPE bigint", "copy"),
    ] {
        let output = osc(server, &database, &["plan", "t", clauses]);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        assert!(printed(&output).contains(&format!("1. {method}")), "{}", printed(&output));
    }
    assert_eq!(server.value(&database, everything).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_logical_decoding_triggers_tell_the_changes() {
    let server = Postgres::start_with(Major::SYSTEM, &[("wal_level", "replica")]);
    let database = table(&server).await;
    let arguments = ["t", "ALTER n TYPE bigint", "--chunk-size", "200", "--threads", "1"];
    let (run, point) = Run::until(&server.url(&database), &arguments, "chunk.copied@3").await;
    server
        .exec(&database, "UPDATE t SET n = -n WHERE id <= 100; DELETE FROM t WHERE id > 2990")
        .await;
    server.exec(&database, "INSERT INTO t VALUES (-1, 5, 'new', NULL)").await;
    drop(point);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.tells("note", "triggers"), "{ended:#?}");
    let sums = "SELECT count(*) || ' ' || sum(n) || ' ' || pg_typeof(min(n)) FROM t";
    let sum: i64 = (101..=2990).sum::<i64>() - (1..=100).sum::<i64>() + 5;
    assert_eq!(server.value(&database, sums).await, format!("2991 {sum} bigint"));
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 't_osc_old'::regclass \
                    AND tgname LIKE 'osc%' AND NOT tgisinternal";
    assert_eq!(server.value(&database, triggers).await, "1", "only the guard stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_pgoutput_is_not_listed_triggers_tell_the_changes() {
    let server = support::shared_postgres();
    let database = table(server).await;
    // Only releases since August 2026 have the list; the others use the slot as ever.
    let has = "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'";
    let listed = server.value(&database, has).await == "1";
    if listed {
        let unlisted =
            format!("ALTER DATABASE {database} SET output_plugin_libraries = 'test_decoding'");
        server.exec("postgres", &unlisted).await;
    }
    let ended = Run::at(&server.url(&database), &["t", "ALTER n TYPE bigint"]).end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(
        ended.tells("note", "output_plugin_libraries does not list pgoutput"),
        listed,
        "{ended:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cleanup_drops_what_an_unfinished_run_left_and_then_the_retired_table() {
    let server = support::shared_postgres();
    let database = table(server).await;
    let arguments = ["t", "ALTER n TYPE bigint", "--chunk-size", "100"];
    Run::until(&server.url(&database), &arguments, "chunk.copied").await.0.kill();
    let cleaned = || osc(server, &database, &["cleanup", "t", "--yes", "--now"]);
    // The killed run's sessions may hold its lock for a moment.
    let mut output = cleaned();
    for _ in 0..50 {
        if output.status.code() != Some(4) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        output = cleaned();
    }
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    untouched(server, &database, "a killed run").await;
    Run::at(&server.url(&database), &["t", "ALTER n TYPE bigint"]).done().await;
    let output = cleaned();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert_eq!(server.value(&database, "SELECT to_regclass('t_osc_old') IS NULL").await, "t");
    let status = osc(server, &database, &["status", "t"]);
    assert!(printed(&status).contains("rows verified equal"), "{}", printed(&status));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_swap_never_queues_behind_an_old_transaction() {
    let server = support::shared_postgres();
    let database = table(server).await;
    let application = server.client(&database).await;
    application.batch_execute("BEGIN; UPDATE t SET n = -5 WHERE id = 5").await.unwrap();
    let writer = server.client(&database).await;
    // Logical decoding begins when those who are writing have ended.
    let url = server.url(&database);
    application.batch_execute("COMMIT; BEGIN; SELECT * FROM t WHERE id = 1").await.unwrap();
    let mut run = Run::at(&url, &["t", "ALTER n TYPE bigint", "--cut-over-attempts", "1000"]);
    let retry = run.event(|event| event["event"] == "cut-over-retry").await;
    assert!(retry.to_string().contains("blocked by session"), "{retry}");
    writer.batch_execute("UPDATE t SET n = -6 WHERE id = 6").await.unwrap();
    application.batch_execute("COMMIT").await.unwrap();
    run.done().await;
    let values = "SELECT string_agg(n::text, ',' ORDER BY id) FROM t WHERE id IN (5, 6)";
    assert_eq!(server.value(&database, values).await, "-5,-6");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_session_adds_just_before_the_swap_is_not_lost() {
    let server = support::shared_postgres();
    for (adds, there, drops) in [
        ("CREATE INDEX late ON t (name)", "to_regclass('late') IS NOT NULL", "DROP INDEX late"),
        (
            "ALTER TABLE t ADD late int",
            "EXISTS (SELECT FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'late')",
            "ALTER TABLE t DROP late",
        ),
        (
            "ALTER TABLE t ALTER n SET DEFAULT 7",
            "EXISTS (SELECT FROM pg_attrdef WHERE adrelid = 't'::regclass)",
            "ALTER TABLE t ALTER n DROP DEFAULT",
        ),
        // What hangs on a table is not part of how it looks: it is read again under the lock only.
        (
            "CREATE VIEW late AS SELECT id FROM t",
            "to_regclass('late') IS NOT NULL",
            "DROP VIEW late",
        ),
    ] {
        let database = table(server).await;
        let file = format!("{}/before-the-swap-{database}", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&file, "cut_over = \"hold\"").unwrap();
        let mut run =
            Run::at(&server.url(&database), &["t", "ALTER n TYPE bigint", "--control-file", &file]);
        run.phase("hold").await;
        server.exec(&database, adds).await;
        std::fs::remove_file(&file).unwrap();
        let ended = run.end().await;
        assert_eq!(ended.code, Some(1), "{adds}: {ended:#?}");
        assert!(
            ended.error().contains("left the original table unchanged"),
            "{adds}: {}",
            ended.error()
        );
        assert_eq!(server.value(&database, &format!("SELECT {there}")).await, "t", "{adds}");
        server.exec(&database, drops).await;
        untouched(server, &database, adds).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_would_refuse_in_the_swap_is_known_before_the_copy() {
    let server = support::shared_postgres();
    for (hangs, clauses, word) in [
        (
            "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p SELECT id FROM t; \
             ALTER TABLE t ADD CONSTRAINT t_p FOREIGN KEY (n) REFERENCES p",
            "ALTER n TYPE text",
            "t_p",
        ),
        (
            "ALTER TABLE t ADD CONSTRAINT u UNIQUE (n); \
             CREATE TABLE c (t_n int CONSTRAINT c_t REFERENCES t (n)); INSERT INTO c SELECT n FROM t",
            "ALTER n TYPE text",
            "c_t",
        ),
        (
            "CREATE POLICY own ON t USING (n > 0); ALTER TABLE t ENABLE ROW LEVEL SECURITY",
            "ALTER n TYPE text",
            "text > integer",
        ),
    ] {
        let database = table(server).await;
        server.exec(&database, hangs).await;
        let arguments = ["alter", "t", clauses, "--strategy", "copy", "--yes", "--json"];
        let output = osc(server, &database, &arguments);
        let printed = printed(&output);
        assert_eq!(output.status.code(), Some(4), "{clauses}: {printed}");
        assert!(
            printed.contains("the swap would fail") && printed.contains(word),
            "{clauses}: {printed}"
        );
        assert!(!printed.contains("\"phase\":\"copy\""), "{clauses}: {printed}");
        let left = "SELECT to_regclass('t_osc_new') IS NULL AND count(*) = 3000 FROM t";
        assert_eq!(server.value(&database, left).await, "t", "{clauses}");
    }
}

/// The rights that the README asks for, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_rights_of_the_manual_changes_a_table_of_another_owner() {
    let server = Postgres::start(Major::SYSTEM);
    server
        .exec(
            "postgres",
            "CREATE ROLE shop_owner; CREATE ROLE osc LOGIN REPLICATION; GRANT shop_owner TO osc",
        )
        .await;
    let database = table(&server).await;
    server
        .exec(
            &database,
            &format!(
                "ALTER TABLE t OWNER TO shop_owner; CREATE VIEW v AS SELECT n FROM t; \
                 ALTER VIEW v OWNER TO shop_owner; GRANT SELECT ON t TO PUBLIC; \
                 GRANT CREATE ON DATABASE {database} TO osc; GRANT CREATE ON SCHEMA public TO osc, shop_owner"
            ),
        )
        .await;
    let url = server.url_as("osc", &database);
    for arguments in [
        &["plan", "t", "ALTER n TYPE bigint", "--strategy", "copy"][..],
        &["alter", "t", "ALTER n TYPE bigint", "--strategy", "copy", "--yes"],
        &["cleanup", "t", "--yes", "--now"],
    ] {
        let output = support::osc().args(arguments).args(["--url", &url]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", printed(&output));
    }
    let owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 't'::regclass";
    assert_eq!(server.value(&database, owner).await, "shop_owner");
    assert_eq!(server.value(&database, "SELECT pg_typeof(n) FROM t LIMIT 1").await, "bigint");
    // An owner who may not create in the schema gets his table back all the same.
    server
        .exec(
            &database,
            "REVOKE CREATE ON SCHEMA public FROM shop_owner; CREATE TABLE u (id int PRIMARY KEY, \
             n int GENERATED ALWAYS AS IDENTITY, s serial); ALTER TABLE u OWNER TO shop_owner; \
             INSERT INTO u SELECT generate_series(1, 50)",
        )
        .await;
    let clauses = "ALTER n TYPE bigint, PARTITION BY RANGE (id) (PARTITION u_a FOR VALUES FROM (MINVALUE) TO (9), \
                   PARTITION u_b DEFAULT)";
    for clauses in ["ALTER n TYPE bigint", clauses] {
        let command = ["alter", "u", clauses, "--url", &url, "--strategy", "copy", "--yes"];
        let output = support::osc().args(command).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{clauses}: {}", printed(&output));
        server.exec(&database, "DROP TABLE u_osc_old").await;
    }
    let owners = "SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ' ') || ' ' || count(*) FROM pg_class \
                  WHERE relname LIKE 'u\\_%' OR relname = 'u'";
    let owners = server.value(&database, owners).await;
    assert!(owners.starts_with("shop_owner "), "{owners}");
    let schemas = "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^pg_'";
    assert_eq!(server.value(&database, schemas).await, "information_schema osc public");
}
