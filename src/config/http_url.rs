//! The URL of `--throttle-http`.

use std::str::FromStr;

use url::{Host, Url};

use crate::error::{Error, Result};

/// A URL that can be requested: plain `http://`, without user and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// For a human: without the query, which may hold a token.
    pub(crate) shown: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) request: String,
}

impl FromStr for HttpUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let wrong = |problem: &str, help: &str| Error::Usage {
            message: format!("the URL to ask {problem}; {help}"),
            help: String::new(),
        };
        let example = "such as http://freno.example:8111/check/osc/mysql/shop";
        let url = Url::parse(url).map_err(|error| wrong(&format!("is none: {error}"), example))?;
        if url.scheme() != "http" {
            return Err(wrong(
                &format!("begins with {}://, and osc asks over http:// only", url.scheme()),
                "name an http:// address, or use --throttle-query",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("holds a user or a password", "name it without them"));
        }
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err(wrong("names no host", example)),
        };
        let authority = url.authority();
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Self {
            shown: format!("http://{authority}{}", url.path()),
            port: url.port_or_known_default().unwrap_or(80),
            request: format!(
                "HEAD {}{query} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: osc/{}\r\n\
                 Accept: */*\r\nConnection: close\r\n\r\n",
                url.path(),
                env!("CARGO_PKG_VERSION"),
            ),
            host,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_asked_are_wrong_usage_and_keep_their_secrets() {
        for url in ["https://a/", "http://bob:s3cret@a/", "ftp://a", "a", "http://", ""] {
            let error = url.parse::<HttpUrl>().unwrap_err();
            assert!(matches!(error, Error::Usage { .. }), "{url}");
            assert!(!error.to_string().contains("s3cret"));
        }
        assert_eq!("http://[::1]:81".parse::<HttpUrl>().unwrap().host, "::1");
    }
}
