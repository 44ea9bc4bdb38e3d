//! Whether an undo could put the retired table back, by what both tables are. What becomes of each column is
//! asked of the [`lens`](crate::postgres::copy::lens), so that the plan says what the undo does.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use super::Undo;
use super::casts::casts;
use super::demands::{demands, relaxed};
use super::findings::shadow_key;
use crate::engine::undo::Direction;
use crate::error::Result;
use crate::plan::undo::{Reason, Verdict, Way};
use crate::plan::undo_words::{Fresh, list};
use crate::postgres::catalog::checks::{Check, checks};
use crate::postgres::catalog::table::{Column, Index, Table};
use crate::postgres::clauses::change::Change;
use crate::postgres::copy::always_fits::{always_fits, is_same_kind};
use crate::postgres::copy::draft::Draft;
use crate::postgres::copy::lens::{Given, Lens, PutValue, lens};
use crate::postgres::copy::projection::{Projection, project};
use crate::postgres::dependents::{Dependents, ForeignKey};
use crate::postgres::name::{Ident, NEW};
use crate::postgres::run::PostgresTable;

/// The table that a change would retire, as an undo would write it, and the one that it makes live.
#[derive(Debug)]
pub(super) struct Both<'a> {
    /// The table that an undo writes.
    pub written: &'a Table,
    /// The table that is live by then.
    pub live: &'a Table,
    /// The columns that both have: the written name, and the live one.
    pub pairs: &'a [(Ident, Ident)],
    /// What becomes of each column.
    pub lens: &'a Lens,
    /// Foreign keys that the written table gets back.
    pub keys: &'a [ForeignKey],
    /// The checks of the written table, and of the live one.
    pub checks: (&'a [Check], &'a [Check]),
    /// Constraints that the change drops.
    pub dropped: &'a BTreeSet<Ident>,
}

impl Both<'_> {
    /// What a column of the written table is called in the live one; `None`: that does not have it.
    pub(super) fn live_name(&self, written: &Ident) -> Option<&Ident> {
        self.pairs.iter().find(|(name, _)| name == written).map(|(_, live)| live)
    }

    fn value(&self, written: &Ident) -> Option<&PutValue> {
        let column = self.lens.columns.iter().find(|column| column.target == *written);
        column.map(|column| &column.value)
    }
}

/// Whether `osc revert` could undo a change that makes `draft` of the original.
///
/// # Errors
/// The server's.
pub(crate) async fn of_change(
    client: &Client,
    original: &Table,
    draft: &Draft,
    change: &Change,
    dependents: &Dependents,
) -> Result<Verdict> {
    let live = as_live(original, &draft.table);
    if live.kind == 'p' {
        let why = "the new table is partitioned, and osc does not undo that";
        return Ok(Verdict::of(Way::Revert, vec![Reason::impossible("PARTITION BY", why)]));
    }
    let pairs: Vec<(Ident, Ident)> = original
        .columns
        .iter()
        .filter_map(|column| Some((column.name.clone(), change.columns.new_name(&column.name)?)))
        .collect();
    let projection = project(original, &live, &change.columns);
    let lens = lens(
        Direction::Back,
        (original, &live),
        &pairs,
        &projection,
        &casts(client, (original, &live), &pairs).await?,
        &Given::default(),
    );
    let own = checks(client, original.oid).await?;
    let outcomes = change.outcomes(original);
    let kept = own.iter().filter(|check| draft.unproved.contains(&check.name));
    let theirs: Vec<Check> = draft.checks.iter().chain(kept).cloned().collect();
    let both = Both {
        written: original,
        live: &live,
        pairs: &pairs,
        lens: &lens,
        keys: &dependents.own_foreign_keys_gone(&outcomes),
        checks: (&own, &theirs),
        dropped: &outcomes.dropped_constraints,
    };
    judge(&both)
}

/// Whether the undo `undo` could be undone in its turn: the live table is the one that is written then.
///
/// # Errors
/// The server's.
pub(super) async fn of_undo(
    client: &Client,
    live: &Table,
    undo: &Undo,
    projection: &Projection,
    hanging: &Dependents,
) -> Result<Verdict> {
    let retired = &undo.retired()?.table;
    let direction = undo.direction.other();
    let (old, new) = match undo.direction {
        Direction::Back => (retired, live),
        Direction::Again => (live, retired),
    };
    let pairs: Vec<(Ident, Ident)> = match direction {
        Direction::Back => undo.tables.pairs.clone(),
        Direction::Again => {
            undo.tables.pairs.iter().map(|(old, new)| (new.clone(), old.clone())).collect()
        }
    };
    let casts = casts(client, (old, new), &undo.tables.pairs).await?;
    let lens =
        lens(direction, (old, new), &undo.tables.pairs, projection, &casts, &Given::default());
    let outcomes = undo.outcomes(live);
    let (own, theirs) = (checks(client, live.oid).await?, checks(client, retired.oid).await?);
    let then = as_live(live, retired);
    let both = Both {
        written: live,
        live: &then,
        pairs: &pairs,
        lens: &lens,
        keys: &hanging.own_foreign_keys_gone(&outcomes),
        checks: (&own, &theirs),
        dropped: &outcomes.dropped_constraints,
    };
    judge(&both)
}

