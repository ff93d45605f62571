//! A native log on a filesystem in memory: the power is cut after every change, every change fails once.

use std::sync::Arc;
use std::time::Duration;

use cowlog::Result;
use cowlog::error::Kind;
use cowlog::fs::mem::{Abilities, MemFs, Op};
use cowlog::fs::{Dir, Fs, Open};
use cowlog::log::{HighWatermark, SegmentFile, check_segment, list_log};
use cowlog::{Batch, BatchBuilder, Log, LogConfig};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn arc(fs: &MemFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 400,
        index_interval: 150,
        lock_timeout: Duration::ZERO,
        high_watermark: HighWatermark::Manual,
        ..LogConfig::default()
    }
}

fn open(fs: &MemFs) -> Result<Log> {
    Log::open_on(Dir::open_on(arc(fs), "/log")?, config())
}

/// Records that say their offset and in which life of the log they were written.
fn append(log: &mut Log, life: &str, count: i64) -> Result<()> {
    append_as(log, life, count, Ok)
}

fn append_as(log: &mut Log, life: &str, count: i64, change: fn(Batch) -> Result<Batch>) -> Result<()> {
    for _ in 0..count {
        let offset = log.log_end_offset();
        let value = format!("{life} {offset}");
        log.append(change(BatchBuilder::new().record(1000 + offset, None, Some(value.as_bytes())).build()?)?)?;
    }
    Ok(())
}

/// As producers may send it: base and largest timestamp are -1.
fn without_timestamps(batch: Batch) -> Result<Batch> {
    let mut bytes = batch.as_bytes().to_vec();
    bytes[27..43].fill(0xff);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Ok(Batch::from_bytes(bytes).unwrap())
}

const END: i64 = 20;

/// A closed log of several segments, all committed and durable.
fn stage(abilities: Abilities) -> MemFs {
    stage_as(abilities, Ok)
}

fn stage_as(abilities: Abilities, change: fn(Batch) -> Result<Batch>) -> MemFs {
    let fs = MemFs::with(abilities);
    Dir::open_on(arc(&fs), "/").unwrap().make_dir("log", 0o755).unwrap();
    let mut log = open(&fs).unwrap();
    append_as(&mut log, "old", END, change).unwrap();
    log.set_high_watermark(END).unwrap();
    log.close().unwrap();
    let handle = fs.open_dir(None, "/".as_ref()).unwrap();
    fs.sync(&handle, cowlog::fs::Sync::Filesystem).unwrap();
    fs
}

fn copy(fs: &MemFs) -> MemFs {
    fs.crash_states(0, 0, 0).pop().unwrap()
}

/// What may be there afterwards: offset range, and which life each record is of.
struct State {
    start: i64,
    end: i64,
    lives: Vec<String>,
}

struct Case {
    name: &'static str,
    run: fn(&mut Log) -> Result<()>,
    /// Whether this may be there if the operation did not end.
    between: fn(&State) -> bool,
    /// Whether this may be there if it returned `Ok`.
    after: fn(&State) -> bool,
}

fn old_only(s: &State) -> bool {
    s.lives.iter().all(|l| l == "old")
}

fn intact(s: &State) -> bool {
    s.start == 0 && s.end >= END && s.lives.iter().take(END as usize).all(|l| l == "old")
}

const CASES: &[Case] = &[
    Case {
        name: "append and flush",
        run: |log| append(log, "new", 3).and_then(|()| log.flush()),
        between: |s| intact(s) && s.end <= END + 3,
        after: |s| intact(s) && s.end == END + 3,
    },
    Case {
        name: "append and roll",
        run: |log| append(log, "new", 9).and_then(|()| log.roll()),
        between: |s| intact(s) && s.end <= END + 9,
        after: |s| intact(s) && s.end == END + 9,
    },
    Case {
        name: "truncate into a sealed segment",
        run: |log| log.truncate_to(9).map(drop),
        between: |s| s.start == 0 && (9..=END).contains(&s.end) && old_only(s),
        after: |s| s.start == 0 && s.end == 9 && old_only(s),
    },
    Case {
        name: "truncate everything",
        run: |log| log.truncate_to(0).map(drop),
        between: |s| s.start == 0 && s.end <= END && old_only(s),
        after: |s| (s.start, s.end) == (0, 0),
    },
    Case {
        name: "truncate to the beginning of a segment",
        run: |log| {
            let base = log.segments()[2];
            log.truncate_to(base).map(drop)
        },
        between: |s| s.start == 0 && s.end > 3 && s.end <= END && old_only(s),
        after: |s| s.start == 0 && s.end > 3 && s.end < END - 3 && old_only(s),
    },
    Case {
        name: "truncate and append again",
        run: |log| {
            log.truncate_to(9)?;
            append(log, "new", 8)?;
            log.flush()
        },
        // One history or the other, never the new one with a piece of the old behind it.
        between: |s| {
            let cut = s.lives.iter().position(|l| l == "new").unwrap_or(s.lives.len());
            s.start == 0
                && s.end >= 9
                && cut >= 9
                && s.lives[cut..].iter().all(|l| l == "new")
                && (cut == 9 || cut as i64 == s.end)
        },
        after: |s| {
            s.start == 0
                && s.end == 17
                && s.lives[..9].iter().all(|l| l == "old")
                && s.lives[9..].iter().all(|l| l == "new")
        },
    },
    Case {
        name: "set the log start",
        run: |log| log.set_log_start_offset(7),
        between: |s| (s.start == 0 || s.start == 7) && s.end == END && old_only(s),
        after: |s| s.start == 7 && s.end == END && old_only(s),
    },
    Case {
        name: "retention",
        run: |log| {
            log.set_log_start_offset(11)?;
            log.apply_retention(0).map(drop)
        },
        between: |s| (s.start == 0 || s.start == 11) && s.end == END && old_only(s),
        after: |s| s.start == 11 && s.end == END && old_only(s),
    },
    Case {
        name: "nothing",
        run: |_| Ok(()),
        between: |s| intact(s) && s.end == END,
        after: |s| intact(s) && s.end == END,
    },
];

