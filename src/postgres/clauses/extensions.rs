//! Clauses that PostgreSQL has not, and osc has: where a column stands, and a plain table that
//! becomes a partitioned one. They are taken out of the text before the parser reads it, and blanks
//! stand in their place, so that a mistake in the rest is still shown where it is.

use squawk_syntax::SourceFile;

use super::action::{Action, ActionKind, Partition, Partitioning, Place};
use super::error::{mistake, usage};
use super::syntax::{names_in, single};
use crate::error::Result;
use crate::postgres::name::Ident;

/// What was taken out, and what is left.
pub(super) struct Own {
    /// The text with blanks for what was taken out; as long as it was.
    pub rest: String,
    /// What was taken out, in its order.
    pub actions: Vec<Action>,
}

/// A token that means something.
#[derive(Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    at: usize,
    /// How many brackets it stands in; a bracket stands outside of itself.
    depth: usize,
}

impl Token<'_> {
    fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"')
    }

    fn end(&self) -> usize {
        self.at + self.text.len()
    }
}

/// The text of a statement, and how many of its bytes the user did not write.
struct Source<'a> {
    text: &'a str,
    shift: usize,
}

/// Takes osc's own clauses out of an ALTER TABLE; any other statement is left as it is.
///
/// # Errors
/// `Usage` with the place of the mistake.
pub(super) fn take(text: &str, shift: usize) -> Result<Own> {
    let source = Source { text, shift };
    let tree = SourceFile::parse(text).syntax_node();
    let mut kept = Vec::new();
    for element in tree.descendants_with_tokens() {
        if let Some(token) = element.into_token().filter(|token| !token.kind().is_trivia()) {
            let range = token.text_range();
            kept.push((usize::from(range.start()), usize::from(range.end())));
        }
    }
    let mut depth = 0_usize;
    let mut tokens = Vec::new();
    for (from, to) in kept {
        let Some(word) = text.get(from..to) else { continue };
        if matches!(word, ")" | "]") {
            depth = depth.saturating_sub(1);
        }
        tokens.push(Token { text: word, at: from, depth });
        if matches!(word, "(" | "[") {
            depth += 1;
        }
    }
    let mut own = Own { rest: text.to_owned(), actions: Vec::new() };
    let Some(clauses) = clauses_of(&tokens) else { return Ok(own) };
    let is_comma = |token: &Token<'_>| token.depth == 0 && token.text == ",";
    let parts: Vec<&[Token<'_>]> = clauses.split(is_comma).collect();
    let commas: Vec<&Token<'_>> = clauses.iter().filter(|token| is_comma(token)).collect();
    let mut blanks: Vec<(usize, usize)> = Vec::new();
    let mut whole = Vec::new();
    for part in &parts {
        let taken = source.clause(part)?;
        whole.push(matches!(taken, Taken::Whole(_)));
        match taken {
            Taken::Nothing => {}
            Taken::Whole(action) => own.actions.push(action),
            Taken::End { from, action } => {
                blanks.push((from, part.last().map_or(from, Token::end)));
                own.actions.push(action);
            }
        }
    }
    if !own.actions.is_empty()
        && let Some(number) = parts.iter().position(|part| part.is_empty())
    {
        let comma = commas.get(number).or(commas.last());
        return Err(source.wrong(comma.copied(), "a clause is missing"));
    }
    // Of the commas, those between two clauses that are left stay.
    let last_left = whole.iter().rposition(|taken| !taken);
    for (number, (part, taken)) in parts.iter().zip(&whole).enumerate() {
        if let (true, Some(first), Some(last)) = (taken, part.first(), part.last()) {
            blanks.push((first.at, last.end()));
        }
        if *taken || last_left.is_none_or(|left| number >= left) {
            blanks.extend(commas.get(number).map(|comma| (comma.at, comma.end())));
        }
    }
    own.rest = blanked(text, &blanks);
    Ok(own)
}

fn blanked(text: &str, blanks: &[(usize, usize)]) -> String {
    let mut left = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let gone = blanks.iter().any(|(from, to)| (*from..*to).contains(&at));
        match gone && c != '\n' {
            true => left.extend(std::iter::repeat_n(' ', c.len_utf8())),
            false => left.push(c),
        }
    }
    left
}