/// Unique keys of the retired table that the rows of the live one need not keep.
///
/// # Errors
/// `Internal`, in a run that is no undo.
pub(crate) fn relaxed_keys(table: &PostgresTable) -> Result<Vec<Ident>> {
    let Some(undo) = &table.setting.undo else { return Ok(Vec::new()) };
    let pairs = undo.tables.pairs.iter();
    let pairs: Vec<(Ident, Ident)> = match undo.direction {
        Direction::Back => pairs.cloned().collect(),
        Direction::Again => pairs.map(|(old, new)| (new.clone(), old.clone())).collect(),
    };
    let both = Both {
        written: &undo.retired()?.table,
        live: &table.setting.original,
        pairs: &pairs,
        lens: table.ready()?.statements.lens()?,
        keys: &[],
        checks: (&[], &[]),
        dropped: &BTreeSet::new(),
    };
    Ok(relaxed(&both).into_iter().map(|index| index.name.clone()).collect())
}

fn judge(both: &Both<'_>) -> Result<Verdict> {
    let mut reasons = columns(both);
    let image = |name: &Ident| {
        both.pairs.iter().find(|(_, live)| live == name).map(|(written, _)| written.clone())
    };
    match shadow_key(both.live, both.written, image)? {
        Ok(key) => reasons.extend(by_key(both, &key)),
        Err(finding) => reasons.push(Reason::impossible("copy key", finding.problem)),
    }
    reasons.extend(demands(both));
    Ok(Verdict::of(Way::Revert, reasons))
}

/// The new table as it is when it has the original's name: the swap makes the index its replica identity that is
/// the original's.
fn as_live(original: &Table, new: &Table) -> Table {
    let mut live = Table { name: original.name.clone(), ..new.clone() };
    let identity = original.indexes.iter().find(|index| index.identity);
    if let Some(identity) = identity.filter(|_| live.replica_identity == 'd') {
        let is_it = |index: &&mut Index| {
            index.name == identity.name || index.name == identity.name.with_suffix(NEW)
        };
        if let Some(index) = live.indexes.iter_mut().find(is_it) {
            index.identity = true;
            live.replica_identity = 'i';
        }
    }
    live
}

/// What each column means.
fn columns(both: &Both<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for written in &both.written.columns {
        match both.live_name(&written.name).and_then(|name| both.live.column(name)) {
            Some(live) => reasons.extend(kept(both, written, live)),
            None if written.generated.is_none() => {
                reasons.push(Reason::dropped_column(written.name.as_str(), fresh(written)));
            }
            None => {}
        }
    }
    let came = both.live.columns.iter().filter(|column| {
        column.generated.is_none() && !both.pairs.iter().any(|(_, live)| *live == column.name)
    });
    reasons.extend(came.map(|column| Reason::added_column(column.name.as_str())));
    reasons
}

/// What a row that was created since gets in a column of the written table alone.
pub(super) fn fresh(column: &Column) -> Fresh {
    match &column.default {
        _ if column.identity => Fresh::Counted,
        Some(default) if default.contains("nextval(") => Fresh::Counted,
        Some(_) => Fresh::Default,
        None if column.not_null => Fresh::Nothing,
        None => Fresh::Null,
    }
}

/// A column that both tables have.
fn kept(both: &Both<'_>, written: &Column, live: &Column) -> Vec<Reason> {
    let name = live.name.as_str();
    match (&written.generated, &live.generated) {
        (None, None) => {}
        (Some(_), Some(_)) => return Vec::new(),
        (Some(_), None) => return vec![Reason::no_longer_computed(name)],
        (None, Some(_)) => return vec![Reason::computed_now(name)],
    }
    let mut reasons = Vec::new();
    if written.name != live.name {
        reasons.push(Reason::renamed_column(name, written.name.as_str()));
    }
    match both.value(&written.name) {
        Some(PutValue::KeptWhereSame { otherwise: None, .. }) => {
            reasons.push(Reason::possible_while(
                name,
                format!(
                    "nothing is written to {name} and no row is created; else with --inverse {}=EXPR",
                    written.name.as_str()
                ),
            ));
        }
        _ if always_fits(live, written) => {
            if !always_fits(written, live) {
                reasons.push(Reason::narrowed_column(name, &live.type_sql));
            }
        }
        _ => reasons.push(Reason::possible_while(name, condition(written, live))),
    }
    if written.not_null && !live.not_null {
        reasons.push(Reason::nullable_now(name));
    }
    reasons
}

/// What must hold of the values of a column that could be too large for the written type, or none of it.
fn condition(written: &Column, live: &Column) -> String {
    let (name, kind) = (live.name.as_str(), &written.type_sql);
    match is_same_kind(written, live) {
        true => format!("every value written to {name} fits {kind}"),
        false => format!("every value written to {name} goes into {kind} and comes back the same"),
    }
}

/// What a row's key means where the written table has values that only it knows.
fn by_key(both: &Both<'_>, key: &[Ident]) -> Option<Reason> {
    let gone: Vec<&str> = both
        .written
        .columns
        .iter()
        .filter(|column| column.generated.is_none() && both.live_name(&column.name).is_none())
        .map(|column| column.name.as_str())
        .collect();
    let names: Vec<&str> =
        key.iter().filter_map(|name| both.live_name(name)).map(Ident::as_str).collect();
    (!gone.is_empty()).then(|| Reason::known_by_key(&list(&names), &list(&gone)))
}
