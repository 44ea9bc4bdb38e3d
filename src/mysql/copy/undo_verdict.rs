//! Whether an undo could put the retired table back, by what both tables are. What `put.rs` and `conversion.rs`
//! do with a column is asked of them, so that the plan says what the undo does.

use super::always_fits::always_fits;
use super::conversion::conversion;
use super::keys_back::{demands, list};
use super::put::Manner;
use super::put::{fresh, holds_all};
use super::shadow::{Draft, statements_back};
use crate::error::{Error, Result};
use crate::mysql::catalog::kind::Kind;
use crate::mysql::catalog::table::{Column, Table};
use crate::mysql::clauses::change::Change;
use crate::mysql::connection::version::Flavor;
use crate::mysql::dependents::foreign_keys::ForeignKey;
use crate::mysql::name::{Helpers, Ident};
use crate::plan::undo::{Outcome, Reason, Verdict, Way};

/// Both tables of a change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Both<'a> {
    /// The table as it was.
    pub retired: &'a Table,
    /// The table as the change makes it.
    pub live: &'a Table,
    /// The columns that both have: the retired name, and the live one.
    pub kept: &'a [(Ident, Ident)],
    /// The foreign keys that the change drops.
    pub dropped_keys: &'a [&'a ForeignKey],
    /// The server's family and version.
    pub flavor: Flavor,
}

impl Both<'_> {
    /// What a column of the retired table is called now; `None`: it was dropped.
    pub(super) fn live_name(&self, retired: &Ident) -> Option<&Ident> {
        self.kept.iter().find(|(old, _)| old.same(retired)).map(|(_, new)| new)
    }
}

/// Whether `osc revert` could undo the change of `draft`, which makes `live` by a copy.
///
/// # Errors
/// What is no reason against an undo.
pub(crate) fn by_revert(draft: &Draft<'_>, helpers: &Helpers, live: &Table) -> Result<Verdict> {
    let dropped = dropped_keys(draft);
    let both = Both {
        retired: draft.original,
        live,
        kept: &draft.change.kept,
        dropped_keys: &dropped,
        flavor: draft.flavor,
    };
    let back = Change::back(String::new(), both.kept, Default::default());
    let draft = Draft { original: live, change: &back, ..*draft };
    let mut reasons = columns(&both, Way::Revert);
    match statements_back(&draft, helpers, both.retired, Manner::default()) {
        Ok((statements, _)) => {
            let key: Vec<&Ident> = statements.key.0.iter().map(|column| &column.name).collect();
            reasons.extend(by_key(&both, &key));
        }
        Err(Error::Refused(findings)) => {
            let known = reasons.iter().any(|reason| reason.outcome == Outcome::Impossible);
            let new = findings.into_iter().filter(|it| it.check != "conversion" || !known);
            reasons.extend(new.map(|it| Reason::impossible(it.check, it.problem)));
        }
        Err(error) => return Err(error),
    }
    reasons.extend(demands(&both));
    Ok(Verdict::of(Way::Revert, reasons))
}

/// Whether the opposite change could undo that of `draft`, which the server makes itself: `live` is the table as
/// it will be, `lost` are the clauses that take away what nothing keeps.
pub(crate) fn by_opposite(
    draft: &Draft<'_>,
    live: Option<&Table>,
    lost: &[String],
) -> Option<Verdict> {
    let mut reasons: Vec<Reason> = lost.iter().map(|clause| Reason::for_good(clause)).collect();
    if reasons.is_empty() && live.is_none() {
        return None;
    }
    if let Some(live) = live {
        let both = Both {
            retired: draft.original,
            live,
            kept: &draft.change.kept,
            dropped_keys: &[],
            flavor: draft.flavor,
        };
        reasons.extend(columns(&both, Way::OppositeChange));
    }
    Some(Verdict::of(Way::OppositeChange, reasons))
}

/// The foreign keys that a change drops.
fn dropped_keys<'a>(draft: &Draft<'a>) -> Vec<&'a ForeignKey> {
    let dropped = &draft.change.foreign_keys.dropped;
    let is_dropped = |key: &&ForeignKey| dropped.iter().any(|name| name.same(&key.name));
    draft.dependents.outgoing.iter().filter(is_dropped).collect()
}

