//! What answers on a PostgreSQL connection: a plain server, an extension that distributes tables, a
//! cloud's, a pooler, or something that only speaks the protocol. From facts, before anything is written or
//! set.
//!
//! PgBouncer and pgpool are tried for real (`tests/it/recognition.rs`); the distributed engines and the clouds
//! by the answers that their documentation gives, in the tests below.

use tokio_postgres::Client;

use super::connect::{Options, at_first, connect_bare, connect_unset, settings_dropped, settle};
use super::errors::DIRECTLY;
use super::session::{rows, run, value};
use super::settings;
use crate::error::{Error, Finding, Result};
use crate::plan::recognition::Recognition;
use crate::postgres::name::{TableName, Text};

const ACTION: &str = "recognising the server";

/// What only a relative's or a cloud's servers have. None of it can be made by an account of the
/// application's.
const MARKS: &str = "\
    SELECT proname FROM pg_catalog.pg_proc WHERE proname IN ('aurora_version', 'yb_servers') \
        AND pronamespace = 'pg_catalog'::pg_catalog.regnamespace \
    UNION SELECT rolname FROM pg_catalog.pg_roles \
        WHERE rolname IN ('azure_pg_admin', 'cloudsqlsuperuser', 'rds_superuser') \
    UNION SELECT extname FROM pg_catalog.pg_extension WHERE extname = 'citus'";

/// Sessions beside the first that look for a pooler: one takes the backend that the first had, or the first
/// finds another one; where the pooler takes two in turn, it needs both.
const PROBES: usize = 2;

/// What a server shows about itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// `version()`.
    pub version: String,
    /// What `MARKS` gives.
    pub marks: Vec<String>,
    /// The settings of the startup packet did not arrive.
    pub dropped: bool,
    /// Two statements of one session had two backends.
    pub pooled: bool,
    /// `SHOW pool_version` has an answer.
    pub pgpool: bool,
}

impl Facts {
    /// Reads them from a session in which nothing is set yet. Whatever answers is asked no more than it
    /// takes to know it.
    ///
    /// # Errors
    /// The server's.
    async fn read(client: &Client, options: &Options) -> Result<Self> {
        let sql = format!("SELECT pg_catalog.version(), ({})", settings::ARRIVED);
        let first = rows(client, ACTION, &sql).await?;
        let text = |column| first.first().and_then(|row| row.get(column)).unwrap_or_default();
        let mut facts = Self {
            version: text(0).to_owned(),
            dropped: !settings::arrived(text(1)),
            ..Self::default()
        };
        if facts.dropped || own_online_ddl(&facts).is_some() {
            return Ok(facts);
        }
        let marks = rows(client, ACTION, MARKS).await?;
        facts.marks = marks.iter().filter_map(|row| row.get(0)).map(str::to_owned).collect();
        // A server says "unrecognized configuration parameter".
        facts.pgpool = client.simple_query("SHOW pool_version").await.is_ok();
        if !facts.pgpool {
            facts.pooled = is_pooled(client, options).await?;
        }
        Ok(facts)
    }

    fn has(&self, mark: &str) -> bool {
        self.marks.iter().any(|found| found == mark)
    }
}

const BACKEND: &str = "SELECT pg_catalog.pg_backend_pid()";

/// Whether a pooler gives a session's statements to whatever backend is free: once others hold the
/// backend that the session had, in transactions, its next statement has another one.
async fn is_pooled(client: &Client, options: &Options) -> Result<bool> {
    let first = value(client, ACTION, BACKEND).await?;
    let mut others = Vec::new();
    let mut pooled = false;
    while !pooled && others.len() < PROBES {
        let other = connect_bare(options, ACTION).await?;
        let taken = value(&other, ACTION, &format!("BEGIN; {BACKEND}")).await?;
        pooled = taken == first || value(client, ACTION, BACKEND).await? != first;
        others.push(other);
    }
    for other in others {
        run(&other, ACTION, "ROLLBACK").await?;
    }
    Ok(pooled)
}

/// A command's first session, and what answers it. `treated`: the operator says that it is like PostgreSQL.
///
/// # Errors
/// `Unreachable`; `Refused` where osc changes nothing on such a server; else the server's.
pub(crate) async fn open(options: &Options, treated: bool) -> Result<(Client, Facts, Recognition)> {
    let client = match connect_bare(options, "connecting").await {
        Ok(client) => client,
        Err(error) => {
            if matches!(error, Error::Server { .. }) {
                relative(options, treated).await?;
            }
            return Err(at_first(&options.target)(error));
        }
    };
    let facts = Facts::read(&client, options).await?;
    let recognised = recognise(&facts, treated);
    recognised.check()?;
    settle(&client, "connecting").await?;
    Ok((client, facts, recognised))
}

