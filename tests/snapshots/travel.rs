//! Restoring less than all: up to an offset or a time, and from one on.

use std::path::Path;

use cowlog::kafka::checkpoints::{LeaderEpochs, OffsetCheckpoint};
use cowlog::log::{Batch, BatchBuilder, Codec, LogReader};
use cowlog::snapshot::Bound::{self, Offset, Time};
use cowlog::snapshot::{LogCut, Restored};

use super::*;

/// The timestamps of the batches' records, in seconds; not in order, some are equal.
const TIMES: [&[i64]; 12] =
    [&[10, 11], &[12], &[15, 30, 14], &[13], &[20, 21], &[0], &[40], &[40, 39], &[41], &[38], &[50], &[49]];

/// Codecs take turns; several segments, of one batch or more.
fn make_uneven_log(path: &Path) {
    fs::create_dir(path).unwrap();
    let mut log = Log::open_with(path, LogConfig { segment_bytes: 600, ..LogConfig::default() }).unwrap();
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for (at, times) in TIMES.iter().enumerate() {
        let mut batch = BatchBuilder::new();
        batch.codec(codecs[at % codecs.len()]);
        for time in *times {
            let noise: String = (0..200).map(|n| char::from(b'a' + ((n * n + at * 31 + n) % 23) as u8)).collect();
            batch.record(time * 1000, Some(b"key"), Some(noise.as_bytes()));
        }
        log.append(batch.build().unwrap()).unwrap();
    }
    log.close().unwrap();
}

fn batches(path: &Path) -> Vec<Batch> {
    LogReader::open(path).unwrap().read_from(0).map(|batch| batch.unwrap()).collect()
}

fn is_below(bound: Bound, batch: &Batch) -> bool {
    match bound {
        Offset(offset) => batch.header().last_offset() < offset,
        Time(time) => batch.header().max_timestamp < time,
    }
}

/// By the words of the documentation: everything is read, nothing is looked up.
fn expected(all: &[Batch], since: Option<Bound>, until: Option<Bound>) -> &[Batch] {
    let prefix = |bound: Bound| all.iter().take_while(|batch| is_below(bound, batch)).count();
    let end = until.map_or(all.len(), prefix);
    &all[since.map_or(0, prefix).min(end)..end]
}

fn options(target: &Path, since: Option<Bound>, until: Option<Bound>) -> RestoreOptions {
    let options = RestoreOptions::to(target);
    let options = since.map_or(options.clone(), |since| options.since(since));
    until.map_or(options.clone(), |until| options.until(until))
}

#[test]
fn the_cut_falls_where_every_batch_says_so() {
    let (temp, log) = native::fast_temp();
    make_uneven_log(&log);
    let snaps = manager(&log);
    let made = snaps.create().run().unwrap().snapshot;
    assert!(made.num_segments > 4, "{made:?}");
    let all = batches(&log);
    assert_eq!(all.len(), TIMES.len());
    let mut bounds: Vec<Option<Bound>> = vec![None];
    bounds.extend([9, 10, 12, 14, 30, 31, 39, 40, 41, 42, 50, 51].map(|t| Some(Time(t * 1000))));
    bounds.extend([0, 1, 2, 5, 7, 10, 11, made.log_end_offset.unwrap()].map(|o| Some(Offset(o))));
    let (mut whole, mut refused) = (0, 0);
    for (since, until) in bounds.iter().flat_map(|since| bounds.iter().map(move |until| (*since, *until))) {
        // All of them would take a minute.
        if since.is_some() && until.is_some() && (whole + refused) % 3 != 0 {
            whole += 1;
            continue;
        }
        let told = format!("since {since:?} until {until:?}");
        let target = temp.path().join("cut");
        let kept = expected(&all, since, until);
        let is_time = |bound: Option<Bound>| matches!(bound, Some(Time(_)));
        let none_left = kept.is_empty() && (is_time(since) || is_time(until));
        let crossed = matches!((since, until), (Some(Offset(since)), Some(Offset(until))) if since > until);
        let done = snaps.restore_id("latest", options(&target, since, until));
        if none_left || crossed {
            let e = done.unwrap_err();
            assert_eq!(e.kind(), Kind::Validation, "{told}: {e}");
            assert!(
                crossed || e.hint().unwrap().contains("of 1970-01-01T00:00:11.000Z, its latest of 1970-01-01T00:00:50"),
                "{told}: {:?}",
                e.hint()
            );
            assert!(!target.exists());
            refused += 1;
            continue;
        }
        let done = done.unwrap();
        check_against(&target, &done, &all, kept, &told);
        whole += 1;
        let mut again = open_log(&target);
        assert_eq!((again.recovery().cut_bytes, again.log_end_offset()), (0, done.end_offset.unwrap()), "{told}");
        append(&mut again, 3);
        again.close().unwrap();
        let deep = manager(&target);
        deep.create().run().unwrap();
        let report = deep.verify("latest", Level::Deep).unwrap();
        assert!(report.ok, "{told}: {report:#?}");
        fs::remove_dir_all(&target).unwrap();
    }
    assert!(whole > 100 && refused > 20, "{whole} {refused}");
}

