//! The foreign keys of a table and those that point to it, and how they survive the swap.
//!
//! The shadow has none while it is copied: the argument, and the order of steps on each server,
//! is in `docs/decisions/0008-foreign-keys.md`.

pub mod orphans;

mod indexes;
mod restore;
mod validate;

pub use orphans::{OrphanSearch, orphans};
pub use restore::{drop_outgoing, install_outgoing, redirect_incoming, restore_outgoing};
pub use validate::{ColumnChanges, Settled, foreseen, settle, unlogged_cascades};

use std::fmt;

use mysql_async::Conn;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::mysql::connection::texts::text_rows;
use crate::mysql::name::{Ident, TableName, Text};

/// What happens to a child's row when its parent's goes or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// Refused.
    Restrict,
    /// Refused; another word for it.
    NoAction,
    /// The child's row follows.
    Cascade,
    /// The child's columns become NULL.
    SetNull,
    /// The child's columns take their defaults; InnoDB refuses such keys.
    SetDefault,
}

impl Rule {
    fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "RESTRICT" => Self::Restrict,
            "NO ACTION" => Self::NoAction,
            "CASCADE" => Self::Cascade,
            "SET NULL" => Self::SetNull,
            "SET DEFAULT" => Self::SetDefault,
            other => return Err(Error::Internal(format!("unknown foreign key rule {other:?}"))),
        })
    }

    /// The clause that makes the server's catalog say this rule again. MariaDB calls a rule that
    /// was not given RESTRICT, and one that was given as RESTRICT it calls NO ACTION; MySQL reads
    /// the comment, MariaDB does not.
    fn clause(self, event: &str) -> String {
        match self {
            Self::Restrict => format!(" /*!80000 ON {event} RESTRICT */"),
            _ => format!(" ON {event} {self}"),
        }
    }

    /// Whether the rule writes to the child's rows.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Restrict | Self::NoAction)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restrict => "RESTRICT",
            Self::NoAction => "NO ACTION",
            Self::Cascade => "CASCADE",
            Self::SetNull => "SET NULL",
            Self::SetDefault => "SET DEFAULT",
        })
    }
}

/// A foreign key, as `information_schema` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// The child: the table that has the constraint.
    pub table: TableName,
    /// The constraint's name, unique in the child's schema.
    pub name: Ident,
    /// The child's columns, in order.
    pub columns: Vec<Ident>,
    /// The parent.
    pub referenced: TableName,
    /// The parent's columns, in the order of `columns`.
    pub referenced_columns: Vec<Ident>,
    /// ON UPDATE.
    pub on_update: Rule,
    /// ON DELETE.
    pub on_delete: Rule,
}

impl ForeignKey {
    /// Whether child and parent are one table.
    pub fn is_self_reference(&self) -> bool {
        self.table == self.referenced
    }

    /// The `ADD CONSTRAINT` clause that makes this key under `name`.
    pub fn add_as(&self, name: &Ident) -> String {
        format!(
            "ADD CONSTRAINT {name} FOREIGN KEY ({}) REFERENCES {} ({}){}{}",
            list(&self.columns),
            self.referenced,
            list(&self.referenced_columns),
            self.on_delete.clause("DELETE"),
            self.on_update.clause("UPDATE"),
        )
    }

    /// For a human: `shop.orders.fk_user`.
    pub fn plain(&self) -> String {
        format!("{}.{}", self.table.plain(), self.name.as_str())
    }
}

fn list(columns: &[Ident]) -> String {
    columns.iter().map(Ident::to_string).collect::<Vec<_>>().join(", ")
}

/// The foreign keys that `table` has, self-references included, by name. None where the table does
/// not exist.
///
/// # Errors
/// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
pub async fn outgoing(conn: &mut Conn, table: &TableName) -> Result<Vec<ForeignKey>> {
    let (schema, name) = (Text(table.schema.as_str()), Text(table.table.as_str()));
    // Both tables of the catalog are narrowed down by constants: MariaDB opens every table of the
    // server otherwise.
    let sql = format!(
        "SELECT k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME, \
         k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME, \
         r.UPDATE_RULE, r.DELETE_RULE, @@lower_case_table_names \
         FROM information_schema.KEY_COLUMN_USAGE k \
         JOIN information_schema.REFERENTIAL_CONSTRAINTS r \
         ON r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME \
         WHERE k.TABLE_SCHEMA = {schema} AND k.TABLE_NAME = {name} \
         AND k.REFERENCED_TABLE_NAME IS NOT NULL \
         AND r.CONSTRAINT_SCHEMA = {schema} AND r.TABLE_NAME = {name} \
         ORDER BY k.CONSTRAINT_NAME, k.ORDINAL_POSITION"
    );
    let action = "reading the foreign keys of a table";
    let mut keys: Vec<ForeignKey> = Vec::new();
    for [s, t, constraint, column, rs, rt, rcolumn, on_update, on_delete, case] in
        text_rows(conn, action, &sql).await?
    {
        let child = TableName::new(s, t);
        if !same_table(&child, table, &case) {
            continue;
        }
        let name = Ident::new(constraint);
        match keys.last_mut() {
            Some(last) if last.name == name => {
                last.columns.push(Ident::new(column));
                last.referenced_columns.push(Ident::new(rcolumn));
            }
            _ => keys.push(ForeignKey {
                table: table.clone(),
                name,
                columns: vec![Ident::new(column)],
                referenced: named_as(TableName::new(rs, rt), table, &case),
                referenced_columns: vec![Ident::new(rcolumn)],
                on_update: Rule::parse(&on_update)?,
                on_delete: Rule::parse(&on_delete)?,
            }),
        }
    }
    Ok(keys)
}

