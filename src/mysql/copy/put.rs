//! Putting rows back into a retired table that has something of its own: a dropped column's values, digits
//! that the new type has not. Such a row is not written anew: what it has is laid aside in a temporary table
//! of the session, and each column takes from there what the live row cannot tell.
//!
//! Rows are deleted and inserted, never updated, so that unique values may move between the rows of one
//! transaction. Only INSERT … SELECT reads the live table, which at READ COMMITTED locks none of its rows.

use super::conversion::conversion;
use super::projection::{Compared, Projected, Projection, project};
use super::statements::{Insert, Scope, Statements};
use crate::engine::undo::Direction;
use crate::error::{Finding, Result};
use crate::key::Key;
use crate::mysql::catalog::kind::Kind;
use crate::mysql::catalog::table::{Column, Table};
use crate::mysql::connection::version::Flavor;
use crate::mysql::copy::projection::Side;
use crate::mysql::name::{Helpers, Ident, TableName, Text};
use crate::plan::undo_words::Fresh;
use crate::testing::mutation::{self, Rule};

/// An expression that the operator gave for a column of the retired table, checked to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// The column.
    pub column: Ident,
    /// The expression over the live table's columns, in parentheses.
    pub expression: String,
}

/// How rows go back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    scratch: TableName,
    /// The scratch's names for the copy key's columns.
    key: Vec<Ident>,
    /// The columns of the retired table that are laid aside, and the scratch's names for them.
    aside: Vec<(Ident, Ident)>,
    /// For rows of both tables: columns and expressions.
    both: Vec<(Ident, String)>,
    /// For rows that the retired table lacks.
    fresh: Vec<(Ident, String)>,
    /// Why a live row of both tables would lose something: conditions and texts.
    losses_of_both: Vec<(String, String)>,
    /// The same for one that the retired table lacks.
    losses_of_fresh: Vec<(String, String)>,
    /// Some values could be changed without a word: rows are compared once they are written.
    pub(crate) proved: bool,
}

/// How an undo is to be made.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner<'a> {
    /// Which way.
    pub direction: Direction,
    /// `--fill`.
    pub fill: &'a [Given],
    /// `--inverse`.
    pub inverse: &'a [Given],
}

/// What an undo's statements are made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ways<'a> {
    /// The table that is live.
    pub live: &'a Table,
    /// The table that goes back.
    pub retired: &'a Table,
    /// Columns that both have: the live name, and the retired one.
    pub kept: &'a [(Ident, Ident)],
    /// How.
    pub manner: Manner<'a>,
    /// The server's family and version.
    pub flavor: Flavor,
}

/// The projection of the way back, and what rows keep of their own, where they do. Rows are compared by the
/// projection of the change that is undone, with its sides exchanged.
pub(crate) fn way_back(ways: &Ways<'_>) -> (Projection, Option<Put>, Vec<Finding>) {
    let Ways { live, retired, kept, flavor, .. } = *ways;
    let forth: Vec<(Ident, Ident)> =
        kept.iter().map(|(new, old)| (old.clone(), new.clone())).collect();
    let (change, _) = project(retired, live, &forth, flavor);
    let (mut back, mut findings) = project(live, retired, kept, flavor);
    // A column without a value of its own is one that the change dropped: its values are kept.
    findings.retain(|finding| finding.check == "conversion");
    for given in ways.manner.inverse {
        overrule(ways, &mut back, &mut findings, given);
    }
    back.columns.retain(|column| source(kept, &column.target).is_some());
    // What does not fit is a misfit here, and no note.
    back.notes.clear();
    let put = |back: &Projection| {
        Put::of(ways, back).filter(|_| !mutation::active(Rule::RowsKeepTheirOwn))
    };
    if ways.manner.direction == Direction::Again {
        let put = put(&back);
        return (back, put, findings);
    }
    let exchanged = |compared: &Compared| Compared {
        original: compared.shadow.clone(),
        shadow: compared.original.clone(),
        ..compared.clone()
    };
    for column in &mut back.columns {
        let live = source(kept, &column.target);
        let forward = change.columns.iter().find(|it| live.is_some_and(|new| new.same(&it.target)));
        column.compared = forward.and_then(|it| it.compared.as_ref()).map(exchanged);
    }
    back.computed = change.computed.iter().map(exchanged).collect();
    // What the retired table computes must be what was written to the live one.
    let is_computed =
        |live: &Ident| retired_column(ways, live).is_some_and(|column| column.generated);
    let written = change.columns.iter().filter(|column| is_computed(&column.target));
    back.computed.extend(written.filter_map(|column| column.compared.as_ref()).map(exchanged));
    back.zoned |= change.zoned;
    back.dated |= change.dated;
    let put = put(&back);
    (back, put, findings)
}

