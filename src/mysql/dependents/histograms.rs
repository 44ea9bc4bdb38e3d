//! Statistics: the new table must not be slower than the old one because the optimizer knows less.

use mysql_async::Conn;

use crate::error::{Error, Result};
use crate::mysql::connection::session::run;
use crate::mysql::connection::texts::text_rows;
use crate::mysql::connection::version::Flavor;
use crate::mysql::name::{Ident, TableName, Text};

/// What the original's owner has had collected beyond what InnoDB collects by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Collected {
    /// Nothing.
    Nothing,
    /// MySQL's histograms.
    Histograms(Vec<Histogram>),
    /// MariaDB's persistent statistics; with histograms of this type, if any.
    Persistent { histogram_type: Option<String> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Histogram {
    column: Ident,
    buckets: u32,
    auto_update: bool,
}

/// Collects statistics of the shadow: those that the server keeps by itself, and those that the
/// original has beyond that, columns named by `renames` where the clauses rename them. Histograms
/// of columns that are gone are left out. Returns warnings.
///
/// The shadow is read, in part or whole, and no session waits for that. What the original has beyond
/// the usual is written to the binary log, so that replicas have it too.
///
/// # Errors
/// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
pub async fn analyze(
    conn: &mut Conn,
    flavor: Flavor,
    original: &TableName,
    shadow: &TableName,
    renames: &[(Ident, Ident)],
) -> Result<Vec<String>> {
    let collected = if flavor.is_mariadb() {
        persistent(conn, original).await?
    } else {
        histograms(conn, original).await?
    };
    let mut warnings = Vec::new();
    match collected {
        Collected::Nothing => {}
        Collected::Histograms(list) => {
            let present = columns(conn, shadow).await?;
            for histogram in list {
                let renamed = renames.iter().find(|(old, _)| old.same(&histogram.column));
                let column = renamed.map_or(&histogram.column, |(_, new)| new);
                if !present.iter().any(|known| known.same(column)) {
                    continue;
                }
                let update = if histogram.auto_update { " AUTO UPDATE" } else { "" };
                let sql = format!(
                    "ANALYZE TABLE {shadow} UPDATE HISTOGRAM ON {column} WITH {} BUCKETS{update}",
                    histogram.buckets
                );
                warnings.extend(complaints(conn, &sql).await?);
            }
        }
        Collected::Persistent { histogram_type } => {
            return persist(conn, shadow, histogram_type).await;
        }
    }
    let sql = format!("ANALYZE NO_WRITE_TO_BINLOG TABLE {shadow}");
    warnings.extend(complaints(conn, &sql).await?);
    Ok(warnings)
}

async fn persist(
    conn: &mut Conn,
    shadow: &TableName,
    histogram_type: Option<String>,
) -> Result<Vec<String>> {
    let action = "preparing a session for statistics";
    let save = "SET @osc_type = @@SESSION.histogram_type, @osc_size = @@SESSION.histogram_size";
    run(conn, action, save).await?;
    let wanted = match histogram_type {
        Some(kind) => format!("histogram_type = {}", Text(&kind)),
        None => "histogram_size = 0".into(),
    };
    run(conn, action, format!("SET SESSION {wanted}")).await?;
    let sql = format!("ANALYZE TABLE {shadow} PERSISTENT FOR ALL");
    let warnings = complaints(conn, &sql).await;
    run(
        conn,
        "putting a session's settings back",
        "SET SESSION histogram_type = @osc_type, histogram_size = @osc_size",
    )
    .await?;
    warnings
}

/// ANALYZE reports failure in its result.
async fn complaints(conn: &mut Conn, sql: &str) -> Result<Vec<String>> {
    let rows = text_rows(conn, "collecting the shadow's statistics", sql).await?;
    Ok(rows
        .into_iter()
        .filter(|[_, _, kind, _]| kind.eq_ignore_ascii_case("error"))
        .map(|[table, _, _, text]| format!("statistics of {table}: {text}"))
        .collect())
}

async fn columns(conn: &mut Conn, table: &TableName) -> Result<Vec<Ident>> {
    let sql = format!(
        "SELECT COLUMN_NAME FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        Text(table.schema.as_str()),
        Text(table.table.as_str())
    );
    let rows = text_rows(conn, "reading the shadow's columns", &sql).await?;
    Ok(rows.into_iter().map(|[name]| Ident(name)).collect())
}

async fn histograms(conn: &mut Conn, table: &TableName) -> Result<Collected> {
    let sql = format!(
        "SELECT COLUMN_NAME, \
         HISTOGRAM->>'$.\"number-of-buckets-specified\"', HISTOGRAM->>'$.\"auto-update\"' \
         FROM information_schema.COLUMN_STATISTICS \
         WHERE SCHEMA_NAME = {} AND TABLE_NAME = {} ORDER BY COLUMN_NAME",
        Text(table.schema.as_str()),
        Text(table.table.as_str())
    );
    let mut list = Vec::new();
    for [column, buckets, auto_update] in text_rows(conn, "reading histograms", &sql).await? {
        let buckets = buckets.parse().map_err(|_| {
            Error::Internal(format!("the histogram of {column} has {buckets:?} buckets"))
        })?;
        list.push(Histogram { column: Ident(column), buckets, auto_update: auto_update == "true" });
    }
    Ok(if list.is_empty() { Collected::Nothing } else { Collected::Histograms(list) })
}

async fn persistent(conn: &mut Conn, table: &TableName) -> Result<Collected> {
    let sql = format!(
        "SELECT COUNT(*), MAX(CASE WHEN hist_size > 0 THEN hist_type END) \
         FROM mysql.column_stats WHERE db_name = {} AND table_name = {}",
        Text(table.schema.as_str()),
        Text(table.table.as_str())
    );
    let rows = match text_rows(conn, "reading persistent statistics", &sql).await {
        Ok(rows) => rows,
        // A user without rights on the server's own tables collected none here either.
        Err(Error::Refused(_)) => return Ok(Collected::Nothing),
        Err(other) => return Err(other),
    };
    Ok(match rows.into_iter().next() {
        Some([count, kind]) if count != "0" => {
            Collected::Persistent { histogram_type: (!kind.is_empty()).then_some(kind) }
        }
        _ => Collected::Nothing,
    })
}
