//! The steps of [a claim](crate::ledger::claim) on MySQL and MariaDB.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mysql_async::Conn;

use crate::engine::backend::Server as _;
use crate::error::{Error, Result};
use crate::ledger::claim::{Lease, Looked, Standing};
use crate::ledger::refusals::{altered_meanwhile, untrusted};
use crate::ledger::{End, NewRun, RunId, RunRecord};
use crate::mysql::catalog::table::Table;
use crate::mysql::clauses::same;
use crate::mysql::copy::shadow;
use crate::mysql::dependents::Carried;
use crate::mysql::run::MysqlTable;
use crate::mysql::runs::lock::{holds, related, take};
use crate::mysql::runs::orders;
use crate::mysql::runs::record::Record;
use crate::mysql::swap;

impl Lease for MysqlTable {
    type Session = Conn;
    type Record = Record;

    fn looked(&self) -> &Looked {
        &self.looked
    }

    fn is_same(&self, clauses: &str) -> bool {
        same::same(clauses, &self.setting.change.text)
    }

    async fn lock(&self, patience: Duration) -> Result<()> {
        let mut claim = self.claim.lock().await;
        // Closed first: the server may still hold the lock for it.
        *claim = None;
        let mut conn = self.plain("claiming the table").await?;
        let (name, setting) = (&self.setting.original.name, &self.setting);
        let related = related(&setting.dependents, &setting.change.text, name);
        take(&mut conn, name, &related, patience.as_secs()).await?;
        *claim = Some(conn);
        Ok(())
    }

    async fn is_locked(&self) -> bool {
        match self.claim.lock().await.as_mut() {
            Some(conn) => holds(conn, &self.setting.original.name).await.unwrap_or(false),
            None => false,
        }
    }

    async fn open(&self) -> Result<Conn> {
        let mut conn = self.plain("reading the ledger").await?;
        self.ledger.create(&mut conn).await?;
        Ok(conn)
    }

    async fn last(&self, conn: &mut Conn) -> Result<Option<RunRecord>> {
        self.ledger.last(conn, &self.setting.original.name).await
    }

    fn left_nothing(&self, run: &RunRecord) -> bool {
        // Here the server's own method in place is one statement, too.
        run.left_nothing() || run.state.is_none() && run.method == "inplace"
    }

    fn record(&self, run: &RunRecord) -> Result<Record> {
        Record::of(run)
    }

    async fn begin(&self, conn: &mut Conn) -> Result<()> {
        let new = NewRun {
            schema: self.setting.original.name.schema.as_str(),
            table: self.setting.original.name.table.as_str(),
            clauses: &self.setting.change.text,
            method: self.method(),
            verify: self.setting.settings.verify(),
            token: &self.token,
        };
        self.note_beginning(conn).await?;
        let run = self.ledger.begin(conn, &new).await?;
        let _ = self.run.set(run);
        self.set_record(Record {
            role: self.setting.role.clone(),
            helpers: Some(self.helpers.clone()),
            undoes: self.setting.undone.as_ref().map(|undone| undone.run),
            ..Record::default()
        });
        Ok(())
    }

    async fn fence(&self, conn: &mut Conn, run: RunId) -> Result<()> {
        self.note_beginning(conn).await?;
        self.ledger.take_over(conn, run, &self.token).await
    }

    async fn wait_for_the_dead(&self, conn: &mut Conn, _: &Record) -> Result<()> {
        shadow::wait_for_the_dead(conn, &self.helpers.shadow).await
    }

    async fn standing(&self, conn: &mut Conn, record: &Record) -> Result<Standing> {
        self.standing_of(conn, &record.tables).await
    }

    async fn forget(&self, conn: &mut Conn, run: RunId, why: &'static str) -> Result<()> {
        self.ledger.end(conn, run, Some(&self.token), &End::failed(why)).await.map(drop)
    }

    async fn resume(
        &self,
        conn: &mut Conn,
        earlier: &RunRecord,
        record: Record,
        swapped: bool,
    ) -> Result<()> {
        let original = &self.setting.original.name;
        if record.helpers(original) != self.helpers {
            // Another attempt has begun it since this one looked.
            return Err(Error::stopped("the run's tables have other names by now"));
        }
        let made = if swapped { original } else { &self.helpers.shadow };
        let new = Table::read(conn, made).await?.ok_or_else(|| {
            Error::Foreign(format!("{} went away while it was looked at", made.plain()))
        })?;
        let recorded = record.carried.clone();
        let carried = Carried::recall(conn, recorded, original, &self.helpers, &new).await?;
        if let Some(index) = record.deferred.iter().find(|index| !index.fits(&new)) {
            return Err(Error::Refused(vec![untrusted(
                format!(
                    "the record of run {} has an index that does not fit: {index:?}",
                    earlier.run
                ),
                "look who may write the ledger; `osc cleanup TABLE` forgets the run",
            )]));
        }
        self.set_record(record);
        let _ = self.run.set(RunId(earlier.run));
        let _ = self.carried.set(carried);
        self.died_in_swap.store(swapped, Ordering::Relaxed);
        if !swapped {
            // What an undo brings back is never dropped.
            self.has_shadow.store(self.setting.undone.is_none(), Ordering::Relaxed);
            swap::clear_away(conn, self).await.map_err(Error::keeping_the_copy)?;
            let original = original.plain();
            self.get_ready(conn)
                .await
                .map_err(|error| altered_meanwhile(error, &original, earlier.run))?;
        }
        Ok(())
    }
}

impl MysqlTable {
    /// Orders from before are not for this attempt.
    async fn note_beginning(&self, conn: &mut Conn) -> Result<()> {
        let _ = self.begun.set(orders::now(conn).await?);
        Ok(())
    }

    fn set_record(&self, record: Record) {
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = record;
    }
}
