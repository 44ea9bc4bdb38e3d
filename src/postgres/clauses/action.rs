//! One clause of an ALTER TABLE.

use crate::postgres::name::Ident;

/// One clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// In the user's words.
    pub text: String,
    /// What it does.
    pub kind: ActionKind,
}

/// What a clause does, as far as osc must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionKind {
    /// `ADD COLUMN`.
    AddColumn {
        /// Its name.
        name: Ident,
        /// It has a foreign key of its own, which the copy cannot take apart from it.
        references: bool,
    },
    /// `DROP COLUMN`.
    DropColumn {
        /// Its name.
        name: Ident,
    },
    /// `RENAME COLUMN`.
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
        /// The expression of `USING`.
        using: Option<String>,
    },
    /// `ALTER COLUMN … SET NOT NULL`.
    SetNotNull {
        /// The column.
        column: Ident,
    },
    /// Another `ALTER COLUMN`.
    AlterColumn,
    /// `ADD CONSTRAINT`, and what says the same.
    AddConstraint {
        /// Its name, where it was given.
        name: Option<Ident>,
        /// Which.
        kind: ConstraintKind,
        /// `NOT VALID`.
        not_valid: bool,
        /// It takes an index that is there.
        using_index: bool,
        /// What follows the name.
        definition: String,
    },
    /// `DROP CONSTRAINT`.
    DropConstraint {
        /// Its name.
        name: Ident,
    },
    /// `VALIDATE CONSTRAINT`.
    Validate {
        /// Its name.
        name: Ident,
    },
    /// Something about the table as a whole that a copy can take over.
    Table,
    /// Something that only the table itself can have done to it.
    InPlace,
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

impl Action {
    /// Whether it adds a foreign key.
    pub fn is_foreign_key(&self) -> bool {
        matches!(self.kind, ActionKind::AddConstraint { kind: ConstraintKind::ForeignKey, .. })
    }

    /// Whether it says NOT VALID.
    pub fn is_not_valid(&self) -> bool {
        matches!(self.kind, ActionKind::AddConstraint { not_valid: true, .. })
    }

    /// The name of the constraint that it adds, where it was given.
    pub fn constraint_name(&self) -> Option<Ident> {
        match &self.kind {
            ActionKind::AddConstraint { name, .. } => name.clone(),
            _ => None,
        }
    }
}
