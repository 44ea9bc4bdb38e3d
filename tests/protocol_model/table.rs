//! The smallest table: two or three keys, a unique value each, and the log of its changes.

/// As many keys as the model's masks are made for.
pub const KEYS: usize = 3;

/// Rows by key: the value of each, 0 where there is none. No two rows have the same.
pub type Rows = [u8; KEYS];

/// Entries that the log can hold: transactions and markers.
pub const ENTRIES: usize = 6;

/// A set of keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Keys(pub u8);

impl Keys {
    /// The keys from `from` up to but not including `to`.
    pub fn between(from: u8, to: u8) -> Self {
        (from..to).fold(Self::default(), Self::with)
    }

    pub fn with(self, key: u8) -> Self {
        Self(self.0 | 1 << key)
    }

    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn but(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn has(self, key: u8) -> bool {
        self.0 & 1 << key != 0
    }

    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub fn each(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |key| self.has(*key))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.each()).finish()
    }
}

/// The keys whose rows differ.
pub fn differing(one: &Rows, other: &Rows) -> Keys {
    (0..)
        .zip(one.iter().zip(other))
        .filter(|(_, (a, b))| a != b)
        .fold(Keys::default(), |keys, (key, _)| keys.with(key))
}

/// The keys that have a row.
pub fn present(rows: &Rows) -> Keys {
    differing(rows, &[0; KEYS])
}

/// The key of the row with this value, if one has it.
pub fn holder(rows: &Rows, value: u8) -> Option<u8> {
    (0..).zip(rows).find(|(_, there)| value != 0 && **there == value).map(|(key, _)| key)
}

/// One commit in the log: of the application, or a marker of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Entry {
    /// The keys whose rows it changed; none: a marker.
    pub touched: Keys,
    /// Their rows after it.
    pub after: Rows,
    /// The number of a marker of ours; 0: none.
    pub marker: u8,
}

/// The log, as far as an attempt may still read it or has yet to see it, on the rows before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Log {
    before: Rows,
    entries: [Entry; ENTRIES],
    len: u8,
}

impl Log {
    /// An empty log on these rows.
    pub fn new(before: Rows) -> Self {
        Self { before, entries: Default::default(), len: 0 }
    }

    /// Its length; positions are counted in entries.
    pub fn len(&self) -> u8 {
        self.len
    }

    /// What comes at a position.
    pub fn at(&self, position: u8) -> Option<Entry> {
        (position < self.len).then(|| self.entries[usize::from(position)])
    }

    /// Appends.
    pub fn push(&mut self, entry: Entry) {
        self.entries[usize::from(self.len)] = entry;
        self.len += 1;
    }

    /// The rows after the entries before `position`.
    pub fn rows(&self, position: u8) -> Rows {
        let mut rows = self.before;
        for entry in &self.entries[..usize::from(position)] {
            entry
                .touched
                .each()
                .for_each(|key| rows[usize::from(key)] = entry.after[usize::from(key)]);
        }
        rows
    }

    /// The keys that entries from `position` on changed.
    pub fn touched_from(&self, position: u8) -> Keys {
        let entries = &self.entries[usize::from(position)..usize::from(self.len)];
        entries.iter().fold(Keys::default(), |keys, entry| keys.and(entry.touched))
    }

    /// Forgets the first entry: everybody has read and seen it.
    pub fn forget_first(&mut self) {
        self.before = self.rows(1);
        self.entries.copy_within(1.., 0);
        self.len -= 1;
        self.entries[usize::from(self.len)] = Entry::default();
    }
}

/// All tables over `keys` keys with the values 1 to `values`, no value twice.
pub fn tables(keys: u8, values: u8) -> Vec<Rows> {
    let mut all = vec![[0; KEYS]];
    for key in 0..usize::from(keys) {
        let longer = |rows: &Rows| {
            let free = (1..=values).filter(|value| holder(rows, *value).is_none());
            let each = |value: u8| {
                let mut rows = *rows;
                rows[key] = value;
                rows
            };
            std::iter::once(0).chain(free).map(each).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}
