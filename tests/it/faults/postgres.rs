//! A migration by copy on PostgreSQL.

use std::time::Duration;

use osc::testing::failpoint;

use super::case::{self, Action, Fault, Scenario, caught, succeeds};
use crate::support;
use crate::support::postgres::Postgres;
use crate::support::postgres_twin::{KeyKind, Twin};
use crate::support::writers::Writers;

const CLAUSES: &str = "ALTER COLUMN n TYPE bigint, ADD COLUMN added integer NOT NULL DEFAULT 7, \
                       ADD CONSTRAINT n_is_small CHECK (n < 3000000000)";

const ROWS: u64 = 1500;

/// A row that the writers leave alone, in a group of its own.
const CHILDS: u64 = 10_000_000;

/// What there is of osc's, and of what hangs on the table.
const STATE: &str = "SELECT line FROM ( \
    SELECT 'relation ' || relname AS line FROM pg_class \
      WHERE relkind IN ('r', 'v', 'S') AND relname LIKE '%osc%' \
    UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots \
      WHERE database = current_database() \
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication \
    UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE '%osc%' \
    UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE proname LIKE '%osc%' \
    UNION ALL SELECT 'index ' || relname FROM pg_class \
      WHERE relkind = 'i' AND relname LIKE '%osc\\_new%' \
    UNION ALL SELECT 'trigger ' || tgname || ' on ' || tgrelid::regclass FROM pg_trigger \
      WHERE NOT tgisinternal \
    UNION ALL SELECT 'key ' || conname || ' to ' || confrelid::regclass FROM pg_constraint \
      WHERE contype = 'f' AND convalidated \
    UNION ALL SELECT 'run ' || coalesce(result, '-') FROM osc.osc_ledger \
      WHERE run = (SELECT max(run) FROM osc.osc_ledger)) AS all_of_it ORDER BY line COLLATE \"C\"";

pub struct Place {
    pub server: &'static Postgres,
}

impl Place {
    pub fn new() -> Self {
        Self { server: support::shared_postgres() }
    }

    pub async fn prepare(&self, database: &str) -> Twin {
        let twin = Twin::create(self.server, database, KeyKind::Int, ROWS).await;
        let mut sql = String::new();
        for schema in ["public", "twin"] {
            sql += &format!(
                "INSERT INTO {schema}.t (id, k) VALUES ({CHILDS}, -1); \
                 CREATE FUNCTION {schema}.seen() RETURNS trigger LANGUAGE plpgsql \
                   AS 'BEGIN RETURN NEW; END'; \
                 CREATE TRIGGER seen BEFORE UPDATE ON {schema}.t FOR EACH ROW \
                   EXECUTE FUNCTION {schema}.seen();"
            );
        }
        sql += &format!(
            "CREATE TABLE child (id int PRIMARY KEY, t bigint NOT NULL \
             CONSTRAINT child_t REFERENCES public.t (id)); INSERT INTO child VALUES (1, {CHILDS})"
        );
        self.server.exec(database, &sql).await;
        twin
    }
}

/// Ends osc's sessions in one database, those that read a slot too.
pub async fn cut(server: &Postgres, database: &str) {
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name LIKE 'osc%' AND datname = '{database}'"
    );
    server.exec("postgres", &sql).await;
}

/// What there is of osc's after a run that has ended.
pub async fn compare(server: &Postgres, database: &str, wanted: &[&str]) -> Result<(), String> {
    let state = server.rows(database, STATE).await.concat();
    if state == wanted { Ok(()) } else { Err(format!("left: {state:?}, not {wanted:?}")) }
}

impl Scenario for Place {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn faults(&self) -> Vec<Fault> {
        let here = [failpoint::Place::Copy, failpoint::Place::Postgres];
        case::faults(|point| here.contains(&point.place()))
    }

    async fn case(&self, fault: Fault, action: Action) -> Result<String, String> {
        let database = support::postgres_database(self.server).await;
        let twin = self.prepare(&database).await;
        let writers = Writers::paced(&twin, 2, 1, Duration::from_millis(15));
        writers.wait_for_more(10).await;
        let url = self.server.url(&database);
        let alter = case::alter(CLAUSES, &url);
        let touched = async || {
            let added = "SELECT count(*) FROM pg_attribute \
                         WHERE attrelid = 'public.t'::regclass AND attname = 'added'";
            self.server.value(&database, added).await != "0"
        };
        let outcome =
            case::to_its_end(&alter, fault, action, || cut(self.server, &database), touched).await;
        let report = writers.stop().await;
        let ended = outcome?;
        caught(async { report.assert_undisturbed() }).await?;
        caught(twin.assert_equal(CLAUSES)).await?;
        let mut wanted = vec![
            "function osc_retired",
            "function osc_shadow",
            "function osc_snapshot",
            "key child_t to t",
            "relation osc_ledger",
            "relation osc_ledger_run_seq",
            "relation osc_order",
            "relation osc_order_id_seq",
            "relation osc_sample",
            "relation t_id_seq_osc_old",
            "relation t_osc_old",
            "run done",
            "schema osc",
            "trigger osc_guard on t_osc_old",
            "trigger seen on t",
            "trigger seen on twin.t",
        ];
        compare(self.server, &database, &wanted).await?;
        succeeds(&["cleanup", "t", "--url", &url, "--yes", "--now"]).await?;
        wanted.retain(|line| !line.contains("osc_old"));
        compare(self.server, &database, &wanted).await?;
        self.server.exec("postgres", &format!("DROP DATABASE {database} WITH (FORCE)")).await;
        Ok(ended)
    }
}
