//! The statement that makes an index like another.

use crate::postgres::catalog::table::Index;
use crate::postgres::name::{Ident, TableName, Text};
use crate::testing::mutation::{self, Rule};

/// The statement that makes an index like this one, under the name `name` on `table`; and the one that
/// then gives it the constraint that it backs, unless the first has done so already.
pub(crate) fn index_like(
    index: &Index,
    name: &Ident,
    table: &TableName,
) -> (String, Option<String>) {
    let add = |what: &str| format!("ALTER TABLE {table} ADD CONSTRAINT {name} {what}");
    let unique = if index.unique { "UNIQUE " } else { "" };
    let create = format!("CREATE {unique}INDEX {name} ON {table} {}", index.definition);
    // Neither definition tells the tablespace. In one message SET LOCAL holds to its end.
    let there = |sql: String| match mutation::active(Rule::IndexesPlaced) {
        true => sql,
        false => format!("{}; {sql}", tablespace(index.tablespace.as_ref())),
    };
    match &index.constraint {
        None => (there(create), None),
        Some(constraint) => match constraint.using(name) {
            Some(using) => (there(create), Some(add(&using))),
            None => (there(add(&constraint.definition)), None),
        },
    }
}

/// The tablespace of what is made next in this transaction; `None`: the database's.
pub(crate) fn tablespace(name: Option<&Ident>) -> String {
    let name = name.map_or("", Ident::as_str);
    format!("SET LOCAL default_tablespace = {}", Text(name))
}

/// Both statements of [`index_like`] in one message.
pub(crate) fn index_with_constraint(index: &Index, name: &Ident, table: &TableName) -> String {
    let (make, constrain) = index_like(index, name, table);
    [Some(make), constrain].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

pub(crate) fn deferrable(index: &Index) -> bool {
    // An exclusion constraint cannot take an index that is there already.
    !index.primary && index.constraint.as_ref().is_none_or(|constraint| constraint.kind == 'u')
}
