//! What one run came to: a line of JSON each.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::writers::Seen;

/// One run of one contender.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// When it ended, UTC.
    pub time: String,
    /// The server's name and version.
    pub server: String,
    /// Rows of the table.
    pub rows: u64,
    /// Transactions a second that the application wanted to write.
    pub writes: u32,
    /// Who it was.
    pub contender: String,
    /// Which time.
    pub round: u32,
    /// Whether it ended well.
    pub well: bool,
    /// How long it took.
    pub seconds: f64,
    /// Its memory at its largest.
    pub peak_mib: f64,
    /// Its own processor time in seconds.
    pub own_cpu: f64,
    /// The server's meanwhile, the application's transactions included.
    pub server_cpu: f64,
    /// Processors that other programs kept busy meanwhile: a noisy machine.
    pub others: f64,
    /// The load average just before.
    pub load: f64,
    /// How long each phase took in seconds, where the contender tells.
    pub phases: Vec<(String, f64)>,
    /// How long the table was locked by the swap in milliseconds, where the contender tells.
    #[serde(default)]
    pub lock_ms: Option<f64>,
    /// The time from the verdict of a watch until the change was undone, in milliseconds.
    #[serde(default)]
    pub undone_ms: Option<f64>,
    /// What the application saw.
    pub application: Option<Seen>,
}

/// The phases that `osc --json` told of. Two that run side by side are one.
pub fn phases(output: &str) -> Vec<(String, f64)> {
    let begun: Vec<(String, jiff::Timestamp)> = events(output)
        .filter_map(|event| {
            let name = match event["event"].as_str()? {
                "phase" => event["phase"].as_str()?,
                "summary" => "end",
                _ => return None,
            };
            Some((name.to_owned(), event["time"].as_str()?.parse().ok()?))
        })
        .collect();
    let mut phases: Vec<(String, f64)> = Vec::new();
    let mut beside = String::new();
    for pair in begun.windows(2) {
        let [(name, from), (_, to)] = pair else { continue };
        let seconds = (*to - *from).total(jiff::Unit::Second).unwrap_or_default();
        if name == "index" && pair[1].0 == "verify" {
            beside = "index + ".to_owned();
            continue;
        }
        phases.push((std::mem::take(&mut beside) + name, seconds));
    }
    phases
}

/// The events that `osc --json` told of.
fn events(output: &str) -> impl DoubleEndedIterator<Item = Value> {
    output.lines().filter_map(|line| serde_json::from_str(line).ok())
}

/// For how long `osc --json` locked the table, the last time that it did.
pub fn lock(output: &str) -> Option<f64> {
    events(output).rev().find(|event| event["event"] == "summary")?["lock_ms"].as_f64()
}

/// How long it took `osc --json --watch` to undo the change once its health check had failed.
pub fn undone(output: &str) -> Option<f64> {
    let time = |event: &Value| event["time"].as_str()?.parse::<jiff::Timestamp>().ok();
    let said = |event: &Value| {
        event["text"].as_str().is_some_and(|text| text.starts_with("the change is undone"))
    };
    let verdict = time(&events(output).find(said)?)?;
    let finish = |event: &Value| event["event"] == "phase" && event["phase"] == "finish";
    let swapped = time(&events(output).rev().find(finish)?)?;
    (swapped - verdict).total(jiff::Unit::Millisecond).ok()
}

/// The records in a file of lines.
pub fn read(text: &str) -> Result<Vec<Record>, serde_json::Error> {
    text.lines().filter(|line| !line.is_empty()).map(serde_json::from_str).collect()
}

/// Runs of one contender under the same circumstances.
pub type Runs<'a> = Vec<&'a Record>;

/// The circumstances of a race: the server, the rows, the writes.
pub type Circumstances = (String, u64, u32);

/// Records by circumstances and contender, in the order of their first appearance.
pub fn races(records: &[Record]) -> Vec<(Circumstances, Vec<(String, Runs<'_>)>)> {
    let mut races: Vec<(Circumstances, Vec<(String, Runs<'_>)>)> = Vec::new();
    let mut places: HashMap<Circumstances, usize> = HashMap::new();
    for record in records {
        let key = (record.server.clone(), record.rows, record.writes);
        let place = *places.entry(key.clone()).or_insert_with(|| {
            races.push((key, Vec::new()));
            races.len() - 1
        });
        let race = &mut races[place].1;
        match race.iter_mut().find(|(name, _)| *name == record.contender) {
            Some((_, runs)) => runs.push(record),
            None => race.push((record.contender.clone(), vec![record])),
        }
    }
    races
}

/// The median of a figure over runs.
pub fn median(runs: &[&Record], figure: impl Fn(&Record) -> f64) -> f64 {
    let mut figures: Vec<f64> = runs.iter().map(|run| figure(run)).collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => figures[n / 2],
        n => f64::midpoint(figures[n / 2 - 1], figures[n / 2]),
    }
}
