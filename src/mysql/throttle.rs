//! The sources of back-pressure that a run on MySQL or MariaDB has.

use mysql_async::Opts;

use crate::engine::Result;
use crate::mysql::connect;
use crate::mysql::gauges::Gauges;
use crate::mysql::lag::ReplicaLag;
use crate::mysql::vitals::Vitals;
use crate::plan::Job;
use crate::throttle::Throttle;
use crate::throttle::usual::usual;

/// Builds the throttle from the job's settings.
pub fn build(job: &Job, primary: &Opts) -> Result<Throttle> {
    let settings = &job.settings;
    let replicas = settings
        .replicas
        .iter()
        .map(|replica| Ok((replica.address.to_string(), connect::opts(replica)?)))
        .collect::<Result<Vec<_>>>()?;
    let replicas = (!replicas.is_empty()).then(|| ReplicaLag::new(primary.clone(), replicas));
    let gauges = || Gauges::new(primary.clone());
    let vitals = Vitals::new(primary.clone());
    usual(settings, job.directives.clone(), &job.stop, replicas, gauges, vitals)
}
