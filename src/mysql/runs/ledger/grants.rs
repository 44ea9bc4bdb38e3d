//! Who may write the ledger besides osc: whoever may could forge what osc reads there.
//!
//! The server's own tables of rights are read, where osc may read them. Rights on everything
//! (`*.*`) are an administrator's, who is trusted; so is an account that is named as osc's own is, on
//! another host. A right on the ledger's database or on one of its tables that another account has, by
//! itself or by a role, is reason to refuse.

use std::collections::HashSet;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::error::{Error, Finding, Result};
use crate::ledger::refusals::untrusted;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::connection::privileges::like;
use crate::mysql::connection::texts::text_rows;
use crate::mysql::name::{Ident, Text};

const ACTION: &str = "reading who may write the ledger";

/// Rights on a database by which its tables come to hold or do something else, and the columns of
/// `mysql.db` that have them.
const RIGHTS: [(&str, &str); 10] = [
    ("INSERT", "Insert_priv"),
    ("UPDATE", "Update_priv"),
    ("DELETE", "Delete_priv"),
    ("CREATE", "Create_priv"),
    ("DROP", "Drop_priv"),
    ("ALTER", "Alter_priv"),
    ("INDEX", "Index_priv"),
    ("CREATE VIEW", "Create_view_priv"),
    ("TRIGGER", "Trigger_priv"),
    ("GRANT OPTION", "Grant_priv"),
];

/// An account or a role; a role of MariaDB has no host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Account {
    user: String,
    host: String,
}

impl Account {
    fn plain(&self) -> String {
        let user = Ident::new(self.user.as_str());
        if self.host.is_empty() {
            return user.to_string();
        }
        format!("{user}@{}", Ident::new(self.host.as_str()))
    }
}

/// What an account may do, and where: `` `osc`.* ``.
struct Grant {
    account: Account,
    rights: Vec<String>,
    scope: String,
}

/// The tables of rights.
struct Known {
    grants: Vec<Grant>,
    /// Who has a role: role first.
    roles: Vec<(Account, Account)>,
    /// Roles that everybody has.
    everybodys: Vec<String>,
    /// Accounts with the rights to write on everything.
    global: HashSet<Account>,
    /// Roles: accounts that no one logs in as. Only MySQL, where both are in one table.
    locked: Option<HashSet<Account>>,
}

