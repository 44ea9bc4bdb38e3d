//! Reading the nodes of a syntax tree: names, texts.

use std::collections::BTreeSet;

use squawk_syntax::ast::AstNode;
use squawk_syntax::{SourceFile, SyntaxNode};

use super::error::usage;
use crate::error::Result;
use crate::postgres::name::Ident;

/// The parts of a name, as the catalog has them: what is not quoted is folded as far as ASCII goes.
pub(crate) fn parts(text: &str) -> Result<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (name, tail) = if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut rest = quoted;
            loop {
                let Some((piece, tail)) = rest.split_once('"') else {
                    return Err(usage("a double quote is not closed"));
                };
                name.push_str(piece);
                match tail.strip_prefix('"') {
                    Some(more) => {
                        name.push('"');
                        rest = more;
                    }
                    None => break (name, tail),
                }
            }
        } else {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()))
                .unwrap_or(rest.len());
            let (name, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
            (name.to_ascii_lowercase(), tail)
        };
        if name.is_empty() {
            return Err(usage(format!("{text} is no name that osc can read")));
        }
        if name.len() > Ident::MAX_BYTES {
            return Err(usage(format!("{name} is longer than {} bytes", Ident::MAX_BYTES)));
        }
        parts.push(name);
        let tail = tail.trim_start();
        match tail.strip_prefix('.') {
            Some(more) => rest = more.trim_start(),
            None if tail.is_empty() => return Ok(parts),
            None => return Err(usage(format!("{text} is no name that osc can read"))),
        }
    }
}

/// All names below a node.
pub(crate) fn names(node: &SyntaxNode) -> BTreeSet<Ident> {
    let tokens = node.descendants_with_tokens().filter_map(|element| element.into_token());
    let words = tokens.filter(|token| {
        !token.kind().is_trivia()
            && token.text().starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"')
    });
    words.filter_map(|token| parts(token.text()).ok()?.pop()).map(Ident::new).collect()
}

/// A name of one or two parts.
pub(crate) fn qualified(node: &SyntaxNode) -> Result<(Option<String>, String)> {
    let mut parts = parts(&text(node))?.into_iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, None) => Ok((None, name)),
        (Some(schema), Some(name), None) => Ok((Some(schema), name)),
        _ => Err(usage(format!("{} has too many parts", text(node)))),
    }
}

/// All names in a text.
pub(crate) fn names_in(text: &str) -> BTreeSet<Ident> {
    names(&SourceFile::parse(text).syntax_node())
}

/// A name of one part, as text.
pub(crate) fn single(text: &str) -> Result<Ident> {
    let mut parts = parts(text)?;
    match (parts.pop(), parts.pop()) {
        (Some(name), None) => Ok(Ident::new(name)),
        _ => Err(usage(format!("{text} has too many parts"))),
    }
}

/// A name of one part.
pub(crate) fn ident(node: &SyntaxNode) -> Result<Ident> {
    match qualified(node)? {
        (None, name) => Ok(Ident::new(name)),
        (Some(_), _) => Err(usage(format!("{} has too many parts", text(node)))),
    }
}

/// A node in the user's words.
pub(crate) fn text(node: &SyntaxNode) -> String {
    node.text().to_string().trim().to_owned()
}

pub(crate) fn named<N: AstNode>(node: Option<N>) -> Result<Ident> {
    ident(node.ok_or_else(|| usage("a name is missing"))?.syntax())
}
