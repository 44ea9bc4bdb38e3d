//! The sources of the throttle against real servers.

use crate::support;
use std::time::{Duration, Instant};

use crate::support::server::{Kind, Server};
use mysql_async::Opts;
use mysql_async::prelude::Queryable;
use osc::config::target::{Address, Scheme, Target, Tls, TlsMode};
use osc::control::Directives;
use osc::error::Error;
use osc::mysql::connection::connect::{connect, opts};
use osc::mysql::throttle::replica_lag::ReplicaLag;
use osc::mysql::throttle::status::ServerStatus;
use osc::throttle::lag::Lag;
use osc::throttle::load::Load;
use osc::throttle::probe::{Replicas, StatusProbe};
use osc::throttle::query::Query;
use osc::throttle::{Source, Throttle, Verdict};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

/// On a busy machine an answer may take its time.
const SOON: Duration = Duration::from_secs(15);

fn target(server: &Server) -> Target {
    Target {
        scheme: Scheme::Mysql,
        address: Address::Tcp { host: "127.0.0.1".into(), port: server.port() },
        user: "root".into(),
        password: None,
        database: None,
        tls: Tls { mode: TlsMode::Off, ca: None, cert: None, key: None },
        ledger: osc::config::target::LEDGER.into(),
        wire: Default::default(),
    }
}

fn session(server: &Server) -> Opts {
    opts(&target(server)).unwrap()
}

fn replica_lag(primary: &Server, replica: &Server) -> ReplicaLag {
    ReplicaLag::new(session(primary), [("r".to_owned(), session(replica))])
}

async fn lag(replicas: &mut ReplicaLag) -> osc::error::Result<Duration> {
    replicas.lags().await.unwrap().remove(0).1
}

/// Looks until the verdict is as wanted.
async fn until(source: &mut impl Source, wanted: impl Fn(&Verdict) -> bool) -> Verdict {
    let begun = Instant::now();
    loop {
        let verdict = source.check(&Directives::default()).await;
        if wanted(&verdict) {
            return verdict;
        }
        assert!(begun.elapsed() < SOON, "{verdict:?}");
        tokio::time::sleep(source.period()).await;
    }
}

fn runs(verdict: &Verdict) -> bool {
    *verdict == Verdict::Run
}

fn reason(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Run => "",
        Verdict::Pause(reason) | Verdict::End(reason) => reason,
    }
}

fn words(kind: Kind, statement: &str) -> String {
    let word = if kind == Kind::Mariadb { "SLAVE" } else { "REPLICA" };
    statement.replace("REPLICA", word)
}

async fn a_replica_that_stops_applying_pauses_the_copy_until_it_has_caught_up(kind: Kind) {
    let primary = Server::start(kind);
    let replica = primary.replica().await;
    let source = Lag::new(replica_lag(&primary, &replica), SECOND);
    let directives = watch::Sender::new(Directives::default());
    let throttle =
        Throttle::new(directives.subscribe(), None, &CancellationToken::new()).with(source);
    drop(timeout(SOON, throttle.admit(1)).await.unwrap().unwrap());

    let mut changed = throttle.changed();
    replica.exec(&words(kind, "STOP REPLICA SQL_THREAD")).await;
    timeout(SOON, changed.wait_for(Option::is_some)).await.unwrap().unwrap();
    assert!(throttle.paused().unwrap().contains("SQL thread stopped"), "{:?}", throttle.paused());
    assert!(timeout(SECOND, throttle.admit(1)).await.is_err());
    primary.exec("CREATE DATABASE later").await;
    replica.exec(&words(kind, "START REPLICA SQL_THREAD")).await;
    drop(timeout(SOON, throttle.admit(1)).await.unwrap().unwrap());
    drop(throttle);
}

