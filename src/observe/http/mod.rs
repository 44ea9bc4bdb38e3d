//! HTTP on `--listen`: a live page, events, metrics, and orders for whoever has the token.
//!
//! What there is to see is put on a board each second (`view.rs`): by the run of this process (`live.rs`), or out
//! of the ledger (`fleet.rs`). All that is answered comes from the board and the last events (`hub.rs`). A reader
//! that is slow, or does not read, costs a connection and nothing else.

mod events;
mod fleet;
mod guard;
mod hub;
mod live;
mod metrics;
mod orders;
mod page;
mod patient;
mod serve;
mod trail;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::listen::{HttpSettings, Listen, Token};
use crate::control::Directives;
use crate::engine::event::Sink;
use crate::engine::progress::Progress;
use crate::error::{Error, Result};
use crate::observe::notify::Kind;
use crate::output::json;
use fleet::Fleet;
pub(crate) use fleet::Runs;
use guard::Guard;
use hub::Hub;
use live::{Beside, Live};
pub(crate) use orders::Orderly;
use orders::json_of;
use page::Place;
use serve::Ends;
use view::{Board, View};

/// The body of an order, in bytes.
const MOST_BODY: usize = 64 * 1024;

/// An order must have come, and be answered, by then: longer than its answer is waited for.
const ORDER_WITHIN: Duration = Duration::from_secs(30);

/// How long the end of the command waits for those who have not read of it, or whose order is on its way.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A port to listen on, before anything has begun.
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    name: String,
    token: Option<Token>,
}

/// All that an answer is made from.
#[derive(Clone)]
struct Site {
    hub: Arc<Hub>,
    board: watch::Receiver<Arc<Board>>,
    closing: CancellationToken,
    guard: Guard,
    /// There are many runs, and the front page is a list.
    many: bool,
}

/// What answers for the run of this process, until it is finished or dropped.
pub(crate) struct Http {
    live: Live,
    serving: Serving,
}

/// What answers, until it is finished or dropped.
pub(crate) struct Serving {
    address: SocketAddr,
    ends: Ends,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Listener {
    /// Listens, or finds out why not; `None`: it was not asked for.
    ///
    /// # Errors
    /// `Usage`: for an address that is taken or is not this host's, a token that is missing or is none.
    pub(crate) async fn open(settings: &HttpSettings) -> Result<Option<Self>> {
        let token = settings.token_file.as_deref().map(Token::read).transpose()?;
        let Some(listen) = &settings.listen else { return Ok(None) };
        let usage = |message: String, help: &str| Error::Usage { message, help: help.into() };
        let failed = |error: std::io::Error| {
            let help = "name another with --listen, or end what listens there";
            usage(format!("cannot listen on {listen}: {error}"), help)
        };
        let Listen { host, port } = listen;
        let addresses: Vec<SocketAddr> =
            lookup_host((host.as_str(), *port)).await.map_err(failed)?.collect();
        if token.is_none() && !addresses.iter().all(|address| address.ip().is_loopback()) {
            return Err(usage(
                format!("{listen} can be reached from elsewhere, and there is no token"),
                "give --token-file FILE, or listen on 127.0.0.1",
            ));
        }
        let socket = TcpListener::bind(addresses.as_slice()).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Some(Self { socket, address, name: host.clone(), token }))
    }

    /// Answers for the run of this process.
    pub(crate) fn answer_for(
        self,
        kind: Kind,
        clauses: &str,
        progress: &Arc<Progress>,
        directives: watch::Receiver<Directives>,
        orders: Orderly,
    ) -> Http {
        let hub = Arc::default();
        let live = Live::new(kind, clauses, progress, directives, &hub);
        let board = live.board();
        let serving = self.serve(hub, board, false, live.clone().watch(), orders);
        Http { live, serving }
    }

