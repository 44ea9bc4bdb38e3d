//! How the two tables look, to notice what others change about them.

use tokio_postgres::Client;

use crate::engine::{Error, Result};
use crate::postgres::name::TableName;
use crate::postgres::record::Record;
use crate::postgres::session::value;

const ACTION: &str = "watching the tables";

/// How both tables look: columns and partitions, the original's indexes and checks, and what would run
/// when rows are written to the shadow. Not what a rewrite, a
/// statistics run or the build of the shadow's indexes changes.
///
/// # Errors
/// The server's.
pub async fn of(client: &Client, original: u32, shadow: u32) -> Result<String> {
    let sql = format!(
        "SELECT md5(string_agg(concat_ws(':', c.oid, c.relname, c.relnamespace, c.relkind, \
         c.relpersistence, \
         (SELECT string_agg(concat_ws(',', a.attname, a.atttypid, a.atttypmod, a.attcollation, \
          a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, md5(d.adbin::text)), ';' \
          ORDER BY a.attnum) FROM pg_attribute a \
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
         (SELECT string_agg(concat_ws(' ', i.indexrelid, x.relname), ',' ORDER BY i.indexrelid) \
          FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid \
          WHERE i.indrelid = c.oid AND c.oid = {original}), \
         (SELECT string_agg(k.oid::text, ',' ORDER BY k.oid) FROM pg_constraint k \
          WHERE k.conrelid = c.oid AND k.contype = 'c'), \
         (SELECT string_agg(h.inhrelid::text, ',' ORDER BY h.inhrelid) FROM pg_inherits h \
          WHERE h.inhparent = c.oid), \
         (SELECT string_agg(g.oid::text, ',' ORDER BY g.oid) FROM pg_trigger g \
          WHERE g.tgrelid = c.oid AND c.oid = {shadow} AND NOT g.tgisinternal), \
         CASE WHEN c.oid = {shadow} THEN c.relhasrules::text || c.relrowsecurity END), '|' ORDER BY c.oid)) \
         FROM pg_class c WHERE c.oid IN ({original}, {shadow})"
    );
    Ok(value(client, ACTION, &sql).await?.unwrap_or_default())
}

/// Fails when they do not look as they did when the shadow was made.
///
/// # Errors
/// `Foreign`; the server's.
pub async fn look(client: &Client, record: &Record, original: &TableName) -> Result<()> {
    if of(client, record.original, record.shadow).await? == record.fingerprint {
        return Ok(());
    }
    Err(Error::Foreign(format!(
        "another session changed {} or its shadow while it was being copied",
        original.plain()
    )))
}
