//! What answers is recognised before anything is written: real Galera, Group Replication, PgBouncer and
//! pgpool-II. The engines that cannot be run here are recognised by scripted answers, in the unit tests of
//! `mysql/connection/recognise.rs` and `postgres/connection/recognise.rs`.

use crate::cli_run::streams;
use crate::support;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::datadir::SCRIPT;
use crate::support::osc as program;
use crate::support::postgres::{Major, Postgres};
use crate::support::process::Process;
use crate::support::server::{Kind, Server};
use crate::support::twin::{KeyKind, Twin};
use crate::support::writers::Writers;
use tokio_postgres::Client;

fn osc(url: &str, arguments: &[&str]) -> Output {
    program().args(arguments).args(["--url", url]).output().unwrap()
}

/// `plan`, `alter` by each method and `cleanup` are refused, with these words.
fn refused(url: &str, clauses: &str, check: &str, words: &[&str]) {
    for command in [
        vec!["plan", "t", clauses],
        vec!["alter", "t", clauses, "--yes"],
        vec!["alter", "t", clauses, "--yes", "--strategy", "instant"],
        vec!["alter", "t", clauses, "--yes", "--strategy", "copy", "--treat-as", "mysql"],
        vec!["cleanup", "t", "--yes", "--now"],
    ] {
        let output = osc(url, &command);
        let text = streams(&output);
        assert_eq!(output.status.code(), Some(4), "{command:?}: {text}");
        for word in [&[&*format!("[{check}]"), "help:"], words].concat() {
            assert!(text.contains(word), "{command:?} lacks {word:?}: {text}");
        }
    }
}

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, v INT) ENGINE=InnoDB";

async fn nothing_written(server: &Server, database: &str) {
    let databases =
        server.value("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'osc'");
    assert_eq!(databases.await, "0", "osc's own database is there");
    let tables = server.rows(&format!("SHOW TABLES FROM {database}")).await;
    assert_eq!(tables, [["t"]]);
}

