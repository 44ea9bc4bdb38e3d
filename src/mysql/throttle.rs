//! The sources of back-pressure that a run on MySQL or MariaDB has.

use std::sync::Arc;

use mysql_async::Opts;

use crate::engine::Result;
use crate::mysql::alter::Job;
use crate::throttle::Throttle;

/// Builds the throttle from the job's settings.
pub fn build(job: &Job, _opts: &Opts) -> Result<Arc<Throttle>> {
    let settings = &job.settings;
    let throttle = Throttle::new(job.directives.clone(), settings.max_rows_per_second, &job.stop);
    Ok(Arc::new(throttle))
}
