//! Foreign keys of a table, and to it, survive its swap.

use crate::support;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::manual_swap::{Swap, exec, script};
use crate::support::server::{Kind, Server};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use osc::mysql::catalog::query::Patience;
use osc::mysql::dependents::foreign_keys::{
    ColumnChanges, ForeignKey, Rule, drop_outgoing, incoming, install_outgoing, orphans, outgoing,
    redirect_incoming, settle, unlogged_cascades,
};
use osc::mysql::name::{Ident, TableName};
use tokio::sync::watch;
use tokio::task::JoinSet;

const TABLES: &str = "
CREATE TABLE parents (id INT PRIMARY KEY);
CREATE TABLE users (id INT AUTO_INCREMENT PRIMARY KEY, parent INT, boss INT, n INT NOT NULL,
  KEY (parent), KEY (boss),
  CONSTRAINT users_parent FOREIGN KEY (parent) REFERENCES parents (id) ON UPDATE CASCADE,
  CONSTRAINT users_boss FOREIGN KEY (boss) REFERENCES users (id) ON DELETE SET NULL);
CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, user INT, other INT, KEY (user), KEY (other),
  CONSTRAINT orders_user FOREIGN KEY (user) REFERENCES users (id) ON DELETE CASCADE,
  CONSTRAINT orders_other FOREIGN KEY (other) REFERENCES users (id) ON UPDATE RESTRICT ON DELETE NO ACTION);
CREATE TABLE users_osc_new (id INT AUTO_INCREMENT PRIMARY KEY, parent INT, boss INT,
  n BIGINT NOT NULL, KEY (parent), KEY (boss));
INSERT INTO parents VALUES (1), (2), (3);
INSERT INTO users VALUES (1, 1, NULL, 0), (2, 2, 1, 0);
INSERT INTO orders VALUES (1, 1, 2), (2, 2, NULL);
";

async fn start(kind: Kind, statements: &str) -> (&'static Server, String, Conn) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    let mut conn = server.conn_db(&database).await;
    script(&mut conn, statements).await;
    (server, database, conn)
}

async fn settled(conn: &mut Conn, swap: &mut Swap) {
    let (original, shadow) = (&swap.original, &swap.helpers.shadow);
    let columns = ColumnChanges::default();
    let (keys, findings) = settle(conn, original, shadow, &columns, &[], &[]).await.unwrap();
    assert_eq!(findings, []);
    swap.keys = keys;
}

/// The CREATE TABLE statement's lines that are constraints.
async fn constraints(server: &Server, database: &str, table: &str) -> Vec<String> {
    let rows = server.rows(&format!("SHOW CREATE TABLE {database}.{table}")).await;
    let line = |line: &str| line.trim().trim_end_matches(',').to_owned();
    rows[0][1].lines().filter(|line| line.contains("FOREIGN KEY")).map(line).collect()
}

/// An application that expects its keys to be enforced, and to be enforced against live rows only.
async fn application(mut conn: Conn, stop: Arc<AtomicBool>, rounds: watch::Sender<u64>) {
    while !stop.load(Ordering::Relaxed) {
        let round: Result<(), Error> = async {
            conn.query_drop("INSERT INTO users (parent, boss, n) VALUES (1, 1, 1)").await?;
            conn.query_drop("SET @user = LAST_INSERT_ID()").await?;
            conn.query_drop("INSERT INTO orders (user, other) VALUES (@user, NULL), (NULL, @user)")
                .await?;
            let refused = conn.query_drop("DELETE FROM users WHERE id = @user").await;
            assert!(refused.unwrap_err().to_string().contains("foreign key"));
            let refused = conn.query_drop("INSERT INTO users (parent, n) VALUES (99, 1)").await;
            assert!(refused.unwrap_err().to_string().contains("foreign key"));
            let refused = conn.query_drop("INSERT INTO orders (user) VALUES (999999999)").await;
            assert!(refused.unwrap_err().to_string().contains("foreign key"));
            conn.query_drop("UPDATE orders SET other = NULL WHERE other = @user").await?;
            conn.query_drop("DELETE FROM users WHERE id = @user").await?;
            let left: Option<u64> =
                conn.query_first("SELECT COUNT(*) FROM orders WHERE user = @user").await?;
            assert_eq!(left, Some(0), "the delete did not cascade");
            Ok(())
        }
        .await;
        if let Err(error) = round {
            panic!("the application saw {error}");
        }
        rounds.send_modify(|rounds| *rounds += 1);
    }
}

