//! Whether the server and the role allow an online copy.

use indicatif::HumanBytes;
use tokio_postgres::Client;

use crate::engine::Result;
use crate::postgres::checks::{Checked, Findings};
use crate::postgres::name::Text;
use crate::postgres::session::rows;
use crate::postgres::table::regclass;

const ACTION: &str = "looking at the server's settings";

/// The oldest version that the tests cover.
const OLDEST: u32 = 140_000;

/// Version, role of the server, logical decoding.
///
/// # Errors
/// The server's.
pub async fn settings(
    client: &Client,
    checked: &Checked<'_>,
    findings: &mut Findings,
) -> Result<()> {
    if checked.version < OLDEST {
        findings.refuse(
            "version",
            format!("the server is PostgreSQL {}, osc knows 14 and later", checked.version / 10_000),
            "update the server",
        );
        return Ok(());
    }
    let sql = "SELECT pg_is_in_recovery(), current_setting('wal_level'), \
               current_setting('max_replication_slots')::int - \
               (SELECT count(*) FROM pg_replication_slots), \
               current_setting('max_wal_senders')::int - \
               (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'), \
               current_setting('max_slot_wal_keep_size')";
    let found = rows(client, ACTION, sql).await?;
    let Some(row) = found.first() else { return Ok(()) };
    let text = |at| row.get(at).unwrap_or_default();
    let none_left = |at: usize| text(at).parse::<i64>().is_ok_and(|free| free <= 0);
    if text(0) == "t" {
        findings.refuse("standby", "the server is a standby", "connect to its primary");
        return Ok(());
    }
    if text(1) != "logical" {
        findings.refuse(
            "wal-level",
            format!("wal_level is {}: changes cannot be decoded", text(1)),
            "set wal_level = logical and restart the server",
        );
    }
    if checked.original.persistence == 'u' {
        findings.refuse(
            "unlogged",
            format!("{} is unlogged: its changes are not decoded", checked.original.name.plain()),
            "ALTER TABLE … SET LOGGED, or change it with --strategy instant",
        );
    }
    if none_left(2) {
        findings.refuse(
            "slots",
            "all replication slots are taken",
            "raise max_replication_slots, or drop a slot that nobody needs",
        );
    }
    if none_left(3) {
        findings.refuse("senders", "all WAL senders are taken", "raise max_wal_senders");
    }
    if text(4) == "-1" {
        findings.notes.push(
            "max_slot_wal_keep_size is -1: while the run is stopped, WAL is kept without a limit"
                .into(),
        );
    }
    Ok(())
}

/// What the role must be allowed to.
///
/// # Errors
/// The server's.
pub async fn rights(client: &Client, checked: &Checked<'_>, findings: &mut Findings) -> Result<()> {
    let schema = Text(checked.original.name.schema.as_str());
    let sql = format!(
        "SELECT r.rolsuper OR r.rolreplication OR EXISTS (SELECT FROM pg_roles m \
         WHERE m.rolname IN ('rds_replication', 'cloudsqlsuperuser') \
         AND pg_has_role(current_user, m.oid, 'MEMBER')), \
         pg_has_role(current_user, c.relowner, 'USAGE'), \
         has_database_privilege(current_database(), 'CREATE'), \
         has_schema_privilege({schema}, 'CREATE'), current_user, current_database() \
         FROM pg_roles r, pg_class c WHERE r.rolname = current_user AND c.oid = {}",
        regclass(&checked.original.name)
    );
    let found = rows(client, ACTION, &sql).await?;
    let Some(row) = found.first() else { return Ok(()) };
    let (role, database) = (row.get(4).unwrap_or_default(), row.get(5).unwrap_or_default());
    let missing = |at| row.get(at) != Some("t");
    if missing(0) {
        findings.refuse(
            "rights",
            format!("{role} may not replicate"),
            format!("ALTER ROLE {role} REPLICATION (or what the provider has in its place)"),
        );
    }
    if missing(1) {
        findings.refuse(
            "rights",
            format!("{role} does not own {}", checked.original.name.plain()),
            "connect as its owner, or as a member of the role that owns it",
        );
    }
    if missing(2) {
        findings.refuse(
            "rights",
            format!("{role} may not create a publication in the database {database}"),
            format!("GRANT CREATE ON DATABASE {database} TO {role}"),
        );
    }
    if missing(3) {
        findings.refuse(
            "rights",
            format!("{role} may not create tables in {}", checked.original.name.schema.0),
            format!("GRANT CREATE ON SCHEMA {} TO {role}", checked.original.name.schema.0),
        );
    }
    Ok(())
}

/// The server does not tell how much is free, so what is needed is said.
pub fn disk(checked: &Checked<'_>, findings: &mut Findings) {
    findings.notes.push(format!(
        "the shadow needs about {} of disk, and as much again passes through the WAL; the server \
         does not tell how much is free",
        HumanBytes(checked.original.bytes)
    ));
}
