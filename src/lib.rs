//! osc changes the schema of large, busy tables while the application keeps writing.
//!
//! The map of the house. Arrows go one way: `cli → engine → (trait) ← mysql, postgres`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`broken`] | rules switched off, for tests only |
//! | [`cli`] | one file a command: arguments, a call, rendering |
//! | [`config`] | flags over environment over `osc.toml` over defaults, as one typed value |
//! | [`plan`] | what an ALTER means, which road it takes, and why |
//! | [`engine`] | the migration itself, knowing no SQL and no server |
//! | [`fault`] | failure points, for tests only |
//! | [`throttle`] | the sources of back-pressure, and the one place that combines them |
//! | [`control`] | what an operator asks for while a run is under way |
//! | [`mysql`] | everything about MySQL and MariaDB |
//! | [`postgres`] | everything about PostgreSQL |
//! | [`ledger`] | the record of runs |
//! | [`short`] | short numbers from long names |
//! | [`report`] | progress bar, plain lines, JSON events, summary |

pub mod broken;
pub mod cli;
pub mod config;
pub mod control;
pub mod engine;
pub mod fault;
pub mod ledger;
pub mod mysql;
pub mod plan;
pub mod postgres;
pub mod report;
pub mod short;
pub mod throttle;
