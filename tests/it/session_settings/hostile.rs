//! The hostile server: `osc alter` on `t`, the server's own ALTER on `t_twin`, the same writes to both.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::table::Table;
use crate::cli_run::Run;
use crate::support;
use crate::support::server::{Kind, Server, rows};

const CREATE: &str = "(id INT NOT NULL, c CHAR(8) CHARACTER SET utf8mb4 NOT NULL, v INT UNSIGNED, w INT UNSIGNED, \
    ts TIMESTAMP NULL, d DATE NOT NULL DEFAULT '2020-02-02', late TIME(3), note VARCHAR(60) DEFAULT 'it''s', \
    day DATE AS (DATE(ts)) STORED, b LONGTEXT, PRIMARY KEY (c, id), UNIQUE KEY u (v), KEY n (note), \
    KEY w (w), CONSTRAINT %_small CHECK (v < 4000000)) \
    DEFAULT CHARSET=utf8mb4 COMMENT='a \"quoted\" text'";

/// Clauses whose meaning osc must keep whatever the server has.
const CLAUSES: &str = "MODIFY w BIGINT UNSIGNED NOT NULL DEFAULT 3, DROP CONSTRAINT %_small, \
    ADD COLUMN e VARCHAR(30) DEFAULT 'a''b' AFTER v, ADD INDEX e (e, w), COMMENT = 'new'";

/// Clauses and values that follow the login's settings.
const VALUES: &str = "ADD COLUMN third DECIMAL(20,12) AS (w / 3) STORED, \
    ADD COLUMN joined VARCHAR(80) AS (note || 'x') STORED, ADD COLUMN r REAL, \
    ADD COLUMN t2 TIMESTAMP DEFAULT '2001-02-03 04:05:06', \
    MODIFY ts DATETIME NULL, MODIFY late TIME(1), MODIFY w BIGINT UNSIGNED";

/// Modes that change what clauses and expressions give.
fn modes(kind: Kind) -> &'static str {
    match kind {
        Kind::Mysql => {
            "STRICT_ALL_TABLES,PIPES_AS_CONCAT,REAL_AS_FLOAT,NO_UNSIGNED_SUBTRACTION,TIME_TRUNCATE_FRACTIONAL"
        }
        Kind::Mariadb => {
            "STRICT_ALL_TABLES,PIPES_AS_CONCAT,REAL_AS_FLOAT,NO_UNSIGNED_SUBTRACTION,TIME_ROUND_FRACTIONAL"
        }
    }
}

