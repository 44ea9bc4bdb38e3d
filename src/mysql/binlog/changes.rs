//! From the log's events to the engine's changes: what a transaction is, and what in it is ours.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mysql_common::binlog::events::{Event, GtidEvent};

use super::bytes::Malformed;
use super::event::Head;
use super::position::Place;
use super::query::{QueryEvent, Statement, Watch};
use super::rows::{Images, RowsEvent};
use super::shadow::{Shadow, is_signature};
use super::since::Passage;
use super::table::TableMap;
use super::tables::{Role, Tables};
use super::xa::{PrepareEvent, PreparedList, Touched, Xid};
use super::{StreamConfig, event, mariadb, shadow};
use crate::engine::backend::Change;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::mysql::catalog::key::{KeyColumns, KeyValue};
use crate::mysql::gtid::{Gtid, Gtids};
use crate::mysql::name::TableName;
use crate::testing::mutation::{self, Rule};

/// Keys in one [`Change::Keys`] at most.
const KEYS_AT_ONCE: usize = 4096;

/// Transactions of other tables are reported together: after [`QUIET`], or [`QUIET_COUNT`] of them.
const QUIET: Duration = Duration::from_millis(50);
const QUIET_COUNT: u32 = 500;

/// The largest compressed transaction that is unpacked, which the driver does in memory.
const PAYLOAD_LIMIT: u64 = 4 << 30;

/// The server's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// A moment here,
    pub(super) here: Instant,
    /// and what the server's clock showed then, in microseconds since 1970.
    pub(super) there: u64,
}

impl Clock {
    fn since(self, micros: u64) -> Duration {
        Duration::from_micros(self.there)
            .saturating_add(self.here.elapsed())
            .saturating_sub(Duration::from_micros(micros))
    }
}

/// What a session found out before the stream began.
#[derive(Debug)]
pub(super) struct Prepared {
    /// What is watched.
    pub(super) watch: Watch,
    /// The server's clock.
    pub(super) clock: Clock,
    /// The defaults of the key's columns, as far as they have any.
    pub(super) defaults: Vec<Option<KeyValue>>,
}

/// The transaction being read.
#[derive(Debug, Default)]
struct Transaction {
    /// Whether its end will come by an event of its own.
    open: bool,
    gtid: Option<NextGtid>,
    /// When it was committed, by the server's clock, in microseconds since 1970.
    committed: Option<u64>,
    /// Whether it is an XA transaction, whose rows count only after it was prepared and committed.
    xa: bool,
    touched: Touched,
    markers: Vec<u64>,
    /// Whether osc has signed it, and what follows in the shadow is its own.
    signed: bool,
    /// Whether it is reported at once.
    ours: bool,
}

#[derive(Debug)]
enum NextGtid {
    Mysql { server: [u8; 16], tag: String, number: u64 },
    Mariadb(Gtid),
}

/// Reads events, in order, and makes changes of them.
#[derive(Debug)]
pub(super) struct Changes {
    watch: Watch,
    ledger: TableName,
    run: i64,
    key: KeyColumns,
    shadow: Option<Shadow>,
    passage: Passage,
    opts: mysql_async::Opts,
    clock: Clock,
    tables: Tables,
    transaction: Transaction,
    prepared: PreparedList,
    /// The end of the last transaction.
    place: Place,
    /// The end of the last event.
    end: u64,
    /// Bytes of events that a compressed transaction still holds.
    payload: Option<u64>,
    ready: VecDeque<Change>,
    reported: Instant,
    unreported: u32,
}

impl Changes {
    /// Reads on from `place`.
    pub(super) fn new(config: &StreamConfig, prepared: Prepared, place: Place) -> Self {
        let Prepared { watch, clock, defaults } = prepared;
        Self {
            watch,
            ledger: config.ledger.clone(),
            run: config.run,
            key: config.key.clone(),
            shadow: config.shadow.clone(),
            passage: Passage::new(config.since.clone(), place.clone()),
            opts: config.opts.clone(),
            clock,
            tables: Tables::new(config, defaults),
            transaction: Transaction::default(),
            prepared: PreparedList::default(),
            end: place.offset,
            place,
            payload: None,
            ready: VecDeque::new(),
            reported: clock.here,
            unreported: 0,
        }
    }

    /// The next change, if there is one.
    pub(super) fn pop(&mut self) -> Option<Change> {
        self.ready.pop_front()
    }

