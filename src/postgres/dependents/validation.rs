//! What is looked at before the rows of a constraint are checked: `VALIDATE` goes by a name, and evaluates what the
//! table's owner may have put there with the rights of osc's role.

use crate::postgres::connection::errors::NOT_AS_MADE;
use crate::postgres::name::{Ident, TableName, Text};
use crate::postgres::trust::roles::trusted;
use crate::testing::mutation::{self, Rule};

/// The statements, in one message, that check the rows of the constraint `name` of `table`.
///
/// `trusts_owner`: whoever the functions belong to.
pub fn validate(table: &TableName, name: &Ident, trusts_owner: bool) -> String {
    let looked = before_validating(table, name, trusts_owner);
    format!("{looked}ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
}

/// The statement to be run before VALIDATE, in its transaction: empty where the functions may run whoever
/// they belong to.
pub fn before_validating(table: &TableName, name: &Ident, trusts_owner: bool) -> String {
    looked(table, name, "SHARE UPDATE EXCLUSIVE", trusts_owner)
}

/// The same before a query that reads the rows by what the constraint says.
pub fn before_reading(table: &TableName, name: &Ident, trusts_owner: bool) -> String {
    looked(table, name, "ACCESS SHARE", trusts_owner)
}

fn looked(table: &TableName, name: &Ident, mode: &str, trusts_owner: bool) -> String {
    match trusts_owner || mutation::active(Rule::ObjectsProved) {
        true => String::new(),
        false => proved(table, name, mode) + "; ",
    }
}

/// A statement that locks `table` in `mode`, and fails where checking the rows of its constraint `name`, a check or a
/// foreign key, would run what belongs to a role that osc does not trust.
fn proved(table: &TableName, name: &Ident, mode: &str) -> String {
    let text = table.to_string();
    let of_others = |key: &str, relation: &str, operand: &str| {
        format!(
            "EXISTS (SELECT FROM ROWS FROM (pg_catalog.unnest(k.{key}), \
             pg_catalog.unnest(k.conpfeqop)) u(n, o) \
             JOIN pg_catalog.pg_operator q ON q.oid = u.o \
             JOIN pg_catalog.pg_type w ON w.oid = q.{operand} AND w.typtype <> 'p' \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.{relation} AND a.attnum = u.n \
             JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
             JOIN pg_catalog.pg_type b ON b.oid = coalesce(nullif(t.typbasetype, 0), t.oid) \
             WHERE b.oid <> w.oid AND NOT {})",
            trusted("b.typowner")
        )
    };
    let calls = |of: &str| {
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_depend d \
             LEFT JOIN pg_catalog.pg_operator o ON d.refclassid = 'pg_catalog.pg_operator'::regclass \
             AND o.oid = d.refobjid JOIN pg_catalog.pg_proc p ON p.oid = coalesce(o.oprcode::oid, d.refobjid) \
             WHERE d.refclassid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass) \
             AND ({of}) AND NOT {})",
            trusted("p.proowner")
        )
    };
    // Who plans a query folds the constants in the expressions of a table's indexes and statistics.
    let planned = calls(
        "d.classid = 'pg_catalog.pg_class'::regclass AND d.objid IN (SELECT i.indexrelid \
         FROM pg_catalog.pg_index i WHERE i.indrelid IN (k.conrelid, k.confrelid)) \
         OR d.classid = 'pg_catalog.pg_statistic_ext'::regclass AND d.objid IN (SELECT x.oid \
         FROM pg_catalog.pg_statistic_ext x WHERE x.stxrelid IN (k.conrelid, k.confrelid))",
    );
    let own = calls("d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = k.oid");
    let body = format!(
        "BEGIN LOCK TABLE ONLY {table} IN {mode} MODE; \
         IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = {}::regclass \
         AND k.conname = {} AND (k.contype IN ('c', 'n') AND NOT {own} \
         OR k.contype = 'f' AND NOT {} AND NOT {} AND NOT {planned})) THEN \
         RAISE EXCEPTION USING ERRCODE = '{NOT_AS_MADE}', MESSAGE = {}; END IF; END",
        Text(&text),
        Text(name.as_str()),
        of_others("conkey", "conrelid", "oprright"),
        of_others("confkey", "confrelid", "oprleft"),
        Text(&format!(
            "the constraint {name} of {} is gone, or would run what belongs to a role that osc does not trust",
            table.plain()
        )),
    );
    format!("DO {}", Text(&body))
}
