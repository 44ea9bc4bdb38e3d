//! From text to a [`Statement`], by the parser's syntax tree.

use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SourceFile, SyntaxNode};

use super::action::{Action, ActionKind, ConstraintKind};
use super::{Clauses, CreateIndex, Statement};
use crate::engine::error::Finding;
use crate::engine::{Error, Result};
use crate::postgres::name::{Ident, TableName};

impl Statement {
    /// Parses clauses of an ALTER TABLE, which then are `table`'s, or a whole statement, which must
    /// be about `table` where that is given. Clauses that are empty are a rewrite.
    ///
    /// # Errors
    /// `Usage` with the place of the mistake; `Refused` for what osc is not for.
    pub fn parse(text: &str, table: Option<&TableName>) -> Result<Self> {
        let text = text.trim().trim_end_matches(|c: char| c == ';' || c.is_whitespace());
        let whole = starts_with_words(text, "ALTER TABLE")
            || starts_with_words(text, "CREATE")
            || starts_with_words(text, "DROP INDEX");
        if whole {
            let statement = read(text, 0)?;
            if let (Some(table), Some((schema, name))) = (table, statement.table())
                && (name != table.table.0 || schema.is_some_and(|schema| schema != table.schema.0))
            {
                return Err(usage(format!("the statement changes {name}, not {}", table.plain())));
            }
            return Ok(statement);
        }
        if text.is_empty() {
            return Ok(Self::Alter { table: None, clauses: Clauses::default() });
        }
        let start = "ALTER TABLE t ";
        match read(&format!("{start}{text}"), start.len())? {
            Self::Alter { clauses, .. } => Ok(Self::Alter { table: None, clauses }),
            _ => Err(usage("these are no clauses of an ALTER TABLE")),
        }
    }
}

fn starts_with_words(text: &str, words: &str) -> bool {
    let mut have = text.split_whitespace();
    words.split(' ').all(|word| have.next().is_some_and(|have| have.eq_ignore_ascii_case(word)))
}

fn usage(message: impl Into<String>) -> Error {
    Error::Usage {
        message: message.into(),
        help: "like: osc alter users \"ADD COLUMN age int, DROP COLUMN note\"".into(),
    }
}

/// `shift`: how many bytes of `text` the user did not write.
fn read(text: &str, shift: usize) -> Result<Statement> {
    let parsed = SourceFile::parse(text);
    if let Some(error) = parsed.errors().first() {
        let at = usize::from(error.range().start());
        return Err(mistake(text, at, shift, error.message()));
    }
    let mut statements = parsed.tree().stmts();
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Err(usage("one statement at a time"));
    };
    match statement {
        ast::Stmt::AlterTable(alter) => alter_table(&alter),
        ast::Stmt::CreateIndex(create) => create_index(&create, text),
        ast::Stmt::DropIndex(drop) => Ok(Statement::DropIndex {
            indexes: drop
                .syntax()
                .children()
                .filter_map(ast::IndexRef::cast)
                .map(|index| qualified(index.syntax()))
                .collect::<Result<_>>()?,
            if_exists: drop.if_exists().is_some(),
        }),
        _ => Err(usage("osc takes ALTER TABLE, CREATE INDEX and DROP INDEX")),
    }
}

/// The line in which the mistake is, and a mark under it.
fn mistake(text: &str, at: usize, shift: usize, message: &str) -> Error {
    let own = text.get(shift..).unwrap_or_default();
    let at = at.saturating_sub(shift).min(own.len());
    let before = own.get(..at).unwrap_or(own);
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let shown = own.lines().nth(line).unwrap_or_default();
    usage(format!(
        "the clauses cannot be parsed: {message}, in line {}, column {}:\n  {shown}\n  {}^",
        line + 1,
        column + 1,
        " ".repeat(column)
    ))
}

fn alter_table(alter: &ast::AlterTable) -> Result<Statement> {
    let Some(table) = alter.table_relation_name() else {
        return Err(usage("ALTER TABLE ALL changes many tables: name one"));
    };
    let actions = alter.actions().map(|action| clause(&action)).collect::<Result<Vec<_>>>()?;
    let names = table.syntax().descendants().find_map(ast::TableNameRef::cast);
    let named = names.map(|name| qualified(name.syntax())).transpose()?;
    Ok(Statement::Alter { table: named, clauses: Clauses { actions } })
}

fn create_index(create: &ast::CreateIndex, text: &str) -> Result<Statement> {
    let Some(table) = create.table_relation_name() else {
        return Err(usage("the statement names no table"));
    };
    let end = usize::from(table.syntax().text_range().end());
    let names = table.syntax().descendants().find_map(ast::TableNameRef::cast);
    let Some(names) = names else { return Err(usage("the statement names no table")) };
    let name = create.syntax().children().find_map(ast::Index::cast);
    let name = name.map(|name| qualified(name.syntax())).transpose()?.map(|(_, name)| name);
    Ok(Statement::CreateIndex(CreateIndex {
        unique: has_token(create.syntax(), "unique"),
        if_not_exists: create.if_not_exists().is_some(),
        name: name.map(Ident::new),
        table: qualified(names.syntax())?,
        definition: text.get(end..).unwrap_or_default().trim().to_owned(),
    }))
}

fn has_token(node: &SyntaxNode, word: &str) -> bool {
    node.children_with_tokens()
        .filter_map(|element| element.into_token())
        .any(|token| token.text().eq_ignore_ascii_case(word))
}

/// A name of one or two parts, as the catalog has it.
fn qualified(node: &SyntaxNode) -> Result<(Option<String>, String)> {
    crate::postgres::asked::table(node.text().to_string().trim())
}

