//! How many instructions parsers, writers and scans take, counted by callgrind: nearly the same number in every run, where
//! seconds are not. More than the limits below is an error. Needs valgrind, and `cargo install gungraun-runner` of the version
//! in Cargo.lock.
//!
//! The limits are an eighth above what `. .ci/profile; cargo bench --profile release --bench instructions` counts, which uses what
//! `.ci/run` has built for the tests. What the compiler inlines depends on where the sources lie: the same in one directory and in
//! another differed by a tenth.

#![allow(missing_docs)] // of what the macros make

mod many;

use std::hint::black_box;
use std::path::PathBuf;

use cowlog::fs::MethodChoice;
use cowlog::log::{BatchScanner, IndexBytes, IndexChecker, OffsetEntry, ParsedIndex, ScanEnd, TimeEntry};
use cowlog::log::{parse_offset_index, parse_time_index};
use cowlog::snapshot::Level;
use cowlog::store::{Catalogue, DigestList, Manifest};
use cowlog::{Batch, SnapshotConfig, SnapshotManager};
use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use tempfile::TempDir;

use many::{batch, batch_at, directory, indexes, log_of};

fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let counted = Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, instructions)]).clone();
    LibraryBenchmarkConfig::default().tool(counted).clone()
}

const BATCHES: u64 = 256;

fn segment() -> Vec<u8> {
    (0..BATCHES).flat_map(|offset| batch_at(offset).as_bytes().to_vec()).collect()
}

const SEGMENTS: usize = 50;

/// A log of 151 files that has one snapshot.
struct Snapped {
    snapshots: SnapshotManager,
    path: PathBuf,
    _dir: TempDir,
}

fn snapped() -> Snapped {
    // Only what the benchmark's own thread does is counted.
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().ok();
    let dir = directory();
    let path = log_of(&dir, SEGMENTS);
    // By hard links unchanged files are known at once, by reflinks only after two seconds.
    let config = SnapshotConfig { method: MethodChoice::Hardlink, ..SnapshotConfig::default() };
    let snapshots = SnapshotManager::open_with(&path, config).unwrap();
    snapshots.create().run().unwrap();
    Snapped { snapshots, path, _dir: dir }
}

fn manifests() -> (Manifest, DigestList) {
    let loaded = snapped().snapshots.manifest("latest").unwrap();
    (loaded.manifest, loaded.digests)
}

/// The catalogue of a thousand snapshots.
fn catalogue() -> Catalogue {
    let of = snapped();
    let bytes = std::fs::read(of.path.join(".snapshots/snapshots.json")).unwrap();
    let mut catalogue = Catalogue::parse(&bytes).unwrap();
    let one = catalogue.snapshots.remove(0);
    catalogue.snapshots = vec![one; 1_000];
    catalogue
}

#[library_benchmark(config = at_most(405_000))]
#[bench::of_256(segment())]
fn scan_batches(bytes: Vec<u8>) -> ScanEnd {
    let mut scan = BatchScanner::new(0);
    scan.feed(black_box(&bytes));
    scan.finish()
}

#[library_benchmark(config = at_most(507_000))]
#[bench::of_256(segment(), indexes(BATCHES))]
fn check_indexes(bytes: Vec<u8>, indexes: IndexBytes) -> u64 {
    let (mut scan, mut checker) =
        (BatchScanner::new(0), IndexChecker::new(0, black_box(&indexes.offset), black_box(&indexes.time)));
    scan.feed_with(black_box(&bytes), |batch| checker.batch(batch.position, &batch.header));
    checker.finish().index_bytes
}

#[library_benchmark(config = at_most(1_090))]
#[bench::of_1_kib(batch().as_bytes().to_vec())]
fn parse_batch(bytes: Vec<u8>) -> Batch {
    Batch::from_bytes(black_box(bytes)).unwrap()
}

#[library_benchmark(config = at_most(599_000))]
#[bench::of_10_000(indexes(10_000))]
fn parse_offsets(indexes: IndexBytes) -> ParsedIndex<OffsetEntry> {
    parse_offset_index(black_box(&indexes.offset))
}

#[library_benchmark(config = at_most(621_000))]
#[bench::of_10_000(indexes(10_000))]
fn parse_times(indexes: IndexBytes) -> ParsedIndex<TimeEntry> {
    parse_time_index(black_box(&indexes.time))
}

#[library_benchmark(config = at_most(1_532_000))]
#[bench::of_151_files(manifests().0)]
fn write_manifest(manifest: Manifest) -> Vec<u8> {
    black_box(manifest).to_bytes().unwrap()
}

#[library_benchmark(config = at_most(1_909_000))]
#[bench::of_151_files(manifests().0.to_bytes().unwrap())]
fn read_manifest(bytes: Vec<u8>) -> Manifest {
    Manifest::parse(black_box(&bytes)).unwrap()
}

#[library_benchmark(config = at_most(782_000))]
#[bench::of_151_files(manifests().1)]
fn write_digests(digests: DigestList) -> Vec<u8> {
    black_box(digests).to_bytes()
}

#[library_benchmark(config = at_most(908_000))]
#[bench::of_151_files(manifests().1.to_bytes())]
fn read_digests(bytes: Vec<u8>) -> DigestList {
    DigestList::parse(black_box(&bytes)).unwrap()
}

#[library_benchmark(config = at_most(35_100_000))]
#[bench::of_1000(catalogue())]
fn write_catalogue(catalogue: Catalogue) -> Vec<u8> {
    black_box(catalogue).to_bytes().unwrap()
}

#[library_benchmark(config = at_most(54_200_000))]
#[bench::of_1000(catalogue().to_bytes().unwrap())]
fn read_catalogue(bytes: Vec<u8>) -> Catalogue {
    Catalogue::parse(black_box(&bytes)).unwrap()
}

#[library_benchmark(config = at_most(9_720_000))]
#[bench::unchanged_151_files(snapped())]
fn create(of: Snapped) -> Snapped {
    let made = black_box(&of.snapshots).create().force(true).run().unwrap();
    assert_eq!(made.bytes_hashed, 0);
    of
}

#[library_benchmark(config = at_most(5_710_000))]
#[bench::of_151_files(snapped())]
fn verify(of: Snapped) -> (bool, Snapped) {
    (black_box(&of.snapshots).verify("latest", Level::Full).unwrap().ok, of)
}

#[library_benchmark(config = at_most(121_400))]
#[bench::of_151_files(snapped())]
fn list(of: Snapped) -> (usize, Snapped) {
    (black_box(&of.snapshots).list().unwrap().len(), of)
}

library_benchmark_group!(
    name = formats;
    benchmarks = scan_batches, check_indexes, parse_batch, parse_offsets, parse_times, write_manifest, read_manifest,
        write_digests, read_digests, write_catalogue, read_catalogue, create, verify, list
);

main!(library_benchmark_groups = formats);