async fn a_lag_is_measured_to_the_fraction_of_a_second(kind: Kind, how: &[&str], start: &[&str]) {
    let primary = Server::start_with(kind, how);
    primary.exec("CREATE DATABASE d").await;
    primary.exec("CREATE TABLE d.t (id INT PRIMARY KEY, v INT)").await;
    primary.exec("INSERT INTO d.t VALUES (1, 0)").await;
    let replica = if start.is_empty() {
        primary.replica_with(how).await
    } else {
        let replica = Server::start_with(kind, how);
        for sql in start {
            replica.exec(&sql.replace("=PORT", &format!("={}", primary.port()))).await;
        }
        replica
    };
    let mut source = Lag::new(replica_lag(&primary, &replica), SECOND);
    until(&mut source, runs).await;
    // A replica that was never seen to have anything may run for as long as it is young.
    let there = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd'";
    let begun = Instant::now();
    while replica.value(there).await == "0" {
        assert!(begun.elapsed() < SOON, "the replica does not follow");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut replicas = replica_lag(&primary, &replica);
    let healthy = lag(&mut replicas).await.unwrap();
    assert!(healthy < 5 * SECOND, "{healthy:?}");

    // Rotations of a primary where nothing else happens are no lag.
    primary.exec("FLUSH BINARY LOGS").await;
    until(&mut source, runs).await;
    lag(&mut replicas).await.unwrap();

    let mut blocker = replica.conn().await;
    blocker.query_drop("BEGIN").await.unwrap();
    blocker.query_drop("SELECT * FROM d.t WHERE id = 1 FOR UPDATE").await.unwrap();
    let begun = Instant::now();
    primary.exec("UPDATE d.t SET v = 1").await;
    let paused = until(&mut source, |verdict| !runs(verdict)).await;
    assert!(reason(&paused).starts_with("replica r lags 1."), "{paused:?}");
    for _ in 0..10 {
        let reported = lag(&mut replicas).await.unwrap();
        let real = begun.elapsed();
        assert!(reported + SECOND / 4 > real, "{reported:?}, really {real:?}");
        assert!(reported < real + SECOND, "{reported:?}, really {real:?}");
        tokio::time::sleep(SECOND / 5).await;
    }
    blocker.query_drop("COMMIT").await.unwrap();
    until(&mut source, runs).await;
}

async fn gtids_tell_the_lag(kind: Kind) {
    a_lag_is_measured_to_the_fraction_of_a_second(kind, &[], &[]).await;
}

async fn without_gtids_places_in_the_log_tell_the_lag(kind: Kind) {
    let how: &[&str] = match kind {
        Kind::Mariadb => &[],
        Kind::Mysql => &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"],
    };
    let start: &[&str] = match kind {
        Kind::Mariadb => &[
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=PORT, MASTER_USER='root', \
             MASTER_USE_GTID=no",
            "START SLAVE",
        ],
        Kind::Mysql => &[
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=PORT, \
             SOURCE_USER='root', GET_SOURCE_PUBLIC_KEY=1",
            "START REPLICA",
        ],
    };
    a_lag_is_measured_to_the_fraction_of_a_second(kind, how, start).await;
}

async fn a_replica_that_is_gone_or_none_pauses_the_copy(kind: Kind) {
    let primary = Server::start(kind);
    let mut replica = primary.replica().await;
    let mut source = Lag::new(replica_lag(&primary, &replica), SECOND);
    until(&mut source, runs).await;
    replica.kill();
    let paused = until(&mut source, |verdict| !runs(verdict)).await;
    assert!(
        reason(&paused).starts_with("the lag of replica r is not known: connection lost"),
        "{paused:?}"
    );
    replica.kill_and_restart();
    until(&mut source, runs).await;
    let mut none = Lag::new(replica_lag(&primary, &primary), SECOND);
    let paused = none.check(&Directives::default()).await;
    assert!(reason(&paused).contains("no replica"), "{paused:?}");
}

async fn an_error_of_replication_is_reported(kind: Kind) {
    let primary = Server::start(kind);
    primary.exec("CREATE DATABASE d").await;
    primary.exec("CREATE TABLE d.t (id INT PRIMARY KEY)").await;
    let replica = primary.replica().await;
    let mut source = Lag::new(replica_lag(&primary, &replica), SECOND);
    until(&mut source, runs).await;
    replica.exec("INSERT INTO d.t VALUES (1)").await;
    primary.exec("INSERT INTO d.t VALUES (1)").await;
    let paused = until(&mut source, |verdict| reason(verdict).contains("SQL thread")).await;
    // MySQL's coordinator only says which transaction failed.
    let reported = ["Duplicate entry '1'", "failed executing transaction"];
    assert!(reported.iter().any(|reported| reason(&paused).contains(reported)), "{paused:?}");
}

async fn load_pauses_and_when_critical_ends_the_run(kind: Kind) {
    let server = support::shared(kind);
    let check = async |max: &str, critical: &str| {
        let limits = |text: &str| text.split(' ').filter_map(|limit| limit.parse().ok()).collect();
        let mut load = Load::new(ServerStatus::new(session(server)), limits(max), limits(critical));
        let first = load.check(&Directives::default()).await;
        tokio::time::sleep(load.period()).await;
        (first, load.check(&Directives::default()).await)
    };
    let run = (Verdict::Run, Verdict::Run);
    assert_eq!(check("threads_running=1000 Uptime=99999999", "Threads_connected=9999").await, run);
    assert_eq!(check("", "").await, run);
    let (first, second) = check("Threads_connected=0", "").await;
    assert!(matches!((&first, &second), (Verdict::Pause(_), Verdict::Pause(_))));
    assert!(reason(&first).starts_with("Threads_connected is "), "{first:?}");
    let (first, second) = check("", "Threads_connected=0").await;
    assert!(matches!((&first, &second), (Verdict::Pause(_), Verdict::End(_))), "{second:?}");
    let (first, _) = check("No_such_thing=1", "").await;
    assert!(reason(&first).contains("no status variable No_such_thing"), "{first:?}");
}

async fn a_query_pauses_by_its_number_and_can_change_nothing(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    server.exec_in(&database, "CREATE TABLE t (v INT)").await;
    let ask = async |sql: String| {
        let mut query = Query::new(ServerStatus::new(session(server)), sql);
        query.check(&Directives::default()).await
    };
    assert_eq!(ask(format!("SELECT COUNT(*) FROM {database}.t")).await, Verdict::Run);
    assert_eq!(reason(&ask("SELECT 0.5, 0".into()).await), "the throttle query returns 0.5");
    for sql in
        ["SELECT NULL", "SELECT 1 WHERE FALSE", "SELECT 'x'", "SELECT", "SELECT 1 FROM nil.x"]
    {
        assert!(matches!(ask(sql.into()).await, Verdict::Pause(_)), "{sql}");
    }
    let paused = ask(format!("INSERT INTO {database}.t VALUES (1)")).await;
    assert!(reason(&paused).contains("READ ONLY"), "{paused:?}");
    assert_eq!(server.value(&format!("SELECT COUNT(*) FROM {database}.t")).await, "0");
}

async fn a_slow_query_is_given_up_by_the_server(kind: Kind) {
    let server = support::shared(kind);
    let mut probe = ServerStatus::new(session(server));
    let begun = Instant::now();
    let slow = "SELECT COUNT(*) FROM information_schema.columns a, information_schema.columns b, \
                information_schema.columns c WHERE SHA2(CONCAT(a.ordinal_position, \
                b.ordinal_position, c.ordinal_position), 512) = 'x'";
    let error = probe.number(slow).await.unwrap_err();
    assert!(matches!(error, Error::Server { .. }), "{error}");
    assert!(begun.elapsed() < SOON);
    assert_eq!(probe.number("SELECT 7").await.unwrap(), Some(7.0));
}

async fn a_session_that_was_killed_comes_back(kind: Kind) {
    let server = support::shared(kind);
    let mut probe = ServerStatus::new(session(server));
    let id = probe.number("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    server.exec(&format!("KILL {id}")).await;
    let begun = Instant::now();
    let new = loop {
        match probe.number("SELECT CONNECTION_ID()").await {
            Ok(Some(new)) if (new - id).abs() > 0.5 => break new,
            Ok(_) => assert!(begun.elapsed() < SOON),
            Err(error) => assert!(error.is_connection(), "{error}"),
        }
    };
    assert!(new > id);
}

async fn rights_that_are_missing_are_shown_and_passwords_are_not(kind: Kind) {
    let server = support::shared(kind);
    server.exec("CREATE USER weak@'%' IDENTIFIED BY 'pa55word'").await;
    let mut weak = target(server);
    weak.user = "weak".into();
    weak.password = Some(SecretString::from("wr0ng"));
    let login = async |target: &Target| connect(&opts(target).unwrap(), "connecting").await;
    let error = login(&weak).await.unwrap_err();
    assert!(matches!(&error, Error::Refused(findings) if findings[0].check == "login"), "{error}");
    assert!(
        error.to_string().contains("'weak'") && !error.to_string().contains("wr0ng"),
        "{error}"
    );
    weak.password = Some(SecretString::from("pa55word"));
    login(&weak).await.unwrap().disconnect().await.unwrap();

    let weak = opts(&weak).unwrap();
    let error = ReplicaLag::new(weak.clone(), []).lags().await.unwrap_err();
    assert!(matches!(&error, Error::Refused(_)), "{error}");
    let error =
        ServerStatus::new(weak).number("SELECT COUNT(*) FROM mysql.user").await.unwrap_err();
    assert!(error.to_string().contains("grant SELECT there to 'weak'@"), "{error}");
    server.exec("DROP USER weak@'%'").await;
}

on_both_servers! {
    a_replica_that_stops_applying_pauses_the_copy_until_it_has_caught_up
    gtids_tell_the_lag
    without_gtids_places_in_the_log_tell_the_lag
    a_replica_that_is_gone_or_none_pauses_the_copy
    an_error_of_replication_is_reported
    load_pauses_and_when_critical_ends_the_run
    a_query_pauses_by_its_number_and_can_change_nothing
    a_slow_query_is_given_up_by_the_server
    a_session_that_was_killed_comes_back
    rights_that_are_missing_are_shown_and_passwords_are_not
}

/// MySQL makes itself certificates; their name is no host's name.
#[tokio::test]
async fn tls_is_verified_unless_it_is_not_to_be() {
    let server = support::shared(Kind::Mysql);
    let directory = server.value("SELECT @@datadir").await;
    let mut target = target(server);
    let cipher = async |target: &Target| {
        let mut conn = connect(&opts(target)?, "connecting").await?;
        let row: Option<(String, String)> =
            conn.query_first("SHOW STATUS LIKE 'Ssl_cipher'").await.unwrap();
        Ok::<_, Error>(row.unwrap().1)
    };
    assert_eq!(cipher(&target).await.unwrap(), "");
    target.tls.mode = TlsMode::NoVerify;
    assert_ne!(cipher(&target).await.unwrap(), "");
    target.tls.cert = Some(format!("{directory}/client-cert.pem").into());
    target.tls.key = Some(format!("{directory}/client-key.pem").into());
    assert_ne!(cipher(&target).await.unwrap(), "");
    target.tls.mode = TlsMode::Verify;
    for ca in [None, Some(format!("{directory}/ca.pem").into())] {
        target.tls.ca = ca;
        let error = cipher(&target).await.unwrap_err();
        assert!(matches!(&error, Error::Refused(f) if f[0].check == "tls"), "{error}");
    }
}
