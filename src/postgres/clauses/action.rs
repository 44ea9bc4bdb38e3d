//! One clause of an ALTER TABLE.

use std::collections::BTreeSet;
use std::fmt;

use crate::postgres::name::Ident;

/// One clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// In the user's words; a foreign key and a check that were given no name have one here.
    pub text: String,
    /// What it does.
    pub kind: ActionKind,
    /// All names in it: columns, tables, functions.
    pub names: BTreeSet<Ident>,
}

/// What a clause does, as far as osc must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionKind {
    /// `ADD COLUMN`. Its `REFERENCES` is a clause of its own.
    AddColumn {
        /// Its name.
        name: Ident,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// `DROP COLUMN`.
    DropColumn {
        /// Its name.
        name: Ident,
        /// `IF EXISTS`.
        if_exists: bool,
        /// `CASCADE`: what depends on it is dropped too.
        cascade: bool,
    },
    /// `RENAME COLUMN`; the only clause of its statement.
    RenameColumn {
        /// Its name now.
        from: Ident,
        /// Its name afterwards.
        to: Ident,
    },
    /// `ALTER COLUMN … TYPE`.
    AlterType {
        /// The column.
        column: Ident,
        /// The type and what follows it, up to `USING`.
        to: String,
        /// The expression of `USING`.
        using: Option<String>,
    },
    /// `ALTER COLUMN … SET NOT NULL`.
    SetNotNull {
        /// The column.
        column: Ident,
    },
    /// `ALTER COLUMN … SET STATISTICS`, and its options such as `n_distinct`.
    SetStatistics {
        /// The column.
        column: Ident,
    },
    /// Another `ALTER COLUMN`.
    AlterColumn {
        /// The column.
        column: Ident,
    },
    /// `ADD CONSTRAINT`, and what says the same.
    AddConstraint(Constraint),
    /// `DROP CONSTRAINT`.
    DropConstraint {
        /// Its name.
        name: Ident,
        /// `IF EXISTS`.
        if_exists: bool,
        /// `CASCADE`: foreign keys to it are dropped too.
        cascade: bool,
    },
    /// `RENAME CONSTRAINT`; the only clause of its statement.
    RenameConstraint {
        /// Its name now.
        from: Ident,
        /// Its name afterwards.
        to: Ident,
    },
    /// `ALTER CONSTRAINT`.
    AlterConstraint {
        /// Its name.
        name: Ident,
    },
    /// `VALIDATE CONSTRAINT`.
    Validate {
        /// Its name.
        name: Ident,
    },
    /// `SET LOGGED` and `SET UNLOGGED`.
    SetLogged(
        /// Whether it becomes logged.
        bool,
    ),
    /// Storage parameters and the index of `CLUSTER`: the server takes the weak lock for them.
    Parameters,
    /// Where a column stands: osc's own clause, which no server knows.
    Move {
        /// The column.
        column: Ident,
        /// Where.
        place: Place,
    },
    /// `PARTITION BY`: osc's own clause, which no server knows for a table that is there.
    Partition(Partitioning),
    /// Something else about the table as a whole that a copy can take over.
    Table,
    /// Something that only the table itself can have done to it.
    InPlace {
        /// Triggers only: the lock lets readers pass.
        trigger: bool,
    },
}

/// A place among the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Before all others.
    First,
    /// Behind this one.
    After(Ident),
}

/// How a table is partitioned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partitioning {
    /// `RANGE`, `LIST` or `HASH`.
    pub strategy: String,
    /// The columns or expressions, in brackets, in the user's words.
    pub key: String,
    /// The partitions, at least one.
    pub partitions: Vec<Partition>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name, in its table's schema.
    pub name: Ident,
    /// `FOR VALUES …` or `DEFAULT`, in the user's words.
    pub bound: String,
}

/// A constraint that is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// Its name, where it was given or is known beforehand.
    pub name: Option<Ident>,
    /// It was given none: this is the usual one, until the server names it.
    pub usual: bool,
    /// Which.
    pub kind: ConstraintKind,
    /// `NOT VALID`.
    pub not_valid: bool,
    /// `NOT ENFORCED` (18 and later): there is nothing to validate.
    pub not_enforced: bool,
    /// What follows the name.
    pub definition: String,
    /// The table that a foreign key refers to, as it was written.
    pub parent: Option<String>,
    /// Of a unique and a primary key that no index serves yet.
    pub key: Option<Key>,
}