    /// The end of the last transaction.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Reads one event.
    pub(super) fn read(&mut self, event: &Event) -> Result<()> {
        let head = Head::of(event);
        let Some(left) = self.payload else {
            if !head.artificial() && head.kind != event::HEARTBEAT && head.kind != event::ROTATE {
                Place::advance(&mut self.end, head.end);
            }
            return self.dispatch(head, event.data(), event);
        };
        let size = u64::from(head.size);
        if size == 0 || size > left || event::never_compressed(head.kind) {
            return Err(lost_payload(left));
        }
        self.dispatch(head, event.data(), event)?;
        self.payload = Some(left - size).filter(|left| *left > 0);
        if self.payload.is_none() && self.transaction.open {
            return Err(Malformed("a compressed transaction has no end".into()).into());
        }
        Ok(())
    }

    fn dispatch(&mut self, head: Head, body: &[u8], raw: &Event) -> Result<()> {
        match head.kind {
            event::TABLE_MAP => self.table_map(body)?,
            event::WRITE_ROWS | event::WRITE_ROWS_V1 => {
                self.rows(body, Images::After, head, false)?;
            }
            event::UPDATE_ROWS | event::UPDATE_ROWS_V1 => {
                self.rows(body, Images::Both, head, false)?;
            }
            event::DELETE_ROWS | event::DELETE_ROWS_V1 => {
                self.rows(body, Images::Before, head, false)?;
            }
            event::PARTIAL_UPDATE_ROWS => self.rows(body, Images::BothPartial, head, false)?,
            event::MARIADB_WRITE_ROWS | event::MARIADB_WRITE_ROWS_V1 => {
                self.rows(body, Images::After, head, true)?;
            }
            event::MARIADB_UPDATE_ROWS | event::MARIADB_UPDATE_ROWS_V1 => {
                self.rows(body, Images::Both, head, true)?;
            }
            event::MARIADB_DELETE_ROWS | event::MARIADB_DELETE_ROWS_V1 => {
                self.rows(body, Images::Before, head, true)?;
            }
            event::QUERY => self.statement(QueryEvent::parse(body, 0)?, head)?,
            event::MARIADB_QUERY => {
                let packed = QueryEvent::parse(body, 0)?;
                let plain = mariadb::decompress(packed.sql)?;
                self.statement(QueryEvent { sql: &plain, ..packed }, head)?;
            }
            event::EXECUTE_LOAD_QUERY => {
                self.statement(QueryEvent::parse(body, event::LOAD_EXTRA)?, head)?;
            }
            event::XID => self.finish(head, None)?,
            event::XA_PREPARE => {
                let event = PrepareEvent::parse(body)?;
                self.finish(head, Some(event.xid).filter(|_| !event.one_phase))?;
            }
            event::GTID | event::ANONYMOUS_GTID | event::GTID_TAGGED => self.begin_mysql(raw)?,
            event::MARIADB_GTID => {
                let gtid = mariadb::GtidEvent::parse(head.server, body)?;
                self.transaction = Transaction {
                    open: !gtid.standalone,
                    xa: gtid.prepared,
                    gtid: Some(NextGtid::Mariadb(gtid.gtid)),
                    ..Transaction::default()
                };
            }
            event::ROTATE => self.rotate(head, body)?,
            event::HEARTBEAT => self.report(Duration::ZERO)?,
            event::TRANSACTION_PAYLOAD => {
                let size = event::payload_size(body)?;
                if size > PAYLOAD_LIMIT {
                    return Err(Malformed(format!(
                        "a compressed transaction of {size} bytes is larger than osc reads"
                    ))
                    .into());
                }
                self.payload = Some(size);
            }
            event::INCIDENT => {
                return Err(Error::StreamGap {
                    position: self.place.position()?,
                    reason: "the server logged an incident: changes may be missing".into(),
                });
            }
            kind if event::carries_nothing(kind) || head.ignorable() => {}
            kind => {
                return Err(Malformed(format!(
                    "an event of type {kind} after {}:{} is unknown to osc",
                    self.place.file, self.end
                ))
                .into());
            }
        }
        Ok(())
    }

