//! Asking a server for its log: the session, the place, and what the server's refusals mean.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, Conn, OptsBuilder, Row};
use rand::Rng;

use super::StreamConfig;
use super::changes::{Clock, Prepared};
use super::position::Place;
use super::query::Watch;
use crate::error::{Error, Result};
use crate::key::Position;
use crate::mysql::catalog::key::KeyValue;
use crate::mysql::connection::answer::Answers as _;
use crate::mysql::connection::connect::connect;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::connection::session::run;
use crate::mysql::connection::version::Flavor;
use crate::mysql::gtid::Gtids;
use crate::mysql::name::{Ident, TableName, Text};

/// How often the server says that it has nothing to say.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long the server waits for a stream that is not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(600);

/// The largest packet that the protocol has. An update's event holds two rows, so it can be larger
/// than the server's `max_allowed_packet`.
const LARGEST_PACKET: usize = 1 << 30;

/// "Got fatal error from master when reading data from binary log".
const CANNOT_READ_LOG: u16 = 1236;

/// The error that the stream ended with, when all up to `place` was delivered.
pub(super) fn ended(place: &Place, error: mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Server(server) if server.code == CANNOT_READ_LOG => {
            match place.position() {
                Ok(position) => Error::StreamGap { position, reason: server.message.clone() },
                Err(error) => error,
            }
        }
        _ => connection_error("reading the binary log", error),
    }
}

async fn row(conn: &mut Conn, action: &str, sql: &str) -> Result<Option<Row>> {
    conn.query_first(sql).await.map_err(|error| connection_error(action, error))
}

async fn text(conn: &mut Conn, action: &str, sql: &str) -> Result<String> {
    let row = row(conn, action, sql).await?;
    Ok(row.and_then(|row| column(&row, 0)).unwrap_or_default())
}

pub(super) fn column(row: &Row, at: usize) -> Option<String> {
    row.get_opt::<Option<String>, _>(at)?.ok()?
}

/// Who this server is: what its file names and offsets belong to.
pub(super) async fn identity(conn: &mut Conn, flavor: Flavor) -> Result<String> {
    let sql = if flavor.is_mariadb() {
        "SELECT CONCAT(@@GLOBAL.hostname, ':', @@GLOBAL.port, '/', @@GLOBAL.server_id)"
    } else {
        "SELECT @@GLOBAL.server_uuid"
    };
    text(conn, "asking who the server is", sql).await
}

async fn numbers_transactions(conn: &mut Conn) -> Result<bool> {
    let mode = text(conn, "reading gtid_mode", "SELECT @@GLOBAL.gtid_mode").await?;
    Ok(mode.eq_ignore_ascii_case("ON"))
}

/// The end of the server's binary log now. By GTID where the server has them: MySQL with
/// `gtid_mode=ON`, MariaDB.
///
/// Needs REPLICATION CLIENT (MariaDB: BINLOG MONITOR). Fails with `Server` where the binary log is
/// off or the privilege is missing.
pub async fn current_position(conn: &mut Conn, flavor: Flavor) -> Result<Position> {
    const ACTION: &str = "reading the position in the binary log";
    let sql = if !flavor.is_mariadb() && flavor.at_least(8, 2, 0) {
        "SHOW BINARY LOG STATUS"
    } else {
        "SHOW MASTER STATUS"
    };
    let unreadable = || Error::server(ACTION, "the server has no binary log (log_bin is off)");
    let row = row(conn, ACTION, sql).await?.ok_or_else(unreadable)?;
    let file = column(&row, 0).ok_or_else(unreadable)?;
    let offset = column(&row, 1).and_then(|text| text.parse().ok()).ok_or_else(unreadable)?;
    let internal = |text: String| Error::Internal(format!("the server's GTIDs: {text}"));
    let gtid = if flavor.is_mariadb() {
        // Of this very place, which @@gtid_binlog_pos a moment later need not be.
        let sql = format!("SELECT BINLOG_GTID_POS({}, {offset})", Text(&file));
        Gtids::Mariadb(text(conn, ACTION, &sql).await?.parse().map_err(internal)?)
    } else if numbers_transactions(conn).await? {
        Gtids::Mysql(column(&row, 4).unwrap_or_default().parse().map_err(internal)?)
    } else {
        Gtids::Off
    };
    Place { server: identity(conn, flavor).await?, file, offset, gtid }.position()
}

