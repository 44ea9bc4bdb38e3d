//! The change stream of MySQL and MariaDB: the binlog, read as a replica reads it, for keys only.
//!
//! The driver hands over events; everything inside them is read here, because the keys must have
//! the same bytes as those that a SELECT gives, and because the driver passes over in silence what
//! would lose rows: compressed events of MariaDB, compressed transactions that cannot be unpacked,
//! sessions that log statements. Whatever is not understood ends the run.
//!
//! A position is a transaction's end. Keys may be delivered before the end of their transaction:
//! what stands in the binlog is committed. Only transactions prepared by XA wait for their end in
//! the log, and no position after the oldest of them is given out meanwhile, since a resumed run
//! would not see their rows again.

mod cell;
mod position;
mod query;
mod rows;
mod wire;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use mysql_async::binlog::events::{Event, GtidEvent};
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, Conn, Opts};

use crate::engine::key::{Key, Position};
use crate::engine::server::{Change, ChangeStream};
use crate::engine::{Error, Result};
use crate::mysql::binlog::position::{Gtids, Place};
use crate::mysql::binlog::query::{Meaning, Xid, meaning};
use crate::mysql::binlog::rows::{RowEvent, TableMap, Verb};
use crate::mysql::binlog::wire::Wire;
use crate::mysql::connect::{connect, connection_error};
use crate::mysql::flavor::Flavor;
use crate::mysql::key::KeyColumns;
use crate::mysql::name::TableName;

/// The server sends something at least so often.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A stream that is silent for so long is broken.
const SILENCE: Duration = Duration::from_secs(30);

/// Keys in one change.
const BATCH: usize = 2_000;

/// What the stream is opened with.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// Where to connect.
    pub opts: Opts,
    /// The server's family and version.
    pub flavor: Flavor,
    /// The table whose keys are wanted.
    pub original: TableName,
    /// The table that our markers are written to: run and marker are its first columns.
    pub ledger: TableName,
    /// Our run.
    pub run: i64,
    /// The copy key.
    pub key: KeyColumns,
}

/// The binlog from some place on.
pub struct BinlogStream {
    stream: mysql_async::BinlogStream,
    config: StreamConfig,
    place: Place,
    /// The place of the last transaction's end.
    ended: Place,
    maps: HashMap<u64, Wanted>,
    queue: VecDeque<Change>,
    keys: Vec<Key>,
    group: Group,
    prepared: BTreeMap<Xid, Prepared>,
    same_server: bool,
    /// Whether events carry checksums.
    checksums: bool,
    /// The stream has described its format.
    described: bool,
}

/// What is known of a table map's number.
enum Wanted {
    Original(TableMap),
    Markers(TableMap),
    Other,
}

/// The transaction that is being read.
#[derive(Debug, Default)]
struct Group {
    /// Its rows count when it is committed, not when it is prepared.
    xa: bool,
    /// It came compressed, and its end has not been seen.
    packed: bool,
    /// A statement that commits by itself.
    alone: bool,
    /// Its GTID, to be added at its end.
    gtid: Option<Gtid>,
}

#[derive(Debug)]
enum Gtid {
    Mysql(String, u64),
    Mariadb(u32, u32, u64),
}

struct Prepared {
    keys: Vec<Key>,
    /// The last position before it.
    before: Position,
    order: u64,
}

/// The place of the binlog's end now.
pub async fn current_position(conn: &mut Conn, flavor: Flavor) -> Result<Position> {
    Ok(Place::current(conn, flavor).await?.position())
}

