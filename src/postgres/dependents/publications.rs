//! Membership in publications.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::sql;
use crate::error::Result;
use crate::postgres::clauses::columns::ColumnOutcomes;
use crate::postgres::name::{Ident, TableName};

/// A publication that sends the table's changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Publication {
    /// Its name.
    pub name: Ident,
    /// Whether it takes in every table, or every one of the schema: then it would take in the
    /// shadow too.
    pub wide: bool,
    /// It sends the changes of partitions as those of their table.
    #[serde(default)]
    pub by_root: bool,
    /// Its column list.
    pub columns: Option<Vec<Ident>>,
    /// Its row filter.
    pub filter: Option<String>,
    /// Columns of the original that the filter or the list names.
    pub used: Vec<Ident>,
    /// Whether osc's role may alter it.
    pub owned: bool,
}

/// Reads them, osc's own aside. Column lists, row filters and whole schemas exist from 15 on.
pub(super) async fn read(client: &Client, oid: u32, version: i32) -> Result<Vec<Publication>> {
    let used = sql::columns_used("pg_publication_rel", "r.oid");
    let (columns, filter, schemas) = if version >= 150_000 {
        (
            "CASE WHEN r.prattrs IS NOT NULL THEN ARRAY(SELECT a.attname::text \
             FROM pg_catalog.unnest(r.prattrs::int2[]) WITH ORDINALITY k(n, place) \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = k.n \
             ORDER BY k.place) END",
            "pg_catalog.pg_get_expr(r.prqual, r.prrelid)",
            " OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace s \
             JOIN pg_catalog.pg_class c ON c.relnamespace = s.pnnspid \
             WHERE s.pnpubid = p.oid AND c.oid = $1)",
        )
    } else {
        ("NULL::text[]", "NULL::text", "")
    };
    let query = format!(
        "SELECT p.pubname AS name, x.wide AND r.oid IS NULL AS wide, \
         p.pubviaroot AS by_root, {columns} AS columns, \
         {filter} AS filter, {used} AS used, pg_catalog.pg_has_role(p.pubowner, 'USAGE') AS owned \
         FROM pg_catalog.pg_publication p \
         LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = $1, \
         LATERAL (SELECT p.puballtables{schemas} AS wide) x \
         WHERE p.pubname NOT LIKE 'osc\\_%' AND (x.wide OR r.oid IS NOT NULL) ORDER BY p.pubname"
    );
    sql::rows(client, "publications", &query, oid).await
}

/// Takes the original out.
pub(super) fn drop(publication: &Publication, original: &TableName) -> Option<String> {
    let name = &publication.name;
    (!publication.wide).then(|| format!("ALTER PUBLICATION {name} DROP TABLE {original}"))
}

/// Takes the new table in.
pub(super) fn add(
    publication: &Publication,
    table: &TableName,
    outcomes: &ColumnOutcomes,
) -> Option<String> {
    if publication.wide {
        return None;
    }
    let list = publication.columns.as_ref().map(|columns| {
        let names: Vec<String> =
            columns.iter().filter_map(|column| outcomes.of(column)).map(Ident::to_string).collect();
        format!(" ({})", names.join(", "))
    });
    let filter = publication.filter.as_ref().map(|filter| format!(" WHERE ({filter})"));
    let (list, filter) = (list.unwrap_or_default(), filter.unwrap_or_default());
    let name = &publication.name;
    Some(format!("ALTER PUBLICATION {name} ADD TABLE ONLY {table}{list}{filter}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_keeps_its_columns_and_its_filter() {
        let publication = Publication {
            name: Ident::new("p"),
            wide: false,
            by_root: false,
            columns: Some(vec![Ident::new("id"), Ident::new("a")]),
            filter: Some("(id > 5)".into()),
            used: vec![],
            owned: true,
        };
        let mut outcomes = ColumnOutcomes::default();
        outcomes.columns.insert(Ident::new("a"), Some(Ident::new("b")));
        assert_eq!(
            add(&publication, &TableName::new("s", "t"), &outcomes).unwrap(),
            "ALTER PUBLICATION \"p\" ADD TABLE ONLY \"s\".\"t\" (\"id\", \"b\") WHERE ((id > 5))"
        );
        let wide = Publication { wide: true, ..publication };
        assert_eq!(drop(&wide, &TableName::new("s", "t")), None);
    }
}
