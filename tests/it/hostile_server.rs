//! Servers that would fill osc's memory. **They are scripted**: no real server sends without end. What is shown
//! is how much such a server gets rid of before osc hangs up, and that osc says why.

use crate::cli_run::streams;
use crate::support;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// What osc takes of one answer, and what sockets hold besides.
const MOST: usize = 300 * MIB;

/// A server that plays its part for each connection and returns how many bytes the greediest got rid of.
fn scripted(
    part: impl Fn(&mut TcpStream, &mut usize) -> std::io::Result<()> + Send + Sync + 'static,
) -> (u16, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let played = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sent = 0;
        // Its end is that osc hangs up.
        let _ = part(&mut stream, &mut sent);
        sent
    });
    (port, played)
}

/// Sends `bytes` until they are not taken any more.
fn endlessly(stream: &mut TcpStream, sent: &mut usize, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes)?;
        *sent += bytes.len();
        assert!(*sent < 4 * MOST, "osc takes whatever comes");
    }
}

/// `osc plan` there: how it ended and what it printed.
fn plan(url: &str) -> (Option<i32>, String) {
    let output = support::osc().args(["plan", "t", "ADD COLUMN x INT", "--url", url]).output();
    let output = output.unwrap();
    (output.status.code(), streams(&output))
}

/// The short commands, each against a server of its own that falls silent: all end, and say why.
fn all_end(serve: impl Fn() -> (u16, JoinHandle<usize>), url: impl Fn(u16) -> String) {
    let commands: [&[&str]; 3] =
        [&["status"], &["plan", "t", "ADD COLUMN x INT"], &["cleanup", "t", "--yes", "--now"]];
    let played: Vec<_> = commands
        .into_iter()
        .map(|command| {
            let (port, server) = serve();
            let mut osc = support::osc();
            osc.args(command).args(["--url", &url(port)]);
            let osc = osc.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            (command, osc, server)
        })
        .collect();
    let begun = Instant::now();
    for (command, osc, server) in played {
        let output = osc.wait_with_output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{command:?}: {printed}");
        assert!(printed.contains("gave no answer within 60 s"), "{command:?}: {printed}");
        server.join().unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(90), "{:?}", begun.elapsed());
}

mod postgres {
    use super::*;

    #[test]
    fn silence_after_the_login_ends_the_short_commands() {
        let serve = || {
            scripted(|stream, _| {
                asked(stream)?;
                loop {
                    stream.read_exact(&mut [0; 1])?;
                }
            })
        };
        all_end(serve, |port| format!("postgres://me@127.0.0.1:{port}/db?sslmode=disable"));
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    fn startup(stream: &mut TcpStream) -> std::io::Result<()> {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut packet = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() - 4];
        stream.read_exact(&mut packet)?;
        stream.write_all(&message(b'R', &[0; 4]))
    }

    /// Ready, and the first statement is there.
    fn asked(stream: &mut TcpStream) -> std::io::Result<()> {
        startup(stream)?;
        stream.write_all(&message(b'Z', b"I"))?;
        stream.read_exact(&mut [0; 5])
    }

    fn refuses(
        most: usize,
        part: impl Fn(&mut TcpStream, &mut usize) -> std::io::Result<()> + Send + Sync + 'static,
    ) {
        let (port, played) = scripted(part);
        let (code, printed) = plan(&format!("postgres://me@127.0.0.1:{port}/db?sslmode=disable"));
        assert_ne!(code, Some(0), "{printed}");
        assert!(printed.contains("this is no honest server"), "{printed}");
        let sent = played.join().unwrap();
        assert!(sent < most, "it got rid of {} MiB", sent / MIB);
    }

    #[test]
    fn endless_notices_before_the_login() {
        refuses(20 * MIB, |stream, sent| {
            startup(stream)?;
            endlessly(
                stream,
                sent,
                &message(b'N', &[b"SNOTICE\0M", &[b'x'; 900][..], b"\0\0"].concat()),
            )
        });
    }

    #[test]
    fn a_message_that_does_not_end() {
        refuses(20 * MIB, |stream, sent| {
            startup(stream)?;
            stream.write_all(&[b'N', 0x7f, 0xff, 0xff, 0xff])?;
            endlessly(stream, sent, &[b'x'; 1000])
        });
    }

    #[test]
    fn endless_parameters() {
        refuses(20 * MIB, |stream, sent| {
            asked(stream)?;
            for name in 0.. {
                let parameter = message(b'S', format!("p{name:0900}\0v\0").as_bytes());
                stream.write_all(&parameter)?;
                *sent += parameter.len();
            }
            Ok(())
        });
    }

