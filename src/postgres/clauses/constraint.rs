//! `ADD CONSTRAINT`, and the constraints that stand in a column's definition.

use squawk_syntax::ast::{self, AstNode};

use super::action::{Action, ActionKind, Constraint, ConstraintKind, Key};
use super::error::usage;
use super::syntax::{ident, names, text};
use crate::error::Result;
use crate::postgres::name::{Ident, TableName};

/// `ADD [CONSTRAINT c] …`.
pub(super) fn add(constraint: &ast::Constraint, table: Option<&TableName>) -> Result<Action> {
    use ast::Constraint as C;
    let kind = match constraint {
        C::ForeignKeyConstraint(_) => ConstraintKind::ForeignKey,
        C::CheckConstraint(_) => ConstraintKind::Check,
        C::UniqueConstraint(_) => ConstraintKind::Unique,
        C::PrimaryKeyConstraint(_) => ConstraintKind::PrimaryKey,
        C::ExcludeConstraint(_) => ConstraintKind::Exclude,
        C::NotNullConstraint(_) => ConstraintKind::NotNull,
        _ => return Err(usage("this is no constraint of a table")),
    };
    let node = constraint.syntax();
    let clause = node.children().find_map(ast::ConstraintNameClause::cast);
    let definition = definition(constraint);
    let given = clause.and_then(|clause| clause.constraint_name());
    let given = given.map(|given| ident(given.syntax())).transpose()?;
    let columns = columns(constraint)?;
    let usual = given.is_none();
    let name = given.or_else(|| usual_name(table?, kind, &columns));
    let words = match &name {
        Some(name) => format!("ADD CONSTRAINT {name} {definition}"),
        None => format!("ADD {definition}"),
    };
    Ok(Action {
        text: words,
        names: names(node),
        kind: ActionKind::AddConstraint(Constraint {
            key: key(constraint, columns),
            parent: match constraint {
                C::ForeignKeyConstraint(key) => {
                    key.table_name_ref().map(|name| text(name.syntax()))
                }
                _ => None,
            },
            not_valid: has(constraint, |option| {
                matches!(option, ast::ConstraintOption::NotValid(_))
            }),
            not_enforced: has(constraint, |option| {
                matches!(option, ast::ConstraintOption::NotEnforced(_))
            }),
            usual: usual && name.is_some(),
            name,
            kind,
            definition,
        }),
    })
}

/// `REFERENCES` in the definition of `column`, as a constraint of the table.
pub(super) fn references(
    references: &ast::ReferencesConstraint,
    column: &Ident,
    table: Option<&TableName>,
) -> Result<Action> {
    let constraint = ast::Constraint::ReferencesConstraint(references.clone());
    let given = constraint.constraint_name().map(|name| ident(name.syntax())).transpose()?;
    let columns = [column.clone()];
    let usual = given.is_none();
    let name = given.or_else(|| usual_name(table?, ConstraintKind::ForeignKey, &columns));
    let definition = format!("FOREIGN KEY ({column}) {}", definition(&constraint));
    let words = match &name {
        Some(name) => format!("ADD CONSTRAINT {name} {definition}"),
        None => format!("ADD {definition}"),
    };
    let mut mentioned = names(references.syntax());
    mentioned.insert(column.clone());
    Ok(Action {
        text: words,
        names: mentioned,
        kind: ActionKind::AddConstraint(Constraint {
            usual: usual && name.is_some(),
            name,
            kind: ConstraintKind::ForeignKey,
            not_valid: false,
            not_enforced: has(&constraint, |option| {
                matches!(option, ast::ConstraintOption::NotEnforced(_))
            }),
            definition,
            parent: references.table().map(|name| text(name.syntax())),
            key: None,
        }),
    })
}

fn has(constraint: &ast::Constraint, is: fn(&ast::ConstraintOption) -> bool) -> bool {
    constraint.constraint_options().any(|option| is(&option))
}

/// What follows the name.
fn definition(constraint: &ast::Constraint) -> String {
    let node = constraint.syntax();
    let whole = node.text().to_string();
    let clause = node.children().find_map(ast::ConstraintNameClause::cast);
    let from = clause.map_or(0, |clause| {
        usize::from(clause.syntax().text_range().end() - node.text_range().start())
    });
    whole.get(from..).unwrap_or_default().trim().to_owned()
}

fn columns(constraint: &ast::Constraint) -> Result<Vec<Ident>> {
    use ast::Constraint as C;
    match constraint {
        C::ForeignKeyConstraint(key) => key
            .from_columns()
            .into_iter()
            .flat_map(|list| list.column_name_refs())
            .map(|column| ident(column.syntax()))
            .collect(),
        C::UniqueConstraint(ast) => listed(ast.index_parameters()),
        C::PrimaryKeyConstraint(ast) => listed(ast.index_parameters()),
        C::NotNullConstraint(ast) => {
            ast.column_name_ref().iter().map(|column| ident(column.syntax())).collect()
        }
        _ => Ok(Vec::new()),
    }
}

fn listed(parameters: Option<ast::IndexParameters>) -> Result<Vec<Ident>> {
    parameters
        .and_then(|parameters| parameters.column_list())
        .into_iter()
        .flat_map(|list| list.column_name_refs())
        .map(|column| ident(column.syntax()))
        .collect()
}

/// The name that the server would give. Keys are left to it: their names are those of indexes, of
/// which a shadow needs other ones.
fn usual_name(table: &TableName, kind: ConstraintKind, columns: &[Ident]) -> Option<Ident> {
    let between: String = columns.iter().map(|column| format!("_{}", column.as_str())).collect();
    let end = match kind {
        ConstraintKind::ForeignKey => "_fkey",
        ConstraintKind::Check => "_check",
        ConstraintKind::NotNull => "_not_null",
        ConstraintKind::Unique | ConstraintKind::PrimaryKey | ConstraintKind::Exclude => {
            return None;
        }
    };
    Some(Ident::new(format!("{}{between}", table.table.as_str())).with_suffix(end))
}

fn key(constraint: &ast::Constraint, columns: Vec<Ident>) -> Option<Key> {
    use ast::Constraint as C;
    let parameters = match constraint {
        C::UniqueConstraint(ast) => ast.index_parameters()?,
        C::PrimaryKeyConstraint(ast) => ast.index_parameters()?,
        _ => return None,
    };
    // A range without overlaps is no btree's to keep.
    if parameters.column_list()?.without_overlaps().is_some() || columns.is_empty() {
        return None;
    }
    let mut index = Vec::new();
    index.extend(parameters.constraint_include_clause().map(|part| text(part.syntax())));
    index.extend(parameters.nulls_distinct_option().map(|part| text(part.syntax())));
    index.extend(parameters.with_params().map(|part| text(part.syntax())));
    let place = parameters.constraint_index_tablespace().and_then(|part| part.tablespace_ref());
    index.extend(place.map(|place| format!("TABLESPACE {}", text(place.syntax()))));
    let checked: Vec<String> =
        constraint.constraint_options().map(|option| text(option.syntax())).collect();
    Some(Key { columns, index: index.join(" "), checked: checked.join(" ") })
}
