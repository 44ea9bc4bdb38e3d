//! Whom osc trusts: the roles, its own schema, and the functions that others own.

pub mod guards;

pub(crate) mod functions;
pub(crate) mod own_schema;
pub(crate) mod roles;
