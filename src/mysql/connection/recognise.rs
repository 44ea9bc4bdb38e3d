//! What answers on a MySQL connection: a plain server, a cluster, a cloud's, a proxy, or something that
//! only speaks the protocol. From facts that any login can read, before anything is written.
//!
//! Sources: each engine's documentation of the variable or statement named beside it. Galera and Group
//! Replication are tried on real servers (`tests/it/recognition.rs`); the others by the answers that their
//! documentation gives, in the tests below, since they cannot be run beside the tests.

use std::collections::BTreeMap;

use mysql_async::{Conn, OptsBuilder};

use super::connect::{connect, first, opts};
use super::texts::text_rows;
use crate::config::target::Target;
use crate::error::{Error, Result};
use crate::plan::recognition::Recognition;

const ACTION: &str = "recognising the server";

/// What a server shows about itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// `SELECT VERSION()`.
    pub version: String,
    /// Those of `VARIABLES` that the server has, in lower case.
    pub variables: BTreeMap<String, String>,
    /// Databases named `_vt` that the login sees.
    pub vttablet: bool,
    /// The session's number in the greeting is the one that `CONNECTION_ID()` gives.
    pub direct: bool,
    /// Members of the replication group as this one sees them; `None`: the login may not read them.
    pub members: Option<Vec<Member>>,
}

/// A member of a replication group.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Its `server_uuid`.
    pub id: String,
    /// Host and port.
    pub place: String,
    /// `ONLINE`, `RECOVERING`, `OFFLINE` …
    pub state: String,
    /// `PRIMARY` or `SECONDARY`.
    pub role: String,
}

/// Variables that tell servers apart.
const VARIABLES: [&str; 13] = [
    "aurora_version",
    "basedir",
    "group_replication_group_name",
    "group_replication_single_primary_mode",
    "gtid_domain_id",
    "innodb_page_size",
    "innodb_version",
    "server_uuid",
    "tidb_config",
    "version_comment",
    "wsrep_cluster_name",
    "wsrep_on",
    "wsrep_provider",
];

const MEMBERS: &str = "SELECT MEMBER_ID, CONCAT_WS(':', MEMBER_HOST, MEMBER_PORT), MEMBER_STATE, MEMBER_ROLE \
                       FROM performance_schema.replication_group_members";

impl Facts {
    /// Reads them, by two statements; a member of a replication group needs a third.
    ///
    /// # Errors
    /// Those of [`connection_error`](super::errors::connection_error).
    pub(crate) async fn read(conn: &mut Conn) -> Result<Self> {
        let sql = "SELECT VERSION(), CONNECTION_ID(), \
                   (SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = '_vt')";
        let first = text_rows(conn, ACTION, sql).await?.pop();
        let [version, id, tablets] = first.unwrap_or_default();
        let names: Vec<String> = VARIABLES.iter().map(|name| format!("'{name}'")).collect();
        let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", names.join(", "));
        let variables = text_rows(conn, ACTION, &sql).await?.into_iter();
        let mut facts = Self {
            version,
            variables: variables.map(|[name, value]| (name.to_lowercase(), value)).collect(),
            vttablet: tablets != "0",
            // The greeting has 32 bits of it.
            direct: id.parse::<u64>().is_ok_and(|id| id & 0xffff_ffff == u64::from(conn.id())),
            members: Some(Vec::new()),
        };
        if facts.has("group_replication_group_name") {
            facts.members = match text_rows(conn, ACTION, MEMBERS).await {
                Ok(rows) => Some(rows.into_iter().map(member).collect()),
                Err(Error::Server { .. } | Error::Refused(_)) => None,
                Err(error) => return Err(error),
            };
        }
        Ok(facts)
    }

