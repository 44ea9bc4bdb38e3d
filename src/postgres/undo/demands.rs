//! What the table that an undo writes demands of rows that the live one does not: unique keys, foreign keys and
//! checks that the change dropped or relaxed. A row that is written against one cannot go back.

use super::verdict::{Both, fresh};
use crate::plan::undo::Reason;
use crate::plan::undo_words::{Fresh, list};
use crate::postgres::catalog::checks::Check;
use crate::postgres::catalog::table::{Index, IndexKey};
use crate::postgres::name::Ident;

fn excludes(index: &Index) -> bool {
    index.keys.iter().any(|key| key.excludes.is_some())
}

fn unique<'a>(both: &Both<'a>) -> impl Iterator<Item = &'a Index> {
    both.written.indexes.iter().filter(|index| index.unique && !excludes(index))
}

/// Unique keys that the live table's rows need not keep.
pub(super) fn relaxed<'a>(both: &Both<'a>) -> Vec<&'a Index> {
    unique(both).filter(|index| duplicates(both, index).is_some()).collect()
}

/// One reason for each of them.
pub(super) fn demands(both: &Both<'_>) -> Vec<Reason> {
    let unique = unique(both);
    let mut reasons: Vec<Reason> = unique.filter_map(|index| duplicates(both, index)).collect();
    let excluding = both.written.indexes.iter().filter(|index| excludes(index));
    reasons.extend(excluding.filter_map(|index| conflicts(both, index)));
    reasons.extend(both.keys.iter().map(|key| {
        let live = |name| both.live_name(name).unwrap_or(name).as_str();
        let columns: Vec<&str> = key.columns.iter().map(live).collect();
        Reason::foreign_key_back(key.name.as_str(), &list(&columns), &key.parent.plain())
    }));
    let (own, theirs) = both.checks;
    let stays = |check: &&Check| {
        theirs.iter().any(|other| {
            other.definition == check.definition
                || other.name == check.name && !both.dropped.contains(&check.name)
        })
    };
    reasons.extend(own.iter().filter(|check| !stays(check)).map(|check| {
        let condition = check.definition.strip_prefix("CHECK ").unwrap_or(&check.definition);
        Reason::check_back(check.name.as_str(), condition)
    }));
    reasons
}

fn subject(index: &Index) -> String {
    match &index.constraint {
        _ if index.primary => "primary key".to_owned(),
        Some(_) => format!("constraint {}", index.name.as_str()),
        None => format!("unique index {}", index.name.as_str()),
    }
}

/// Whether two rows could get what is one to this unique key of the written table.
fn duplicates(both: &Both<'_>, index: &Index) -> Option<Reason> {
    if both.live.indexes.iter().any(|live| live.unique && implies(both, live, index)) {
        return None;
    }
    let named: Vec<&Ident> = index.keys.iter().filter_map(|key| key.column.as_ref()).collect();
    let is_gone = |name: &&Ident| both.live_name(name).is_none();
    let (gone, stay): (Vec<&Ident>, Vec<&Ident>) = named.into_iter().partition(is_gone);
    let expressions = index.keys.iter().filter(|key| key.column.is_none());
    let stay: Vec<&str> = stay
        .iter()
        .filter_map(|name| both.live_name(name))
        .map(Ident::as_str)
        .chain(expressions.map(|key| key.expression.as_str()))
        .collect();
    let told = (!stay.is_empty()).then(|| list(&stay));
    if gone.is_empty() {
        return Some(Reason::unique_back(subject(index), told.as_deref(), None));
    }
    // What rows get in it that were created since: NULL is no duplicate, and a counter makes none.
    let mut columns = gone.iter().filter_map(|name| both.written.column(name));
    let differs = |fresh: Fresh| fresh != Fresh::Default && !index.nulls_not_distinct;
    if stay.is_empty() && columns.any(|one| one.generated.is_none() && differs(fresh(one))) {
        return None;
    }
    let fills: Vec<String> =
        gone.iter().map(|name| format!("--fill {}=EXPR", name.as_str())).collect();
    let gone: Vec<&str> = gone.iter().map(|name| name.as_str()).collect();
    let (gone, fills) = (list(&gone), fills.join(" "));
    Some(Reason::unique_back(subject(index), told.as_deref(), Some((&gone, &fills))))
}

/// Whether rows that `live` tells apart are told apart by `index`, too.
fn implies(both: &Both<'_>, live: &Index, index: &Index) -> bool {
    let as_wide = live.predicate.is_none() || live.predicate == index.predicate;
    let nulls = live.nulls_not_distinct || !index.nulls_not_distinct;
    as_wide
        && nulls
        && live.keys.iter().all(|key| index.keys.iter().any(|own| as_fine(both, key, own)))
}

/// Whether values that differ in a part of a live key differ in this part of the written one.
fn as_fine(both: &Both<'_>, live: &IndexKey, own: &IndexKey) -> bool {
    let (Some(name), Some(written)) = (&live.column, &own.column) else {
        return live.column.is_none() && own.column.is_none() && live.expression == own.expression;
    };
    let (Some(now), Some(was)) = (both.live.column(name), both.written.column(written)) else {
        return false;
    };
    let alike = now.type_oid == was.type_oid && now.collation == was.collation;
    // A value that comes back the same is another one than any that does so, to who looks at the bytes.
    both.live_name(written) == Some(name) && (alike || was.hashes_bytes)
}

/// Whether two rows could conflict in this exclusion constraint of the written table.
fn conflicts(both: &Both<'_>, index: &Index) -> Option<Reason> {
    let same = |live: &Index| live.keys == index.keys && live.predicate == index.predicate;
    if both.live.indexes.iter().any(same) {
        return None;
    }
    let name = index.name.as_str();
    Some(Reason::possible_while(subject(index), format!("no two rows conflict in {name}")))
}
