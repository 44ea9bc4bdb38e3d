//! What is fuzzed: each target reads bytes that come from outside, and panics where a promise is
//! broken. `scripts/fuzz` looks for such bytes; `tests/fuzz_corpus.rs` tries those of the corpus.

mod clauses;
mod config;
mod names;
mod stream;

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// A target, and how many bytes of memory it may take for each byte that it reads.
pub struct Target {
    /// The name of its binary and of its folder in the corpus.
    pub name: &'static str,
    read: fn(&[u8]),
    memory: usize,
}

const fn target(name: &'static str, read: fn(&[u8]), memory: usize) -> Target {
    Target { name, read, memory }
}

/// All of them. What compressed events hold is up to a thousand times as large as they are, and a
/// syntax tree is large beside its text.
pub const TARGETS: [Target; 14] = [
    target("mysql_clauses", clauses::mysql, 1000),
    target("postgres_clauses", clauses::postgres, 5000),
    target("control_file", config::control_file, 500),
    target("osc_toml", config::osc_toml, 500),
    target("my_cnf", config::my_cnf, 500),
    target("libpq", config::libpq, 500),
    target("url", config::url, 500),
    target("period", config::period, 500),
    target("binlog", stream::binlog, 20_000),
    target("binlog_statement", stream::binlog_statement, 500),
    target("position", stream::position, 500),
    target("pgoutput", stream::pgoutput, 500),
    target("name", names::name, 500),
    target("key", names::key, 500),
];

/// Taken whatever the input is: buffers of the decompressors, tables that are filled once.
const ANYHOW: usize = 4 << 20;

/// Gives bytes to a target.
///
/// # Panics
/// Where a promise is broken: that is what it is for.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a known target");
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    (target.read)(bytes);
    let taken = MEMORY.peak_usage().saturating_sub(before);
    let most = ANYHOW + target.memory * bytes.len();
    assert!(taken <= most, "{name} took {taken} bytes of memory for {} bytes", bytes.len());
}

/// The input as text, if it is text.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
