//! `osc.toml`: profiles, each a connection and the settings of `alter` that go with it.
//!
//! ```toml
//! [profiles.default]
//! url = "mysql://osc@localhost/shop"
//!
//! [profiles.production]
//! url = "mysql://osc@db.example.com/shop"
//! password_command = "pass show db/osc"
//!
//! [profiles.production.alter]
//! threads = 2
//! max_load = ["Threads_running=50"]
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::found::{self, Found};
use super::listen::HttpSettings;
use super::notify::NotifySettings;
use super::settings::Settings;
use super::{line_of, usage};
use crate::error::Result;

/// The profile that is used when none is named.
pub const DEFAULT_PROFILE: &str = "default";

/// One profile.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// Where to connect.
    pub url: Option<String>,
    /// A shell command that prints the password.
    pub password_command: Option<String>,
    /// The schema that osc's ledger lives in.
    pub ledger: Option<String>,
    /// Settings of `alter`.
    pub alter: Settings,
    /// Who hears of what a run does.
    pub notify: NotifySettings,
    /// Where a run can be watched.
    pub http: HttpSettings,
}

impl Profile {
    /// Whether a password or another secret stands in it.
    fn has_secret(&self) -> bool {
        let urls = self.url.iter().chain(&self.alter.replicas);
        let mut urls = urls.filter_map(|url| url::Url::parse(url).ok());
        // The URL of a webhook often is a secret as a whole.
        !self.notify.webhooks.is_empty() || urls.any(|url| url.password().is_some())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

/// The profile to use: `name` of `file`, or what the defaults of both are. `places` are looked
/// into, in order, when no `file` is given; the first that exists is taken. `None`: there is no
/// file, or no default profile in it, and none was named.
///
/// # Errors
/// `Usage` when a file or profile that was named is missing, or the file has a mistake.
pub fn profile(
    file: Option<&Path>,
    name: Option<&str>,
    places: &[PathBuf],
) -> Result<Option<Profile>> {
    let found = match file {
        Some(path) => Some((path, read(path)?.ok_or_else(|| missing(path))?)),
        None => {
            let mut found = None;
            for path in places {
                if let Some(file) = read(path)? {
                    // Whoever names a file answers for it; one that lies about does not count.
                    if let Some(why) = file.of_another(path) {
                        return Err(distrusted(path, &why));
                    }
                    found = Some((path.as_path(), file));
                    break;
                }
            }
            found
        }
    };
    let Some((path, file)) = found else {
        return match name {
            Some(name) => Err(usage(
                format!("no osc.toml was found, so there is no profile {name:?}"),
                "put it in this directory or in ~/.config/osc, or name it with --config FILE",
            )),
            None => Ok(None),
        };
    };
    let mut profiles = parse(path, &file.text)?;
    if file.world_readable() && profiles.values().any(Profile::has_secret) {
        tracing::warn!("{} holds credentials and everybody may read it; chmod 600", path.display());
    }
    let known = profiles.keys().cloned().collect::<Vec<_>>().join(", ");
    match (profiles.remove(name.unwrap_or(DEFAULT_PROFILE)), name) {
        (Some(profile), _) => Ok(Some(profile)),
        (None, None) => Ok(None),
        (None, Some(name)) => Err(usage(
            format!("{} has no profile {name:?}", path.display()),
            if known.is_empty() { "it has none".into() } else { format!("it has: {known}") },
        )),
    }
}

fn missing(path: &Path) -> crate::error::Error {
    usage(format!("{} does not exist", path.display()), "name an existing file with --config")
}

fn distrusted(path: &Path, why: &str) -> crate::error::Error {
    // It could have been named `osc.toml`, and the user may not know that it is there.
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    usage(
        format!("{} is not used: {why}", whole.display()),
        "it can run commands as you; make it yours and chmod go-w, or name another with --config",
    )
}

fn read(path: &Path) -> Result<Option<Found>> {
    match found::text(path) {
        Ok(Some(file)) if file.world_writable() => {
            Err(distrusted(path, "everybody may write to it"))
        }
        Ok(file) => Ok(file),
        Err(error) => Err(usage(format!("cannot read {}: {error}", path.display()), "")),
    }
}

/// The profiles that `text` describes; `path` is named in errors.
///
/// # Errors
/// `Usage`, with the line and the message alone, never what stands there: it could be a password.
pub fn parse(path: &Path, text: &str) -> Result<BTreeMap<String, Profile>> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text.as_bytes(), span.start));
        let line = line.map_or(String::new(), |line| format!(" line {line}"));
        let message = error.message().replace('\n', ": ");
        usage(format!("{}{line}: {message}", path.display()), "")
    })?;
    Ok(file.profiles)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "[profiles.default]\nurl = 'mysql://a'\n\n[profiles.other]\n\
                        url = 'mysql://b'\n[profiles.other.alter]\nthreads = 2\n";

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("osc.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn complaint(text: &str) -> String {
        let (_folder, path) = written(text);
        profile(Some(&path), None, &[]).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn profiles_are_chosen_by_name_or_by_default() {
        let (folder, path) = written(FILE);
        let places = [folder.path().join("absent.toml"), path];
        let default = profile(None, None, &places).unwrap().unwrap();
        assert_eq!(default.url.as_deref(), Some("mysql://a"));
        let other = profile(None, Some("other"), &places).unwrap().unwrap();
        assert_eq!(other.alter.threads().get(), 2);
        let error = profile(None, Some("third"), &places).map(|_| ()).unwrap_err();
        assert!(error.help().unwrap().contains("default, other"));
    }

    #[test]
    fn what_was_asked_for_must_be_there() {
        assert!(profile(None, None, &[]).unwrap().is_none());
        assert!(profile(None, Some("x"), &[]).is_err());
        assert!(profile(Some(Path::new("/nowhere/osc.toml")), None, &[]).is_err());
    }

    #[test]
    fn mistakes_are_reported_with_their_line_and_without_the_text() {
        let message = complaint("[profiles.default]\nurl = 'mysql://u:SECRET@h'\nurll = 'x'\n");
        assert!(message.contains("line 3") && message.contains("urll"), "{message}");
        let message = complaint("[profiles.default]\nurl = \"mysql://u:SECRET@h\n");
        assert!(message.contains("line 2") && !message.contains("SECRET"), "{message}");
        let message = complaint("[profiles.default.alter]\nthreads = 0\n");
        assert!(message.contains("line 2"), "{message}");
        let message = complaint("[profiles.default.alter]\nthreads = 1\nchunk_time = 'x'\n");
        assert!(message.contains("line 3") && message.contains("duration"), "{message}");
    }

    /// The manual's example names every key, with a value that is read.
    #[test]
    fn the_manual_names_every_key() {
        use clap::Args;

        let manual = include_str!("../../docs/use/osc-toml.md");
        let example = manual.split("```toml").nth(1).and_then(|rest| rest.split("```").next());
        let example = example.unwrap();
        let profile = parse(Path::new("osc.toml"), example).unwrap().remove("production").unwrap();
        // A new key of a profile does not compile until it is looked for here.
        let Profile { url, password_command, ledger, alter, notify, http } = profile;
        assert!(url.is_some() && password_command.is_some() && ledger.is_some());
        assert_ne!(alter, Settings::default());
        assert_ne!(notify, NotifySettings::default());
        assert_ne!(http, HttpSettings::default());

        let flags_of = |command: clap::Command| {
            let flags = command.get_arguments().map(|flag| flag.get_id().to_string());
            flags.collect::<BTreeSet<_>>()
        };
        let of_notify = flags_of(NotifySettings::augment_args(clap::Command::new("alter")));
        let of_http = flags_of(HttpSettings::augment_args(clap::Command::new("alter")));
        let all = flags_of(Settings::augment_args(clap::Command::new("alter")));
        let of_alter: BTreeSet<_> = all.difference(&of_notify).cloned().collect();
        let of_alter: BTreeSet<_> = of_alter.difference(&of_http).cloned().collect();
        let unflagged = ["verify", "feedback"].map(String::from);
        let of_alter = of_alter.into_iter().chain(unflagged).collect();
        let table: toml::Table = example.parse().unwrap();
        for (name, known) in [("alter", of_alter), ("notify", of_notify), ("http", of_http)] {
            let named = table["profiles"]["production"][name].as_table().unwrap();
            assert_eq!(named.keys().cloned().collect::<BTreeSet<_>>(), known);
        }
    }

    #[test]
    fn a_file_that_everybody_may_write_to_is_refused() {
        let (_folder, path) = written(FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(profile(Some(&path), None, &[]).is_err());
    }

    proptest! {
        #[test]
        fn whatever_a_file_says_is_read_or_refused_and_no_secret_is_reported(
            lines in prop::collection::vec(
                "\\[profiles\\.[a-z]{1,3}(\\.alter)?\\]|url = '.*'|threads = -?[0-9]{1,20}|chunk_time = '.{0,6}'|max_wal = '.{0,8}'|max_load = \\[.*\\]|password_command = '.*'|.*",
                0..8,
            ),
        ) {
            let text = format!("{}\nurl = 'mysql://u:hunter2@h", lines.join("\n"));
            if let Err(error) = parse(Path::new("osc.toml"), &text) {
                prop_assert!(!error.to_string().contains("hunter2"), "{error}");
            }
            let _ = parse(Path::new("osc.toml"), &lines.join("\n"));
        }
    }
}
