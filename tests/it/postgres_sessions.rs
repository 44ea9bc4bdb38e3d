//! What osc's sessions on PostgreSQL have, whatever the role, the database and the server say: settings, the
//! search path, operators; and what the server does when osc is frozen with a lock.

use crate::support;
use std::time::{Duration, Instant};

use crate::cli_run::{Run, osc, printed};
use crate::support::postgres::{Major, Postgres, connect, exec, rows};
use crate::support::proxy::Proxy;
use crate::support::{postgres_database, shared_postgres};
use osc::postgres::connection::settings::{Class, class};
use rustix::process::Signal;

/// Names of settings that a session, a role or a database can have on a server.
async fn settings(server: &Postgres) -> Vec<Vec<String>> {
    let sql = "SELECT name, vartype, setting, coalesce(array_to_string(enumvals, ' '), '') \
               FROM pg_settings WHERE context IN ('user', 'superuser') AND name NOT LIKE '%.%' ORDER BY 1";
    server.rows("postgres", sql).await
}

#[tokio::test]
async fn every_setting_of_every_version_has_its_class() {
    for major in Major::installed() {
        let server = Postgres::start(major);
        let unknown: Vec<String> = settings(&server)
            .await
            .into_iter()
            .map(|row| row[0].clone())
            .filter(|name| class(name).is_none())
            .collect();
        assert!(unknown.is_empty(), "PostgreSQL {}: {unknown:?}", major.number());
    }
}

/// Conversions that go by the settings of the session, and a partial index, a check and a default.
const CONVERTED: &str = "
    CREATE TABLE t (id timestamptz PRIMARY KEY, d date, i interval, f float8, b bytea, z timestamptz,
        a text, s text, n int DEFAULT 5 CHECK (n < 100000));
    CREATE UNIQUE INDEX t_n ON t (n) WHERE n > 10;
    INSERT INTO t SELECT '2020-01-01 12:00+00'::timestamptz + n * interval '1 day 1 second',
        date '2024-12-31' + n, n * interval '1 month -1 day 3 seconds', n / 3.0, decode(lpad(to_hex(n), 8, '0'), 'hex'),
        '2024-07-01 00:00+00'::timestamptz + n * interval '1 hour', '{NULL,' || n || '}',
        to_char(date '2024-12-01' + n % 12, 'DD.MM.YYYY'), n
        FROM generate_series(1, 300) n";

const CHANGE: &str = "ALTER d TYPE text, ALTER i TYPE text, ALTER f TYPE text, ALTER b TYPE text, \
     ALTER z TYPE text, ALTER a TYPE text[] USING a::text[], ALTER s TYPE date USING s::date, \
     ADD COLUMN x date DEFAULT '02.03.2024', ADD COLUMN y text DEFAULT 'a\\b'";

/// What a role's settings may be that osc must not live by.
fn wrong(name: &str, vartype: &str, setting: &str, choices: &str) -> Option<String> {
    let known = match name {
        "search_path" => "nowhere, public",
        "standard_conforming_strings" => return None,
        "DateStyle" => "German, DMY",
        "IntervalStyle" => "sql_standard",
        "TimeZone" => "America/New_York",
        "extra_float_digits" => "-5",
        "bytea_output" => "escape",
        "statement_timeout" | "lock_timeout" => "20",
        "transaction_timeout" => "400",
        "idle_session_timeout" | "idle_in_transaction_session_timeout" => "20",
        "default_transaction_isolation" => "serializable",
        "gin_fuzzy_search_limit" => "1",
        "client_min_messages" => "debug5",
        "default_tablespace" => "elsewhere",
        "restrict_nonsystem_relation_kind" => "view",
        "session_replication_role" => "replica",
        "tcp_keepalives_idle" | "tcp_keepalives_interval" | "tcp_keepalives_count" => "1",
        "default_table_access_method" | "lc_monetary" | "lc_numeric" | "lc_time" => return None,
        "default_text_search_config" => "pg_catalog.german",
        "timezone_abbreviations" => "India",
        "default_toast_compression" => return None,
        _ if vartype == "bool" => {
            if setting == "on" {
                "off"
            } else {
                "on"
            }
        }
        _ if vartype == "enum" => choices.split(' ').find(|choice| *choice != setting)?,
        _ => return None,
    };
    Some(known.to_owned())
}

