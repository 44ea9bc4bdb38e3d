//! From text to a [`Statement`], by the parser's syntax tree.

use squawk_syntax::ast::AstNode;
use squawk_syntax::{SourceFile, SyntaxKind, ast};

use super::action::{Action, ActionKind};
use super::error::{mistake, usage};
use super::syntax::{ident, named, names, qualified, text};
use super::{Clauses, CreateIndex, Statement, constraint, extensions, refuse};
use crate::error::Result;
use crate::postgres::name::{Ident, TableName};

/// Deeper nesting is no clause that anybody writes, and the parser works by recursion.
const MAX_NESTING: usize = 100;

/// A longer text is not read: what an operator hands over is far shorter.
const MAX_BYTES: usize = 1 << 20;

impl Statement {
    /// Parses clauses of an ALTER TABLE, which then are `table`'s, or a whole statement, which must
    /// be about `table` where that is given. Clauses that are empty are a rewrite.
    ///
    /// # Errors
    /// `Usage` with the place of the mistake; `Refused` for what osc is not for.
    pub fn parse(text: &str, table: Option<&TableName>) -> Result<Self> {
        let text = text.trim();
        guard(text)?;
        let words = first_words(text);
        if words.is_empty() {
            return Ok(Self::Alter { table: None, clauses: Clauses::default() });
        }
        if !is_statement(&words) {
            let start = "ALTER TABLE t ";
            return match read(&format!("{start}{text}"), start.len(), table)? {
                Self::Alter { clauses, .. } => Ok(Self::Alter { table: None, clauses }),
                _ => Err(usage("these are no clauses of an ALTER TABLE")),
            };
        }
        let statement = read(text, 0, table)?;
        if let (Some(table), Some((schema, name))) = (table, statement.table())
            && (name != table.table.0 || schema.is_some_and(|schema| schema != table.schema.0))
        {
            return Err(usage(format!("the statement changes {name}, not {}", table.plain())));
        }
        Ok(statement)
    }
}

/// Keeps from the parser what would take its stack or its time.
fn guard(text: &str) -> Result<()> {
    if text.len() > MAX_BYTES {
        return Err(usage("the clauses are longer than a megabyte"));
    }
    if let Some(at) = text.find('\0') {
        return Err(mistake(text, at, 0, "a NUL"));
    }
    match too_deep(text) {
        Some(at) => Err(mistake(text, at, 0, "too many expressions in each other")),
        None => Ok(()),
    }
}

/// Where brackets, CASE and operators before an operand are in each other more than [`MAX_NESTING`]
/// times. Strings, names in quotes and comments are passed over, as far as that goes without a parser.
fn too_deep(text: &str) -> Option<usize> {
    let (mut nested, mut before_operand) = (0_usize, 0_usize);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = match first {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '\'' | '"' => {
                before_operand = 0;
                rest.get(1..).and_then(|rest| rest.find(first)).map_or(rest.len(), |end| end + 2)
            }
            _ if word > 0 => {
                match rest.get(..word).unwrap_or_default().to_ascii_lowercase().as_str() {
                    "not" => before_operand += 1,
                    "case" => nested += 1,
                    "end" => nested = nested.saturating_sub(1),
                    _ => before_operand = 0,
                }
                word
            }
            _ => {
                match first {
                    '(' | '[' => nested += 1,
                    ')' | ']' => nested = nested.saturating_sub(1),
                    _ if first.is_ascii_punctuation() => before_operand += 1,
                    _ => {}
                }
                first.len_utf8()
            }
        };
        if nested + before_operand > MAX_NESTING {
            return Some(at);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    None
}

/// The first words, in lower case; comments and semicolons left out.
fn first_words(text: &str) -> Vec<String> {
    let tokens = SourceFile::parse(text).syntax_node().descendants_with_tokens();
    tokens
        .filter_map(|element| element.into_token())
        .filter(|token| !token.kind().is_trivia() && token.text().trim() != ";")
        .take(4)
        .map(|token| token.text().to_lowercase())
        .collect()
}

/// Whether it is a statement: `DROP INDEX` alone drops a column of that name.
fn is_statement(words: &[String]) -> bool {
    let word = |at: usize| words.get(at).map(String::as_str);
    match (word(0), word(1), word(2), word(3)) {
        (Some("drop"), Some("index"), third, fourth) => {
            let column = third.is_none_or(|third| third == ",")
                || (matches!(third, Some("cascade" | "restrict"))
                    && fourth.is_none_or(|fourth| fourth == ","));
            !column
        }
        (Some("drop"), Some("table" | "view" | "schema" | "database"), Some(third), _) => {
            !matches!(third, "," | "cascade" | "restrict")
        }
        (Some("alter"), second, ..) => second == Some("table"),
        (Some("add" | "drop" | "rename" | "set" | "reset" | "validate" | "enable"), ..)
        | (Some("disable" | "force" | "no" | "owner" | "cluster" | "replica"), ..)
        | (Some("attach" | "detach" | "inherit" | "of" | "not" | "options" | "partition"), ..) => {
            false
        }
        _ => true,
    }
}

/// `shift`: how many bytes of `text` the user did not write.
fn read(text: &str, shift: usize, table: Option<&TableName>) -> Result<Statement> {
    let own = extensions::take(text, shift)?;
    extensions::check(&own.actions)?;
    let mut statement = parsed(&own.rest, text, shift, table)?;
    if let Statement::Alter { clauses, .. } = &mut statement {
        clauses.actions.extend(own.actions);
        if clauses.actions.len() > 1 && clauses.actions.iter().any(is_rename) {
            return Err(refuse::rename_among_others());
        }
    }
    Ok(statement)
}

fn is_rename(action: &Action) -> bool {
    matches!(action.kind, ActionKind::RenameColumn { .. } | ActionKind::RenameConstraint { .. })
}

/// `rest` is what the parser reads of the `text`, as long as that.
fn parsed(rest: &str, text: &str, shift: usize, table: Option<&TableName>) -> Result<Statement> {
    let parsed = SourceFile::parse(rest);
    if let Some(error) = parsed.errors().first() {
        let at = usize::from(error.range().start());
        return Err(mistake(text, at, shift, error.message()));
    }
    let mut statements = parsed.tree().stmts();
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Err(usage("one statement at a time"));
    };
    match statement {
        ast::Stmt::AlterTable(alter) => alter_table(&alter, table),
        ast::Stmt::CreateIndex(create) => create_index(&create),
        ast::Stmt::DropIndex(drop) => drop_index(&drop),
        _ => Err(usage("osc takes ALTER TABLE, CREATE INDEX and DROP INDEX")),
    }
}