/// Opens the stream after `from`.
pub async fn open(config: &StreamConfig, from: &Position) -> Result<BinlogStream> {
    let place = Place::parse(from)?;
    let action = "opening the binlog's stream";
    let mut conn = connect(&config.opts, action).await?;
    let nanos = HEARTBEAT.as_nanos();
    let mut settings = vec![
        format!("SET @master_heartbeat_period = {nanos}, @source_heartbeat_period = {nanos}"),
        "SET @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32'".to_owned(),
    ];
    if config.flavor.is_mariadb() {
        // Without it the server rewrites events that it thinks we do not know.
        settings.push("SET @mariadb_slave_capability = 4".to_owned());
    }
    let server_id = rand::random_range(1_u32 << 30..u32::MAX);
    let mut request = BinlogStreamRequest::new(server_id);
    let same_server = position::identity(&mut conn, config.flavor).await? == place.server;
    let checksums: Option<String> = conn
        .query_first("SELECT @@GLOBAL.binlog_checksum")
        .await
        .map_err(|error| connection_error(action, error))?;
    let checksums = checksums.is_some_and(|kind| !kind.eq_ignore_ascii_case("NONE"));
    let file = place.file.clone();
    if same_server {
        let offset = u32::try_from(place.offset).map_err(|_| Error::StreamGap {
            position: from.clone(),
            reason: "the protocol cannot name an offset beyond 4 GiB in one file; keep \
                     max_binlog_size below it"
                .into(),
        })?;
        request = request.with_filename(file.as_bytes()).with_pos(u64::from(offset));
    } else {
        match &place.gtids {
            Some(Gtids::Mysql(set)) => {
                request = request.with_gtid().with_gtid_set(set.sids()?).with_pos(4_u64);
            }
            Some(Gtids::Mariadb(set)) => {
                settings.push(format!(
                    "SET @slave_connect_state = '{}', @slave_gtid_strict_mode = 1",
                    position::mariadb_text(set)
                ));
                request = request.with_pos(4_u64);
            }
            None => {
                return Err(Error::StreamGap {
                    position: from.clone(),
                    reason: "this is another server, and the position has no GTIDs".into(),
                });
            }
        }
    }
    for setting in settings {
        conn.query_drop(setting).await.map_err(|error| connection_error(action, error))?;
    }
    let stream =
        conn.get_binlog_stream(request).await.map_err(|error| stream_error(error, from))?;
    Ok(BinlogStream {
        stream,
        config: config.clone(),
        ended: place.clone(),
        place,
        maps: HashMap::new(),
        queue: VecDeque::new(),
        keys: Vec::new(),
        group: Group::default(),
        prepared: BTreeMap::new(),
        same_server,
        checksums,
        described: false,
    })
}

fn stream_error(error: mysql_async::Error, position: &Position) -> Error {
    match error {
        // ER_MASTER_FATAL_ERROR_READING_BINLOG: purged, or no such place.
        mysql_async::Error::Server(server) if server.code == 1236 => {
            Error::StreamGap { position: position.clone(), reason: server.message }
        }
        error => connection_error("reading the binlog", error),
    }
}

impl ChangeStream for BinlogStream {
    async fn next(&mut self) -> Result<Change> {
        loop {
            if let Some(change) = self.queue.pop_front() {
                return Ok(change);
            }
            let lost = |message: &str| Error::Connection {
                action: "reading the binlog".into(),
                message: message.into(),
            };
            let event = match tokio::time::timeout(SILENCE, self.stream.next()).await {
                Err(_) => return Err(lost("the stream fell silent")),
                Ok(None) => return Err(lost("the server ended the stream")),
                Ok(Some(Err(error))) => {
                    return Err(stream_error(error, &self.ended.position()));
                }
                Ok(Some(Ok(event))) => event,
            };
            self.take(&event)?;
        }
    }
}

impl BinlogStream {
    fn take(&mut self, event: &Event) -> Result<()> {
        let header = event.header();
        let data = event.data();
        let kind = header.event_type_raw();
        if !self.group.packed {
            self.advance(header.log_pos());
        }
        match kind {
            2 => self.query(data, None, header.timestamp())?,
            165 => {
                let text = Wire(data);
                self.compressed_query(text, header.timestamp())?;
            }
            4 => self.rotate(data, header.log_pos())?,
            16 => self.end(header.timestamp()),
            19 => self.table_map(data)?,
            23 | 30 => self.rows(data, Verb::Write, kind == 30, false)?,
            24 | 31 => self.rows(data, Verb::Update, kind == 31, false)?,
            25 | 32 => self.rows(data, Verb::Delete, kind == 32, false)?,
            39 => self.rows(data, Verb::PartialUpdate, true, false)?,
            166 | 169 => self.rows(data, Verb::Write, kind == 169, true)?,
            167 | 170 => self.rows(data, Verb::Update, kind == 170, true)?,
            168 | 171 => self.rows(data, Verb::Delete, kind == 171, true)?,
            26 => {
                return Err(Error::StreamGap {
                    position: self.ended.position(),
                    reason: "the server logged an incident: events are missing".into(),
                });
            }
            33 | 34 | 42 => self.gtid(event)?,
            38 => self.xa_prepare(data, header.timestamp())?,
            40 => self.group.packed = true,
            162 => self.mariadb_gtid(data, header.server_id())?,
            // LOAD DATA as a statement: the file's content hides rows.
            17 | 18 => self.foreign("LOAD DATA was logged as a statement"),
            // Old formats of row events, which no server that we serve writes.
            20..=22 => self.foreign("row events of an old format"),
            27 | 41 => self.idle(),
            // Start, stop, variables for statements, format, annotations, checkpoints, GTID lists,
            // previous GTIDs, group replication's views: nothing of ours.
            15 => self.described = true,
            0 | 1 | 3 | 5 | 13 | 14 | 28 | 29 | 35..=37 | 160 | 161 | 163 => {}
            _ if header.flags_raw() & 0x80 != 0 => {}
            other => {
                return Err(Error::Server {
                    action: "reading the binlog".into(),
                    message: format!("an event has the type {other}, which osc cannot read"),
                    code: None,
                });
            }
        }
        Ok(())
    }

