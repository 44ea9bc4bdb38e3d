//! Everything that hangs on a table's OID, and how it is carried over to the table that takes the
//! original's name. One file a kind of object; this one knows the order.
//!
//! What is read is text and names as they are before the swap. The original's name stands in the
//! definitions, so that, run after the renames, they bind to the new table. The retired table is
//! left with no triggers, rules, policies, foreign keys and publications: it must neither act nor
//! stand in the way, and an undo creates them again on it. Row security stays on there, so that the
//! lack of policies lets only the owner see its rows.

pub mod validation;

mod after;
mod foreign_keys;
mod functions;
mod grants;
mod internal;
mod obstacles;
mod partitioned;
mod policies;
mod publications;
mod refusals;
mod rules;
mod sequences;
mod set;
mod settings;
mod sql;
mod statistics;
mod triggers;
mod unproved;
mod views;

pub use after::after_swap;
pub use foreign_keys::ForeignKey;
pub use set::Set;
pub use sql::either;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

pub use unproved::IS_UNPROVED;

use super::clauses::columns::ColumnOutcomes;
use super::connection::errors::server_error;
use super::name::{Ident, TableName};
use crate::error::{Error, Result};
use crate::testing::mutation::{self, Rule};

/// The names of the three tables of a swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The original before the renames, the new table after them.
    pub original: TableName,
    /// The original after the renames.
    pub retired: TableName,
    /// The new table before the renames.
    pub shadow: TableName,
    /// The suffix of what retires with the original.
    pub suffix: String,
}

/// What hangs on a table. Two that are equal were read with nothing changed in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependents {
    oid: u32,
    table: TableName,
    version: i32,
    settings: settings::Settings,
    views: Vec<views::View>,
    rules: Vec<rules::Rule>,
    functions: Vec<functions::Function>,
    triggers: Vec<triggers::Trigger>,
    policies: Vec<policies::Policy>,
    foreign_keys: Vec<foreign_keys::ForeignKey>,
    #[serde(default)]
    internal: Vec<internal::Internal>,
    #[serde(default)]
    unproved: Vec<unproved::Unproved>,
    publications: Vec<publications::Publication>,
    sequences: Vec<sequences::Sequence>,
    statistics: Vec<statistics::Statistic>,
    obstacles: Vec<obstacles::Obstacle>,
    #[serde(skip)]
    event_triggers: Reported,
}

/// What is reported and changes nothing: two are equal whatever they are, and a digest has none.
#[derive(Debug, Clone, Default)]
struct Reported(Vec<String>);

impl PartialEq for Reported {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Reported {}

impl Dependents {
    /// Reads what hangs on `original`. Left out as osc's own are publications named `osc_…`, and
    /// triggers named so whose function is named `osc_…` or `…_osc_…`. The session's `search_path` is emptied meanwhile, so that the server writes every
    /// name with its schema.
    ///
    /// # Errors
    /// [`Error::Foreign`] where there is no such table; those of [`server_error`].
    pub async fn read(client: &Client, original: &TableName) -> Result<Self> {
        const ACTION: &str = "reading the table's dependents";
        let failed = |error| server_error(ACTION, &error);
        let query = "SELECT pg_catalog.current_setting('search_path'), \
             pg_catalog.set_config('search_path', '', false)";
        let path: String =
            client.query_one(query, &[]).await.and_then(|row| row.try_get(0)).map_err(failed)?;
        let read = Self::read_qualified(client, original).await;
        let restored = client
            .execute("SELECT pg_catalog.set_config('search_path', $1, false)", &[&path])
            .await
            .map_err(failed);
        let dependents = read?;
        restored.map(|_| dependents)
    }

    async fn read_qualified(client: &Client, original: &TableName) -> Result<Self> {
        let failed = |error| server_error("reading the table's dependents", &error);
        let query = "SELECT c.oid, pg_catalog.current_setting('server_version_num')::int4 \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')";
        let (schema, name) = (original.schema.as_str(), original.table.as_str());
        let found = client.query_opt(query, &[&schema, &name]).await.map_err(failed)?;
        let row = found
            .ok_or_else(|| Error::Foreign(format!("there is no table {}", original.plain())))?;
        let oid: u32 = row.try_get(0).map_err(failed)?;
        let version: i32 = row.try_get(1).map_err(failed)?;
        let views = views::read(client, oid).await?;
        let view_oids: Vec<u32> = views.iter().map(|view| view.oid).collect();
        Ok(Self {
            oid,
            table: original.clone(),
            version,
            settings: settings::read(client, oid).await?,
            rules: rules::read(client, oid, &view_oids).await?,
            views,
            functions: functions::read(client, oid).await?,
            triggers: triggers::read(client, oid).await?,
            policies: policies::read(client, oid).await?,
            foreign_keys: foreign_keys::read(client, oid).await?,
            internal: internal::read(client, oid).await?,
            unproved: unproved::read(client, oid).await?,
            publications: publications::read(client, oid, version).await?,
            sequences: sequences::read(client, oid).await?,
            statistics: statistics::read(client, oid).await?,
            obstacles: obstacles::read(client, oid).await?,
            event_triggers: Reported(obstacles::event_triggers(client, oid).await?),
        })
    }

