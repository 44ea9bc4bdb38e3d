//! What a run's stream leaves on the server is called.

use crate::postgres::name::Ident;
use crate::short::fnv1a;

/// The names of a run's slot and publication. Slots are the cluster's, so the database is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The replication slot: lower-case letters, digits and underscores, not to be quoted.
    pub slot: String,
    /// The publication.
    pub publication: Ident,
}

/// What every name begins with.
const PREFIX: &str = "osc_";

/// The names for `run` on the table of this OID in `database`.
pub fn names(run: i64, original_oid: u32, database: &str) -> Names {
    let name = format!("{PREFIX}{run}_{original_oid}_{:08x}", fnv1a(database.as_bytes()))
        .replace('-', "m");
    Names { publication: Ident::new(name.clone()), slot: name }
}

impl Names {
    /// The names that go with a slot's or a publication's name; `None` when it is none of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('_');
        let (run, oid, database) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let ours = digits(run.strip_prefix('m').unwrap_or(run))
            && digits(oid)
            && database.len() == 8
            && database.bytes().all(|b| b.is_ascii_hexdigit())
            && parts.next().is_none();
        ours.then(|| Self { slot: name.into(), publication: Ident::new(name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_are_known_again_and_differ() {
        let long = names(i64::MIN, u32::MAX, &"d".repeat(63));
        assert!(long.slot.len() <= Ident::MAX_BYTES);
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(long.slot.chars().all(valid));
        assert_eq!(Names::parse(&long.slot), Some(long));
        assert_ne!(names(1, 2, "a"), names(1, 2, "b"));
        assert_ne!(names(1, 2, "a"), names(1, 3, "a"));
        for other in ["osc_1", "osc_1_2_x", "osc_1_2_0000000g", "osc_a_2_00000000", "mine"] {
            assert_eq!(Names::parse(other), None, "{other}");
        }
    }
}
