//! MySQL and MariaDB: a change, and an undo of it.

use std::time::Duration;

use osc::testing::failpoint;
use osc::testing::failpoint::Point;

use super::case::{self, Action, Fault, Scenario, caught, succeeds};
use crate::support;
use crate::support::server::{Kind, Server};
use crate::support::twin::{KeyKind, Twin};
use crate::support::writers::Writers;

const CLAUSES: &str = "MODIFY n BIGINT, ADD COLUMN added INT NOT NULL DEFAULT 7, ADD INDEX n (n)";

const ROWS: u64 = 1500;

/// A row that the writers leave alone, in a group of its own.
const CHILDS: u64 = 10_000_000;

/// What an undo does not do: make a shadow, copy, build indexes.
const NOT_PASSED: [Point; 8] = [
    Point::ShadowCreated,
    Point::ShadowAltered,
    Point::ShadowStripped,
    Point::ChunkPlanned,
    Point::ChunkUncommitted,
    Point::ChunkCopied,
    Point::IndexBegun,
    Point::IndexBuilt,
];

pub struct Place {
    server: &'static Server,
    undo: bool,
}

impl Place {
    pub fn new(kind: Kind) -> Self {
        Self { server: support::shared(kind), undo: false }
    }

    /// An undo is what meets the faults.
    pub fn undo(kind: Kind) -> Self {
        Self { undo: true, ..Self::new(kind) }
    }

    /// Ends osc's sessions. MariaDB does not survive the end of one that has its locks and renames a
    /// table with triggers (docs/use/limits.md): that one is spared.
    async fn cut(&self, database: &str) {
        let spared = "COALESCE(INFO, '') LIKE 'RENAME TABLE%' AND STATE NOT LIKE 'Waiting%'";
        self.server.cut(&format!("DB = '{database}' AND NOT ({spared})")).await;
    }

    async fn prepare(&self, database: &str) -> Twin {
        let twin = Twin::create(self.server, database, KeyKind::Int, ROWS).await;
        for sql in [
            &format!("INSERT INTO t (id, k) VALUES ({CHILDS}, -1)"),
            &format!("INSERT INTO t_twin (id, k) VALUES ({CHILDS}, -1)"),
            "CREATE TABLE child (id INT PRIMARY KEY, t BIGINT NOT NULL, \
             CONSTRAINT child_t FOREIGN KEY (t) REFERENCES t (id))",
            &format!("INSERT INTO child VALUES (1, {CHILDS})"),
            "CREATE TRIGGER seen BEFORE UPDATE ON t FOR EACH ROW SET @seen = NEW.id",
        ] {
            self.server.exec_in(database, sql).await;
        }
        twin
    }

    /// What there is of osc's, and of what hangs on the table.
    async fn state(&self, database: &str) -> Vec<String> {
        let sql = format!(
            "SELECT CONCAT('table ', TABLE_NAME) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = '{database}' \
             UNION ALL SELECT CONCAT('trigger ', TRIGGER_NAME, ' on ', EVENT_OBJECT_TABLE) \
             FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = '{database}' \
             UNION ALL SELECT CONCAT('key ', CONSTRAINT_NAME, ' of ', TABLE_NAME, ' to ', \
             REFERENCED_TABLE_NAME) FROM information_schema.REFERENTIAL_CONSTRAINTS \
             WHERE CONSTRAINT_SCHEMA = '{database}' \
             UNION ALL SELECT CONCAT('marker ', marker) FROM osc.osc_marker WHERE run IN \
             (SELECT run FROM osc.osc_ledger WHERE schema_name = '{database}') \
             UNION ALL SELECT CONCAT('run ', result) FROM osc.osc_ledger WHERE run = \
             (SELECT MAX(run) FROM osc.osc_ledger WHERE schema_name = '{database}') ORDER BY 1"
        );
        self.server.rows(&sql).await.concat()
    }
}

/// After a run that has ended, with the retired table or without one.
fn expected(retired: Option<&str>) -> Vec<String> {
    let table = retired.map(|name| format!("table {name}"));
    let all = "key child_t of child to t; run done; table child; table t; RETIRED; table t_twin; trigger seen on t";
    let line = |line: &str| if line == "RETIRED" { table.clone() } else { Some(line.to_owned()) };
    all.split("; ").filter_map(line).collect()
}

fn compare(state: Vec<String>, retired: Option<&str>) -> Result<(), String> {
    let wanted = expected(retired);
    if state == wanted { Ok(()) } else { Err(format!("left: {state:?}, not {wanted:?}")) }
}

impl Place {
    fn goes_by_log(&self) -> bool {
        self.server.kind() == Kind::Mariadb
    }
}

impl Scenario for Place {
    fn name(&self) -> &'static str {
        match (self.server.kind(), self.undo) {
            (kind, false) => kind.name(),
            (Kind::Mysql, true) => "mysql-revert",
            (Kind::Mariadb, true) => "mariadb-revert",
        }
    }

    fn faults(&self) -> Vec<Fault> {
        let own = match self.server.kind() {
            Kind::Mysql => failpoint::Place::Mysql,
            Kind::Mariadb => failpoint::Place::Mariadb,
        };
        let here = [failpoint::Place::Copy, failpoint::Place::Binlog, own];
        let compares = |point: &Point| *point == Point::Compared && self.goes_by_log();
        let passed = |point: &Point| !self.undo || !NOT_PASSED.contains(point) && !compares(point);
        let mut all = case::faults(|point| here.contains(&point.place()) && passed(&point));
        let again = |time| Fault { point: Point::KeyAway, time };
        // Each redirection has two steps; MariaDB's are two, before the rename and after it.
        all.push(again(2));
        all
    }

    async fn case(&self, fault: Fault, action: Action) -> Result<String, String> {
        let database = support::database(self.server).await;
        let twin = self.prepare(&database).await;
        let writers = Writers::paced(&twin, 2, 1, Duration::from_millis(15));
        writers.wait_for_more(10).await;
        let url = self.server.as_osc(&database).await;
        let alter = case::alter(CLAUSES, &url);
        // By the log on one of them, by comparing both tables on the other.
        let verify = if self.goes_by_log() { "--verify=touched" } else { "--verify=all" };
        let revert = ["revert", "t", "--url", &url, "--yes", "--chunk-time", "100ms", verify];
        let mut command = &alter[..];
        if self.undo {
            succeeds(&alter).await?;
            writers.wait_for_more(30).await;
            command = &revert;
        }
        let touched = async || {
            let create = self.server.rows(&format!("SHOW CREATE TABLE {database}.t")).await;
            create[0][1].contains("added") != self.undo
        };
        let outcome =
            case::to_its_end(command, fault, action, || self.cut(&database), touched).await;
        let report = writers.stop().await;
        let ended = outcome?;
        caught(async { report.assert_undisturbed() }).await?;
        let (clauses, retired) =
            if self.undo { ("", "t_osc_old_2") } else { (CLAUSES, "t_osc_old") };
        caught(twin.assert_equal(clauses)).await?;
        compare(self.state(&database).await, Some(retired))?;
        succeeds(&["cleanup", "t", "--url", &url, "--yes", "--now"]).await?;
        compare(self.state(&database).await, None)?;
        self.server.exec(&format!("DROP DATABASE {database}")).await;
        Ok(ended)
    }
}
