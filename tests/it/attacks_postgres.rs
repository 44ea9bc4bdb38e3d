//! Attacks on osc through PostgreSQL, by an account that has what an application's account usually has:
//! its rows, and CREATE in the application's schema, here in the database too. osc runs as a superuser.
//! Each test is a promise (`docs/decisions/0011-ledger.md`).

use crate::support;
use std::process::Output;

use crate::runs::Run;
use crate::support::postgres::Postgres;
use tokio_postgres::Client;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, name text NOT NULL);
    INSERT INTO t SELECT i, i, 'name ' || i FROM generate_series(1, 300) AS i; ANALYZE t";

/// A change that takes a copy.
const COPIED: &str = "ALTER n TYPE bigint";

/// A change that the server makes at once.
const INSTANT: &str = "ALTER n SET DEFAULT 7";

/// The columns of the ledger, for one who makes a table like it.
const COLUMNS: &str = "system bigint NOT NULL, database oid NOT NULL, \
    run bigint GENERATED ALWAYS AS IDENTITY, schema_name text NOT NULL, table_name text NOT NULL, \
    clauses text NOT NULL, method text NOT NULL, phase text NOT NULL, result text, detail text, \
    state text, rows_copied bigint NOT NULL, rows_estimate bigint NOT NULL, rows_verified bigint, \
    verification text NOT NULL, lock_ms double precision, owner text NOT NULL, carried text, \
    started timestamptz NOT NULL, updated timestamptz NOT NULL, ended timestamptz, \
    PRIMARY KEY (system, database, run)";

