//! What PostgreSQL's catalog says of a table, as lines that two databases can be compared by: every
//! attribute that `postgres.txt` calls `same`, with names in the place of numbers.

mod classified;

use std::collections::BTreeMap;

use tokio_postgres::Client;

pub(crate) use classified::Classified;

use crate::support::postgres::{Major, Postgres, rows};

/// The list of all attributes.
pub(crate) fn classified() -> Classified {
    Classified::of(include_str!("postgres.txt"))
}

/// Catalogs and columns of the server that the list does not have.
pub(crate) async fn unknown(server: &Postgres) -> Vec<String> {
    let sql = "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a \
               ON a.attrelid = c.oid AND a.attnum > 0 \
               WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r'";
    let found = server.rows("postgres", sql).await;
    assert!(found.len() > 300, "this is no catalog: {found:?}");
    classified().unknown(&found)
}

/// The statements that make the table that has everything that this server knows.
pub(crate) fn everything(major: Major) -> Vec<String> {
    let mut all = Vec::new();
    for statement in include_str!("everything.sql").split(";\n") {
        let statement = statement.trim();
        match statement.strip_prefix("/* ").and_then(|rest| rest.split_once(" */ ")) {
            Some((from, rest)) if from.parse::<u32>().is_ok_and(|from| from <= major.number()) => {
                all.push(rest.to_owned());
            }
            None if !statement.is_empty() => all.push(statement.to_owned()),
            _ => {}
        }
    }
    all
}

/// The table, its indexes, its TOAST table, and its sequences.
const RELATIONS: &str = "SELECT 'everything'::regclass::oid AS oid \
     UNION SELECT indexrelid FROM pg_index WHERE indrelid = 'everything'::regclass \
     UNION SELECT reltoastrelid FROM pg_class WHERE oid = 'everything'::regclass \
     UNION SELECT objid FROM pg_depend WHERE refobjid = 'everything'::regclass \
     AND classid = 'pg_class'::regclass AND deptype IN ('a', 'i')";

/// Catalog, which of its rows are about the table, and what the numbers of its columns are.
const WALK: &[(&str, &str)] = &[
    ("pg_class", "x.oid IN (SELECT oid FROM rel)"),
    ("pg_attribute", "x.attrelid IN (SELECT oid FROM rel) AND x.attnum > 0 AND NOT x.attisdropped"),
    ("pg_attrdef", "x.adrelid IN (SELECT oid FROM rel)"),
    ("pg_index", "x.indrelid IN (SELECT oid FROM rel)"),
    ("pg_constraint", "'everything'::regclass IN (x.conrelid, x.confrelid)"),
    ("pg_sequence", "x.seqrelid IN (SELECT oid FROM rel)"),
    ("pg_trigger", "'everything'::regclass IN (x.tgrelid, x.tgconstrrelid)"),
    ("pg_policy", "x.polrelid = 'everything'::regclass"),
    ("pg_rewrite", "x.ev_class = 'everything'::regclass OR x.ev_class = 'reading'::regclass"),
    ("pg_statistic_ext", "x.stxrelid = 'everything'::regclass"),
    ("pg_publication_rel", "x.prrelid = 'everything'::regclass"),
    (
        "pg_type",
        "x.typrelid = 'everything'::regclass \
         OR x.oid = (SELECT typarray FROM pg_type WHERE typrelid = 'everything'::regclass)",
    ),
    (
        "pg_depend",
        "x.classid <> 0 AND ((x.classid, x.objid) IN (SELECT class, oid FROM obj) \
         OR (x.refclassid, x.refobjid) IN (SELECT class, oid FROM obj))",
    ),
    (
        "pg_shdepend",
        "x.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND (x.classid, x.objid) IN (SELECT class, oid FROM obj)",
    ),
    ("pg_description", "(x.classoid, x.objoid) IN (SELECT class, oid FROM obj)"),
    ("pg_init_privs", "(x.classoid, x.objoid) IN (SELECT class, oid FROM obj)"),
];

