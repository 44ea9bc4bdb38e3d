//! What hangs on a PostgreSQL table's OID follows the swap.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "dependents/server.rs"]
mod server;

use osc::postgres::dependents::{Dependents, Names};
use osc::postgres::fate::Fate;
use osc::postgres::guards;
use osc::postgres::name::{Helpers, Ident, TableName};
use server::Server;
use tokio_postgres::Client;

const EVERYTHING: &str = include_str!("dependents/everything.sql");

fn names() -> Names {
    let original = TableName::new("public", "users");
    let Helpers { shadow, retired } = Helpers::of(&original);
    Names { original, retired, shadow }
}

async fn run(client: &Client, statements: &[String]) {
    for statement in statements {
        if let Err(error) = client.batch_execute(statement).await {
            panic!("{error:?}\n{statement}");
        }
    }
}

async fn strings(client: &Client, query: &str) -> Vec<String> {
    let rows = client.query(query, &[]).await.unwrap_or_else(|error| panic!("{error:?}\n{query}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// A database with the roles of the tests; its owner is no superuser.
async fn database() -> String {
    static ROLES: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let server = Server::shared();
    ROLES
        .get_or_init(|| async {
            let client = server.connect("postgres", "postgres").await;
            let roles = "CREATE ROLE boss LOGIN BYPASSRLS; CREATE ROLE app LOGIN; CREATE ROLE lead LOGIN; \
                 GRANT lead TO boss";
            client.batch_execute(roles).await.unwrap();
        })
        .await;
    let database = server.database("boss").await;
    let client = server.connect("postgres", &database).await;
    client.batch_execute("ALTER SCHEMA public OWNER TO boss").await.unwrap();
    database
}

async fn columns(client: &Client) -> Vec<Ident> {
    let query = "SELECT attname::text FROM pg_attribute WHERE attrelid = 'public.users'::regclass \
         AND attnum > 0 AND NOT attisdropped";
    strings(client, query).await.into_iter().map(Ident::new).collect()
}

/// A swap as the cut-over makes it, with the copy made at once; up to the commit.
struct Swap {
    dependents: Dependents,
    fate: Fate,
    names: Names,
}

impl Swap {
    /// Makes and fills the shadow. `{}` in `clauses` is its name.
    async fn prepare(client: &Client, clauses: &str, fate: Fate) -> Self {
        let names = names();
        let dependents = Dependents::read(client, &names.original).await.unwrap();
        let findings = dependents.refusals(&fate);
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
        Self { dependents, fate, names }
    }

    /// Everything up to the lock on the original.
    async fn lock(&self, client: &Client) {
        run(client, &["BEGIN".into()]).await;
        run(client, &self.dependents.lock_statements()).await;
        run(client, &[format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", self.names.original)])
            .await;
        let again = Dependents::read(client, &self.names.original).await.unwrap();
        assert_eq!(again, self.dependents);
    }

    async fn commit(&self, client: &Client) {
        let Names { original, retired, shadow } = &self.names;
        run(client, &self.dependents.before_renames(&self.names, &self.fate)).await;
        run(client, &renames(client, &self.names).await).await;
        run(client, &self.dependents.after_renames(&self.names, &self.fate)).await;
        run(client, &guards::retired(retired)).await;
        run(client, &guards::snapshot(original)).await;
        run(client, &["COMMIT".into()]).await;
        assert!(shadow != original);
    }

    async fn whole(&self, client: &Client) -> Vec<String> {
        self.lock(client).await;
        self.commit(client).await;
        self.dependents.after_swap(client, &self.names, &self.fate).await.unwrap()
    }

    async fn drop_retired(&self, client: &Client) {
        let retired = &self.names.retired;
        run(client, &guards::release_retired(retired)).await;
        run(client, &[format!("DROP TABLE {retired}")]).await;
    }
}

/// The renames of a swap: table, indexes with their constraints, identity sequences.
async fn renames(client: &Client, names: &Names) -> Vec<String> {
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
    let Names { original, retired, shadow } = names;
    statements.push(format!("ALTER TABLE {original} RENAME TO {}", retired.table));
    for (kind, old, _) in &pairs {
        let name = original.sibling(Ident::new(old));
        let away = name.table.with_suffix("_osc_old");
        statements.push(format!("ALTER {kind} {name} RENAME TO {away}"));
    }
    statements.push(format!("ALTER TABLE {shadow} RENAME TO {}", original.table));
    for (kind, old, new) in &pairs {
        let name = original.sibling(Ident::new(new));
        statements.push(format!("ALTER {kind} {name} RENAME TO {}", Ident::new(old)));
    }
    statements
}

/// The statements of a dump, in an order of their own: objects were made in another one.
fn normalised(dump: &str) -> Vec<String> {
    let lines = dump.lines().filter(|line| !line.starts_with("--") && !line.starts_with("\\"));
    let text: Vec<&str> = lines.collect();
    let mut statements: Vec<String> =
        text.join("\n").split(";\n").map(|one| one.trim().to_owned()).collect();
    statements.sort();
    statements
}

fn assert_same(before: &str, after: &str) {
    let (before, after) = (normalised(before), normalised(after));
    let only = |these: &[String], those: &[String]| {
        these.iter().filter(|one| !those.contains(one)).cloned().collect::<Vec<_>>().join("\n")
    };
    let (lost, gained) = (only(&before, &after), only(&after, &before));
    assert!(lost.is_empty() && gained.is_empty(), "LOST:\n{lost}\n\nGAINED:\n{gained}");
}

#[tokio::test]
async fn a_dump_of_a_table_with_everything_on_it_is_the_same_after_a_swap() {
    let database = database().await;
    let server = Server::shared();
    let client = server.connect("boss", &database).await;
    client.batch_execute(EVERYTHING).await.unwrap();
    client
        .batch_execute(
            "INSERT INTO orgs VALUES (1, 'o'); INSERT INTO users (org_id, email, score) \
             VALUES (1, 'a', 9), (1, 'b', 8); INSERT INTO orders VALUES (1, 100, 'a')",
        )
        .await
        .unwrap();
    let before = server.dump(&database);
    let fate = Fate::unchanged(columns(&client).await);
    let swap = Swap::prepare(&client, "", fate).await;
    assert_eq!(swap.whole(&client).await, Vec::<String>::new());
    swap.drop_retired(&client).await;
    assert_same(&before, &server.dump(&database));
    // Identity and serial go on where they were.
    let made = "INSERT INTO users (org_id, email) VALUES (1, 'c') RETURNING id || ' ' || number";
    assert_eq!(strings(&client, made).await, ["110 3"]);
}
