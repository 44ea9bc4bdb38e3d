//! What the server's own ALTER makes of each value: many columns change in one statement, in a loose
//! mode, whose warnings name the values that a strict one refuses; that it is so, a strict ALTER of the
//! others shows. Where a warning names no row, and where a value ends even a loose ALTER, a column is
//! changed by itself, and rows are searched.

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::types::Type;
use super::values::{self, NULL, Values};
use super::{LOOSE, STRICT, list};
use crate::support::server::{Kind, rows};

/// What becomes of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server does not take it.
    Refused,
    /// This, which comes back by the way back.
    Same(String),
    /// This, which does not.
    Less(String),
    /// This, of which the server knows no way back.
    OneWay(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

/// Columns that were changed in one statement.
struct Part {
    /// Without the values that the server refused; `None` where it knows no such change.
    table: Option<String>,
    columns: Vec<usize>,
}

type Refused = BTreeMap<usize, BTreeSet<u64>>;

/// Warnings about a statement's words: a type or a character set that is deprecated.
const OF_WORDS: [&str; 5] = ["1287", "1681", "3719", "3778", "4095"];

pub struct Native<'a> {
    conn: &'a mut Conn,
    pairs: &'a [(Type, Type)],
    kind: Kind,
    tables: usize,
}

impl<'a> Native<'a> {
    pub fn new(conn: &'a mut Conn, pairs: &'a [(Type, Type)], kind: Kind) -> Self {
        Self { conn, pairs, kind, tables: 0 }
    }

    /// What becomes of all values of `table`, for each pair.
    pub async fn verdicts(&mut self, table: &str) -> Vec<BTreeMap<u64, Verdict>> {
        let all: Vec<usize> = (0..self.pairs.len()).collect();
        let before = self.values(table, &all, Way::Back).await;
        let mut there = BTreeMap::new();
        let mut back = BTreeMap::new();
        for part in self.convert(table, &all, Way::There).await {
            let Some(changed) = part.table else { continue };
            there.extend(self.values(&changed, &part.columns, Way::There).await);
            for part in self.convert(&changed, &part.columns, Way::Back).await {
                let Some(changed) = part.table else { continue };
                back.extend(self.values(&changed, &part.columns, Way::Back).await);
            }
        }
        let none = Values::new();
        let mut verdicts = Vec::new();
        for (at, (from, to)) in self.pairs.iter().enumerate() {
            let (there, back) = (there.get(&at).unwrap_or(&none), back.get(&at).unwrap_or(&none));
            let verdict = |(id, was): (&u64, &String)| {
                let back = back.get(id).filter(|back| *back != NULL);
                let verdict = match there.get(id).filter(|there| *there != NULL || was == NULL) {
                    None => Verdict::Refused,
                    Some(there) if was == NULL => Verdict::Same(there.clone()),
                    Some(there) => judge(was, *from, there, back, *to),
                };
                (*id, verdict)
            };
            verdicts.push(before[&at].iter().map(verdict).collect());
        }
        verdicts
    }

    /// The types that the columns have before (`There`: of the new ones, after) that way.
    fn types(&self, at: usize, way: Way) -> (Type, Type) {
        let (from, to) = self.pairs[at];
        if way == Way::There { (from, to) } else { (to, from) }
    }

    async fn values(&mut self, table: &str, at: &[usize], after: Way) -> BTreeMap<usize, Values> {
        let columns: Vec<(usize, Type)> =
            at.iter().map(|at| (*at, self.types(*at, after).1)).collect();
        values::of_columns(self.conn, table, &columns, self.kind).await
    }

    async fn convert(&mut self, source: &str, columns: &[usize], way: Way) -> Vec<Part> {
        // Of these, one wrong value ends a loose ALTER too.
        let ends = |at: &usize| {
            let to = self.types(*at, way).1.name;
            let strict = ["JSON", "POINT", "GEOMETRY", "VECTOR"];
            strict.iter().any(|name| to.starts_with(name))
        };
        let (alone, together): (Vec<usize>, Vec<usize>) = columns.iter().partition(|at| ends(at));
        let mut waiting: Vec<Vec<usize>> = alone.into_iter().map(|at| vec![at]).collect();
        waiting.push(together);
        let mut parts = Vec::new();
        while let Some(columns) = waiting.pop() {
            if columns.is_empty() {
                continue;
            }
            if let Some(refused) = self.remarks(source, &columns, way).await
                && let Some(table) = self.without(source, &columns, way, &refused).await
            {
                parts.push(Part { table: Some(table), columns });
            } else if columns.len() > 1 {
                let (first, second) = columns.split_at(columns.len() / 2);
                waiting.extend([first.to_vec(), second.to_vec()]);
            } else {
                let refused = self.searched(source, columns[0], way).await;
                let table = match refused {
                    Some(refused) => {
                        let refused = [(columns[0], refused)].into();
                        let table = self.without(source, &columns, way, &refused).await;
                        Some(table.expect("the rows are those that the server takes"))
                    }
                    None => None,
                };
                parts.push(Part { table, columns });
            }
        }
        parts
    }

