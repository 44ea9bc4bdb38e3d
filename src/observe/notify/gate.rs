//! The hooks that are asked before the table is changed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};

use super::body::{Body, Kind};
use super::hooks::{Ended, Hooks};
use super::notice::Sender;
use crate::engine::permission::{Answer, Approval};
use crate::engine::progress::Progress;

/// Asked before a change's cut-over, by whatever method.
pub(super) const BEFORE_CUT_OVER: &str = "before-cut-over";

/// Asked before an undo's.
pub(super) const BEFORE_REVERT: &str = "before-revert";

/// The exit code of a hook that says: not yet (`EX_TEMPFAIL` of sysexits.h).
const NOT_YET: i32 = 75;

/// An answer counts so long: what comes after it is done, or asks again.
const COUNTS_FOR: Duration = Duration::from_secs(10);

/// Asks a hook.
pub(super) struct Gate {
    hooks: Hooks,
    name: &'static str,
    progress: Arc<Progress>,
    sender: Arc<Mutex<Sender>>,
    permitted: Mutex<Option<Instant>>,
}

impl Gate {
    pub(super) fn new(
        hooks: Hooks,
        kind: Kind,
        progress: Arc<Progress>,
        sender: Arc<Mutex<Sender>>,
    ) -> Self {
        let name = if kind == Kind::Revert { BEFORE_REVERT } else { BEFORE_CUT_OVER };
        Self { hooks, name, progress, sender, permitted: Mutex::default() }
    }

    async fn answer(&self) -> Answer {
        let permitted = *self.permitted.lock().unwrap_or_else(PoisonError::into_inner);
        if permitted.is_some_and(|then| then.elapsed() < COUNTS_FOR) {
            return Answer::Go;
        }
        let now = self.progress.snapshot();
        let notice = {
            let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
            sender.notice(&Body::Asked {}, &now.about, Some(&now))
        };
        let answer = match self.hooks.run(self.name, &notice).await {
            Ok(None) => Answer::Go,
            Ok(Some(ended)) => self.meaning(&ended),
            Err(error) => Answer::Stop(format!("the hook {} cannot be run: {error}", self.name)),
        };
        if answer == Answer::Go {
            *self.permitted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        answer
    }

    fn meaning(&self, ended: &Ended) -> Answer {
        match ended.status.map(|status| status.code()) {
            Some(Some(0)) => Answer::Go,
            Some(Some(NOT_YET)) => {
                let says = ended.says.as_ref().map(|line| format!(": {line}"));
                Answer::NotYet(format!(
                    "the hook {} says not yet{}",
                    self.name,
                    says.unwrap_or_default()
                ))
            }
            _ => Answer::Stop(format!(
                "the hook {} does not permit it ({})",
                self.name,
                ended.words(self.hooks.limit())
            )),
        }
    }
}

impl Approval for Gate {
    fn ask(&self) -> BoxFuture<'_, Answer> {
        self.answer().boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::hooks::tests::{Folder, alive};
    use super::*;
    use crate::engine::progress::Subject;

    fn gate(folder: &Folder, kind: Kind) -> Gate {
        let sender = Arc::new(Mutex::new(Sender::new(kind, "ADD COLUMN a INT".into())));
        let subject = Subject::default();
        subject.set_table("shop.users");
        let progress = Arc::new(Progress::of(subject));
        Gate::new(folder.open().within(Duration::from_secs(2)), kind, progress, sender)
    }

    #[tokio::test]
    async fn without_a_hook_all_may_go_on() {
        let folder = Folder::new();
        assert_eq!(gate(&folder, Kind::Alter).ask().await, Answer::Go);
    }

    #[tokio::test]
    async fn the_exit_code_is_the_answer() {
        let folder = Folder::new();
        let gate = gate(&folder, Kind::Alter);
        folder.hook("before-cut-over", "echo busy; exit 75");
        assert_eq!(
            gate.ask().await,
            Answer::NotYet("the hook before-cut-over says not yet: busy".into())
        );
        folder.hook("before-cut-over", "echo never >&2; exit 7");
        let Answer::Stop(reason) = gate.ask().await else { panic!() };
        assert!(reason.contains("exit status: 7") && reason.contains("never"), "{reason}");
        folder.hook("before-cut-over", "kill -9 $$");
        assert!(matches!(gate.ask().await, Answer::Stop(_)));
        folder.hook(
            "before-cut-over",
            "test $OSC_EVENT = before-cut-over && test $OSC_TABLE = shop.users",
        );
        assert_eq!(gate.ask().await, Answer::Go);
        folder.hook("before-cut-over", "exit 1");
        assert_eq!(gate.ask().await, Answer::Go, "an answer counts for ten seconds");
    }

    #[tokio::test]
    async fn an_undo_has_a_hook_of_its_own() {
        let folder = Folder::new();
        folder.hook("before-cut-over", "exit 1");
        folder.hook("before-revert", "exit 75");
        assert!(matches!(gate(&folder, Kind::Revert).ask().await, Answer::NotYet(_)));
    }

    #[tokio::test]
    async fn a_hook_that_hangs_permits_nothing_and_ends_with_whoever_asked() {
        let folder = Folder::new();
        folder.hook("before-cut-over", &format!("echo $$ > {}; sleep 60", folder.path("pid")));
        let gate = gate(&folder, Kind::Alter);
        let Answer::Stop(reason) = gate.ask().await else { panic!() };
        assert!(reason.contains("ended after 2 s"), "{reason}");
        let dropped = tokio::time::timeout(Duration::from_millis(500), gate.ask()).await;
        assert!(dropped.is_err() && !alive(&folder, "pid").await);
    }
}
