//! One table under change on PostgreSQL, as the engine sees it.

mod lease;

use std::sync::Arc;
use std::time::Duration;

use super::catalog::table::number;
use super::copy::draft::Draft;
use super::copy::old_shadow;
use super::copy::shadow::{self, Carried};
use super::copy::statements::Scope;
use super::dependents::Dependents;
use super::run::PostgresTable;
use super::run::indexes;
use super::runs::lock;
use super::runs::orders::Orders;
use super::runs::record::{self, Record};
use super::runs::tables::Tables;
use super::stream::{Capture, PgStream, StreamConfig};
use super::swap::dry_run::rehearse;
use super::{stream, swap, undo};
use crate::engine::backend::{Comparison, CopyOutcome, Drain, Resumable, Server, SwapOutcome};
use crate::engine::event::Summary;
use crate::error::{Error, Result};
use crate::key::{Key, KeyOrder, KeyRange, Position, Rows};
use crate::ledger::claim;
use crate::ledger::{Checkpoint, End, is_waste};
use crate::testing::failpoint::{self, Point};

/// The position in the engine's state.
pub(crate) fn position_of(state: &str) -> Option<Position> {
    let state: serde_json::Value = serde_json::from_str(state).ok()?;
    state.get("position")?.as_str().map(|text| Position(text.to_owned()))
}

/// Keys looked up by one statement.
const LOOK_UP: usize = 500;

impl Server for PostgresTable {
    type Stream = PgStream;
    type Book = Orders;

    fn key_order(&self) -> KeyOrder {
        self.ready.get().map_or(KeyOrder::Server, |ready| ready.statements.key.order())
    }

    fn describe(&self, key: &Key) -> String {
        match self.ready.get() {
            Some(ready) => ready.statements.key.describe(key),
            None => "(unknown key)".into(),
        }
    }

    fn number(&self) -> Option<i64> {
        self.run.get().map(|run| run.0)
    }

    async fn claim(&self) -> Result<Option<Resumable>> {
        claim::claim(self).await
    }

    async fn hold_claim(&self) -> Result<()> {
        self.watch().await?;
        claim::hold(self).await
    }

    fn book(&self) -> Result<Orders> {
        let (options, ledger) = (self.setting.options.clone(), self.ledger.clone());
        let begun = self.begun.get().cloned().unwrap_or_default();
        Ok(Orders::new(options, ledger, self.run()?, self.token.clone(), begun))
    }

    async fn position(&self) -> Result<Position> {
        let client = self.sessions.plain("preparing the change stream").await?;
        let original = &self.setting.original;
        let key = original.key_columns(original.copy_key()?)?;
        let names = self.names()?;
        let version = i32::try_from(self.setting.version).unwrap_or(i32::MAX);
        stream::drop_all(&client, &names).await?;
        let patience = self.setting.settings.cut_over_timeout() * 10;
        let (capture, _) = stream::choose(&client, &original.name).await?;
        let _ = self.capture.set(capture);
        match capture {
            Capture::Logical => {
                stream::prepare(&client, &original.name, &key, &names, version).await?;
                failpoint::hit(Point::Published)?;
                stream::create_slot(&self.setting.options, &names, patience).await
            }
            Capture::Triggers => {
                stream::triggers::create(&client, &original.name, &key, &names, patience).await
            }
        }
    }

    async fn stream(&self, position: &Position) -> Result<PgStream> {
        let config = StreamConfig {
            options: self.setting.options.clone(),
            original: self.setting.original.name.clone(),
            oid: self.setting.original.oid,
            key: self.ready()?.statements.key.clone(),
            run: self.run()?.0,
            names: self.names()?,
            capture: self.capture()?,
            seen: Arc::clone(&self.seen),
        };
        PgStream::open(config, position).await
    }

    async fn start_barrier(&self) -> Result<()> {
        if self.capture()? == Capture::Triggers {
            // Their lock has waited for every writer.
            return Ok(());
        }
        let client = self.sessions.plain("waiting for older transactions").await?;
        stream::start_barrier(&client, self.setting.settings.cut_over_timeout() * 10).await
    }

