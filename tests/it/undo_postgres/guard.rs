//! Who writes the retired table while rows are put.

use super::place::Place;
use crate::cli_run::Run;
use crate::cli_run::point::Point;
use crate::support;
use crate::support::postgres::connect;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, c int); \
                     INSERT INTO t SELECT i, i FROM generate_series(1, 100) i";

#[tokio::test(flavor = "multi_thread")]
async fn no_other_session_writes_the_retired_table_while_rows_are_put() {
    let place = Place::new(TABLE).await;
    place.alter("ALTER c TYPE bigint");
    place.exec("UPDATE t SET c = -c").await;
    let point = Point::new("refresh.written@1").await;
    let mut command = support::osc();
    command.env("OSC_FAULT", point.fault());
    let url = place.server.url(&place.database);
    let mut run = Run::command(command, "revert", &url, &["t", "--yes"]);
    let waiting = run.reaches(point).await;
    assert_eq!(place.value("SELECT count(*) FROM t_osc_old WHERE c < 0").await, "100");

    let refused = async |client: &tokio_postgres::Client, sql: &str| {
        let error = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "40001", "{sql}: {error:?}");
        let _ = client.batch_execute("ROLLBACK").await;
    };
    // Not a superuser, not with a token that was guessed, and not one that knows the run's but may not write
    // the ledger.
    let root = place.server.client(&place.database).await;
    refused(&root, "UPDATE t_osc_old SET c = 1 WHERE id = 1").await;
    refused(&root, "SET osc.token = 'x'; INSERT INTO t_osc_old VALUES (101, 1)").await;
    refused(&root, "SET osc.token = ''; DELETE FROM t_osc_old").await;
    let token = place.value("SELECT owner FROM osc.osc_ledger ORDER BY run DESC LIMIT 1").await;
    place.exec("CREATE ROLE undo_app LOGIN; GRANT ALL ON t_osc_old TO undo_app").await;
    let app = connect(&place.server.url_as("undo_app", &place.database)).await.unwrap();
    let with_token = format!("SET osc.token = '{token}'; DELETE FROM t_osc_old WHERE id = 1");
    refused(&app, &with_token).await;
    refused(&root, &format!("SET osc.token = '{token}'; TRUNCATE t_osc_old")).await;
    // It is the token that lets the run through.
    root.batch_execute(&format!("BEGIN; {with_token}; ROLLBACK; RESET osc.token")).await.unwrap();

    drop(waiting);
    run.done().await;
    assert_eq!(place.value("SELECT count(*) FROM t WHERE c < 0").await, "100");
    // The guard is on the other table by now, and the token is worth nothing any more.
    place.exec("UPDATE t SET c = 1 WHERE id = 1").await;
    refused(&root, &format!("SET osc.token = '{token}'; UPDATE t_osc_old_2 SET c = 1")).await;
    drop(app);
    place.exec("DROP OWNED BY undo_app; DROP ROLE undo_app").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_session_hangs_on_the_retired_table_ends_the_undo() {
    for hang in [
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
         CREATE TRIGGER x BEFORE INSERT ON t_osc_old FOR EACH ROW EXECUTE FUNCTION f()",
        "ALTER TABLE t_osc_old DISABLE TRIGGER osc_guard",
        "CREATE INDEX x ON t_osc_old ((c + 1))",
        "ALTER TABLE t_osc_old ALTER c SET DEFAULT 9",
        "ALTER TABLE t_osc_old ADD CHECK (c < 1000)",
    ] {
        let place = Place::new(TABLE).await;
        place.alter("ALTER c TYPE bigint");
        place.exec("UPDATE t SET c = -c").await;
        let point = Point::new("stream.opened").await;
        let mut command = support::osc();
        command.env("OSC_FAULT", point.fault());
        let url = place.server.url(&place.database);
        let mut run = Run::command(command, "revert", &url, &["t", "--yes"]);
        let waiting = run.reaches(point).await;
        place.exec(hang).await;
        drop(waiting);
        let ended = run.end().await;
        assert_eq!(ended.code, Some(1), "{hang}: {ended:#?}");
        assert!(ended.error().contains("another session changed"), "{hang}: {ended:#?}");
        assert_eq!(place.value("SELECT count(*) FROM t WHERE c < 0").await, "100");
        assert_eq!(
            place.value("SELECT count(*) FROM t_osc_old WHERE c > 0").await,
            "100",
            "{hang}"
        );
    }
}