struct Hostile {
    server: Postgres,
    /// The settings that matter, with a wrong value of each.
    wrong: Vec<(String, String)>,
}

impl Hostile {
    async fn new(major: Major) -> Self {
        let server = Postgres::start_with(major, &[("allow_in_place_tablespaces", "on")]);
        server.exec("postgres", "CREATE ROLE changer SUPERUSER LOGIN").await;
        server.exec("postgres", "CREATE TABLESPACE elsewhere LOCATION ''").await;
        let matters = |row: &Vec<String>| !matches!(class(&row[0]), Some(Class::Left) | None);
        let wrong = settings(&server)
            .await
            .into_iter()
            .filter(matters)
            .filter_map(|row| Some((row[0].clone(), wrong(&row[0], &row[1], &row[2], &row[3])?)))
            .collect();
        Self { server, wrong }
    }

    /// A whole alter under these settings of the role, compared with the server's own.
    async fn alter(&self, wrong: &[(String, String)]) {
        let (server, names) = (&self.server, format!("{wrong:?}"));
        let database = postgres_database(server).await;
        server.exec(&database, CONVERTED).await;
        server
            .exec(
                &database,
                "CREATE TABLE twin (LIKE t INCLUDING ALL); INSERT INTO twin SELECT * FROM t",
            )
            .await;
        let role = format!("ALTER ROLE changer IN DATABASE {database} SET");
        let set = wrong.iter().map(|(name, value)| match name.as_str() {
            "search_path" => format!("{role} {name} = {value}; "),
            _ => format!("{role} {name} = '{value}'; "),
        });
        let set: String = set.collect();
        server.exec("postgres", &set).await;
        // The server's own, in a plain session of the role but for what would end it.
        let url = format!(
            "{}?options=-c%20statement_timeout=0%20-c%20lock_timeout=0%20-c%20idle_session_timeout=0\
             %20-c%20idle_in_transaction_session_timeout=0%20-c%20default_transaction_read_only=off\
             %20-c%20exit_on_error=off%20-c%20client_min_messages=error",
            server.url_as("changer", &database)
        );
        let plain = connect(&url).await.unwrap();
        let whole = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'";
        exec(&plain, whole).await;
        exec(&plain, &format!("SET transform_null_equals = off; ALTER TABLE public.twin {CHANGE}"))
            .await;
        drop(plain);
        let alter = |clauses: &str, strategy: &str| {
            support::osc()
                .args([
                    "alter",
                    "public.t",
                    clauses,
                    "--strategy",
                    strategy,
                    "--yes",
                    "--chunk-size",
                    "50",
                ])
                .args(["--url", &server.url_as("changer", &database)])
                .output()
                .unwrap()
        };
        let output = alter(CHANGE, "copy");
        assert_eq!(output.status.code(), Some(0), "{names}: {}", printed(&output));
        let content =
            |table: &str| format!("SELECT (r.*)::text FROM (SELECT * FROM {table}) r ORDER BY 1");
        let (ours, native) = (
            server.rows(&database, &content("t")).await,
            server.rows(&database, &content("twin")).await,
        );
        assert_eq!(ours.first(), native.first(), "{names}");
        assert!(ours == native, "{names}: other values than the server's own ALTER");
        let spaces = "SELECT count(*) FROM pg_class WHERE relname ~ '^t' AND reltablespace <> 0 \
                      AND relnamespace = 'public'::regnamespace AND relname !~ '_osc_old'";
        assert_eq!(server.value(&database, spaces).await, "0", "{names}: moved to a tablespace");
        for clauses in
            ["ADD COLUMN w int", "ADD CONSTRAINT w CHECK (w > 0)", "CREATE INDEX w ON t (lower(d))"]
        {
            let output = alter(clauses, "auto");
            assert_eq!(output.status.code(), Some(0), "{names}: {clauses}: {}", printed(&output));
        }
        let status = osc(server, &database, &["status"]);
        assert_eq!(status.status.code(), Some(0), "{names}: {}", printed(&status));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_alter_goes_by_its_own_settings_and_converts_by_the_roles() {
    for major in Major::installed().into_iter().filter(|major| [15, 18].contains(&major.number())) {
        let hostile = Hostile::new(major).await;
        assert!(hostile.wrong.len() > 40, "{:?}", hostile.wrong);
        hostile.alter(&hostile.wrong).await;
        if support::from_environment("OSC_SETTINGS_ALL").is_some() {
            for one in &hostile.wrong {
                hostile.alter(std::slice::from_ref(one)).await;
            }
        }
    }
}

/// What an account with CREATE in a schema of the search path can lay out: functions and operators that fit
/// better than pg_catalog's, and count who calls them.
const LOOKALIKES: &str = r#"
    CREATE ROLE attacker; GRANT CREATE ON SCHEMA public TO attacker; GRANT USAGE ON SCHEMA public TO PUBLIC;
    CREATE SEQUENCE public.hits; GRANT ALL ON SEQUENCE public.hits TO PUBLIC;
    SET ROLE attacker;
    CREATE FUNCTION public.quote_ident(name) RETURNS text LANGUAGE plpgsql AS
        $$BEGIN PERFORM nextval('public.hits'); RETURN pg_catalog.quote_ident($1::text); END$$;
    CREATE FUNCTION public.hashint8extended(bigint, int) RETURNS bigint LANGUAGE plpgsql AS
        $$BEGIN PERFORM nextval('public.hits'); RETURN pg_catalog.hashint8extended($1, $2::bigint); END$$;
    CREATE FUNCTION public.hashint8extended(int, int) RETURNS bigint LANGUAGE plpgsql AS
        $$BEGIN PERFORM nextval('public.hits'); RETURN pg_catalog.hashint8extended($1::bigint, $2::bigint); END$$;
    CREATE FUNCTION public.format(text, name) RETURNS text LANGUAGE plpgsql AS
        $$BEGIN PERFORM nextval('public.hits'); RETURN pg_catalog.format($1, VARIADIC ARRAY[$2]); END$$;
    CREATE FUNCTION public.concat_ws(text, name, name) RETURNS text LANGUAGE plpgsql AS
        $$BEGIN PERFORM nextval('public.hits'); RETURN $2 || $1 || $3; END$$;
    CREATE FUNCTION public.less(varchar, varchar) RETURNS bool LANGUAGE plpgsql AS
        $$BEGIN PERFORM nextval('public.hits'); RETURN $1::text < $2::text; END$$;
    CREATE FUNCTION public.most(varchar, varchar) RETURNS bool LANGUAGE plpgsql AS
        $$BEGIN PERFORM nextval('public.hits'); RETURN $1::text <= $2::text; END$$;
    CREATE FUNCTION public.same(varchar, varchar) RETURNS bool LANGUAGE plpgsql AS
        $$BEGIN PERFORM nextval('public.hits'); RETURN $1::text = $2::text; END$$;
    CREATE FUNCTION public.more(varchar, varchar) RETURNS bool LANGUAGE plpgsql AS
        $$BEGIN PERFORM nextval('public.hits'); RETURN $1::text > $2::text; END$$;
    CREATE OPERATOR public.< (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.less);
    CREATE OPERATOR public.<= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.most);
    CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.same);
    CREATE OPERATOR public.> (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.more);
    RESET ROLE;
    CREATE TABLE t (k varchar(20) PRIMARY KEY, n bigint UNIQUE, v int);
    CREATE TABLE child (k varchar(20) REFERENCES t);
    INSERT INTO t SELECT 'k' || n, n, n FROM generate_series(1, 2000) n"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_others_put_into_the_search_path_is_called() {
    let server = Postgres::start(Major::SYSTEM);
    server.exec("postgres", LOOKALIKES).await;
    // Other tables of the application: its own statements would count too.
    let update = "UPDATE t SET v = v + 1 WHERE n % 7 = 0";
    let change = "ALTER v TYPE bigint, ADD UNIQUE (v, n)";
    let planned = osc(&server, "postgres", &["plan", "t", change]);
    assert_eq!(planned.status.code(), Some(0), "{}", printed(&planned));
    let arguments = ["t", change, "--chunk-size", "100", "--threads", "1"];
    let (run, point) = Run::until(&server.url("postgres"), &arguments, "chunk.copied@3").await;
    server.exec("postgres", update).await;
    server.exec("postgres", "UPDATE t SET k = 'moved' WHERE n = 1500").await;
    drop(point);
    run.done().await;
    for arguments in [
        &["plan", "t", "ADD COLUMN w int"][..],
        &["alter", "t", "ADD COLUMN w int", "--yes"],
        &["alter", "t", "CREATE INDEX w ON t (w)", "--yes"],
        &["alter", "t", "ADD CONSTRAINT w CHECK (w > 0)", "--yes", "--trust-owner"],
        &["status"],
        &["cleanup", "t", "--yes", "--now"],
    ] {
        let output = osc(&server, "postgres", arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", printed(&output));
    }
    let called =
        server.value("postgres", "SELECT is_called::text || last_value FROM public.hits").await;
    assert_eq!(called, "false1", "functions of the attacker were called");
}

