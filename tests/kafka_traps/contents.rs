//! What a snapshot of it holds, by Kafka's own reading.

use super::*;

#[test]
fn kafkas_reading_is_ours_before_in_and_after_a_snapshot() {
    let mut total = 0;
    for fixture in fixtures::NAMES {
        let (temp, root) = fixtures::unpack(fixture);
        let seen = agrees_with_kafka(fixture, &root);
        let manager = manager(&root);
        let created = manager.create().run().unwrap();
        let target = temp.path().join("restored");
        manager.restore_id("latest", RestoreOptions::to(&target)).unwrap();
        assert_eq!(agrees_with_kafka(fixture, &created.snapshot.path), seen);
        assert_eq!(agrees_with_kafka(fixture, &target), seen);
        total += seen;
    }
    assert!(total > 4000, "{total}");
}

#[test]
fn a_snapshot_holds_every_record_that_a_consumer_gets() {
    let mut partitions = 0;
    for fixture in fixtures::NAMES {
        let (_temp, root) = fixtures::unpack(fixture);
        let created = manager(&root).create().run().unwrap();
        for line in fixtures::oracle(&format!("{fixture}.sum.jsonl")) {
            let (topic, partition) = (line["topic"].as_str().unwrap(), line["partition"].as_i64().unwrap());
            let start = line["start"].as_i64().unwrap();
            let path = created.snapshot.path.join(format!("{topic}-{partition}"));
            let log = LogReader::open(path).unwrap().with_log_start(start);
            let info = created.snapshot.logs.iter().find(|l| l.topic == topic && i64::from(l.partition) == partition);
            assert_eq!(info.unwrap().log_start_offset, start, "{fixture} {topic}-{partition}");
            assert_eq!(log.log_end(), line["end"].as_i64().unwrap());
            let (raw, committed) = sums(&log);
            assert_eq!(json!([raw.count, committed.count]), json!([line["count"], line["committed_count"]]), "{topic}");
            let theirs = json!([line["sha256"], line["committed_sha256"]]);
            assert_eq!(json!([raw.hex(), committed.hex()]), theirs, "{fixture} {topic}-{partition}");
            partitions += 1;
        }
    }
    assert_eq!(partitions, 15);
}

#[test]
fn empty_things_stay_empty() {
    let (_temp, root) = fixtures::unpack("plain-clean");
    let created = manager(&root).create().run().unwrap();
    let path = &created.snapshot.path;
    let log =
        |name: &str| created.snapshot.logs.iter().find(|l| format!("{}-{}", l.topic, l.partition) == name).unwrap();
    let empty = log("__consumer_offsets-0");
    assert_eq!((empty.base_offset, empty.log_start_offset, empty.high_watermark, empty.log_end_offset), (0, 0, 0, 0));
    assert_eq!(empty.num_segments, 1);
    assert_eq!(fs::metadata(path.join("cleaner-offset-checkpoint")).unwrap().len(), 0);
    assert_eq!(fs::metadata(path.join("__consumer_offsets-1/00000000000000000000.index")).unwrap().len(), 0);
    assert!(fs::metadata(path.join("__consumer_offsets-1/00000000000000000000.log")).unwrap().len() > 0);
    let beyond = "orders-0/00000000000000010000.snapshot";
    assert_eq!(fs::read(path.join(beyond)).unwrap(), fs::read(root.join(beyond)).unwrap());
    let listing = list_log(&open(&path.join("orders-0"))).unwrap();
    assert_eq!(listing.unattached, [(10_000, SegmentFile::ProducerState)]);
    assert_eq!(listing.active().map(SegmentEntry::base), Some(8871));
}