fn name(node: Option<&SyntaxNode>) -> Result<Ident> {
    let node = node.ok_or_else(|| usage("a name is missing"))?;
    let (schema, name) = qualified(node)?;
    match schema {
        None => Ok(Ident::new(name)),
        Some(_) => Err(usage(format!("{} has too many parts", node.text()))),
    }
}

fn text(node: &SyntaxNode) -> String {
    node.text().to_string().trim().to_owned()
}

fn refused(what: &str, help: &str) -> Error {
    Error::Refused(vec![Finding::new("clauses", format!("osc is not for {what}"), help)])
}

fn clause(action: &ast::AlterTableAction) -> Result<Action> {
    use ast::AlterTableAction as A;
    let kind = match action {
        A::AddColumn(add) => ActionKind::AddColumn {
            name: name(add.column_name().map(|n| n.syntax().clone()).as_ref())?,
            references: add
                .constraints()
                .any(|constraint| matches!(constraint, ast::Constraint::ReferencesConstraint(_))),
        },
        A::DropColumn(drop) => ActionKind::DropColumn {
            name: name(drop.column_name_ref().map(|n| n.syntax().clone()).as_ref())?,
        },
        A::RenameColumn(rename) => ActionKind::RenameColumn {
            from: name(rename.column_name_ref().map(|n| n.syntax().clone()).as_ref())?,
            to: name(rename.column_name().map(|n| n.syntax().clone()).as_ref())?,
        },
        A::AlterColumn(alter) => alter_column(alter)?,
        A::AddConstraint(add) => match add.constraint() {
            Some(constraint) => add_constraint(&constraint)?,
            None => return Err(usage("a constraint is missing")),
        },
        A::DropConstraint(drop) => ActionKind::DropConstraint {
            name: name(drop.constraint_name_ref().map(|n| n.syntax().clone()).as_ref())?,
        },
        A::ValidateConstraint(validate) => ActionKind::Validate {
            name: name(validate.constraint_name_ref().map(|n| n.syntax().clone()).as_ref())?,
        },
        A::TableRenameTo(_) => {
            return Err(refused(
                "renaming a table",
                "ALTER TABLE … RENAME TO is instant; run it yourself",
            ));
        }
        A::SetSchema(_) => {
            return Err(refused(
                "moving a table to another schema",
                "ALTER TABLE … SET SCHEMA is instant; run it yourself",
            ));
        }
        A::AttachPartition(_)
        | A::DetachPartition(_)
        | A::MergePartitions(_)
        | A::SplitPartition(_) => {
            return Err(refused("moving partitions", "run the statement yourself"));
        }
        A::InheritTable(_) | A::NoInheritTable(_) | A::OfType(_) | A::NotOf(_) => {
            return Err(refused("inheritance and typed tables", "run the statement yourself"));
        }
        A::OptionItemList(_) | A::AlterOptionList(_) => {
            return Err(refused("foreign tables", "run the statement yourself"));
        }
        A::SetTablespace(_)
        | A::SetAccessMethod(_)
        | A::SetLogged(_)
        | A::SetUnlogged(_)
        | A::SetOptions(_)
        | A::ResetOptions(_)
        | A::SetWithoutCluster(_)
        | A::SetWithoutOids(_)
        | A::RenameConstraint(_)
        | A::AlterConstraint(_)
        | A::ClusterOn(_) => ActionKind::Table,
        _ => ActionKind::InPlace,
    };
    Ok(Action { text: text(action.syntax()), kind })
}

fn alter_column(alter: &ast::AlterColumn) -> Result<ActionKind> {
    let column = name(alter.column_name_ref().map(|n| n.syntax().clone()).as_ref())?;
    Ok(match alter.option() {
        Some(ast::AlterColumnOption::SetType(set)) => {
            let using = set.syntax().children().find_map(ast::UsingExpr::cast);
            let using = using.and_then(|using| using.expr()).map(|expr| text(expr.syntax()));
            ActionKind::AlterType { column, using }
        }
        Some(ast::AlterColumnOption::SetNotNull(_)) => ActionKind::SetNotNull { column },
        _ => ActionKind::AlterColumn,
    })
}

fn add_constraint(constraint: &ast::Constraint) -> Result<ActionKind> {
    use ast::Constraint as C;
    let kind = match constraint {
        C::ForeignKeyConstraint(_) | C::ReferencesConstraint(_) => ConstraintKind::ForeignKey,
        C::CheckConstraint(_) => ConstraintKind::Check,
        C::UniqueConstraint(_) => ConstraintKind::Unique,
        C::PrimaryKeyConstraint(_) => ConstraintKind::PrimaryKey,
        C::ExcludeConstraint(_) => ConstraintKind::Exclude,
        C::NotNullConstraint(_) => ConstraintKind::NotNull,
        _ => return Err(usage("this is no constraint of a table")),
    };
    let node = constraint.syntax();
    let clause = node.children().find_map(ast::ConstraintNameClause::cast);
    let given = clause.as_ref().and_then(ast::ConstraintNameClause::constraint_name);
    let named = given.map(|given| name(Some(given.syntax()))).transpose()?;
    let whole = text(node);
    let definition = match &clause {
        Some(clause) => {
            let from = usize::from(clause.syntax().text_range().len());
            whole.get(from..).unwrap_or_default().trim().to_owned()
        }
        None => whole,
    };
    Ok(ActionKind::AddConstraint {
        name: named,
        kind,
        not_valid: node.descendants().any(|node| ast::NotValid::can_cast(node.kind())),
        using_index: node.descendants().any(|node| ast::UsingIndexName::can_cast(node.kind())),
        definition,
    })
}
