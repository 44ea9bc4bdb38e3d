//! Triggers and statistics of a table survive its swap.

use crate::support;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::manual_swap::{Swap, exec, script};
use crate::support::server::{Kind, Server, rows};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use osc::error::Error;
use osc::mysql::catalog::query::Patience;
use osc::mysql::connection::version::Flavor;
use osc::mysql::dependents::histograms::analyze;
use osc::mysql::dependents::triggers::{
    install_temporary, read, remove_temporary, restore_names_locked, validate,
};
use osc::mysql::name::Ident;
use tokio::sync::watch;
use tokio::task::JoinSet;

const TABLES: &str = "
CREATE TABLE audit (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(20), user INT, n INT);
CREATE TABLE users (id INT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL, s VARCHAR(20) CHARACTER SET latin1);
CREATE TABLE users_osc_new (id INT AUTO_INCREMENT PRIMARY KEY, n BIGINT NOT NULL, s VARCHAR(20) CHARACTER SET latin1);
CREATE TRIGGER double_it BEFORE INSERT ON users FOR EACH ROW SET NEW.n = NEW.n * 2;
CREATE TRIGGER plus_one BEFORE INSERT ON users FOR EACH ROW SET NEW.n = NEW.n + 1;
CREATE TRIGGER inserted AFTER INSERT ON users FOR EACH ROW INSERT INTO audit (what, user, n) VALUES ('insert', NEW.id, NEW.n);
CREATE TRIGGER updated AFTER UPDATE ON users FOR EACH ROW INSERT INTO audit (what, user, n) VALUES ('update', NEW.id, NEW.n);
CREATE TRIGGER deleted AFTER DELETE ON users FOR EACH ROW INSERT INTO audit (what, user, n) VALUES ('delete', OLD.id, OLD.n);
";

async fn start(kind: Kind, statements: &str) -> (&'static Server, String, Conn) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    let mut conn = server.conn_db(&database).await;
    script(&mut conn, statements).await;
    (server, database, conn)
}

/// Names, tables and events in the order in which the triggers fire.
async fn order(server: &Server, database: &str) -> Vec<Vec<String>> {
    let sql = format!(
        "SELECT EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, TRIGGER_NAME \
         FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = '{database}' \
         ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER"
    );
    server.rows(&sql).await
}

async fn every_write_fires_its_triggers_once_over_a_swap_under_writers(kind: Kind) {
    let (server, database, mut conn) = start(kind, TABLES).await;
    let before = order(server, &database).await;
    let mut swap = Swap::new(&database);
    swap.triggers = read(&mut conn, &swap.original).await.unwrap();
    assert_eq!(swap.triggers.len(), 5);
    assert_eq!(validate(&mut conn, &swap.helpers.shadow, &swap.triggers).await.unwrap(), []);
    let stop = Arc::new(AtomicBool::new(false));
    let (rounds, mut progress) = watch::channel(0_u64);
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        let mut conn = server.conn_db(&database).await;
        let (stop, rounds) = (Arc::clone(&stop), rounds.clone());
        writers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                exec(&mut conn, "INSERT INTO users (n) VALUES (10)").await;
                exec(&mut conn, "UPDATE users SET n = n + 1 WHERE id = LAST_INSERT_ID()").await;
                let mut round = 0;
                rounds.send_modify(|rounds| {
                    round = *rounds;
                    *rounds += 1;
                });
                if round.is_multiple_of(3) {
                    exec(&mut conn, "DELETE FROM users WHERE id = LAST_INSERT_ID()").await;
                }
            }
        });
    }
    for swaps in 1..=4 {
        tokio::select! {
            reached = progress.wait_for(|rounds| *rounds >= 40 * swaps) => assert!(reached.is_ok()),
            ended = writers.join_next() => panic!("a writer ended: {ended:?}"),
        }
        swap.triggers = read(&mut conn, &swap.original).await.unwrap();
        // An id that is given out again after a delete would not tell writes apart.
        let ids = format!("ALTER TABLE users_osc_new AUTO_INCREMENT = {}", swaps * 1_000_000);
        exec(&mut conn, &ids).await;
        swap.run(server, &database).await;
        assert_eq!(order(server, &database).await, before);
        exec(&mut conn, "CREATE TABLE next LIKE users").await;
        exec(&mut conn, "DROP TABLE users_osc_old").await;
        exec(&mut conn, "RENAME TABLE next TO users_osc_new").await;
    }
    stop.store(true, Ordering::Relaxed);
    writers.join_all().await;
    let rounds = *progress.borrow();
    let counted = "SELECT COUNT(*), COUNT(DISTINCT user), MIN(n), MAX(n) FROM audit WHERE what = ";
    let insert = rows(&mut conn, &format!("{counted} 'insert'")).await;
    assert_eq!(insert[0], [rounds.to_string(), rounds.to_string(), "21".into(), "21".into()]);
    let update = rows(&mut conn, &format!("{counted} 'update'")).await;
    assert_eq!(update[0], [rounds.to_string(), rounds.to_string(), "22".into(), "22".into()]);
    let left = rows(&mut conn, "SELECT COUNT(*), MIN(n), MAX(n) FROM users").await;
    let deleted =
        rows(&mut conn, "SELECT COUNT(DISTINCT user), COUNT(*) FROM audit WHERE what = 'delete'")
            .await;
    let gone = rounds.div_ceil(3);
    assert_eq!(deleted[0], [gone.to_string(), gone.to_string()]);
    assert_eq!(left[0], [(rounds - gone).to_string(), "22".into(), "22".into()]);
}

