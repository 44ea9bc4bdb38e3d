//! Why an undo cannot begin: what is not as the undone run left it, and what the retired table cannot take
//! over.

use tokio_postgres::Client;

use super::Undo;
use crate::engine::undo::Direction;
use crate::error::{Error, Finding, Findings, Result};
use crate::postgres::catalog::table::{Index, Table};
use crate::postgres::connection::session::rows;
use crate::postgres::dependents::{Dependents, Set};
use crate::postgres::name::{Ident, Text};
use crate::postgres::runs::tables::Shape;
use crate::postgres::setting::Setting;
use crate::postgres::trust::functions;
use crate::postgres::trust::own_schema::Function;

const ALTER: &str = "make the inverse change with osc alter";

/// Looks at both tables.
///
/// # Errors
/// The server's.
pub(crate) async fn findings(client: &Client, setting: &Setting, undo: &Undo) -> Result<Findings> {
    let (live, dependents) = (&setting.original, &setting.dependents);
    let mut findings = Findings::default();
    definitions(client, live, undo, &mut findings).await?;
    form(live, undo, &mut findings)?;
    if !findings.refusals.is_empty() {
        return Ok(findings);
    }
    key(live, undo, &mut findings)?;
    given(undo)?;
    retired(client, setting, undo, &mut findings).await?;
    carried(live, dependents, undo, &mut findings);
    sequences(client, live, undo, &mut findings).await?;
    if !setting.settings.trust_owner {
        // Rows are converted both ways, and what the retired table has of its own runs when they are put.
        let given = undo.given.inverse.values().chain(undo.given.fill.values());
        let words: Vec<&str> = given.map(String::as_str).chain([undo.clauses.as_str()]).collect();
        for table in [live, &undo.retired()?.table] {
            let found =
                functions::of_others(client, table, &setting.role, &words.join("\n")).await?;
            findings.refusals.extend(found);
        }
    }
    findings.notes.extend(undo.lost.iter().cloned());
    findings.notes.extend(undo.then.iter().flat_map(|then| indexes(live, then, undo)));
    Ok(findings)
}

/// Neither table was altered by hand since.
async fn definitions(
    client: &Client,
    live: &Table,
    undo: &Undo,
    findings: &mut Findings,
) -> Result<()> {
    let retired = &undo.retired()?.table;
    let (was_live, was_retired) = undo.tables.sides(undo.direction);
    for (table, was) in [(live, was_live), (retired, was_retired)] {
        let now = Shape::of(client, table.oid).await?;
        let checks = now.checks.iter().find(|name| !was.checks.contains(name));
        let more = checks.map(|name| format!("the check {name} was added"));
        let Some(difference) = was.difference(&now).or(more.filter(|_| table.oid == live.oid))
        else {
            continue;
        };
        findings.refuse(
            "undo-definition-changed",
            format!("{} is not as run {} left it: {difference}", table.name.plain(), undo.run),
            format!("take that back first, or {ALTER}"),
        );
    }
    Ok(())
}

/// The engine reads plain tables.
fn form(live: &Table, undo: &Undo, findings: &mut Findings) -> Result<()> {
    let retired = &undo.retired()?.table;
    for table in [live, retired].into_iter().filter(|table| table.kind != 'r') {
        findings.refuse(
            "undo-partitioned",
            format!("{} is partitioned, and osc does not undo that", table.name.plain()),
            "move the rows into a plain table of the old form yourself",
        );
    }
    if live.partition {
        findings.refuse(
            "partition",
            format!("{} is a partition: a swap would take it out of its parent", live.name.plain()),
            "ALTER TABLE … DETACH PARTITION it first",
        );
    }
    Ok(())
}

