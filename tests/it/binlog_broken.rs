//! Events that are shorter than they say, as a broken server or network would send them.

use crate::support;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cli_run::Run;
use crate::streaming::{Field, failure};
use crate::support::server::{Kind, Server};
use mysql_async::OptsBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The types of an event of new rows, as the servers write them.
fn new_rows(kind: Kind) -> u8 {
    match kind {
        Kind::Mysql => 30,
        Kind::Mariadb => 23,
    }
}

/// Carries one connection to `server`; events of this type get 65,536 bytes more in their heads.
async fn spoil(listener: TcpListener, server: u16, kind: u8, server_id: u32) {
    let (client, _) = listener.accept().await.unwrap();
    carry(client, server, kind, server_id, Arc::new(AtomicUsize::new(usize::MAX))).await;
}

/// The same for one connection after the other, for as many events as are `left`.
async fn spoil_all(listener: TcpListener, server: u16, kind: u8, id: u32, left: Arc<AtomicUsize>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(carry(client, server, kind, id, Arc::clone(&left)));
    }
}

async fn carry(client: TcpStream, server: u16, kind: u8, server_id: u32, left: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let head = [&[kind], &server_id.to_le_bytes()[..]].concat();
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
        for at in 0..count.saturating_sub(9) {
            // Type, server, and four bytes of size.
            let one_less = |left: usize| left.checked_sub(1);
            if bytes[at..].starts_with(&head)
                && bytes[at + 7..at + 9] == [0, 0]
                && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
            {
                bytes[at + 7] = 1;
            }
        }
        if to_client.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    up.abort();
}

async fn an_event_shorter_than_it_says_is_a_lost_connection(kind: Kind) {
    let server = Server::start(kind);
    let mut field = Field::with_table(&server).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let id = server.value("SELECT @@server_id").await.parse().unwrap();
    tokio::spawn(spoil(listener, server.port(), new_rows(kind), id));
    let from = field.position().await;
    let opts = OptsBuilder::from_opts(server.opts("")).tcp_port(port).prefer_socket(false);
    let mut stream = field.stream_with(opts.into(), &from).await.unwrap();
    field.run("INSERT INTO t (id) VALUES (1)").await;
    let error = failure(&mut stream).await;
    assert!(error.is_connection(), "{error:?}");
    assert!(error.to_string().contains("cannot be read"), "{error}");
    assert!(failure(&mut stream).await.is_connection());
    // The next one is whole.
    let mut stream = field.stream_from(&from).await;
    assert_eq!(field.read(&mut stream, 1).await.keys.len(), 1);
}

/// The same in the program as it is shipped, whose hook for panics must not end it.
async fn the_program_opens_the_stream_again_after_such_an_event(kind: Kind) {
    let server = Server::start(kind);
    let database = support::database(&server).await;
    server.exec_in(&database, "CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
    server.exec_in(&database, "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let id = server.value("SELECT @@server_id").await.parse().unwrap();
    let left = Arc::new(AtomicUsize::new(1));
    tokio::spawn(spoil_all(listener, server.port(), new_rows(kind), id, Arc::clone(&left)));
    let url = server.url(&database).replace(&format!(":{}", server.port()), &format!(":{port}"));
    // The first event of new rows is the marker's, if not a row of the table's.
    let run = Run::at(&url, &["t", "ADD COLUMN a INT"]);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.complaints.contains("internal error at"), "no event was broken: {ended:#?}");
    assert_eq!(
        server.value(&format!("SELECT COUNT(*) FROM {database}.t WHERE a IS NULL")).await,
        "3"
    );
}

on_both_servers! {
    the_program_opens_the_stream_again_after_such_an_event
    an_event_shorter_than_it_says_is_a_lost_connection
}
