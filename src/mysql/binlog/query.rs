//! QUERY events: transactions' ends, other people's DDL, and changes logged as statements, which
//! come without the rows that they changed.
//!
//! DDL on the retired table is not looked at, and on the shadow only from the verification on
//! (`shadow`), since the verification finds damage from before.

use std::borrow::Cow;
use std::collections::HashSet;

use super::bytes::{Bytes, Read};
use super::xa::Xid;
use crate::mysql::connection::version::Flavor;
use crate::mysql::lexer::{Dialect, Token, TokenKind, tokens};
use crate::mysql::name::TableName;

/// What is watched.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    /// The server, which says which executable comments it ran.
    pub(super) flavor: Flavor,
    /// The table.
    pub(super) original: TableName,
    /// Whether names of tables that differ in case only are the same (`lower_case_table_names`).
    pub(super) fold_case: bool,
    /// Its triggers, lower case.
    pub(super) triggers: HashSet<String>,
    /// Tables with triggers, and views: a statement that names one may change the original.
    pub(super) opaque: HashSet<(String, String)>,
}

/// What a statement means to the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Statement {
    /// A transaction begins.
    Begin,
    /// A transaction ends, rolled back or not.
    End,
    /// An XA transaction begins.
    XaStart,
    /// A prepared XA transaction is committed or rolled back.
    XaResolved(Xid),
    /// An XA transaction is committed without having been prepared, where it began.
    XaOnePhase,
    /// Nothing within the transaction: SAVEPOINT, XA END.
    Mark,
    /// A statement that does not touch the original.
    Harmless,
    /// One that does, or may: what it is, for a human.
    Foreign(String),
}

/// The parts of a QUERY event.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryEvent<'a> {
    /// The session that ran it.
    pub(super) session: u32,
    /// The session's default database.
    pub(super) database: &'a [u8],
    /// The statement; compressed still in MariaDB's compressed events.
    pub(super) sql: &'a [u8],
    /// The `sql_mode` under which the session read it.
    pub(super) sql_mode: u64,
}

impl<'a> QueryEvent<'a> {
    /// Reads an event; `extra`: bytes of the fixed part beyond a QUERY event's.
    pub(super) fn parse(body: &'a [u8], extra: usize) -> Read<Self> {
        let mut bytes = Bytes(body);
        let session = u32::try_from(bytes.little(4)?).unwrap_or_default();
        bytes.take(4)?;
        let database = usize::from(bytes.byte()?);
        bytes.take(2)?;
        let variables = bytes.length(2)?;
        bytes.take(extra)?;
        let variables = bytes.take(variables)?;
        let database = bytes.take(database)?;
        bytes.take(1)?;
        Ok(Self { session, database, sql: bytes.0, sql_mode: sql_mode(variables) })
    }
}

/// The first status variables are always the flags (0) and the `sql_mode` (1).
fn sql_mode(variables: &[u8]) -> u64 {
    let mut bytes = Bytes(variables);
    let mut mode = || -> Read<u64> {
        let mut code = bytes.byte()?;
        if code == 0 {
            bytes.take(4)?;
            code = bytes.byte()?;
        }
        if code == 1 { bytes.little(8) } else { Ok(0) }
    };
    mode().unwrap_or(0)
}

impl Watch {
    /// Whether a table of the log is this one.
    pub(super) fn is(&self, table: &TableName, schema: &[u8], name: &[u8]) -> bool {
        let same = |ours: &str, theirs: &[u8]| {
            ours.as_bytes() == theirs
                || self.fold_case
                    && std::str::from_utf8(theirs)
                        .is_ok_and(|theirs| ours.to_lowercase() == theirs.to_lowercase())
        };
        same(table.table.as_str(), name) && same(table.schema.as_str(), schema)
    }

    fn same(&self, ours: &str, theirs: &str) -> bool {
        ours == theirs || self.fold_case && ours.to_lowercase() == theirs.to_lowercase()
    }