    fn get(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    fn says(&self, word: &str) -> bool {
        let word = word.to_ascii_lowercase();
        [self.version.as_str(), self.get("version_comment")]
            .iter()
            .any(|text| text.to_ascii_lowercase().contains(&word))
    }
}

fn member([id, place, state, role]: [String; 4]) -> Member {
    Member { id, place, state, role }
}

/// A command's first session, and what answers it. `treated`: the operator says that it is like MySQL.
///
/// # Errors
/// `Unreachable`; `Refused` where osc changes nothing on such a server; else those of
/// [`connection_error`](super::errors::connection_error).
pub(crate) async fn open(target: &Target, treated: bool) -> Result<(Conn, Recognition)> {
    let mut conn = match first(target).await {
        Ok(conn) => conn,
        Err(error) => {
            if matches!(error, Error::Server { .. }) {
                relative(target, treated).await?;
            }
            return Err(error);
        }
    };
    let recognised = recognise(&Facts::read(&mut conn).await?, treated);
    recognised.check()?;
    Ok((conn, recognised))
}

/// A relative may not know a setting that osc begins its sessions with: what it is says more than that.
async fn relative(target: &Target, treated: bool) -> Result<()> {
    let unset = OptsBuilder::from_opts(opts(target)?).setup(Vec::<String>::new());
    let Ok(mut conn) = connect(&unset.into(), ACTION).await else { return Ok(()) };
    let Ok(facts) = Facts::read(&mut conn).await else { return Ok(()) };
    recognise(&facts, treated).check()
}

/// What the facts say. `treated`: the operator says that it is like MySQL.
pub(crate) fn recognise(facts: &Facts, treated: bool) -> Recognition {
    let found = own_online_ddl(facts)
        .or_else(|| proxy(facts))
        .or_else(|| galera(facts))
        .or_else(|| group(facts))
        .or_else(|| cloud(facts));
    match found {
        Some(found) => found,
        None if is_what_it_says(facts) => Recognition::default(),
        None => Recognition::unknown(&facts.version, "MySQL", treated),
    }
}

/// Engines that change schemas online themselves, and behind whose SQL there is no binlog of one server.
fn own_online_ddl(facts: &Facts) -> Option<Recognition> {
    if facts.says("-TiDB-") || facts.has("tidb_config") {
        return Some(Recognition::refused(
            "TiDB",
            "engine-own-ddl",
            "TiDB changes schemas online itself, and has no binlog that osc could follow",
            "run the ALTER TABLE there; watch it with ADMIN SHOW DDL JOBS, pause and stop it with \
             ADMIN PAUSE | RESUME | CANCEL DDL JOBS id, and prove it with ADMIN CHECK TABLE",
        ));
    }
    let planetscale = facts.says("planetscale");
    if planetscale || facts.says("vitess") {
        let (name, help) = if planetscale {
            ("PlanetScale", "use a deploy request: pscale deploy-request create")
        } else {
            (
                "Vitess",
                "SET @@ddl_strategy = 'vitess --postpone-completion' and run the ALTER TABLE; watch it with \
                 SHOW VITESS_MIGRATIONS, stop it with ALTER VITESS_MIGRATION 'uuid' CANCEL",
            )
        };
        return Some(Recognition::refused(
            name,
            "engine-own-ddl",
            format!(
                "{name} changes schemas online itself; a copy of osc's would see one shard's change \
                 stream, or none"
            ),
            help,
        ));
    }
    facts.vttablet.then(|| {
        Recognition::refused(
            "a mysqld under a vttablet",
            "vttablet",
            "the server belongs to a Vitess tablet (it has a database _vt): a table swapped behind \
             the tablet's back is served with the wrong schema, and resharding loses its changes",
            "connect to vtgate, and use its ddl_strategy",
        )
    })
}

/// Something that hands statements on: session state and KILL need the very session that osc is in.
fn proxy(facts: &Facts) -> Option<Recognition> {
    let named = ["proxysql", "maxscale"].into_iter().find(|name| facts.says(name));
    if facts.direct && named.is_none() {
        return None;
    }
    let name = match named {
        Some("proxysql") => "ProxySQL",
        Some(_) => "MaxScale",
        None => "a proxy",
    };
    Some(Recognition::refused(
        name,
        "proxy",
        format!(
            "{name} answers in place of the server (the session's number is not the one of the greeting): \
             locks, session settings and KILL would go to some other session"
        ),
        "connect to the server itself",
    ))
}

fn galera(facts: &Facts) -> Option<Recognition> {
    let provider = facts.get("wsrep_provider");
    if !facts.get("wsrep_on").eq_ignore_ascii_case("ON")
        || provider.is_empty()
        || provider.eq_ignore_ascii_case("none")
    {
        return None;
    }
    Some(Recognition::refused(
        format!("Galera cluster {}", facts.get("wsrep_cluster_name")).trim_end().to_owned(),
        "galera",
        "the server is a node of a Galera cluster: LOCK TABLES and GET_LOCK hold on one node only, so \
         that writes on the others would be lost at the cut-over",
        "use the server's own ALTER: SET SESSION wsrep_OSU_method = 'TOI' (all nodes wait for it), or \
         'RSU' node by node",
    ))
}

fn group(facts: &Facts) -> Option<Recognition> {
    if !facts.has("group_replication_group_name") {
        return None;
    }
    let refused = |name: String, problem: String, help: String| {
        Some(Recognition::refused(name, "group-replication", problem, help))
    };
    let Some(members) = &facts.members else {
        return refused(
            "Group Replication".into(),
            "the server has Group Replication set up, and osc may not read whether it takes part, nor \
             whether the group has several primaries"
                .into(),
            "GRANT SELECT ON performance_schema.replication_group_members to the user that osc \
             connects as"
                .into(),
        );
    };
    let here = members.iter().find(|member| member.id == facts.get("server_uuid"));
    let here = here.filter(|member| member.state != "OFFLINE")?;
    let count = match members.len() {
        1 => "1 member".to_owned(),
        n => format!("{n} members"),
    };
    if facts.get("group_replication_single_primary_mode").eq_ignore_ascii_case("OFF") {
        return refused(
            format!("Group Replication, multi-primary, {count}"),
            format!(
                "the server is in a replication group with several primaries ({count}): LOCK TABLES locks \
                 one of them only, so that writes on the others would be lost at the cut-over"
            ),
            "SELECT group_replication_switch_to_single_primary_mode() while osc works, and connect to \
             the primary"
                .into(),
        );
    }
    let name = format!("Group Replication, single primary, {count}");
    if here.state != "ONLINE" {
        let problem = format!("this member of the replication group is {}", here.state);
        return refused(name, problem, "connect to the group's primary".into());
    }
    if here.role != "PRIMARY" {
        let primary = members.iter().find(|member| member.role == "PRIMARY");
        let primary = primary.map_or_else(String::new, |member| format!(", {}", member.place));
        return refused(
            name,
            "this member of the replication group is a secondary, which takes no writes".into(),
            format!("connect to the group's primary{primary}"),
        );
    }
    Some(Recognition::works(name).noting(
        "if another member of the group becomes primary, the run stops and cannot be resumed there: it starts over",
    ))
}

/// MySQL and those who build it from its sources have InnoDB of the server's version, and MariaDB has
/// InnoDB and GTIDs of its own; whoever only speaks the protocol has none, or a constant.
fn is_what_it_says(facts: &Facts) -> bool {
    if facts.says("mariadb") {
        return facts.has("innodb_page_size") && facts.has("gtid_domain_id");
    }
    let numbers = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        text.get(..end).unwrap_or_default().to_owned()
    };
    let innodb = numbers(facts.get("innodb_version"));
    !innodb.is_empty() && innodb == numbers(&facts.version)
}