/// A database, and the attacker.
pub(crate) struct Scene {
    pub(crate) server: &'static Postgres,
    pub(crate) database: String,
    mallory: String,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let server = support::shared_postgres();
        let database = support::postgres_database(server).await;
        let mallory = format!("mallory_{database}");
        let scene = Self { server, database, mallory };
        scene.exec(TABLE).await;
        scene
            .exec(
                "CREATE ROLE {m} LOGIN; GRANT CREATE ON DATABASE {d} TO {m}; \
                 GRANT CREATE, USAGE ON SCHEMA public TO {m}; GRANT ALL ON t TO {m}",
            )
            .await;
        scene
    }

    fn fill(&self, sql: &str) -> String {
        sql.replace("{m}", &self.mallory).replace("{d}", &self.database)
    }

    /// As a superuser.
    pub(crate) async fn exec(&self, sql: &str) {
        self.server.exec(&self.database, &self.fill(sql)).await;
    }

    pub(crate) async fn value(&self, sql: &str) -> String {
        self.server.value(&self.database, &self.fill(sql)).await
    }

    async fn attacker(&self) -> Client {
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

    fn osc_at(&self, url: &str, arguments: &[&str]) -> Output {
        support::osc().args(arguments).args(["--url", url]).output().unwrap()
    }

    /// Makes the ledger.
    fn ledger(&self) {
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
    async fn assert_refused(&self, arguments: &[&str], words: &[&str]) {
        let output = self.osc(arguments);
        self.assert_harmless(&format!("{arguments:?}")).await;
        refused(&output, words);
    }

    /// A row that only one with osc's rights could write: even that is not believed.
    async fn forge(&self, clauses: &str, carried: &str) {
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

    async fn type_of_n(&self) -> String {
        self.value("SELECT pg_typeof(n) FROM t LIMIT 1").await
    }
}

/// A record of a run, as an expression: that `shadow` took the place of `original`.
fn record(original: &str, shadow: &str) -> String {
    format!(
        "json_build_object('form', 2, 'original', '{original}'::regclass::oid::bigint, 'shadow', \
         '{shadow}'::regclass::oid::bigint, 'capture', 'logical', 'deferred', true, 'fingerprint', '', \
         'dependents', '', 'unchecked', '[]'::json)::text"
    )
}

fn said(output: &Output) -> String {
    format!(
        "{:?}\n{}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
}

fn refused(output: &Output, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(4), "not refused: {said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
}

const COMMANDS: [&[&str]; 4] = [
    &["status"],
    &["plan", "t", COPIED],
    &["alter", "t", COPIED, "--yes"],
    &["cleanup", "t", "-y"],
];

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_oscs_name_that_another_made_is_refused() {
    let scene = Scene::new().await;
    scene.attack(&format!("CREATE SCHEMA osc; CREATE TABLE osc.osc_ledger ({COLUMNS})")).await;
    scene.payload("public.take()", "trigger").await;
    scene
        .attack(
            "CREATE TRIGGER take BEFORE INSERT OR UPDATE ON osc.osc_ledger FOR EACH ROW \
             EXECUTE FUNCTION public.take()",
        )
        .await;
    for command in COMMANDS {
        scene.assert_refused(command, &["\"osc\"", &scene.mallory, "--ledger"]).await;
    }
    // Elsewhere it goes on.
    done(&scene.osc(&["alter", "t", COPIED, "--ledger", "osc_of_ours"]));
    scene.assert_harmless("another ledger").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_oscs_in_its_schema_is_refused_with_the_cure() {
    let scene = Scene::new().await;
    scene.ledger();
    scene.payload("public.take()", "trigger").await;
    scene.payload("public.taken()", "int").await;
    // What an administrator may have done by mistake, and the attacker made of it.
    for (sabotage, word, cure) in [
        (
            "CREATE TRIGGER take BEFORE INSERT OR UPDATE ON osc.osc_ledger FOR EACH ROW \
             EXECUTE FUNCTION public.take()",
            "triggers",
            "DROP TRIGGER take ON osc.osc_ledger",
        ),
        (
            "CREATE RULE take AS ON INSERT TO osc.osc_ledger DO ALSO SELECT public.taken()",
            "rules",
            "DROP RULE take ON osc.osc_ledger",
        ),
        (
            "ALTER TABLE osc.osc_ledger ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
            "row security",
            "ALTER TABLE osc.osc_ledger DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        ),
        (
            "CREATE POLICY take ON osc.osc_ledger USING (public.taken() IS NULL)",
            "policies",
            "DROP POLICY take ON osc.osc_ledger",
        ),
        (
            "ALTER TABLE osc.osc_ledger ALTER detail SET DEFAULT public.taken()::text",
            "defaults",
            "ALTER TABLE osc.osc_ledger ALTER detail DROP DEFAULT",
        ),
        (
            "ALTER TABLE osc.osc_ledger ADD CHECK (public.taken() IS NULL) NOT VALID",
            "constraints",
            "ALTER TABLE osc.osc_ledger DROP CONSTRAINT osc_ledger_check",
        ),
        ("CREATE INDEX take ON osc.osc_ledger (upper(detail))", "indexes", "DROP INDEX osc.take"),
        (
            "ALTER TABLE osc.osc_ledger ADD COLUMN more text",
            "columns",
            "ALTER TABLE osc.osc_ledger DROP COLUMN more",
        ),
        (
            "CREATE TABLE public.heir () INHERITS (osc.osc_ledger)",
            "inherit",
            "DROP TABLE public.heir",
        ),
        (
            "ALTER TABLE osc.osc_ledger SET UNLOGGED",
            "plain",
            "ALTER TABLE osc.osc_ledger SET LOGGED",
        ),
        (
            "ALTER TABLE osc.osc_ledger OWNER TO {m}",
            "{m}",
            "ALTER TABLE osc.osc_ledger OWNER TO postgres",
        ),
        (
            "GRANT INSERT ON osc.osc_ledger TO {m}",
            "may write",
            "REVOKE ALL ON osc.osc_ledger FROM {m}",
        ),
        (
            "GRANT UPDATE ON osc.osc_ledger TO PUBLIC",
            "PUBLIC may write",
            "REVOKE ALL ON osc.osc_ledger FROM PUBLIC",
        ),
        (
            "GRANT UPDATE (state) ON osc.osc_ledger TO {m}",
            "columns",
            "REVOKE UPDATE (state) ON osc.osc_ledger FROM {m}",
        ),
        (
            "GRANT USAGE ON SEQUENCE osc.osc_ledger_run_seq TO {m}",
            "counter",
            "REVOKE ALL ON ALL SEQUENCES IN SCHEMA osc FROM {m}",
        ),
        ("GRANT CREATE ON SCHEMA osc TO {m}", "may create", "REVOKE CREATE ON SCHEMA osc FROM {m}"),
        (
            "GRANT EXECUTE ON FUNCTION osc.osc_shadow() TO {m}",
            "triggers",
            "REVOKE ALL ON FUNCTION osc.osc_shadow() FROM {m}",
        ),
        (
            "CREATE OR REPLACE FUNCTION osc.osc_retired() RETURNS trigger LANGUAGE plpgsql \
             AS 'BEGIN RETURN NEW; END'",
            "osc_retired",
            "DROP FUNCTION osc.osc_retired()",
        ),
        (
            "ALTER FUNCTION osc.osc_snapshot() OWNER TO {m}",
            "osc_snapshot",
            "ALTER FUNCTION osc.osc_snapshot() OWNER TO postgres",
        ),
    ] {
        scene.exec(sabotage).await;
        for command in COMMANDS {
            refused(&scene.osc(command), &[&scene.fill(word)]);
        }
        scene.assert_harmless(sabotage).await;
        scene.exec(cure).await;
        done(&scene.osc(&["status"]));
    }
    done(&scene.osc(&["alter", "t", COPIED, "--strategy", "copy"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_in_the_place_of_the_ledger_is_refused() {
    let scene = Scene::new().await;
    scene.ledger();
    scene.payload("public.taken()", "text").await;
    scene
        .exec(
            "ALTER TABLE osc.osc_ledger RENAME TO away; CREATE VIEW osc.osc_ledger AS \
             SELECT *, public.taken() AS more FROM osc.away",
        )
        .await;
    for command in COMMANDS {
        refused(&scene.osc(command), &["no plain", "DROP VIEW"]);
    }
    scene.assert_harmless("a view").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_account_can_write_what_osc_made() {
    let scene = Scene::new().await;
    // Rights that would come by themselves.
    scene
        .exec(
            "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {m}; \
             ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO {m}; \
             ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO {m}; \
             ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO {m}",
        )
        .await;
    done(&scene.osc(&["alter", "t", COPIED]));
    for sql in [
        "INSERT INTO osc.osc_ledger SELECT FROM osc.osc_ledger",
        "UPDATE osc.osc_ledger SET state = NULL",
        "SELECT * FROM osc.osc_ledger",
        "SELECT setval('osc.osc_ledger_run_seq', 1)",
        "CREATE TABLE osc.mine ()",
        "CREATE OR REPLACE FUNCTION osc.osc_retired() RETURNS trigger LANGUAGE plpgsql \
         AS 'BEGIN RETURN NEW; END'",
        "CREATE TABLE public.t_osc_new (id int); CREATE TRIGGER osc_shadow AFTER TRUNCATE \
         ON public.t_osc_new FOR EACH STATEMENT EXECUTE FUNCTION osc.osc_shadow()",
    ] {
        scene.forbidden(sql).await;
    }
    scene.exec("ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM {m}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_the_catalog_does_not_show_has_not_happened() {
    let scene = Scene::new().await;
    scene.ledger();
    scene.attack("CREATE TABLE t_of_mine (id int)").await;
    scene.forge(COPIED, &record("t_of_mine", "t")).await;
    done(&scene.osc(&["alter", "t", COPIED]));
    assert_eq!(scene.type_of_n().await, "bigint", "the forged row was believed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_is_not_proved_by_a_table_under_the_retired_ones_name() {
    let scene = Scene::new().await;
    scene.ledger();
    scene.attack("CREATE TABLE t_osc_old (id int)").await;
    scene.forge(COPIED, &record("t_osc_old", "t")).await;
    refused(&scene.osc(&["alter", "t", COPIED]), &["t_osc_old exists, and no run of osc made it"]);
    assert_eq!(scene.type_of_n().await, "integer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_osc_did_not_make_is_not_written() {
    let scene = Scene::new().await;
    scene.ledger();
    scene.payload("public.take()", "trigger").await;
    scene
        .attack(
            "CREATE TABLE t_osc_new (id int PRIMARY KEY, n bigint, name text); CREATE TRIGGER take \
             BEFORE INSERT ON t_osc_new FOR EACH ROW EXECUTE FUNCTION public.take()",
        )
        .await;
    scene.forge(COPIED, &record("t", "t_osc_new")).await;
    let words = ["t_osc_new exists, and no run of osc made it"];
    scene.assert_refused(&["alter", "t", COPIED], &words).await;
    assert_eq!(scene.value("SELECT count(*) FROM t_osc_new").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn cleanup_drops_nothing_that_osc_did_not_make() {
    let scene = Scene::new().await;
    scene.ledger();
    scene
        .exec(
            "CREATE TABLE t_osc_old (id int); CREATE TABLE t_osc_new (id int); \
             CREATE PUBLICATION osc_1_2_00000000 FOR TABLE t",
        )
        .await;
    scene.exec("SELECT pg_create_logical_replication_slot('osc_1_2_{d}', 'pgoutput')").await;
    // The run of the instant change has the number 1.
    scene.exec("UPDATE osc.osc_ledger SET result = NULL, ended = NULL, method = 'copy'").await;
    scene.forge(COPIED, &record("t_osc_old", "t")).await;
    scene.forge("ADD INDEX", &record("t", "t_osc_new")).await;
    done(&scene.osc(&["cleanup", "t", "--yes"]));
    let left = "SELECT concat_ws(' ', to_regclass('t_osc_old'), to_regclass('t_osc_new'), \
                (SELECT count(*) FROM pg_publication), (SELECT count(*) FROM pg_replication_slots \
                WHERE database = current_database()))";
    assert_eq!(scene.value(left).await, "t_osc_old t_osc_new 1 1", "dropped");
    scene.exec("SELECT pg_drop_replication_slot('osc_1_2_{d}')").await;
}

/// What an earlier build stored, and ran after the swap: the shadow's `autovacuum_enabled`.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_another_version_is_refused_in_words_and_nothing_of_it_runs() {
    let scene = Scene::new().await;
    scene.ledger();
    for carried in [
        "'{\"made\":{\"shadow\":1,\"original\":1,\"indexes\":[],\"sequences\":[],\"autovacuum\":\
          \"off); ALTER ROLE {m} SUPERUSER; --\",\"deferred\":[]}}'",
        "'{\"form\":3}'",
        "'{\"form\":2,\"shadow\":1}'",
        "'rubbish'",
    ] {
        scene.forge(COPIED, carried).await;
        for command in [&["alter", "t", COPIED][..], &["plan", "t", COPIED]] {
            refused(&scene.osc(command), &["another version of osc", "osc cleanup TABLE"]);
        }
        let open = "SELECT count(*) FROM osc.osc_ledger WHERE result IS NULL";
        assert_eq!(scene.value(open).await, "1", "the run was closed");
        done(&scene.osc(&["cleanup", "t", "--yes"]));
        assert_eq!(scene.value(open).await, "0");
        scene.assert_harmless(carried).await;
    }
    done(&scene.osc(&["alter", "t", COPIED]));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_server_are_shown_as_such_and_not_resumed() {
    let scene = Scene::new().await;
    scene.ledger();
    scene.forge(COPIED, "NULL").await;
    scene.exec("UPDATE osc.osc_ledger SET system = system + 1").await;
    let status = scene.osc(&["status", "--json"]);
    done(&status);
    let text = String::from_utf8(status.stdout).unwrap();
    assert_eq!(text.matches("\"elsewhere\"").count(), 2, "{text}");
    done(&scene.osc(&["alter", "t", "ALTER n TYPE bigint, ADD o int"]));
    let open = "SELECT count(*) FROM osc.osc_ledger WHERE result IS NULL";
    assert_eq!(scene.value(open).await, "1", "another server's run was closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_in_the_applications_schema_is_not_read() {
    let scene = Scene::new().await;
    scene.payload("public.take()", "trigger").await;
    scene
        .attack(
            "CREATE TABLE public.osc_ledger (run int); CREATE TRIGGER take BEFORE INSERT \
             ON public.osc_ledger FOR EACH ROW EXECUTE FUNCTION public.take()",
        )
        .await;
    for command in &COMMANDS[1..] {
        refused(&scene.osc(command), &["public.osc_ledger", "earlier build", "DROP TABLE"]);
    }
    scene.assert_harmless("an earlier ledger").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_create_its_schema_osc_says_what_an_administrator_runs() {
    let scene = Scene::new().await;
    scene.exec("REVOKE CREATE ON DATABASE {d} FROM {m}; ALTER TABLE t OWNER TO {m}").await;
    let url = scene.server.url_as(&scene.mallory, &scene.database);
    for command in &COMMANDS[1..3] {
        refused(
            &scene.osc_at(&url, command),
            &["CREATE SCHEMA \"osc\" AUTHORIZATION", "REVOKE ALL"],
        );
    }
    scene.exec("CREATE SCHEMA osc AUTHORIZATION {m}; REVOKE ALL ON SCHEMA osc FROM PUBLIC").await;
    done(&scene.osc_at(&url, &["alter", "t", INSTANT]));
}

/// The table's owner writes the functions that a copy runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_owners_functions_are_not_run_by_a_superuser() {
    let scene = Scene::new().await;
    scene.payload("public.taken(int)", "int").await;
    scene
        .attack(
            "CREATE FUNCTION steady(int) RETURNS int IMMUTABLE LANGUAGE plpgsql \
             AS 'BEGIN RETURN public.taken($1); END'; \
             CREATE DOMAIN odd AS int CHECK (taken(VALUE) IS NULL); \
             CREATE FUNCTION same(int, int) RETURNS bool LANGUAGE plpgsql \
             AS 'BEGIN RETURN taken($1) IS NULL; END'; \
             CREATE OPERATOR === (FUNCTION = same, LEFTARG = int, RIGHTARG = int)",
        )
        .await;
    for (at, part) in [
        "n int CHECK (taken(n) IS NULL)",
        "n int DEFAULT taken(1)",
        "n int, g int GENERATED ALWAYS AS (steady(n)) STORED",
        "n odd",
        "n int CHECK (n === 1)",
    ]
    .iter()
    .enumerate()
    {
        let table = format!("own_{at}");
        scene.attack(&format!("CREATE TABLE {table} (id int PRIMARY KEY, {part})")).await;
        for command in ["plan", "alter"] {
            let output = scene.osc(&[command, &table, "ADD c text", "--strategy", "copy"]);
            refused(&output, &["--trust-owner", &scene.mallory]);
        }
    }
    scene
        .attack(
            "CREATE TABLE plain (id int PRIMARY KEY, n int); \
             CREATE TABLE indexed (id int PRIMARY KEY, n int); \
             CREATE INDEX ON indexed (steady(n)) WHERE steady(n) IS NULL; \
             INSERT INTO indexed VALUES (1, 1)",
        )
        .await;
    refused(&scene.osc(&["alter", "indexed", "ALTER n TYPE bigint"]), &["steady(integer)"]);
    for clauses in [
        "ADD c int DEFAULT public.steady(1)",
        "ALTER n TYPE bigint USING public.steady(n)",
        "ADD CHECK (public.taken(n) IS NULL)",
        "ADD c public.odd DEFAULT 1",
    ] {
        refused(&scene.osc(&["alter", "plain", clauses]), &["--trust-owner", &scene.mallory]);
    }
    scene.assert_harmless("the owner's functions").await;
    // Their owner may, and one who trusts him.
    let url = scene.server.url_as(&scene.mallory, &scene.database);
    let owners = ["--ledger", "osc_of_owner"];
    let arguments = ["alter", "own_1", "ALTER id TYPE bigint"];
    done(&scene.osc_at(&url, &[&arguments[..], &owners].concat()));
    done(&scene.osc(&["alter", "own_0", "ALTER id TYPE bigint", "--trust-owner"]));
    done(&scene.osc(&["alter", "plain", "ALTER id TYPE bigint"]));
}

/// Operators and functions that clauses call without naming them as such are found in the search path
/// like those that are written, and one that fits better hides the server's own.
#[tokio::test(flavor = "multi_thread")]
async fn what_clauses_imply_is_not_run_by_a_superuser() {
    let scene = Scene::new().await;
    scene
        .exec(
            "CREATE TABLE pt (id int PRIMARY KEY, n int, vc varchar(20)); \
             INSERT INTO pt SELECT i, i, 'x' || i FROM generate_series(1, 50) i; ANALYZE pt",
        )
        .await;
    let operators =
        [("equal", "="), ("other", "<>"), ("least", ">="), ("like", "~~"), ("ilike", "~~*")];
    for (name, operator) in operators {
        scene.payload(&format!("public.of_{name}(varchar, varchar)"), "boolean").await;
        scene
            .attack(&format!(
                "ALTER FUNCTION of_{name} IMMUTABLE; CREATE OPERATOR public.{operator} \
                 (FUNCTION = of_{name}, LEFTARG = varchar, RIGHTARG = varchar)"
            ))
            .await;
    }
    scene.payload("public.lower(varchar)", "text").await;
    scene.payload("public.of_row(pt)", "boolean").await;
    for clauses in [
        "ADD CHECK (vc IN ('x', 'y'))",
        "ADD CHECK (vc NOT IN ('x', 'y'))",
        "ADD CHECK (vc != 'x')",
        "ADD CHECK (vc BETWEEN 'a' AND 'z')",
        "ADD CHECK (vc LIKE 'x%')",
        "ADD CHECK (vc ILIKE 'x%')",
        "ADD g text GENERATED ALWAYS AS (NULLIF(vc, 'x')) STORED",
        "ADD CHECK (vc IS DISTINCT FROM 'x')",
        "ALTER n TYPE bigint USING CASE vc WHEN 'x' THEN 1 ELSE 2 END",
        "ADD CHECK (pt.of_row IS NULL)",
        "ADD CHECK (lower/* of what? */(vc) IS NULL)",
        "ADD CHECK (n <> ascii('\"') AND lower(vc) IS NULL AND n <> ascii('\"'))",
        "ADD CHECK (U&\"\\006Cower\"(vc) IS NULL)",
        "CREATE INDEX ix ON pt (id) WHERE vc IN ('x', 'y')",
    ] {
        let index = clauses.starts_with("CREATE");
        for more in [&["--strategy", "copy"][..], &[]].iter().skip(usize::from(index)) {
            for command in ["plan", "alter"] {
                let whose = if clauses.contains("U&") { "U&" } else { &scene.mallory };
                let arguments = [&[command, "pt", clauses], *more].concat();
                scene.assert_refused(&arguments, &[whose]).await;
            }
        }
    }
    // What calls none of them.
    scene.attack("DROP FUNCTION of_row(pt)").await;
    done(&scene.osc(&["alter", "pt", "ADD CHECK (n > 0), ALTER n TYPE bigint"]));
    scene.assert_harmless("a change that calls nothing of theirs").await;
}

/// Between osc's look at the words and the server's there is time to make an operator. An event trigger
/// makes it here, at the very moment: what the draft of the shadow then hangs on is refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_after_the_words_were_looked_at_is_not_run() {
    let scene = Scene::new().await;
    scene
        .exec(
            "CREATE TABLE pt (id int PRIMARY KEY, n int, vc varchar(20)); \
             INSERT INTO pt SELECT i, i, 'x' || i FROM generate_series(1, 50) i; ANALYZE pt",
        )
        .await;
    scene.payload("public.of_equal(varchar, varchar)", "boolean").await;
    scene
        .attack(
            "CREATE FUNCTION public.now_then() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $f$ \
             BEGIN CREATE OPERATOR public.= (FUNCTION = public.of_equal, LEFTARG = varchar, \
             RIGHTARG = varchar); END $f$",
        )
        .await;
    scene.attack_at_the_draft().await;
    let words = ["of_equal", &scene.mallory, "--trust-owner"];
    for command in ["plan", "alter"] {
        let clauses = "ADD CHECK (vc IN ('x', 'y') OR n > 0)";
        scene.assert_refused(&[command, "pt", clauses, "--strategy", "copy"], &words).await;
    }
    // USING leaves nothing in the draft, and is looked at when it is told back.
    let using = "ALTER n TYPE bigint USING CASE vc WHEN 'x' THEN 1 ELSE 2 END";
    scene.assert_refused(&["alter", "pt", using], &words).await;
    scene.exec("DROP OPERATOR public.= (varchar, varchar)").await;
    // What calls none of it is not held up.
    done(&scene.osc(&["alter", "pt", "ALTER n TYPE bigint"]));
    scene.exec("DROP EVENT TRIGGER at_schema").await;
}

/// An operator in a schema that nobody's words lead to, or for a type that the change does not have, stops no
/// other session.
#[tokio::test(flavor = "multi_thread")]
async fn operators_that_cannot_be_meant_stop_no_one() {
    let scene = Scene::new().await;
    scene.attack("CREATE SCHEMA own_{m}; CREATE TYPE public.wen AS ENUM ('a', 'b')").await;
    scene.payload("own_{m}.same(int, int)", "boolean").await;
    scene.payload("public.same(wen, wen)", "boolean").await;
    scene
        .attack(
            "CREATE OPERATOR own_{m}.= (FUNCTION = own_{m}.same, LEFTARG = int, RIGHTARG = int); \
             CREATE OPERATOR public.= (FUNCTION = public.same, LEFTARG = wen, RIGHTARG = wen)",
        )
        .await;
    let clauses = "ADD CHECK (n IN (1, 2) OR name = 'x' OR n > 0)";
    done(&scene.osc(&["alter", "t", clauses, "--strategy", "copy"]));
    scene.assert_harmless(clauses).await;
    let clauses = scene.fill("ADD CHECK (n OPERATOR(own_{m}.=) 1 IS NULL)");
    refused(&scene.osc(&["alter", "t", &clauses]), &["--trust-owner"]);
    scene.exec("CREATE TABLE own (id int PRIMARY KEY, e wen)").await;
    refused(&scene.osc(&["alter", "own", "ADD CHECK (e = 'a')"]), &["--trust-owner"]);
    scene.assert_harmless("operators").await;
}

/// Every login can take the lock of a table's runs: who has it is named.
#[tokio::test(flavor = "multi_thread")]
async fn who_squats_the_lock_of_runs_is_named() {
    let scene = Scene::new().await;
    done(&scene.osc(&["alter", "t", INSTANT]));
    let holder = scene.attacker().await;
    let number = (0x006f_7363_i64 << 32) | i64::from(fnv1a(b"public.t"));
    let sql = format!("SET application_name = 'shop worker'; SELECT pg_advisory_lock({number})");
    support::postgres::exec(&holder, &sql).await;
    let pid = scene.value("SELECT pid FROM pg_stat_activity WHERE usename = '{m}'").await;
    let (named, cure) = (format!("pid {pid}"), format!("pg_terminate_backend({pid})"));
    for command in &COMMANDS[1..] {
        let words = [named.as_str(), &scene.mallory, "shop worker", &cure];
        refused(&scene.osc(command), &words);
    }
}

/// The number that osc hashes a name to.
fn fnv1a(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

/// What the throttle's query calls can turn no transaction into one that writes.
#[tokio::test(flavor = "multi_thread")]
async fn the_throttles_query_writes_nothing_whatever_it_calls() {
    let scene = Scene::new().await;
    scene
        .exec(
            "CREATE TABLE seen (n int); CREATE FUNCTION sly() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN \
             PERFORM set_config('default_transaction_read_only', 'off', false); \
             IF current_setting('transaction_read_only') = 'off' THEN INSERT INTO public.seen VALUES (1); END IF; \
             RETURN 0; END $f$",
        )
        .await;
    let slow = ["--max-rows-per-second", "100", "--strategy", "copy", "--chunk-size", "50"];
    let query = ["alter", "t", COPIED, "--throttle-query", "SELECT public.sly()"];
    done(&scene.osc(&[&query[..], &slow].concat()));
    assert_eq!(scene.value("SELECT count(*) FROM seen").await, "0", "the query wrote");
}

/// A type's owner may make a cast whenever he likes, and the triggers' function has osc's rights.
#[tokio::test(flavor = "multi_thread")]
async fn a_cast_that_is_made_in_mid_run_is_not_run_by_the_triggers() {
    let scene = Scene::new().await;
    scene.attack("CREATE TYPE wen AS ENUM ('a', 'b')").await;
    scene.payload("public.wct(wen)", "text").await;
    scene
        .exec(
            "CREATE UNLOGGED TABLE ut (k int, id wen, n int, PRIMARY KEY (k, id)); GRANT ALL ON ut TO {m}; \
             INSERT INTO ut SELECT i, 'a', i FROM generate_series(1, 6000) i; ANALYZE ut",
        )
        .await;
    let url = scene.server.url(&scene.database);
    let slow =
        ["ut", "ALTER n TYPE bigint", "--max-rows-per-second", "1500", "--chunk-size", "300"];
    let mut run = Run::at(&url, &slow);
    run.phase("copy").await;
    scene.attack("CREATE CAST (wen AS text) WITH FUNCTION wct(wen)").await;
    scene.attack("UPDATE ut SET n = n + 1 WHERE k < 9; UPDATE ut SET id = 'b' WHERE k = 9").await;
    scene.attack("DELETE FROM ut WHERE k = 10; INSERT INTO ut VALUES (0, 'b', 0)").await;
    scene.assert_harmless("a cast of the key's type").await;
    let ended = run.end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.tells("note", "triggers"), "{ended:#?}");
    scene.assert_harmless("a cast of the key's type").await;
    let sums = "SELECT concat_ws(' ', count(*), sum(n), count(*) FILTER (WHERE id = 'b')) FROM ut";
    assert_eq!(scene.value(sums).await, "6000 18002998 2");
}

/// A cast counts where the change may use it: one that leads from every integer to a type of the
/// attacker's stops no other session.
#[tokio::test(flavor = "multi_thread")]
async fn casts_count_where_the_type_is_used() {
    let scene = Scene::new().await;
    scene.attack("CREATE TYPE wen AS ENUM ('a', 'b')").await;
    scene.payload("public.from_int(int)", "wen").await;
    scene.payload("public.to_text(wen)", "text").await;
    scene.attack("CREATE CAST (int AS wen) WITH FUNCTION from_int(int) AS IMPLICIT").await;
    done(&scene.osc(&["alter", "t", "ALTER n TYPE bigint", "--strategy", "copy"]));
    scene.exec("CREATE TABLE own (id int PRIMARY KEY, n int, e wen)").await;
    for clauses in ["ADD c text", "ADD c wen DEFAULT 'a'", "ALTER e TYPE text"] {
        refused(&scene.osc(&["alter", "own", clauses]), &["from_int", &scene.mallory]);
    }
    scene.attack("DROP CAST (int AS wen)").await;
    // He may make one while rows are converted.
    for clauses in ["ALTER e TYPE text", "ALTER n TYPE wen USING 'a'"] {
        for command in ["plan", "alter"] {
            let output = scene.osc(&[command, "own", clauses]);
            refused(&output, &["at any time", "wen of", &scene.mallory]);
        }
    }
    done(&scene.osc(&["alter", "own", "ALTER n TYPE bigint"]));
    done(&scene.osc(&["cleanup", "own", "--yes"]));
    done(&scene.osc(&["alter", "own", "ALTER e TYPE text", "--trust-owner"]));
    scene.assert_harmless("casts").await;
}

/// The ledger and what osc prints have keys of rows and not the rows.
#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_in_the_ledger_or_in_a_message() {
    let scene = Scene::new().await;
    scene.exec("UPDATE t SET n = -1, name = 'a customer''s secret' WHERE id = 7").await;
    let arguments = ["alter", "t", "ADD CHECK (n > 0), ALTER id TYPE bigint", "--strategy", "copy"];
    let output = scene.osc(&arguments);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("id = 7"), "{}", said(&output));
    assert!(!said(&output).contains("secret"), "{}", said(&output));
    let detail = scene.value("SELECT detail FROM osc.osc_ledger ORDER BY run DESC LIMIT 1").await;
    assert!(!detail.contains("secret"), "{detail}");
}

/// Nor have messages values that do not fit.
#[tokio::test(flavor = "multi_thread")]
async fn no_value_is_in_a_message() {
    let scene = Scene::new().await;
    scene.exec("UPDATE t SET name = 'a secret'; UPDATE t SET name = id WHERE id <> 7").await;
    let output = scene.osc(&["alter", "t", "ALTER name TYPE int USING name::int"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for words in ["id = ", "value not shown"] {
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    assert!(!said(&output).contains("secret"), "{}", said(&output));
    let details = scene.value("SELECT string_agg(detail, ' ') FROM osc.osc_ledger").await;
    assert!(!details.contains("secret"), "{details}");
}

/// An event trigger changes nothing of the table: one that is made while a run is dead costs no copy.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_trigger_that_is_made_meanwhile_costs_no_copy() {
    let scene = Scene::new().await;
    let url = scene.server.url(&scene.database);
    let slow = ["t", COPIED, "--max-rows-per-second", "60", "--chunk-size", "20"];
    let mut run = Run::at(&url, &slow);
    run.phase("copy").await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    run.kill();
    scene
        .exec(
            "CREATE FUNCTION watches() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
             CREATE EVENT TRIGGER watches ON ddl_command_end EXECUTE FUNCTION watches()",
        )
        .await;
    let ended = Run::at(&url, &["t", COPIED]).end().await;
    scene.exec("DROP EVENT TRIGGER watches").await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.events.iter().any(|event| event["event"] == "resumed"), "{ended:#?}");
    assert!(ended.tells("note", "watches"), "{ended:#?}");
}

/// A run goes on from what it derives: deferred indexes, partitions of the clauses, constraints.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_though_the_ledger_has_no_definitions() {
    let scene = Scene::new().await;
    scene
        .exec(
            "CREATE TABLE big (id int PRIMARY KEY, n int, name text UNIQUE, s serial); \
             INSERT INTO big SELECT i, i, 'name ' || i FROM generate_series(1, 20000) i; \
             CREATE INDEX lower_name ON big (lower(name)) WHERE n > 3; ANALYZE big; \
             ALTER TABLE big SET (autovacuum_enabled = false)",
        )
        .await;
    let shape = "SELECT string_agg(pg_get_indexdef(indexrelid), ';' ORDER BY indexrelid::regclass::text) || ' ' || \
                 (SELECT reloptions::text FROM pg_class WHERE oid = 'big'::regclass) || ' ' || \
                 pg_get_serial_sequence('big', 's') FROM pg_index WHERE indrelid = 'big'::regclass";
    let before = scene.value(shape).await;
    let url = scene.server.url(&scene.database);
    let clauses = "ALTER n TYPE bigint";
    let slow = ["big", clauses, "--max-rows-per-second", "2000", "--chunk-size", "500"];
    let mut run = Run::at(&url, &slow);
    run.phase("copy").await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    run.kill();
    let carried = scene.value("SELECT carried FROM osc.osc_ledger").await;
    assert!(!carried.contains("INDEX") && !carried.contains("lower"), "{carried}");
    let ended = Run::at(&url, &["big", clauses]).end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.events.iter().any(|event| event["event"] == "resumed"), "{ended:#?}");
    assert_eq!(scene.value(shape).await, before);
}
