//! What is to change, in the form that the shadow needs.

use crate::mysql::name::Ident;

/// The change.
#[derive(Debug, Clone)]
pub struct Change {
    /// The clauses as they were given: what makes two runs the same.
    pub text: String,
    /// The clauses for the shadow: without foreign keys, ALGORITHM and LOCK; empty: none.
    pub clauses: Vec<String>,
    /// Old and new names of the columns whose data is carried over.
    pub kept: Vec<(Ident, Ident)>,
    /// Foreign key clauses that add: `ADD CONSTRAINT … FOREIGN KEY …`.
    pub added_foreign_keys: Vec<String>,
    /// Foreign keys dropped.
    pub dropped_foreign_keys: Vec<Ident>,
}