/// A type whose own order is the reverse of what pg_catalog's operators would say, and one whose equality
/// is not theirs; both in a schema that no search path has.
const OWN_OPERATORS: &str = r#"
    CREATE SCHEMA app; CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; SET search_path = app, ext, public;
    CREATE TYPE app.version AS (major int, minor int);
    CREATE FUNCTION app.cmp(app.version, app.version) RETURNS int IMMUTABLE LANGUAGE sql AS
        'SELECT pg_catalog.btrecordcmp($2, $1)';
    CREATE FUNCTION app.lt(app.version, app.version) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT app.cmp($1, $2) < 0';
    CREATE FUNCTION app.le(app.version, app.version) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT app.cmp($1, $2) <= 0';
    CREATE FUNCTION app.eq(app.version, app.version) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT app.cmp($1, $2) = 0';
    CREATE FUNCTION app.ge(app.version, app.version) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT app.cmp($1, $2) >= 0';
    CREATE FUNCTION app.gt(app.version, app.version) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT app.cmp($1, $2) > 0';
    CREATE OPERATOR app.< (LEFTARG = app.version, RIGHTARG = app.version, FUNCTION = app.lt);
    CREATE OPERATOR app.<= (LEFTARG = app.version, RIGHTARG = app.version, FUNCTION = app.le);
    CREATE OPERATOR app.= (LEFTARG = app.version, RIGHTARG = app.version, FUNCTION = app.eq, COMMUTATOR = OPERATOR(app.=), MERGES);
    CREATE OPERATOR app.>= (LEFTARG = app.version, RIGHTARG = app.version, FUNCTION = app.ge);
    CREATE OPERATOR app.> (LEFTARG = app.version, RIGHTARG = app.version, FUNCTION = app.gt);
    CREATE OPERATOR CLASS app.version_ops DEFAULT FOR TYPE app.version USING btree AS
        OPERATOR 1 app.<, OPERATOR 2 app.<=, OPERATOR 3 app.=, OPERATOR 4 app.>=, OPERATOR 5 app.>, FUNCTION 1 app.cmp;
    CREATE FUNCTION app.twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';
    CREATE TABLE app.t (v app.version, name citext, n int, x int, PRIMARY KEY (v, name));
    CREATE UNIQUE INDEX t_x ON app.t (name, n);
    INSERT INTO app.t SELECT ROW(n / 50, n % 50)::app.version, CASE WHEN n % 2 = 0 THEN 'Name' ELSE 'name' END || n, n, n
        FROM generate_series(1, 1500) n;
    CREATE TABLE app.twin (LIKE app.t INCLUDING ALL); INSERT INTO app.twin SELECT * FROM app.t"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_with_operators_of_their_own_are_ordered_and_compared_by_those() {
    let server = shared_postgres();
    let database = postgres_database(server).await;
    server.exec(&database, OWN_OPERATORS).await;
    server.exec("postgres", &format!("ALTER DATABASE {database} SET search_path = app, ext")).await;
    // `t`, `twice` and `citext` are found where the role's own sessions find them.
    let change =
        "ALTER x TYPE bigint USING twice(x), ALTER n TYPE bigint, ADD COLUMN c citext DEFAULT 'C'";
    let arguments = ["t", change, "--chunk-size", "100", "--threads", "1"];
    let (run, point) = Run::until(&server.url(&database), &arguments, "chunk.copied@3").await;
    let writes = |table: &str| {
        format!(
            "UPDATE {table} SET x = 7 WHERE n % 5 = 0; DELETE FROM {table} WHERE n % 11 = 0;
             UPDATE {table} SET name = upper(name::text)::citext WHERE n % 13 = 0;
             UPDATE {table} SET v = ROW(100, n)::version WHERE n % 17 = 0;
             INSERT INTO {table} (v, name, n, x) SELECT ROW(200, n)::version, 'new', n, n FROM generate_series(2000, 2100) n"
        )
    };
    server.exec(&database, &writes("t")).await;
    drop(point);
    run.done().await;
    server.exec(&database, &writes("twin")).await;
    server.exec(&database, &format!("ALTER TABLE twin {change}")).await;
    let content = |table: &str| format!("SELECT (r.*)::text FROM {table} r ORDER BY 1");
    let (ours, native) = (
        server.rows(&database, &content("t")).await,
        server.rows(&database, &content("twin")).await,
    );
    assert_eq!(ours.len(), native.len());
    assert!(ours == native, "lost or old");
}