/// What was restored is exactly that, and the account of it is right.
fn check_against(target: &Path, done: &Restored, all: &[Batch], kept: &[Batch], told: &str) {
    assert_eq!(batches(target), kept, "{told}");
    let reader = LogReader::open(target).unwrap();
    assert_eq!(Some(reader.log_end()), done.end_offset, "{told}");
    let Some(cut) = done.cuts.first() else { return };
    let LogCut { start_offset, end_offset, before, first, last, behind, .. } = cut;
    assert_eq!((reader.log_start(), reader.log_end()), (*start_offset, *end_offset), "{told}");
    let Some((begin, end)) = kept.first().zip(kept.last()) else { return };
    let (begin, end) = (begin.header().base_offset, end.header().next_offset());
    assert_eq!((begin, end), (*start_offset, *end_offset), "{told}");
    let is = |batch: &Batch| (batch.header().base_offset, batch.header().last_offset());
    let said = |batch: &Option<cowlog::snapshot::CutBatch>| batch.as_ref().map(|b| (b.base_offset, b.last_offset));
    assert_eq!(said(before), all.iter().rfind(|b| b.header().base_offset < begin).map(is), "{told}");
    assert_eq!(said(behind), all.iter().find(|b| b.header().base_offset >= end).map(is), "{told}");
    assert_eq!(said(last), kept.last().map(is), "{told}");
    assert_eq!(said(first), before.is_some().then(|| kept.first().map(is)).flatten(), "{told}");
}

#[test]
fn offsets_that_the_log_never_had_are_refused() {
    let (temp, log) = temp();
    make_log(&log, 100);
    let mut writer = open_log(&log);
    writer.set_log_start_offset(40).unwrap();
    writer.close().unwrap();
    let snaps = manager(&log);
    snaps.create().run().unwrap();
    let target = temp.path().join("cut");
    for (since, until) in [(None, Some(Offset(39))), (Some(Offset(101)), None), (Some(Offset(70)), Some(Offset(60)))] {
        let e = snaps.restore_id("latest", options(&target, since, until)).unwrap_err();
        assert!(e.hint().unwrap().contains("40 to 100"), "{e}: {:?}", e.hint());
    }
    // What lies below the log start is deleted, whatever its time is.
    let done = snaps.restore_id("latest", options(&target, Some(Time(0)), Some(Time(45_000)))).unwrap();
    assert_eq!((done.cuts[0].start_offset, done.cuts[0].end_offset), (40, 45));
    assert_eq!(open_log(&target).log_start_offset(), 40);
    let empty = temp.path().join("empty");
    let done = snaps.restore_id("latest", options(&empty, Some(Offset(100)), None)).unwrap();
    assert_eq!((done.cuts[0].start_offset, done.cuts[0].end_offset), (100, 100));
    let mut log = open_log(&empty);
    append(&mut log, 1);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (100, 101));
}

#[test]
fn an_empty_log_is_restored_whole_whatever_the_time() {
    let (temp, log) = temp();
    make_log(&log, 0);
    let snaps = manager(&log);
    snaps.create().run().unwrap();
    let target = temp.path().join("cut");
    snaps.restore_id("latest", options(&target, Some(Time(5)), Some(Time(9)))).unwrap();
    assert_eq!(open_log(&target).log_end_offset(), 0);
}

