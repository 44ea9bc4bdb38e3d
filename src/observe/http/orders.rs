//! `POST /orders`: the orders of `osc pause`, `resume`, `set`, `cut-over` and `abort`. They go the way of all
//! orders, through the ledger, so that the run's record has them and the run treats them alike.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::guard::Guard;
use crate::config::period::Period;
use crate::control::order::{MOST_ARGUMENTS, Verb};
use crate::error::{Error, Result};
use crate::ledger::orders::{Made, NO_ANSWER, NewOrder};
use crate::output::json::Failure;

/// Orders that are on their way at a time.
const MOST_AT_A_TIME: usize = 4;

/// The longest `why` and `by`, in characters.
const MOST_TEXT: usize = 200;

/// The longest `for`.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Makes an order for the run on a table, `None`: the only run, and waits for its answer.
pub(crate) type Orderly =
    Arc<dyn Fn(Option<String>, NewOrder) -> BoxFuture<'static, Result<Made>> + Send + Sync>;

/// Where orders are handed in.
#[derive(Clone)]
pub(super) struct Desk {
    guard: Guard,
    make: Orderly,
    turns: Arc<Semaphore>,
}

impl Desk {
    pub(super) fn new(guard: Guard, make: Orderly) -> Self {
        Self { guard, make, turns: Arc::new(Semaphore::new(MOST_AT_A_TIME)) }
    }
}

/// What is posted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    verb: String,
    #[serde(default)]
    arguments: String,
    why: Option<String>,
    /// Who asks, in their own words.
    by: Option<String>,
    #[serde(rename = "for")]
    lasts: Option<String>,
    /// Of several runs.
    table: Option<String>,
}

/// What became of it: the object that `osc pause --json` prints, without the server.
#[derive(Serialize)]
struct Answered<'a> {
    table: &'a str,
    run: i64,
    order: i64,
    verb: &'static str,
    outcome: &'static str,
    answer: &'a str,
}

/// Takes an order.
pub(super) async fn post(
    State(desk): State<Desk>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !desk.guard.takes_orders() {
        let help = "start osc with --token-file, or use `osc pause` and its like";
        return refused(
            StatusCode::FORBIDDEN,
            "no-token",
            "this osc takes no orders over HTTP",
            help,
        );
    }
    if !desk.guard.may_order(&headers) {
        let ask = [(WWW_AUTHENTICATE, "Bearer")];
        let help = "send it as Authorization: Bearer TOKEN";
        let answer = refused(StatusCode::UNAUTHORIZED, "token", "an order needs the token", help);
        return (ask, answer).into_response();
    }
    let json = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if json.split(';').next().is_none_or(|kind| kind.trim() != "application/json") {
        let help = "send Content-Type: application/json";
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "usage", "an order is JSON", help);
    }
    let (verb, table, order) = match read(&body, from.ip()) {
        Ok(read) => read,
        Err(why) => return refused(StatusCode::BAD_REQUEST, "usage", &why, ""),
    };
    let Ok(_turn) = desk.turns.try_acquire() else {
        let busy = "too many orders are on their way";
        let answer = refused(StatusCode::SERVICE_UNAVAILABLE, "busy", busy, "try again");
        return ([(RETRY_AFTER, "1")], answer).into_response();
    };
    match (desk.make)(table, order).await {
        Ok(made) => match made.accepted() {
            Ok(answer) => {
                let Made { order, run, table, .. } = &made;
                let (run, order, verb) = (*run, *order, verb.word());
                let answered = Answered { table, run, order, verb, outcome: "accepted", answer };
                json_of(StatusCode::OK, &answered)
            }
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error),
    }
}

