//! libpq's connection parameters: each is honoured, or refused with the reason. None is passed over.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::draft::Draft;
use super::target::TlsMode;

/// Every parameter that libpq has, with its variable; and what osc does with it.
pub(super) const PARAMETERS: &[(&str, Option<&str>, Treatment)] = &[
    ("host", Some("PGHOST"), Treatment::Honoured),
    ("hostaddr", Some("PGHOSTADDR"), Treatment::Honoured),
    ("port", Some("PGPORT"), Treatment::Honoured),
    ("dbname", Some("PGDATABASE"), Treatment::Honoured),
    ("user", Some("PGUSER"), Treatment::Honoured),
    ("password", Some("PGPASSWORD"), Treatment::Honoured),
    ("passfile", Some("PGPASSFILE"), Treatment::Honoured),
    ("options", Some("PGOPTIONS"), Treatment::Honoured),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT"), Treatment::Honoured),
    ("keepalives", None, Treatment::Honoured),
    ("keepalives_idle", None, Treatment::Honoured),
    ("keepalives_interval", None, Treatment::Honoured),
    ("keepalives_count", None, Treatment::Honoured),
    ("tcp_user_timeout", None, Treatment::Honoured),
    ("sslmode", Some("PGSSLMODE"), Treatment::Honoured),
    ("ssl", None, Treatment::Only(&["true"], "say sslmode=require")),
    ("requiressl", Some("PGREQUIRESSL"), Treatment::Honoured),
    ("sslrootcert", Some("PGSSLROOTCERT"), Treatment::Honoured),
    ("sslcert", Some("PGSSLCERT"), Treatment::Honoured),
    ("sslkey", Some("PGSSLKEY"), Treatment::Honoured),
    ("service", Some("PGSERVICE"), Treatment::Only(&[], "set PGSERVICE instead, without a URL")),
    (
        "servicefile",
        Some("PGSERVICEFILE"),
        Treatment::Only(&[], "set PGSERVICEFILE instead, without a URL"),
    ),
    // One value of these is what osc does anyway.
    ("fallback_application_name", None, Treatment::Ignored("osc's sessions have a name")),
    (
        "client_encoding",
        Some("PGCLIENTENCODING"),
        Treatment::Only(&["utf8", "utf-8", "unicode", "auto"], "osc speaks UTF-8"),
    ),
    (
        "target_session_attrs",
        Some("PGTARGETSESSIONATTRS"),
        Treatment::Only(&["any", "read-write", "primary"], "osc needs the primary"),
    ),
    (
        "load_balance_hosts",
        Some("PGLOADBALANCEHOSTS"),
        Treatment::Only(&["disable"], "osc connects to one server"),
    ),
    (
        "replication",
        None,
        Treatment::Only(
            &["false", "off", "no", "0"],
            "osc opens its replication connection itself",
        ),
    ),
    (
        "sslnegotiation",
        Some("PGSSLNEGOTIATION"),
        Treatment::Only(&["postgres"], "osc asks for TLS in PostgreSQL's way"),
    ),
    (
        "sslcompression",
        Some("PGSSLCOMPRESSION"),
        Treatment::Only(&["0"], "osc never compresses TLS"),
    ),
    ("sslsni", Some("PGSSLSNI"), Treatment::Only(&["1"], "osc sends the host's name")),
    (
        "sslcertmode",
        Some("PGSSLCERTMODE"),
        Treatment::Only(&["allow"], "the certificate is sent when the server asks"),
    ),
    (
        "ssl_min_protocol_version",
        Some("PGSSLMINPROTOCOLVERSION"),
        Treatment::Only(&["TLSv1", "TLSv1.1", "TLSv1.2"], "osc takes TLS 1.2 and 1.3"),
    ),
    (
        "ssl_max_protocol_version",
        Some("PGSSLMAXPROTOCOLVERSION"),
        Treatment::Only(&["TLSv1.3"], "osc takes TLS 1.2 and 1.3"),
    ),
    (
        "gssencmode",
        Some("PGGSSENCMODE"),
        Treatment::Only(&["disable", "prefer"], "osc does not speak GSSAPI"),
    ),
    (
        "gssdelegation",
        Some("PGGSSDELEGATION"),
        Treatment::Only(&["0"], "osc does not speak GSSAPI"),
    ),
    (
        "channel_binding",
        Some("PGCHANNELBINDING"),
        Treatment::Only(
            &["disable", "prefer"],
            "the replication connection cannot bind its channel: say sslmode=verify-full",
        ),
    ),
    (
        "min_protocol_version",
        Some("PGMINPROTOCOLVERSION"),
        Treatment::Only(&["3.0"], "osc speaks protocol 3.0"),
    ),
    (
        "max_protocol_version",
        Some("PGMAXPROTOCOLVERSION"),
        Treatment::Only(&["3.0", "latest"], "osc speaks protocol 3.0"),
    ),
    // What osc cannot do is refused: without it the connection would not be the one that was requested.
    (
        "application_name",
        Some("PGAPPNAME"),
        Treatment::Only(&["osc"], "osc's sessions are called osc, by which it knows its own"),
    ),
    ("sslcrl", Some("PGSSLCRL"), Treatment::Only(&[], "osc reads no revocation lists")),
    ("sslcrldir", Some("PGSSLCRLDIR"), Treatment::Only(&[], "osc reads no revocation lists")),
    (
        "sslpassword",
        None,
        Treatment::Only(&[], "osc reads no encrypted keys: decrypt it, readable for you only"),
    ),
    ("sslkeylogfile", None, Treatment::Only(&[], "osc writes no keys")),
    (
        "requirepeer",
        Some("PGREQUIREPEER"),
        Treatment::Only(&[], "osc does not check a socket's peer"),
    ),
    (
        "require_auth",
        Some("PGREQUIREAUTH"),
        Treatment::Only(
            &[],
            "osc cannot choose the way to log in; it never sends a password in clear text to another host without TLS",
        ),
    ),
    ("krbsrvname", Some("PGKRBSRVNAME"), Treatment::Only(&[], "osc does not speak Kerberos")),
    ("gsslib", Some("PGGSSLIB"), Treatment::Only(&[], "osc does not speak GSSAPI")),
    ("authtype", None, Treatment::Only(&[], "libpq ignores it since 7.3")),
    ("tty", None, Treatment::Only(&[], "libpq ignores it since 14")),
    ("scram_client_key", None, Treatment::Only(&[], "osc logs in by password")),
    ("scram_server_key", None, Treatment::Only(&[], "osc logs in by password")),
    ("oauth_issuer", None, Treatment::Only(&[], "osc does not speak OAuth")),
    ("oauth_client_id", None, Treatment::Only(&[], "osc does not speak OAuth")),
    ("oauth_client_secret", None, Treatment::Only(&[], "osc does not speak OAuth")),
    ("oauth_scope", None, Treatment::Only(&[], "osc does not speak OAuth")),
];

