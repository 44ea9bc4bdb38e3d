//! Which tables osc made, proved by the numbers that InnoDB gives its tables.
//!
//! A table keeps its number through RENAME and through every ALTER that does not rewrite it, and no
//! other table of the server ever has it: not one that is made under the same name, and not the
//! copy of it on a replica or out of a dump. So a row of the ledger that names numbers says something
//! that the catalog can confirm; names and comments say nothing (rule 11).

use mysql_async::Conn;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ledger::claim::Standing;
use crate::mysql::connection::texts::text_rows;
use crate::mysql::name::{Helpers, TableName, Text};
use crate::testing::mutation::{self, Rule};

/// The numbers of a table: one, or one for each partition, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Numbers(Vec<u64>);

impl Numbers {
    /// Reads those of the table that has this name now; none where there is no such table of InnoDB.
    /// Needs the right PROCESS.
    ///
    /// InnoDB writes names as names of files. Where a name has a character that such a name has in a
    /// form of its own (`ä`), tables whose names differ only there are counted in.
    ///
    /// # Errors
    /// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
    pub(crate) async fn of(conn: &mut Conn, mariadb: bool, name: &TableName) -> Result<Self> {
        let list = if mariadb { "INNODB_SYS_TABLES" } else { "INNODB_TABLES" };
        let sql = format!(
            "SELECT TABLE_ID, NAME, @@lower_case_table_names FROM information_schema.{list} \
             WHERE NAME LIKE {}",
            Text(&files_like(name))
        );
        let mut numbers: Vec<u64> = text_rows(conn, "reading the numbers of tables", &sql)
            .await?
            .into_iter()
            .filter(|[_, file, case]| can_be(file, name, case != "0"))
            .filter_map(|[number, _, _]| number.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(Self(numbers))
    }

    /// Whether there is no such table.
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Without those that were there `before`.
    #[must_use]
    pub(crate) fn without(self, before: &Self) -> Self {
        Self(self.0.into_iter().filter(|number| !before.0.contains(number)).collect())
    }

    /// Whether the table that was recorded is the one that has these numbers now.
    pub(crate) fn have(&self, recorded: &Self) -> bool {
        !recorded.is_none() && recorded.0.iter().all(|number| self.0.contains(number))
    }
}

/// What the names of the table's files are like.
fn files_like(name: &TableName) -> String {
    let prefix =
        |name: &str| -> String { name.chars().take_while(char::is_ascii_alphanumeric).collect() };
    format!("{}%/{}%", prefix(name.schema.as_str()), prefix(name.table.as_str()))
}

/// How many versions of its rows a table of MySQL's keeps, the most of a partition's (`None`: there is no such
/// table), and whether it has the index that goes with a column FTS_DOC_ID. Needs the right PROCESS.
///
/// # Errors
/// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
pub(crate) async fn row_versions(conn: &mut Conn, name: &TableName) -> Result<(Option<u64>, bool)> {
    let sql = format!(
        "SELECT t.NAME, @@lower_case_table_names, t.TOTAL_ROW_VERSIONS, \
         EXISTS (SELECT 1 FROM information_schema.INNODB_INDEXES i \
         WHERE i.TABLE_ID = t.TABLE_ID AND i.NAME = 'FTS_DOC_ID_INDEX') \
         FROM information_schema.INNODB_TABLES t WHERE t.NAME LIKE {}",
        Text(&files_like(name))
    );
    let found: Vec<[String; 4]> = text_rows(conn, "reading the table's row versions", &sql).await?;
    let found: Vec<[String; 4]> =
        found.into_iter().filter(|[file, case, ..]| can_be(file, name, case != "0")).collect();
    let versions = found.iter().filter_map(|[_, _, versions, _]| versions.parse().ok()).max();
    Ok((versions, found.iter().any(|[.., hidden]| hidden == "1")))
}

/// Whether InnoDB may call the table `name`, or a partition of it, `file`.
fn can_be(file: &str, name: &TableName, fold: bool) -> bool {
    let Some((schema, table)) = file.split_once('/') else { return false };
    let whole = |rest: &str| rest.is_empty();
    let whole_or_part = |rest: &str| rest.is_empty() || rest.starts_with(['#']);
    spells(schema, name.schema.as_str(), fold, whole)
        && spells(table, name.table.as_str(), fold, whole_or_part)
}

/// Whether `file` begins as `name` is written in a file's name, and `ends` likes what follows.
fn spells(file: &str, name: &str, fold: bool, ends: impl Fn(&str) -> bool) -> bool {
    let mut rest = file;
    for c in name.chars() {
        let plain = c.is_ascii_alphanumeric() || c == '_';
        let step = if plain {
            rest.chars()
                .next()
                .filter(|found| *found == c || fold && found.eq_ignore_ascii_case(&c))
                .map(|_| 1)
        } else if rest
            .get(..5)
            .is_some_and(|code| code.eq_ignore_ascii_case(&format!("@{:04x}", u32::from(c))))
        {
            Some(5)
        } else {
            // `@` and two signs, for the alphabets that have such a short form.
            let short = !c.is_ascii() && rest.starts_with('@') && rest.is_char_boundary(3);
            short.then_some(3)
        };
        let Some(after) = step.and_then(|step| rest.get(step..)) else { return false };
        rest = after;
    }
    ends(rest)
}

/// What a run recorded of the tables that it worked with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tables {
    /// The original's numbers at the start.
    pub original: Numbers,
    /// Those of the shadow that the run made.
    pub shadow: Numbers,
    /// The server rewrites the shadow, or may have: its numbers may be others.
    #[serde(default)]
    pub rebuilt: bool,
}

