//! The sources that every kind of server has, from the settings.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Throttle;
use super::gauge::{Gauge, Replicas};
use super::http::Http;
use super::lag::Lag;
use super::load::{Limit, Load};
use super::pulse::Vitals;
use super::query::Query;
use super::window::Window;
use crate::config::settings::AlterSettings;
use crate::control::Directives;
use crate::engine::Result;

/// The throttle that the settings ask for. `replicas`: those whose lag counts; `gauges` makes one
/// that looks at the server, and `vitals` what feedback sees of it.
///
/// # Errors
/// `Usage` where a setting makes no sense.
pub fn usual<R: Replicas, G: Gauge, V: Vitals>(
    settings: &AlterSettings,
    directives: watch::Receiver<Directives>,
    stop: &CancellationToken,
    replicas: Option<R>,
    gauges: impl Fn() -> G,
    vitals: V,
) -> Result<Throttle> {
    let mut throttle = Throttle::new(directives, settings.max_rows_per_second, stop);
    if let Some(replicas) = replicas {
        let lag = Lag::new(replicas, settings.max_lag).telling(throttle.feelings());
        throttle = throttle.with(lag);
    }
    if !settings.max_load.is_empty() || !settings.critical_load.is_empty() {
        let limits = |list: &[(String, u64)]| -> Result<Vec<Limit>> {
            list.iter().map(|(name, limit)| format!("{name}={limit}").parse()).collect()
        };
        let (max, critical) = (limits(&settings.max_load)?, limits(&settings.critical_load)?);
        throttle = throttle.with(Load::new(gauges(), max, critical));
    }
    if let Some(sql) = &settings.throttle_query {
        throttle = throttle.with(Query::new(gauges(), sql));
    }
    if let Some(url) = &settings.throttle_http {
        throttle = throttle.with(Http::new(url)?);
    }
    if let Some(text) = settings.window.as_deref() {
        throttle = throttle.with(text.parse::<Window>()?);
    }
    if settings.feedback {
        throttle = throttle.with_feedback(vitals, settings.threads.get());
    }
    Ok(throttle)
}