    /// What acts on the table or holds it, but for triggers, in words: a retired table has none of it.
    pub fn acting(&self) -> Vec<String> {
        let rules = self.own_rules().map(|one| format!("the rule {}", one.name));
        let own = self.policies.iter().filter(|one| one.own);
        let policies = own.map(|one| format!("the policy {}", one.name));
        let keys = self.foreign_keys.iter();
        let keys = keys.map(|one| format!("the foreign key {} of {}", one.name, one.child.plain()));
        let publications = self.publications.iter().filter(|one| !one.wide);
        let publications = publications.map(|one| format!("the publication {}", one.name));
        let others = self.obstacles.iter().map(|one| one.what.clone());
        rules.chain(policies).chain(keys).chain(publications).chain(others).collect()
    }

    /// Its owner, and whether osc's role may act for it.
    pub fn owner(&self) -> (&Ident, bool) {
        (&self.settings.owner, self.settings.owned)
    }

    /// Where this table is to have what hangs on `live`: takes away what `live` has not, and this one does.
    pub fn taken_back(
        &self,
        live: &Self,
        table: &TableName,
        outcomes: &ColumnOutcomes,
    ) -> Vec<String> {
        settings::taken_back(&self.settings, &live.settings, table, outcomes)
    }

    /// What is set on it.
    pub fn set(&self) -> Set {
        Set::of(&self.settings)
    }

    /// The foreign keys that the table has, by name.
    pub fn own_foreign_keys(&self) -> impl Iterator<Item = &Ident> {
        self.foreign_keys.iter().filter(|key| key.outbound).map(|key| &key.name)
    }

    /// Those of them that the clauses take away.
    pub fn own_foreign_keys_gone(&self, outcomes: &ColumnOutcomes) -> Vec<ForeignKey> {
        self.foreign_keys.iter().filter(|key| key.goes(outcomes)).cloned().collect()
    }

    /// The statements that give `table` this one's rights on `columns`.
    pub fn column_rights(&self, table: &TableName, columns: &BTreeSet<Ident>) -> Vec<String> {
        let of = |grant: &&grants::Grant| {
            grant.column.as_ref().is_some_and(|column| columns.contains(column))
        };
        let kept: Vec<_> = self.settings.grants.iter().filter(of).cloned().collect();
        grants::give_each(&kept, table)
    }

    /// Whether nothing hangs on the table but its own settings and sequences.
    pub fn is_bare(&self) -> bool {
        self.views.is_empty()
            && self.rules.is_empty()
            && self.functions.is_empty()
            && self.triggers.is_empty()
            && self.policies.is_empty()
            && self.foreign_keys.is_empty()
            && self.internal.is_empty()
            && self.unproved.is_empty()
            && self.publications.is_empty()
            && self.statistics.is_empty()
    }

    /// Relations to lock ACCESS EXCLUSIVE before the original, in this order: those through which a
    /// statement comes to it. Views come first, the outermost before what they read, then tables
    /// with rules or policies that name the original, then tables that refer to it. Views must be
    /// locked without their base tables: [`Dependents::lock_statements`] does so.
    pub fn locks(&self) -> Vec<TableName> {
        let views = self.locked_views().map(|view| &view.name);
        unique(views.chain(self.other_relations()))
    }

    fn locked_views(&self) -> impl Iterator<Item = &views::View> {
        self.views.iter().rev().filter(|view| !view.materialized && view.owned)
    }

    fn other_relations(&self) -> impl Iterator<Item = &TableName> {
        let rules = self.rules.iter().filter(|rule| rule.relation != self.oid);
        let policies = self.policies.iter().filter(|policy| !policy.own);
        let children = self.foreign_keys.iter().filter(|key| !key.outbound);
        let views: BTreeSet<u32> = self.views.iter().map(|view| view.oid).collect();
        rules
            .filter(move |rule| !views.contains(&rule.relation))
            .map(|rule| &rule.on)
            .chain(policies.map(|policy| &policy.on))
            .chain(children.map(|key| &key.child))
    }

    /// The statements that take [`Dependents::locks`], in order.
    ///
    /// `LOCK` on a view locks its base tables too, the original among them, and a child locked after
    /// the original deadlocks with whoever writes to the child. Giving a view to the owner that it has
    /// locks the view alone and changes nothing.
    pub fn lock_statements(&self) -> Vec<String> {
        let views = self
            .locked_views()
            .map(|view| format!("ALTER VIEW {} OWNER TO {}", view.name, view.owner));
        let others = unique(self.other_relations());
        views
            .chain(
                others
                    .iter()
                    .map(|name| format!("LOCK TABLE ONLY {name} IN ACCESS EXCLUSIVE MODE")),
            )
            .collect()
    }

    /// Tables that the original refers to, to lock ACCESS EXCLUSIVE right after it: taking its
    /// foreign keys away needs that lock. A writer goes from the original to them, too.
    pub fn parents(&self) -> Vec<TableName> {
        let keys = self.foreign_keys.iter().filter(|key| key.outbound && !key.is_self());
        unique(keys.map(|key| &key.parent))
    }

