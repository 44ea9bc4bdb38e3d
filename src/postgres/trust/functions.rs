//! Functions that a copy would run with the rights of osc's role: those of checks, generated columns,
//! defaults, index expressions, domains and casts of the table, and those that the clauses call.
//!
//! A function does what its owner wrote, as whoever runs it, and `SET ROLE` is no protection: it can
//! RESET it. So its owner must be one who could do all that osc's role can: the role itself, a
//! superuser, a role that may become osc's (`trust`). Else osc's role is the stronger one: it is a
//! superuser, or has rights of its own beside those of the owner that it is a member of.
//!
//! Two looks, each for what the other cannot do. [`of_others`] goes by the clauses' *words* before the server
//! reads them, since the server may run a function while it reads: it folds constants in the expressions of
//! indexes, and evaluates defaults. It looks where words can lead: in the search path, and in schemas that
//! are named. [`resolved`] goes by *what the server made of the words*, as `pg_depend` has it of the draft of
//! the shadow, in the transaction that makes it: before a row is written, and whatever another session made
//! between the words' check and the draft. `USING`, which leaves nothing in the catalog, is looked at in a check on
//! an empty copy, before it goes into the projection. What neither sees is a function made in that moment *and* run while the
//! empty draft is made.

use std::collections::BTreeSet;

use tokio_postgres::{Client, SimpleQueryRow};

use super::roles::trusted;
use crate::error::{Error, Finding, Result};
use crate::postgres::catalog::table::Table;
use crate::postgres::connection::session::rows;
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::name::{TableName, Text};
use crate::testing::mutation::{self, Rule};

/// Functions that are shown.
const SHOWN: usize = 8;

/// The types of which those in `kind` are made, as the second half of its definition.
const PARTS: &str = "UNION SELECT part.oid FROM kind JOIN pg_catalog.pg_type t ON t.oid = kind.oid,
             LATERAL (SELECT t.typbasetype UNION ALL SELECT t.typelem
               UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
                 WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0
               UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r
                 WHERE r.rngtypid = t.oid) part(oid) WHERE part.oid <> 0";

/// Words that call operators, which are looked for in the search path like those that are written.
const IMPLIED: [(&str, &[&str]); 8] = [
    ("in", &["=", "<>"]),
    ("between", &["<", "<=", ">=", ">"]),
    ("like", &["~~", "!~~"]),
    ("ilike", &["~~*", "!~~*"]),
    ("similar", &["~", "!~"]),
    ("nullif", &["="]),
    ("distinct", &["="]),
    ("case", &["="]),
];

/// Bytes of a name; the server cuts the rest off.
const NAME: usize = 63;

/// Functions that would run as osc's role and belong to a role that it is stronger than. `clauses`:
/// the change in the user's words, which `role`'s sessions read.
///
/// # Errors
/// The server's.
pub(crate) async fn of_others(
    client: &Client,
    original: &Table,
    role: &RoleSettings,
    clauses: &str,
) -> Result<Vec<Finding>> {
    if mutation::active(Rule::PgFunctionsTrusted) {
        return Ok(Vec::new());
    }
    let words = Words { path: role.path(), ..Words::of(clauses) };
    let mut findings = Vec::new();
    if words.escaped {
        findings.push(Finding::new(
            "functions",
            "the clauses have a name in the form U&\"…\", which osc does not read, and it may be that \
             of a function",
            "write the name itself, in double quotes",
        ));
    }
    findings.extend(calls(client, original.oid, &original.name.plain(), &words).await?);
    findings.extend(conversions(client, original, &words).await?);
    findings.extend(domains(client, original.oid, &original.name, &words).await?);
    Ok(findings)
}

/// Fails where the table that the clauses made, the draft of `original`'s shadow, would run such a function: by
/// what the server has resolved.
///
/// # Errors
/// `Refused`; the server's.
pub(crate) async fn resolved(client: &Client, draft: u32, original: &TableName) -> Result<()> {
    if mutation::active(Rule::PgResolvedTrusted) || mutation::active(Rule::PgFunctionsTrusted) {
        return Ok(());
    }
    let words = Words::default();
    let called = calls(client, draft, &original.plain(), &words).await?;
    match called.or(domains(client, draft, original, &words).await?) {
        None => Ok(()),
        Some(finding) => Err(Error::Refused(vec![finding])),
    }
}

