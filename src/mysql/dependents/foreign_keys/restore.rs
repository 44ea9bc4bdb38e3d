//! Moves foreign keys from the old table to the new one. Every step reads the catalog first and
//! does what is left to do, so that each may be repeated after a crash.

use mysql_async::Conn;

use super::indexes::kept_indexes;
use super::{ForeignKey, outgoing};
use crate::error::Result;
use crate::mysql::catalog::query::{Patience, run_patiently, temporary};
use crate::mysql::connection::session::run;
use crate::mysql::name::{Helpers, Ident, TableName};
use crate::testing::failpoint::{self, Point};

/// Adds the foreign keys `wanted` to the shadow, which is locked and up to date, under temporary
/// names, since the original has the true ones still. Self-references reference the shadow. For
/// MariaDB, whose swap happens after the locks are gone; [`drop_outgoing`] undoes it.
///
/// # Errors
/// Those of the server; then nothing was added.
pub async fn install_outgoing(
    conn: &mut Conn,
    shadow: &TableName,
    wanted: &[ForeignKey],
    patience: Patience,
) -> Result<()> {
    let present = outgoing(conn, shadow).await?;
    let clauses: Vec<String> = wanted
        .iter()
        .filter(|key| named(&present, &temporary(&key.name)).is_none())
        .map(|key| on_shadow(key, shadow).add_as(&temporary(&key.name)))
        .collect();
    alter(conn, shadow, &clauses, patience).await
}

/// The key as it is on the shadow.
pub(crate) fn on_shadow(key: &ForeignKey, shadow: &TableName) -> ForeignKey {
    let referenced = if key.is_self_reference() { shadow.clone() } else { key.referenced.clone() };
    ForeignKey { table: shadow.clone(), referenced, ..key.clone() }
}

/// Drops all foreign keys of `table`: a shadow whose swap did not come about, or a retired table.
/// They would let a stale row forbid the application's deletes in a parent.
///
/// # Errors
/// Those of the server; then nothing was dropped.
pub async fn drop_outgoing(conn: &mut Conn, table: &TableName, patience: Patience) -> Result<()> {
    let clauses: Vec<String> = outgoing(conn, table)
        .await?
        .iter()
        .map(|key| format!("DROP FOREIGN KEY {}", key.name))
        .collect();
    alter(conn, table, &clauses, patience).await
}

/// After the swap: frees the retired table of its foreign keys and gives those `wanted` to the
/// table that is now called `original`, under their true names. A key that [`install_outgoing`]
/// put there gets its true name. Idempotent.
///
/// On MySQL to be called by the session that holds the lock, between RENAME and UNLOCK, with the
/// tables of [`lock_set`](super::lock_set) locked: then no session ever writes without these keys.
///
/// # Errors
/// Those of the server; a repeated call continues.
pub async fn restore_outgoing(
    conn: &mut Conn,
    original: &TableName,
    retired: &TableName,
    wanted: &[ForeignKey],
    patience: Patience,
) -> Result<()> {
    drop_outgoing(conn, retired, patience).await?;
    let present = outgoing(conn, original).await?;
    let mut clauses = Vec::new();
    for key in wanted {
        let stand_in = temporary(&key.name);
        if named(&present, &stand_in).is_some() {
            clauses.push(format!("DROP FOREIGN KEY {stand_in}"));
        }
        if named(&present, &key.name).is_none() {
            clauses.push(key.add_as(&key.name));
        }
    }
    alter(conn, original, &clauses, patience).await
}

