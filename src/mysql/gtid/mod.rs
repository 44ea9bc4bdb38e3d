//! Which transactions a server has, by the numbers that it gives them.

mod list;
mod set;

use serde::{Deserialize, Serialize};

use super::connection::version::Family;
pub(crate) use list::{Gtid, GtidList};
pub(crate) use set::GtidSet;

/// Transactions of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Gtids {
    /// The server does not number them.
    #[default]
    Off,
    /// MySQL with `gtid_mode=ON`.
    Mysql(GtidSet),
    /// MariaDB.
    Mariadb(GtidList),
}

impl Gtids {
    /// Reads what a server of this family says.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn parse(family: Family, text: &str) -> Result<Self, String> {
        Ok(match family {
            Family::Mysql => Self::Mysql(text.parse()?),
            Family::Mariadb => Self::Mariadb(text.parse()?),
        })
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Off => true,
            Self::Mysql(set) => set.is_empty(),
            Self::Mariadb(list) => list.is_empty(),
        }
    }

    /// Whether it is certain that all of `other` are among them.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mysql(ours), Self::Mysql(theirs)) => ours.contains(theirs),
            (Self::Mariadb(ours), Self::Mariadb(theirs)) => ours.contains(theirs),
            _ => false,
        }
    }
}
