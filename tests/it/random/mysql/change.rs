//! Random clauses.

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::types::Type;
use super::{Drawn, Table, definition};
use crate::data::quoted;
use crate::random::draw::Values;
use crate::support::server::Kind;

/// An index over some of the columns.
pub fn index(table: &Table, name: &str, rng: &mut SmallRng) -> String {
    let count = rng.random_range(1..=2);
    let columns: Vec<&Drawn> =
        table.columns.iter().filter(|column| column.of != Type::Json).collect();
    let parts: Vec<String> = columns
        .choose_multiple(rng, count)
        .map(|column| {
            let prefix = if column.of.takes_index() { "" } else { "(10)" };
            format!("{}{prefix}", column.name)
        })
        .collect();
    let unique = if rng.random_ratio(1, 6) { "UNIQUE " } else { "" };
    format!("{unique}KEY {name} ({})", parts.join(", "))
}

/// One to four clauses that do not touch the same column.
pub fn clauses(kind: Kind, table: &Table, key: &[usize], rng: &mut SmallRng) -> String {
    let mut columns = table.columns.clone();
    columns.shuffle(rng);
    let mut indexes = table.indexes.clone();
    let mut clauses = Vec::new();
    for number in 0..rng.random_range(1..=4) {
        let clause = match rng.random_range(0..20) {
            0..4 => Some(add(kind, table, number, rng)),
            4 => columns
                .iter()
                .position(|column| !column.in_key && !column.read)
                .map(|at| format!("DROP COLUMN {}", columns.remove(at).name)),
            5..11 => columns.pop().map(|column| modify(kind, table, column, rng)),
            11..13 => columns.pop().map(|column| rename(column, number, rng)),
            13..15 => {
                let name = quoted(&format!("new {number}"));
                Some(format!("ADD {}", index(table, &name, rng)))
            }
            15 => indexes.pop().map(|name| format!("DROP INDEX {name}")),
            16 => indexes.pop().map(|name| format!("RENAME INDEX {name} TO `better {number}`")),
            17 => columns
                .iter()
                .position(|column| column.of.takes_default())
                .map(|at| columns.remove(at))
                .map(|column| {
                    let value = column.of.value(rng);
                    format!("ALTER COLUMN {} SET DEFAULT {value}", column.name)
                }),
            18 if clauses.is_empty() && rng.random() => {
                // The last of all: it changes every column's type.
                return "CONVERT TO CHARACTER SET utf8mb4".to_owned();
            }
            18 => {
                let mut parts: Vec<&str> =
                    key.iter().map(|&at| table.columns[at].name.as_str()).collect();
                parts.shuffle(rng);
                Some(format!("ADD UNIQUE KEY `again {number}` ({})", parts.join(", ")))
            }
            _ => Some(
                ["ENGINE=InnoDB", "ROW_FORMAT=COMPACT", "COMMENT='it''s ж'"]
                    .choose(rng)
                    .unwrap()
                    .to_string(),
            ),
        };
        clauses.extend(clause);
    }
    if clauses.is_empty() { "ENGINE=InnoDB".to_owned() } else { clauses.join(", ") }
}

/// FIRST, AFTER another column, or nothing.
fn place(table: &Table, not: &str, rng: &mut SmallRng) -> String {
    match rng.random_range(0..4) {
        0 => " FIRST".to_owned(),
        1 => {
            // One that no clause takes away or renames.
            let stays = |column: &&Drawn| column.name != not && column.in_key;
            let key: Vec<&Drawn> = table.columns.iter().filter(stays).collect();
            key.choose(rng).map_or_else(String::new, |column| format!(" AFTER {}", column.name))
        }
        _ => String::new(),
    }
}

fn add(kind: Kind, table: &Table, number: u32, rng: &mut SmallRng) -> String {
    let of = Type::any(kind, rng);
    let name = quoted(&format!("added {number}"));
    let place = place(table, "", rng);
    if of.takes_default() && rng.random() {
        let value = of.value(rng);
        return format!("ADD COLUMN {name} {} NOT NULL DEFAULT {value}{place}", of.sql());
    }
    format!("ADD COLUMN {name} {} NULL{place}", of.sql())
}

fn modify(kind: Kind, table: &Table, column: Drawn, rng: &mut SmallRng) -> String {
    // A key that another type would compare otherwise is refused, so that is rare.
    let of = match column.in_key && !rng.random_ratio(1, 10) {
        true => column.of.larger(),
        false => column.of.other(kind, rng),
    };
    let nullable = if column.in_key { false } else { rng.random_ratio(2, 3) };
    let place = place(table, &column.name, rng);
    let becomes = Drawn { of, nullable, ..column };
    format!("MODIFY {}{place}", definition(&becomes, rng))
}

fn rename(column: Drawn, number: u32, rng: &mut SmallRng) -> String {
    let name = quoted(&format!("renamed {number}"));
    if rng.random() {
        return format!("RENAME COLUMN {} TO {name}", column.name);
    }
    let becomes = Drawn { name, ..column.clone() };
    format!("CHANGE {} {}", column.name, definition(&becomes, rng))
}
