//! What stands between the program and a server, and carries its connections.

use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::thread;

use tokio::net::{TcpListener, TcpStream};

/// Has `carry` carry each connection, until the process ends; returns where the program connects to.
pub fn relay<F, C>(carry: C) -> u16
where
    C: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output: Send> + Send + 'static,
{
    let (sender, port) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
            let _ = sender.send(listener.local_addr().expect("a bound socket").port());
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client));
            }
        });
    });
    port.recv().expect("it starts")
}
