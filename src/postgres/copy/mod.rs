//! What the copy is made of: the shadow, its key and projection, and the statements over both tables.

pub mod fingerprint;
pub mod index_ddl;
pub mod key_stays;
pub mod layout;
pub mod projection;
pub mod rows;
pub mod shadow;
pub mod statements;

pub(crate) mod namesakes;