/// Makes the `children` reference `to`, whichever of `original`, its shadow and its retired table
/// they reference now: their names are the same afterwards. `renames`: the columns that are called
/// otherwise in `to` than in `children`, old name first. Idempotent. Returns warnings: children
/// that another session changed in the meantime, which are left alone.
///
/// - After the swap (on MySQL between RENAME and UNLOCK): `to` is the original.
/// - On MariaDB before the locks go: `to` is the shadow; the RENAME takes the keys along.
/// - There, when the swap did not come about: `to` is the original, and nothing is renamed.
///
/// # Errors
/// Those of the server; a repeated call continues.
pub async fn redirect_incoming(
    conn: &mut Conn,
    original: &TableName,
    to: &TableName,
    children: &[ForeignKey],
    renames: &[(Ident, Ident)],
    patience: Patience,
) -> Result<Vec<String>> {
    let mut ours = Helpers::retired_names(original);
    ours.extend([original.clone(), Helpers::of(original).shadow]);
    let mut warnings = Vec::new();
    let mut tables: Vec<&TableName> = children.iter().map(|key| &key.table).collect();
    tables.dedup();
    for table in tables {
        let present = outgoing(conn, table).await?;
        // The servers refuse to drop a key and to add one of its name in one statement (1826), so
        // a stand-in keeps its place.
        let (mut away, mut back) = (Vec::new(), Vec::new());
        let keys: Vec<&ForeignKey> = children.iter().filter(|key| key.table == *table).collect();
        for key in &keys {
            let stand_in = temporary(&key.name);
            let (now, standing_in) = (named(&present, &key.name), named(&present, &stand_in));
            // What the key does is what the catalog says of it: a record has its name.
            let wanted = ForeignKey {
                table: (*table).clone(),
                name: key.name.clone(),
                referenced: to.clone(),
                referenced_columns: renamed(&key.referenced_columns, renames),
                ..now.or(standing_in).unwrap_or(key).clone()
            };
            match (now, standing_in) {
                (Some(now), None) | (None, Some(now)) if !ours.contains(&now.referenced) => {
                    warnings.push(format!(
                        "the foreign key {} references {} now, not {}; left alone",
                        key.plain(),
                        now.referenced.plain(),
                        original.plain()
                    ));
                }
                (Some(now), None)
                    if now.referenced == *to
                        && same_names(&now.referenced_columns, &wanted.referenced_columns) => {}
                (Some(_), None) => {
                    away.push(format!("DROP FOREIGN KEY {}", key.name));
                    away.push(wanted.add_as(&stand_in));
                    back.push(format!("DROP FOREIGN KEY {stand_in}"));
                    back.push(wanted.add_as(&key.name));
                }
                (None, Some(_)) => {
                    back.push(format!("DROP FOREIGN KEY {stand_in}"));
                    back.push(wanted.add_as(&key.name));
                }
                (Some(_), Some(_)) => warnings.push(format!(
                    "{} has foreign keys {} and {stand_in}; left alone",
                    table.plain(),
                    key.name
                )),
                (None, None) => warnings
                    .push(format!("the foreign key {} is gone; not made again", key.plain())),
            }
        }
        for clauses in [&mut away, &mut back] {
            if !clauses.is_empty() {
                clauses.extend(kept_indexes(conn, table, &keys).await?);
            }
            alter(conn, table, clauses, patience).await?;
            failpoint::hit(Point::KeyAway)?;
        }
    }
    Ok(warnings)
}

fn named<'k>(keys: &'k [ForeignKey], name: &Ident) -> Option<&'k ForeignKey> {
    keys.iter().find(|key| key.name.same(name))
}

fn same_names(one: &[Ident], other: &[Ident]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.same(b))
}

/// `columns` after `renames`.
pub(crate) fn renamed(columns: &[Ident], renames: &[(Ident, Ident)]) -> Vec<Ident> {
    let new_name = |column: &Ident| {
        renames.iter().find(|(old, _)| old.same(column)).map_or(column, |(_, new)| new).clone()
    };
    columns.iter().map(new_name).collect()
}

/// One ALTER TABLE that only changes the catalog: existing rows are not looked at.
async fn alter(
    conn: &mut Conn,
    table: &TableName,
    clauses: &[String],
    patience: Patience,
) -> Result<()> {
    if clauses.is_empty() {
        return Ok(());
    }
    let action = format!("moving foreign keys of {}", table.plain());
    let sql = format!("ALTER TABLE {table} {}, ALGORITHM=INPLACE", clauses.join(", "));
    relax(conn, patience).await?;
    let result = run_patiently(conn, &action, &sql, patience).await;
    let restored = unrelax(conn).await;
    result.and(restored)
}

/// Switches the session's foreign key checks off, so that keys are added in place and no row is
/// read, and lets it wait for locks as briefly as `patience` says.
async fn relax(conn: &mut Conn, patience: Patience) -> Result<()> {
    let seconds = patience.seconds();
    let action = "preparing a session for foreign keys";
    let save = "SET @osc_checks = @@SESSION.foreign_key_checks, \
                @osc_lock_wait = @@SESSION.lock_wait_timeout, \
                @osc_row_wait = @@SESSION.innodb_lock_wait_timeout";
    run(conn, action, save).await?;
    let change = format!(
        "SET SESSION foreign_key_checks = 0, lock_wait_timeout = {seconds}, \
         innodb_lock_wait_timeout = {seconds}"
    );
    run(conn, action, change).await?;
    allow_old_forms(conn).await
}

/// Puts back what [`relax`] changed.
async fn unrelax(conn: &mut Conn) -> Result<()> {
    let restore = "SET SESSION foreign_key_checks = @osc_checks, \
                   lock_wait_timeout = @osc_lock_wait, innodb_lock_wait_timeout = @osc_row_wait";
    run(conn, "putting a session's settings back", restore).await
}

/// Lets the session make keys that the server made once and would refuse now: MySQL 8.4 no longer
/// likes parents without a unique key, MariaDB no ALTER of a system-versioned table. Servers that
/// do not know a setting do not need it.
pub(crate) async fn allow_old_forms(conn: &mut Conn) -> Result<()> {
    for setting in
        ["restrict_fk_on_non_standard_key = OFF", "system_versioning_alter_history = KEEP"]
    {
        let set = run(conn, "preparing a session", format!("SET SESSION {setting}")).await;
        if let Err(error) = set
            && error.is_connection()
        {
            return Err(error);
        }
    }
    Ok(())
}
