//! Which of the two families a server is of, and its version.

use std::fmt;

use crate::error::Finding;

/// The family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Oracle MySQL and those who follow it.
    Mysql,
    /// MariaDB.
    Mariadb,
}

/// A server's family and version, from `SELECT VERSION()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flavor {
    /// The family.
    pub family: Family,
    /// Major, minor, patch.
    pub version: (u16, u16, u16),
}

impl Flavor {
    /// Reads `9.7.4-2`, `8.0.36-28` or `5.5.5-10.11.19-MariaDB-deb12`.
    pub fn parse(text: &str) -> Option<Self> {
        let mariadb = text.to_ascii_lowercase().contains("mariadb");
        let text = if mariadb { text.strip_prefix("5.5.5-").unwrap_or(text) } else { text };
        let mut numbers =
            text.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse::<u16>().ok());
        let version = (numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0));
        let family = if mariadb { Family::Mariadb } else { Family::Mysql };
        Some(Self { family, version })
    }

    /// Whether it is MariaDB.
    pub fn is_mariadb(self) -> bool {
        self.family == Family::Mariadb
    }

    /// The first version of its family that osc is made for. MySQL renames under LOCK TABLES since
    /// 8.0.13 (manual: "RENAME TABLE Statement").
    fn oldest(self) -> Self {
        let version = match self.family {
            Family::Mysql => (8, 0, 13),
            Family::Mariadb => (10, 5, 0),
        };
        Self { version, ..self }
    }

    /// Why osc does not work with this server, if it is too old.
    pub fn too_old(self) -> Option<Finding> {
        let oldest = self.oldest();
        (self.version < oldest.version).then(|| {
            Finding::new(
                "server-version",
                format!("the server is {self}, and osc needs {oldest} or later"),
                "upgrade the server first, or run the statement without osc",
            )
        })
    }

    /// Whether the version is at least this.
    pub fn at_least(self, major: u16, minor: u16, patch: u16) -> bool {
        self.version >= (major, minor, patch)
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.family {
            Family::Mysql => "MySQL",
            Family::Mariadb => "MariaDB",
        };
        let (major, minor, patch) = self.version;
        write!(f, "{name} {major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_strings_of_both_families_are_read() {
        let flavor = |family, version| Some(Flavor { family, version });
        assert_eq!(Flavor::parse("9.7.4-2"), flavor(Family::Mysql, (9, 7, 4)));
        assert_eq!(Flavor::parse("8.0.36"), flavor(Family::Mysql, (8, 0, 36)));
        assert_eq!(
            Flavor::parse("5.5.5-10.11.19-MariaDB-0+deb12u1-log"),
            flavor(Family::Mariadb, (10, 11, 19))
        );
        assert_eq!(Flavor::parse("11.8.2-MariaDB"), flavor(Family::Mariadb, (11, 8, 2)));
        assert_eq!(Flavor::parse("nonsense"), None);
    }

    #[test]
    fn servers_that_are_too_old_are_reported() {
        let finding = |text| Flavor::parse(text).unwrap().too_old();
        for old in ["5.7.44-log", "8.0.12", "5.5.5-10.4.34-MariaDB", "10.4.34-MariaDB-log"] {
            let finding = finding(old).unwrap();
            assert_eq!(finding.check, "server-version", "{old}");
            assert!(!finding.help.is_empty());
        }
        assert!(finding("5.7.44").unwrap().problem.contains("MySQL 8.0.13"));
        for new in ["8.0.13", "8.4.0", "9.7.4-2", "5.5.5-10.5.0-MariaDB", "11.8.2-MariaDB"] {
            assert_eq!(finding(new), None, "{new}");
        }
    }
}
