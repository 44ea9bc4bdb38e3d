//! What servers send: events of the binary log, messages of `pgoutput`, and the positions that the
//! ledger keeps of them.

use osc::engine::backend::Change;
use osc::mysql::binlog::fuzzing as binlog;
use osc::postgres::stream::fuzzing as pgoutput;

/// Events of a log. Every key that comes of them is one, whole.
pub(crate) fn binlog(bytes: &[u8]) {
    for told in binlog::read(bytes) {
        for change in &told.changes {
            match change {
                Change::Keys(keys) | Change::ShadowKeys(keys) => {
                    let whole = |key| binlog::is_key(&told.columns, key);
                    assert!(keys.iter().all(whole), "{:?}", told.columns);
                    let _ = keys.first().map(|key| told.columns.describe(key));
                }
                Change::Commit { position, .. } => {
                    assert_eq!(binlog::position(&position.0).as_ref(), Some(position));
                }
                Change::Marker(_) | Change::Foreign(_) => {}
            }
        }
    }
}

/// A statement of the log. White space around it changes nothing.
pub(crate) fn binlog_statement(bytes: &[u8]) {
    let (database, sql) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (&b"fuzz"[..], bytes),
    };
    let meant = binlog::statement(database, sql);
    let spaced = [b" ", sql].concat();
    assert_eq!(binlog::statement(database, &spaced), meant);
}

/// A position, as the ledger keeps it: MySQL's and MariaDB's, or GTIDs alone.
pub(crate) fn position(bytes: &[u8]) {
    let Some(text) = super::text(bytes) else { return };
    let quoted = format!("{text:?}");
    for text in [
        text.to_owned(),
        format!(r#"{{"server":"s","file":"f","offset":4,"gtid":{{"mysql":{quoted}}}}}"#),
        format!(r#"{{"server":"s","file":"f","offset":4,"gtid":{{"mariadb":{quoted}}}}}"#),
    ] {
        if let Some(written) = binlog::position(&text) {
            assert_eq!(binlog::position(&written.0), Some(written));
        }
    }
}

/// Messages of `pgoutput`. Every key that comes of them is one, whole.
pub(crate) fn pgoutput(bytes: &[u8]) {
    let Some(told) = pgoutput::read(bytes) else { return };
    for change in &told.changes {
        let Change::Keys(keys) = change else { continue };
        for key in keys {
            let values = told.columns.decode(key).expect("a key of these columns");
            let texts: Vec<Option<&str>> = values.iter().map(|text| Some(text.as_str())).collect();
            assert_eq!(told.columns.encode(&texts).ok().as_ref(), Some(key));
            let literals = told.columns.literals(key).expect("literals of a key");
            assert_eq!(literals.len(), told.columns.0.len());
        }
    }
}
