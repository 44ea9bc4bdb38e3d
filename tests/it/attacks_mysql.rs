//! What an account of the application can do to osc on MySQL and MariaDB: nothing. It has all rights on its own
//! schema and none on osc's. Where a test forges something in the ledger itself, an administrator does it, as if
//! the rights had failed to hold.

mod place;

use crate::cli_run::Run;
use crate::support;
use crate::support::server::{Kind, Server, opts, rows};
use mysql_async::Opts;
use mysql_async::prelude::Queryable;
use osc::mysql::connection::version::Flavor;
use osc::mysql::methods::run;
use osc::mysql::methods::run::Statement;
use osc::mysql::name::TableName;
use osc::mysql::throttle::status::ServerStatus;
use osc::throttle::probe::StatusProbe;
use place::{ADD, Place};
use tokio_util::sync::CancellationToken;

async fn the_application_cannot_touch_the_ledger(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    place.first_run();
    let (mut session, ledger) = (place.application().await, &place.ledger);
    // What this would refuse is not what is shown here.
    place.server.exec("SET GLOBAL log_bin_trust_function_creators = 1").await;
    for sql in [
        format!("UPDATE {ledger}.osc_ledger SET result = NULL"),
        format!("INSERT INTO {ledger}.osc_marker VALUES (1, 1, '')"),
        format!("DELETE FROM {ledger}.osc_ledger"),
        format!("SELECT clauses FROM {ledger}.osc_ledger"),
        format!("CREATE TABLE {ledger}.x (id INT)"),
        format!(
            "CREATE TRIGGER {ledger}.x BEFORE UPDATE ON {ledger}.osc_ledger FOR EACH ROW SET @x = 1"
        ),
        format!("CREATE VIEW {ledger}.x AS SELECT 1"),
        format!("DROP TABLE {ledger}.osc_ledger"),
    ] {
        let denied = session.query_drop(&sql).await.unwrap_err().to_string();
        assert!(denied.contains("denied"), "{sql}: {denied}");
    }
}

async fn whoever_may_write_the_ledger_is_named(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    place.first_run();
    let (app, ledger, account) = (&place.app, &place.ledger, &place.account);
    let role = format!("{app}_role");
    place.server.exec(&format!("CREATE ROLE {role}")).await;
    place.server.exec(&format!("GRANT {role} TO {account}")).await;
    let pattern = ledger.replace("_osc", "%osc");
    for (rights, on, to) in [
        ("UPDATE", format!("`{ledger}`.*"), account),
        ("INSERT", format!("`{pattern}`.*"), account),
        ("TRIGGER", format!("`{ledger}`.`osc_ledger`"), account),
        ("UPDATE (clauses)", format!("`{ledger}`.`osc_ledger`"), account),
        ("CREATE, DELETE", format!("`{ledger}`.*"), &role),
    ] {
        place.server.exec(&format!("GRANT {rights} ON {on} TO {to}")).await;
        let right = rights.split([' ', ',']).next().unwrap();
        place.all_refuse(&["may write the ledger", right, to, "REVOKE", &on]).await;
        place.server.exec(&format!("REVOKE {rights} ON {on} FROM {to}")).await;
        place.done(&["status", "t"]);
    }
    // To read it, and to write everything, is something else.
    place.server.exec(&format!("GRANT SELECT ON `{ledger}`.* TO {account}")).await;
    let admin = format!("{app}_admin");
    place.server.exec(&format!("CREATE USER {admin}")).await;
    place.server.exec(&format!("GRANT ALL PRIVILEGES ON *.* TO {admin}")).await;
    place.server.exec(&format!("GRANT INSERT ON `{ledger}`.* TO {admin}")).await;
    // A role that only administrators have.
    place.server.exec(&format!("REVOKE {role} FROM {account}")).await;
    place.server.exec(&format!("GRANT INSERT ON `{ledger}`.* TO {role}")).await;
    place.server.exec(&format!("GRANT {role} TO {admin}")).await;
    place.done(&["plan", "t", ADD]);
    for sql in [format!("DROP USER {admin}"), format!("DROP ROLE {role}")] {
        place.server.exec(&sql).await;
    }
}

