//! A door to the change stream without a server, for `fuzz/`.

use std::time::Instant;

use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::{Event, FormatDescriptionEvent};

use super::changes::{Changes, Clock, Prepared};
use super::position::Place;
use super::query::{QueryEvent, Statement, Watch};
use super::{StreamConfig, event};
use crate::engine::backend::Change;
use crate::key::{Key, Position};
use crate::mysql::catalog::key::{KeyColumn, KeyColumns, KeyKind, KeyValue};
use crate::mysql::connection::version::{Family, Flavor};
use crate::mysql::gtid::Gtids;
use crate::mysql::name::{Ident, TableName};

const FLAVOR: Flavor = Flavor { family: Family::Mysql, version: (8, 4, 0) };

/// Bytes before each event's body.
const HEAD: usize = 19;

/// What the stream of one table made of a log.
#[derive(Debug)]
pub struct Decoded {
    /// The columns of its key.
    pub columns: KeyColumns,
    /// What it delivered.
    pub changes: Vec<Change>,
    /// Why it ended before the log did.
    pub error: Option<String>,
}

/// Reads a log for each of the tables that `tests/it/fuzz_seeds.rs` captures: `fuzz.t`, `fuzz.wide` and
/// `fuzz.maria`. A log is the events of a file, without checksums; those in a compressed transaction
/// follow it, as the driver hands them over.
pub fn read(log: &[u8]) -> Vec<Decoded> {
    let int = KeyKind::Int { bytes: 4, unsigned: false };
    let t = vec![part("id", 0, int)];
    let wide = vec![
        part("a", 1, KeyKind::Int { bytes: 3, unsigned: false }),
        part("b", 2, KeyKind::Decimal),
        part("c", 3, KeyKind::Date { fraction: 3 }),
        part("d", 4, KeyKind::Timestamp { fraction: 6 }),
        part("e", 5, KeyKind::Time { fraction: 2 }),
        part("f", 6, KeyKind::Binary { pad: None }),
        part("g", 7, KeyKind::Binary { pad: Some(8) }),
        part("h", 8, KeyKind::Enum),
        part("i", 9, KeyKind::Set),
        part("j", 10, KeyKind::Bit),
        part("k", 11, KeyKind::Text { charset: "utf8mb4".into() }),
        part("l", 12, KeyKind::Int { bytes: 1, unsigned: true }),
    ];
    let maria = vec![part("u", 1, KeyKind::Uuid), part("v", 2, KeyKind::Binary { pad: Some(16) })];
    let streams = [
        ("t", t, vec![Some(KeyValue::Int(5))], Gtids::Mysql(Default::default())),
        ("wide", wide, Vec::new(), Gtids::Off),
        ("maria", maria, Vec::new(), Gtids::Mariadb(Default::default())),
    ];
    streams
        .into_iter()
        .map(|(table, key, defaults, gtid)| {
            let columns = KeyColumns(key);
            let mut changes = stream(table, columns.clone(), defaults, gtid);
            let error = pass(&mut changes, log).err();
            Decoded { columns, changes: std::iter::from_fn(|| changes.pop()).collect(), error }
        })
        .collect()
}

fn part(name: &str, ordinal: usize, kind: KeyKind) -> KeyColumn {
    KeyColumn { name: Ident::new(name), ordinal, kind, descending: false }
}

fn watch(table: &str) -> Watch {
    Watch {
        flavor: FLAVOR,
        original: TableName::new("fuzz", table),
        fold_case: true,
        triggers: ["trg".to_owned()].into(),
        opaque: [("fuzz".to_owned(), "v".to_owned())].into(),
    }
}

fn stream(
    table: &str,
    key: KeyColumns,
    defaults: Vec<Option<KeyValue>>,
    gtid: Gtids,
) -> Box<Changes> {
    let config = StreamConfig {
        since: None,
        shadow: None,
        opts: mysql_async::Opts::default(),
        flavor: FLAVOR,
        original: TableName::new("fuzz", table),
        ledger: TableName::new("fuzz", "markers"),
        run: -7,
        key,
    };
    let clock = Clock { here: Instant::now(), there: 1 << 50 };
    let prepared = Prepared { watch: watch(table), clock, defaults };
    let place = Place { server: "s".into(), file: "bin.000001".into(), offset: 4, gtid };
    Box::new(Changes::new(&config, prepared, place))
}

fn pass(changes: &mut Changes, mut log: &[u8]) -> Result<(), String> {
    while let Some(event) = next(&mut log) {
        changes.read(&event).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The next event. What is shorter than it says is the driver's to notice, and the events with
/// which the driver finds its own way are left out.
fn next(log: &mut &[u8]) -> Option<Event> {
    let head: &[u8; HEAD] = log.first_chunk()?;
    let size = u32::from_le_bytes([head[9], head[10], head[11], head[12]]);
    let (event, rest) = log.split_at_checked(usize::try_from(size).ok()?)?;
    *log = rest;
    match event.get(4) {
        Some(&event::FORMAT_DESCRIPTION) => next(log),
        Some(_) if event.len() >= HEAD => {
            Event::read(&FormatDescriptionEvent::new(BinlogVersion::Version4), event).ok()
        }
        _ => None,
    }
}

/// What a statement of the log means for `fuzz.t`, in each way of quoting.
pub fn statement(database: &[u8], sql: &[u8]) -> [String; 4] {
    let watch = watch("t");
    [0, 1 << 2, 1 << 20, 1 << 2 | 1 << 20].map(|sql_mode| {
        match watch.statement(&QueryEvent { session: 0, database, sql, sql_mode }) {
            // Without the text, which it ends with.
            Statement::Foreign(what) => what.split(": ").next().unwrap_or_default().to_owned(),
            other => format!("{other:?}"),
        }
    })
}

/// Reads a position of the ledger and writes it again.
pub fn position(text: &str) -> Option<Position> {
    Place::parse(&Position(text.to_owned())).ok()?.position().ok()
}

/// Whether the key is one of these columns, whole.
pub fn is_key(columns: &KeyColumns, key: &Key) -> bool {
    columns.decode(key).and_then(|values| columns.encode(&values)).is_ok_and(|again| again == *key)
}
