//! Orders that do nothing: nonsense, too late, to nobody; and a ledger that orders cannot be read from.

use crate::orders::place::{On, Place};

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_and_does_nothing() {
    for place in Place::all().await {
        let mut run = place.slow(&[]).await;
        let (number, table) = (place.number().await, format!("{}.osc_order", place.ledger));
        let (user, url) = place.account("ops").await;
        place.grant(&user).await;
        let long = "x".repeat(100_000);
        for (verb, arguments, why) in [
            ("explode", "", "unknown verb"),
            ("<img src=x onerror=alert(1)>", "<b>", "HTML"),
            ("'; DROP TABLE t", "\"; --", "quotes"),
            ("set", "thrads=2", "unknown key"),
            ("set", "threads=0", "bad value"),
            ("set", "threads=2'; DROP TABLE t; --", "quotes"),
            ("set", "threads=`id`$(id)", "a shell"),
            ("set", &long, "100 kB"),
            ("set", "pause=true", "no setting"),
            ("pause", "now", "arguments where there are none"),
            ("PAUSE", "", "no word in capitals"),
            ("", "", "nothing"),
        ] {
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "''");
            let sql = format!(
                "INSERT INTO {table} (run, verb, arguments, why) VALUES ({number}, '{}', '{}', '{why} {}')",
                quoted(verb),
                quoted(arguments),
                if why == "100 kB" { &long } else { "" },
            );
            place.sql_at(&url, &sql).await.unwrap_or_else(|error| panic!("{why}: {error}"));
        }
        // Times that no calendar has.
        let odd = match place.server {
            On::Mysql(_) => "'9999-12-31 23:59:59'",
            On::Postgres(_) => "'infinity'",
        };
        let sql =
            format!("INSERT INTO {table} (run, verb, expires) VALUES ({number}, 'set', {odd})");
        place.sql_at(&url, &sql).await.unwrap();
        let sql = format!(
            "INSERT INTO {table} (run, verb, expires) VALUES ({number}, 'abort', '2020-01-01 00:00:00')"
        );
        place.sql_at(&url, &sql).await.unwrap();
        // For runs that are not there, or of another server.
        let sql = format!("INSERT INTO {table} (run, verb) VALUES (-5, 'abort')");
        place.sql_at(&url, &sql).await.unwrap();
        let sql = format!(
            "INSERT INTO {table} (run, verb, server) VALUES ({number}, 'abort', 'another server')"
        );
        place.sql(&sql).await;

        let (code, message) = place.refused(&["set", "t", "threads=many"]);
        assert_eq!(code, "order-refused", "{message}");
        assert!(message.contains("threads: "), "{message}");
        let answers = place.answers().await;
        assert_eq!(answers.len(), 17);
        for (at, (verb, answer)) in answers.iter().enumerate() {
            match at {
                13 => assert!(answer.starts_with("expired: "), "{verb}: {answer}"),
                14 | 15 => assert_eq!(answer, "NULL", "{verb}"),
                _ => assert!(answer.starts_with("refused: "), "{verb}: {answer}"),
            }
            assert!(answer.len() < 300, "{answer}");
        }
        let status = place.status();
        assert_eq!(status["state"], "running", "{status:#}");
        let settings = status["snapshot"]["settings"].as_array().unwrap();
        assert!(settings.iter().all(|setting| setting["origin"]["from"] != "order"), "{status:#}");
        place.order(&["set", "t", "max_rows_per_second=1000000", "cut_over=now"]);
        let warnings = run.event(|line| line["event"] == "summary").await["warnings"].to_string();
        assert_eq!(warnings, "[]", "{}", place.name());
        assert_eq!(run.end().await.code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_without_an_attempt_is_refused_and_leaves_no_row() {
    for place in Place::all().await {
        for order in ["pause", "resume", "cut-over", "abort"] {
            // There is no ledger yet.
            let (code, printed) = place.osc(&[order, "t"]);
            assert_eq!(code, Some(4), "{printed}");
        }
        let mut run = place.run(&[]);
        run.event(|line| line["event"] == "summary").await;
        assert_eq!(run.end().await.code, Some(0));
        for order in [&["pause", "t"][..], &["set", "t", "threads=2"]] {
            let (code, message) = place.refused(order);
            assert_eq!(code, "no-attempt");
            assert!(message.contains("no attempt of a run on"), "{message}");
        }
        assert!(place.answers().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_read_its_orders_warns_and_comes_to_its_end() {
    for place in Place::all().await {
        let slow = ["--max-rows-per-second", "300", "--threads", "1"];
        let mut run = place.run(&slow);
        run.event(|line| line["rows_copied"].as_u64().is_some_and(|rows| rows > 0)).await;
        place.order(&["set", "t", "max_rows_per_second=600"]);
        place.sql(&format!("DROP TABLE {}.osc_order", place.ledger)).await;
        let warned = run
            .event(|line| {
                let text = line["text"].as_str().unwrap_or_default();
                line["event"] == "warning" && text.contains("orders cannot be read")
            })
            .await;
        assert!(warned["text"].as_str().unwrap().contains("osc_order"), "{warned}");
        let (code, printed) = place.osc(&["pause", "t"]);
        assert_eq!(code, Some(4), "{printed}");
        let (code, printed) = place.osc(&["status", "t"]);
        assert_eq!(code, Some(0), "{printed}");
        run.done().await;
    }
}

/// As the versions before this one made it.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_from_before_there_were_orders_gets_them() {
    for place in Place::all().await {
        let (code, printed) = place.osc(&["alter", "t", "ADD COLUMN x INT", "--strategy", "copy"]);
        assert_eq!(code, Some(0), "{printed}");
        for table in ["osc_order", "osc_sample"] {
            place.sql(&format!("DROP TABLE {}.{table}", place.ledger)).await;
        }
        let status = place.status();
        assert_eq!(status["state"], "done", "{status:#}");
        let mut run = place.slow(&[]).await;
        place.order(&["set", "t", "max_rows_per_second=1000000"]);
        run.phase("hold").await;
        place.order(&["cut-over", "t"]);
        run.done().await;
    }
}