#[test]
fn no_snapshot_holds_a_preallocated_index() {
    for fixture in ["codecs-live", "txn-killed"] {
        let (temp, root) = fixtures::unpack(fixture);
        let is_index = |name: &str| name.ends_with(".index") || name.ends_with(".timeindex");
        let preallocated = |root: &Path| {
            let files = partition_files(root).into_iter().filter(|(name, _)| is_index(name));
            files.filter(|(_, bytes)| bytes.len() > 10_000_000).count()
        };
        let before = preallocated(&root);
        assert_eq!(before, 2 * fixtures::partitions(&root).len(), "both of every active segment");
        let manager = manager(&root);
        let created = manager.create().run().unwrap();
        let target = temp.path().join("restored");
        manager.restore_id("latest", RestoreOptions::to(&target)).unwrap();
        for root in [&created.snapshot.path, &target] {
            for (name, bytes) in partition_files(root).into_iter().filter(|(name, _)| is_index(name)) {
                let entry = if name.ends_with(".index") { 8 } else { 12 };
                assert_eq!(bytes.len() % entry, 0, "{name}");
                let last = bytes.len().checked_sub(entry).map(|at| &bytes[at..]);
                assert!(last.is_none_or(|entry| entry.iter().any(|b| *b != 0)), "{fixture} {name} ends in zeros");
            }
        }
        assert_eq!(preallocated(&root), before, "the source keeps its own");
    }
}

#[test]
fn a_killed_broker_leaves_open_transactions_and_a_torn_batch() {
    let (_temp, root) = fixtures::unpack("txn-killed");
    let created = manager(&root).create().run().unwrap();
    let path = &created.snapshot.path;
    assert_eq!(fs::metadata(path.join("bulk-0/00000000000000000000.log")).unwrap().len(), 2_951_112);
    assert_eq!(fs::metadata(root.join("bulk-0/00000000000000000000.log")).unwrap().len(), 5_242_880);
    let log = |topic: &str| created.snapshot.logs.iter().find(|l| l.topic == topic).unwrap();
    assert_eq!((log("clicks").high_watermark, log("clicks").log_end_offset), (5469, 5678), "the mark is older");
    assert_eq!((log("bulk").high_watermark, log("bulk").log_end_offset), (0, 59));

    let payments = path.join("payments-0");
    let with_index: Vec<_> = names(&payments).into_iter().filter(|n| n.ends_with(".txnindex")).collect();
    assert_eq!(with_index, [25, 935, 1845, 2755].map(|base| SegmentFile::TxnIndex.name(base)));
    let reader = LogReader::open(&payments).unwrap();
    let batches: Vec<_> = reader.read_from(0).collect::<Result<_, _>>().unwrap();
    let markers = batches.iter().filter(|b| b.header().is_control()).count();
    assert!(markers > 30 && batches.iter().any(|b| b.header().is_transactional()), "{markers}");
    // Open at the end, and begun in an earlier segment.
    let (_, committed) = sums(&reader);
    assert!(committed.count < 2551 && reader.log_end() == 3629);
    let state = parse_producer_state(&fs::read(payments.join(SegmentFile::ProducerState.name(935))).unwrap()).unwrap();
    assert_eq!(state.iter().map(|p| p.open_since).collect::<Vec<_>>(), [Some(910)]);
    // Rolled by age: the first segments are far below their size.
    assert!(fs::metadata(payments.join(SegmentFile::Log.name(0))).unwrap().len() < 5000);
    assert_eq!(created.snapshot.methods.get(&Method::Hardlink), None, "nothing is known to have been flushed");
}

#[test]
fn a_compacted_log_has_gaps_and_is_whole() {
    let (_temp, root) = fixtures::unpack("compacted-clean");
    let created = manager(&root).create().run().unwrap();
    let users = LogReader::open(created.snapshot.path.join("users-0")).unwrap();
    let batches: Vec<_> = users.read_from(0).collect::<Result<_, _>>().unwrap();
    assert_eq!((users.segments()[0].base(), batches[0].header().base_offset), (0, 2737));
    let empty: Vec<_> = batches.iter().filter(|b| b.header().record_count == 0).map(|b| b.header()).collect();
    assert_eq!(empty.len(), 1);
    assert_eq!((empty[0].base_offset, empty[0].last_offset(), empty[0].total_size()), (4494, 4499, 61));
    assert!(batches.iter().any(|b| b.header().has_delete_horizon()));
    assert!(batches.iter().any(|b| b.header().is_control()));
    let gaps = batches.windows(2).filter(|w| w[0].header().next_offset() < w[1].header().base_offset).count();
    assert!(gaps > 3, "{gaps}");
    let within = |b: &&cowlog::Batch| i64::from(b.header().record_count) <= i64::from(b.header().last_offset_delta);
    assert!(batches.iter().filter(within).count() > 3);

    let starts = |name: &str| {
        let log = created.snapshot.logs.iter().find(|l| format!("{}-{}", l.topic, l.partition) == name).unwrap();
        (log.base_offset, log.log_start_offset, log.log_end_offset)
    };
    assert_eq!(starts("ledger-0"), (581, 777, 2000));
    assert_eq!(starts("ledger-1"), (1718, 2000, 2000));
    assert_eq!(starts("rolling-0"), (3468, 3468, 5000));

    let deleted: BTreeSet<String> =
        partition_files(&root).into_iter().map(|f| f.0).filter(|n| n.ends_with(".deleted")).collect();
    let left_out: BTreeSet<String> = created.left_out.iter().map(|l| l.path.clone()).collect();
    assert!(deleted.len() > 50);
    assert_eq!(left_out, deleted);
    assert!(deleted.contains("users-0/00000000000000004958.log.deleted"));
    assert!(created.snapshot.path.join("users-0/00000000000000004958.log").is_file(), "the one that is not deleted");
}