/// What has which number now.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    original: Numbers,
    shadow: Numbers,
    /// Every retired name that a table has.
    retired: Vec<(TableName, Numbers)>,
}

impl Catalog {
    /// Reads the numbers of a table and its helpers.
    ///
    /// # Errors
    /// Those of [`Numbers::of`].
    pub(crate) async fn read(conn: &mut Conn, mariadb: bool, name: &TableName) -> Result<Self> {
        let mut retired = Vec::new();
        for table in there(conn, Helpers::retired_names(name)).await? {
            let numbers = Numbers::of(conn, mariadb, &table).await?;
            retired.push((table, numbers));
        }
        Ok(Self {
            original: Numbers::of(conn, mariadb, name).await?,
            shadow: Numbers::of(conn, mariadb, &Helpers::of(name).shadow).await?,
            retired,
        })
    }

    /// The retired table that has these numbers.
    pub(crate) fn retired_as(&self, was: &Numbers) -> Option<&TableName> {
        self.retired.iter().find(|(_, now)| now.have(was)).map(|(name, _)| name)
    }

    /// Whether the table under the original's name has these numbers.
    pub(crate) fn is_live(&self, made: &Numbers) -> bool {
        self.original.have(made)
    }

    /// How the tables of a run stand.
    pub(crate) fn standing(&self, tables: &Tables) -> Standing {
        if mutation::active(Rule::FactsProved) {
            let swapped = self.shadow.is_none() && !self.retired.is_empty();
            return if swapped { Standing::Swapped } else { Standing::Unswapped };
        }
        let (was, made) = (&tables.original, &tables.shadow);
        if self.original.have(made) {
            Standing::Swapped
        } else if self.shadow.have(made) || self.retired_as(made).is_some() {
            Standing::Unswapped
        } else if self.retired_as(was).is_some() {
            // Its forerunner is where the swap puts it.
            if tables.rebuilt { Standing::Swapped } else { Standing::Replaced }
        } else if tables.rebuilt && self.original.have(was) && !self.shadow.is_none() {
            Standing::Unswapped
        } else {
            Standing::Gone
        }
    }

