//! What a server's settings do to osc: every session variable is classified (`variables.txt`), those that
//! could change how a statement is read, limited, timed or shown are set wrongly, and a whole alter must
//! make what the server's own ALTER makes of a twin.
#![allow(unreachable_pub, reason = "a test program has no callers")]

use crate::support;

mod frozen;
mod hostile;
mod inputs;
mod table;

use std::collections::BTreeSet;

use crate::support::server::Kind;
use table::Table;

on_both_servers! {
    every_session_variable_is_classified
}

async fn every_session_variable_is_classified(kind: Kind) {
    let server = support::shared(kind);
    let sql = match kind {
        Kind::Mysql => {
            "SELECT LOWER(VARIABLE_NAME) FROM performance_schema.variables_metadata \
             WHERE VARIABLE_SCOPE LIKE 'SESSION%'"
        }
        Kind::Mariadb => {
            "SELECT LOWER(VARIABLE_NAME) FROM information_schema.SYSTEM_VARIABLES \
             WHERE VARIABLE_SCOPE LIKE 'SESSION%' AND READ_ONLY = 'NO'"
        }
    };
    let table = Table::read();
    let known: BTreeSet<&str> = table.names().collect();
    let found = server.rows(sql).await.concat();
    assert!(found.len() > 150, "{found:?}");
    let unknown: Vec<_> = found.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "classify these in variables.txt: {unknown:?}");
}
