//! SQL about the values of the shadow's unique indexes: which rows have the same.

use super::projection::Side;
use super::statements::Statements;
use crate::error::Result;
use crate::key::{Key, KeyRange};
use crate::mysql::catalog::table::Index;
use crate::mysql::name::Ident;

impl Statements {
    /// Rows of the original, in a range or among keys, whose value of the shadow's unique `index`
    /// is held by another row of the shadow: both keys.
    pub fn clashes(
        &self,
        index: &Index,
        range: Option<&KeyRange>,
        keys: &[Key],
        except: &[Key],
    ) -> Result<String> {
        let scope = match range {
            Some(range) => self.scope(range, except)?,
            None => self.one_of(Side::Original, keys)?,
        };
        let held = Self::unique_parts(index, "s", false);
        let wanted = Self::unique_parts(index, "p", true);
        let equal: Vec<String> =
            held.iter().zip(&wanted).map(|(held, wanted)| format!("{held} = {wanted}")).collect();
        let aliases = self.key_aliases();
        let same: Vec<String> = (self.shadow_key.iter().zip(&aliases))
            .map(|(name, alias)| format!("s.{name} = p.{alias}"))
            .collect();
        let own: Vec<String> = (self.key.0.iter().zip(&aliases))
            .map(|(column, alias)| column.select_as(&format!("p.{alias}")))
            .collect();
        let holder: Vec<String> = (0..self.key.0.len())
            .map(|at| self.key.0[at].select_as(&format!("s.{}", self.shadow_key[at])))
            .collect();
        Ok(format!(
            "SELECT {}, {} FROM {} p JOIN {} s ON {} WHERE NOT ({}) LIMIT 1000",
            own.join(", "),
            holder.join(", "),
            self.projected(&scope),
            self.shadow,
            equal.join(" AND "),
            same.join(" AND ")
        ))
    }

    /// Rows of the original that have the same value of the shadow's unique `index`.
    pub fn duplicates(
        &self,
        index: &Index,
        range: Option<&KeyRange>,
        keys: &[Key],
    ) -> Result<String> {
        let mut scope = self.one_of(Side::Original, keys)?;
        if let Some(range) = range {
            scope = format!("({scope} OR ({}))", self.range(Side::Original, range)?);
        }
        let parts = Self::unique_parts(index, "p", true);
        let keys: Vec<String> = (self.key.0.iter().zip(self.key_aliases()))
            .map(|(column, alias)| {
                format!("CONVERT({} USING utf8mb4)", column.shown(&format!("p.{alias}")))
            })
            .collect();
        let shown: Vec<String> =
            parts.iter().map(|part| format!("CONVERT({part} USING utf8mb4)")).collect();
        let known: Vec<String> = parts.iter().map(|part| format!("{part} IS NOT NULL")).collect();
        Ok(format!(
            "SELECT CONCAT_WS('-', {}), GROUP_CONCAT(CONCAT_WS(', ', {}) SEPARATOR ' and ') FROM {} p \
             WHERE {} GROUP BY {} HAVING COUNT(*) > 1 LIMIT 10",
            shown.join(", "),
            keys.join(", "),
            self.projected(&scope),
            known.join(" AND "),
            parts.join(", ")
        ))
    }

    /// The projection of some rows of the original under the shadow's column names, and their keys.
    fn projected(&self, scope: &str) -> String {
        let columns = self
            .projection
            .columns
            .iter()
            .map(|column| format!("{} AS {}", column.typed, column.target));
        let keys = (self.key.0.iter().zip(self.key_aliases()))
            .map(|(column, alias)| format!("{} AS {alias}", column.name));
        format!(
            "(SELECT {} FROM {} WHERE {scope})",
            columns.chain(keys).collect::<Vec<_>>().join(", "),
            self.table(Side::Original)
        )
    }

    /// Names for the key's columns beside the projection's, none of which they share.
    fn key_aliases(&self) -> Vec<Ident> {
        let taken = |name: &Ident| self.projection.columns.iter().any(|c| c.target.same(name));
        let mut names = (0..).map(|number| Ident::new(format!("osc_key_{number}")));
        names.by_ref().filter(|name| !taken(name)).take(self.key.0.len()).collect()
    }

    /// Whether the index's values can be computed from the projection: not where it is on a column
    /// that the server generates from another such column.
    pub fn tells_apart(&self, index: &Index) -> bool {
        let known =
            |name: &Ident| self.projection.columns.iter().any(|column| column.target.same(name));
        index.parts.iter().all(|part| match (&part.column, &part.expression) {
            (Some(column), None) => known(column),
            (Some(_), Some(expression)) => {
                expression.split('`').skip(1).step_by(2).all(|name| known(&Ident::new(name)))
            }
            (None, _) => true,
        })
    }

    /// The index's parts over a table alias, as the index sees them. `computed`: the alias has no
    /// generated columns.
    fn unique_parts(index: &Index, alias: &str, computed: bool) -> Vec<String> {
        index
            .parts
            .iter()
            .map(|part| {
                let value = match (&part.column, &part.expression) {
                    (Some(column), expression) if !computed || expression.is_none() => {
                        format!("{alias}.{column}")
                    }
                    (_, Some(expression)) => qualify(expression, alias),
                    (_, None) => "NULL".into(),
                };
                match part.prefix {
                    Some(prefix) => format!("LEFT({value}, {prefix})"),
                    None => value,
                }
            })
            .collect()
    }
}

/// Qualifies the backquoted names of a functional index part, which the server shows unqualified.
fn qualify(expression: &str, alias: &str) -> String {
    let expression = expression.replace("\\'", "'");
    let mut text = String::with_capacity(expression.len() + 8);
    let mut inside = false;
    for c in expression.chars() {
        if c == '`' {
            if !inside {
                text.push_str(alias);
                text.push('.');
            }
            inside = !inside;
        }
        text.push(c);
    }
    format!("({text})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_functional_part_is_qualified() {
        assert_eq!(qualify("lower(`name`)", "p"), "(lower(p.`name`))");
    }
}
