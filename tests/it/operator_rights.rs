//! Who may steer: an account with the documented rights and no other, which can do nothing but that.

use crate::orders::place::{ADD, On, Place};

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_account_steers_and_sees_and_can_do_nothing_else() {
    for place in Place::all().await {
        let mut run = place.slow(&[]).await;
        let (user, url) = place.account("ops").await;
        // Without rights it is told which ones it needs.
        for order in [&["pause", "t"][..], &["set", "t", "threads=2"]] {
            let (code, printed) = place.osc_at(&url, order);
            assert_eq!(code, Some(4), "{printed}");
            assert!(printed.contains("[order-rights]"), "{printed}");
            assert!(
                printed.contains("GRANT INSERT (run, verb, arguments, host, why, expires)"),
                "{printed}"
            );
            assert!(printed.contains(&user), "{printed}");
        }
        place.grant(&user).await;
        place.order_at(&url, &["pause", "t"]);
        place.order_at(&url, &["resume", "t"]);
        let status = place.status_at(&url);
        assert_eq!(status["orders"].as_array().map(Vec::len), Some(2), "{status:#}");

        let (ledger, number) = (&place.ledger, place.number().await);
        for sql in [
            format!("UPDATE {ledger}.osc_order SET answer = 'x'"),
            format!("DELETE FROM {ledger}.osc_order"),
            format!(
                "INSERT INTO {ledger}.osc_order (run, verb, who) VALUES ({number}, 'pause', 'root')"
            ),
            format!(
                "INSERT INTO {ledger}.osc_order (run, verb, made) VALUES ({number}, 'pause', NULL)"
            ),
            format!(
                "INSERT INTO {ledger}.osc_order (run, verb, answer) VALUES ({number}, 'pause', 'x')"
            ),
            format!("UPDATE {ledger}.osc_ledger SET result = 'done'"),
            format!("DELETE FROM {ledger}.osc_sample"),
            format!("CREATE TABLE {ledger}.x (id INT)"),
            format!("SELECT * FROM {}", place.table()),
        ] {
            let denied = place.sql_at(&url, &sql).await.expect_err(&sql);
            assert!(denied.contains("denied"), "{} {sql}: {denied}", place.name());
        }
        for command in [&["alter", "t", ADD][..], &["cleanup", "t", "--yes"]] {
            let (code, printed) = place.osc_at(&url, command);
            assert_eq!(code, Some(4), "{command:?}: {printed}");
        }
        // With the rights granted, osc itself trusts its ledger.
        place.order(&["set", "t", "max_rows_per_second=1000000"]);
        run.phase("hold").await;
        place.order_at(&url, &["cut-over", "t"]);
        run.done().await;
        assert_eq!(place.status_at(&url)["state"], "done");
        let (code, printed) = place.osc(&["plan", "t", "ADD COLUMN more INT"]);
        assert_eq!(code, Some(0), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_insert_and_select_on_the_orders_is_refused() {
    for place in Place::all().await {
        let (code, printed) = place.osc(&["alter", "t", "ADD COLUMN x INT", "--strategy", "copy"]);
        assert_eq!(code, Some(0), "{printed}");
        let (user, _) = place.account("ops").await;
        place.grant(&user).await;
        let table = format!("{}.osc_order", place.ledger);
        place.sql(&format!("GRANT INSERT ON {table} TO {user}")).await;
        let plan = ["plan", "t", "ADD COLUMN more INT"];
        assert_eq!(place.osc(&plan).0, Some(0));
        for right in ["UPDATE", "DELETE"] {
            place.sql(&format!("GRANT {right} ON {table} TO {user}")).await;
            let (code, printed) = place.osc(&plan);
            assert_eq!(code, Some(4), "{right}: {printed}");
            assert!(printed.contains(&user) && printed.contains("REVOKE"), "{printed}");
            place.sql(&format!("REVOKE {right} ON {table} FROM {user}")).await;
        }
        let sample = format!("{}.osc_sample", place.ledger);
        place.sql(&format!("GRANT INSERT ON {sample} TO {user}")).await;
        assert_eq!(place.osc(&plan).0, Some(4));
        place.sql(&format!("REVOKE INSERT ON {sample} FROM {user}")).await;
        // What runs as osc when it reads or answers.
        let (make, drop) = match place.server {
            On::Mysql(_) => (
                format!(
                    "CREATE TRIGGER {}.bad BEFORE UPDATE ON {table} FOR EACH ROW SET @x = 1",
                    place.ledger
                ),
                format!("DROP TRIGGER {}.bad", place.ledger),
            ),
            On::Postgres(_) => (
                format!("ALTER TABLE {table} ALTER COLUMN host SET DEFAULT version()"),
                format!(
                    "ALTER TABLE {table} ALTER COLUMN host SET DEFAULT pg_catalog.host(pg_catalog.inet_client_addr())"
                ),
            ),
        };
        if let On::Mysql(server) = place.server {
            server.exec("SET GLOBAL log_bin_trust_function_creators = 1").await;
        }
        place.sql(&make).await;
        let (code, printed) = place.osc(&plan);
        assert_eq!(code, Some(4), "{printed}");
        place.sql(&drop).await;
        assert_eq!(place.osc(&plan).0, Some(0));
        if let On::Mysql(server) = place.server {
            server.exec("SET GLOBAL log_bin_trust_function_creators = 0").await;
        }
    }
}
