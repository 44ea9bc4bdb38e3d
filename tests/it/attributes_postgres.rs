//! Everything that the catalog can say about a PostgreSQL table: after a copy it says the same as after
//! the server's own ALTER on a twin, or the table was refused before the copy. The list of all that is
//! `attributes/postgres.txt`; a server whose catalog knows more fails the first test.

use crate::cli_run::{osc, printed};
use crate::support;
use std::time::Duration;

use crate::attributes::{classified, everything, picture, unknown};
use crate::support::postgres::{Major, Postgres};

/// Changes that rewrite the table: an identity column's type, a serial one's, and another's.
const REWRITE: &str = "ALTER COLUMN lately TYPE bigint, ALTER COLUMN id TYPE bigint, \
                       ALTER COLUMN serial TYPE bigint";

/// A change that changes nothing, for which osc makes the table again.
const REBUILD: &str = "ALTER list TYPE int[]";

/// Roles and a tablespace, which belong to the whole server.
async fn prepare(server: &Postgres) {
    let sql = "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'osc_owner') THEN \
               CREATE ROLE osc_owner; CREATE ROLE osc_reader; CREATE ROLE osc_other; END IF; END $$";
    let client = server.client("postgres").await;
    support::postgres::exec(&client, "SELECT pg_advisory_lock(77)").await;
    support::postgres::exec(&client, sql).await;
    let there = "SELECT spcname FROM pg_tablespace WHERE spcname = 'osc_ts'";
    if support::postgres::rows(&client, there).await.is_empty() {
        support::postgres::exec(&client, "SET allow_in_place_tablespaces = on").await;
        support::postgres::exec(&client, "CREATE TABLESPACE osc_ts LOCATION ''").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attribute_of_the_catalog_is_classified() {
    for major in Major::installed() {
        let server = Postgres::start(major);
        let unknown = unknown(&server).await;
        let number = major.number();
        assert!(unknown.is_empty(), "PostgreSQL {number} knows more: {unknown:#?}");
    }
}

/// Alters `everything` in two databases, once by osc and once by the server, and compares what the
/// catalog says.
async fn alike(server: &Postgres, clauses: &str) {
    prepare(server).await;
    let classified = classified();
    let (ours, twin) =
        (support::postgres_database(server).await, support::postgres_database(server).await);
    for database in [&ours, &twin] {
        for statement in everything(server.major()) {
            server.exec(database, &statement).await;
        }
    }
    // The role's and the database's defaults must not move anything.
    server
        .exec("postgres", &format!("ALTER DATABASE {ours} SET default_tablespace = osc_ts"))
        .await;
    let native = format!("ALTER TABLE everything {clauses}");
    server.exec(&twin, if clauses == REBUILD { "VACUUM FULL everything" } else { &native }).await;
    let output = osc(server, &ours, &["alter", "everything", clauses, "--strategy", "copy"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let output = osc(server, &ours, &["cleanup", "everything", "--yes", "--now"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let (ours, twin) = (
        picture(&server.client(&ours).await, &classified).await,
        picture(&server.client(&twin).await, &classified).await,
    );
    let only = |these: &[String], those: &[String]| {
        these.iter().filter(|one| !those.contains(one)).cloned().collect::<Vec<_>>().join("\n")
    };
    let (lost, gained) = (only(&twin, &ours), only(&ours, &twin));
    assert!(
        lost.is_empty() && gained.is_empty(),
        "PostgreSQL {}, {clauses}\nAS THE SERVER HAS IT:\n{lost}\n\nAS OSC HAS IT:\n{gained}",
        server.major().number()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_has_everything_is_as_after_the_servers_own_alter() {
    for major in Major::installed() {
        let server = Postgres::start(major);
        alike(&server, REWRITE).await;
        alike(&server, REBUILD).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_carried_over_is_refused_before_the_copy() {
    let server = support::shared_postgres();
    prepare(server).await;
    for (setup, check) in [
        (
            "CREATE TYPE kind AS (id int, v int); CREATE TABLE t OF kind (PRIMARY KEY (id))",
            "row-type",
        ),
        (
            "CREATE TABLE p (id int, v int); CREATE TABLE t (PRIMARY KEY (id)) INHERITS (p)",
            "inheritance",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE c () INHERITS (t)",
            "inheritance",
        ),
        (
            "CREATE TABLE p (id int, v int, PRIMARY KEY (id)) PARTITION BY RANGE (id); \
          CREATE TABLE t PARTITION OF p DEFAULT",
            "inheritance",
        ),
        ("CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id)", "partitioned"),
        (
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 1)",
            "invalid",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, v int); SET allow_system_table_mods = on; INSERT INTO \
          pg_seclabel VALUES ('t'::regclass, 'pg_class'::regclass, 2, 'nobody', 'secret')",
            "security-label",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE FUNCTION f(t) RETURNS int LANGUAGE sql \
          AS 'SELECT 1'",
            "row-type",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE MATERIALIZED VIEW m AS SELECT id FROM t",
            "materialised view",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, v int); ALTER EXTENSION plpgsql ADD TABLE t",
            "extension",
        ),
        (
            "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int); \
          CREATE TABLE o (id int DEFAULT nextval('t_id_seq'))",
            "t_id_seq",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, v int); GRANT USAGE ON TYPE t TO osc_reader",
            "row-type",
        ),
    ] {
        let database = support::postgres_database(server).await;
        for statement in setup.split("; ") {
            server.exec(&database, statement).await;
        }
        if check == "invalid" {
            let client = server.client(&database).await;
            let build = "CREATE UNIQUE INDEX CONCURRENTLY broken ON t (v)";
            client.batch_execute(build).await.unwrap_err();
        }
        let output = osc(server, &database, &["alter", "t", "ALTER v TYPE bigint"]);
        assert_eq!(output.status.code(), Some(4), "{setup}: {}", printed(&output));
        assert!(printed(&output).contains(check), "{setup}: {}", printed(&output));
        let left = "SELECT count(*) FROM pg_class WHERE relname LIKE '%osc\\_new'";
        assert_eq!(server.value(&database, left).await, "0", "{setup}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_sequence_ends_where_the_servers_own_would() {
    let server = support::shared_postgres();
    let sequence = "SELECT seqtypid::regtype || ' ' || seqmax FROM pg_sequence \
                    WHERE seqrelid = pg_get_serial_sequence('t', 'id')::regclass";
    for (clauses, expected) in [
        ("ALTER COLUMN v TYPE bigint", "integer 2147483647"),
        ("ALTER COLUMN id TYPE bigint", "bigint 9223372036854775807"),
        ("ALTER COLUMN id TYPE smallint", "smallint 32767"),
        ("ALTER COLUMN id TYPE bigint, ALTER COLUMN v FIRST", "bigint 9223372036854775807"),
    ] {
        let database = support::postgres_database(server).await;
        let table = "CREATE TABLE t (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v int); \
                     INSERT INTO t (v) VALUES (1), (2)";
        server.exec(&database, table).await;
        let output = osc(server, &database, &["alter", "t", clauses]);
        assert_eq!(output.status.code(), Some(0), "{clauses}: {}", printed(&output));
        assert_eq!(server.value(&database, sequence).await, expected, "{clauses}");
        let next = "INSERT INTO t (v) VALUES (3) RETURNING id";
        assert_eq!(server.value(&database, next).await, "3", "{clauses}");
    }
    // A counter that the narrower type cannot hold is refused as the server refuses it.
    let database = support::postgres_database(server).await;
    let table = "CREATE TABLE t (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v int); \
                 SELECT setval('t_id_seq', 3000000000)";
    server.exec(&database, table).await;
    let output = osc(server, &database, &["alter", "t", "ALTER COLUMN id TYPE int"]);
    assert_ne!(output.status.code(), Some(0), "{}", printed(&output));
    // A place that the clauses give is the place.
    let clauses = "ALTER COLUMN v TYPE bigint, ALTER COLUMN id RESTART WITH 5000";
    let output = osc(server, &database, &["alter", "t", clauses]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let next = "INSERT INTO t (v) VALUES (3) RETURNING id";
    assert_eq!(server.value(&database, next).await, "5000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serial_column_becomes_an_identity_column_and_a_wider_one() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    let table = "CREATE TABLE t (id serial PRIMARY KEY, v int); INSERT INTO t (v) VALUES (1), (2)";
    server.exec(&database, table).await;
    let plan = osc(server, &database, &["plan", "t", "ALTER COLUMN id TYPE bigint"]);
    assert!(
        printed(&plan).contains("ALTER SEQUENCE public.t_id_seq AS bigint"),
        "{}",
        printed(&plan)
    );
    let clauses = "ALTER COLUMN id DROP DEFAULT, ALTER COLUMN id ADD GENERATED BY DEFAULT AS \
                   IDENTITY, ALTER COLUMN id TYPE bigint";
    let output = osc(server, &database, &["alter", "t", clauses]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    // The names are the server's, and so is what stays of the serial column.
    let sequences = "SELECT string_agg(c.relname || ' ' || d.deptype::text || ' ' || s.seqtypid::regtype, \
         ', ' ORDER BY c.relname) FROM pg_class c JOIN pg_sequence s ON s.seqrelid = c.oid \
         JOIN pg_depend d ON d.objid = c.oid AND d.refobjid = 't'::regclass AND d.refobjsubid > 0";
    let found = server.value(&database, sequences).await;
    assert_eq!(found, "t_id_seq a integer, t_id_seq1 i bigint");
    let next = "INSERT INTO t (v) VALUES (3) RETURNING id";
    assert_eq!(server.value(&database, next).await, "3");
}

/// Sessions draw numbers from the sequence itself, for which they need no lock on the table.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_given_out_once_whoever_draws_it_during_the_swap() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    let table = "CREATE TABLE t (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v int); \
                 INSERT INTO t (v) SELECT i FROM generate_series(1, 1000) i";
    server.exec(&database, table).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut drawing = Vec::new();
    for _ in 0..6 {
        let (client, stopped) = (server.client(&database).await, stopped.clone());
        drawing.push(tokio::spawn(async move {
            let mut drawn = Vec::new();
            while !*stopped.borrow() {
                // The name is looked up before the lock is waited for.
                let sql = "SELECT nextval('t_id_seq')";
                match client.simple_query(sql).await {
                    Ok(rows) => drawn.extend(rows.iter().filter_map(|row| match row {
                        tokio_postgres::SimpleQueryMessage::Row(row) => {
                            row.get(0)?.parse::<i64>().ok()
                        }
                        _ => None,
                    })),
                    // A sequence that stays with the retired table gives nothing out.
                    Err(error) => assert_eq!(error.code().unwrap().code(), "2200H", "{error:?}"),
                }
            }
            drawn
        }));
    }
    for clauses in ["ALTER id TYPE bigint", "ALTER v TYPE bigint"] {
        let output = osc(server, &database, &["alter", "t", clauses]);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        tokio::time::sleep(Duration::from_millis(200)).await;
        let output = osc(server, &database, &["cleanup", "t", "--yes", "--now"]);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    }
    stop.send(true).unwrap();
    let mut all: Vec<i64> = Vec::new();
    for task in drawing {
        all.extend(task.await.unwrap());
    }
    let drawn = all.len();
    all.sort_unstable();
    all.dedup();
    assert!(drawn > 1000, "only {drawn} numbers were drawn");
    assert_eq!(all.len(), drawn, "numbers were given out twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_not_valid_stays_so_and_stops_no_row() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    let setup = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, -4), (2, 3); \
                 ALTER TABLE t ADD CONSTRAINT nv CHECK (v > 0) NOT VALID; \
                 ALTER TABLE t ADD CONSTRAINT luck CHECK (id > 0) NOT VALID; \
                 ALTER TABLE t ADD CONSTRAINT leaves CHECK (id > 0) NOT VALID";
    server.exec(&database, setup).await;
    let clauses = "ALTER COLUMN id TYPE bigint, DROP CONSTRAINT leaves, \
                   ADD CONSTRAINT fresh CHECK (v > 1) NOT VALID, VALIDATE CONSTRAINT luck";
    let output = osc(server, &database, &["alter", "t", clauses, "--strategy", "copy"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let constraints = "SELECT string_agg(conname || ' ' || convalidated, ', ' ORDER BY conname) \
                       FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'c'";
    let found = server.value(&database, constraints).await;
    assert_eq!(found, "fresh false, luck true, nv false");
    assert_eq!(server.value(&database, "SELECT sum(v) FROM t").await, "-1");
    let client = server.client(&database).await;
    client.batch_execute("INSERT INTO t VALUES (3, -1)").await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_keys_whose_triggers_are_disabled_stay_so() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    let setup = "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, v int, \
                 CONSTRAINT up FOREIGN KEY (v) REFERENCES p); CREATE TABLE c (id int PRIMARY KEY, \
                 CONSTRAINT down FOREIGN KEY (id) REFERENCES t); INSERT INTO p VALUES (1); \
                 INSERT INTO t VALUES (1, 1); ALTER TABLE t DISABLE TRIGGER ALL; \
                 ALTER TABLE c DISABLE TRIGGER ALL";
    server.exec(&database, setup).await;
    let enabled = "SELECT string_agg(conname || ' ' || tgfoid::regproc || ' ' || tgenabled::text, ', ' \
                   ORDER BY conname, tgfoid::regproc::text) FROM pg_trigger \
                   JOIN pg_constraint k ON k.oid = tgconstraint";
    let before = server.value(&database, enabled).await;
    assert!(before.contains("down \"RI_FKey_check_ins\" D"), "{before}");
    let output = osc(server, &database, &["alter", "t", "ALTER COLUMN id TYPE bigint"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert_eq!(server.value(&database, enabled).await, before);
    // Neither is enforced, as before.
    server.exec(&database, "INSERT INTO t VALUES (2, 77); INSERT INTO c VALUES (99)").await;
}
