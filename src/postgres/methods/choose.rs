//! Which method a change takes.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use super::constraints::{Online, mark};
use super::facts::Facts;
use super::probe::{Seen, probe};
use super::step::{Look, Step};
use super::{Chosen, ClauseWork, Method, build_index, constraints, indexes};
use crate::config::strategy::Strategy;
use crate::error::{Error, Finding, Result};
use crate::postgres::clauses::form::Form;
use crate::postgres::clauses::{
    Action, ActionKind, Clauses, Constraint, ConstraintKind, Lock, Statement,
};
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::name::{Ident, TableName, Text};

/// Chooses the method.
///
/// # Errors
/// `Refused` where the strategy cannot be; the server's where the clauses cannot
/// be applied at all.
pub async fn choose(
    client: &Client,
    role: &RoleSettings,
    original: &TableName,
    statement: &Statement,
    strategy: Strategy,
    version: u32,
) -> Result<Chosen> {
    let chosen = |method, reason: &str| Chosen {
        method,
        reason: reason.into(),
        notes: Vec::new(),
        clauses: Vec::new(),
    };
    let facts = Facts::read(client, original).await?;
    let clauses = match statement {
        Statement::CreateIndex(create) => {
            let (steps, name) = indexes::create(client, role, create, original, &facts).await?;
            let mut chosen = chosen(Method::Steps(steps), "indexes are built concurrently");
            if create.name.is_none() {
                chosen.notes.push(format!("the index gets the name {name}"));
            }
            return allowed(strategy, chosen);
        }
        Statement::DropIndex { indexes: named, if_exists } => {
            let steps = indexes::drop(client, named, *if_exists, original).await?;
            let reason = "indexes are dropped concurrently";
            return allowed(strategy, chosen(Method::Steps(steps), reason));
        }
        Statement::Alter { clauses, .. } => clauses,
    };
    let own = Form::of(clauses).reason();
    if let Some(reason) = own {
        refuse_in_place(clauses, "what needs a copy")?;
        return allowed(strategy, chosen(Method::Copy, reason));
    }
    if strategy == Strategy::Copy {
        refuse_in_place(clauses, "--strategy copy")?;
        return Ok(chosen(Method::Copy, "--strategy copy"));
    }
    if clauses.is_empty() {
        return allowed(strategy, chosen(Method::Copy, "no clauses: the table is rewritten"));
    }
    Choice { client, role, original, facts, version, strategy }.of(clauses).await
}

struct Choice<'a> {
    client: &'a Client,
    role: &'a RoleSettings,
    original: &'a TableName,
    facts: Facts,
    version: u32,
    strategy: Strategy,
}