    async fn make_shadow(&self, defer_indexes: bool) -> Result<()> {
        if let Some(undo) = &self.setting.undo {
            return undo::take(self, undo).await;
        }
        let client = self.sessions.plain("creating the shadow").await?;
        old_shadow::drop_shadow(&client, &self.ledger, &self.helpers().shadow).await?;
        let place = shadow::place(&self.setting.original.name);
        let clauses = self.setting.change.for_shadow(&place);
        let blueprint = self.blueprint(&place, clauses.as_deref(), defer_indexes)?;
        let (made, fingerprint) = shadow::create(&client, &blueprint, self.helpers()).await?;
        failpoint::hit(Point::ShadowUnrecorded)?;
        let dependents = self.setting.dependents.clone();
        let mut record = Record::new(made.original, made.shadow, self.capture()?, defer_indexes);
        record.fingerprint = fingerprint;
        record.dependents = record::digest(&client, &dependents).await?;
        record.unchecked = dependents.to_validate();
        record.role = self.setting.role.clone();
        record.undo_for = self.setting.settings.undo_for().as_secs();
        record.helpers = Some(self.setting.helpers.clone());
        let change = &self.setting.change;
        let outcomes = change.outcomes(&self.setting.original);
        let dropped = dependents.own_foreign_keys_gone(&outcomes);
        let tables = (made.original, made.shadow);
        let tables =
            Tables::forward(&client, change, tables, &made.unproved, &made.owner, dropped).await?;
        record.tables = Some(tables);
        let set = Dependents::read(&client, &self.helpers().shadow).await?.set();
        let indexes = made.indexes.iter().chain(made.deferred.iter().map(|index| &index.name));
        let set = set.after_swap(made.autovacuum.as_ref(), &dependents.set(), indexes.cloned());
        record.set = made.partitions.is_empty().then_some(set);
        let draft = Draft::read(&client, &self.helpers().shadow, &made).await?;
        let verdict =
            undo::verdict::of_change(&client, &self.setting.original, &draft, change, &dependents);
        record.verdict = verdict.await?.record(&self.setting.original.name.plain());
        self.ledger.carry(&client, self.run()?, &self.token, &record.text()?).await?;
        let _ = self.record.set(record);
        let _ = self.carried.set(Carried { made, dependents });
        rehearse(self).await?;
        self.get_ready(&client).await
    }

    fn defers_key(&self) -> bool {
        self.carried().is_ok_and(|carried| {
            let key = self.ready.get().map(|ready| ready.statements.shadow_key.as_slice());
            key.is_some_and(|key| self.deferred_key(&carried.made.deferred, key).is_some())
        })
    }

    async fn build_key(&self) -> Result<()> {
        let key = self.deferred_key(&self.carried()?.made.deferred, self.shadow_key()?);
        indexes::build(self, |index| key.is_some_and(|key| key.name == index.name)).await
    }

    async fn estimate(&self) -> Result<Rows> {
        Ok(self.setting.original.rows)
    }

    async fn last(&self) -> Result<Option<Key>> {
        let sql = self.ready()?.statements.last();
        Ok(self.keys("looking for the last row", &sql).await?.pop())
    }

    async fn bound(&self, after: Option<&Key>, rows: Rows) -> Result<Option<Key>> {
        let sql = self.ready()?.statements.bound(after, rows)?;
        Ok(self.keys("planning a chunk", &sql).await?.pop())
    }

    async fn copy(&self, range: &KeyRange, clear: bool, except: &[Key]) -> Result<CopyOutcome> {
        let ready = self.ready()?;
        // No index of a partitioned shadow would tell a row that is there already.
        let partitioned = ready.shadow.kind == 'p';
        let sql = ready.statements.copy(range, clear || partitioned, except)?;
        let turn = partitioned.then(|| ready.statements.turn(range));
        self.write("copying a chunk", turn, &sql, Scope::Range(range)).await
    }

    async fn checkpoint(&self, state: Option<String>) -> Result<()> {
        let position = state.as_deref().and_then(position_of);
        let now = Checkpoint::now(state, &self.setting.progress);
        let client = self.sessions.take("storing the checkpoint").await?;
        self.ledger.checkpoint(&client, self.run()?, &self.token, &now).await?;
        // Rule 2: whatever the stream has named so far can be read from here on.
        self.seen.visible(&client).await?;
        self.sessions.give_back(client);
        if let Some(position) = position {
            self.seen.confirm(&position);
        }
        Ok(())
    }

    fn is_undo(&self) -> bool {
        self.setting.undo.is_some()
    }

    async fn refresh(&self, keys: &[Key]) -> Result<CopyOutcome> {
        if self.is_undo() {
            return undo::put(self, keys).await;
        }
        let statements = &self.ready()?.statements;
        let sql = statements.refresh(keys)?;
        self.write("refreshing rows", Some(statements.in_order()), &sql, Scope::Keys(keys)).await
    }

