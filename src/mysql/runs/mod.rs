//! Whose a table and its run are: the ledger, the claim, the record of a run.

pub(crate) mod ledger;
pub(crate) mod lock;
pub(crate) mod orders;
pub(crate) mod proof;
pub(crate) mod record;
pub(crate) mod undone;
