//! The members of ENUM and SET, and which of them a text names.

use std::fmt::Write as _;

use crate::mysql::catalog::table::Column;

/// Which member of `column`, an ENUM, is `text`, from 1; 0 for none.
pub(super) fn enum_index(column: &Column, text: &str) -> String {
    format!("IF({text} IS NULL, NULL, FIELD({text}, {}))", members(column))
}

/// The members of `column`, a SET, that are in `text`, as a number of their bits.
pub(super) fn set_mask(column: &Column, text: &str) -> String {
    let mut mask = format!("IF({text} IS NULL, NULL, 0");
    for (at, member) in split_members(members(column)).into_iter().enumerate().take(64) {
        let _ = write!(mask, " + IF(FIND_IN_SET({member}, {text}) > 0, {}, 0)", 1_u64 << at);
    }
    mask + ")"
}

/// Whether all members of `old` are members of `new`, in any order.
pub(super) fn all_stay(old: &Column, new: &Column) -> bool {
    let kept = split_members(members(new));
    let all = split_members(members(old)).iter().all(|member| kept.contains(member));
    all && old.data_type == new.data_type && old.charset == new.charset
}

/// The members as the server writes them: `'a','b'`.
fn members(column: &Column) -> &str {
    column
        .column_type
        .split_once('(')
        .and_then(|(_, rest)| rest.rsplit_once(')'))
        .map_or("", |(members, _)| members)
}

/// `'a','it''s'` in its parts.
fn split_members(members: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, c) in members.char_indices() {
        match c {
            // A doubled quote leaves and enters again.
            '\'' => inside = !inside,
            ',' if !inside => {
                parts.push(&members[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&members[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_split_at_the_commas_between_them() {
        assert_eq!(split_members("'a','it''s, or','b'"), ["'a'", "'it''s, or'", "'b'"]);
    }
}
