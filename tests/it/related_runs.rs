//! Runs on tables that foreign keys join, at the same time: both are done, or one is refused before its
//! start.

use crate::cli_run::Run;
use crate::cli_run::streams;
use crate::support;
use crate::support::postgres::Postgres;
use crate::support::server::{Kind, Server};

const TABLES: [&str; 5] = [
    "CREATE TABLE p (id INT PRIMARY KEY, v INT)",
    "CREATE TABLE c (id INT PRIMARY KEY, p INT, CONSTRAINT c_p FOREIGN KEY (p) REFERENCES p (id))",
    "CREATE TABLE d (id INT PRIMARY KEY, p INT, CONSTRAINT d_p FOREIGN KEY (p) REFERENCES p (id))",
    "CREATE TABLE s (id INT PRIMARY KEY, s INT, p INT, \
     CONSTRAINT s_s FOREIGN KEY (s) REFERENCES s (id), CONSTRAINT s_p FOREIGN KEY (p) REFERENCES p (id))",
    "CREATE TABLE alone (id INT PRIMARY KEY, p INT)",
];

const ROWS: [&str; 5] = [
    "INSERT INTO p VALUES (1, 1), (2, 2), (3, 3)",
    "INSERT INTO c VALUES (1, 1), (2, 2), (3, NULL)",
    "INSERT INTO d VALUES (1, 3), (2, 2)",
    "INSERT INTO s VALUES (1, 1, 1), (2, 1, 2)",
    "INSERT INTO alone VALUES (1, 1)",
];

/// Two tables, and whether a foreign key joins them.
const PAIRS: [(&str, &str, bool); 8] = [
    ("p", "c", true),
    ("c", "p", true),
    ("d", "p", true),
    ("c", "d", false),
    ("s", "p", true),
    ("p", "s", true),
    ("s", "c", false),
    ("c", "c", true),
];

#[derive(Clone, Copy)]
enum On {
    Mysql(&'static Server),
    Postgres(&'static Postgres),
}

impl On {
    fn all() -> [Self; 3] {
        [
            Self::Mysql(support::shared(Kind::Mariadb)),
            Self::Mysql(support::shared(Kind::Mysql)),
            Self::Postgres(support::shared_postgres()),
        ]
    }

    async fn place(self) -> (String, String) {
        let (database, url) = match self {
            Self::Mysql(server) => {
                let database = support::database(server).await;
                let url = server.url(&database);
                (database, url)
            }
            Self::Postgres(server) => {
                let database = support::postgres_database(server).await;
                let url = server.url(&database);
                (database, url)
            }
        };
        for sql in TABLES.iter().chain(&ROWS) {
            self.run(&database, sql).await;
        }
        (database, url)
    }

    async fn run(self, database: &str, sql: &str) {
        match self {
            Self::Mysql(server) => server.exec_in(database, sql).await,
            Self::Postgres(server) => server.exec(database, sql).await,
        }
    }

    /// The foreign keys, but for those of retired tables.
    async fn keys(self, database: &str) -> String {
        match self {
            Self::Mysql(server) => {
                let sql = format!(
                    "SELECT GROUP_CONCAT(CONSTRAINT_NAME, ' ', TABLE_NAME, ' ', \
                     REFERENCED_TABLE_NAME ORDER BY 1) FROM information_schema.REFERENTIAL_CONSTRAINTS \
                     WHERE CONSTRAINT_SCHEMA = '{database}' AND TABLE_NAME NOT LIKE '%\\_osc\\_old'"
                );
                server.value(&sql).await
            }
            Self::Postgres(server) => {
                let sql = "SELECT string_agg(concat_ws(' ', conname, conrelid::regclass, \
                     confrelid::regclass, convalidated), ',' ORDER BY conname) FROM pg_constraint \
                     WHERE contype = 'f' AND conrelid::regclass::text NOT LIKE '%\\_osc\\_old'";
                server.value(database, sql).await
            }
        }
    }
}

const CLAUSES: &str = "ADD COLUMN added INT";

#[tokio::test(flavor = "multi_thread")]
async fn both_are_done_or_one_is_refused_before_its_start() {
    for on in On::all() {
        for (one, two, joined) in PAIRS {
            let (database, url) = on.place().await;
            let keys = on.keys(&database).await;
            let first = Run::at(&url, &[one, CLAUSES]);
            let second = Run::at(&url, &[two, CLAUSES]);
            let (first, second) = tokio::join!(first.end(), second.end());
            let mut done = 0;
            for (table, ended) in [(one, first), (two, second)] {
                match ended.code {
                    Some(0) => done += 1,
                    Some(4) if joined => {
                        let printed = ended.error().to_owned();
                        assert!(printed.contains("another osc"), "{printed}");
                        assert!(!ended.tells("phase", "copy"), "{one} {two}: it had started");
                        if one != two {
                            Run::at(&url, &[table, CLAUSES]).done().await;
                        }
                    }
                    _ => panic!("{one} {two}: {table}: {ended:#?}"),
                }
            }
            assert!(done > 0, "{one} {two}: none was done");
            assert_eq!(on.keys(&database).await, keys, "{one} {two}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_refused_beside_a_related_one_under_way_or_unfinished() {
    for on in On::all() {
        let (database, url) = on.place().await;
        let keys = on.keys(&database).await;
        let file = format!("{}/related-{database}", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&file, "cut_over = \"hold\"\n").unwrap();
        let mut parent = Run::at(&url, &["p", CLAUSES, "--control-file", &file]);
        parent.phase("hold").await;
        for command in ["plan", "alter"] {
            let new_key = "ADD CONSTRAINT alone_p FOREIGN KEY (p) REFERENCES p (id)";
            for (table, clauses) in [("c", CLAUSES), ("s", CLAUSES), ("alone", new_key)] {
                let (code, printed) = osc(&url, &[command, table, clauses]);
                assert_eq!(code, Some(4), "{command} {table}: {printed}");
                assert!(printed.contains("[related-run]"), "{command} {table}: {printed}");
            }
        }
        parent.kill();
        let printed = loop {
            let (code, printed) = osc(&url, &["alter", "c", CLAUSES]);
            assert_eq!(code, Some(4), "{printed}");
            if !printed.contains("another osc") {
                break printed;
            }
        };
        assert!(printed.contains("was not finished"), "{printed}");
        Run::at(&url, &["p", CLAUSES]).done().await;
        Run::at(&url, &["c", CLAUSES]).done().await;
        assert_eq!(on.keys(&database).await, keys);
        std::fs::remove_file(&file).unwrap();
    }
}

fn osc(url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = support::osc().args(arguments).args(["--url", url]).output().unwrap();
    (output.status.code(), streams(&output))
}
