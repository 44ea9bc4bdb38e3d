//! What feedback sees of MySQL and MariaDB.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use mysql_async::{Opts, Row};

use super::status::{Session, text};
use crate::error::Result;
use crate::mysql::connection::own_sessions::{Opening, is_ours};
use crate::mysql::connection::process_list::{self, Process};
use crate::throttle::activity::{ActivitySample, LONGEST_STATEMENT, RECENTLY};

const ACTION: &str = "looking at the server for the feedback";

/// The redo log is looked at once in so many looks: reading the status costs the server more than the
/// process list does.
const LOG_EVERY: u32 = 5;

/// The part of the redo log from which on InnoDB makes writers wait for its flushing: 7/8, as MySQL
/// has it; MariaDB reports the part itself.
const FLUSH_FROM: f64 = 0.875;

/// Names by which the servers tell of the redo log.
const LOG_SQL: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Innodb_checkpoint_age', \
     'Innodb_checkpoint_max_age', 'Innodb_redo_log_current_lsn', \
     'Innodb_redo_log_checkpoint_lsn', 'Innodb_redo_log_capacity_resized')";

/// Looks at the sessions and the redo log, over one session of its own.
#[derive(Debug)]
pub struct ActivityProbe {
    opts: Opts,
    session: Session,
    looks: u32,
    log: Option<(f64, String)>,
    /// The others' sessions at the last look.
    before: HashSet<u64>,
}

impl ActivityProbe {
    /// Those of this server. Connects at the first look. The session is read-only. Sees others'
    /// sessions by the right PROCESS.
    pub fn new(opts: Opts) -> Self {
        Self {
            session: Session::new(opts.clone()),
            opts,
            looks: 0,
            log: None,
            before: HashSet::new(),
        }
    }
}

impl crate::throttle::activity::ActivityProbe for ActivityProbe {
    async fn sample(&mut self) -> Result<ActivitySample> {
        let sessions = self.session.rows(ACTION, process_list::SHOW).await?;
        // The newest, which were not there at the last look, may be osc's own that it does not know yet.
        let opening = Opening::count();
        if self.looks.is_multiple_of(LOG_EVERY) {
            self.log = log(&self.session.rows(ACTION, LOG_SQL).await?);
        }
        self.looks = self.looks.wrapping_add(1);
        let mut sample = ActivitySample { others: false, working: Some(0), log: self.log.clone() };
        let others = process_list::read(sessions).filter(|process| !serves(process));
        let mut others: Vec<Process> =
            others.filter(|other| !is_ours(&self.opts, other.id)).collect();
        others.sort_unstable_by_key(|other| Reverse(other.id));
        let before = std::mem::replace(&mut self.before, others.iter().map(|o| o.id).collect());
        let (old, new): (Vec<_>, Vec<_>) =
            others.iter().partition(|other| before.contains(&other.id));
        for other in old.into_iter().chain(new.into_iter().skip(opening)) {
            sample.others |= is_at_work(other);
            if is_working(other) {
                sample.working = sample.working.map(|working| working + 1);
            }
        }
        Ok(sample)
    }
}

/// Whether it serves the server itself or a replica.
fn serves(process: &Process) -> bool {
    let command = process.command.as_str();
    ["system user", "event_scheduler"].contains(&process.user.as_str())
        || command.starts_with("Binlog Dump")
        || command.starts_with("Slave")
        || ["Daemon", "Connect", "Register Slave"].contains(&command)
}

/// Whether a statement is under way that a user waits for.
fn is_working(process: &Process) -> bool {
    process.command != "Sleep" && process.seconds.unwrap_or(0) <= LONGEST_STATEMENT
}

fn is_at_work(process: &Process) -> bool {
    process.command != "Sleep" || process.seconds.unwrap_or(0) < RECENTLY
}

fn log(rows: &[Row]) -> Option<(f64, String)> {
    let values: HashMap<String, f64> = rows
        .iter()
        .filter_map(|row| Some((text(row, 0)?.to_ascii_lowercase(), text(row, 1)?.parse().ok()?)))
        .collect();
    let value = |name: &str| values.get(name).copied();
    let full = if let Some(capacity) = value("innodb_redo_log_capacity_resized") {
        let age = value("innodb_redo_log_current_lsn")? - value("innodb_redo_log_checkpoint_lsn")?;
        age / capacity.max(1.0) / FLUSH_FROM
    } else {
        value("innodb_checkpoint_age")? / value("innodb_checkpoint_max_age")?.max(1.0)
    };
    Some((full, format!("the redo log is at {:.0}% of what makes writers wait", full * 100.0)))
}
