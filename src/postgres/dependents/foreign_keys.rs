//! Foreign keys of the table and of the tables that refer to it.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::sql;
use super::validation;
use crate::error::Result;
use crate::postgres::clauses::columns::ColumnOutcomes;
use crate::postgres::connection::errors::NOT_AS_MADE;
use crate::postgres::name::{Ident, TableName, Text};

/// A foreign key with the original at one end or at both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// Its name.
    pub name: Ident,
    /// The table that it is on.
    pub child: TableName,
    /// The table that it refers to.
    pub parent: TableName,
    /// Whether the original has it (a self-reference counts so).
    pub outbound: bool,
    /// Its columns in the child.
    pub columns: Vec<Ident>,
    /// The columns that they refer to.
    pub referenced: Vec<Ident>,
    /// `FOREIGN KEY …` as the server writes it.
    pub definition: String,
    /// Whether its rows were checked.
    pub validated: bool,
    /// Whether the child is partitioned.
    pub child_partitioned: bool,
    /// Whether the other end may not be altered by osc's role: the table's owner.
    pub other_owner: Option<Ident>,
    /// Its comment.
    pub comment: Option<String>,
}

impl ForeignKey {
    /// A foreign key of the original on itself.
    pub(crate) fn is_self(&self) -> bool {
        self.child == self.parent
    }

    /// Whether the clauses take the key away, with one of its columns or by name.
    pub(super) fn goes(&self, outcomes: &ColumnOutcomes) -> bool {
        self.outbound
            && (outcomes.dropped_constraints.contains(&self.name)
                || self.columns.iter().any(|column| outcomes.drops(column)))
    }

    /// Whether it is to be checked after the swap, as it had been before.
    pub(crate) fn to_validate(&self) -> bool {
        self.validated && !self.bare().ends_with("NOT ENFORCED")
    }

    fn bare(&self) -> &str {
        self.definition.strip_suffix(" NOT VALID").unwrap_or(&self.definition)
    }

    /// Takes the key away, before the renames.
    pub(super) fn drop(&self) -> String {
        format!("ALTER TABLE {} DROP CONSTRAINT {}", self.child, self.name)
    }

    /// Puts the key back without looking at the rows, after the renames.
    pub(super) fn add(&self) -> Vec<String> {
        let (child, name, bare) = (&self.child, &self.name, self.bare());
        let unchecked = if bare.ends_with("NOT ENFORCED") { "" } else { " NOT VALID" };
        let mut statements =
            vec![format!("ALTER TABLE {child} ADD CONSTRAINT {name} {bare}{unchecked}")];
        let object = format!("CONSTRAINT {name} ON {child}");
        statements.extend(sql::comment(&object, self.comment.as_ref()));
        statements
    }

    /// The statements, in one message, that give keys of child rows that have no parent: at most `limit`, one
    /// text a row.
    ///
    /// `trusts_owner`: whoever owns what it runs.
    pub(super) fn orphans(&self, limit: u32, trusts_owner: bool) -> String {
        let looked = validation::before_reading(&self.child, &self.name, trusts_owner);
        format!("{looked}{}; {}", held(&self.parent), self.rows_without_parent(limit))
    }

    /// The statements, in one message, that give the columns `key` of rows of `child`, called `c`, that have no parent
    /// for this key, which the table does not have yet: at most `limit` of those for which `only` holds.
    pub(crate) fn children_alone(
        &self,
        child: &TableName,
        key: &[Ident],
        only: &str,
        limit: usize,
    ) -> String {
        let parent = if self.is_self() { child } else { &self.parent };
        let list = |alias: &str, columns: &[Ident]| {
            columns.iter().map(|c| format!("{alias}.{c}")).collect::<Vec<_>>().join(", ")
        };
        let present = self.columns.iter().map(|c| format!("c.{c} IS NOT NULL")).collect::<Vec<_>>();
        format!(
            "{}; SELECT {} FROM ONLY {child} c WHERE {} AND {only} AND NOT EXISTS \
             (SELECT FROM {parent} p WHERE ({}) = ({})) LIMIT {limit}",
            held(parent),
            list("c", key),
            present.join(" AND "),
            list("p", &self.referenced),
            list("c", &self.columns)
        )
    }

    /// The statement that comments the key on `table` as it was.
    pub(crate) fn comment_on(&self, table: &TableName) -> Option<String> {
        sql::comment(&format!("CONSTRAINT {} ON {table}", self.name), self.comment.as_ref())
    }

    fn rows_without_parent(&self, limit: u32) -> String {
        let list = |alias: &str, columns: &[Ident]| {
            columns.iter().map(|c| format!("{alias}.{c}")).collect::<Vec<_>>().join(", ")
        };
        let (own, theirs) = (list("c", &self.columns), list("p", &self.referenced));
        let present = self.columns.iter().map(|c| format!("c.{c} IS NOT NULL")).collect::<Vec<_>>();
        format!(
            "SELECT ROW({own})::text FROM {} c WHERE {} AND NOT EXISTS \
             (SELECT FROM {} p WHERE ({theirs}) = ({own})) LIMIT {limit}",
            self.child,
            present.join(" AND "),
            self.parent
        )
    }
}

