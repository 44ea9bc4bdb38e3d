//! Who stands in the way of a lock that osc waits for.

use std::fmt;
use std::time::Duration;

/// Shown at most.
const SHOWN: usize = 5;

/// A session, or a prepared transaction, that holds what osc waits for. `Display` is its line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Blocker {
    /// `session 12`, `prepared transaction "x"`.
    pub session: String,
    /// Whose it is.
    pub user: String,
    /// Whether it is at work; never its statement, which may hold values of rows.
    pub state: String,
    /// How long its transaction has been open, at least; `None`: not known.
    pub age: Option<Duration>,
    /// The tables that it holds, where that is known.
    pub tables: Vec<String>,
    /// What ends it.
    pub statement: String,
    /// Why osc could not end it.
    pub refusal: Option<String>,
}

impl Blocker {
    /// Whether its transaction is at least so old.
    pub(crate) fn is_older_than(&self, age: Duration) -> bool {
        self.age.is_some_and(|open| open >= age)
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, user, state, age, tables, statement, refusal } = self;
        let user = if user.is_empty() { "?" } else { user };
        // Tenths of a second where there are any.
        let age = age.map(|age| ((age.as_secs_f64() * 10.0).round() / 10.0).to_string());
        let age = age.unwrap_or_else(|| "?".into());
        write!(f, "{session} ({user}, {state}, transaction open {age} s)")?;
        if !tables.is_empty() {
            write!(f, " on {}", tables.join(", "))?;
        }
        match refusal {
            None => write!(f, "; to end it: {statement}"),
            Some(why) => {
                write!(f, "; osc may not end it ({why}), an administrator can: {statement}")
            }
        }
    }
}

/// Why a lock is waited for; `None`: no one is known to hold it.
pub(crate) fn blocked_by(blockers: &[Blocker]) -> Option<String> {
    let shown: Vec<String> = blockers.iter().take(SHOWN).map(Blocker::to_string).collect();
    (!shown.is_empty()).then(|| format!("blocked by {}", shown.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocker_is_one_line_that_names_what_ends_it() {
        let mut blocker = Blocker {
            session: "session 12".into(),
            user: "app@web1".into(),
            state: "idle".into(),
            age: Some(Duration::from_millis(3_140)),
            tables: vec!["shop.users".into(), "shop.orders".into()],
            statement: "KILL 12".into(),
            refusal: None,
        };
        assert_eq!(
            blocked_by(std::slice::from_ref(&blocker)).unwrap(),
            "blocked by session 12 (app@web1, idle, transaction open 3.1 s) on shop.users, shop.orders; \
             to end it: KILL 12"
        );
        blocker = Blocker { age: None, refusal: Some("no right".into()), ..blocker };
        let line = blocker.to_string();
        assert!(line.contains("transaction open ? s"), "{line}");
        assert!(
            line.ends_with("osc may not end it (no right), an administrator can: KILL 12"),
            "{line}"
        );
        assert_eq!(blocked_by(&[]), None);
    }
}
