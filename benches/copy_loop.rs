//! What a copy costs in osc itself, beside what the server does: planning chunks, the set of dirty
//! keys, decoding keys from both streams, building statements. All in rows a second:
//!
//!     cargo bench --features bench --bench copy_loop
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use osc::engine::copy::Sizer;
use osc::engine::coverage::{Coverage, Edge, Limit};
use osc::engine::dirty::Dirty;
use osc::engine::key::{Key, Rows};
use osc::engine::progress::Progress;
use osc::mysql::binlog::bench::RowKeys;
use osc::mysql::key::{KeyColumn, KeyColumns, KeyKind, KeyValue};
use osc::mysql::name::{Ident, TableName};
use osc::mysql::statements::Statements;
use osc::postgres::stream::bench::MessageKeys;
use tokio::sync::watch;

const MANY: u64 = 10_000_000;
const ROWS_AN_EVENT: u32 = 40;
const KEYS_A_REFRESH: u64 = 500;
const ROWS_A_CHUNK: u64 = 10_000;

fn key(number: u64) -> Key {
    Key(number.to_be_bytes().into())
}

fn dirty() -> Dirty {
    Dirty::new(Arc::new(Progress::default()), Arc::new(watch::Sender::new(false)))
}

/// Keys come in batches of a transaction's size, in no order, and are taken all at once.
fn dirty_keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dirty keys");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    for count in [100_000, MANY] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("add and take {count}"), |bencher| {
            bencher.iter_batched(
                dirty,
                |dirty| {
                    // An odd factor: every number once.
                    for number in 0..count {
                        dirty.add([key(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))]);
                    }
                    assert_eq!(dirty.take().keys.len() as u64, count);
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
            let mut coverage = Coverage::resume(Edge::Start, Limit::At(key(MANY)));
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
    let mut coverage = Coverage::resume(Edge::Start, Limit::At(key(MANY)));
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

fn statements(criterion: &mut Criterion) {
    let column = KeyColumn {
        name: Ident::new("id"),
        ordinal: 0,
        kind: KeyKind::Int { bytes: 8, unsigned: false },
        descending: false,
    };
    let statements = Statements {
        original: TableName::new("shop", "orders"),
        shadow: TableName::new("shop", "orders_osc_new"),
        key: KeyColumns(vec![column]),
        index: Ident::new("PRIMARY"),
        shadow_key: vec![Ident::new("id")],
        shadow_index: Ident::new("PRIMARY"),
        projection: osc::mysql::projection::Projection::default(),
    };
    let keys: Vec<Key> = (0..KEYS_A_REFRESH)
        .map(|number| {
            let value = KeyValue::Int(i64::try_from(number * 7919).unwrap());
            statements.key.encode(&[value]).unwrap()
        })
        .collect();
    let mut group = criterion.benchmark_group("statements");
    group.throughput(Throughput::Elements(KEYS_A_REFRESH));
    group.bench_function("a refresh of 500 keys", |bencher| {
        bencher.iter(|| {
            (statements.delete(black_box(&keys)).unwrap(), statements.rewrite(&keys).unwrap())
        });
    });
    group.finish();
}

criterion_group!(benches, planning, decoding, statements, dirty_keys);
criterion_main!(benches);
