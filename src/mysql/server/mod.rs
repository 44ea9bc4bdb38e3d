//! One table under change on MySQL or MariaDB, as the engine sees it.

mod lease;
mod retired;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::binlog::{BinlogStream, Shadow, StreamConfig};
use super::checks::leftovers;
use super::connection::answer::Answers as _;
use super::connection::errors::connection_error;
use super::connection::texts;
use super::copy::put::Rewriting;
use super::copy::statements::Scope;
use super::copy::{deferred_indexes, rows, shadow};
use super::dependents::Carried;
use super::run::{MysqlTable, indexes};
use super::runs::lock;
use super::runs::orders::Orders;
use super::runs::proof::Tables;
use super::runs::record::{Shape, UndoFacts};
use super::{binlog, checks, swap};
use crate::engine::backend::{Comparison, CopyOutcome, Drain, Resumable, Server, SwapOutcome};
use crate::engine::event::Summary;
use crate::engine::undo::Direction;
use crate::error::{Error, Result};
use crate::key::{Key, KeyOrder, KeyRange, Position, Rows};
use crate::ledger::claim;
use crate::ledger::{Checkpoint, End, is_waste};
use crate::testing::failpoint::{self, Point};

/// Keys looked up by one statement.
const LOOK_UP: usize = 500;

