//! What the format costs: appending batches against writing the same bytes, reading with CRC against reading.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use cowlog::fs::{Dir, Open};
use cowlog::log::{BatchScanner, Codec, scan};
use cowlog::{Batch, BatchBuilder, Log, LogConfig, LogReader};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const BATCHES: usize = 4096;

/// One record, about 1 KiB.
fn batch(codec: Codec) -> Batch {
    let value: Vec<u8> = (0..940u32).map(|i| (i * 7 % 251) as u8).collect();
    BatchBuilder::new().codec(codec).record(1_735_998_123_000, Some(b"key"), Some(&value)).build().unwrap()
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    let one = batch(Codec::None);
    group.throughput(Throughput::Bytes((BATCHES * one.as_bytes().len()) as u64));
    let temp = tempfile::tempdir().unwrap();
    group.bench_function("log", |b| {
        let mut round = 0;
        b.iter_batched(
            || {
                round += 1;
                Log::open_with(temp.path().join(format!("log-{round}")), LogConfig::default()).unwrap()
            },
            |mut log| {
                for _ in 0..BATCHES {
                    log.append(one.clone()).unwrap();
                }
                log
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("plain write", |b| {
        b.iter_batched(
            || tempfile::tempfile_in(&temp).unwrap(),
            |mut file| {
                for _ in 0..BATCHES {
                    file.write_all(black_box(one.clone()).as_bytes()).unwrap();
                }
                file
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn read(c: &mut Criterion) {
    const NAME: &str = "00000000000000000000.log";
    let mut group = c.benchmark_group("read");
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log");
    let mut log = Log::open(&path).unwrap();
    let one = batch(Codec::None);
    for _ in 0..8 * BATCHES {
        log.append(one.clone()).unwrap();
    }
    log.close().unwrap();
    group.throughput(Throughput::Bytes(path.join(NAME).metadata().unwrap().len()));
    let file = Dir::open(&path).unwrap().open_file(NAME, Open::Read).unwrap();
    group.bench_function("scan with CRC", |b| b.iter(|| scan(&file, 0, u64::MAX, 0, |_| Ok(())).unwrap()));
    group.bench_function("scan and build indexes", |b| {
        let file = File::open(path.join(NAME)).unwrap();
        let mut buf = vec![0; 256 * 1024];
        b.iter(|| {
            let (mut scanner, mut at) = (BatchScanner::new(0), 0);
            loop {
                let n = file.read_at(&mut buf, at).unwrap();
                if n == 0 {
                    break scanner.finish();
                }
                scanner.feed(&buf[..n]);
                at += n as u64;
            }
        });
    });
    let reader = LogReader::open(&path).unwrap();
    let batches = || reader.read_from(0).map(Result::unwrap);
    group.bench_function("every batch", |b| b.iter(|| batches().map(|b| b.as_bytes().len()).sum::<usize>()));
    group.bench_function("every record", |b| b.iter(|| batches().map(|b| b.records().unwrap().len()).sum::<usize>()));
    group.bench_function("plain read", |b| {
        let mut buf = vec![0; 256 * 1024];
        b.iter(|| {
            let (mut file, mut total) = (File::open(path.join(NAME)).unwrap(), 0);
            loop {
                let n = file.read(&mut buf).unwrap();
                if n == 0 {
                    break total;
                }
                total += n;
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .measurement_time(Duration::from_millis(500))
        .warm_up_time(Duration::from_millis(100));
    targets = append, read
}
criterion_main!(benches);
