//! Flags over environment over `osc.toml` over defaults, as one typed value.

pub mod draft;
pub mod file;
pub mod libpq;
pub mod my_cnf;
pub mod notify;
pub mod period;
pub mod strategy;
pub mod target;
pub mod url;
pub mod window;

pub(crate) mod found;
pub(crate) mod http_url;
pub(crate) mod listen;
pub(crate) mod load_limit;
mod parameters;
pub(crate) mod resolve;
pub(crate) mod settings;
pub(crate) mod webhook;

use crate::error::Error;

/// A usage error with what helps.
fn usage(message: impl Into<String>, help: impl Into<String>) -> Error {
    Error::Usage { message: message.into(), help: help.into() }
}

/// The line, from 1, in which the byte at `offset` is.
pub(crate) fn line_of(text: &[u8], offset: usize) -> usize {
    text.iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}