/// Waits until a query gives this value.
async fn becomes(server: &Server, sql: &str, wanted: &str) {
    let begun = Instant::now();
    while server.value(sql).await != wanted {
        assert!(begun.elapsed() < Duration::from_secs(60), "{sql}: not {wanted}: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn has_table(server: &Server, database: &str) {
    let sql =
        format!("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{database}'");
    becomes(server, &sql, "1").await;
}

/// A node of a cluster; `peer` is another one's port of the group.
fn node(library: &str, peer: Option<u16>) -> (Server, u16) {
    let (group, ist) = (support::server::free_port(), support::server::free_port());
    let peer = peer.map(|port| format!("127.0.0.1:{port}")).unwrap_or_default();
    let options = [
        "--wsrep-on=ON".to_owned(),
        format!("--wsrep-provider={library}"),
        "--wsrep-cluster-name=osc".into(),
        format!("--wsrep-cluster-address=gcomm://{peer}"),
        "--wsrep-node-address=127.0.0.1".into(),
        "--wsrep-sst-method=same".into(),
        format!(
            "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{group};\
             ist.recv_addr=127.0.0.1:{ist};gcache.size=16M"
        ),
        "--innodb-autoinc-lock-mode=2".into(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    (Server::start_with(Kind::Mariadb, &options), group)
}

fn status(name: &str) -> String {
    let from = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME";
    format!("{from} = '{name}'")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_of_a_galera_cluster_is_refused_and_nothing_is_written() {
    let library = Command::new(SCRIPT).args(["library", "galera"]).output().unwrap();
    assert!(library.status.success(), "{}", streams(&library));
    let library = String::from_utf8(library.stdout).unwrap();
    let (first, group) = node(library.trim(), None);
    becomes(&first, &status("wsrep_ready"), "ON").await;
    let nodes = [first, node(library.trim(), Some(group)).0, node(library.trim(), Some(group)).0];
    for node in &nodes {
        becomes(node, &status("wsrep_cluster_size"), "3").await;
        becomes(node, &status("wsrep_local_state_comment"), "Synced").await;
    }
    let database = support::database(&nodes[0]).await;
    nodes[0].exec_in(&database, TABLE).await;
    for node in &nodes {
        has_table(node, &database).await;
    }
    let written = nodes[0].value(&status("wsrep_last_committed")).await;
    let words = ["Galera cluster", "LOCK TABLES", "wsrep_OSU_method"];
    for node in &nodes {
        refused(&node.url(&database), "ADD COLUMN c INT", "galera", &words);
        nothing_written(node, &database).await;
        assert_eq!(node.value(&status("wsrep_last_committed")).await, written);
    }
}

/// A replication group. All members begin with the same data.
async fn group(single_primary: bool, size: usize) -> Vec<Server> {
    let ports: Vec<u16> = (0..size).map(|_| support::server::free_port()).collect();
    let seeds: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let (single, everywhere) = if single_primary { ("ON", "OFF") } else { ("OFF", "ON") };
    let mut members = Vec::new();
    for place in &seeds {
        let options = [
            "--plugin-load-add=group_replication.so".to_owned(),
            "--report-host=127.0.0.1".into(),
            "--loose-group-replication-group-name=6c1b4ad5-3f5e-4b8e-9f6f-0c1d2e3f4a5b".into(),
            format!("--loose-group-replication-local-address={place}"),
            format!("--loose-group-replication-group-seeds={}", seeds.join(",")),
            "--loose-group-replication-start-on-boot=OFF".into(),
            "--loose-group-replication-recovery-get-public-key=ON".into(),
            format!("--loose-group-replication-single-primary-mode={single}"),
            format!("--loose-group-replication-enforce-update-everywhere-checks={everywhere}"),
            "--loose-group-replication-ip-allowlist=127.0.0.1/32".into(),
        ];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let server = Server::start_with(Kind::Mysql, &options);
        let first = members.is_empty();
        if first {
            server.exec("SET GLOBAL group_replication_bootstrap_group = ON").await;
        }
        server.exec("START GROUP_REPLICATION USER = 'root'").await;
        let state = "SELECT MEMBER_STATE FROM performance_schema.replication_group_members \
                     WHERE MEMBER_ID = @@server_uuid";
        becomes(&server, state, "ONLINE").await;
        if first {
            server.exec("SET GLOBAL group_replication_bootstrap_group = OFF").await;
        }
        members.push(server);
    }
    members
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_several_primaries_is_refused_and_nothing_is_written() {
    let members = group(false, 2).await;
    let database = support::database(&members[0]).await;
    members[0].exec_in(&database, TABLE).await;
    has_table(&members[1], &database).await;
    let written = members[0].value("SELECT @@GLOBAL.gtid_executed").await;
    let words = ["several primaries", "group_replication_switch_to_single_primary_mode"];
    for member in &members {
        refused(&member.url(&database), "ADD COLUMN c INT", "group-replication", &words);
        nothing_written(member, &database).await;
        assert_eq!(member.value("SELECT @@GLOBAL.gtid_executed").await, written);
    }
    // Who may not read what the group is cannot learn that it has one primary.
    members[0].exec("CREATE USER plain").await;
    members[0].exec(&format!("GRANT ALL ON {database}.* TO plain")).await;
    let url = members[0].url(&database).replace("root@", "plain@");
    let words = ["GRANT SELECT ON performance_schema.replication_group_members"];
    refused(&url, "ADD COLUMN c INT", "group-replication", &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_a_single_primary_is_named_and_changed_at_its_primary_only() {
    const CLAUSES: &str = "MODIFY n BIGINT, ADD COLUMN added INT NOT NULL DEFAULT 7";
    let members = group(true, 2).await;
    let (primary, secondary) = (&members[0], &members[1]);
    let database = support::database(primary).await;
    let twin = Twin::create(primary, &database, KeyKind::Int, 8_000).await;
    let url = primary.url(&database);
    let plan = osc(&url, &["plan", "t", CLAUSES]);
    let words = ["(Group Replication, single primary, 2 members)", "another member"];
    assert!(words.iter().all(|word| streams(&plan).contains(word)), "{}", streams(&plan));
    let plan = osc(&url, &["plan", "t", CLAUSES, "--json"]);
    let plan = support::schema::read("plan", &String::from_utf8_lossy(&plan.stdout));
    assert_eq!(plan["recognised"], "Group Replication, single primary, 2 members");

    let there = format!("group's primary, 127.0.0.1:{}", primary.port());
    let words = ["a secondary", &there];
    refused(&secondary.url(&database), "MODIFY n BIGINT", "group-replication", &words);

    let writers = Writers::start(&twin, 8, 1);
    writers.wait_for_more(50).await;
    let flags = ["--strategy", "copy", "--yes", "--max-rows-per-second", "4000"];
    let alter = osc(&url, &[&["alter", "t", CLAUSES], &flags[..]].concat());
    assert_eq!(alter.status.code(), Some(0), "{}", streams(&alter));
    writers.wait_for_more(50).await;
    writers.stop().await.assert_undisturbed();
    twin.assert_equal(CLAUSES).await;
    let cleanup = osc(&url, &["cleanup", "t", "--yes", "--now"]);
    assert_eq!(cleanup.status.code(), Some(0), "{}", streams(&cleanup));
}

async fn postgres() -> (&'static Postgres, String) {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    server.exec(&database, "CREATE TABLE t (id int PRIMARY KEY, v int)").await;
    // What osc's sessions set, were they to set anything.
    server.exec(&database, &format!("ALTER DATABASE {database} SET track_counts = off")).await;
    (server, database)
}

/// Neither osc's schema, nor a slot, nor a lock; `url`: nor a setting in a pooled session.
async fn nothing_set(server: &Postgres, database: &str, url: &str) {
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'osc'";
    assert_eq!(server.value(database, schemas).await, "0", "osc's own schema is there");
    let slots = format!("SELECT count(*) FROM pg_replication_slots WHERE database = '{database}'");
    assert_eq!(server.value(database, &slots).await, "0", "a slot was left");
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(server.value(database, locks).await, "0", "a lock stayed with a pooled session");
    for client in held(url).await {
        let sql = "SELECT current_setting('track_counts') || current_setting('lock_timeout')";
        let shown = support::postgres::rows(&client, sql).await;
        assert_eq!(shown, [["off0"]], "a pooled session keeps a setting of osc's");
    }
}

/// As many of a pooler's sessions as it has to give at least, each in a transaction.
async fn held(url: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..POOL {
        let client = support::postgres::connect(url).await.unwrap();
        support::postgres::exec(&client, "BEGIN").await;
        clients.push(client);
    }
    clients
}

/// Backends that a pooler has at most.
const POOL: usize = 2;

/// A pooler's files are read by it as another user.
fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// PgBouncer before the server: its settings beyond the usual ones, and the statement that it begins
/// sessions with.
fn pgbouncer(
    server: &Postgres,
    database: &str,
    settings: &str,
    begun: &str,
) -> (Process, String, tempfile::TempDir) {
    let folder = folder();
    let port = support::server::free_port();
    let users = folder.path().join("users");
    std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
    let config = folder.path().join("pgbouncer.ini");
    let begun = if begun.is_empty() { String::new() } else { format!(" connect_query='{begun}'") };
    let text = format!(
        "[databases]\n* = host=127.0.0.1 port={}{begun}\n[pgbouncer]\n\
         listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n\
         auth_file = {}\ndefault_pool_size = {POOL}\n{settings}",
        server.port(),
        users.display()
    );
    std::fs::write(&config, text).unwrap();
    let arguments = ["run".into(), "pgbouncer".into(), config.display().to_string()];
    let process = Process::start(SCRIPT, &arguments, "process up").unwrap();
    (process, format!("postgres://postgres@127.0.0.1:{port}/{database}"), folder)
}

fn refused_as_pooler(url: &str, what: &str) {
    for arguments in [
        vec!["plan", "t", "ALTER v TYPE bigint"],
        vec!["alter", "t", "ALTER v TYPE bigint", "--yes"],
        vec!["cleanup", "t", "--yes", "--now"],
    ] {
        let output = osc(url, &arguments);
        assert_eq!(output.status.code(), Some(4), "{what:?}: {}", streams(&output));
        for word in ["[pooler]", "connect to PostgreSQL itself"] {
            assert!(streams(&output).contains(word), "{what:?}: {}", streams(&output));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_is_refused_and_keeps_nothing() {
    let (server, database) = postgres().await;
    let ignored = "ignore_startup_parameters = extra_float_digits,options";
    for mode in ["transaction", "session"] {
        // As it comes; and set to pass over what osc connects with.
        for settings in ["", ignored] {
            let settings = format!("pool_mode = {mode}\n{settings}\n");
            let (_bouncer, url, _folder) = pgbouncer(server, &database, &settings, "");
            refused_as_pooler(&url, &settings);
            nothing_set(server, &database, &url).await;
        }
    }
}

/// One through which the settings arrive is found by the sessions that take each other's backends,
/// whichever backend it gives next.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_hands_settings_on_is_refused_and_keeps_nothing() {
    let (server, database) = postgres().await;
    let begun = "SET search_path = pg_catalog, pg_temp; SET row_security = off";
    for turns in ["0", "1"] {
        for backends in [1, POOL] {
            let settings = format!(
                "pool_mode = transaction\nserver_round_robin = {turns}\n\
                 ignore_startup_parameters = extra_float_digits,options\n"
            );
            let (_bouncer, url, _folder) = pgbouncer(server, &database, &settings, begun);
            // So many are idle then.
            for client in held(&url).await.into_iter().take(backends) {
                support::postgres::exec(&client, "ROLLBACK").await;
            }
            refused_as_pooler(&url, &settings);
            nothing_set(server, &database, &url).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pgpool_is_refused() {
    let (server, database) = postgres().await;
    let folder = folder();
    let (port, pcp) = (support::server::free_port(), support::server::free_port());
    let config = folder.path().join("pgpool.conf");
    let place = folder.path().display();
    let text = format!(
        "backend_clustering_mode = 'raw'\nlisten_addresses = '127.0.0.1'\nport = {port}\n\
         unix_socket_directories = '{place}'\npcp_listen_addresses = '127.0.0.1'\npcp_port = {pcp}\n\
         pcp_socket_dir = '{place}'\nwork_dir = '{place}'\npid_file_name = '{place}/pgpool.pid'\n\
         logdir = '{place}'\nbackend_hostname0 = '127.0.0.1'\nbackend_port0 = {}\nbackend_weight0 = 1\n\
         enable_pool_hba = off\nnum_init_children = 6\nsr_check_period = 0\n",
        server.port()
    );
    std::fs::write(&config, text).unwrap();
    std::fs::write(folder.path().join("pcp.conf"), "").unwrap();
    let arguments = ["run".into(), "pgpool".into(), config.display().to_string()];
    let mut pool = Process::start(SCRIPT, &arguments, "successfully started").unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{port}/{database}");
    refused_as_pooler(&url, "pgpool");
    let output = osc(&url, &["plan", "t", "ALTER v TYPE bigint"]);
    assert!(streams(&output).contains("pgpool-II"), "{}", streams(&output));
    nothing_set(server, &database, &url).await;
    // Its children end with it where it ends in order.
    assert!(pool.end(rustix::process::Signal::INT));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_servers_are_recognised_as_nothing_else() {
    let plain = |url: &str, clauses: &str| {
        let output = osc(url, &["plan", "t", clauses, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", streams(&output));
        let plan = support::schema::read("plan", &String::from_utf8_lossy(&output.stdout));
        assert!(plan["recognised"].is_null(), "{plan}");
    };
    for kind in Kind::ALL {
        let server = support::shared(kind);
        let database = support::database(server).await;
        server.exec_in(&database, TABLE).await;
        plain(&server.url(&database), "MODIFY v BIGINT");
    }
    for major in Major::installed() {
        let server = Postgres::start(major);
        server.exec("postgres", "CREATE TABLE t (id int PRIMARY KEY, v int)").await;
        plain(&server.url("postgres"), "ALTER v TYPE bigint");
    }
}
