//! Which method a change takes on PostgreSQL, checked against what the server really does, and the
//! server's own methods, on real servers.

use std::time::Duration;

use crate::support::postgres::{Major, Postgres, exec, rows};
use crate::support::{postgres_database, shared_postgres};
use osc::config::strategy::Strategy;
use osc::config::target::{Address, Scheme, Target, Tls, TlsMode};
use osc::error::Error;
use osc::postgres::clauses::Statement;
use osc::postgres::connection::connect::{Options, connect};
use osc::postgres::connection::settings::RoleSettings;
use osc::postgres::methods;
use osc::postgres::methods::{Chosen, Going, Method, NativeDone};
use osc::postgres::name::TableName;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Place<'a> {
    server: &'a Postgres,
    database: String,
    client: Client,
}

impl<'a> Place<'a> {
    async fn new(server: &'a Postgres, setup: &str) -> Self {
        let database = postgres_database(server).await;
        let client = server.client(&database).await;
        exec(&client, setup).await;
        Self { server, database, client }
    }

    fn options(&self) -> Options {
        let target = Target {
            scheme: Scheme::Postgres,
            address: Address::Tcp { host: "127.0.0.1".into(), port: self.server.port() },
            user: "postgres".into(),
            password: None,
            database: Some(self.database.clone()),
            tls: Tls { mode: TlsMode::Off, ca: None, cert: None, key: None },
            ledger: osc::config::target::LEDGER.into(),
            wire: Default::default(),
        };
        Options::of(&target).unwrap()
    }

    async fn run(&self, sql: &str) {
        exec(&self.client, sql).await;
    }

    async fn value(&self, sql: &str) -> String {
        rows(&self.client, sql).await[0][0].clone()
    }

    async fn choose(&self, clauses: &str) -> Result<Chosen, Error> {
        self.choose_by(clauses, Strategy::Auto).await
    }

    async fn choose_by(&self, clauses: &str, strategy: Strategy) -> Result<Chosen, Error> {
        let statement = Statement::parse(clauses, Some(&table()))?;
        let version = self.server.major().number() * 10_000;
        // A session of its own, as the program has it.
        let client = connect(&self.options(), "testing").await.unwrap();
        let role = RoleSettings::read(&self.options()).await.unwrap();
        methods::choose(&client, &role, &table(), &statement, strategy, version).await
    }

    async fn go(&self, clauses: &str) -> Result<NativeDone, Error> {
        self.go_until(clauses, &CancellationToken::new(), 200).await
    }

    async fn go_until(
        &self,
        clauses: &str,
        stop: &CancellationToken,
        attempts: u32,
    ) -> Result<NativeDone, Error> {
        self.go_saying(clauses, stop, attempts, &|_, _| {}).await
    }

    async fn go_saying(
        &self,
        clauses: &str,
        stop: &CancellationToken,
        attempts: u32,
        say: &(dyn Fn(u32, String) + Sync),
    ) -> Result<NativeDone, Error> {
        let method = self.choose(clauses).await?.method;
        let options = self.options();
        let table = table();
        let budget = methods::LOCK_BUDGET;
        let reported = |_| {};
        let going = Going {
            attempts,
            budget,
            stop,
            say,
            report: &reported,
            trusts_owner: false,
            permission: None,
        };
        let role = RoleSettings::read(&options).await.unwrap();
        let run = methods::run(&options, &role, &table, &method, &going);
        tokio::time::timeout(PATIENCE, run).await.expect("the method ends")
    }

    /// Everything that a method could leave: columns, constraints, indexes, comments.
    async fn state(&self) -> Vec<Vec<String>> {
        let sql = "SELECT conname, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint') \
                   FROM pg_constraint WHERE conrelid = 't'::regclass \
                   UNION ALL SELECT c.relname, pg_get_indexdef(c.oid), i.indisvalid::text \
                   FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                   WHERE i.indrelid = 't'::regclass \
                   UNION ALL SELECT attname, attnotnull::text, col_description(attrelid, attnum) \
                   FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 \
                   AND NOT attisdropped ORDER BY 1, 2";
        rows(&self.client, sql).await
    }