/// A query: the catalog's rows that have an expression of the table `oid`, by catalog and OID.
fn expressions(oid: u32) -> String {
    format!(
        "SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid
             FROM pg_catalog.pg_constraint k WHERE k.conrelid = {oid}
           UNION ALL SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, d.oid
             FROM pg_catalog.pg_attrdef d WHERE d.adrelid = {oid}
           UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid
             FROM pg_catalog.pg_index i WHERE i.indrelid = {oid}
           UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, x.oid
             FROM pg_catalog.pg_statistic_ext x WHERE x.stxrelid = {oid}"
    )
}

/// An expression: whether a name in this schema can be meant. `$user` in the path is osc's role.
fn reached(schema: &str, words: &Words) -> String {
    format!(
        "({schema} = 'pg_catalog'::pg_catalog.regnamespace OR {schema} IN (SELECT s.oid \
         FROM pg_catalog.pg_namespace s WHERE s.nspname = ANY (ARRAY[{}]::pg_catalog.text[]) \
         OR s.nspname = current_user AND '$user' = ANY (ARRAY[{}]::pg_catalog.text[])))",
        list(&words.names.union(&words.path).cloned().collect()),
        list(&words.path),
    )
}

/// An expression: the operator `o`, whose name pg_catalog has too, is for types that neither the table nor the
/// words have and that nothing becomes by itself.
const OF_OTHER_TYPES: &str = "(EXISTS (SELECT FROM pg_catalog.pg_operator k
               WHERE k.oprname = o.oprname AND (k.oprleft = 0) = (o.oprleft = 0)
                 AND k.oprnamespace = 'pg_catalog'::pg_catalog.regnamespace)
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid IN (o.oprleft, o.oprright)
               AND (t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace OR t.typelem <> 0
                 OR t.typtype NOT IN ('b', 'c', 'e', 'r') OR t.oid IN (SELECT kind.oid FROM kind)
                 OR EXISTS (SELECT FROM pg_catalog.pg_cast i
                   WHERE i.casttarget = t.oid AND i.castcontext = 'i'))))";

/// The functions that there are: those that hang on the table `oid`, and those that words may mean.
async fn calls(client: &Client, oid: u32, name: &str, words: &Words) -> Result<Option<Finding>> {
    let sql = format!(
        "WITH RECURSIVE expression(class, object) AS (
           {expressions}
           UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, {oid}::pg_catalog.oid),
         kind(oid) AS (
           SELECT oid FROM (
             SELECT a.atttypid FROM pg_catalog.pg_attribute a
               WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped
             UNION ALL SELECT d.refobjid FROM expression e JOIN pg_catalog.pg_depend d
               ON d.classid = e.class AND d.objid = e.object
               AND d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass
             UNION ALL SELECT pg_catalog.unnest(
               pg_catalog.array_append(p.proargtypes::pg_catalog.oid[], p.prorettype))
               FROM pg_catalog.pg_proc p WHERE p.proname = ANY (ARRAY[{calls}]::pg_catalog.text[])
                 AND {of_path_p}
             UNION ALL SELECT t.oid FROM pg_catalog.pg_type t
               WHERE t.typname = ANY (ARRAY[{names}]::pg_catalog.text[]) AND {of_path_t}) first(oid)
           {PARTS}),
         uses(class, object) AS (
           SELECT class, object FROM expression
           UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid
             FROM pg_catalog.pg_constraint k JOIN kind ON k.contypid = kind.oid
           UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, kind.oid FROM kind),
         called(oid) AS (
           SELECT coalesce(o.oprcode::pg_catalog.oid, d.refobjid) FROM uses u
             JOIN pg_catalog.pg_depend d ON d.classid = u.class AND d.objid = u.object
             LEFT JOIN pg_catalog.pg_operator o ON o.oid = d.refobjid
               AND d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass
             WHERE d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass,
                                    'pg_catalog.pg_operator'::pg_catalog.regclass)
           UNION SELECT c.castfunc FROM pg_catalog.pg_cast c
             WHERE {casts_count} AND (EXISTS (SELECT FROM kind
                 JOIN pg_catalog.pg_type t ON t.oid = kind.oid
                 WHERE t.oid IN (c.castsource, c.casttarget) AND NOT {of_trusted})
               OR EXISTS (SELECT FROM kind WHERE kind.oid IN (c.castsource, c.casttarget))
                 AND NOT EXISTS (SELECT FROM pg_catalog.pg_type t
                   WHERE t.oid IN (c.castsource, c.casttarget) AND NOT {of_trusted}))
           UNION SELECT r.rngsubdiff FROM pg_catalog.pg_range r JOIN kind ON kind.oid = r.rngtypid
           UNION SELECT p.oid FROM pg_catalog.pg_proc p
             WHERE p.proname = ANY (ARRAY[{calls}]::pg_catalog.text[]) AND {of_path_p}
           UNION SELECT o.oprcode FROM pg_catalog.pg_operator o
             WHERE o.oprname = ANY (ARRAY[{operators}]::pg_catalog.text[]) AND {of_path_o}
               AND NOT {OF_OTHER_TYPES})
         SELECT DISTINCT p.oid::pg_catalog.regprocedure::pg_catalog.text,
           pg_catalog.pg_get_userbyid(p.proowner), current_user
         FROM called JOIN pg_catalog.pg_proc p ON p.oid = called.oid
         WHERE p.prokind <> 'p' AND p.prorettype <> 'pg_catalog.trigger'::pg_catalog.regtype
           AND NOT {trusted} ORDER BY 1",
        expressions = expressions(oid),
        names = list(&words.names),
        of_path_p = reached("p.pronamespace", words),
        of_path_t = reached("t.typnamespace", words),
        of_path_o = reached("o.oprnamespace", words),
        calls = list(&words.calls),
        operators = list(&words.operators),
        trusted = trusted("p.proowner"),
        of_trusted = trusted("t.typowner"),
        casts_count = !mutation::active(Rule::PgCastsTrusted),
    );
    let found = rows(client, "looking for functions that would be run", &sql).await?;
    Ok(shown(&found).map(|(role, shown)| {
        Finding::new(
            "functions",
            format!(
                "the change of {name} would run functions whose owners have fewer rights than {role}, \
                 and they could use all of its: {shown}",
            ),
            "connect as their owner; or look at the functions, and give --trust-owner",
        )
    }))
}

