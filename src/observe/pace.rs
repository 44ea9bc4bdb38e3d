//! Why a run is not faster, in one line that is always there.

use crate::engine::picture::Picture;
use crate::engine::progress::Phase;
use crate::output::text;

/// A rate from this share of its limit on is at the limit.
const AT_THE_LIMIT: f64 = 0.7;

/// What keeps the run from being faster, or what it does if nothing does.
pub(crate) fn why(picture: &Picture) -> String {
    if let Some(hindrance) = text::hindrance(&picture.now) {
        return hindrance;
    }
    let setting = |key: &str| {
        let found = picture.settings.iter().find(|setting| setting.key == key)?;
        Some((found.value.clone()?, found.origin.to_string()))
    };
    match picture.now.phase {
        Phase::Copy => {
            let limit = setting("max_rows_per_second");
            let at_it = limit.filter(|(limit, _)| {
                let limit: f64 = limit.parse().unwrap_or(f64::INFINITY);
                picture.rates.rows_per_second.is_some_and(|rate| rate >= AT_THE_LIMIT * limit)
            });
            if let Some((limit, origin)) = at_it {
                return format!("as fast as max_rows_per_second permits: {limit} ({origin})");
            }
            let threads = setting("threads").map_or_else(String::new, |(threads, origin)| {
                let chunks = if threads == "1" { "chunk" } else { "chunks" };
                format!(": {threads} {chunks} at a time, as threads says ({origin})")
            });
            format!("nothing slows it down{threads}")
        }
        Phase::Hold => "it waits for permission to change the table".into(),
        Phase::CutOver => match &picture.blocked {
            Some(blocked) => format!("the table could not be locked: {blocked}"),
            None => "it takes the table's lock".into(),
        },
        Phase::Watch => text::doing(Phase::Watch).into(),
        phase => format!("nothing slows it down: {}", text::doing(phase)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Directives;
    use crate::engine::picture::Camera;
    use crate::engine::progress::Progress;

    #[test]
    fn there_is_always_a_reason() {
        let rate = std::num::NonZeroU32::new(300);
        let directives = Directives { max_rows_per_second: rate, ..Directives::default() };
        let progress = Progress::default();
        progress.set_phase(Phase::Copy);
        let mut picture = Camera::default().take(&progress, &directives);
        assert!(why(&picture).starts_with("nothing slows it down"), "{}", why(&picture));
        picture.rates.rows_per_second = Some(290.0);
        assert_eq!(why(&picture), "as fast as max_rows_per_second permits: 300 (default)");
        picture.now.throttled = Some("lag 2s".into());
        assert_eq!(why(&picture), "paused: lag 2s");
        picture.now.throttled = None;
        picture.now.phase = Phase::CutOver;
        picture.blocked = Some("session 8 holds it".into());
        assert!(why(&picture).ends_with("session 8 holds it"));
    }
}