/// The tokens of the clauses, up to the statement's end; `None`: it is no ALTER TABLE.
fn clauses_of<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<&'t [Token<'a>]> {
    let [alter, table, rest @ ..] = tokens else { return None };
    if !alter.is("alter") || !table.is("table") {
        return None;
    }
    let mut rest = match rest {
        [first, second, more @ ..] if first.is("if") && second.is("exists") => more,
        rest => rest,
    };
    if let [first, more @ ..] = rest
        && first.is("only")
    {
        rest = more;
    }
    rest = rest.get(1..)?;
    while let [dot, _, more @ ..] = rest
        && dot.text == "."
    {
        rest = more;
    }
    if let [star, more @ ..] = rest
        && star.text == "*"
    {
        rest = more;
    }
    let end = rest.iter().position(|token| token.text == ";").unwrap_or(rest.len());
    rest.get(..end)
}

/// What a clause says of ours.
enum Taken {
    Nothing,
    Whole(Action),
    /// Its end, from this byte on.
    End {
        from: usize,
        action: Action,
    },
}

impl Source<'_> {
    fn wrong(&self, token: Option<&Token<'_>>, message: &str) -> crate::error::Error {
        mistake(self.text, token.map_or(self.text.len(), |token| token.at), self.shift, message)
    }

    fn between(&self, from: usize, to: usize) -> &str {
        self.text.get(from..to).unwrap_or_default()
    }

    fn clause(&self, tokens: &[Token<'_>]) -> Result<Taken> {
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
            return Ok(Taken::Nothing);
        };
        match tokens {
            [first, by, rest @ ..] if first.is("partition") && by.is("by") => {
                let kind = ActionKind::Partition(self.partitioning(rest)?);
                let words = self.between(first.at, last.end());
                let action = Action { text: words.to_owned(), kind, names: names_in(words) };
                return Ok(Taken::Whole(action));
            }
            [alter, rest @ ..] if alter.is("alter") => {
                let rest = match rest {
                    [column, rest @ ..] if column.is("column") => rest,
                    rest => rest,
                };
                if let [column, place @ ..] = rest
                    && column.is_name()
                    && let Some(place) = position(place)?
                {
                    return Ok(Taken::Whole(moved(single(column.text)?, place)));
                }
                return Ok(Taken::Nothing);
            }
            _ if !first.is("add") => return Ok(Taken::Nothing),
            _ => {}
        }
        let from = match tokens {
            [.., first] if first.is("first") => tokens.len() - 1,
            [.., after, name] if after.is("after") && name.is_name() => tokens.len() - 2,
            _ => return Ok(Taken::Nothing),
        };
        let (Some(start), Some(place)) = (tokens.get(from), tokens.get(from..)) else {
            return Ok(Taken::Nothing);
        };
        // FIRST may be a type or a table: it is ours where the rest is a clause without it.
        let rest = self.between(first.at, start.at);
        let parsed = SourceFile::parse(&format!("ALTER TABLE t {rest}"));
        let Some(place) = position(place)?.filter(|_| parsed.errors().is_empty()) else {
            return Ok(Taken::Nothing);
        };
        let Some(name) = added(tokens) else { return Ok(Taken::Nothing) };
        if name.is("if") {
            return Err(self.wrong(
                Some(start),
                "ADD COLUMN IF NOT EXISTS with a place: whether it is added is not known beforehand",
            ));
        }
        Ok(Taken::End { from: start.at, action: moved(single(name.text)?, place) })
    }

    /// What follows PARTITION BY.
    fn partitioning(&self, tokens: &[Token<'_>]) -> Result<Partitioning> {
        let (strategy, rest) = tokens
            .split_first()
            .filter(|(token, _)| ["range", "list", "hash"].iter().any(|word| token.is(word)))
            .ok_or_else(|| self.wrong(tokens.first(), "RANGE, LIST or HASH is missing"))?;
        let (key, rest) =
            self.group(rest, "the columns to partition by, in brackets, are missing")?;
        let missing = "the partitions, as in (PARTITION p FOR VALUES …, …), are missing";
        let (list, rest) = self.group(rest, missing)?;
        if let Some(token) = rest.first() {
            return Err(self.wrong(Some(token), "nothing follows the partitions"));
        }
        let (Some(open), Some(close)) = (key.first(), key.last()) else {
            return Err(self.wrong(rest.first(), "the columns are missing"));
        };
        let depth = open.depth + 1;
        let inner = list.get(1..list.len().saturating_sub(1)).unwrap_or_default();
        let mut partitions: Vec<Partition> = Vec::new();
        for part in inner.split(|token| token.depth == depth && token.text == ",") {
            let at = part.first().or(list.last());
            let partition = self.partition(part, at)?;
            if partitions.iter().any(|other| other.name == partition.name) {
                return Err(self.wrong(part.get(1), "two partitions have this name"));
            }
            partitions.push(partition);
        }
        Ok(Partitioning {
            strategy: strategy.text.to_ascii_uppercase(),
            key: self.between(open.at, close.end()).to_owned(),
            partitions,
        })
    }

    /// Splits what stands in brackets off the front, with the brackets.
    fn group<'t, 'a>(
        &self,
        tokens: &'t [Token<'a>],
        missing: &str,
    ) -> Result<(&'t [Token<'a>], &'t [Token<'a>])> {
        let open = tokens.first().filter(|token| token.text == "(");
        let open = open.ok_or_else(|| self.wrong(tokens.first(), missing))?;
        tokens
            .iter()
            .position(|token| token.text == ")" && token.depth == open.depth)
            .and_then(|close| tokens.split_at_checked(close + 1))
            .ok_or_else(|| self.wrong(Some(open), "a bracket is not closed"))
    }

    /// `PARTITION name FOR VALUES …` or `PARTITION name DEFAULT`.
    fn partition(&self, tokens: &[Token<'_>], at: Option<&Token<'_>>) -> Result<Partition> {
        let [word, name, bound @ ..] = tokens else {
            return Err(self.wrong(at, "PARTITION name FOR VALUES … or DEFAULT is missing"));
        };
        if !word.is("partition") || !name.is_name() {
            return Err(self.wrong(Some(word), "PARTITION and a name are missing"));
        }
        if let Some(dot) = bound.first().filter(|token| token.text == ".") {
            return Err(
                self.wrong(Some(dot), "a partition is in its table's schema: name it alone")
            );
        }
        let words = "a bound is FOR VALUES IN (…), FROM (…) TO (…) or WITH (…), or DEFAULT";
        let rest = match bound {
            [default, rest @ ..] if default.is("default") => rest,
            [a, b, kind, rest @ ..] if a.is("for") && b.is("values") => {
                let (_, rest) = self.group(rest, words)?;
                match (kind.is("from"), rest) {
                    (true, [to, rest @ ..]) if to.is("to") => self.group(rest, words)?.1,
                    (false, rest) if kind.is("in") || kind.is("with") => rest,
                    _ => return Err(self.wrong(rest.first().or(Some(kind)), words)),
                }
            }
            _ => return Err(self.wrong(bound.first().or(at), words)),
        };
        if let Some(token) = rest.first() {
            return Err(self.wrong(Some(token), "nothing follows a partition's bound"));
        }
        let (from, to) = (bound.first().map(|t| t.at), bound.last().map(Token::end));
        let bound = self.between(from.unwrap_or_default(), to.unwrap_or_default());
        Ok(Partition { name: single(name.text)?, bound: bound.to_owned() })
    }
}

