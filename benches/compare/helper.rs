//! What `benches/compare/run` cannot do by itself: real logs, the original's way of taking a snapshot, and what a log costs
//! from within a process. Not a part of what is shipped.

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cowlog::fs::{Dir, Open};
use cowlog::log::scan;
use cowlog::observe::{Event, Observer};
use cowlog::{Batch, BatchBuilder, Log, LogConfig, LogReader, SnapshotConfig, SnapshotManager};
use nix::fcntl::AtFlags;
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::linkat;

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["make", dir, segments, bytes] => make(Path::new(dir), segments.parse()?, bytes.parse()?),
        ["records", dir, segments, bytes] => records(Path::new(dir), segments.parse()?, bytes.parse()?),
        ["fill", dir, snapshots] => fill(Path::new(dir), snapshots.parse()?),
        ["delete", dir, id] => delete(Path::new(dir), id),
        ["original", source, target] => original(Path::new(source), Path::new(target)),
        ["links", source, target] => links(Path::new(source), Path::new(target)),
        ["append", dir, batches] => append(Path::new(dir), batches.parse()?),
        ["write", file, batches] => write(Path::new(file), batches.parse()?),
        ["batches", dir] => read_batches(Path::new(dir)),
        ["scan", dir] => scan_all(Path::new(dir)),
        ["read", dir] => read_plain(Path::new(dir)),
        ["memory", program, ref args @ ..] => memory(program, args),
        ["writer", dir, seconds] => writer(Path::new(dir), seconds.parse()?),
        _ => {
            Err("helper make|records|fill|delete|original|links|append|write|batches|scan|read|memory|writer ARGS"
                .into())
        }
    }
}

/// A batch of one record, about this long.
fn batch(bytes: usize) -> Result<Batch, Box<dyn Error>> {
    let mut state = bytes as u64 | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let value: Vec<u8> = std::iter::repeat_with(&mut next).take(bytes.saturating_sub(84)).collect();
    Ok(BatchBuilder::new().record(1_735_998_123_000, Some(b"key"), Some(&value)).build()?)
}

/// A closed log of so many segments of so many bytes.
fn make(dir: &Path, segments: usize, bytes: usize) -> Done {
    let one = batch(bytes.div_ceil(2).min(64 << 10))?;
    let mut log = Log::open(dir)?;
    for segment in 0..segments {
        if segment > 0 {
            log.roll()?;
        }
        for _ in 0..(bytes / one.as_bytes().len()).max(1) {
            log.append(one.clone())?;
        }
    }
    Ok(log.close()?)
}

/// So many segments more, of so many bytes, of records that are all different and of which half shrinks to nothing.
fn records(dir: &Path, segments: usize, bytes: usize) -> Done {
    const RECORD: usize = 1 << 10;
    let mut log = Log::open(dir)?;
    for _ in 0..segments {
        if log.log_end_offset() > 0 {
            log.roll()?;
        }
        let mut left = bytes;
        while left >= RECORD {
            let mut batch = BatchBuilder::new();
            for _ in 0..(left / RECORD).min(64) {
                let mut value = vec![b'.'; RECORD - 32];
                let seed = (log.log_end_offset(), left);
                let mut state = (seed.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (seed.1 as u64) << 20 ^ 1;
                for piece in value[..RECORD / 2].chunks_exact_mut(8) {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    piece.copy_from_slice(&state.to_le_bytes());
                }
                batch.record(1_735_998_123_000, Some(b"key"), Some(&value));
                left -= RECORD;
            }
            log.append(batch.build()?)?;
        }
    }
    Ok(log.close()?)
}

fn fill(dir: &Path, snapshots: usize) -> Done {
    let config = SnapshotConfig { min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    let manager = SnapshotManager::open_with(dir, config)?;
    for _ in 0..snapshots {
        manager.create().run()?;
    }
    Ok(())
}

/// Says when the deletion was decided and durable, and when the files were gone.
fn delete(dir: &Path, id: &str) -> Done {
    let (started, decided) = (Instant::now(), Arc::new(OnceLock::new()));
    let told = decided.clone();
    let observer = Observer::new(move |event| {
        if matches!(event, Event::Phase { name: "delete", .. }) {
            let _ = told.set(started.elapsed().as_secs_f64());
        }
    });
    SnapshotManager::open_with(dir, SnapshotConfig { observer, ..SnapshotConfig::default() })?.delete(id)?;
    let decided = decided.get().ok_or("it was never decided")?;
    println!("{{\"decided\":{decided},\"seconds\":{}}}", started.elapsed().as_secs_f64());
    Ok(())
}

/// Every file copied and synced by itself, then one JSON document that names them all.
fn original(source: &Path, target: &Path) -> Done {
    fs::create_dir(target)?;
    let mut copied = Vec::new();
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let to = target.join(entry.file_name());
            let size = fs::copy(entry.path(), &to)?;
            File::open(&to)?.sync_all()?;
            copied.push(serde_json::json!({ "name": entry.file_name().to_string_lossy(), "size": size }));
        }
    }
    let mut list = File::create(target.join("snapshots.json"))?;
    list.write_all(&serde_json::to_vec_pretty(&copied)?)?;
    Ok(list.sync_all()?)
}

