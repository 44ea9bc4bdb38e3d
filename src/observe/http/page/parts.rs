//! The parts of the page: a run, or the list of runs.

use std::sync::Arc;
use std::time::Duration;

use indicatif::HumanCount;
use maud::{Markup, html};

use super::Parts;
use crate::engine::progress::Phase;
use crate::observe::http::Site;
use crate::observe::http::trail::Point;
use crate::observe::http::view::{Board, Shown, View};
use crate::observe::plot::{Band, Line, Plot};
use crate::output::text::{UNKNOWN, doing, length};

/// Lines of the log.
const LOG: usize = 50;

/// A picture of a plot, in its own units.
const SIZE: (u32, u32) = (300, 48);

const COPY: [Phase; 8] = [
    Phase::Prepare,
    Phase::Copy,
    Phase::Index,
    Phase::Verify,
    Phase::Hold,
    Phase::CutOver,
    Phase::Finish,
    Phase::Done,
];
const UNDO: [Phase; 6] =
    [Phase::Prepare, Phase::PutBack, Phase::Hold, Phase::CutOver, Phase::Finish, Phase::Done];
const WATCH: [Phase; 3] = [Phase::Prepare, Phase::PutBack, Phase::Watch];
const BY_THE_SERVER: [Phase; 4] = [Phase::Prepare, Phase::Hold, Phase::CutOver, Phase::Done];

/// What changes of a run's page.
pub(super) fn of_run(site: &Site, shown: &Shown) -> Parts {
    let view = &shown.view;
    let percent = view.snapshot.rates.percent.map(|percent| format!("{percent:.0} % "));
    let title = format!("{}{}: {} · osc", percent.unwrap_or_default(), view.table, view.state);
    let mut parts: Parts = vec![("title", title.into())];
    let mut add = |name, markup: Markup| parts.push((name, Arc::from(markup.into_string())));
    add("head", head(view));
    add("progress", progress(shown));
    add("holds", holds(view));
    add("plots", plots(shown));
    add("settings", settings(view));
    add("orders", orders(view));
    add("log", log(site));
    parts
}

/// What changes of the list.
pub(super) fn of_list(board: &Board) -> Parts {
    let runs = html! {
        h1 { "Runs" }
        @if !board.ready { p .lost { "The server cannot be reached; what is below may be old." } }
        @if board.runs.is_empty() { p .faint { "There are no runs." } }
        @else {
            div .scroll { table {
                thead { tr { th { "Table" } th { "State" } th { "Phase" } th { "Progress" } th { "ETA" } th { "Why not faster" } } }
                tbody { @for shown in &board.runs { (row(&shown.view)) } }
            } }
        }
    };
    vec![("title", "Runs · osc".into()), ("list", runs.into_string().into())]
}

/// Of a run that is not there any more.
pub(super) fn of_nothing() -> Parts {
    let markup = html! { p .lost { "This run is not among the latest any more." } };
    vec![("title", "osc".into()), ("head", markup.into_string().into())]
}

fn row(view: &View) -> Markup {
    let picture = &view.snapshot;
    html! {
        tr {
            td {
                @if let Some(run) = view.run { a href=(format!("/run/{run}")) { (view.table) } } @else { (view.table) }
                br; code { (short(&view.clauses, 120)) }
            }
            td { span class=(format!("state {}", view.state)) { (view.state) } }
            td { (picture.now.phase.word()) }
            td { @if let Some(percent) = picture.rates.percent { (format!("{percent:.1} %")) } @else { (UNKNOWN) } }
            td { (eta(view)) }
            td { (view.pace) }
        }
    }
}

