//! Many who watch, and some who never read: the run does not wait for them, and osc stays small.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::cli_run::Run;
use crate::http::Watched;
use crate::http::client::get;
use crate::orders::place::{ADD, Place};

const CLIENTS: usize = 50;
const ROWS: usize = 2_000_000;

/// The most memory that a process ever had, in MiB.
fn most_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

/// A run of many rows, as fast as it can, and how long it copied.
async fn copied(place: &Place, flags: &[&str], meanwhile: impl FnOnce()) -> (Duration, u64) {
    let fixed = ["t", ADD, "--ledger", &place.ledger, "--hold", "--no-feedback"];
    let mut run = Run::at(&place.url, &[&fixed[..], flags].concat());
    run.phase("copy").await;
    meanwhile();
    let begun = Instant::now();
    run.phase("hold").await;
    let (took, memory) = (begun.elapsed(), most_memory(run.id()));
    run.terminate();
    run.end().await;
    let (code, printed) = place.osc(&["cleanup", "t", "--yes"]);
    assert_eq!(code, Some(0), "{printed}");
    (took, memory)
}

/// Clients of all kinds. Every other one reads; the others ask again and again, and read nothing.
fn watch(port: u16) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for number in 0..CLIENTS {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let path = ["/events?page=", "/events", "/", "/metrics", "/status"][number % 5];
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut other = stream.try_clone().unwrap();
        thread::spawn(move || {
            if number % 2 == 0 {
                while other.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
            } else {
                while other.write_all(head.as_bytes()).is_ok() {
                    thread::sleep(Duration::from_millis(100));
                }
            }
        });
        streams.push(stream);
    }
    assert_eq!(get(port, "/healthz").status, 200, "there is room for more");
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_who_watch_neither_slow_the_run_down_nor_make_osc_large() {
    let [place, ..] = Place::all().await;
    place.sql("DELETE FROM t").await;
    let fill = format!("INSERT INTO t SELECT seq, seq FROM seq_1_to_{ROWS}");
    place.sql(&fill).await;
    // Once to warm the server up; then each way in turn, since the machine has others to do as well.
    copied(&place, &[], || {}).await;
    let (mut alone, mut among) = ((Duration::MAX, 0), (Duration::MAX, 0));
    for _ in 0..3 {
        let (took, memory) = copied(&place, &[], || {}).await;
        alone = (alone.0.min(took), alone.1.max(memory));
        let watched = Watched::new();
        let mut streams = Vec::new();
        let (took, memory) = copied(&place, &watched.flags(), || {
            streams = watch(watched.port);
        })
        .await;
        among = (among.0.min(took), among.1.max(memory));
    }
    let ((alone, small), (among, large)) = (alone, among);
    println!("alone {alone:?} and {small} MiB; watched by {CLIENTS} {among:?} and {large} MiB");
    assert!(large < 40, "{large} MiB, and {small} MiB without");
    // A tenth by itself on a quiet machine.
    assert!(
        among < alone.mul_f64(1.3) + Duration::from_secs(1),
        "{alone:?} alone, {among:?} watched"
    );
}