async fn a_trigger_stays_what_it_is_to_the_byte(kind: Kind) {
    let (server, database, mut conn) = start(kind, TABLES).await;
    exec(&mut conn, "DROP TRIGGER inserted").await;
    exec(&mut conn, "SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'").await;
    exec(
        &mut conn,
        "SET SESSION character_set_client = latin1, collation_connection = latin1_german1_ci",
    )
    .await;
    let mut weird =
        b"CREATE DEFINER = 'nobody'@'%' TRIGGER \"we`ird\" AFTER INSERT ON users FOR EACH ROW \
        BEGIN -- ON\n SET @osc_seen = _latin1'\xe9' || '\xe9\\'; END"
            .to_vec();
    // NO_BACKSLASH_ESCAPES is not on.
    weird.splice(weird.len() - 7..weird.len(), *b"\\\\'; END");
    conn.query_drop(weird).await.unwrap();
    exec(&mut conn, "SET NAMES utf8mb4").await;
    let show = format!("SHOW CREATE TRIGGER {database}.`we``ird`");
    let before = show_raw(&mut conn, &show).await;
    let settings = "SELECT @@sql_mode, @@character_set_client, @@character_set_results, @@collation_connection";
    let session = rows(&mut conn, settings).await;
    let mut swap = Swap::new(&database);
    swap.triggers = read(&mut conn, &swap.original).await.unwrap();
    assert_eq!(validate(&mut conn, &swap.helpers.shadow, &swap.triggers).await.unwrap(), []);
    swap.run(server, &database).await;
    let after = show_raw(&mut conn, &show).await;
    // MariaDB shows the names quoted as they were sent.
    let body = |text: &[u8]| text[text.windows(5).position(|w| w == b"BEGIN").unwrap()..].to_vec();
    assert_eq!(body(&after[2]), body(&before[2]));
    let text = String::from_utf8_lossy(&after[2]).replace('"', "`");
    assert!(text.starts_with("CREATE DEFINER=`nobody`@`%` TRIGGER"), "{text}");
    assert_eq!((&after[1], &after[3..6]), (&before[1], &before[3..6]));
    assert_eq!(rows(&mut conn, settings).await, session, "the session's settings are put back");
}

