//! What the copy is made of: the shadow, its key and projection, and the statements over both tables.

pub mod lens;
pub mod projection;
pub mod statements;

pub(crate) mod always_fits;
pub(crate) mod draft;
pub(crate) mod fingerprint;
pub(crate) mod index_ddl;
pub(crate) mod key_stays;
pub(crate) mod layout;
pub(crate) mod namesakes;
pub(crate) mod old_shadow;
mod put;
pub(crate) mod rows;
pub(crate) mod shadow;
mod unique_values;
