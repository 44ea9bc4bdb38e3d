//! What MariaDB does its own way: GTIDs, and compressed events, neither of which the driver knows.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::str::FromStr;

use flate2::read::ZlibDecoder;
use serde::{Deserialize, Serialize};

use super::bytes::{Bytes, Malformed, Read, big};

/// The last transaction of each domain: `0-1-5,7-2-9` (domain, server, sequence number).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct GtidList {
    domains: BTreeMap<u32, (u32, u64)>,
}

impl GtidList {
    /// Notes a domain's newest transaction.
    pub(super) fn set(&mut self, gtid: Gtid) {
        self.domains.insert(gtid.domain, (gtid.server, gtid.sequence));
    }

    /// Whether nothing was ever logged.
    pub(super) fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }
}

impl FromStr for GtidList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut list = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let broken = || format!("{part:?} is no GTID");
            let numbers: Vec<&str> = part.split('-').collect();
            let [domain, server, sequence] = numbers[..] else { return Err(broken()) };
            match (domain.parse(), server.parse(), sequence.parse()) {
                (Ok(domain), Ok(server), Ok(sequence)) => {
                    list.set(Gtid { domain, server, sequence });
                }
                _ => return Err(broken()),
            }
        }
        Ok(list)
    }
}

impl TryFrom<String> for GtidList {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<GtidList> for String {
    fn from(list: GtidList) -> Self {
        list.to_string()
    }
}

impl fmt::Display for GtidList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (domain, (server, sequence))) in self.domains.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            write!(f, "{separator}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

/// One transaction's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gtid {
    pub(super) domain: u32,
    pub(super) server: u32,
    pub(super) sequence: u64,
}

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
    fn lists_are_read_as_the_server_writes_them() {
        let mut list: GtidList = "7-2-9,0-1-5".parse().unwrap();
        assert_eq!(list.to_string(), "0-1-5,7-2-9");
        list.set(Gtid { domain: 0, server: 3, sequence: 6 });
        assert_eq!(list.to_string(), "0-3-6,7-2-9");
        assert!("".parse::<GtidList>().unwrap().is_empty());
        assert!("0-1".parse::<GtidList>().is_err());
        assert!("0-1-x".parse::<GtidList>().is_err());
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