/// What is asked for.
fn read(
    body: &[u8],
    from: IpAddr,
) -> std::result::Result<(Verb, Option<String>, NewOrder), String> {
    let posted: Posted =
        serde_json::from_slice(body).map_err(|error| format!("this is no order: {error}"))?;
    let Some(verb) = Verb::ALL.into_iter().find(|verb| verb.word() == posted.verb) else {
        let known: Vec<&str> = Verb::ALL.iter().map(|verb| verb.word()).collect();
        return Err(format!("there is no such order; the orders are {}", known.join(", ")));
    };
    let short = |name: &str, text: Option<String>| match text {
        Some(text) if text.chars().nth(MOST_TEXT).is_some() => {
            Err(format!("{name} is longer than {MOST_TEXT} characters"))
        }
        Some(text) if text.chars().any(char::is_control) => {
            Err(format!("{name} has control characters"))
        }
        text => Ok(text.filter(|text| !text.trim().is_empty())),
    };
    if posted.arguments.chars().nth(MOST_ARGUMENTS).is_some() {
        return Err(format!("arguments are longer than {MOST_ARGUMENTS} characters"));
    }
    let lasts = posted.lasts.filter(|lasts| !lasts.trim().is_empty());
    let lasts = lasts.map(|lasts| lasts.parse::<Period>().map_err(|why| format!("for: {why}")));
    let lasts = lasts.transpose()?.map(Period::get);
    if lasts.is_some_and(|lasts| lasts > LONGEST) {
        return Err("for is longer than a year".into());
    }
    let by = short("by", posted.by)?.map_or_else(String::new, |by| format!("{by} "));
    let order = NewOrder {
        verb,
        arguments: posted.arguments,
        why: short("why", posted.why)?,
        host: format!("{by}by HTTP from {from}"),
        lasts,
    };
    Ok((verb, posted.table, order))
}

fn failed(error: &Error) -> Response {
    let status = match error {
        Error::Order(finding) => match finding.check {
            NO_ANSWER => StatusCode::GATEWAY_TIMEOUT,
            "order-rights" => StatusCode::FORBIDDEN,
            _ => StatusCode::CONFLICT,
        },
        Error::Usage { .. } => StatusCode::BAD_REQUEST,
        _ => StatusCode::BAD_GATEWAY,
    };
    json_of(status, &Failure::from(error))
}

#[derive(Serialize)]
struct Refusal<'a> {
    code: &'a str,
    message: &'a str,
    help: Option<&'a str>,
}

fn refused(status: StatusCode, code: &str, message: &str, help: &str) -> Response {
    let help = Some(help).filter(|help| !help.is_empty());
    json_of(status, &Refusal { code, message, help })
}

/// JSON, on one line.
pub(super) fn json_of(status: StatusCode, body: &impl Serialize) -> Response {
    // Plain values with text keys always are valid JSON.
    let text = serde_json::to_string(body).unwrap_or_default() + "\n";
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> std::result::Result<NewOrder, String> {
        read(body.as_bytes(), IpAddr::from([127, 0, 0, 1])).map(|(_, _, order)| order)
    }

    #[test]
    fn an_order_is_read_with_who_and_whence() {
        let order =
            of(r#"{"verb":"set","arguments":"threads=2","why":"peak","by":"ann","for":"30m"}"#);
        let order = order.unwrap();
        assert_eq!((order.verb, order.arguments.as_str()), (Verb::Set, "threads=2"));
        assert_eq!(order.host, "ann by HTTP from 127.0.0.1");
        assert_eq!(order.lasts, Some(Duration::from_secs(1800)));
        assert_eq!(of(r#"{"verb":"pause"}"#).unwrap().host, "by HTTP from 127.0.0.1");
    }

    #[test]
    fn what_is_no_order_is_refused_without_what_was_sent() {
        let long = format!(r#"{{"verb":"pause","why":"{}"}}"#, "x".repeat(201));
        for body in [
            "",
            "[]",
            "null",
            r#"{"verb":"explode<b>"}"#,
            r#"{"verb":"pause","explode<b>":1}"#,
            r#"{"verb":"pause","for":"soon<b>"}"#,
            r#"{"verb":"pause","for":"9999h"}"#,
            r#"{"verb":"pause","by":"a\nb"}"#,
            &long,
        ] {
            let why = of(body).unwrap_err();
            assert!(why.len() < 300, "{body}: {why}");
        }
    }
}
