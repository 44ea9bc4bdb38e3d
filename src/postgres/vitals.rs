//! What feedback sees of PostgreSQL.

use crate::engine::error::Result;
use crate::postgres::connect::{APPLICATION_NAME, Options};
use crate::postgres::gauges::Session;
use crate::throttle::pulse::{LONGEST_STATEMENT, Pulse, RECENTLY};

/// The log since the last checkpoint, in parts of max_wal_size, that is too much. A server that keeps
/// up with checkpoints stays below one: it begins the next early enough to end it in time.
const TOO_MUCH_LOG: f64 = 1.43;

/// Looks at the sessions and at the log, over one session of its own.
#[derive(Debug)]
pub struct Vitals {
    session: Session,
    sql: String,
}

impl Vitals {
    /// Those of this server. Connects when it is first asked. The session is read-only.
    pub fn new(options: Options) -> Self {
        // A session that osc may not look into, since it is another role's, shows whose it is and in
        // which database, and nothing else.
        let sql = format!(
            "SELECT \
             count(*) FILTER (WHERE s.state = 'active' \
               AND s.query_start > clock_timestamp() - interval '{LONGEST_STATEMENT} s'), \
             count(*) FILTER (WHERE s.state = 'active' \
               OR s.state_change > clock_timestamp() - interval '{RECENTLY} s'), \
             count(*) FILTER (WHERE s.state IS NULL), \
             pg_wal_lsn_diff(pg_current_wal_lsn(), (SELECT redo_lsn FROM pg_control_checkpoint())), \
             pg_size_bytes(current_setting('max_wal_size')) \
             FROM pg_stat_activity s WHERE s.usesysid IS NOT NULL AND s.datid IS NOT NULL \
             AND coalesce(s.backend_type, 'client backend') = 'client backend' \
             AND s.application_name IS DISTINCT FROM '{APPLICATION_NAME}'"
        );
        Self { session: Session::new(options), sql }
    }
}

impl crate::throttle::pulse::Vitals for Vitals {
    async fn pulse(&mut self) -> Result<Pulse> {
        let rows = self.session.all("looking at the server for the feedback", &self.sql).await?;
        let number =
            |at| rows.first().and_then(|row| row.get(at)).and_then(|text| text.parse::<f64>().ok());
        let is_some = |at| number(at).is_some_and(|number| number > 0.0);
        let hidden = is_some(2);
        let log = number(3).zip(number(4)).map(|(since, most)| {
            let parts = since / most.max(1.0);
            let told = format!(
                "checkpoints are behind: {parts:.1} times max_wal_size of WAL since the last"
            );
            (parts / TOO_MUCH_LOG, told)
        });
        Ok(Pulse {
            others: is_some(1) || hidden,
            working: number(0).filter(|_| !hidden).map(count),
            log,
        })
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of sessions")]
fn count(number: f64) -> u32 {
    number as u32
}