impl Server for MysqlTable {
    type Stream = BinlogStream;
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
        claim::hold(self).await
    }

    fn book(&self) -> Result<Orders> {
        let (opts, ledger) = (self.setting.opts.clone(), self.ledger.clone());
        let begun = self.begun.get().cloned().unwrap_or_default();
        Ok(Orders::new(opts, ledger, self.run()?, self.token.clone(), begun))
    }

    async fn position(&self) -> Result<Position> {
        let mut conn = self.plain("asking for the binlog's position").await?;
        binlog::current_position(&mut conn, self.setting.flavor).await
    }

    async fn stream(&self, position: &Position) -> Result<BinlogStream> {
        let ready = self.ready()?;
        let config = StreamConfig {
            opts: self.setting.opts.clone(),
            flavor: self.setting.flavor,
            original: self.setting.original.name.clone(),
            ledger: self.ledger.markers.clone(),
            run: self.run()?.0,
            key: ready.statements.key.clone(),
            shadow: Some(Shadow {
                name: self.helpers.shadow.clone(),
                key: ready.shadow.key_named(&ready.statements.shadow_key)?,
                watch: Arc::clone(&self.shadow_watch),
            }),
            since: self.since().filter(|_| self.by_log.load(Ordering::Relaxed)),
        };
        binlog::open(&config, position).await
    }

    fn watch_shadow(&self, marker: u64) {
        self.shadow_watch.begin(marker);
    }

    async fn start_barrier(&self) -> Result<()> {
        let mut conn = self.plain("waiting for prepared transactions").await?;
        self.ledger.mark(&mut conn, self.run()?, 0).await?;
        rows::wait_for_prepared(&mut conn, self.setting.settings.cut_over_timeout() * 10).await
    }

    fn is_undo(&self) -> bool {
        self.setting.undone.is_some()
    }

    async fn make_shadow(&self, defer_indexes: bool) -> Result<()> {
        if let Some(undone) = &self.setting.undone {
            return self.take_retired(undone).await;
        }
        let mut conn = self.plain("creating the shadow").await?;
        let (setting, name) = (&self.setting, &self.setting.original.name);
        leftovers::clear_shadow(&mut conn, setting.flavor, &self.ledger, name).await?;
        let before = self.numbers(&mut conn, &self.helpers.shadow).await?;
        shadow::create(&mut conn, &setting.draft(), &self.helpers).await?;
        self.has_shadow.store(true, Ordering::Relaxed);
        let index = &self.get_ready(&mut conn).await?.statements.index;
        checks::server::row_image(&mut conn, &setting.original, index).await?;
        failpoint::hit(Point::ShadowAltered)?;
        let carried = Carried::settle(
            &mut conn,
            &setting.original,
            &self.helpers,
            &setting.change,
            &setting.dependents,
        )
        .await?;
        let recorded = carried.recorded();
        let _ = self.carried.set(carried);
        let deferred = if defer_indexes {
            let ready = self.ready()?;
            deferred_indexes::drop_deferrable(&mut conn, &ready.shadow, &ready.statements).await?
        } else {
            Vec::new()
        };
        failpoint::hit(Point::ShadowStripped)?;
        let original = self.numbers(&mut conn, name).await?;
        let shadow = self.numbers(&mut conn, &self.helpers.shadow).await?.without(&before);
        if original.is_none() || shadow.is_none() {
            return Err(Error::Internal("the server does not show the tables' numbers".into()));
        }
        let facts = UndoFacts {
            kept: setting.change.kept.clone(),
            before: Shape::of(&setting.original),
            after: Shape::of(&self.ready()?.shadow),
            keys: setting.dependents.outgoing.clone(),
            direction: Direction::Back,
        };
        let verdict = self.verdict()?;
        self.note(&mut conn, |record| {
            record.tables = Tables { original, shadow, rebuilt: false };
            record.deferred = deferred;
            record.carried = recorded;
            record.undo = Some(facts);
            record.verdict = verdict;
            record.undo_for = setting.settings.undo_for().as_secs();
        })
        .await
    }

    async fn estimate(&self) -> Result<Rows> {
        Ok(self.setting.original.rows)
    }

    async fn last(&self) -> Result<Option<Key>> {
        let statements = &self.ready()?.statements;
        let mut conn = self.session("looking for the last row").await?;
        let sql = statements.last();
        Ok(rows::keys(&mut conn, statements, &sql, "looking for the last row").await?.pop())
    }

    async fn bound(&self, after: Option<&Key>, rows: Rows) -> Result<Option<Key>> {
        let statements = &self.ready()?.statements;
        let mut conn = self.session("planning a chunk").await?;
        let sql = statements.bound(after, rows)?;
        Ok(rows::keys(&mut conn, statements, &sql, "planning a chunk").await?.pop())
    }

    async fn copy(&self, range: &KeyRange, clear: bool, except: &[Key]) -> Result<CopyOutcome> {
        let statements = &self.ready()?.statements;
        let rewriting = Rewriting {
            first: if clear { vec![statements.clear(range)?] } else { Vec::new() },
            inserts: vec![statements.copy(range, except)?],
            ..Rewriting::default()
        };
        let write = self.write("copying a chunk", Point::ChunkUncommitted, &rewriting).await?;
        self.outcome(write, Some(range), &[], except).await
    }

    async fn checkpoint(&self, state: Option<String>) -> Result<()> {
        let now = Checkpoint::now(state, &self.setting.progress);
        let mut conn = self.session("storing the checkpoint").await?;
        self.ledger.checkpoint(&mut conn, self.run()?, &self.token, &now).await
    }

    async fn refresh(&self, keys: &[Key]) -> Result<CopyOutcome> {
        let proved = self.by_log.load(Ordering::Relaxed);
        let rewriting = self.ready()?.statements.rewriting(keys, proved)?;
        let write = self.write("refreshing rows", Point::RefreshUncommitted, &rewriting).await?;
        self.outcome(write, None, keys, &[]).await
    }

    async fn try_to_put(&self, keys: &[Key]) -> Result<CopyOutcome> {
        let action = "trying whether rows can go back";
        let statements = &self.ready()?.statements;
        let rewriting = statements.rewriting(keys, false)?;
        let mut conn = self.session(action).await?;
        let write = rows::attempt(&mut conn, statements, &rewriting, action).await?;
        self.outcome(write, None, keys, &[]).await
    }

    async fn duplicates(
        &self,
        index: &str,
        range: Option<&KeyRange>,
        keys: &[Key],
    ) -> Result<Vec<String>> {
        let Some(index) = self.unique_index(index)? else { return Ok(Vec::new()) };
        let sql = self.ready()?.statements.duplicates(index, range, keys)?;
        let mut conn = self.session("looking for duplicates").await?;
        let found: Vec<mysql_async::Row> = conn
            .all(sql)
            .await
            .map_err(|error| connection_error("looking for duplicates", error))?;
        found
            .into_iter()
            .map(|row| {
                let texts = texts::texts(row)?;
                Ok(texts.join(": "))
            })
            .collect()
    }

    async fn build_indexes(&self) -> Result<()> {
        let mut conn = self.plain("building indexes").await?;
        indexes::build(&mut conn, self).await
    }

    async fn compare(&self, range: &KeyRange) -> Result<Comparison> {
        let statements = &self.ready()?.statements;
        let mut conn = self.session("comparing the tables").await?;
        let (rows, equal) = rows::compare(&mut conn, statements, range).await?;
        Ok(Comparison { rows, equal })
    }

    async fn differing(&self, range: &KeyRange, limit: usize) -> Result<Vec<Key>> {
        let mut keys = self.difference(Scope::Range(range)).await?;
        keys.truncate(limit);
        Ok(keys)
    }

    async fn still_differing(&self, keys: &[Key]) -> Result<Vec<Key>> {
        let mut differing = Vec::new();
        for part in keys.chunks(LOOK_UP) {
            differing.extend(self.difference(Scope::Keys(part)).await?);
        }
        Ok(differing)
    }

    async fn before_swap(&self) -> Result<()> {
        swap::before(self).await
    }

    async fn mark(&self, marker: u64) -> Result<()> {
        let mut conn = self.session("writing a marker").await?;
        self.ledger.mark(&mut conn, self.run()?, marker).await
    }

    async fn swap<D: Drain>(&self, marker: u64, drain: &mut D) -> Result<SwapOutcome> {
        swap::attempt(self, marker, drain).await
    }

    async fn after_swap(&self) -> Result<Vec<String>> {
        swap::after(self, self.died_in_swap.load(Ordering::Relaxed)).await
    }

    async fn finish(&self, summary: &Summary) -> Result<()> {
        let mut conn = self.plain("recording the end of the run").await?;
        let done = End::done(summary);
        let _ = self.ledger.end(&mut conn, self.run()?, Some(&self.token), &done).await?;
        if let Some(mut claim) = self.claim.lock().await.take() {
            lock::release(&mut claim).await;
        }
        if let Some(ready) = self.ready.get() {
            ready.sessions.clone().close().await;
        }
        Ok(())
    }

    async fn abandon(&self, error: &Error) -> Result<()> {
        let Some(run_id) = self.run.get().copied() else { return Ok(()) };
        let mut conn = self.plain("recording the failure").await?;
        let end = End::by(error);
        let ours = self.ledger.end(&mut conn, run_id, Some(&self.token), &end).await?;
        // What can never be resumed would only fill the disk; differing tables are evidence. The shadow
        // of a run that was taken over is another attempt's, or another user's by now.
        if ours && is_waste(error) && self.has_shadow.load(Ordering::Relaxed) {
            // Without a number it was made a moment ago.
            let just_made = self.known().tables.shadow.is_none();
            match self.shadow_stands(&mut conn).await {
                Err(error) if !just_made => tracing::warn!("not dropped: {error}"),
                _ => shadow::drop_table(&mut conn, &self.helpers.shadow).await?,
            }
        }
        Ok(())
    }

    async fn announce_swap(&self, marker: u64) -> Result<()> {
        swap::note_swap(self, marker).await
    }

    async fn log_since_swap(&self) -> Result<Option<std::result::Result<Position, String>>> {
        self.logged().await.map(Some)
    }

    fn go_by_log(&self, by_log: bool) {
        self.by_log.store(by_log, Ordering::Relaxed);
        if by_log {
            self.shadow_watch.begin_at_once();
        }
    }

    fn retired(&self) -> String {
        self.helpers.retired.plain()
    }

    fn undo_for(&self) -> Duration {
        Duration::from_secs(self.known().undo_for)
    }

    fn undo(&self) -> Option<String> {
        self.known().verdict.into_iter().next()
    }
}