async fn a_view_under_the_ledgers_name_is_not_opened(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    let (app, ledger, server) = (&place.app, &place.ledger, place.server);
    server.exec("SET GLOBAL log_bin_trust_function_creators = 1").await;
    for sql in [
        format!("CREATE DATABASE {ledger}"),
        format!(
            "CREATE FUNCTION {app}.f() RETURNS INT MODIFIES SQL DATA SQL SECURITY INVOKER \
             BEGIN INSERT INTO {app}.seen VALUES (CURRENT_USER()); RETURN 1; END"
        ),
        format!(
            "CREATE SQL SECURITY INVOKER VIEW {ledger}.osc_ledger AS \
             SELECT {app}.f() AS run, 't' AS table_name, 'x' AS clauses"
        ),
    ] {
        server.exec(&sql).await;
    }
    let drop = format!("DROP VIEW `{ledger}`.`osc_ledger`");
    place.all_refuse(&[&format!("{ledger}.osc_ledger is a view"), &drop]).await;
    server.exec(&drop).await;
    place.first_run();
    place.nothing_ran().await;
}

async fn a_trigger_on_the_ledger_does_not_fire(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    place.first_run();
    let (app, ledger) = (&place.app, &place.ledger);
    for (table, event) in
        [("osc_ledger", "INSERT"), ("osc_ledger", "UPDATE"), ("osc_marker", "INSERT")]
    {
        let body = format!("INSERT INTO {app}.seen VALUES (CURRENT_USER())");
        let on = format!("BEFORE {event} ON {ledger}.{table} FOR EACH ROW {body}");
        place.server.exec(&format!("CREATE TRIGGER {ledger}.bad {on}")).await;
        let drop = format!("DROP TRIGGER `{ledger}`.`bad`");
        place.all_refuse(&["has the trigger `bad`", &drop]).await;
        place.server.exec(&drop).await;
    }
    place.first_run_again().await;
}

async fn another_table_under_the_ledgers_name_is_not_read(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    place.first_run();
    let (server, table) = (place.server, format!("`{}`.`osc_ledger`", place.ledger));
    let drop = format!("DROP TABLE {table}");
    for change in [
        "ADD COLUMN deferred MEDIUMTEXT NULL",
        "MODIFY clauses MEDIUMTEXT NOT NULL COLLATE utf8mb4_general_ci",
        "MODIFY beat BIGINT UNSIGNED GENERATED ALWAYS AS (rows_copied + 1) VIRTUAL",
        "DROP COLUMN owner",
        "ADD CONSTRAINT c CHECK (beat < 1000)",
        "ENGINE=MyISAM",
    ] {
        if change.contains("GENERATED") {
            server.exec(&format!("ALTER TABLE {table} DROP COLUMN beat")).await;
            let add = change.replace("MODIFY", "ADD COLUMN");
            server.exec(&format!("ALTER TABLE {table} {add} AFTER owner")).await;
        } else {
            server.exec(&format!("ALTER TABLE {table} {change}")).await;
        }
        place.all_refuse(&["osc_ledger"]).await;
        server.exec(&drop).await;
        place.first_run_of(change);
    }
}

async fn a_ledger_in_the_applications_schema_is_named_and_not_read(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    place.first_run();
    let mut session = place.application().await;
    let app = &place.app;
    let injected = "[\"KEY `x` (`v`), DROP COLUMN `mail`\"]";
    for (make, drop) in [
        (
            "CREATE TABLE osc_ledger (run BIGINT PRIMARY KEY, table_name VARCHAR(64), clauses TEXT, deferred TEXT)",
            format!("DROP TABLE `{app}`.`osc_ledger`"),
        ),
        ("CREATE VIEW osc_ledger AS SELECT 1 AS run", format!("DROP VIEW `{app}`.`osc_ledger`")),
        ("CREATE TABLE osc_marker (id INT)", format!("DROP TABLE `{app}`.`osc_marker`")),
    ] {
        session.query_drop(make).await.unwrap();
        if make.contains("deferred") {
            let row = format!("INSERT INTO osc_ledger VALUES (9, 't', '{ADD}', '{injected}')");
            session.query_drop(row).await.unwrap();
        }
        place.all_refuse(&["the ledger of an earlier build", &drop]).await;
        session.query_drop(&drop).await.unwrap();
    }
    place.first_run_again().await;
    assert!(place.has_column("mail").await);
}

