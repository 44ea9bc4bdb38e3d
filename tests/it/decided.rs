//! On MySQL and MariaDB a plan decides: the method that it names is the one by which the change is made.

use crate::refusal::Place;
use crate::support;
use crate::support::server::Kind;
use mysql_async::prelude::Queryable;
use serde_json::Value;

async fn place(kind: Kind) -> Place<'static> {
    Place::new(support::shared(kind)).await
}

/// The last line of the program's JSON.
async fn last(place: &Place<'_>, arguments: &[&str]) -> Value {
    let answer = place.ask_plainly(arguments).await;
    let line = answer.printed.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    line.unwrap_or_else(|| panic!("{arguments:?}: {}", answer.printed))
}

async fn plan(place: &Place<'_>, table: &str, clauses: &str) -> Value {
    last(place, &["plan", table, clauses, "--json"]).await
}

fn methods(plan: &Value) -> Vec<&str> {
    plan["methods"].as_array().unwrap().iter().map(|one| one["method"].as_str().unwrap()).collect()
}

fn notes(plan: &Value) -> String {
    plan["notes"].to_string()
}

async fn a_plan_says_what_alter_does(kind: Kind) {
    let quick = if kind == Kind::Mysql { "inplace" } else { "instant" };
    for (clauses, method) in [
        ("ADD COLUMN c INT", "instant"),
        ("RENAME COLUMN a TO z", "instant"),
        ("ALTER a SET DEFAULT 3", "instant"),
        ("DROP COLUMN b", "instant"),
        ("DROP INDEX ka", "inplace"),
        ("RENAME INDEX ka TO kz", quick),
        ("DROP CHECK positive", "instant"),
        ("ADD INDEX (b)", "copy"),
        ("MODIFY a BIGINT", "copy"),
        ("ADD COLUMN c INT, ADD INDEX (c)", "copy"),
        ("MODIFY id BIGINT PARTITION BY HASH (id) PARTITIONS 2", "copy"),
    ] {
        if kind == Kind::Mariadb && clauses.starts_with("DROP CHECK") {
            continue;
        }
        let place = place(kind).await;
        place.run("CREATE TABLE u (id INT PRIMARY KEY, a INT, b INT, KEY ka (a), CONSTRAINT positive CHECK (id > 0))").await;
        place.run("INSERT INTO u VALUES (1, 1, 1), (2, 2, 2)").await;
        let before = place.everything().await;
        let planned = plan(&place, "u", clauses).await;
        assert_eq!(planned["decided"], true, "{clauses}: {planned}");
        assert_eq!(methods(&planned), [method], "{clauses}: {planned}");
        assert!(notes(&planned).contains("empty copy"), "{planned}");
        assert_eq!(planned["statements"].as_array().unwrap().is_empty(), method != "copy");
        assert_eq!(place.everything().await, before, "{clauses}");
        let done = last(&place, &["alter", "u", clauses, "--json", "--yes"]).await;
        assert_eq!(
            (&done["event"], &done["method"]),
            (&"summary".into(), &method.into()),
            "{done}"
        );
        let text = place.ask_plainly(&["plan", "t", "ADD COLUMN c INT"]).await.printed;
        assert!(text.contains("osc will make this change by:\n  1. instant"), "{text}");
    }
    let left =
        "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME LIKE 'osc\\_probe%'";
    assert_eq!(support::shared(kind).value(left).await, "0", "an empty copy is left");
}

async fn the_copy_is_in_no_binlog_and_one_of_a_killed_plan_is_dropped(kind: Kind) {
    let server = &support::server::Server::start(kind);
    let place = Place::new(server).await;
    plan(&place, "t", "ADD COLUMN c INT").await;
    let position = match kind {
        Kind::Mysql => "SELECT @@GLOBAL.gtid_executed",
        Kind::Mariadb => "SELECT @@GLOBAL.gtid_binlog_pos",
    };
    let before = server.value(position).await;
    plan(&place, "t", "ADD COLUMN c INT").await;
    assert_eq!(server.value(position).await, before, "replicas would hear of it");
    for name in ["osc_probe_0123456789abcdef", "osc_probe_of_mine"] {
        server.exec(&format!("CREATE TABLE osc.{name} (id INT)")).await;
    }
    plan(&place, "t", "ADD COLUMN c INT").await;
    let left = "SELECT GROUP_CONCAT(TABLE_NAME ORDER BY 1) FROM information_schema.TABLES \
                WHERE TABLE_NAME LIKE 'osc\\_probe%'";
    assert_eq!(server.value(left).await, "osc_probe_of_mine");
}