/// A relative may not know a setting that osc connects with: what it is says more than that.
async fn relative(options: &Options, treated: bool) -> Result<()> {
    let Ok(client) = connect_unset(options, ACTION).await else { return Ok(()) };
    let Ok(version) = value(&client, ACTION, "SELECT version()").await else { return Ok(()) };
    let facts = Facts { version: version.unwrap_or_default(), ..Facts::default() };
    recognise(&facts, treated).check()
}

/// What the facts say. `treated`: the operator says that it is like PostgreSQL.
pub(crate) fn recognise(facts: &Facts, treated: bool) -> Recognition {
    own_online_ddl(facts)
        .or_else(|| pooler(facts))
        .or_else(|| unknown(facts, treated))
        .unwrap_or_else(|| cloud(facts))
}

/// Names of engines in `version()` that call themselves PostgreSQL and store rows in another way.
const RELATIVES: [&str; 9] = [
    "greenplum",
    "redshift",
    "materialize",
    "risingwave",
    "opengauss",
    "gaussdb",
    "yellowbrick",
    "cratedb",
    "polardb",
];

fn own_online_ddl(facts: &Facts) -> Option<Recognition> {
    if facts.version.starts_with("CockroachDB") {
        return Some(Recognition::refused(
            "CockroachDB",
            "engine-own-ddl",
            "CockroachDB changes schemas online itself, and has no logical decoding that osc could follow",
            "run the ALTER TABLE there; watch it with SHOW JOBS, pause and stop it with PAUSE | RESUME | \
             CANCEL JOB id",
        ));
    }
    if facts.version.contains("-YB-") || facts.has("yb_servers") {
        return Some(Recognition::refused(
            "YugabyteDB",
            "engine-own-ddl",
            "YugabyteDB distributes the table over tablets: a copy would follow one node's changes only",
            "CREATE INDEX is online there by default; for an ALTER that rewrites the table stop the writers \
             first, since it may miss concurrent writes (technical advisory TA-24313)",
        ));
    }
    None
}

fn pooler(facts: &Facts) -> Option<Recognition> {
    if facts.dropped {
        return Some(Recognition::refused_by("a connection pooler", settings_dropped()));
    }
    if facts.pgpool {
        return Some(Recognition::refused(
            "pgpool-II",
            "pooler",
            "pgpool-II answers in place of the server: it sends statements to several servers, and \
             reads to standbys",
            DIRECTLY,
        ));
    }
    facts.pooled.then(|| {
        Recognition::refused(
            "a connection pooler",
            "pooler",
            "a pooler in transaction mode (PgBouncer or its like) answers in place of the server: \
             two statements of one session had two backends, so that locks and settings would stay with \
             the application's sessions",
            DIRECTLY,
        )
    })
}

fn unknown(facts: &Facts, treated: bool) -> Option<Recognition> {
    let lower = facts.version.to_lowercase();
    let strange = !lower.starts_with("postgresql ") || RELATIVES.iter().any(|n| lower.contains(n));
    strange.then(|| Recognition::unknown(&facts.version, "PostgreSQL", treated))
}

fn cloud(facts: &Facts) -> Recognition {
    let citus = |found: Recognition| {
        if !facts.has("citus") {
            return found;
        }
        let name = found.name.map_or("Citus".to_owned(), |name| format!("{name}, Citus"));
        Recognition { name: Some(name), ..found }
    };
    let found = if facts.has("aurora_version") {
        Recognition::works("Amazon Aurora").noting(
            "logical decoding needs rds.logical_replication = 1 in the cluster's parameter group, and the \
             writer endpoint",
        )
    } else if facts.has("rds_superuser") {
        Recognition::works("Amazon RDS").noting(
            "logical decoding needs rds.logical_replication = 1, and the role rds_replication",
        )
    } else if facts.has("cloudsqlsuperuser") {
        Recognition::works("Google Cloud SQL")
            .noting("logical decoding needs the flag cloudsql.logical_decoding, and REPLICATION for the role")
    } else if facts.has("azure_pg_admin") {
        Recognition::works("Azure Database for PostgreSQL")
    } else {
        Recognition::default()
    };
    citus(found)
}