/// As if a run had swapped the tables and died: there is no shadow, and a table under the retired name.
async fn a_forged_row_reports_no_change_as_made(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    place.first_run();
    let app = &place.app;
    place.application().await.query_drop("CREATE TABLE t_osc_old LIKE t").await.unwrap();
    place.application().await.query_drop("INSERT INTO t_osc_old SELECT * FROM t").await.unwrap();
    for carried in [
        "NULL",
        "'{\"tables\":{\"original\":[1],\"shadow\":[2]},\"deferred\":[],\"carried\":{\"keys\":\
                     {\"outgoing\":[],\"incoming\":[],\"renames\":[]},\"unproved\":[],\"triggers\":[]},\
                     \"role\":{\"modes\":[],\"zone\":\"\",\"values\":[]}}'",
    ] {
        place.forge(ADD, "NULL", "'{}'", carried).await;
        let (code, printed) = place.osc(&["alter", "t", ADD, "--yes"]);
        assert_eq!(code, Some(4), "{printed}");
        assert!(
            printed.contains("t_osc_old exists, and no run of osc on this server made it"),
            "{printed}"
        );
        assert!(!place.has_column("added").await);
    }
    place.server.exec(&format!("DROP TABLE {app}.t_osc_old")).await;
    // A checkpoint at the end of the copy, and a table under the shadow's name that has no row.
    place.application().await.query_drop("CREATE TABLE t_osc_new LIKE t").await.unwrap();
    place
        .application()
        .await
        .query_drop("INSERT INTO t_osc_new SELECT * FROM t LIMIT 1")
        .await
        .unwrap();
    let (code, printed) = place.osc(&["alter", "t", ADD, "--yes", "--no-verify"]);
    assert_eq!(code, Some(4), "{printed}");
    assert!(
        printed.contains("t_osc_new exists, and no run of osc on this server made it"),
        "{printed}"
    );
    let kept = place.server.value(&format!("SELECT COUNT(*) FROM {app}.t_osc_new")).await;
    assert_eq!(kept, "1");
    place.server.exec(&format!("DROP TABLE {app}.t_osc_new")).await;
    place.done(&["alter", "t", ADD, "--yes"]);
    assert!(place.has_column("added").await);
    let rows = place.server.value(&format!("SELECT COUNT(*) FROM {app}.t")).await;
    assert_eq!(rows, "2");
}

async fn cleanup_drops_no_table_that_osc_did_not_make(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    place.first_run();
    let app = &place.app;
    for table in ["t_osc_old", "t_osc_new"] {
        place.server.exec(&format!("CREATE TABLE {app}.{table} AS SELECT * FROM {app}.t")).await;
    }
    place.forge(ADD, "'done'", "NULL", "NULL").await;
    let printed = place.done(&["cleanup", "t", "--yes", "--now"]);
    for table in ["t_osc_old", "t_osc_new"] {
        assert!(printed.contains(&format!("DROP TABLE `{app}`.`{table}`")), "{printed}");
        let rows = format!("SELECT COUNT(*) FROM {app}.{table}");
        assert_eq!(place.server.value(&rows).await, "2", "{table}");
        place.server.exec(&format!("DROP TABLE {app}.{table}")).await;
    }
    place.done(&["alter", "t", ADD, "--strategy", "copy", "--yes"]);
    // One that another user puts in the place of osc's own.
    for sql in [
        format!("RENAME TABLE {app}.t_osc_old TO {app}.elsewhere"),
        format!("CREATE TABLE {app}.t_osc_old AS SELECT * FROM {app}.t"),
    ] {
        place.server.exec(&sql).await;
    }
    assert!(place.done(&["cleanup", "t", "--yes", "--now"]).contains("left alone"));
    for sql in [
        format!("DROP TABLE {app}.t_osc_old"),
        format!("RENAME TABLE {app}.elsewhere TO {app}.t_osc_old"),
    ] {
        place.server.exec(&sql).await;
    }
    assert!(place.done(&["cleanup", "t", "--yes", "--now"]).contains("1 table dropped"));
}

/// As after the promotion of a replica, or in a dump.
async fn a_run_of_another_server_is_not_resumed(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    let (app, ledger) = (&place.app, &place.ledger);
    let flags = ["t", ADD, "--ledger", ledger];
    let killed = Run::faulty(&place.server.url(app), &flags, "chunk.copied=kill").end().await;
    assert_ne!(killed.code, Some(0), "{killed:#?}");
    place.server.exec(&format!("UPDATE {ledger}.osc_ledger SET server = 'another'")).await;
    let (code, printed) = loop {
        let (code, printed) = place.osc(&["alter", "t", ADD, "--strategy", "copy", "--yes"]);
        if !printed.contains("another osc is already changing") {
            break (code, printed);
        }
    };
    assert_eq!(code, Some(4), "{printed}");
    for word in
        ["t_osc_new exists, and no run of osc on this server made it", "another server (another)"]
    {
        assert!(printed.contains(word), "{printed}");
    }
    assert!(place.done(&["status", "t"]).contains("begun on another server (another)"));
    place.server.exec(&format!("DROP TABLE {app}.t_osc_new")).await;
    place.done(&["alter", "t", ADD, "--strategy", "copy", "--yes"]);
    let runs = format!(
        "SELECT GROUP_CONCAT(server = 'another', ' ', IFNULL(result, '-') ORDER BY run) FROM {ledger}.osc_ledger"
    );
    assert_eq!(place.server.value(&runs).await, "1 -,0 done");
}

