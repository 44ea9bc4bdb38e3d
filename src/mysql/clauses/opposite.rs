//! The change that takes another back: the clauses that make of a table's definition after a change what it
//! was before. For changes by the server's own methods, which keep no retired table.

use super::cursor::Cursor;
use crate::mysql::connection::version::Flavor;
use crate::mysql::lexer::{Dialect, SyntaxError, Token, tokens};
use crate::mysql::name::Ident;

/// A table's definition, as SHOW CREATE TABLE has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Definition {
    /// Columns in their order: the name, and what follows it.
    columns: Vec<(Ident, String)>,
    /// Indexes: the words before the name, the name, what follows it. The primary key has the name PRIMARY.
    keys: Vec<(String, Ident, String)>,
    /// Constraints: the name, and what follows it.
    constraints: Vec<(Ident, String)>,
    /// Options but AUTO_INCREMENT and ENGINE.
    options: Vec<(String, String)>,
}

/// The clauses that make `before` of `after`; both are what SHOW CREATE TABLE says. `kept`: the old and the new
/// names of the columns that the change kept. Empty: there is nothing to take back.
///
/// # Errors
/// Why there are no such clauses, for a human.
pub(crate) fn opposite(
    before: &str,
    after: &str,
    kept: &[(Ident, Ident)],
    flavor: Flavor,
) -> Result<String, String> {
    let read = |text| {
        Definition::read(text, flavor)
            .map_err(|error| format!("a definition cannot be read: {error}"))
    };
    let (before, after) = (read(before)?, read(after)?);
    let mut clauses = Vec::new();
    constraints_that_go(&before, &after, flavor, &mut clauses);
    let keys = Keys::of(&before, &after, kept);
    clauses.extend(keys.dropped.iter().map(|name| match is_primary(name) {
        true => "DROP PRIMARY KEY".to_owned(),
        false => format!("DROP INDEX {name}"),
    }));
    columns(&before, &after, kept, &mut clauses);
    clauses.extend(keys.renamed.iter().map(|(new, old)| format!("RENAME INDEX {new} TO {old}")));
    clauses.extend(keys.added.iter().map(|(words, name, rest)| match is_primary(name) {
        true => format!("ADD {words} {rest}"),
        false => format!("ADD {words} {name} {rest}"),
    }));
    let comes =
        before.constraints.iter().filter(|constraint| !after.constraints.contains(constraint));
    clauses.extend(comes.map(|(name, rest)| format!("ADD CONSTRAINT {name} {rest}")));
    options(&before, &after, &mut clauses)?;
    Ok(clauses.join(", "))
}

fn is_primary(name: &Ident) -> bool {
    name.as_str() == PRIMARY
}

const PRIMARY: &str = "PRIMARY";

/// Options that take back to what they are without a word.
const WITH_DEFAULT: [&str; 6] = [
    "ROW_FORMAT",
    "STATS_PERSISTENT",
    "STATS_AUTO_RECALC",
    "STATS_SAMPLE_PAGES",
    "PACK_KEYS",
    "DELAY_KEY_WRITE",
];

fn options(
    before: &Definition,
    after: &Definition,
    clauses: &mut Vec<String>,
) -> Result<(), String> {
    let value = |of: &Definition, name: &str| {
        of.options.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    };
    for (name, was) in &before.options {
        if value(after, name).as_ref() != Some(was) {
            clauses.push(format!("{name}={was}"));
        }
    }
    for (name, _) in &after.options {
        if value(before, name).is_some() {
            continue;
        }
        match name.as_str() {
            "COMMENT" => clauses.push("COMMENT=''".into()),
            name if WITH_DEFAULT.contains(&name) => clauses.push(format!("{name}=DEFAULT")),
            name => return Err(format!("the option {name} cannot be taken away again")),
        }
    }
    Ok(())
}

fn constraints_that_go(
    before: &Definition,
    after: &Definition,
    flavor: Flavor,
    clauses: &mut Vec<String>,
) {
    for constraint in after.constraints.iter().filter(|one| !before.constraints.contains(one)) {
        let (name, rest) = constraint;
        let word = match () {
            () if rest.starts_with("FOREIGN") => "FOREIGN KEY",
            () if flavor.is_mariadb() => "CONSTRAINT",
            () => "CHECK",
        };
        clauses.push(format!("DROP {word} {name}"));
    }
}

/// The indexes that go, come, and have another name.
#[derive(Debug, Default)]
struct Keys {
    dropped: Vec<Ident>,
    added: Vec<(String, Ident, String)>,
    renamed: Vec<(Ident, Ident)>,
}