/// Why osc does not copy this table, where Citus distributes it.
///
/// # Errors
/// The server's.
pub(crate) async fn distributed(
    client: &Client,
    facts: &Facts,
    name: &TableName,
) -> Result<Option<Finding>> {
    if !facts.has("citus") {
        return Ok(None);
    }
    let sql = format!(
        "SELECT partmethod FROM pg_catalog.pg_dist_partition WHERE logicalrel = {}::pg_catalog.regclass",
        Text(&name.to_string())
    );
    let method = value(client, ACTION, &sql).await?;
    Ok(method.map(|method| citus_table(&method, name)))
}

/// `h`: by hash; `n`: a reference table, or a local one that Citus manages (`pg_dist_partition.partmethod`).
fn citus_table(method: &str, name: &TableName) -> Finding {
    let what = if method == "n" { "a reference table" } else { "distributed" };
    Finding::new(
        "citus-table",
        format!(
            "{} is {what} under Citus: its rows are in shards of other names, and their changes are \
             decoded on the workers",
            name.plain()
        ),
        "run the ALTER TABLE on the coordinator, which hands it on to the shards",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers as the engines' documentation has them; only those marked *real* were read off a server.
    fn scripted(version: &str, marks: &[&str]) -> Facts {
        let marks = marks.iter().map(|mark| (*mark).to_owned()).collect();
        Facts { version: version.into(), marks, ..Facts::default() }
    }

    #[test]
    fn plain_servers_are_plain() {
        for version in [
            "PostgreSQL 15.14 (Debian 15.14-0+deb12u1) on x86_64-pc-linux-gnu, compiled by gcc", // real
            "PostgreSQL 18.0 on x86_64-pc-linux-gnu, compiled by gcc, 64-bit", // real
            "PostgreSQL 17.2 (Homebrew) on aarch64-apple-darwin",
        ] {
            assert_eq!(recognise(&scripted(version, &[]), false), Recognition::default());
        }
    }

    #[test]
    fn scripted_engines_with_online_ddl_of_their_own_are_refused_with_the_statement() {
        for (version, name) in [
            ("CockroachDB CCL v25.2.1 (x86_64-pc-linux-gnu, built 2025/06/01)", "CockroachDB"),
            ("PostgreSQL 15.2-YB-2.25.2.0-b0 on x86_64-pc-linux-gnu", "YugabyteDB"),
        ] {
            let found = recognise(&scripted(version, &[]), true);
            assert_eq!(found.name.as_deref(), Some(name));
            assert_eq!(found.refusal.unwrap().check, "engine-own-ddl");
        }
    }

    #[test]
    fn scripted_unknown_relatives_need_treat_as() {
        for version in [
            "PostgreSQL 12.12 (Greenplum Database 7.1.0) on x86_64",
            "PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc, Redshift 1.0.12103",
            "PostgreSQL 13.14.0-RisingWave-2.1.0",
            "SomethingElse 1.0",
        ] {
            let finding = recognise(&scripted(version, &[]), false).refusal.unwrap();
            assert_eq!(finding.check, "unknown-server", "{version}");
            assert!(finding.help.contains("--treat-as postgres"), "{}", finding.help);
            assert!(recognise(&scripted(version, &[]), true).refusal.is_none());
        }
    }

    #[test]
    fn scripted_clouds_and_citus_are_named() {
        let name = |marks: &[&str]| {
            let facts = scripted("PostgreSQL 16.4 on x86_64-pc-linux-gnu", marks);
            recognise(&facts, false).name.unwrap_or_default()
        };
        assert_eq!(name(&["aurora_version", "rds_superuser"]), "Amazon Aurora");
        assert_eq!(name(&["rds_superuser"]), "Amazon RDS");
        assert_eq!(name(&["cloudsqlsuperuser"]), "Google Cloud SQL");
        assert_eq!(name(&["azure_pg_admin", "citus"]), "Azure Database for PostgreSQL, Citus");
        assert_eq!(name(&["citus"]), "Citus");
        let finding = citus_table("h", &TableName::new("public", "t"));
        assert!(finding.problem.contains("distributed"));
    }

    #[test]
    fn poolers_are_refused() {
        let plain = scripted("PostgreSQL 15.14 on x86_64", &[]);
        for facts in [
            Facts { dropped: true, ..plain.clone() },
            Facts { pooled: true, ..plain.clone() },
            Facts { pgpool: true, ..plain },
        ] {
            assert_eq!(recognise(&facts, true).refusal.unwrap().check, "pooler");
        }
    }
}