const WIDER: [&str; 4] = ["t", "ALTER v TYPE bigint", "--cut-over-timeout", "1s"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_ends_the_lock_of_a_frozen_cut_over() {
    for major in Major::installed().into_iter().filter(|major| [15, 17].contains(&major.number())) {
        let server = Postgres::start(major);
        for point in ["swap.locked", "swap.marked", "swap.drained", "swap.refreshed"] {
            let database = postgres_database(&server).await;
            server
                .exec(
                    &database,
                    "CREATE TABLE t (id int PRIMARY KEY, v int);
                INSERT INTO t SELECT n, n FROM generate_series(1, 1000) n",
                )
                .await;
            let url = server.url(&database);
            let (run, waiting) = Run::until(&url, &WIDER, point).await;
            run.signal(Signal::STOP);
            let begun = Instant::now();
            let written = tokio::time::timeout(
                Duration::from_secs(30),
                server.exec(&database, "UPDATE t SET v = -1 WHERE id = 500"),
            );
            assert!(
                written.await.is_ok(),
                "{point}: the application waits for the lock of a frozen osc"
            );
            let stall = begun.elapsed();
            assert!(
                stall < Duration::from_secs(20),
                "{point}: the application waited for {stall:?}"
            );
            run.signal(Signal::CONT);
            drop(waiting);
            let ended = run.end().await;
            if ended.code != Some(0) {
                assert_eq!(ended.code, Some(3), "{point}: {ended:#?}");
                Run::at(&url, &WIDER).done().await;
            }
            let sums = "SELECT count(*) || ' ' || sum(v) || ' ' || pg_typeof(min(v)) FROM t";
            assert_eq!(server.value(&database, sums).await, "1000 499999 bigint", "{point}");
        }
    }
}

/// Nothing is carried any more, and nothing is cut: neither side learns of it from the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_ends_the_lock_of_a_cut_over_that_the_network_lost() {
    for major in Major::installed().into_iter().filter(|major| [15, 17].contains(&major.number())) {
        let server = Postgres::start(major);
        for point in ["swap.locked", "swap.drained"] {
            let database = postgres_database(&server).await;
            server
                .exec(
                    &database,
                    "CREATE TABLE t (id int PRIMARY KEY, v int);
                INSERT INTO t SELECT n, n FROM generate_series(1, 1000) n",
                )
                .await;
            let proxy = Proxy::before(server.port());
            let url = format!("postgres://postgres@127.0.0.1:{}/{database}", proxy.port());
            let (run, waiting) = Run::until(&url, &WIDER, point).await;
            proxy.silence();
            let begun = Instant::now();
            drop(waiting);
            let update = server.exec(&database, "UPDATE t SET v = -1 WHERE id = 500");
            let written = tokio::time::timeout(Duration::from_secs(30), update).await;
            let stall = begun.elapsed();
            proxy.up();
            assert!(
                written.is_ok() && stall < Duration::from_secs(20),
                "{point}: the application waits for the lock of a lost osc ({stall:?})"
            );
            let ended = run.end().await;
            if ended.code != Some(0) {
                assert_eq!(ended.code, Some(3), "{point}: {ended:#?}");
                Run::at(&url, &WIDER).done().await;
            }
            let sums = "SELECT count(*) || ' ' || sum(v) || ' ' || pg_typeof(min(v)) FROM t";
            assert_eq!(server.value(&database, sums).await, "1000 499999 bigint", "{point}");
        }
    }
}

