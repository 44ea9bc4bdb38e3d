//! Secondary indexes that are left to after the copy: which, and how they are built then.
//!
//! They are kept as names and columns, never as a statement. An index that has more to it (a parser, a block
//! size) is built with the copy, and so are those before it: their order stays.

use mysql_async::Conn;
use serde::{Deserialize, Serialize};

use super::statements::Statements;
use crate::error::Result;
use crate::mysql::catalog::table::{Index, Table};
use crate::mysql::connection::session::run_ddl;
use crate::mysql::name::{Comment, Ident};

/// An index that is not built yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deferred {
    pub(crate) name: Ident,
    parts: Vec<Part>,
    /// `USING BTREE` was written out.
    btree: bool,
    comment: Option<Comment>,
    seen: Seen,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    column: Ident,
    prefix: Option<u64>,
    descending: bool,
}

/// Whether the optimizer takes it into account, in each server's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Seen {
    Visible,
    Invisible,
    Ignored,
}

impl Deferred {
    /// The index in these values; `None` where `definition`, in the server's words, says more.
    fn of(index: &Index, definition: &str) -> Option<Self> {
        let parts = index.parts.iter().map(|part| {
            let column = part.column.clone()?;
            Some(Part { column, prefix: part.prefix, descending: part.descending })
        });
        let parts: Vec<Part> = parts.collect::<Option<_>>()?;
        let forms = [false, true].into_iter().flat_map(|btree| {
            [Seen::Visible, Seen::Invisible, Seen::Ignored].map(|seen| (btree, seen))
        });
        let comment = match definition.split_once(" COMMENT '") {
            Some((_, rest)) => {
                let (text, _) = rest.rsplit_once('\'')?;
                Some(Comment::new(text.replace("''", "'"))?)
            }
            None => None,
        };
        let form = |(btree, seen)| Self {
            name: index.name.clone(),
            parts: parts.clone(),
            btree,
            comment: comment.clone(),
            seen,
        };
        forms.map(form).find(|index| index.definition() == definition)
    }

    /// As the server shows it.
    pub(crate) fn definition(&self) -> String {
        let parts: Vec<String> = self
            .parts
            .iter()
            .map(|part| {
                let prefix = part.prefix.map_or(String::new(), |length| format!("({length})"));
                let order = if part.descending { " DESC" } else { "" };
                format!("{}{prefix}{order}", part.column)
            })
            .collect();
        let using = if self.btree { " USING BTREE" } else { "" };
        let seen = match self.seen {
            Seen::Visible => "",
            Seen::Invisible => " /*!80000 INVISIBLE */",
            Seen::Ignored => " IGNORED",
        };
        let comment =
            self.comment.as_ref().map_or(String::new(), |text| format!(" COMMENT {text}"));
        format!("KEY {} ({}){using}{comment}{seen}", self.name, parts.join(","))
    }

    /// Whether `table` has all that it is made of.
    pub(crate) fn fits(&self, table: &Table) -> bool {
        self.parts.iter().all(|part| table.column(&part.column).is_some())
    }
}

/// Drops the secondary indexes that can be built after the copy; returns them.
pub(crate) async fn drop_deferrable(
    conn: &mut Conn,
    shadow: &Table,
    statements: &Statements,
) -> Result<Vec<Deferred>> {
    let leads_with_counter = |index: &Index| {
        index
            .parts
            .first()
            .and_then(|part| part.column.as_ref())
            .is_some_and(|name| shadow.column(name).is_some_and(|column| column.auto_increment))
    };
    let mut candidates: Vec<(&Index, &str)> = shadow
        .indexes
        .iter()
        .filter(|index| {
            !index.unique
                && index.kind == "BTREE"
                && !index.name.same(&statements.shadow_index)
                && !leads_with_counter(index)
                // Its hidden column cannot be added in place together with others.
                && index.parts.iter().all(|part| part.column.is_some())
        })
        .filter_map(|index| Some((index, definition(&shadow.create, &index.name)?)))
        .collect();
    // In their order, which is how the server shows them, and which the optimizer prefers them by.
    candidates.sort_by_key(|(_, text)| shadow.create.find(text));
    let mut deferrable = Vec::new();
    for (index, text) in candidates {
        match Deferred::of(index, text) {
            Some(deferred) => deferrable.push(deferred),
            // Those after it would come before it.
            None => deferrable.clear(),
        }
    }
    if deferrable.is_empty() {
        return Ok(Vec::new());
    }
    let drops: Vec<String> =
        deferrable.iter().map(|index| format!("DROP INDEX {}", index.name)).collect();
    run_ddl(
        conn,
        "leaving indexes to after the copy",
        &format!("ALTER TABLE {} {}", shadow.name, drops.join(", ")),
    )
    .await?;
    Ok(deferrable)
}

