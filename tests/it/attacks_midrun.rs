//! Attacks in the middle of a run on PostgreSQL, by the table's owner, who owns its schema too; osc is a
//! superuser. He can do what he likes with what is his, and osc must not run it: the shadow belongs to
//! osc's role until the swap, and every transaction proves that the names are the run's tables.

use crate::attacks_postgres::{COPIED, Scenario};
use crate::cli_run::point::{Point, Waiting};
use crate::cli_run::{Ended, Run};
use crate::support;

/// A copy in chunks of 20 rows, one at a time.
const ONE_BY_ONE: [&str; 4] = ["--chunk-size", "20", "--threads", "1"];

/// The table is the attacker's, and so is the schema.
async fn scenario() -> Scenario {
    let scenario = Scenario::new().await;
    scenario.exec("ALTER SCHEMA public OWNER TO {m}; ALTER TABLE t OWNER TO {m}").await;
    scenario
}

/// A run in the middle of its copy.
async fn copying(scenario: &Scenario, table: &str, clauses: &str) -> (Run, Waiting) {
    let url = scenario.server.url(&scenario.database);
    Run::until(&url, &[&[table, clauses][..], &ONE_BY_ONE].concat(), "chunk.copied@3").await
}

/// The run ends untouched by the attack, which it tells of.
async fn ends(scenario: &Scenario, run: Run, what: &str) -> Ended {
    let ended = run.end().await;
    scenario.assert_harmless(what).await;
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.complaints.contains("another session changed"), "{}", ended.complaints);
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn no_one_hangs_anything_on_the_shadow() {
    let scenario = scenario().await;
    scenario
        .exec(
            "CREATE TABLE parts (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, s serial, \
             CHECK (n <> 0)); ALTER TABLE parts OWNER TO {m}; ALTER SEQUENCE parts_s_seq OWNER TO {m}; \
             INSERT INTO parts SELECT g FROM generate_series(1, 300) g; ANALYZE parts",
        )
        .await;
    scenario.payload("public.take()", "trigger").await;
    let clauses = "ALTER n TYPE bigint, PARTITION BY RANGE (id) (PARTITION parts_a FOR VALUES FROM \
                   (MINVALUE) TO (100), PARTITION parts_b FOR VALUES FROM (100) TO (MAXVALUE))";
    let owners = "SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ' ') FROM pg_class \
                  WHERE relnamespace = 'public'::regnamespace";
    for (table, clauses, on) in
        [("t", COPIED, &["t_osc_new"][..]), ("parts", clauses, &["parts_osc_new", "parts_a"])]
    {
        let (run, point) = copying(&scenario, table, clauses).await;
        for on in on {
            scenario
                .forbidden(&format!(
                    "CREATE TRIGGER take BEFORE INSERT ON {on} FOR EACH ROW EXECUTE FUNCTION take()"
                ))
                .await;
            for action in [
                "RENAME TO mine",
                "ENABLE ROW LEVEL SECURITY",
                "ADD CHECK (take() IS NULL)",
                "ALTER n SET DEFAULT 1",
                "SET SCHEMA pg_temp",
            ] {
                scenario.forbidden(&format!("ALTER TABLE {on} {action}")).await;
            }
            scenario.forbidden(&format!("SELECT FROM {on}")).await;
        }
        drop(point);
        let ended = run.end().await;
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        scenario.assert_harmless("what hangs on the shadow").await;
        // Table, partitions, indexes and sequences are the owner's again.
        assert_eq!(scenario.value(owners).await, scenario.value("SELECT '{m}'").await);
    }
}