    /// The statements that lock what the original alone draws from, right after it.
    pub fn sequence_locks(&self) -> Vec<String> {
        self.sequences.iter().filter_map(sequences::lock).collect()
    }

    /// SQL for the empty shadow right after LIKE has made it: identity sequences.
    pub fn sequence_statements(&self, shadow: &TableName) -> Vec<String> {
        sequences::on_shadow(&self.sequences, shadow)
    }

    /// SQL for the same, where the original is still there: they stand where the original's do.
    pub fn counter_statements(&self, shadow: &TableName) -> Vec<String> {
        sequences::counters(&self.sequences, shadow)
    }

    /// SQL for the empty shadow, before the clauses: checks that are not valid.
    pub fn unproved_statements(&self, shadow: &TableName) -> Vec<String> {
        self.unproved.iter().flat_map(|one| unproved::on_shadow(one, shadow)).collect()
    }

    /// SQL for the empty shadow, before the clauses are applied to it: owner, no rights to others,
    /// storage parameters, statistics targets, replica identity. `LIKE` brings none of them.
    pub fn shadow_statements(&self, shadow: &TableName) -> Vec<String> {
        settings::on_shadow(&self.settings, shadow)
    }

    /// The same for a shadow that is partitioned: storage parameters are its partitions' only.
    pub fn parent_statements(&self, shadow: &TableName) -> Vec<String> {
        let settings = settings::Settings { options: Vec::new(), ..self.settings.clone() };
        settings::on_shadow(&settings, shadow)
    }

    /// SQL for the swap's transaction, before the renames: takes from the original what the new
    /// table gets.
    pub fn before_renames(&self, names: &Names, outcomes: &ColumnOutcomes) -> Vec<String> {
        let original = &names.original;
        let recreated = views::recreated(&self.views, outcomes);
        let mut statements: Vec<String> =
            self.publications.iter().filter_map(|one| publications::drop(one, original)).collect();
        statements.extend(self.foreign_keys.iter().map(foreign_keys::ForeignKey::drop));
        statements.extend(self.own_rules().map(rules::drop));
        statements.extend(self.triggers.iter().map(|one| triggers::drop(one, original)));
        statements.extend(self.policies.iter().filter_map(|one| policies::drop(one, original)));
        if self.settings.forced_row_security {
            statements.push(format!("ALTER TABLE {original} NO FORCE ROW LEVEL SECURITY"));
        }
        statements.extend(views::before(&self.views, &recreated));
        statements.extend(self.statistics.iter().map(|one| statistics::before(one, &names.suffix)));
        let counters =
            self.sequences.iter().flat_map(|one| sequences::before(one, names, outcomes));
        statements.extend(sequences::from_no_view(counters.collect()));
        statements
    }

    /// SQL for the swap's transaction, after the renames: binds everything to the new table.
    pub fn after_renames(&self, names: &Names, outcomes: &ColumnOutcomes) -> Vec<String> {
        if mutation::active(Rule::DependentsFollow) {
            return Vec::new();
        }
        let table = &names.original;
        let recreated = views::recreated(&self.views, outcomes);
        let unproved = self.unproved.iter().filter(|one| {
            outcomes.unproved.contains(&one.name)
                && !outcomes.dropped_constraints.contains(&one.name)
        });
        let mut statements: Vec<String> = unproved.map(|one| unproved::add(one, table)).collect();
        statements.extend(settings::after(&self.settings, names, outcomes));
        for sequence in &self.sequences {
            statements.extend(sequences::after(sequence, names, outcomes));
        }
        statements
            .extend(self.statistics.iter().map(|one| statistics::after(one, names, outcomes)));
        statements.extend(views::after(&self.views, &self.rules, &recreated, self.oid));
        statements.extend(self.functions_recreated());
        statements.extend(self.own_rules().flat_map(rules::create));
        let others = self.rules.iter().filter(|rule| {
            rule.names_original && rule.relation != self.oid && !recreated.contains(&rule.relation)
        });
        statements.extend(others.map(rules::replace));
        statements.extend(self.triggers.iter().flat_map(|one| triggers::create(one, table)));
        statements.extend(self.policies.iter().flat_map(|one| policies::create(one, table)));
        statements.extend(settings::row_security(&self.settings, table));
        let keys = self.foreign_keys.iter().filter(|key| !key.goes(outcomes));
        statements.extend(keys.flat_map(foreign_keys::ForeignKey::add));
        if !mutation::active(Rule::DisabledStay) {
            statements.extend(self.internal.iter().map(internal::state));
        }
        statements.extend(
            self.publications.iter().filter_map(|one| publications::add(one, table, outcomes)),
        );
        statements
    }

    /// SQL that binds functions to the table that has the name by now.
    pub fn functions_recreated(&self) -> Vec<String> {
        self.functions.iter().flat_map(functions::replace).collect()
    }

    fn own_rules(&self) -> impl Iterator<Item = &rules::Rule> {
        self.rules.iter().filter(|rule| rule.relation == self.oid)
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a TableName>) -> Vec<TableName> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert((*name).clone())).cloned().collect()
}