/// The live name of a column of the retired table.
fn source<'k>(kept: &'k [(Ident, Ident)], retired: &Ident) -> Option<&'k Ident> {
    kept.iter().find(|(_, old)| old.same(retired)).map(|(new, _)| new)
}

/// The retired table's column that a live one came of.
fn retired_column<'a>(ways: &Ways<'a>, live: &Ident) -> Option<&'a Column> {
    let (_, old) = ways.kept.iter().find(|(new, _)| new.same(live))?;
    ways.retired.column(old)
}

/// Takes the operator's way back for a column.
fn overrule(ways: &Ways<'_>, back: &mut Projection, findings: &mut Vec<Finding>, given: &Given) {
    findings.retain(|finding| !finding.problem.starts_with(&concerning(ways, &given.column)));
    let projected = Projected {
        target: given.column.clone(),
        source: given.expression.clone(),
        typed: given.expression.clone(),
        compared: None,
        fits: None,
    };
    match back.columns.iter_mut().find(|column| column.target.same(&given.column)) {
        Some(column) => *column = projected,
        None => back.columns.push(projected),
    }
}

/// How the refusal of a conversion begins that is about this column of the retired table.
fn concerning(ways: &Ways<'_>, retired: &Ident) -> String {
    let live = source(ways.kept, retired);
    format!("column {}: ", live.unwrap_or(retired))
}

/// Whether the new type holds every value of the old one as it is, so that the way back restores it.
pub(super) fn holds_all(old: &Column, new: &Column) -> bool {
    let same = old.column_type == new.column_type && old.charset == new.charset;
    let integers = Kind::of(old) == Kind::Int && Kind::of(new) == Kind::Int;
    let text = old.data_type == "varchar" && new.data_type == "varchar";
    same || integers || text && old.charset == new.charset && old.collation == new.collation
}

impl Put {
    fn of(ways: &Ways<'_>, back: &Projection) -> Option<Self> {
        let Ways { live, retired, kept, flavor, .. } = *ways;
        let free = |prefix: &str, at: usize| {
            let mut name = Ident::new(format!("osc_{prefix}{at}"));
            while live.column(&name).is_some() || retired.column(&name).is_some() {
                name = Ident::new(format!("{}_", name.as_str()));
            }
            name
        };
        let mut put = Self {
            scratch: Helpers::scratch(&live.name),
            key: Vec::new(),
            aside: Vec::new(),
            both: Vec::new(),
            fresh: Vec::new(),
            losses_of_both: Vec::new(),
            losses_of_fresh: Vec::new(),
            proved: false,
        };
        for (at, column) in retired.columns.iter().enumerate().filter(|(_, c)| !c.generated) {
            let alias = free("own_", at);
            let own = Column { name: alias.clone(), ..column.clone() };
            let pair = source(kept, &column.name).and_then(|new| live.column(new));
            let Some(new) = pair else {
                put.aside.push((column.name.clone(), alias.clone()));
                put.both.push((column.name.clone(), alias.to_string()));
                put.fresh_value(ways, column);
                continue;
            };
            let Some(projected) = back.columns.iter().find(|it| it.target.same(&column.name))
            else {
                continue;
            };
            let again = ways.manner.direction == Direction::Again;
            let carried = again || holds_all(column, new);
            put.proved |= !carried;
            put.fresh.push((column.name.clone(), projected.source.clone()));
            if new.generated && !again {
                // Nobody could write it since.
                put.aside.push((column.name.clone(), alias.clone()));
                put.both.push((column.name.clone(), alias.to_string()));
                continue;
            }
            let lost = |unless: &str| {
                let fits = projected.fits.as_ref()?;
                let text = format!("values of column {} would be lost in part", column.name);
                Some((format!("(({fits}) IS FALSE{unless})"), text))
            };
            put.losses_of_fresh.extend(lost(""));
            let forward = conversion(&own, new, flavor);
            let Some(forward) = forward.ok().filter(|_| !carried) else {
                put.both.push((column.name.clone(), projected.source.clone()));
                put.losses_of_both.extend(lost(""));
                continue;
            };
            // As the verification compares them: the same bytes, or both NULL.
            let unchanged = format!(
                "(CAST({} AS BINARY) <=> CAST({} AS BINARY))",
                forward.expected, forward.found
            );
            put.aside.push((column.name.clone(), alias.clone()));
            let value = match mutation::active(Rule::ColumnsKeepTheirOwn) {
                true => projected.source.clone(),
                false => {
                    let written = like(column, new, &projected.source);
                    format!("IF({unchanged}, {alias}, {written})")
                }
            };
            put.both.push((column.name.clone(), value));
            put.losses_of_both.extend(lost(&format!(" AND NOT {unchanged}")));
        }
        let is_written = |column: &&Column| {
            column.generated
                && source(kept, &column.name)
                    .and_then(|new| live.column(new))
                    .is_some_and(|new| !new.generated)
        };
        put.proved |= ways.manner.direction == Direction::Back
            && retired.columns.iter().any(|column| is_written(&column));
        let has_own = !put.aside.is_empty() || !ways.manner.fill.is_empty();
        put.key = (0..retired.columns.len()).map(|at| free("key_", at)).collect();
        (has_own || put.proved).then_some(put)
    }

