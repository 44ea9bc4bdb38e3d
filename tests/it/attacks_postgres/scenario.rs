//! A database on PostgreSQL, an attacker, and osc as a superuser.
#![allow(missing_docs, reason = "a part of one test program, as the kit is")]

pub(crate) use crate::cli_run::printed;
use crate::support;
use std::process::Output;

use crate::support::postgres::Postgres;
use tokio_postgres::Client;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, name text NOT NULL);
    INSERT INTO t SELECT i, i, 'name ' || i FROM generate_series(1, 300) AS i; ANALYZE t";

/// A change that takes a copy.
pub(crate) const COPIED: &str = "ALTER n TYPE bigint";

/// A change that the server makes at once.
pub(crate) const INSTANT: &str = "ALTER n SET DEFAULT 7";

/// The columns of the ledger, for one who makes a table like it.
pub(crate) const COLUMNS: &str = "system bigint NOT NULL, database oid NOT NULL, \
    run bigint GENERATED ALWAYS AS IDENTITY, schema_name text NOT NULL, table_name text NOT NULL, \
    clauses text NOT NULL, method text NOT NULL, phase text NOT NULL, result text, detail text, \
    state text, rows_copied bigint NOT NULL, rows_estimate bigint NOT NULL, rows_verified bigint, \
    verification text NOT NULL, lock_ms double precision, owner text NOT NULL, carried text, \
    started timestamptz NOT NULL, updated timestamptz NOT NULL, ended timestamptz, \
    PRIMARY KEY (system, database, run)";

/// A database, and the attacker.
pub(crate) struct Scenario {
    pub(crate) server: &'static Postgres,
    pub(crate) database: String,
    pub(crate) mallory: String,
}

impl Scenario {
    pub(crate) async fn new() -> Self {
        let server = support::shared_postgres();
        let database = support::postgres_database(server).await;
        let mallory = format!("mallory_{database}");
        let scenario = Self { server, database, mallory };
        scenario.exec(TABLE).await;
        scenario
            .exec(
                "CREATE ROLE {m} LOGIN; GRANT CREATE ON DATABASE {d} TO {m}; \
                 GRANT CREATE, USAGE ON SCHEMA public TO {m}; GRANT ALL ON t TO {m}",
            )
            .await;
        scenario
    }

    pub(crate) fn fill(&self, sql: &str) -> String {
        sql.replace("{m}", &self.mallory).replace("{d}", &self.database)
    }

    /// As a superuser.
    pub(crate) async fn exec(&self, sql: &str) {
        self.server.exec(&self.database, &self.fill(sql)).await;
    }

    pub(crate) async fn value(&self, sql: &str) -> String {
        self.server.value(&self.database, &self.fill(sql)).await
    }

    pub(crate) async fn attacker(&self) -> Client {
        let url = self.server.url_as(&self.mallory, &self.database);
        support::postgres::connect(&url).await.unwrap()
    }

    /// As the attacker.
    pub(crate) async fn attack(&self, sql: &str) {
        let sql = self.fill(sql);
        let done = self.attacker().await.batch_execute(&sql).await;
        done.unwrap_or_else(|error| panic!("{error:?}\n{sql}"));
    }

    /// As the attacker; false where the server has no such command for what is there (feature_not_supported).
    pub(crate) async fn attack_where_supported(&self, sql: &str) -> bool {
        let sql = self.fill(sql);
        match self.attacker().await.batch_execute(&sql).await {
            Ok(()) => true,
            Err(error) if error.code().is_some_and(|code| code.code() == "0A000") => false,
            Err(error) => panic!("{error:?}\n{sql}"),
        }
    }

    /// What the attacker may not do.
    pub(crate) async fn forbidden(&self, sql: &str) {
        let sql = self.fill(sql);
        let done = self.attacker().await.batch_execute(&sql).await;
        let error = done.expect_err(&format!("the attacker may: {sql}"));
        let code = error.code().map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{sql}: {error:?}");
    }

