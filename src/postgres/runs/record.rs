//! What a later attempt must know of a run, as the ledger has it: OIDs, names and digests, never a
//! statement. What is made of it is derived from the clauses and the catalog again, and what it says
//! has happened is proved by the catalog.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::ledger::Ledger;
use super::tables::Tables;
use crate::error::{Error, Finding, Result};
use crate::ledger::RunRecord;
use crate::ledger::claim::Standing;
use crate::postgres::catalog::table::{Table, oid_of};
use crate::postgres::connection::session::{rows, value};
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::copy::fingerprint::Watched;
use crate::postgres::dependents::{Dependents, Set};
use crate::postgres::name::{Helpers, Ident, TableName, Text};
use crate::postgres::stream::Capture;
use crate::postgres::trust::own_schema::{Function, bearer};
use crate::postgres::trust::roles::trusted;
use crate::testing::mutation::{self, Rule};

/// The form of the record: another number is another version's.
const FORM: u32 = 2;

/// What a later attempt must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    form: u32,
    /// The original's OID.
    pub original: u32,
    /// The shadow's.
    pub shadow: u32,
    /// How changes are captured.
    pub capture: Capture,
    /// Whether indexes were left to after the copy.
    pub deferred: bool,
    /// How both tables looked when the shadow was made.
    pub fingerprint: String,
    /// What hung on the original then: a digest, to notice what changed.
    pub dependents: String,
    /// Foreign keys that the swap puts back unchecked and that were checked before: each the table
    /// that it is on, and its name.
    pub unchecked: Vec<(TableName, Ident)>,
    /// What a plain session of the role had at the start: values are converted by it to the end.
    #[serde(default)]
    pub role: RoleSettings,
    /// The names that it has beside the original's; `None`: the usual ones.
    #[serde(default)]
    pub helpers: Option<Helpers>,
    /// What an undo must know; `None`: an earlier version made it.
    #[serde(default)]
    pub tables: Option<Tables>,
    /// The run that it undoes.
    #[serde(default)]
    pub undoes: Option<i64>,
    /// Whether it can be undone in its turn: a line for all of it, then one for each reason.
    #[serde(default)]
    pub verdict: Vec<String>,
    /// What is set on the table that it makes live.
    #[serde(default)]
    pub set: Option<Set>,
    /// How long what it retires is kept for an undo, in seconds.
    #[serde(default)]
    pub undo_for: u64,
}

/// The start of a record, in whatever form.
#[derive(Deserialize)]
struct Form {
    form: u32,
}

impl Record {
    /// A record in this version's form.
    pub(crate) fn new(original: u32, shadow: u32, capture: Capture, deferred: bool) -> Self {
        Self {
            form: FORM,
            original,
            shadow,
            capture,
            deferred,
            fingerprint: String::new(),
            dependents: String::new(),
            unchecked: Vec::new(),
            role: RoleSettings::default(),
            helpers: None,
            tables: None,
            undoes: None,
            verdict: Vec::new(),
            set: None,
            undo_for: 0,
        }
    }

    /// The names of the run's tables beside `original`.
    pub(crate) fn helpers(&self, original: &TableName) -> Helpers {
        self.helpers.clone().unwrap_or_else(|| Helpers::of(original))
    }

    /// What is watched during the run.
    pub(crate) fn watched(&self) -> Watched {
        let taken = self.undoes.is_some();
        Watched { original: self.original, shadow: self.shadow, taken }
    }

    /// The mark that its shadow bears: that of an undo is a retired table.
    pub(crate) fn mark(&self) -> Function {
        if self.undoes.is_some() { Function::Retired } else { Function::Shadow }
    }

