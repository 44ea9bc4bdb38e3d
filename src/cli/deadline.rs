//! Short commands end: a server that says nothing after the login, or the network behind it, holds none of
//! them for ever.

use std::time::Duration;

use crate::config::target::Target;
use crate::error::{Error, Result};

/// How long a command may look: far longer than its statements take, which wait two seconds for a lock.
const LOOK: Duration = Duration::from_secs(60);

/// The outcome of a look at the server.
///
/// # Errors
/// Its own; `Unreachable` where there is none within the time.
pub(super) async fn within<T>(target: &Target, look: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(LOOK, look).await.unwrap_or_else(|_| {
        Err(Error::Unreachable {
            address: target.address.to_string(),
            message: format!("it took the connection and gave no answer within {} s", LOOK.as_secs()),
            help: "check that the server, or what stands before it, still works, then run the command \
                   again: nothing was changed"
                .into(),
            cause: None,
        })
    })
}
