//! The operations on snapshots, by number of segments and of snapshots. Small by default; `COWLOG_BENCH_LARGE=1` shows growth,
//! `COWLOG_BENCH_DIR` says where (reflinks are measured where they work).

mod many;

use std::fs;
use std::ops::ControlFlow;
use std::time::Duration;

use cowlog::snapshot::{At, Budget, Detach, ForkOptions, Level, Policy, RestoreOptions};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use many::{directory, inheritable, log_of, manager, rounds, segments, sizes, write_segment};

fn create(c: &mut Criterion) {
    let dir = directory();
    let mut group = c.benchmark_group("create");
    for n in segments() {
        let log = log_of(&dir, n);
        let snaps = manager(&log);
        let take = || snaps.create().run().unwrap().snapshot.id;
        let delete = |id: String| drop(snaps.delete(&id).unwrap());
        group.throughput(Throughput::Elements(3 * n as u64));
        group.bench_function(BenchmarkId::new("first", n), |b| b.iter_custom(|times| rounds(times, take, delete)));
        inheritable(&snaps);
        group.bench_function(BenchmarkId::new("unchanged", n), |b| b.iter_custom(|times| rounds(times, take, delete)));
        let bytes = fs::read(log.join(format!("{:020}.log", 0))).unwrap();
        let mut base = n as u64;
        group.bench_function(BenchmarkId::new("one more segment", n), |b| {
            b.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let mut moved = bytes.clone();
                    moved[..8].copy_from_slice(&base.to_be_bytes());
                    write_segment(&log, base, &moved);
                    base += 1;
                    total += rounds(1, take, |_| ());
                    // The new one is what the next inherits from.
                    let before = snaps.list().unwrap();
                    before.iter().rev().skip(1).for_each(|s| drop(snaps.delete(&s.id).unwrap()));
                }
                total
            });
        });
        drop(snaps);
        fs::remove_dir_all(log).unwrap();
    }
    group.finish();
}

fn verify(c: &mut Criterion) {
    let dir = directory();
    let mut group = c.benchmark_group("verify");
    for n in segments() {
        let log = log_of(&dir, n);
        let snaps = manager(&log);
        snaps.create().run().unwrap();
        group.throughput(Throughput::Elements(3 * n as u64));
        for (name, level) in [("quick", Level::Quick), ("full", Level::Full), ("deep", Level::Deep)] {
            group.bench_function(BenchmarkId::new(name, n), |b| {
                b.iter(|| assert!(snaps.verify("latest", level).unwrap().ok))
            });
        }
        fs::remove_dir_all(log).unwrap();
    }
    group.finish();
}

fn restore(c: &mut Criterion) {
    let dir = directory();
    let target = dir.path().join("restored");
    let mut group = c.benchmark_group("restore");
    for n in segments() {
        let log = log_of(&dir, n);
        let snaps = manager(&log);
        snaps.create().run().unwrap();
        group.throughput(Throughput::Elements(3 * n as u64));
        for (name, method) in [("reflink", Detach::Reflink), ("copy", Detach::Copy)] {
            let restore = || snaps.restore_id("latest", RestoreOptions::to(&target).method(method));
            if let Err(why) = restore() {
                assert_eq!(name, "reflink", "{why}");
                eprintln!("restore by reflink is not measured here: {why}");
                continue;
            }
            let remove = |_| fs::remove_dir_all(&target).unwrap();
            remove(());
            group.bench_function(BenchmarkId::new(name, n), |b| {
                b.iter_custom(|times| rounds(times, || drop(restore().unwrap()), remove));
            });
        }
        fs::remove_dir_all(log).unwrap();
    }
    group.finish();
}

fn delete(c: &mut Criterion) {
    let dir = directory();
    let mut group = c.benchmark_group("delete");
    for n in segments() {
        let log = log_of(&dir, n);
        let snaps = manager(&log);
        snaps.create().run().unwrap();
        group.throughput(Throughput::Elements(3 * n as u64));
        group.bench_function(BenchmarkId::from_parameter(n), |b| {
            b.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let id = snaps.create().run().unwrap().snapshot.id;
                    total += rounds(1, || snaps.delete(&id).unwrap(), drop);
                }
                total
            });
        });
        fs::remove_dir_all(log).unwrap();
    }
    group.finish();
}