fn cloud(facts: &Facts) -> Option<Recognition> {
    let found = if facts.has("aurora_version") {
        Recognition::works(format!("Amazon Aurora {}", facts.get("aurora_version"))).noting(
            "on Aurora the binlog is off by default (binlog_format in the cluster's parameter group), and \
             only the writer endpoint has it; KILL is CALL mysql.rds_kill(id)",
        )
    } else if facts.get("basedir").starts_with("/rdsdbbin") {
        Recognition::works("Amazon RDS").noting(
            "on RDS the binlog is kept for as long as mysql.rds_set_configuration('binlog retention hours', n) \
             says: longer than a run may be stopped; KILL is CALL mysql.rds_kill(id)",
        )
    } else if facts.says("(Google)") {
        Recognition::works("Google Cloud SQL")
    } else if facts.says("azure") {
        Recognition::works("Azure Database for MySQL")
    } else {
        return None;
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's answers as its documentation has them; only those marked *real* were read off a server.
    fn scripted(version: &str, variables: &[(&str, &str)]) -> Facts {
        let variables = variables.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        let members = Some(Vec::new());
        Facts { version: version.into(), variables, vttablet: false, direct: true, members }
    }

    fn refused(facts: &Facts) -> &'static str {
        recognise(facts, true).refusal.map_or("", |finding| finding.check)
    }

    const INNODB: [(&str, &str); 2] = [("innodb_page_size", "16384"), ("gtid_domain_id", "0")];

    #[test]
    fn plain_servers_are_plain() {
        for (version, innodb) in
            [("9.7.0", "9.7.0"), ("8.0.36-28", "8.0.36-28"), ("8.0.39-0ubuntu0.22.04.1", "8.0.39")]
        {
            let facts = scripted(version, &[("innodb_version", innodb), ("basedir", "/usr/")]);
            assert_eq!(recognise(&facts, false), Recognition::default(), "{version}");
        }
        for version in ["10.11.19-MariaDB-0+deb12u1-log", "5.5.5-10.6.20-MariaDB"] {
            let facts = scripted(version, &INNODB);
            assert_eq!(recognise(&facts, false), Recognition::default(), "{version}");
        }
    }

    #[test]
    fn scripted_engines_with_online_ddl_of_their_own_are_refused_with_the_statement() {
        for (facts, name, says) in [
            (
                scripted("8.0.11-TiDB-v8.5.1", &[("tidb_config", "{}")]),
                "TiDB",
                "ADMIN SHOW DDL JOBS",
            ),
            (scripted("8.0.30-Vitess", &[]), "Vitess", "SHOW VITESS_MIGRATIONS"),
            (
                scripted("8.0.30-Vitess", &[("version_comment", "PlanetScale")]),
                "PlanetScale",
                "deploy-request",
            ),
        ] {
            let found = recognise(&facts, true);
            assert_eq!(found.name.as_deref(), Some(name));
            let finding = found.refusal.unwrap();
            assert_eq!(finding.check, "engine-own-ddl");
            assert!(finding.help.contains(says), "{}", finding.help);
        }
        let mut tablet = scripted("8.0.36", &[("innodb_version", "8.0.36")]);
        tablet.vttablet = true;
        assert_eq!(refused(&tablet), "vttablet");
    }

    #[test]
    fn scripted_proxies_are_refused() {
        let mut facts = scripted("8.0.36", &[("innodb_version", "8.0.36")]);
        facts.direct = false;
        assert_eq!(refused(&facts), "proxy");
        let facts = scripted("8.0.30", &[("version_comment", "(ProxySQL)")]);
        assert_eq!(refused(&facts), "proxy");
    }

    #[test]
    fn scripted_clusters_are_refused_where_several_nodes_take_writes() {
        let galera = [("wsrep_on", "ON"), ("wsrep_provider", "/usr/lib/galera/libgalera_smm.so")];
        assert_eq!(refused(&scripted("10.11.14-MariaDB", &galera)), "galera");
        let idle = [("wsrep_on", "ON"), ("wsrep_provider", "none"), INNODB[0], INNODB[1]];
        assert_eq!(refused(&scripted("10.11.14-MariaDB", &idle)), "");
    }

    fn in_group(mode: &str, state: &str, role: &str) -> Facts {
        let variables = [
            ("innodb_version", "9.7.0"),
            ("group_replication_group_name", "a"),
            ("group_replication_single_primary_mode", mode),
            ("server_uuid", "1"),
        ];
        let member = |id: &str, state: &str, role: &str| {
            member([id.into(), format!("db{id}:3306"), state.into(), role.into()])
        };
        let members = vec![member("0", "ONLINE", "PRIMARY"), member("1", state, role)];
        Facts { members: Some(members), ..scripted("9.7.0", &variables) }
    }

    #[test]
    fn scripted_groups_are_changed_at_their_only_primary() {
        assert_eq!(refused(&in_group("OFF", "ONLINE", "PRIMARY")), "group-replication");
        let single = recognise(&in_group("ON", "ONLINE", "PRIMARY"), false);
        assert!(single.refusal.is_none() && single.name.unwrap().contains("single primary"));
        let secondary = recognise(&in_group("ON", "ONLINE", "SECONDARY"), false).refusal.unwrap();
        assert!(secondary.help.ends_with("primary, db0:3306"), "{}", secondary.help);
        assert_eq!(refused(&in_group("ON", "RECOVERING", "SECONDARY")), "group-replication");
        // The plugin is there and the server takes no part; and osc cannot know whether it does.
        assert_eq!(recognise(&in_group("OFF", "OFFLINE", ""), false), Recognition::default());
        let hidden = Facts { members: None, ..in_group("OFF", "", "") };
        assert!(recognise(&hidden, true).refusal.unwrap().help.starts_with("GRANT SELECT"));
    }

    #[test]
    fn scripted_unknown_relatives_need_treat_as() {
        for (version, innodb) in [
            ("5.7.25-OceanBase-v4.2.1.0", ""),
            ("8.0.33 StarRocks", ""),
            ("8.0.33", "5.7.9"),
            ("5.7.32", "5.5.5"),
            ("8.0.18-MariaDB-Xpand", ""),
        ] {
            let facts = scripted(version, &[("innodb_version", innodb)]);
            let finding = recognise(&facts, false).refusal.unwrap();
            assert_eq!(finding.check, "unknown-server", "{version}");
            assert!(finding.help.contains("--treat-as mysql"), "{}", finding.help);
            let treated = recognise(&facts, true);
            assert!(treated.refusal.is_none() && !treated.notes.is_empty());
        }
    }

    #[test]
    fn scripted_clouds_are_named() {
        let name = |pairs: &[(&str, &str)]| {
            let pairs = [pairs, &[("innodb_version", "8.0.39")]].concat();
            recognise(&scripted("8.0.39", &pairs), false).name.unwrap_or_default()
        };
        assert_eq!(name(&[("aurora_version", "3.08.0")]), "Amazon Aurora 3.08.0");
        assert_eq!(name(&[("basedir", "/rdsdbbin/mysql-8.0.39.R2/")]), "Amazon RDS");
        assert_eq!(name(&[("version_comment", "(Google)")]), "Google Cloud SQL");
        assert_eq!(name(&[("version_comment", "MySQL Azure")]), "Azure Database for MySQL");
    }
}
