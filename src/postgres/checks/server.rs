//! Whether the server and the role allow an online copy.

use bytesize::ByteSize;
use tokio_postgres::Client;

use super::Checked;
use crate::error::Findings;
use crate::error::Result;
use crate::postgres::connection::session::rows;
use crate::postgres::name::Text;
use crate::postgres::stream::{Capture, choose};

const ACTION: &str = "looking at the server's settings";

/// The oldest version that the tests cover.
const OLDEST: u32 = 140_000;

/// Version, role of the server, logical decoding.
///
/// # Errors
/// The server's.
pub(super) async fn settings(
    client: &Client,
    checked: &Checked<'_>,
    findings: &mut Findings,
) -> Result<()> {
    if checked.version < OLDEST {
        findings.refuse(
            "version",
            format!(
                "the server is PostgreSQL {}, osc knows 14 and later",
                checked.version / 10_000
            ),
            "update the server",
        );
        return Ok(());
    }
    let sql = "SELECT pg_is_in_recovery(), \
               current_setting('max_slot_wal_keep_size')";
    let found = rows(client, ACTION, sql).await?;
    let Some(row) = found.first() else { return Ok(()) };
    let text = |at| row.get(at).unwrap_or_default();
    if text(0) == "t" {
        findings.refuse("standby", "the server is a standby", "connect to its primary");
        return Ok(());
    }
    let (capture, why) = choose(client, &checked.original.name).await?;
    if let (Capture::Triggers, Some(why)) = (capture, why) {
        findings.notes.push(format!("changes are captured by triggers, since {why}"));
        return Ok(());
    }
    if text(1) == "-1" {
        findings.notes.push(
            "max_slot_wal_keep_size is -1: while the run is stopped, WAL is kept without a limit"
                .into(),
        );
    }
    Ok(())
}

/// What the role must be allowed to besides owning the table, which `dependents` look at.
///
/// # Errors
/// The server's.
pub(super) async fn rights(
    client: &Client,
    checked: &Checked<'_>,
    findings: &mut Findings,
) -> Result<()> {
    let schema = Text(checked.original.name.schema.as_str());
    let sql = format!(
        "SELECT has_database_privilege(current_database(), 'CREATE'), \
         has_schema_privilege({schema}, 'CREATE'), current_user, current_database()"
    );
    let found = rows(client, ACTION, &sql).await?;
    let Some(row) = found.first() else { return Ok(()) };
    let (role, database) = (row.get(2).unwrap_or_default(), row.get(3).unwrap_or_default());
    let missing = |at| row.get(at) != Some("t");
    if missing(0) {
        findings.refuse(
            "rights",
            format!("{role} may not create in the database {database}"),
            format!("GRANT CREATE ON DATABASE {database} TO {role}"),
        );
    }
    if missing(1) {
        findings.refuse(
            "rights",
            format!("{role} may not create tables in {}", checked.original.name.schema.0),
            format!("GRANT CREATE ON SCHEMA {} TO {role}", checked.original.name.schema.0),
        );
    }
    Ok(())
}

/// The server does not show how much is free, so the note says what is needed.
pub(super) fn disk(checked: &Checked<'_>, findings: &mut Findings) {
    findings.notes.push(format!(
        "the shadow needs about {} of disk, and as much again passes through the WAL; the server \
         does not show how much is free",
        ByteSize(checked.original.bytes)
    ));
}
