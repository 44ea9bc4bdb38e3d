//! What the foreign keys must be after the swap, and whether they can be: the server tries them, with
//! tables that are empty.

use std::time::Duration;

use mysql_async::Conn;
use serde::{Deserialize, Serialize};

use super::indexes::kept_indexes;
use super::restore::{allow_old_forms, on_shadow, renamed};
use super::{ForeignKey, incoming, outgoing};
use crate::error::{Error, Finding, Result};
use crate::mysql::catalog::query::{Patience, objection, run_patiently, temporary};
use crate::mysql::connection::session::run;
use crate::mysql::connection::texts::text_rows;
use crate::mysql::name::{Helpers, Ident, TableName, Text};

/// Columns that the clauses rename or drop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnChanges {
    /// Old and new names.
    pub renamed: Vec<(Ident, Ident)>,
    /// Names of the columns that go.
    pub dropped: Vec<Ident>,
}

impl ColumnChanges {
    /// The column that goes and that the key references.
    fn gone<'k>(&self, key: &'k ForeignKey) -> Option<&'k Ident> {
        let goes = |column: &&Ident| self.dropped.iter().any(|dropped| dropped.same(column));
        key.referenced_columns.iter().find(goes)
    }
}

/// The foreign keys of one migration; worth keeping in the ledger, since after the swap the catalog
/// tells no longer what is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settled {
    /// The keys that the new table must have, as they must be then.
    pub outgoing: Vec<ForeignKey>,
    /// The keys of other tables that must reference the new table, as they are before the swap.
    pub incoming: Vec<ForeignKey>,
    /// Columns that are called otherwise in the new table, old names first.
    pub renames: Vec<(Ident, Ident)>,
}

/// Settles which foreign keys there must be after the swap, and finds those that cannot be.
///
/// `shadow` is empty, not in use, has no foreign keys and *all* its indexes. `added` are the
/// clauses that add keys, `dropped` the keys that the clauses drop. For each key of `added` the
/// shadow is left with the index that the server makes for it where there is none.
///
/// Tables are probed by adding keys to the empty shadow, and to an empty copy of each child, and
/// dropping them at once.
///
/// # Errors
/// Those of [`connection_error`](crate::mysql::connection::errors::connection_error) when the probing itself
/// fails. What the server has against a key is a finding.
pub async fn settle(
    conn: &mut Conn,
    original: &TableName,
    shadow: &TableName,
    columns: &ColumnChanges,
    added: &[String],
    dropped: &[Ident],
) -> Result<(Settled, Vec<Finding>)> {
    allow_old_forms(conn).await?;
    let wait = format!("SET SESSION lock_wait_timeout = {}", PATIENCE.seconds());
    run(conn, "preparing a session for foreign keys", wait).await?;
    let mut findings = Vec::new();
    let present = outgoing(conn, original).await?;
    let mut wanted = Vec::new();
    for key in present.iter().filter(|key| !dropped.iter().any(|name| name.same(&key.name))) {
        let mut key =
            ForeignKey { columns: renamed(&key.columns, &columns.renamed), ..key.clone() };
        if key.is_self_reference() {
            key.referenced_columns = renamed(&key.referenced_columns, &columns.renamed);
        }
        findings.extend(probe_kept(conn, shadow, &key).await?);
        wanted.push(key);
    }
    for clause in added {
        match probe_added(conn, original, shadow, clause).await? {
            Ok(keys) => {
                for mut key in keys {
                    key.name = final_name(key.name, original, shadow, &present, &wanted);
                    wanted.push(key);
                }
            }
            Err(finding) => findings.push(finding),
        }
    }
    findings.extend(foreseen(conn, original, columns).await?);
    let children = incoming(conn, original).await?;
    findings.extend(probe_children(conn, original, shadow, columns, &children).await?);
    let renames = columns.renamed.clone();
    Ok((Settled { outgoing: wanted, incoming: children, renames }, findings))
}

