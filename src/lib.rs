//! osc changes the schema of large, busy tables while the application keeps writing.
//!
//! The map of the house. Arrows go one way, down this table, and there is no circle.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | one file a command: arguments, a call, rendering |
//! | [`observe`] | who hears of what a run does: hooks, webhooks, the outbox; where it is watched: page, events, metrics |
//! | [`output`] | progress bar, plain lines, JSON events, summary |
//! | [`mysql`], [`postgres`] | all that is one server's: sister folders with the same doors |
//! | [`plan`] | what an ALTER means, by which method it is made, and why |
//! | [`ledger`] | the record of runs, and the rules about unfinished ones |
//! | [`engine`] | the migration itself, knowing no SQL and no server: the servers implement its traits |
//! | [`throttle`] | the sources of the throttle, and the one place that combines them |
//! | [`control`] | what an operator asks for while a run is under way |
//! | [`config`] | flags over environment over `osc.toml` over defaults, as one typed value |
//! | [`http`] | one HTTP request, over TLS too |
//! | [`key`] | keys, ranges of keys, positions |
//! | [`error`] | what can end a run |
//! | [`testing`] | failpoints and mutations, for tests only |
//! | [`fnv`], [`hex`], [`shell`] | short numbers from long names, bytes as digits, words to paste into a shell |
//! | [`process_group`] | programs that osc runs for the user, which end with all that they start |

pub mod cli;
pub mod config;
pub mod control;
pub mod engine;
pub mod error;
pub mod key;
pub mod mysql;
pub mod output;
pub mod postgres;
pub mod testing;
pub mod throttle;

mod fnv;
mod hex;
mod http;
mod ledger;
mod observe;
mod plan;
mod process_group;
mod shell;
