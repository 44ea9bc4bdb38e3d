//! How the two tables look, to notice what others change about them.

use tokio_postgres::Client;

use crate::error::{Error, Result};
use crate::postgres::connection::session::value;
use crate::postgres::name::TableName;

const ACTION: &str = "watching the tables";

/// The tables that are watched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    /// The original's OID.
    pub original: u32,
    /// The shadow's.
    pub shadow: u32,
    /// The shadow is a table that was there before the run, and may be another role's: whoever owns it can hang
    /// on it what runs when it is written, or alter its rows.
    pub taken: bool,
}

/// The query of how both tables look: names, owners, columns and partitions, row security, the original's
/// indexes, statistics and checks, and what would run when rows are written to the shadow. Not what VACUUM,
/// ANALYZE, CLUSTER or the build of the shadow's indexes changes.
///
/// An ALTER of a column that leaves its type as it is may have given every row another value, which no
/// stream reports; it rewrites the column's row of the catalog, which its `xmin` shows. The same shows
/// whether osc's triggers were off for a while. Of rules `relhasrules` says too much: VACUUM takes it back.
pub(crate) fn query(watched: Watched) -> String {
    let Watched { original, shadow, taken } = watched;
    let close = if taken { format!("{original}, {shadow}") } else { original.to_string() };
    let of_shadow =
        if taken { "concat_ws(' ', g.oid, g.tgenabled, g.xmin)" } else { "g.oid::text" };
    format!(
        "SELECT md5(string_agg(concat_ws(':', c.oid, c.relname, n.nspname, c.relkind, \
         c.relpersistence, c.relowner, c.relrowsecurity, c.relforcerowsecurity, \
         (SELECT string_agg(concat_ws(',', a.attname, a.atttypid, a.atttypmod, a.attcollation, \
          a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, md5(d.adbin::text), \
          CASE WHEN c.oid IN ({close}) THEN a.xmin::text END), ';' \
          ORDER BY a.attnum) FROM pg_attribute a \
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
         (SELECT string_agg(concat_ws(' ', i.indexrelid, x.relname), ',' ORDER BY i.indexrelid) \
          FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid \
          WHERE i.indrelid = c.oid AND c.oid IN ({close})), \
         (SELECT string_agg(k.oid::text, ',' ORDER BY k.oid) FROM pg_constraint k \
          WHERE k.conrelid = c.oid AND k.contype = 'c'), \
         (SELECT string_agg(h.inhrelid::text, ',' ORDER BY h.inhrelid) FROM pg_inherits h \
          WHERE h.inhparent = c.oid), \
         (SELECT string_agg(x.oid::text, ',' ORDER BY x.oid) FROM pg_statistic_ext x \
          WHERE x.stxrelid = c.oid AND c.oid = {original}), \
         (SELECT string_agg(concat_ws(' ', g.oid, g.tgenabled, g.xmin), ',' ORDER BY g.oid) \
          FROM pg_trigger g WHERE g.tgrelid = c.oid AND c.oid = {original} \
          AND g.tgname ~ '^osc_[0-9]' AND NOT g.tgisinternal), \
         (SELECT string_agg({of_shadow}, ',' ORDER BY g.oid) FROM pg_trigger g \
          WHERE g.tgrelid = c.oid AND c.oid = {shadow} AND NOT g.tgisinternal), \
         CASE WHEN c.oid = {shadow} THEN EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid) END), '|' ORDER BY c.oid)) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid IN ({original}, {shadow})"
    )
}

/// How both tables look ([`query()`]).
///
/// # Errors
/// The server's.
pub(crate) async fn of(client: &Client, watched: Watched) -> Result<String> {
    Ok(value(client, ACTION, &query(watched)).await?.unwrap_or_default())
}

/// The error when they look otherwise.
pub(crate) fn changed(original: &TableName) -> String {
    let original = original.plain();
    format!("another session changed {original} or its shadow while it was being copied")
}

/// Fails when they do not look as they did when the shadow was made.
///
/// # Errors
/// `Foreign`; the server's.
pub(crate) async fn look(
    client: &Client,
    watched: Watched,
    made: &str,
    name: &TableName,
) -> Result<()> {
    if of(client, watched).await? == made {
        return Ok(());
    }
    Err(Error::Foreign(changed(name)))
}