/// Opens a session, sets what the stream must be like and learns what it is about.
pub(super) async fn prepare(config: &StreamConfig) -> Result<(Conn, Prepared)> {
    const ACTION: &str = "preparing to read the binary log";
    let opts = OptsBuilder::from_opts(config.opts.clone())
        // A server on this machine would be spoken to through its socket, past TLS and proxies.
        .prefer_socket(false)
        .max_allowed_packet(Some(LARGEST_PACKET));
    let mut conn = connect(&opts.into(), "connecting to read the binary log").await?;
    let heartbeat = HEARTBEAT.as_nanos();
    let mut settings = format!(
        "SET @master_heartbeat_period = {heartbeat}, @source_heartbeat_period = {heartbeat}, \
         @master_binlog_checksum = @@GLOBAL.binlog_checksum, \
         @source_binlog_checksum = @@GLOBAL.binlog_checksum, \
         SESSION net_write_timeout = {}, SESSION time_zone = '+00:00'",
        WRITE_TIMEOUT.as_secs()
    );
    if config.flavor.is_mariadb() {
        // 4: GTID events as they are. Lower, and the server rewrites what it thinks we cannot read.
        settings.push_str(", @mariadb_slave_capability = 4");
    }
    run(&mut conn, ACTION, settings).await?;

    let asked = Instant::now();
    let now =
        text(&mut conn, ACTION, "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS UNSIGNED)")
            .await?;
    let here = asked + asked.elapsed() / 2;
    let there =
        now.parse().map_err(|_| Error::Internal(format!("the server's time is {now:?}")))?;
    let watch = watch(&mut conn, config).await?;
    let defaults = defaults(&mut conn, config).await?;
    Ok((conn, Prepared { watch, clock: Clock { here, there }, defaults }))
}

async fn watch(conn: &mut Conn, config: &StreamConfig) -> Result<Watch> {
    const ACTION: &str = "looking at what surrounds the table";
    let case = text(conn, ACTION, "SELECT @@GLOBAL.lower_case_table_names").await?;
    refuse_old_times(conn, &config.original).await?;
    let pairs = |rows: Vec<(String, String)>| {
        rows.into_iter().map(|(schema, name)| (schema.to_lowercase(), name.to_lowercase()))
    };
    let (schema, table) = (&config.original.schema, &config.original.table);
    let triggers = format!(
        "SELECT trigger_name, event_object_table FROM information_schema.triggers \
         WHERE event_object_schema = {} AND event_object_table = {}",
        Text(schema.as_str()),
        Text(table.as_str())
    );
    let triggers: Vec<(String, String)> =
        conn.all(triggers).await.map_err(|error| connection_error(ACTION, error))?;
    let others: Vec<(String, String)> = conn
        .all(
            "SELECT table_schema, table_name FROM information_schema.tables \
             WHERE table_type = 'VIEW' AND table_schema <> 'sys' \
             UNION SELECT event_object_schema, event_object_table \
             FROM information_schema.triggers",
        )
        .await
        .map_err(|error| connection_error(ACTION, error))?;
    Ok(Watch {
        flavor: config.flavor,
        original: config.original.clone(),
        fold_case: case != "0",
        triggers: pairs(triggers).map(|(name, _)| name).collect(),
        opaque: pairs(others).collect::<HashSet<_>>(),
    })
}