    /// What a row gets that was created since, in a column that the change dropped.
    fn fresh_value(&mut self, ways: &Ways<'_>, column: &Column) {
        if let Some(given) = ways.manner.fill.iter().find(|given| given.column.same(&column.name)) {
            self.fresh.push((column.name.clone(), given.expression.clone()));
            return;
        }
        if fresh(column) == Fresh::Nothing {
            let text = format!(
                "a row created since the change has no value for column {}, which has no default: give one \
                 with --fill",
                column.name
            );
            self.losses_of_fresh.push(("TRUE".into(), text));
            // So that the statement is one that the server takes.
            self.fresh.push((column.name.clone(), "NULL".into()));
        }
    }
}

/// The way back of a live value in the character set of the retired column: an expression takes no two texts
/// whose collations do not go together. What that set lacks is found when the rows are compared.
fn like(retired: &Column, live: &Column, source: &str) -> String {
    match (&retired.charset, &retired.collation) {
        (Some(charset), Some(collation))
            if live.collation.is_some() && live.collation != retired.collation =>
        {
            format!("CONVERT({source} USING {charset}) COLLATE {collation}")
        }
        _ => source.to_owned(),
    }
}

/// What a row gets in a column of the retired table alone, when it was created since.
pub(super) fn fresh(column: &Column) -> Fresh {
    // MariaDB shows a default of NULL as that word.
    let null = |default: &&String| column.nullable && *default == "NULL";
    let default = column.default.as_ref().filter(|default| !null(default));
    if column.auto_increment {
        Fresh::Counted
    } else if default.is_some() || column.extra.contains("default_generated") {
        Fresh::Default
    } else if column.nullable {
        Fresh::Null
    } else {
        Fresh::Nothing
    }
}

/// How rows are written in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rewriting {
    /// Makes the session's temporary table, before the transaction.
    pub scratch: Option<String>,
    /// Lays aside and deletes.
    pub first: Vec<String>,
    /// Writes.
    pub inserts: Vec<Insert>,
    /// Selects digests and keys of both tables, which must be the same afterwards.
    pub proof: Option<[String; 2]>,
}

impl Statements {
    /// Writes these rows of the shadow as they are in the original; with `proved`, and compares them.
    pub(crate) fn rewriting(&self, keys: &[Key], proved: bool) -> Result<Rewriting> {
        let Some(put) = &self.put else {
            let first = vec![self.delete(keys)?];
            return Ok(Rewriting { first, ..self.inserting(keys, proved)? });
        };
        Ok(Rewriting {
            scratch: self.scratch(),
            first: vec![
                format!("DELETE FROM {}", put.scratch),
                self.laid_aside(put, keys)?,
                self.delete(keys)?,
            ],
            ..self.inserting(keys, proved)?
        })
    }

