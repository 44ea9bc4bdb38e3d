//! A table with everything on it, and an application that counts on all of it.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test program uses a part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::server::{Kind, Server, rows};

/// What the table has on both servers; names in triggers are quoted as osc quotes them, since
/// MariaDB keeps a trigger's text as it was sent. `{update}` and `{delete}`: cascades into the table, which
/// only MySQL 9.7 logs.
const TABLES: &str = "
CREATE TABLE parents (id INT PRIMARY KEY, n INT NOT NULL DEFAULT 0);
CREATE TABLE audit (id BIGINT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(40) NOT NULL, user BIGINT, KEY (user));
CREATE TABLE users (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT COMMENT 'it''s the \"key\"',
  parent INT NULL,
  boss INT UNSIGNED NULL,
  name VARCHAR(60) CHARACTER SET latin1 COLLATE latin1_german1_ci NOT NULL DEFAULT 'é' COMMENT 'naïve',
  bio TEXT,
  n INT NOT NULL DEFAULT 0,
  low VARCHAR(60) GENERATED ALWAYS AS (LOWER(bio)) VIRTUAL,
  twice BIGINT GENERATED ALWAYS AS (n * 2) STORED COMMENT 'n, twice',
  seen TIMESTAMP(3) NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  size ENUM('small','it''s large') DEFAULT 'small',
  PRIMARY KEY (id),
  UNIQUE KEY `odd``name` (n, id),
  KEY users_parent (parent),
  KEY users_boss (boss),
  KEY name_n (name(10), n) COMMENT 'prefix',
  KEY twice (twice),
  FULLTEXT KEY words (bio),
  CONSTRAINT users_parent FOREIGN KEY (parent) REFERENCES parents (id) {update},
  CONSTRAINT users_boss FOREIGN KEY (boss) REFERENCES users (id) {delete},
  CHECK (n >= 0)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC
  STATS_PERSISTENT=1 COMMENT='users; `all` of them';
CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, user INT UNSIGNED, other INT UNSIGNED, KEY (user), KEY (other),
  CONSTRAINT orders_user FOREIGN KEY (user) REFERENCES users (id) ON DELETE CASCADE,
  CONSTRAINT orders_other FOREIGN KEY (other) REFERENCES users (id) ON UPDATE RESTRICT ON DELETE NO ACTION);
CREATE TABLE letters (id INT AUTO_INCREMENT PRIMARY KEY, user INT UNSIGNED NOT NULL,
  CONSTRAINT letters_user FOREIGN KEY (user) REFERENCES users (id));
CREATE TRIGGER `grow` BEFORE INSERT ON `users` FOR EACH ROW SET NEW.n = NEW.n + 1;
CREATE TRIGGER `double``d` BEFORE INSERT ON `users` FOR EACH ROW FOLLOWS grow SET NEW.n = NEW.n * 2;
CREATE TRIGGER `first` BEFORE INSERT ON `users` FOR EACH ROW PRECEDES grow SET NEW.n = NEW.n - 1;
CREATE TRIGGER `born` AFTER INSERT ON `users` FOR EACH ROW INSERT INTO audit (what, user) VALUES ('born', NEW.id);
CREATE TRIGGER `rise` BEFORE UPDATE ON `users` FOR EACH ROW SET NEW.n = NEW.n + 1;
CREATE TRIGGER `lived` AFTER UPDATE ON `users` FOR EACH ROW INSERT INTO audit (what, user) VALUES ('lived', NEW.id);
CREATE TRIGGER `fall` BEFORE DELETE ON `users` FOR EACH ROW INSERT INTO audit (what, user) VALUES ('falls', OLD.id);
CREATE TRIGGER `died` AFTER DELETE ON `users` FOR EACH ROW INSERT INTO audit (what, user) VALUES ('died', OLD.id);
CREATE VIEW people AS SELECT id, name, n FROM users WHERE n >= 0;
INSERT INTO parents (id) VALUES (1), (2), (3);
";

/// The tables that the change must leave as they are.
const OTHERS: [&str; 4] = ["parents", "audit", "orders", "letters"];

const TRIGGERS: [&str; 8] = ["grow", "double`d", "first", "born", "rise", "lived", "fall", "died"];