    /// What a statement means.
    pub(super) fn statement(&self, event: &QueryEvent<'_>) -> Statement {
        // Nearly all there are.
        match event.sql {
            b"BEGIN" => return Statement::Begin,
            b"COMMIT" => return Statement::End,
            _ => {}
        }
        let dialect = Dialect::of_sql_mode(self.flavor, event.sql_mode);
        let Ok(sql) = std::str::from_utf8(event.sql) else {
            return self.unreadable(event.sql);
        };
        let Ok(tokens) = tokens(sql, dialect) else { return self.unreadable(event.sql) };
        let scan = Scan { watch: self, database: event.database, tokens: &tokens };
        if let Some(control) = scan.control(sql) {
            return control;
        }
        match scan.verdict() {
            None => Statement::Harmless,
            Some(reason) => {
                let shown: String = sql.chars().take(200).collect();
                Statement::Foreign(format!("{reason}: {shown}"))
            }
        }
    }

    /// A statement in another character set than UTF-8, or that the server read otherwise: named is what
    /// the bytes contain.
    fn unreadable(&self, sql: &[u8]) -> Statement {
        let lower = sql.to_ascii_lowercase();
        let table = self.original.table.as_str();
        let named = !table.is_ascii()
            || lower.windows(table.len()).any(|part| part.eq_ignore_ascii_case(table.as_bytes()));
        if named {
            Statement::Foreign(format!(
                "a statement that osc cannot read may be about {}: {}",
                self.original.plain(),
                String::from_utf8_lossy(sql).chars().take(200).collect::<String>()
            ))
        } else {
            Statement::Harmless
        }
    }
}

/// A reference to a table.
type Reference<'a> = (Option<Cow<'a, str>>, Cow<'a, str>);

/// A statement being looked at.
struct Scan<'a> {
    watch: &'a Watch,
    database: &'a [u8],
    tokens: &'a [Token<'a>],
}

