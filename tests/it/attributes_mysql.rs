//! Everything that information_schema can say about a table of MySQL or MariaDB: after a copy it says the
//! same as after the server's own ALTER on a twin, or the table was refused before the copy. The list of
//! all that is `attributes/mysql.txt`; a server that knows more fails the first test.

use crate::cli_run::printed;
use crate::support;

use std::process::Output;

use crate::attributes::Classified;
use crate::support::server::{Kind, Server};

const COLUMNS: &str = "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS \
                       WHERE TABLE_SCHEMA = 'information_schema'";

/// Rows of these are about the tables if their column has the table's name.
const BY_NAME: &[(&str, &[&str])] = &[
    ("TABLE_NAME", &["TABLE_SCHEMA", "SCHEMA_NAME", "CONSTRAINT_SCHEMA"]),
    ("EVENT_OBJECT_TABLE", &["EVENT_OBJECT_SCHEMA"]),
    ("F_TABLE_NAME", &["F_TABLE_SCHEMA"]),
];

fn classified() -> Classified {
    Classified::of(include_str!("attributes/mysql.txt"))
}

fn osc(server: &Server, database: &str, arguments: &[&str]) -> Output {
    support::osc().args(arguments).args(["--url", &server.url(database)]).output().unwrap()
}

/// The statements that make the tables that have everything that this server knows.
fn everything(kind: Kind) -> Vec<String> {
    let (own, other) = match kind {
        Kind::Mysql => ("/* my */ ", "/* ma */ "),
        Kind::Mariadb => ("/* ma */ ", "/* my */ "),
    };
    let text: Vec<String> = include_str!("attributes/everything.mysql.sql")
        .lines()
        .filter(|line| !line.trim_start().starts_with(other))
        .map(|line| line.replacen(own, "", 1))
        .collect();
    let statements = text.join("\n");
    statements.split(";\n").filter(|sql| !sql.trim().is_empty()).map(ToOwned::to_owned).collect()
}

async fn every_attribute_of_the_catalog_is_classified(kind: Kind) {
    let found = support::shared(kind).rows(COLUMNS).await;
    assert!(found.len() > 500, "this is no catalog: {found:?}");
    let unknown = classified().unknown(&found);
    assert!(unknown.is_empty(), "{} knows more: {unknown:#?}", kind.name());
}

/// What information_schema says of the tables of a database, a line a row.
async fn picture(server: &Server, database: &str) -> Vec<String> {
    let columns = server.rows(COLUMNS).await;
    let mut lines = Vec::new();
    for (catalog, same) in classified().same {
        let has = |name: &str| columns.iter().any(|row| row[0] == catalog && row[1] == name);
        let list: Vec<&String> = same.iter().filter(|name| has(name)).collect();
        if list.is_empty() {
            continue;
        }
        let by_name = BY_NAME.iter().find_map(|(table, schemas)| {
            let schema = schemas.iter().find(|schema| has(schema) && has(table))?;
            Some(format!("{schema} = '{database}'"))
        });
        // InnoDB's names.
        let which = by_name.unwrap_or_else(|| match has("CONSTRAINT_SCHEMA") {
            true => format!("CONSTRAINT_SCHEMA = '{database}'"),
            false => format!("NAME LIKE '{database}/%' AND NAME NOT LIKE '%/fts_%'"),
        });
        let shown: Vec<String> = list
            .iter()
            .map(|name| {
                format!("CONCAT('{name}=', COALESCE(CONVERT({name} USING utf8mb4), 'NULL'))")
            })
            .collect();
        let sql =
            format!("SELECT {} FROM information_schema.{catalog} WHERE {which}", shown.join(", "));
        for row in server.rows(&sql).await {
            lines.push(format!("{catalog} {}", row.join(" ")));
        }
    }
    for table in ["everything", "parts", "children"] {
        let create = &server.rows(&format!("SHOW CREATE TABLE {database}.{table}")).await[0][1];
        // Indexes that are built after the copy stand behind the others.
        let mut all: Vec<&str> = create.lines().map(|line| line.trim_end_matches(',')).collect();
        all.sort_unstable();
        lines.push(format!("SHOW CREATE TABLE {}", all.join("\n    ")));
    }
    assert!(lines.len() > 100, "this is no picture: {lines:#?}");
    lines.sort();
    lines.into_iter().map(|line| without_check_names(&line).replace(database, "DB")).collect()
}

