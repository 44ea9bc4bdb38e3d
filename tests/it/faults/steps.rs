//! The methods that are PostgreSQL's own.

use osc::testing::failpoint;

use super::case::{Action, Fault, Scenario, first, reported, succeeds};
use super::postgres::{compare, cut};
use crate::support;
use crate::support::postgres::Postgres;

/// A change by several steps: what is not null, what is unique, a key to a parent.
const CLAUSES: &str = "ALTER COLUMN n SET NOT NULL, ADD CONSTRAINT t_u UNIQUE (u), \
                       ADD CONSTRAINT t_p FOREIGN KEY (n) REFERENCES p (id)";

/// As many times as a point is passed on that method, at least.
const TIMES: u32 = 5;

pub struct Place {
    server: &'static Postgres,
}

impl Place {
    pub fn new() -> Self {
        Self { server: support::shared_postgres() }
    }
}

/// What the change makes.
const MADE: &str = "SELECT string_agg(line, '; ' ORDER BY line COLLATE \"C\") FROM ( \
    SELECT conname || ' ' || pg_get_constraintdef(oid) || convalidated AS line \
    FROM pg_constraint WHERE conrelid = 't'::regclass AND contype <> 'n' \
    UNION ALL SELECT attname || ' not null' FROM pg_attribute \
    WHERE attrelid = 't'::regclass AND attnum > 0 AND attnotnull \
    UNION ALL SELECT relname || indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid \
    WHERE indrelid = 't'::regclass) AS all_of_it";

impl Scenario for Place {
    fn name(&self) -> &'static str {
        "postgres-steps"
    }

    fn faults(&self) -> Vec<Fault> {
        let passed = [failpoint::Point::StepBegun, failpoint::Point::StepDone];
        let times = |point| (1..=TIMES).map(move |time| Fault { point, time });
        let mut all: Vec<Fault> = passed.into_iter().flat_map(times).collect();
        all.extend([1, 2].map(|time| Fault { point: failpoint::Point::StepFailed, time }));
        for point in failpoint::Point::ALL.iter().filter(|p| p.place() == failpoint::Place::Steps) {
            assert!(all.iter().any(|fault| fault.point == *point), "{point:?} is not tried");
        }
        all
    }

    async fn case(&self, fault: Fault, action: Action) -> Result<String, String> {
        let database = support::postgres_database(self.server).await;
        let sql = "CREATE TABLE p (id int PRIMARY KEY); \
             INSERT INTO p SELECT generate_series(1, 3000); \
             CREATE TABLE t (id int PRIMARY KEY, n int, u int); \
             INSERT INTO t SELECT i, i, i FROM generate_series(1, 3000) AS i; ANALYZE t, p";
        self.server.exec(&database, sql).await;
        let fails = fault.point == failpoint::Point::StepFailed;
        if fails {
            // Behind the others: they must be taken back.
            self.server.exec(&database, "DELETE FROM p WHERE id = 7").await;
        }
        let url = self.server.url(&database);
        let alter = ["alter", "t", CLAUSES, "--url", &url, "--strategy", "inplace", "--yes"];
        let status = first(&alter, fault, action, || cut(self.server, &database)).await?;
        if self.server.value(&database, "SELECT count(*) || ' ' || sum(n) FROM t").await
            != "3000 4501500"
        {
            return Err("rows are gone".into());
        }
        if fails {
            self.server.exec(&database, "INSERT INTO p VALUES (7)").await;
        }
        if status.code() != Some(0) {
            succeeds(&alter).await?;
        }
        let made = self.server.value(&database, MADE).await;
        let wanted = "id not null; n not null; t_p FOREIGN KEY (n) REFERENCES p(id)true; \
                      t_pkey PRIMARY KEY (id)true; t_pkeytrue; t_u UNIQUE (u)true; t_utrue";
        if made != wanted {
            return Err(format!("made: {made}"));
        }
        succeeds(&["cleanup", "t", "--url", &url, "--yes", "--now"]).await?;
        let ledger = [
            "function osc_retired",
            "function osc_shadow",
            "function osc_snapshot",
            "key t_p to p",
            "relation osc_ledger",
            "relation osc_ledger_run_seq",
            "relation osc_order",
            "relation osc_order_id_seq",
            "relation osc_sample",
            "run done",
            "schema osc",
        ];
        compare(self.server, &database, &ledger).await?;
        self.server.exec("postgres", &format!("DROP DATABASE {database} WITH (FORCE)")).await;
        Ok(reported(status))
    }
}
