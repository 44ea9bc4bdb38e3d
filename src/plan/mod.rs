//! What an ALTER means, which road it takes, and why.

pub mod road;
