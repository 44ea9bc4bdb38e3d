//! What a server turned out to be, and what follows from it: read from facts at connect, before anything
//! is planned. What cannot be run beside the tests is recognised from documented answers
//! (`mysql/connection/recognise.rs`, `postgres/connection/recognise.rs`: their tests say which).

use crate::error::{Error, Finding, Result};

/// What a server is beside its family and version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recognition {
    /// For `osc plan`: "Amazon RDS", "Group Replication, single primary". `None`: a plain server.
    pub name: Option<String>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// Why osc changes nothing there.
    pub refusal: Option<Finding>,
}

impl Recognition {
    /// A server of this name on which osc works as on any other.
    #[must_use]
    pub(crate) fn works(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// The same with something to know.
    #[must_use]
    pub(crate) fn noting(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// One on which a copy would lose writes, or cannot work: why, and what to do instead.
    #[must_use]
    pub(crate) fn refused(
        name: impl Into<String>,
        check: &'static str,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::refused_by(name, Finding::new(check, problem, help))
    }

    /// The same, for a finding that others have too.
    #[must_use]
    pub(crate) fn refused_by(name: impl Into<String>, finding: Finding) -> Self {
        Self { name: Some(name.into()), notes: Vec::new(), refusal: Some(finding) }
    }

    /// A server that speaks the protocol and is none that osc knows. `treated`: the operator says that it
    /// is like one.
    #[must_use]
    pub(crate) fn unknown(version: &str, like: &str, treated: bool) -> Self {
        let name = format!("an unknown relative of {like} ({version})");
        if treated {
            let note = format!("{version:?} is treated as {like}, as --treat-as says");
            return Self::works(name).noting(note);
        }
        let problem = format!(
            "the server calls itself {version:?}, which osc does not know: whether its change stream \
             and locks are those of {like} is not sure, and a copy could lose writes"
        );
        let help = format!(
            "if you have proved on a copy of the data that it behaves like {like}, pass --treat-as {}",
            like.to_lowercase().replace("postgresql", "postgres").replace("mariadb", "mysql")
        );
        Self::refused(name, "unknown-server", problem, help)
    }

    /// # Errors
    /// `Refused`, where osc changes nothing on such a server.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.refusal {
            Some(finding) => Err(Error::Refused(vec![finding.clone()])),
            None => Ok(()),
        }
    }
}