/// Those that there may be at any time: the casts of a type of another's, where a column's type changes.
/// Rows are converted again and again, and each time the server looks for the cast.
async fn conversions(client: &Client, original: &Table, words: &Words) -> Result<Option<Finding>> {
    if !words.names.contains("type") || mutation::active(Rule::PgCastsTrusted) {
        return Ok(None);
    }
    let sql = format!(
        "WITH RECURSIVE kind(oid) AS (
           SELECT oid FROM (
             SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = {oid}
               AND a.attnum > 0 AND a.attname = ANY (ARRAY[{names}]::pg_catalog.text[])
             UNION ALL SELECT t.oid FROM pg_catalog.pg_type t
               WHERE t.typname = ANY (ARRAY[{names}]::pg_catalog.text[]) AND {reached}) first(oid)
           {PARTS})
         SELECT pg_catalog.format_type(t.oid, NULL), pg_catalog.pg_get_userbyid(t.typowner),
           current_user
         FROM kind JOIN pg_catalog.pg_type t ON t.oid = kind.oid WHERE NOT {trusted} ORDER BY 1",
        oid = original.oid,
        names = list(&words.names),
        reached = reached("t.typnamespace", words),
        trusted = trusted("t.typowner"),
    );
    let found = rows(client, "looking for the types that are converted", &sql).await?;
    Ok(shown(&found).map(|(role, shown)| {
        Finding::new(
            "functions",
            format!(
                "the change of {} converts values of types whose owners have fewer rights than \
                 {role}, and may make a cast at any time, which could use all of its: {shown}",
                original.name.plain(),
            ),
            "connect as the type's owner; or trust him, and give --trust-owner",
        )
    }))
}