impl<'a> Scan<'a> {
    fn is(&self, at: usize, keyword: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is(keyword))
    }

    fn any(&self, at: usize, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(at, keyword))
    }

    /// The place after these keywords, if they are there.
    fn skip(&self, at: usize, keywords: &[&str]) -> usize {
        let there = keywords.iter().enumerate().all(|(n, keyword)| self.is(at + n, keyword));
        if there { at + keywords.len() } else { at }
    }

    /// The place after any of these keywords, in any order.
    fn skip_any(&self, mut at: usize, keywords: &[&str]) -> usize {
        while self.any(at, keywords) {
            at += 1;
        }
        at
    }

    fn sign(&self, at: usize, sign: char) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is_symbol(sign))
    }

    /// The table named at a place, and the place after it.
    fn reference(&self, at: usize) -> Option<(Reference<'a>, usize)> {
        let first = self.tokens.get(at)?.name()?;
        if self.sign(at + 1, '.') {
            let second = self.tokens.get(at + 2)?.name()?;
            return Some(((Some(first), second), at + 3));
        }
        Some(((None, first), at + 1))
    }

    fn in_schema(&self, schema: Option<&str>) -> bool {
        let ours = self.watch.original.schema.as_str();
        match schema {
            Some(schema) => self.watch.same(ours, schema),
            None => std::str::from_utf8(self.database).is_ok_and(|db| self.watch.same(ours, db)),
        }
    }

    fn is_original(&self, (schema, table): &Reference<'_>) -> bool {
        self.watch.same(self.watch.original.table.as_str(), table)
            && self.in_schema(schema.as_deref())
    }

    fn original_at(&self, at: usize) -> bool {
        self.reference(at).is_some_and(|(reference, _)| self.is_original(&reference))
    }

    /// Whether any of the names could be that of a table in `found`.
    fn names(&self, found: impl Fn(&Reference<'_>) -> bool) -> bool {
        (0..self.tokens.len()).any(|at| {
            !(at > 0 && self.sign(at - 1, '.'))
                && self.reference(at).is_some_and(|(reference, _)| found(&reference))
        })
    }

    fn is_opaque(&self, (schema, table): &Reference<'_>) -> bool {
        let schema = schema.clone().unwrap_or_else(|| String::from_utf8_lossy(self.database));
        self.watch.opaque.contains(&(schema.to_lowercase(), table.to_lowercase()))
    }

    /// Statements that begin and end transactions.
    fn control(&self, sql: &str) -> Option<Statement> {
        let word = |keyword| self.is(0, keyword);
        Some(
            if word("BEGIN") && self.tokens.len() == 1 || word("START") && self.is(1, "TRANSACTION")
            {
                Statement::Begin
            } else if word("ROLLBACK") && (self.is(1, "TO") || self.is(2, "TO")) {
                Statement::Mark
            } else if word("COMMIT") || word("ROLLBACK") {
                Statement::End
            } else if word("SAVEPOINT") || word("RELEASE") {
                Statement::Mark
            } else if word("XA") {
                let name = || {
                    let text = sql.trim_start().get(2..).unwrap_or_default().trim_start();
                    Xid::new(text.split_once(char::is_whitespace).map_or("", |(_, name)| name))
                };
                let one_phase = self.tokens.last().is_some_and(|token| token.is("PHASE"));
                match () {
                    () if self.any(1, &["START", "BEGIN"]) => Statement::XaStart,
                    () if self.is(1, "COMMIT") && one_phase => Statement::XaOnePhase,
                    () if self.any(1, &["COMMIT", "ROLLBACK"]) => Statement::XaResolved(name()),
                    () => Statement::Mark,
                }
            } else {
                return None;
            },
        )
    }

    /// Why the statement is not harmless.
    fn verdict(&self) -> Option<String> {
        let start = self.statement_start();
        let table = self.watch.original.plain();
        let rest = start + 1;
        let first = self.tokens.get(start)?;
        let is_word = first.kind == TokenKind::Word;
        let verb = if is_word { first.text.to_ascii_uppercase() } else { String::new() };
        let ddl = |hit: bool| hit.then(|| format!("{table} was changed by another's {verb}"));
        match verb.as_str() {
            "ALTER" => ddl(self.alter(rest)),
            "DROP" => ddl(self.drop(rest)),
            "CREATE" => ddl(self.create(rest)),
            "RENAME" => ddl(self.rename(rest)),
            "TRUNCATE" => ddl(self.original_at(self.skip(rest, &["TABLE"]))),
            "ANALYZE" | "OPTIMIZE" | "REPAIR" | "CHECK" | "CHECKSUM" | "FLUSH" | "GRANT"
            | "REVOKE" | "SET" | "INSTALL" | "UNINSTALL" | "LOCK" | "UNLOCK" | "USE" | "RESET"
            | "PURGE" | "KILL" | "IMPORT" => None,
            "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "MERGE" | "WITH" => {
                if self.names(|reference| self.is_original(reference)) {
                    Some(format!("a change that may be to {table} was logged without its rows"))
                } else if self.names(|reference| self.is_opaque(reference)) {
                    Some(format!(
                        "a change through a view or to a table with triggers, which may have \
                         changed {table}, was logged without its rows"
                    ))
                } else {
                    None
                }
            }
            "SELECT" | "CALL" | "DO" | "EXECUTE" | "VALUES" | "TABLE" | "HANDLER" | "" => {
                Some(format!("what it changed, maybe {table}, was logged without its rows"))
            }
            _ => self
                .names(|reference| self.is_original(reference))
                .then(|| format!("an unknown statement names {table}")),
        }
    }

    /// The place of the verb, which MariaDB's `SET STATEMENT … FOR` can come before.
    fn statement_start(&self) -> usize {
        if self.is(0, "SET") && self.is(1, "STATEMENT") {
            let found = self.tokens.iter().position(|token| token.is("FOR"));
            return found.map_or(0, |at| at + 1);
        }
        0
    }

    fn alter(&self, at: usize) -> bool {
        let at = self.skip_any(at, &["ONLINE", "OFFLINE", "IGNORE"]);
        if !self.is(at, "TABLE") {
            return false;
        }
        let at = self.skip(at + 1, &["IF", "EXISTS"]);
        if self.original_at(at) {
            return true;
        }
        // EXCHANGE PARTITION p WITH TABLE original, RENAME TO original, CONVERT TABLE original.
        (at..self.tokens.len()).any(|at| {
            let to = self.is(at, "RENAME") && !self.any(at + 1, &["COLUMN", "INDEX", "KEY"]);
            to && self.original_at(self.skip_any(at + 1, &["TO", "AS"]))
                || self.is(at, "TABLE") && self.original_at(at + 1)
        })
    }

    fn drop(&self, at: usize) -> bool {
        let after = |at: usize| self.skip(at + 1, &["IF", "EXISTS"]);
        if self.any(at, &["TABLE", "TABLES"]) {
            let mut at = after(at);
            while let Some((reference, next)) = self.reference(at) {
                if self.is_original(&reference) {
                    return true;
                }
                if !self.sign(next, ',') {
                    return false;
                }
                at = next + 1;
            }
            false
        } else if self.any(at, &["DATABASE", "SCHEMA"]) {
            self.reference(after(at)).is_some_and(|((_, name), _)| self.in_schema(Some(&name)))
        } else if self.is(at, "INDEX") {
            // A name, then the table: whatever else the statement says is about neither.
            self.reference(after(at)).is_some_and(|(_, next)| self.original_on(next))
        } else if self.is(at, "TRIGGER") {
            self.reference(after(at)).is_some_and(|((schema, name), _)| {
                self.in_schema(schema.as_deref())
                    && self.watch.triggers.contains(&name.to_lowercase())
            })
        } else {
            false
        }
    }

    fn create(&self, at: usize) -> bool {
        let plain = self.skip(at, &["OR", "REPLACE"]);
        let (replaces, at) = (plain > at, plain);
        if self.is(at, "TABLE") {
            // With IF NOT EXISTS it did nothing: the original exists.
            return self.skip(at + 1, &["IF", "NOT", "EXISTS"]) == at + 1
                && self.original_at(at + 1);
        }
        if self.any(at, &["DATABASE", "SCHEMA"]) {
            return replaces
                && self
                    .reference(at + 1)
                    .is_some_and(|((_, name), _)| self.in_schema(Some(&name)));
        }
        let kind =
            self.skip_any(at, &["ONLINE", "OFFLINE", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR"]);
        if self.is(kind, "INDEX") {
            let name = self.skip(kind + 1, &["IF", "NOT", "EXISTS"]);
            let Some((_, next)) = self.reference(name) else { return false };
            // An index may be named ON, and its kind may come before the table.
            return self.original_on(if self.is(next, "USING") { next + 2 } else { next });
        }
        // [DEFINER = user [@ host]] TRIGGER: not further than the account's name.
        let trigger = (at..(at + 9).min(self.tokens.len()))
            .take_while(|at| {
                !self.any(*at, &["VIEW", "PROCEDURE", "FUNCTION", "EVENT", "TEMPORARY"])
            })
            .find(|at| self.is(*at, "TRIGGER"));
        let name = trigger.map(|at| self.skip(at + 1, &["IF", "NOT", "EXISTS"]));
        let Some((_, next)) = name.and_then(|at| self.reference(at)) else { return false };
        // When it fires, which may name columns; then the table, long before its text.
        let on = (next..self.tokens.len()).find(|at| self.is(*at, "ON"));
        on.is_some_and(|on| self.original_on(on))
    }

    /// Whether this is `ON original`.
    fn original_on(&self, at: usize) -> bool {
        self.is(at, "ON") && self.original_at(at + 1)
    }

    fn rename(&self, at: usize) -> bool {
        if !self.any(at, &["TABLE", "TABLES"]) {
            return false;
        }
        // All names in it are of tables, but for WAIT and a number.
        (at + 1..self.tokens.len()).any(|at| !self.sign(at - 1, '.') && self.original_at(at))
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