    async fn try_to_put(&self, keys: &[Key]) -> Result<CopyOutcome> {
        undo::try_to_put(self, keys).await
    }

    async fn relaxed_keys(&self) -> Result<Vec<String>> {
        Ok(undo::relaxed_keys(self)?.into_iter().map(|name| name.0).collect())
    }

    async fn duplicates(
        &self,
        index: &str,
        range: Option<&KeyRange>,
        keys: &[Key],
    ) -> Result<Vec<String>> {
        let Some(index) = &self.unique_index(index).await? else { return Ok(Vec::new()) };
        if !self.is_undo() && index.keys.iter().any(|key| key.excludes.is_some()) {
            return Ok(Vec::new());
        }
        let mut found = self.duplicates_in(index, Scope::Keys(keys)).await?;
        if let Some(range) = range
            && found.is_empty()
            && keys.is_empty()
        {
            found = self.duplicates_in(index, Scope::Range(range)).await?;
        }
        Ok(found)
    }

    async fn build_indexes(&self) -> Result<()> {
        let key = self.deferred_key(&self.carried()?.made.deferred, self.shadow_key()?);
        indexes::build(self, |index| key.is_none_or(|key| key.name != index.name)).await?;
        // Beside the verification, which the cut-over waits for.
        swap::vacuum(self).await
    }

    async fn compare(&self, range: &KeyRange) -> Result<Comparison> {
        let sql = self.ready()?.statements.compare(range)?;
        let found = self.converting("comparing the tables", &sql).await?;
        let row = found.first().ok_or_else(|| Error::Internal("no comparison".into()))?;
        Ok(Comparison { rows: Rows(number(row.get(0))?), equal: row.get(1) == Some("t") })
    }

    async fn differing(&self, range: &KeyRange, limit: usize) -> Result<Vec<Key>> {
        self.difference(Scope::Range(range), limit).await
    }

    async fn still_differing(&self, keys: &[Key]) -> Result<Vec<Key>> {
        let mut differing = Vec::new();
        for part in keys.chunks(LOOK_UP) {
            differing.extend(self.difference(Scope::Keys(part), part.len()).await?);
        }
        Ok(differing)
    }

    async fn before_swap(&self) -> Result<()> {
        swap::before(self).await
    }

    async fn mark(&self, marker: u64) -> Result<()> {
        let client = self.sessions.take("writing a marker").await?;
        self.mark_in(&client, marker).await?;
        self.sessions.give_back(client);
        Ok(())
    }

    async fn swap<D: Drain>(&self, marker: u64, drain: &mut D) -> Result<SwapOutcome> {
        swap::attempt(self, marker, drain).await
    }

    async fn after_swap(&self) -> Result<Vec<String>> {
        swap::after(self).await
    }

    async fn finish(&self, summary: &Summary) -> Result<()> {
        let client = self.sessions.plain("recording the end of the run").await?;
        let done = End::done(summary);
        let _ = self.ledger.end(&client, self.run()?, Some(&self.token), &done).await?;
        if let Some(claim) = self.claim.lock().await.take() {
            lock::release(&claim).await;
        }
        Ok(())
    }

    async fn abandon(&self, error: &Error) -> Result<()> {
        let Some(id) = self.run.get().copied() else { return Ok(()) };
        let client = self.sessions.plain("recording the failure").await?;
        let ours = self.ledger.end(&client, id, Some(&self.token), &End::by(error)).await?;
        // Slot and shadow of a run that was taken over are another attempt's, or another user's by now.
        if !ours || error.is_resumable() {
            return Ok(());
        }
        // A slot that is not read would fill the disk; differing tables are evidence.
        stream::drop_all(&client, &self.names()?).await?;
        // The table of an undo was there before it, and is the user's.
        if is_waste(error) && !self.is_undo() {
            // One that is not ours is not dropped.
            return match old_shadow::drop_shadow(&client, &self.ledger, &self.helpers().shadow)
                .await
            {
                Err(Error::Refused(_)) => Ok(()),
                outcome => outcome,
            };
        }
        Ok(())
    }

    fn retired(&self) -> String {
        self.helpers().retired.plain()
    }

    fn undo_for(&self) -> Duration {
        Duration::from_secs(self.record.get().map_or(0, |record| record.undo_for))
    }

    fn undo(&self) -> Option<String> {
        self.record.get()?.verdict.first().cloned()
    }
}