impl Choice<'_> {
    async fn of(&self, clauses: &Clauses) -> Result<Chosen> {
        let (mut steps, mut last, mut begun, mut has_index) =
            (Vec::new(), Vec::new(), false, false);
        let mut rest = Clauses { only: clauses.only, actions: Vec::new() };
        let mut mentioned = BTreeSet::new();
        for action in &clauses.actions {
            match self.online(action, clauses).await? {
                Some(online) => {
                    steps.extend(online.steps);
                    last.extend(online.last);
                    begun |= online.begun;
                    has_index |= online.has_index;
                    mentioned.extend(action.names.iter().cloned());
                }
                None => rest.actions.push(action.clone()),
            }
        }
        // What an earlier run has done cannot be tried again.
        let first = self.first(&rest, &mentioned);
        let is_first_done = first.as_ref().is_some_and(|(_, done)| *done);
        if has_index && !begun && !is_first_done {
            // An empty copy of the table has no room for a second one of the name.
            if !self.judge_rest(&rest).await?.is_nothing() {
                return Err(half_built());
            }
        } else if !begun && !is_first_done {
            let (seen, work_of) = self.examine(clauses).await?;
            let needs_steps = clauses.actions.iter().any(|action| {
                action.is_foreign_key() || matches!(action.kind, ActionKind::Validate { .. })
            });
            if seen.is_nothing() && !needs_steps {
                let step = self.metadata(clauses, &[]);
                return Ok(chosen(Method::Direct(step), "metadata only", work_of));
            }
            let left = if steps.is_empty() { seen } else { self.judge_rest(&rest).await? };
            if steps.is_empty() || !left.is_nothing() {
                refuse_in_place(clauses, "what needs a copy")?;
                return allowed(self.strategy, chosen(Method::Copy, &left.to_string(), work_of));
            }
            let steps = self.assemble(&rest, first, steps, last);
            let reason = "the server has an online way for each clause";
            return allowed(self.strategy, chosen(Method::Steps(steps), reason, work_of));
        }
        let steps = self.assemble(&rest, first, steps, last);
        let reason = "going on with the step that an earlier run left";
        allowed(self.strategy, chosen(Method::Steps(steps), reason, Vec::new()))
    }

    /// Metadata first, where a step is about a column that it adds, and whether that was done;
    /// `None`: last.
    fn first(&self, rest: &Clauses, mentioned: &BTreeSet<Ident>) -> Option<(Step, bool)> {
        let column = rest.actions.iter().find_map(|action| match &action.kind {
            ActionKind::AddColumn { name, .. } if mentioned.contains(name) => Some(name),
            _ => None,
        })?;
        let texts: Vec<&str> = rest.actions.iter().map(|action| action.text.as_str()).collect();
        let mark = mark(&texts.join(", "));
        let done = self.facts.comments.get(column) == Some(&mark);
        let comment = format!("COMMENT ON COLUMN {}.{column} IS {}", self.original, Text(&mark));
        let there = format!(
            "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = {}::regclass \
             AND attname = {} AND NOT attisdropped)",
            Text(&self.original.to_string()),
            Text(column.as_str())
        );
        Some((self.metadata(rest, &[comment]).unless(Look::Query(there)), done))
    }

    fn assemble(
        &self,
        rest: &Clauses,
        first: Option<(Step, bool)>,
        steps: Vec<Step>,
        mut last: Vec<String>,
    ) -> Vec<Step> {
        let mut all = Vec::new();
        let is_first = first.is_some();
        if let Some((step, _)) = first {
            if let Some((_, comment)) = step.sql.split_once("; COMMENT ON COLUMN ")
                && let Some((column, _)) = comment.split_once(" IS ")
            {
                last.push(format!("COMMENT ON COLUMN {column} IS NULL"));
            }
            all.push(step);
        }
        all.extend(steps);
        if !is_first && !rest.is_empty() {
            all.push(self.metadata(rest, &last));
        } else if !last.is_empty() {
            let sql = last.join("; ");
            let short = last.iter().any(|sql| sql.starts_with("ALTER"));
            all.push(if short { Step::short(sql) } else { Step::long(sql) });
        }
        all
    }

    /// Clauses that are metadata only, in one transaction with other statements.
    fn metadata(&self, clauses: &Clauses, more: &[String]) -> Step {
        let alter = clauses.for_table(self.original);
        let sql: Vec<String> = alter.into_iter().chain(more.iter().cloned()).collect();
        let sql = sql.join("; ");
        if clauses.lock() == Some(Lock::ShareUpdateExclusive) {
            return Step::long(sql).in_words();
        }
        // A foreign key that goes is taken off the other table too.
        let touches = clauses.actions.iter().any(|action| match &action.kind {
            ActionKind::DropConstraint { .. } | ActionKind::AlterConstraint { .. } => true,
            ActionKind::DropColumn { name, .. } => self.facts.joined.contains(name),
            _ => false,
        });
        let others = if touches { self.facts.neighbours.clone() } else { Vec::new() };
        Step::short(sql).with(others).in_words()
    }

    async fn examine(&self, clauses: &Clauses) -> Result<(Seen, Vec<ClauseWork>)> {
        let absent = self.facts.foreign_keys();
        let (mut seen, mut each) =
            probe(self.client, self.role, self.original, clauses, &absent).await?;
        for (action, work) in clauses.actions.iter().zip(&mut each) {
            match &action.kind {
                ActionKind::SetLogged(logged) if *logged != self.facts.logged => {
                    work.rewrites = true;
                }
                // The copy has no foreign keys, which the server proves again.
                ActionKind::AlterType { column, .. } if self.facts.joined.contains(column) => {
                    work.scans = true;
                }
                ActionKind::AddConstraint(added)
                    if added.kind == ConstraintKind::ForeignKey && !action.is_not_valid() =>
                {
                    work.scans = true;
                }
                ActionKind::Validate { name } => {
                    work.scans |= self.facts.constraints.get(name).is_some_and(|c| !c.validated);
                }
                ActionKind::AlterConstraint { .. }
                    if action.names.iter().any(|name| name.as_str() == "enforced")
                        && !action.names.iter().any(|name| name.as_str() == "not") =>
                {
                    work.scans = true;
                }
                _ => {}
            }
            seen.rewrites |= work.rewrites;
            if !action.is_foreign_key() && !matches!(action.kind, ActionKind::Validate { .. }) {
                seen.scans |= work.scans;
            }
        }
        let work_of = |(action, work): (&Action, Seen)| ClauseWork {
            text: action.text.clone(),
            lock: action.lock(),
            work,
        };
        Ok((seen, clauses.actions.iter().zip(each).map(work_of).collect()))
    }

    async fn judge_rest(&self, rest: &Clauses) -> Result<Seen> {
        if rest.is_empty() {
            return Ok(Seen::default());
        }
        Ok(self.examine(rest).await?.0)
    }

    /// The online way of one clause; `None`: it has none.
    async fn online(&self, action: &Action, all: &Clauses) -> Result<Option<Online>> {
        let (table, facts) = (self.original, &self.facts);
        let only = |steps| Ok(Some(Online { steps, ..Online::default() }));
        match &action.kind {
            ActionKind::AddConstraint(added) if !added.not_enforced => {
                self.constraint(action, added, all).await
            }
            ActionKind::SetNotNull { column } => {
                only(constraints::set_not_null(table, column, facts))
            }
            ActionKind::Validate { name } => {
                let step = Step::long(format!("ALTER TABLE {table} {}", action.text));
                only(vec![step.showing(name)])
            }
            _ => Ok(None),
        }
    }

    async fn constraint(
        &self,
        action: &Action,
        added: &Constraint,
        all: &Clauses,
    ) -> Result<Option<Online>> {
        use ConstraintKind as K;
        let replaces = |name: &Ident| all.dropped_constraints().contains(name);
        let (table, facts) = (self.original, &self.facts);
        // Up to 17 a partitioned table's foreign keys are valid from the start.
        let early = added.kind == K::ForeignKey && facts.partitioned && self.version < 180_000;
        match (added.kind, &added.name, &added.key) {
            (K::ForeignKey, Some(_), _) if early => Err(Error::Refused(vec![Finding::new(
                "partitioned",
                "PostgreSQL adds a foreign key to a partitioned table only under a lock, up to 17",
                "add it to each partition by osc first; then the parent's is quick: add it yourself",
            )])),
            (K::ForeignKey | K::Check, Some(name), _) => {
                constraints::not_valid_first(table, action, added, name, replaces(name), facts)
                    .map(Some)
            }
            (K::NotNull, Some(name), _) if self.version >= 180_000 => {
                constraints::not_valid_first(table, action, added, name, replaces(name), facts)
                    .map(Some)
            }
            (K::Unique | K::PrimaryKey, name, Some(key)) if !facts.partitioned => {
                let usual = || constraints::key_name(table, added.kind, &key.columns);
                let name = name.clone().unwrap_or_else(usual);
                let columns: Vec<String> = key.columns.iter().map(ToString::to_string).collect();
                let definition = format!("({}) {}", columns.join(", "), key.index);
                let definition = definition.trim();
                // A column that this very change adds is not there to be looked at.
                let there = key.columns.iter().all(|name| facts.comments.contains_key(name));
                let replaces = replaces(&name);
                let index = constraints::index_name(&name, replaces);
                let build = if facts.constraints.contains_key(&index) {
                    None
                } else if there {
                    let (client, unique) = (self.client, "UNIQUE ");
                    Some(
                        build_index::build(client, self.role, table, unique, &index, definition)
                            .await?,
                    )
                } else {
                    Some(build_index::build_new(table, "UNIQUE ", &index, definition))
                };
                // One that is a constraint's already is no step's work.
                let has_index =
                    build.is_some() && build_index::is_there(self.client, table, &index).await?;
                let mut online =
                    constraints::by_index(table, action, &name, replaces, build, facts)?;
                online.has_index = has_index;
                Ok(Some(online))
            }
            _ => Ok(None),
        }
    }
}

