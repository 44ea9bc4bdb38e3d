//! A TCP proxy before a server, which can break connections as a network does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::server::Server;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// Carries everything.
    Fair,
    /// Refuses new connections; those there were are cut.
    Down,
    /// Carries nothing any more, and cuts nothing: both sides only wait.
    Silent,
}

/// A proxy on a port of its own, at work until it is dropped.
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
}

impl Proxy {
    /// Starts a proxy before `server`.
    pub fn start(server: &Server) -> Self {
        Self::before(server.port())
    }

    /// Starts a proxy before whoever listens at this port.
    pub fn before(port: u16) -> Self {
        let (weather, changes) = watch::channel(Weather::Fair);
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (sender, port) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
                let _ = sender.send(listener.local_addr().expect("a bound socket").port());
                serve(listener, target, changes).await;
            });
        });
        Self { port: port.recv().expect("the proxy starts"), weather }
    }

    /// Where to connect to, for the program.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts all connections; new ones are taken.
    pub fn cut(&self) {
        self.weather.send_replace(Weather::Fair);
    }

    /// Cuts all connections and ends new ones at once, until [`Proxy::up`].
    pub fn down(&self) {
        self.weather.send_replace(Weather::Down);
    }

    /// Lets both sides of all connections wait for each other, those of new ones too, until [`Proxy::up`],
    /// which cuts them.
    pub fn silence(&self) {
        self.weather.send_replace(Weather::Silent);
    }

    /// Takes connections again.
    pub fn up(&self) {
        self.weather.send_replace(Weather::Fair);
    }
}

/// Accepts until the proxy is dropped.
async fn serve(listener: TcpListener, target: SocketAddr, weather: watch::Receiver<Weather>) {
    let mut end = weather.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let mut weather = weather.clone();
                let now = *weather.borrow_and_update();
                if let (Ok((client, _)), Weather::Fair | Weather::Silent) = (accepted, now) {
                    tokio::spawn(carry(client, target, weather));
                }
            }
            changed = end.changed() => if changed.is_err() { return },
        }
    }
}

async fn carry(
    mut client: TcpStream,
    target: SocketAddr,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let silent = |now: &mut watch::Receiver<Weather>| *now.borrow_and_update() == Weather::Silent;
    if !silent(&mut weather) {
        tokio::select! {
            carried = copy_bidirectional(&mut client, &mut server) => return carried.map(|_| ()),
            // Any other change, and the proxy's end, cut what is there.
            _ = weather.changed() => {}
        }
    }
    if silent(&mut weather) {
        let _ = weather.changed().await;
    }
    Ok(())
}