/// Who may write the ledger in `schema`, each with the statement that ends it; `None`: osc may not
/// read the server's tables of rights.
///
/// # Errors
/// Those of [`connection_error`].
pub(crate) async fn writers(
    conn: &mut Conn,
    mariadb: bool,
    schema: &Ident,
) -> Result<Option<Vec<Finding>>> {
    let user: Option<String> = conn
        .query_first("SELECT CURRENT_USER()")
        .await
        .map_err(|error| connection_error(ACTION, error))?;
    let user = user.unwrap_or_default();
    let own = user.rsplit_once('@').map_or(user.as_str(), |(user, _)| user);
    let known = match read(conn, mariadb, schema).await {
        Ok(known) => known,
        // A missing right; on a server of another kind a missing table.
        Err(Error::Refused(_) | Error::Server { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(known.findings(own)))
}

impl Known {
    fn findings(&self, own: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        for grant in &self.grants {
            let others = self.others(&grant.account, own);
            if others.is_empty() {
                continue;
            }
            let (account, rights) = (grant.account.plain(), grant.rights.join(", "));
            let by_role = if others == [account.clone()] {
                String::new()
            } else {
                format!(", a role of {}", others.join(", "))
            };
            findings.push(untrusted(
                format!(
                    "{account}{by_role} may write the ledger ({rights} on {}): what stands there \
                     could be forged",
                    grant.scope
                ),
                format!("REVOKE {rights} ON {} FROM {account}", grant.scope),
            ));
        }
        findings
    }

    /// Those of the accounts that have the rights of `account` who are not trusted.
    fn others(&self, account: &Account, own: &str) -> Vec<String> {
        let trusted = |account: &Account| account.user == own || self.global.contains(account);
        if trusted(account) {
            return Vec::new();
        }
        let mut holders: Vec<&Account> = vec![account];
        let mut at = 0;
        while let Some(role) = holders.get(at).copied() {
            for (_, member) in self.roles.iter().filter(|(of, _)| of == role) {
                if !holders.contains(&member) && !trusted(member) {
                    holders.push(member);
                }
            }
            at += 1;
        }
        let everybodys = self.everybodys.contains(&account.user);
        if everybodys {
            return vec!["everybody".to_owned()];
        }
        // A role that only trusted accounts have is no one else's.
        let is_role = match &self.locked {
            Some(locked) => locked.contains(account),
            None => account.host.is_empty() || self.roles.iter().any(|(of, _)| of == account),
        };
        holders.iter().skip(usize::from(is_role)).map(|holder| holder.plain()).collect()
    }
}

async fn read(conn: &mut Conn, mariadb: bool, schema: &Ident) -> Result<Known> {
    let mut grants = on_database(conn, schema).await?;
    grants.extend(on_tables(conn, schema).await?);
    let edges = if mariadb {
        "SELECT Role, '', User, Host FROM mysql.roles_mapping"
    } else {
        "SELECT FROM_USER, FROM_HOST, TO_USER, TO_HOST FROM mysql.role_edges"
    };
    let roles = text_rows(conn, ACTION, edges)
        .await?
        .into_iter()
        .map(|[user, host, to_user, to_host]| {
            (Account { user, host }, Account { user: to_user, host: to_host })
        })
        .collect();
    let mut everybodys = vec!["PUBLIC".to_owned()];
    let sql = "SHOW GLOBAL VARIABLES LIKE 'mandatory_roles'";
    for [_, list] in text_rows(conn, ACTION, sql).await? {
        let name =
            |role: &str| role.split('@').next().map(|name| name.replace(['`', '\'', '"'], ""));
        everybodys.extend(list.split(',').filter_map(|role| name(role.trim())));
    }
    let users = "SELECT User, Host FROM mysql.user \
                 WHERE Insert_priv = 'Y' AND Update_priv = 'Y' AND Delete_priv = 'Y'";
    // Without this right no account is known to be an administrator.
    let global = optional(accounts(conn, users).await)?.unwrap_or_default();
    let locked = "SELECT User, Host FROM mysql.user WHERE account_locked = 'Y'";
    let locked = if mariadb { None } else { optional(accounts(conn, locked).await)? };
    Ok(Known { grants, roles, everybodys, global, locked })
}

fn optional<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::Refused(_) | Error::Server { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn accounts(conn: &mut Conn, sql: &str) -> Result<HashSet<Account>> {
    let rows = text_rows(conn, ACTION, sql).await?;
    Ok(rows.into_iter().map(|[user, host]| Account { user, host }).collect())
}

async fn on_database(conn: &mut Conn, schema: &Ident) -> Result<Vec<Grant>> {
    let sql = "SHOW GLOBAL VARIABLES LIKE 'partial_revokes'";
    let rows: Vec<[String; 2]> = text_rows(conn, ACTION, sql).await?;
    // Then the signs of a pattern stand for themselves.
    let literal = rows.first().is_some_and(|[_, value]| value == "ON");
    let columns: Vec<&str> = RIGHTS.iter().map(|(_, column)| *column).collect();
    let sql = format!("SELECT User, Host, Db, CONCAT({}) FROM mysql.db", columns.join(", "));
    let mut grants = Vec::new();
    for [user, host, pattern, given] in text_rows(conn, ACTION, &sql).await? {
        let covers =
            if literal { pattern == schema.as_str() } else { like(&pattern, schema.as_str()) };
        // A grant on all databases is one on the server's own.
        let everywhere = !literal && !pattern.is_empty() && pattern.chars().all(|c| c == '%');
        let rights: Vec<String> = RIGHTS
            .iter()
            .zip(given.chars())
            .filter(|(_, given)| *given == 'Y')
            .map(|((right, _), _)| (*right).to_owned())
            .collect();
        if covers && !everywhere && !rights.is_empty() {
            let scope = format!("{}.*", Ident(pattern));
            grants.push(Grant { account: Account { user, host }, rights, scope });
        }
    }
    Ok(grants)
}

async fn on_tables(conn: &mut Conn, schema: &Ident) -> Result<Vec<Grant>> {
    let sql = format!(
        "SELECT User, Host, Table_name, Table_priv, Column_priv FROM mysql.tables_priv WHERE Db = {}",
        Text(schema.as_str())
    );
    let mut grants = Vec::new();
    for [user, host, table, whole, columns] in text_rows(conn, ACTION, &sql).await? {
        let mut rights: Vec<String> = Vec::new();
        for right in whole.split(',').chain(columns.split(',')).map(str::to_uppercase) {
            let right = if right == "GRANT" { "GRANT OPTION".to_owned() } else { right };
            if RIGHTS.iter().any(|(known, _)| *known == right) && !rights.contains(&right) {
                rights.push(right);
            }
        }
        // The authority to steer runs is given so.
        if table.eq_ignore_ascii_case("osc_order") {
            rights.retain(|right| right != "INSERT");
        }
        if !rights.is_empty() {
            let scope = format!("{schema}.{}", Ident(table));
            grants.push(Grant { account: Account { user, host }, rights, scope });
        }
    }
    Ok(grants)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(user: &str, host: &str) -> Account {
        Account { user: user.into(), host: host.into() }
    }

    fn known(holder: Account, roles: &[(Account, Account)]) -> Known {
        Known {
            grants: vec![Grant {
                account: holder,
                rights: vec!["UPDATE".into()],
                scope: "`osc`.*".into(),
            }],
            roles: roles.to_vec(),
            everybodys: vec!["PUBLIC".into(), "all".into()],
            global: HashSet::from([account("dba", "%")]),
            locked: Some(HashSet::from([account("ops", "%"), account("all", "%")])),
        }
    }

    fn problems(known: &Known) -> Vec<String> {
        known.findings("osc").into_iter().map(|finding| finding.problem).collect()
    }

    #[test]
    fn administrators_and_oscs_own_accounts_are_trusted() {
        for (user, host) in [("osc", "%"), ("osc", "10.%"), ("dba", "%")] {
            assert!(problems(&known(account(user, host), &[])).is_empty(), "{user}@{host}");
        }
        let findings = known(account("app", "%"), &[]).findings("osc");
        assert!(findings[0].problem.starts_with("`app`@`%` may write the ledger (UPDATE on"));
        assert_eq!(findings[0].help, "REVOKE UPDATE ON `osc`.* FROM `app`@`%`");
    }

    #[test]
    fn a_role_is_as_good_as_those_who_have_it() {
        let (ops, staff) = (account("ops", "%"), account("staff", "%"));
        let of = |members: &[Account]| -> Vec<(Account, Account)> {
            members.iter().map(|member| (ops.clone(), member.clone())).collect()
        };
        let trusted = of(&[account("osc", "%"), account("dba", "%")]);
        assert!(problems(&known(ops.clone(), &trusted)).is_empty());
        let mut nested = of(&[account("osc", "%"), staff.clone()]);
        nested.push((staff, account("app", "%")));
        let found = problems(&known(ops, &nested));
        assert!(found[0].contains("a role of `staff`@`%`, `app`@`%`"), "{found:?}");
        assert_eq!(problems(&known(account("all", "%"), &[])).len(), 1, "a mandatory role");
        assert_eq!(problems(&known(account("PUBLIC", ""), &[])).len(), 1);
    }
}