/// All that the server's binlog says, as text.
async fn binlog(server: &support::server::Server) -> String {
    let mut text = String::new();
    for log in server.rows("SHOW BINARY LOGS").await {
        for event in server.rows(&format!("SHOW BINLOG EVENTS IN '{}'", log[0])).await {
            text += &format!("{event:?}\n");
        }
    }
    text
}

/// What README grants, but for what keeps a session out of the binlog.
async fn account(place: &mut Place<'_>, on_osc: &str) -> String {
    let user = format!("osc_{}", place.database);
    for sql in [
        format!("CREATE USER {user}"),
        format!("GRANT ALL ON `{}`.* TO {user}", place.database),
        format!("GRANT {on_osc} ON osc.* TO {user}"),
        format!("GRANT PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {user}"),
    ] {
        place.run(&sql).await;
    }
    place.url = place.url.replace("root@", &format!("{user}@"));
    user
}

async fn nothing_of_a_trial_is_in_the_binlog_or_there_is_none(kind: Kind) {
    let server = &support::server::Server::start(kind);
    let replica = server.replica_with(&["--replicate-ignore-db=osc"]).await;
    let plain = server.replica().await;
    let mut place = Place::new(server).await;
    let user =
        account(&mut place, "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, TRIGGER").await;
    let before = binlog(server).await;
    let planned = plan(&place, "t", "ADD COLUMN c INT").await;
    assert_eq!(binlog(server).await, before, "replicas hear of it");
    assert_eq!(
        server
            .value("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'osc'")
            .await,
        "0"
    );
    assert_eq!(planned["decided"], false, "{planned}");
    let right = if kind == Kind::Mysql { "SESSION_VARIABLES_ADMIN" } else { "BINLOG ADMIN" };
    let printed = notes(&planned);
    let cure = printed.split(&format!("GRANT {right} ON *.* TO ")).nth(1);
    assert!(
        printed.contains("not certain: ") && cure.is_some_and(|rest| rest.contains(&user)),
        "{printed}"
    );
    place.run(&format!("GRANT {right} ON *.* TO {user}")).await;
    let before = binlog(server).await;
    let planned = plan(&place, "t", "ADD COLUMN c INT").await;
    assert_eq!(planned["decided"], true, "{planned}");
    assert_eq!(
        server
            .value("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'osc'")
            .await,
        "1"
    );
    assert_eq!(binlog(server).await, before, "replicas hear of it");
    // The ledger comes to replicas that have not its database.
    for clauses in ["ADD COLUMN c INT", "ADD INDEX (a)"] {
        let done = last(&place, &["alter", "t", clauses, "--json", "--yes"]).await;
        assert_eq!(done["event"], "summary", "{done}");
    }
    assert!(!binlog(server).await.contains("osc_probe_"), "replicas hear of it");
    replica.catch_up(server).await;
    plain.catch_up(server).await;
    assert_eq!(plain.value("SELECT COUNT(*) > 0 FROM osc.osc_ledger").await, "1");
}

async fn without_that_right_the_change_is_made_all_the_same(kind: Kind) {
    let mut place = place(kind).await;
    account(&mut place, "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, TRIGGER").await;
    for (clauses, method) in [("ADD COLUMN c INT", "instant"), ("MODIFY a BIGINT", "copy")] {
        let planned = plan(&place, "t", clauses).await;
        assert_eq!(planned["decided"], false, "{planned}");
        let done = last(&place, &["alter", "t", clauses, "--json", "--yes"]).await;
        assert_eq!(done["method"], method, "{done}");
    }
}

