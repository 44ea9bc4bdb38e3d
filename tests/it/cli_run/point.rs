//! A failpoint at which a run waits for as long as a test likes.

use tokio::net::{TcpListener, TcpStream};

/// Where a run is to wait; no run has come there yet.
pub struct Point {
    listener: TcpListener,
    fault: String,
}

/// A run waits at the point until this is dropped.
pub struct Waiting(#[allow(dead_code, reason = "its drop is what counts")] TcpStream);

impl Point {
    /// A point by its name, `swap.ready`, or by its name and time, `chunk.copied@3`.
    pub async fn new(place: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fault = format!("{place}=wait:{}", listener.local_addr().unwrap());
        Self { listener, fault }
    }

    /// What has the program wait there, for `OSC_FAULT`.
    pub fn fault(&self) -> &str {
        &self.fault
    }

    /// Waits until a run waits there.
    pub async fn reached(self) -> Waiting {
        Waiting(self.listener.accept().await.unwrap().0)
    }
}
