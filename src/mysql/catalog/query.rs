//! Short statements for what hangs on a table: read as text, and waited for with patience.

use std::time::Duration;

use mysql_async::Conn;

use crate::engine::backoff::Backoff;
use crate::error::{Error, Result, end_transactions};
use crate::fnv::fnv1a;
use crate::mysql::connection::errors::is_contention;
use crate::mysql::connection::session::run;
use crate::mysql::name::Ident;

/// Pauses between attempts grow up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long to queue for a lock, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long one attempt may hold up those who queue behind it; whole seconds, at least one.
    pub lock_wait: Duration,
    /// How many attempts, at least one.
    pub attempts: u32,
}

impl Patience {
    /// One short attempt: for statements under a lock that makes them certain.
    pub const ONCE: Self = Self { lock_wait: Duration::from_secs(1), attempts: 1 };

    /// Many short attempts with growing pauses, some minutes in all: for steps that must be done
    /// after the swap.
    pub const FINISH: Self = Self { lock_wait: Duration::from_secs(1), attempts: 40 };

    /// `lock_wait` as the servers' `lock_wait_timeout` takes it.
    pub(crate) fn seconds(self) -> u64 {
        self.lock_wait.as_secs().max(1)
    }
}

/// What the server has against something that was tried; `Err` when it could not be tried, since `tables` were
/// locked by another session all the while, or for another reason.
pub fn objection(tables: &str, tried: Result<()>) -> Result<Option<String>> {
    match tried {
        Ok(()) => Ok(None),
        Err(error) if has_met_a_lock(&error) => {
            Err(Error::Stopped { reason: error.to_string(), help: end_transactions(tables) })
        }
        Err(Error::Server { message, .. }) => Ok(Some(message)),
        Err(other) => Err(other),
    }
}

fn has_met_a_lock(error: &Error) -> bool {
    error.mysql_code().is_some_and(is_contention)
}

/// Runs a DDL statement, again while others hold the locks that it needs.
///
/// # Errors
/// The last attempt's.
pub(crate) async fn run_patiently(
    conn: &mut Conn,
    action: &str,
    sql: &str,
    patience: Patience,
) -> Result<()> {
    let mut backoff = Backoff::new(Duration::from_millis(50), LONGEST_PAUSE);
    for _ in 1..patience.attempts {
        match run(conn, action, sql).await {
            Err(error) if has_met_a_lock(&error) => {}
            other => return other,
        }
        backoff.wait().await;
    }
    run(conn, action, sql).await
}

/// A name for something that waits for `name` to become free: `<name>_osc`, within the limit of 64
/// characters. The same for the same name, in every version of osc.
pub(crate) fn temporary(name: &Ident) -> Ident {
    const SUFFIX: &str = "_osc";
    let whole = format!("{}{SUFFIX}", name.as_str());
    if whole.chars().count() <= Ident::MAX_CHARS {
        return Ident(whole);
    }
    // The server compares these names without case.
    let digest = format!("_{:08x}", fnv1a(name.as_str().to_lowercase().as_bytes()));
    let room = Ident::MAX_CHARS - SUFFIX.len() - digest.len();
    let prefix: String = name.as_str().chars().take(room).collect();
    Ident(format!("{prefix}{digest}{SUFFIX}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_temporary_name_says_whose_place_it_keeps() {
        assert_eq!(temporary(&Ident::new("fk")).as_str(), "fk_osc");
    }

    proptest! {
        #[test]
        fn temporary_names_fit_and_differ(a in "[a-c\u{e9}]{58,64}", b in "[a-c\u{e9}]{58,64}") {
            let (short, other) = (temporary(&Ident::new(&a)), temporary(&Ident::new(&b)));
            prop_assert!(short.as_str().chars().count() <= Ident::MAX_CHARS);
            prop_assert_ne!(short.as_str(), a.as_str());
            prop_assert_eq!(a == b, short == other);
        }
    }
}