    /// Follows the offset, which events carry in 32 bits only.
    fn advance(&mut self, log_pos: u32) {
        if log_pos == 0 {
            return;
        }
        let high = self.place.offset >> 32;
        let low = self.place.offset & u64::from(u32::MAX);
        let high = if u64::from(log_pos) < low { high + 1 } else { high };
        self.place.offset = high << 32 | u64::from(log_pos);
    }

    /// A new file. A server also says so at the start of a stream, and when it goes on to the next
    /// file after a crash, in events that stand in no file (`log_pos` is 0).
    fn rotate(&mut self, data: &[u8], log_pos: u32) -> Result<()> {
        let mut wire = Wire(data);
        let offset = wire.little(8)?;
        let mut name = wire.0;
        if !self.described {
            if self.same_server {
                return Ok(());
            }
            // Before the format is described the driver leaves the checksum at the name's end.
            if self.checksums {
                name = name.get(..name.len().saturating_sub(4)).unwrap_or(name);
            }
        }
        if log_pos != 0 {
            self.maps.clear();
        }
        let file = String::from_utf8_lossy(name).into_owned();
        if file != self.place.file {
            self.place.file = file;
            self.place.offset = offset;
        }
        Ok(())
    }

    fn table_map(&mut self, data: &[u8]) -> Result<()> {
        let (id, schema, table, _) = rows::table_names(data)?;
        let is = |name: &TableName| same(&schema, &table, name);
        let wanted = if is(&self.config.original) {
            let map = TableMap::read(data)?;
            if let Some(column) =
                self.config.key.0.iter().find(|column| column.ordinal >= map.columns.len())
            {
                self.foreign(&format!("the table has lost columns, {} among them", column.name));
            }
            Wanted::Original(map)
        } else if is(&self.config.ledger) {
            Wanted::Markers(TableMap::read(data)?)
        } else {
            Wanted::Other
        };
        self.maps.insert(id, wanted);
        Ok(())
    }

    fn rows(&mut self, data: &[u8], verb: Verb, extra: bool, packed: bool) -> Result<()> {
        let id = RowEvent::table_of(data)?;
        let map = match self.maps.get(&id) {
            Some(Wanted::Other) => return Ok(()),
            Some(wanted) => wanted,
            None => {
                return Err(Error::StreamGap {
                    position: self.ended.position(),
                    reason: "rows came without the description of their table".into(),
                });
            }
        };
        let event = RowEvent::read(data, verb, extra)?;
        let unpacked = if packed { Some(event.unpacked_rows()?) } else { None };
        match map {
            Wanted::Original(map) => {
                let keys = event.keys(map, &self.config.key, unpacked.as_deref())?;
                self.keys.extend(keys);
                if !self.group.xa && self.keys.len() >= BATCH {
                    self.deliver();
                }
            }
            Wanted::Markers(map) if verb == Verb::Write => {
                for (run, marker) in event.numbers(map, unpacked.as_deref())? {
                    if run == self.config.run {
                        // What came before the marker goes first.
                        self.deliver();
                        self.queue.push_back(Change::Marker(marker));
                    }
                }
            }
            Wanted::Markers(_) | Wanted::Other => {}
        }
        Ok(())
    }

    fn deliver(&mut self) {
        if !self.keys.is_empty() {
            self.queue.push_back(Change::Keys(std::mem::take(&mut self.keys)));
        }
    }

    fn foreign(&mut self, what: &str) {
        self.queue.push_back(Change::Foreign(what.to_owned()));
    }

    /// The end of a transaction.
    fn end(&mut self, timestamp: u32) {
        self.deliver();
        match self.group.gtid.take() {
            Some(Gtid::Mysql(source, number)) => {
                if let Some(Gtids::Mysql(set)) = &mut self.place.gtids {
                    set.add(&source, number);
                }
            }
            Some(Gtid::Mariadb(domain, server, sequence)) => {
                if let Some(Gtids::Mariadb(set)) = &mut self.place.gtids {
                    set.insert(domain, (server, sequence));
                }
            }
            None => {}
        }
        self.group = Group::default();
        self.ended = self.place.clone();
        self.queue.push_back(Change::Commit { position: self.safe(), age: age(timestamp) });
    }