/// MySQL makes new names of CHECK constraints, as the plan says.
fn without_check_names(line: &str) -> String {
    let mut line = line.to_owned();
    for name in ["positive", "idle"] {
        line = line.replace(&format!("`{name}`"), "`check`");
        line = line.replace(&format!("CONSTRAINT_NAME={name}"), "CONSTRAINT_NAME=check");
    }
    for n in 1..9 {
        line = line.replace(&format!("everything_chk_{n}"), "check");
    }
    // As MySQL itself does when it reads its own text again.
    line.replace("-(100)", "-100").replace("-(9)", "-9")
}

async fn tables_that_have_everything_are_as_after_the_servers_own_alter(kind: Kind) {
    let server = support::shared(kind);
    let (ours, twin) = (support::database(server).await, support::database(server).await);
    for database in [&ours, &twin] {
        for statement in everything(kind) {
            server.exec_in(database, &statement).await;
        }
        for sql in [
            "CREATE USER IF NOT EXISTS reader",
            "GRANT SELECT, UPDATE ON everything TO reader WITH GRANT OPTION",
            "GRANT INSERT (v, name) ON everything TO reader",
        ] {
            server.exec_in(database, sql).await;
        }
        if kind == Kind::Mysql {
            let histogram = "ANALYZE TABLE everything UPDATE HISTOGRAM ON wide WITH 4 BUCKETS";
            server.exec_in(database, histogram).await;
        }
    }
    for table in ["everything", "parts"] {
        let clauses = "MODIFY v bigint DEFAULT 5";
        server.exec_in(&twin, &format!("ALTER TABLE {table} {clauses}, ALGORITHM=COPY")).await;
        let output = osc(server, &ours, &["alter", table, clauses, "--strategy", "copy"]);
        assert_eq!(output.status.code(), Some(0), "{table}: {}", printed(&output));
        let output = osc(server, &ours, &["cleanup", table, "--yes", "--now"]);
        assert_eq!(output.status.code(), Some(0), "{table}: {}", printed(&output));
    }
    let (ours, twin) = (picture(server, &ours).await, picture(server, &twin).await);
    let only = |these: &[String], those: &[String]| {
        these.iter().filter(|one| !those.contains(one)).cloned().collect::<Vec<_>>().join("\n")
    };
    let (lost, gained) = (only(&twin, &ours), only(&ours, &twin));
    assert!(
        lost.is_empty() && gained.is_empty(),
        "{}\nAS THE SERVER HAS IT:\n{lost}\n\nAS OSC HAS IT:\n{gained}",
        kind.name()
    );
}

async fn a_data_directory_is_refused_before_the_copy(kind: Kind) {
    let apart =
        std::env::temp_dir().join(format!("osc-data-{}-{}", kind.name(), std::process::id()));
    std::fs::create_dir_all(&apart).unwrap();
    let apart = apart.to_str().unwrap();
    let option = format!("--innodb-directories={apart}");
    let server = match kind {
        Kind::Mysql => Server::start_with(kind, &[&option]),
        Kind::Mariadb => Server::start(kind),
    };
    let database = support::database(&server).await;
    for table in [
        format!("t (id int PRIMARY KEY, v int) DATA DIRECTORY = '{apart}'"),
        format!(
            "p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id) \
             (PARTITION a VALUES LESS THAN (10) DATA DIRECTORY = '{apart}')"
        ),
        "c (id int PRIMARY KEY, v int COMMENT 'DATA DIRECTORY', `DATA DIRECTORY` int)".to_owned(),
    ] {
        server.exec_in(&database, &format!("CREATE TABLE {table}")).await;
        let expected = if table.starts_with('c') { 0 } else { 4 };
        for command in ["plan", "alter"] {
            let output = osc(&server, &database, &[command, &table[..1], "MODIFY v bigint"]);
            let printed = printed(&output);
            assert_eq!(output.status.code(), Some(expected), "{command} {table}: {printed}");
            assert_eq!(printed.contains("data-directory"), expected == 4, "{printed}");
        }
    }
    drop(server);
    std::fs::remove_dir_all(apart).unwrap();
}

on_both_servers! {
    every_attribute_of_the_catalog_is_classified
    tables_that_have_everything_are_as_after_the_servers_own_alter
    a_data_directory_is_refused_before_the_copy
}
