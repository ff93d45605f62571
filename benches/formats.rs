//! Parsers and writers of what lies on disk, and the recovery of a log.

mod many;

use std::hint::black_box;

use cowlog::log::{parse_offset_index, parse_time_index};
use cowlog::store::{DigestList, Manifest};
use cowlog::{Batch, Log, LogConfig};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use many::{batch, directory, indexes, log_of, manager, rounds, segments, sizes};

fn parse_batch(c: &mut Criterion) {
    let mut group = c.benchmark_group("batch");
    let one = batch();
    group.throughput(Throughput::Bytes(one.as_bytes().len() as u64));
    group.bench_function("parse and check CRC", |b| b.iter(|| Batch::from_bytes(one.as_bytes().to_vec()).unwrap()));
    group.bench_function("records", |b| b.iter(|| one.records().unwrap()));
    group.finish();
}

fn parse_index(c: &mut Criterion) {
    let mut group = c.benchmark_group("index");
    for n in sizes(&[1_000], &[1_000, 100_000]) {
        let bytes = indexes(n as u64);
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::new("offsets", n), |b| {
            b.iter(|| parse_offset_index(black_box(&bytes.offset)))
        });
        group.bench_function(BenchmarkId::new("times", n), |b| b.iter(|| parse_time_index(black_box(&bytes.time))));
    }
    group.finish();
}

fn manifests(c: &mut Criterion) {
    let dir = directory();
    let mut group = c.benchmark_group("manifest");
    for n in segments() {
        let snaps = manager(&log_of(&dir, n));
        snaps.create().run().unwrap();
        let loaded = snaps.manifest("latest").unwrap();
        let (json, digests) = (loaded.manifest.to_bytes().unwrap(), loaded.digests.to_bytes());
        group.throughput(Throughput::Elements(loaded.manifest.files.len() as u64));
        group.bench_function(BenchmarkId::new("write", n), |b| b.iter(|| loaded.manifest.to_bytes().unwrap()));
        group.bench_function(BenchmarkId::new("read", n), |b| b.iter(|| Manifest::parse(&json).unwrap()));
        group.bench_function(BenchmarkId::new("write digests", n), |b| b.iter(|| loaded.digests.to_bytes()));
        group.bench_function(BenchmarkId::new("read digests", n), |b| b.iter(|| DigestList::parse(&digests).unwrap()));
    }
    group.finish();
}

/// Opening a log: one that was closed, and one that nobody closed, whose last segment is read and written again.
fn recovery(c: &mut Criterion) {
    let dir = directory();
    let mut group = c.benchmark_group("open a log");
    for mib in sizes(&[4], &[4, 64, 512]) {
        let path = dir.path().join(format!("log-of-{mib}"));
        let mut log = Log::open(&path).unwrap();
        let one = batch();
        for _ in 0..(mib << 20) / one.as_bytes().len() {
            log.append(one.clone()).unwrap();
        }
        log.flush().unwrap();
        drop(log);
        group.throughput(Throughput::Bytes((mib << 20) as u64));
        let open = || Log::open_with(&path, LogConfig::default()).unwrap();
        group.bench_function(BenchmarkId::new("not closed, MiB", mib), |b| b.iter_custom(|n| rounds(n, open, drop)));
        open().close().unwrap();
        group.bench_function(BenchmarkId::new("closed, MiB", mib), |b| {
            b.iter_custom(|n| rounds(n, open, |log| log.close().unwrap()));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = many::quick();
    targets = parse_batch, parse_index, manifests, recovery
}
criterion_main!(benches);
