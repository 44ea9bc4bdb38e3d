//! The races as a picture: how long each contender took, and how long it made the application wait.

use std::fmt::Write;

use crate::contender::Contender;
use crate::record::{Record, Runs, median, races};
use crate::report::{millis, title};

const LINE: f64 = 18.0;
const NAMES: f64 = 190.0;
const BARS: f64 = 250.0;
const GAP: f64 = 70.0;

/// Stalls are drawn by their logarithm, from here to there in milliseconds.
const STALLS: (f64, f64) = (1.0, 10_000.0);

/// An SVG.
pub fn svg(records: &[Record]) -> String {
    let races = races(records);
    let all = races.iter().flat_map(|(_, race)| ratios(race));
    let widest = all.map(|(_, ratio)| ratio).fold(1.0, f64::max);
    let (mut body, mut y) = (String::new(), LINE);
    let right = NAMES + BARS + GAP;
    text(&mut body, NAMES, y, "head", "time, as a ratio to the server's own ALTER TABLE");
    text(&mut body, right, y, "head", "longest stall of a transaction (logarithmic)");
    for (circumstances, race) in &races {
        y += LINE * 1.6;
        text(&mut body, 0.0, y, "head", &title(circumstances));
        let ratios = ratios(race);
        for (name, runs) in race {
            y += LINE;
            text(&mut body, 8.0, y, "", name);
            if let Some((_, ratio)) = ratios.iter().find(|(own, _)| own == name) {
                bar(&mut body, NAMES, y, BARS * ratio / widest, name, &format!("{ratio:.2}"));
            }
            if let Some(longest) = longest(runs) {
                let (from, to) = STALLS;
                let share = (longest / from).ln() / (to / from).ln();
                bar(&mut body, right, y, BARS * share.clamp(0.01, 1.0), name, &millis(longest));
            }
        }
    }
    let (width, height) = (right + BARS + GAP, y + LINE);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>.head {{ font-weight: bold }} rect {{ fill: #b8b8b8 }} .osc {{ fill: #2f7d4f }}\
         </style>\n<rect width=\"100%\" height=\"100%\" style=\"fill: #fff\"/>\n{body}</svg>\n"
    )
}

/// The contenders that took part in the time, with their ratios.
fn ratios<'a>(race: &'a [(String, Runs<'_>)]) -> Vec<(&'a str, f64)> {
    let seconds = |runs: &Runs<'_>| median(runs, |run| run.seconds);
    let own = race.iter().find(|(name, _)| name == Contender::Server.name());
    let Some(own) = own.map(|(_, runs)| seconds(runs)) else { return Vec::new() };
    let timed = race.iter().filter(|(name, _)| name != Contender::Idle.name());
    timed.map(|(name, runs)| (name.as_str(), seconds(runs) / own)).collect()
}

fn longest(runs: &Runs<'_>) -> Option<f64> {
    let stalls = runs.iter().filter_map(|run| run.application.as_ref());
    stalls.map(|seen| seen.longest_ms).reduce(f64::max)
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, text: &str) {
    // Writing to a string cannot fail. The names have no special characters.
    let _ = writeln!(svg, "<text x=\"{x:.0}\" y=\"{y:.0}\" class=\"{class}\">{text}</text>");
}

fn bar(svg: &mut String, x: f64, y: f64, width: f64, name: &str, label: &str) {
    let class = if name == Contender::Osc.name() { "osc" } else { "" };
    let top = y - LINE * 0.65;
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.0}\" y=\"{top:.0}\" width=\"{width:.0}\" height=\"13\" class=\"{class}\"/>"
    );
    text(svg, x + width + 5.0, y, "", label);
}