/// Two copies with a CHECK of one name would meet in osc's database.
async fn one_at_a_time_tries_its_clauses(kind: Kind) {
    let place = place(kind).await;
    let clauses = "ADD CONSTRAINT lim CHECK (a > 0)";
    let mut other = place.server.conn().await;
    other.query_drop("DO GET_LOCK('osc_probe', 0)").await.unwrap();
    let planned = plan(&place, "t", clauses).await;
    assert_eq!(planned["decided"], false, "{planned}");
    assert!(notes(&planned).contains("has held the lock osc_probe for 5 s"), "{planned}");
    other.query_drop("DO RELEASE_LOCK('osc_probe')").await.unwrap();
    let some = || async { plan(&place, "t", clauses).await };
    let (a, b, c, d) = tokio::join!(some(), some(), some(), some());
    for planned in [a, b, c, d] {
        assert_eq!(planned["decided"], true, "{planned}");
    }
    assert_eq!(place.server.value("SELECT IS_FREE_LOCK('osc_probe')").await, "1");
}

/// What the server cannot do just now is nothing that it has against the clauses.
async fn an_error_that_passes_is_no_refusal_of_the_clauses(kind: Kind) {
    let server = &support::server::Server::start(kind);
    let place = Place::new(server).await;
    server.exec("SET GLOBAL max_prepared_stmt_count = 0").await;
    for clauses in ["ADD COLUMN c INT", "ADD INDEX (a)"] {
        let planned = plan(&place, "t", clauses).await;
        assert_eq!(planned["decided"], false, "{planned}");
        assert!(notes(&planned).contains("max_prepared_stmt_count"), "{planned}");
    }
    let done = place.ask_plainly(&["alter", "t", "ADD COLUMN c INT", "--yes"]).await;
    assert!(done.printed.contains("max_prepared_stmt_count"), "{}", done.printed);
    assert!(!done.printed.contains("[clauses]"), "{}", done.printed);
    server.exec("SET GLOBAL max_prepared_stmt_count = 1000").await;
    assert_eq!(plan(&place, "t", "ADD COLUMN c INT").await["decided"], true);
}

/// A role's rights are not looked into: the server says on the copy what the account may not do there.
async fn a_right_that_a_role_lacks_is_no_refusal_of_the_clauses(kind: Kind) {
    let mut place = place(kind).await;
    plan(&place, "t", "ADD COLUMN c INT").await;
    let user = account(&mut place, "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, TRIGGER").await;
    let right = if kind == Kind::Mysql { "SESSION_VARIABLES_ADMIN" } else { "BINLOG ADMIN" };
    let role = format!("role_{}", place.database);
    let default = match kind {
        Kind::Mysql => format!("SET DEFAULT ROLE {role} TO {user}"),
        Kind::Mariadb => format!("SET DEFAULT ROLE {role} FOR {user}"),
    };
    for sql in [
        format!("GRANT {right} ON *.* TO {user}"),
        format!("CREATE ROLE {role}"),
        format!("GRANT {role} TO {user}"),
        default,
    ] {
        place.run(&sql).await;
    }
    let planned = plan(&place, "t", "ADD COLUMN c INT").await;
    assert_eq!(planned["decided"], false, "{planned}");
    assert!(notes(&planned).contains("ALTER command denied"), "{planned}");
    let done = last(&place, &["alter", "t", "ADD COLUMN c INT", "--json", "--yes"]).await;
    assert_eq!(done["method"], "instant", "{done}");
}