impl Keys {
    fn of(before: &Definition, after: &Definition, kept: &[(Ident, Ident)]) -> Self {
        // An index of a column that was renamed has its name in it.
        let now = |text: &str| {
            let moved = kept.iter().filter(|(old, new)| !old.same(new));
            moved.fold(text.to_owned(), |text, (old, new)| {
                text.replace(&old.to_string(), &new.to_string())
            })
        };
        let same = |(words, _, rest): &&(String, Ident, String),
                    (other, _, then): &(String, Ident, String)| {
            words == other && (rest == then || now(rest) == *then)
        };
        let mut keys = Self::default();
        let gone = |key: &&(String, Ident, String)| {
            !after.keys.iter().any(|now| now.1.same(&key.1) && same(key, now))
        };
        let mut missing: Vec<_> = before.keys.iter().filter(gone).collect();
        for key in &after.keys {
            if before.keys.iter().any(|was| was.1.same(&key.1) && same(&was, key)) {
                continue;
            }
            match missing.iter().position(|was| same(was, key)) {
                Some(at) => {
                    let was = missing.remove(at);
                    keys.renamed.push((key.1.clone(), was.1.clone()));
                }
                None => keys.dropped.push(key.1.clone()),
            }
        }
        keys.added = missing.into_iter().cloned().collect();
        keys
    }
}

fn columns(
    before: &Definition,
    after: &Definition,
    kept: &[(Ident, Ident)],
    clauses: &mut Vec<String>,
) {
    let old_name = |new: &Ident| kept.iter().find(|(_, name)| name.same(new)).map(|(old, _)| old);
    for (name, _) in after.columns.iter().filter(|(name, _)| old_name(name).is_none()) {
        clauses.push(format!("DROP COLUMN {name}"));
    }
    let is_kept = |old: &Ident| kept.iter().any(|(name, _)| name.same(old));
    let was = before.columns.iter().map(|(name, _)| name).filter(|name| is_kept(name));
    let is = after.columns.iter().filter_map(|(name, _)| old_name(name));
    let moved = !was.eq(is);
    let mut place = "FIRST".to_owned();
    for (name, rest) in &before.columns {
        let now = kept
            .iter()
            .find(|(old, _)| old.same(name))
            .and_then(|(_, new)| after.columns.iter().find(|(column, _)| column.same(new)));
        match now {
            None => clauses.push(format!("ADD COLUMN {name} {rest} {place}")),
            Some((new, _)) if moved => {
                clauses.push(format!("CHANGE COLUMN {new} {name} {rest} {place}"));
            }
            Some((new, is)) if is == rest && new.same(name) => {}
            Some((new, is)) if is == rest => {
                clauses.push(format!("RENAME COLUMN {new} TO {name}"));
            }
            Some((new, _)) => clauses.push(format!("CHANGE COLUMN {new} {name} {rest}")),
        }
        place = format!("AFTER {name}");
    }
}

impl Definition {
    fn read(text: &str, flavor: Flavor) -> Result<Self, SyntaxError> {
        let all = tokens(text, Dialect::of(flavor))?;
        let mut cursor = Cursor::new(text, &all, text.len());
        while cursor.peek().is_some_and(|token| !token.is_symbol('(')) {
            cursor.next();
        }
        let mut definition = Self::default();
        for element in cursor.group("the columns")?.split() {
            definition.element(element)?;
        }
        definition.read_options(cursor.rest());
        Ok(definition)
    }

    fn element(&mut self, mut element: Cursor<'_>) -> Result<(), SyntaxError> {
        let rest = |element: Cursor<'_>| element.text(element.rest());
        let words = ["UNIQUE", "FULLTEXT", "SPATIAL"];
        if element.eat(&["PRIMARY", "KEY"]) {
            self.keys.push(("PRIMARY KEY".into(), Ident::new(PRIMARY), rest(element)));
        } else if element.eat(&["CONSTRAINT"]) {
            let name = element.ident("the constraint's name")?;
            self.constraints.push((name, rest(element)));
        } else if let Some(word) = words.into_iter().find(|word| element.eat(&[word, "KEY"])) {
            let name = element.ident("the index's name")?;
            self.keys.push((format!("{word} KEY"), name, rest(element)));
        } else if element.eat(&["KEY"]) {
            let name = element.ident("the index's name")?;
            self.keys.push(("KEY".into(), name, rest(element)));
        } else {
            let name = element.ident("the column's name")?;
            self.columns.push((name, rest(element)));
        }
        Ok(())
    }