#[test]
fn a_log_is_replaced_by_what_it_was_at_a_time_and_comes_back() {
    let (_temp, log) = temp();
    make_log(&log, 100);
    let snaps = manager(&log);
    snaps.create().run().unwrap();
    let was = content(&log);
    let done = snaps.restore_id("latest", RestoreOptions::replace().until(Time(60_000)).since(Time(20_000))).unwrap();
    assert_eq!((done.end_offset, done.replaced.unwrap().offsets), (Some(60), 40));
    let reader = LogReader::open(&log).unwrap();
    assert_eq!((reader.log_start(), reader.log_end()), (20, 60));
    snaps.undo().unwrap();
    assert_eq!(content(&log), was);
}

/// Each log by itself, every checkpoint with it.
#[test]
fn every_log_of_a_broker_is_cut_by_itself() {
    for fixture in fixtures::NAMES {
        let (temp, root) = fixtures::unpack(fixture);
        let snaps = manager(&root);
        snaps.create().run().unwrap();
        let manifest = snaps.manifest("latest").unwrap().manifest;
        let starts = |dir: &str| manifest.logs.iter().find(|log| log.dir == dir).unwrap().cut.log_start_offset;
        let read = |path: &Path, start: i64| -> Vec<Batch> {
            let reader = LogReader::open(path).unwrap().with_log_start(start);
            reader.read_from(start).map(|batch| batch.unwrap()).collect()
        };
        let mut times: Vec<i64> = Vec::new();
        for log in manifest.logs.iter().filter(|log| !log.dir.starts_with("__")) {
            times.extend(read(&root.join(&log.dir), starts(&log.dir)).iter().map(|b| b.header().max_timestamp));
        }
        times.sort_unstable();
        let at = |percent: usize| Time(times[times.len() * percent / 100]);
        for (round, (since, until)) in [(None, Some(at(50))), (Some(at(20)), Some(at(90)))].into_iter().enumerate() {
            // The shorter form once.
            if round == 0 && fixture != "txn-killed" {
                continue;
            }
            let told = format!("{fixture} since {since:?} until {until:?}");
            let target = temp.path().join(format!("cut-{round}"));
            let done = snaps.restore_id("latest", options(&target, since, until)).unwrap();
            let mut cut = 0;
            for log in &manifest.logs {
                let (dir, restored) = (&log.dir, target.join(&log.dir));
                let all = read(&root.join(dir), starts(dir));
                let own = dir.starts_with("__");
                let kept = if own { &all[..] } else { expected(&all, since, until) };
                let of = |l: &&LogCut| l.topic == log.topic && l.partition == log.partition;
                let Some(said) = done.cuts.iter().find(of) else {
                    assert!(own, "{told} {dir}");
                    assert_eq!(read(&restored, starts(dir)), all, "{told} {dir}");
                    continue;
                };
                assert!(!own);
                cut += usize::from(kept.len() < all.len());
                assert_eq!(read(&restored, said.start_offset), kept, "{told} {dir}");
                assert_eq!(LogReader::open(&restored).unwrap().log_end(), said.end_offset, "{told} {dir}");
                check_marks(&target, &restored, said, said.before.is_some(), &told);
            }
            assert!(cut > 0, "{told}");
            // It is a data directory like any other.
            if round == 1 {
                let again = manager(&target);
                let made = again.create().run().unwrap();
                assert_eq!(made.snapshot.logs.len(), manifest.logs.len(), "{told}");
                let report = again.verify("latest", Level::Deep).unwrap();
                assert!(report.ok, "{told}: {report:#?}");
            }
        }
        let e = snaps.restore_id("latest", options(&temp.path().join("x"), None, Some(Time(1000)))).unwrap_err();
        assert!(
            e.kind() == Kind::Validation && e.hint().unwrap().contains("its first batch is of 20"),
            "{e} {:?}",
            e.hint()
        );
        let e = snaps.restore_id("latest", options(&temp.path().join("x"), None, Some(Offset(10)))).unwrap_err();
        assert!(e.hint().unwrap().contains("--partition"), "{e}");
    }
}

