//! osc is ended, fails, or loses its sessions at each of its failpoints, one after the other. The
//! original is whole after each, and the same command does the rest and leaves nothing behind.
//!
//! Usually each point is tried with `kill`, and one of four with `error` and `cut` (in an undo one of three, and of
//! twelve); `OSC_FAULTS=all` tries all
//! three at all, and `OSC_FAULTS=name` at one. `OSC_FAULTS_TABLE=DIRECTORY` has the results written there.
#![allow(unreachable_pub, reason = "a test program has no callers")]

mod binlog;
mod case;
mod postgres;
mod revert;
mod steps;

use crate::support::server::Kind;
use case::{Action, walk};

macro_rules! tests {
    ($($name:ident: $place:expr, $action:ident;)+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            walk(&$place, Action::$action).await;
        })+
    };
}

tests! {
    whatever_point_mysql_is_killed_at_the_same_command_ends_it:
        binlog::Place::new(Kind::Mysql), Kill;
    whatever_point_mysql_fails_at_the_same_command_ends_it:
        binlog::Place::new(Kind::Mysql), Error;
    whatever_point_mysql_loses_its_sessions_at_the_same_command_ends_it:
        binlog::Place::new(Kind::Mysql), Cut;
    whatever_point_mariadb_is_killed_at_the_same_command_ends_it:
        binlog::Place::new(Kind::Mariadb), Kill;
    whatever_point_mariadb_fails_at_the_same_command_ends_it:
        binlog::Place::new(Kind::Mariadb), Error;
    whatever_point_mariadb_loses_its_sessions_at_the_same_command_ends_it:
        binlog::Place::new(Kind::Mariadb), Cut;
    whatever_point_postgres_is_killed_at_the_same_command_ends_it:
        postgres::Place::new(), Kill;
    whatever_point_postgres_fails_at_the_same_command_ends_it:
        postgres::Place::new(), Error;
    whatever_point_postgres_loses_its_sessions_at_the_same_command_ends_it:
        postgres::Place::new(), Cut;
    whatever_point_an_undo_on_mysql_is_killed_at_the_same_command_ends_it:
        binlog::Place::undo(Kind::Mysql), Kill;
    whatever_point_an_undo_on_mysql_fails_at_the_same_command_ends_it:
        binlog::Place::undo(Kind::Mysql), Error;
    whatever_point_an_undo_on_mysql_loses_its_sessions_at_the_same_command_ends_it:
        binlog::Place::undo(Kind::Mysql), Cut;
    whatever_point_an_undo_on_mariadb_is_killed_at_the_same_command_ends_it:
        binlog::Place::undo(Kind::Mariadb), Kill;
    whatever_point_an_undo_on_mariadb_fails_at_the_same_command_ends_it:
        binlog::Place::undo(Kind::Mariadb), Error;
    whatever_point_an_undo_on_mariadb_loses_its_sessions_at_the_same_command_ends_it:
        binlog::Place::undo(Kind::Mariadb), Cut;
    whatever_point_an_undo_on_postgres_is_killed_at_the_same_command_ends_it:
        revert::Place::new(), Kill;
    whatever_point_an_undo_on_postgres_fails_at_the_same_command_ends_it:
        revert::Place::new(), Error;
    whatever_point_an_undo_on_postgres_loses_its_sessions_at_the_same_command_ends_it:
        revert::Place::new(), Cut;
    whatever_step_postgres_is_killed_at_the_same_command_ends_it:
        steps::Place::new(), Kill;
    whatever_step_postgres_fails_at_the_same_command_ends_it:
        steps::Place::new(), Error;
    whatever_step_postgres_loses_its_sessions_at_the_same_command_ends_it:
        steps::Place::new(), Cut;
}
