//! What a run that was not finished means for the next command, whatever method that would take.

use crate::cli_run::Run;
use crate::support;
use crate::support::server::{Kind, Server};

const CLAUSES: &str = "ADD COLUMN added INT NOT NULL DEFAULT 5, DROP COLUMN gone";

async fn table(server: &Server) -> String {
    let database = support::database(server).await;
    server.exec(&format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT, gone INT)")).await;
    server.exec(&format!("INSERT INTO {database}.t VALUES (1, 1, 1), (2, 2, 2)")).await;
    database
}

/// `osc` to its end: exit code and stderr.
fn osc(server: &Server, database: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = support::osc()
        .args(arguments)
        .args(["--url", &server.url(database), "--yes"])
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The names in the clauses are those from before the swap: the table has them no more.
async fn the_same_command_finishes_a_swap_whose_clauses_no_longer_fit_the_table(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    Run::start(server, &database, &["t", CLAUSES]).done().await;
    // As it is when the program dies right after the swap.
    let unfinished = "UPDATE osc.osc_ledger SET result = NULL, ended = NULL WHERE schema_name =";
    server.exec(&format!("{unfinished} '{database}'")).await;

    let (code, printed) = osc(server, &database, &["cleanup", "t", "--now"]);
    assert_eq!(code, Some(4), "{printed}");
    assert!(printed.contains("died after its swap"), "{printed}");

    // With any strategy: an instant change would be made a second time.
    let summary = Run::plainly(&server.url(&database), &["t", CLAUSES, "--yes"]).done().await;
    assert_eq!(summary["method"], "copy");
    let result =
        format!("SELECT GROUP_CONCAT(result) FROM osc.osc_ledger WHERE schema_name = '{database}'");
    assert_eq!(server.value(&result).await, "done");
    let sum = format!("SELECT CONCAT(COUNT(*), ' ', SUM(v), ' ', SUM(added)) FROM {database}.t");
    assert_eq!(server.value(&sum).await, "2 3 10");
    let retired = format!("SHOW TABLES FROM {database} LIKE 't\\_osc\\_old'");
    assert_eq!(server.rows(&retired).await.len(), 1, "the retired table is gone");
    let (code, printed) = osc(server, &database, &["cleanup", "t", "--now"]);
    assert_eq!(code, Some(0), "{printed}");
}

/// An instant change would end a run of hours, and make a dead one's checkpoint worthless.
async fn an_instant_change_spares_a_run_under_way_and_an_unfinished_one(kind: Kind) {
    const INSTANT: [&str; 3] = ["alter", "t", "ADD COLUMN other INT"];
    let server = support::shared(kind);
    let database = table(server).await;
    let file = format!("{}/unfinished-{}", env!("CARGO_TARGET_TMPDIR"), kind.name());
    std::fs::write(&file, "cut_over = \"hold\"\n").unwrap();
    let mut run = Run::start(server, &database, &["t", CLAUSES, "--control-file", &file]);
    run.phase("hold").await;
    let (code, printed) = osc(server, &database, &INSTANT);
    assert_eq!(code, Some(4), "{printed}");
    assert!(printed.contains("another osc is already changing"), "{printed}");

    run.kill();
    // The server lets the unfinished run's lock go when it notices.
    let (code, printed) = loop {
        let (code, printed) = osc(server, &database, &INSTANT);
        if !printed.contains("another osc is already changing") {
            break (code, printed);
        }
    };
    assert_eq!(code, Some(4), "{printed}");
    assert!(printed.contains("was not finished"), "{printed}");

    let (code, printed) = osc(server, &database, &["alter", "t", CLAUSES]);
    assert_eq!(code, Some(0), "{printed}");
    let methods = format!(
        "SELECT GROUP_CONCAT(method, ' ', result) FROM osc.osc_ledger WHERE schema_name = '{database}'"
    );
    assert_eq!(server.value(&methods).await, "copy done");
    assert_eq!(osc(server, &database, &INSTANT).0, Some(0));
}

/// One record that cannot be read proves nothing, and keeps no command from its work.
async fn a_record_that_cannot_be_read_is_forgotten(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    Run::start(server, &database, &["t", "ADD COLUMN first INT"]).done().await;
    assert_eq!(osc(server, &database, &["cleanup", "t", "--now"]).0, Some(0));
    let unreadable = "UPDATE osc.osc_ledger SET carried = '{\"form\":9}' WHERE schema_name =";
    server.exec(&format!("{unreadable} '{database}'")).await;
    // Its table's retired one is another run's, which can be read.
    Run::start(server, &database, &["t", "ADD COLUMN second INT"]).done().await;
    let cleanup = ["cleanup", "t", "--json", "--now"];
    let output = support::osc()
        .args(cleanup)
        .args(["--url", &server.url(&database), "--yes"])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let answer = support::schema::read("cleanup", printed.trim());
    assert_eq!(answer["dropped"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(answer["forgotten"].as_array().map(Vec::len), Some(1), "{answer}");
    let left = format!(
        "SELECT COUNT(*) FROM osc.osc_ledger WHERE schema_name = '{database}' AND carried = '{{\"form\":9}}'"
    );
    assert_eq!(server.value(&left).await, "0");

    // The same of a run that is not finished: it is refused by its name, until it is forgotten.
    let dead = "UPDATE osc.osc_ledger SET carried = '{\"form\":9}', result = NULL, state = '{}' \
                WHERE schema_name =";
    server.exec(&format!("{dead} '{database}' ORDER BY run DESC LIMIT 1")).await;
    for command in ["plan", "alter"] {
        let (code, printed) = osc(server, &database, &[command, "t", "ADD COLUMN second INT"]);
        assert_eq!(code, Some(4), "{printed}");
        assert!(
            printed.contains("[other-version]") && printed.contains("osc cleanup"),
            "{printed}"
        );
    }
    assert_eq!(osc(server, &database, &["cleanup", "t", "--now"]).0, Some(0));
    let (code, printed) = osc(server, &database, &["alter", "t", "ADD COLUMN third INT"]);
    assert_eq!(code, Some(0), "{printed}");
}

on_both_servers! {
    the_same_command_finishes_a_swap_whose_clauses_no_longer_fit_the_table
    an_instant_change_spares_a_run_under_way_and_an_unfinished_one
    a_record_that_cannot_be_read_is_forgotten
}
