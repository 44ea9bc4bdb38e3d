//! Sessions: how each is set up, and how the server's errors are read.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts};

use super::connect::CONNECT_TIMEOUT;
use super::errors::{connection_error, failed};
use super::settings::{Reading, Role};
use super::{own_sessions, settings};
use crate::error::{Error, Result};

/// Sessions for the copy, the refreshes and the verification.
#[derive(Debug, Clone)]
pub struct Sessions {
    pool: Pool,
    opts: Opts,
    role: Role,
}

impl Sessions {
    /// Sessions with these options, for a login whose plain sessions have the settings `role`.
    pub fn new(opts: &Opts, reading: Reading, role: &Role) -> Self {
        let constraints = PoolConstraints::new(0, 64).unwrap_or_default();
        let pool_opts = PoolOpts::default()
            .with_constraints(constraints)
            .with_inactive_connection_ttl(Duration::from_secs(60));
        let with_setup: Opts = OptsBuilder::from_opts(opts.clone())
            .pool_opts(pool_opts)
            .setup(settings::for_driver(settings::rows(reading, role)))
            .into();
        Self { pool: Pool::new(with_setup), opts: opts.clone(), role: role.clone() }
    }

    /// A session for data: READ COMMITTED, strict, UTC.
    pub async fn get(&self, action: &str) -> Result<Conn> {
        let _opening = own_sessions::Opening::begin();
        match tokio::time::timeout(CONNECT_TIMEOUT, self.pool.get_conn()).await {
            Ok(conn) => {
                conn.inspect(own_sessions::note).map_err(|error| connection_error(action, error))
            }
            Err(_) => Err(Error::silence(action, CONNECT_TIMEOUT)),
        }
    }

    /// A session of its own, outside the pool, set up as those in it.
    pub async fn own(&self, action: &str, reading: Reading) -> Result<Conn> {
        let setup = settings::for_driver(settings::rows(reading, &self.role));
        let opts: Opts = OptsBuilder::from_opts(self.opts.clone()).setup(setup).into();
        super::connect::connect(&opts, action).await
    }

    /// A session that makes, changes and renames tables, with short lock waits.
    pub async fn ddl(opts: &Opts, action: &str) -> Result<Conn> {
        let opts: Opts = OptsBuilder::from_opts(opts.clone())
            .setup(settings::for_driver(settings::changes()))
            .into();
        super::connect::connect(&opts, action).await
    }

    /// Ends all pooled sessions.
    pub async fn close(self) {
        let _ = self.pool.disconnect().await;
    }
}

/// Runs a statement whose result does not matter.
pub(crate) async fn run(conn: &mut Conn, action: &str, sql: impl AsRef<[u8]>) -> Result<()> {
    conn.query_drop(sql.as_ref()).await.map_err(|error| connection_error(action, error))
}

/// The same for one that changes tables: a lock that was not granted stops the run, since the same command
/// may get it.
pub(crate) async fn run_ddl(conn: &mut Conn, action: &str, sql: &str) -> Result<()> {
    conn.query_drop(sql).await.map_err(|error| failed(action, error))
}
