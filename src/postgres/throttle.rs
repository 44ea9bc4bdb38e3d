//! The sources of back-pressure that a run on PostgreSQL has.

use std::sync::Arc;

use crate::engine::Result;
use crate::plan::Job;
use crate::postgres::connect::Options;
use crate::postgres::gauges::Gauges;
use crate::postgres::lag::StandbyLag;
use crate::throttle::Throttle;
use crate::throttle::http::Http;
use crate::throttle::lag::Lag;
use crate::throttle::load::{Limit, Load};
use crate::throttle::query::Query;
use crate::throttle::window::Window;

/// Builds the throttle from the job's settings.
///
/// # Errors
/// `Usage` where a setting makes no sense.
pub fn build(job: &Job, primary: &Options) -> Result<Arc<Throttle>> {
    let settings = &job.settings;
    let mut throttle =
        Throttle::new(job.directives.clone(), settings.max_rows_per_second, &job.stop);
    throttle = throttle
        .with(Lag::new(StandbyLag::new(primary.clone(), &settings.replicas)?, settings.max_lag));
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
    if let Some(text) = settings.window.as_deref() {
        throttle = throttle.with(text.parse::<Window>()?);
    }
    Ok(Arc::new(throttle))
}