#[test]
fn what_was_deleted_below_the_log_start_stays_deleted() {
    let (temp, root) = fixtures::unpack("compacted-clean");
    let (manager, warned) = listening(&root.join("ledger-0"));
    let created = manager.create().run().unwrap();
    let cut = LogReader::open(created.snapshot.path.join("ledger-0")).unwrap();
    let cut: Vec<_> = cut.read_from(777).map(|b| b.unwrap().header().next_offset()).collect();
    for until in [777, 778, cut[0] - 1, cut[0], cut[1], 2000] {
        let target = temp.path().join(format!("until-{until}"));
        warned.lock().unwrap().clear();
        let done = manager.restore_id("latest", RestoreOptions::to(&target).until_offset(until)).unwrap();
        let segments: Vec<i64> = list_log(&open(&target)).unwrap().segments.iter().map(|s| s.base()).collect();
        let told = warned.lock().unwrap().iter().any(|w| w.contains("`ledger 0 777`"));
        if until < cut[0] {
            assert_eq!((segments, done.end_offset, told), (vec![777], Some(777), false), "{until}");
            assert_eq!(fs::read(target.join("00000000000000000777.log")).unwrap(), b"");
            // A native log goes on there.
            let mut log = cowlog::Log::open(native(&target)).unwrap();
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (777, 777));
            log.append(cowlog::BatchBuilder::new().record(1, None, Some(b"x")).build().unwrap()).unwrap();
        } else {
            // A broker keeps the log start beside its partitions.
            assert_eq!((segments[0], told), (581, true), "{until}");
            assert_eq!(done.end_offset, cut.iter().copied().rfind(|end| *end <= until), "{until}");
        }
    }
}

/// Without what marks a broker's log.
fn native(target: &std::path::Path) -> std::path::PathBuf {
    for name in ["partition.metadata", "leader-epoch-checkpoint"] {
        fs::remove_file(target.join(name)).unwrap();
    }
    target.to_owned()
}

#[test]
fn only_flushed_and_committed_log_files_are_linked() {
    let mut linked = 0;
    for fixture in fixtures::NAMES {
        let (_temp, root) = fixtures::unpack(fixture);
        let marks = RootCheckpoints::read(&open(&root)).unwrap();
        let manager = manager(&root);
        manager.create().run().unwrap();
        let manifest = manager.manifest("latest").unwrap().manifest;
        for file in manifest.files.iter().filter(|f| f.method == Method::Hardlink) {
            let (dir, name) = file.path.split_once('/').expect("no file of the root is linked");
            let log = manifest.logs.iter().find(|l| l.dir == dir).unwrap();
            let base: i64 = name.strip_suffix(".log").expect("only logs are linked").parse().unwrap();
            let end = *log.segments.iter().find(|b| **b > base).expect("the active one is not linked");
            let (topic, partition) = (log.topic.as_deref().unwrap(), log.partition.unwrap());
            assert!(marks.high_watermark(topic, partition).is_some_and(|mark| mark >= end), "{fixture} {}", file.path);
            assert!(marks.recovery_point(topic, partition).is_some_and(|mark| mark >= end), "{fixture} {}", file.path);
            assert!(file.exposed);
            linked += 1;
        }
        let can_reflink = manifest.files.iter().any(|f| f.method == Method::Reflink);
        assert!(linked > 0 || can_reflink, "{fixture}: nothing is shared");
    }
}