fn alter_table(alter: &ast::AlterTable, table: Option<&TableName>) -> Result<Statement> {
    let Some(relation) = alter.table_relation_name() else {
        return Err(usage("ALTER TABLE ALL changes many tables: name one"));
    };
    let named = relation.table_name_ref().map(|name| qualified(name.syntax())).transpose()?;
    // Names of constraints are made of the table's, whatever its schema.
    let own = named.as_ref().map(|(_, name)| TableName::new("", name.clone()));
    let table = table.or(own.as_ref());
    let mut actions = Vec::new();
    for action in alter.actions() {
        actions.extend(clause(&action, table)?);
    }
    let only = relation.only_token().is_some();
    Ok(Statement::Alter { table: named, clauses: Clauses { only, actions } })
}

fn create_index(create: &ast::CreateIndex) -> Result<Statement> {
    let relation = create.table_relation_name();
    let table = relation.as_ref().and_then(ast::TableRelationName::table_name_ref);
    let (Some(relation), Some(table)) = (relation, table) else {
        return Err(usage("the statement names no table"));
    };
    let name = create.index().map(|index| qualified(index.syntax())).transpose()?;
    if let Some((Some(_), name)) = &name {
        return Err(usage(format!("an index is in its table's schema: name it {name} alone")));
    }
    let after: Vec<String> = create
        .syntax()
        .children_with_tokens()
        .filter(|part| part.text_range().start() >= relation.syntax().text_range().end())
        .filter(|part| part.kind() != SyntaxKind::SEMICOLON)
        .map(|part| part.to_string())
        .collect();
    let items = create.partition_item_list().into_iter().flat_map(|list| list.partition_items());
    let column = |item: ast::PartitionItem| {
        let column = item.expr().and_then(|expr| ident(expr.syntax()).ok());
        column.unwrap_or_else(|| Ident::new("expr"))
    };
    Ok(Statement::CreateIndex(CreateIndex {
        unique: create.unique_token().is_some(),
        if_not_exists: create.if_not_exists().is_some(),
        name: name.map(|(_, name)| Ident::new(name)),
        table: qualified(table.syntax())?,
        only: relation.only_token().is_some(),
        definition: after.concat().trim().to_owned(),
        columns: items.map(column).collect(),
    }))
}

fn drop_index(drop: &ast::DropIndex) -> Result<Statement> {
    if cascade(drop.drop_behavior().as_ref()) {
        return Err(refuse::drop_index_cascade());
    }
    let indexes = drop.index_refs().map(|index| qualified(index.syntax()));
    Ok(Statement::DropIndex {
        indexes: indexes.collect::<Result<_>>()?,
        if_exists: drop.if_exists().is_some(),
    })
}

fn cascade(behavior: Option<&ast::DropBehavior>) -> bool {
    matches!(behavior, Some(ast::DropBehavior::Cascade(_)))
}

