//! Rows that cannot be written: which ones, and whether that is for now or for good.

use tokio_postgres::SimpleQueryRow;

use super::PostgresTable;
use super::held::For;
use crate::engine::backend::{Clash, CopyOutcome};
use crate::error::{Error, Result};
use crate::postgres::catalog::table::{Index, Table};
use crate::postgres::connection::session::{run, value};
use crate::postgres::copy::projection::Side;
use crate::postgres::copy::rows::{self, Write};
use crate::postgres::copy::statements::Scope;
use crate::postgres::name::{Ident, Text};

/// A clash draws in so many keys.
const LARGEST_CLASH: usize = 10_000;

impl PostgresTable {
    /// An index of the shadow; those that were built after the copy are read when they are met.
    pub(crate) async fn unique_index(&self, name: &str) -> Result<Option<Index>> {
        let named =
            |table: &Table| table.indexes.iter().find(|index| index.name.as_str() == name).cloned();
        if let Some(found) = named(&self.ready()?.shadow) {
            return Ok(Some(found));
        }
        let client = self.sessions.plain("reading the shadow's indexes").await?;
        let Some(shadow) = Table::read(&client, &self.helpers().shadow).await? else {
            return Ok(None);
        };
        if let Some(found) = named(&shadow) {
            return Ok(Some(found));
        }
        // A partition's index is a part of the shadow's.
        let part = self.helpers().shadow.sibling(Ident::new(name)).to_string();
        let sql = format!(
            "SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhparent \
             WHERE h.inhrelid = to_regclass({})",
            Text(&part)
        );
        let whole = value(&client, "reading the shadow's indexes", &sql).await?.map(Ident::new);
        Ok(whole.and_then(|whole| shadow.index(&whole).cloned()))
    }

    /// What the end of a write to the shadow means to the engine.
    pub(crate) async fn outcome(
        &self,
        write: Write,
        scope: Scope<'_>,
        action: &str,
    ) -> Result<CopyOutcome> {
        match write {
            Write::Done(rows) => Ok(CopyOutcome::Written(rows)),
            Write::Contention => Ok(CopyOutcome::Contention),
            Write::Unfit(message) => {
                let rows = self.culprit(scope, action).await.unwrap_or_default();
                Err(Error::Data { reason: message, rows })
            }
            Write::Clash { index, .. } => {
                let statements = &self.ready()?.statements;
                let Some(found) = &self.unique_index(index.as_str()).await? else {
                    return Ok(CopyOutcome::Contention);
                };
                let own: Vec<_> = found.keys.iter().map(|key| key.column.clone()).collect();
                let key: Vec<_> = statements.shadow_key.iter().cloned().map(Some).collect();
                if own == key {
                    // The row itself is there already: the range must be cleared first.
                    return Ok(CopyOutcome::Contention);
                }
                let sql = statements.clashing(found, scope, LARGEST_CLASH)?;
                let rows = self.converting(action, &sql).await?;
                let mut clash = Clash { index: index.as_str().to_owned(), ..Clash::default() };
                for row in &rows {
                    clash.own.push(rows::key(&statements.key, row, 0)?);
                    clash.holders.push(rows::key(&statements.key, row, statements.key.0.len())?);
                }
                for keys in [&mut clash.own, &mut clash.holders] {
                    keys.sort_unstable();
                    keys.dedup();
                }
                if clash.own.is_empty() {
                    // Two rows of the statement itself, or it is over already.
                    let duplicates = self.duplicates_in(found, scope).await?;
                    if duplicates.is_empty() {
                        return Ok(CopyOutcome::Contention);
                    }
                    return Err(Error::Data {
                        reason: format!("{}: rows of the original have the same values", index.0),
                        rows: duplicates,
                    });
                }
                Ok(CopyOutcome::Clash(clash))
            }
        }
    }

    /// Rows of the original that cannot all be in a table that has `index`, for a human.
    pub(crate) async fn duplicates_in(
        &self,
        index: &Index,
        scope: Scope<'_>,
    ) -> Result<Vec<String>> {
        const ACTION: &str = "looking for duplicates";
        let statements = &self.ready()?.statements;
        if statements.lens.is_some() && index.keys.iter().any(|key| key.excludes.is_some()) {
            let sql = statements.conflicting(index, scope)?;
            let found = self.converting(ACTION, &sql).await?;
            let line = |row: &SimpleQueryRow| {
                let key = |at| row.get(at).unwrap_or_default().to_owned();
                format!("rows {}, {} conflict", key(0), key(1))
            };
            return Ok(found.iter().map(line).collect());
        }
        let sql = statements.duplicates(index, scope)?;
        let found = self.converting(ACTION, &sql).await?;
        let line = |row: &SimpleQueryRow| {
            format!("{}: rows {}", row.get(0).unwrap_or_default(), row.get(1).unwrap_or_default())
        };
        Ok(found.iter().map(line).collect())
    }

    /// Finds a row that does not fit, by halving the scope with writes that are rolled back.
    async fn culprit(&self, scope: Scope<'_>, action: &str) -> Result<Vec<String>> {
        let statements = &self.ready()?.statements;
        let client = self.sessions.own(action).await?;
        let list = format!(
            "SELECT {} FROM ONLY {} WHERE {} ORDER BY 1 LIMIT 100000",
            statements.key.0.iter().map(|c| c.name.to_string()).collect::<Vec<_>>().join(", "),
            statements.original,
            statements.predicate(Side::Original, scope)?
        );
        let mut suspects = self.keys(action, &list).await?;
        while suspects.len() > 1 {
            let half = suspects.split_off(suspects.len() / 2);
            let insert = statements.insert(Scope::Keys(&suspects), &[])?;
            let held = self.held(For::Writing)?;
            let sql = format!("BEGIN; {held}; {}{insert}", self.role().for_values());
            let tried = client.batch_execute(&sql).await;
            run(&client, action, "ROLLBACK").await?;
            let fits = match tried {
                Ok(()) => true,
                Err(error) => !matches!(
                    rows::outcome(action, &self.shadow_tables()?, &error)?,
                    Write::Unfit(_)
                ),
            };
            if fits {
                suspects = half;
            }
        }
        Ok(suspects.iter().map(|key| statements.key.describe(key)).collect())
    }
}
