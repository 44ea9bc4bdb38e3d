//! Reading the wire format of events: bounds-checked, no panics on what a server sends.

use crate::engine::{Error, Result};

/// Bytes that are read from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire<'a>(pub &'a [u8]);

fn short() -> Error {
    Error::Internal("an event of the binlog is shorter than its own lengths say".into())
}

impl<'a> Wire<'a> {
    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = tail;
        Ok(head)
    }

    /// An unsigned little-endian number of `length` bytes, 8 at most.
    pub(super) fn little(&mut self, length: usize) -> Result<u64> {
        Ok(self.take(length)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// An unsigned big-endian number of `length` bytes, 8 at most.
    pub(super) fn big(&mut self, length: usize) -> Result<u64> {
        Ok(self.take(length)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// One byte.
    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// A little-endian length of `length` bytes.
    pub(super) fn length(&mut self, length: usize) -> Result<usize> {
        usize::try_from(self.little(length)?).map_err(|_| short())
    }

    /// A length-encoded integer (manual: "Protocol::LengthEncodedInteger").
    pub(super) fn packed(&mut self) -> Result<usize> {
        match self.byte()? {
            0xfc => self.length(2),
            0xfd => self.length(3),
            0xfe => self.length(8),
            small => Ok(usize::from(small)),
        }
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A bitmap, lowest bit first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bits<'a>(pub &'a [u8]);

impl<'a> Bits<'a> {
    /// Reads a bitmap of `count` bits.
    pub(super) fn read(wire: &mut Wire<'a>, count: usize) -> Result<Self> {
        wire.take(count.div_ceil(8)).map(Self)
    }

    /// Bit `at`.
    pub(super) fn get(self, at: usize) -> bool {
        self.0.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
    }

    /// How many of the first `count` bits are set.
    pub(super) fn ones(self, count: usize) -> usize {
        (0..count).filter(|at| self.get(*at)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lengths_and_bits_are_read() {
        let mut wire = Wire(&[1, 2, 1, 2, 0xfc, 0, 1, 9]);
        assert_eq!(wire.little(2).unwrap(), 0x0201);
        assert_eq!(wire.big(2).unwrap(), 0x0102);
        assert_eq!(wire.packed().unwrap(), 256);
        assert_eq!(wire.packed().unwrap(), 9);
        assert!(wire.is_empty());
        assert!(wire.byte().is_err());
        let bits = Bits(&[0b101, 1]);
        assert!(bits.get(0) && !bits.get(1) && bits.get(2) && bits.get(8) && !bits.get(99));
        assert_eq!(bits.ones(9), 3);
    }
}
