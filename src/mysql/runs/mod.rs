//! Whose a table and its run are: the ledger, the claim, the record of a run.

pub mod ledger;
pub mod lock;
pub mod proof;
pub mod record;
