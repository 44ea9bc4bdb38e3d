//! What comes back with the table, and what was set on the live one since.

use super::place::Place;
use crate::cli_run::printed;
use crate::postgres_dependents::swap;

const TABLE: &str = "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p VALUES (1), (2); \
    CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int UNIQUE, up int, \
    CONSTRAINT fk_a FOREIGN KEY (a) REFERENCES p ON DELETE CASCADE DEFERRABLE, \
    CONSTRAINT fk_up FOREIGN KEY (up) REFERENCES t, CONSTRAINT small CHECK (c < 100)); \
    COMMENT ON CONSTRAINT fk_a ON t IS 'the first'; CREATE INDEX tb ON t (b) WHERE b > 1; \
    INSERT INTO t SELECT i, 1, i, i, 1 FROM generate_series(1, 10) i";

const KEYS: &str = "SELECT concat_ws(' ', conname, convalidated, obj_description(oid), pg_get_constraintdef(oid)) \
    FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'f' ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn constraints_and_indexes_that_the_change_dropped_come_back() {
    let place = Place::new(TABLE).await;
    let dump = || swap::dump(place.server, &place.database);
    let before = dump();
    let clauses = "DROP CONSTRAINT fk_a, DROP CONSTRAINT fk_up, DROP CONSTRAINT small, \
                   DROP CONSTRAINT t_c_key, ALTER b TYPE bigint";
    place.alter(clauses);
    place.exec("DROP INDEX tb").await;
    let output = place.revert(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let note = "the index tb, dropped on public.t since run 1, comes back";
    assert!(printed(&output).contains(note), "{}", printed(&output));
    place.succeeds(&["cleanup", "t", "--yes", "--now"]);
    place.exec("DROP SCHEMA osc CASCADE").await;
    swap::assert_same(&before, &dump());
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_keys_go_and_come_with_each_undo() {
    let place = Place::new(TABLE).await;
    let old = place.rows(KEYS).await;
    assert!(old[0].contains("fk_a t the first FOREIGN KEY (a)"), "{old:?}");
    place.alter("DROP CONSTRAINT fk_a, ADD CONSTRAINT fk_b FOREIGN KEY (a) REFERENCES p");
    let new = place.rows(KEYS).await;
    assert!(new.len() == 2 && new[0].starts_with("fk_b t"), "{new:?}");
    for keys in [&old, &new, &old, &new] {
        place.reverts();
        assert_eq!(place.rows(KEYS).await, *keys);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_parent_are_all_listed_and_cannot_be_left_behind() {
    let place = Place::new(TABLE).await;
    place.alter("DROP CONSTRAINT fk_a, DROP CONSTRAINT fk_up, ALTER a TYPE bigint, DROP COLUMN c");
    place.exec("INSERT INTO t (id, a) SELECT i, 9 FROM generate_series(11, 130) i").await;
    place.exec("INSERT INTO t (id, up) VALUES (131, 1000)").await;
    for more in [&[][..], &["--on-misfit", "leave"]] {
        let output = place.revert(more);
        let text = printed(&output);
        assert_eq!(output.status.code(), Some(5), "{text}");
        assert!(text.contains("121 rows cannot go back"), "{text}");
        let row = "id = 130: the foreign key fk_a finds no row in public.p";
        assert!(text.contains(row), "{text}");
        assert!(
            text.contains("id = 131: the foreign key fk_up finds no row in the table"),
            "{text}"
        );
        assert!(!text.contains("--on-misfit") && text.contains("add the parents"), "{text}");
    }
    let text = printed(&place.revert(&["--check"]));
    assert!(text.contains("121 rows cannot go back"), "{text}");
    place.exec("INSERT INTO p VALUES (9); UPDATE t SET up = 5 WHERE id = 131").await;
    place.reverts();
    assert!(place.rows(KEYS).await.iter().all(|key| key.contains(" t ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_without_its_parent_is_named_and_does_not_come_back() {
    let place = Place::new(TABLE).await;
    place.alter("DROP CONSTRAINT fk_a, ALTER b TYPE bigint");
    place.exec("DROP TABLE p").await;
    let output = place.revert(&[]);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("the foreign key fk_a, which the change dropped, does not come back"),
        "{text}"
    );
    assert_eq!(place.rows(KEYS).await.len(), 1);
}

const SET: &str = "SELECT concat_ws(' ', c.reloptions, c.relreplident, (SELECT string_agg(concat_ws(':', \
    a.attname, nullif(a.attstattarget, -1), a.attoptions), ',' ORDER BY a.attname) FROM pg_attribute a \
    WHERE a.attrelid = c.oid AND a.attnum > 0)) FROM pg_class c WHERE c.oid = 't'::regclass";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_on_the_live_table_since_is_carried_over_and_indexes_are_named() {
    let place = Place::new(TABLE).await;
    place.exec("ALTER TABLE t SET (fillfactor = 90); ALTER TABLE t ALTER a SET STATISTICS 5").await;
    place.alter("SET (fillfactor = 50), ALTER c SET STATISTICS 8, ALTER b TYPE bigint");
    place
        .exec("ALTER TABLE t SET (parallel_workers = 2); ALTER TABLE t REPLICA IDENTITY FULL")
        .await;
    place.exec("ALTER TABLE t ALTER b SET STATISTICS 9, ALTER b SET (n_distinct = 3)").await;
    place.exec("CREATE INDEX by_hand ON t (b)").await;
    let output = place.revert(&[]);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let note = "the index by_hand, made on public.t since run 1, stays with the table that retires";
    assert!(text.contains(note), "{text}");
    let old = "{fillfactor=90,parallel_workers=2} f a:5,b:9:{n_distinct=3},c,id,up";
    assert_eq!(place.value(SET).await, old);
    // The redo has what the change and the person have set.
    place.exec("ALTER TABLE t REPLICA IDENTITY DEFAULT").await;
    let text = printed(&place.revert(&[]));
    assert!(!text.contains("by_hand"), "{text}");
    let new = "{fillfactor=50,parallel_workers=2} d a:5,b:9:{n_distinct=3},c:8,id,up";
    assert_eq!(place.value(SET).await, new);
}