    /// Answers for all runs of `server`, as the ledger has them.
    #[allow(dead_code, reason = "`osc monitor --listen` starts it")]
    pub(crate) fn answer_for_all(self, server: String, runs: Runs, orders: Orderly) -> Serving {
        let fleet = Fleet::new(server, runs);
        let board = fleet.board();
        self.serve(Arc::default(), board, true, fleet.watch(), orders)
    }

    /// `watch` keeps the board up to date.
    fn serve(
        self,
        hub: Arc<Hub>,
        board: watch::Receiver<Arc<Board>>,
        many: bool,
        watch: impl Future<Output = ()> + Send + 'static,
        orders: Orderly,
    ) -> Serving {
        let ends = Ends::default();
        let open = self.address.ip().is_loopback();
        let guard = Guard::new(self.token, open, &self.name, page::POLICY.clone());
        let site = Site { hub, board, closing: ends.closing.clone(), guard, many };
        let serving = serve::serve(self.socket, router(site, orders), ends.clone());
        let tasks = [
            AbortOnDropHandle::new(tokio::spawn(watch)),
            AbortOnDropHandle::new(tokio::spawn(serving)),
        ];
        Serving { address: self.address, ends, _tasks: tasks }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.ends.cut.cancel();
    }
}

impl Serving {
    /// Where the page is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Takes no more requests, and gives those who are at one a moment to read the answer.
    pub(crate) async fn finish(self) {
        self.ends.closing.cancel();
        self.ends.connections.close();
        let _ = timeout(LAST_WORDS, self.ends.connections.wait()).await;
    }
}

impl Http {
    /// Where the page is.
    pub(crate) fn url(&self) -> String {
        self.serving.url()
    }

    /// Takes the events of the run, and hands them on to `shown`.
    pub(crate) fn sink(&self, shown: Arc<dyn Sink>) -> Arc<dyn Sink> {
        Arc::new(Beside { live: self.live.clone(), shown })
    }

    /// Shows how the command ended, and gives its readers a moment to read of it.
    pub(crate) async fn finish(self, error: Option<&Error>) {
        self.live.end(error);
        self.serving.finish().await;
    }
}

fn router(site: Site, make: Orderly) -> Router {
    let desk = orders::Desk::new(site.guard.clone(), make);
    let orders = Router::new()
        .route("/orders", post(orders::post))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(from_fn(in_time))
        .with_state(desk);
    Router::new()
        .route("/", get(front))
        .route("/run/{run}", get(one))
        .route("/events", get(events::stream))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(site.clone())
        .merge(orders)
        .layer(from_fn_with_state(site.guard, guard::guard))
}

async fn in_time(request: Request, next: Next) -> Response {
    match timeout(ORDER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the order did not come in time\n").into_response(),
    }
}

async fn front(State(site): State<Site>) -> Response {
    shown(&site, &Place::Front)
}

async fn one(State(site): State<Site>, Path(run): Path<i64>) -> Response {
    if site.many { shown(&site, &Place::Run(run)) } else { StatusCode::NOT_FOUND.into_response() }
}

fn shown(site: &Site, place: &Place) -> Response {
    let board = Arc::clone(&site.board.borrow());
    match page::page(site, &board, place) {
        Some(page) => Html(page.into_string()).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such run\n").into_response(),
    }
}

/// All that there is to see.
#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    time: String,
    ready: bool,
    runs: Vec<&'a View>,
}

async fn status(State(site): State<Site>) -> Response {
    let board = Arc::clone(&site.board.borrow());
    let runs = board.runs.iter().map(|shown| &shown.view).collect();
    let (version, time) = (env!("CARGO_PKG_VERSION"), json::timestamp());
    json_of(StatusCode::OK, &Status { version, time, ready: board.ready, runs })
}

async fn metrics(State(site): State<Site>) -> Response {
    let board = Arc::clone(&site.board.borrow());
    match metrics::text(&board) {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Whether osc observes its server.
async fn ready(State(site): State<Site>) -> Response {
    if site.board.borrow().ready {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no connection to the server\n").into_response()
    }
}
