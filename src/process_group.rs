//! Programs that osc runs for the user, with all that they start.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

/// A group of processes, which ends when this is dropped. Its number is not given to another while one of
/// them lives.
pub(crate) struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// The group that `child` leads: it was started with `process_group(0)`, and has not been waited for.
    pub(crate) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            // Most often none is left.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}
