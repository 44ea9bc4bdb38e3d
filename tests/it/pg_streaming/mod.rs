//! A table with its stream, on a real PostgreSQL server.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

pub mod fixture;
