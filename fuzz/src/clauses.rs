//! Clauses of an ALTER TABLE: what is read and written again is read as the same.

use osc::mysql::clauses::{ClauseKind, Clauses, ShadowNames};
use osc::mysql::commands::arguments;
use osc::mysql::connection::version::Flavor;
use osc::mysql::name::{Ident, TableName};
use osc::postgres::clauses::{self as postgres_clauses, Statement};
use osc::postgres::commands::arguments as postgres_arguments;
use osc::postgres::name as postgres;

/// MySQL's and MariaDB's.
pub(crate) fn mysql(bytes: &[u8]) {
    let Some(text) = super::text(bytes) else { return };
    let _ = arguments::change(text, None);
    let _ = arguments::change("shop.users", Some(text));
    let flavors = ["9.7.4", "10.11.19-MariaDB"].map(Flavor::parse);
    let readings = flavors.iter().flatten().map(|flavor| Clauses::parse_for(text, *flavor));
    for read in readings.chain([Clauses::parse(text)]).flatten() {
        written_again(&read);
        facts(&read);
    }
}

fn written_again(read: &Clauses) {
    let table = TableName::new("shop", "us`ers");
    let sql = read.for_table(&table);
    let again = Clauses::parse(&sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    assert_eq!(again.for_table(&table), sql);
    // The two settings are left out, and partitions come last.
    let kinds = |clauses: &Clauses| {
        let (last, first): (Vec<_>, Vec<_>) = clauses
            .clauses
            .iter()
            .map(|clause| clause.kind.clone())
            .filter(|kind| !matches!(kind, ClauseKind::Algorithm(_) | ClauseKind::Lock(_)))
            .partition(|kind| *kind == ClauseKind::Partitioning);
        [first, last.last().cloned().into_iter().collect()].concat()
    };
    let (before, after) = (kinds(read), kinds(&again));
    assert_eq!(after, if before.is_empty() { vec![ClauseKind::Force] } else { before }, "{sql}");
}

fn facts(read: &Clauses) {
    let original = ["id", "a", "b"].map(Ident::new);
    let _ = (read.refusals(), read.notes(), read.added_unique(), read.option("ENGINE"));
    let _ = (read.column_fates(&original), read.added_columns(&original));
    if let Some(flavor) = Flavor::parse("9.7.4") {
        let _ = read.foreign_keys(flavor, &original);
    }
    let names = ShadowNames { foreign_keys: &original, checks: &[] };
    let shadow = read.for_shadow(&TableName::new("shop", "users_osc_new"), names);
    assert!(Clauses::parse(&shadow).is_ok(), "{shadow}");
}

/// PostgreSQL's.
pub(crate) fn postgres(bytes: &[u8]) {
    let Some(text) = super::text(bytes) else { return };
    let _ = postgres_arguments::change(text, None);
    let table = postgres::TableName::new("public", "users");
    let _ = Statement::parse(text, None);
    let Ok(read) = Statement::parse(text, Some(&table)) else { return };
    let Some(clauses) = read.clauses() else { return };
    let _ = (clauses.renames(), clauses.dropped(), clauses.usings(), clauses.lock());
    let _ = clauses.for_shadow(&table, &clauses.dropped_constraints());
    if let Some(sql) = clauses.for_table(&table) {
        let again = Statement::parse(&sql, Some(&table));
        let again = again.unwrap_or_else(|error| panic!("{error}\n{sql}"));
        let again = again.clauses().expect("clauses of an ALTER TABLE");
        assert_eq!(said(again), said(clauses), "{sql}");
    }
}

/// All but the names that a clause mentions: one that was taken out of another mentions fewer. A usual
/// name is a given one once it is written.
fn said(clauses: &postgres_clauses::Clauses) -> Vec<(&str, postgres_clauses::ActionKind)> {
    let kind = |kind: &postgres_clauses::ActionKind| {
        let mut kind = kind.clone();
        if let postgres_clauses::ActionKind::AddConstraint(added) = &mut kind {
            added.usual = false;
        }
        kind
    };
    clauses.actions.iter().map(|action| (action.text.as_str(), kind(&action.kind))).collect()
}
