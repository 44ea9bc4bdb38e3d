//! What provokes each refusal, and which have their tests elsewhere.
#![allow(missing_docs, reason = "a part of one test program, as the kit is")]

/// Where the refusal is provoked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum On {
    Mysql,
    Mariadb,
    /// MySQL and MariaDB.
    Both,
    Postgres,
}

/// What provokes it: statements beforehand, the table, the clauses, flags.
pub(crate) type Case =
    (&'static str, On, &'static str, &'static str, &'static str, &'static [&'static str]);

pub(crate) const COPY: &[&str] = &["--strategy", "copy"];
pub(crate) const AUTO: &[&str] = &[];

/// The tables are `t (id, a, b)` with the primary key `id`.
pub(crate) const CASES: &[Case] = &[
    // MySQL and MariaDB.
    ("table", On::Both, "", "gone", "ADD COLUMN c INT", AUTO),
    ("engine", On::Both, "", "t", "ENGINE=MyISAM", AUTO),
    (
        "engine",
        On::Both,
        "CREATE TABLE m (id INT PRIMARY KEY) ENGINE=MyISAM",
        "m",
        "ADD c INT",
        COPY,
    ),
    ("copy-key", On::Both, "CREATE TABLE n (a INT)", "n", "ADD c INT", COPY),
    ("copy-key", On::Both, "", "t", "MODIFY id VARCHAR(9)", AUTO),
    ("clauses", On::Both, "", "t", "ADD COLUMN c NOTYPE", AUTO),
    ("clauses", On::Both, "", "t", "DROP INDEX gone", AUTO),
    ("clauses", On::Both, "", "t", "ADD COLUMN c NOTYPE", COPY),
    (
        "clauses",
        On::Mysql,
        "CREATE TABLE c (id INT PRIMARY KEY, a INT, CONSTRAINT lim CHECK (a < 9))",
        "c",
        "DROP CHECK lim, ADD CONSTRAINT lim CHECK (a < 8)",
        COPY,
    ),
    ("other-tool", On::Both, "CREATE TABLE _t_gho (id INT)", "t", "ADD c INT", COPY),
    ("leftovers", On::Both, "CREATE TABLE t_osc_new (id INT)", "t", "ADD c INT", COPY),
    ("rename-table", On::Both, "", "t", "RENAME TO u", AUTO),
    ("tablespace", On::Both, "", "t", "DISCARD TABLESPACE", AUTO),
    ("partition-exchange", On::Both, "", "t", "EXCHANGE PARTITION p WITH TABLE u", AUTO),
    ("partition-maintenance", On::Both, "", "t", "DROP PARTITION p", AUTO),
    ("order-by", On::Both, "", "t", "ORDER BY a", AUTO),
    ("keys", On::Both, "", "t", "DISABLE KEYS", AUTO),
    ("system-versioning", On::Both, "", "t", "ADD SYSTEM VERSIONING", AUTO),
    ("unknown-clause", On::Both, "", "t", "FROBNICATE a", AUTO),
    ("conversion", On::Both, "", "t", "MODIFY b GEOMETRY", COPY),
    ("new-column-default", On::Both, "", "t", "ADD COLUMN g GEOMETRY NOT NULL", COPY),
    ("strategy", On::Both, "", "t", "ADD INDEX (a)", &["--strategy", "instant"]),
    ("strategy", On::Both, "", "t", "MODIFY a BIGINT", &["--strategy", "inplace"]),
    ("load", On::Both, "", "t", "ADD c INT", &["--max-load", "Thread_running=9"]),
    ("throttle-query", On::Both, "", "t", "ADD c INT", &["--throttle-query", "SELEC 1"]),
    ("replica", On::Both, "", "t", "ADD c INT", &["--replica", "mysql://root@127.0.0.1:1/"]),
    (
        "ambiguous-constraint",
        On::Mysql,
        "CREATE TABLE c (id INT PRIMARY KEY, a INT, \
        CONSTRAINT same UNIQUE (a), CONSTRAINT same CHECK (a > 0))",
        "c",
        "DROP CONSTRAINT same",
        COPY,
    ),
    (
        "referenced-key",
        On::Mysql,
        "CREATE TABLE u (id INT PRIMARY KEY, u INT, UNIQUE KEY uu (u)); \
        CREATE TABLE c (id INT PRIMARY KEY, u INT, FOREIGN KEY (u) REFERENCES u (u))",
        "u",
        "DROP INDEX uu, ADD INDEX u2 (u)",
        COPY,
    ),
    (
        "unlogged-cascade",
        On::Mariadb,
        "CREATE TABLE p (id INT PRIMARY KEY); CREATE TABLE c (id INT PRIMARY KEY, \
        p INT, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE)",
        "c",
        "ADD c INT",
        COPY,
    ),
    (
        "referenced-column",
        On::Both,
        "CREATE TABLE p (id INT PRIMARY KEY, u INT UNIQUE); CREATE TABLE c (x INT, FOREIGN KEY (x) \
        REFERENCES p (u))",
        "p",
        "DROP COLUMN u",
        COPY,
    ),
    (
        "foreign-key-name",
        On::Both,
        "CREATE TABLE p (id INT PRIMARY KEY); CREATE TABLE c (x INT, y INT, CONSTRAINT k FOREIGN KEY (x) \
        REFERENCES p (id), CONSTRAINT k_osc FOREIGN KEY (y) REFERENCES p (id))",
        "p",
        "ADD c INT",
        COPY,
    ),
    (
        "trigger-collation",
        On::Both,
        "CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW BEGIN DECLARE v VARCHAR(9);SET v = 'x';END; \
        ALTER DATABASE COLLATE utf8mb4_bin",
        "t",
        "ADD c INT",
        COPY,
    ),
    // PostgreSQL.
    ("table", On::Postgres, "", "gone", "ADD c int", AUTO),
    ("kind", On::Postgres, "CREATE VIEW v AS SELECT 1 AS a", "v", "ADD c int", AUTO),
    ("clauses", On::Postgres, "", "t", "ADD c notype", AUTO),
    ("clauses", On::Postgres, "", "t", "ADD c notype", COPY),
    ("clauses", On::Postgres, "", "t", "DROP COLUMN gone", COPY),
    ("clauses", On::Postgres, "", "t", "RENAME TO u", AUTO),
    ("copy-key", On::Postgres, "CREATE TABLE n (a int)", "n", "ADD c int", COPY),
    ("copy-key", On::Postgres, "", "t", "ALTER id TYPE text", AUTO),
    ("copy-key", On::Postgres, "", "t", "DROP CONSTRAINT t_pkey", COPY),
    ("leftovers", On::Postgres, "CREATE TABLE t_osc_new ()", "t", "ALTER a TYPE bigint", AUTO),
    ("index", On::Postgres, "", "t", "DROP INDEX gone", AUTO),
    (
        "constraint",
        On::Postgres,
        "ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0)",
        "t",
        "ADD CONSTRAINT k CHECK (a > 1)",
        AUTO,
    ),
    (
        "foreign-key",
        On::Postgres,
        "",
        "t",
        "ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES gone (id)",
        AUTO,
    ),
    ("name", On::Postgres, "CREATE TABLE taken ()", "t", "ADD CONSTRAINT taken UNIQUE (a)", COPY),
    ("strategy", On::Postgres, "", "t", "ALTER a TYPE bigint", &["--strategy", "instant"]),
    (
        "partition",
        On::Postgres,
        "CREATE TABLE r (id int PRIMARY KEY) PARTITION BY RANGE (id); \
        CREATE TABLE p PARTITION OF r DEFAULT",
        "p",
        "ADD c int",
        COPY,
    ),
    (
        "column-order",
        On::Postgres,
        "",
        "t",
        "ALTER COLUMN a SET STATISTICS 5, ADD COLUMN c int AFTER gone",
        AUTO,
    ),
    (
        "materialized-view",
        On::Postgres,
        "CREATE MATERIALIZED VIEW m AS SELECT a FROM t",
        "t",
        "ALTER b TYPE bytea \
        USING NULL",
        AUTO,
    ),
    (
        "view-held",
        On::Postgres,
        "CREATE VIEW v AS SELECT a FROM t; \
        CREATE FUNCTION f() RETURNS SETOF v LANGUAGE sql AS 'SELECT 1'",
        "t",
        "ALTER a TYPE bigint",
        AUTO,
    ),
    (
        "dropped-column",
        On::Postgres,
        "CREATE VIEW v AS SELECT b FROM t",
        "t",
        "DROP b, ALTER a TYPE bigint",
        COPY,
    ),
    (
        "renamed-column",
        On::Postgres,
        "CREATE VIEW v AS SELECT b FROM t",
        "t",
        "RENAME b TO c",
        COPY,
    ),
    (
        "function-type",
        On::Postgres,
        "CREATE FUNCTION f() RETURNS bigint BEGIN ATOMIC SELECT a FROM t; END",
        "t",
        "ALTER a TYPE bigint",
        AUTO,
    ),
    ("inheritance", On::Postgres, "CREATE TABLE child () INHERITS (t)", "t", "ADD c int", COPY),
    ("row-type", On::Postgres, "CREATE TABLE uses (u t)", "t", "ADD c int", COPY),
    (
        "dependent",
        On::Postgres,
        "CREATE TABLE d (r regclass DEFAULT 't'::regclass)",
        "t",
        "ADD c int",
        COPY,
    ),
    (
        "identity-sequence",
        On::Postgres,
        "CREATE TABLE i (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY); \
        CREATE TABLE d (v int DEFAULT nextval('i_id_seq'))",
        "i",
        "ADD c int",
        COPY,
    ),
    (
        "publication-all-tables",
        On::Postgres,
        "CREATE PUBLICATION p FOR ALL TABLES",
        "t",
        "ADD c int",
        COPY,
    ),
    (
        "invalid-index",
        On::Postgres,
        "CREATE INDEX k ON t (a); UPDATE pg_index SET indisvalid = false \
        WHERE indexrelid = 'k'::regclass",
        "t",
        "ADD c int",
        COPY,
    ),
    ("form", On::Postgres, "", "t", BY_A, AUTO),
    ("partition-name", On::Postgres, "CREATE TABLE p_all ()", "t", BY_ID, AUTO),
    ("cluster", On::Postgres, "ALTER TABLE t CLUSTER ON t_pkey", "t", BY_ID, AUTO),
    (
        "replica-identity",
        On::Postgres,
        "ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey",
        "t",
        BY_ID,
        AUTO,
    ),
    ("publication-partitioned", On::Postgres, "CREATE PUBLICATION p FOR TABLE t", "t", BY_ID, AUTO),
    (
        "foreign-key-partitioned",
        On::Postgres,
        "CREATE TABLE c (t int REFERENCES t)",
        "t",
        BY_ID,
        AUTO,
    ),
    (
        "trigger-partitioned",
        On::Postgres,
        "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS \
        'BEGIN RETURN NULL; END'; CREATE TRIGGER g AFTER UPDATE ON t REFERENCING NEW TABLE AS n FOR EACH ROW \
        EXECUTE FUNCTION g()",
        "t",
        BY_ID,
        AUTO,
    ),
    ("load", On::Postgres, "", "t", "ADD c int", &["--max-load", "Threads_running=9"]),
    ("throttle-query", On::Postgres, "", "t", "ADD c int", &["--throttle-query", "SELEC 1"]),
    (
        "replica",
        On::Postgres,
        "",
        "t",
        "ADD c int",
        &["--replica", "postgres://postgres@127.0.0.1:1/x"],
    ),
    (
        "functions",
        On::Postgres,
        "CREATE ROLE OWNER; GRANT CREATE ON SCHEMA public TO OWNER; SET ROLE OWNER; \
        CREATE FUNCTION f(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; RESET ROLE; \
        ALTER TABLE t ADD CHECK (f(a))",
        "t",
        "ADD c int",
        COPY,
    ),
];

