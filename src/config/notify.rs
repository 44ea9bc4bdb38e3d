//! Who hears of what a run does: hooks, webhooks, a message outbox; as it is given.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::settings::{all_parsed, words};
use super::usage;
use crate::error::Result;

macro_rules! topics {
    ($($(#[doc = $words:literal])+ $topic:ident = $name:literal;)+) => {
        /// What a message is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Topic { $($(#[doc = $words])+ $topic,)+ }

        impl Topic {
            /// The words of `--webhook-events`, of hooks and of messages.
            pub const WORDS: &[&str] = &[$($name),+];

            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$topic),+];

            /// Its word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$topic => $name,)+ }
            }
        }
    };
}

topics! {
    /// The change begins: its method is chosen, and the checks have passed.
    Started = "started";
    /// The run resumes from the checkpoint of an earlier attempt.
    Resumed = "resumed";
    /// Everything is ready, and the run waits for permission to change the table.
    Hold = "hold";
    /// The copy has been paused for ten minutes.
    ThrottledLong = "throttled-long";
    /// It is no longer.
    ThrottleCleared = "throttle-cleared";
    /// Other sessions hold the table, and several attempts to lock it have failed.
    CutOverBlocked = "cut-over-blocked";
    /// The change is done.
    Done = "done";
    /// The undo is done.
    Reverted = "reverted";
    /// The run was stopped; the same command resumes it.
    Stopped = "stopped";
    /// The command failed, or was refused.
    Failed = "failed";
    /// `osc cleanup` dropped the tables that were left.
    Cleaned = "cleaned";
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Self, String> {
        Self::ALL.iter().copied().find(|topic| topic.word() == word).ok_or_else(|| {
            format!("{word:?} is no event of a message; there are {}", Self::WORDS.join(", "))
        })
    }
}

/// The URL of a receiver as it was given: most hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceiverUrl(String);

impl ReceiverUrl {
    /// It.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ReceiverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiverUrl(…)")
    }
}

impl From<String> for ReceiverUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl<'de> Deserialize<'de> for ReceiverUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// What may be given on the command line, in the environment and in a profile's `notify`.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifySettings {
    /// Run the executables in this directory: on-done, on-failed, before-cut-over …; also $OSC_HOOKS
    ///
    /// One for each event, by its name. They get the facts in $OSC_… variables and as JSON on their
    /// standard input, and are ended after 30 s. before-cut-over and before-revert decide: exit code 0
    /// permits the change, 75 means not yet, any other stops the run, resumably (docs/use/notify.md).
    #[arg(long, value_name = "DIR", help_heading = "Notifications")]
    pub hooks: Option<PathBuf>,
    /// Post each event to this URL; may be given several times; also $OSC_WEBHOOK
    ///
    /// slack:URL posts a text instead of the JSON, as Slack, Mattermost and others take it. A URL given
    /// here shows in the process list: one that is a secret belongs in $OSC_WEBHOOK (several with spaces
    /// between them) or in osc.toml.
    #[arg(long = "webhook", value_name = "URL", help_heading = "Notifications")]
    pub webhooks: Vec<ReceiverUrl>,
    /// Sign webhooks with the secret in this file: whsec_ and base64, as Standard Webhooks has it;
    /// also $OSC_WEBHOOK_SECRET_FILE
    ///
    /// With several lines each message has a signature by each secret, so that one can replace another.
    #[arg(long, value_name = "FILE", help_heading = "Notifications")]
    pub webhook_secret_file: Option<PathBuf>,
    /// Post only these events [default: all]; also $OSC_WEBHOOK_EVENTS
    #[arg(long, value_name = "EVENT", value_delimiter = ',', help_heading = "Notifications", value_parser = words::<Topic>(Topic::WORDS))]
    #[serde(deserialize_with = "all_parsed")]
    pub webhook_events: Vec<Topic>,
    /// Write each message as a file into this directory; also $OSC_OUTBOX
    #[arg(long, value_name = "DIR", help_heading = "Notifications")]
    pub outbox: Option<PathBuf>,
    /// Address the messages in the outbox to this name [default: Lead]; also $OSC_OUTBOX_TO
    #[arg(long, value_name = "NAME", help_heading = "Notifications")]
    pub outbox_to: Option<String>,
    /// Print this line when a message is in the outbox, where {file} is its name; print none if empty
    /// [default: ->relay-file:{file}]; also $OSC_OUTBOX_ANNOUNCE
    #[arg(long, value_name = "TEXT", help_heading = "Notifications")]
    pub outbox_announce: Option<String>,
    /// State in the first message that there is a backup: "Completed", "snapshot of 03:00"; also $OSC_BACKUP_NOTE
    #[arg(long, value_name = "TEXT", help_heading = "Notifications")]
    pub backup_note: Option<String>,
}

