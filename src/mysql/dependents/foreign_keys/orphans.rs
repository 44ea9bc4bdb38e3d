//! Looks for rows without a parent, a short statement at a time.

use mysql_async::Conn;

use super::ForeignKey;
use crate::error::Result;
use crate::mysql::connection::session::run;
use crate::mysql::connection::texts::text_rows;
use crate::mysql::name::{Ident, Text};

/// Rows of one window that are reported as warnings.
const REPORTED: usize = 5;

/// A search for rows that violate one foreign key, window by window of the child's primary key.
///
/// The place is kept in the session: all steps go over one connection, and a search whose
/// connection broke starts over.
#[derive(Debug)]
pub struct OrphanSearch {
    key: ForeignKey,
    primary: Vec<KeyPart>,
    window: u32,
    step: u64,
    done: bool,
}

#[derive(Debug)]
struct KeyPart {
    name: Ident,
    kind: String,
}

impl KeyPart {
    /// What can be kept in a variable and compared as the column is ordered.
    fn ordered(&self) -> String {
        match self.kind.as_str() {
            "enum" | "set" | "bit" => format!("(c.{}+0)", self.name),
            _ => format!("c.{}", self.name),
        }
    }

    fn shown(&self) -> String {
        let value = match self.kind.as_str() {
            "binary" | "varbinary" | "blob" | "tinyblob" | "mediumblob" | "longblob" => {
                format!("CONCAT('0x', HEX(c.{}))", self.name)
            }
            _ => format!("CAST(c.{} AS CHAR)", self.name),
        };
        format!("{}, {value}", Text(&format!("{} = ", self.name.as_str())))
    }
}

impl OrphanSearch {
    /// A search for orphans of `key` in windows of `window` rows. `None`: the child has no primary
    /// key to go along.
    ///
    /// # Errors
    /// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
    pub async fn new(conn: &mut Conn, key: &ForeignKey, window: u32) -> Result<Option<Self>> {
        let sql = format!(
            "SELECT k.COLUMN_NAME, c.DATA_TYPE FROM information_schema.STATISTICS k \
             JOIN information_schema.COLUMNS c ON c.COLUMN_NAME = k.COLUMN_NAME \
             WHERE k.TABLE_SCHEMA = {schema} AND k.TABLE_NAME = {table} \
             AND k.INDEX_NAME = 'PRIMARY' \
             AND c.TABLE_SCHEMA = {schema} AND c.TABLE_NAME = {table} ORDER BY k.SEQ_IN_INDEX",
            schema = Text(key.table.schema.as_str()),
            table = Text(key.table.table.as_str())
        );
        let primary: Vec<KeyPart> = text_rows(conn, "reading a child's primary key", &sql)
            .await?
            .into_iter()
            .map(|[name, kind]| KeyPart { name: Ident(name), kind: kind.to_lowercase() })
            .collect();
        let window = window.max(1);
        let search = Self { key: key.clone(), primary, window, step: 0, done: false };
        Ok((!search.primary.is_empty()).then_some(search))
    }

    /// Searches the next window: at most `most` of its orphans, for a human. `None`: all has been searched.
    ///
    /// # Errors
    /// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
    pub async fn step(&mut self, conn: &mut Conn, most: usize) -> Result<Option<Vec<String>>> {
        if self.done {
            return Ok(None);
        }
        let action = "looking for rows without a parent";
        let first = self.step == 0;
        let forget: Vec<String> =
            (0..self.primary.len()).map(|part| format!("@osc_to_{part} = NULL")).collect();
        run(conn, action, format!("SET {}", forget.join(", "))).await?;
        run(conn, action, self.find_end(first)).await?;
        let ended = text_rows(conn, action, "SELECT @osc_to_0 IS NULL").await?;
        self.done = ended.first().is_none_or(|[ended]| ended == "1");
        let orphans = text_rows(conn, action, &self.find_orphans(first, self.done, most)).await?;
        let advance: Vec<String> = (0..self.primary.len())
            .map(|part| format!("@osc_from_{part} = @osc_to_{part}"))
            .collect();
        run(conn, action, format!("SET {}", advance.join(", "))).await?;
        self.step += 1;
        Ok(Some(orphans.into_iter().map(|[row]| row).collect()))
    }

