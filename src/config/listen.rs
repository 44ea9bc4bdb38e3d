//! Where osc answers HTTP, and who may ask: as it is given.

use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use sha2::Sha256;

use super::{found, usage};
use crate::error::{Error, Result};

/// A token is at least so long, in characters: nobody guesses one.
const SHORTEST_TOKEN: usize = 16;

/// A file that is larger holds no token, in bytes.
const LARGEST_FILE: u64 = 4096;

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// A name, or an address without brackets.
    pub(crate) host: String,
    /// The port; 0: any that is free.
    pub(crate) port: u16,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no address to listen on; give PORT or HOST:PORT, like 7777 or [::1]:7777"
            )
        };
        let port = |port: &str| port.parse().map_err(|_| wrong());
        let (host, port) = match text.rsplit_once(':') {
            None => ("127.0.0.1", port(text)?),
            Some((host, of)) => (host, port(of)?),
        };
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_name = |host: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            !host.is_empty() && host.chars().all(fits)
        };
        let host = match inner {
            Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
            None if is_name(host) => host,
            _ => return Err(wrong()),
        };
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What may be given on the command line, in the environment and in a profile's `http`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Serve a live page, events and metrics over HTTP at this address: 7777, 127.0.0.1:7777; also $OSC_LISTEN
    ///
    /// A port alone is one of this host. There, reading needs no token. Any other address needs --token-file.
    #[arg(long, value_name = "[HOST:]PORT", help_heading = "Page")]
    pub listen: Option<Listen>,
    /// Take orders over HTTP from whoever has the token in this file, which only you may read;
    /// also $OSC_TOKEN_FILE
    ///
    /// At least 16 characters: openssl rand -hex 32 > FILE; chmod 600 FILE.
    #[arg(long, value_name = "FILE", help_heading = "Page")]
    pub token_file: Option<PathBuf>,
}

impl HttpSettings {
    /// What the environment says; `variable` looks one up.
    ///
    /// # Errors
    /// `Usage`, for an address that is none.
    pub(crate) fn of_environment<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let listen = variable("OSC_LISTEN").map(str::parse).transpose();
        Ok(Self {
            listen: listen.map_err(|error: String| usage(format!("$OSC_LISTEN: {error}"), ""))?,
            token_file: variable("OSC_TOKEN_FILE").map(PathBuf::from),
        })
    }

    /// What `self` says, and `base` where it says nothing.
    #[must_use]
    pub(crate) fn over(self, base: Self) -> Self {
        Self {
            listen: self.listen.or(base.listen),
            token_file: self.token_file.or(base.token_file),
        }
    }
}

/// What shows that someone may read, and give orders.
#[derive(Clone)]
pub(crate) struct Token {
    secret: SecretString,
    /// Random, so that the time of a comparison tells nothing of the token.
    key: [u8; 32],
}

impl Token {
    /// Reads the one in a file.
    ///
    /// # Errors
    /// `Usage`, without what the file says.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let wrong = |what: &str, help: &str| -> Error {
            usage(format!("the token file {} {what}", path.display()), help)
        };
        let (bytes, metadata) = match found::bytes(path, LARGEST_FILE) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(wrong("does not exist", "name an existing file")),
            Err(error) => return Err(wrong(&format!("cannot be read: {error}"), "")),
        };
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(wrong("is not used: other accounts may read or write it", "chmod 600 it"));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(wrong(
                "is not used: it belongs to another account",
                "use a file of your own",
            ));
        }
        let text = String::from_utf8(bytes).unwrap_or_default();
        let text = text.trim();
        if text.len() < SHORTEST_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong(
                "holds no token: 16 characters or more, without spaces",
                "openssl rand -hex 32 > FILE",
            ));
        }
        Ok(Self { secret: SecretString::from(text), key: rand::random() })
    }

    /// Whether `given` is the token. The time that it takes does not depend on how much of it is right.
    pub(crate) fn is(&self, given: &str) -> bool {
        let digest = |text: &str| {
            // A key of any length is one.
            let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
            mac.update(text.as_bytes());
            Some(mac)
        };
        let (Some(own), Some(given)) = (digest(self.secret.expose_secret()), digest(given)) else {
            return false;
        };
        own.verify_slice(&given.finalize().into_bytes()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_this_hosts() {
        let read = |text: &str| text.parse::<Listen>().map(|listen| listen.to_string());
        assert_eq!(read("7777").as_deref(), Ok("127.0.0.1:7777"));
        assert_eq!(read("[::1]:0").as_deref(), Ok("[::1]:0"));
        assert_eq!(read("DB1.example:80").as_deref(), Ok("db1.example:80"));
        for text in
            ["", "x", ":80", "::1", "[::1]", "[x]:1", "a:b:1", "h:65536", "h:-1", "u@h:1", "h:1/"]
        {
            assert!(read(text).unwrap_err().contains("HOST:PORT"), "{text}");
        }
    }

    #[test]
    fn a_token_is_read_from_a_file_of_ones_own_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        write("0123456789abcdef\n", 0o600);
        let token = Token::read(&path).unwrap();
        assert!(token.is("0123456789abcdef"));
        for other in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdef\n"] {
            assert!(!token.is(other), "{other:?}");
        }
        for (text, mode) in [
            ("0123456789S3CRET", 0o640),
            ("0123456789S3CRET", 0o604),
            ("S3CRET", 0o600),
            ("0123456789 S3CRET", 0o600),
            ("", 0o600),
        ] {
            write(text, mode);
            let Err(error) = Token::read(&path) else { panic!("{text} {mode:o}") };
            assert!(!format!("{error} {:?}", error.help()).contains("S3CRET"), "{error}");
        }
        assert!(Token::read(&folder.path().join("gone")).is_err());
    }

    #[test]
    fn flags_win_over_the_environment() {
        let variables = |name: &str| (name == "OSC_LISTEN").then_some("8080");
        let environment = HttpSettings::of_environment(variables).unwrap();
        let flags = HttpSettings { listen: "9".parse().ok(), ..HttpSettings::default() };
        assert_eq!(flags.over(environment).listen.unwrap().port, 9);
        let wrong = |name: &str| (name == "OSC_LISTEN").then_some("x");
        assert!(HttpSettings::of_environment(wrong).is_err());
    }
}
