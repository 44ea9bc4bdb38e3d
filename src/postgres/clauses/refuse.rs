//! Clauses that osc is not for.

use squawk_syntax::ast;

use crate::error::Error;
use crate::error::Finding;

fn refused(what: &str, help: &str) -> Error {
    Error::Refused(vec![Finding::new("clauses", format!("osc does not support {what}"), help)])
}

/// Why a clause is refused, whatever the table; `None`: it is not.
pub(super) fn refusal(action: &ast::AlterTableAction) -> Option<Error> {
    use ast::AlterTableAction as A;
    let (what, help) = match action {
        A::TableRenameTo(_) => (
            "renaming a table",
            "ALTER TABLE … RENAME TO is instant; run it yourself, with a short lock_timeout",
        ),
        A::SetSchema(_) => (
            "moving a table to another schema",
            "ALTER TABLE … SET SCHEMA is instant; run it yourself, with a short lock_timeout",
        ),
        A::AttachPartition(_)
        | A::DetachPartition(_)
        | A::MergePartitions(_)
        | A::SplitPartition(_) => ("moving partitions", "run the statement yourself"),
        A::InheritTable(_) | A::NoInheritTable(_) | A::OfType(_) | A::NotOf(_) => {
            ("inheritance and typed tables", "run the statement yourself")
        }
        A::OptionItemList(_) | A::AlterOptionList(_) => {
            ("foreign tables", "run the statement yourself")
        }
        A::AddColumn(add) if add.alter_option_list().is_some() => {
            ("foreign tables", "run the statement yourself")
        }
        A::SetWithoutOids(_) => ("OIDs", "leave the clause out: it does nothing since version 12"),
        _ => return None,
    };
    Some(refused(what, help))
}

/// What PostgreSQL takes only as a statement of its own.
pub(super) fn rename_among_others() -> Error {
    Error::Usage {
        message: "RENAME cannot be combined with other clauses".into(),
        help: "rename in a change of its own: it is instant".into(),
    }
}

/// `DROP INDEX … CASCADE`.
pub(super) fn drop_index_cascade() -> Error {
    Error::Usage {
        message: "DROP INDEX … CASCADE cannot be done concurrently".into(),
        help: "leave CASCADE out, and drop what depends on the index first".into(),
    }
}