/// `FIRST` or `AFTER d`, and nothing else.
fn position(tokens: &[Token<'_>]) -> Result<Option<Place>> {
    Ok(match tokens {
        [first] if first.is("first") => Some(Place::First),
        [after, name] if after.is("after") && name.is_name() => {
            Some(Place::After(single(name.text)?))
        }
        _ => None,
    })
}

/// The column that an `ADD [COLUMN] c …` adds; `IF` where it is written.
fn added<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<&'t Token<'a>> {
    match tokens {
        [_, column, name, ..] if column.is("column") => Some(name),
        [_, name, ..] if name.is_name() => Some(name),
        _ => None,
    }
}

fn moved(column: Ident, place: Place) -> Action {
    let (text, other) = match &place {
        Place::First => (format!("ALTER COLUMN {column} FIRST"), None),
        Place::After(other) => {
            (format!("ALTER COLUMN {column} AFTER {other}"), Some(other.clone()))
        }
    };
    let names = std::iter::once(column.clone()).chain(other).collect();
    Action { text, kind: ActionKind::Move { column, place }, names }
}

/// A table is partitioned in one way.
///
/// # Errors
/// `Usage`.
pub(super) fn check(actions: &[Action]) -> Result<()> {
    let partitions = |action: &&Action| matches!(action.kind, ActionKind::Partition(_));
    if actions.iter().filter(partitions).count() > 1 {
        return Err(usage("a table is partitioned in one way: PARTITION BY stands there twice"));
    }
    Ok(())
}
