//! The text of a CREATE TRIGGER statement, taken apart far enough to give it another name and
//! table. In bytes, since a trigger's text is in the character set of whoever made it.

use std::iter::Peekable;

use crate::mysql::lexer::{Dialect, Lexer, Token};
use crate::mysql::name::Ident;

/// A CREATE TRIGGER statement without its name and table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    /// `CREATE DEFINER=… TRIGGER`.
    head: Vec<u8>,
    /// `AFTER INSERT`; newer servers know more, such as column lists.
    event: Vec<u8>,
    /// `FOR EACH ROW` and all that follows.
    body: Vec<u8>,
}

/// Before the body are only names, so that double quotes are around one in any `sql_mode`.
const NAMES: Dialect = Dialect { flavor: None, ansi_quotes: true, plain_backslash: true };

impl Statement {
    /// Takes apart what SHOW CREATE TRIGGER says. `None`: not understood.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        // Bytes beyond ASCII belong to names, in any character set; the places stay the same.
        let plain = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '_' };
        let ascii: String = text.iter().map(plain).collect();
        let mut tokens = Lexer::new(&ascii, NAMES).map_while(Result::ok).peekable();
        // A definer cannot look like the keyword: it is quoted.
        let head = tokens.find(|token| token.is("TRIGGER"))?;
        if tokens.next_if(|token| token.is("IF")).is_some() {
            tokens.find(|token| token.is("EXISTS"))?;
        }
        let event_start = end_of_name(&mut tokens)?;
        let on = tokens.find(|token| token.is("ON"))?;
        end_of_name(&mut tokens)?;
        let body = tokens.find(|token| token.is("FOR"))?;
        Some(Self {
            head: text.get(..head.span.end)?.to_vec(),
            event: text.get(event_start..on.span.start)?.trim_ascii().to_vec(),
            body: text.get(body.span.start..)?.to_vec(),
        })
    }

    /// The statement for a trigger called `name` on `table`, in the session's default schema: with
    /// a schema in it, dumps of the table could be loaded into that schema only.
    pub(crate) fn with(&self, name: &Ident, table: &Ident) -> Vec<u8> {
        let mut text = self.head.clone();
        text.extend_from_slice(format!(" {name} ").as_bytes());
        text.extend_from_slice(&self.event);
        text.extend_from_slice(format!(" ON {table} ").as_bytes());
        text.extend_from_slice(&self.body);
        text
    }

    /// The body, as far as it is ASCII.
    pub(crate) fn body(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Where a name ends that comes next and may be qualified.
fn end_of_name<'a>(tokens: &mut Peekable<impl Iterator<Item = Token<'a>>>) -> Option<usize> {
    let mut end = tokens.next()?.span.end;
    while tokens.next_if(|token| token.is_symbol('.')).is_some() {
        end = tokens.next()?.span.end;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moved(text: &str) -> String {
        let statement = Statement::parse(text.as_bytes()).unwrap();
        let text = statement.with(&Ident::new("n_osc"), &Ident::new("t_osc_new"));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn mysqls_form_gets_another_name_and_table() {
        assert_eq!(
            moved(
                "CREATE DEFINER=`trigger on`@`%` TRIGGER `we``ird` BEFORE INSERT ON `t` FOR EACH ROW \
                 SET NEW.a = 'on'"
            ),
            "CREATE DEFINER=`trigger on`@`%` TRIGGER `n_osc` BEFORE INSERT ON `t_osc_new` \
             FOR EACH ROW SET NEW.a = 'on'"
        );
    }

    #[test]
    fn mariadbs_form_as_typed_gets_another_name_and_table() {
        assert_eq!(
            moved(
                "CREATE DEFINER=`root`@`localhost` trigger if not exists d . `a.b` -- ON x\n before \
                 insert or update of `on`, b /* ON y */ on d.`t`\nfor  each row set new.a=1"
            ),
            "CREATE DEFINER=`root`@`localhost` trigger `n_osc` -- ON x\n before \
             insert or update of `on`, b /* ON y */ ON `t_osc_new` for  each row set new.a=1"
        );
    }

    #[test]
    fn bytes_of_another_character_set_stay_as_they_are() {
        let text = b"CREATE TRIGGER x AFTER DELETE ON t FOR EACH ROW SET @a = '\xe9'";
        let moved = Statement::parse(text).unwrap().with(&Ident::new("x"), &Ident::new("u"));
        assert!(moved.ends_with(b"'\xe9'"));
    }

    proptest! {
        #[test]
        fn rubbish_is_not_understood_and_no_panic(text: Vec<u8>) {
            let _ = Statement::parse(&text);
        }

        #[test]
        fn names_of_any_kind_are_replaced(name in "[ -~\u{e9}]{1,20}", table in "[ -~\u{e9}]{1,20}") {
            let text = format!(
                "CREATE TRIGGER {} AFTER INSERT ON {} FOR EACH ROW SET @a = 1",
                Ident::new(name), Ident::new(table)
            );
            prop_assert_eq!(
                moved(&text),
                "CREATE TRIGGER `n_osc` AFTER INSERT ON `t_osc_new` FOR EACH ROW SET @a = 1"
            );
        }
    }
}