/// Domains of others, who may give them a check or a default at any time: of the table `oid`, of what words may
/// mean, and of what hangs on the table and is read again at the swap, where the server runs the checks of
/// a constant such as `'{1}'::d[]`. A composite type counts with them: a domain may be put in its place.
async fn domains(
    client: &Client,
    oid: u32,
    table: &TableName,
    words: &Words,
) -> Result<Option<Finding>> {
    if mutation::active(Rule::PgDomainsTrusted) {
        return Ok(None);
    }
    let sql = format!(
        "WITH RECURSIVE relation(oid) AS (
           SELECT {oid}::pg_catalog.oid
           UNION SELECT r.ev_class FROM relation JOIN pg_catalog.pg_depend d
             ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = relation.oid
               AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
             JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid),
         defined(class, object) AS (
           {expressions}
           UNION ALL SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, r.oid
             FROM pg_catalog.pg_rewrite r JOIN relation ON relation.oid = r.ev_class
           UNION ALL SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
             JOIN relation ON d.refobjid = relation.oid
             WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
               AND d.classid IN ('pg_catalog.pg_policy'::pg_catalog.regclass,
                 'pg_catalog.pg_trigger'::pg_catalog.regclass,
                 'pg_catalog.pg_proc'::pg_catalog.regclass,
                 'pg_catalog.pg_rewrite'::pg_catalog.regclass)),
         kind(oid) AS (
           SELECT oid FROM (
             SELECT a.atttypid FROM pg_catalog.pg_attribute a
               WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped
             UNION ALL SELECT d.refobjid FROM defined e JOIN pg_catalog.pg_depend d
               ON d.classid = e.class AND d.objid = e.object
               AND d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass
             UNION ALL SELECT t.oid FROM pg_catalog.pg_type t
               WHERE t.typname = ANY (ARRAY[{names}]::pg_catalog.text[]) AND {reached}) first(oid)
           {PARTS})
         SELECT DISTINCT pg_catalog.format_type(t.oid, NULL), pg_catalog.pg_get_userbyid(t.typowner),
           current_user
         FROM kind JOIN pg_catalog.pg_type t ON t.oid = kind.oid
           LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
         WHERE (t.typtype = 'd' OR c.relkind = 'c') AND NOT {trusted} ORDER BY 1",
        expressions = expressions(oid),
        names = list(&words.names),
        reached = reached("t.typnamespace", words),
        trusted = trusted("t.typowner"),
    );
    let found = rows(client, "looking for domains of others", &sql).await?;
    Ok(shown(&found).map(|(role, shown)| {
        Finding::new(
            "functions",
            format!(
                "the change of {} reads values of types whose owners have fewer rights than {role}, and may \
                 give them a check or a default at any time, which could use all of its: {shown}",
                table.plain(),
            ),
            "connect as the type's owner; or trust him, and give --trust-owner",
        )
    }))
}

/// The role that would run them, and what was found with its owners; `None`: nothing.
fn shown(found: &[SimpleQueryRow]) -> Option<(&str, String)> {
    let role = found.first()?.get(2).unwrap_or_default();
    let line = |row: &SimpleQueryRow| {
        format!("{} of {}", row.get(0).unwrap_or_default(), row.get(1).unwrap_or_default())
    };
    let mut shown: Vec<String> = found.iter().take(SHOWN).map(line).collect();
    if found.len() > SHOWN {
        shown.push(format!("{} more", found.len() - SHOWN));
    }
    Some((role, shown.join(", ")))
}

fn list(words: &BTreeSet<String>) -> String {
    words.iter().map(|word| Text(word).to_string()).collect::<Vec<_>>().join(", ")
}

/// What clauses may name, without a parser: more than they do, never less. So strings, comments and
/// names in quotes are read like everything else too.
#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    /// Words and quoted names.
    names: BTreeSet<String>,
    /// Those that may be a function's: before a bracket, or after a point, as in `row.function`.
    calls: BTreeSet<String>,
    /// Runs of operators' characters, each of their parts, and those that words imply.
    operators: BTreeSet<String>,
    /// The schemas in which names that are written without one are looked for.
    path: BTreeSet<String>,
    /// Whether there is a name that is not as it is written: `U&"\006Cower"`.
    escaped: bool,
}