fn head(view: &View) -> Markup {
    let now = &view.snapshot.now;
    let phases = match view.method.as_deref() {
        _ if now.phase == Phase::Watch => &WATCH[..],
        _ if now.phase == Phase::PutBack => &UNDO[..],
        Some("instant" | "inplace") => &BY_THE_SERVER[..],
        _ if view.kind == "revert" => &UNDO[..],
        _ => &COPY[..],
    };
    let run = view.run.map(|run| format!("run {run}"));
    let method = view.method.as_ref().map(|method| format!("method {method}"));
    let facts = [Some(view.server.clone()), run, method, Some(format!("osc {}", view.kind))];
    let facts: Vec<String> = facts.into_iter().flatten().filter(|fact| !fact.is_empty()).collect();
    html! {
        h1 { (view.table) " " span class=(format!("state {}", view.state)) { (view.state) } }
        @if !view.clauses.is_empty() { p { code { (view.clauses) } } }
        p .faint { (facts.join(" · ")) }
        ol .phases aria-label="Phases" {
            @for phase in phases {
                @let past = (*phase < now.phase).then_some("past");
                li class=[past] aria-current=[(*phase == now.phase).then_some("step")] { (phase.word()) }
            }
        }
    }
}

fn eta(view: &View) -> String {
    let text = |seconds: u64| length(Duration::from_secs(seconds));
    match (view.eta_range_seconds, view.snapshot.rates.eta_seconds) {
        (Some((low, high)), _) if text(low) != text(high) => {
            format!("{} to {}", text(low), text(high))
        }
        (_, Some(eta)) => text(eta),
        _ => UNKNOWN.into(),
    }
}

fn progress(shown: &Shown) -> Markup {
    let view = &shown.view;
    let (picture, now) = (&view.snapshot, &view.snapshot.now);
    let rate = picture.rates.rows_per_second.map_or_else(|| UNKNOWN.into(), count);
    let elapsed = Duration::try_from_secs_f64(now.elapsed_seconds).unwrap_or_default();
    let lag = |millis: Option<u64>| {
        millis.map_or_else(|| UNKNOWN.to_owned(), |millis| length(Duration::from_millis(millis)))
    };
    let done = picture.view().map_or_else(
        || HumanCount(now.rows_copied).to_string(),
        |view| format!("{} of about {}", HumanCount(view.done), HumanCount(view.total)),
    );
    html! {
        @if let (Some(percent), None) = (picture.rates.percent, &view.ended) {
            progress max="100" value=(format!("{percent:.1}")) aria-label=(doing(now.phase)) { (format!("{percent:.1} %")) }
        }
        dl .numbers {
            @if let Some(percent) = picture.rates.percent { div { dt { (doing(now.phase)) } dd { (format!("{percent:.1} %")) } } }
            div { dt { "rows" } dd { (done) } }
            div { dt { "rows/s" } dd { (rate) } }
            div { dt { "time left in this phase" } dd { (eta(view)) } }
            div { dt { "elapsed" } dd { (length(elapsed)) } }
            div { dt { "dirty keys" } dd { (HumanCount(now.dirty_keys)) } }
            div { dt { "stream lag" } dd { (lag(now.stream_lag_ms)) } }
            @if now.replica_lag_ms.is_some() { div { dt { "replica lag" } dd { (lag(now.replica_lag_ms)) } } }
        }
        @if let Some(ended) = &view.ended {
            p .why { b { "The run has ended: " } (ended.message) }
            @for warning in &ended.warnings { p .lost { (warning) } }
            @if let Some(help) = &ended.help { p { (help) } }
        } @else {
            p .why { b { "Why it is not faster: " } (view.pace) }
        }
    }
}

fn holds(view: &View) -> Markup {
    let picture = &view.snapshot;
    html! {
        h2 { "What holds the run, and what lifts it" }
        @if view.ended.is_some() || picture.held_by.is_empty() && picture.blocked.is_none() {
            p .faint { "Nothing." }
        } @else {
            div .scroll { table {
                thead { tr { th { "held by" } th { "to lift it" } } }
                tbody {
                    @for holder in &picture.held_by {
                        tr { td { (holder.what) } td { code { (holder.lift) } } }
                    }
                    @if let Some(blocked) = &picture.blocked {
                        tr { td { "the last attempt to lock the table: " (blocked) } td { "osc tries again by itself" } }
                    }
                }
            } }
        }
    }
}