/// A statement that holds the parent of a key, which must be a table.
fn held(parent: &TableName) -> String {
    let name = Text(&parent.to_string()).to_string();
    let body = format!(
        "BEGIN LOCK TABLE ONLY {parent} IN ACCESS SHARE MODE; IF NOT EXISTS (SELECT FROM \
         pg_catalog.pg_class WHERE oid = {name}::regclass AND relkind IN ('r', 'p')) THEN \
         RAISE EXCEPTION USING ERRCODE = '{NOT_AS_MADE}', MESSAGE = 'its parent is no table any more'; \
         END IF; END"
    );
    format!("DO {}", Text(&body))
}

/// Reads them. Keys that a partition has from its parent are the parent's.
pub(super) async fn read(client: &Client, oid: u32) -> Result<Vec<ForeignKey>> {
    let names = |relation: &str, keys: &str| {
        format!(
            "ARRAY(SELECT a.attname::text FROM pg_catalog.unnest({keys}) \
             WITH ORDINALITY o(n, place) JOIN pg_catalog.pg_attribute a \
             ON a.attrelid = {relation} AND a.attnum = o.n ORDER BY o.place)"
        )
    };
    let (columns, referenced) =
        (names("k.conrelid", "k.conkey"), names("k.confrelid", "k.confkey"));
    let (child, parent) = (sql::table_name("c", "cn"), sql::table_name("p", "pn"));
    let query = format!(
        "SELECT k.conname AS name, {child} AS child, {parent} AS parent, \
         k.conrelid = $1 AS outbound, {columns} AS columns, {referenced} AS referenced, \
         pg_catalog.pg_get_constraintdef(k.oid) AS definition, k.convalidated AS validated, \
         c.relkind = 'p' AS child_partitioned, \
         CASE WHEN NOT pg_catalog.pg_has_role(c.relowner, 'USAGE') \
         THEN pg_catalog.pg_get_userbyid(c.relowner) END AS other_owner, \
         pg_catalog.obj_description(k.oid, 'pg_constraint') AS comment \
         FROM pg_catalog.pg_constraint k \
         JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
         JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace \
         JOIN pg_catalog.pg_class p ON p.oid = k.confrelid \
         JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace \
         WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid = $1 OR k.confrelid = $1) \
         ORDER BY cn.nspname, c.relname, k.conname"
    );
    sql::rows(client, "foreign keys", &query, oid).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(definition: &str) -> ForeignKey {
        ForeignKey {
            name: Ident::new("fk"),
            child: TableName::new("s", "o"),
            parent: TableName::new("s", "t"),
            outbound: false,
            columns: vec![Ident::new("a"), Ident::new("b")],
            referenced: vec![Ident::new("x"), Ident::new("y")],
            definition: definition.into(),
            validated: true,
            child_partitioned: false,
            other_owner: None,
            comment: None,
        }
    }

    #[test]
    fn a_foreign_key_comes_back_without_a_scan() {
        let expected = "ALTER TABLE \"s\".\"o\" ADD CONSTRAINT \"fk\" FOREIGN KEY (a) … NOT VALID";
        assert_eq!(key("FOREIGN KEY (a) …").add(), [expected]);
        assert_eq!(key("FOREIGN KEY (a) … NOT VALID").add(), [expected]);
    }

    #[test]
    fn a_foreign_key_that_is_not_enforced_is_not_validated() {
        let key = key("FOREIGN KEY (a) … NOT ENFORCED");
        assert!(key.add()[0].ends_with("NOT ENFORCED") && !key.to_validate());
    }

    #[test]
    fn orphans_are_rows_whose_whole_key_is_there_and_whose_parent_is_not() {
        assert_eq!(
            key("").rows_without_parent(3),
            "SELECT ROW(c.\"a\", c.\"b\")::text FROM \"s\".\"o\" c \
             WHERE c.\"a\" IS NOT NULL AND c.\"b\" IS NOT NULL AND NOT EXISTS \
             (SELECT FROM \"s\".\"t\" p WHERE (p.\"x\", p.\"y\") = (c.\"a\", c.\"b\")) LIMIT 3"
        );
    }

    #[test]
    fn a_key_goes_with_its_column_or_by_name() {
        let mut own = key("");
        own.outbound = true;
        let mut outcomes = ColumnOutcomes::unchanged([Ident::new("a"), Ident::new("b")]);
        assert!(!own.goes(&outcomes));
        outcomes.dropped_constraints.insert(Ident::new("fk"));
        assert!(own.goes(&outcomes) && !key("").goes(&outcomes));
        outcomes.dropped_constraints.clear();
        outcomes.columns.insert(Ident::new("b"), None);
        assert!(own.goes(&outcomes));
    }
}
