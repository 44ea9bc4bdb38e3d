//! Event types and the small events, as both servers number and write them.

use mysql_common::binlog::events::Event;

use super::bytes::{Bytes, Malformed, Read};

pub(super) const QUERY: u8 = 2;
pub(super) const STOP: u8 = 3;
pub(super) const ROTATE: u8 = 4;
pub(super) const INTVAR: u8 = 5;
pub(super) const RAND: u8 = 13;
pub(super) const USER_VAR: u8 = 14;
pub(super) const FORMAT_DESCRIPTION: u8 = 15;
pub(super) const XID: u8 = 16;
pub(super) const BEGIN_LOAD_QUERY: u8 = 17;
pub(super) const APPEND_BLOCK: u8 = 9;
pub(super) const DELETE_FILE: u8 = 11;
pub(super) const EXECUTE_LOAD_QUERY: u8 = 18;
pub(super) const TABLE_MAP: u8 = 19;
pub(super) const WRITE_ROWS_V1: u8 = 23;
pub(super) const UPDATE_ROWS_V1: u8 = 24;
pub(super) const DELETE_ROWS_V1: u8 = 25;
pub(super) const INCIDENT: u8 = 26;
pub(super) const HEARTBEAT: u8 = 27;
pub(super) const ROWS_QUERY: u8 = 29;
pub(super) const WRITE_ROWS: u8 = 30;
pub(super) const UPDATE_ROWS: u8 = 31;
pub(super) const DELETE_ROWS: u8 = 32;
pub(super) const GTID: u8 = 33;
pub(super) const ANONYMOUS_GTID: u8 = 34;
pub(super) const PREVIOUS_GTIDS: u8 = 35;
pub(super) const TRANSACTION_CONTEXT: u8 = 36;
pub(super) const VIEW_CHANGE: u8 = 37;
pub(super) const XA_PREPARE: u8 = 38;
pub(super) const PARTIAL_UPDATE_ROWS: u8 = 39;
pub(super) const TRANSACTION_PAYLOAD: u8 = 40;
pub(super) const GTID_TAGGED: u8 = 42;
pub(super) const MARIADB_ANNOTATE_ROWS: u8 = 0xa0;
pub(super) const MARIADB_BINLOG_CHECKPOINT: u8 = 0xa1;
pub(super) const MARIADB_GTID: u8 = 0xa2;
pub(super) const MARIADB_GTID_LIST: u8 = 0xa3;
pub(super) const MARIADB_START_ENCRYPTION: u8 = 0xa4;
pub(super) const MARIADB_QUERY: u8 = 165;
pub(super) const MARIADB_WRITE_ROWS_V1: u8 = 166;
pub(super) const MARIADB_UPDATE_ROWS_V1: u8 = 167;
pub(super) const MARIADB_DELETE_ROWS_V1: u8 = 168;
pub(super) const MARIADB_WRITE_ROWS: u8 = 169;
pub(super) const MARIADB_UPDATE_ROWS: u8 = 170;
pub(super) const MARIADB_DELETE_ROWS: u8 = 171;

/// What an EXECUTE_LOAD_QUERY event has before its status variables that a QUERY event has not.
pub(super) const LOAD_EXTRA: usize = 4 + 4 + 4 + 1;

/// What stands before every event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// The event's type.
    pub(super) kind: u8,
    /// When its statement began, in seconds since 1970 by the server's clock.
    pub(super) time: u32,
    /// Who logged it first.
    pub(super) server: u32,
    /// Its bytes, head and checksum included.
    pub(super) size: u32,
    /// The low 32 bits of the offset of its end in its file.
    pub(super) end: u32,
    flags: u16,
}

impl Head {
    /// An event's head.
    pub(super) fn of(event: &Event) -> Self {
        let header = event.header();
        Self {
            kind: header.event_type_raw(),
            time: header.timestamp(),
            server: header.server_id(),
            size: header.event_size(),
            end: header.log_pos(),
            flags: header.flags_raw(),
        }
    }

    /// Whether the server made it for this stream: it is not in the file.
    pub(super) fn artificial(self) -> bool {
        self.flags & 0x20 != 0 || self.end == 0
    }

    /// Whether who does not know the type may leave it out.
    pub(super) fn ignorable(self) -> bool {
        self.flags & 0x80 != 0
    }
}

/// Whether row events of this type have a header of variable size.
pub(super) fn extended(kind: u8) -> bool {
    matches!(
        kind,
        WRITE_ROWS..=DELETE_ROWS | PARTIAL_UPDATE_ROWS | MARIADB_WRITE_ROWS..=MARIADB_DELETE_ROWS
    )
}

