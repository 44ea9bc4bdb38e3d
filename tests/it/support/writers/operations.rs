//! What a writer does within its transactions.

use rand::Rng;

use super::writer::Writer;
use super::{Application, Step};

impl<A: Application> Writer<A> {
    /// One small change of one to some dozens of rows.
    pub(super) async fn operation(&mut self) -> Step {
        let n = self.some_row();
        let row = self.twin.condition(n);
        match self.rng.random_range(0..100) {
            0..25 => {
                let set = self.assignments();
                self.both(|t| format!("UPDATE {t} SET {set} WHERE {row}")).await
            }
            25..40 => {
                let again = self.rng.random_ratio(1, 2) && !self.twin.has_steady_keys();
                let n = if again { n } else { self.fresh_rows(1)[0] };
                self.insert(&[n]).await
            }
            40..48 => self.both(|t| format!("DELETE FROM {t} WHERE {row}")).await,
            48..56 => {
                let count = self.rng.random_range(2..20);
                let numbers = self.fresh_rows(count);
                self.insert(&numbers).await
            }
            56..62 => {
                let (set, group) = (self.assignments(), self.group());
                self.both(|t| format!("UPDATE {t} SET {set} WHERE k = {group}")).await
            }
            62..65 => {
                let group = self.group();
                self.both(|t| format!("DELETE FROM {t} WHERE k = {group}")).await
            }
            65..75 if !self.twin.has_steady_keys() => self.change_key(n).await,
            75..82 => self.move_unique().await,
            82..90 => self.swap_unique().await,
            90..97 if !self.twin.has_steady_keys() => self.put(n).await,
            _ => {
                let others = [n, self.some_row(), self.some_row()];
                let rows = others.map(|n| self.twin.condition(n)).join(") OR (");
                let set = self.assignments();
                self.both(|t| format!("UPDATE {t} SET {set} WHERE ({rows})")).await
            }
        }
    }

    /// A change of 1,000 to 5,000 rows, if there are so many.
    pub(super) async fn large(&mut self) -> Step {
        let count = self.rng.random_range(1000..=5000);
        match self.rng.random_range(0..3) {
            0 => {
                let numbers = self.fresh_rows(count);
                for numbers in numbers.chunks(500) {
                    self.insert(numbers).await?;
                }
                Ok(())
            }
            kind => {
                let from = self.group();
                let groups = format!("k BETWEEN {from} AND {}", from + count / 20);
                let set = self.assignments();
                self.both(|t| match kind {
                    1 => format!("UPDATE {t} SET {set} WHERE {groups}"),
                    _ => format!("DELETE FROM {t} WHERE {groups}"),
                })
                .await
            }
        }
    }

    /// Gives a row another key, or spells its key another way.
    async fn change_key(&mut self, n: u64) -> Step {
        let (other, shout) = match self.rng.random_range(0..4) {
            0 if self.twin.has_spellings() => (n, true),
            1 => (self.some_row(), false),
            _ => (self.fresh_rows(1)[0], false),
        };
        let set = self.twin.assignment(other, shout);
        let row = self.twin.condition(n);
        self.both(|t| format!("UPDATE {t} SET {set} WHERE {row}")).await
    }

    /// Takes a unique value from whichever row has it and gives it to another.
    async fn move_unique(&mut self) -> Step {
        let (value, to) = (self.unique_value(), self.some_row());
        self.release(value).await?;
        self.give(value, to).await
    }

    /// The same in two transactions, between which no row or another one has the value.
    pub(super) async fn move_unique_in_two(&mut self) -> Step {
        let (value, to) = (self.unique_value(), self.some_row());
        self.send("BEGIN").await?;
        self.release(value).await?;
        self.commit().await?;
        self.send("BEGIN").await?;
        self.give(value, to).await?;
        self.finish().await
    }

    /// Two rows exchange their unique values.
    async fn swap_unique(&mut self) -> Step {
        let [one, two] = [self.some_row(), self.some_row()];
        if one == two {
            return Ok(());
        }
        let rows = [one, two].map(|n| self.twin.condition(n));
        let mut values = Vec::new();
        for row in &rows {
            let table = A::TABLES[0];
            values
                .push(self.number(&format!("SELECT u FROM {table} WHERE {row} FOR UPDATE")).await?);
        }
        self.both(|t| format!("UPDATE {t} SET u = NULL WHERE {}", rows[0])).await?;
        for (row, value) in [(&rows[1], values[0]), (&rows[0], values[1])] {
            let value = value.map_or("NULL".to_owned(), |value| value.to_string());
            self.both(|t| format!("UPDATE {t} SET u = {value} WHERE {row}")).await?;
        }
        Ok(())
    }

    async fn release(&mut self, value: u64) -> Step {
        self.both(|t| format!("UPDATE {t} SET u = NULL WHERE u = {value}")).await
    }

    async fn give(&mut self, value: u64, row: u64) -> Step {
        let row = self.twin.condition(row);
        self.both(|t| format!("UPDATE {t} SET u = {value} WHERE {row}")).await
    }

    /// Inserts a row, or changes the one that is there, as the server does it in one statement.
    async fn put(&mut self, n: u64) -> Step {
        let sql = self.twin.put("\u{1}", n, &mut self.rng);
        self.both(|t| sql.replacen('\u{1}', t, 1)).await
    }

    async fn insert(&mut self, numbers: &[u64]) -> Step {
        let sql = self.twin.insert("\u{1}", numbers, &mut self.rng);
        self.both(|t| sql.replacen('\u{1}', t, 1)).await
    }

    fn some_row(&mut self) -> u64 {
        self.writer_pool.some_row(&mut self.rng)
    }

    fn unique_value(&mut self) -> u64 {
        self.some_row() & !1
    }

    fn fresh_rows(&self, count: u64) -> Vec<u64> {
        self.writer_pool.fresh_rows(count)
    }

    fn group(&mut self) -> u64 {
        self.rng.random_range(0..self.twin.groups())
    }

    fn assignments(&mut self) -> String {
        self.twin.assignments(&mut self.rng)
    }
}
