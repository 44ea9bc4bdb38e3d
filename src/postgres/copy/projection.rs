//! The projection: the SELECT expressions that turn a row of the original into one of the shadow,
//! and the pair of expressions by which each column is compared afterwards.

use crate::postgres::catalog::table::{Column, Table};
use crate::postgres::clauses::columns::Columns;
use crate::postgres::name::Ident;
use crate::testing::mutation::{self, Rule};

/// `pg_type.oid` of `numeric`.
const NUMERIC: u32 = 1700;

/// Which of the two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The table being changed.
    Original,
    /// Its replacement.
    Shadow,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Original => Self::Shadow,
            Self::Shadow => Self::Original,
        }
    }
}

/// One column of the shadow that the copy writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projected {
    /// The shadow's column.
    pub target: Ident,
    /// The expression over the original's columns; the server casts it as an assignment.
    pub source: String,
    /// The same, cast to the column's type where it has another.
    pub typed: String,
    /// The column's values are integers.
    pub integer: bool,
    /// The type's hash tells any two values apart, on both sides.
    pub hashed: bool,
    /// 1.5 and 1.50 are the same: where rows go back into a type that writes all its digits.
    pub scale_free: bool,
}

/// A column that the copy does not write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The shadow's column.
    pub target: Ident,
    /// The generation's expression or the default, over the shadow's columns.
    pub expression: String,
    /// The original's column with the same expression, whose values must be the same.
    pub same_as: Option<Ident>,
    /// As for the others.
    pub hashed: bool,
}

/// The whole projection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Projection {
    /// What the copy writes, in the shadow's order.
    pub columns: Vec<Projected>,
    /// What the server makes.
    pub made: Vec<Made>,
}

/// Makes the projection.
pub fn project(original: &Table, shadow: &Table, columns: &Columns) -> Projection {
    let mut projection = Projection::default();
    for target in &shadow.columns {
        let source = original
            .columns
            .iter()
            .find(|column| columns.new_name(&column.name).as_ref() == Some(&target.name));
        if let Some(expression) = &target.generated {
            let same = source.filter(|source| {
                source.generated.as_ref() == Some(expression) && source.type_sql == target.type_sql
            });
            projection.made.push(Made {
                target: target.name.clone(),
                expression: expression.clone(),
                same_as: same.map(|column| column.name.clone()),
                hashed: same.is_some_and(|source| hashed(Some(source), target)),
            });
        } else if let Some(source) = source {
            let using = columns.using.get(&source.name);
            let expression = match using {
                Some(using) => format!("({using})"),
                None => source.name.to_string(),
            };
            let same = using.is_none() && source.type_sql == target.type_sql;
            projection.columns.push(Projected {
                hashed: hashed(using.is_none().then_some(source), target),
                integer: target.is_integer(),
                scale_free: false,
                target: target.name.clone(),
                typed: match same {
                    true => expression.clone(),
                    false => format!("({expression})::{}", target.type_sql),
                },
                source: expression,
            });
        } else {
            projection.made.push(Made {
                target: target.name.clone(),
                expression: target
                    .default
                    .clone()
                    .unwrap_or_else(|| format!("NULL::{}", target.type_sql)),
                same_as: None,
                hashed: false,
            });
        }
    }
    projection
}

/// Whether both sides hash a column's values by all their bytes. An expression over the original
/// (`source` is `None` where the user wrote it) keeps the original's collation when it is cast.
fn hashed(source: Option<&Column>, target: &Column) -> bool {
    let collated = || source.is_some_and(|source| source.collation != 0 && source.hashes_bytes);
    target.hashes_bytes && (target.collation == 0 || collated())
}

impl Projection {
    /// The same for rows that go back: numbers that were written into a type without a scale, or with another one,
    /// are the same after their way back whatever number of zeros they end in.
    pub fn of_numbers(mut self, original: &Table, shadow: &Table) -> Self {
        for column in &mut self.columns {
            let source = original.columns.iter().find(|one| one.name.to_string() == column.source);
            let pair = source.zip(shadow.column(&column.target));
            column.scale_free = pair
                .is_some_and(|(from, to)| to.type_oid == NUMERIC && from.type_sql != to.type_sql);
        }
        self
    }

    /// The hash of one side's row, by which rows are compared. `key`: the shadow's columns that
    /// name the row. Their hash is the seed of the whole row's, for the sum of a chunk's hashes must
    /// tell when two rows have exchanged a value.
    pub fn hash(&self, side: Side, key: &[Ident]) -> String {
        let written = self.columns.iter().map(|column| {
            let expression = match side {
                Side::Original => column.typed.clone(),
                Side::Shadow => column.target.to_string(),
            };
            match column.scale_free {
                true => (&column.target, format!("trim_scale({expression})"), false),
                false => (&column.target, expression, column.hashed),
            }
        });
        let made = self.made.iter().filter_map(|made| {
            let same = made.same_as.as_ref()?;
            let name = if side == Side::Original { same } else { &made.target };
            Some((&made.target, name.to_string(), made.hashed))
        });
        let all: Vec<(&Ident, String, bool)> = written.chain(made).collect();
        let named: Vec<_> = all.iter().filter(|(target, ..)| key.contains(target)).collect();
        let integer = |name: &Ident| self.columns.iter().any(|c| c.target == *name && c.integer);
        let seed = match named.as_slice() {
            // Quicker than that of a row, and the same for all integer types.
            [(name, expression, _)] if integer(name) => {
                format!("hashint8extended({expression}, 0)")
            }
            _ => hash_of(named.into_iter(), "0"),
        };
        hash_of(all.iter(), &seed)
    }
}

fn hash_of<'a>(columns: impl Iterator<Item = &'a (&'a Ident, String, bool)>, seed: &str) -> String {
    let (hashed, texts): (Vec<_>, Vec<_>) = columns.partition(|(_, _, hashed)| *hashed);
    let list = |part: &[&(&Ident, String, bool)]| {
        part.iter().map(|(_, expression, _)| expression.clone()).collect::<Vec<_>>()
    };
    let mut parts = list(&hashed);
    // What a type's hash does not tell, its text does.
    if !texts.is_empty() && mutation::active(Rule::SameNotEqual) {
        parts.extend(list(&texts));
    } else if !texts.is_empty() {
        parts.push(format!("ROW({})::text", list(&texts).join(", ")));
    }
    format!("hash_record_extended(ROW({}), {seed})", parts.join(", "))
}