/// One clause, or several where it says several things at once.
fn clause(action: &ast::AlterTableAction, table: Option<&TableName>) -> Result<Vec<Action>> {
    use ast::AlterTableAction as A;
    if let Some(refusal) = refuse::refusal(action) {
        return Err(refusal);
    }
    let kind = match action {
        A::AddColumn(add) => return add_column(add, table),
        A::AddConstraint(add) => {
            let constraint = add.constraint().ok_or_else(|| usage("a constraint is missing"))?;
            return Ok(vec![constraint::add(&constraint, table)?]);
        }
        A::DropColumn(drop) => ActionKind::DropColumn {
            name: named(drop.column_name_ref())?,
            if_exists: drop.if_exists().is_some(),
            cascade: cascade(drop.drop_behavior().as_ref()),
        },
        A::RenameColumn(rename) => ActionKind::RenameColumn {
            from: named(rename.column_name_ref())?,
            to: named(rename.column_name())?,
        },
        A::AlterColumn(alter) => alter_column(alter)?,
        A::DropConstraint(drop) => ActionKind::DropConstraint {
            name: named(drop.constraint_name_ref())?,
            if_exists: drop.if_exists().is_some(),
            cascade: cascade(drop.drop_behavior().as_ref()),
        },
        A::RenameConstraint(rename) => ActionKind::RenameConstraint {
            from: named(rename.constraint_name_ref())?,
            to: named(rename.constraint_name())?,
        },
        A::AlterConstraint(alter) => {
            ActionKind::AlterConstraint { name: named(alter.constraint_name_ref())? }
        }
        A::ValidateConstraint(validate) => {
            ActionKind::Validate { name: named(validate.constraint_name_ref())? }
        }
        A::SetLogged(_) => ActionKind::SetLogged(true),
        A::SetUnlogged(_) => ActionKind::SetLogged(false),
        A::SetOptions(_) | A::ResetOptions(_)
            if names(action.syntax()).contains(&Ident::new("user_catalog_table")) =>
        {
            ActionKind::Table
        }
        A::SetOptions(_) | A::ResetOptions(_) | A::SetWithoutCluster(_) | A::ClusterOn(_) => {
            ActionKind::Parameters
        }
        A::SetTablespace(_) | A::SetAccessMethod(_) => ActionKind::Table,
        A::EnableTrigger(_)
        | A::EnableReplicaTrigger(_)
        | A::EnableAlwaysTrigger(_)
        | A::DisableTrigger(_) => ActionKind::InPlace { trigger: true },
        _ => ActionKind::InPlace { trigger: false },
    };
    let node = action.syntax();
    Ok(vec![Action { text: text(node), kind, names: names(node) }])
}

/// `REFERENCES` becomes a clause of its own: the rows that are there are looked at apart.
fn add_column(add: &ast::AddColumn, table: Option<&TableName>) -> Result<Vec<Action>> {
    let name = named(add.column_name())?;
    let mut own = text(add.syntax());
    let start = usize::from(add.syntax().text_range().start());
    let mut keys = Vec::new();
    let constraints: Vec<ast::Constraint> = add.constraints().collect();
    for constraint in constraints.iter().rev() {
        if let ast::Constraint::ReferencesConstraint(references) = constraint {
            let range = references.syntax().text_range();
            let (from, to) = (usize::from(range.start()), usize::from(range.end()));
            let (from, to) = (from.saturating_sub(start), to.saturating_sub(start));
            let before = own.get(..from).unwrap_or_default().trim_end();
            own = format!("{before} {}", own.get(to..).unwrap_or_default().trim_start());
            keys.push(constraint::references(references, &name, table)?);
        }
    }
    let if_not_exists = add.if_not_exists().is_some();
    if if_not_exists && !keys.is_empty() {
        return Err(usage(
            "ADD COLUMN IF NOT EXISTS with REFERENCES: whether the key is added is not known \
             beforehand",
        ));
    }
    let kind = ActionKind::AddColumn { name, if_not_exists };
    let column = Action { text: own.trim().to_owned(), kind, names: names(add.syntax()) };
    Ok(std::iter::once(column).chain(keys.into_iter().rev()).collect())
}

fn alter_column(alter: &ast::AlterColumn) -> Result<ActionKind> {
    use ast::AlterColumnOption as O;
    let column = named(alter.column_name_ref())?;
    Ok(match alter.option() {
        Some(O::SetType(set)) => {
            let using = set.using_expr().and_then(|using| using.expr());
            let using = using.map(|expr| text(expr.syntax()));
            let collate = set.collate().map(|collate| text(collate.syntax()));
            let to = set.ty().map(|ty| text(ty.syntax()));
            let to: Vec<String> = to.into_iter().chain(collate).collect();
            ActionKind::AlterType { column, to: to.join(" "), using }
        }
        Some(O::SetNotNull(_)) => ActionKind::SetNotNull { column },
        Some(O::SetStatistics(_) | O::SetOptions(_) | O::ResetOptions(_)) => {
            ActionKind::SetStatistics { column }
        }
        _ => ActionKind::AlterColumn { column },
    })
}