async fn a_right_that_is_missing_comes_with_the_statements_that_give_it(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    let (app, ledger) = (&place.app, &place.ledger);
    let osc = format!("{app}_osc_user");
    let status = if kind == Kind::Mysql { "REPLICATION CLIENT" } else { "BINLOG MONITOR" };
    for sql in [
        format!("CREATE USER {osc} IDENTIFIED BY 'secret'"),
        format!("GRANT ALL PRIVILEGES ON `{app}`.* TO {osc}"),
        format!("GRANT REPLICATION SLAVE, {status}, PROCESS ON *.* TO {osc}"),
    ] {
        place.server.exec(&sql).await;
    }
    let url = format!("mysql://{osc}:secret@127.0.0.1:{}/{app}", place.server.port());
    let copy = ["alter", "t", ADD, "--strategy", "copy", "--yes"];
    let instant = ["alter", "t", ADD, "--strategy", "instant", "--yes"];
    for arguments in [&["plan", "t", ADD, "--strategy", "copy"][..], &copy, &instant] {
        let (code, printed) = place.osc_at(&url, arguments);
        assert_eq!(code, Some(4), "{printed}");
        assert!(printed.contains("GRANT ") && printed.contains(ledger), "{printed}");
    }
    let (_, printed) = place.osc_at(&url, &instant);
    let cure = printed.lines().find_map(|line| line.trim().strip_prefix("help: ")).unwrap();
    assert!(cure.starts_with("GRANT ") && cure.contains(&osc), "{printed}");
    place.server.exec(cure).await;
    // The tables of rights are closed to this account, which is reported.
    let (code, printed) = place.osc_at(&url, &["plan", "t", ADD]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("not checked: who else may write the ledger"), "{printed}");
    let (code, printed) = place.osc_at(&url, &copy);
    assert_eq!(code, Some(0), "{printed}");
    assert!(place.has_column("added").await);
}

/// FNV-1a, as the name of the lock has it.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

async fn whoever_holds_the_lock_of_runs_is_named(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    place.first_run();
    let plain = format!("{}.t", place.app);
    let mut session = place.application().await;
    // At once: a command gives its lock back before it ends.
    let lock = format!("SELECT GET_LOCK('osc:{:08x}:{plain}', 0)", fnv1a(&plain));
    assert_eq!(rows(&mut session, &lock).await, [["1"]]);
    let who = format!("session {} of {}@", session.id(), place.account);
    let kill = format!("KILL {}", session.id());
    for command in [
        &["alter", "t", ADD, "--strategy", "copy", "--yes"][..],
        &["alter", "t", ADD, "--strategy", "instant", "--yes"],
        &["cleanup", "t", "--yes", "--now"],
    ] {
        let (code, printed) = place.osc(command);
        assert_eq!(code, Some(4), "{printed}");
        assert!(printed.contains(&who) && printed.contains(&kill), "{printed}");
    }
    session.disconnect().await.unwrap();
    while place.osc(&["cleanup", "t", "--yes", "--now"]).0 != Some(0) {}
    place.first_run_again().await;
}

async fn no_row_of_the_table_stands_in_the_ledger(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    let clauses = "ADD UNIQUE KEY mail (mail)";
    for strategy in ["copy", "inplace"] {
        let (code, printed) = place.osc(&["alter", "t", clauses, "--strategy", strategy, "--yes"]);
        assert_ne!(code, Some(0), "{printed}");
    }
    let (code, printed) =
        place.osc(&["alter", "t", "MODIFY mail INT", "--strategy", "copy", "--yes"]);
    assert_eq!(code, Some(1), "{printed}");
    let all = place.server.rows(&format!("SELECT * FROM {}.osc_ledger", place.ledger)).await;
    assert!(!all.is_empty());
    assert!(!format!("{all:?}").contains("alice"), "{all:?}");
    assert!(format!("{all:?}").contains("the run printed the row"), "{all:?}");
}

