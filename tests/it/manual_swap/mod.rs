//! A swap by hand, as the cut-over does it on each server, with what hangs on the table.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test program uses a part")]

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use osc::mysql::catalog::query::Patience;
use osc::mysql::dependents::foreign_keys::{
    Settled, install_outgoing, lock_set, redirect_incoming, restore_outgoing,
};
use osc::mysql::dependents::triggers;
use osc::mysql::dependents::triggers::Trigger;
use osc::mysql::name::{Helpers, TableName};

use crate::support::server::{Kind, Server};

pub struct Swap {
    pub original: TableName,
    pub helpers: Helpers,
    pub keys: Settled,
    pub triggers: Vec<Trigger>,
    /// The shadow's columns and what they are made of.
    pub copy: String,
}

impl Swap {
    pub fn new(database: &str) -> Self {
        let original = TableName::new(database, "users");
        let helpers = Helpers::of(&original);
        Self {
            original,
            helpers,
            keys: Settled::default(),
            triggers: Vec::new(),
            copy: "SELECT * FROM users".into(),
        }
    }

    /// Locks all, fills the shadow, swaps, and settles what hangs on the table.
    pub async fn run(&self, server: &Server, database: &str) {
        match server.kind() {
            Kind::Mysql => {
                let mut conn = self.locked(server, database).await;
                triggers::install_temporary(
                    &mut conn,
                    &self.original,
                    &self.helpers.shadow,
                    &self.triggers,
                )
                .await
                .unwrap();
                exec(&mut conn, &self.rename()).await;
                let (original, retired) = (&self.original, &self.helpers.retired);
                triggers::restore_names(&mut conn, original, retired, &self.triggers)
                    .await
                    .unwrap();
                self.settle(&mut conn, Patience::ONCE).await;
                exec(&mut conn, "UNLOCK TABLES").await;
            }
            Kind::Mariadb => {
                let mut conn = self.locked(server, database).await;
                self.prepare(&mut conn).await;
                self.rename_in_other_session(server, &mut conn).await;
                self.finish(&mut conn).await;
            }
        }
    }

    /// A session that has locked all and filled the shadow.
    pub async fn locked(&self, server: &Server, database: &str) -> Conn {
        let mut conn = server.conn_db(database).await;
        exec(&mut conn, "SET autocommit = 0").await;
        let others = lock_set(&self.original, &self.keys.outgoing, &self.keys.incoming);
        let mut lock =
            format!("LOCK TABLES {} WRITE, {} WRITE", self.original, self.helpers.shadow);
        for table in others {
            lock += &format!(", {table} WRITE");
        }
        exec(&mut conn, &lock).await;
        exec(&mut conn, &format!("INSERT INTO {} {}", self.helpers.shadow, self.copy)).await;
        exec(&mut conn, "COMMIT").await;
        conn
    }

    /// MariaDB, under the lock.
    pub async fn prepare(&self, conn: &mut Conn) {
        let shadow = &self.helpers.shadow;
        triggers::install_temporary(conn, &self.original, shadow, &self.triggers).await.unwrap();
        install_outgoing(conn, shadow, &self.keys.outgoing, Patience::ONCE).await.unwrap();
        let keys = &self.keys;
        let warnings = redirect_incoming(
            conn,
            &self.original,
            shadow,
            &keys.incoming,
            &keys.renames,
            Patience::ONCE,
        );
        assert_eq!(warnings.await.unwrap(), Vec::<String>::new());
    }

    pub fn rename(&self) -> String {
        let Helpers { shadow, retired } = &self.helpers;
        let original = &self.original;
        format!("RENAME TABLE {original} TO {retired}, {shadow} TO {original}")
    }

    pub async fn rename_in_other_session(&self, server: &Server, holder: &mut Conn) {
        let (mut other, rename) = (server.conn().await, self.rename());
        let id = other.id();
        let renaming = tokio::spawn(async move { exec(&mut other, &rename).await });
        let waiting = format!(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
             WHERE ID = {id} AND STATE LIKE 'Waiting for table metadata lock'"
        );
        while server.value(&waiting).await != "1" {
            tokio::task::yield_now().await;
        }
        exec(holder, "UNLOCK TABLES").await;
        renaming.await.unwrap();
    }

    /// What follows the swap, and what a rerun after a crash does.
    pub async fn finish(&self, conn: &mut Conn) {
        let (original, retired) = (&self.original, &self.helpers.retired);
        triggers::restore_names_locked(conn, original, retired, &self.triggers, Patience::FINISH)
            .await
            .unwrap();
        self.settle(conn, Patience::FINISH).await;
    }

    async fn settle(&self, conn: &mut Conn, patience: Patience) {
        let (original, retired) = (&self.original, &self.helpers.retired);
        let keys = &self.keys;
        restore_outgoing(conn, original, retired, &keys.outgoing, patience).await.unwrap();
        let warnings =
            redirect_incoming(conn, original, original, &keys.incoming, &keys.renames, patience);
        assert_eq!(warnings.await.unwrap(), Vec::<String>::new());
    }
}

pub async fn exec(conn: &mut Conn, sql: &str) {
    conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Runs statements that end with `;` at the end of a line.
pub async fn script(conn: &mut Conn, statements: &str) {
    for statement in statements.split(";\n") {
        if !statement.trim().is_empty() {
            exec(conn, statement).await;
        }
    }
}
