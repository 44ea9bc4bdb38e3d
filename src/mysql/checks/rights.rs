//! Whether the user may do what a run will need.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::Checked;
use crate::error::{Finding, Findings, Result};
use crate::mysql::connection::answer::Answers as _;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::connection::privileges::{Grant, lacking, lacking_where};
use crate::mysql::name::{TableName, account};
use crate::mysql::runs::ledger;

/// What a run needs on the table's schema.
const ON_SCHEMA: [&str; 9] =
    ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX", "LOCK TABLES"];

/// Compares the user's grants with what a run needs. A user with roles is believed: what a role
/// gives is not listed here; the server names what is missing.
pub(crate) async fn granted(
    conn: &mut Conn,
    checked: &Checked<'_>,
    findings: &mut Findings,
) -> Result<()> {
    let failed = |error| connection_error("reading the user's rights", error);
    let lines: Vec<String> = conn.all("SHOW GRANTS FOR CURRENT_USER()").await.map_err(failed)?;
    let user: Option<String> = conn.query_first("SELECT CURRENT_USER()").await.map_err(failed)?;
    let user = user.unwrap_or_default();
    let grants: Vec<Grant> = lines.iter().filter_map(|line| Grant::parse(line)).collect();
    if lines.iter().any(|line| !line.contains(" ON ")) {
        return Ok(());
    }
    findings.refusals.extend(lacking(conn, &checked.schema, &ledger::RIGHTS).await?);
    let schema = checked.original.name.schema.as_str();
    let has =
        |right: &str| grants.iter().any(|grant| grant.covers_schema(schema) && grant.gives(right));
    let mut missing: Vec<&str> = ON_SCHEMA.into_iter().filter(|right| !has(right)).collect();
    let dependents = checked.dependents;
    let keys = !checked.change.foreign_keys.added.is_empty()
        || !dependents.outgoing.is_empty()
        || !dependents.incoming.is_empty();
    if keys && !has("REFERENCES") {
        missing.push("REFERENCES");
    }
    // Without it the server shows no triggers at all.
    if !has("TRIGGER") {
        missing.push("TRIGGER");
    }
    if !missing.is_empty() {
        let list = missing.join(", ");
        findings.refuse(
            "rights",
            format!("{user} lacks {list} on schema {schema}"),
            format!("GRANT {list} ON {}.* TO {}", checked.original.name.schema, account(&user)),
        );
    }
    let everywhere = |rights: &[&str]| {
        grants
            .iter()
            .any(|grant| grant.everywhere() && rights.iter().any(|right| grant.gives(right)))
    };
    let status: &[&str] = if checked.flavor.is_mariadb() {
        &["BINLOG MONITOR", "REPLICATION CLIENT", "SUPER"]
    } else {
        &["REPLICATION CLIENT", "SUPER"]
    };
    for (name, rights) in [
        ("REPLICATION SLAVE", &["REPLICATION SLAVE", "REPLICATION SLAVE ADMIN"][..1]),
        (status[0], status),
        ("PROCESS", &["PROCESS"][..]),
    ] {
        if !everywhere(rights) {
            findings.refuse(
                "rights",
                format!("{user} lacks {name}, needed to read the binlog and to watch the cut-over"),
                format!("GRANT {name} ON *.* TO {}", account(&user)),
            );
        }
    }
    Ok(())
}

/// Whether the user may make the temporary table in which an undo lays rows aside. A user with roles is
/// believed.
pub(crate) async fn may_lay_aside(
    conn: &mut Conn,
    table: &TableName,
    findings: &mut Findings,
) -> Result<()> {
    let schema = &table.schema;
    let covers = |grant: &Grant| grant.covers_schema(schema.as_str());
    let (shown, place) = (format!("schema {}", schema.as_str()), format!("{schema}.*"));
    let lacking = lacking_where(conn, &["CREATE TEMPORARY TABLES"], covers, &shown, &place).await?;
    findings.refusals.extend(lacking);
    Ok(())
}

/// The refusal where the user may not run an ALTER of the server's own. A user with roles is believed.
pub(crate) async fn may_alter(conn: &mut Conn, table: &TableName) -> Result<Option<Finding>> {
    let covers = |grant: &Grant| {
        grant.covers_schema(table.schema.as_str())
            || grant.scope == format!("{}.{}", table.schema.as_str(), table.table.as_str())
    };
    lacking_where(conn, &["ALTER"], covers, &table.plain(), &table.to_string()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read_and_matched_to_the_schema() {
        let grant = Grant::parse("GRANT SELECT, LOCK TABLES ON `shop\\_1`.* TO `a`@`%`").unwrap();
        assert!(grant.covers_schema("shop_1"));
        assert!(!grant.covers_schema("shopx1"));
        assert!(grant.gives("LOCK TABLES"));
        assert!(!grant.gives("ALTER"));
        let all =
            Grant::parse("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION");
        assert!(all.unwrap().gives("ALTER"));
        let wild = Grant::parse("GRANT ALTER ON `sh%`.* TO `a`@`%`").unwrap();
        assert!(wild.covers_schema("shop"));
        let columns = Grant::parse("GRANT SELECT (a) ON `s`.* TO `a`@`%`").unwrap();
        assert!(!columns.gives("SELECT"));
    }
}
