//! What the retired table demands of rows that the live one does not: unique keys, foreign keys, checks and
//! partitions that the change dropped or relaxed. A row that is written against one cannot go back.

use super::put::fresh;
use super::shadow::checks;
use super::undo_verdict::Both;
use crate::mysql::catalog::table::{Index, IndexPart, Table};
use crate::mysql::lexer::{Dialect, tokens};
use crate::mysql::name::Ident;
use crate::plan::undo::Reason;
use crate::plan::undo_words::{self as words, Fresh};

/// One reason for each of them.
pub(super) fn demands(both: &Both<'_>) -> Vec<Reason> {
    let unique = both.retired.indexes.iter().filter(|index| index.unique);
    let mut reasons: Vec<Reason> = unique.filter_map(|index| duplicates(both, index)).collect();
    reasons.extend(both.dropped_keys.iter().map(|key| {
        let parent = key.referenced.plain();
        Reason::foreign_key_back(key.name.as_str(), &names(&key.columns), &parent)
    }));
    let kept = all_checks(both.live);
    let gone = all_checks(both.retired);
    let gone = gone.into_iter().filter(|(_, check)| !kept.iter().any(|(_, other)| other == check));
    reasons.extend(
        gone.filter(|(_, check)| !check.contains("NOT ENFORCED"))
            .map(|(name, check)| Reason::check_back(&name, &check)),
    );
    reasons.extend(partitions(both));
    reasons
}

/// Whether two rows could get what is one to this unique key of the retired table.
fn duplicates(both: &Both<'_>, index: &Index) -> Option<Reason> {
    if both.live.indexes.iter().any(|live| live.unique && implies(both, live, index)) {
        return None;
    }
    let subject = match index.is_primary() {
        true => "primary key".to_owned(),
        false => format!("unique key {}", index.name.as_str()),
    };
    let named: Vec<&Ident> = index.parts.iter().filter_map(|part| part.column.as_ref()).collect();
    let gone = |name: &&&Ident| both.live_name(name).is_none();
    let (gone, stay): (Vec<&Ident>, Vec<&Ident>) = named.iter().partition(|name| gone(name));
    if gone.is_empty() {
        let live: Vec<Ident> =
            stay.iter().filter_map(|name| both.live_name(name)).cloned().collect();
        let stay = (!live.is_empty()).then(|| names(&live));
        return Some(Reason::unique_back(subject, stay.as_deref(), None));
    }
    // What rows get in it that were created since: NULL is no duplicate, and a counter makes none.
    let columns = || gone.iter().filter_map(|name| both.retired.column(name));
    if stay.is_empty()
        && columns().any(|column| !column.generated && fresh(column) != Fresh::Default)
    {
        return None;
    }
    let fill: Vec<String> =
        gone.iter().map(|name| format!("--fill {}=EXPR", name.as_str())).collect();
    let stay = (!stay.is_empty()).then(|| list(&stay));
    let gone = (list(&gone), fill.join(" "));
    Some(Reason::unique_back(subject, stay.as_deref(), Some((&gone.0, &gone.1))))
}

/// Whether rows that `live` tells apart are told apart by `index`, too.
fn implies(both: &Both<'_>, live: &Index, index: &Index) -> bool {
    live.parts.iter().all(|part| index.parts.iter().any(|old| as_fine(both, part, old)))
}

/// Whether values that differ in a part of a live key differ in this part of the retired one.
fn as_fine(both: &Both<'_>, live: &IndexPart, old: &IndexPart) -> bool {
    let (Some(new), Some(name)) = (&live.column, &old.column) else {
        return live.column.is_none() && old.column.is_none() && live.expression == old.expression;
    };
    let kept = both.live_name(name).is_some_and(|kept| kept.same(new));
    let (Some(now), Some(was)) = (both.live.column(new), both.retired.column(name)) else {
        return false;
    };
    let alike = was.collation.is_none() || was.collation == now.collation;
    let longer = match (live.prefix, old.prefix) {
        (_, None) => true,
        (Some(now), Some(was)) => now <= was,
        (None, Some(_)) => false,
    };
    kept && alike && longer
}

/// The checks of a table, those that MariaDB writes with a column among them, without their quotes: the server
/// keeps those of the session that wrote the check.
fn all_checks(table: &Table) -> Vec<(String, String)> {
    let bare = |text: &str| text.trim_end_matches(',').replace(['`', '"'], "");
    let named = checks(&table.create);
    let named = named.into_iter().map(|(name, check)| (name.as_str().to_owned(), bare(&check)));
    let columns = table.columns.iter().filter_map(|column| {
        let head = format!("{} ", column.name);
        let line = table.create.lines().find_map(|line| line.trim_start().strip_prefix(&head))?;
        let tokens = tokens(line, Dialect::default()).ok()?;
        let check = line.get(tokens.iter().find(|token| token.is("CHECK"))?.span.end..)?;
        Some((format!("of {}", column.name.as_str()), bare(check.trim_start())))
    });
    named.chain(columns).collect()
}

/// Whether the retired table could have no partition for a row.
fn partitions(both: &Both<'_>) -> Option<Reason> {
    let clause = |table: &Table| {
        let at = table.create.find("PARTITION BY")?;
        table.create.get(at..).map(str::to_owned)
    };
    let was = clause(both.retired).filter(|_| both.retired.partitioned)?;
    let open = |text: &str| {
        (text.contains("RANGE") && !text.contains("MAXVALUE")) || text.contains("LIST")
    };
    let same = clause(both.live).is_some_and(|now| now == was);
    (open(&was) && !same).then(|| {
        Reason::possible_while("partitions", "the old table has a partition for every row")
    })
}

/// `id`, or `(a, b)`.
fn names(columns: &[Ident]) -> String {
    list(&columns.iter().collect::<Vec<_>>())
}

/// The same.
pub(super) fn list(columns: &[&Ident]) -> String {
    words::list(&columns.iter().map(|name| name.as_str()).collect::<Vec<_>>())
}
