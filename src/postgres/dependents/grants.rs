//! Rights on a relation and on its columns, with who gave them.

use serde::{Deserialize, Serialize};

use crate::postgres::name::{Ident, TableName, Text};

/// One right of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    /// The column, where the right is on one.
    pub column: Option<Ident>,
    /// Who has it; `None`: everybody.
    pub grantee: Option<Ident>,
    /// Who gave it.
    pub grantor: Ident,
    /// The right, such as `SELECT`.
    pub privilege: String,
    /// Whether its holder may give it on.
    pub grantable: bool,
    /// Whether the grantor is the relation's owner.
    pub by_owner: bool,
    /// Whether osc's role may act as the grantor.
    pub settable: bool,
}

/// The right to become a role: from 16 on, membership alone does not give it.
const SET_ROLE: &str = "CASE WHEN pg_catalog.current_setting('server_version_num')::int4 >= 160000 \
     THEN 'SET' ELSE 'MEMBER' END";

/// The kind of relation that rights are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    /// A table or a view.
    Table,
    /// A sequence.
    Sequence,
}

impl On {
    fn keyword(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::Sequence => "SEQUENCE",
        }
    }
}

/// A subquery: the rights on the relation `class` (an alias of `pg_class`) as a JSON array, in the
/// order in which they can be given again.
pub(super) fn of(class: &str, on: On) -> String {
    let kind = match on {
        On::Table => 'r',
        On::Sequence => 's',
    };
    let list = |column: &str, from: &str, place: &str| {
        format!(
            "SELECT {column} AS \"column\", ge.rolname AS grantee, gr.rolname AS grantor, \
             acl.privilege_type AS privilege, acl.is_grantable AS grantable, \
             acl.grantor = {class}.relowner AS by_owner, \
             pg_catalog.pg_has_role(acl.grantor, {SET_ROLE}) AS settable, {place} AS place, acl.n \
             FROM {from} WITH ORDINALITY AS acl(grantor, grantee, privilege_type, is_grantable, n) \
             JOIN pg_catalog.pg_roles gr ON gr.oid = acl.grantor \
             LEFT JOIN pg_catalog.pg_roles ge ON ge.oid = acl.grantee"
        )
    };
    let whole = list(
        "NULL::text",
        &format!(
            "pg_catalog.aclexplode(coalesce({class}.relacl, \
             pg_catalog.acldefault('{kind}', {class}.relowner)))"
        ),
        "0",
    );
    let columns = list(
        "ga.attname::text",
        "pg_catalog.pg_attribute ga, LATERAL pg_catalog.aclexplode(ga.attacl)",
        "ga.attnum",
    );
    format!(
        "(SELECT coalesce(json_agg(row_to_json(g) ORDER BY g.place, g.n), '[]'::json) \
         FROM ({whole} UNION ALL {columns} \
         WHERE ga.attrelid = {class}.oid AND ga.attnum > 0 AND NOT ga.attisdropped) g)"
    )
}

/// Takes away whatever rights stand on `relation`, default privileges' included.
pub(super) fn clear(on: On, relation: &TableName) -> String {
    let keyword = on.keyword();
    let revoke = format!("REVOKE ALL ON {keyword} {relation} FROM ").replace('%', "%%");
    let name = relation.to_string();
    let name = Text(&name);
    let body = format!(
        "DECLARE r text; BEGIN FOR r IN \
         SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' \
         ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END \
         FROM (SELECT relacl AS acl FROM pg_catalog.pg_class WHERE oid = {name}::regclass \
         UNION ALL SELECT attacl FROM pg_catalog.pg_attribute WHERE attrelid = {name}::regclass) l, \
         LATERAL pg_catalog.aclexplode(l.acl) a \
         LOOP EXECUTE pg_catalog.format({} || '%s CASCADE', r); END LOOP; END",
        Text(&revoke)
    );
    format!("DO {}", Text(&body))
}