    /// The same for rows that are laid aside and deleted already.
    pub(crate) fn inserting(&self, keys: &[Key], proved: bool) -> Result<Rewriting> {
        let digests = |side| self.digests(side, Scope::Keys(keys));
        let proved = proved || self.put.as_ref().is_some_and(|put| put.proved);
        let proof = match proved && !mutation::active(Rule::PutCompared) {
            true => Some([digests(Side::Original)?, digests(Side::Shadow)?]),
            false => None,
        };
        let Some(put) = &self.put else {
            let inserts = vec![self.rewrite(keys)?];
            return Ok(Rewriting { inserts, proof, ..Rewriting::default() });
        };
        let predicate = self.one_of(Side::Original, keys)?;
        let on: Vec<String> = self
            .key
            .0
            .iter()
            .zip(&put.key)
            .map(|(column, alias)| format!("{} = {alias}", column.name))
            .collect();
        let (scratch, on) = (&put.scratch, on.join(" AND "));
        let table = self.table(Side::Original);
        let both = format!("{table} JOIN {scratch} ON {on}");
        let fresh = format!("{table} LEFT JOIN {scratch} ON {on}");
        let first = put.key.first().map(ToString::to_string).unwrap_or_default();
        Ok(Rewriting {
            inserts: vec![
                self.put_insert(&put.both, &put.losses_of_both, &both, &predicate),
                self.put_insert(
                    &put.fresh,
                    &put.losses_of_fresh,
                    &fresh,
                    &format!("{predicate} AND {first} IS NULL"),
                ),
            ],
            proof,
            ..Rewriting::default()
        })
    }

    fn put_insert(
        &self,
        values: &[(Ident, String)],
        losses: &[(String, String)],
        from: &str,
        predicate: &str,
    ) -> Insert {
        let targets: Vec<String> = values.iter().map(|(target, _)| target.to_string()).collect();
        let sources: Vec<&str> = values.iter().map(|(_, source)| source.as_str()).collect();
        let statement = format!(
            "INSERT INTO {} ({}) SELECT {} FROM {from} WHERE {predicate}",
            self.shadow,
            targets.join(", "),
            sources.join(", ")
        );
        let misfits = (!losses.is_empty()).then(|| {
            let any: Vec<&str> = losses.iter().map(|(condition, _)| condition.as_str()).collect();
            let why: Vec<String> = losses
                .iter()
                .map(|(condition, text)| format!("WHEN {condition} THEN {}", Text(text)))
                .collect();
            format!(
                "SELECT CASE {} END, {} FROM {from} WHERE {predicate} AND ({}) LIMIT 10",
                why.join(" "),
                self.shown_key(),
                any.join(" OR ")
            )
        });
        Insert { misfits, statement }
    }

    /// Makes the temporary table in which a session lays rows aside; `None`: rows have nothing of their own.
    pub(crate) fn scratch(&self) -> Option<String> {
        let put = self.put.as_ref()?;
        let keys: Vec<String> = self.scratch_key(put).map(|(_, alias)| alias.to_string()).collect();
        Some(format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {} (PRIMARY KEY ({})) ENGINE=InnoDB AS SELECT {} FROM {} \
             LIMIT 0",
            put.scratch,
            keys.join(", "),
            self.scratch_columns(put),
            self.shadow
        ))
    }

    /// Lays rows of the shadow aside; `None`: rows have nothing of their own.
    pub(crate) fn lay_aside(&self, keys: &[Key]) -> Result<Option<String>> {
        self.put.as_ref().map(|put| self.laid_aside(put, keys)).transpose()
    }

    fn laid_aside(&self, put: &Put, keys: &[Key]) -> Result<String> {
        Ok(format!(
            "INSERT INTO {} SELECT {} FROM {} WHERE {}",
            put.scratch,
            self.scratch_columns(put),
            self.table(Side::Shadow),
            self.one_of(Side::Shadow, keys)?
        ))
    }

    fn scratch_key<'a>(&'a self, put: &'a Put) -> impl Iterator<Item = (&'a Ident, &'a Ident)> {
        self.shadow_key.iter().zip(&put.key)
    }

    fn scratch_columns(&self, put: &Put) -> String {
        let aside = put.aside.iter().map(|(name, alias)| (name, alias));
        let all = self.scratch_key(put).chain(aside);
        all.map(|(name, alias)| format!("{name} AS {alias}")).collect::<Vec<_>>().join(", ")
    }
}
