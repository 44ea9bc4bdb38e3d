//! `osc revert` on PostgreSQL: a change is undone, redone, undone; what was written since stays.

mod carried;
mod check;
mod guard;
pub(crate) mod place;
mod refused;
mod torture;
mod untouched;
mod values;
mod verdict;
mod versions;