/// Opens what came back, reads all of it, and goes on writing.
fn look(fs: &MemFs, case: &str) -> State {
    let mut log = open(fs).unwrap_or_else(|e| panic!("{case}: {e}"));
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    assert!(log.high_watermark() <= end, "{case}");
    let mut lives = Vec::new();
    let mut next = start;
    for batch in log.read(0, u64::MAX).unwrap() {
        for record in batch.records().unwrap() {
            assert_eq!(record.offset, next, "{case}: a gap");
            let text = String::from_utf8(record.value.unwrap()).unwrap();
            let (life, number) = text.split_once(' ').unwrap();
            assert_eq!(number, next.to_string(), "{case}");
            lives.push(life.to_owned());
            next += 1;
        }
    }
    assert_eq!(next, end, "{case}");
    append(&mut log, "later", 3).unwrap();
    log.close().unwrap();
    let dir = Dir::open_on(arc(fs), "/log").unwrap();
    let listing = list_log(&dir).unwrap();
    assert!(listing.unattached.is_empty(), "{case}: {:?}", listing.unattached);
    for entry in &listing.side_files {
        let name = entry.name.to_str().unwrap();
        assert!([".lock", ".segments.lock", "checkpoint.json"].contains(&name), "{case}: {name} was left");
    }
    for (i, segment) in listing.segments.iter().enumerate() {
        let base = segment.base();
        let next = listing.segments.get(i + 1).map(|s| s.base());
        let read = |f: SegmentFile| dir.read(f.name(base), 1 << 20).unwrap();
        let (index, times) = (read(SegmentFile::Index), read(SegmentFile::TimeIndex));
        let file = dir.open_file(SegmentFile::Log.name(base), Open::Read).unwrap();
        let check = check_segment(&file, Some(&index), Some(&times), base, next).unwrap();
        assert!(check.problems.is_empty(), "{case}: {base}: {:?}", check.problems);
        assert_eq!(check.end.next_offset, next.unwrap_or(end + 3), "{case}: a gap behind {base}");
    }
    State { start, end, lives }
}

fn run(fs: &MemFs, case: &Case) -> Result<()> {
    let mut log = open(fs)?;
    (case.run)(&mut log)
}

fn changes_of(stage: &MemFs, case: &Case) -> u64 {
    let fs = copy(stage);
    let before = fs.count(Op::Any);
    run(&fs, case).unwrap();
    fs.count(Op::Any) - before
}

fn cut_everywhere(stage: &MemFs, cases: &[Case]) {
    let mut states = 0;
    for case in cases {
        let changes = changes_of(stage, case);
        // Once more after the end: then the operation has returned `Ok`.
        for at in 0..=changes + 1 {
            let fs = copy(stage);
            fs.cut_power_after(at);
            let outcome = run(&fs, case);
            assert!(at <= changes || outcome.is_ok(), "{}: {outcome:?}", case.name);
            for (i, state) in fs.crash_states(10, 12, at).into_iter().enumerate() {
                let name = format!("{}, cut after change {at} of {changes}, state {i}", case.name);
                let found = look(&state, &name);
                let fits = if outcome.is_ok() { (case.after)(&found) } else { (case.between)(&found) };
                assert!(fits, "{name}: {outcome:?}, {} to {}, {:?}", found.start, found.end, found.lives);
                states += 1;
            }
        }
    }
    assert!(states > 50 * cases.len(), "{states}");
    println!("{states} states");
}

#[test]
fn power_cuts() {
    cut_everywhere(&stage(Abilities::default()), CASES);
}

