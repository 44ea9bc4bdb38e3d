//! Generated columns: each table computes its own, and which of them must have equal values.

use crate::mysql::catalog::table::{Column, Table};
use crate::mysql::name::Ident;

/// The two tables, to tell which generated columns must have equal values where the rows are equal.
pub(crate) struct Computed<'a> {
    /// The table as it is.
    pub(crate) original: &'a Table,
    /// Its replacement.
    pub(crate) shadow: &'a Table,
    /// Old and new names of the columns that are carried over.
    pub(crate) kept: &'a [(Ident, Ident)],
}

impl Computed<'_> {
    /// Whether both tables compute the column from the same by the same expression.
    pub(crate) fn same(&self, old: &Column, new: &Column) -> bool {
        alike(old, new)
            && old.expression == new.expression
            && !depends_on_session(&old.expression)
            && self.names(&old.expression).iter().all(|name| self.same_source(name))
    }

    /// The columns that an expression names: a session with `sql_quote_show_create = 0` has left them
    /// without their quotes.
    fn names(&self, expression: &str) -> Vec<Ident> {
        if expression.contains('`') {
            return quoted_names(expression).collect();
        }
        let words =
            expression.split(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_');
        words.map(Ident::new).filter(|word| self.original.column(word).is_some()).collect()
    }

    fn same_source(&self, name: &Ident) -> bool {
        let stays = self.kept.iter().any(|(old, new)| old.same(name) && new.same(name));
        let (Some(old), Some(new)) = (self.original.column(name), self.shadow.column(name)) else {
            return false;
        };
        match (old.generated, new.generated) {
            // What is made of a TIMESTAMP depends on the zone of the session that wrote the row.
            (false, false) => stays && alike(old, new) && !old.is_timestamp(),
            // Only columns that stand before it: there are no circles.
            (true, true) => stays && self.same(old, new),
            _ => false,
        }
    }
}

fn alike(old: &Column, new: &Column) -> bool {
    old.column_type == new.column_type && old.collation == new.collation
}

/// The names in an expression as the server writes it, all in backquotes.
fn quoted_names(expression: &str) -> impl Iterator<Item = Ident> {
    expression.split('`').skip(1).step_by(2).map(Ident::new)
}

/// Whether two sessions, or one at two moments, may make something else of an expression.
fn depends_on_session(expression: &str) -> bool {
    const FUNCTIONS: &[&str] = &[
        "rand",
        "uuid",
        "uuid_short",
        "uuid_v4",
        "uuid_v7",
        "sys_guid",
        "random_bytes",
        "now",
        "sysdate",
        "curdate",
        "curtime",
        "localtime",
        "localtimestamp",
        "unix_timestamp",
        "from_unixtime",
        "date_format",
        "str_to_date",
        "dayname",
        "monthname",
        "week",
        "yearweek",
        "connection_id",
        "user",
        "session_user",
        "system_user",
        "database",
        "schema",
        "last_insert_id",
        "found_rows",
        "row_count",
        "version",
        "load_file",
    ];
    let bare = expression.split('`').step_by(2).collect::<Vec<_>>().join(" ").to_lowercase();
    bare.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| {
        FUNCTIONS.contains(&word) || word.starts_with("current_") || word.starts_with("utc_")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_look_at_the_session_are_told_from_others() {
        for expression in ["rand()", "(`a` + unix_timestamp())", "current_timestamp", "utc_date()"]
        {
            assert!(depends_on_session(expression), "{expression}");
        }
        for expression in ["(`a` + 1)", "concat(`now`,`user`)", "cast(`d` as date)", "uuidish(`a`)"]
        {
            assert!(!depends_on_session(expression), "{expression}");
        }
    }

    #[test]
    fn names_are_those_in_backquotes() {
        let names: Vec<Ident> = quoted_names("concat(`a`,'b',`c d`)").collect();
        assert_eq!(names, [Ident::new("a"), Ident::new("c d")]);
    }
}
