//! The live page: rendered here, complete without a script as a page that is loaded again and again; with its script
//! it takes new parts from `/events`. Nothing is loaded from elsewhere, and whatever is not ours is text.

mod parts;

use std::sync::{Arc, LazyLock};

use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::Site;
use super::view::{Board, Shown};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// How often the page is loaded again where there is no script, in seconds.
const RELOAD: &str = "5";

/// The parts of a page that change: the id of the place, and the markup; `title` is text.
pub(super) type Parts = Vec<(&'static str, Arc<str>)>;

/// What a page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The run of this process, or the list of all.
    Front,
    /// One run of many, by its number in the ledger.
    Run(i64),
}

impl Place {
    /// As it stands in an address.
    pub(super) fn of(text: &str) -> Self {
        text.parse().map_or(Self::Front, Self::Run)
    }

    fn text(&self) -> String {
        match self {
            Self::Front => String::new(),
            Self::Run(run) => run.to_string(),
        }
    }

    /// The run that it shows; `None`: the list, or a run that is not there.
    fn shown<'a>(&self, site: &Site, board: &'a Board) -> Option<&'a Arc<Shown>> {
        match self {
            Self::Front if site.many => None,
            Self::Front => board.runs.first(),
            Self::Run(run) => board.runs.iter().find(|shown| shown.view.run == Some(*run)),
        }
    }
}

/// What the browser may do: run this very script, use this very style, and talk to osc.
pub(super) static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    HeaderValue::from_str(&policy)
        .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

/// The parts of a page that change.
pub(super) fn parts(site: &Site, board: &Board, place: &Place) -> Parts {
    match place.shown(site, board) {
        Some(shown) => shown.parts.get_or_init(|| parts::of_run(site, shown)).clone(),
        None if *place == Place::Front => parts::of_list(board),
        None => parts::of_nothing(),
    }
}

/// A whole page; `None`: there is no such run.
pub(super) fn page(site: &Site, board: &Board, place: &Place) -> Option<Markup> {
    let shown = place.shown(site, board);
    if shown.is_none() && *place != Place::Front {
        return None;
    }
    let parts = parts(site, board, place);
    let table = shown.map_or("", |shown| shown.view.table.as_str());
    let title = parts.iter().find(|(name, _)| *name == "title").map_or("osc", |(_, part)| part);
    Some(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                noscript { meta http-equiv="refresh" content=(RELOAD); }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main data-page=(place.text()) data-table=(table) data-run=[site.many.then_some("1")] {
                    @if site.many && shown.is_some() { p { a href="/" { "all runs" } } }
                    p #lost .lost role="alert" hidden { "No connection to osc; trying again. What is below may be old." }
                    @for (name, part) in parts.iter().filter(|(name, _)| *name != "title" && *name != "log") {
                        div id=(name) { (PreEscaped(part)) }
                    }
                    @if shown.is_some() { (steering(site)) }
                    @for (name, part) in parts.iter().filter(|(name, _)| *name == "log") {
                        div id=(name) { (PreEscaped(part)) }
                    }
                }
                footer {
                    "osc " (env!("CARGO_PKG_VERSION")) " · "
                    a href="/status" { "JSON" } " · " a href="/metrics" { "metrics" } " · " a href="/events" { "events" }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    })
}

/// The orders. Without a script there is no way to send the token but in an address or a cookie, and neither is
/// taken.
fn steering(site: &Site) -> Markup {
    html! {
        h2 { "Steer" }
        @if site.guard.takes_orders() {
            noscript { p { "Orders from here need JavaScript; " code { "osc pause" } " and its like do not." } }
            form #steer autocomplete="off" hidden {
                fieldset {
                    legend { "Orders need the token; it is kept in this page only" }
                    div .fields {
                        label { "Token" input #token type="password" autocomplete="off"; }
                        label { "Who you are" input #by maxlength="200" placeholder="ann"; }
                        label { "Why" input #why maxlength="200" placeholder="peak hours"; }
                        label { "For (pause, set, cut over)" input #for placeholder="30m"; }
                    }
                    div .buttons {
                        button type="button" data-verb="pause" { "Pause" }
                        button type="button" data-verb="resume" { "Resume" }
                        button .danger type="button" data-verb="cut-over" { "Cut over" }
                        button .danger type="button" data-verb="abort" { "Abort" }
                    }
                    label { "Settings" input #set .mono placeholder="threads=2 max_rows_per_second=20000"; }
                    div .buttons { button type="button" data-verb="set" { "Set" } }
                    p { output #answer role="status" {} }
                }
            }
            dialog #confirm aria-labelledby="what" {
                form method="dialog" {
                    h2 #what {}
                    label { "Type the table's name to go on" input #typed autocomplete="off"; }
                    div .buttons {
                        button value="no" { "Cancel" }
                        button #sure .danger value="yes" disabled {}
                    }
                }
            }
        } @else {
            p .faint { "This osc takes no orders over HTTP: it was started without --token-file. " code { "osc pause" } " and its like steer it." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_style_nor_script_ends_its_element_early_and_loads_anything() {
        for text in [STYLE, SCRIPT] {
            let text = text.to_lowercase();
            assert!(
                !text.contains("</") && !text.contains("<!--"),
                "it would end, or hide, the element"
            );
            assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("url("));
            assert!(!text.contains("@import"));
        }
        let policy = POLICY.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"));
    }
}
