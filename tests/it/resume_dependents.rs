//! Everything that hangs on a table survives a change of it, whatever is killed on the way.

use crate::support;
use std::time::{Duration, Instant};

use crate::cli_run::Run;
use crate::everything::{
    Application, assert_nothing_left, build, definitions, exec, without_counter,
};
use crate::support::server::{Kind, Server};

const CLAUSES: [&str; 2] = [
    "MODIFY size ENUM('small','it''s large','huge') DEFAULT 'small'",
    "MODIFY size ENUM('small','it''s large') DEFAULT 'small'",
];

/// What the first of the clauses makes of the table's definition.
fn changed(create: &str) -> String {
    create.replace("enum('small','it''s large')", "enum('small','it''s large','huge')")
}

fn start(server: &Server, database: &str, clauses: &str) -> Run {
    Run::start(server, database, &["users", clauses, "--chunk-size", "500"])
}

async fn everything_on_a_table_survives_under_writers(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    build(server, &database).await;
    let before = definitions(server, &database).await;
    let mut application = Application::start(server, &database, true).await;
    application.go_on().await;
    start(server, &database, CLAUSES[0]).done().await;
    application.go_on().await;
    application.end().await;

    assert_nothing_left(server, &database).await;
    let after = definitions(server, &database).await;
    assert_eq!(without_counter(&after[0]), without_counter(&changed(&before[0])));
    assert_eq!(after[1..], before[1..]);
    let counted = "SELECT COUNT(*), SUM(id), SUM(n), SUM(twice), COUNT(boss), MAX(name) FROM";
    let rows = server.rows(&format!("{counted} {database}.users WHERE id <= 3000")).await;
    let retired =
        server.rows(&format!("{counted} {database}.users_osc_old WHERE id <= 3000")).await;
    assert_eq!(rows, retired);
}

async fn the_next_number_is_the_one_it_was(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    build(server, &database).await;
    let before = definitions(server, &database).await;
    assert!(before[0].contains("AUTO_INCREMENT=50000"), "{}", before[0]);
    start(server, &database, CLAUSES[0]).done().await;
    let after = definitions(server, &database).await;
    assert_eq!(after[0], changed(&before[0]));
}

/// Kills osc at eight moments between the beginning of the cut-over and its usual end, just before the swap
/// and just behind it.
async fn the_same_command_finishes_what_a_killed_cut_over_left(kind: Kind) {
    const MOMENTS: u32 = 8;
    let server = support::shared(kind);
    let database = support::database(server).await;
    build(server, &database).await;
    let mut definition = definitions(server, &database).await;
    let mut application = Application::start(server, &database, false).await;
    let mut conn = server.conn_db(&database).await;
    let url = server.url(&database);
    let mut usual = Duration::ZERO;
    let (mut before, mut after) = (0, 0);
    for moment in 0..=MOMENTS + 2 {
        let clauses = CLAUSES[moment as usize % 2];
        let killed = match moment {
            0 => {
                let mut run = start(server, &database, clauses);
                run.phase("cut-over").await;
                let begun = Instant::now();
                run.done().await;
                usual = begun.elapsed();
                false
            }
            1..=MOMENTS => {
                let mut run = start(server, &database, clauses);
                run.phase("cut-over").await;
                tokio::time::sleep(usual * moment / (MOMENTS + 1)).await;
                run.kill()
            }
            _ => {
                let point = if moment % 2 == 0 { "swap.ready" } else { "swap.done" };
                Run::until(&url, &["users", clauses], point).await.0.kill()
            }
        };
        if killed {
            let size = "SELECT COLUMN_TYPE LIKE '%huge%' FROM information_schema.COLUMNS \
                        WHERE TABLE_NAME = 'users' AND COLUMN_NAME = 'size' AND TABLE_SCHEMA =";
            let size = server.value(&format!("{size} '{database}'")).await;
            let swapped = (size == "1") == clauses.contains("huge");
            *(if swapped { &mut after } else { &mut before }) += 1;
        }
        let result = "SELECT IFNULL(result, '') FROM";
        let result = format!(
            "{result} osc.osc_ledger WHERE schema_name = '{database}' ORDER BY run DESC LIMIT 1"
        );
        // Until it is run again children may reference the retired table.
        if server.value(&result).await != "done" {
            start(server, &database, clauses).done().await;
        }
        application.go_on().await;
        assert_nothing_left(server, &database).await;
        let now = definitions(server, &database).await;
        assert_eq!(now[1..], definition[1..], "moment {moment}");
        definition = now;
        exec(&mut conn, "SET foreign_key_checks = 0").await;
        exec(&mut conn, "DROP TABLE users_osc_old").await;
    }
    eprintln!("{}: {before} kills before the swap, {after} after it; {usual:?}", kind.name());
    assert!(before > 0 && after > 0, "{before} kills before the swap, {after} after it");
    application.end().await;
}

on_both_servers! {
    everything_on_a_table_survives_under_writers
    the_next_number_is_the_one_it_was
    the_same_command_finishes_what_a_killed_cut_over_left
}
