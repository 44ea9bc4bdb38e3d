//! Keys and constraints that a clause adds.

use super::cursor::Cursor;
use super::{ClauseKind, IndexKind};
use crate::mysql::lexer::SyntaxError;
use crate::mysql::name::Ident;

/// Reads what follows ADD when it is no column.
pub(super) fn add_key(cursor: &mut Cursor<'_>) -> Result<Option<ClauseKind>, SyntaxError> {
    let mut name = None;
    let constraint = cursor.eat(&["CONSTRAINT"]);
    if constraint {
        cursor.eat(&["IF", "NOT", "EXISTS"]);
        let unnamed = ["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"].iter().any(|w| cursor.sees(&[w]));
        if !unnamed {
            name = Some(cursor.ident("the constraint's name")?);
        }
    }
    if cursor.eat(&["PRIMARY", "KEY"]) {
        let (_, columns) = key_parts(cursor)?;
        return Ok(Some(ClauseKind::AddPrimaryKey { columns }));
    }
    if cursor.eat(&["FOREIGN", "KEY"]) {
        let (index, columns) = key_parts(cursor)?;
        if !cursor.sees(&["REFERENCES"]) {
            return Err(cursor.error("REFERENCES is missing here", ""));
        }
        return Ok(Some(ClauseKind::AddForeignKey { name, index, columns }));
    }
    if cursor.eat(&["CHECK"]) {
        cursor.group("a condition")?;
        return Ok(Some(ClauseKind::AddCheck { name }));
    }
    let kind = if cursor.eat(&["UNIQUE"]) {
        cursor.eat_one(&["INDEX", "KEY"]);
        IndexKind::Unique
    } else if constraint {
        return Err(cursor.error("PRIMARY KEY, UNIQUE, FOREIGN KEY or CHECK is missing here", ""));
    } else if cursor.eat(&["FULLTEXT"]) {
        cursor.eat_one(&["INDEX", "KEY"]);
        IndexKind::Fulltext
    } else if cursor.eat(&["SPATIAL"]) {
        cursor.eat_one(&["INDEX", "KEY"]);
        IndexKind::Spatial
    } else if cursor.eat(&["VECTOR", "INDEX"]) || cursor.eat(&["VECTOR", "KEY"]) {
        IndexKind::Vector
    } else if cursor.eat_one(&["INDEX", "KEY"]) {
        IndexKind::Plain
    } else {
        return Ok(None);
    };
    let (index, columns) = key_parts(cursor)?;
    Ok(Some(ClauseKind::AddIndex { name: index.or(name), kind, columns }))
}

/// Reads `[IF NOT EXISTS] [name] [USING type] (part, …)`: the name and the columns.
fn key_parts(cursor: &mut Cursor<'_>) -> Result<(Option<Ident>, Vec<Ident>), SyntaxError> {
    cursor.eat(&["IF", "NOT", "EXISTS"]);
    let mut name = None;
    if !using(cursor) && cursor.peek().is_some_and(|token| !token.is_symbol('(')) {
        name = Some(cursor.ident("the key's name")?);
        using(cursor);
    }
    let group = cursor.group("the key's columns")?;
    let mut columns = Vec::new();
    for mut part in group.split() {
        if part.peek().is_some_and(|token| token.is_symbol('(')) {
            part.group("an expression")?;
        } else {
            columns.push(part.ident("a column's name")?);
        }
    }
    Ok((name, columns))
}

fn using(cursor: &mut Cursor<'_>) -> bool {
    ["BTREE", "HASH", "RTREE"]
        .iter()
        .any(|kind| cursor.eat(&["USING", kind]) || cursor.eat(&["TYPE", kind]))
}
