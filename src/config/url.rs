//! Connection URLs: `mysql://user:password@host:port/database?ssl-mode=…`.
//!
//! No error repeats any part of the URL that could be, or could by a missing percent-encoding
//! have become, a piece of the password.

use ::url::{Host, ParseError, Url};
use secrecy::SecretString;

use super::draft::Draft;
use super::parameters;
use super::target::Scheme;
use super::usage;
use crate::error::{Error, Result};
use crate::hex;

const FORM: &str = "write mysql://USER:PASSWORD@HOST:PORT/DATABASE; in the password, / is %2F, \
                    # is %23, ? is %3F, % is %25, @ is %40 and : is %3A";

/// Reads a connection URL.
///
/// Parameters: `socket`, `ssl-mode`, `ssl-ca`, `ssl-cert`, `ssl-key`, and for MySQL
/// `get-server-public-key`; for PostgreSQL those of libpq ([`parameters`]).
///
/// # Errors
/// `Usage`, naming what is wrong and never a password.
pub fn parse(text: &str) -> Result<Draft> {
    if has_several_hosts(text) {
        return Err(usage(
            "the connection URL names several hosts, and osc connects to one server",
            "name the primary alone",
        ));
    }
    let (url, nowhere) = match Url::parse(text.trim()) {
        // libpq's own form for a server that its variables name.
        Err(ParseError::EmptyHost) if text.trim().starts_with("postgres") => {
            (Url::parse(&with_host(text.trim())).map_err(malformed)?, true)
        }
        parsed => (parsed.map_err(malformed)?, false),
    };
    let scheme = match url.scheme() {
        "mysql" | "mariadb" => Scheme::Mysql,
        "postgres" | "postgresql" => Scheme::Postgres,
        _ => {
            return Err(usage(
                "the connection URL begins with a scheme that is not known",
                "begin it with mysql://, mariadb:// or postgres://",
            ));
        }
    };
    let stray = [Some(url.path()), url.query(), url.fragment()];
    if url.fragment().is_some() || stray.into_iter().flatten().any(|part| part.contains('@')) {
        return Err(usage(
            "the connection URL has a #, or an @ behind its host: probably a password with \
             special characters that are not percent-encoded",
            FORM,
        ));
    }
    let mut draft = Draft::new(scheme);
    draft.host = match url.host() {
        _ if nowhere => None,
        Some(Host::Domain(name)) => Some(decoded(name, "host")?).filter(|name| !name.is_empty()),
        Some(Host::Ipv4(address)) => Some(address.to_string()),
        Some(Host::Ipv6(address)) => Some(address.to_string()),
        None => None,
    };
    draft.port = url.port();
    draft.user = Some(decoded(url.username(), "user")?).filter(|user| !user.is_empty());
    draft.password = match url.password() {
        Some(password) => Some(SecretString::from(decoded(password, "password")?)),
        None => None,
    };
    draft.database = database(url.path())?;
    for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        parameter(&mut draft, pair)?;
    }
    Ok(draft)
}

fn malformed(error: ParseError) -> Error {
    match error {
        ParseError::EmptyHost => usage(
            "the connection URL names no host",
            "with ?socket=/path write localhost: mysql://USER@localhost/DATABASE?socket=/path",
        ),
        error => usage(format!("the connection URL is malformed: {error}"), FORM),
    }
}

fn database(path: &str) -> Result<Option<String>> {
    let name = path.strip_prefix('/').unwrap_or(path);
    if name.contains('/') {
        return Err(usage("the connection URL has more than one / after its host", FORM));
    }
    Ok(Some(decoded(name, "database")?).filter(|name| !name.is_empty()))
}

fn parameter(draft: &mut Draft, pair: &str) -> Result<()> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let name = decoded(name, "parameter")?;
    let value = decoded(value, "parameter")?;
    let word = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let shown = if word { format!(" {name}") } else { String::new() };
    let located =
        |problem: String| usage(format!("the connection URL's parameter{shown}: {problem}"), HELP);
    if draft.scheme == Scheme::Postgres {
        return parameters::set(draft, &name, &value).map_err(located);
    }
    let plain = name.to_ascii_lowercase().replace('_', "-");
    if plain == "get-server-public-key" {
        draft.wire.takes_public_key = matches!(value.as_str(), "1" | "true" | "on");
        return Ok(());
    }
    match draft.set_transport(&plain, &value).map_err(located)? {
        true => Ok(()),
        false => Err(located(parameters::unknown(&plain, MYSQL.into_iter()))),
    }
}