#[tokio::test]
async fn a_session_has_what_the_list_says_and_no_role_can_change_it() {
    let server = shared_postgres();
    let database = postgres_database(server).await;
    server.exec("postgres", &format!("ALTER DATABASE {database} SET search_path = public")).await;
    let target = osc::config::url::parse(&server.url(&database)).unwrap().complete(None).unwrap();
    let options = osc::postgres::connection::connect::Options::of(&target).unwrap();
    let client = osc::postgres::connection::connect::connect(&options, "testing").await.unwrap();
    let found = rows(&client, "SELECT name, setting, unit FROM pg_settings").await;
    for row in found {
        if let Some(Class::Fixed(value)) = class(&row[0])
            && value != "60s"
        {
            assert_eq!(row[1], value, "{}", row[0]);
        }
    }
}

#[tokio::test]
async fn a_url_and_the_environment_mean_what_they_mean_to_psql() {
    let server = shared_postgres();
    let database = postgres_database(server).await;
    let tables = "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE SCHEMA b; CREATE TABLE b.t (id int PRIMARY KEY, v int)";
    server.exec(&database, tables).await;
    let plan = |url: &str, variables: &[(&str, &str)]| {
        let output = support::osc()
            .args(["plan", "t", "ALTER v TYPE bigint", "--url", url])
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        (output.status.code(), printed(&output))
    };
    let url = server.url(&database);
    let port = server.port().to_string();
    for (url, variables, table) in [
        (url.clone(), vec![], "public.t"),
        (format!("{url}?options=-csearch_path%3Db"), vec![], "b.t"),
        (url.clone(), vec![("PGOPTIONS", "-c search_path=b")], "b.t"),
        (
            format!("postgres://postgres@10.255.255.1:1/{database}?host=127.0.0.1&port={port}"),
            vec![],
            "public.t",
        ),
        (
            format!("postgres://postgres@/{database}"),
            vec![("PGHOST", "127.0.0.1"), ("PGPORT", &port)],
            "public.t",
        ),
        (
            format!(
                "postgres://nowhere.invalid/{database}?hostaddr=127.0.0.1&port={port}&user=postgres"
            ),
            vec![],
            "public.t",
        ),
    ] {
        let (code, printed) = plan(&url, &variables);
        assert_eq!(code, Some(0), "{url} {variables:?}: {printed}");
        assert!(
            printed.contains(&format!("{table} on PostgreSQL")),
            "{url} {variables:?}: {printed}"
        );
    }
    for (query, variables, says) in [
        ("?sslmod=require", vec![], "did you mean sslmode?"),
        ("?options=-cstatement_timeout%3D5", vec![], "statement_timeout"),
        ("", vec![("PGOPTIONS", "-c work_mem=1GB")], "work_mem"),
        ("", vec![("PGREQUIREAUTH", "scram-sha-256")], "PGREQUIREAUTH"),
        ("?channel_binding=require", vec![], "channel_binding"),
        ("?sslcrl=/x", vec![], "sslcrl"),
        ("?host=a,b", vec![], "several servers"),
    ] {
        let (code, printed) = plan(&format!("{url}{query}"), &variables);
        assert_eq!(code, Some(2), "{query} {variables:?}: {printed}");
        assert!(printed.contains(says), "{query} {variables:?}: {printed}");
    }
}
