//! Real PostgreSQL servers, and a table with its stream.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

pub mod fixture;
pub mod server;
