//! Kinds of column types: those of one kind are converted alike.

use super::table::Column;

/// A kind of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TINYINT to BIGINT.
    Int,
    /// DECIMAL.
    Decimal,
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// BIT.
    Bit,
    /// YEAR.
    Year,
    /// DATE.
    Date,
    /// DATETIME and TIMESTAMP.
    DateTime,
    /// TIME.
    Time,
    /// CHAR, VARCHAR, TEXT; MariaDB's JSON is one.
    Text,
    /// ENUM.
    Enum,
    /// SET.
    Set,
    /// BINARY, VARBINARY, BLOB.
    Bytes,
    /// MySQL's JSON.
    Json,
    /// What is bytes inside and has no text: spatial types, VECTOR.
    Opaque,
    /// What is bytes inside and has a text: UUID, INET4, INET6.
    Address,
    /// A type that osc does not know.
    Other,
}

impl Kind {
    /// The kind of a column's type.
    pub(crate) fn of(column: &Column) -> Self {
        match column.data_type.as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => Self::Int,
            "decimal" => Self::Decimal,
            "float" => Self::Float,
            "double" => Self::Double,
            "bit" => Self::Bit,
            "year" => Self::Year,
            "date" => Self::Date,
            "datetime" | "timestamp" => Self::DateTime,
            "time" => Self::Time,
            "enum" => Self::Enum,
            "set" => Self::Set,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Self::Bytes,
            "json" => Self::Json,
            "vector" => Self::Opaque,
            "uuid" | "inet6" | "inet4" => Self::Address,
            _ if column.is_text() => Self::Text,
            _ if column.is_spatial() => Self::Opaque,
            _ => Self::Other,
        }
    }

    /// Whether its values are numbers to the server, and shown as such.
    pub(crate) fn is_number(self) -> bool {
        self.is_real() || matches!(self, Self::Int | Self::Decimal | Self::Year)
    }

    /// Whether its values are floating-point numbers.
    pub(crate) fn is_real(self) -> bool {
        matches!(self, Self::Float | Self::Double)
    }

    /// Whether its values are dates or times.
    pub(crate) fn is_temporal(self) -> bool {
        matches!(self, Self::Date | Self::DateTime | Self::Time)
    }

    /// Whether its values are text to the server, of whatever character set.
    pub(crate) fn is_string(self) -> bool {
        matches!(self, Self::Text | Self::Bytes | Self::Json)
    }

    /// Whether its values are members of a list.
    pub(crate) fn is_label(self) -> bool {
        matches!(self, Self::Enum | Self::Set)
    }
}