    fn idle(&mut self) {
        self.queue.push_back(Change::Commit { position: self.safe(), age: Duration::ZERO });
    }

    /// From where a resumed run sees everything that has not been delivered.
    fn safe(&self) -> Position {
        self.prepared
            .values()
            .min_by_key(|prepared| prepared.order)
            .map_or_else(|| self.ended.position(), |prepared| prepared.before.clone())
    }

    fn query(&mut self, data: &[u8], text: Option<&[u8]>, timestamp: u32) -> Result<()> {
        let mut wire = Wire(data);
        wire.take(8)?;
        let schema_length = usize::from(wire.byte()?);
        wire.take(2)?;
        let status = wire.length(2)?;
        wire.take(status)?;
        let schema = String::from_utf8_lossy(wire.take(schema_length)?).into_owned();
        wire.byte()?;
        let statement = String::from_utf8_lossy(text.unwrap_or(wire.0)).into_owned();
        match meaning(&statement, &schema, &self.config.original) {
            Meaning::Begin | Meaning::Inside => {}
            Meaning::End => self.end(timestamp),
            Meaning::XaStart => self.group.xa = true,
            Meaning::XaEnd(xid) => {
                if let Some(prepared) = self.prepared.remove(&xid) {
                    self.keys.extend(prepared.keys);
                }
                self.end(timestamp);
            }
            Meaning::Alone => {
                if self.group.alone || self.group.gtid.is_some() || self.keys.is_empty() {
                    self.end(timestamp);
                }
            }
            Meaning::Foreign(what) => self.foreign(&what),
        }
        Ok(())
    }

    fn compressed_query(&mut self, data: Wire<'_>, timestamp: u32) -> Result<()> {
        let mut wire = data;
        wire.take(8)?;
        let schema_length = usize::from(wire.byte()?);
        wire.take(2)?;
        let status = wire.length(2)?;
        wire.take(status + schema_length + 1)?;
        let text = rows::unpack(wire)?;
        self.query(data.0, Some(&text), timestamp)
    }

    fn gtid(&mut self, event: &Event) -> Result<()> {
        self.begin()?;
        if event.header().event_type_raw() == 34 {
            return Ok(());
        }
        let read = event.read_event::<GtidEvent>().map_err(|error| Error::Server {
            action: "reading the binlog".into(),
            message: format!("a GTID cannot be read: {error}"),
            code: None,
        })?;
        let hex: String = read.sid().iter().map(|byte| format!("{byte:02x}")).collect();
        let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        let source = match read.tag() {
            Some(tag) => format!("{uuid}:{tag}"),
            None => uuid,
        };
        self.group.gtid = Some(Gtid::Mysql(source, read.gno()));
        Ok(())
    }

    fn mariadb_gtid(&mut self, data: &[u8], server: u32) -> Result<()> {
        self.begin()?;
        let mut wire = Wire(data);
        let sequence = wire.little(8)?;
        let domain = u32::try_from(wire.little(4)?).unwrap_or(u32::MAX);
        let flags = wire.byte()?;
        self.group.gtid = Some(Gtid::Mariadb(domain, server, sequence));
        self.group.alone = flags & 1 != 0;
        // FL_PREPARED_XA: the rows of a transaction that is only being prepared.
        self.group.xa = flags & 64 != 0;
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        if self.group.packed {
            return Err(Error::StreamGap {
                position: self.ended.position(),
                reason: "a compressed transaction could not be unpacked".into(),
            });
        }
        Ok(())
    }

    fn xa_prepare(&mut self, data: &[u8], timestamp: u32) -> Result<()> {
        let mut wire = Wire(data);
        let one_phase = wire.byte()? != 0;
        wire.take(4)?;
        let (global, branch) = (wire.length(4)?, wire.length(4)?);
        let xid = Xid { global: wire.take(global)?.to_vec(), branch: wire.take(branch)?.to_vec() };
        if !one_phase {
            let prepared = Prepared {
                keys: std::mem::take(&mut self.keys),
                before: self.safe(),
                order: self.prepared.values().map(|p| p.order + 1).max().unwrap_or(0),
            };
            self.prepared.insert(xid, prepared);
        }
        self.end(timestamp);
        Ok(())
    }
}

/// Whether an event's table is `name`. Servers with lower_case_table_names = 1 log lower case.
fn same(schema: &str, table: &str, name: &TableName) -> bool {
    table == name.table.as_str() && schema == name.schema.as_str()
}

/// How old a transaction is; the clocks of both machines are taken to agree.
fn age(timestamp: u32) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(u64::from(timestamp) + 1))
}