#[test]
fn power_cuts_without_reflinks() {
    cut_everywhere(&stage(Abilities { reflink: false, ..Abilities::default() }), CASES);
}

/// Nothing but the directory's sync at opening makes the names of its first segment durable.
#[test]
fn power_cuts_of_a_log_that_has_lost_its_empty_segment() {
    let fs = MemFs::new();
    let root = Dir::open_on(arc(&fs), "/").unwrap();
    root.make_dir("log", 0o755).unwrap();
    open(&fs).unwrap().close().unwrap();
    let dir = root.open_dir("log").unwrap();
    for file in [SegmentFile::Log, SegmentFile::Index, SegmentFile::TimeIndex] {
        dir.unlink(file.name(0)).unwrap();
    }
    dir.sync().unwrap();
    let case = Case {
        name: "append to a log without segments",
        run: |log| append(log, "new", 3).and_then(|()| log.flush()),
        between: |s| s.end <= 3,
        after: |s| s.end == 3,
    };
    cut_everywhere(&fs, &[case]);
}

/// Without timestamps a truncation changes no index: nothing else makes the new inode's name durable.
#[test]
fn power_cuts_of_a_truncation_that_changes_no_index() {
    let case = CASES.iter().find(|case| case.name == "truncate into a sealed segment").unwrap();
    cut_everywhere(&stage_as(Abilities::default(), without_timestamps), std::slice::from_ref(case));
}

#[test]
fn a_new_log_survives_a_power_cut_at_any_change() {
    let write = |fs: &MemFs| {
        let mut log = Log::open_in(arc(fs), "/log", config())?;
        append(&mut log, "old", 5)?;
        log.flush()
    };
    let dry = MemFs::new();
    let before = dry.count(Op::Any);
    write(&dry).unwrap();
    let changes = dry.count(Op::Any) - before;
    for at in 0..=changes + 1 {
        let fs = MemFs::new();
        fs.cut_power_after(at);
        let outcome = write(&fs);
        assert!(at <= changes || outcome.is_ok(), "{outcome:?}");
        for (i, state) in fs.crash_states(9, 12, at).into_iter().enumerate() {
            if outcome.is_err() && Dir::open_on(arc(&state), "/log").is_err() {
                continue;
            }
            let found = look(&state, &format!("cut after change {at} of {changes}, state {i}"));
            assert!(found.start == 0 && found.end <= 5 && (outcome.is_err() || found.end == 5));
        }
    }
}

/// The process dies after any change, another one opens the log and writes, and then the power fails.
fn what_a_successor_was_told(high_watermark: HighWatermark) {
    let stage = stage(Abilities::default());
    for case in CASES {
        for at in 0..=changes_of(&stage, case) {
            let fs = copy(&stage);
            fs.cut_power_after(at);
            let _ = run(&fs, case);
            fs.power_on();
            let name = format!("{}, the process died after change {at}", case.name);
            let config = LogConfig { high_watermark, ..config() };
            let mut log = Log::open_on(Dir::open_on(arc(&fs), "/log").unwrap(), config).unwrap();
            let (opened, end) = (log.high_watermark(), log.log_end_offset());
            assert!(opened == end || high_watermark == HighWatermark::Manual, "{name}");
            for (i, state) in fs.crash_states(10, 12, at).into_iter().enumerate() {
                assert!(look(&state, &name).end >= opened, "{name}, state {i}: what was opened is gone");
            }
            append(&mut log, "new", 2).unwrap();
            log.flush().unwrap();
            for (i, state) in fs.crash_states(10, 12, at).into_iter().enumerate() {
                let found = look(&state, &name);
                let written = found.lives.iter().rev().take(2).all(|life| life == "new");
                assert!(found.end == end + 2 && written, "{name}, state {i}: what was flushed is gone");
            }
        }
    }
}

#[test]
fn what_a_successor_was_told_outlives_the_power() {
    what_a_successor_was_told(HighWatermark::FollowFlush);
    what_a_successor_was_told(HighWatermark::Manual);
}

#[test]
fn every_failing_change_leaves_a_log_that_opens() {
    for errno in [EIO, ENOSPC] {
        let stage = stage(Abilities::default());
        for case in CASES {
            let changes = changes_of(&stage, case);
            for at in 1..=changes {
                let fs = copy(&stage);
                fs.fail(Op::Any, at, errno);
                let outcome = run(&fs, case);
                fs.heal();
                let name = format!("{}, errno {errno} at change {at} of {changes}", case.name);
                if let Err(e) = &outcome {
                    assert_eq!(e.kind(), Kind::Filesystem, "{name}: {e}");
                }
                let found = look(&fs, &name);
                let fits = if outcome.is_ok() { (case.after)(&found) } else { (case.between)(&found) };
                assert!(fits, "{name}: {outcome:?}, {} to {}, {:?}", found.start, found.end, found.lives);
            }
        }
    }
}