/// Who owns a schema may drop whatever is in it.
#[tokio::test(flavor = "multi_thread")]
async fn another_table_in_the_shadows_place_is_not_written() {
    let scenario = scenario().await;
    scenario.payload("public.take()", "trigger").await;
    let (run, point) = copying(&scenario, "t", COPIED).await;
    scenario
        .attack(
            "DROP TABLE t_osc_new; CREATE TABLE t_osc_new (LIKE t INCLUDING ALL); \
             CREATE TRIGGER take BEFORE INSERT ON t_osc_new FOR EACH ROW EXECUTE FUNCTION take()",
        )
        .await;
    drop(point);
    ends(&scenario, run, "a table in the shadow's place").await;
    assert_eq!(scenario.value("SELECT count(*) FROM t_osc_new").await, "0", "it was written");
    assert_eq!(scenario.value("SELECT count(*) FROM t").await, "300");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_in_the_originals_place_is_not_read() {
    let scenario = scenario().await;
    scenario.payload("public.look(int)", "boolean").await;
    let (run, point) = copying(&scenario, "t", COPIED).await;
    scenario
        .attack(
            "BEGIN; ALTER TABLE t RENAME TO aside; \
             CREATE VIEW t AS SELECT * FROM aside WHERE look(id) IS NULL; COMMIT",
        )
        .await;
    drop(point);
    ends(&scenario, run, "a view in the original's place").await;
    assert_eq!(scenario.value("SELECT count(*) FROM aside").await, "300");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_come_in_mid_run_are_not_applied() {
    let scenario = scenario().await;
    scenario.payload("public.look(int)", "boolean").await;
    let (run, point) = copying(&scenario, "t", COPIED).await;
    scenario
        .attack(
            "ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY; \
             CREATE POLICY look ON t USING (look(id) IS NULL)",
        )
        .await;
    drop(point);
    ends(&scenario, run, "a policy").await;
}

/// The counter of an identity column is read while the shadow is made, before anything is locked. An event
/// trigger puts a view in the sequence's place here, at that very moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_in_the_place_of_a_sequence_is_not_read() {
    let scenario = scenario().await;
    scenario.payload("public.look(bigint)", "boolean").await;
    scenario
        .exec(
            "CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int); \
             ALTER TABLE counted OWNER TO {m}; INSERT INTO counted (n) SELECT 1",
        )
        .await;
    scenario
        .attack(
            "CREATE FUNCTION public.now_then() RETURNS void LANGUAGE plpgsql SECURITY DEFINER \
             SET search_path = public AS $f$ \
             BEGIN ALTER SEQUENCE counted_id_seq RENAME TO aside; CREATE VIEW counted_id_seq AS \
             SELECT 5::bigint AS last_value, look(1) IS NULL AS is_called; END $f$",
        )
        .await;
    scenario.attack_at_the_draft().await;
    let output = scenario.osc(&["alter", "counted", COPIED]);
    scenario.exec("DROP EVENT TRIGGER at_schema").await;
    scenario.assert_harmless("a view in the place of a sequence").await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("restricted"), "{output:?}");
}

/// Foreign keys are validated by name, and a check's owner may have given it the name of one by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_in_the_place_of_a_foreign_key_is_not_validated() {
    use osc::postgres::dependents::validation;
    use osc::postgres::name::{Ident, TableName};
    let scenario = scenario().await;
    scenario.payload("public.look(int)", "boolean").await;
    scenario
        .attack(
            "CREATE TABLE child (id int REFERENCES t, n int CONSTRAINT keyed REFERENCES t); \
             INSERT INTO child VALUES (1, 1); ALTER TABLE child DROP CONSTRAINT keyed; \
             ALTER TABLE child ADD CONSTRAINT keyed CHECK (look(n) IS NULL) NOT VALID; \
             ALTER TABLE child DROP CONSTRAINT child_id_fkey; ALTER TABLE child ADD CONSTRAINT \
             child_id_fkey FOREIGN KEY (id) REFERENCES t NOT VALID",
        )
        .await;
    let client =
        support::postgres::connect(&scenario.server.url(&scenario.database)).await.unwrap();
    let validate =
        |name| validation::validate(&TableName::new("public", "child"), &Ident::new(name), false);
    let refused = client.batch_execute(&validate("keyed")).await;
    scenario.assert_harmless("a check in the place of a foreign key").await;
    let code = refused.expect_err("it was validated").code().map(|code| code.code().to_owned());
    assert_eq!(code.as_deref(), Some("OS002"));
    // Planning its query would run this, too.
    scenario.payload("public.evil(int)", "int").await;
    scenario
        .attack("ALTER FUNCTION evil(int) IMMUTABLE; CREATE INDEX i ON child ((evil(1)))")
        .await;
    client.batch_execute(&validate("child_id_fkey")).await.expect_err("it was validated");
    scenario.assert_harmless("an index of the child").await;
    scenario.attack("DROP INDEX i").await;
    client.batch_execute(&validate("child_id_fkey")).await.unwrap();
    let valid = "SELECT string_agg(conname || convalidated, ' ' ORDER BY conname) FROM pg_constraint \
                 WHERE conrelid = 'child'::regclass";
    assert_eq!(scenario.value(valid).await, "child_id_fkeytrue keyedfalse");
}

