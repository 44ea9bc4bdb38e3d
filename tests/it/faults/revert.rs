//! An undo on PostgreSQL.

use std::time::Duration;

use osc::testing::failpoint::{self, Point};

use super::case::{self, Action, Fault, Scenario, caught, succeeds};
use super::postgres::{Place as Forward, compare, cut};
use crate::support;
use crate::support::writers::Writers;

const CLAUSES: &str = "ALTER COLUMN n TYPE bigint, ADD COLUMN added integer NOT NULL DEFAULT 7, \
                       ADD CONSTRAINT n_is_small CHECK (n < 3000000000)";

/// What an undo does not do: make a shadow, copy, build indexes.
const NOT_PASSED: [Point; 8] = [
    Point::ShadowUncommitted,
    Point::ChunkPlanned,
    Point::ChunkCopied,
    Point::KeyBegun,
    Point::KeyBuilt,
    Point::IndexBegun,
    Point::IndexOne,
    Point::IndexBuilt,
];

pub struct Place(Forward);

impl Place {
    pub fn new() -> Self {
        Self(Forward::new())
    }
}

impl Scenario for Place {
    fn name(&self) -> &'static str {
        "postgres-revert"
    }

    fn faults(&self) -> Vec<Fault> {
        let here = [failpoint::Place::Copy, failpoint::Place::Postgres];
        case::faults(|point| here.contains(&point.place()) && !NOT_PASSED.contains(&point))
    }

    async fn case(&self, fault: Fault, action: Action) -> Result<String, String> {
        let server = self.0.server;
        let database = support::postgres_database(server).await;
        let twin = self.0.prepare(&database).await;
        let writers = Writers::paced(&twin, 2, 1, Duration::from_millis(15));
        let url = server.url(&database);
        succeeds(&case::alter(CLAUSES, &url)).await?;
        writers.wait_for_more(30).await;
        let touched = async || {
            let added = "SELECT count(*) FROM pg_attribute \
                         WHERE attrelid = 'public.t'::regclass AND attname = 'added'";
            server.value(&database, added).await == "0"
        };
        let revert = ["revert", "t", "--url", &url, "--yes", "--chunk-time", "100ms"];
        let outcome =
            case::to_its_end(&revert, fault, action, || cut(server, &database), touched).await;
        let report = writers.stop().await;
        let ended = outcome?;
        caught(async { report.assert_undisturbed() }).await?;
        caught(twin.assert_equal("")).await?;
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
            "relation t_id_seq_osc_old_2",
            "relation t_osc_old_2",
            "run done",
            "schema osc",
            "trigger osc_guard on t_osc_old_2",
            "trigger seen on t",
            "trigger seen on twin.t",
        ];
        compare(server, &database, &wanted).await?;
        succeeds(&["cleanup", "t", "--url", &url, "--yes", "--now"]).await?;
        wanted.retain(|line| !line.contains("osc_old"));
        compare(server, &database, &wanted).await?;
        server.exec("postgres", &format!("DROP DATABASE {database} WITH (FORCE)")).await;
        Ok(ended)
    }
}
