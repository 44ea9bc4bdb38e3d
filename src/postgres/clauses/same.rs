//! Whether two texts ask for the same change: the same tokens, however they are spaced and commented.

use squawk_syntax::SourceFile;

/// Whether both texts ask for the same change. What is not quoted is the same in any case, as it is to the
/// server.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one.trim() == other.trim() || tokens(one) == tokens(other)
}

fn tokens(text: &str) -> Vec<String> {
    let text = text.trim().trim_end_matches(';');
    // So that clauses alone are read as what they are.
    let file = SourceFile::parse(&format!("ALTER TABLE t {text}")).syntax_node();
    let tokens = file.descendants_with_tokens().filter_map(|element| element.into_token());
    tokens
        .filter(|token| !token.kind().is_trivia())
        .map(|token| match token.text().contains(['\'', '"', '$']) {
            true => token.text().to_owned(),
            false => token.text().to_ascii_lowercase(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_tokens_are_the_same_change() {
        for (one, other) in [
            ("alter a TYPE bigint", "ALTER  a\n type BIGINT;"),
            ("ADD x int /* why */, DROP y", "add x int,drop y -- so"),
            ("ADD x text DEFAULT 'A b'", "ADD X text DEFAULT 'A b'"),
        ] {
            assert!(same(one, other), "{one} | {other}");
        }
        for (one, other) in [
            ("ADD x text DEFAULT 'a'", "ADD x text DEFAULT 'A'"),
            ("ADD \"x\" int", "ADD \"X\" int"),
            ("ADD x int", "ADD y int"),
            ("ADD x text DEFAULT $$a$$", "ADD x text DEFAULT $$A$$"),
        ] {
            assert!(!same(one, other), "{one} | {other}");
        }
    }
}