/// A domain's owner may give it a check at any time. It counts on the table, in the clauses, and in what the
/// swap reads again, where the server runs the checks of a constant.
#[tokio::test(flavor = "multi_thread")]
async fn domains_of_others_are_refused_wherever_they_are_read() {
    let scenario = Scenario::new().await;
    scenario.payload("public.evil(int)", "int").await;
    scenario.attack("CREATE DOMAIN wd AS int").await;
    let check = "ALTER DOMAIN wd ADD CONSTRAINT c CHECK (evil(1) IS NULL)";
    let refused = |clauses: &str| {
        let output = scenario.osc(&["alter", "t", clauses, "--strategy", "copy"]);
        let text = format!("{output:?}");
        assert_eq!(output.status.code(), Some(4), "not refused: {text}");
        assert!(text.contains("wd of") && text.contains("--trust-owner"), "{text}");
    };
    refused("ADD c wd");
    for (made, dropped) in [
        ("CREATE VIEW v AS SELECT id, '{1}'::wd[] AS c FROM t", "DROP VIEW v"),
        (
            "CREATE VIEW v AS SELECT id FROM t; CREATE VIEW w AS SELECT '{1}'::wd[] AS c FROM v",
            "DROP VIEW v CASCADE",
        ),
        ("CREATE POLICY p ON t USING ('{1}'::wd[] IS NOT NULL)", "DROP POLICY p ON t"),
        ("CREATE INDEX i ON t (id) WHERE '{1}'::wd[] IS NOT NULL", "DROP INDEX i"),
        (
            "CREATE FUNCTION g() RETURNS bigint LANGUAGE sql BEGIN ATOMIC \
             SELECT count('{1}'::wd[]) FROM t; END",
            "DROP FUNCTION g()",
        ),
    ] {
        scenario.exec(made).await;
        // 15.20 lets no check be added to a domain that a rule, a policy or an index uses.
        if scenario.attack_where_supported(check).await {
            refused("ALTER n TYPE bigint");
            scenario.assert_harmless(made).await;
            scenario.attack("ALTER DOMAIN wd DROP CONSTRAINT c").await;
        }
        refused("ALTER n TYPE bigint");
        scenario.assert_harmless(made).await;
        scenario.exec(dropped).await;
    }
    let output = scenario.osc(&["alter", "t", "ALTER n TYPE bigint", "--strategy", "copy"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// Statistics and indexes of the original are planned with, and the server folds their constants.
#[tokio::test(flavor = "multi_thread")]
async fn statistics_that_come_in_mid_run_end_it() {
    let scenario = scenario().await;
    let (run, point) = copying(&scenario, "t", COPIED).await;
    scenario.attack("CREATE STATISTICS st ON (n + 1) FROM t").await;
    drop(point);
    ends(&scenario, run, "statistics").await;
}

/// What hangs on a function's owner stays his: one that is dropped while the swap waits is not made osc's.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_the_swap_creates_again_is_its_owners() {
    use osc::postgres::dependents::Dependents;
    use osc::postgres::name::TableName;
    let scenario = scenario().await;
    scenario
        .attack(
            "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql SECURITY DEFINER \
             BEGIN ATOMIC SELECT count(*) FROM t; END",
        )
        .await;
    let url = scenario.server.url(&scenario.database);
    let client = support::postgres::connect(&url).await.unwrap();
    let dependents = Dependents::read(&client, &TableName::new("public", "t")).await.unwrap();
    scenario.attack("DROP FUNCTION f()").await;
    client.batch_execute(&dependents.functions_recreated().join(";")).await.unwrap();
    let owner = "SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'f'";
    assert_eq!(scenario.value(owner).await, scenario.value("SELECT '{m}'").await);
}

/// No malice is needed: an ALTER that leaves the type as it is gives each row another value, and no stream
/// tells it.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_rewritten_after_the_verification_are_not_lost() {
    let scenario = scenario().await;
    let control = std::env::temp_dir().join(format!("osc-midrun-{}", scenario.database));
    std::fs::write(&control, "cut_over = 'hold'").unwrap();
    let file = control.to_str().unwrap();
    let url = scenario.server.url(&scenario.database);
    let mut run = Run::at(&url, &["t", COPIED, "--control-file", file]);
    run.phase("hold").await;
    scenario.attack("ALTER TABLE t ALTER n TYPE int USING n + 1000").await;
    std::fs::write(&control, "cut_over = 'now'").unwrap();
    ends(&scenario, run, "a rewrite").await;
    std::fs::remove_file(&control).unwrap();
    assert_eq!(scenario.value("SELECT sum(n) FROM t").await, "345150");
}

/// Triggers that are off for a while capture nothing, whoever puts them on again.
#[tokio::test(flavor = "multi_thread")]
async fn changes_while_the_triggers_are_off_are_not_lost() {
    let scenario = scenario().await;
    scenario.exec("ALTER TABLE t SET UNLOGGED").await;
    let (run, point) = copying(&scenario, "t", COPIED).await;
    let off = "DO $$ DECLARE r record; BEGIN FOR r IN SELECT tgname FROM pg_trigger WHERE \
               tgrelid = 't'::regclass AND tgname ~ '^osc_' AND NOT tgisinternal LOOP \
               EXECUTE format('ALTER TABLE t %s TRIGGER %I', 'WHAT', r.tgname); END LOOP; END $$";
    let (disable, enable) = (off.replace("WHAT", "DISABLE"), off.replace("WHAT", "ENABLE ALWAYS"));
    scenario
        .attack(&format!("BEGIN; {disable}; UPDATE t SET n = -1 WHERE id = 1; {enable}; COMMIT"))
        .await;
    drop(point);
    ends(&scenario, run, "triggers that were off").await;
}

/// A constraint of the server's own methods is made and then validated, by its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_in_the_place_of_one_that_is_being_added_is_not_validated() {
    let scenario = scenario().await;
    scenario.payload("public.look(int)", "boolean").await;
    let url = scenario.server.url(&scenario.database);
    for (clauses, name) in [
        ("ADD CONSTRAINT pos CHECK (n > 0)", "pos"),
        ("ALTER name SET NOT NULL, ALTER n SET NOT NULL", "name_osc_not_null"),
    ] {
        scenario.exec("ALTER TABLE t ALTER name DROP NOT NULL").await;
        let point = Point::new("step.done").await;
        let mut osc = support::osc();
        osc.env("OSC_FAULT", point.fault());
        let mut run = Run::spawn(osc, &url, &["t", clauses]);
        let waiting = run.reaches(point).await;
        scenario
            .attack(&format!(
                "ALTER TABLE t DROP CONSTRAINT {name}; \
                 ALTER TABLE t ADD CONSTRAINT {name} CHECK (look(id) IS NULL) NOT VALID"
            ))
            .await;
        drop(waiting);
        let ended = run.end().await;
        scenario.assert_harmless(clauses).await;
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        assert!(ended.error().contains("that osc does not trust"), "{ended:#?}");
    }
}

