//! The records as tables for a reader, ratios to the server's own ALTER TABLE first.

use std::fmt::Write;

use indicatif::HumanCount;

use crate::contender::Contender;
use crate::record::{Circumstances, Record, Runs, median, races};

/// Other programs that keep more processors busy than this make a run's times worthless.
pub const NOISE: f64 = 0.2;

const HEAD: &str = "\
| | seconds | ratio | longest stall | p99 | median | served/s | failed | memory | CPU server | CPU own |
|---|---|---|---|---|---|---|---|---|---|---|
";

/// Tables, one for each race, in Markdown.
pub fn tables(records: &[Record]) -> String {
    let mut text = String::new();
    for (circumstances, race) in races(records) {
        let own = race.iter().find(|(name, _)| name == Contender::Server.name());
        let own = own.map(|(_, runs)| median(runs, |run| run.seconds));
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{}\n\n{HEAD}", title(&circumstances));
        for (name, runs) in &race {
            let _ = writeln!(text, "{}", line(name, runs, own));
        }
        let runs = || race.iter().flat_map(|(_, runs)| runs);
        let noisy = runs().filter(|run| run.others > NOISE).count();
        if noisy > 0 {
            let _ = writeln!(text, "\nNoisy machine in {noisy} of {} runs.", runs().count());
        }
        for (name, runs) in &race {
            let phases = phases(runs);
            if !phases.is_empty() {
                let _ = writeln!(text, "\nPhases of {name}: {phases}.");
            }
            let mut told = |what: &str, figure: fn(&Record) -> Option<f64>| {
                if runs.iter().any(|run| figure(run).is_some()) {
                    let median = median(runs, |run| figure(run).unwrap_or(f64::NAN));
                    let _ = writeln!(text, "\n{what} of {name}: {}.", millis(median));
                }
            };
            told("Lock", |run| run.lock_ms);
            told("From the verdict to the old table", |run| run.undone_ms);
            let stalls = stalls(runs);
            if !stalls.is_empty() {
                let _ = writeln!(text, "\nLongest stall in each phase of {name}: {stalls}.");
            }
        }
    }
    text
}

/// What a race is called.
pub fn title((server, rows, writes): &Circumstances) -> String {
    let rows = HumanCount(*rows);
    match writes {
        0 => format!("{server}, {rows} rows, no writes"),
        writes => format!(
            "{server}, {rows} rows, {} transactions a second",
            HumanCount(u64::from(*writes))
        ),
    }
}

fn line(name: &str, runs: &Runs<'_>, own: Option<f64>) -> String {
    let seconds = median(runs, |run| run.seconds);
    let ratio = match own {
        Some(own) if name != Contender::Idle.name() => format!("{:.2}", seconds / own),
        _ => String::new(),
    };
    let seen = |figure: fn(&crate::writers::Seen) -> f64| {
        median(runs, |run| run.application.as_ref().map_or(f64::NAN, figure))
    };
    let application = if runs.iter().all(|run| run.application.is_some()) {
        let longest = runs.iter().filter_map(|run| run.application.as_ref());
        let longest = longest.map(|seen| seen.longest_ms).fold(0.0, f64::max);
        let failed: u64 =
            runs.iter().filter_map(|run| Some(run.application.as_ref()?.failed)).sum();
        format!(
            "{} | {} | {} | {:.0} | {failed}",
            millis(longest),
            millis(seen(|seen| seen.p99_ms)),
            millis(seen(|seen| seen.median_ms)),
            seen(|seen| seen.served)
        )
    } else {
        " | | | | ".to_owned()
    };
    let failed = match runs.iter().filter(|run| !run.well).count() {
        0 => String::new(),
        failed => format!(" (failed in {failed} of {} runs)", runs.len()),
    };
    format!(
        "| {name}{failed} | {seconds:.2} | {ratio} | {application} | {:.0} MiB | {:.1} | {:.2} |",
        median(runs, |run| run.peak_mib),
        median(runs, |run| run.server_cpu),
        median(runs, |run| run.own_cpu)
    )
}

fn phases(runs: &Runs<'_>) -> String {
    let Some(first) = runs.first() else { return String::new() };
    let names = first.phases.iter().map(|(name, _)| name);
    let of = |run: &Record, name: &str| {
        run.phases.iter().find(|(own, _)| own == name).map_or(f64::NAN, |(_, seconds)| *seconds)
    };
    let times = names.map(|name| format!("{name} {:.2} s", median(runs, |run| of(run, name))));
    times.collect::<Vec<_>>().join(", ")
}

fn stalls(runs: &Runs<'_>) -> String {
    let seen = || runs.iter().filter_map(|run| run.application.as_ref());
    let Some(first) = seen().next() else { return String::new() };
    let longest = |name: &str| {
        let all = seen().flat_map(|seen| &seen.by_phase).filter(|(phase, _)| phase == name);
        all.map(|(_, stall)| *stall).fold(0.0, f64::max)
    };
    let names = first.by_phase.iter().map(|(name, _)| name);
    names.map(|name| format!("{name} {}", millis(longest(name)))).collect::<Vec<_>>().join(", ")
}

/// A time that may be short or long.
pub fn millis(millis: f64) -> String {
    match millis {
        ..10.0 => format!("{millis:.1} ms"),
        ..1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1000.0),
    }
}