fn half_built() -> Error {
    Error::Refused(vec![Finding::new(
        "index",
        "an index of the new constraint's name is there already, and other clauses need a copy",
        "drop the index if it is of no use, or add the constraint by itself first",
    )])
}

fn chosen(method: Method, reason: &str, clauses: Vec<ClauseWork>) -> Chosen {
    Chosen { method, reason: reason.into(), notes: Vec::new(), clauses }
}

fn refuse_in_place(clauses: &Clauses, with: &str) -> Result<()> {
    let in_place = |action: &&Action| matches!(action.kind, ActionKind::InPlace { .. });
    let Some(action) = clauses.actions.iter().find(in_place) else { return Ok(()) };
    Err(Error::Refused(vec![Finding::new(
        "clauses",
        format!("{} concerns the table itself, and cannot be done by {with}", action.text),
        "make it in a change of its own: it is instant",
    )]))
}

fn allowed(strategy: Strategy, chosen: Chosen) -> Result<Chosen> {
    let fits = match (strategy, &chosen.method) {
        (Strategy::Auto, _) | (_, Method::Direct(_)) | (Strategy::Inplace, Method::Steps(_)) => {
            true
        }
        (Strategy::Copy, method) => *method == Method::Copy,
        _ => false,
    };
    if fits {
        return Ok(chosen);
    }
    Err(Error::Refused(vec![Finding::new(
        "strategy",
        format!("this change cannot be made in this way: {}", chosen.reason),
        "use --strategy auto",
    )]))
}