async fn what_an_empty_copy_cannot_show_is_not_certain(kind: Kind) {
    let place = place(kind).await;
    place.run("CREATE TABLE p (id INT PRIMARY KEY)").await;
    place.run("CREATE TABLE c (id INT PRIMARY KEY, p INT, n INT, KEY n (n), CONSTRAINT f FOREIGN KEY (p) REFERENCES p (id))").await;
    for clauses in ["RENAME COLUMN p TO q", "DROP FOREIGN KEY f"] {
        let planned = plan(&place, "c", clauses).await;
        assert_eq!(planned["decided"], false, "{clauses}: {planned}");
        assert!(methods(&planned).len() > 1, "{clauses}: {planned}");
        assert!(notes(&planned).contains("not certain: "), "{planned}");
    }
    let planned = plan(&place, "c", "ADD COLUMN more INT").await;
    assert_eq!(
        (&planned["decided"], methods(&planned)),
        (&true.into(), vec!["instant"]),
        "{planned}"
    );
}

async fn without_the_rights_a_plan_reads_only_and_says_so(kind: Kind) {
    let mut place = place(kind).await;
    plan(&place, "t", "ADD COLUMN c INT").await;
    let user = format!("reads_{}", place.database);
    place.run(&format!("CREATE USER {user}")).await;
    place
        .run(&format!("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, TRIGGER ON osc.* TO {user}"))
        .await;
    place.run(&format!("GRANT ALL ON `{}`.* TO {user}", place.database)).await;
    place
        .run(&format!("GRANT PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {user}"))
        .await;
    place.url = place.url.replace("root@", &format!("{user}@"));
    let planned = plan(&place, "t", "ADD COLUMN c INT").await;
    assert_eq!(planned["decided"], false, "{planned}");
    assert_eq!(methods(&planned)[0], "instant", "{planned}");
    assert!(notes(&planned).contains("lacks ALTER, DROP"), "{planned}");
    let done = last(&place, &["alter", "t", "ADD COLUMN c INT", "--json"]).await;
    assert_eq!(done["method"], "instant", "{done}");
}

on_both_servers! {
    a_plan_says_what_alter_does
    the_copy_is_in_no_binlog_and_one_of_a_killed_plan_is_dropped
    what_an_empty_copy_cannot_show_is_not_certain
    without_the_rights_a_plan_reads_only_and_says_so
    nothing_of_a_trial_is_in_the_binlog_or_there_is_none
    without_that_right_the_change_is_made_all_the_same
    one_at_a_time_tries_its_clauses
    an_error_that_passes_is_no_refusal_of_the_clauses
    a_right_that_a_role_lacks_is_no_refusal_of_the_clauses
}

/// MySQL keeps so many versions of a table's rows, and then copies.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_all_its_row_versions_is_copied() {
    let place = place(Kind::Mysql).await;
    let mut conn = place.server.conn_db(&place.database).await;
    for round in 0..127 {
        for clause in [format!("ADD c{round} INT"), format!("DROP c{round}")] {
            conn.query_drop(format!("ALTER TABLE t {clause}, ALGORITHM=INSTANT")).await.unwrap();
        }
    }
    let planned = plan(&place, "t", "ADD COLUMN last INT").await;
    assert_eq!(methods(&planned), ["instant"], "{planned}");
    conn.query_drop("ALTER TABLE t ADD last INT, ALGORITHM=INSTANT").await.unwrap();
    let planned = plan(&place, "t", "DROP COLUMN last").await;
    assert_eq!((&planned["decided"], methods(&planned)), (&true.into(), vec!["copy"]), "{planned}");
    assert!(
        planned["methods"][0]["reason"].as_str().unwrap().contains("255 row versions"),
        "{planned}"
    );
    let done = last(&place, &["alter", "t", "DROP COLUMN last", "--json", "--yes"]).await;
    assert_eq!(done["method"], "copy", "{done}");
}

/// A FULLTEXT index leaves a column behind that `CREATE TABLE … LIKE` does not bring.
#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_column_makes_instant_uncertain() {
    let place = place(Kind::Mysql).await;
    place.run("ALTER TABLE t ADD FULLTEXT INDEX f (b)").await;
    place.run("ALTER TABLE t DROP INDEX f").await;
    let planned = plan(&place, "t", "ADD COLUMN c INT").await;
    assert_eq!(planned["decided"], false, "{planned}");
    assert!(notes(&planned).contains("hidden column"), "{planned}");
}
