//! The clauses of an ALTER TABLE: what they say, as far as osc must understand it.
//!
//! The server stays the judge: osc gives it the clauses as they were written, for the shadow, and
//! then compares the shadow's columns with what it understood ([`Clauses::prove`]).

pub(crate) mod change;
mod column;
mod columns;
mod cursor;
pub(crate) mod destructive;
mod foreign;
mod keys;
pub(crate) mod opposite;
mod options;
mod parse;
mod refuse;
mod render;
pub(crate) mod same;
#[cfg(test)]
mod tests;

pub use self::columns::ColumnOutcome;
pub use column::{ColumnDef, InlineReference, Place};
pub use foreign::{ForeignKeyAddition, ForeignKeyChanges, honours_inline_references};
pub(crate) use parse::split_head;
pub use render::ShadowNames;

use super::connection::version::Flavor;
use super::lexer::{Dialect, SyntaxError, TokenKind, tokens};
use super::name::Ident;

/// A parsed ALTER TABLE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clauses {
    /// The schema and table that the text names, where it is a whole statement.
    pub table: Option<(Option<Ident>, Ident)>,
    /// The clauses in their order. Where some were read, never empty: an empty list is a rebuild,
    /// [`ClauseKind::Force`].
    pub clauses: Vec<Clause>,
    /// Whether the statement says IGNORE.
    pub ignore: bool,
}

/// One clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// Its text as written, comments left out.
    pub text: String,
    /// What it says.
    pub kind: ClauseKind,
}

/// The kind of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    /// INDEX, KEY.
    Plain,
    /// UNIQUE.
    Unique,
    /// FULLTEXT.
    Fulltext,
    /// SPATIAL.
    Spatial,
    /// VECTOR (MariaDB 11.7 and later).
    Vector,
}

/// What a clause says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClauseKind {
    /// `ADD [COLUMN] c …` or `ADD [COLUMN] (c …, d …)`.
    AddColumns {
        /// The new columns.
        columns: Vec<ColumnDef>,
        /// IF NOT EXISTS (MariaDB): columns that the original has are left alone.
        if_not_exists: bool,
    },
    /// `DROP [COLUMN] c`.
    DropColumn {
        /// The column.
        name: Ident,
        /// IF EXISTS (MariaDB).
        if_exists: bool,
    },
    /// `CHANGE [COLUMN] a b …`.
    ChangeColumn {
        /// The original's column.
        from: Ident,
        /// Its new name and definition.
        to: ColumnDef,
        /// IF EXISTS (MariaDB).
        if_exists: bool,
    },
    /// `RENAME COLUMN a TO b`.
    RenameColumn {
        /// The original's column.
        from: Ident,
        /// Its new name.
        to: Ident,
        /// IF EXISTS (MariaDB).
        if_exists: bool,
    },
    /// `MODIFY [COLUMN] c …`.
    ModifyColumn {
        /// The column and its new definition.
        column: ColumnDef,
        /// IF EXISTS (MariaDB).
        if_exists: bool,
    },
    /// `ALTER [COLUMN] c SET DEFAULT …`, `DROP DEFAULT`, `SET VISIBLE`, `SET INVISIBLE`.
    AlterColumnDefault {
        /// The column.
        name: Ident,
    },
    /// `ADD [UNIQUE | FULLTEXT | SPATIAL] INDEX`.
    AddIndex {
        /// Its name, where one is given.
        name: Option<Ident>,
        /// Its kind.
        kind: IndexKind,
        /// The columns among its parts, in order.
        columns: Vec<Ident>,
    },
    /// `DROP INDEX i`.
    DropIndex {
        /// The index.
        name: Ident,
    },
    /// `RENAME INDEX a TO b`.
    RenameIndex {
        /// The index.
        from: Ident,
        /// Its new name.
        to: Ident,
    },
    /// `ALTER INDEX i VISIBLE`, `INVISIBLE`, `IGNORED`, `NOT IGNORED`.
    AlterIndexVisibility {
        /// The index.
        name: Ident,
    },
    /// `ADD PRIMARY KEY`.
    AddPrimaryKey {
        /// Its columns, in order.
        columns: Vec<Ident>,
    },
    /// `DROP PRIMARY KEY`, also ``DROP INDEX `PRIMARY` ``.
    DropPrimaryKey,
    /// `ADD FOREIGN KEY`.
    AddForeignKey {
        /// The constraint's name, where one is given.
        name: Option<Ident>,
        /// The index's name, where one is given; MariaDB names the constraint by it too.
        index: Option<Ident>,
        /// The referencing columns, in order.
        columns: Vec<Ident>,
    },
    /// `DROP FOREIGN KEY f`.
    DropForeignKey {
        /// The constraint.
        name: Ident,
        /// IF EXISTS (MariaDB).
        if_exists: bool,
    },
    /// `ADD CHECK`.
    AddCheck {
        /// The constraint's name, where one is given.
        name: Option<Ident>,
    },
    /// `DROP CHECK c`.
    DropCheck {
        /// The constraint.
        name: Ident,
    },
    /// `DROP CONSTRAINT c`: a check, a foreign key or a unique key; only the table can tell.
    DropConstraint {
        /// The constraint.
        name: Ident,
    },
    /// `ALTER CHECK c …`, `ALTER CONSTRAINT c …`.
    AlterCheck {
        /// The constraint.
        name: Ident,
        /// What follows the name.
        action: String,
    },
    /// `ENGINE = …`, `COMMENT …`, `DEFAULT CHARSET …` and the like, one of them.
    TableOption {
        /// Its name in upper case; `CHARSET` for all three spellings of it, without DEFAULT.
        name: String,
        /// The value as written.
        value: String,
    },
    /// `CONVERT TO CHARACTER SET`.
    ConvertCharset {
        /// The character set; `None`: DEFAULT.
        charset: Option<String>,
        /// The collation, where one is given.
        collate: Option<String>,
    },
    /// `FORCE`, or no clause at all: a rebuild.
    Force,
    /// `ORDER BY`.
    OrderBy,
    /// `PARTITION BY …`, `REMOVE PARTITIONING`.
    Partitioning,
    /// `ADD PARTITION`, `DROP PARTITION`, … .
    PartitionMaintenance {
        /// The verb in upper case.
        verb: String,
    },
    /// `RENAME [TO | AS | =] t`.
    RenameTable {
        /// The schema, where one is given.
        schema: Option<Ident>,
        /// The new name.
        name: Ident,
    },
    /// `DISCARD TABLESPACE`, `IMPORT TABLESPACE`.
    Tablespace,
    /// `DISABLE KEYS`, `ENABLE KEYS`.
    Keys,
    /// `ADD SYSTEM VERSIONING`, `DROP SYSTEM VERSIONING`.
    SystemVersioning,
    /// `ADD PERIOD FOR`, `DROP PERIOD FOR`.
    Period,
    /// `ALGORITHM = …`.
    Algorithm(
        /// In upper case.
        String,
    ),
    /// `LOCK = …`.
    Lock(
        /// In upper case.
        String,
    ),
    /// `WITH VALIDATION`, `WITHOUT VALIDATION`.
    Validation,
    /// Something that osc does not know.
    Unknown,
}

