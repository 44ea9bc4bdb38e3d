//! Flags over environment over `osc.toml` over defaults, as one typed value.

pub mod target;