/// Rows at the start.
pub const ROWS: u64 = 3000;

/// Makes the tables, with rows and a gap in the numbers.
pub async fn build(server: &Server, database: &str) {
    let (update, delete) = match server.kind() {
        Kind::Mysql => ("ON UPDATE CASCADE", "ON DELETE SET NULL"),
        Kind::Mariadb => ("", ""),
    };
    let mut conn = server.conn_db(database).await;
    let tables = TABLES.replace("{update}", update).replace("{delete}", delete);
    for statement in tables.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        exec(&mut conn, statement).await;
    }
    let depth = match server.kind() {
        Kind::Mysql => "cte_max_recursion_depth",
        Kind::Mariadb => "max_recursive_iterations",
    };
    exec(&mut conn, &format!("SET SESSION {depth} = {ROWS}")).await;
    exec(
        &mut conn,
        &format!(
            "INSERT INTO users (id, parent, name, bio, n) \
             WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {ROWS}) \
             SELECT i, i % 3 + 1, CONCAT('Größe ', i), CONCAT('word', i % 7, ' of ', i), i FROM s"
        ),
    )
    .await;
    exec(&mut conn, "UPDATE users SET boss = 1 WHERE id % 10 = 2").await;
    exec(&mut conn, "INSERT INTO orders (user, other) SELECT id, id + 1 FROM users WHERE id < 500")
        .await;
    exec(&mut conn, "ALTER TABLE users AUTO_INCREMENT = 50000").await;
    if server.kind() == Kind::Mysql {
        exec(&mut conn, "ANALYZE TABLE users UPDATE HISTOGRAM ON name, size WITH 17 BUCKETS").await;
    }
}

/// All definitions, as the server shows them, the table's own first.
pub async fn definitions(server: &Server, database: &str) -> Vec<String> {
    let mut conn = server.conn_db(database).await;
    let mut reported = vec![rows(&mut conn, "SHOW CREATE TABLE users").await[0][1].clone()];
    for table in OTHERS {
        let create = rows(&mut conn, &format!("SHOW CREATE TABLE {table}")).await;
        reported.push(without_counter(&create[0][1]));
    }
    reported.push(rows(&mut conn, "SHOW CREATE VIEW people").await[0][1].clone());
    for trigger in TRIGGERS {
        let name = trigger.replace('`', "``");
        let mut row = rows(&mut conn, &format!("SHOW CREATE TRIGGER `{name}`")).await.remove(0);
        row.truncate(6); // The last column is the time of its making.
        reported.push(row.join(" | "));
    }
    let order = "SELECT EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER, TRIGGER_NAME \
                 FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() \
                 ORDER BY 1, 2, 3";
    reported.extend(rows(&mut conn, order).await.into_iter().map(|row| row.join(" ")));
    if server.kind() == Kind::Mysql {
        let histograms = "SELECT COLUMN_NAME, HISTOGRAM->>'$.\"number-of-buckets-specified\"' \
                          FROM information_schema.COLUMN_STATISTICS \
                          WHERE SCHEMA_NAME = DATABASE() AND TABLE_NAME = 'users' ORDER BY 1";
        reported.extend(rows(&mut conn, histograms).await.into_iter().map(|row| row.join(" ")));
    }
    reported
}

