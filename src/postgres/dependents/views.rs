//! Views that read the table, directly or through others.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::grants::{self, Grant, On};
use super::rules::{self, Rule};
use super::triggers::{self, Trigger};
use super::{settings, sql};
use crate::error::Result;
use crate::postgres::clauses::columns::ColumnOutcomes;
use crate::postgres::name::{Ident, TableName};

/// A view, plain or materialised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct View {
    /// OID of the view.
    pub oid: u32,
    /// Its name.
    pub name: TableName,
    /// Whether it is materialised.
    pub materialized: bool,
    /// The longest way from it to the original; 1: it reads the original itself.
    pub depth: u32,
    /// OIDs of the relations that it reads.
    pub reads: Vec<u32>,
    /// Its query.
    pub definition: String,
    /// Its options, `name=value`, with `check_option`.
    pub options: Vec<String>,
    /// Its owner.
    pub owner: Ident,
    /// Whether osc's role may replace it.
    pub owned: bool,
    /// Columns of the original that it names.
    pub columns: Vec<Ident>,
    /// Whether one of its own columns is of the original's row type.
    pub row_type: bool,
    /// Its rights.
    pub grants: Vec<Grant>,
    /// Its triggers.
    pub triggers: Vec<Trigger>,
    /// Its columns' defaults.
    pub defaults: Vec<(Ident, String)>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its columns' comments.
    pub column_comments: Vec<(Ident, String)>,
    /// What else hangs on the view itself, in the server's words: it forbids creating it again.
    pub held_by: Vec<String>,
}

/// Reads them, the nearest first.
pub(super) async fn read(client: &Client, oid: u32) -> Result<Vec<View>> {
    let name = sql::table_name("c", "n");
    let (grants, triggers) = (grants::of("c", On::Table), triggers::of("c"));
    let query = format!(
        "WITH RECURSIVE edge AS (SELECT DISTINCT r.ev_class AS view, d.refobjid AS reads \
         FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d \
         ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid \
         AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> r.ev_class \
         WHERE r.rulename = '_RETURN'), \
         way AS (SELECT view, 1 AS depth FROM edge WHERE reads = $1 \
         UNION SELECT edge.view, way.depth + 1 FROM way JOIN edge ON edge.reads = way.view \
         WHERE way.depth < 100), \
         far AS (SELECT view, max(depth) AS depth FROM way GROUP BY view) \
         SELECT c.oid::bigint AS oid, {name} AS name, c.relkind = 'm' AS materialized, far.depth, \
         ARRAY(SELECT reads::bigint FROM edge WHERE edge.view = c.oid ORDER BY 1) AS reads, \
         pg_catalog.pg_get_viewdef(c.oid) AS definition, \
         coalesce(c.reloptions, '{{}}') AS options, \
         pg_catalog.pg_get_userbyid(c.relowner) AS owner, \
         pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned, {COLUMNS} AS columns, \
         EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem \
         WHERE a.attrelid = c.oid AND $1 IN (t.typrelid, e.typrelid)) AS row_type, \
         {grants} AS grants, {triggers} AS triggers, \
         (SELECT coalesce(json_agg(json_build_array(a.attname, \
         pg_catalog.pg_get_expr(f.adbin, f.adrelid)) ORDER BY a.attnum), '[]'::json) \
         FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_attribute a \
         ON a.attrelid = f.adrelid AND a.attnum = f.adnum WHERE f.adrelid = c.oid) AS defaults, \
         pg_catalog.obj_description(c.oid, 'pg_class') AS comment, \
         (SELECT coalesce(json_agg(json_build_array(a.attname, m.description) ORDER BY a.attnum), \
         '[]'::json) FROM pg_catalog.pg_description m JOIN pg_catalog.pg_attribute a \
         ON a.attrelid = m.objoid AND a.attnum = m.objsubid \
         WHERE m.classoid = 'pg_catalog.pg_class'::regclass AND m.objoid = c.oid \
         AND m.objsubid > 0) AS column_comments, \
         ARRAY(SELECT DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, 0) \
         FROM pg_catalog.pg_depend d WHERE ((d.refclassid = 'pg_catalog.pg_class'::regclass \
         AND d.refobjid = c.oid) OR (d.refclassid = 'pg_catalog.pg_type'::regclass \
         AND d.refobjid IN (SELECT ty.oid FROM pg_catalog.pg_type ty \
         LEFT JOIN pg_catalog.pg_type el ON el.oid = ty.typelem \
         WHERE c.oid IN (ty.typrelid, el.typrelid)))) \
         AND d.classid NOT IN ('pg_catalog.pg_attrdef'::regclass, 'pg_catalog.pg_trigger'::regclass) \
         AND NOT (d.classid = 'pg_catalog.pg_type'::regclass AND d.deptype = 'i') \
         AND NOT (d.classid = 'pg_catalog.pg_rewrite'::regclass AND EXISTS (\
         SELECT FROM pg_catalog.pg_rewrite r WHERE r.oid = d.objid \
         AND (r.ev_class = c.oid OR r.rulename = '_RETURN'))) \
         AND NOT (d.classid = 'pg_catalog.pg_class'::regclass AND d.objid IN (SELECT view FROM far)) \
         ORDER BY 1) AS held_by \
         FROM far JOIN pg_catalog.pg_class c ON c.oid = far.view \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY far.depth, c.oid"
    );
    sql::rows(client, "views", &query, oid).await
}

