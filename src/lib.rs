//! osc changes the schema of large, busy tables while the application keeps writing.
//!
//! The map of the house. Arrows go one way: `cli → engine → (trait) ← mysql, postgres`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | one file a command: arguments, a call, rendering |
//! | [`config`] | flags over environment over `osc.toml` over defaults, as one typed value |
//! | [`plan`] | what an ALTER means, by which method it is made, and why |
//! | [`engine`] | the migration itself, knowing no SQL and no server |
//! | [`throttle`] | the sources of back-pressure, and the one place that combines them |
//! | [`control`] | what an operator asks for while a run is under way |
//! | [`mysql`] | everything about MySQL and MariaDB |
//! | [`postgres`] | everything about PostgreSQL |
//! | [`ledger`] | the record of runs |
//! | [`output`] | progress bar, plain lines, JSON events, summary |
//! | [`error`] | what can end a run |
//! | [`testing`] | failpoints and mutations, for tests only |
//! | [`fnv`] | short numbers from long names |

pub mod cli;
pub mod config;
pub mod control;
pub mod engine;
pub mod error;
pub mod fnv;
pub mod ledger;
pub mod mysql;
pub mod output;
pub mod plan;
pub mod postgres;
pub mod testing;
pub mod throttle;