/// The columns of the live table's copy key in the retired one, and that they name its rows there. `image`: what a
/// column of the live table is called in the retired one.
pub(super) fn shadow_key(
    live: &Table,
    retired: &Table,
    image: impl Fn(&Ident) -> Option<Ident>,
) -> Result<std::result::Result<Vec<Ident>, Finding>> {
    let refuse =
        |problem: String, help: &str| Ok(Err(Finding::new("undo-copy-key", problem, help)));
    let index = match live.copy_key() {
        Ok(index) => index,
        Err(Error::Refused(mut found)) => match found.pop() {
            Some(finding) => return Ok(Err(finding)),
            None => return Err(Error::Internal("refused without a reason".into())),
        },
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for column in &live.key_columns(index)?.0 {
        let image = image(&column.name);
        let pair = live.column(&column.name).zip(image.as_ref().and_then(|it| retired.column(it)));
        let (Some((new, old)), Some(image)) = (pair, &image) else {
            return refuse(
                format!(
                    "{} names the rows of {}, and the retired table does not have it",
                    column.name.0,
                    live.name.plain()
                ),
                "give the table a unique index over NOT NULL columns that both tables have, and make it its \
                 replica identity: ALTER TABLE … REPLICA IDENTITY USING INDEX",
            );
        };
        let same = old.type_oid == new.type_oid && old.collation == new.collation;
        if !(same || old.is_integer() && new.is_integer()) {
            return refuse(
                format!(
                    "{} names the rows, and was ordered otherwise as {}",
                    column.name.0, old.type_sql
                ),
                ALTER,
            );
        }
        names.push(image.clone());
    }
    let finds = |index: &Index| {
        // A shorter key names rows as well: the change has extended it.
        let own: Option<Vec<&Ident>> = index.keys.iter().map(|key| key.column.as_ref()).collect();
        let within = own.is_some_and(|own| own.iter().all(|column| names.contains(column)));
        index.begins_with_key(&names)
            || within && index.unique && index.immediate && index.predicate.is_none()
    };
    if retired.indexes.iter().any(finds) {
        return Ok(Ok(names));
    }
    refuse(
        format!("no unique index of {} finds rows by the copy key", retired.name.plain()),
        "create one on it",
    )
}

fn key(live: &Table, undo: &Undo, findings: &mut Findings) -> Result<()> {
    findings.refusals.extend(undo.shadow_key(live)?.err());
    Ok(())
}

/// What the user gives must be about columns for which it is used.
fn given(undo: &Undo) -> Result<()> {
    let retired = &undo.retired()?.table;
    let usage = |message: String, help: &str| Err(Error::Usage { message, help: help.into() });
    let paired = |name: &Ident| {
        undo.tables.pairs.iter().any(|(old, new)| match undo.direction {
            Direction::Back => old == name,
            Direction::Again => new == name,
        })
    };
    let of_table =
        |name: &Ident| retired.column(name).is_some_and(|column| column.generated.is_none());
    for name in undo.given.fill.keys() {
        if !of_table(name) || paired(name) {
            return usage(
                format!("--fill {name}: this is no column that only the retired table has"),
                "name a column that the change dropped",
            );
        }
    }
    for name in undo.given.inverse.keys() {
        if !of_table(name) || !paired(name) || undo.direction == Direction::Again {
            return usage(
                format!("--inverse {name}: this is no column that the change converted"),
                "name a column of the retired table whose type the change altered",
            );
        }
    }
    Ok(())
}

/// Nothing of others acts on the retired table, and osc's role may swap it.
async fn retired(
    client: &Client,
    setting: &Setting,
    undo: &Undo,
    findings: &mut Findings,
) -> Result<()> {
    let retired = undo.retired()?;
    let name = retired.table.name.plain();
    // By the function that each calls: its name is its owner's choice, and it runs as osc's role.
    let sql = format!(
        "SELECT g.tgname FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid \
         JOIN pg_namespace n ON n.oid = p.pronamespace WHERE g.tgrelid = {} AND NOT g.tgisinternal \
         AND NOT (n.nspname = {} AND p.proname IN ({}, {})) ORDER BY 1",
        retired.table.oid,
        Text(setting.ledger.schema.as_str()),
        Text(Function::Retired.name()),
        Text(Function::Snapshot.name())
    );
    let triggers = rows(client, "looking at the retired table", &sql).await?;
    let triggers = triggers
        .iter()
        .filter_map(|row| row.get(0))
        .map(|trigger| format!("the trigger {trigger}"));
    for what in triggers.chain(retired.dependents.acting()) {
        findings.refuse(
            "undo-retired-changed",
            format!("{what} was put on the retired table {name}"),
            "drop it: what hangs on the live table goes to the retired one",
        );
    }
    if let (owner, false) = retired.dependents.owner() {
        findings.refuse(
            "rights",
            format!("the table {name} belongs to {owner}, which osc's role is not a member of"),
            "grant that role to osc's, or connect as the owner",
        );
    }
    Ok(())
}

/// What hangs on the live table must be able to hang on the retired one.
fn carried(live: &Table, dependents: &Dependents, undo: &Undo, findings: &mut Findings) {
    let outcomes = undo.outcomes(live);
    findings.refusals.extend(dependents.refusals_besides_columns(&outcomes));
    for (what, column, there) in dependents.naming_lost(&outcomes) {
        let how = match there {
            Some(name) => format!("which the retired table calls {name}"),
            None => "which the retired table does not have".to_owned(),
        };
        findings.refuse(
            "undo-dependents",
            format!("{what} names the column {column}, {how}"),
            "drop it, or change it so that it does without the column",
        );
    }
    findings.notes.extend(dependents.notes(&outcomes));
}

/// A sequence whose numbers the retired table's cannot give out.
async fn sequences(
    client: &Client,
    live: &Table,
    undo: &Undo,
    findings: &mut Findings,
) -> Result<()> {
    let retired = &undo.retired()?.table;
    for column in live.columns.iter().filter(|column| column.identity) {
        let Some(image) = undo.tables.image(undo.direction, &column.name) else { continue };
        let of = |table: &Table, name: &Ident| {
            format!(
                "(SELECT d.objid FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid \
                 AND a.attnum = d.refobjsubid WHERE d.classid = 'pg_class'::regclass \
                 AND d.refclassid = 'pg_class'::regclass AND d.refobjid = {} AND a.attname = {} \
                 AND d.deptype = 'i')",
                table.oid,
                Text(name.as_str())
            )
        };
        let sql = format!(
            "SELECT pg_sequence_last_value({}), q.seqmin, q.seqmax FROM pg_sequence q \
             WHERE q.seqrelid = {} AND pg_sequence_last_value({}) NOT BETWEEN q.seqmin AND q.seqmax",
            of(live, &column.name),
            of(retired, &image),
            of(live, &column.name)
        );
        let found = rows(client, "looking at the sequences", &sql).await?;
        if let Some(row) = found.first() {
            findings.refuse(
                "undo-sequence",
                format!(
                    "the sequence of {} is at {}, and that of the retired table ends at {}",
                    column.name,
                    row.get(0).unwrap_or_default(),
                    row.get(2).unwrap_or_default()
                ),
                "delete the rows with such numbers, and set the sequence back with setval",
            );
        }
    }
    Ok(())
}

/// Indexes that were made or dropped on the live table since: they cost too much to be made under a lock.
fn indexes(live: &Table, then: &Set, undo: &Undo) -> Vec<String> {
    let run = undo.run;
    let name = live.name.plain();
    let is_new = |index: &&Index| !then.indexes.contains(&index.name);
    let made = live.indexes.iter().filter(is_new).map(|index| {
        format!(
            "the index {}, made on {name} since run {run}, stays with the table that retires: create it again \
             afterwards",
            index.name.as_str()
        )
    });
    let is_gone = |index: &&Ident| then.indexes.contains(index) && live.index(index).is_none();
    let gone = undo.tables.sides(undo.direction).1.indexes.iter().filter(is_gone).map(|index| {
        format!("the index {}, dropped on {name} since run {run}, comes back", index.as_str())
    });
    made.chain(gone).collect()
}
