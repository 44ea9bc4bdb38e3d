//! SQL about the values of the shadow's unique indexes and exclusion constraints: which rows have the same.

use super::projection::Side;
use super::statements::{Scope, Statements};
use crate::error::Result;
use crate::key::KeyRange;
use crate::postgres::catalog::table::{Index, IndexKey};
use crate::postgres::name::Ident;

impl Statements {
    /// What the keys' aliases begin with beside the shadow's columns: no column does.
    fn key_prefix(&self) -> String {
        let written = self.projection.columns.iter().map(|column| &column.target);
        let made = self.projection.made.iter().map(|made| &made.target);
        let put = self.lens.iter().flat_map(|lens| &lens.columns).map(|column| &column.target);
        let names: Vec<&Ident> = written.chain(made).chain(put).collect();
        let mut prefix = "osc_k".to_owned();
        while names.iter().any(|name| name.as_str().starts_with(&prefix)) {
            prefix.push('_');
        }
        prefix
    }

    /// The original's rows as the shadow would have them, with their keys as `osc_k0` …
    fn as_shadow(&self, scope: Scope<'_>) -> Result<String> {
        let prefix = self.key_prefix();
        if let Some(lens) = &self.lens {
            return self.put_rows(lens, scope, &prefix);
        }
        let columns = self.projection.columns.iter();
        let mut list: Vec<String> =
            columns.map(|column| format!("{} AS {}", column.typed, column.target)).collect();
        list.extend(
            self.names(Side::Original)
                .iter()
                .enumerate()
                .map(|(at, name)| format!("{name} AS {prefix}{at}")),
        );
        let rows = format!(
            "(SELECT {} FROM ONLY {} WHERE {}) p",
            list.join(", "),
            self.original,
            self.predicate(Side::Original, scope)?
        );
        let made = self.projection.made.iter();
        let made: String =
            made.map(|made| format!(", ({}) AS {}", made.expression, made.target)).collect();
        Ok(format!("(SELECT p.*{made} FROM {rows}) q"))
    }

    fn unique_values(index: &Index) -> String {
        let values = index.keys.iter().enumerate();
        values.map(|(at, key)| format!(", ({}) AS osc_u{at}", key.expression)).collect::<String>()
    }

    fn only(index: &Index) -> String {
        index.predicate.as_ref().map_or(String::new(), |predicate| format!(" WHERE {predicate}"))
    }

    /// Rows of the original that cannot be written since another row of the shadow has their values
    /// of `index`: their keys, then the keys of those rows.
    pub fn clashing(&self, index: &Index, scope: Scope<'_>, limit: usize) -> Result<String> {
        let prefix = self.key_prefix();
        let (keys, values) = (self.aliases(&prefix), Self::unique_values(index));
        let shadow_keys: Vec<String> = self
            .names(Side::Shadow)
            .iter()
            .enumerate()
            .map(|(at, name)| format!("{name} AS {prefix}{at}"))
            .collect();
        let of = |side: &str| {
            keys.iter().map(|key| format!("{side}.{key}")).collect::<Vec<_>>().join(", ")
        };
        Ok(format!(
            "SELECT {}, {} FROM (SELECT {}{values} FROM {}{}) o \
             JOIN (SELECT {}{values} FROM {}{}) s ON {} \
             WHERE NOT ({}) LIMIT {limit}",
            of("o"),
            of("s"),
            keys.join(", "),
            self.as_shadow(scope)?,
            Self::only(index),
            shadow_keys.join(", "),
            self.shadow,
            Self::only(index),
            clash(index),
            self.same_keys(&prefix, "o", "s").join(" AND "),
        ))
    }