    pub(crate) fn osc(&self, arguments: &[&str]) -> Output {
        self.osc_at(&self.server.url(&self.database), arguments)
    }

    pub(crate) fn osc_at(&self, url: &str, arguments: &[&str]) -> Output {
        support::osc().args(arguments).args(["--url", url]).output().unwrap()
    }

    /// Makes the ledger.
    pub(crate) fn ledger(&self) {
        done(&self.osc(&["alter", "t", INSTANT]));
    }

    /// A function of the attacker's that takes all rights when it can.
    pub(crate) async fn payload(&self, place: &str, returns: &str) {
        self.attack(&format!(
            "CREATE FUNCTION {place} RETURNS {returns} LANGUAGE plpgsql AS $f$ BEGIN \
             IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN \
             EXECUTE 'ALTER ROLE {{m}} SUPERUSER'; END IF; RETURN {}; END $f$",
            if returns == "trigger" { "NEW" } else { "NULL" }
        ))
        .await;
    }

    /// Has the attacker's `now_then()` run as the schema of the shadow's draft is made, until the event trigger
    /// `at_schema` is dropped.
    pub(crate) async fn attack_at_the_draft(&self) {
        self.exec(
            "CREATE FUNCTION at_schema() RETURNS event_trigger LANGUAGE plpgsql AS $f$ BEGIN \
             IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() \
             WHERE object_identity LIKE 'osc_build%') THEN PERFORM public.now_then(); END IF; END $f$; \
             CREATE EVENT TRIGGER at_schema ON ddl_command_end WHEN TAG IN ('CREATE SCHEMA') \
             EXECUTE FUNCTION at_schema()",
        )
        .await;
    }

    pub(crate) async fn assert_harmless(&self, what: &str) {
        let sql = "SELECT rolsuper FROM pg_roles WHERE rolname = '{m}'";
        assert_eq!(self.value(sql).await, "f", "the attacker is a superuser now: {what}");
    }

    /// A command that is refused with these words, and from which the attacker has nothing.
    pub(crate) async fn assert_refused(&self, arguments: &[&str], words: &[&str]) {
        let output = self.osc(arguments);
        self.assert_harmless(&format!("{arguments:?}")).await;
        refused(&output, words);
    }

    /// A row that only one with osc's rights could write: even that is not believed.
    pub(crate) async fn forge(&self, clauses: &str, carried: &str) {
        self.exec(&format!(
            "INSERT INTO osc.osc_ledger (system, database, schema_name, table_name, clauses, method, \
             phase, rows_copied, rows_estimate, verification, owner, state, carried, started, updated) \
             SELECT system_identifier, d.oid, 'public', 't', '{clauses}', 'copy', 'copy', 1, 1, 'on', \
             'x', '{{\"position\":\"0/0\",\"copied\":\"Start\",\"limit\":\"Open\",\"rows\":0,\
             \"indexed\":false}}', {carried}, now(), now() \
             FROM pg_control_system(), pg_database d WHERE datname = current_database()"
        ))
        .await;
    }

    pub(crate) async fn type_of_n(&self) -> String {
        self.value("SELECT pg_typeof(n) FROM t LIMIT 1").await
    }
}

/// A record of a run, as an expression: that `shadow` took the place of `original`.
pub(crate) fn record(original: &str, shadow: &str) -> String {
    format!(
        "json_build_object('form', 2, 'original', '{original}'::regclass::oid::bigint, 'shadow', \
         '{shadow}'::regclass::oid::bigint, 'capture', 'logical', 'deferred', true, 'fingerprint', '', \
         'dependents', '', 'unchecked', '[]'::json)::text"
    )
}

pub(crate) fn done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", printed(output));
}

pub(crate) fn refused(output: &Output, words: &[&str]) {
    let printed = printed(output);
    assert_eq!(output.status.code(), Some(4), "not refused: {printed}");
    for word in words {
        assert!(printed.contains(word), "{word:?} is not in {printed}");
    }
}
