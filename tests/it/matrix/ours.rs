//! What osc's own statements make of each value: those of the copy, for one row and one column at a
//! time, in the sessions that a run would have.

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use osc::key::Key;
use osc::mysql::catalog::key::KeyValue;
use osc::mysql::catalog::table;
use osc::mysql::catalog::table::Table;
use osc::mysql::connection::session::Sessions;
use osc::mysql::connection::settings::Reading;
use osc::mysql::connection::settings::Role;
use osc::mysql::connection::version::Flavor;
use osc::mysql::copy::projection::{Side, project};
use osc::mysql::copy::rows::first_unfit;
use osc::mysql::copy::statements::{Scope, Statements};
use osc::mysql::name::{Ident, TableName};

use super::types::Type;
use super::values::{self, NULL, Values};
use crate::support::server::{Server, rows};

/// What became of a column.
#[derive(Debug, Default)]
pub struct Column {
    /// Of the rows that fit.
    pub values: Values,
    /// Rows that do not.
    pub refused: BTreeSet<u64>,
    /// Rows that the comparison would call different.
    pub unequal: BTreeSet<u64>,
    /// Whether osc says that something of the values is lost.
    pub noted: bool,
    /// What would end a run in another way.
    pub failed: Vec<String>,
}

/// The tables `original` and `shadow`, whose columns have the types of the pairs.
pub struct Ours<'a> {
    server: &'a Server,
    original: Table,
    shadow: Table,
    flavor: Flavor,
    sessions: Sessions,
    open: BTreeMap<(bool, bool), Conn>,
    pairs: &'a [(Type, Type)],
    action: &'static str,
}

impl<'a> Ours<'a> {
    pub async fn new(
        server: &'a Server,
        database: &str,
        tables: [&str; 2],
        pairs: &'a [(Type, Type)],
    ) -> Self {
        let action = "trying the type matrix";
        let opts = server.opts(database);
        let mut conn = Sessions::ddl(&opts, action).await.unwrap();
        let role = Role::read(&mut conn).await.unwrap();
        let mut read = Vec::new();
        for table in tables {
            let name = TableName::new(database, table);
            read.push(Table::read(&mut conn, &name).await.unwrap().unwrap());
        }
        let plain = Reading { zoned: false, strict_dates: false };
        let sessions = Sessions::new(&opts, plain, &role);
        let flavor = table::flavor(&mut conn).await.unwrap();
        let (shadow, original) = (read.pop().unwrap(), read.pop().unwrap());
        Self { server, original, shadow, flavor, sessions, open: BTreeMap::new(), pairs, action }
    }

    /// What osc makes of a pair, or why it refuses it before the copy.
    pub async fn column(&mut self, at: usize, was: &Values) -> Result<Column, String> {
        let (id, name) = (Ident::new("id"), Ident::new(format!("c{at}")));
        let only = |table: &Table| {
            let mut table = table.clone();
            table.columns.retain(|column| column.name == id || column.name == name);
            table
        };
        let (original, shadow) = (only(&self.original), only(&self.shadow));
        let kept = [(id.clone(), id.clone()), (name.clone(), name)];
        let (projection, findings) = project(&original, &shadow, &kept, self.flavor);
        if let Some(finding) = findings.first() {
            return Err(finding.problem.clone());
        }
        let reading = Reading { zoned: projection.zoned, strict_dates: projection.dated };
        let noted = !projection.notes.is_empty();
        let index = original.indexes[0].clone();
        let statements = Statements {
            original: original.name.clone(),
            shadow: shadow.name.clone(),
            key: original.key_columns(&index).unwrap(),
            index: index.name.clone(),
            shadow_key: vec![id],
            shadow_index: index.name,
            projection,
            put: None,
        };
        let mut column = Column { noted, ..Column::default() };
        let action = self.action;
        let conn = self.session(reading).await;
        let mut fitting: Vec<Key> = Vec::new();
        let mut nothing = false;
        for (row, value) in was {
            // NULL once.
            if value == NULL && std::mem::replace(&mut nothing, true) {
                continue;
            }
            let key =
                statements.key.encode(&[KeyValue::Int(i64::try_from(*row).unwrap())]).unwrap();
            match first_unfit(conn, &statements, vec![key.clone()], action).await {
                Ok(None) => fitting.push(key),
                Ok(Some(_)) => drop(column.refused.insert(*row)),
                Err(error) => column.failed.push(format!("row {row}: {error}")),
            }
        }
        let (to, kind) = (self.pairs[at].1, self.server.kind());
        let conn = self.session(reading).await;
        conn.query_drop("START TRANSACTION").await.unwrap();
        let insert = statements.rewrite(&fitting).unwrap();
        if let Err(error) = conn.query_drop(insert.statement).await {
            column.failed.push(error.to_string());
        }
        let mut digests = Vec::new();
        for side in [Side::Original, Side::Shadow] {
            let scope = Scope::Keys(&fitting);
            let sql = statements.digests(side, scope).unwrap();
            let found: BTreeMap<String, String> = rows(conn, &sql)
                .await
                .into_iter()
                .map(|mut row| (row.remove(1), row.remove(0)))
                .collect();
            digests.push(found);
        }
        for (row, digest) in &digests[1] {
            if digests[0].get(row) != Some(digest) || digest == NULL {
                column.unequal.insert(row.parse().unwrap());
            }
        }
        // As the twin is read.
        conn.query_drop("SET @zone = @@SESSION.time_zone, SESSION time_zone = @@GLOBAL.time_zone")
            .await
            .unwrap();
        let table = statements.shadow.to_string();
        column.values =
            values::of_columns(conn, &table, &[(at, to)], kind).await.remove(&at).unwrap();
        conn.query_drop("SET SESSION time_zone = @zone").await.unwrap();
        conn.query_drop("ROLLBACK").await.unwrap();
        Ok(column)
    }

    async fn session(&mut self, reading: Reading) -> &mut Conn {
        let key = (reading.zoned, reading.strict_dates);
        if !self.open.contains_key(&key) {
            let conn = self.sessions.own(self.action, reading).await.unwrap();
            self.open.insert(key, conn);
        }
        self.open.get_mut(&key).unwrap()
    }
}