/// An index's definition in the server's own words.
fn definition<'a>(create: &'a str, name: &Ident) -> Option<&'a str> {
    let start = format!("KEY {name} (");
    create
        .lines()
        .map(|line| line.trim().trim_end_matches(','))
        .find(|line| line.starts_with(&start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::catalog::table::IndexPart;

    #[test]
    fn an_index_definition_is_found_in_the_servers_words() {
        let create = "CREATE TABLE `t` (\n  `a` int,\n  PRIMARY KEY (`a`),\n  UNIQUE KEY `u` (`b`),\n  \
                      KEY `k``1` (`c`(10) DESC,`d`) COMMENT 'x',\n  KEY `k` (`c`)\n) ENGINE=InnoDB";
        assert_eq!(
            definition(create, &Ident::new("k`1")),
            Some("KEY `k``1` (`c`(10) DESC,`d`) COMMENT 'x'")
        );
        assert_eq!(definition(create, &Ident::new("k")), Some("KEY `k` (`c`)"));
        assert_eq!(definition(create, &Ident::new("u")), None);
    }

    #[test]
    fn an_index_is_deferred_where_names_and_columns_say_all_of_it() {
        let part = |column: &str, prefix, descending| IndexPart {
            column: Some(Ident::new(column)),
            expression: None,
            prefix,
            descending,
            nullable: true,
        };
        let index = Index {
            visible: true,
            name: Ident::new("k`1"),
            unique: false,
            kind: "BTREE".into(),
            parts: vec![part("c", Some(10), true), part("d", None, false)],
        };
        let plain = "KEY `k``1` (`c`(10) DESC,`d`)";
        for end in [
            "",
            " USING BTREE",
            " /*!80000 INVISIBLE */",
            " USING BTREE IGNORED",
            " COMMENT 'it''s, ''quoted'''",
            " USING BTREE COMMENT 'ü' /*!80000 INVISIBLE */",
        ] {
            let definition = format!("{plain}{end}");
            let deferred = Deferred::of(&index, &definition).unwrap();
            assert_eq!(deferred.definition(), definition);
            let stored = serde_json::to_string(&deferred).unwrap();
            assert_eq!(serde_json::from_str::<Deferred>(&stored).unwrap(), deferred);
        }
        for more in [" COMMENT 'x\\n'", " KEY_BLOCK_SIZE=4", " COMMENT 'x', DROP COLUMN d"] {
            assert_eq!(Deferred::of(&index, &format!("{plain}{more}")), None, "{more}");
        }
    }

    #[test]
    fn a_name_that_is_forged_stays_a_name() {
        let forged = r#"{"name":"x` (d), DROP COLUMN d -- ","parts":[{"column":"d`)","prefix":null,
            "descending":false}],"btree":false,"comment":"', DROP COLUMN d, COMMENT '","seen":"Visible"}"#;
        let deferred: Deferred = serde_json::from_str(forged).unwrap();
        assert_eq!(
            deferred.definition(),
            "KEY `x`` (d), DROP COLUMN d -- ` (`d``)`) COMMENT ''', DROP COLUMN d, COMMENT '''"
        );
    }
}
