//! Whom osc trusts: the roles, its own schema, and the functions that others own.

pub mod guards;
pub mod own_schema;
pub mod roles;

pub(crate) mod functions;