fn check_marks(root: &Path, dir: &Path, cut: &LogCut, begins: bool, told: &str) {
    let (topic, partition) = (cut.topic.as_deref().unwrap(), cut.partition.unwrap());
    let inside = |offset: i64| cut.start_offset <= offset && offset <= cut.end_offset;
    for file in ["replication-offset-checkpoint", "recovery-point-offset-checkpoint", "cleaner-offset-checkpoint"] {
        let Ok(bytes) = fs::read(root.join(file)) else { continue };
        let mark = OffsetCheckpoint::parse(&bytes).unwrap().get(topic, partition);
        // Uncut ones stand as the broker left them.
        if cut.before.is_some() || cut.behind.is_some() {
            assert!(mark.is_none_or(inside), "{told} {file} {topic}-{partition}: {mark:?} {cut:?}");
        }
    }
    let bytes = fs::read(root.join("log-start-offset-checkpoint")).unwrap();
    let start = OffsetCheckpoint::parse(&bytes).unwrap().get(topic, partition);
    assert!(start.is_none_or(|start| start == cut.start_offset), "{told} {topic}-{partition}: {start:?} {cut:?}");
    for entry in fs::read_dir(dir).unwrap().map(|e| e.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if let Some(at) = name.strip_suffix(".snapshot").map(|at| at.parse::<i64>().unwrap()) {
            assert!(at <= cut.end_offset && (!begins || at >= cut.start_offset), "{told} {topic}-{partition} {name}");
        }
    }
    if let Ok(bytes) = fs::read(dir.join("leader-epoch-checkpoint")) {
        let epochs = LeaderEpochs::parse(&bytes).unwrap().entries;
        assert!(epochs.iter().all(|(_, start)| *start <= cut.end_offset), "{told} {epochs:?}");
        assert!(!begins || epochs.iter().all(|(_, start)| *start >= cut.start_offset), "{told} {epochs:?}");
        let first = LogReader::open(dir).unwrap().read_from(0).next().map(|b| b.unwrap().header().leader_epoch);
        assert!(
            first.is_none_or(|first| epochs.first().is_some_and(|(epoch, _)| *epoch == first)),
            "{told} {epochs:?}"
        );
    }
}

#[test]
fn the_first_snapshot_that_holds_a_time() {
    let (temp, log) = temp();
    make_log(&log, 10);
    let hands = Hands::at(NOON);
    let config = SnapshotConfig { clock: hands.clock(), min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&log, config).unwrap();
    let mut made = Vec::new();
    for _ in 0..4 {
        made.push(snaps.create().run().unwrap().snapshot);
        append(&mut open_log(&log), 10);
        hands.advance(HOUR);
    }
    let at = |ms: i64| snaps.at(NOON + ms, None).map(|found| found.id);
    let hour = 3_600_000;
    for (ms, expected) in [(i64::MIN / 2, 0), (-1, 0), (0, 0), (1, 1), (hour, 1), (hour + 1, 2), (3 * hour, 3)] {
        assert_eq!(at(ms).unwrap(), made[expected].id, "{ms}");
    }
    let e = at(3 * hour + 1).unwrap_err();
    assert!(e.is_not_found(), "{e}");
    assert!(e.hint().unwrap().contains(&made[3].id), "{:?}", e.hint());
    // One that is known to be damaged is passed over.
    let file = made[1].path.join(format!("{:020}.log", 0));
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::write(&file, [b"x", &bytes[1..]].concat()).unwrap();
    assert_eq!(at(1).unwrap(), made[1].id, "nobody knows yet");
    assert!(!snaps.verify(&made[1].id, Level::Full).unwrap().ok);
    assert_eq!(at(1).unwrap(), made[2].id);
    let found = snaps.at(NOON + 1, None).unwrap();
    let target = temp.path().join("then");
    let done = snaps.restore_id(&found.id, RestoreOptions::to(&target).until(Time(15_000))).unwrap();
    assert_eq!(done.end_offset, Some(15));
    for id in [&made[3].id, &made[2].id] {
        snaps.delete(id).unwrap();
    }
    let e = at(1).unwrap_err();
    assert!(e.hint().unwrap().contains("damaged") && e.hint().unwrap().contains(&made[0].id), "{:?}", e.hint());
}