    /// Its text for the ledger.
    ///
    /// # Errors
    /// `Internal`.
    pub(crate) fn text(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::Internal(format!("what was made cannot be recorded: {error}")))
    }

    /// What a run left in the ledger; `None` where it died before.
    ///
    /// # Errors
    /// `Refused` where another version of osc wrote it: that one can finish the run.
    pub(crate) fn of(run: &RunRecord) -> Result<Option<Self>> {
        // Runs by the server's own methods keep another record.
        let Some(text) = run.carried.as_deref().filter(|_| run.retires()) else { return Ok(None) };
        let same = serde_json::from_str::<Form>(text).is_ok_and(|start| start.form == FORM);
        let read = serde_json::from_str(text).ok().filter(|_| same);
        read.map(Some).ok_or_else(|| {
            Error::Refused(vec![Finding::new(
                "other-version",
                format!(
                    "run {} on {} was begun by another version of osc, whose record this one cannot \
                     read",
                    run.run, run.table
                ),
                "finish it with the osc that began it, or forget it with `osc cleanup TABLE`",
            )])
        })
    }
}

/// A digest of what hangs on a table.
///
/// # Errors
/// The server's.
pub(crate) async fn digest(client: &Client, dependents: &Dependents) -> Result<String> {
    let text = serde_json::to_string(dependents)
        .map_err(|error| Error::Internal(format!("what hangs on the table: {error}")))?;
    let sql = format!(
        "SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({}, 'UTF8')), 'hex')",
        Text(&text)
    );
    Ok(value(client, "reading the table's dependents", &sql).await?.unwrap_or_default())
}

/// How the tables of a run on the table that is called `now` at present stand. Swapped: the original's name belongs
/// to the shadow, and the original is the retired table and has osc's guard. Unswapped: both are there, and the shadow
/// bears osc's mark.
///
/// # Errors
/// The server's.
pub(crate) async fn standing(
    client: &Client,
    ledger: &Ledger,
    now: &Table,
    record: &Record,
) -> Result<Standing> {
    let helpers = record.helpers(&now.name);
    if record.shadow == now.oid {
        let guard = bearer(client, &ledger.schema, &helpers.retired, Function::Retired).await?;
        let swapped = guard == Some(record.original) || mutation::active(Rule::PgSwapProved);
        return Ok(if swapped { Standing::Swapped } else { Standing::Gone });
    }
    let whole = record.original == now.oid
        && oid_of(client, &helpers.shadow).await? == Some(record.shadow)
        && bearer(client, &ledger.schema, &helpers.shadow, record.mark()).await?
            == Some(record.shadow);
    Ok(if whole { Standing::Unswapped } else { Standing::Gone })
}

/// Fails where the shadow of an unfinished run belongs to a role that osc does not trust, or may not act for: who
/// owns it may hang on it what then runs with the rights of osc's role.
///
/// # Errors
/// `Refused`; the server's.
pub(crate) async fn owned(client: &Client, record: &Record, shadow: &TableName) -> Result<()> {
    // A table that was there before the run is its owner's: what hangs on it is watched.
    if record.undoes.is_some() {
        return Ok(());
    }
    let sql = format!(
        "SELECT pg_get_userbyid(c.relowner), current_user FROM pg_class c WHERE c.oid = {} \
         AND NOT ({} AND pg_has_role(c.relowner, 'USAGE'))",
        record.shadow,
        trusted("c.relowner")
    );
    let found = rows(client, "looking for the shadow's owner", &sql).await?;
    let Some(row) = found.first() else { return Ok(()) };
    let (owner, role) = (row.get(0).unwrap_or_default(), row.get(1).unwrap_or_default());
    Err(Error::Refused(vec![Finding::new(
        "rights",
        format!(
            "the shadow {} of an unfinished run belongs to {owner}, not to {role}",
            shadow.plain()
        ),
        format!("connect as {owner}, and give the same command, or `osc cleanup TABLE`"),
    )]))
}

/// Whose the table of this name is: only osc's own may be dropped. `None`: there is none.
///
/// # Errors
/// The server's.
pub(crate) async fn whose(
    client: &Client,
    ledger: &Ledger,
    table: &TableName,
    function: Function,
) -> Result<Option<Whose>> {
    let Some(oid) = oid_of(client, table).await? else { return Ok(None) };
    let marked = bearer(client, &ledger.schema, table, function).await? == Some(oid);
    let ours = marked || mutation::active(Rule::PgDropProved);
    Ok(Some(if ours { Whose::Ours(oid) } else { Whose::Others }))
}

/// Whose a table is that is called as osc calls its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// osc's, with its OID.
    Ours(u32),
    /// Another user's: it is left alone.
    Others,
}