async fn all_keys_are_enforced_at_every_moment_of_a_swap_under_writers(kind: Kind) {
    let (server, database, mut conn) = start(kind, TABLES).await;
    let mut swap = Swap::new(&database);
    settled(&mut conn, &mut swap).await;
    let before = [
        constraints(server, &database, "users").await,
        constraints(server, &database, "orders").await,
    ];
    let stop = Arc::new(AtomicBool::new(false));
    let (rounds, mut progress) = watch::channel(0_u64);
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        let conn = server.conn_db(&database).await;
        writers.spawn(application(conn, Arc::clone(&stop), rounds.clone()));
    }
    for swaps in 1..=4 {
        tokio::select! {
            reached = progress.wait_for(|rounds| *rounds >= 20 * swaps) => assert!(reached.is_ok()),
            ended = writers.join_next() => panic!("a writer ended: {ended:?}"),
        }
        swap.run(server, &database).await;
        exec(&mut conn, "CREATE TABLE next LIKE users").await;
        exec(&mut conn, "DROP TABLE users_osc_old").await;
        exec(&mut conn, "RENAME TABLE next TO users_osc_new").await;
    }
    stop.store(true, Ordering::Relaxed);
    writers.join_all().await;
    assert_eq!(constraints(server, &database, "users").await, before[0]);
    assert_eq!(constraints(server, &database, "orders").await, before[1]);
    for key in swap.keys.outgoing.iter().chain(&swap.keys.incoming) {
        assert_eq!(orphans(&mut conn, key, 10).await.unwrap(), Vec::<String>::new());
    }
}

async fn keys_are_read_whole(kind: Kind) {
    let (_, database, mut conn) = start(
        kind,
        "CREATE TABLE users (a INT, `b``c` INT, boss INT, UNIQUE (a, `b``c`), KEY (boss), UNIQUE (`b``c`),
           CONSTRAINT me FOREIGN KEY (boss) REFERENCES users (`b``c`));\n",
    )
    .await;
    let other = support::database(support::shared(kind)).await;
    let child = format!(
        "CREATE TABLE {other}.child (x INT, y INT, CONSTRAINT `f f` FOREIGN KEY (y, x) \
         REFERENCES {database}.users (a, `b``c`) ON DELETE SET NULL ON UPDATE CASCADE)"
    );
    exec(&mut conn, &child).await;
    let users = TableName::new(&database, "users");
    let ident = |name: &str| Ident::new(name);
    let found = incoming(&mut conn, &users).await.unwrap();
    let expected = ForeignKey {
        table: TableName::new(&other, "child"),
        name: ident("f f"),
        columns: vec![ident("y"), ident("x")],
        referenced: users.clone(),
        referenced_columns: vec![ident("a"), ident("b`c")],
        on_update: Rule::Cascade,
        on_delete: Rule::SetNull,
    };
    assert_eq!(found, [expected]);
    let own = outgoing(&mut conn, &users).await.unwrap();
    assert!(own.len() == 1 && own[0].is_self_reference(), "{own:?}");
}

