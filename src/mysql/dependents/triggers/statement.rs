//! The text of a CREATE TRIGGER statement, taken apart far enough to give it another name and
//! table. In bytes, since a trigger's text is in the character set of whoever made it.

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

impl Statement {
    /// Takes apart what SHOW CREATE TRIGGER says. `None`: not understood.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut tokens = Tokens { text, at: 0 };
        // A definer cannot look like the keyword: it is quoted.
        let head = tokens.find(&["TRIGGER"])?;
        let mut name = tokens.next()?;
        if tokens.is(name, "IF") {
            // IF NOT EXISTS
            tokens.next()?;
            tokens.next()?;
            name = tokens.next()?;
        }
        let event_start = tokens.end_of_name(name);
        let on = tokens.find(&["ON"])?;
        let table = tokens.next()?;
        tokens.end_of_name(table);
        let body = tokens.find(&["FOR", "EACH", "ROW"])?;
        Some(Self {
            head: text.get(..head.1)?.to_vec(),
            event: text.get(event_start..on.0)?.trim_ascii().to_vec(),
            body: text.get(body.0..)?.to_vec(),
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

/// Start and end of a token.
type Span = (usize, usize);

struct Tokens<'t> {
    text: &'t [u8],
    at: usize,
}

impl Tokens<'_> {
    fn is(&self, (start, end): Span, word: &str) -> bool {
        self.text.get(start..end).is_some_and(|text| text.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Goes on to the words, one after the other; the span of them all.
    fn find(&mut self, words: &[&str]) -> Option<Span> {
        let (&first, rest) = words.split_first()?;
        'search: loop {
            let (start, mut end) = self.next()?;
            if !self.is((start, end), first) {
                continue;
            }
            for word in rest {
                let span = self.next()?;
                if !self.is(span, word) {
                    continue 'search;
                }
                end = span.1;
            }
            return Some((start, end));
        }
    }

    /// The end of a name that began with the token just read and may be qualified.
    fn end_of_name(&mut self, (_, mut end): Span) -> usize {
        loop {
            let before = self.at;
            match self.next() {
                Some(span) if self.is(span, ".") => match self.next() {
                    Some(part) => end = part.1,
                    None => return end,
                },
                _ => {
                    self.at = before;
                    return end;
                }
            }
        }
    }

    /// The next token: a word, a quoted name or string, or one other byte.
    fn next(&mut self) -> Option<Span> {
        self.skip_blank();
        let start = self.at;
        let first = *self.text.get(start)?;
        self.at += 1;
        if matches!(first, b'`' | b'"' | b'\'') {
            loop {
                let byte = *self.text.get(self.at)?;
                self.at += 1;
                if byte == first {
                    if self.text.get(self.at) != Some(&first) {
                        break;
                    }
                    self.at += 1;
                }
            }
        } else if is_word(first) {
            while self.text.get(self.at).is_some_and(|byte| is_word(*byte)) {
                self.at += 1;
            }
        }
        Some((start, self.at))
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let skipped = if rest.starts_with(b"/*") {
                rest.windows(2).skip(2).position(|pair| pair == b"*/").map(|end| end + 4)
            } else if rest.starts_with(b"#") || rest.starts_with(b"-- ") {
                rest.iter().position(|byte| *byte == b'\n').map(|end| end + 1)
            } else {
                let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                (blanks > 0).then_some(blanks)
            };
            match skipped {
                Some(bytes) => self.at += bytes,
                None => return,
            }
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
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