/// The parameters of MySQL's URLs.
const MYSQL: [&str; 6] =
    ["socket", "ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "get-server-public-key"];

/// The URL with a host between its user and its path.
fn with_host(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(at);
    format!("{scheme}://{authority}localhost{rest}")
}

const HELP: &str = "docs/use/connecting.md has the parameters";

/// `h1:5432,h2:5433` between the user and the path.
fn has_several_hosts(text: &str) -> bool {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().is_some_and(|hosts| hosts.contains(','))
}

/// Percent-decoded; a `%` that is not followed by two hexadecimal digits stands for itself.
fn decoded(text: &str, part: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex::byte(*high, *low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8(bytes)
        .map_err(|_| usage(format!("the {part} in the connection URL is not UTF-8"), FORM))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::config::target::TlsMode;

    fn password(draft: &Draft) -> &str {
        draft.password.as_ref().unwrap().expose_secret()
    }

    fn complaint(url: &str) -> String {
        let error = parse(url).unwrap_err();
        format!("{error} {}", error.help().unwrap_or_default())
    }

    #[test]
    fn every_part_is_read_and_decoded() {
        let draft = parse(
            "mysql://o%20s:p%40s%2Fs%25@db.example:3307/sh%20op?ssl-mode=REQUIRED&ssl_ca=/c%2B+d",
        )
        .unwrap();
        assert_eq!(draft.scheme, Scheme::Mysql);
        assert_eq!(draft.user.as_deref(), Some("o s"));
        assert_eq!(password(&draft), "p@s/s%");
        assert_eq!(draft.host.as_deref(), Some("db.example"));
        assert_eq!(draft.port, Some(3307));
        assert_eq!(draft.database.as_deref(), Some("sh op"));
        assert_eq!(draft.tls_mode, Some(TlsMode::NoVerify));
        assert_eq!(draft.ca.as_deref(), Some(Path::new("/c++d")));
    }

    #[test]
    fn addresses_and_sockets_are_read() {
        let host = |url| parse(url).unwrap().host;
        assert_eq!(host("mariadb://me@[::1]:3306/db").as_deref(), Some("::1"));
        assert_eq!(host("mysql://me@127.0.0.1").as_deref(), Some("127.0.0.1"));
        let draft = parse("mysql:///shop?socket=/run/my%20sql.sock").unwrap();
        assert_eq!(draft.socket.as_deref(), Some(Path::new("/run/my sql.sock")));
        assert_eq!((draft.host, draft.database.as_deref()), (None, Some("shop")));
    }

    #[test]
    fn postgres_is_recognised_with_libpqs_parameters() {
        let draft = parse("postgresql://me@h/db?connect_timeout=3&sslmode=verify-full").unwrap();
        assert_eq!((draft.scheme, draft.tls_mode), (Scheme::Postgres, Some(TlsMode::Verify)));
        let host =
            |url: &str| parse(url).unwrap().complete(Some("me")).unwrap().address.to_string();
        assert_eq!(host("postgres://u@127.0.0.1:5432/db?host=10.9.9.9"), "10.9.9.9:5432");
        assert_eq!(host("postgres://u@%2Ftmp:5433/db"), "/tmp/.s.PGSQL.5433");
        assert_eq!(host("postgres:///db?host=/tmp&port=5434"), "/tmp/.s.PGSQL.5434");
        assert_eq!(host("postgres://u:p@/db?host=10.9.9.9"), "10.9.9.9:5432");
    }

    #[test]
    fn unknown_parameters_are_named() {
        assert!(complaint("mysql://me@h/db?charset=utf8").contains("charset"));
        assert!(complaint("mysql://me@h/db?ssl-mode=maybe").contains("ssl-mode"));
        assert!(complaint("mysql://me@h/db?sslmod=required").contains("did you mean ssl-mode?"));
        assert!(complaint("postgres://me@h/db?sslmod=require").contains("did you mean sslmode?"));
        assert!(complaint("postgres://h1:1,h2:2/db").contains("several hosts"));
        assert!(complaint("postgres://me@h/db?host=a,b").contains("several servers"));
    }

    #[test]
    fn no_error_shows_a_password() {
        for url in [
            "mysql://u:SECRET#x@h/db",
            "mysql://u:1#SECRET@h/db",
            "mysql://u:1/SECRET@h/db",
            "mysql://u:1?SECRET@h/db",
            "mysql://u:1?a=SECRET@h/db",
            "mysql://u:SECRET/x@h/db",
            "mysql://u:SECRET@h:port/db",
            "mysql://u:SECRET@/db",
            "mysql://u:SECRET@[::1/db",
            "mysql://u:SECRET%ff@h/db",
            "mysql://u:SECRET@h/a/b",
            "mysql://u:SECRET@h/db?x=1",
            "SECRET://u@h",
            "u:SECRET@h",
            "SECRET",
        ] {
            assert!(!complaint(url).to_uppercase().contains("SECRET"), "{url}: {}", complaint(url));
        }
    }

    #[test]
    fn a_draft_does_not_print_its_password() {
        assert!(!format!("{:?}", parse("mysql://u:SECRET@h").unwrap()).contains("SECRET"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(mysql://)?.*") {
            let _ = parse(&text);
        }

        #[test]
        fn any_password_survives_its_encoding(secret in ".+") {
            let encoded: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let draft = parse(&format!("mysql://me:{encoded}@h/db")).unwrap();
            prop_assert_eq!(password(&draft), secret);
        }
    }
}