async fn a_rerun_finishes_what_a_crash_left_at_any_step(kind: Kind) {
    for step in 0..5 {
        let (server, database, mut conn) = start(kind, TABLES).await;
        let mut swap = Swap::new(&database);
        settled(&mut conn, &mut swap).await;
        let before = constraints(server, &database, "orders").await;
        exec(&mut conn, "INSERT INTO users_osc_new SELECT * FROM users").await;
        exec(&mut conn, &swap.rename()).await;
        exec(&mut conn, "SET foreign_key_checks = 0").await;
        let steps = [
            "ALTER TABLE users_osc_old DROP FOREIGN KEY users_parent, DROP FOREIGN KEY users_boss",
            "ALTER TABLE users ADD CONSTRAINT users_parent_osc FOREIGN KEY (parent) \
             REFERENCES parents (id) ON UPDATE CASCADE",
            "ALTER TABLE orders DROP FOREIGN KEY orders_user, ADD CONSTRAINT orders_user_osc \
             FOREIGN KEY (user) REFERENCES users (id) ON DELETE CASCADE",
            "ALTER TABLE orders DROP FOREIGN KEY orders_user_osc, ADD CONSTRAINT orders_user \
             FOREIGN KEY (user) REFERENCES users (id) ON DELETE CASCADE",
        ];
        for sql in &steps[..step] {
            exec(&mut conn, sql).await;
        }
        exec(&mut conn, "SET foreign_key_checks = 1").await;
        for _ in 0..2 {
            swap.finish(&mut conn).await;
            assert_eq!(outgoing(&mut conn, &swap.original).await.unwrap(), {
                let mut wanted = swap.keys.outgoing.clone();
                wanted.sort_by(|a, b| a.name.cmp(&b.name));
                wanted
            });
            assert_eq!(constraints(server, &database, "orders").await, before);
            assert_eq!(outgoing(&mut conn, &swap.helpers.retired).await.unwrap(), []);
        }
        let checks = support::server::rows(&mut conn, "SELECT @@foreign_key_checks").await;
        assert_eq!(checks, [["1"]], "the session's settings are put back");
    }
}

async fn a_swap_that_did_not_come_about_is_undone(kind: Kind) {
    let (server, database, mut conn) = start(kind, TABLES).await;
    let mut swap = Swap::new(&database);
    settled(&mut conn, &mut swap).await;
    let before = constraints(server, &database, "orders").await;
    let (original, shadow) = (&swap.original, &swap.helpers.shadow);
    let (keys, patience) = (&swap.keys, Patience::ONCE);
    let mut holder = swap.locked(server, &database).await;
    install_outgoing(&mut holder, shadow, &keys.outgoing, patience).await.unwrap();
    for _ in 0..2 {
        redirect_incoming(&mut holder, original, shadow, &keys.incoming, &[], patience)
            .await
            .unwrap();
    }
    assert_eq!(outgoing(&mut holder, shadow).await.unwrap().len(), 2);
    assert!(constraints(server, &database, "orders").await[0].contains("users_osc_new"));
    drop(holder);
    for _ in 0..2 {
        drop_outgoing(&mut conn, shadow, Patience::FINISH).await.unwrap();
        redirect_incoming(&mut conn, original, original, &keys.incoming, &[], Patience::FINISH)
            .await
            .unwrap();
    }
    assert_eq!(outgoing(&mut conn, shadow).await.unwrap(), []);
    assert_eq!(constraints(server, &database, "orders").await, before);
}

