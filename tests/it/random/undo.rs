//! A random change that is undone: `osc plan` says how it goes back, osc makes it, rows are written in the new
//! schema and in the twin's old one, and `osc revert` does what was said.

use std::collections::BTreeSet;
use std::sync::Mutex;

use mysql_async::Conn;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::mysql::MySql;
use super::{Column, Failure, Key, Made, Session, Site, fill, printed};
use crate::data::{Pair, ended};
use crate::support::schema;
use crate::support::server::Kind;

/// Transactions that are tried between the change and its undo.
const WRITES: usize = 40;

/// How an undo ended that did what was said.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The table is the twin.
    Same,
    /// It went back, with rows that the twin has not.
    Back,
    /// Rows could not go back, or it was refused: both as it was said.
    Foreseen,
    /// osc did not make the change.
    Unchanged,
}

/// What came of all cases.
#[derive(Default)]
pub struct Tally {
    same: u64,
    others: u64,
    wrong: Vec<String>,
}

impl Tally {
    /// Tries the case of this seed.
    pub async fn count(&mut self, kind: Kind, seed: u64) {
        let made = super::mysql::random(kind, seed);
        eprintln!("seed {seed}: {made}");
        match trial(kind, &made, seed).await {
            Ok(ended) => {
                eprintln!("  {ended:?}");
                match ended {
                    Ended::Same => self.same += 1,
                    Ended::Back | Ended::Foreseen => self.others += 1,
                    Ended::Unchanged => {}
                }
            }
            Err(why) => {
                eprintln!("  WRONG: {why}");
                self.wrong.push(format!("— seed {seed}: {made}\n  {why}"));
            }
        }
    }

    /// Fails unless all was right and enough of it went back.
    pub fn assert_sound(&self) {
        eprintln!("{} the same, {} otherwise", self.same, self.others);
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert!(self.same * 2 > self.others, "too little went back for this to tell anything");
    }
}

/// The outcomes of the reasons that a plan gives.
fn outcomes(plan: &serde_json::Value) -> Option<BTreeSet<String>> {
    let undo = plan["methods"][0]["undo"].as_object()?;
    let reasons = undo["reasons"].as_array()?.iter();
    Some(reasons.filter_map(|reason| reason["outcome"].as_str()).map(str::to_owned).collect())
}

async fn trial(kind: Kind, made: &Made, seed: u64) -> Result<Ended, String> {
    let site = MySql::new(kind, made).await;
    let rng = &mut SmallRng::seed_from_u64(seed ^ 0x5ead);
    let keys = Mutex::new(fill(&site, made, rng).await);
    let mut pair = site.pair.lock().await;
    let output = pair.plan("t", &made.clauses, "copy").await;
    if !output.status.success() {
        return Ok(Ended::Unchanged);
    }
    let plan = schema::read("plan", String::from_utf8_lossy(&output.stdout).trim());
    let said = outcomes(&plan).ok_or_else(|| format!("nothing was said of an undo: {plan}"))?;
    let undo = plan["methods"][0]["undo"].to_string();
    let before = columns(&mut pair).await;
    if !pair.alter("t", &made.clauses).await.status.success() {
        return Ok(Ended::Unchanged);
    }
    let after = columns(&mut pair).await;
    let writer = Writer { made, before, after, keys: &keys };
    let mut session = site.session().await;
    let mut written = BTreeSet::new();
    for _ in 0..WRITES {
        writer.write(&mut session, &site.tables(), rng, &mut written).await?;
    }
    let breaks = rng.random_ratio(1, 4);
    if breaks {
        for _ in 0..WRITES {
            writer.spoil(&mut session, &site.tables()[0], rng).await?;
        }
    }
    // Every other seed compares both tables, the others go by the log.
    let verify = if seed.is_multiple_of(2) { "--verify=touched" } else { "--verify=all" };
    let output = pair.revert("t", &[verify]).await;
    let told = || format!("{} — it was said: {undo}", printed(&output));
    match output.status.code() {
        Some(0) if said.contains("impossible") => Err(told()),
        Some(4) if said.contains("impossible") => Ok(Ended::Foreseen),
        Some(5) if said.contains("possible-while") => Ok(Ended::Foreseen),
        Some(0) if breaks || writer.key_changed() => Ok(Ended::Back),
        Some(0) => {
            writer.equate(&mut session, &site.tables(), &written).await?;
            pair.same("t").await.map_err(|why| format!("{why} — {}", told()))?;
            Ok(Ended::Same)
        }
        _ => ended(&output, 0).map(|()| Ended::Back).map_err(|why| format!("{why} — {}", told())),
    }
}