/// Whether events of this type say nothing about changes.
pub(super) fn carries_nothing(kind: u8) -> bool {
    matches!(
        kind,
        STOP | INTVAR
            | RAND
            | USER_VAR
            | FORMAT_DESCRIPTION
            | BEGIN_LOAD_QUERY
            | APPEND_BLOCK
            | DELETE_FILE
            | ROWS_QUERY
            | PREVIOUS_GTIDS
            | TRANSACTION_CONTEXT
            | VIEW_CHANGE
            | MARIADB_ANNOTATE_ROWS
            | MARIADB_BINLOG_CHECKPOINT
            | MARIADB_GTID_LIST
            | MARIADB_START_ENCRYPTION
    )
}

/// Whether events of this type are never inside a compressed transaction.
pub(super) fn never_compressed(kind: u8) -> bool {
    matches!(
        kind,
        STOP | ROTATE
            | FORMAT_DESCRIPTION
            | HEARTBEAT
            | GTID
            | ANONYMOUS_GTID
            | GTID_TAGGED
            | PREVIOUS_GTIDS
            | TRANSACTION_PAYLOAD
            | INCIDENT
    )
}

/// The file and offset at which a ROTATE event says that the log goes on.
pub(super) fn rotation(body: &[u8]) -> Read<(String, u64)> {
    let mut bytes = Bytes(body);
    let offset = bytes.little(8)?;
    // The first event of a stream has its checksum glued to the name, since the driver does not
    // know of checksums yet. Names end in a full stop and at least six digits.
    let valid = |name: &[u8]| {
        let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        digits >= 6 && name.iter().rev().nth(digits) == Some(&b'.')
    };
    let name = match bytes.0.split_last_chunk::<4>() {
        Some((name, _)) if valid(name) => name,
        _ => bytes.0,
    };
    match std::str::from_utf8(name) {
        Ok(name) => Ok((name.to_owned(), offset)),
        Err(_) => Err(Malformed("a file of the binary log has a name that is not UTF-8".into())),
    }
}

/// The bytes of the events in a TRANSACTION_PAYLOAD event: fields of type, length and value.
pub(super) fn payload_size(body: &[u8]) -> Read<u64> {
    const END: u64 = 0;
    const PACKED_SIZE: u64 = 1;
    const PLAIN_SIZE: u64 = 3;
    let mut bytes = Bytes(body);
    let (mut packed, mut plain) = (None, None);
    loop {
        let field = bytes.variable()?;
        if field == END {
            break;
        }
        let length = bytes.variable_length()?;
        let mut value = Bytes(bytes.take(length)?);
        match field {
            PACKED_SIZE => packed = Some(value.variable()?),
            PLAIN_SIZE => plain = Some(value.variable()?),
            _ => {}
        }
    }
    plain
        .or(packed)
        .filter(|size| *size > 0)
        .ok_or_else(|| Malformed("a compressed transaction does not say its size".into()))
}

/// A transaction's number as an event gives it. They begin at 1: a set with another could not be
/// read again by the next attempt.
pub(super) fn gtid_number(number: u64) -> Read<u64> {
    match number {
        0 => Err(Malformed("a GTID has the number 0".into())),
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_that_no_set_can_hold_is_an_error() {
        assert_eq!(gtid_number(1), Ok(1));
        assert!(gtid_number(0).is_err());
        let zero = "3e11fa47-71ca-11e1-9e33-c80aa9429562:0";
        assert!(zero.parse::<crate::mysql::gtid::GtidSet>().is_err());
    }

    #[test]
    fn a_file_s_name_is_read_with_and_without_a_checksum() {
        let rotate = |name: &[u8]| rotation(&[&4_u64.to_le_bytes()[..], name].concat()).unwrap();
        assert_eq!(rotate(b"bin.000012"), ("bin.000012".into(), 4));
        assert_eq!(rotate(b"bin.0000121234"), ("bin.000012".into(), 4));
        assert_eq!(rotate(b"bin.000012\xff\x00\x31.").0, "bin.000012");
        assert_eq!(rotate(b"my.bin.1000000\xff\xff\xff\xff").0, "my.bin.1000000");
    }

    #[test]
    fn a_payload_s_size_is_that_of_its_events() {
        assert_eq!(payload_size(&[2, 1, 0, 3, 3, 0xfc, 0, 1, 1, 1, 9, 0, 7, 7]).unwrap(), 256);
        assert_eq!(payload_size(&[2, 3, 0xfc, 0xff, 0, 1, 1, 9, 0]).unwrap(), 9);
        assert!(payload_size(&[0]).is_err());
    }

    proptest! {
        #[test]
        fn rubbish_is_an_error_and_no_panic(body: Vec<u8>) {
            let _ = rotation(&body);
            let _ = payload_size(&body);
        }
    }
}
