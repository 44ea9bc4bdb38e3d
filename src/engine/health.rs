//! The health checks that `--watch` makes after a change: whether it is to be undone.

use std::process::Stdio;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::time::timeout;

use crate::throttle::probe::StatusProbe;

/// How long a check may take; a command that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(10);

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// All is well.
    Well,
    /// It is not, for this reason.
    Ill(String),
    /// It cannot be said, for this reason: nothing is undone for that.
    Unknown(String),
}

/// One check.
pub(crate) trait HealthCheck: Send + Sync + 'static {
    /// Makes it. May be dropped at any moment.
    fn look(&mut self) -> BoxFuture<'_, Health>;
}

/// For how long the retired table is kept warm, and what is checked meanwhile.
pub(crate) struct Watching {
    /// How long.
    pub period: Duration,
    /// What is checked.
    pub checks: tokio::sync::Mutex<Vec<Box<dyn HealthCheck>>>,
}

impl Watching {
    /// Of these checks.
    pub(crate) fn new(period: Duration, checks: Vec<Box<dyn HealthCheck>>) -> Self {
        Self { period, checks: tokio::sync::Mutex::new(checks) }
    }
}

/// `--revert-if-query`: the first column of the first row is above 0.
pub(crate) struct Query<P> {
    probe: P,
    sql: String,
}

impl<P: StatusProbe + Sync> Query<P> {
    /// A query that reads.
    pub(crate) fn new(probe: P, sql: impl Into<String>) -> Self {
        Self { probe, sql: sql.into() }
    }
}

impl<P: StatusProbe + Sync> HealthCheck for Query<P> {
    fn look(&mut self) -> BoxFuture<'_, Health> {
        Box::pin(async {
            match timeout(LIMIT, self.probe.number(&self.sql)).await {
                Ok(Ok(Some(number))) if number <= 0.0 => Health::Well,
                Ok(Ok(Some(number))) => Health::Ill(format!("the query returns {number}")),
                Ok(Ok(None)) => Health::Unknown("the query returns no number".into()),
                Ok(Err(error)) => Health::Unknown(format!("the query failed: {error}")),
                Err(_) => {
                    Health::Unknown(format!("the query took longer than {} s", LIMIT.as_secs()))
                }
            }
        })
    }
}

/// `--revert-if-exec`: a shell's command ends with another exit code than 0, or takes too long.
pub(crate) struct Exec(String);

impl Exec {
    /// A command for `sh -c`.
    pub(crate) fn new(command: impl Into<String>) -> Self {
        Self(command.into())
    }

    async fn run(&self) -> Health {
        let mut command = Command::new("sh");
        command.args(["-c", &self.0]).kill_on_drop(true).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Health::Unknown(format!("the command cannot be run: {error}")),
        };
        let _family = Family(child.id());
        match timeout(LIMIT, child.wait()).await {
            Ok(Ok(status)) if status.success() => Health::Well,
            // As a shell says that there is no such program, or that it cannot be run.
            Ok(Ok(status)) if matches!(status.code(), Some(126 | 127)) => {
                Health::Unknown(format!("the command cannot be run: {status}"))
            }
            Ok(Ok(status)) => Health::Ill(format!("the command ends with {status}")),
            Ok(Err(error)) => Health::Unknown(format!("the command is lost: {error}")),
            Err(_) => Health::Ill(format!("the command took longer than {} s", LIMIT.as_secs())),
        }
    }
}

impl HealthCheck for Exec {
    fn look(&mut self) -> BoxFuture<'_, Health> {
        Box::pin(self.run())
    }
}

/// A command and its children, which end with it.
struct Family(Option<u32>);

impl Drop for Family {
    fn drop(&mut self) {
        let group = self.0.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            // There is none any more where all have ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(command: &str) -> Health {
        Exec::new(command).look().await
    }

    #[tokio::test]
    async fn a_commands_exit_code_is_the_health() {
        assert_eq!(of("exit 0").await, Health::Well);
        assert!(matches!(of("exit 3").await, Health::Ill(why) if why.contains('3')));
        assert!(matches!(of("kill -9 $$").await, Health::Ill(_)));
        assert!(matches!(of("/nowhere/at/all").await, Health::Unknown(_)));
    }

    #[tokio::test]
    async fn a_commands_children_end_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("child");
        let command = format!("sleep 60 & echo $! > {}; exit 1", file.display());
        assert!(matches!(of(&command).await, Health::Ill(_)));
        let child: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let child = Pid::from_raw(child).unwrap();
        for _ in 0..100 {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()));
            if state.is_err() || state.is_ok_and(|text| text.contains(") Z ")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the child lives");
    }
}