#[test]
fn deep_verification_reads_producer_snapshots_and_transaction_indexes() {
    let (_temp, root) = fixtures::unpack("txn-killed");
    let state = "payments-0/00000000000000001820.snapshot";
    let index = "payments-1/00000000000000000935.txnindex";
    for (path, at) in [(state, 20), (index, 24)] {
        let mut bytes = fs::read(root.join(path)).unwrap();
        bytes[at] ^= 0x40;
        fs::write(root.join(path), bytes).unwrap();
    }
    let misplaced = "clicks-0/00000000000000001000.snapshot";
    fs::copy(root.join("clicks-0/00000000000000002218.snapshot"), root.join(misplaced)).unwrap();
    let mut damage = deep_damage(&root).1;
    damage.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [(misplaced, DamageKind::Producers), (state, DamageKind::Producers), (index, DamageKind::Index)];
    assert_eq!(damage, expected.map(|(path, kind)| (path.to_owned(), kind)));
}

#[test]
fn a_log_that_would_start_beyond_its_end_is_told_of_and_restored_so_that_a_broker_keeps_it() {
    let (temp, root) = fixtures::unpack("compacted-clean");
    let starts = b"0\n3\nstamped 0 2001\nledger 1 2000\nledger 0 777\n";
    fs::write(root.join("log-start-offset-checkpoint"), starts).unwrap();
    let (manager, heard) = listening(&root);
    let created = manager.create().run().unwrap();
    let warned = heard.lock().unwrap().clone();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("stamped-0") && warned[0].contains("2001"), "{warned:?}");
    let log = created.snapshot.logs.iter().find(|l| l.topic == "stamped").unwrap();
    assert_eq!((log.log_start_offset, log.log_end_offset), (2000, 2000));
    assert_eq!(fs::read(created.snapshot.path.join("log-start-offset-checkpoint")).unwrap(), starts, "kept as it was");
    let target = temp.path().join("restored");
    manager.restore_id("latest", RestoreOptions::to(&target)).unwrap();
    let restored = fs::read(target.join("log-start-offset-checkpoint")).unwrap();
    assert_eq!(restored, b"0\n3\nstamped 0 2000\nledger 1 2000\nledger 0 777\n");
}

#[test]
fn a_partition_with_transactions_is_cut_with_all_its_side_files() {
    let (temp, root) = fixtures::unpack("txn-killed");
    let manager = manager(&root.join("payments-0"));
    let created = manager.create().run().unwrap();
    let whole = LogReader::open(created.snapshot.path.join("payments-0")).unwrap();
    for until in [0, 1, 24, 25, 500, 935, 1000, 2754, 3000, 3628, 3629] {
        let target = temp.path().join(format!("cut-{until}"));
        let end =
            manager.restore_id("latest", RestoreOptions::to(&target).until_offset(until)).unwrap().end_offset.unwrap();
        assert!(end <= until, "{end} {until}");
        let cut = LogReader::open(&target).unwrap();
        assert_eq!(cut.log_end(), end);
        let mut batches = 0;
        for (ours, theirs) in cut.read_from(0).zip(whole.read_from(0)) {
            assert_eq!(ours.unwrap(), theirs.unwrap());
            batches += 1;
        }
        let next = whole.read_from(end).next().map(|b| b.unwrap().header().last_offset());
        assert!(next.is_none_or(|last| last >= until), "{until}: the batch up to {next:?} fits too");
        for (name, bytes) in names(&target).into_iter().map(|n| (n.clone(), fs::read(target.join(n)).unwrap())) {
            let base = || name[..20].parse::<i64>().unwrap();
            if name.ends_with(".txnindex") {
                assert_eq!(check_txn_index(&bytes, base(), end), Ok(()), "{until} {name}");
            } else if name.ends_with(".snapshot") {
                assert!(base() <= end, "{until} {name}");
                assert_eq!(check_producer_state(&bytes, base()), Ok(()));
            } else if name == "leader-epoch-checkpoint" {
                assert!(LeaderEpochs::parse(&bytes).unwrap().entries.iter().all(|(_, start)| *start <= end));
            }
        }
        assert!(batches > 0 || end == 0);
    }
}
