//! How the catalog is read, and small pieces of SQL that several kinds share.

use serde::de::DeserializeOwned;
use tokio_postgres::Client;

use crate::error::{Error, Result};
use crate::postgres::connection::errors::server_error;
use crate::postgres::name::Text;

/// Reads rows as JSON made by the server: one struct a kind of object says what is read. `$1` in
/// `query` is `oid`.
pub(super) async fn rows<T: DeserializeOwned>(
    client: &Client,
    what: &str,
    query: &str,
    oid: u32,
) -> Result<Vec<T>> {
    let action = format!("reading {what} from the catalog");
    let query =
        format!("SELECT coalesce(json_agg(row_to_json(x)), '[]'::json)::text FROM ({query}) x");
    let row =
        client.query_one(&query, &[&oid]).await.map_err(|error| server_error(&action, &error))?;
    let text: String = row.try_get(0).map_err(|error| server_error(&action, &error))?;
    serde_json::from_str(&text).map_err(|error| Error::Internal(format!("{action}: {error}")))
}

/// A subquery: the columns of the original (`$1`) that the object `objid` of catalog `class` names.
pub(super) fn columns_used(class: &str, objid: &str) -> String {
    format!(
        "ARRAY(SELECT DISTINCT ua.attname::text FROM pg_catalog.pg_depend ud \
         JOIN pg_catalog.pg_attribute ua ON ua.attrelid = ud.refobjid AND ua.attnum = ud.refobjsubid \
         WHERE ud.classid = 'pg_catalog.{class}'::regclass AND ud.objid = {objid} \
         AND ud.refclassid = 'pg_catalog.pg_class'::regclass AND ud.refobjid = $1 \
         AND ud.refobjsubid > 0 ORDER BY 1)"
    )
}

/// An expression: the relation `class` of namespace `namespace` as [`TableName`] in JSON.
///
/// [`TableName`]: crate::postgres::name::TableName
pub(super) fn table_name(class: &str, namespace: &str) -> String {
    format!("json_build_object('schema', {namespace}.nspname, 'table', {class}.relname)")
}

/// Runs `statement` only where `condition` holds by then: the clauses may have dropped its object.
pub(super) fn when(condition: &str, statement: &str) -> String {
    let body = format!("BEGIN IF {condition} THEN EXECUTE {}; END IF; END", Text(statement));
    format!("DO {}", Text(&body))
}

/// Runs the statements of one list or the other, by whether `condition` holds by then.
pub fn either(condition: &str, then: &[String], otherwise: &[String]) -> String {
    let run = |all: &[String]| {
        all.iter().map(|sql| format!("EXECUTE {}; ", Text(sql))).collect::<String>()
    };
    let body = format!("BEGIN IF {condition} THEN {}ELSE {}END IF; END", run(then), run(otherwise));
    format!("DO {}", Text(&body))
}

/// `COMMENT ON object IS …`, where there is a comment.
pub(super) fn comment(object: &str, comment: Option<&String>) -> Option<String> {
    comment.map(|comment| format!("COMMENT ON {object} IS {}", Text(comment)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conditional_statement_is_quoted_twice() {
        assert_eq!(
            when("true", "COMMENT ON TABLE t IS 'it''s'"),
            "DO 'BEGIN IF true THEN EXECUTE ''COMMENT ON TABLE t IS ''''it''''''''s''''''; END IF; END'"
        );
    }

    #[test]
    fn an_object_without_comment_needs_no_statement() {
        assert_eq!(comment("TABLE t", None), None);
        assert_eq!(comment("TABLE t", Some(&"x".to_owned())).unwrap(), "COMMENT ON TABLE t IS 'x'");
    }
}
