//! What an account of the application can do to the shadow and to the retired name during a run on MySQL and
//! MariaDB, where it may create and rename tables: stop the run, no more.

use std::path::PathBuf;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};

use crate::cli_run::Run;
use crate::support;
use crate::support::server::{Kind, Server, opts};

const ADD: &str = "ADD COLUMN added INT NOT NULL DEFAULT 5";

/// A table, and an account with all rights on its schema.
struct Place<'a> {
    server: &'a Server,
    app: String,
    control: PathBuf,
}

impl<'a> Place<'a> {
    async fn new(server: &'a Server) -> Self {
        let app = support::database(server).await;
        let control = std::env::temp_dir().join(format!(
            "osc-shadow-{}-{}-{app}",
            server.kind().name(),
            std::process::id()
        ));
        for sql in [
            "SET GLOBAL log_bin_trust_function_creators = 1".to_owned(),
            format!("CREATE USER {app}_user IDENTIFIED BY 'secret'"),
            format!("GRANT ALL PRIVILEGES ON `{app}`.* TO {app}_user"),
            format!("CREATE TABLE {app}.t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)"),
            format!("INSERT INTO {app}.t (v) VALUES (1), (2), (3)"),
            format!("CREATE TABLE {app}.seen (what VARCHAR(200))"),
        ] {
            server.exec(&sql).await;
        }
        Self { server, app, control }
    }

    /// Statements of the application's account.
    async fn application(&self, statements: &[&str]) {
        let (app, port) = (&self.app, self.server.port());
        let url = format!("mysql://{app}_user:secret@127.0.0.1:{port}/{app}");
        let mut session = Conn::new(Opts::from(opts(&url))).await.unwrap();
        for sql in statements {
            session.query_drop(*sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        session.disconnect().await.unwrap();
    }

    fn run(&self, more: &[&str]) -> Run {
        std::fs::write(&self.control, "cut_over = 'hold'").unwrap();
        let control = self.control.to_str().unwrap();
        let usual = ["t", ADD, "--control-file", control, "--cut-over-attempts", "2"];
        Run::start(self.server, &self.app, &[&usual[..], more].concat())
    }

    fn release(&self) {
        std::fs::write(&self.control, "cut_over = 'now'").unwrap();
    }

    async fn value(&self, select: &str) -> String {
        self.server.value(&select.replace("FROM ", &format!("FROM {}.", self.app))).await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.control);
    }
}

async fn another_table_in_the_shadows_place_is_not_swapped_in(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    let mut run = place.run(&[]);
    run.phase("hold").await;
    place
        .application(&[
            "CREATE TABLE forged LIKE t_osc_new",
            "INSERT INTO forged (id, v) VALUES (1, 666)",
            "RENAME TABLE t_osc_new TO aside, forged TO t_osc_new",
        ])
        .await;
    place.release();
    let ended = run.end().await;
    assert_eq!(ended.code, Some(1), "{}", ended.complaints);
    assert_eq!(place.value("SELECT SUM(v) FROM t").await, "6", "the forged table was swapped in");
    assert_eq!(place.value("SELECT COUNT(*) FROM aside").await, "3");
    assert_eq!(
        place.value("SELECT v FROM t_osc_new").await,
        "666",
        "another user's table was dropped"
    );
}

async fn a_table_under_the_retired_name_stays(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    let mut run = place.run(&[]);
    run.phase("hold").await;
    place
        .application(&[
            "CREATE TABLE t_osc_old (doc VARCHAR(20))",
            "INSERT INTO t_osc_old VALUES ('only copy')",
        ])
        .await;
    place.release();
    let ended = run.end().await;
    assert_eq!(ended.code, Some(3), "{}", ended.complaints);
    assert_eq!(place.value("SELECT doc FROM t_osc_old").await, "only copy");
    // The copy is kept.
    place.application(&["RENAME TABLE t_osc_old TO mine"]).await;
    let mut again = place.run(&[]);
    again.phase("hold").await;
    place.release();
    again.done().await;
    assert_eq!(place.value("SELECT SUM(v) + SUM(added) FROM t").await, "21");
}

async fn a_view_in_the_shadows_place_runs_nothing(kind: Kind) {
    let place = Place::new(support::shared(kind)).await;
    let app = &place.app;
    let numbers = format!(
        "INSERT INTO {app}.t (v) SELECT a.v FROM {app}.t a, {app}.t b, {app}.t c, {app}.t d, {app}.t e, \
         {app}.t f"
    );
    place.server.exec(&numbers).await;
    let function = "CREATE FUNCTION evil() RETURNS INT MODIFIES SQL DATA SQL SECURITY INVOKER \
                    BEGIN INSERT INTO seen VALUES (CURRENT_USER()); RETURN 1; END";
    let mut run = place.run(&["--max-rows-per-second", "200", "--chunk-size", "20"]);
    run.phase("copy").await;
    place
        .application(&[
            function,
            "CREATE TABLE other LIKE t_osc_new",
            "CREATE SQL SECURITY INVOKER VIEW v AS SELECT * FROM other WHERE evil() = 1 WITH CHECK OPTION",
            "RENAME TABLE t_osc_new TO aside, v TO t_osc_new",
            "DO SLEEP(2)",
            "RENAME TABLE t_osc_new TO v, aside TO t_osc_new",
        ])
        .await;
    place.release();
    let ended = run.end().await;
    let seen = place.value("SELECT COUNT(*) FROM seen").await;
    assert_eq!(seen, "0", "the application's function ran as osc: {}", ended.complaints);
}

on_both_servers! {
    another_table_in_the_shadows_place_is_not_swapped_in
    a_table_under_the_retired_name_stays
    a_view_in_the_shadows_place_runs_nothing
}
