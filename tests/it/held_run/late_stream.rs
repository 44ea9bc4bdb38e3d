//! A network on which the binary log comes late, and nothing else does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::relay::relay;
use crate::support::server::Server;

/// How late.
pub const LATE: Duration = Duration::from_millis(400);

/// The commands with which a connection becomes a stream of the log.
const DUMP: [u8; 2] = [0x12, 0x1e];

/// Starts it before `server` and returns where the program connects to. It ends with the process.
pub fn late_stream(server: &Server, database: &str) -> String {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
    let port = relay(move |client| carry(client, target));
    format!("mysql://root@127.0.0.1:{port}/{database}")
}

async fn carry(client: TcpStream, target: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let dumping = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&dumping);
    let up = async move {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = from_client.read(&mut bytes).await?;
            // Three bytes of length, the number 0 of a command's first packet, the command.
            if matches!(bytes[..read], [_, _, _, 0, command, ..] if DUMP.contains(&command)) {
                asked.store(true, Ordering::Relaxed);
            }
            if read == 0 {
                return to_server.shutdown().await;
            }
            to_server.write_all(&bytes[..read]).await?;
        }
    };
    let (sender, mut queue) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let down = async move {
        loop {
            let mut bytes = vec![0; 1 << 16];
            let read = from_server.read(&mut bytes).await?;
            if read == 0 {
                return io::Result::Ok(());
            }
            bytes.truncate(read);
            let late = if dumping.load(Ordering::Relaxed) { LATE } else { Duration::ZERO };
            let _ = sender.send((Instant::now() + late, bytes));
        }
    };
    let deliver = async move {
        while let Some((at, bytes)) = queue.recv().await {
            tokio::time::sleep_until(at).await;
            to_client.write_all(&bytes).await?;
        }
        to_client.shutdown().await
    };
    let (up, down, deliver) = tokio::join!(up, down, deliver);
    up.and(down).and(deliver)
}
