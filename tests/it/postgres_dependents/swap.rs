//! A swap of a table with everything on it, and what is compared before and after.
#![allow(missing_docs, reason = "a part of one test program, as the kit is")]

use crate::support;
use std::process::Command;

use crate::support::postgres::{Major, Postgres};
use osc::postgres::clauses::columns::ColumnOutcomes;
use osc::postgres::dependents::{Dependents, Names, after_swap};
use osc::postgres::name::{Helpers, Ident, TableName};
use osc::postgres::runs::ledger::Ledger;
use osc::postgres::trust::guards;
use tokio_postgres::Client;

/// The schema with everything on the table that this server knows.
pub(crate) async fn everything(client: &Client) {
    let mut sql = include_str!("../dependents/everything.sql").to_owned();
    let version = strings(client, "SELECT current_setting('server_version_num')").await.remove(0);
    if version.starts_with("14") {
        for (newer, older) in [
            ("SET NULL (org_id)", "SET NULL"),
            (", security_invoker = false", ""),
            ("security_invoker = true", "security_barrier = true"),
            ("users (id, number, email) WHERE (number > 5)", "users"),
        ] {
            assert!(sql.contains(newer), "{newer}");
            sql = sql.replace(newer, older);
        }
    }
    client.batch_execute(&sql).await.unwrap();
}

pub(crate) fn names() -> Names {
    let original = TableName::new("public", "users");
    let Helpers { shadow, retired, suffix } = Helpers::of(&original);
    Names { original, retired, shadow, suffix }
}

/// The schema of osc's own.
pub(crate) fn own() -> Ident {
    Ident::new("osc")
}

pub(crate) async fn run(client: &Client, statements: &[String]) {
    for statement in statements {
        if let Err(error) = client.batch_execute(statement).await {
            panic!("{error:?}\n{statement}");
        }
    }
}