/// All objects that are about the table.
const OBJECTS: &str = "SELECT 'pg_class'::regclass::oid AS class, oid FROM rel \
     UNION SELECT 'pg_constraint'::regclass, oid FROM pg_constraint \
     WHERE 'everything'::regclass IN (conrelid, confrelid) \
     UNION SELECT 'pg_trigger'::regclass, oid FROM pg_trigger WHERE tgrelid = 'everything'::regclass \
     UNION SELECT 'pg_policy'::regclass, oid FROM pg_policy WHERE polrelid = 'everything'::regclass \
     UNION SELECT 'pg_rewrite'::regclass, oid FROM pg_rewrite WHERE ev_class = 'everything'::regclass \
     UNION SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = 'everything'::regclass \
     UNION SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext \
     WHERE stxrelid = 'everything'::regclass \
     UNION SELECT 'pg_publication_rel'::regclass, oid FROM pg_publication_rel \
     WHERE prrelid = 'everything'::regclass \
     UNION SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typrelid = 'everything'::regclass";

/// What the catalog says of the table `everything`, a line a row.
pub(crate) async fn picture(client: &Client, classified: &Classified) -> Vec<String> {
    let sql = "SELECT c.relname, a.attname, t.typname FROM pg_class c JOIN pg_attribute a \
               ON a.attrelid = c.oid AND a.attnum > 0 JOIN pg_type t ON t.oid = a.atttypid \
               WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r'";
    let types: BTreeMap<(String, String), String> = rows(client, sql)
        .await
        .into_iter()
        .map(|row| ((row[0].clone(), row[1].clone()), row[2].clone()))
        .collect();
    let sql = "SELECT f.fktable::text, f.fkcols[cardinality(f.fkcols)], f.fkcols[1], \
               f.pktable::text FROM pg_get_catalog_foreign_keys() f";
    let keys = rows(client, sql).await;
    let mut lines = Vec::new();
    for (catalog, which) in WALK {
        let mut shown = Vec::new();
        for column in &classified.same[*catalog] {
            let named = ((*catalog).to_owned(), column.clone());
            // Of another major.
            let Some(kind) = types.get(&named) else { continue };
            // A column may be in the key of a column and in that of a relation: the first tells more.
            let mut own = keys.iter().filter(|key| key[0] == *catalog && key[1] == *column);
            let attributes = own.clone().find(|key| key[3] == "pg_attribute");
            let key = attributes.or_else(|| own.next());
            shown.push(format!("'{column}', {}", value(catalog, column, kind, key)));
        }
        let sql = format!(
            "WITH rel AS ({RELATIONS}), obj AS ({OBJECTS}) \
             SELECT jsonb_strip_nulls(jsonb_build_object({})) FROM {catalog} x WHERE {which}",
            shown.join(", ")
        );
        let found = rows(client, &sql).await;
        lines.extend(found.iter().map(|row| format!("{catalog} {}", plain(&row[0]))));
    }
    let order = "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute \
                 WHERE attrelid = 'everything'::regclass AND attnum > 0 AND NOT attisdropped";
    lines.push(format!("columns {}", rows(client, order).await[0][0]));
    let sql = format!(
        "WITH rel AS ({RELATIONS}) SELECT oid::regclass FROM rel JOIN pg_class USING (oid) \
         WHERE relkind = 'S'"
    );
    for row in rows(client, &sql).await {
        let place = rows(client, &format!("SELECT last_value, is_called FROM {}", row[0])).await;
        lines.push(format!("{} stands at {:?}", row[0], place[0]));
    }
    assert!(lines.len() > 200, "this is no picture: {lines:#?}");
    lines.sort();
    lines
}

/// Names that the server makes of numbers begin with these.
const NUMBERED: [&str; 3] = ["pg_toast_", "RI_ConstraintTrigger_", "Unique_ConstraintTrigger_"];

/// A line without the numbers in them.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some(at) = NUMBERED.iter().filter_map(|name| rest.find(name)).min() {
        let digits = rest[at..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| at + n);
        plain.push_str(&rest[..digits]);
        rest = rest[digits..].trim_start_matches(|c: char| c.is_ascii_digit());
    }
    plain + rest
}