/// A type's owner may make a cast whenever he likes, and the triggers' function has osc's rights.
#[tokio::test(flavor = "multi_thread")]
async fn a_cast_that_is_made_in_mid_run_is_not_run_by_the_triggers() {
    let scenario = Scenario::new().await;
    scenario.attack("CREATE TYPE wen AS ENUM ('a', 'b')").await;
    scenario.payload("public.wct(wen)", "text").await;
    scenario
        .exec(
            "CREATE UNLOGGED TABLE ut (k int, id wen, n int, PRIMARY KEY (k, id)); GRANT ALL ON ut TO {m}; \
             INSERT INTO ut SELECT i, 'a', i FROM generate_series(1, 6000) i; ANALYZE ut",
        )
        .await;
    let url = scenario.server.url(&scenario.database);
    let change = ["ut", "ALTER n TYPE bigint", "--chunk-size", "300", "--threads", "1"];
    let (run, point) = Run::until(&url, &change, "chunk.copied@3").await;
    scenario.attack("CREATE CAST (wen AS text) WITH FUNCTION wct(wen)").await;
    scenario
        .attack("UPDATE ut SET n = n + 1 WHERE k < 9; UPDATE ut SET id = 'b' WHERE k = 9")
        .await;
    scenario.attack("DELETE FROM ut WHERE k = 10; INSERT INTO ut VALUES (0, 'b', 0)").await;
    scenario.assert_harmless("a cast of the key's type").await;
    drop(point);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.tells("note", "triggers"), "{ended:#?}");
    scenario.assert_harmless("a cast of the key's type").await;
    let sums = "SELECT concat_ws(' ', count(*), sum(n), count(*) FILTER (WHERE id = 'b')) FROM ut";
    assert_eq!(scenario.value(sums).await, "6000 18002998 2");
}