/// What depends on how many snapshots there are.
fn store(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshots");
    for n in sizes(&[1, 50], &[1, 10, 100, 1_000]) {
        let dir = directory();
        let log = log_of(&dir, 5);
        let snaps = manager(&log);
        let fill = || (snaps.list().unwrap().len()..n).for_each(|_| drop(snaps.create().run().unwrap()));
        fill();
        group.bench_function(BenchmarkId::new("list", n), |b| b.iter(|| snaps.list().unwrap()));
        group.bench_function(BenchmarkId::new("create", n), |b| {
            let take = || snaps.create().run().unwrap().snapshot.id;
            b.iter_custom(|times| rounds(times, take, |id| drop(snaps.delete(&id).unwrap())));
        });
        let all = Policy { max_snapshots: 1, ..snaps.policy() };
        group.bench_function(BenchmarkId::new("plan of a prune", n), |b| b.iter(|| snaps.plan_prune(&all).unwrap()));
        group.bench_function(BenchmarkId::new("prune all but one", n), |b| {
            b.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    fill();
                    let plan = snaps.plan_prune(&all).unwrap();
                    total += rounds(1, || snaps.prune(&plan).unwrap(), drop);
                }
                total
            });
        });
    }
    group.finish();
}

/// Living with snapshots: forks, reading through them, looking inside, space, rules that keep.
fn living(c: &mut Criterion) {
    let dir = directory();
    let mut group = c.benchmark_group("living");
    for n in segments() {
        let log = log_of(&dir, n);
        let snaps = manager(&log);
        (0..3).for_each(|_| drop(snaps.create().run().unwrap()));
        let to = ForkOptions::to(dir.path().join("fork"));
        group.bench_function(BenchmarkId::new("fork", n), |b| {
            // Dropping it removes it.
            b.iter_custom(|times| rounds(times, || snaps.fork("latest", &to).unwrap(), drop));
        });
        group.bench_function(BenchmarkId::new("scrub of all", n), |b| {
            let all: Budget = "100%".parse().unwrap();
            b.iter(|| assert!(snaps.scrub(all).unwrap().ok))
        });
        group.bench_function(BenchmarkId::new("every record", n), |b| {
            b.iter(|| {
                let opened = snaps.logs_at(At::from("latest"), None).unwrap();
                let mut bytes = 0;
                for log in opened.logs() {
                    let read = log.read(0..i64::MAX, |_, record| {
                        bytes += record.value.map_or(0, <[u8]>::len);
                        Ok::<_, cowlog::Error>(ControlFlow::Continue(()))
                    });
                    let _ = read.unwrap();
                }
                bytes
            })
        });
        group.bench_function(BenchmarkId::new("space", n), |b| b.iter(|| snaps.space().unwrap()));
        let keep = Policy { max_snapshots: 0, keep_hourly: 24, keep_daily: 7, keep_monthly: 12, ..snaps.policy() };
        group.bench_function(BenchmarkId::new("plan of a prune that keeps", n), |b| {
            b.iter(|| snaps.plan_prune(&keep).unwrap())
        });
        fs::remove_dir_all(log).unwrap();
    }
    group.finish();
}

fn concurrent(c: &mut Criterion) {
    let dir = directory();
    let mut group = c.benchmark_group("four creates at once");
    for n in segments() {
        let log = log_of(&dir, n);
        let snaps = manager(&log);
        let first = inheritable(&snaps);
        group.throughput(Throughput::Elements(4 * 3 * n as u64));
        group.bench_function(BenchmarkId::from_parameter(n), |b| {
            let four = || {
                std::thread::scope(|scope| {
                    (0..4).for_each(|_| drop(scope.spawn(|| snaps.create().run().unwrap())));
                });
            };
            let undo = |()| {
                let made = snaps.list().unwrap().into_iter().filter(|s| s.id != first);
                made.for_each(|s| drop(snaps.delete(&s.id).unwrap()));
            };
            b.iter_custom(|times| rounds(times, four, undo));
        });
        fs::remove_dir_all(log).unwrap();
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = many::quick();
    targets = create, verify, restore, delete, store, living, concurrent
}
criterion_main!(benches);
