//! Places in the binlog: by file and offset on the server that wrote it, by GTID on any other.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Sid};
use serde::{Deserialize, Serialize};

use crate::engine::key::Position;
use crate::engine::{Error, Result};
use crate::mysql::connect::connection_error;
use crate::mysql::flavor::Flavor;
use crate::mysql::rows::texts;

/// A place in the binlog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Who wrote the file.
    pub server: String,
    /// The file.
    pub file: String,
    /// The offset in it, counted in 64 bits: events carry 32.
    pub offset: u64,
    /// All transactions up to here by GTID, where the server has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gtids: Option<Gtids>,
}

/// A set of transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Gtids {
    /// MySQL: intervals for each source (with its tag).
    Mysql(MysqlSet),
    /// MariaDB: for each domain the last server and sequence.
    Mariadb(BTreeMap<u32, (u32, u64)>),
}

/// MySQL's GTID set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct MysqlSet(BTreeMap<String, Vec<(u64, u64)>>);

impl MysqlSet {
    /// Reads `uuid:1-5:7,uuid:tag:1-3`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut set = Self::default();
        for group in text.split(',').map(str::trim).filter(|group| !group.is_empty()) {
            let mut parts = group.split(':').map(str::trim);
            let uuid = parts.next()?.to_lowercase();
            let mut source = uuid.clone();
            for part in parts {
                if !part.starts_with(|c: char| c.is_ascii_digit()) {
                    source = format!("{uuid}:{part}");
                    continue;
                }
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                set.0.entry(source.clone()).or_default().push((first, last));
            }
        }
        Some(set)
    }

    /// Adds one transaction.
    pub(super) fn add(&mut self, source: &str, number: u64) {
        let intervals = match self.0.get_mut(source) {
            Some(intervals) => intervals,
            None => self.0.entry(source.to_owned()).or_default(),
        };
        match intervals.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => {
                let at = intervals.partition_point(|(first, _)| *first <= number);
                let known = at > 0 && intervals[at - 1].1 >= number;
                if !known {
                    intervals.insert(at, (number, number));
                    merge(intervals);
                }
            }
        }
    }

    /// The set in the driver's form.
    pub(super) fn sids(&self) -> Result<Vec<Sid<'static>>> {
        self.0
            .iter()
            .filter(|(_, intervals)| !intervals.is_empty())
            .map(|(source, intervals)| {
                let mut text = source.clone();
                for (first, last) in intervals {
                    let _ = write!(text, ":{first}-{last}");
                }
                text.parse::<Sid<'_>>()
                    .map_err(|error| Error::Internal(format!("a GTID set: {error}")))
            })
            .collect()
    }
}

fn merge(intervals: &mut Vec<(u64, u64)>) {
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(intervals.len());
    for (first, last) in intervals.drain(..) {
        match merged.last_mut() {
            Some((_, end)) if *end + 1 >= first => *end = (*end).max(last),
            _ => merged.push((first, last)),
        }
    }
    *intervals = merged;
}

/// Reads MariaDB's `domain-server-sequence` list.
pub(super) fn mariadb_set(text: &str) -> Option<BTreeMap<u32, (u32, u64)>> {
    text.split(',')
        .map(str::trim)
        .filter(|gtid| !gtid.is_empty())
        .map(|gtid| {
            let mut parts = gtid.split('-');
            let domain = parts.next()?.parse().ok()?;
            let server = parts.next()?.parse().ok()?;
            Some((domain, (server, parts.next()?.parse().ok()?)))
        })
        .collect()
}

/// Writes MariaDB's list.
pub(super) fn mariadb_text(set: &BTreeMap<u32, (u32, u64)>) -> String {
    let gtids: Vec<String> = set
        .iter()
        .map(|(domain, (server, sequence))| format!("{domain}-{server}-{sequence}"))
        .collect();
    gtids.join(",")
}

impl Place {
    /// Reads a checkpoint's text.
    pub(super) fn parse(position: &Position) -> Result<Self> {
        serde_json::from_str(&position.0).map_err(|error| Error::StreamGap {
            position: position.clone(),
            reason: format!("the position cannot be read: {error}"),
        })
    }