/// Gives the rights on `relation`; `column` says the new name of a column, `None` where it is gone.
pub(super) fn give<'a>(
    grants: &'a [Grant],
    on: On,
    relation: &TableName,
    column: impl Fn(&'a Ident) -> Option<&'a Ident>,
) -> Vec<String> {
    let same = |a: &Grant, b: &Grant| {
        (&a.column, &a.grantee, &a.grantor, a.grantable)
            == (&b.column, &b.grantee, &b.grantor, b.grantable)
    };
    let mut statements = Vec::new();
    for group in grants.chunk_by(same) {
        let Some(first) = group.first() else { continue };
        let place = match &first.column {
            None => String::new(),
            Some(old) => match column(old) {
                None => continue,
                Some(new) => format!(" ({new})"),
            },
        };
        let rights: Vec<String> =
            group.iter().map(|grant| format!("{}{place}", grant.privilege)).collect();
        let to = first.grantee.as_ref().map_or("PUBLIC".to_owned(), Ident::to_string);
        let option = if first.grantable { " WITH GRANT OPTION" } else { "" };
        let keyword = on.keyword();
        let grant = format!("GRANT {} ON {keyword} {relation} TO {to}{option}", rights.join(", "));
        if first.by_owner || !first.settable {
            statements.push(grant);
        } else {
            statements.push(format!("SET LOCAL ROLE {}", first.grantor));
            statements.push(grant);
            statements.push("RESET ROLE".into());
        }
    }
    statements
}

/// Gives rights on columns, which keep their names.
pub(super) fn give_each(grants: &[Grant], relation: &TableName) -> Vec<String> {
    give(grants, On::Table, relation, Some)
}

/// What becomes another's gift, since osc's role may not act as the grantor.
pub(super) fn notes(grants: &[Grant], relation: &TableName) -> Vec<String> {
    let mut grantors: Vec<&str> = grants
        .iter()
        .filter(|grant| !grant.by_owner && !grant.settable)
        .map(|grant| grant.grantor.as_str())
        .collect();
    grantors.dedup();
    let note = |grantor| {
        format!(
            "rights on {} that {grantor} gave will have been given by the owner: osc's role is \
             not a member of {grantor}",
            relation.plain()
        )
    };
    grantors.into_iter().map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(column: Option<&str>, privilege: &str, by_owner: bool, settable: bool) -> Grant {
        Grant {
            column: column.map(Ident::new),
            grantee: Some(Ident::new("app")),
            grantor: Ident::new("boss"),
            privilege: privilege.into(),
            grantable: false,
            by_owner,
            settable,
        }
    }

    fn given(grants: &[Grant]) -> Vec<String> {
        let gone = Ident::new("gone");
        give(grants, On::Table, &TableName::new("s", "t"), |c| (*c != gone).then_some(c))
    }

    #[test]
    fn rights_of_one_role_are_given_together() {
        let grants = [grant(None, "SELECT", true, true), grant(None, "INSERT", true, true)];
        assert_eq!(given(&grants), ["GRANT SELECT, INSERT ON TABLE \"s\".\"t\" TO \"app\""]);
    }

    #[test]
    fn a_grantor_other_than_the_owner_is_impersonated_where_that_is_allowed() {
        assert_eq!(
            given(&[grant(None, "SELECT", false, true)]),
            [
                "SET LOCAL ROLE \"boss\"",
                "GRANT SELECT ON TABLE \"s\".\"t\" TO \"app\"",
                "RESET ROLE"
            ]
        );
        let foreign = [grant(None, "SELECT", false, false)];
        assert_eq!(given(&foreign), ["GRANT SELECT ON TABLE \"s\".\"t\" TO \"app\""]);
        assert_eq!(notes(&foreign, &TableName::new("s", "t")).len(), 1);
    }

    #[test]
    fn rights_on_a_dropped_column_go_with_it() {
        let grants =
            [grant(Some("gone"), "SELECT", true, true), grant(Some("a"), "SELECT", true, true)];
        assert_eq!(given(&grants), ["GRANT SELECT (\"a\") ON TABLE \"s\".\"t\" TO \"app\""]);
    }
}