/// An expression that tells a column's value without numbers that each database has of its own.
fn value(catalog: &str, column: &str, kind: &str, key: Option<&Vec<String>>) -> String {
    let x = format!("x.{column}");
    let identity = |class: &str, oid: &str| {
        format!("CASE WHEN {oid} <> 0 THEN (pg_identify_object({class}, {oid}, 0)).identity END")
    };
    match (catalog, column, kind) {
        // Which column of which object it is.
        ("pg_depend" | "pg_shdepend", "objid", _) => {
            "pg_describe_object(x.classid, x.objid, x.objsubid)".into()
        }
        ("pg_depend", "refobjid", _) => {
            "pg_describe_object(x.refclassid, x.refobjid, x.refobjsubid)".into()
        }
        ("pg_depend" | "pg_shdepend", "objsubid" | "refobjsubid", _) => "''".into(),
        ("pg_shdepend", "refobjid", _) => identity("x.refclassid", "x.refobjid"),
        ("pg_description" | "pg_init_privs", "objoid", _) => {
            "pg_describe_object(x.classoid, x.objoid, x.objsubid)".into()
        }
        ("pg_description" | "pg_init_privs", "objsubid", _) => "''".into(),
        ("pg_rewrite", "ev_action", _) => "pg_get_ruledef(x.oid)".into(),
        ("pg_trigger", "tgqual", _) => "pg_get_triggerdef(x.oid)".into(),
        ("pg_trigger", "tgargs", _) => "encode(x.tgargs, 'escape')".into(),
        ("pg_attrdef", "adnum", _) => {
            "(SELECT attname FROM pg_attribute WHERE attrelid = x.adrelid AND attnum = x.adnum)"
                .into()
        }
        ("pg_publication_rel", "prattrs", _) => {
            "ARRAY(SELECT attname FROM unnest(x.prattrs::int2[]) n JOIN pg_attribute \
             ON attrelid = x.prrelid AND attnum = n ORDER BY 1)"
                .into()
        }
        ("pg_constraint", "confdelsetcols", _) => {
            "ARRAY(SELECT attname FROM unnest(x.confdelsetcols) n JOIN pg_attribute \
             ON attrelid = x.conrelid AND attnum = n ORDER BY 1)"
                .into()
        }
        ("pg_policy", "polroles", _) => {
            "ARRAY(SELECT CASE r WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(r)::text END \
             FROM unnest(x.polroles) r ORDER BY 1)"
                .into()
        }
        // Rights that say nothing are the usual ones.
        ("pg_class", "relacl", _) => "ARRAY(SELECT a::text FROM unnest(coalesce(x.relacl, \
             acldefault(CASE x.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", x.relowner))) a \
             ORDER BY 1)"
            .into(),
        (_, _, "_aclitem") => format!("ARRAY(SELECT a::text FROM unnest({x}) a ORDER BY 1)"),
        // The server counts a column's versions here since 15.20 and its like.
        ("pg_attribute", "attoptions", _) => {
            format!("ARRAY(SELECT o FROM unnest({x}) o WHERE o NOT LIKE 'pg\\_attver=%')")
        }
        // Their order is that in which they were set.
        ("pg_class", "reloptions", _) => format!("ARRAY(SELECT o FROM unnest({x}) o ORDER BY 1)"),
        (_, _, "pg_node_tree") => {
            let relation = match catalog {
                "pg_attrdef" => "x.adrelid",
                "pg_index" => "x.indrelid",
                "pg_constraint" => "x.conrelid",
                "pg_policy" => "x.polrelid",
                "pg_statistic_ext" => "x.stxrelid",
                "pg_publication_rel" => "x.prrelid",
                _ => "0",
            };
            format!("pg_get_expr({x}, {relation})")
        }
        _ => match key.map(|key| (key[2].as_str(), key[3].as_str())) {
            Some((relation, "pg_attribute")) => format!(
                "ARRAY(SELECT a.attname FROM unnest({x}::int2[]) WITH ORDINALITY u(n, place) \
                 LEFT JOIN pg_attribute a ON a.attrelid = x.{relation} AND a.attnum = u.n \
                 ORDER BY u.place)"
            ),
            Some((_, class)) if matches!(kind, "_oid" | "oidvector") => format!(
                "ARRAY(SELECT {} FROM unnest({x}::oid[]) WITH ORDINALITY u(n, place) ORDER BY u.place)",
                identity(&format!("'{class}'::regclass"), "u.n")
            ),
            Some((_, class)) if kind == "oid" => {
                identity(&format!("'{class}'::regclass"), &format!("{x}::oid"))
            }
            _ => format!("{x}::text"),
        },
    }
}