async fn exec(conn: &mut Conn, sql: &str) {
    conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// `t` and `t_twin` with the same rows in a new database.
async fn twins(server: &Server) -> String {
    let database = support::database(server).await;
    let mut conn = server.conn_db(&database).await;
    for table in ["t", "t_twin"] {
        exec(&mut conn, &format!("CREATE TABLE {table} {}", CREATE.replace('%', table))).await;
        let digits = "SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL \
                      SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL \
                      SELECT 8 UNION ALL SELECT 9";
        let numbers = format!(
            "SELECT a.n + 10*b.n + 100*c.n + 1000*d.n AS n FROM ({digits}) a, ({digits}) b, ({digits}) c, \
             (SELECT 0 AS n UNION ALL SELECT 1) d"
        );
        exec(
            &mut conn,
            &format!(
                "INSERT INTO {table} (id, c, v, w, ts, d, late, note, b) SELECT n, CONCAT('k', n DIV 9), n, \
                 n * 7, '2024-01-01 00:30:00' + INTERVAL n HOUR, '2020-01-01' + INTERVAL n DAY, \
                 SEC_TO_TIME(n + 0.476), CONCAT('it''s \\\\ ', n), REPEAT('x', n) FROM ({numbers}) numbers"
            ),
        )
        .await;
    }
    let _ = conn.disconnect().await;
    database
}

/// Writes to both tables in the same transactions.
async fn write(conn: &mut Conn) {
    for n in 1..=60 {
        exec(conn, "BEGIN").await;
        for table in ["t", "t_twin"] {
            let insert = format!(
                "INSERT INTO {table} (id, c, v, w, ts) VALUES ({n}, 'new', {}, 1, '2024-07-01 12:00:00')",
                5000 + n
            );
            exec(conn, &format!("UPDATE {table} SET w = {n} WHERE v = {}", n * 37 % 2000)).await;
            exec(conn, &format!("DELETE FROM {table} WHERE v = {}", n * 53 % 2000)).await;
            exec(conn, &insert).await;
        }
        exec(conn, "COMMIT").await;
    }
}

/// All rows of a table, and its columns and indexes as they are shown.
async fn contents(conn: &mut Conn, table: &str) -> Vec<String> {
    let order = "ORDER BY id, c, v";
    let mut all = rows(conn, &format!("SELECT * FROM {table} {order}")).await;
    all.extend(rows(conn, &format!("SHOW FULL COLUMNS FROM {table}")).await);
    let indexes = "SELECT INDEX_NAME, NON_UNIQUE, SEQ_IN_INDEX, COLUMN_NAME FROM information_schema.STATISTICS \
                   WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME =";
    all.extend(rows(conn, &format!("{indexes} '{table}' ORDER BY 1, 3")).await);
    all.iter().map(|row| row.join("|")).collect()
}

/// Alters both and compares. `follow`: osc must follow the settings, as a plain session does.
async fn alter_under(server: &Server, set: &[String], follow: bool, clauses: &str) {
    let what = set.join(", ");
    let database = twins(server).await;
    // These keep what they began with.
    let mut writer = server.conn_db(&database).await;
    let mut before = server.conn_db(&database).await;
    for sql in set {
        exec(&mut before, &format!("SET GLOBAL {sql}")).await;
    }
    let control = tempfile::NamedTempFile::new().unwrap();
    let path = control.path().to_str().unwrap();
    let osc = clauses.replace('%', "t");
    let run = Run::start(
        server,
        &database,
        &["t", &osc, "--hold", "--control-file", path, "--chunk-size", "100", "--threads", "2"],
    );
    write(&mut writer).await;
    std::fs::write(path, "cut_over = \"now\"\n").unwrap();
    let ended = run.end().await;
    let complaint =
        format!("with {what}: {:?} {} {:#?}", ended.code, ended.complaints, ended.events.last());

    // The plain session that alters the twin.
    let mut plain = if follow { server.conn_db(&database).await } else { before };
    let copying = match server.kind() {
        Kind::Mariadb => "SET SESSION alter_algorithm = 'COPY'",
        Kind::Mysql => "SET SESSION old_alter_table = ON",
    };
    exec(&mut plain, copying).await;
    exec(&mut plain, &format!("ALTER TABLE t_twin {}", clauses.replace('%', "t_twin"))).await;
    assert_eq!(ended.code, Some(0), "{complaint}");
    let (ours, natively) =
        (contents(&mut writer, "t").await, contents(&mut writer, "t_twin").await);
    let differing: Vec<_> =
        ours.iter().zip(&natively).filter(|(ours, natively)| ours != natively).take(5).collect();
    assert!(differing.is_empty() && ours.len() == natively.len(), "with {what}: {differing:#?}");
}

fn wrong(kind: Kind, classes: &[&str]) -> Vec<String> {
    let table = Table::read();
    let chosen = table
        .0
        .iter()
        .filter(|variable| classes.contains(&variable.class) && variable.wrong_on(kind));
    chosen.map(|variable| format!("{} = {}", variable.name, variable.wrong.unwrap())).collect()
}

/// Those of `wrong` that this server has.
async fn known(server: &Server, wrong: Vec<String>) -> Vec<String> {
    let names = server.rows("SHOW GLOBAL VARIABLES").await;
    let has = |sql: &String| {
        let name = sql.split(' ').next().unwrap();
        names.iter().any(|row| row[0].eq_ignore_ascii_case(name))
    };
    wrong.into_iter().filter(has).collect()
}

/// Settings that osc fixes: wrong all at once, then those that hide each other.
async fn settings_that_are_fixed_do_not_matter(kind: Kind) {
    let server = Server::start(kind);
    let all = known(&server, wrong(kind, &["fixed", "set", "log", "speed"])).await;
    assert!(all.len() > 40, "{all:?}");
    alter_under(&server, &all, false, CLAUSES).await;
}

async fn settings_that_hide_others_do_not_matter_alone(kind: Kind) {
    let modes = match kind {
        Kind::Mysql => "sql_mode = 'ANSI,TRADITIONAL'",
        Kind::Mariadb => "sql_mode = 'ORACLE'",
    };
    let server = Server::start(kind);
    let set = [modes.to_owned(), "completion_type = 'RELEASE'".to_owned()];
    alter_under(&server, &set, false, CLAUSES).await;
}

async fn settings_that_change_values_are_the_logins(kind: Kind) {
    let server = Server::start(kind);
    let mut all = known(&server, wrong(kind, &["login"])).await;
    all.push(format!("sql_mode = '{}'", modes(kind)));
    alter_under(&server, &all, true, VALUES).await;
}

/// Each by itself, each on a server of its own: with `OSC_SETTINGS_ALL=1`.
async fn each_setting_alone_does_not_matter(kind: Kind) {
    let whole = crate::support::from_environment("OSC_SETTINGS_ALL") == Some(1);
    let all = wrong(kind, &["fixed", "set", "log", "speed"]);
    // Usually the two that were found by faults.
    let usual =
        ["sql_quote_show_create = 0", "max_statement_time = 0.05", "max_execution_time = 1"];
    let server = Server::start(kind);
    for one in known(&server, all).await {
        if whole || usual.contains(&one.as_str()) {
            let server = Server::start(kind);
            alter_under(&server, &[one], false, CLAUSES).await;
        }
    }
}

on_both_servers! {
    settings_that_are_fixed_do_not_matter
    settings_that_hide_others_do_not_matter_alone
    settings_that_change_values_are_the_logins
    each_setting_alone_does_not_matter
}