async fn added_dropped_and_renamed_are_settled_as_the_server_understands_them(kind: Kind) {
    let (server, database, mut conn) = start(
        kind,
        "CREATE TABLE parents (id INT PRIMARY KEY);
CREATE TABLE users (id INT PRIMARY KEY, a INT, b INT, boss INT,
  FOREIGN KEY (a) REFERENCES parents (id),
  CONSTRAINT gone FOREIGN KEY (b) REFERENCES parents (id),
  CONSTRAINT boss FOREIGN KEY (boss) REFERENCES users (id));
CREATE TABLE orders (id INT PRIMARY KEY, user INT,
  CONSTRAINT orders_user FOREIGN KEY (user) REFERENCES users (id));
CREATE TABLE users_osc_new (uid INT PRIMARY KEY, alpha INT, b INT, boss INT, c INT, KEY (alpha), KEY (boss));\n",
    )
    .await;
    let mut swap = Swap::new(&database);
    let renamed =
        vec![(Ident::new("id"), Ident::new("uid")), (Ident::new("a"), Ident::new("alpha"))];
    let columns = ColumnChanges { renamed, dropped: vec![] };
    let added = [
        "ADD FOREIGN KEY (c) REFERENCES parents (id) ON DELETE SET NULL".to_owned(),
        "ADD CONSTRAINT extra FOREIGN KEY (b) REFERENCES parents (id)".to_owned(),
    ];
    let (original, shadow) = (&swap.original, &swap.helpers.shadow);
    let dropped = [Ident::new("gone")];
    let (keys, findings) =
        settle(&mut conn, original, shadow, &columns, &added, &dropped).await.unwrap();
    assert_eq!(findings, []);
    let names: Vec<&str> = keys.outgoing.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["boss", "users_ibfk_1", "users_ibfk_2", "extra"]);
    assert_eq!(outgoing(&mut conn, shadow).await.unwrap(), [], "the shadow is left without keys");
    swap.keys = keys;
    swap.copy = "SELECT id, a, b, boss, NULL FROM users".into();
    swap.run(server, &database).await;
    let lines = constraints(server, &database, "users").await.join("\n");
    for expected in [
        "`users_ibfk_1` FOREIGN KEY (`alpha`) REFERENCES `parents` (`id`)",
        "`users_ibfk_2` FOREIGN KEY (`c`) REFERENCES `parents` (`id`) ON DELETE SET NULL",
        "`extra` FOREIGN KEY (`b`)",
        "`boss` FOREIGN KEY (`boss`) REFERENCES `users` (`uid`)",
    ] {
        assert!(lines.contains(expected), "{expected} in\n{lines}");
    }
    assert!(!lines.contains("gone"));
    let lines = constraints(server, &database, "orders").await;
    assert!(lines[0].contains("`orders_user` FOREIGN KEY (`user`) REFERENCES `users` (`uid`)"));
}

async fn keys_that_cannot_be_kept_are_found_before_the_start(kind: Kind) {
    let cases = [
        ("uid INT PRIMARY KEY, parent INT, boss INT, KEY (parent), KEY (boss)", Some("id")),
        ("id BIGINT PRIMARY KEY, parent INT, boss INT, KEY (parent), KEY (boss)", None),
        ("id INT, n INT PRIMARY KEY, parent INT, boss INT, KEY (parent), KEY (boss)", None),
        ("id INT PRIMARY KEY, parent INT UNSIGNED, boss INT, KEY (parent), KEY (boss)", None),
        ("id INT PRIMARY KEY, parent INT, boss INT, KEY (boss)", None),
    ];
    let checks = [
        vec!["foreign-key", "referenced-column", "referenced-column"],
        vec!["foreign-key", "referenced-column", "referenced-column"],
        vec!["foreign-key", "referenced-column", "referenced-column"],
        vec!["foreign-key"],
        vec!["foreign-key-index"],
    ];
    for ((columns, dropped), expected) in cases.into_iter().zip(checks) {
        let (_, database, mut conn) = start(kind, TABLES).await;
        exec(&mut conn, "DROP TABLE users_osc_new").await;
        exec(&mut conn, &format!("CREATE TABLE users_osc_new ({columns})")).await;
        let swap = Swap::new(&database);
        let changes = ColumnChanges {
            renamed: vec![],
            dropped: dropped.map(Ident::new).into_iter().collect(),
        };
        let (original, shadow) = (&swap.original, &swap.helpers.shadow);
        let (_, findings) = settle(&mut conn, original, shadow, &changes, &[], &[]).await.unwrap();
        let found: Vec<&str> = findings.iter().map(|finding| finding.check).collect();
        assert_eq!(found, expected, "{columns}: {findings:#?}");
        let tables = support::server::rows(&mut conn, "SHOW TABLES").await;
        assert_eq!(tables, [["orders"], ["parents"], ["users"], ["users_osc_new"]]);
    }
}

