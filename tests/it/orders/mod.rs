//! A run is steered by orders in the ledger: from other hosts, by several people, by SQL alone.

pub(crate) mod place;

use std::time::{Duration, Instant};

use place::{ADD, Place};
use serde_json::Value;

use crate::cli_run::Run;
use crate::support;

fn setting(status: &Value, key: &str) -> (String, Value) {
    let all = status["snapshot"]["settings"].as_array().unwrap();
    let found = all.iter().find(|setting| setting["key"] == key).unwrap();
    (found["value"].as_str().unwrap_or_default().to_owned(), found["origin"].clone())
}

fn holders(status: &Value) -> Vec<String> {
    let all = status["snapshot"]["held_by"].as_array().unwrap();
    all.iter().map(|holder| holder["what"].as_str().unwrap().to_owned()).collect()
}

fn is_throttled(line: &Value) -> bool {
    line["event"] == "throttled" && line["reason"].is_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_steers_a_run_and_two_people_contradict_each_other() {
    for place in Place::all().await {
        let mut run = place.slow(&[]).await;
        let (ann, ann_url) = place.account("ann").await;
        let (bob, bob_url) = place.account("bob").await;
        place.grant(&ann).await;
        place.grant(&bob).await;

        let paused = place.order_at(&ann_url, &["pause", "t", "--why", "peak hours"]);
        assert_eq!(paused, "the copy is paused, and the run does not cut over");
        run.event(is_throttled).await;
        let status = place.status_where(|status| status["state"] == "paused").await;
        assert!(holders(&status)[0].contains("peak hours"), "{status:#}");
        assert_eq!(
            status["snapshot"]["held_by"][0]["lift"],
            format!("osc resume {}", place.table())
        );

        let resumed = place.order_at(&bob_url, &["resume", "t"]);
        assert!(resumed.starts_with("lifted order ") && resumed.contains(&ann), "{resumed}");
        assert!(resumed.ends_with("nothing holds the run now"), "{resumed}");
        run.event(|line| line["event"] == "throttled" && line["reason"].is_null()).await;

        place.order_at(&ann_url, &["set", "t", "threads=2", "chunk_time=300ms"]);
        let set = place.order_at(&bob_url, &["set", "t", "threads=3"]);
        assert!(set.starts_with("threads is 3, before 2 (order "), "{set}");
        let status = place.status_where(|status| setting(status, "threads").0 == "3").await;
        let (_, origin) = setting(&status, "threads");
        assert!(origin["from"] == "order", "{origin}");
        assert!(origin["who"].as_str().unwrap().starts_with(&bob), "{origin}");
        assert_eq!(setting(&status, "max_rows_per_second").1["from"], "command-line");
        assert_eq!(setting(&status, "max_lag").1["from"], "default");

        place.order(&["set", "t", "max_rows_per_second=1000000"]);
        run.phase("hold").await;
        let status = place.status_where(|status| status["state"] == "holding").await;
        assert_eq!(holders(&status), ["on hold (command line)"]);
        assert!(!place.is_changed().await);
        let permitted = place.order_at(&ann_url, &["cut-over", "t", "--why", "release 42"]);
        assert!(permitted.starts_with("the cut-over is permitted"), "{permitted}");
        let ended = run.end().await;
        assert_eq!(ended.code, Some(0), "{} {ended:?}", place.name());
        assert!(ended.tells("order", "release 42"), "{ended:?}");
        assert!(place.is_changed().await);

        // The record: who, from where, why, and the answers.
        let status = place.status();
        let orders = status["orders"].as_array().unwrap();
        assert_eq!(orders.len(), 5, "the last ones: {orders:#?}");
        let last = orders.last().unwrap();
        assert_eq!((&last["verb"], &last["why"]), (&"cut-over".into(), &"release 42".into()));
        assert!(last["who"].as_str().unwrap().starts_with(&ann), "{last}");
        assert!(last["answer"].as_str().unwrap().starts_with("accepted: "), "{last}");
        assert_eq!(place.answers().await.len(), 6);
        let (_, printed) = place.osc(&["status", "t"]);
        assert!(printed.contains("(release 42): cut-over: accepted"), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_alone_steers_a_run() {
    for place in Place::all().await {
        let mut run = place.slow(&[]).await;
        let (user, url) = place.account("ops").await;
        place.grant(&user).await;
        let (number, table) = (place.number().await, format!("{}.osc_order", place.ledger));
        let pause =
            format!("INSERT INTO {table} (run, verb, why) VALUES ({number}, 'pause', 'by hand')");
        place.sql_at(&url, &pause).await.unwrap();
        let paused = run.event(is_throttled).await;
        assert!(paused["reason"].as_str().unwrap().contains("by hand"), "{paused}");
        for (verb, arguments) in
            [("resume", "NULL"), ("set", "'max_rows_per_second=1000000'"), ("cut-over", "NULL")]
        {
            let insert = format!(
                "INSERT INTO {table} (run, verb, arguments) VALUES ({number}, '{verb}', {arguments})"
            );
            place.sql_at(&url, &insert).await.unwrap();
        }
        run.done().await;
        let answers = place.answers().await;
        assert!(answers.iter().all(|(_, answer)| answer.starts_with("accepted: ")), "{answers:?}");
        // What the server knows it fills in.
        let who = place.rows(&format!("SELECT DISTINCT who FROM {table}")).await;
        assert!(who.len() == 1 && who[0][0].starts_with(&user), "{who:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_expires_by_itself() {
    for place in Place::all().await {
        let mut run = place.slow(&[]).await;
        place.order(&["pause", "t", "--for", "3s"]);
        place.order(&["set", "t", "threads=7", "--for", "3s"]);
        run.event(is_throttled).await;
        let begun = Instant::now();
        run.event(|line| line["event"] == "throttled" && line["reason"].is_null()).await;
        assert!(begun.elapsed() < Duration::from_secs(6), "{}", place.name());
        let status = place.status_where(|status| setting(status, "threads").0 == "1").await;
        assert_eq!(setting(&status, "threads").1["from"], "command-line");
        // Permission lapses, too.
        place.order(&["cut-over", "t", "--for", "1s"]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        place.order(&["set", "t", "max_rows_per_second=1000000"]);
        run.phase("hold").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!place.is_changed().await, "{}", place.name());
        place.order(&["cut-over", "t"]);
        run.done().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_an_earlier_attempt_do_not_act_on_the_next() {
    for place in Place::all().await {
        let run = place.slow(&[]).await;
        place.order(&["pause", "t"]);
        place.order(&["set", "t", "threads=7"]);
        run.kill();
        let number = place.number().await;
        // Nobody is there to answer.
        let (code, message) = place.refused(&["cut-over", "t"]);
        assert_eq!(code, "no-attempt", "{message}");
        assert_eq!(place.answers().await.len(), 2, "no row is left that would act later");
        for verb in ["cut-over", "abort"] {
            let sql = format!(
                "INSERT INTO {}.osc_order (run, verb) VALUES ({number}, '{verb}')",
                place.ledger
            );
            place.sql(&sql).await;
        }
        let mut run = place.run(&["--hold"]);
        run.event(|line| line["event"] == "resumed").await;
        run.phase("hold").await;
        place.all_answered().await;
        let answers = place.answers().await;
        for (verb, answer) in &answers[2..] {
            assert_eq!(answer, "expired: made before this attempt began", "{verb}");
        }
        let status = place.status_where(|status| status["state"] == "holding").await;
        assert_eq!(setting(&status, "threads").1["from"], "default", "{status:#}");
        assert!(!place.is_changed().await);
        place.order(&["cut-over", "t"]);
        run.done().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_an_order_aborts_is_resumed_by_the_same_command() {
    for place in Place::all().await {
        let run = place.slow(&[]).await;
        let answer = place.order(&["abort", "t", "--why", "not today"]);
        assert_eq!(answer, "the run stops; the same command resumes it");
        let ended = run.end().await;
        assert_eq!(ended.code, Some(3), "{} {ended:?}", place.name());
        let status = place.status();
        assert_eq!(status["state"], "stopped", "{status:#}");
        assert!(status["snapshot"]["rows_copied"].as_u64().unwrap() > 0, "{status:#}");
        let mut run = place.run(&["--hold"]);
        run.event(|line| line["event"] == "resumed").await;
        run.phase("hold").await;
        place.order(&["cut-over", "t"]);
        run.done().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_the_servers_own_method_waits_for_an_order_too() {
    for place in Place::all().await {
        let arguments = ["t", ADD, "--strategy", "instant", "--hold", "--ledger", &place.ledger];
        let mut run = Run::plainly(&place.url, &arguments);
        run.phase("hold").await;
        let status = place.status_where(|status| status["state"] == "holding").await;
        assert_eq!(holders(&status), ["on hold (command line)"]);
        // Killed, it leaves nothing in the way of another change.
        run.kill();
        assert_eq!(place.refused(&["cut-over", "t"]).0, "no-attempt");
        let other = [
            "t",
            "ADD COLUMN other INT",
            "--strategy",
            "copy",
            "--hold",
            "--ledger",
            &place.ledger,
        ];
        let mut run = Run::plainly(&place.url, &other);
        run.phase("hold").await;
        place.order(&["abort", "t"]);
        assert_eq!(run.end().await.code, Some(3), "{}", place.name());
        let (code, printed) = place.osc(&["cleanup", "t", "--yes"]);
        assert_eq!(code, Some(0), "{printed}");

        let mut run = Run::plainly(&place.url, &arguments);
        run.phase("hold").await;
        place.order(&["pause", "t"]);
        let permitted = place.order(&["cut-over", "t"]);
        assert!(permitted.contains("still held by: paused by order"), "{permitted}");
        assert!(!place.is_changed().await);
        place.order(&["resume", "t"]);
        run.done().await;
        assert!(place.is_changed().await);
        let status = place.status();
        assert_eq!((&status["method"], &status["state"]), (&"instant".into(), &"done".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_is_steered_too() {
    for place in Place::all().await {
        let (code, printed) = place.osc(&["alter", "t", ADD, "--strategy", "copy"]);
        assert_eq!(code, Some(0), "{printed}");
        let arguments = ["t", "--hold", "--ledger", &place.ledger];
        let mut run = Run::command(support::osc(), "revert", &place.url, &arguments);
        run.phase("hold").await;
        assert!(place.is_changed().await);
        let permitted = place.order(&["cut-over", "t"]);
        assert!(permitted.starts_with("the cut-over is permitted"), "{permitted}");
        run.done().await;
        assert!(!place.is_changed().await, "{}", place.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_are_kept_and_a_followed_status_ends_with_the_run() {
    for place in Place::all().await {
        let (code, printed) = place.osc(&["alter", "t", "ADD COLUMN x INT", "--strategy", "copy"]);
        assert_eq!(code, Some(0), "{printed}");
        // An earlier run's, from long ago: forgotten when the next begins.
        let old = format!(
            "INSERT INTO {ledger}.osc_sample (server, run, at, series) \
             SELECT server, 1, '2020-01-01 00:00:00', '{{}}' FROM {ledger}.osc_sample",
            ledger = place.ledger
        );
        place.sql(&old).await;
        let mut run = place.slow(&[]).await;
        let number = place.number().await;
        // This run's own, beyond the last 10,000: forgotten at the next sample.
        let early = match place.server {
            place::On::Mysql(_) => "UTC_TIMESTAMP() - INTERVAL 2 DAY",
            place::On::Postgres(_) => "now() - interval '2 days'",
        };
        let early = format!(
            "INSERT INTO {ledger}.osc_sample (server, run, at, series) SELECT server, {number}, {early}, '{{}}' \
             FROM {ledger}.osc_sample WHERE run = {number}",
            ledger = place.ledger
        );
        place.sql(&early).await;
        let follower = {
            let place = place.clone();
            tokio::task::spawn_blocking(move || place.osc(&["status", "t", "--follow"]))
        };
        tokio::time::sleep(Duration::from_secs(11)).await;
        place.order(&["set", "t", "max_rows_per_second=1000000"]);
        run.phase("hold").await;
        place.order(&["cut-over", "t"]);
        run.done().await;
        let (code, printed) = follower.await.unwrap();
        assert_eq!(code, Some(0), "{printed}");
        assert!(printed.lines().count() >= 4 && printed.contains("rows/s"), "{printed}");
        assert!(printed.trim_end().ends_with("done"), "{printed}");
        let empty =
            format!("SELECT COUNT(*) FROM {}.osc_sample WHERE series = '{{}}'", place.ledger);
        assert_eq!(place.value(&empty).await, "0", "{}", place.name());
        let of = |what: &str| {
            format!(
                "SELECT {what} FROM {}.osc_sample WHERE run = {number} ORDER BY at",
                place.ledger
            )
        };
        let series = place.rows(&of("series")).await;
        assert!(series.len() >= 2, "{} {series:?}", place.name());
        let copied = |row: &Vec<String>| {
            let series: Value = serde_json::from_str(&row[0]).unwrap();
            series["rows_copied"].as_u64().unwrap()
        };
        assert!(series.windows(2).all(|pair| copied(&pair[0]) < copied(&pair[1])), "{series:?}");
        let pictures = place.rows(&of("picture")).await;
        let kept = pictures.iter().filter(|row| row[0] != "NULL").count();
        assert_eq!(kept, 1, "only the last has the picture");
    }
}