    /// The values of which a loose ALTER warns; `None` where it fails, or does not say of which.
    async fn remarks(&mut self, source: &str, columns: &[usize], way: Way) -> Option<Refused> {
        let table = self.copy(source, columns, way, "TRUE").await?;
        self.conn.query_drop(self.alter(&table, columns, way)).await.ok()?;
        let mut refused = Refused::new();
        for warning in rows(self.conn, "SHOW WARNINGS").await {
            let [level, code, message] = warning.as_slice() else { panic!("{warning:?}") };
            if level == "Note" || OF_WORDS.contains(&code.as_str()) {
                continue;
            }
            // Others name neither, and most come with one that does.
            if let Some((at, row)) = place(message).filter(|(at, _)| columns.contains(at)) {
                refused.entry(at).or_default().insert(row.checked_sub(1)?);
            }
        }
        Some(refused)
    }

    /// A strict ALTER without some values.
    async fn without(
        &mut self,
        source: &str,
        columns: &[usize],
        way: Way,
        refused: &Refused,
    ) -> Option<String> {
        let (one, ids) = match (columns, refused.values().next()) {
            ([_], Some(ids)) => (true, list(ids)),
            _ => (false, list([])),
        };
        let which = format!("id NOT IN ({ids})");
        let table = self.copy(source, columns, way, &which).await?;
        for (at, ids) in refused.iter().filter(|_| !one) {
            let sql = format!("UPDATE {table} SET c{at} = NULL WHERE id IN ({})", list(ids));
            self.run(&sql).await;
        }
        self.run(STRICT).await;
        let done = self.conn.query_drop(self.alter(&table, columns, way)).await;
        done.is_ok().then_some(table)
    }

    /// The rows of a column that a strict ALTER refuses, found by halves; `None` where it does so
    /// without any.
    async fn searched(&mut self, source: &str, at: usize, way: Way) -> Option<BTreeSet<u64>> {
        if !self.takes(source, at, way, &BTreeSet::new()).await {
            return None;
        }
        let ids = format!("SELECT id FROM {source} WHERE c{at} IS NOT NULL");
        let ids: Vec<u64> = self.conn.query(ids).await.unwrap();
        let mut refused = BTreeSet::new();
        let mut parts: Vec<BTreeSet<u64>> = vec![ids.into_iter().collect()];
        while let Some(mut part) = parts.pop() {
            if part.is_empty() || self.takes(source, at, way, &part).await {
                continue;
            }
            if part.len() == 1 {
                refused.extend(part);
                continue;
            }
            let half = part.iter().nth(part.len() / 2).copied().unwrap();
            let second = part.split_off(&half);
            parts.extend([part, second]);
        }
        Some(refused)
    }

    /// Whether a strict ALTER takes these rows.
    pub async fn takes_row(&mut self, source: &str, at: usize, id: u64) -> bool {
        self.takes(source, at, Way::There, &[id].into()).await
    }

    async fn takes(&mut self, source: &str, at: usize, way: Way, ids: &BTreeSet<u64>) -> bool {
        let which = format!("id IN ({})", list(ids));
        let Some(table) = self.copy(source, &[at], way, &which).await else { return false };
        self.run(STRICT).await;
        let done = self.conn.query_drop(self.alter(&table, &[at], way)).await;
        self.run(&format!("DROP TEMPORARY TABLE {table}")).await;
        done.is_ok()
    }

    fn alter(&self, table: &str, columns: &[usize], way: Way) -> String {
        let clauses: Vec<String> = columns
            .iter()
            .map(|at| format!("MODIFY c{at} {}", self.types(*at, way).1.name))
            .collect();
        format!("ALTER TABLE {table} {}", clauses.join(", "))
    }

    async fn copy(
        &mut self,
        source: &str,
        columns: &[usize],
        way: Way,
        which: &str,
    ) -> Option<String> {
        self.tables += 1;
        let table = format!("n{}", self.tables);
        let names: Vec<String> = columns.iter().map(|at| format!("c{at}")).collect();
        let names = names.join(", ");
        self.run(&format!("DROP TEMPORARY TABLE IF EXISTS {table}")).await;
        self.run(LOOSE).await;
        let types = columns.iter().map(|at| (*at, self.types(*at, way).0));
        let create = super::create(&table, types);
        // Of the session only, and so no file has to be written.
        self.run(&create.replacen("CREATE TABLE", "CREATE TEMPORARY TABLE", 1)).await;
        // An ALTER makes some values that no INSERT takes.
        let insert = format!(
            "INSERT INTO {table} SELECT id, {names} FROM {source} WHERE {which} ORDER BY id"
        );
        self.conn.query_drop(insert).await.is_ok().then_some(table)
    }

    async fn run(&mut self, sql: &str) {
        self.conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

fn judge(was: &str, from: Type, there: &str, back: Option<&String>, to: Type) -> Verdict {
    let there = there.to_owned();
    match (values::moved(was, from, &there, to), back) {
        (Some(true), _) => Verdict::Less(there),
        (_, Some(back)) if back == was => Verdict::Same(there),
        (Some(false), None) => Verdict::Same(there),
        (_, Some(_)) => Verdict::Less(there),
        (None, None) => Verdict::OneWay(there),
    }
}

/// The column and the row of `… for column 'c7' at row 3`, in either server's quotes.
fn place(message: &str) -> Option<(usize, u64)> {
    let (text, row) = message.rsplit_once(" at row ")?;
    let name = text.trim_end_matches(['\'', '`']);
    let (_, column) = name.rsplit_once(['\'', '`'])?;
    Some((column.strip_prefix('c')?.parse().ok()?, row.trim().parse().ok()?))
}