    fn begin_mysql(&mut self, raw: &Event) -> Result<()> {
        let event = raw
            .read_event::<GtidEvent>()
            .map_err(|error| Malformed(format!("a GTID event cannot be read: {error}")))?;
        let anonymous = raw.header().event_type_raw() == event::ANONYMOUS_GTID;
        if anonymous && matches!(self.place.gtid, Gtids::Mysql(_)) {
            return Err(Error::StreamGap {
                position: self.place.position()?,
                reason: "gtid_mode was switched: a transaction has no GTID".into(),
            });
        }
        let named = if anonymous {
            None
        } else {
            Some(NextGtid::Mysql {
                server: event.sid(),
                tag: event.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default(),
                number: event::gtid_number(event.gno())?,
            })
        };
        self.transaction = Transaction {
            gtid: named,
            committed: Some(event.immediate_commit_timestamp()).filter(|micros| *micros > 0),
            ..Transaction::default()
        };
        Ok(())
    }

    fn rotate(&mut self, head: Head, body: &[u8]) -> Result<()> {
        let (file, offset) = event::rotation(body)?;
        if !head.artificial() || file != self.place.file {
            self.tables.forget();
        }
        self.place.file = file;
        self.place.offset = offset;
        self.end = offset;
        Ok(())
    }

    fn table_map(&mut self, body: &[u8]) -> Result<()> {
        let map = TableMap::parse(body)?;
        let role = if self.watch.is(&self.ledger, map.schema, map.table) {
            Role::Ledger
        } else if !self.passage.reads() {
            Role::Other
        } else if self.watch.is(&self.watch.original, map.schema, map.table) {
            Role::Original
        } else if self.strangers().is_some_and(|it| self.watch.is(&it.name, map.schema, map.table))
        {
            Role::Shadow
        } else {
            Role::Other
        };
        if let Some(obstacle) = self.tables.map(&map, role)? {
            let table = String::from_utf8_lossy(map.table);
            self.ready.push_back(Change::Foreign(format!("{table} was changed: {obstacle}")));
        }
        Ok(())
    }

    fn rows(&mut self, body: &[u8], images: Images, head: Head, packed: bool) -> Result<()> {
        let event = RowsEvent::parse(body, images, event::extended(head.kind))?;
        let role = match self.tables.role(event.table) {
            Some(Role::Other) => return Ok(()),
            Some(Role::Original)
                if mutation::active(Rule::CompressedRead) && (packed || self.payload.is_some()) =>
            {
                return Ok(());
            }
            Some(role) => role,
            // A number that stands for no table: it only ends a statement.
            None if matches!(event.table, 0xff_ffff | 0xffff_ffff_ffff) => return Ok(()),
            None => {
                return Err(Malformed(format!(
                    "rows of the unknown table {} after {}:{}: the stream began inside a \
                     transaction",
                    event.table, self.place.file, self.end
                ))
                .into());
            }
        };
        let layout = self.tables.layout(role)?;
        let plain;
        let rows = if packed {
            plain = mariadb::decompress(event.rows)?;
            &plain
        } else {
            event.rows
        };
        let (transaction, ready) = (&mut self.transaction, &mut self.ready);
        if role == Role::Ledger {
            let (own, passage) = (self.run, &mut self.passage);
            return layout.read(&event, rows, |_, after| {
                let Some([KeyValue::Int(of), KeyValue::UInt(marker)]) = after else {
                    return Ok(());
                };
                ready.extend(passage.passes(*of, *marker, own).map(Change::Foreign));
                if *of == own {
                    if is_signature(*marker) {
                        transaction.signed = true;
                    } else {
                        transaction.ours = true;
                        transaction.markers.push(*marker);
                    }
                    if let Some(shadow) = &self.shadow {
                        shadow.watch.passes(*marker);
                    }
                }
                Ok(())
            });
        }
        transaction.ours = true;
        if role == Role::Shadow {
            let keys = &mut transaction.touched.shadow;
            let impossible = shadow::read_keys(layout, &event, rows, &self.key, keys)?;
            ready.extend(impossible.map(Change::Foreign));
            if keys.len() >= KEYS_AT_ONCE && !transaction.xa {
                ready.push_back(Change::ShadowKeys(std::mem::take(keys)));
            }
            return Ok(());
        }
        let keys = &mut transaction.touched.original;
        layout.read(&event, rows, |before, after| {
            if let Some(before) = before
                && (after.is_none() || !mutation::active(Rule::BothKeys))
            {
                keys.push(layout.key().encode(before)?);
            }
            if let Some(after) = after
                && (before != Some(after) || mutation::active(Rule::BothKeys))
            {
                keys.push(layout.key().encode(after)?);
            }
            if keys.len() >= KEYS_AT_ONCE && !transaction.xa {
                ready.push_back(Change::Keys(std::mem::take(keys)));
            }
            Ok::<_, Error>(())
        })
    }

