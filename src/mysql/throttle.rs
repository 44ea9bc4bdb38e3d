//! The sources of back-pressure that a run on MySQL or MariaDB has.

use std::sync::Arc;

use mysql_async::Opts;

use crate::config::target::{Address, Target};
use crate::engine::Result;
use crate::mysql::connect;
use crate::mysql::gauges::Gauges;
use crate::mysql::lag::ReplicaLag;
use crate::plan::Job;
use crate::throttle::Throttle;
use crate::throttle::http::Http;
use crate::throttle::lag::Lag;
use crate::throttle::load::{Limit, Load};
use crate::throttle::query::Query;
use crate::throttle::window::Window;

/// Builds the throttle from the job's settings.
pub fn build(job: &Job, primary: &Opts) -> Result<Arc<Throttle>> {
    let settings = &job.settings;
    let mut throttle =
        Throttle::new(job.directives.clone(), settings.max_rows_per_second, &job.stop);
    if !settings.replicas.is_empty() {
        let replicas = settings
            .replicas
            .iter()
            .map(|replica| Ok((shown(replica), connect::opts(replica)?)))
            .collect::<Result<Vec<_>>>()?;
        throttle =
            throttle.with(Lag::new(ReplicaLag::new(primary.clone(), replicas), settings.max_lag));
    }
    if !settings.max_load.is_empty() || !settings.critical_load.is_empty() {
        let limits = |list: &[(String, u64)]| -> Result<Vec<Limit>> {
            list.iter().map(|(name, limit)| format!("{name}={limit}").parse()).collect()
        };
        throttle = throttle.with(Load::new(
            Gauges::new(primary.clone()),
            limits(&settings.max_load)?,
            limits(&settings.critical_load)?,
        ));
    }
    if let Some(sql) = &settings.throttle_query {
        throttle = throttle.with(Query::new(Gauges::new(primary.clone()), sql));
    }
    if let Some(url) = &settings.throttle_http {
        throttle = throttle.with(Http::new(url)?);
    }
    if let Some(window) = window(settings.window.as_deref())? {
        throttle = throttle.with(window);
    }
    Ok(Arc::new(throttle))
}

/// Reads `--window`, so that a mistake in it is told before anything is done.
pub fn window(text: Option<&str>) -> Result<Option<Window>> {
    text.map(str::parse::<Window>).transpose()
}

fn shown(target: &Target) -> String {
    match &target.address {
        Address::Tcp { host, port } => format!("{host}:{port}"),
        Address::Socket(path) => path.display().to_string(),
    }
}
