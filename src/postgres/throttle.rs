//! The sources of back-pressure that a run on PostgreSQL has.

use crate::engine::Result;
use crate::plan::Job;
use crate::postgres::connect::Options;
use crate::postgres::gauges::Gauges;
use crate::postgres::lag::StandbyLag;
use crate::postgres::retention::Retention;
use crate::postgres::vitals::Vitals;
use crate::throttle::Throttle;
use crate::throttle::usual::usual;

/// Builds the throttle from the job's settings.
///
/// # Errors
/// `Usage` where a setting makes no sense.
pub fn build(job: &Job, primary: &Options) -> Result<Throttle> {
    let settings = &job.settings;
    let standbys = StandbyLag::new(primary.clone(), &settings.replicas)?;
    let gauges = || Gauges::new(primary.clone());
    let vitals = Vitals::new(primary.clone());
    let (wishes, stop) = (job.directives.clone(), &job.stop);
    let throttle = usual(settings, wishes, stop, Some(standbys), gauges, vitals)?;
    Ok(match settings.max_wal {
        Some(limit) => throttle.with(Retention::new(primary.clone(), limit)),
        None => throttle,
    })
}