    /// The shadow, where this transaction would be another session's if it wrote to it, and counts.
    fn strangers(&self) -> Option<&Shadow> {
        // What is prepared before the watch may be committed after it began.
        let Transaction { signed, xa, .. } = self.transaction;
        self.shadow.as_ref().filter(|shadow| !signed && (xa || shadow.is_watched()))
    }

    fn statement(&mut self, event: QueryEvent<'_>, head: Head) -> Result<()> {
        match self.watch.statement(&event) {
            Statement::Begin => self.transaction.open = true,
            Statement::XaStart => {
                self.transaction.open = true;
                self.transaction.xa = true;
            }
            Statement::Mark if mutation::active(Rule::GroupsWhole) => self.finish(head, None)?,
            Statement::Mark => {}
            Statement::End | Statement::XaOnePhase => self.finish(head, None)?,
            Statement::XaResolved(xid) => {
                if let Some(touched) = self.prepared.resolve(&xid) {
                    self.transaction.ours = true;
                    self.transaction.touched = touched;
                }
                self.finish(head, None)?;
            }
            Statement::Foreign(_) if mutation::active(Rule::ForeignReported) => {
                self.statement_alone(head)?;
            }
            Statement::Foreign(_) | Statement::Harmless if self.passage.knows(event.session) => {
                self.statement_alone(head)?;
            }
            Statement::Foreign(what) => {
                self.ready.push_back(Change::Foreign(what));
                self.statement_alone(head)?;
            }
            Statement::Harmless => {
                let shadow = self.shadow.as_ref();
                let what =
                    shadow.and_then(|shadow| shadow.touched(&event, &self.watch, &self.opts));
                self.ready.extend(what.map(Change::Foreign));
                self.statement_alone(head)?;
            }
        }
        Ok(())
    }

    /// The end of a statement, which is its transaction's unless one is open.
    fn statement_alone(&mut self, head: Head) -> Result<()> {
        if self.transaction.open { Ok(()) } else { self.finish(head, None) }
    }

    /// The end of a transaction; `prepared`: of an XA transaction of this name, in the log only.
    fn finish(&mut self, head: Head, prepared: Option<Xid>) -> Result<()> {
        let Transaction { gtid, committed, mut touched, markers, ours, .. } =
            std::mem::take(&mut self.transaction);
        self.tables.forget();
        if let Some(xid) = prepared
            && !mutation::active(Rule::XaAtCommit)
        {
            self.prepared.prepare(xid, std::mem::take(&mut touched), self.place.clone());
        }
        self.ready.extend(in_parts(touched.original).map(Change::Keys));
        self.ready.extend(in_parts(touched.shadow).map(Change::ShadowKeys));
        self.ready.extend(markers.into_iter().map(Change::Marker));
        self.place.offset = self.end;
        match (gtid, &mut self.place.gtid) {
            (Some(NextGtid::Mysql { server, tag, number }), Gtids::Mysql(set)) => {
                set.add(server, &tag, number);
            }
            (Some(NextGtid::Mariadb(gtid)), Gtids::Mariadb(list)) => list.set(gtid),
            _ => {}
        }
        self.unreported += 1;
        if ours || self.unreported >= QUIET_COUNT || self.reported.elapsed() >= QUIET {
            // Where the log has whole seconds only, the age is too small by up to one, not too
            // large: throttles act on it.
            let whole_second = (u64::from(head.time) + 1) * 1_000_000;
            self.report(self.clock.since(committed.unwrap_or(whole_second)))?;
        }
        Ok(())
    }

    /// Tells the place from which a new stream would miss nothing.
    fn report(&mut self, age: Duration) -> Result<()> {
        let place = self.passage.hold().or(self.prepared.hold()).unwrap_or(&self.place);
        self.ready.push_back(Change::Commit { position: place.position()?, age });
        self.reported = Instant::now();
        self.unreported = 0;
        Ok(())
    }
}

/// Keys in parts that are delivered at once.
fn in_parts(mut keys: Vec<Key>) -> impl Iterator<Item = Vec<Key>> {
    std::iter::from_fn(move || {
        let rest = keys.split_off(keys.len().min(KEYS_AT_ONCE));
        Some(std::mem::replace(&mut keys, rest)).filter(|part| !part.is_empty())
    })
}

/// The driver unpacks compressed transactions and says nothing when it cannot.
fn lost_payload(left: u64) -> Error {
    Malformed(format!("a compressed transaction could not be unpacked: {left} bytes are missing"))
        .into()
}