/// osc's own check of the clauses is one guard; this is the other, behind it: what comes of the command line
/// is sent where the server takes one statement.
async fn clauses_that_hold_a_second_statement_are_one_statement_to_the_server(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    let clauses = "ADD COLUMN x INT; INSERT INTO seen VALUES ('ran')";
    let shape = format!("SHOW CREATE TABLE {}.t", place.app);
    let before = place.server.rows(&shape).await;
    for strategy in ["auto", "instant", "inplace", "copy"] {
        let (code, printed) = place.osc(&["alter", "t", clauses, "--strategy", strategy, "--yes"]);
        assert!(matches!(code, Some(2 | 4)), "{strategy}: {printed}");
        assert_eq!(place.server.rows(&shape).await, before, "{strategy}");
    }
    place.nothing_ran().await;

    let options = Opts::from(opts(&place.server.url(&place.app)));
    let text = format!("ALTER TABLE t {clauses}");
    let statement = Statement { text: &text, setup: &[] };
    let table = TableName::new(&place.app, "t");
    let flavor = Flavor::parse(&place.server.value("SELECT VERSION()").await).unwrap();
    let stop = CancellationToken::new();
    let _ =
        run::run(&options, statement, (&table, flavor), 1, &stop, async || Ok(()), |_, _| ()).await;
    assert_eq!(place.server.rows(&shape).await, before);
    let mut probe = ServerStatus::new(options);
    assert_eq!(probe.number("SELECT 1.5").await.unwrap(), Some(1.5));
    assert_eq!(probe.number("SELECT 1").await.unwrap(), Some(1.0));
    let two = "SELECT 1; INSERT INTO seen VALUES ('ran')";
    let error = probe.number(two).await.unwrap_err().to_string();
    assert!(error.contains("syntax"), "{error}");
    place.nothing_ran().await;
}

/// Prepared statements have places for values, which nothing of the user's is taken for.
async fn colons_and_question_marks_in_clauses_stay_what_they_are(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    for (at, strategy) in ["copy", "auto"].into_iter().enumerate() {
        let clauses = format!(
            r"ADD COLUMN `a:b{at}` VARCHAR(20) NOT NULL DEFAULT 'it\'s :x?' COMMENT '? :y'"
        );
        place.done(&["alter", "t", &clauses, "--strategy", strategy, "--yes"]);
        let column = format!(
            "SELECT CONCAT(MAX(`a:b{at}`), ' ', (SELECT COLUMN_COMMENT FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = '{0}' AND TABLE_NAME = 't' AND COLUMN_NAME = 'a:b{at}')) FROM {0}.t",
            place.app
        );
        assert_eq!(place.server.value(&column).await, "it's :x? ? :y", "{strategy}");
        place.done(&["cleanup", "t", "--yes", "--now"]);
    }
    for clauses in ["ADD COLUMN x INT AS (v-':y')", "ADD COLUMN x INT DEFAULT :y"] {
        let (code, printed) = place.osc(&["alter", "t", clauses, "--yes"]);
        assert_eq!(code, Some(2), "{printed}");
    }
}

async fn a_ledger_that_the_binlog_leaves_out_is_refused(kind: Kind) {
    // The kit numbers its databases from 1.
    let names: Vec<String> = (1..40).map(|n| format!("--binlog-do-db=test_{n}")).collect();
    let options: Vec<&str> = names.iter().map(String::as_str).collect();
    let server = Server::start_with(kind, &options);
    let place = Place::new(&server).await;
    for command in [
        &["plan", "t", ADD, "--strategy", "copy"][..],
        &["alter", "t", ADD, "--strategy", "copy", "--yes"],
    ] {
        let (code, printed) = place.osc(command);
        assert_eq!(code, Some(4), "{printed}");
        let words =
            ["[binlog-filter]", &format!("the ledger's schema {}", place.ledger), "--ledger"];
        assert!(words.iter().all(|word| printed.contains(word)), "{printed}");
    }
}

on_both_servers! {
    the_application_cannot_touch_the_ledger
    whoever_may_write_the_ledger_is_named
    a_view_under_the_ledgers_name_is_not_opened
    a_trigger_on_the_ledger_does_not_fire
    another_table_under_the_ledgers_name_is_not_read
    a_ledger_in_the_applications_schema_is_named_and_not_read
    a_forged_row_reports_no_change_as_made
    cleanup_drops_no_table_that_osc_did_not_make
    a_run_of_another_server_is_not_resumed
    a_right_that_is_missing_comes_with_the_statements_that_give_it
    whoever_holds_the_lock_of_runs_is_named
    no_row_of_the_table_stands_in_the_ledger
    clauses_that_hold_a_second_statement_are_one_statement_to_the_server
    colons_and_question_marks_in_clauses_stay_what_they_are
    a_ledger_that_the_binlog_leaves_out_is_refused
}