/// The quoted texts and names in `source`, as written.
///
/// # Errors
/// As [`Clauses::parse_for`].
pub fn quoted(source: &str, flavor: Flavor) -> Result<Vec<&str>, SyntaxError> {
    let mut tokens = tokens(source, Dialect::of(flavor))?;
    tokens.retain(|token| matches!(token.kind, TokenKind::Text | TokenKind::Quoted));
    Ok(tokens.into_iter().map(|token| token.text).collect())
}

impl Clauses {
    /// Those of an undo: what becomes of the table is what another one is.
    pub(crate) fn none() -> Self {
        Self { table: None, clauses: Vec::new(), ignore: false }
    }

    /// Reads clauses (`ADD COLUMN x INT, ADD INDEX (x)`) or a whole `ALTER TABLE` statement.
    /// What stands in executable comments counts, whatever version they name.
    pub fn parse(source: &str) -> Result<Self, SyntaxError> {
        parse::parse(source, Dialect::default())
    }

    /// As [`Clauses::parse`], for a known server: executable comments that it passes over are
    /// passed over.
    pub fn parse_for(source: &str, flavor: Flavor) -> Result<Self, SyntaxError> {
        parse::parse(source, Dialect::of(flavor))
    }

    /// Whether the clauses add a primary or a unique key, so that the original's rows may have
    /// duplicates for it. A column whose type or collation changes under an existing key can make
    /// duplicates too; that is not reported here.
    pub fn added_unique(&self) -> bool {
        self.clauses.iter().any(|clause| match &clause.kind {
            ClauseKind::AddIndex { kind, .. } => *kind == IndexKind::Unique,
            ClauseKind::AddPrimaryKey { .. } => true,
            _ => clause.kind.definitions().iter().any(|column| column.unique || column.primary_key),
        })
    }

    /// The table option `name` (upper case), the last one where it is given twice.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.clauses.iter().rev().find_map(|clause| match &clause.kind {
            ClauseKind::TableOption { name: option, value } if option == name => {
                Some(value.as_str())
            }
            _ => None,
        })
    }
}

impl ClauseKind {
    /// The column definitions that the clause holds.
    pub fn definitions(&self) -> &[ColumnDef] {
        match self {
            Self::AddColumns { columns, .. } => columns,
            Self::ChangeColumn { to: column, .. } | Self::ModifyColumn { column, .. } => {
                std::slice::from_ref(column)
            }
            _ => &[],
        }
    }
}
