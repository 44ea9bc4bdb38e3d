//! What a copy costs in osc itself, beside what the server does: planning chunks, the set of dirty
//! keys, decoding keys from both streams, building statements. All in rows a second:
//!
//!     cargo bench --features bench --bench copy_loop
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use osc::engine::coverage::{Coverage, Limit, Watermark};
use osc::engine::dirty::Dirty;
use osc::engine::progress::Progress;
use osc::engine::walk::Sizer;
use osc::key::{Key, KeyRange, Rows};
use osc::mysql::binlog::bench::RowKeys;
use osc::postgres::stream::bench::MessageKeys;
use tokio::sync::watch;

/// Rows of a table, and keys of the set: far more than a run lets it grow to,
const MANY: u64 = 10_000_000;
/// which is this.
const MOST: u64 = 500_000;
const ROWS_AN_EVENT: u32 = 40;
const KEYS_A_REFRESH: u64 = 500;
const ROWS_A_CHUNK: u64 = 10_000;

fn key(number: u64) -> Key {
    Key(number.to_be_bytes().into())
}

fn dirty() -> Dirty {
    Dirty::new(Arc::new(Progress::default()), Arc::new(watch::Sender::new(false)))
}

/// Fills the set with so many different keys, in no order, an event's at a time.
fn fill(dirty: &Dirty, count: u64) {
    let step = u64::from(ROWS_AN_EVENT);
    for first in (0..count).step_by(ROWS_AN_EVENT as usize) {
        // An odd factor: every number once.
        let number = |number: u64| key(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dirty.add((first..count.min(first + step)).map(number));
    }
}

/// The memory that this process has, in MiB; `None` where the system does not tell.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// What is taken is dropped outside of the measured time, since it is by the refresher.
fn dirty_keys(criterion: &mut Criterion) {
    for count in [MOST, MANY] {
        let (set, before) = (dirty(), memory());
        fill(&set, count);
        if let (Some(before), Some(after)) = (before, memory()) {
            println!("dirty keys/memory of {count}: {} MiB", after.saturating_sub(before));
        }
    }
    let mut group = criterion.benchmark_group("dirty keys");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .measurement_time(Duration::from_secs(60));
    for count in [MOST, MANY] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("add and take {count}"), |bencher| {
            bencher.iter_batched(
                dirty,
                |dirty| {
                    fill(&dirty, count);
                    let batch = dirty.take();
                    assert_eq!(batch.keys.len() as u64, count);
                    batch
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Chunks of a table of ten million rows are handed out and end, four in flight; each key of the
/// stream is placed once.
fn planning(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("planning");
    group.throughput(Throughput::Elements(MANY));
    group.bench_function("chunks of 10,000 rows", |bencher| {
        bencher.iter(|| {
            let mut coverage = Coverage::resume(Watermark::Start, Limit::At(key(MANY)));
            let sizer = Sizer::new(Rows(ROWS_A_CHUNK), Rows(MANY));
            let mut open = Vec::new();
            for upto in (ROWS_A_CHUNK..=MANY).step_by(10_000) {
                let (chunk, range) = coverage.hand_out(Some(key(upto)));
                sizer.hand_out(sizer.rows(4));
                sizer.learn(
                    Rows(ROWS_A_CHUNK),
                    Duration::from_millis(500),
                    Duration::from_millis(500),
                );
                open.push(chunk);
                if open.len() == 4 {
                    coverage.end(open.remove(0));
                }
                black_box(range);
            }
        });
    });
    let mut coverage = Coverage::resume(Watermark::Start, Limit::At(key(MANY)));
    for upto in 1..=4 {
        coverage.hand_out(Some(key(upto * ROWS_A_CHUNK)));
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("where a key lies", |bencher| {
        let mut number = 0;
        bencher.iter(|| {
            number = (number + 7919) % (8 * ROWS_A_CHUNK);
            black_box(coverage.place(&key(number)))
        });
    });
    group.finish();
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decoding");
    let (reader, event) = (RowKeys::default(), RowKeys::event(ROWS_AN_EVENT));
    group.throughput(Throughput::Elements(ROWS_AN_EVENT.into()));
    group.bench_function("updates in a binlog's row event", |bencher| {
        bencher.iter(|| {
            let keys = reader.read(black_box(&event)).unwrap();
            assert_eq!(keys.len(), 2 * ROWS_AN_EVENT as usize);
        });
    });
    let messages: Vec<Vec<u8>> = (0..ROWS_AN_EVENT).map(MessageKeys::update).collect();
    let mut reader = MessageKeys::default();
    reader.read(&MessageKeys::relation()).unwrap();
    group.bench_function("updates in pgoutput", |bencher| {
        bencher.iter(|| {
            reader.begin(1);
            let count: usize =
                messages.iter().map(|message| reader.read(black_box(message)).unwrap()).sum();
            assert_eq!(count, ROWS_AN_EVENT as usize);
        });
    });
    group.finish();
}

fn mysql_statements() -> mysql::Statements {
    let column = mysql::KeyColumn {
        name: mysql::Ident::new("id"),
        ordinal: 0,
        kind: mysql::KeyKind::Int { bytes: 8, unsigned: false },
        descending: false,
    };
    mysql::Statements {
        original: mysql::TableName::new("shop", "orders"),
        shadow: mysql::TableName::new("shop", "orders_osc_new"),
        key: mysql::KeyColumns(vec![column]),
        index: mysql::Ident::new("PRIMARY"),
        shadow_key: vec![mysql::Ident::new("id")],
        shadow_index: mysql::Ident::new("PRIMARY"),
        projection: osc::mysql::copy::projection::Projection::default(),
        put: None,
    }
}

fn postgres_statements() -> postgres::Statements {
    let column = postgres::KeyColumn {
        name: postgres::Ident::new("id"),
        type_sql: "bigint".into(),
        type_oid: 20,
        kind: postgres::KeyKind::Int8,
    };
    postgres::Statements {
        original: postgres::TableName::new("shop", "orders"),
        shadow: postgres::TableName::new("shop", "orders_osc_new"),
        key: postgres::KeyColumns(vec![column]),
        shadow_key: vec![postgres::Ident::new("id")],
        operators: Vec::new(),
        projection: osc::postgres::copy::projection::Projection::default(),
        lens: None,
        lock: 1,
    }
}

fn statements(criterion: &mut Criterion) {
    let (mysql, postgres) = (mysql_statements(), postgres_statements());
    // Both encode a BIGINT alike.
    let encoded = |number: u64| {
        let value = mysql::KeyValue::Int(i64::try_from(number * 7919).unwrap());
        mysql.key.encode(&[value]).unwrap()
    };
    let keys: Vec<Key> = (0..KEYS_A_REFRESH).map(encoded).collect();
    let range = KeyRange { after: Some(encoded(1)), upto: Some(encoded(2)) };
    let mut group = criterion.benchmark_group("statements");
    group.throughput(Throughput::Elements(KEYS_A_REFRESH));
    group.bench_function("a refresh of 500 keys, MySQL", |bencher| {
        bencher.iter(|| (mysql.delete(black_box(&keys)).unwrap(), mysql.rewrite(&keys).unwrap()));
    });
    group.bench_function("a refresh of 500 keys, PostgreSQL", |bencher| {
        bencher.iter(|| postgres.refresh(black_box(&keys)).unwrap());
    });
    group.throughput(Throughput::Elements(ROWS_A_CHUNK));
    group.bench_function("a chunk of 10,000 rows, MySQL", |bencher| {
        bencher.iter(|| mysql.copy(black_box(&range), &[]).unwrap());
    });
    group.bench_function("a chunk of 10,000 rows, PostgreSQL", |bencher| {
        bencher.iter(|| postgres.copy(black_box(&range), false, &[]).unwrap());
    });
    group.finish();
}

/// The names of one server's module, apart from the other's.
mod mysql {
    pub(super) use osc::mysql::catalog::key::{KeyColumn, KeyColumns, KeyKind, KeyValue};
    pub(super) use osc::mysql::copy::statements::Statements;
    pub(super) use osc::mysql::name::{Ident, TableName};
}

mod postgres {
    pub(super) use osc::postgres::catalog::key::{KeyColumn, KeyColumns, KeyKind};
    pub(super) use osc::postgres::copy::statements::Statements;
    pub(super) use osc::postgres::name::{Ident, TableName};
}

criterion_group!(benches, planning, decoding, statements, dirty_keys);
criterion_main!(benches);