    fn find_end(&self, first: bool) -> String {
        let ordered: Vec<String> = self.primary.iter().map(KeyPart::ordered).collect();
        let variables: Vec<String> =
            (0..ordered.len()).map(|part| format!("@osc_to_{part}")).collect();
        let from = if first { "TRUE".into() } else { self.after("@osc_from_") };
        format!(
            "SELECT {} INTO {} FROM {} c FORCE INDEX (PRIMARY) WHERE {from} \
             ORDER BY {} LIMIT 1 OFFSET {}",
            ordered.join(", "),
            variables.join(", "),
            self.key.table,
            ordered.join(", "),
            self.window - 1
        )
    }

    fn find_orphans(&self, first: bool, last: bool, most: usize) -> String {
        let mut conditions = Vec::new();
        if !first {
            conditions.push(self.after("@osc_from_"));
        }
        if !last {
            conditions.push(self.upto("@osc_to_"));
        }
        let pairs = || self.key.columns.iter().zip(&self.key.referenced_columns);
        conditions.extend(pairs().map(|(column, _)| format!("c.{column} IS NOT NULL")));
        let joined: Vec<String> =
            pairs().map(|(column, parent)| format!("p.{parent} = c.{column}")).collect();
        conditions.push(format!(
            "NOT EXISTS (SELECT 1 FROM {} p WHERE {})",
            self.key.referenced,
            joined.join(" AND ")
        ));
        let mut shown = String::new();
        for part in &self.primary {
            let separator = if shown.is_empty() { "" } else { ", ', ', " };
            shown.push_str(separator);
            shown.push_str(&part.shown());
        }
        format!(
            "SELECT CONCAT({shown}) FROM {} c FORCE INDEX (PRIMARY) WHERE {} LIMIT {most}",
            self.key.table,
            conditions.join(" AND ")
        )
    }

    fn after(&self, variables: &str) -> String {
        self.beyond('>', ">", variables)
    }

    fn upto(&self, variables: &str) -> String {
        self.beyond('<', "<=", variables)
    }

    /// The rows on one side of the variables, in a form for which the servers use the key; `last`
    /// compares the key's last part.
    fn beyond(&self, side: char, last: &str, variables: &str) -> String {
        let mut condition = String::new();
        for (number, part) in self.primary.iter().enumerate().rev() {
            let (column, variable) = (part.ordered(), format!("{variables}{number}"));
            condition = if condition.is_empty() {
                format!("({column} {last} {variable})")
            } else {
                format!(
                    "({column} {side}= {variable} AND \
                     ({column} {side} {variable} OR {condition}))"
                )
            };
        }
        condition
    }
}

/// Searches the whole child for rows without a parent, in windows of `window` rows, and returns
/// warnings: the first few orphans, and what could not be searched.
///
/// # Errors
/// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
pub async fn orphans(conn: &mut Conn, key: &ForeignKey, window: u32) -> Result<Vec<String>> {
    let Some(mut search) = OrphanSearch::new(conn, key, window).await? else {
        return Ok(vec![format!(
            "{} has no primary key: not searched for rows without a parent",
            key.table.plain()
        )]);
    };
    let mut rows = Vec::new();
    while let Some(found) = search.step(conn, REPORTED).await? {
        rows.extend(found);
        if rows.len() >= REPORTED {
            break;
        }
    }
    rows.truncate(REPORTED);
    let warning = |row| format!("{}: the row {row} has no parent", key.plain());
    Ok(rows.into_iter().map(warning).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::dependents::foreign_keys::Rule;
    use crate::mysql::name::TableName;

    #[test]
    fn the_window_of_a_key_of_two_parts_is_compared_part_by_part() {
        let part = |name: &str, kind: &str| KeyPart { name: Ident::new(name), kind: kind.into() };
        let search = OrphanSearch {
            key: ForeignKey {
                table: TableName::new("s", "c"),
                name: Ident::new("f"),
                columns: vec![Ident::new("x")],
                referenced: TableName::new("s", "p"),
                referenced_columns: vec![Ident::new("id")],
                on_update: Rule::Restrict,
                on_delete: Rule::Restrict,
            },
            primary: vec![part("a", "int"), part("b", "enum")],
            window: 10,
            step: 1,
            done: false,
        };
        assert_eq!(search.upto("@t"), "(c.`a` <= @t0 AND (c.`a` < @t0 OR ((c.`b`+0) <= @t1)))");
        assert_eq!(search.after("@f"), "(c.`a` >= @f0 AND (c.`a` > @f0 OR ((c.`b`+0) > @f1)))");
        assert!(search.find_orphans(false, true, 5).contains("'a = ', CAST(c.`a` AS CHAR)"));
    }
}
