//! A client that sends what it is given and reads what comes, to the byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(of, _)| of.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// One request with these fields in its head.
pub(crate) fn request(port: u16, first: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    let mut text = format!("{first} HTTP/1.1\r\n");
    if !fields.iter().any(|(name, _)| *name == "Host") {
        text += &format!("Host: 127.0.0.1:{port}\r\n");
    }
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answer = raw(port, text.as_bytes());
    answer.unwrap_or_else(|| panic!("no answer to {first}"))
}

/// Sends these bytes; `None`: no answer came that is one.
pub(crate) fn raw(port: u16, bytes: &[u8]) -> Option<Answer> {
    let mut stream = connect(port);
    // The other end may have had enough before the last byte.
    let _ = stream.write_all(bytes);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Some(Answer { status, headers, body: body.to_owned() })
}

pub(crate) fn get(port: u16, path: &str) -> Answer {
    request(port, &format!("GET {path}"), &[], "")
}

/// An order with this token.
pub(crate) fn order(port: u16, token: &str, body: &Value) -> Answer {
    let token = format!("Bearer {token}");
    let fields = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
    request(port, "POST /orders", &fields, &body.to_string())
}

/// A server-sent event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: String,
}

/// Follows `/events`.
pub(crate) struct Follower {
    lines: BufReader<Chunks>,
}

/// The body of an answer in chunks.
struct Chunks {
    stream: BufReader<TcpStream>,
    left: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            let mut size = String::new();
            if self.stream.read_line(&mut size)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.left = usize::from_str_radix(size.trim(), 16).unwrap();
            if self.left == 0 {
                return Ok(0);
            }
        }
        let most = buffer.len().min(self.left);
        let read = self.stream.read(&mut buffer[..most])?;
        self.left -= read;
        if self.left == 0 {
            let mut end = String::new();
            self.stream.read_line(&mut end)?;
        }
        Ok(read)
    }
}

impl Follower {
    /// From the beginning, or from where another stopped.
    pub(crate) fn new(port: u16, path: &str, last: Option<&str>) -> Self {
        let mut stream = connect(port);
        let last = last.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        let text = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{last}\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.to_lowercase().contains("content-type: text/event-stream"), "{head}");
        Self { lines: BufReader::new(Chunks { stream, left: 0 }) }
    }

    /// The next event; `None`: the stream has ended in order.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.trim_end_matches('\n');
            if line.is_empty() && !event.name.is_empty() {
                return Some(event);
            }
            match line.split_once(": ").or_else(|| line.split_once(':')) {
                Some(("id", id)) => event.id = id.to_owned(),
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("data", data)) => event.data += data,
                _ => {}
            }
        }
    }

    /// The next event of this name.
    pub(crate) fn event(&mut self, name: &str) -> Event {
        let mut seen = Vec::new();
        while let Some(event) = self.next() {
            if event.name == name {
                return event;
            }
            seen.push(event);
        }
        panic!("no {name}: {seen:#?}");
    }
}
