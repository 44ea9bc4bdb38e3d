//! The sources of the throttle that a run on PostgreSQL has.

pub mod activity;

mod replica_lag;
mod status;
pub(crate) mod wal_retention;

use super::connection::connect::Options;
use crate::error::Result;
use crate::plan::Job;
use crate::throttle::from_settings::from_settings;
use crate::throttle::{Throttle, sound};
use activity::ActivityProbe;
use replica_lag::StandbyLag;
pub(super) use status::ServerStatus;
use wal_retention::Retention;

/// Fails where a setting of the throttle can never be right. `resumes`: an unfinished run is resumed, whose
/// replicas were looked at before it began.
///
/// # Errors
/// `Refused`; the connection's.
pub async fn check(job: &Job, primary: &Options, resumes: bool) -> Result<()> {
    let settings = &job.settings;
    let mut findings = sound::probes(settings, &mut ServerStatus::new(primary.clone())).await?;
    findings.extend(replica_lag::strangers(primary, &job.replicas, resumes).await?);
    findings.extend(job.unsound_check(ServerStatus::new(primary.clone())).await?);
    sound::none(findings)
}

/// Builds the throttle from the job's settings. `copies`: there is a copy to steer by feedback.
///
/// # Errors
/// `Usage` where a setting makes no sense.
pub fn build(job: &Job, primary: &Options, copies: bool) -> Result<Throttle> {
    let settings = &job.settings;
    let standbys = StandbyLag::new(primary.clone(), &job.replicas)?;
    let probes = || ServerStatus::new(primary.clone());
    let activity = copies.then(|| ActivityProbe::new(primary.clone()));
    let (directives, stop) = (job.directives.clone(), &job.stop);
    let throttle = from_settings(settings, directives, stop, Some(standbys), probes, activity);
    Ok(match settings.max_wal() {
        Some(limit) => throttle.with(Retention::new(primary.clone(), limit)),
        None => throttle,
    })
}
