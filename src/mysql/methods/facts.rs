//! What the choice of a method needs to know of the original.

use crate::mysql::name::Ident;

/// A column of the original, from `information_schema.COLUMNS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnFacts {
    /// COLUMN_NAME.
    pub name: Ident,
    /// DATA_TYPE, such as `varchar`.
    pub data_type: String,
    /// CHARACTER_MAXIMUM_LENGTH.
    pub characters: Option<u64>,
    /// CHARACTER_OCTET_LENGTH.
    pub octets: Option<u64>,
    /// COLLATION_NAME.
    pub collation: Option<String>,
    /// IS_NULLABLE.
    pub nullable: bool,
    /// Whether GENERATION_EXPRESSION is not empty.
    pub generated: bool,
}

/// What the choice of a method needs to know of the original.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TableFacts {
    /// `information_schema.TABLES.TABLE_COLLATION`.
    pub collation: String,
    /// Its columns.
    pub columns: Vec<ColumnFacts>,
}