impl NotifySettings {
    /// What the environment says; `variable` looks one up.
    ///
    /// # Errors
    /// `Usage`, for an event that there is not.
    pub(crate) fn of_environment<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let text = |name| variable(name).map(str::to_owned);
        let path = |name| variable(name).map(PathBuf::from);
        let events = variable("OSC_WEBHOOK_EVENTS").into_iter().flat_map(|list| list.split(','));
        let events = events.map(|word| word.trim().parse()).collect::<std::result::Result<_, _>>();
        let urls = variable("OSC_WEBHOOK").into_iter().flat_map(str::split_whitespace);
        Ok(Self {
            hooks: path("OSC_HOOKS"),
            webhooks: urls.map(|url| ReceiverUrl(url.to_owned())).collect(),
            webhook_secret_file: path("OSC_WEBHOOK_SECRET_FILE"),
            webhook_events: events
                .map_err(|error: String| usage(format!("$OSC_WEBHOOK_EVENTS: {error}"), ""))?,
            outbox: path("OSC_OUTBOX"),
            outbox_to: text("OSC_OUTBOX_TO"),
            outbox_announce: text("OSC_OUTBOX_ANNOUNCE"),
            backup_note: text("OSC_BACKUP_NOTE"),
        })
    }

    /// What `self` says, and `base` where it says nothing.
    #[must_use]
    pub(crate) fn over(self, base: Self) -> Self {
        fn either<T>(own: Vec<T>, base: Vec<T>) -> Vec<T> {
            if own.is_empty() { base } else { own }
        }
        Self {
            hooks: self.hooks.or(base.hooks),
            webhooks: either(self.webhooks, base.webhooks),
            webhook_secret_file: self.webhook_secret_file.or(base.webhook_secret_file),
            webhook_events: either(self.webhook_events, base.webhook_events),
            outbox: self.outbox.or(base.outbox),
            outbox_to: self.outbox_to.or(base.outbox_to),
            outbox_announce: self.outbox_announce.or(base.outbox_announce),
            backup_note: self.backup_note.or(base.backup_note),
        }
    }

    /// Replaces an outbox that is named `$NAME` by that variable's value: where a program that reads the
    /// outbox says by a variable where it is.
    ///
    /// # Errors
    /// `Usage`, when the variable is not set.
    pub(crate) fn with_variables<'a>(
        mut self,
        variable: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Self> {
        if let Some(name) = self.outbox.as_ref().and_then(|path| path.to_str()?.strip_prefix('$')) {
            let value = variable(name).ok_or_else(|| {
                usage(format!("the outbox is ${name}, which is not set"), "name a directory")
            })?;
            self.outbox = Some(PathBuf::from(value));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_topic_has_one_word() {
        for topic in Topic::ALL {
            assert_eq!(topic.word().parse(), Ok(*topic));
            assert_eq!(serde_json::to_value(topic).unwrap(), topic.word());
        }
        assert!("begun".parse::<Topic>().unwrap_err().contains("throttled-long"));
    }

    #[test]
    fn flags_win_over_the_environment_over_the_profile() {
        let variables = BTreeMap::from([
            ("OSC_HOOKS", "/env"),
            ("OSC_WEBHOOK", "https://a/1  slack:https://b/2"),
            ("OSC_WEBHOOK_EVENTS", "done, failed"),
        ]);
        let environment =
            NotifySettings::of_environment(|name| variables.get(name).copied()).unwrap();
        assert_eq!(environment.webhooks.len(), 2);
        assert_eq!(environment.webhook_events, [Topic::Done, Topic::Failed]);
        let profile: NotifySettings =
            toml::from_str("hooks = '/file'\noutbox = '/out'\nwebhooks = ['http://c']").unwrap();
        let flags = NotifySettings { hooks: Some("/flag".into()), ..Default::default() };
        let all = flags.over(environment.clone()).over(profile.clone());
        assert_eq!(all.hooks, Some("/flag".into()));
        assert_eq!(all.webhooks, environment.webhooks);
        assert_eq!(all.outbox, Some("/out".into()));
        assert_eq!(environment.over(profile).hooks, Some("/env".into()));
    }

    #[test]
    fn no_url_of_a_receiver_shows() {
        let settings: NotifySettings =
            toml::from_str("webhooks = ['https://hooks/T0/s3cret']").unwrap();
        assert!(!format!("{settings:?}").contains("s3cret"));
    }

    #[test]
    fn an_outbox_may_be_named_by_a_variable() {
        let settings: NotifySettings = toml::from_str("outbox = '$RELAY'").unwrap();
        let set = settings.clone().with_variables(|name| (name == "RELAY").then_some("/r"));
        assert_eq!(set.unwrap().outbox, Some("/r".into()));
        assert!(settings.with_variables(|_| None).is_err());
    }

    #[test]
    fn a_mistake_in_the_environment_is_named() {
        let error = NotifySettings::of_environment(|name| {
            (name == "OSC_WEBHOOK_EVENTS").then_some("done,begun")
        });
        assert!(error.unwrap_err().to_string().contains("begun"));
    }
}
