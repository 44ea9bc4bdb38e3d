//! `GET /metrics`, as OpenMetrics: names and types after Prometheus' practices, the table as a label, and no label
//! that anybody's text could multiply.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::view::{Board, Counts, Shown};
use crate::engine::progress::Phase;
use crate::engine::times::Buckets;

/// What the answer is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PHASES: [Phase; 10] = [
    Phase::Prepare,
    Phase::Copy,
    Phase::Index,
    Phase::Verify,
    Phase::PutBack,
    Phase::Watch,
    Phase::Hold,
    Phase::CutOver,
    Phase::Finish,
    Phase::Done,
];

type Labels = Vec<(&'static str, String)>;

/// All metrics as text.
///
/// # Errors
/// When they cannot be written, which only a defect can cause.
pub(super) fn text(board: &Arc<Board>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("osc");
    registry.register_collector(Box::new(Metrics(Arc::clone(board))));
    let mut written = String::new();
    text::encode_registry(&mut written, &registry)?;
    let mut process = Registry::with_prefix("process");
    process.register_collector(Box::new(Process));
    text::encode(&mut written, &process)?;
    Ok(written)
}

#[derive(Debug)]
struct Metrics(Arc<Board>);

/// Writes one metric of all runs.
struct Writer<'a, 'b> {
    encoder: DescriptorEncoder<'a>,
    runs: &'b [Arc<Shown>],
}

/// The name and the help of a metric.
type Named = (&'static str, &'static str);

impl Writer<'_, '_> {
    fn with(
        &mut self,
        (name, help): Named,
        kind: MetricType,
        samples: Vec<(Labels, impl Fn(MetricEncoder<'_>) -> fmt::Result)>,
    ) -> fmt::Result {
        if samples.is_empty() {
            return Ok(());
        }
        let mut metric = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, write) in samples {
            write(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Gauges with labels of their own beside the table.
    fn gauges(&mut self, named: Named, of: impl Fn(&Shown) -> Vec<(Labels, f64)>) -> fmt::Result {
        let samples = self.samples(of).into_iter().map(|(labels, value)| {
            (labels, move |mut metric: MetricEncoder<'_>| metric.encode_gauge(&value))
        });
        let samples = samples.collect();
        self.with(named, MetricType::Gauge, samples)
    }

    /// A gauge; `None`: not known.
    fn gauge(&mut self, named: Named, of: impl Fn(&Shown) -> Option<f64>) -> fmt::Result {
        self.gauges(named, |shown| {
            of(shown).map(|value| (Labels::new(), value)).into_iter().collect()
        })
    }

    /// Counters with labels of their own beside the table.
    fn counters(&mut self, named: Named, of: impl Fn(&Shown) -> Vec<(Labels, f64)>) -> fmt::Result {
        let samples = self.samples(of).into_iter().map(|(labels, value)| {
            let write = move |mut metric: MetricEncoder<'_>| {
                metric.encode_counter::<[(&str, &str); 0], _, f64>(&value, None)
            };
            (labels, write)
        });
        let samples = samples.collect();
        self.with(named, MetricType::Counter, samples)
    }

    fn counter(&mut self, named: Named, of: impl Fn(&Shown) -> f64) -> fmt::Result {
        self.counters(named, |shown| vec![(Labels::new(), of(shown))])
    }

    fn histogram(
        &mut self,
        named: Named,
        more: &Labels,
        of: impl Fn(&Counts) -> &Buckets,
    ) -> fmt::Result {
        let samples = self.runs.iter().filter_map(|shown| {
            let buckets = of(&shown.counts).clone();
            let labels = [table(shown), more.clone()].concat();
            let write = move |mut metric: MetricEncoder<'_>| {
                metric.encode_histogram::<[(&str, &str); 0]>(
                    buckets.sum,
                    buckets.count(),
                    &buckets.counts,
                    None,
                )
            };
            // Runs of the ledger have none.
            (!of(&shown.counts).counts.is_empty()).then_some((labels, write))
        });
        let samples = samples.collect();
        self.with(named, MetricType::Histogram, samples)
    }

    fn samples(&self, of: impl Fn(&Shown) -> Vec<(Labels, f64)>) -> Vec<(Labels, f64)> {
        let one = |shown: &Arc<Shown>| {
            let of_run = of(shown).into_iter();
            of_run
                .map(|(labels, value)| ([table(shown), labels].concat(), value))
                .collect::<Vec<_>>()
        };
        self.runs.iter().flat_map(one).collect()
    }
}

fn table(shown: &Shown) -> Labels {
    vec![("table", shown.view.table.clone())]
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

#[allow(clippy::cast_precision_loss, reason = "exact below 2⁵³")]
fn number(count: u64) -> f64 {
    count as f64
}

fn seconds(millis: u64) -> f64 {
    number(millis) / 1000.0
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut writer = Writer { encoder, runs: &self.0.runs };
        about(&mut writer, &self.0)?;
        copy(&mut writer)?;
        stream(&mut writer)?;
        control(&mut writer)
    }
}

/// The program, the run and where it is.
fn about(writer: &mut Writer<'_, '_>, board: &Board) -> fmt::Result {
    let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    let one = |mut metric: MetricEncoder<'_>| metric.encode_gauge(&1_i64);
    writer.with(("build_info", "The version of osc."), MetricType::Gauge, vec![(build, one)])?;
    let ready = flag(board.ready);
    let ready = move |mut metric: MetricEncoder<'_>| metric.encode_gauge(&ready);
    let named = ("ready", "Whether osc observes its server: 1, or 0.");
    writer.with(named, MetricType::Gauge, vec![(Labels::new(), ready)])?;
    writer.gauges(("run_info", "The run: its number, command, server and method."), |shown| {
        let view = &shown.view;
        let labels = vec![
            ("run", view.run.map_or_else(String::new, |run| run.to_string())),
            ("kind", view.kind.to_owned()),
            ("server", view.server.clone()),
            ("method", view.method.clone().unwrap_or_default()),
        ];
        vec![(labels, 1.0)]
    })?;
    writer.gauges(
        ("run_phase", "Where the run is: 1 for its phase, 0 for the others."),
        |shown| {
            let now = shown.view.snapshot.now.phase;
            let of =
                |phase: &Phase| (vec![("phase", phase.word().to_owned())], flag(*phase == now));
            PHASES.iter().map(of).collect()
        },
    )?;
    let started = ("run_started_timestamp_seconds", "When this attempt began.");
    writer.gauge(started, |shown| Some(shown.counts.started))?;
    let resumed = ("run_resumed", "Times that this attempt resumed the run from a checkpoint.");
    writer.counter(resumed, |shown| number(shown.counts.resumed))?;
    let lost = ("connections_lost", "Times that the connection to the server was lost.");
    writer.counter(lost, |shown| number(shown.counts.connections_lost))?;
    let warnings = ("warnings", "Warnings that the run has reported.");
    writer.counter(warnings, |shown| number(shown.counts.warnings))
}

fn copy(writer: &mut Writer<'_, '_>) -> fmt::Result {
    let rows = ("copy_rows", "Rows copied, those of earlier attempts included.");
    writer.counter(rows, |shown| number(shown.view.snapshot.now.rows_copied))?;
    let estimate = ("copy_rows_estimate", "Rows of the table, as the server estimated them.");
    writer.gauge(estimate, |shown| Some(number(shown.view.snapshot.now.rows_estimate)))?;
    let ratio = ("phase_progress_ratio", "How far the phase is, 0 to 1.");
    writer
        .gauge(ratio, |shown| shown.view.snapshot.rates.percent.map(|percent| percent / 100.0))?;
    let eta = ("phase_eta_seconds", "Seconds until the phase is through.");
    writer.gauge(eta, |shown| shown.view.snapshot.rates.eta_seconds.map(number))?;
    let width =
        ("parallel_chunks", "Chunks that may be in flight; below 1: the share of the time.");
    writer.gauge(width, |shown| shown.view.snapshot.now.width)?;
    let kind = vec![("kind", "copy".to_owned())];
    let chunks = ("chunk_duration_seconds", "How long chunks took.");
    writer.histogram(chunks, &kind, |counts| &counts.chunks)?;
    let verified = ("verified_rows", "Rows compared.");
    writer.counter(verified, |shown| number(shown.view.snapshot.now.rows_verified))
}

fn stream(writer: &mut Writer<'_, '_>) -> fmt::Result {
    let lag = ("stream_lag_seconds", "How far the change stream lags behind the server.");
    writer.gauge(lag, |shown| shown.view.snapshot.now.stream_lag_ms.map(seconds))?;
    let dirty = ("dirty_keys", "Dirty keys that wait for a refresh.");
    writer.gauge(dirty, |shown| Some(number(shown.view.snapshot.now.dirty_keys)))?;
    let refreshed = ("refreshed_keys", "Keys refreshed.");
    writer.counter(refreshed, |shown| number(shown.view.snapshot.now.refreshed_keys))?;
    let refreshes = ("refresh_duration_seconds", "How long refreshes took.");
    writer.histogram(refreshes, &Labels::new(), |counts| &counts.refreshes)?;
    let replicas = ("replica_lag_seconds", "Lag of the slowest replica that is watched.");
    writer.gauge(replicas, |shown| shown.view.snapshot.now.replica_lag_ms.map(seconds))
}

/// What holds the run, and who steers it.
fn control(writer: &mut Writer<'_, '_>) -> fmt::Result {
    let source = |name: &str| vec![("source", name.to_owned())];
    let throttled = ("throttled", "Whether the copy is paused: 1, or 0.");
    writer.gauges(throttled, |shown| {
        let Counts { paused, throttled, .. } = &shown.counts;
        vec![(source("operator"), flag(paused.now)), (source("throttle"), flag(throttled.now))]
    })?;
    let length = ("throttled_seconds", "For how long the copy was paused in this attempt.");
    writer.counters(length, |shown| {
        let Counts { paused, throttled, .. } = &shown.counts;
        vec![(source("operator"), paused.seconds), (source("throttle"), throttled.seconds)]
    })?;
    let slowed = ("slowed", "Whether the copy is slowed down for other sessions: 1, or 0.");
    writer.gauge(slowed, |shown| Some(flag(shown.view.snapshot.now.gives_way.is_some())))?;
    let attempts = ("cut_over_attempts", "Attempts to lock the table.");
    writer.counters(attempts, |shown| {
        let outcome = |word: &str| vec![("outcome", word.to_owned())];
        let locked = flag(shown.counts.lock.is_some());
        vec![(outcome("blocked"), number(shown.counts.failed_locks)), (outcome("locked"), locked)]
    })?;
    let lock = ("cut_over_lock_seconds", "How long the cut-over locked the table.");
    writer.gauge(lock, |shown| shown.counts.lock)?;
    writer.counters(("orders", "Orders that were answered."), |shown| {
        let of = |((verb, outcome), count): (&(&str, &str), &u64)| {
            let labels = vec![("verb", (*verb).to_owned()), ("outcome", (*outcome).to_owned())];
            (labels, number(*count))
        };
        shown.counts.orders.iter().map(of).collect()
    })
}

/// This process.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident =
            resident.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
        let Some(kilobytes) = resident else { return Ok(()) };
        let help = "Memory that the process has, in bytes.";
        let name = "resident_memory_bytes";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&(kilobytes * 1024))
    }
}
