//! `GET /events`: the events of `--json` as they come, and the numbers each second, as server-sent events. The
//! page takes the same stream with its own parts in it instead of the numbers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Site;
use super::hub::{Entry, Hub};
use super::live;
use super::page::{self, Place};
use super::view::Board;

/// A comment is sent after so long without anything else, so that a connection that died is found.
const QUIET: Duration = Duration::from_secs(15);

/// Events that are handed over at a time.
const AT_A_TIME: usize = 16;

/// One reader's place.
struct Reader {
    hub: Arc<Hub>,
    site: Site,
    latest: watch::Receiver<u64>,
    board: watch::Receiver<Arc<Board>>,
    closing: CancellationToken,
    read: u64,
    /// The page that it shows, and what it has of it.
    page: Option<(Place, BTreeMap<&'static str, Arc<str>>)>,
}

/// The stream, from where the reader stopped. `?page=` asks for the parts of the front page instead of the numbers,
/// `?page=7` for those of the page of run 7.
pub(super) async fn stream(
    State(site): State<Site>,
    RawQuery(wanted): RawQuery,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, StatusCode> {
    let id = headers.get("last-event-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let page = match wanted.as_deref() {
        None | Some("") => None,
        Some(wanted) => {
            let page = wanted.strip_prefix("page=").ok_or(StatusCode::BAD_REQUEST)?;
            Some((Place::of(page), BTreeMap::new()))
        }
    };
    let read = site.hub.number(id);
    let mut board = site.board.clone();
    board.mark_changed();
    let reader = Reader {
        hub: Arc::clone(&site.hub),
        latest: site.hub.latest(),
        board,
        closing: site.closing.clone(),
        read,
        page,
        site,
    };
    let events = stream::unfold(reader, |mut reader| async move {
        let events = reader.next().await?;
        Some((stream::iter(events.into_iter().map(Ok)), reader))
    });
    Ok(Sse::new(events.flatten()).keep_alive(KeepAlive::new().interval(QUIET)))
}

impl Reader {
    /// What is new, once there is something; `None`: it was the last. Asked for only when the last was written.
    async fn next(&mut self) -> Option<Vec<sse::Event>> {
        loop {
            let _ = *self.latest.borrow_and_update();
            let new = self.hub.after(self.read);
            if !new.is_empty() && self.page.is_none() {
                return Some(new.iter().take(AT_A_TIME).map(|entry| self.event(entry)).collect());
            }
            if self.board.has_changed().is_ok_and(|changed| changed) {
                let board = Arc::clone(&self.board.borrow_and_update());
                let events = self.numbers(&board);
                if !events.is_empty() {
                    return Some(events);
                }
                continue;
            }
            if self.closing.is_cancelled() {
                return None;
            }
            tokio::select! {
                Ok(()) = self.latest.changed(), if self.page.is_none() => {}
                Ok(()) = self.board.changed() => self.board.mark_changed(),
                () = self.closing.cancelled() => {}
            }
        }
    }

    fn event(&mut self, entry: &Arc<Entry>) -> sse::Event {
        self.read = entry.number;
        let id = self.hub.id(entry);
        sse::Event::default().id(id).event(&entry.name).data(&entry.line)
    }

    /// The numbers of each run, or what is new of the page.
    fn numbers(&mut self, board: &Board) -> Vec<sse::Event> {
        let Some((place, has)) = &mut self.page else {
            let of = |line: String| sse::Event::default().event("progress").data(line);
            return board.runs.iter().map(|shown| of(live::progress(shown))).collect();
        };
        let parts = page::parts(&self.site, board, place);
        let new: BTreeMap<&str, Arc<str>> = parts
            .iter()
            .filter(|(name, part)| has.get(name) != Some(part))
            .map(|(name, part)| (*name, Arc::clone(part)))
            .collect();
        if new.is_empty() {
            return Vec::new();
        }
        let texts: BTreeMap<&str, &str> = new.iter().map(|(name, part)| (*name, &**part)).collect();
        // Texts with text keys always are valid JSON.
        let data = serde_json::to_string(&texts).unwrap_or_default();
        *has = parts.into_iter().collect();
        vec![sse::Event::default().event("page").data(data)]
    }
}
