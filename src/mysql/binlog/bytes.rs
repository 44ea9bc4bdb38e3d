//! Reading the server's bytes without trusting their lengths.

use crate::error::Error;

/// Bytes of the binary log that are not what they should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) String);

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::server("reading the binary log", malformed.0)
    }
}

/// The result of reading bytes.
pub(super) type Read<T> = Result<T, Malformed>;

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    /// Whether all is read.
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let Some((head, tail)) = self.0.split_at_checked(count) else {
            return Err(Malformed(format!(
                "an event ends too early: {count} bytes expected, {} left",
                self.0.len()
            )));
        };
        self.0 = tail;
        Ok(head)
    }

    /// The next `count` bytes, at most eight, as a little-endian number.
    pub(super) fn little(&mut self, count: usize) -> Read<u64> {
        Ok(little(self.take(count)?))
    }

    /// One byte.
    pub(super) fn byte(&mut self) -> Read<u8> {
        let (&first, tail) =
            self.0.split_first().ok_or_else(|| Malformed("an event ends too early".into()))?;
        self.0 = tail;
        Ok(first)
    }

    /// A length of so many bytes, little-endian.
    pub(super) fn length(&mut self, bytes: usize) -> Read<usize> {
        as_length(self.little(bytes)?)
    }

    /// A number in the protocol's variable form: one byte, or a mark and two, three or eight.
    pub(super) fn variable(&mut self) -> Read<u64> {
        match self.byte()? {
            0xfc => self.little(2),
            0xfd => self.little(3),
            0xfe => self.little(8),
            0xff => Err(Malformed("a number of variable length begins with 0xff".into())),
            small => Ok(u64::from(small)),
        }
    }

    /// A length in the protocol's variable form.
    pub(super) fn variable_length(&mut self) -> Read<usize> {
        as_length(self.variable()?)
    }

    /// A string whose length is in one byte before it, and that a zero byte follows.
    pub(super) fn name(&mut self) -> Read<&'a [u8]> {
        let length = usize::from(self.byte()?);
        let name = self.take(length)?;
        self.take(1)?;
        Ok(name)
    }
}

/// Bytes as a little-endian number; those beyond eight are not looked at.
pub(super) fn little(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Bytes as a big-endian number; those beyond eight are shifted out.
pub(super) fn big(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn as_length(number: u64) -> Read<usize> {
    usize::try_from(number).map_err(|_| Malformed(format!("a length of {number} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_all_their_forms() {
        let mut bytes = Bytes(&[5, 0xfc, 1, 2, 0xfd, 1, 2, 3, 0xfe, 1, 0, 0, 0, 0, 0, 0, 0x80]);
        let all: Vec<u64> = (0..4).map(|_| bytes.variable().unwrap()).collect();
        assert_eq!(all, [5, 0x0201, 0x03_0201, 0x8000_0000_0000_0001]);
        assert!(bytes.is_empty());
        assert_eq!(big(&[1, 2]), 0x0102);
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        assert!(Bytes(&[1]).take(2).is_err());
        assert!(Bytes(&[]).byte().is_err());
        assert!(Bytes(&[0xff]).variable().is_err());
        assert!(Bytes(&[3, b'a', b'b']).name().is_err());
    }
}
