//! `variables.txt`.

use std::collections::BTreeSet;

use crate::support::server::Kind;

/// One variable.
pub struct Variable {
    pub class: &'static str,
    pub name: &'static str,
    on: Option<&'static str>,
    /// The hostile server's value.
    pub wrong: Option<&'static str>,
}

impl Variable {
    /// Whether the hostile server of this kind sets it.
    pub fn wrong_on(&self, kind: Kind) -> bool {
        self.wrong.is_some() && self.on.is_none_or(|on| on == kind.name())
    }
}

/// All of them.
pub struct Table(pub Vec<Variable>);

impl Table {
    pub fn read() -> Self {
        let mut class = "";
        let mut variables = Vec::new();
        for line in include_str!("variables.txt").lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(head) = line.strip_prefix('[') {
                let (name, why) = head.split_once("] ").expect("a kind and its reason");
                assert!(!why.is_empty());
                class = name;
                continue;
            }
            let (name, wrong) = match line.split_once(" = ") {
                Some((name, wrong)) => (name, Some(wrong)),
                None => (line, None),
            };
            let (name, on) = match name.split_once('@') {
                Some((name, on)) => (name, Some(on)),
                None => (name, None),
            };
            variables.push(Variable { class, name, on, wrong });
        }
        let names: BTreeSet<&str> = variables.iter().map(|variable| variable.name).collect();
        assert_eq!(names.len(), variables.len(), "a name stands twice");
        Self(variables)
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|variable| variable.name)
    }
}
