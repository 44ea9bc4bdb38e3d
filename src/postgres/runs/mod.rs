//! Whose a table and its run are: the ledger, the claim, the record of a run, osc's own schema.

pub mod ledger;

pub(crate) mod lock;
pub(crate) mod names;
pub(crate) mod orders;
pub(crate) mod record;
pub(crate) mod tables;
