//! What a run did, for a human at its end.

use std::fmt::Write;
use std::time::Duration;

use indicatif::HumanCount;

use super::text::length;
use crate::engine::event::{Quantiles, Summary};
use crate::ledger::REVERT;
use crate::shell;

/// The summary as lines, without a line's end after the last.
pub(super) fn text(summary: &Summary) -> String {
    let mut rows: Vec<(&str, String)> = vec![("method", summary.method.clone())];
    // Only the copy has chunks, and only the copy compares and swaps.
    if summary.lock_ms.is_some() || summary.chunk_ms.is_some() || summary.rows > 0 {
        rows.push(("rows", copied(summary)));
        rows.push(("verification", verification(summary)));
    }
    rows.push(("duration", length(seconds(summary.seconds))));
    if let Some(lock) = summary.lock_ms {
        rows.push(("cut-over", cut_over(lock, summary.attempts)));
    }
    let percentiles = |times: Quantiles| {
        format!("median {}, 99 % within {}", millis(times.p50), millis(times.p99))
    };
    rows.extend(summary.chunk_ms.map(|times| ("chunks", percentiles(times))));
    rows.extend(summary.refresh_ms.map(|times| ("refreshes", percentiles(times))));
    if let Some(retired) = &summary.retired {
        let cleanup = format!("osc cleanup {}", shell::word(&summary.table));
        let kept = match &summary.undo_until {
            Some(until) => {
                format!("{retired} is kept until {until} UTC; then drop it with: {cleanup}")
            }
            None => format!("{retired} is kept; drop it with: {cleanup}"),
        };
        rows.push(("retired", kept));
    }
    rows.extend(summary.undo.as_ref().map(|undo| ("undo", undo.clone())));
    rows.extend(summary.warnings.iter().map(|warning| ("warning", warning.clone())));
    rows.extend(summary.left_behind.iter().map(|row| ("left behind", row.clone())));

    let mut text = format!("done: {} {}", summary.table, summary.clauses);
    for (name, value) in rows {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {name:<13} {value}");
    }
    text
}

fn copied(summary: &Summary) -> String {
    if summary.method == REVERT {
        return format!("{} put back", HumanCount(summary.refreshed));
    }
    let keys = if summary.refreshed == 1 { "key" } else { "keys" };
    format!(
        "{} copied, {} {keys} refreshed",
        HumanCount(summary.rows),
        HumanCount(summary.refreshed)
    )
}

fn verification(summary: &Summary) -> String {
    match summary.verified_rows {
        Some(rows) => format!("{} rows compared, all equal", HumanCount(rows)),
        None => "switched off".into(),
    }
}

fn cut_over(lock: f64, attempts: u32) -> String {
    let attempts = match attempts {
        0 | 1 => "first attempt".to_owned(),
        more => format!("{more} attempts"),
    };
    format!("table locked for {}, {attempts}", millis(lock))
}

fn millis(millis: f64) -> String {
    if millis < 1000.0 { format!("{millis:.1}ms") } else { length(seconds(millis / 1000.0)) }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_reported_in_full() {
        let summary = Summary {
            table: "shop.users".into(),
            clauses: "ADD COLUMN a INT".into(),
            method: "copy".into(),
            rows: 1_000_000,
            refreshed: 312,
            verified_rows: Some(1_000_311),
            seconds: 72.4,
            lock_ms: Some(12.34),
            attempts: 2,
            chunk_ms: Some(Quantiles { p50: 410.0, p99: 1620.0 }),
            refresh_ms: Some(Quantiles { p50: 3.0, p99: 9.0 }),
            retired: Some("shop.users_osc_old".into()),
            undo_until: Some("2026-12-01 22:00:00".into()),
            undo: Some("osc revert shop.users; possible while no NULL is written to email".into()),
            warnings: vec!["look here".into()],
            left_behind: vec!["id = 7: too long".into()],
        };
        let expected = "\
done: shop.users ADD COLUMN a INT
  method        copy
  rows          1,000,000 copied, 312 keys refreshed
  verification  1,000,311 rows compared, all equal
  duration      1m 12s
  cut-over      table locked for 12.3ms, 2 attempts
  chunks        median 410.0ms, 99 % within 1.6s
  refreshes     median 3.0ms, 99 % within 9.0ms
  retired       shop.users_osc_old is kept until 2026-12-01 22:00:00 UTC; then drop it with: osc cleanup shop.users
  undo          osc revert shop.users; possible while no NULL is written to email
  warning       look here
  left behind   id = 7: too long";
        assert_eq!(text(&summary), expected);
    }

    #[test]
    fn an_undo_is_reported_by_what_was_put_back() {
        let undo = Summary {
            method: REVERT.into(),
            refreshed: 64_183,
            lock_ms: Some(12.0),
            ..Default::default()
        };
        assert!(text(&undo).contains("rows          64,183 put back"), "{}", text(&undo));
    }

    #[test]
    fn a_change_without_a_copy_says_nothing_of_rows() {
        let summary = Summary {
            table: "t".into(),
            method: "instant".into(),
            seconds: 0.02,
            ..Default::default()
        };
        assert!(!text(&summary).contains("rows"));
        let off = Summary { rows: 5, ..summary };
        assert!(text(&off).contains("switched off"));
    }
}
