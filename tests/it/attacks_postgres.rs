//! Attacks on osc through PostgreSQL, by an account that has what an application's account usually has:
//! its rows, and CREATE in the application's schema, here in the database too. osc runs as a superuser.
//! Each test is a promise (`docs/decisions/0011-ledger.md`).

mod scenario;

use crate::support;
use scenario::{COLUMNS, INSTANT, record};
pub(crate) use scenario::{COPIED, Scenario, done, printed, refused};

const COMMANDS: [&[&str]; 4] = [
    &["status"],
    &["plan", "t", COPIED],
    &["alter", "t", COPIED, "--yes"],
    &["cleanup", "t", "-y", "--now"],
];

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_oscs_name_that_another_made_is_refused() {
    let scenario = Scenario::new().await;
    scenario.attack(&format!("CREATE SCHEMA osc; CREATE TABLE osc.osc_ledger ({COLUMNS})")).await;
    scenario.payload("public.take()", "trigger").await;
    scenario
        .attack(
            "CREATE TRIGGER take BEFORE INSERT OR UPDATE ON osc.osc_ledger FOR EACH ROW \
             EXECUTE FUNCTION public.take()",
        )
        .await;
    for command in COMMANDS {
        scenario.assert_refused(command, &["\"osc\"", &scenario.mallory, "--ledger"]).await;
    }
    // Elsewhere it goes on.
    done(&scenario.osc(&["alter", "t", COPIED, "--ledger", "osc_of_ours"]));
    scenario.assert_harmless("another ledger").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_oscs_in_its_schema_is_refused_with_the_cure() {
    let scenario = Scenario::new().await;
    scenario.ledger();
    scenario.payload("public.take()", "trigger").await;
    scenario.payload("public.taken()", "int").await;
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
        scenario.exec(sabotage).await;
        for command in COMMANDS {
            refused(&scenario.osc(command), &[&scenario.fill(word)]);
        }
        scenario.assert_harmless(sabotage).await;
        scenario.exec(cure).await;
        done(&scenario.osc(&["status"]));
    }
    done(&scenario.osc(&["alter", "t", COPIED, "--strategy", "copy"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_in_the_place_of_the_ledger_is_refused() {
    let scenario = Scenario::new().await;
    scenario.ledger();
    scenario.payload("public.taken()", "text").await;
    scenario
        .exec(
            "ALTER TABLE osc.osc_ledger RENAME TO away; CREATE VIEW osc.osc_ledger AS \
             SELECT *, public.taken() AS more FROM osc.away",
        )
        .await;
    for command in COMMANDS {
        refused(&scenario.osc(command), &["no plain", "DROP VIEW"]);
    }
    scenario.assert_harmless("a view").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_account_can_write_what_osc_made() {
    let scenario = Scenario::new().await;
    // Rights that would come by themselves.
    scenario
        .exec(
            "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {m}; \
             ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO {m}; \
             ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO {m}; \
             ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO {m}",
        )
        .await;
    done(&scenario.osc(&["alter", "t", COPIED]));
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
        scenario.forbidden(sql).await;
    }
    scenario.exec("ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM {m}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_the_catalog_does_not_show_has_not_happened() {
    let scenario = Scenario::new().await;
    scenario.ledger();
    scenario.attack("CREATE TABLE t_of_mine (id int)").await;
    scenario.forge(COPIED, &record("t_of_mine", "t")).await;
    done(&scenario.osc(&["alter", "t", COPIED]));
    assert_eq!(scenario.type_of_n().await, "bigint", "the forged row was believed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_is_not_proved_by_a_table_under_the_retired_ones_name() {
    let scenario = Scenario::new().await;
    scenario.ledger();
    scenario.attack("CREATE TABLE t_osc_old (id int)").await;
    scenario.forge(COPIED, &record("t_osc_old", "t")).await;
    refused(
        &scenario.osc(&["alter", "t", COPIED]),
        &["t_osc_old exists, and no run of osc made it"],
    );
    assert_eq!(scenario.type_of_n().await, "integer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_osc_did_not_make_is_not_written() {
    let scenario = Scenario::new().await;
    scenario.ledger();
    scenario.payload("public.take()", "trigger").await;
    scenario
        .attack(
            "CREATE TABLE t_osc_new (id int PRIMARY KEY, n bigint, name text); CREATE TRIGGER take \
             BEFORE INSERT ON t_osc_new FOR EACH ROW EXECUTE FUNCTION public.take()",
        )
        .await;
    scenario.forge(COPIED, &record("t", "t_osc_new")).await;
    let words = ["t_osc_new exists, and no run of osc made it"];
    scenario.assert_refused(&["alter", "t", COPIED], &words).await;
    assert_eq!(scenario.value("SELECT count(*) FROM t_osc_new").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn cleanup_drops_nothing_that_osc_did_not_make() {
    let scenario = Scenario::new().await;
    scenario.ledger();
    scenario
        .exec(
            "CREATE TABLE t_osc_old (id int); CREATE TABLE t_osc_new (id int); \
             CREATE PUBLICATION osc_1_2_00000000 FOR TABLE t",
        )
        .await;
    scenario.exec("SELECT pg_create_logical_replication_slot('osc_1_2_{d}', 'pgoutput')").await;
    // The run of the instant change has the number 1.
    scenario.exec("UPDATE osc.osc_ledger SET result = NULL, ended = NULL, method = 'copy'").await;
    scenario.forge(COPIED, &record("t_osc_old", "t")).await;
    scenario.forge("ADD INDEX", &record("t", "t_osc_new")).await;
    done(&scenario.osc(&["cleanup", "t", "--yes", "--now"]));
    let left = "SELECT concat_ws(' ', to_regclass('t_osc_old'), to_regclass('t_osc_new'), \
                (SELECT count(*) FROM pg_publication), (SELECT count(*) FROM pg_replication_slots \
                WHERE database = current_database()))";
    assert_eq!(scenario.value(left).await, "t_osc_old t_osc_new 1 1", "dropped");
    scenario.exec("SELECT pg_drop_replication_slot('osc_1_2_{d}')").await;
}

/// What an earlier build stored, and ran after the swap: the shadow's `autovacuum_enabled`.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_another_version_is_refused_in_words_and_nothing_of_it_runs() {
    let scenario = Scenario::new().await;
    scenario.ledger();
    for carried in [
        "'{\"made\":{\"shadow\":1,\"original\":1,\"indexes\":[],\"sequences\":[],\"autovacuum\":\
          \"off); ALTER ROLE {m} SUPERUSER; --\",\"deferred\":[]}}'",
        "'{\"form\":3}'",
        "'{\"form\":2,\"shadow\":1}'",
        "'rubbish'",
    ] {
        scenario.forge(COPIED, carried).await;
        for command in [&["alter", "t", COPIED][..], &["plan", "t", COPIED]] {
            refused(&scenario.osc(command), &["another version of osc", "osc cleanup TABLE"]);
        }
        let open = "SELECT count(*) FROM osc.osc_ledger WHERE result IS NULL";
        assert_eq!(scenario.value(open).await, "1", "the run was closed");
        done(&scenario.osc(&["cleanup", "t", "--yes", "--now"]));
        assert_eq!(scenario.value(open).await, "0");
        scenario.assert_harmless(carried).await;
    }
    done(&scenario.osc(&["alter", "t", COPIED]));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_server_are_shown_as_such_and_not_resumed() {
    let scenario = Scenario::new().await;
    scenario.ledger();
    scenario.forge(COPIED, "NULL").await;
    scenario.exec("UPDATE osc.osc_ledger SET system = system + 1").await;
    let status = scenario.osc(&["status", "--json"]);
    done(&status);
    let text = String::from_utf8(status.stdout).unwrap();
    assert_eq!(text.matches("\"elsewhere\"").count(), 2, "{text}");
    done(&scenario.osc(&["alter", "t", "ALTER n TYPE bigint, ADD o int"]));
    let open = "SELECT count(*) FROM osc.osc_ledger WHERE result IS NULL";
    assert_eq!(scenario.value(open).await, "1", "another server's run was closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_in_the_applications_schema_is_not_read() {
    let scenario = Scenario::new().await;
    scenario.payload("public.take()", "trigger").await;
    scenario
        .attack(
            "CREATE TABLE public.osc_ledger (run int); CREATE TRIGGER take BEFORE INSERT \
             ON public.osc_ledger FOR EACH ROW EXECUTE FUNCTION public.take()",
        )
        .await;
    for command in &COMMANDS[1..] {
        refused(&scenario.osc(command), &["public.osc_ledger", "earlier build", "DROP TABLE"]);
    }
    scenario.assert_harmless("an earlier ledger").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_create_its_schema_osc_says_what_an_administrator_runs() {
    let scenario = Scenario::new().await;
    scenario.exec("REVOKE CREATE ON DATABASE {d} FROM {m}; ALTER TABLE t OWNER TO {m}").await;
    let url = scenario.server.url_as(&scenario.mallory, &scenario.database);
    for command in &COMMANDS[1..3] {
        refused(
            &scenario.osc_at(&url, command),
            &["CREATE SCHEMA \"osc\" AUTHORIZATION", "REVOKE ALL"],
        );
    }
    scenario
        .exec("CREATE SCHEMA osc AUTHORIZATION {m}; REVOKE ALL ON SCHEMA osc FROM PUBLIC")
        .await;
    done(&scenario.osc_at(&url, &["alter", "t", INSTANT]));
}

/// Every login can take the lock of a table's runs: who has it is named.
#[tokio::test(flavor = "multi_thread")]
async fn who_squats_the_lock_of_runs_is_named() {
    let scenario = Scenario::new().await;
    done(&scenario.osc(&["alter", "t", INSTANT]));
    let holder = scenario.attacker().await;
    let number = (0x006f_7363_i64 << 32) | i64::from(fnv1a(b"public.t"));
    let sql = format!("SET application_name = 'shop worker'; SELECT pg_advisory_lock({number})");
    support::postgres::exec(&holder, &sql).await;
    let pid = scenario.value("SELECT pid FROM pg_stat_activity WHERE usename = '{m}'").await;
    let (named, cure) = (format!("pid {pid}"), format!("pg_terminate_backend({pid})"));
    for command in &COMMANDS[1..] {
        let words = [named.as_str(), &scenario.mallory, "shop worker", &cure];
        refused(&scenario.osc(command), &words);
    }
}

/// The number that osc hashes a name to.
fn fnv1a(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

/// The ledger and what osc prints have keys of rows and not the rows.
#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_in_the_ledger_or_in_a_message() {
    let scenario = Scenario::new().await;
    scenario.exec("UPDATE t SET n = -1, name = 'a customer''s secret' WHERE id = 7").await;
    let arguments = ["alter", "t", "ADD CHECK (n > 0), ALTER id TYPE bigint", "--strategy", "copy"];
    let output = scenario.osc(&arguments);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert!(printed(&output).contains("id = 7"), "{}", printed(&output));
    assert!(!printed(&output).contains("secret"), "{}", printed(&output));
    let detail =
        scenario.value("SELECT detail FROM osc.osc_ledger ORDER BY run DESC LIMIT 1").await;
    assert!(!detail.contains("secret"), "{detail}");
}

/// Nor have messages values that do not fit.
#[tokio::test(flavor = "multi_thread")]
async fn no_value_is_in_a_message() {
    let scenario = Scenario::new().await;
    scenario.exec("UPDATE t SET name = 'a secret'; UPDATE t SET name = id WHERE id <> 7").await;
    let output = scenario.osc(&["alter", "t", "ALTER name TYPE int USING name::int"]);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    for words in ["id = ", "value not shown"] {
        assert!(printed(&output).contains(words), "{}", printed(&output));
    }
    assert!(!printed(&output).contains("secret"), "{}", printed(&output));
    let details = scenario.value("SELECT string_agg(detail, ' ') FROM osc.osc_ledger").await;
    assert!(!details.contains("secret"), "{details}");
}