    /// `NAME=VALUE`, or `DEFAULT CHARSET=VALUE`; partitions follow, which these methods never change.
    fn read_options(&mut self, options: &[Token<'_>]) {
        let options = options.split(|token| token.is("PARTITION")).next().unwrap_or_default();
        for option in options.windows(3) {
            let [name, sign, value] = option else { continue };
            let name = name.text.to_ascii_uppercase();
            if sign.is_symbol('=') && name != "ENGINE" && name != "AUTO_INCREMENT" {
                self.options.push((name, value.text.to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::connection::version::Family;

    const MYSQL: Flavor = Flavor { family: Family::Mysql, version: (9, 7, 4) };
    const MARIADB: Flavor = Flavor { family: Family::Mariadb, version: (10, 11, 19) };

    const BEFORE: &str = "CREATE TABLE `t` (
  `id` int NOT NULL AUTO_INCREMENT,
  `v` varchar(40) COLLATE utf8mb4_bin DEFAULT 'a,b)',
  `n` decimal(10,2) DEFAULT '0.00' COMMENT 'it''s',
  PRIMARY KEY (`id`),
  UNIQUE KEY `u` (`v`,`n`),
  KEY `k` (`n` DESC),
  CONSTRAINT `c` CHECK ((`n` > 0))
) ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci COMMENT='was'";

    fn back(change: impl Fn(&str) -> String, kept: &[(&str, &str)], flavor: Flavor) -> String {
        let kept: Vec<_> =
            kept.iter().map(|(old, new)| (Ident::new(*old), Ident::new(*new))).collect();
        opposite(BEFORE, &change(BEFORE), &kept, flavor).unwrap()
    }

    const ALL: &[(&str, &str)] = &[("id", "id"), ("v", "v"), ("n", "n")];

    #[test]
    fn nothing_is_taken_back_of_nothing() {
        assert_eq!(back(|text| text.replace("=7", "=9"), ALL, MYSQL), "");
    }

    #[test]
    fn columns_go_come_and_are_as_they_were() {
        let added = |text: &str| text.replace("  PRIMARY", "  `x` int DEFAULT NULL,\n  PRIMARY");
        assert_eq!(back(added, ALL, MYSQL), "DROP COLUMN `x`");
        let dropped = |text: &str| {
            let line = "  `v` varchar(40) COLLATE utf8mb4_bin DEFAULT 'a,b)',\n";
            text.replace(line, "").replace("(`v`,`n`)", "(`n`)")
        };
        assert_eq!(
            back(dropped, &[("id", "id"), ("n", "n")], MYSQL),
            "DROP INDEX `u`, ADD COLUMN `v` varchar(40) COLLATE utf8mb4_bin DEFAULT 'a,b)' AFTER `id`, \
             ADD UNIQUE KEY `u` (`v`,`n`)"
        );
        let renamed = |text: &str| text.replace("`v`", "`w`");
        assert_eq!(
            back(renamed, &[("id", "id"), ("v", "w"), ("n", "n")], MYSQL),
            "RENAME COLUMN `w` TO `v`"
        );
        let wider = |text: &str| text.replace("varchar(40)", "varchar(60)");
        assert_eq!(
            back(wider, ALL, MARIADB),
            "CHANGE COLUMN `v` `v` varchar(40) COLLATE utf8mb4_bin DEFAULT 'a,b)'"
        );
        let moved = |text: &str| {
            let line = "  `n` decimal(10,2) DEFAULT '0.00' COMMENT 'it''s',\n";
            text.replace(line, "").replace("  `v` v", &format!("{line}  `v` v"))
        };
        let text = back(moved, ALL, MYSQL);
        assert!(
            text.contains(
                "CHANGE COLUMN `n` `n` decimal(10,2) DEFAULT '0.00' COMMENT 'it''s' AFTER `v`"
            ),
            "{text}"
        );
    }

    #[test]
    fn keys_constraints_and_options_are_as_they_were() {
        let index = |text: &str| text.replace("KEY `k`", "KEY `j`");
        assert_eq!(back(index, ALL, MYSQL), "RENAME INDEX `j` TO `k`");
        let gone = |text: &str| text.replace("  KEY `k` (`n` DESC),\n", "");
        assert_eq!(back(gone, ALL, MYSQL), "ADD KEY `k` (`n` DESC)");
        let check = |text: &str| text.replace("`c` CHECK", "`d` CHECK");
        assert_eq!(back(check, ALL, MYSQL), "DROP CHECK `d`, ADD CONSTRAINT `c` CHECK ((`n` > 0))");
        assert!(back(check, ALL, MARIADB).starts_with("DROP CONSTRAINT `d`"));
        let comment = |text: &str| text.replace("COMMENT='was'", "COMMENT='is' ROW_FORMAT=DYNAMIC");
        assert_eq!(back(comment, ALL, MYSQL), "COMMENT='was', ROW_FORMAT=DEFAULT");
        let visible = |text: &str| text.replace("(`n` DESC)", "(`n` DESC) /*!80000 INVISIBLE */");
        assert_eq!(back(visible, ALL, MYSQL), "DROP INDEX `k`, ADD KEY `k` (`n` DESC)");
        let none = opposite(BEFORE, &BEFORE.replace("COMMENT=", "CONNECTION="), &[], MYSQL);
        assert!(none.unwrap_err().contains("CONNECTION"));
    }
}