/// Variables that are settings of the session.
pub(super) const SETTINGS: [(&str, &str); 3] =
    [("PGDATESTYLE", "DateStyle"), ("PGTZ", "TimeZone"), ("PGGEQO", "geqo")];

/// What osc does with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It means what libpq means by it.
    Honoured,
    /// These values are honoured; others are refused, for this reason.
    Only(&'static [&'static str], &'static str),
    /// It has no effect, as libpq has it too, for this reason.
    Ignored(&'static str),
}

/// Sets a parameter.
///
/// # Errors
/// What is wrong with it: osc does not know it, or cannot do it.
pub(super) fn set(draft: &mut Draft, name: &str, value: &str) -> Result<(), String> {
    // osc's own names, which are those of MySQL's URLs.
    let name = match name {
        "ssl-mode" => "sslmode",
        "ssl-ca" => "sslrootcert",
        "ssl-cert" => "sslcert",
        "ssl-key" => "sslkey",
        other => other,
    };
    if name == "socket" {
        return draft.set_transport(name, value).map(drop);
    }
    let Some((_, _, outcomes)) = PARAMETERS.iter().find(|(known, ..)| *known == name) else {
        return Err(unknown(name, PARAMETERS.iter().map(|(known, ..)| *known)));
    };
    match outcomes {
        Treatment::Honoured => honour(draft, name, value),
        Treatment::Ignored(_) => Ok(()),
        Treatment::Only(values, _)
            if values.iter().any(|known| known.eq_ignore_ascii_case(value)) =>
        {
            if name == "ssl" {
                draft.tls_mode = Some(TlsMode::NoVerify);
            }
            Ok(())
        }
        Treatment::Only(_, reason) => Err(format!("osc cannot honour it: {reason}")),
    }
}

/// The error for a name that is none, with the one that was probably meant.
pub(super) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known
        .map(|known| (strsim::damerau_levenshtein(&name.to_ascii_lowercase(), known), known))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    match near {
        Some((_, known)) => format!("osc does not know it; did you mean {known}?"),
        None => "osc does not know it".into(),
    }
}