    /// Whether the table under the shadow's name is one that one of these runs made.
    pub(crate) fn made_shadow<'a>(&self, mut runs: impl Iterator<Item = &'a Tables>) -> bool {
        mutation::active(Rule::FactsProved) || runs.any(|run| self.shadow.have(&run.shadow))
    }

    /// Whether the table under this retired name has these numbers.
    pub(crate) fn is_retired_as(&self, name: &TableName, was: &Numbers) -> bool {
        self.retired.iter().any(|(retired, now)| retired == name && now.have(was))
    }

    /// Whether the table under this retired name is one that one of these runs began with.
    pub(crate) fn retired_original<'a>(
        &self,
        name: &TableName,
        mut runs: impl Iterator<Item = &'a Tables>,
    ) -> bool {
        let Some((_, numbers)) = self.retired.iter().find(|(retired, _)| retired == name) else {
            return false;
        };
        mutation::active(Rule::FactsProved) || runs.any(|run| numbers.have(&run.original))
    }
}

/// Those of the names that a table has.
///
/// # Errors
/// Those of [`connection_error`](crate::mysql::connection::errors::connection_error).
pub(crate) async fn there(conn: &mut Conn, names: Vec<TableName>) -> Result<Vec<TableName>> {
    let Some(first) = names.first() else { return Ok(names) };
    let list: Vec<String> =
        names.iter().map(|name| Text(name.table.as_str()).to_string()).collect();
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = {} AND TABLE_NAME IN ({})",
        Text(first.schema.as_str()),
        list.join(", ")
    );
    let found = text_rows::<1>(conn, "looking for retired tables", &sql).await?;
    let is_there = |name: &TableName| {
        found.iter().any(|[found]| found.eq_ignore_ascii_case(name.table.as_str()))
    };
    Ok(names.into_iter().filter(is_there).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_innodb_writes_them() {
        let name = TableName::new("app", "a b-ü");
        assert!(can_be("app/a@0020b@002d@1o", &name, false));
        assert!(!can_be("app/a@0020b@002d@1ox", &name, false));
        assert!(!can_be("apps/a@0020b@002d@1o", &name, false));
        let name = TableName::new("app", "T1");
        assert!(can_be("app/T1#P#p0", &name, false) && can_be("app/T1#p#p0", &name, false));
        assert!(can_be("app/T1", &name, false) && !can_be("app/t1", &name, false));
        assert!(can_be("app/t1", &name, true) && !can_be("app/T1_osc_new", &name, true));
        assert!(can_be("d@20ac/t@6f22", &TableName::new("d€", "t漢"), false));
        assert!(!can_be("app", &TableName::new("app", ""), false));
    }

    #[test]
    fn a_swap_is_proved_by_numbers() {
        let numbers = |list: &[u64]| Numbers(list.to_vec());
        let tables = Tables { original: numbers(&[1]), shadow: numbers(&[2]), rebuilt: false };
        let catalog = |original: &[u64], shadow: &[u64], retired: &[u64]| Catalog {
            original: numbers(original),
            shadow: numbers(shadow),
            retired: match retired {
                [] => Vec::new(),
                list => vec![(TableName::new("app", "t_osc_old"), numbers(list))],
            },
        };
        assert_eq!(catalog(&[2], &[], &[1]).standing(&tables), Standing::Swapped);
        assert_eq!(catalog(&[2], &[], &[]).standing(&tables), Standing::Swapped);
        assert_eq!(catalog(&[1], &[2], &[]).standing(&tables), Standing::Unswapped);
        assert_eq!(catalog(&[1], &[3], &[]).standing(&tables), Standing::Gone);
        // A user's own tables under both names.
        assert_eq!(catalog(&[1], &[], &[4]).standing(&tables), Standing::Gone);
        assert_eq!(catalog(&[3], &[], &[1]).standing(&tables), Standing::Replaced);
        // An undo's shadow stands under a retired name until it is swapped.
        let undo = Tables { original: numbers(&[2]), shadow: numbers(&[1]), rebuilt: false };
        assert_eq!(catalog(&[2], &[], &[1]).standing(&undo), Standing::Unswapped);
        assert_eq!(catalog(&[1], &[], &[2]).standing(&undo), Standing::Swapped);
        // A record without numbers proves nothing.
        assert_eq!(catalog(&[1], &[2], &[3]).standing(&Tables::default()), Standing::Gone);
    }
}
