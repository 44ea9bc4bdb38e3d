//! What stands in front of every statement of a run that reads or writes both tables: they are locked, and
//! proved to be what they were when the shadow was made.
//!
//! SQL speaks of tables by name, and who may create in their schema, or owns the original, can put another
//! table or a view in a name's place, with triggers, rules and functions that would run with the rights of
//! osc's role. The shadow belongs to osc's role until the swap, so that no one else can hang anything on it.
//! The names are proved in each transaction, under locks that no session that renames, drops or alters gets past.
//! What is left is the owner of the *schema*, who may rename it between the proof and the statement.

use super::PostgresTable;
use crate::error::Result;
use crate::postgres::connection::errors::NOT_AS_MADE;
use crate::postgres::copy::fingerprint;
use crate::postgres::name::Text;
use crate::testing::mutation::{self, Rule};

/// For whom the tables are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Who reads them.
    Reading,
    /// Who writes the shadow.
    Writing,
    /// Who builds an index of the shadow: for so long that the original is not held.
    Building,
    /// Who alters the shadow.
    Altering,
}

impl For {
    /// The lock of the shadow.
    fn mode(self) -> &'static str {
        match self {
            Self::Reading => "ACCESS SHARE",
            Self::Writing => "ROW EXCLUSIVE",
            Self::Building => "SHARE",
            Self::Altering => "ACCESS EXCLUSIVE",
        }
    }

    fn holds_original(self) -> bool {
        matches!(self, Self::Reading | Self::Writing)
    }
}

impl PostgresTable {
    /// A statement that fails where another attempt has taken the run over, for who has locked and looked itself.
    pub(crate) fn fence(&self) -> Result<String> {
        Ok(format!("DO {}", Text(&format!("BEGIN {} END", self.fencing()?))))
    }

    fn fencing(&self) -> Result<String> {
        Ok(self.ledger.fence(self.run()?, &self.token))
    }

    /// A statement, to be run in a transaction before others: it locks the tables, fails where they are no
    /// longer this run's, and where another attempt has taken the run over. It is long, so it is sent in a
    /// message of its own: `pg_stat_activity` then shows what the run is about. Who only looks has no run that
    /// could be taken over.
    ///
    /// Who takes a run over says so in the ledger and then waits for those who hold the shadow. So the shadow
    /// is held first: either that one waits, or the ledger is seen to be its.
    ///
    /// # Errors
    /// `Internal`, before there is a shadow.
    pub(crate) fn held(&self, purpose: For) -> Result<String> {
        let (original, shadow) = (&self.setting.original.name, &self.helpers().shadow);
        let record = self.record()?;
        let changed = format!(
            "RAISE EXCEPTION USING ERRCODE = '{NOT_AS_MADE}', MESSAGE = {};",
            Text(&fingerprint::changed(original))
        );
        let mut locks = String::new();
        if purpose.holds_original() {
            locks = format!("LOCK TABLE ONLY {original} IN ACCESS SHARE MODE; ");
        }
        let locks = format!("{locks}LOCK TABLE {shadow} IN {} MODE;", purpose.mode());
        let proof = match mutation::active(Rule::ObjectsProved) {
            true => String::new(),
            false => format!(
                "IF ({}) IS DISTINCT FROM {} THEN {changed} END IF; ",
                fingerprint::query(record.watched()),
                Text(&record.fingerprint)
            ),
        };
        let fence = match self.looks || mutation::active(Rule::Fenced) {
            true => String::new(),
            false => self.fencing()?,
        };
        let body = format!(
            "BEGIN BEGIN {locks} EXCEPTION WHEN undefined_table OR invalid_schema_name OR wrong_object_type \
             THEN {changed} END; {proof}{fence} END"
        );
        Ok(format!("DO {}", Text(&body)))
    }
}