/// What each column means.
fn columns(both: &Both<'_>, way: Way) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for old in &both.retired.columns {
        let new = both.live_name(&old.name).and_then(|name| both.live.column(name));
        match new {
            Some(new) => reasons.extend(kept(both.flavor, old, new, way)),
            None if way == Way::Revert => reasons.extend(dropped(old)),
            // It is among the clauses that take away for good.
            None => {}
        }
    }
    let came = both.live.columns.iter().filter(|column| {
        !column.generated && !both.kept.iter().any(|(_, new)| new.same(&column.name))
    });
    reasons.extend(came.map(|column| {
        let name = column.name.as_str();
        match way {
            Way::Revert => Reason::added_column(name),
            Way::OppositeChange => Reason::loses(name, format!("the values of {name}")),
        }
    }));
    reasons
}

/// A column that the change drops.
fn dropped(old: &Column) -> Option<Reason> {
    (!old.generated).then(|| Reason::dropped_column(old.name.as_str(), fresh(old)))
}

/// A column that both tables have.
fn kept(flavor: Flavor, old: &Column, new: &Column, way: Way) -> Vec<Reason> {
    let name = new.name.as_str();
    let mut reasons = Vec::new();
    match (old.generated, new.generated) {
        (false, false) => {}
        (true, true) => return reasons,
        (true, false) => {
            reasons.push(match way {
                Way::Revert => Reason::no_longer_computed(name),
                Way::OppositeChange => {
                    Reason::loses(name, format!("what is written to {name}: it is computed again"))
                }
            });
            return reasons;
        }
        (false, true) => {
            reasons.push(match way {
                Way::Revert => Reason::computed_now(name),
                Way::OppositeChange => Reason::loses(
                    name,
                    format!("the old values of {name}: each row gets what was computed"),
                ),
            });
            return reasons;
        }
    }
    if !old.name.same(&new.name) {
        reasons.push(Reason::renamed_column(name, old.name.as_str()));
    }
    match conversion(new, old, flavor) {
        Err(why) => {
            let inverse = old.name.as_str();
            reasons.push(Reason::impossible(
                name,
                format!("{}; else with --inverse {inverse}=EXPR", plain(&why)),
            ));
        }
        Ok(_) if !always_fits(new, old) => {
            reasons.push(Reason::possible_while(name, condition(old, new)));
        }
        Ok(_) if !holds_all(old, new) && !always_fits(old, new) => {
            reasons.push(Reason::narrowed_column(name, &new.column_type));
        }
        Ok(_) => {}
    }
    if new.nullable && !old.nullable {
        reasons.push(Reason::nullable_now(name));
    }
    reasons
}

/// What must hold of the values of a column that could be too large for the old type, or none of it.
fn condition(old: &Column, new: &Column) -> String {
    let (name, shown) = (new.name.as_str(), shown(old));
    match (Kind::of(old), Kind::of(new)) {
        (Kind::Enum | Kind::Set, Kind::Enum | Kind::Set) => {
            format!("{name} gets no member that {shown} lacks")
        }
        (Kind::Text, Kind::Text) if old.charset != new.charset => format!(
            "every value written to {name} fits {shown} in {}",
            old.charset.as_deref().unwrap_or("its character set")
        ),
        (was, now) if was == now => format!("every value written to {name} fits {shown}"),
        _ => format!("every value written to {name} goes into {shown} and comes back the same"),
    }
}

/// The most of a type that is shown.
const SHOWN: usize = 60;

fn shown(column: &Column) -> String {
    let text = match Kind::of(column) {
        // Without the width that MariaDB shows it in, which bounds nothing.
        Kind::Int if column.unsigned() => format!("{} unsigned", column.data_type),
        Kind::Int => column.data_type.clone(),
        _ => column.column_type.clone(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// Without the quotes of names, which a sentence does not need.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// What a row's key means where the retired table has values that only it knows.
fn by_key(both: &Both<'_>, key: &[&Ident]) -> Option<Reason> {
    let gone: Vec<&Ident> = both
        .retired
        .columns
        .iter()
        .filter(|column| !column.generated && both.live_name(&column.name).is_none())
        .map(|column| &column.name)
        .collect();
    (!gone.is_empty()).then(|| Reason::known_by_key(&list(key), &list(&gone)))
}
