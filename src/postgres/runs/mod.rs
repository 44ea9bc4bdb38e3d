//! Whose a table and its run are: the ledger, the claim, the record of a run, osc's own schema.

pub mod ledger;
pub mod own_schema;
pub mod record;
pub mod trust;

pub(crate) mod claim;