pub(crate) const BY_A: &str =
    "PARTITION BY HASH (a) (PARTITION p_all FOR VALUES WITH (MODULUS 1, REMAINDER 0))";
pub(crate) const BY_ID: &str =
    "PARTITION BY HASH (id) (PARTITION p_all FOR VALUES WITH (MODULUS 1, REMAINDER 0))";

/// Codes that need a server or an account of their own, or a run under way: the test, which runs plan and
/// alter too.
pub(crate) const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("revert-if-query", "tests/it/undo_watch.rs", "a_health_check_that_fails_undoes_the_change"),
    ("undo-nothing", "tests/it/undo_opposite.rs", "a_later_change_is_in_the_way"),
    ("undo-window", "tests/it/undo_window.rs", "kept"),
    ("undo-no-run", "tests/it/undo_postgres/refused.rs", "what_cannot_be_undone_is_refused"),
    (
        "undo-no-retired-table",
        "tests/it/undo_postgres/refused.rs",
        "what_cannot_be_undone_is_refused",
    ),
    ("undo-old-record", "tests/it/undo_postgres/refused.rs", "what_cannot_be_undone_is_refused"),
    ("undo-replaced", "tests/it/undo_postgres/refused.rs", "what_cannot_be_undone_is_refused"),
    ("undo-copy-key", "tests/it/undo_postgres/refused.rs", "what_cannot_be_undone_is_refused"),
    (
        "undo-definition-changed",
        "tests/it/undo_postgres/refused.rs",
        "what_cannot_be_undone_is_refused",
    ),
    ("undo-dependents", "tests/it/undo_postgres/refused.rs", "what_cannot_be_undone_is_refused"),
    ("undo-partitioned", "tests/it/undo_postgres/refused.rs", "what_cannot_be_undone_is_refused"),
    (
        "undo-retired-changed",
        "tests/it/undo_postgres/refused.rs",
        "what_cannot_be_undone_is_refused",
    ),
    ("undo-sequence", "tests/it/undo_postgres/refused.rs", "what_cannot_be_undone_is_refused"),
    ("misfits", "tests/it/undo.rs", "a_check_finds_what_an_undo_would_and_changes_nothing"),
    (
        "data-directory",
        "tests/it/attributes_mysql.rs",
        "a_data_directory_is_refused_before_the_copy",
    ),
    (
        "binlog-filter",
        "tests/it/refusals_server.rs",
        "a_binlog_that_leaves_the_schema_out_is_refused",
    ),
    (
        "binlog-format",
        "tests/it/refusals_server.rs",
        "settings_under_which_changes_cannot_be_followed_are_refused",
    ),
    (
        "binlog-order-commits",
        "tests/it/refusals_server.rs",
        "settings_under_which_changes_cannot_be_followed_are_refused",
    ),
    (
        "read-only",
        "tests/it/refusals_server.rs",
        "settings_under_which_changes_cannot_be_followed_are_refused",
    ),
    (
        "server-id",
        "tests/it/refusals_server.rs",
        "settings_under_which_changes_cannot_be_followed_are_refused",
    ),
    ("log-bin", "tests/it/refusals_server.rs", "a_server_without_a_binlog_is_refused"),
    (
        "row-image",
        "tests/it/refusals_server.rs",
        "minimal_images_of_rows_are_refused_where_they_lack_the_copy_key",
    ),
    ("rights", "tests/it/refusals_server.rs", "each_right_that_is_missing_is_named"),
    (
        "login",
        "tests/it/refusals_server.rs",
        "an_account_without_any_right_is_reported_and_its_password_does_not_show",
    ),
    (
        "privileges",
        "tests/it/refusals_server.rs",
        "an_account_without_any_right_is_reported_and_its_password_does_not_show",
    ),
    (
        "hidden-children",
        "tests/it/every_refusal.rs",
        "children_that_the_account_may_not_see_are_refused_alike",
    ),
    (
        "no-attempt",
        "tests/it/orders_refused.rs",
        "an_order_without_an_attempt_is_refused_and_leaves_no_row",
    ),
    (
        "order-rights",
        "tests/it/operator_rights.rs",
        "an_operators_account_steers_and_sees_and_can_do_nothing_else",
    ),
    ("unfinished-run", "tests/it/kept_runs.rs", "the_same_change_resumes_however_it_is_written"),
    ("related-run", "tests/it/related_runs.rs", "a_run_is_refused_beside_a_related_one"),
    ("galera", "tests/it/recognition.rs", "galera"),
    ("group-replication", "tests/it/recognition.rs", "group_replication"),
    ("pooler", "tests/it/recognition.rs", "pooler"),
    ("database", "tests/it/every_refusal.rs", "what_is_no_server_of_the_run_is_refused_alike"),
    ("standby", "tests/it/every_refusal.rs", "what_is_no_server_of_the_run_is_refused_alike"),
    ("row-security", "tests/it/every_refusal.rs", "what_is_no_server_of_the_run_is_refused_alike"),
];