/// An event trigger changes nothing of the table: one that is made while a run is dead costs no copy.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_trigger_that_is_made_meanwhile_costs_no_copy() {
    let scenario = Scenario::new().await;
    let url = scenario.server.url(&scenario.database);
    let slow = ["t", COPIED, "--max-rows-per-second", "60", "--chunk-size", "20"];
    let mut run = Run::at(&url, &slow);
    run.phase("copy").await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    run.kill();
    scenario
        .exec(
            "CREATE FUNCTION watches() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
             CREATE EVENT TRIGGER watches ON ddl_command_end EXECUTE FUNCTION watches()",
        )
        .await;
    let ended = Run::at(&url, &["t", COPIED]).end().await;
    scenario.exec("DROP EVENT TRIGGER watches").await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.events.iter().any(|event| event["event"] == "resumed"), "{ended:#?}");
    assert!(ended.tells("note", "watches"), "{ended:#?}");
}

/// A run goes on from what it derives: deferred indexes, partitions of the clauses, constraints.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_though_the_ledger_has_no_definitions() {
    let scenario = Scenario::new().await;
    scenario
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
    let before = scenario.value(shape).await;
    let url = scenario.server.url(&scenario.database);
    let clauses = "ALTER n TYPE bigint";
    let slow = ["big", clauses, "--max-rows-per-second", "2000", "--chunk-size", "500"];
    let mut run = Run::at(&url, &slow);
    run.phase("copy").await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    run.kill();
    let carried = scenario.value("SELECT carried FROM osc.osc_ledger").await;
    // The index's name is data; what it is on would be a definition.
    let defined = ["INDEX", "lower(", "n > 3"].iter().find(|part| carried.contains(**part));
    assert_eq!(defined, None, "{carried}");
    let ended = Run::at(&url, &["big", clauses]).end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.events.iter().any(|event| event["event"] == "resumed"), "{ended:#?}");
    assert_eq!(scenario.value(shape).await, before);
}
