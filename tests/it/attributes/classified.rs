//! A list of all that a server's catalog can say about a table.
//!
//! ```text
//! CATALOG VERDICT COLUMN… -- WHY
//! catalog VERDICT CATALOG… -- WHY
//! ```

use std::collections::{BTreeMap, BTreeSet};

/// The list.
#[derive(Debug, Default)]
pub(crate) struct Classified {
    /// Columns of each catalog that are compared.
    pub(crate) same: BTreeMap<String, Vec<String>>,
    /// All columns of the list, as `catalog.column`.
    known: BTreeSet<String>,
    walked: BTreeSet<String>,
    apart: BTreeSet<String>,
}

impl Classified {
    /// Reads the list.
    pub(crate) fn of(list: &str) -> Self {
        let mut all = Self::default();
        for line in list.lines() {
            let (line, why) = line.split_once(" -- ").unwrap_or((line, ""));
            let words: Vec<&str> = line.split_whitespace().collect();
            let [catalog, verdict, names @ ..] = words.as_slice() else { continue };
            if catalog.starts_with('#') {
                continue;
            }
            assert!(!why.is_empty() || matches!(*verdict, "same" | "walked"), "why? {line}");
            let names = names.iter().map(|name| (*name).to_owned());
            match *verdict {
                "walked" => all.walked.extend(names),
                "apart" => all.apart.extend(names),
                "same" | "never" | "refused" => {
                    for name in names {
                        if *verdict == "same" {
                            let columns = all.same.entry((*catalog).to_owned()).or_default();
                            columns.push(name.clone());
                        }
                        assert!(all.known.insert(format!("{catalog}.{name}")), "twice: {name}");
                    }
                }
                other => panic!("{other} is no verdict: {line}"),
            }
        }
        all
    }

    /// What of a server's catalogs and their columns the list does not have.
    pub(crate) fn unknown(&self, found: &[Vec<String>]) -> Vec<String> {
        let mut unknown = BTreeSet::new();
        for row in found {
            let (catalog, column) = (&row[0], &row[1]);
            if self.apart.contains(catalog) {
                continue;
            }
            if !self.walked.contains(catalog) {
                unknown.insert(catalog.clone());
            } else if !self.known.contains(&format!("{catalog}.{column}")) {
                unknown.insert(format!("{catalog}.{column}"));
            }
        }
        unknown.into_iter().collect()
    }
}