    /// The text for a checkpoint.
    pub(super) fn position(&self) -> Position {
        Position(serde_json::to_string(self).unwrap_or_default())
    }

    /// The server's place now.
    pub(super) async fn current(conn: &mut Conn, flavor: Flavor) -> Result<Self> {
        let action = "asking for the binlog's position";
        let failed = |error| connection_error(action, error);
        let new_words = !flavor.is_mariadb() && flavor.at_least(8, 2, 0);
        let sql = if new_words { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
        let status: Option<Row> = conn.query_first(sql).await.map_err(failed)?;
        let status = status.map(texts).transpose()?.unwrap_or_default();
        let (Some(file), Some(offset)) =
            (status.first(), status.get(1).and_then(|offset| offset.parse().ok()))
        else {
            return Err(Error::Server {
                action: action.into(),
                message: "the server writes no binlog".into(),
                code: None,
            });
        };
        let gtids = if flavor.is_mariadb() {
            let text: Option<String> = conn
                .exec_first("SELECT BINLOG_GTID_POS(?, ?)", (file, offset))
                .await
                .map_err(failed)?;
            text.and_then(|text| mariadb_set(&text)).map(Gtids::Mariadb)
        } else {
            let mode: Option<String> =
                conn.query_first("SELECT @@GLOBAL.gtid_mode").await.map_err(failed)?;
            (mode.as_deref() == Some("ON"))
                .then(|| status.get(4).and_then(|text| MysqlSet::parse(text)))
                .flatten()
                .map(Gtids::Mysql)
        };
        let server = identity(conn, flavor).await?;
        Ok(Self { server, file: file.clone(), offset, gtids })
    }
}

/// What tells one server's files from another's.
pub(super) async fn identity(conn: &mut Conn, flavor: Flavor) -> Result<String> {
    let sql = if flavor.is_mariadb() {
        "SELECT CONCAT_WS('/', @@hostname, @@port, @@datadir, @@server_id)"
    } else {
        "SELECT @@server_uuid"
    };
    let identity: Option<String> = conn
        .query_first(sql)
        .await
        .map_err(|error| connection_error("asking for the server's identity", error))?;
    Ok(identity.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn sets_with_tags_are_read() {
        let set = MysqlSet::parse(&format!("{UUID}:1-5:7:blue:3,\n{}:1", UUID.to_uppercase()));
        let set = set.unwrap();
        assert_eq!(set.0[UUID], vec![(1, 5), (7, 7), (1, 1)]);
        assert_eq!(set.0[&format!("{UUID}:blue")], vec![(3, 3)]);
        assert!(MysqlSet::parse("x:y-z").is_some_and(|set| set.0.is_empty()));
        assert!(MysqlSet::parse(&format!("{UUID}:1-z")).is_none());
    }

    #[test]
    fn the_drivers_form_is_the_same_set() {
        let set = MysqlSet::parse(&format!("{UUID}:1-5:7:blue:3")).unwrap();
        let sids: Vec<String> = set.sids().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(sids, [format!("{UUID}:1-5:7"), format!("{UUID}:blue:3")]);
    }

    #[test]
    fn mariadb_positions_are_read_and_written() {
        let set = mariadb_set("0-1-5,2-3-9").unwrap();
        assert_eq!(set[&2], (3, 9));
        assert_eq!(mariadb_text(&set), "0-1-5,2-3-9");
        assert!(mariadb_set("0-1").is_none());
        assert!(mariadb_set("").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn added_numbers_are_in_the_set_once(mut numbers in prop::collection::vec(1..60_u64, 0..80)) {
            let mut set = MysqlSet::default();
            for number in &numbers {
                set.add("s", *number);
            }
            numbers.sort_unstable();
            numbers.dedup();
            let held: Vec<u64> = set.0.get("s").into_iter().flatten().flat_map(|(a, b)| *a..=*b).collect();
            prop_assert_eq!(held, numbers);
        }
    }
}