#[test]
fn a_full_disk_is_no_reason_to_open_anew() {
    let fs = stage(Abilities::default());
    let mut log = open(&fs).unwrap();
    append(&mut log, "new", 1).unwrap();
    fs.fail(Op::Write, 1, ENOSPC);
    assert_eq!(append(&mut log, "new", 1).unwrap_err().os_code(), Some(ENOSPC));
    let segments = log.segments().len();
    fs.fail(Op::Create, 1, ENOSPC);
    assert_eq!(log.roll().unwrap_err().os_code(), Some(ENOSPC));
    assert_eq!(log.segments().len(), segments);
    append(&mut log, "new", 2).unwrap();
    log.roll().unwrap();
    append(&mut log, "new", 2).unwrap();
    log.close().unwrap();
    let found = look(&fs, "after a full disk");
    assert!(intact(&found) && found.end == END + 5);
}

#[test]
fn after_a_failed_sync_only_opening_anew_helps() {
    let fs = stage(Abilities::default());
    let mut log = open(&fs).unwrap();
    append(&mut log, "new", 1).unwrap();
    fs.fail(Op::Sync, 1, EIO);
    assert_eq!(log.flush().unwrap_err().os_code(), Some(EIO));
    // MemFs, as Linux, would let the next sync succeed though the bytes are lost.
    assert!(append(&mut log, "new", 1).is_err());
    assert!(log.flush().is_err() && log.roll().is_err() && log.cut().is_err() && log.truncate_to(1).is_err());
    assert!(log.read(0, 1).is_err() && log.apply_retention(0).is_err() && log.set_high_watermark(0).is_err());
    assert!(log.close().is_err());
    let found = look(&fs, "after a failed sync");
    assert!(intact(&found) && found.end <= END + 1);
}

/// The bytes stay in memory, look whole, count as written, and are on no disk.
#[test]
fn bytes_whose_sync_failed_are_written_again() {
    for reflink in [true, false] {
        for second_name in [false, true] {
            let fs = stage(Abilities { reflink, ..Abilities::default() });
            let mut log = open(&fs).unwrap();
            append(&mut log, "new", 2).unwrap();
            if second_name {
                let name = SegmentFile::Log.name(*log.segments().last().unwrap());
                let handle = fs.open_dir(None, "/log".as_ref()).unwrap();
                fs.link(&handle, name.as_ref(), &handle, "other".as_ref()).unwrap();
            }
            fs.fail(Op::Sync, 1, EIO);
            log.flush().unwrap_err();
            drop(log);
            let mut log = open(&fs).unwrap();
            assert_eq!(log.log_end_offset(), END + 2);
            log.flush().unwrap();
            drop(log);
            if second_name {
                Dir::open_on(arc(&fs), "/log").unwrap().unlink("other").unwrap();
            }
            for (i, state) in fs.crash_states(10, 12, 1).into_iter().enumerate() {
                if second_name && Dir::open_on(arc(&state), "/log").unwrap().try_stat("other").unwrap().is_some() {
                    Dir::open_on(arc(&state), "/log").unwrap().unlink("other").unwrap();
                }
                let found = look(&state, &format!("state {i}"));
                assert!(intact(&found) && found.end == END + 2, "state {i}: it ends at {}", found.end);
            }
        }
    }
}

#[test]
fn a_truncation_whose_sync_failed_does_not_come_undone() {
    let fs = stage(Abilities::default());
    let mut log = open(&fs).unwrap();
    append(&mut log, "new", 2).unwrap();
    log.flush().unwrap();
    // The indexes stay as they are, the log's own sync is the one that fails.
    fs.fail(Op::Sync, 3, EIO);
    log.truncate_to(END).unwrap_err();
    drop(log);
    fs.heal();
    let log = open(&fs).unwrap();
    assert_eq!(log.log_end_offset(), END);
    for (i, state) in fs.crash_states(10, 12, 1).into_iter().enumerate() {
        let found = look(&state, &format!("state {i}"));
        assert!(intact(&found) && found.end == END, "state {i}: it ends at {}", found.end);
    }
}

#[test]
fn a_log_that_was_closed_is_not_written_again() {
    let fs = stage(Abilities::default());
    let dir = Dir::open_on(arc(&fs), "/log").unwrap();
    let active = list_log(&dir).unwrap().active().unwrap().base();
    let looks = || dir.stat(SegmentFile::Log.name(active)).unwrap();
    let before = looks();
    let log = open(&fs).unwrap();
    assert_eq!(looks(), before);
    // What the last one knew when it closed the log says nothing about this one.
    drop(log);
    drop(open(&fs).unwrap());
    assert_ne!(looks(), before);
}
