//! What hangs on the table and is carried by no other file here: reasons not to begin.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::sql;
use crate::error::Result;

/// Something that cannot be carried over, whatever the clauses are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Obstacle {
    /// What kind of thing it is: a key of [`Obstacle::help`].
    pub kind: String,
    /// The thing, in the server's words.
    pub what: String,
}

impl Obstacle {
    /// Name of the check, and what helps.
    pub(super) fn help(&self) -> (&'static str, &'static str) {
        match self.kind.as_str() {
            "inheritance" => {
                ("inheritance", "osc changes neither partitions nor inheritance trees")
            }
            "row type" => {
                ("row-type", "write the column types out instead of the table's row type")
            }
            "extension" => ("extension", "change it by the extension's own update"),
            "label" => ("security-label", "remove the label, and put it back afterwards"),
            "subscription" => (
                "subscription",
                "a subscription would stop writing to the table without an error until its next \
                 REFRESH PUBLICATION; take the table out of it first",
            ),
            "sequence" => (
                "identity-sequence",
                "it would go on with the retired table's sequence: make it draw from a sequence of its \
                 own first",
            ),
            _ => ("dependent", "drop it, and create it again afterwards"),
        }
    }
}

/// Reads them.
pub(super) async fn read(client: &Client, oid: u32) -> Result<Vec<Obstacle>> {
    sql::rows(client, "dependants", QUERY, oid).await
}

/// Names of the event triggers that will see the swap's statements.
pub(super) async fn event_triggers(client: &Client, oid: u32) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let query = "SELECT evtname AS name FROM pg_catalog.pg_event_trigger \
         WHERE evtenabled <> 'D' AND $1 <> 0::oid ORDER BY 1";
    let found: Vec<Named> = sql::rows(client, "event triggers", query, oid).await?;
    Ok(found.into_iter().map(|one| one.name).collect())
}

/// The last part takes whatever `pg_depend` knows and nothing else carries, so that an object of a
/// kind that osc has never heard of is a reason to refuse, and not lost.
const QUERY: &str = "\
 SELECT 'inheritance' AS kind, CASE WHEN i.inhparent = $1 \
 THEN 'child table ' || i.inhrelid::regclass ELSE 'parent table ' || i.inhparent::regclass END AS what \
 FROM pg_catalog.pg_inherits i WHERE $1 IN (i.inhparent, i.inhrelid) \
 UNION ALL \
 SELECT 'inheritance', 'the table is partitioned' FROM pg_catalog.pg_class \
 WHERE oid = $1 AND relkind = 'p' \
 UNION ALL \
 SELECT 'row type', 'the table is of type ' || reloftype::regtype FROM pg_catalog.pg_class \
 WHERE oid = $1 AND reloftype <> 0 \
 UNION ALL \
 SELECT 'row type', 'rights on its row type, ' || oid::regtype FROM pg_catalog.pg_type \
 WHERE typrelid = $1 AND typacl IS NOT NULL \
 UNION ALL \
 SELECT 'extension', 'extension ' || e.extname FROM pg_catalog.pg_depend d \
 JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
 WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = $1 \
 AND d.refclassid = 'pg_catalog.pg_extension'::regclass \
 UNION ALL \
 SELECT 'label', 'label of ' || provider FROM pg_catalog.pg_seclabel \
 WHERE classoid = 'pg_catalog.pg_class'::regclass AND (objoid = $1 OR objoid IN (\
 SELECT objid FROM pg_catalog.pg_depend WHERE classid = 'pg_catalog.pg_class'::regclass \
 AND refclassid = 'pg_catalog.pg_class'::regclass AND refobjid = $1 AND deptype = 'i')) \
 UNION ALL \
 SELECT 'subscription', 'subscription ' || s.subname FROM pg_catalog.pg_subscription_rel r \
 JOIN pg_catalog.pg_subscription s ON s.oid = r.srsubid WHERE r.srrelid = $1 \
 UNION ALL \
 SELECT DISTINCT 'row type', pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) \
 FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_type t ON t.oid = d.refobjid \
 LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem \
 LEFT JOIN pg_catalog.pg_class u ON d.classid = 'pg_catalog.pg_class'::regclass AND u.oid = d.objid \
 WHERE d.refclassid = 'pg_catalog.pg_type'::regclass AND $1 IN (t.typrelid, e.typrelid) \
 AND d.deptype <> 'i' AND u.relkind IS DISTINCT FROM 'v' \
 AND d.classid <> 'pg_catalog.pg_rewrite'::regclass \
 UNION ALL \
 SELECT DISTINCT 'sequence', pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) \
 || ', which uses ' || s.objid::regclass \
 FROM pg_catalog.pg_depend s JOIN pg_catalog.pg_depend d \
 ON d.refclassid = s.classid AND d.refobjid = s.objid AND d.deptype <> 'i' \
 WHERE s.classid = 'pg_catalog.pg_class'::regclass AND s.refobjid = $1 AND s.deptype = 'i' \
 AND s.refclassid = 'pg_catalog.pg_class'::regclass AND s.objsubid = 0 AND s.refobjsubid > 0 \
 UNION ALL \
 SELECT DISTINCT 'other', pg_catalog.pg_describe_object(d.classid, d.objid, 0) \
 FROM pg_catalog.pg_depend d \
 LEFT JOIN pg_catalog.pg_class u ON d.classid = 'pg_catalog.pg_class'::regclass AND u.oid = d.objid \
 LEFT JOIN pg_catalog.pg_attrdef f ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND f.oid = d.objid \
 LEFT JOIN pg_catalog.pg_trigger g ON d.classid = 'pg_catalog.pg_trigger'::regclass AND g.oid = d.objid \
 LEFT JOIN pg_catalog.pg_proc p ON d.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = d.objid \
 LEFT JOIN pg_catalog.pg_constraint k ON d.classid = 'pg_catalog.pg_constraint'::regclass \
 AND k.oid = d.objid \
 WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = $1 AND CASE d.classid \
 WHEN 'pg_catalog.pg_rewrite'::regclass THEN false \
 WHEN 'pg_catalog.pg_policy'::regclass THEN false \
 WHEN 'pg_catalog.pg_statistic_ext'::regclass THEN false \
 WHEN 'pg_catalog.pg_publication_rel'::regclass THEN false \
 WHEN 'pg_catalog.pg_type'::regclass THEN d.deptype <> 'i' \
 WHEN 'pg_catalog.pg_constraint'::regclass THEN k.conrelid <> $1 AND k.contype <> 'f' \
 WHEN 'pg_catalog.pg_attrdef'::regclass THEN f.adrelid <> $1 \
 WHEN 'pg_catalog.pg_trigger'::regclass THEN NOT g.tgisinternal AND g.tgrelid <> $1 \
 WHEN 'pg_catalog.pg_proc'::regclass THEN p.prosqlbody IS NULL \
 WHEN 'pg_catalog.pg_class'::regclass THEN d.objid <> $1 AND u.relkind NOT IN ('i', 'I', 't', 'S') \
 AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = d.objid AND i.inhparent = $1) \
 ELSE true END ORDER BY 1, 2";
