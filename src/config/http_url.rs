//! A URL that osc requests: of `--throttle-http`, of a webhook.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

use super::usage;
use crate::error::{Error, Result};

/// A URL that can be requested: `http://` or `https://`, without user and password. `Debug` shows no more than
/// [`HttpUrl::shown`].
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// For a human: without the query, which may hold a token.
    pub(crate) shown: String,
    /// Over TLS.
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Host and port as the `Host` header has them.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({})", self.origin())
    }
}

impl HttpUrl {
    /// Reads `url`; `what` begins the message where it is none.
    ///
    /// # Errors
    /// `Usage`, without the URL: it may hold a secret.
    pub(crate) fn parse(url: &str, what: &str, example: &str) -> Result<Self> {
        let wrong = |problem: &str, help: &str| usage(format!("{what} {problem}; {help}"), "");
        let example = format!("such as {example}");
        let url = Url::parse(url).map_err(|error| wrong(&format!("is none: {error}"), &example))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(
                &format!("begins with {}:", url.scheme()),
                "name an http:// or https:// address",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("holds a user or a password", "name it without them"));
        }
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err(wrong("names no host", &example)),
        };
        let (scheme, authority) = (url.scheme(), url.authority());
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Self {
            shown: format!("{scheme}://{authority}{}", url.path()),
            tls: scheme == "https",
            port: url.port_or_known_default().unwrap_or(80),
            authority: authority.to_owned(),
            path: format!("{}{query}", url.path()),
            host,
        })
    }

    /// Scheme, host and port: all of a URL that may be shown where its path is a secret.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }

    /// Whether it is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for HttpUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        Self::parse(url, "the URL to ask", "http://freno.example:8111/check/osc/mysql/shop")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_asked_are_wrong_usage_and_keep_their_secrets() {
        for url in ["http://bob:s3cret@a/", "https://:s3cret@a/", "ftp://a", "a", "http://", ""] {
            let error = url.parse::<HttpUrl>().unwrap_err();
            assert!(matches!(error, Error::Usage { .. }), "{url}");
            assert!(!error.to_string().contains("s3cret"));
        }
        assert_eq!("http://[::1]:81".parse::<HttpUrl>().unwrap().host, "::1");
    }

    #[test]
    fn what_is_shown_of_a_url_holds_no_secret() {
        let url: HttpUrl = "https://hooks.example/s3cret/path?token=s3cret".parse().unwrap();
        assert_eq!(format!("{url:?}"), "HttpUrl(https://hooks.example)");
        assert_eq!((url.port, url.tls), (443, true));
        assert_eq!(url.path, "/s3cret/path?token=s3cret");
        assert_eq!(url.shown, "https://hooks.example/s3cret/path");
        assert!(!url.is_loopback());
        assert!("http://127.0.0.1:9/".parse::<HttpUrl>().unwrap().is_loopback());
    }
}