/// The literal defaults of the key's columns, of which a table without rows tells none. Defaults
/// that are expressions are not needed: what they gave is always logged.
async fn defaults(conn: &mut Conn, config: &StreamConfig) -> Result<Vec<Option<KeyValue>>> {
    const ACTION: &str = "reading the defaults of the key's columns";
    let sql = format!(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = {} \
         AND table_name = {} AND column_default IS NOT NULL AND extra NOT LIKE '%DEFAULT_GENERATED%'",
        Text(config.original.schema.as_str()),
        Text(config.original.table.as_str())
    );
    let names: Vec<String> =
        conn.all(sql).await.map_err(|error| connection_error(ACTION, error))?;
    let mut defaults = Vec::with_capacity(config.key.0.len());
    for column in &config.key.0 {
        if !names.iter().any(|name| column.name.same(&Ident::new(name.as_str()))) {
            defaults.push(None);
            continue;
        }
        let value = column.select_as(&format!("DEFAULT({})", column.name));
        let sql = format!("SELECT {value} FROM {} LIMIT 1", config.original);
        let row = row(conn, ACTION, &sql).await?.and_then(|row| self::column(&row, 0));
        defaults.push(row.map(|text| column.value(&text)).transpose()?);
    }
    Ok(defaults)
}

/// MariaDB's times from before version 10.1 with digits after the seconds are logged without
/// saying how many there are: their rows cannot be read.
async fn refuse_old_times(conn: &mut Conn, table: &TableName) -> Result<()> {
    let sql = format!(
        "SELECT GROUP_CONCAT(column_name) FROM information_schema.columns \
         WHERE table_schema = {} AND table_name = {} \
         AND column_type LIKE '%mariadb-5.3%' AND datetime_precision > 0",
        Text(table.schema.as_str()),
        Text(table.table.as_str())
    );
    let columns = text(conn, "looking for old column formats", &sql).await?;
    if columns.is_empty() {
        return Ok(());
    }
    Err(Error::server(
        "opening the change stream",
        format!(
            "{} has columns in the old format of times (mysql56_temporal_format=OFF): {columns}; \
             ALTER TABLE {table} FORCE renews them",
            table.plain()
        ),
    ))
}

/// Begins the stream after `place`.
pub(super) async fn request(
    mut conn: Conn,
    flavor: Flavor,
    place: &Place,
) -> Result<mysql_async::BinlogStream> {
    let by_gtid = match &place.gtid {
        Gtids::Off => false,
        Gtids::Mysql(_) => !flavor.is_mariadb() && numbers_transactions(&mut conn).await?,
        Gtids::Mariadb(list) => flavor.is_mariadb() && !list.is_empty(),
    };
    if !by_gtid {
        let gap = |reason| Ok::<_, Error>(Error::StreamGap { position: place.position()?, reason });
        let server = identity(&mut conn, flavor).await?;
        if server != place.server {
            return Err(gap(format!(
                "it is a place in the log of the server {}, this is {server}",
                place.server
            ))?);
        }
        if u32::try_from(place.offset).is_err() {
            return Err(gap(
                "it is beyond 4 GiB in its file, where a stream without GTIDs cannot begin".into(),
            )?);
        }
    }
    let id = rand::rng().random_range(0x8000_0000..=u32::MAX);
    let request = BinlogStreamRequest::new(id).with_hostname(b"osc");
    let request = match &place.gtid {
        Gtids::Mysql(set) if by_gtid => {
            request.with_gtid().with_pos(4).with_gtid_set(set.request())
        }
        Gtids::Mariadb(list) if by_gtid => {
            let state = list.to_string();
            conn.query_drop(format!(
                "SET @slave_connect_state = {}, @slave_gtid_strict_mode = 1, \
                 @slave_gtid_ignore_duplicates = 0",
                Text(&state)
            ))
            .await
            .map_err(|error| connection_error("asking for a place in the binary log", error))?;
            request.with_pos(4)
        }
        _ => request.with_filename(place.file.as_bytes()).with_pos(place.offset),
    };
    conn.get_binlog_stream(request).await.map_err(|error| ended(place, error))
}