/// What stands against the keys of other tables that can be known without trying them.
///
/// # Errors
/// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
pub async fn foreseen(
    conn: &mut Conn,
    original: &TableName,
    columns: &ColumnChanges,
) -> Result<Vec<Finding>> {
    let children = incoming(conn, original).await?;
    let mut findings = Vec::new();
    for key in &children {
        if let Some(column) = columns.gone(key) {
            findings.push(Finding::new(
                "referenced-column",
                format!(
                    "the column {column} goes, but the foreign key {} references it",
                    key.plain()
                ),
                format!(
                    "first drop that key: ALTER TABLE {} DROP FOREIGN KEY {}",
                    key.table, key.name
                ),
            ));
            continue;
        }
        let stand_in = temporary(&key.name);
        if outgoing(conn, &key.table).await?.iter().any(|other| other.name.same(&stand_in)) {
            findings.push(Finding::new(
                "foreign-key-name",
                format!("{} has a foreign key {stand_in}, whose name osc needs", key.table.plain()),
                "give it another name first",
            ));
        }
    }
    findings.extend(hidden_for_good(conn, original, children).await?);
    Ok(findings)
}

/// Children that stay hidden: the lists are read one after the other, and another run may try a key between.
async fn hidden_for_good(
    conn: &mut Conn,
    original: &TableName,
    mut seen: Vec<ForeignKey>,
) -> Result<Vec<Finding>> {
    for _ in 1..LOOKS {
        if hidden_children(conn, original, &seen).await?.is_empty() {
            return Ok(Vec::new());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        seen = incoming(conn, original).await?;
    }
    hidden_children(conn, original, &seen).await
}

/// Looks at what may be hidden, and the time between two.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// To try a key the parent is locked briefly, and who waits for it makes others wait.
const PATIENCE: Patience = Patience { lock_wait: Duration::from_secs(1), attempts: 10 };

/// Whose locks the trying waits for.
const TABLES: &str = "the tables that the keys reference";

/// Tries a foreign key.
async fn attempt(conn: &mut Conn, action: &str, sql: &str) -> Result<()> {
    run_patiently(conn, action, sql, PATIENCE).await
}

async fn indexes(conn: &mut Conn, table: &TableName) -> Result<Vec<[String; 1]>> {
    let sql = format!(
        "SELECT DISTINCT INDEX_NAME FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        Text(table.schema.as_str()),
        Text(table.table.as_str())
    );
    text_rows(conn, "reading the indexes of the shadow", &sql).await
}

/// The index that the server made for the key, if it did, stays.
async fn drop_key(conn: &mut Conn, table: &TableName, key: &ForeignKey) -> Result<()> {
    let mut clauses = kept_indexes(conn, table, &[key]).await?;
    clauses.push(format!("DROP FOREIGN KEY {}", key.name));
    let sql = format!("ALTER TABLE {table} {}", clauses.join(", "));
    run_patiently(conn, "dropping a foreign key that was tried", &sql, Patience::FINISH).await
}

async fn probe_kept(
    conn: &mut Conn,
    shadow: &TableName,
    key: &ForeignKey,
) -> Result<Option<Finding>> {
    let before = indexes(conn, shadow).await?.len();
    let name = temporary(&key.name);
    let mut clauses = kept_indexes(conn, shadow, &[key]).await?;
    clauses.push(on_shadow(key, shadow).add_as(&name));
    let sql = format!("ALTER TABLE {shadow} {}", clauses.join(", "));
    let add = attempt(conn, "trying a foreign key on the shadow", &sql).await;
    if let Some(message) = objection(TABLES, add)? {
        return Ok(Some(Finding::new(
            "foreign-key",
            format!("the foreign key {} cannot be kept: {message}", key.plain()),
            format!("drop it in the same statement: DROP FOREIGN KEY {}", key.name),
        )));
    }
    drop_key(conn, shadow, &ForeignKey { name, ..key.clone() }).await?;
    // The server makes the missing index of its own, which would read the whole table later.
    Ok((indexes(conn, shadow).await?.len() > before).then(|| {
        Finding::new(
            "foreign-key-index",
            format!("the clauses drop the index that the foreign key {} needs", key.plain()),
            "keep the index, or drop the foreign key in the same statement",
        )
    }))
}

/// The keys that a clause adds, as the server understands it.
async fn probe_added(
    conn: &mut Conn,
    original: &TableName,
    shadow: &TableName,
    clause: &str,
) -> Result<std::result::Result<Vec<ForeignKey>, Finding>> {
    let sql = format!("ALTER TABLE {shadow} {clause}");
    if let Some(message) = objection(TABLES, attempt(conn, "trying a new foreign key", &sql).await)?
    {
        return Ok(Err(Finding::new(
            "foreign-key",
            format!("the server refuses `{clause}`: {message}"),
            "correct the clause",
        )));
    }
    let mut keys = outgoing(conn, shadow).await?;
    let mut missing = None;
    for key in &mut keys {
        drop_key(conn, shadow, key).await?;
        // With the checks off the server takes a key to a table that there is not.
        if !is_there(conn, &key.referenced).await? {
            missing = Some(Finding::new(
                "foreign-key-parent",
                format!("`{clause}`: there is no table {}", key.referenced.plain()),
                "create it first, or correct the name",
            ));
        }
        key.table = original.clone();
        if key.referenced == *shadow {
            key.referenced = original.clone();
        }
    }
    Ok(missing.map_or(Ok(keys), Err))
}

async fn is_there(conn: &mut Conn, table: &TableName) -> Result<bool> {
    let sql = format!(
        "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        Text(table.schema.as_str()),
        Text(table.table.as_str())
    );
    let rows: Vec<[String; 1]> = text_rows(conn, "looking for a referenced table", &sql).await?;
    Ok(!rows.is_empty())
}

/// The name that the server would have given the key on the original: `users_ibfk_3` where it made
/// `users_osc_new_ibfk_1`.
fn final_name(
    name: Ident,
    original: &TableName,
    shadow: &TableName,
    present: &[ForeignKey],
    wanted: &[ForeignKey],
) -> Ident {
    let number = |name: &Ident, table: &TableName| -> Option<u32> {
        name.as_str().strip_prefix(table.table.as_str())?.strip_prefix("_ibfk_")?.parse().ok()
    };
    if number(&name, shadow).is_none() {
        return name;
    }
    let taken = present.iter().chain(wanted).filter_map(|key| number(&key.name, original)).max();
    Ident(format!("{}_ibfk_{}", original.table.as_str(), taken.unwrap_or(0).saturating_add(1)))
}

/// An empty table beside `original` that a child's keys are tried on.
fn probe_of(original: &TableName) -> TableName {
    original.sibling(temporary(&Helpers::of(original).shadow.table).0)
}

async fn probe_children(
    conn: &mut Conn,
    original: &TableName,
    shadow: &TableName,
    columns: &ColumnChanges,
    children: &[ForeignKey],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let probe = probe_of(original);
    let drop_probe = format!("DROP TABLE IF EXISTS {probe}");
    for key in children.iter().filter(|key| columns.gone(key).is_none()) {
        let stand_in = temporary(&key.name);
        let action = "trying a child's foreign key on the shadow";
        run(conn, action, &drop_probe).await?;
        run(conn, action, format!("CREATE TABLE {probe} LIKE {}", key.table)).await?;
        let tried = ForeignKey {
            table: probe.clone(),
            referenced: shadow.clone(),
            referenced_columns: renamed(&key.referenced_columns, &columns.renamed),
            ..key.clone()
        };
        let sql = format!("ALTER TABLE {probe} {}", tried.add_as(&stand_in));
        let tried = objection(TABLES, attempt(conn, action, &sql).await);
        run(conn, "dropping an empty table", &drop_probe).await?;
        if let Some(message) = tried? {
            findings.push(Finding::new(
                "referenced-column",
                format!(
                    "the foreign key {} could not reference the new table: {message}",
                    key.plain()
                ),
                "keep the referenced columns' types and an index on them, or drop that key first",
            ));
        }
    }
    Ok(findings)
}

/// Children that the user may not see would silently keep referencing the retired table. InnoDB's
/// own list has them all; it needs the right PROCESS, and without that there is no telling.
async fn hidden_children(
    conn: &mut Conn,
    original: &TableName,
    seen: &[ForeignKey],
) -> Result<Vec<Finding>> {
    let (Some(schema), Some(table)) =
        (file_name(original.schema.as_str()), file_name(original.table.as_str()))
    else {
        return Ok(Vec::new());
    };
    let reference = format!("{schema}/{table}");
    for list in ["INNODB_FOREIGN", "INNODB_SYS_FOREIGN"] {
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.{list} \
             WHERE REF_NAME = {reference} AND FOR_NAME <> {reference}",
            reference = Text(&reference)
        );
        match text_rows(conn, "counting the children of a table", &sql).await {
            Ok(rows) => {
                let counted: usize =
                    rows.first().and_then(|[count]| count.parse().ok()).unwrap_or(0);
                if counted <= seen.len() {
                    return Ok(Vec::new());
                }
                return Ok(vec![Finding::new(
                    "hidden-children",
                    format!(
                        "{counted} foreign keys reference {}, of which osc's user may see {}",
                        original.plain(),
                        seen.len()
                    ),
                    "grant the user SELECT, REFERENCES and ALTER on the tables that have them",
                )]);
            }
            // MariaDB has the other name; without PROCESS the list is closed.
            Err(Error::Server { .. } | Error::Refused(_)) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(Vec::new())
}

/// The name as InnoDB writes it, for names that are plain enough to tell.
fn file_name(name: &str) -> Option<&str> {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then_some(name)
}

/// Keys by which a parent's row changes the original's rows without a word in the binary log:
/// a run that reads only the log would miss these changes.
///
/// InnoDB cascades below the log on MariaDB and MySQL; MySQL logs them from 9.6 on, unless
/// `innodb_native_foreign_keys` is set.
///
/// # Errors
/// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
pub async fn unlogged_cascades(conn: &mut Conn, outgoing: &[ForeignKey]) -> Result<Vec<Finding>> {
    let cascades = |key: &&ForeignKey| key.on_delete.writes() || key.on_update.writes();
    if !outgoing.iter().any(|key| cascades(&key)) {
        return Ok(Vec::new());
    }
    let sql = "SHOW VARIABLES LIKE 'innodb_native_foreign_keys'";
    let rows = text_rows(conn, "asking who cascades", sql).await?;
    if rows.first().is_some_and(|[_, value]| value == "OFF") {
        return Ok(Vec::new());
    }
    Ok(outgoing
        .iter()
        .filter(cascades)
        .map(|key| {
            Finding::new(
                "unlogged-cascade",
                format!(
                    "a change of {} changes rows of {} through the foreign key {} (ON DELETE {}, \
                     ON UPDATE {}), and this server does not write that to its binary log",
                    key.referenced.plain(),
                    key.table.plain(),
                    key.name,
                    key.on_delete,
                    key.on_update
                ),
                "make the key RESTRICT for the time of the change, or see to it that the parent's \
                 rows are neither deleted nor given new keys",
            )
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_name_is_the_one_that_the_original_would_have_got() {
        let (original, shadow) = (TableName::new("s", "u"), TableName::new("s", "u_osc_new"));
        let name = |name: &str| final_name(Ident::new(name), &original, &shadow, &[], &[]);
        assert_eq!(name("u_osc_new_ibfk_4").as_str(), "u_ibfk_1");
        assert_eq!(name("mine").as_str(), "mine");
    }
}