/// The foreign keys of other tables, in any schema, that reference `table`. Only those that the
/// user may see: the server hides tables on which a user has no right.
///
/// MariaDB looks through all tables of the server for it: not for use under a lock.
///
/// # Errors
/// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
pub async fn incoming(conn: &mut Conn, table: &TableName) -> Result<Vec<ForeignKey>> {
    let sql = format!(
        "SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME FROM information_schema.KEY_COLUMN_USAGE \
         WHERE REFERENCED_TABLE_SCHEMA = {} AND REFERENCED_TABLE_NAME = {} \
         ORDER BY TABLE_SCHEMA, TABLE_NAME",
        Text(table.schema.as_str()),
        Text(table.table.as_str())
    );
    let case = case_of_names(conn).await?;
    let mut keys = Vec::new();
    let action = "reading the foreign keys that reference a table";
    for [schema, name] in text_rows(conn, action, &sql).await? {
        let child = TableName::new(schema, name);
        if same_table(&child, table, &case) {
            continue;
        }
        keys.extend(
            outgoing(conn, &child)
                .await?
                .into_iter()
                .filter(|key| same_table(&key.referenced, table, &case))
                .map(|key| ForeignKey { referenced: table.clone(), ..key }),
        );
    }
    Ok(keys)
}

async fn case_of_names(conn: &mut Conn) -> Result<String> {
    let rows = text_rows(conn, "asking how names are stored", "SELECT @@lower_case_table_names");
    Ok(rows.await?.into_iter().next().map(|[case]: [String; 1]| case).unwrap_or_default())
}

/// Whether both are one table, `case` being `lower_case_table_names`. The catalog compares without
/// case even on servers to which case matters.
fn same_table(one: &TableName, other: &TableName, case: &str) -> bool {
    if case == "0" {
        one == other
    } else {
        one.schema.same(&other.schema) && one.table.same(&other.table)
    }
}

fn named_as(found: TableName, table: &TableName, case: &str) -> TableName {
    if same_table(&found, table, case) { table.clone() } else { found }
}

/// The tables besides `original` and the shadow that the cut-over locks with WRITE, so that no
/// write of the application meets a half-moved key: the children of `incoming`, the parents of
/// `outgoing`. Without repetition, sorted by name.
pub fn lock_set(
    original: &TableName,
    outgoing: &[ForeignKey],
    incoming: &[ForeignKey],
) -> Vec<TableName> {
    let parents = outgoing.iter().map(|key| &key.referenced);
    let children = incoming.iter().map(|key| &key.table);
    let mut tables: Vec<TableName> =
        parents.chain(children).filter(|table| *table != original).cloned().collect();
    tables.sort_by(|a, b| (&a.schema, &a.table).cmp(&(&b.schema, &b.table)));
    tables.dedup();
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(table: &str, name: &str, referenced: &str) -> ForeignKey {
        ForeignKey {
            table: TableName::new("s", table),
            name: Ident::new(name),
            columns: vec![Ident::new("a"), Ident::new("b`")],
            referenced: TableName::new("s", referenced),
            referenced_columns: vec![Ident::new("x"), Ident::new("y")],
            on_update: Rule::NoAction,
            on_delete: Rule::SetNull,
        }
    }

    #[test]
    fn a_key_is_written_out_whole() {
        assert_eq!(
            key("c", "f", "p").add_as(&Ident::new("g")),
            "ADD CONSTRAINT `g` FOREIGN KEY (`a`, `b```) REFERENCES `s`.`p` (`x`, `y`) \
             ON DELETE SET NULL ON UPDATE NO ACTION"
        );
    }

    #[test]
    fn the_lock_set_names_each_other_table_once() {
        let outgoing = [key("u", "f", "p"), key("u", "g", "u"), key("u", "h", "p")];
        let incoming = [key("c", "i", "u"), key("p", "j", "u")];
        let set = lock_set(&TableName::new("s", "u"), &outgoing, &incoming);
        assert_eq!(set, [TableName::new("s", "c"), TableName::new("s", "p")]);
    }
}