/// Columns of the original that the view `c` names; the rule that defines it does the naming.
const COLUMNS: &str = "ARRAY(SELECT DISTINCT ua.attname::text FROM pg_catalog.pg_rewrite ur \
     JOIN pg_catalog.pg_depend ud ON ud.classid = 'pg_catalog.pg_rewrite'::regclass \
     AND ud.objid = ur.oid AND ud.refclassid = 'pg_catalog.pg_class'::regclass \
     AND ud.refobjid = $1 AND ud.refobjsubid > 0 \
     JOIN pg_catalog.pg_attribute ua ON ua.attrelid = $1 AND ua.attnum = ud.refobjsubid \
     WHERE ur.ev_class = c.oid AND ur.rulename = '_RETURN' ORDER BY 1)";

/// OIDs of the views that must be created again, since a column of theirs may change its type: those
/// that name a retyped column or show the row type, and whatever reads them. All others keep their
/// shape and are replaced.
pub(super) fn recreated(views: &[View], outcomes: &ColumnOutcomes) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for view in views {
        let touched = view.row_type
            || view.columns.iter().any(|column| outcomes.retyped.contains(column))
            || view.reads.iter().any(|read| found.contains(read));
        if touched {
            found.insert(view.oid);
        }
    }
    found
}

fn query(view: &View) -> String {
    let options = if view.options.is_empty() {
        String::new()
    } else {
        format!(" WITH ({})", settings::options(&view.options))
    };
    format!("VIEW {}{options} AS {}", view.name, view.definition.trim_end().trim_end_matches(';'))
}

/// Removes the views that are created again, the outermost first, before the renames.
pub(super) fn before(views: &[View], recreated: &BTreeSet<u32>) -> Vec<String> {
    let gone = views.iter().rev().filter(|view| recreated.contains(&view.oid));
    gone.map(|view| format!("DROP VIEW {}", view.name)).collect()
}

/// Binds the views to the new table, after the renames. A view that is replaced keeps its owner,
/// rights, comments, triggers, rules and defaults; views that read only other views need nothing.
pub(super) fn after(
    views: &[View],
    rules: &[Rule],
    recreated: &BTreeSet<u32>,
    table: u32,
) -> Vec<String> {
    let mut statements = Vec::new();
    for view in views {
        if recreated.contains(&view.oid) {
            statements.extend(create(view, rules));
        } else if view.reads.contains(&table) && !view.materialized {
            statements.push(format!("CREATE OR REPLACE {}", query(view)));
        }
    }
    statements
}

fn create(view: &View, rules: &[Rule]) -> Vec<String> {
    let name = &view.name;
    let mut statements = vec![
        format!("CREATE {}", query(view)),
        format!("ALTER VIEW {name} OWNER TO {}", view.owner),
    ];
    for (column, default) in &view.defaults {
        statements.push(format!("ALTER VIEW {name} ALTER COLUMN {column} SET DEFAULT {default}"));
    }
    statements.push(grants::clear(On::Table, name));
    statements.extend(grants::give(&view.grants, On::Table, name, Some));
    statements.extend(sql::comment(&format!("VIEW {name}"), view.comment.as_ref()));
    for (column, comment) in &view.column_comments {
        statements.extend(sql::comment(&format!("COLUMN {name}.{column}"), Some(comment)));
    }
    for rule in rules.iter().filter(|rule| rule.relation == view.oid) {
        statements.extend(rules::create(rule));
    }
    for trigger in &view.triggers {
        statements.extend(triggers::create(trigger, name));
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(oid: u32, reads: u32, columns: &[&str]) -> View {
        View {
            oid,
            name: TableName::new("s", format!("v{oid}")),
            materialized: false,
            depth: oid,
            reads: vec![reads],
            definition: " SELECT 1;".into(),
            options: vec!["security_barrier=true".into()],
            owner: Ident::new("o"),
            owned: true,
            columns: columns.iter().map(|name| Ident::new(*name)).collect(),
            row_type: false,
            grants: vec![],
            triggers: vec![],
            defaults: vec![],
            comment: None,
            column_comments: vec![],
            held_by: vec![],
        }
    }

    #[test]
    fn a_view_that_keeps_its_shape_is_replaced_and_its_readers_need_nothing() {
        let views = [view(1, 100, &["a"]), view(2, 1, &[])];
        let recreated = recreated(&views, &ColumnOutcomes::default());
        assert!(recreated.is_empty() && before(&views, &recreated).is_empty());
        assert_eq!(
            after(&views, &[], &recreated, 100),
            [
                "CREATE OR REPLACE VIEW \"s\".\"v1\" WITH (\"security_barrier\" = 'true') AS  SELECT 1"
            ]
        );
    }

    #[test]
    fn views_over_a_retyped_column_are_dropped_outermost_first_and_made_innermost_first() {
        let views = [view(1, 100, &["a"]), view(2, 1, &[])];
        let outcomes =
            ColumnOutcomes { retyped: [Ident::new("a")].into(), ..ColumnOutcomes::default() };
        let recreated = recreated(&views, &outcomes);
        assert_eq!(
            before(&views, &recreated),
            ["DROP VIEW \"s\".\"v2\"", "DROP VIEW \"s\".\"v1\""]
        );
        let made = after(&views, &[], &recreated, 100);
        let made: Vec<_> = made.iter().filter(|text| text.starts_with("CREATE VIEW")).collect();
        assert!(made[0].contains("v1") && made[1].contains("v2"));
    }
}
