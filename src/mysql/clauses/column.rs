//! A column's definition, as far as osc must understand it.

use super::cursor::{Cursor, depths};
use super::options::charset_words;
use crate::mysql::lexer::{SyntaxError, Token, TokenKind};
use crate::mysql::name::Ident;

/// Where a column is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// FIRST.
    First,
    /// AFTER a column.
    After(
        /// That column, by the name that it has when the clauses are done.
        Ident,
    ),
}

/// An inline foreign key: `[CONSTRAINT c] REFERENCES …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineReference {
    /// The constraint's name, where one is given (MariaDB).
    pub constraint: Option<Ident>,
    /// From REFERENCES on, as written.
    pub text: String,
}

/// A column with its definition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one attribute of the definition")]
pub struct ColumnDef {
    /// Its name.
    pub name: Ident,
    /// Type and attributes as written, without the place and an inline REFERENCES.
    pub definition: String,
    /// The type's name in upper case.
    pub type_name: String,
    /// What stands in parentheses after it: a length, the values of an ENUM.
    pub type_arguments: Option<String>,
    /// UNIQUE (also by SERIAL).
    pub unique: bool,
    /// PRIMARY KEY.
    pub primary_key: bool,
    /// NOT NULL, explicit or by PRIMARY KEY or SERIAL.
    pub not_null: bool,
    /// AUTO_INCREMENT (also by SERIAL).
    pub auto_increment: bool,
    /// Generated from other columns.
    pub generated: bool,
    /// CHECK.
    pub check: bool,
    /// DEFAULT (also by SERIAL).
    pub default: bool,
    /// CHARACTER SET, where one is given.
    pub charset: Option<String>,
    /// COLLATE, where one is given.
    pub collate: Option<String>,
    /// An inline foreign key.
    pub references: Option<InlineReference>,
    /// FIRST or AFTER.
    pub place: Option<Place>,
}

impl ColumnDef {
    /// Reads `name type attribute… [FIRST | AFTER c]`, the whole of `cursor`.
    pub(super) fn read(mut cursor: Cursor<'_>) -> Result<Self, SyntaxError> {
        let name = cursor.ident("the column's name")?;
        let (mut cursor, place) = split_place(cursor)?;
        let whole = cursor;
        let type_name = match cursor.next() {
            Some(token) if token.kind == TokenKind::Word => token.text.to_ascii_uppercase(),
            _ => return Err(whole.error("the column's type is missing here", "")),
        };
        let type_arguments = match cursor.peek() {
            Some(token) if token.is_symbol('(') => {
                Some(cursor.group("a length")?).map(|inside| inside.text(inside.rest()))
            }
            _ => None,
        };
        let serial = type_name == "SERIAL";
        let mut column = Self {
            name,
            definition: String::new(),
            type_name,
            type_arguments,
            unique: serial,
            primary_key: false,
            not_null: serial,
            auto_increment: serial,
            generated: false,
            check: false,
            default: false,
            charset: None,
            collate: None,
            references: None,
            place,
        };
        let cut = column.attributes(&mut cursor)?;
        column.definition = whole.text(cut.map_or(whole.rest(), |cut| cut.since(&whole)));
        column.references = cut.map(|mut cut| {
            let named = cut.eat(&["CONSTRAINT"]) && !cut.sees(&["REFERENCES"]);
            let constraint = if named { cut.next().and_then(Token::ident) } else { None };
            InlineReference { constraint, text: cut.text(cut.rest()) }
        });
        Ok(column)
    }

    /// Reads the attributes; returns the place where an inline foreign key begins.
    fn attributes<'t>(
        &mut self,
        cursor: &mut Cursor<'t>,
    ) -> Result<Option<Cursor<'t>>, SyntaxError> {
        loop {
            let here = *cursor;
            if cursor.is_done() {
                return Ok(None);
            } else if cursor.eat(&["REFERENCES"]) || named_references(*cursor) {
                return Ok(Some(here));
            } else if cursor.eat(&["NOT", "NULL"]) {
                self.not_null = true;
            } else if cursor.eat(&["PRIMARY", "KEY"])
                || cursor.eat(&["PRIMARY"])
                || cursor.eat(&["KEY"])
            {
                self.primary_key = true;
                self.not_null = true;
            } else if cursor.eat(&["UNIQUE", "KEY"]) || cursor.eat(&["UNIQUE"]) {
                self.unique = true;
            } else if cursor.eat(&["SERIAL", "DEFAULT", "VALUE"]) {
                (self.unique, self.not_null, self.auto_increment) = (true, true, true);
            } else if cursor.eat(&["AUTO_INCREMENT"]) {
                self.auto_increment = true;
            } else if cursor.eat(&["AS"]) || cursor.eat(&["GENERATED", "ALWAYS", "AS"]) {
                self.generated = true;
            } else if cursor.eat(&["CHECK"]) {
                self.check = true;
                cursor.group("a condition")?;
            } else if charset_words(cursor) {
                self.charset = cursor.next().map(plain);
            } else if cursor.eat(&["COLLATE"]) {
                self.collate = cursor.next().map(plain);
            } else if cursor.eat(&["DEFAULT"]) {
                self.default = true;
                pass_value(cursor)?;
            } else if cursor.eat(&["COMMENT"]) || cursor.eat(&["ON", "UPDATE"]) {
                pass_value(cursor)?;
            } else if cursor.peek().is_some_and(|token| token.is_symbol('(')) {
                cursor.group("something")?;
            } else if cursor.eat_one(&["ASCII", "UNICODE", "BYTE"]) {
                self.charset = here.peek().map(plain);
            } else {
                cursor.next();
            }
        }
    }

    /// Whether the definition gives the column a key.
    pub fn adds_key(&self) -> bool {
        self.unique || self.primary_key
    }
}

fn plain(token: &Token<'_>) -> String {
    token.text.trim_matches(['\'', '"', '`']).to_ascii_lowercase()
}

/// Passes over one value: a literal, a word, with the parentheses that follow.
fn pass_value(cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
    if cursor.peek().is_none_or(|token| !token.is_symbol('(')) {
        cursor.next();
    }
    if cursor.peek().is_some_and(|token| token.is_symbol('(')) {
        cursor.group("a value")?;
    }
    Ok(())
}

/// Whether `CONSTRAINT [name] REFERENCES` comes next (MariaDB).
fn named_references(mut cursor: Cursor<'_>) -> bool {
    if !cursor.eat(&["CONSTRAINT"]) {
        return false;
    }
    cursor.eat(&["REFERENCES"]) || (cursor.next().is_some() && cursor.eat(&["REFERENCES"]))
}

/// Takes FIRST or AFTER off the end.
fn split_place(cursor: Cursor<'_>) -> Result<(Cursor<'_>, Option<Place>), SyntaxError> {
    let rest = cursor.rest();
    let found = depths(rest)
        .skip(1)
        .filter(|(_, _, depth)| *depth == 0)
        // The first: what follows AFTER is a name, and may be called AFTER or FIRST itself.
        .find(|(at, token, _)| {
            let left = rest.len() - at;
            (token.is("FIRST") && left == 1) || (token.is("AFTER") && left <= 2)
        });
    let Some((at, token, _)) = found else { return Ok((cursor, None)) };
    let mut tail = cursor.part(at, rest.len());
    tail.next();
    let place =
        if token.is("FIRST") { Place::First } else { Place::After(tail.ident("a column's name")?) };
    Ok((cursor.part(0, at), Some(place)))
}
