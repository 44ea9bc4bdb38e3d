//! What the methods must know of the table as it is.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Client;

use crate::error::Result;
use crate::postgres::connection::session::rows;
use crate::postgres::name::{Ident, TableName, Text};

const ACTION: &str = "reading the table";

/// A constraint that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Present {
    /// `pg_constraint.contype`.
    pub(crate) kind: String,
    pub(crate) validated: bool,
    pub(crate) comment: Option<String>,
}

/// The table as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) partitioned: bool,
    /// `pg_class.relpersistence` is `p`.
    pub(crate) logged: bool,
    pub(crate) constraints: BTreeMap<Ident, Present>,
    /// Columns that a foreign key has, of this table or to it.
    pub(crate) joined: BTreeSet<Ident>,
    /// The tables at the other end of those.
    pub(crate) neighbours: Vec<String>,
    /// The columns, with their comments.
    pub(crate) comments: BTreeMap<Ident, String>,
    /// NOT NULL constraints that are not validated (18 and later), by column.
    pub(crate) unproved: BTreeMap<Ident, Ident>,
}

impl Facts {
    pub(crate) async fn read(client: &Client, table: &TableName) -> Result<Self> {
        let oid = format!("{}::regclass", Text(&table.to_string()));
        let mut facts = Self::default();
        let sql =
            format!("SELECT relkind = 'p', relpersistence = 'p' FROM pg_class WHERE oid = {oid}");
        if let Some(row) = rows(client, ACTION, &sql).await?.first() {
            facts.partitioned = row.get(0) == Some("t");
            facts.logged = row.get(1) == Some("t");
        }
        let sql = format!(
            "SELECT k.conname, k.contype, k.convalidated, obj_description(k.oid, 'pg_constraint'), \
             CASE WHEN k.contype = 'n' AND NOT k.convalidated THEN a.attname END \
             FROM pg_constraint k LEFT JOIN pg_attribute a \
             ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1] WHERE k.conrelid = {oid}"
        );
        for row in rows(client, ACTION, &sql).await? {
            let name = Ident::new(row.get(0).unwrap_or_default());
            if let Some(column) = row.get(4) {
                facts.unproved.insert(Ident::new(column), name.clone());
            }
            let present = Present {
                kind: row.get(1).unwrap_or_default().to_owned(),
                validated: row.get(2) == Some("t"),
                comment: row.get(3).map(str::to_owned),
            };
            facts.constraints.insert(name, present);
        }
        let sql = format!(
            "SELECT a.attname, other::regclass FROM (\
             SELECT conrelid AS own, confrelid AS other, conkey AS key FROM pg_constraint \
             WHERE contype = 'f' UNION ALL \
             SELECT confrelid, conrelid, confkey FROM pg_constraint WHERE contype = 'f') k \
             JOIN pg_attribute a ON a.attrelid = k.own AND a.attnum = ANY (k.key) \
             WHERE k.own = {oid}"
        );
        for row in rows(client, ACTION, &sql).await? {
            facts.joined.extend(row.get(0).map(Ident::new));
            facts.neighbours.extend(row.get(1).map(str::to_owned));
        }
        let sql = format!(
            "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute \
             WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped"
        );
        for row in rows(client, ACTION, &sql).await? {
            let Some(name) = row.get(0) else { continue };
            facts.comments.insert(Ident::new(name), row.get(1).unwrap_or_default().to_owned());
        }
        facts.neighbours.sort();
        facts.neighbours.dedup();
        Ok(facts)
    }

    /// The names of the table's foreign keys.
    pub(crate) fn foreign_keys(&self) -> Vec<Ident> {
        let keys = self.constraints.iter().filter(|(_, present)| present.kind == "f");
        keys.map(|(name, _)| name.clone()).collect()
    }
}