    /// Rows of the original, the first of them in the scope, that cannot both be in a table that has this exclusion
    /// constraint: their keys.
    pub fn conflicting(&self, index: &Index, scope: Scope<'_>) -> Result<String> {
        let prefix = self.key_prefix();
        let (keys, values) = (self.aliases(&prefix).join(", "), Self::unique_values(index));
        let of = |side: &str| {
            let keys = self.aliases(&prefix).into_iter();
            keys.map(|key| format!("{side}.{key}")).collect::<Vec<_>>().join(", ")
        };
        let all = KeyRange::all();
        Ok(format!(
            "SELECT ROW({})::text, ROW({})::text FROM (SELECT {keys}{values} FROM {}{only}) o \
             JOIN (SELECT {keys}{values} FROM {}{only}) s ON {} WHERE NOT ({}) LIMIT 10",
            of("o"),
            of("s"),
            self.as_shadow(scope)?,
            self.as_shadow(Scope::Range(&all))?,
            clash(index),
            self.same_keys(&prefix, "o", "s").join(" AND "),
            only = Self::only(index),
        ))
    }

    /// Rows of the original, at least one of them in the scope, which cannot all be in a table that
    /// has `index`: the values, and how many rows have them.
    pub fn duplicates(&self, index: &Index, scope: Scope<'_>) -> Result<String> {
        let values = Self::unique_values(index);
        let all = KeyRange::all();
        let names: Vec<String> = (0..index.keys.len()).map(|at| format!("osc_u{at}")).collect();
        let names = names.join(", ");
        let keys = self.aliases(&self.key_prefix()).join(", ");
        let same = index.keys.iter().enumerate().map(|(at, key)| {
            let (a, mine) = (format!("a.osc_u{at}"), format!("mine.osc_u{at}"));
            let same = format!("{a} {} {mine}", equality(key));
            match index.nulls_not_distinct {
                true => format!("({same} OR {a} IS NULL AND {mine} IS NULL)"),
                false => same,
            }
        });
        let same: Vec<String> = same.collect();
        let not_null = if index.nulls_not_distinct {
            String::new()
        } else {
            format!("AND NOT (ROW({names}) IS NULL) ")
        };
        Ok(format!(
            "WITH mine AS (SELECT DISTINCT {} FROM {}{}) \
             SELECT ROW({names})::text, string_agg(ROW({keys})::text, ', ' ORDER BY {keys}) \
             FROM (SELECT {keys}{values} FROM {}{}) a \
             WHERE EXISTS (SELECT FROM mine WHERE {}) {not_null}\
             GROUP BY {names} HAVING count(*) > 1 LIMIT 10",
            values.trim_start_matches(", "),
            self.as_shadow(scope)?,
            Self::only(index),
            self.as_shadow(Scope::Range(&all))?,
            Self::only(index),
            same.join(" AND "),
        ))
    }

    /// Rows of the shadow that have the same values of an index that is to be unique: their keys.
    pub fn doubles(&self, index: &Index, limit: usize) -> String {
        let values = Self::unique_values(index);
        let names: Vec<String> = (0..index.keys.len()).map(|at| format!("osc_u{at}")).collect();
        let names = names.join(", ");
        let keys: Vec<String> = self
            .names(Side::Shadow)
            .iter()
            .enumerate()
            .map(|(at, name)| format!("{name} AS osc_k{at}"))
            .collect();
        format!(
            "SELECT {} FROM (SELECT {}, count(*) OVER (PARTITION BY {names}) AS osc_n \
             FROM (SELECT {}{values} FROM {}{}) a) b WHERE osc_n > 1 LIMIT {limit}",
            self.aliases("osc_k").join(", "),
            self.aliases("osc_k").join(", "),
            keys.join(", "),
            self.shadow,
            Self::only(index),
        )
    }
}

/// The condition that rows `o` and `s` clash by their values.
fn clash(index: &Index) -> String {
    let parts = index.keys.iter().enumerate().map(|(at, key)| {
        let (o, s) = (format!("o.osc_u{at}"), format!("s.osc_u{at}"));
        let same = format!("{o} {} {s}", equality(key));
        match index.nulls_not_distinct && key.excludes.is_none() {
            true => format!("({same} OR {o} IS NULL AND {s} IS NULL)"),
            false => same,
        }
    });
    parts.collect::<Vec<_>>().join(" AND ")
}

/// The operator by which an index tells that two values clash.
fn equality(key: &IndexKey) -> &str {
    key.excludes.as_deref().or(key.equals.as_deref()).unwrap_or("=")
}