/// A unique or a primary key, in parts, so that its index can be built apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its columns, in order.
    pub columns: Vec<Ident>,
    /// What follows them in a `CREATE INDEX`.
    pub index: String,
    /// What follows the index in `ADD CONSTRAINT … USING INDEX`: when it is checked.
    pub checked: String,
}

/// Kinds of constraints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    /// `FOREIGN KEY`.
    ForeignKey,
    /// `CHECK`.
    Check,
    /// `UNIQUE`.
    Unique,
    /// `PRIMARY KEY`.
    PrimaryKey,
    /// `EXCLUDE`.
    Exclude,
    /// `NOT NULL` (18 and later).
    NotNull,
}

/// The lock that the server takes on the table for a clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lock {
    /// Readers and writers continue.
    ShareUpdateExclusive,
    /// Readers continue.
    ShareRowExclusive,
    /// Every other session waits.
    AccessExclusive,
}

impl Lock {
    /// The word of `pg_locks`.
    pub fn mode(self) -> &'static str {
        match self {
            Self::ShareUpdateExclusive => "ShareUpdateExclusiveLock",
            Self::ShareRowExclusive => "ShareRowExclusiveLock",
            Self::AccessExclusive => "AccessExclusiveLock",
        }
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Self::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Self::AccessExclusive => "ACCESS EXCLUSIVE",
        })
    }
}

impl Action {
    /// Whether it adds a foreign key.
    pub fn is_foreign_key(&self) -> bool {
        matches!(&self.kind, ActionKind::AddConstraint(added) if added.kind == ConstraintKind::ForeignKey)
    }

    /// Whether it says NOT VALID, or NOT ENFORCED: no row is looked at.
    pub fn is_not_valid(&self) -> bool {
        matches!(&self.kind, ActionKind::AddConstraint(added) if added.not_valid || added.not_enforced)
    }

    /// Whether it is a clause of osc's that no server knows.
    pub fn is_own(&self) -> bool {
        matches!(self.kind, ActionKind::Move { .. } | ActionKind::Partition(_))
    }

    /// The name of the constraint that it adds, where it is known.
    pub fn constraint_name(&self) -> Option<Ident> {
        match &self.kind {
            ActionKind::AddConstraint(added) => added.name.clone(),
            _ => None,
        }
    }

    /// Whether it adds a constraint that was given no name. The server's names of columns that are NOT
    /// NULL are the usual ones.
    pub fn needs_name(&self) -> bool {
        matches!(&self.kind, ActionKind::AddConstraint(added)
            if (added.usual || added.name.is_none()) && added.kind != ConstraintKind::NotNull
                && !added.definition.to_ascii_uppercase().contains(" USING INDEX "))
    }

    /// The same, with this name for its constraint.
    #[must_use]
    pub fn named(mut self, name: Ident) -> Self {
        if let ActionKind::AddConstraint(added) = &mut self.kind {
            self.text = format!("ADD CONSTRAINT {name} {}", added.definition);
            (added.name, added.usual) = (Some(name), false);
        }
        self
    }

    /// The same, without the name that the user did not give.
    #[must_use]
    pub fn unnamed(mut self) -> Self {
        if let (true, ActionKind::AddConstraint(added)) = (self.needs_name(), &self.kind) {
            self.text = format!("ADD {}", added.definition);
        }
        self
    }

    /// The lock that the server takes for it, on the table; the same on 14 to 18.
    pub fn lock(&self) -> Lock {
        match &self.kind {
            ActionKind::SetStatistics { .. }
            | ActionKind::Validate { .. }
            | ActionKind::Parameters => Lock::ShareUpdateExclusive,
            ActionKind::InPlace { trigger: true } => Lock::ShareRowExclusive,
            ActionKind::AddConstraint(_) if self.is_foreign_key() => Lock::ShareRowExclusive,
            _ => Lock::AccessExclusive,
        }
    }
}
