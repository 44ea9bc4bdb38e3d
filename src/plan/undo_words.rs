//! What the verdict says of columns and keys on every server: the sentences are here once.

use super::undo::Reason;

/// What a row gets in a column that the change dropped, when it was created since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// The next number.
    Counted,
    /// The column's DEFAULT.
    Default,
    /// NULL.
    Null,
    /// There is no value for it.
    Nothing,
}

impl Reason {
    /// A column that only the live table has.
    pub(crate) fn added_column(name: &str) -> Self {
        Self::possible(name, "its values stay in the retired table")
    }

    /// A column that the change drops; `fresh`: what a row gets that was created since.
    pub(crate) fn dropped_column(name: &str, fresh: Fresh) -> Self {
        let gets = match fresh {
            Fresh::Nothing => {
                let condition = format!("no row is created; else with --fill {name}=EXPR");
                return Self::possible_while(name, condition);
            }
            Fresh::Counted => "the next number",
            Fresh::Default => "its DEFAULT",
            Fresh::Null => "NULL",
        };
        let text =
            format!("has its values again; a row created since gets {gets}, or --fill {name}=EXPR");
        Self::possible(name, text)
    }

    /// A column that has another name now.
    pub(crate) fn renamed_column(name: &str, old: &str) -> Self {
        Self::possible(name, format!("is called {old} again"))
    }

    /// A column that was computed and is written now.
    pub(crate) fn no_longer_computed(name: &str) -> Self {
        Self::possible_while(name, format!("what is written to {name} is what would be computed"))
    }

    /// A column that was written and is computed now.
    pub(crate) fn computed_now(name: &str) -> Self {
        Self::possible(name, "has its old values again; a row created since gets what was computed")
    }

    /// A column of which the change keeps less than it had: `kind` is its new type.
    pub(crate) fn narrowed_column(name: &str, kind: &str) -> Self {
        Self::possible(name, format!("a value that is not written has what {kind} holds no more"))
    }

    /// A column that takes NULL now.
    pub(crate) fn nullable_now(name: &str) -> Self {
        Self::possible_while(name, format!("no NULL is written to {name}"))
    }

    /// What a row's `key` means where the retired table has columns, `gone`, that only it knows.
    pub(crate) fn known_by_key(key: &str, gone: &str) -> Self {
        let lost = format!(
            "{gone} of a row whose {key} is changed, which counts as created since; a row that gets the \
             {key} of a deleted one has that one's {gone}"
        );
        Self::loses("rows", lost)
    }

    /// A foreign key that comes back.
    pub(crate) fn foreign_key_back(name: &str, columns: &str, parent: &str) -> Self {
        let condition = format!("every {columns} has its row in {parent}");
        Self::possible_while(format!("foreign key {name}"), condition)
    }

    /// A check that comes back.
    pub(crate) fn check_back(name: &str, check: &str) -> Self {
        Self::possible_while(format!("check {name}"), format!("every row keeps the check {check}"))
    }

    /// A unique key, `subject`, that tells apart what the live table does not: over `stay`, columns of the live
    /// table, and `gone`, which only the retired one has, with the `--fill` of each.
    pub(crate) fn unique_back(
        subject: impl Into<String>,
        stay: Option<&str>,
        gone: Option<(&str, &str)>,
    ) -> Self {
        let condition = match (stay, gone) {
            (Some(stay), None) => format!("no two rows get the same {stay}"),
            (None, None) => "no two rows get the same value".into(),
            (None, Some((gone, fills))) => format!(
                "at most one row is created, which gets the DEFAULT of {gone}; else with {fills}"
            ),
            (Some(stay), Some((gone, _))) => format!(
                "no two rows get the same {stay}, with what {gone} has in them or its DEFAULT"
            ),
        };
        Self::possible_while(subject, condition)
    }
}

/// `id`, or `(a, b)`.
pub(crate) fn list(names: &[&str]) -> String {
    match names {
        [one] => (*one).to_owned(),
        many => format!("({})", many.join(", ")),
    }
}