/// The files of a log, or of a directory of logs, linked and nothing else: what no snapshot by hard links can do without. Those of one directory
/// are linked by one thread, since the kernel takes them one by one.
fn links(source: &Path, target: &Path) -> Done {
    fs::create_dir(target)?;
    let mut dirs = vec![(source.to_owned(), target.to_owned())];
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let to = target.join(entry.file_name());
            fs::create_dir(&to)?;
            dirs.push((entry.path(), to));
        }
    }
    let next = AtomicUsize::new(0);
    let work = || -> std::io::Result<()> {
        while let Some((from, to)) = dirs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (from_dir, to_dir) = (File::open(from)?, File::open(to)?);
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    let name = entry.file_name();
                    linkat(&from_dir, name.as_os_str(), &to_dir, name.as_os_str(), AtFlags::empty())?;
                }
            }
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism()?.get().min(dirs.len());
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        others.into_iter().map(|other| other.join().unwrap_or(Ok(()))).fold(work(), Result::and)
    })?;
    Ok(())
}

fn took(started: Instant) -> Done {
    println!("{{\"seconds\":{}}}", started.elapsed().as_secs_f64());
    Ok(())
}

fn append(dir: &Path, batches: usize) -> Done {
    let one = batch(1 << 10)?;
    let mut log = Log::open(dir)?;
    let started = Instant::now();
    for _ in 0..batches {
        log.append(one.clone())?;
    }
    took(started)
}

fn write(path: &Path, batches: usize) -> Done {
    let one = batch(1 << 10)?;
    let mut file = File::create_new(path)?;
    let started = Instant::now();
    for _ in 0..batches {
        file.write_all(one.as_bytes())?;
    }
    took(started)
}

fn read_batches(dir: &Path) -> Done {
    let reader = LogReader::open(dir)?;
    let started = Instant::now();
    for batch in reader.read_from(0) {
        std::hint::black_box(batch?);
    }
    took(started)
}

fn logs(dir: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.extend(entry?.file_name().into_string().ok().filter(|name| name.ends_with(".log")));
    }
    names.sort();
    Ok(names)
}

fn scan_all(dir: &Path) -> Done {
    let opened = Dir::open(dir)?;
    let names = logs(dir)?;
    let started = Instant::now();
    for name in names {
        let base = name.trim_end_matches(".log").parse()?;
        scan(&opened.open_file(&name, Open::Read)?, 0, u64::MAX, base, |_| Ok(()))?;
    }
    took(started)
}

fn read_plain(dir: &Path) -> Done {
    let names = logs(dir)?;
    // At a page's begin: elsewhere some processors are four times as slow to fill it.
    let (mut room, page) = (vec![0; (256 << 10) + 4096], 4096);
    let from = room.as_ptr().align_offset(page).min(page);
    let buffer = room.get_mut(from..from + (256 << 10)).ok_or("it is shorter")?;
    let started = Instant::now();
    for name in names {
        let mut file = File::open(dir.join(name))?;
        while file.read(buffer)? > 0 {
            std::hint::black_box(&buffer);
        }
    }
    took(started)
}

/// The most memory that a program has.
fn memory(program: &str, args: &[&str]) -> Done {
    let status = Command::new(program).args(args).stdout(Stdio::null()).status()?;
    if !status.success() {
        return Err(format!("{program}: {status}").into());
    }
    let kibibytes = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    println!("{{\"bytes\":{}}}", kibibytes * 1024);
    Ok(())
}

/// Appends a batch of 1 KiB every 100 µs; says how long the appends took. Those that begin a segment sync the one before.
fn writer(dir: &Path, seconds: f64) -> Done {
    const PERIOD: Duration = Duration::from_micros(100);
    let one = batch(1 << 10)?;
    let mut log = Log::open_with(dir, LogConfig { segment_bytes: 16 << 20, ..LogConfig::default() })?;
    let (mut times, mut longest_within) = (Vec::new(), Duration::ZERO);
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < seconds {
        let (started, segments) = (Instant::now(), log.segments().len());
        log.append(one.clone())?;
        times.push(started.elapsed());
        if log.segments().len() == segments {
            longest_within = longest_within.max(started.elapsed());
        }
        std::thread::sleep(PERIOD.saturating_sub(started.elapsed()));
    }
    times.sort_unstable();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).map_or(0.0, Duration::as_secs_f64) * 1e6;
    let longest = times.last().map_or(0.0, Duration::as_secs_f64) * 1e6;
    let within = longest_within.as_secs_f64() * 1e6;
    let (appends, p999) = (times.len(), at(0.999));
    println!("{{\"appends\":{appends},\"p999_us\":{p999},\"longest_us\":{longest},\"longest_within_us\":{within}}}");
    Ok(log.close()?)
}
