//! What MariaDB does its own way: events of GTIDs, and compressed events, neither of which the driver knows.

use std::io::Read as _;

use flate2::read::ZlibDecoder;

use super::bytes::{Bytes, Malformed, Read, big};
use crate::mysql::gtid::Gtid;

/// A GTID event, which begins every transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GtidEvent {
    /// The identifier.
    pub(super) gtid: Gtid,
    /// Whether one statement follows that is a transaction by itself; else a COMMIT will come.
    pub(super) standalone: bool,
    /// Whether it is an XA transaction that will be prepared.
    pub(super) prepared: bool,
}

impl GtidEvent {
    /// Reads an event that this server wrote.
    pub(super) fn parse(server: u32, body: &[u8]) -> Read<Self> {
        const STANDALONE: u8 = 1;
        const PREPARED_XA: u8 = 64;
        let mut bytes = Bytes(body);
        let sequence = bytes.little(8)?;
        let domain = u32::try_from(bytes.little(4)?)
            .map_err(|_| Malformed("a GTID event has no domain".into()))?;
        let flags = bytes.byte()?;
        Ok(Self {
            gtid: Gtid { domain, server, sequence },
            standalone: flags & STANDALONE != 0,
            prepared: flags & PREPARED_XA != 0,
        })
    }
}

/// Unpacks what `log_bin_compress` packed: a byte with the method and the size of the length, the
/// length, big-endian, and a zlib stream.
pub(super) fn decompress(packed: &[u8]) -> Read<Vec<u8>> {
    let mut bytes = Bytes(packed);
    let head = bytes.byte()?;
    let (method, size) = (head >> 4 & 7, usize::from(head & 7));
    if method != 0 {
        return Err(Malformed(format!(
            "an event is compressed by method {method}, unknown to osc"
        )));
    }
    let length = big(bytes.take(size)?);
    let mut plain = Vec::new();
    let read = ZlibDecoder::new(bytes.0).take(length.saturating_add(1)).read_to_end(&mut plain);
    match read {
        Ok(read) if u64::try_from(read) == Ok(length) => Ok(plain),
        Ok(read) => {
            Err(Malformed(format!("a compressed event has {read} bytes instead of {length}")))
        }
        Err(error) => Err(Malformed(format!("a compressed event cannot be unpacked: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    fn packed(plain: &[u8]) -> Vec<u8> {
        let length = u8::try_from(plain.len()).unwrap();
        let mut encoder = ZlibEncoder::new(vec![0x81, length], Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_compressed_event_of_another_length_is_an_error() {
        let mut event = packed(b"rows of a table");
        assert_eq!(decompress(&event).unwrap(), b"rows of a table");
        event[1] -= 1;
        assert!(decompress(&event).is_err());
        event[1] += 2;
        assert!(decompress(&event).is_err());
        assert!(decompress(&[0x91, 0]).is_err());
    }

    proptest! {
        #[test]
        fn rubbish_is_an_error_and_no_panic(bytes: Vec<u8>) {
            let _ = decompress(&bytes);
            let _ = GtidEvent::parse(1, &bytes);
        }
    }
}
