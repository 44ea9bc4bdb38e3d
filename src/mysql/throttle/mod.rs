//! The sources of the throttle that a run on MySQL or MariaDB has.

pub mod activity;
pub mod replica_lag;
pub mod status;

mod lineage;
mod replication_position;

use mysql_async::Opts;

use super::connection::connect;
use crate::error::Result;
use crate::plan::Job;
use crate::throttle::from_settings::from_settings;
use crate::throttle::{Throttle, sound};
use activity::ActivityProbe;
use replica_lag::ReplicaLag;
use status::ServerStatus;

/// Fails where a setting of the throttle can never be right. `resumes`: an unfinished run is resumed, whose
/// replicas were looked at before it began.
///
/// # Errors
/// `Refused`; the connection's.
pub async fn check(job: &Job, primary: &Opts, resumes: bool) -> Result<()> {
    let mut findings =
        sound::probes(&job.settings, &mut ServerStatus::new(primary.clone())).await?;
    findings.extend(lineage::strangers(primary, replicas(job)?, resumes).await?);
    findings.extend(job.unsound_check(ServerStatus::new(primary.clone())).await?);
    sound::none(findings)
}

fn replicas(job: &Job) -> Result<Vec<(String, Opts)>> {
    let named = job.replicas.iter();
    named.map(|replica| Ok((replica.address.to_string(), connect::opts(replica)?))).collect()
}

/// Builds the throttle from the job's settings. `copies`: there is a copy to steer by feedback.
pub fn build(job: &Job, primary: &Opts, copies: bool) -> Result<Throttle> {
    let settings = &job.settings;
    let replicas = replicas(job)?;
    let replicas = (!replicas.is_empty()).then(|| ReplicaLag::new(primary.clone(), replicas));
    let probes = || ServerStatus::new(primary.clone());
    let activity = copies.then(|| ActivityProbe::new(primary.clone()));
    Ok(from_settings(settings, job.directives.clone(), &job.stop, replicas, probes, activity))
}
