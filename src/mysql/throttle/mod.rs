//! The sources of back-pressure that a run on MySQL or MariaDB has.

pub mod activity;
pub mod replica_lag;
pub mod status;

mod lineage;
mod replication_position;

use mysql_async::Opts;

use self::activity::ActivityProbe;
use self::replica_lag::ReplicaLag;
use self::status::Gauges;
use super::connection::connect;
use crate::error::Result;
use crate::plan::Job;
use crate::throttle::from_settings::usual;
use crate::throttle::{Throttle, sound};

/// Fails where a setting of the throttle can never be right. `resumes`: an unfinished run is resumed, whose
/// replicas were looked at before it began.
///
/// # Errors
/// `Refused`; the connection's.
pub async fn check(job: &Job, primary: &Opts, resumes: bool) -> Result<()> {
    let mut findings = sound::gauges(&job.settings, &mut Gauges::new(primary.clone())).await?;
    findings.extend(lineage::strangers(primary, replicas(job)?, resumes).await?);
    sound::none(findings)
}

fn replicas(job: &Job) -> Result<Vec<(String, Opts)>> {
    let named = job.settings.replicas.iter();
    named.map(|replica| Ok((replica.address.to_string(), connect::opts(replica)?))).collect()
}

/// Builds the throttle from the job's settings. `copies`: there is a copy to steer by feedback.
pub fn build(job: &Job, primary: &Opts, copies: bool) -> Result<Throttle> {
    let settings = &job.settings;
    let replicas = replicas(job)?;
    let replicas = (!replicas.is_empty()).then(|| ReplicaLag::new(primary.clone(), replicas));
    let gauges = || Gauges::new(primary.clone());
    let vitals = copies.then(|| ActivityProbe::new(primary.clone()));
    Ok(usual(settings, job.directives.clone(), &job.stop, replicas, gauges, vitals))
}
