//! What an ALTER means, which road it takes, and why.

mod inplace;
pub mod road;