    async fn until(&self, sql: &str) {
        let waiting = async {
            while self.value(sql).await != "t" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {sql}"));
    }
}

fn table() -> TableName {
    TableName::new("public", "t")
}

const SETUP: &str = "
    CREATE DOMAIN plain AS int; CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p SELECT generate_series(1, 50);
    CREATE TABLE t (id int PRIMARY KEY, a int, b varchar(10), c text, n numeric(8, 2),
        nn int NOT NULL DEFAULT 1, ts timestamp, j json, bits bit(4), pb varchar(10),
        cb varchar(10), f int CONSTRAINT t_f_fkey REFERENCES p, g int GENERATED ALWAYS AS (id * 2) STORED,
        u int, proved int, claimed int,
        CONSTRAINT cb_check CHECK (cb <> ''), CONSTRAINT proved_check CHECK (proved IS NOT NULL));
    CREATE INDEX t_b ON t (b); CREATE INDEX t_pb ON t (id) WHERE pb <> 'x';
    CREATE UNIQUE INDEX t_u ON t (u);
    INSERT INTO t (id, a, b, c, n, ts, j, bits, pb, cb, f, u, proved, claimed)
        SELECT i, i, i, i, i, now(), '{}', B'0101', i, i, i, i, i, i FROM generate_series(1, 50) i;
    ALTER TABLE t ADD CONSTRAINT claimed_check CHECK (claimed IS NOT NULL) NOT VALID;
    ALTER TABLE t ADD CONSTRAINT unproved CHECK (a > 0) NOT VALID;
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
    CREATE TRIGGER touched BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch();
    ANALYZE t";

/// A clause and its method: `d`irect, `s`teps or `c`opy.
const FORMS: &[(&str, char)] = &[
    ("ADD COLUMN x int", 'd'),
    ("ADD COLUMN x int DEFAULT 5", 'd'),
    ("ADD COLUMN x int NOT NULL DEFAULT 5", 'd'),
    ("ADD COLUMN x timestamptz DEFAULT now()", 'd'),
    ("ADD COLUMN x plain", 'd'),
    ("ADD COLUMN x timestamptz DEFAULT clock_timestamp()", 'c'),
    ("ADD COLUMN x float DEFAULT random()", 'c'),
    ("ADD COLUMN x serial", 'c'),
    ("ADD COLUMN x int GENERATED ALWAYS AS IDENTITY", 'c'),
    ("ADD COLUMN x int GENERATED ALWAYS AS (a + 1) STORED", 'c'),
    ("ADD COLUMN x positive DEFAULT 5", 'c'),
    ("ADD COLUMN x int CHECK (x > 0)", 'c'),
    ("ADD COLUMN x int UNIQUE", 'c'),
    ("ADD COLUMN x int REFERENCES p", 's'),
    ("DROP COLUMN a", 'd'),
    ("DROP COLUMN f", 'd'),
    ("RENAME COLUMN a TO z", 'd'),
    ("RENAME CONSTRAINT cb_check TO z", 'd'),
    ("ALTER a SET DEFAULT 5", 'd'),
    ("ALTER nn DROP DEFAULT", 'd'),
    ("ALTER nn DROP NOT NULL", 'd'),
    ("ALTER g DROP EXPRESSION", 'd'),
    ("ALTER nn DROP DEFAULT, ALTER nn ADD GENERATED ALWAYS AS IDENTITY", 'd'),
    ("ALTER a SET STATISTICS 500", 'd'),
    ("ALTER a SET (n_distinct = 5)", 'd'),
    ("ALTER c SET STORAGE EXTERNAL", 'd'),
    ("ALTER a SET NOT NULL", 's'),
    ("ALTER proved SET NOT NULL", 'd'),
    ("ALTER claimed SET NOT NULL", 's'),
    ("ALTER a TYPE bigint", 'c'),
    ("ALTER u TYPE text", 'c'),
    ("ALTER b TYPE varchar(20)", 'd'),
    ("ALTER b TYPE text", 'd'),
    ("ALTER b TYPE varchar(5)", 'c'),
    ("ALTER c TYPE varchar", 'd'),
    ("ALTER c TYPE varchar(100)", 'c'),
    ("ALTER c TYPE text USING c", 'd'),
    ("ALTER c TYPE text USING upper(c)", 'c'),
    ("ALTER b TYPE varchar(10) COLLATE \"C\"", 'c'),
    ("ALTER n TYPE numeric(10, 2)", 'd'),
    ("ALTER n TYPE numeric", 'd'),
    ("ALTER n TYPE numeric(8, 3)", 'c'),
    ("ALTER ts TYPE timestamptz", 'c'),
    ("ALTER ts TYPE timestamp(3)", 'c'),
    ("ALTER j TYPE jsonb", 'c'),
    ("ALTER bits TYPE varbit", 'd'),
    ("ALTER a TYPE plain", 'd'),
    ("ALTER a TYPE positive", 'c'),
    ("ALTER pb TYPE varchar(20)", 'c'),
    ("ALTER cb TYPE varchar(20)", 'c'),
    ("ADD CHECK (a > 0)", 's'),
    ("ADD CONSTRAINT z CHECK (a > 0) NOT VALID", 'd'),
    ("ADD FOREIGN KEY (a) REFERENCES p", 's'),
    ("ADD UNIQUE (a)", 's'),
    ("ADD CONSTRAINT z UNIQUE USING INDEX t_u", 'd'),
    ("DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, a)", 's'),
    ("DROP CONSTRAINT cb_check, ADD CONSTRAINT cb_check CHECK (cb <> 'y')", 's'),
    ("ADD EXCLUDE (a WITH =)", 'c'),
    ("DROP CONSTRAINT cb_check", 'd'),
    ("DROP CONSTRAINT t_f_fkey", 'd'),
    ("VALIDATE CONSTRAINT unproved", 's'),
    ("ALTER CONSTRAINT t_f_fkey DEFERRABLE", 'd'),
    ("SET (fillfactor = 70)", 'd'),
    ("RESET (fillfactor)", 'd'),
    ("CLUSTER ON t_b", 'd'),
    ("SET UNLOGGED", 'c'),
    ("SET LOGGED", 'd'),
    ("SET TABLESPACE pg_default", 'd'),
    ("SET ACCESS METHOD heap", 'm'),
    ("REPLICA IDENTITY FULL", 'd'),
    ("ENABLE ROW LEVEL SECURITY", 'd'),
    ("DISABLE TRIGGER touched", 'd'),
    ("", 'c'),
];

/// What the server does for a clause, in a transaction that is rolled back: the lock on `t`, and
/// whether its rows are written, read or indexed again.
async fn really(place: &Place<'_>, clauses: &str) -> Option<(String, bool)> {
    let client = place.server.client(&place.database).await;
    let look = "SELECT (SELECT string_agg(i.indexrelid::regclass::text || c.relfilenode, ' ' ORDER BY c.relfilenode) \
                FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = t.oid), \
                t.relfilenode, pg_stat_get_xact_tuples_returned(t.oid) FROM pg_class t WHERE t.relname = 't' \
                AND t.relnamespace = 'public'::regnamespace";
    let files = "SELECT c.relfilenode FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                 WHERE i.indrelid = 'public.t'::regclass";
    exec(&client, "BEGIN").await;
    let before = (rows(&client, look).await, rows(&client, files).await);
    client.batch_execute(&format!("ALTER TABLE t {clauses}")).await.ok()?;
    let after = (rows(&client, look).await, rows(&client, files).await);
    let lock = "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'public.t'::regclass \
                ORDER BY array_position(ARRAY['AccessExclusiveLock', 'ExclusiveLock', \
                'ShareRowExclusiveLock', 'ShareLock', 'ShareUpdateExclusiveLock'], mode) LIMIT 1";
    let lock = rows(&client, lock).await[0][0].clone();
    exec(&client, "ROLLBACK").await;
    let builds = after.1.iter().any(|file| !before.1.contains(file));
    let works = builds || before.0[0][1..] != after.0[0][1..];
    Some((lock, works))
}

#[tokio::test]
async fn every_form_takes_the_method_that_the_servers_work_asks_for() {
    for major in Major::installed() {
        let server = Postgres::start(major);
        let place = Place::new(&server, SETUP).await;
        let before = place.state().await;
        let mut wrong = Vec::new();
        for (clauses, expected) in FORMS {
            let chosen = match place.choose(clauses).await {
                Ok(chosen) => chosen,
                Err(_) if *expected == 'm' && major.number() < 15 => continue,
                Err(error) => {
                    wrong.push(format!("{clauses}: {error}"));
                    continue;
                }
            };
            let method = match &chosen.method {
                Method::Direct(_) => 'd',
                Method::Steps(_) => 's',
                Method::Copy => 'c',
            };
            let expected = match expected {
                'm' => 'd',
                other => *other,
            };
            if method != expected {
                wrong.push(format!("{clauses}: {expected} expected, {method}: {}", chosen.reason));
            }
            if clauses.is_empty() {
                continue;
            }
            let Some((lock, works)) = really(&place, clauses).await else {
                wrong.push(format!("{clauses}: the server refuses it"));
                continue;
            };
            let judged = chosen.clauses.iter().map(|judged| judged.lock).max().unwrap();
            if judged.mode() != lock && !clauses.contains("REFERENCES p") {
                wrong.push(format!("{clauses}: {lock} and not {judged}"));
            }
            // A new column is all NULL, which the server knows; the step that proves it stops no other session.
            let needless = clauses.starts_with("ADD COLUMN x int REFERENCES");
            if works == (method == 'd') && !needless {
                wrong.push(format!("{clauses}: works {works}, and the method is {method}"));
            }
        }
        assert!(wrong.is_empty(), "{major:?}:\n{}", wrong.join("\n"));
        assert_eq!(place.state().await, before, "choosing changes nothing");
    }
}

#[tokio::test]
async fn steps_are_taken_to_their_end() {
    for major in Major::installed() {
        let server = Postgres::start(major);
        let place = Place::new(&server, SETUP).await;
        for clauses in [
            "ADD COLUMN x int REFERENCES p, ADD COLUMN y int, ADD CHECK (a > 0), ADD UNIQUE (a)",
            "ALTER a SET NOT NULL, ALTER claimed SET NOT NULL, ADD COLUMN later int",
            "CREATE UNIQUE INDEX by_c ON t (c) INCLUDE (a)",
            "CREATE INDEX ON t (lower(c), b)",
            "DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (u, a)",
            "DROP CONSTRAINT t_f_fkey, ADD CONSTRAINT t_f_fkey FOREIGN KEY (f) REFERENCES p ON DELETE CASCADE",
            "DROP INDEX by_c, t_b",
        ] {
            if let Err(error) = place.go(clauses).await {
                panic!("{major:?}: {clauses}: {error}");
            }
        }
        let state = place.state().await;
        let all = format!("{state:?}");
        assert!(!all.contains("osc"), "{all}");
        let has = |name: &str| state.iter().any(|row| row[0] == name);
        for name in ["t_x_fkey", "t_check", "t_a_key", "x", "y", "later", "t_pkey", "t_lower_b_idx"]
        {
            assert!(has(name), "{name}: {all}");
        }
        assert!(!has("by_c") && !has("t_b") && !all.contains("NOT VALID\", \"osc"), "{all}");
        let key = state.iter().find(|row| row[0] == "t_pkey" && row[1].starts_with("PRIMARY"));
        assert_eq!(key.unwrap()[1], "PRIMARY KEY (u, a)");
    }
}

#[tokio::test]
async fn rows_in_the_way_are_named_and_nothing_is_left() {
    let place = Place::new(shared_postgres(), SETUP).await;
    place.run("INSERT INTO t (id, a, b, cb, proved, claimed, u) VALUES (900, 1, '', 'x', 1, 1, 900), (901, 77, 'y', 'x', 1, 1, 901)").await;
    let before = place.state().await;
    for (clauses, row) in [
        ("ADD UNIQUE (a)", "(a)=(1)"),
        ("CREATE UNIQUE INDEX i ON t (a)", "(a)=(1)"),
        ("ADD CHECK (a <> 7), ADD CHECK (b <> '')", "t_check"),
        ("ADD CONSTRAINT one CHECK (a > 0), ADD CONSTRAINT two CHECK (b <> '')", "id = 900"),
        ("ALTER f SET NOT NULL", "id = 900"),
        ("ADD FOREIGN KEY (a) REFERENCES p, ADD COLUMN x int", "(a)=(77)"),
    ] {
        let error = place.go(clauses).await.expect_err(clauses);
        if row == "t_check" {
            continue;
        }
        assert!(matches!(error, Error::Data { .. }), "{clauses}: {error}");
        assert!(error.to_string().contains(row), "{clauses}: {error}");
        assert_eq!(place.state().await, before, "{clauses}");
    }
}

#[tokio::test]
async fn a_stopped_index_build_leaves_nothing_and_a_killed_one_is_resumed() {
    let place = Place::new(shared_postgres(), SETUP).await;
    let before = place.state().await;
    let other = place.server.client(&place.database).await;
    // A build waits for it.
    exec(&other, "BEGIN; UPDATE t SET a = a WHERE id = 1").await;
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONC%' \
                 AND datname = current_database() AND wait_event_type = 'Lock')";
    let index = "CREATE INDEX i ON t (a)";
    let stop = CancellationToken::new();
    let (outcome, ()) = tokio::join!(place.go_until(index, &stop, 9), async {
        place.until(waits).await;
        stop.cancel();
        // The drop of what is left waits for it too.
        tokio::time::sleep(Duration::from_millis(300)).await;
        exec(&other, "ROLLBACK").await;
    });
    assert!(matches!(outcome, Err(Error::Stopped { .. })), "{outcome:?}");
    assert_eq!(place.state().await, before);

    exec(&other, "BEGIN; UPDATE t SET a = a WHERE id = 1").await;
    let (outcome, ()) = tokio::join!(place.go(index), async {
        place.until(waits).await;
        place
            .run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONC%' AND datname = current_database()")
            .await;
    });
    assert!(matches!(outcome, Err(Error::Connection { .. })), "{outcome:?}");
    exec(&other, "ROLLBACK").await;
    assert_eq!(
        place.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass").await,
        "f"
    );
    let other_index = place.choose("CREATE INDEX i ON t (b)").await.expect_err("another index");
    assert!(other_index.to_string().contains("another index"), "{other_index}");
    place.go(index).await.unwrap();
    assert_eq!(
        place.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass").await,
        "t"
    );
}

#[tokio::test]
async fn a_killed_validation_is_resumed() {
    let place = Place::new(shared_postgres(), SETUP).await;
    let clauses = "ADD COLUMN x int REFERENCES p, ADD CONSTRAINT c CHECK (a > 0)";
    let method = place.choose(clauses).await.unwrap().method;
    let Method::Steps(steps) = &method else { panic!("{method:?}") };
    // As killed after each of the steps.
    for done in 1..steps.len() {
        place.run("DROP TABLE t CASCADE; DROP TABLE p; DROP DOMAIN plain; DROP DOMAIN positive; DROP FUNCTION touch").await;
        place.run(SETUP).await;
        for step in &steps[..done] {
            place.run(&step.sql).await;
        }
        place.go(clauses).await.unwrap_or_else(|error| panic!("after {done}: {error}"));
        let all = format!("{:?}", place.state().await);
        assert!(!all.contains("osc"), "{all}");
        let valid =
            "SELECT bool_and(convalidated) FROM pg_constraint WHERE conname IN ('c', 't_x_fkey')";
        assert_eq!(place.value(valid).await, "t");
    }
    let taken = place.choose("ADD CONSTRAINT c CHECK (a > 5)").await.expect_err("taken");
    assert!(matches!(taken, Error::Refused(_)), "{taken}");
}

#[tokio::test]
async fn no_session_queues_behind_a_change_that_waits() {
    let place = Place::new(shared_postgres(), SETUP).await;
    let old = place.server.client(&place.database).await;
    exec(&old, "BEGIN; SELECT * FROM t LIMIT 1").await;
    tokio::time::sleep(methods::LOCK_BUDGET + Duration::from_millis(100)).await;
    let outcome = place.go_until("ADD COLUMN x int", &CancellationToken::new(), 3).await;
    let reported = outcome.expect_err("an old transaction is in the way").to_string();
    assert!(reported.contains("blocked by session"), "{reported}");
    let begun = place.value("SELECT count(*) FROM pg_locks WHERE NOT granted").await;
    assert_eq!(begun, "0");
    let tried = tokio::sync::Notify::new();
    let say = |_, _: String| tried.notify_one();
    let never = CancellationToken::new();
    let done = tokio::join!(place.go_saying("ADD COLUMN x int", &never, 200, &say), async {
        tried.notified().await;
        place.run("UPDATE t SET a = a WHERE id = 1").await;
        exec(&old, "COMMIT").await;
    });
    assert!(done.0.unwrap().attempts > 1);
}

#[tokio::test]
async fn a_strategy_is_kept_to() {
    let place = Place::new(shared_postgres(), SETUP).await;
    let method = |clauses, strategy| place.choose_by(clauses, strategy);
    assert!(method("ADD COLUMN x int", Strategy::Instant).await.is_ok());
    assert!(method("ADD UNIQUE (a)", Strategy::Inplace).await.is_ok());
    for (clauses, strategy) in [
        ("ADD UNIQUE (a)", Strategy::Instant),
        ("ALTER a TYPE bigint", Strategy::Inplace),
        ("", Strategy::Inplace),
        ("DISABLE TRIGGER touched", Strategy::Copy),
        ("ALTER a TYPE bigint, DISABLE TRIGGER touched", Strategy::Auto),
        ("CREATE INDEX i ON t (a)", Strategy::Copy),
    ] {
        let error = method(clauses, strategy).await.expect_err(clauses);
        assert!(matches!(error, Error::Refused(_)), "{clauses}: {error}");
    }
    assert_eq!(method("ADD COLUMN x int", Strategy::Copy).await.unwrap().method, Method::Copy);
}

#[tokio::test]
async fn a_partitioned_tables_index_is_built_leaf_by_leaf() {
    let setup = "CREATE TABLE t (id int, a int) PARTITION BY RANGE (id);
                 CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
                 CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (90) PARTITION BY LIST (a);
                 CREATE TABLE t21 PARTITION OF t2 DEFAULT;
                 INSERT INTO t SELECT i, i FROM generate_series(1, 80) i";
    let place = Place::new(shared_postgres(), setup).await;
    let index = "CREATE UNIQUE INDEX i ON t (id, a)";
    place.go(index).await.unwrap();
    let valid = "SELECT bool_and(indisvalid)::text || count(*) FROM pg_index WHERE indexrelid IN \
                 (SELECT relid FROM pg_partition_tree('i'))";
    assert_eq!(place.value(valid).await, "true4");
    let early = place.go("CREATE UNIQUE INDEX j ON t (a)").await.expect_err("no partition key");
    assert!(!matches!(early, Error::Internal(_)), "{early}");
    assert_eq!(place.value("SELECT count(*) FROM pg_class WHERE relname LIKE '%j'").await, "0");
}