async fn show_raw(conn: &mut Conn, sql: &str) -> Vec<Vec<u8>> {
    exec(conn, "SET character_set_results = NULL").await;
    let row: mysql_async::Row = conn.query_first(sql).await.unwrap().unwrap();
    exec(conn, "SET character_set_results = utf8mb4").await;
    let bytes = |value| match value {
        mysql_async::Value::Bytes(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    row.unwrap().into_iter().map(bytes).collect()
}

async fn a_trigger_that_the_new_table_cannot_have_is_found_by_name(kind: Kind) {
    let (server, database, mut conn) = start(kind, TABLES).await;
    exec(&mut conn, "ALTER TABLE users_osc_new RENAME COLUMN n TO m").await;
    exec(&mut conn, "CREATE TRIGGER harmless AFTER DELETE ON users FOR EACH ROW SET @a = OLD.id")
        .await;
    let before = order(server, &database).await;
    let swap = Swap::new(&database);
    let triggers = read(&mut conn, &swap.original).await.unwrap();
    let findings = validate(&mut conn, &swap.helpers.shadow, &triggers).await.unwrap();
    let problems: Vec<&str> = findings.iter().map(|finding| finding.problem.as_str()).collect();
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert!(problems.iter().any(|problem| problem.contains("`double_it`")));
    assert!(!problems.iter().any(|problem| problem.contains("harmless")));
    assert_eq!(order(server, &database).await, before, "nothing is left on the shadow");
}

async fn a_name_that_is_taken_is_found_and_left_alone(kind: Kind) {
    let (server, database, mut conn) = start(kind, TABLES).await;
    exec(&mut conn, "CREATE TRIGGER updated_osc AFTER DELETE ON users FOR EACH ROW SET @a = 1")
        .await;
    let before = order(server, &database).await;
    let swap = Swap::new(&database);
    let triggers = read(&mut conn, &swap.original).await.unwrap();
    let findings = validate(&mut conn, &swap.helpers.shadow, &triggers).await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(order(server, &database).await, before);
}

async fn a_rerun_finishes_what_a_crash_left_at_any_step(kind: Kind) {
    for step in 0..5 {
        let (server, database, mut conn) = start(kind, TABLES).await;
        let before = order(server, &database).await;
        let mut swap = Swap::new(&database);
        let (original, shadow) = (swap.original.clone(), swap.helpers.shadow.clone());
        swap.triggers = read(&mut conn, &original).await.unwrap();
        install_temporary(&mut conn, &original, &shadow, &swap.triggers).await.unwrap();
        // A run that goes on removes them, and the next attempt makes them again.
        remove_temporary(&mut conn, &shadow, &swap.triggers).await.unwrap();
        assert_eq!(order(server, &database).await, before);
        for _ in 0..2 {
            install_temporary(&mut conn, &original, &shadow, &swap.triggers).await.unwrap();
        }
        exec(&mut conn, &swap.rename()).await;
        let steps = [
            "DROP TRIGGER double_it",
            "CREATE TRIGGER double_it BEFORE INSERT ON users FOR EACH ROW SET NEW.n = NEW.n * 2",
            "DROP TRIGGER double_it_osc",
            "DROP TRIGGER plus_one",
        ];
        for sql in &steps[..step] {
            exec(&mut conn, sql).await;
        }
        if step == 4 {
            // The retired table may be gone when a rerun comes.
            exec(&mut conn, "DROP TABLE users_osc_old").await;
        }
        for _ in 0..2 {
            restore_names_locked(
                &mut conn,
                &original,
                &swap.helpers.retired,
                &swap.triggers,
                Patience::FINISH,
            )
            .await
            .unwrap();
            assert_eq!(order(server, &database).await, before, "step {step}");
        }
        exec(&mut conn, "INSERT INTO users (n) VALUES (10)").await;
        assert_eq!(rows(&mut conn, "SELECT n FROM users").await, [["21"]]);
    }
}

async fn triggers_that_changed_under_the_run_stop_the_swap(kind: Kind) {
    let (_, database, mut conn) = start(kind, TABLES).await;
    let swap = Swap::new(&database);
    let triggers = read(&mut conn, &swap.original).await.unwrap();
    exec(&mut conn, "DROP TRIGGER plus_one").await;
    let shadow = &swap.helpers.shadow;
    let outcome = install_temporary(&mut conn, &swap.original, shadow, &triggers).await;
    assert!(matches!(outcome, Err(Error::Foreign(_))), "{outcome:?}");
}

async fn statistics_are_made_again(kind: Kind) {
    let (server, database, mut conn) = start(kind, TABLES).await;
    let swap = Swap::new(&database);
    exec(&mut conn, "INSERT INTO users (n, s) VALUES (1, 'a'), (2, 'b'), (3, NULL)").await;
    exec(&mut conn, "ALTER TABLE users_osc_new RENAME COLUMN n TO m, DROP COLUMN s").await;
    exec(&mut conn, "INSERT INTO users_osc_new SELECT id, n FROM users").await;
    let version = server.value("SELECT VERSION()").await;
    let flavor = Flavor::parse(&version).unwrap();
    let renames = [(Ident::new("n"), Ident::new("m"))];
    let (original, shadow) = (&swap.original, &swap.helpers.shadow);
    let none = match kind {
        Kind::Mysql => {
            "SELECT COLUMN_NAME FROM information_schema.COLUMN_STATISTICS \
                        WHERE TABLE_NAME = 'users_osc_new' AND SCHEMA_NAME = DATABASE()"
        }
        Kind::Mariadb => {
            "SELECT column_name FROM mysql.column_stats WHERE hist_type IS NOT NULL \
                          AND table_name = 'users_osc_new' AND db_name = DATABASE()"
        }
    };
    let warnings = analyze(&mut conn, flavor, original, shadow, &renames).await.unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert!(rows(&mut conn, none).await.is_empty());
    let collect = match kind {
        Kind::Mysql => "ANALYZE TABLE users UPDATE HISTOGRAM ON n, s WITH 7 BUCKETS",
        Kind::Mariadb => "ANALYZE TABLE users PERSISTENT FOR ALL",
    };
    exec(&mut conn, collect).await;
    let warnings = analyze(&mut conn, flavor, original, shadow, &renames).await.unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(rows(&mut conn, none).await, [["m"]]);
    if kind == Kind::Mysql {
        let buckets = "SELECT HISTOGRAM->'$.\"number-of-buckets-specified\"' \
                       FROM information_schema.COLUMN_STATISTICS WHERE COLUMN_NAME = 'm'";
        assert_eq!(rows(&mut conn, buckets).await, [["7"]]);
    }
}

on_both_servers! {
    every_write_fires_its_triggers_once_over_a_swap_under_writers
    a_trigger_stays_what_it_is_to_the_byte
    a_trigger_that_the_new_table_cannot_have_is_found_by_name
    a_name_that_is_taken_is_found_and_left_alone
    a_rerun_finishes_what_a_crash_left_at_any_step
    triggers_that_changed_under_the_run_stop_the_swap
    statistics_are_made_again
}
