//! What feedback sees of PostgreSQL.

use super::status::Session;
use crate::error::Result;
use crate::postgres::connection::connect::{APPLICATION_NAME, Options};
use crate::throttle::activity::{ActivitySample, LONGEST_STATEMENT, RECENTLY};

/// The log since the last checkpoint, in parts of max_wal_size, that is too much. A server that keeps
/// up with checkpoints stays below one: it begins the next early enough to end it in time.
const TOO_MUCH_LOG: f64 = 1.43;

/// The log since the last checkpoint and max_wal_size, in bytes.
const LOG: &str = "pg_wal_lsn_diff(pg_current_wal_lsn(), (SELECT redo_lsn FROM pg_control_checkpoint())), \
     pg_size_bytes(current_setting('max_wal_size'))";

/// Looks at the sessions and at the log, over one session of its own.
#[derive(Debug)]
pub struct ActivityProbe {
    session: Session,
    sees_log: bool,
}

impl ActivityProbe {
    /// Those of this server. Connects at the first look. The session is read-only.
    pub fn new(options: Options) -> Self {
        Self { session: Session::new(options), sees_log: true }
    }

    /// A session that osc may not look into, since it is another role's, shows whose it is and in
    /// which database, and nothing else.
    fn sql(&self) -> String {
        let log = if self.sees_log { LOG } else { "NULL, NULL" };
        format!(
            "SELECT \
             count(*) FILTER (WHERE s.state = 'active' \
               AND s.query_start > clock_timestamp() - interval '{LONGEST_STATEMENT} s'), \
             count(*) FILTER (WHERE s.state = 'active' \
               OR s.state_change > clock_timestamp() - interval '{RECENTLY} s'), \
             count(*) FILTER (WHERE s.state IS NULL), {log} \
             FROM pg_stat_activity s WHERE s.usesysid IS NOT NULL AND s.datid IS NOT NULL \
             AND coalesce(s.backend_type, 'client backend') = 'client backend' \
             AND s.application_name IS DISTINCT FROM '{APPLICATION_NAME}'"
        )
    }
}

impl crate::throttle::activity::ActivityProbe for ActivityProbe {
    async fn sample(&mut self) -> Result<ActivitySample> {
        const ACTION: &str = "looking at the server for the feedback";
        let mut found = self.session.all(ACTION, &self.sql()).await;
        if self.sees_log && matches!(&found, Err(error) if !error.is_connection()) {
            // Some hosts do not show the control file.
            self.sees_log = false;
            found = self.session.all(ACTION, &self.sql()).await;
        }
        let rows = found?;
        let number =
            |at| rows.first().and_then(|row| row.get(at)).and_then(|text| text.parse::<f64>().ok());
        let some = |at| number(at).is_some_and(|number| number > 0.0);
        let hidden = some(2);
        let log = number(3).zip(number(4)).map(|(since, most)| {
            let parts = since / most.max(1.0);
            let reason = format!("{parts:.1} times max_wal_size of WAL since the last checkpoint");
            (parts / TOO_MUCH_LOG, reason)
        });
        let working = number(0).filter(|_| !hidden).map(count);
        Ok(ActivitySample { others: some(1) || hidden, working, log })
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of sessions")]
fn count(number: f64) -> u32 {
    number as u32
}
