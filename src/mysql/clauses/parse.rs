//! From tokens to clauses.

use super::column::ColumnDef;
use super::cursor::{Cursor, depths};
use super::keys::add_key;
use super::options::{charset_words, table_options};
use super::{Clause, ClauseKind, Clauses};
use crate::mysql::lexer::{Dialect, Lexer, SyntaxError, Token, TokenKind, tokens};
use crate::mysql::name::Ident;

type Kind = Result<ClauseKind, SyntaxError>;

pub(super) fn parse(source: &str, dialect: Dialect) -> Result<Clauses, SyntaxError> {
    let found = tokens(source, dialect)?;
    let mut cursor = Cursor::new(source, trim(source, &found)?, source.len());
    let head = statement(&mut cursor)?;
    let mut clauses = Vec::new();
    let (list, partitions) = split_partitions(cursor);
    if !list.is_done() {
        let parts = list.split();
        let mut at = 0;
        while let Some(part) = parts.get(at) {
            let from = list.rest().len() - remaining(&parts, at);
            at += 1;
            if part.is_done() {
                return Err(part.error("a clause is missing here", "take the comma away"));
            }
            if takes_the_rest(*part) {
                clauses.push(clause(list.part(from, list.rest().len()))?);
                break;
            }
            if let Some(options) = table_options(*part)? {
                clauses.extend(options);
            } else {
                clauses.push(clause(*part)?);
            }
        }
    }
    if let Some(partitions) = partitions {
        let text = partitions.text(partitions.rest());
        clauses.push(Clause { text, kind: ClauseKind::Partitioning });
    }
    if clauses.is_empty() {
        clauses.push(Clause { text: "FORCE".into(), kind: ClauseKind::Force });
    }
    let (table, ignore) = head.map_or((None, false), |(table, ignore)| (Some(table), ignore));
    Ok(Clauses { table, clauses, ignore })
}