async fn children_that_the_user_may_not_see_are_found(kind: Kind) {
    let (server, database, mut conn) = start(kind, TABLES).await;
    let hidden = support::database(server).await;
    let child = format!(
        "CREATE TABLE {hidden}.child (u INT, FOREIGN KEY (u) REFERENCES {database}.users (id))"
    );
    exec(&mut conn, &child).await;
    let user = format!("'{database}'@'127.0.0.1'");
    exec(&mut conn, &format!("CREATE USER {user}")).await;
    exec(&mut conn, &format!("GRANT ALL ON {database}.* TO {user}")).await;
    exec(&mut conn, &format!("GRANT PROCESS ON *.* TO {user}")).await;
    let url = format!("mysql://{database}@127.0.0.1:{}/{database}", server.port());
    let opts = mysql_async::OptsBuilder::from_opts(mysql_async::Opts::from_url(&url).unwrap())
        .prefer_socket(false);
    let mut limited = Conn::new(opts).await.unwrap();
    let swap = Swap::new(&database);
    let columns = ColumnChanges::default();
    let (original, shadow) = (&swap.original, &swap.helpers.shadow);
    let (_, findings) = settle(&mut limited, original, shadow, &columns, &[], &[]).await.unwrap();
    let found: Vec<&str> = findings.iter().map(|finding| finding.check).collect();
    assert_eq!(found, ["hidden-children"], "{findings:#?}");
    let (_, findings) = settle(&mut conn, original, shadow, &columns, &[], &[]).await.unwrap();
    assert_eq!(findings, []);
}

async fn rows_without_a_parent_are_found_window_by_window(kind: Kind) {
    let (_, database, mut conn) = start(
        kind,
        "CREATE TABLE p (id INT PRIMARY KEY);
INSERT INTO p VALUES (1);
CREATE TABLE c (a VARCHAR(5), b ENUM('z', 'y'), t DATETIME(6), x INT, PRIMARY KEY (a, b, t),
  CONSTRAINT f FOREIGN KEY (x) REFERENCES p (id));
INSERT INTO c SELECT CHAR(97 + a.n USING utf8mb4), 1 + b.n, '2024-01-01 00:00:00.5', 1
  FROM (SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5) a,
  (SELECT 0 n UNION SELECT 1) b;
SET foreign_key_checks = 0;
UPDATE c SET x = 7 WHERE a IN ('b', 'f') AND b = 'y';
UPDATE c SET x = NULL WHERE a = 'c';
SET foreign_key_checks = 1;\n",
    )
    .await;
    let key = &outgoing(&mut conn, &TableName::new(&database, "c")).await.unwrap()[0];
    let row = |a: &str| {
        format!(
            "{database}.c.f: the row a = {a}, b = y, t = 2024-01-01 00:00:00.500000 has no parent"
        )
    };
    for window in [1, 2, 5, 12, 100] {
        let found = orphans(&mut conn, key, window).await.unwrap();
        assert_eq!(found, [row("b"), row("f")], "{window}");
    }
}

async fn cascades_that_the_log_does_not_show_are_found(kind: Kind) {
    let (server, database, mut conn) = start(kind, TABLES).await;
    let keys = outgoing(&mut conn, &TableName::new(&database, "users")).await.unwrap();
    let findings = unlogged_cascades(&mut conn, &keys).await.unwrap();
    // What the server really does.
    exec(&mut conn, "FLUSH BINARY LOGS").await;
    exec(&mut conn, "UPDATE parents SET id = 10 WHERE id = 1").await;
    let logs = server.rows("SHOW BINARY LOGS").await;
    let events = server.rows(&format!("SHOW BINLOG EVENTS IN '{}'", logs[logs.len() - 1][0])).await;
    let updates = events.iter().filter(|event| event[2].starts_with("Update_rows")).count();
    assert!(updates > 0, "{events:?}");
    assert_eq!(findings.is_empty(), updates > 1, "{events:?}");
    if !findings.is_empty() {
        assert_eq!(findings.len(), 2, "one that updates, one that sets NULL");
    }
}

on_both_servers! {
    all_keys_are_enforced_at_every_moment_of_a_swap_under_writers
    keys_are_read_whole
    a_rerun_finishes_what_a_crash_left_at_any_step
    a_swap_that_did_not_come_about_is_undone
    added_dropped_and_renamed_are_settled_as_the_server_understands_them
    keys_that_cannot_be_kept_are_found_before_the_start
    children_that_the_user_may_not_see_are_found
    rows_without_a_parent_are_found_window_by_window
    cascades_that_the_log_does_not_show_are_found
}