/// The names of the columns of osc's table, quoted, and their types.
async fn columns(pair: &mut Pair) -> Vec<(String, String)> {
    let sql = "SELECT CONCAT('`', REPLACE(COLUMN_NAME, '`', '``'), '` ', COLUMN_TYPE, ' ', \
               COALESCE(COLLATION_NAME, '')) FROM information_schema.COLUMNS \
               WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 't'";
    let split = |text: String| {
        let (name, of) = text.rsplit_once("` ").expect("a name and a type");
        (format!("{name}`"), of.to_owned())
    };
    pair.column(sql).await.into_iter().map(split).collect()
}

/// Who writes in both schemas.
struct Writer<'a> {
    made: &'a Made,
    before: Vec<(String, String)>,
    after: Vec<(String, String)>,
    keys: &'a Mutex<Vec<Key>>,
}

impl Writer<'_> {
    /// What a column is called after the change; `None`: it is gone.
    fn live(&self, name: &str) -> Option<String> {
        let clauses = &self.made.clauses;
        let renamed = [format!("RENAME COLUMN {name} TO "), format!("CHANGE {name} ")];
        let new = renamed.iter().find_map(|head| {
            let rest = &clauses[clauses.find(head.as_str())? + head.len()..];
            Some(rest[..rest[1..].find('`')? + 2].to_owned())
        });
        let new = new.unwrap_or_else(|| name.to_owned());
        self.after.iter().any(|(column, _)| *column == new).then_some(new)
    }

    fn key(&self) -> impl Iterator<Item = &Column> {
        self.made.key.iter().map(|&at| &self.made.columns[at])
    }

    /// The other columns that are there after the change.
    fn others(&self) -> Vec<&Column> {
        let all = self.made.columns.iter().enumerate();
        let others = all.filter(|(at, _)| !self.made.key.contains(at)).map(|(_, column)| column);
        others.filter(|column| self.live(&column.name).is_some()).collect()
    }

    fn drops(&self) -> bool {
        self.made.columns.iter().any(|column| self.live(&column.name).is_none())
    }

    /// Whether the change gave a column another type.
    fn retyped(&self, name: &str) -> bool {
        let of = |columns: &[(String, String)], name: &str| {
            columns.iter().find(|(column, _)| column == name).map(|(_, of)| of.clone())
        };
        self.live(name).is_none_or(|live| of(&self.before, name) != of(&self.after, &live))
    }

    fn key_changed(&self) -> bool {
        self.key().any(|column| self.retyped(&column.name) && !self.grown(&column.name))
    }

    /// Whether a column has only more room: what is written to both is one value.
    fn grown(&self, name: &str) -> bool {
        let of = |columns: &[(String, String)], name: &str| {
            let of = columns.iter().find(|(column, _)| column == name).map(|(_, of)| of.clone());
            let (of, collation) =
                of?.rsplit_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
            let bare = of.split('(').next().unwrap_or_default().trim_end_matches(" unsigned");
            let bare = if bare.ends_with("int") { "int" } else { bare };
            Some((bare.to_owned(), of.contains("unsigned"), collation))
        };
        self.live(name).is_some_and(|live| of(&self.before, name) == of(&self.after, &live))
    }

    /// One statement, in the new schema and in the old one. `written` gets the columns of another type.
    fn statement(&self, rng: &mut SmallRng, written: &mut BTreeSet<String>) -> [String; 2] {
        let key = self.keys.lock().unwrap().choose(rng).cloned().expect("keys of the first rows");
        let names = |live: bool| -> Vec<String> {
            let name = |column: &Column| match live {
                true => self.live(&column.name).unwrap_or_else(|| column.name.clone()),
                false => column.name.clone(),
            };
            self.key().map(name).collect()
        };
        let pairs = |live, key: &Key, between: &str| {
            let pairs = names(live).into_iter().zip(key);
            pairs.map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(between)
        };
        let found = [true, false].map(|live| pairs(live, &key, " AND "));
        let moved: Key = self.key().map(|column| (column.value)(rng)).collect();
        let others = self.others();
        match rng.random_range(0..10) {
            0..2 => {
                self.keys.lock().unwrap().push(moved.clone());
                let values: Vec<(&Column, String)> =
                    others.into_iter().map(|column| (column, (column.value)(rng))).collect();
                written.extend(values.iter().map(|(column, _)| column.name.clone()));
                [true, false].map(|live| {
                    let mut columns = names(live);
                    columns.extend(values.iter().filter_map(|(column, _)| match live {
                        true => self.live(&column.name),
                        false => Some(column.name.clone()),
                    }));
                    let values = moved.iter().chain(values.iter().map(|(_, value)| value));
                    let values: Vec<&str> = values.map(String::as_str).collect();
                    format!(
                        "INSERT INTO {{t}} ({}) VALUES ({})",
                        columns.join(", "),
                        values.join(", ")
                    )
                })
            }
            // With dropped columns a key that moves, or that is used again, loses their values.
            2..4 if !self.drops() => found.map(|found| format!("DELETE FROM {{t}} WHERE {found}")),
            4..6 if !self.drops() => {
                self.keys.lock().unwrap().push(moved.clone());
                let sets = [true, false].map(|live| pairs(live, &moved, ", "));
                let [first, second] = found;
                let [one, other] = sets;
                [
                    format!("UPDATE {{t}} SET {one} WHERE {first}"),
                    format!("UPDATE {{t}} SET {other} WHERE {second}"),
                ]
            }
            _ => {
                let Some(column) = others.choose(rng) else { return found.map(|_| "DO 0".into()) };
                let value = (column.value)(rng);
                written.insert(column.name.clone());
                let live = self.live(&column.name).unwrap_or_default();
                let [first, second] = found;
                [
                    format!("UPDATE {{t}} SET {live} = {value} WHERE {first}"),
                    format!("UPDATE {{t}} SET {} = {value} WHERE {second}", column.name),
                ]
            }
        }
    }

    /// One transaction in both schemas; what either refuses is in neither.
    async fn write(
        &self,
        session: &mut Conn,
        tables: &[String; 2],
        rng: &mut SmallRng,
        written: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        let statements = self.statement(rng, written);
        let mut done = Vec::new();
        run(session, "BEGIN").await?;
        for (statement, table) in statements.iter().zip(tables) {
            done.push(run(session, &statement.replace("{t}", table)).await?);
        }
        let whole = done[0].is_some() && done[0] == done[1];
        run(session, if whole { "COMMIT" } else { "ROLLBACK" }).await.map(drop)
    }

    /// A write in the new schema alone, which the old one may not take.
    async fn spoil(
        &self,
        session: &mut Conn,
        table: &str,
        rng: &mut SmallRng,
    ) -> Result<(), String> {
        let Some((name, _)) = self.after.choose(rng) else { return Ok(()) };
        let value = ["NULL", "'ж'", "REPEAT('x', 300)", "'1'", "-1", "4000000000", "0.123456789"];
        let value = value.choose(rng).copied().unwrap_or("NULL");
        let sql = format!("UPDATE {table} SET {name} = {value} ORDER BY RAND() LIMIT 1");
        run(session, &sql).await.map(drop)
    }

    /// Gives the twin what osc's table has in columns of another type that were written: what a value
    /// becomes on the way there and back is not for this test to say.
    async fn equate(
        &self,
        session: &mut Conn,
        tables: &[String; 2],
        written: &BTreeSet<String>,
    ) -> Result<(), String> {
        let [ours, twin] = tables;
        let on: Vec<String> =
            self.key().map(|column| format!("a.{0} = b.{0}", column.name)).collect();
        for name in written.iter().filter(|name| self.retyped(name)) {
            let on = on.join(" AND ");
            let sql = format!("UPDATE {twin} b JOIN {ours} a ON {on} SET b.{name} = a.{name}");
            if run(session, &sql).await?.is_none() {
                return Err(format!("{sql} was refused"));
            }
        }
        Ok(())
    }
}

/// How many rows a statement changed; `None`: it was refused.
async fn run(session: &mut Conn, sql: &str) -> Result<Option<u64>, String> {
    match Session::run(session, sql).await {
        Ok(rows) => Ok(Some(rows)),
        Err(Failure::Refused) => Ok(None),
        Err(Failure::Unexpected(why)) => Err(format!("{sql}: {why}")),
    }
}