/// Codes that both commands reach by the same lines, behind what no test can set up here: the unit test that
/// covers them by scripted answers, or why there is none.
pub(crate) const SCRIPTED: &[(&str, &str)] = &[
    ("citus-table", "postgres::connection::recognise: scripted answers"),
    ("engine-own-ddl", "mysql::connection::recognise: scripted answers"),
    ("proxy", "mysql::connection::recognise: scripted answers"),
    ("unknown-server", "mysql::connection::recognise: scripted answers"),
    ("server-version", "mysql::connection::version: old versions by their names"),
    ("version", "a PostgreSQL before 14 is not installed anywhere"),
    ("tls", "tests/it/throttle_sources.rs: tls_is_verified_unless_it_is_not_to_be"),
    ("alter-ignore", "a whole statement with IGNORE is wrong usage before it comes to that"),
    ("column-outcomes", "the server would have to read the clauses otherwise than osc"),
    ("disk-space", "the disk would have to be full"),
    ("max-allowed-packet", "the check of `checks::server`, as its neighbours"),
    ("log-replica-updates", "the check of `checks::server`, as its neighbours"),
    ("sql-mode", "mysql::connection::settings::role: clauses_that_would_be_read_otherwise"),
    ("extension", "tests/it/attributes_postgres.rs walks what depends on a table"),
    ("security-label", "no provider of labels is installed with a server"),
    ("subscription", "tests/it/postgres_dependents.rs reads the same list"),
    ("partitioned", "tests/it/attributes_postgres.rs: up to 17 only"),
    ("ledger", "tests/it/attacks_mysql.rs and attacks_postgres.rs"),
    ("other-run", "tests/it/related_runs.rs: a session of its own holds the lock"),
    ("other-version", "a ledger of another version of osc"),
    ("unsettled", "osc cleanup alone refuses by it"),
];

/// Codes that only alter has, and why: the check needs more than plan does. Nothing is copied before it.
pub(crate) const LATER: &[(&str, &str)] = &[
    (
        "foreign-key",
        "MySQL: a key is tried on the empty shadow, which locks its parent for a moment",
    ),
    ("foreign-key-index", "as foreign-key"),
    ("foreign-key-parent", "as foreign-key"),
    ("trigger", "a trigger is tried on the empty shadow, in the schema of the table"),
    ("swap", "PostgreSQL: the swap is rehearsed under its locks"),
];