fn honour(draft: &mut Draft, name: &str, value: &str) -> Result<(), String> {
    let number = || value.trim().parse::<u32>().map_err(|_| "it is no number".to_owned());
    let several =
        || "it names several servers, and osc connects to one: name the primary".to_owned();
    match name {
        "host" if value.contains(',') => return Err(several()),
        "hostaddr" if value.contains(',') => return Err(several()),
        "port" if value.contains(',') => return Err(several()),
        "host" if value.starts_with('@') => return Err("osc knows no abstract sockets".into()),
        "host" => {
            draft.host = Some(value.to_owned()).filter(|host| !host.is_empty());
            draft.socket = None;
        }
        "hostaddr" => {
            let address: IpAddr = value.parse().map_err(|_| "it is no address".to_owned())?;
            draft.wire.hostaddr = Some(address);
        }
        "port" => {
            draft.port = Some(value.parse().map_err(|_| "it is no port".to_owned())?);
        }
        "dbname" => draft.database = Some(value.to_owned()).filter(|name| !name.is_empty()),
        "user" => draft.user = Some(value.to_owned()).filter(|name| !name.is_empty()),
        "password" => draft.password = Some(SecretString::from(value)),
        "passfile" => draft.wire.passfile = Some(PathBuf::from(value)),
        "options" => draft.wire.options.extend(session_options(value)?),
        "connect_timeout" => match number()? {
            0 => return Err("osc never waits without a limit: give seconds".into()),
            seconds => draft.wire.connect_timeout = Some(Duration::from_secs(seconds.into())),
        },
        "keepalives" => draft.wire.keepalives = Some(number()? != 0),
        "keepalives_idle" => draft.wire.keepalives_idle = seconds(number()?),
        "keepalives_interval" => draft.wire.keepalives_interval = seconds(number()?),
        "keepalives_count" => draft.wire.keepalives_count = Some(number()?).filter(|n| *n > 0),
        "tcp_user_timeout" => {
            let limit = Duration::from_millis(number()?.into());
            draft.wire.tcp_user_timeout = Some(limit).filter(|limit| !limit.is_zero());
        }
        "requiressl" => match value {
            "1" => draft.tls_mode = Some(TlsMode::NoVerify),
            "0" => {}
            _ => return Err("it is 0 or 1".into()),
        },
        "sslmode" if value == "prefer" => draft.wire.prefers_tls = true,
        "sslmode" => draft.tls_mode = Some(tls_mode(value)?),
        "sslrootcert" if value == "system" => draft.wire.system_roots = true,
        _ => {
            draft.set_transport(name, value)?;
        }
    }
    Ok(())
}

fn seconds(number: u32) -> Option<Duration> {
    Some(Duration::from_secs(number.into())).filter(|idle| !idle.is_zero())
}

/// libpq's words, and MySQL's.
fn tls_mode(word: &str) -> Result<TlsMode, String> {
    Ok(match word.to_ascii_lowercase().replace('_', "-").as_str() {
        "disable" | "disabled" | "off" => TlsMode::Off,
        "require" | "required" => TlsMode::NoVerify,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" | "verify-identity" | "verify" => TlsMode::Verify,
        "allow" => return Err("osc never tries without TLS first: say prefer, or require".into()),
        _ => return Err("it is one of disable, prefer, require, verify-ca and verify-full".into()),
    })
}

/// The settings in `-c name=value --name=value`, as the server reads a startup packet's options.
fn session_options(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            c if c.is_whitespace() => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(characters.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let setting = match (word.as_str(), word.strip_prefix("--"), word.strip_prefix("-c")) {
            ("-c", ..) => words.next().unwrap_or_default(),
            (_, Some(setting), _) | (_, None, Some(setting)) => setting.to_owned(),
            _ => return Err("osc knows -c NAME=VALUE and --NAME=VALUE there".into()),
        };
        let (name, value) =
            setting.split_once('=').ok_or("osc knows -c NAME=VALUE and --NAME=VALUE there")?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::target::Scheme;

    #[test]
    fn options_are_read_as_the_server_reads_them() {
        let read = |text| session_options(text).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("-csearch_path=b"), [pair("search_path", "b")]);
        assert_eq!(
            read("-c search_path=a,\\ b --date-style=German"),
            [pair("search_path", "a, b"), pair("date_style", "German")]
        );
        for wrong in ["-B 5", "-c x", "x=y"] {
            assert!(session_options(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_name_is_honoured_or_refused_with_its_reason() {
        for (name, _, outcomes) in PARAMETERS {
            let refused =
                |value: &str| set(&mut Draft::new(Scheme::Postgres), name, value).unwrap_err();
            match outcomes {
                Treatment::Only(values, reason) => {
                    assert!(refused("something else").contains(reason), "{name}");
                    for value in *values {
                        set(&mut Draft::new(Scheme::Postgres), name, value).unwrap();
                    }
                }
                Treatment::Ignored(_) => set(&mut Draft::new(Scheme::Postgres), name, "x").unwrap(),
                Treatment::Honoured => {
                    // It changes what the connection is, or complains of the value.
                    let plain = format!("{:?}", Draft::new(Scheme::Postgres));
                    let changed = ["2", "0", "1", "require", "-c search_path=x", "10.0.0.1"]
                        .iter()
                        .any(|value| {
                            let mut draft = Draft::new(Scheme::Postgres);
                            set(&mut draft, name, value).is_ok() && format!("{draft:?}") != plain
                        });
                    assert!(changed, "{name}");
                }
            }
        }
    }

    #[test]
    fn a_slip_is_reported_with_what_was_meant() {
        let error = set(&mut Draft::new(Scheme::Postgres), "sslmod", "require").unwrap_err();
        assert!(error.contains("did you mean sslmode?"), "{error}");
    }
}
