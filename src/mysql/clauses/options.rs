//! Table options.

use super::cursor::Cursor;
use super::{Clause, ClauseKind};
use crate::mysql::lexer::{SyntaxError, TokenKind};

/// Table options whose value may follow without `=`.
const OPTIONS: [&str; 34] = [
    "ENGINE",
    "TYPE",
    "AUTO_INCREMENT",
    "AVG_ROW_LENGTH",
    "CHECKSUM",
    "TABLE_CHECKSUM",
    "COLLATE",
    "COMMENT",
    "COMPRESSION",
    "CONNECTION",
    "DELAY_KEY_WRITE",
    "ENCRYPTION",
    "INSERT_METHOD",
    "KEY_BLOCK_SIZE",
    "MAX_ROWS",
    "MIN_ROWS",
    "PACK_KEYS",
    "PAGE_CHECKSUM",
    "PASSWORD",
    "ROW_FORMAT",
    "SECONDARY_ENGINE",
    "SECONDARY_ENGINE_ATTRIBUTE",
    "ENGINE_ATTRIBUTE",
    "AUTOEXTEND_SIZE",
    "SEQUENCE",
    "STATS_AUTO_RECALC",
    "STATS_PERSISTENT",
    "STATS_SAMPLE_PAGES",
    "TABLESPACE",
    "TRANSACTIONAL",
    "UNION",
    "PAGE_COMPRESSED",
    "PAGE_COMPRESSION_LEVEL",
    "ENCRYPTED",
];

/// Reads table options, several of which may stand side by side; `None`: these are none.
pub(super) fn table_options(cursor: Cursor<'_>) -> Result<Option<Vec<Clause>>, SyntaxError> {
    let mut here = cursor;
    let mut options = Vec::new();
    while !here.is_done() {
        let start = here;
        let Some(name) = option_name(&mut here) else {
            return match options.is_empty() {
                true => Ok(None),
                false => Err(start.error("a comma is missing before this", "")),
            };
        };
        here.eat_symbol('=');
        let value = here;
        if here.next().is_none() {
            return Err(value.error(format!("a value for {name} is missing here"), ""));
        }
        if value.peek().is_some_and(|token| token.is_symbol('(')) {
            here = value;
            here.group("tables")?;
        }
        let value = here.text(here.since(&value));
        let text = here.text(here.since(&start));
        options.push(Clause { text, kind: ClauseKind::TableOption { name, value } });
    }
    Ok(Some(options))
}

fn option_name(cursor: &mut Cursor<'_>) -> Option<String> {
    cursor.eat(&["DEFAULT"]);
    if charset_words(cursor) {
        return Some("CHARSET".into());
    }
    for place in ["DATA", "INDEX"] {
        if cursor.eat(&[place, "DIRECTORY"]) {
            return Some(format!("{place} DIRECTORY"));
        }
    }
    let [name, after @ ..] = cursor.rest() else { return None };
    let known = OPTIONS.iter().any(|option| name.is(option));
    // The servers' own clauses that may have the form `word = value`.
    let clause = ["ALGORITHM", "LOCK", "RENAME"].iter().any(|word| name.is(word));
    let assigned = after.first().is_some_and(|token| token.is_symbol('='));
    if known || (assigned && !clause && name.kind == TokenKind::Word) {
        cursor.next();
        return Some(name.text.to_ascii_uppercase());
    }
    None
}

/// Passes over a spelling of CHARACTER SET.
pub(super) fn charset_words(cursor: &mut Cursor<'_>) -> bool {
    cursor.eat(&["CHARACTER", "SET"]) || cursor.eat(&["CHAR", "SET"]) || cursor.eat(&["CHARSET"])
}
