//! Connections: how many, how large their requests may be, and how long one may take. The run waits for none.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::patient::Patient;

/// Connections at a time.
const MOST_CONNECTIONS: usize = 64;

/// The head of a request, and what is buffered of an answer, in bytes.
const MOST_BYTES: usize = 64 * 1024;

/// Fields in the head of a request.
const MOST_HEADERS: usize = 64;

/// A head must be there by then, the first and each further one of a connection.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Whoever reads nothing for so long is left.
const READ_WITHIN: Duration = Duration::from_secs(20);

/// What the system buffers for one that does not read, in bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// After a connection that could not be taken: mostly for want of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// How it ends.
#[derive(Clone, Default)]
pub(super) struct Ends {
    /// No more connections are taken, and those that are there end after what they are at.
    pub(super) closing: CancellationToken,
    /// All are cut.
    pub(super) cut: CancellationToken,
    /// Those that are there.
    pub(super) connections: TaskTracker,
}

/// Answers until it is to end.
pub(super) async fn serve(listener: TcpListener, router: Router, ends: Ends) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ends.closing.cancelled() => return,
        };
        let Ok((stream, from)) = accepted else {
            sleep(BREATH).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            // What fits into an empty buffer is written at once.
            let _ = stream.try_write(BUSY);
            continue;
        };
        let (router, Ends { closing, cut, .. }) = (router.clone(), ends.clone());
        ends.connections.spawn(async move {
            tokio::select! {
                () = answer(stream, from, router, closing) => {}
                () = cut.cancelled() => {}
            }
            drop(place);
        });
    }
}

async fn answer(stream: TcpStream, from: SocketAddr, router: Router, closing: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let router = router.layer(Extension(ConnectInfo(from)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_header_size(MOST_BYTES)
        .max_buf_size(MOST_BYTES)
        .max_headers(MOST_HEADERS);
    let stream = TokioIo::new(Patient::new(stream, READ_WITHIN));
    let mut connection = pin!(http.serve_connection(stream, TowerToHyperService::new(router)));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection of the page");
    }
}