impl Words {
    fn of(text: &str) -> Self {
        let mut words = Self::default();
        // Between a name and its bracket too.
        let comments = text.contains("/*") || text.contains("--");
        let mut after_point = comments;
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (length, point) = match first {
                '"' => {
                    let (name, length) = quoted(rest);
                    words.name(&name, rest.get(length..).unwrap_or_default(), after_point);
                    // It may be none: a quote in a string.
                    (1, false)
                }
                _ if first.is_alphabetic() || first == '_' || !first.is_ascii() => {
                    let end = rest.find(|c: char| {
                        c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' && c != '$'
                    });
                    let length = end.unwrap_or(rest.len());
                    let (word, then) = rest.split_at_checked(length).unwrap_or((rest, ""));
                    // What is a capital beyond ASCII depends on the database.
                    for word in [word.to_ascii_lowercase(), word.to_lowercase()] {
                        words.name(&word, then, after_point);
                    }
                    (length, false)
                }
                _ if is_operator(first) => {
                    let length = rest.find(|c| !is_operator(c)).unwrap_or(rest.len());
                    let run = rest.get(..length).unwrap_or_default();
                    // `=-1` is two operators.
                    for from in 0..run.len() {
                        for to in from + 1..=run.len() {
                            words.operators.extend(run.get(from..to).map(str::to_owned));
                        }
                    }
                    (length, false)
                }
                _ => (first.len_utf8(), first == '.' || first.is_whitespace() && after_point),
            };
            after_point = point || comments;
            rest = rest.get(length..).unwrap_or_default();
        }
        words.imply();
        words.escaped = text.to_ascii_lowercase().contains("u&\"");
        words
    }

    fn imply(&mut self) {
        for (word, operators) in IMPLIED {
            if self.names.contains(word) {
                self.operators.extend(operators.iter().map(|&operator| operator.to_owned()));
            }
        }
        if self.operators.contains("!=") {
            self.operators.insert("<>".to_owned());
        }
    }

    fn name(&mut self, name: &str, then: &str, after_point: bool) {
        let cut = (0..=NAME.min(name.len())).rev().find(|&end| name.is_char_boundary(end));
        let name = name.get(..cut.unwrap_or_default()).unwrap_or_default();
        if after_point || then.trim_start().starts_with('(') {
            self.calls.insert(name.to_owned());
        }
        self.names.insert(name.to_owned());
    }
}

fn is_operator(c: char) -> bool {
    "+-*/<>=~!@#%^&|`?".contains(c)
}

/// The name in double quotes that `text` begins with, and its length with them.
fn quoted(text: &str) -> (String, usize) {
    let (mut name, mut at) = (String::new(), 1);
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let Some(end) = rest.find('"') else { return (name + rest, text.len()) };
        name.push_str(rest.get(..end).unwrap_or_default());
        at += end + 1;
        if !text.get(at..).unwrap_or_default().starts_with('"') {
            return (name, at);
        }
        name.push('"');
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_names_and_operators_are_found() {
        let words =
            Words::of("ADD c \"Odd\"\"D\" DEFAULT App.F (1), ADD CHECK (a <@ \"G\"(b) =-1)");
        for call in ["f", "G", "check"] {
            assert!(words.calls.contains(call), "{call}: {words:?}");
        }
        assert!(words.names.contains("Odd\"D") && !words.calls.contains("app"));
        for operator in ["<@", "=", "-", "=-"] {
            assert!(words.operators.contains(operator), "{operator}");
        }
    }

    #[test]
    fn what_is_not_written_as_a_call_is_found_too() {
        let has = |text: &str, operator: &str| Words::of(text).operators.contains(operator);
        for (text, operator) in [
            ("CHECK (a IN (1))", "="),
            ("CHECK (a NOT IN (1))", "<>"),
            ("CHECK (a != 1)", "<>"),
            ("CHECK (a BETWEEN 1 AND 2)", "<="),
            ("CHECK (a NOT BETWEEN 1 AND 2)", ">"),
            ("CHECK (a NOT LIKE 'x')", "!~~"),
            ("CHECK (a ILIKE 'x')", "~~*"),
            ("USING NULLIF(a, 1)", "="),
            ("CHECK (a IS DISTINCT FROM 1)", "="),
            ("USING CASE a WHEN 1 THEN 2 END", "="),
            ("CHECK (a <> '\"' AND a === 1 AND a <> '\"')", "==="),
        ] {
            assert!(has(text, operator), "{text}: {operator}");
        }
        for text in ["f/* c */(a)", "f -- c\n(a)", "t.f", "(t) . f", "t.\"f\"", "'\"' f(a) '\"'"] {
            assert!(Words::of(text).calls.contains("f"), "{text}");
        }
        let long = format!("{}\u{e9}", "n".repeat(62));
        assert!(Words::of(&format!("{long}(a)")).calls.contains(&"n".repeat(62)));
        assert!(Words::of("\u{c9}(a)").calls.contains("\u{c9}"));
        assert!(Words::of("u&\"\\006Cower\"(a)").escaped && !Words::of("u & \"a\"").escaped);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = Words::of(&text);
        }
    }
}
