//! Who may ask what. Every answer leaves with the headers that keep a browser from doing anything with it that
//! the page does not do.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::listen::Token;

/// Who is let in.
#[derive(Clone)]
pub(super) struct Guard(Arc<Rules>);

struct Rules {
    token: Option<Token>,
    /// Reading needs no token.
    open: bool,
    /// The name that osc listens on, beside `localhost` and any address.
    name: String,
    policy: HeaderValue,
}

impl Guard {
    /// `open`: reading needs no token; `name` is what osc listens on; `policy` the page's.
    pub(super) fn new(token: Option<Token>, open: bool, name: &str, policy: HeaderValue) -> Self {
        Self(Arc::new(Rules { token, open, name: name.to_owned(), policy }))
    }

    /// Whether orders are taken at all.
    pub(super) fn takes_orders(&self) -> bool {
        self.0.token.is_some()
    }

    /// Whether a request has the token as orders need it: in a header that a browser adds by itself nowhere.
    pub(super) fn may_order(&self, headers: &HeaderMap) -> bool {
        let given = text(headers, &AUTHORIZATION).and_then(|value| scheme(value, "bearer"));
        self.0.token.as_ref().zip(given).is_some_and(|(token, given)| token.is(given))
    }

    /// Whether a request may read: a browser asks for name and password, and the password is the token.
    fn may_read(&self, headers: &HeaderMap) -> bool {
        if self.0.open || self.may_order(headers) {
            return true;
        }
        let given = text(headers, &AUTHORIZATION).and_then(|value| scheme(value, "basic"));
        let given = given.and_then(|given| String::from_utf8(STANDARD.decode(given).ok()?).ok());
        let given = given.as_deref().and_then(|given| given.split_once(':'));
        self.0.token.as_ref().zip(given).is_some_and(|(token, (_, given))| token.is(given))
    }

    /// Why a request is not answered, whoever makes it.
    fn problem(&self, request: &Request) -> Option<(StatusCode, &'static str)> {
        let headers = request.headers();
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
        let authority = request.uri().authority().map(axum::http::uri::Authority::as_str);
        if host.is_empty() || hosts.next().is_some() {
            return Some((StatusCode::BAD_REQUEST, "one Host is needed"));
        }
        // A name that an attacker's DNS gives to this host would make their page ours.
        if !self.is_ours(host) || authority.is_some_and(|authority| authority != host) {
            return Some((
                StatusCode::MISDIRECTED_REQUEST,
                "osc does not listen on this name: use the address, or --listen NAME:PORT",
            ));
        }
        if headers.contains_key(ORIGIN)
            && !text(headers, &ORIGIN).is_some_and(|origin| of(origin, host))
        {
            return Some((StatusCode::FORBIDDEN, "this comes from another page"));
        }
        let fetch = |name| text(headers, &HeaderName::from_static(name));
        let foreign = matches!(fetch("sec-fetch-site"), Some("cross-site" | "same-site"));
        let link = fetch("sec-fetch-mode") == Some("navigate")
            && fetch("sec-fetch-dest") == Some("document")
            && request.method() == Method::GET;
        (foreign && !link).then_some((StatusCode::FORBIDDEN, "this comes from another page"))
    }

    /// Whether a `Host` names this server: by an address, which no DNS can turn to another, or its own name.
    fn is_ours(&self, host: &str) -> bool {
        let Ok(uri) = host.parse::<Uri>() else { return false };
        let Some(authority) = uri.authority().filter(|authority| authority.as_str() == host) else {
            return false;
        };
        let name = authority.host();
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        !host.contains('@')
            && (bare.parse::<IpAddr>().is_ok()
                || name.eq_ignore_ascii_case("localhost")
                || name.eq_ignore_ascii_case(&self.0.name))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What follows the scheme in an `Authorization`.
fn scheme<'a>(value: &'a str, wanted: &str) -> Option<&'a str> {
    let (scheme, given) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| given.trim())
}

/// Whether a page of this origin is the one at `host`.
fn of(origin: &str, host: &str) -> bool {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
}

/// Lets a request in, or not.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = if let Some((status, why)) = guard.problem(&request) {
        (status, format!("{why}\n")).into_response()
    } else if reads && !guard.may_read(request.headers()) {
        let ask = [(WWW_AUTHENTICATE, "Basic realm=\"osc: any name, the token as password\"")];
        (StatusCode::UNAUTHORIZED, ask, "the token is needed\n").into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, guard.0.policy.clone());
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(None, true, "db1.internal", HeaderValue::from_static(""))
    }

    #[test]
    fn only_addresses_and_the_own_name_are_ours() {
        for host in [
            "127.0.0.1:7777",
            "127.0.0.1",
            "[::1]:7777",
            "localhost:1",
            "10.1.2.3:80",
            "DB1.internal:7777",
        ] {
            assert!(guard().is_ours(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example:7777",
            "127.0.0.1.nip.io",
            "127.0.0.1@evil.example",
            "evil@127.0.0.1",
            "127.0.0.1/x",
            "[::1",
            "a b",
            "localhost:7777, evil",
        ] {
            assert!(!guard().is_ours(host), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_foreign() {
        assert!(
            of("http://localhost:1", "localhost:1") && of("https://LOCALHOST:1", "localhost:1")
        );
        for origin in
            ["null", "", "http://localhost:2", "localhost:1", "http://localhost:1.evil", "file://"]
        {
            assert!(!of(origin, "localhost:1"), "{origin}");
        }
    }
}
