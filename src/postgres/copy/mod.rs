//! What the copy is made of: the shadow, its key and projection, and the statements over both tables.

pub mod failed_rows;
pub mod fingerprint;
pub mod indexes;
pub mod key;
pub mod layout;
pub mod projection;
pub mod rows;
pub mod shadow;
pub mod statements;

pub(crate) mod held;
pub(crate) mod namesakes;
