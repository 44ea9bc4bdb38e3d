//! The sources that every kind of server has, from the settings.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Throttle;
use super::activity::ActivityProbe;
use super::http::Http;
use super::lag::Lag;
use super::load::Load;
use super::probe::{Replicas, StatusProbe};
use super::query::Query;
use crate::config::settings::Settings;
use crate::control::Directives;

/// The throttle that the settings ask for. `replicas`: those whose lag counts; `probes` makes one
/// that looks at the server, and `activity` what feedback sees of it; `None`: there is no copy to steer.
pub(crate) fn from_settings<R: Replicas, G: StatusProbe, V: ActivityProbe>(
    settings: &Settings,
    directives: watch::Receiver<Directives>,
    stop: &CancellationToken,
    replicas: Option<R>,
    probes: impl Fn() -> G,
    activity: Option<V>,
) -> Throttle {
    let mut throttle = Throttle::new(directives, settings.max_rows_per_second, stop);
    if let Some(replicas) = replicas {
        let lag = Lag::new(replicas, settings.max_lag()).telling(throttle.latencies());
        throttle = throttle.with(lag);
    }
    if !settings.max_load.is_empty() || !settings.critical_load.is_empty() {
        let (max, critical) = (settings.max_load.clone(), settings.critical_load.clone());
        throttle = throttle.with(Load::new(probes(), max, critical));
    }
    if let Some(sql) = &settings.throttle_query {
        throttle = throttle.with(Query::new(probes(), sql));
    }
    if let Some(url) = &settings.throttle_http {
        throttle = throttle.with(Http(url.clone()));
    }
    if let Some(window) = &settings.window {
        throttle = throttle.with(window.clone());
    }
    if let Some(activity) = activity.filter(|_| settings.feedback()) {
        throttle = throttle.with_feedback(activity, settings.threads().get());
    }
    throttle
}
