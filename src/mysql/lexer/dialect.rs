//! How a server and a session read the same text.

use crate::mysql::connection::version::Flavor;

const ANSI_QUOTES: u64 = 1 << 2;
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

/// How a session reads its statements. The default is that of osc's own sessions, which set neither
/// mode, on no server in particular.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dialect {
    /// Decides which executable comments are code; `None`: all of them.
    pub flavor: Option<Flavor>,
    /// `ANSI_QUOTES`: double quotes are around names.
    pub ansi_quotes: bool,
    /// `NO_BACKSLASH_ESCAPES`: a backslash is a character like others.
    pub plain_backslash: bool,
}

impl Dialect {
    /// That of osc's own sessions on this server.
    pub fn of(flavor: Flavor) -> Self {
        Self { flavor: Some(flavor), ..Self::default() }
    }

    /// That of a session of this server with `sql_mode` as a number, as both servers log it.
    pub fn of_sql_mode(flavor: Flavor, mode: u64) -> Self {
        Self {
            flavor: Some(flavor),
            ansi_quotes: mode & ANSI_QUOTES != 0,
            plain_backslash: mode & NO_BACKSLASH_ESCAPES != 0,
        }
    }

    /// Whether a backslash escapes what follows it between two of these quotes.
    pub(super) fn escapes(self, quote: char) -> bool {
        !self.plain_backslash && !self.names(quote)
    }

    /// Whether what stands between two of these quotes is a name.
    pub(super) fn names(self, quote: char) -> bool {
        quote == '`' || self.ansi_quotes && quote == '"'
    }

    /// Whether what stands in an executable comment with this version number is code; `mariadb`: it is
    /// meant for MariaDB only.
    pub(super) fn runs(self, mariadb: bool, version: Option<u32>) -> bool {
        let Some(flavor) = self.flavor else { return true };
        let (major, minor, patch) = flavor.version;
        let server = u32::from(major) * 10_000 + u32::from(minor) * 100 + u32::from(patch);
        let version = version.unwrap_or(0);
        // MariaDB passes over what is meant for MySQL 5.7 and later, whose syntax it may not know.
        let for_others = match flavor.is_mariadb() {
            true => !mariadb && (50_700..=99_999).contains(&version),
            false => mariadb,
        };
        version <= server && !for_others
    }
}
