//! A network on which new connections wait, when asked, until each is let in.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::relay::relay;
use crate::support::server::Server;

/// A gate before a server, at work until the process ends.
pub struct Gate {
    port: u16,
    shut: Arc<AtomicBool>,
    waiting: UnboundedReceiver<Visitor>,
}

/// A connection that waits; it is let in when this is dropped.
pub struct Visitor(#[allow(dead_code, reason = "its drop is what counts")] oneshot::Sender<()>);

impl Gate {
    /// An open gate.
    pub fn before(server: &Server) -> Self {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
        let shut = Arc::new(AtomicBool::new(false));
        let (announce, waiting) = unbounded_channel();
        let is_shut = Arc::clone(&shut);
        let port =
            relay(move |client| carry(client, target, Arc::clone(&is_shut), announce.clone()));
        Self { port, shut, waiting }
    }

    /// Where the program connects to.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// From now on new connections wait.
    pub fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
    }

    /// From now on they do not.
    pub fn open(&self) {
        self.shut.store(false, Ordering::SeqCst);
    }

    /// The next connection that waits.
    pub async fn visitor(&mut self) -> Visitor {
        self.waiting.recv().await.expect("the gate is there")
    }
}

async fn carry(
    mut client: TcpStream,
    target: SocketAddr,
    shut: Arc<AtomicBool>,
    announce: UnboundedSender<Visitor>,
) -> std::io::Result<()> {
    if shut.load(Ordering::SeqCst) {
        let (sender, leave) = oneshot::channel();
        let _ = announce.send(Visitor(sender));
        let _ = leave.await;
    }
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}