    #[test]
    fn endless_rows() {
        refuses(MOST, |stream, sent| {
            asked(stream)?;
            let column = [&1u16.to_be_bytes()[..], b"c\0", &[0; 18]].concat();
            stream.write_all(&message(b'T', &column))?;
            let value = vec![b'x'; MIB];
            let length = u32::try_from(value.len()).unwrap().to_be_bytes();
            let row = [&1u16.to_be_bytes()[..], &length, &value].concat();
            endlessly(stream, sent, &message(b'D', &row))
        });
    }
}

mod mysql {
    use super::*;

    fn packet(number: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        [&length[..3], &[number], body].concat()
    }

    fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        let mut body = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut body)?;
        Ok(body)
    }

    const OK: [u8; 7] = [0, 0, 0, 2, 0, 0, 0];
    const END: [u8; 5] = [0xfe, 0, 0, 2, 0];

    fn text(value: &str) -> Vec<u8> {
        [&[u8::try_from(value.len()).unwrap()][..], value.as_bytes()].concat()
    }

    fn greeting() -> Vec<u8> {
        // PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH, CONNECT_WITH_DB, TRANSACTIONS, LONG_PASSWORD.
        let capabilities: u32 = 0x0008_a209;
        let [a, b, c, d] = capabilities.to_le_bytes();
        [
            &b"\x0a8.4.0\0"[..],
            &7u32.to_le_bytes(),
            b"12345678\0",
            &[a, b, 45, 2, 0, c, d, 21],
            &[0; 10],
            b"123456789012\0mysql_native_password\0",
        ]
        .concat()
    }

    /// The head of an answer of so many columns.
    fn columns(stream: &mut TcpStream, count: u8) -> std::io::Result<u8> {
        stream.write_all(&packet(1, &[count]))?;
        for at in 0..count {
            let names = ["def", "", "", "", "c", "c"].map(text).concat();
            let column = [&names[..], &[12, 45, 0, 0, 4, 0, 0, 253, 0, 0, 0, 0, 0]].concat();
            stream.write_all(&packet(2 + at, &column))?;
        }
        stream.write_all(&packet(2 + count, &END))?;
        Ok(3 + count)
    }

    #[test]
    fn endless_rows() {
        let (port, played) = scripted(|stream, sent| {
            stream.write_all(&packet(0, &greeting()))?;
            read(stream)?;
            stream.write_all(&packet(2, &OK))?;
            loop {
                let statement = String::from_utf8_lossy(&read(stream)?).into_owned();
                if statement.contains("VERSION()") {
                    let number = columns(stream, 3)?;
                    let row = ["8.4.0", "7", "0"].map(text).concat();
                    stream.write_all(&packet(number, &row))?;
                    stream.write_all(&packet(number + 1, &END))?;
                } else if statement.contains("SHOW GLOBAL") {
                    let mut number = columns(stream, 2)?;
                    let value = vec![b'x'; MIB];
                    let length = u32::try_from(value.len()).unwrap().to_le_bytes();
                    let row = [&text("name")[..], &[0xfd], &length[..3], &value].concat();
                    loop {
                        let row = packet(number, &row);
                        stream.write_all(&row)?;
                        *sent += row.len();
                        number = number.wrapping_add(1);
                        assert!(*sent < 4 * MOST, "osc takes whatever comes");
                    }
                } else {
                    stream.write_all(&packet(1, &OK))?;
                }
            }
        });
        let (code, printed) = plan(&format!("mysql://me@127.0.0.1:{port}/db?ssl-mode=disabled"));
        assert_eq!(code, Some(1), "{printed}");
        assert!(printed.contains("this is no honest server"), "{printed}");
        let sent = played.join().unwrap();
        assert!(sent < MOST, "it got rid of {} MiB", sent / MIB);
    }

    #[test]
    fn silence_after_the_login_ends_the_short_commands() {
        let serve = || {
            scripted(|stream, _| {
                stream.write_all(&packet(0, &greeting()))?;
                read(stream)?;
                stream.write_all(&packet(2, &OK))?;
                loop {
                    let statement = String::from_utf8_lossy(&read(stream)?).into_owned();
                    if !statement.contains("SELECT") {
                        stream.write_all(&packet(1, &OK))?;
                    }
                }
            })
        };
        all_end(serve, |port| format!("mysql://me@127.0.0.1:{port}/db?ssl-mode=disabled"));
    }

    #[test]
    fn a_packet_that_does_not_end_before_the_login() {
        let (port, played) = scripted(|stream, sent| {
            // Each piece of this length says that another follows.
            let piece = [&[0xff, 0xff, 0xff, 0][..], &vec![b'x'; 0xff_ffff]].concat();
            endlessly(stream, sent, &piece)
        });
        let (code, printed) = plan(&format!("mysql://me@127.0.0.1:{port}/db?ssl-mode=disabled"));
        assert_eq!(code, Some(2), "{printed}");
        let sent = played.join().unwrap();
        assert!(sent < 64 * MIB, "it got rid of {} MiB", sent / MIB);
    }
}