pub(crate) async fn strings(client: &Client, query: &str) -> Vec<String> {
    let rows = client.query(query, &[]).await.unwrap_or_else(|error| panic!("{error:?}\n{query}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// A database with the roles of the tests; its owner is no superuser.
pub(crate) async fn database(server: &Postgres) -> String {
    // Tests of one process share a server, and so its roles.
    let roles = "SELECT pg_advisory_xact_lock(1); DO $$ BEGIN \
                 IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'lead') THEN \
                 CREATE ROLE boss LOGIN BYPASSRLS; CREATE ROLE app LOGIN; CREATE ROLE lead LOGIN; \
                 GRANT lead TO boss; END IF; END $$";
    server.exec("postgres", roles).await;
    let database = support::postgres_database(server).await;
    let owner =
        format!("ALTER SCHEMA public OWNER TO boss; ALTER DATABASE {database} OWNER TO boss");
    server.exec(&database, &owner).await;
    let boss = connect(server, "boss", &database).await;
    Ledger::open(&boss, own().as_str()).await.unwrap().create(&boss).await.unwrap();
    database
}

pub(crate) async fn connect(server: &Postgres, user: &str, database: &str) -> Client {
    let url = server.url_as(user, database);
    support::postgres::connect(&url).await.unwrap()
}

/// The schema as `pg_dump` writes it. The system's program refuses later servers: `None` for those.
pub(crate) fn dump(server: &Postgres, database: &str) -> Option<String> {
    if server.major() > Major::SYSTEM {
        return None;
    }
    let program = format!("/usr/lib/postgresql/{}/bin/pg_dump", Major::SYSTEM.number());
    let url = server.url(database);
    let output = Command::new(program).args(["--schema-only", &url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

pub(crate) async fn columns(client: &Client) -> Vec<Ident> {
    let query = "SELECT attname::text FROM pg_attribute WHERE attrelid = 'public.users'::regclass \
         AND attnum > 0 AND NOT attisdropped";
    strings(client, query).await.into_iter().map(Ident::new).collect()
}

/// A swap as the cut-over makes it, with the copy made at once; up to the commit.
pub(crate) struct Swap {
    pub(crate) dependents: Dependents,
    pub(crate) outcomes: ColumnOutcomes,
    pub(crate) names: Names,
}

impl Swap {
    /// Makes and fills the shadow. `{}` in `clauses` is its name.
    pub(crate) async fn prepare(client: &Client, clauses: &str, outcomes: ColumnOutcomes) -> Self {
        let names = names();
        let dependents = Dependents::read(client, &names.original).await.unwrap();
        let findings = dependents.refusals(&outcomes);
        assert!(findings.is_empty(), "{findings:?}");
        let (original, shadow) = (&names.original, &names.shadow);
        let like = format!("CREATE TABLE {shadow} (LIKE {original} INCLUDING ALL)");
        run(client, &[like]).await;
        run(client, &dependents.shadow_statements(shadow)).await;
        if !clauses.is_empty() {
            run(client, &[clauses.replace("{}", &shadow.to_string())]).await;
        }
        let list = strings(
            client,
            "SELECT quote_ident(o.attname) FROM pg_attribute o JOIN pg_attribute s USING (attname) \
             WHERE o.attrelid = 'public.users'::regclass AND o.attnum > 0 AND NOT s.attisdropped \
             AND s.attrelid = 'public.users_osc_new'::regclass AND s.attgenerated = ''",
        )
        .await
        .join(", ");
        let copy = format!(
            "INSERT INTO {shadow} ({list}) OVERRIDING SYSTEM VALUE SELECT {list} FROM {original}"
        );
        run(client, &[copy]).await;
        Self { dependents, outcomes, names }
    }

    /// Everything up to the lock on the original.
    pub(crate) async fn lock(&self, client: &Client) {
        run(client, &["BEGIN".into()]).await;
        run(client, &self.dependents.lock_statements()).await;
        run(client, &[format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", self.names.original)])
            .await;
        let again = Dependents::read(client, &self.names.original).await.unwrap();
        assert_eq!(again, self.dependents);
    }

    pub(crate) async fn commit(&self, client: &Client) {
        let Names { original, retired, .. } = &self.names;
        run(client, &self.dependents.before_renames(&self.names, &self.outcomes)).await;
        run(client, &renames(client, &self.names).await).await;
        run(client, &self.dependents.after_renames(&self.names, &self.outcomes)).await;
        run(client, &guards::retired(&own(), retired)).await;
        run(client, &guards::snapshot(&own(), original)).await;
        run(client, &["COMMIT".into()]).await;
    }

    pub(crate) async fn whole(&self, client: &Client) -> Vec<String> {
        self.lock(client).await;
        self.commit(client).await;
        after_swap(client, &self.names, &self.dependents.to_validate(), false).await.unwrap()
    }

    pub(crate) async fn drop_retired(&self, client: &Client) {
        let retired = &self.names.retired;
        run(client, &[guards::release_retired(retired)]).await;
        run(client, &[format!("DROP TABLE {retired}")]).await;
    }
}

pub(crate) const SMALL: &str = include_str!("../dependents/small.sql");

/// A database of the small schema, and its owner's session.
pub(crate) async fn small(server: &Postgres) -> (String, Client) {
    let database = database(server).await;
    let client = connect(server, "boss", &database).await;
    client.batch_execute(SMALL).await.unwrap();
    (database, client)
}

/// The renames of a swap: table, indexes with their constraints, identity sequences.
pub(crate) async fn renames(client: &Client, names: &Names) -> Vec<String> {
    let of = |table: &TableName, what: &str| format!("{what} = '{table}'::regclass");
    let mut statements = Vec::new();
    let indexes = |condition: String| {
        format!(
            "SELECT i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid \
             WHERE {condition} ORDER BY i.oid"
        )
    };
    let sequences = |condition: String| {
        format!(
            "SELECT s.relname::text FROM pg_depend d JOIN pg_class s ON s.oid = d.objid \
             AND s.relkind = 'S' WHERE d.deptype = 'i' AND {condition} ORDER BY d.refobjsubid"
        )
    };
    let mut pairs = Vec::new();
    for (kind, query) in [
        (
            "INDEX",
            [indexes(of(&names.original, "x.indrelid")), indexes(of(&names.shadow, "x.indrelid"))],
        ),
        (
            "SEQUENCE",
            [
                sequences(of(&names.original, "d.refobjid")),
                sequences(of(&names.shadow, "d.refobjid")),
            ],
        ),
    ] {
        let [old, new] = query;
        let (old, new) = (strings(client, &old).await, strings(client, &new).await);
        pairs.extend(old.into_iter().zip(new).map(|(old, new)| (kind, old, new)));
    }
    let Names { original, retired, shadow, .. } = names;
    statements.push(format!("ALTER TABLE {original} RENAME TO {}", retired.table));
    // What gives the sequence its place has renamed it already.
    for (kind, old, _) in pairs.iter().filter(|(kind, ..)| *kind == "INDEX") {
        let name = original.sibling(Ident::new(old));
        let away = name.table.with_suffix("_osc_old");
        statements.push(format!("ALTER {kind} {name} RENAME TO {away}"));
    }
    statements.push(format!("ALTER TABLE {shadow} RENAME TO {}", original.table));
    for (kind, old, new) in &pairs {
        let name = original.sibling(Ident::new(new));
        let old = old.strip_suffix("_osc_old").unwrap_or(old);
        statements.push(format!("ALTER {kind} {name} RENAME TO {}", Ident::new(old)));
    }
    statements
}

/// The statements of a dump, in an order of their own: objects were made in another one.
pub(crate) fn normalised(dump: &str) -> Vec<String> {
    let lines = dump.lines().filter(|line| !line.starts_with("--") && !line.starts_with("\\"));
    let text: Vec<&str> = lines.collect();
    let mut statements: Vec<String> =
        text.join("\n").split(";\n").map(|one| one.trim().to_owned()).collect();
    statements.sort();
    statements
}

/// What osc reads of the table, without OIDs.
pub(crate) async fn picture(client: &Client) -> serde_json::Value {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                for oid in ["oid", "relation", "reads"] {
                    fields.remove(oid);
                }
                fields.values_mut().for_each(strip);
            }
            serde_json::Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let dependents = Dependents::read(client, &names().original).await.unwrap();
    let mut value = serde_json::to_value(dependents).unwrap();
    strip(&mut value);
    value
}

pub(crate) fn assert_same(before: &Option<String>, after: &Option<String>) {
    let (Some(before), Some(after)) = (before, after) else { return };
    let (before, after) = (normalised(before), normalised(after));
    let only = |these: &[String], those: &[String]| {
        these.iter().filter(|one| !those.contains(one)).cloned().collect::<Vec<_>>().join("\n")
    };
    assert!(before.len() > 20, "this is no dump: {before:?}");
    let (lost, gained) = (only(&before, &after), only(&after, &before));
    assert!(lost.is_empty() && gained.is_empty(), "LOST:\n{lost}\n\nGAINED:\n{gained}");
}