/// A table's definition but for the next AUTO_INCREMENT.
pub fn without_counter(create: &str) -> String {
    let Some((before, rest)) = create.split_once(" AUTO_INCREMENT=") else { return create.into() };
    format!("{before}{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Fails when anything of osc's is left but the retired table and the ledger.
pub async fn assert_nothing_left(server: &Server, database: &str) {
    let mut conn = server.conn_db(database).await;
    let left = rows(
        &mut conn,
        "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS \
         WHERE TRIGGER_SCHEMA = DATABASE() AND \
           (TRIGGER_NAME LIKE '%osc' OR EVENT_OBJECT_TABLE LIKE '%osc%') \
         UNION ALL SELECT CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS \
         WHERE CONSTRAINT_SCHEMA = DATABASE() AND (CONSTRAINT_NAME LIKE '%osc' \
           OR TABLE_NAME LIKE '%osc%' OR REFERENCED_TABLE_NAME LIKE '%osc%') \
         UNION ALL SELECT TABLE_NAME FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE '%osc%' \
           AND TABLE_NAME NOT IN ('users_osc_old', 'osc_ledger', 'osc_marker', 'osc_order', 'osc_sample')",
    )
    .await;
    assert!(left.is_empty(), "left behind: {left:?}");
    let retired = rows(&mut conn, "SELECT COUNT(*) >= 3000 FROM users_osc_old").await;
    assert_eq!(retired, [["1"]], "the retired table is no sentry");
}

/// The application at work.
pub struct Application {
    stop: Arc<AtomicBool>,
    rounds: watch::Sender<u64>,
    writers: JoinSet<()>,
}

impl Application {
    /// `strict`: at no moment may a key not be enforced. Else such an error is passed over: after a
    /// crash there is a moment until osc is run again.
    pub async fn start(server: &Server, database: &str, strict: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (rounds, _) = watch::channel(0);
        let mut writers = JoinSet::new();
        for _ in 0..3 {
            let mut conn = server.conn_db(database).await;
            let (stop, rounds) = (Arc::clone(&stop), rounds.clone());
            writers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match round(&mut conn, strict).await {
                        Ok(()) => rounds.send_modify(|rounds| *rounds += 1),
                        // 1451, 1452: a key that references the retired table.
                        Err(Error::Server(error))
                            if !strict && matches!(error.code, 1451 | 1452) => {}
                        Err(error) => panic!("the application saw {error}"),
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            });
        }
        Self { stop, rounds, writers }
    }

    /// Waits until each writer got round some more.
    pub async fn go_on(&mut self) {
        let target = *self.rounds.borrow() + 20;
        let mut rounds = self.rounds.subscribe();
        tokio::select! {
            _ = rounds.wait_for(|rounds| *rounds >= target) => {}
            () = tokio::time::sleep(std::time::Duration::from_secs(30)) => panic!("it stands still"),
            ended = self.writers.join_next() => panic!("a writer ended: {ended:?}"),
        }
    }

    /// Ends it; fails if it saw anything that it should not.
    pub async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(writer) = self.writers.join_next().await {
            writer.unwrap();
        }
    }
}

/// Writes parent, table and children, and counts on keys and triggers.
async fn round(conn: &mut Conn, strict: bool) -> Result<(), Error> {
    conn.query_drop("INSERT INTO users (parent, boss, bio, n) VALUES (1, 1, 'Bio', 10)").await?;
    conn.query_drop("SET @user = LAST_INSERT_ID()").await?;
    conn.query_drop("INSERT INTO orders (user) VALUES (@user)").await?;
    conn.query_drop("INSERT INTO letters (user) VALUES (@user)").await?;
    conn.query_drop("UPDATE parents SET n = n + 1 WHERE id = 1").await?;
    conn.query_drop("UPDATE users SET name = 'Ärger', boss = NULL WHERE id = @user").await?;
    if strict {
        for refused in [
            "DELETE FROM users WHERE id = @user",
            "DELETE FROM parents WHERE id = 1",
            "INSERT INTO users (parent) VALUES (99)",
            "INSERT INTO users (boss) VALUES (4000000000)",
            "INSERT INTO orders (user) VALUES (4000000000)",
            "INSERT INTO letters (user) VALUES (4000000000)",
        ] {
            match conn.query_drop(refused).await {
                Err(Error::Server(error)) if matches!(error.code, 1451 | 1452) => {}
                other => panic!("{refused}: {other:?}"),
            }
        }
    }
    conn.query_drop("DELETE FROM letters WHERE user = @user").await?;
    conn.query_drop("DELETE FROM users WHERE id = @user").await?;
    if strict {
        let orders: Option<u64> =
            conn.query_first("SELECT COUNT(*) FROM orders WHERE user = @user").await?;
        assert_eq!(orders, Some(0), "the delete did not cascade");
        let audit: Option<String> = conn
            .query_first("SELECT GROUP_CONCAT(what ORDER BY id) FROM audit WHERE user = @user")
            .await?;
        // A refused statement's triggers are rolled back with it.
        assert_eq!(audit.as_deref(), Some("born,lived,falls,died"), "each trigger fires once");
    }
    Ok(())
}

pub async fn exec(conn: &mut Conn, sql: &str) {
    conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}
