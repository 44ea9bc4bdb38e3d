//! Where a webhook goes, and the secrets that sign it.

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretSlice;

use super::http_url::HttpUrl;
use super::notify::ReceiverUrl;
use super::{found, usage};
use crate::error::{Error, Result};

/// A receiver of webhooks. `Debug` and `Display` show no path: it is a secret of many receivers.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Receiver {
    /// Where it is.
    pub url: HttpUrl,
    /// It takes a text, as Slack does.
    pub slack: bool,
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.slack { "slack:" } else { "" }, self.url.origin())
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Receiver {
    /// Reads what was given.
    ///
    /// # Errors
    /// `Usage`, without the URL.
    pub(crate) fn parse(given: &ReceiverUrl) -> Result<Self> {
        let text = given.expose();
        let (slack, text) = match text.strip_prefix("slack:") {
            Some(url) => (true, url),
            None => (false, text),
        };
        let url = HttpUrl::parse(text, "the webhook's URL", "https://hooks.example.com/osc")?;
        if slack && !url.tls && !url.is_loopback() {
            return Err(usage(
                "the webhook's URL is a secret, and http:// would send it in the clear",
                "name an https:// address after slack:",
            ));
        }
        Ok(Self { url, slack })
    }
}

/// A secret is at least so long, in bytes (Standard Webhooks, "Signature scheme").
const SHORTEST_SECRET: usize = 24;

/// Reads the secrets in a file, one a line.
///
/// # Errors
/// `Usage`, without what the file says.
pub(crate) fn secrets(path: &Path) -> Result<Vec<SecretSlice<u8>>> {
    let wrong = |what: &str, help: &str| -> Error {
        usage(format!("the webhook secret file {} {what}", path.display()), help)
    };
    let help = "it holds whsec_ and the base64 of at least 24 random bytes: \
                (echo -n whsec_; openssl rand -base64 32) > FILE";
    let file = match found::text(path) {
        Ok(Some(file)) => file,
        Ok(None) => return Err(wrong("does not exist", "name an existing file")),
        Err(error) => return Err(wrong(&format!("cannot be read: {error}"), "")),
    };
    if file.world_writable() {
        return Err(wrong("is not used: everybody may write to it", "chmod 600 it"));
    }
    if file.world_readable() {
        tracing::warn!("everybody may read the webhook secret file {}; chmod 600", path.display());
    }
    let mut secrets = Vec::new();
    for line in file.text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let encoded = line
            .strip_prefix("whsec_")
            .ok_or_else(|| wrong("has a line that does not begin with whsec_", help))?;
        let secret =
            STANDARD.decode(encoded).map_err(|_| wrong("has a line that is not base64", help))?;
        if secret.len() < SHORTEST_SECRET {
            return Err(wrong("has a secret of fewer than 24 bytes", help));
        }
        secrets.push(SecretSlice::from(secret));
    }
    if secrets.is_empty() {
        return Err(wrong("is empty", help));
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;

    fn receiver(url: &str) -> Result<Receiver> {
        Receiver::parse(&ReceiverUrl::from(url.to_owned()))
    }

    #[test]
    fn receivers_are_shown_without_their_paths() {
        let slack = receiver("slack:https://hooks.slack.example/services/T0/s3cret").unwrap();
        assert!(slack.slack);
        assert_eq!(slack.to_string(), "slack:https://hooks.slack.example");
        let json = receiver("https://ops.example:8443/osc?key=s3cret").unwrap();
        assert_eq!(format!("{json:?}"), "https://ops.example:8443");
    }

    #[test]
    fn what_is_no_receiver_is_refused_without_its_secret() {
        for url in
            ["slack:", "slack:http://hooks/s3cret", "s3cret", "ftp://s3cret", "http://u:s3cret@h"]
        {
            let error = receiver(url).unwrap_err();
            assert!(!format!("{error} {:?}", error.help()).contains("s3cret"), "{error}");
        }
        assert!(receiver("slack:http://127.0.0.1:1/x").is_ok());
    }

    #[test]
    fn secrets_are_read_or_refused_without_being_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        let good = format!("whsec_{}", STANDARD.encode([7; 24]));
        write(&format!("{good}\n\n {good}\n"), 0o600);
        let read = secrets(&path).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].expose_secret(), [7; 24]);
        let short = format!("whsec_{}", STANDARD.encode("S3CRET"));
        for (text, mode) in [
            (good.as_str(), 0o666),
            ("", 0o600),
            ("S3CRET", 0o600),
            ("whsec_S3CRET!", 0o600),
            (short.as_str(), 0o600),
        ] {
            write(text, mode);
            let error = secrets(&path).unwrap_err();
            assert!(!format!("{error} {:?}", error.help()).contains("S3CRET"), "{error}");
        }
        assert!(secrets(&folder.path().join("gone")).is_err());
    }
}