fn plots(shown: &Shown) -> Markup {
    let points = shown.trail.points();
    let paused = pauses(points);
    let spark = |title: &str, now: String, of: fn(&Point) -> Option<f64>| {
        let line = Line {
            name: title,
            points: points.iter().map(|point| (point.at, of(point))).collect(),
        };
        let band = |(from, to): &(f64, f64)| Band {
            from: *from,
            to: *to,
            class: "paused",
            title: "paused",
        };
        let plot = Plot {
            title,
            size: SIZE,
            lines: vec![line],
            bands: paused.iter().map(band).collect(),
            ..Plot::default()
        };
        html! { figure { figcaption { span { (title) } b { (now) } } (plot.svg()) } }
    };
    let last = points.last();
    let number =
        |of: fn(&Point) -> Option<f64>| last.and_then(of).map_or_else(|| UNKNOWN.to_owned(), count);
    let seconds = |of: fn(&Point) -> Option<f64>| {
        let lag = last.and_then(of).and_then(|lag| Duration::try_from_secs_f64(lag).ok());
        lag.map_or_else(|| UNKNOWN.to_owned(), length)
    };
    html! {
        h2 { "So far" }
        div .plots {
            (spark("rows/s", number(|point| point.rate), |point| point.rate))
            (spark("dirty keys", number(|point| Some(point.dirty)), |point| Some(point.dirty)))
            (spark("stream lag", seconds(|point| point.lag), |point| point.lag))
            @if points.iter().any(|point| point.replica_lag.is_some()) {
                (spark("replica lag", seconds(|point| point.replica_lag), |point| point.replica_lag))
            }
            @if points.iter().any(|point| point.width.is_some()) {
                @let width = last.and_then(|point| point.width);
                @let now = width.map_or_else(|| UNKNOWN.to_owned(), |width| format!("{width:.1}"));
                (spark("parallel chunks", now, |point| point.width))
            }
        }
        p .faint { "Shaded: the copy was paused." }
    }
}

/// When the copy was paused: from the point before it.
fn pauses(points: &[Point]) -> Vec<(f64, f64)> {
    let mut pauses: Vec<(f64, f64)> = Vec::new();
    let mut before = points.first().map_or(0.0, |point| point.at);
    for point in points {
        match pauses.last_mut() {
            Some(last) if point.paused && (last.1 - before).abs() < f64::EPSILON => {
                last.1 = point.at;
            }
            _ if point.paused => pauses.push((before, point.at)),
            _ => {}
        }
        before = point.at;
    }
    pauses
}

fn settings(view: &View) -> Markup {
    html! {
        h2 { "Settings" }
        div .scroll { table {
            thead { tr { th { "setting" } th { "value" } th { "from" } } }
            tbody {
                @for setting in &view.snapshot.settings {
                    tr {
                        td { code { (setting.key) } }
                        td { (setting.value.as_deref().unwrap_or("unlimited")) }
                        td { (setting.origin.to_string()) }
                    }
                }
            }
        } }
    }
}

fn orders(view: &View) -> Markup {
    html! {
        h2 { "Orders (UTC)" }
        @if view.orders.is_empty() { p .faint { "None so far." } }
        ul .plain {
            @for order in &view.orders {
                li {
                    (moment(&order.time))
                    b { (order.verb) " " (order.arguments) } " by " (order.who)
                    @if !order.host.is_empty() { " (" (order.host) ")" }
                    @if !order.why.is_empty() { ": " (order.why) }
                    br;
                    span class=(if order.outcome == "accepted" { "done" } else { "failed" }) { (order.outcome) }
                    ": " (order.answer)
                }
            }
        }
    }
}

fn log(site: &Site) -> Markup {
    let lines = site.hub.words(LOG);
    html! {
        @if !lines.is_empty() {
            h2 { "Log (UTC)" }
            ul .plain {
                @for entry in &lines {
                    @if let Some((time, words)) = &entry.words { li { (moment(time)) (words) } }
                }
            }
        }
    }
}

/// The time of day of an RFC 3339 text, UTC; the whole of it where the pointer rests.
fn moment(time: &str) -> Markup {
    html! { time datetime=(time) title=(time) { (time.get(11..19).unwrap_or(time)) } }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for a human")]
fn count(number: f64) -> String {
    HumanCount(number.round() as u64).to_string()
}

fn short(text: &str, most: usize) -> String {
    let mut short: String = text.chars().take(most).collect();
    if text.chars().nth(most).is_some() {
        short.push('…');
    }
    short
}
