//! Whether a server that is named as a replica follows the server that is changed.

use mysql_async::{Opts, Row};

use super::replica_lag::{column, replica_status};
use super::status::{Session, text};
use crate::error::{Finding, Result};
use crate::mysql::connection::version::Flavor;
use crate::throttle::probe::brief;
use crate::throttle::sound;

/// What is wrong with those of `named` that do not follow `primary`, or cannot be reached. Where a run
/// `resumes`, one that cannot be reached is no finding: it may be restarting, and until it is back the
/// throttle pauses and says why.
///
/// # Errors
/// Those of `primary`.
pub(crate) async fn strangers(
    primary: &Opts,
    named: Vec<(String, Opts)>,
    resumes: bool,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if named.is_empty() {
        return Ok(findings);
    }
    let source = Source::read(&mut Session::new(primary.clone())).await?;
    for (name, opts) in named {
        match source.why_unrelated(&mut Session::new(opts)).await {
            Ok(None) => {}
            Ok(Some(why)) => findings.push(sound::replica(&name, &why)),
            Err(error) if resumes && error.is_connection() => {}
            Err(error) => findings.push(sound::replica(&name, &brief(&error))),
        }
    }
    Ok(findings)
}

/// The server that is changed.
#[derive(Debug, Default)]
struct Source {
    id: String,
    /// `server_uuid`; empty on MariaDB.
    uuid: String,
    /// Where its transactions come from: UUIDs on MySQL, DOMAIN-SERVER on MariaDB.
    origins: Vec<String>,
}

const ACTION: &str = "recognising the replica";

impl Source {
    async fn read(session: &mut Session) -> Result<Self> {
        let (uuid, gtids) = if session.flavor(ACTION).await?.is_mariadb() {
            ("''", "@@GLOBAL.gtid_binlog_pos")
        } else {
            ("@@GLOBAL.server_uuid", "@@GLOBAL.gtid_executed")
        };
        let sql = format!("SELECT @@GLOBAL.server_id, {uuid}, {gtids}");
        let rows = session.rows(ACTION, &sql).await?;
        let field = |at| rows.first().and_then(|row| text(row, at)).unwrap_or_default();
        Ok(Self { id: field(0), uuid: field(1), origins: origins(&field(2)) })
    }

    /// Why the server of `session` is no replica of this one; `None`: it is, or nothing shows that it
    /// is not.
    async fn why_unrelated(&self, session: &mut Session) -> Result<Option<String>> {
        let flavor: Flavor = session.flavor(ACTION).await?;
        let channels = session.rows(ACTION, replica_status(flavor)).await?;
        if channels.is_empty() {
            return Ok(Some("it is no replica".into()));
        }
        Ok((!channels.iter().any(|row| self.feeds(row)))
            .then(|| "it is a replica of another server".into()))
    }

    /// Whether a channel of `SHOW REPLICA STATUS` comes from this server, directly or through others.
    fn feeds(&self, row: &Row) -> bool {
        let word = |names: &[&str]| column(row, names).unwrap_or_default();
        self.may_feed(
            &word(&["Source_UUID", "Master_UUID"]),
            &word(&["Source_Server_Id", "Master_Server_Id"]),
            &origins(&word(&["Executed_Gtid_Set", "Gtid_Slave_Pos"])),
        )
    }

    fn may_feed(&self, uuid: &str, id: &str, theirs: &[String]) -> bool {
        // A channel that has never been connected knows nothing of its source.
        if uuid.is_empty() && matches!(id, "" | "0") {
            return true;
        }
        // Ids of servers that have nothing to do with each other are often the same.
        let direct = if uuid.is_empty() { id == self.id } else { uuid == self.uuid };
        if direct {
            return true;
        }
        let own: Vec<&String> = self.origins.iter().filter(|origin| self.is_own(origin)).collect();
        let wanted = if own.is_empty() { self.origins.iter().collect() } else { own };
        wanted.into_iter().any(|origin| theirs.contains(origin))
    }

    fn is_own(&self, origin: &str) -> bool {
        match origin.split_once('-') {
            Some((_, server)) if self.uuid.is_empty() => server == self.id,
            _ => origin == self.uuid,
        }
    }
}

/// Where the transactions of a set come from.
fn origins(gtids: &str) -> Vec<String> {
    let parts = gtids.split(',').map(str::trim).filter(|part| !part.is_empty());
    let origin = |part: &str| match part.split_once(':') {
        Some((uuid, _)) => uuid.to_owned(),
        None => {
            part.rsplit_once('-').map_or_else(|| part.to_owned(), |(origin, _)| origin.to_owned())
        }
    };
    parts.map(origin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_followed_to_its_source_by_what_it_has_executed() {
        let source = |uuid: &str, gtids: &str| Source {
            id: "1".into(),
            uuid: uuid.into(),
            origins: origins(gtids),
        };
        let mysql = source("aa-1", "aa-1:1-9,bb-2:1-5");
        let fed = |uuid: &str, gtids: &str| mysql.may_feed(uuid, "1", &origins(gtids));
        assert!(fed("aa-1", "") && fed("cc-3", "aa-1:1-3,\ncc-3:1"), "direct, and through another");
        assert!(!fed("cc-3", "cc-3:1-9"), "the same server id is no proof");
        assert!(!fed("bb-2", "bb-2:1-5"), "a sibling has nothing of what it committed");
        assert!(source("aa-1", "bb-2:1-5").may_feed("cc-3", "7", &origins("bb-2:1-4")));
        assert!(mysql.may_feed("", "0", &[]), "never connected");
        let mariadb = source("", "0-1-100,5-2-7");
        let fed = |id: &str, gtids: &str| mariadb.may_feed("", id, &origins(gtids));
        assert!(fed("1", "") && fed("3", "0-1-90"));
        assert!(!fed("3", "0-3-90") && !fed("2", "5-2-7"));
    }
}
