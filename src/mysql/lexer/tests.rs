//! Texts as both servers read them: what is here was tried on MySQL 9.7 and MariaDB 10.11.

use proptest::prelude::*;

use super::*;
use crate::mysql::connection::version::{Family, Flavor};

const MYSQL: Flavor = Flavor { family: Family::Mysql, version: (9, 7, 4) };
const MARIADB: Flavor = Flavor { family: Family::Mariadb, version: (10, 11, 19) };

fn texts_in(source: &str, dialect: Dialect) -> Vec<&str> {
    tokens(source, dialect).unwrap().into_iter().map(|token| token.text).collect()
}

fn texts(source: &str) -> Vec<&str> {
    texts_in(source, Dialect::default())
}

/// Names in brackets, and `'` for strings.
fn shown(source: &str, dialect: Dialect) -> String {
    let text = |token: Token<'_>| match token.kind {
        TokenKind::Quoted => format!("[{}]", token.name().unwrap()),
        TokenKind::Text => "'".into(),
        _ => token.text.to_owned(),
    };
    tokens(source, dialect).unwrap().into_iter().map(text).collect::<Vec<_>>().join(" ")
}

#[test]
fn quotes_are_kept_whole() {
    assert_eq!(texts(r"a 'it''s, \' )' b"), ["a", r"'it''s, \' )'", "b"]);
    assert_eq!(texts(r#"x "a""b\"," y"#), ["x", r#""a""b\",""#, "y"]);
    assert_eq!(texts("`a``b\\`c"), ["`a``b\\`", "c"]);
    assert_eq!(texts("N'a' _latin1'b' n\"c\""), ["N", "'a'", "_latin1", "'b'", "n", "\"c\""]);
    let name = tokens("`a``b`", Dialect::default()).unwrap()[0].ident();
    assert_eq!(name, Some(Ident::new("a`b")));
}

#[test]
fn quotes_are_read_as_the_session_read_them() {
    let usual = Dialect::default();
    let [ansi, plain] = [4, 1 << 20].map(|mode| Dialect::of_sql_mode(MYSQL, mode));
    assert_eq!(ansi, Dialect { ansi_quotes: true, ..Dialect::of(MYSQL) });
    assert_eq!(plain, Dialect { plain_backslash: true, ..Dialect::of(MYSQL) });
    assert_eq!(shown("`a``b`.\"c\\\"d\" 'e''f' 'g\\''", usual), "[a`b] . ' ' '");
    assert_eq!(shown("\"a\"\"b\" `c\"\"`", ansi), "[a\"b] [c\"\"]");
    assert_eq!(shown("\"a\\\" 'b\\' \"'", ansi), "[a\\] '");
    assert_eq!(shown("'a\\' b \"c\\\"", plain), "' b '");
}

#[test]
fn comments_are_left_out_and_executable_ones_are_code() {
    assert_eq!(texts("a -- b\nc # d\n/* e */ f--g --"), ["a", "c", "f", "-", "-", "g"]);
    assert_eq!(texts("/* x */ a -- b\n c # d\n--5"), ["a", "c", "-", "-", "5"]);
    assert_eq!(texts("a --\u{1} b\nc --\u{a0} d"), ["a", "c", "-", "-", "\u{a0}", "d"]);
    assert_eq!(texts("SELECT /*+ NO_ICP(t) */ 5 */*x*/ 2"), ["SELECT", "5", "*", "2"]);
    assert_eq!(texts("a /* b /* c */ d"), ["a", "d"]);
    assert_eq!(texts("a /*!80013 b, */ /*M! c */ /*! d*/"), ["a", "b", ",", "c", "d"]);
    assert_eq!(texts("a /*!40000 b /* c */ d */ e"), ["a", "b", "d", "e"]);
    assert_eq!(texts("/*!1234 a*/"), ["1234", "a"]);
    let all = shown("/*!40000 ALTER TABLE `t` */ /*M! x*/", Dialect::default());
    assert_eq!(all, "ALTER TABLE [t] x");
}

#[test]
fn a_version_in_a_comment_counts_when_the_server_is_known() {
    let source = "a /*!50100 b*/ /*!80023 c*/ /*M!100000 d*/ /*!999999 e /* f */ */ g";
    assert_eq!(texts_in(source, Dialect::of(MYSQL)), ["a", "b", "c", "g"]);
    assert_eq!(texts_in(source, Dialect::of(MARIADB)), ["a", "b", "d", "g"]);
    let source = "/*!50699 a*/ /*!50700 b*/ /*!99999 c*/ /*!100000 d*/ /*M!50700 e*/ /*M! f*/";
    assert_eq!(texts_in(source, Dialect::of(MYSQL)), ["a", "b"]);
    assert_eq!(texts_in(source, Dialect::of(MARIADB)), ["a", "d", "e", "f"]);
}

#[test]
fn what_follows_the_full_stop_of_a_name_is_a_name() {
    use TokenKind::{Number, Symbol, Word};
    let kinds = |source| -> Vec<TokenKind> {
        tokens(source, Dialect::default()).unwrap().into_iter().map(|token| token.kind).collect()
    };
    for source in ["a.1b", "a.1e5", "a.5", "a.0x1f", "`a`.b"] {
        let found = kinds(source);
        assert_eq!(found[1..], [Symbol('.'), Word], "{source}");
    }
    assert_eq!(kinds("a. 1e5"), [Word, Symbol('.'), Number]);
    assert_eq!(kinds("a .5"), [Word, Number]);
}

#[test]
fn numbers_bits_and_names_that_begin_with_digits_are_told_apart() {
    let kinds: Vec<_> =
        tokens("1 1.5e-3 .5 0xFF x'1f' 0b01 b'1' 1a 0xyz 2e3 0X1", Dialect::default())
            .unwrap()
            .into_iter()
            .map(|token| token.kind)
            .collect();
    use TokenKind::{Bits, Number, Word};
    assert_eq!(kinds, [Number, Number, Number, Bits, Bits, Bits, Bits, Word, Word, Number, Word]);
    assert_eq!(texts("a.1b"), ["a", ".", "1b"]);
}

#[test]
fn what_is_not_closed_is_an_error() {
    for source in ["'a", "\"a", "`a", "/* a", "/*! a", "x'1", "'\\'", "/*!"] {
        assert!(tokens(source, Dialect::default()).is_err(), "{source}");
    }
}

#[test]
fn a_comment_that_becomes_a_space_does_not_make_another() {
    let source = "DEFAULT (1 --/* c */1)";
    let found = tokens(source, Dialect::default()).unwrap();
    assert_eq!(text_of(source, &found), "DEFAULT (1 - - 1)");
}

fn same_again(source: &str) -> Result<(), TestCaseError> {
    if let Ok(found) = tokens(source, Dialect::default()) {
        let joined = text_of(source, &found);
        let again = tokens(&joined, Dialect::default()).unwrap();
        let plain = |tokens: &[Token<'_>]| -> Vec<(TokenKind, String)> {
            tokens.iter().map(|token| (token.kind, token.text.to_owned())).collect()
        };
        prop_assert_eq!(plain(&found), plain(&again), "{}", joined);
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic_and_joined_text_reads_the_same(source in ".{0,60}") {
        same_again(&source)?;
    }

    #[test]
    fn text_rich_in_marks_joins_the_same(source in "[-/*!#'\"`\\\\ \n0-9a-exM.,()e\u{e9}]{0,40}") {
        same_again(&source)?;
    }

    #[test]
    fn any_text_is_read_to_its_end_in_any_dialect(source: String, mode: u64) {
        for flavor in [MYSQL, MARIADB] {
            let mut end = 0;
            for token in Lexer::new(&source, Dialect::of_sql_mode(flavor, mode)).map_while(Result::ok) {
                prop_assert!(end <= token.span.start && token.span.start < token.span.end);
                prop_assert_eq!(&source[token.span.clone()], token.text);
                end = token.span.end;
            }
        }
    }
}