/// Tokens of `parts` from `at` on, and the commas between them.
fn remaining(parts: &[Cursor<'_>], at: usize) -> usize {
    let left = parts.get(at..).unwrap_or_default();
    left.iter().map(|part| part.rest().len()).sum::<usize>() + left.len().saturating_sub(1)
}

/// Takes a last semicolon away; finds further statements and parentheses that do not match.
fn trim<'t>(source: &str, found: &'t [Token<'t>]) -> Result<&'t [Token<'t>], SyntaxError> {
    let mut open = Vec::new();
    for token in found {
        match token.kind {
            TokenKind::Symbol('(') => open.push(token),
            TokenKind::Symbol(')') if open.pop().is_none() => {
                let span = token.span.clone();
                return Err(SyntaxError::new(source, span, "nothing was opened here", ""));
            }
            _ => {}
        }
    }
    if let Some(token) = open.pop() {
        let span = token.span.clone();
        return Err(SyntaxError::new(source, span, "this parenthesis is not closed", ""));
    }
    let end = found.iter().position(|token| token.is_symbol(';')).unwrap_or(found.len());
    let (statement, after) = found.split_at(end);
    if let Some(token) = after.iter().find(|token| !token.is_symbol(';')) {
        let help = "give each ALTER to a run of its own";
        let message = "only one statement can be given";
        return Err(SyntaxError::new(source, token.span.clone(), message, help));
    }
    Ok(statement)
}

/// What a whole statement says before its clauses: its table, with the schema where one is given, and whether
/// it says IGNORE.
type Head = ((Option<Ident>, Ident), bool);

/// Reads the head of a whole statement, if there is one, and MariaDB's word on how long to wait.
fn statement(cursor: &mut Cursor<'_>) -> Result<Option<Head>, SyntaxError> {
    let head = head(cursor)?;
    let other = cursor.peek().filter(|token| {
        ["CREATE", "INSERT", "UPDATE", "DELETE", "SELECT"].iter().any(|word| token.is(word))
    });
    if head.is_none() && other.is_some() {
        return Err(cursor.error(
            "this is no ALTER TABLE",
            "give the clauses of an ALTER TABLE, such as \"ADD COLUMN x INT\", or the whole of it",
        ));
    }
    eat_wait(cursor);
    Ok(head)
}

fn head(cursor: &mut Cursor<'_>) -> Result<Option<Head>, SyntaxError> {
    let mut head = *cursor;
    let alter = head.eat(&["ALTER"]);
    head.eat_one(&["ONLINE", "OFFLINE"]);
    let ignore = head.eat(&["IGNORE"]);
    if !alter || !head.eat(&["TABLE"]) {
        return Ok(None);
    }
    head.eat(&["IF", "EXISTS"]);
    let table = head.table()?;
    *cursor = head;
    Ok(Some((table, ignore)))
}

/// The head of `source`, where that is a whole statement, and what follows it, whatever that is.
///
/// # Errors
/// The table's name is missing.
pub(crate) fn split_head(source: &str) -> Result<Option<(Head, &str)>, SyntaxError> {
    let tokens: Vec<_> = Lexer::new(source, Dialect::default()).map_while(Result::ok).collect();
    let start = Cursor::new(source, &tokens, source.len());
    let mut cursor = start;
    let Some(head) = head(&mut cursor)? else { return Ok(None) };
    let end = cursor.since(&start).last().map_or(0, |token| token.span.end);
    Ok(Some((head, source.get(end..).unwrap_or_default())))
}

/// Steps over MariaDB's word on how long to wait, which stands before the clauses.
fn eat_wait(cursor: &mut Cursor<'_>) {
    let seconds = cursor.rest().get(1).is_some_and(|token| token.kind == TokenKind::Number);
    if seconds && cursor.eat(&["WAIT"]) {
        cursor.next();
    } else {
        cursor.eat(&["NOWAIT"]);
    }
}

/// Takes PARTITION BY or REMOVE PARTITIONING, which follow without a comma, off the end.
fn split_partitions(cursor: Cursor<'_>) -> (Cursor<'_>, Option<Cursor<'_>>) {
    let rest = cursor.rest();
    let found = depths(rest).filter(|(.., depth)| *depth == 0).find(|(at, ..)| {
        let here = cursor.part(*at, rest.len());
        here.sees(&["PARTITION", "BY"]) || here.sees(&["REMOVE", "PARTITIONING"])
    });
    match found {
        Some((at, ..)) => (cursor.part(0, at), Some(cursor.part(at, rest.len()))),
        None => (cursor, None),
    }
}

/// Whether the commas after this clause's beginning belong to it.
fn takes_the_rest(cursor: Cursor<'_>) -> bool {
    cursor.sees(&["ORDER", "BY"]) || partition_verb(cursor).is_some()
}

const PARTITION_VERBS: [&str; 14] = [
    "ADD",
    "DROP",
    "TRUNCATE",
    "COALESCE",
    "REORGANIZE",
    "EXCHANGE",
    "ANALYZE",
    "CHECK",
    "OPTIMIZE",
    "REBUILD",
    "REPAIR",
    "DISCARD",
    "IMPORT",
    "CONVERT",
];

fn partition_verb(cursor: Cursor<'_>) -> Option<String> {
    let verb = PARTITION_VERBS.iter().find(|verb| {
        cursor.sees(&[verb, "PARTITION"])
            || (**verb == "CONVERT" && cursor.sees(&["CONVERT", "TABLE"]))
    })?;
    Some((*verb).to_owned())
}

fn clause(cursor: Cursor<'_>) -> Result<Clause, SyntaxError> {
    Ok(Clause { text: cursor.text(cursor.rest()), kind: kind(cursor)? })
}

fn kind(mut cursor: Cursor<'_>) -> Kind {
    if let Some(verb) = partition_verb(cursor) {
        return Ok(ClauseKind::PartitionMaintenance { verb });
    }
    let start = cursor;
    let kind = if cursor.eat(&["ADD"]) {
        return add(cursor);
    } else if cursor.eat(&["DROP"]) {
        drop(&mut cursor)?
    } else if cursor.eat(&["CHANGE"]) {
        cursor.eat(&["COLUMN"]);
        let if_exists = cursor.eat(&["IF", "EXISTS"]);
        let from = cursor.ident("the column's name")?;
        return Ok(ClauseKind::ChangeColumn { from, to: changed_column(cursor)?, if_exists });
    } else if cursor.eat(&["MODIFY"]) {
        cursor.eat(&["COLUMN"]);
        let if_exists = cursor.eat(&["IF", "EXISTS"]);
        return Ok(ClauseKind::ModifyColumn { column: changed_column(cursor)?, if_exists });
    } else if cursor.eat(&["ALTER"]) {
        return alter(cursor);
    } else if cursor.eat(&["RENAME"]) {
        rename(&mut cursor)?
    } else if cursor.eat(&["CONVERT", "TO"]) {
        convert(&mut cursor)?
    } else if cursor.eat(&["FORCE"]) {
        ClauseKind::Force
    } else if cursor.eat(&["ORDER", "BY"]) {
        return Ok(ClauseKind::OrderBy);
    } else if cursor.eat(&["DISCARD", "TABLESPACE"]) || cursor.eat(&["IMPORT", "TABLESPACE"]) {
        ClauseKind::Tablespace
    } else if cursor.eat(&["DISABLE", "KEYS"]) || cursor.eat(&["ENABLE", "KEYS"]) {
        ClauseKind::Keys
    } else if cursor.eat(&["WITH", "VALIDATION"]) || cursor.eat(&["WITHOUT", "VALIDATION"]) {
        ClauseKind::Validation
    } else if cursor.eat(&["ALGORITHM"]) {
        ClauseKind::Algorithm(setting(&mut cursor)?)
    } else if cursor.eat(&["LOCK"]) {
        ClauseKind::Lock(setting(&mut cursor)?)
    } else {
        return Ok(ClauseKind::Unknown);
    };
    // A clause that goes on in a way osc does not know is not the clause that it seems to be.
    if cursor.is_done() { Ok(kind) } else { unknown(start, cursor) }
}

fn unknown(start: Cursor<'_>, cursor: Cursor<'_>) -> Kind {
    let known = start.text(cursor.since(&start));
    Err(cursor.error(
        format!("this was not expected after {known}"),
        "clauses are separated by commas; quote a reserved word used as a name with backticks",
    ))
}

fn setting(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    cursor.eat_symbol('=');
    Ok(cursor.ident("a value")?.as_str().to_ascii_uppercase())
}

fn changed_column(cursor: Cursor<'_>) -> Result<ColumnDef, SyntaxError> {
    let column = ColumnDef::read(cursor)?;
    if column.references.is_none() {
        return Ok(column);
    }
    Err(cursor.error(
        "MODIFY and CHANGE take no REFERENCES",
        "add the foreign key by ADD FOREIGN KEY (…) REFERENCES …",
    ))
}

fn add(mut cursor: Cursor<'_>) -> Kind {
    if cursor.eat(&["SYSTEM", "VERSIONING"]) {
        return Ok(ClauseKind::SystemVersioning);
    }
    if cursor.eat(&["PERIOD", "FOR"]) {
        return Ok(ClauseKind::Period);
    }
    let start = cursor;
    if let Some(kind) = add_key(&mut cursor)? {
        return Ok(kind);
    }
    cursor = start;
    cursor.eat(&["COLUMN"]);
    let if_not_exists = cursor.eat(&["IF", "NOT", "EXISTS"]);
    if !cursor.peek().is_some_and(|token| token.is_symbol('(')) {
        let columns = vec![ColumnDef::read(cursor)?];
        return Ok(ClauseKind::AddColumns { columns, if_not_exists });
    }
    let group = cursor.group("columns")?;
    cursor.done()?;
    let mut columns = Vec::new();
    for part in group.split() {
        let mut element = part;
        if add_key(&mut element)?.is_some() {
            return Err(part.error(
                "osc reads only columns in such a list",
                "add keys and constraints by clauses of their own",
            ));
        }
        columns.push(ColumnDef::read(part)?);
    }
    Ok(ClauseKind::AddColumns { columns, if_not_exists })
}

fn is_primary(name: &Ident) -> bool {
    name.as_str().eq_ignore_ascii_case("PRIMARY")
}

fn drop(cursor: &mut Cursor<'_>) -> Kind {
    if cursor.eat(&["SYSTEM", "VERSIONING"]) {
        return Ok(ClauseKind::SystemVersioning);
    }
    if cursor.eat(&["PERIOD", "FOR"]) {
        cursor.next();
        return Ok(ClauseKind::Period);
    }
    if cursor.eat(&["PRIMARY", "KEY"]) {
        return Ok(ClauseKind::DropPrimaryKey);
    }
    let named = |cursor: &mut Cursor<'_>, what: &str| {
        cursor.eat(&["IF", "EXISTS"]);
        cursor.ident(what)
    };
    if cursor.eat(&["FOREIGN", "KEY"]) {
        let if_exists = cursor.eat(&["IF", "EXISTS"]);
        let name = cursor.ident("the foreign key's name")?;
        return Ok(ClauseKind::DropForeignKey { name, if_exists });
    }
    if cursor.eat_one(&["INDEX", "KEY"]) {
        let name = named(cursor, "the index's name")?;
        let primary = is_primary(&name);
        return Ok(if primary {
            ClauseKind::DropPrimaryKey
        } else {
            ClauseKind::DropIndex { name }
        });
    }
    if cursor.eat(&["CHECK"]) {
        return Ok(ClauseKind::DropCheck { name: named(cursor, "the constraint's name")? });
    }
    if cursor.eat(&["CONSTRAINT"]) {
        let name = named(cursor, "the constraint's name")?;
        let primary = is_primary(&name);
        return Ok(if primary {
            ClauseKind::DropPrimaryKey
        } else {
            ClauseKind::DropConstraint { name }
        });
    }
    cursor.eat(&["COLUMN"]);
    let if_exists = cursor.eat(&["IF", "EXISTS"]);
    let name = cursor.ident("the column's name")?;
    cursor.eat_one(&["RESTRICT", "CASCADE"]);
    Ok(ClauseKind::DropColumn { name, if_exists })
}

fn alter(mut cursor: Cursor<'_>) -> Kind {
    if cursor.eat_one(&["INDEX", "KEY"]) {
        cursor.eat(&["IF", "EXISTS"]);
        return Ok(ClauseKind::AlterIndexVisibility { name: cursor.ident("the index's name")? });
    }
    if cursor.eat_one(&["CHECK", "CONSTRAINT"]) {
        let name = cursor.ident("the constraint's name")?;
        return Ok(ClauseKind::AlterCheck { name, action: cursor.text(cursor.rest()) });
    }
    cursor.eat(&["COLUMN"]);
    cursor.eat(&["IF", "EXISTS"]);
    let name = cursor.ident("the column's name")?;
    if cursor.sees(&["SET"]) || cursor.sees(&["DROP", "DEFAULT"]) {
        return Ok(ClauseKind::AlterColumnDefault { name });
    }
    Err(cursor.error("SET DEFAULT or DROP DEFAULT is missing here", ""))
}

fn rename(cursor: &mut Cursor<'_>) -> Kind {
    let pair = |cursor: &mut Cursor<'_>, what: &str| {
        let from = cursor.ident(what)?;
        if !cursor.eat(&["TO"]) {
            return Err(cursor.error("TO is missing here", ""));
        }
        Ok((from, cursor.ident(what)?))
    };
    if cursor.eat(&["COLUMN"]) {
        let if_exists = cursor.eat(&["IF", "EXISTS"]);
        let (from, to) = pair(cursor, "the column's name")?;
        return Ok(ClauseKind::RenameColumn { from, to, if_exists });
    }
    if cursor.eat_one(&["INDEX", "KEY"]) {
        cursor.eat(&["IF", "EXISTS"]);
        let (from, to) = pair(cursor, "the index's name")?;
        return Ok(ClauseKind::RenameIndex { from, to });
    }
    if !cursor.eat_one(&["TO", "AS"]) {
        cursor.eat_symbol('=');
    }
    let (schema, name) = cursor.table()?;
    Ok(ClauseKind::RenameTable { schema, name })
}

fn convert(cursor: &mut Cursor<'_>) -> Kind {
    if !charset_words(cursor) {
        return Err(cursor.error("CHARACTER SET is missing here", ""));
    }
    let value = |cursor: &mut Cursor<'_>| {
        cursor.eat_symbol('=');
        let token = cursor.next().map(|token| token.text.trim_matches(['\'', '"', '`']));
        token.map(str::to_ascii_lowercase)
    };
    let charset = value(cursor).filter(|charset| charset != "default");
    let collate = if cursor.eat(&["COLLATE"]) { value(cursor) } else { None };
    Ok(ClauseKind::ConvertCharset { charset, collate })
}
