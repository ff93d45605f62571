//! What a broker's directory holds, and what is left out of it.

use super::*;

#[test]
fn every_checkpoint_is_read() {
    type Line = (&'static str, i32, i64);
    let expected: [(&str, &str, &[Line]); 12] = [
        ("plain-clean", "cleaner-offset-checkpoint", &[]),
        ("plain-clean", "log-start-offset-checkpoint", &[]),
        ("plain-clean", "replication-offset-checkpoint", &[("orders", 0, 10_000), ("__consumer_offsets", 1, 7)]),
        ("plain-clean", "recovery-point-offset-checkpoint", &[("orders", 1, 10_000), ("__consumer_offsets", 0, 0)]),
        ("codecs-live", "recovery-point-offset-checkpoint", &[("events-lz4", 0, 5217), ("events-gzip", 0, 5164)]),
        ("codecs-live", "replication-offset-checkpoint", &[("events-lz4", 0, 6000), ("events-gzip", 0, 6000)]),
        ("txn-killed", "recovery-point-offset-checkpoint", &[]),
        ("txn-killed", "log-start-offset-checkpoint", &[]),
        ("txn-killed", "replication-offset-checkpoint", &[("clicks", 0, 5469), ("bulk", 0, 0)]),
        ("compacted-clean", "cleaner-offset-checkpoint", &[("users", 0, 5296)]),
        ("compacted-clean", "log-start-offset-checkpoint", &[("ledger", 0, 777), ("ledger", 1, 2000)]),
        ("compacted-clean", "replication-offset-checkpoint", &[("rolling", 0, 5000)]),
    ];
    for fixture in fixtures::NAMES {
        let (_temp, root) = fixtures::unpack(fixture);
        for (_, file, lines) in expected.iter().filter(|e| e.0 == fixture) {
            let bytes = fs::read(root.join(file)).unwrap();
            let read = OffsetCheckpoint::parse(&bytes).unwrap();
            assert_eq!(read.is_empty(), lines.is_empty(), "{fixture} {file}");
            for (topic, partition, offset) in *lines {
                assert_eq!(read.get(topic, *partition), Some(*offset), "{fixture} {file} {topic}-{partition}");
            }
            let count = String::from_utf8(bytes).unwrap().lines().nth(1).map_or(0, |l| l.parse().unwrap());
            assert_eq!(read.len(), count);
        }
        let dir = open(&root);
        assert_eq!(RootCheckpoints::read(&dir).unwrap().warnings(), [""; 0]);
        let meta = parse_meta_properties(&fs::read(root.join("meta.properties")).unwrap()).unwrap();
        assert_eq!((meta.node_id, meta.cluster_id.unwrap().len(), meta.directory_id.unwrap().len()), (Some(1), 22, 22));
        for partition in fixtures::partitions(&root) {
            let bytes = fs::read(partition.join("leader-epoch-checkpoint")).unwrap();
            let epochs = LeaderEpochs::parse(&bytes).unwrap();
            assert_eq!((epochs.entries.len(), epochs.to_bytes()), (1, bytes));
            parse_partition_metadata(&fs::read(partition.join("partition.metadata")).unwrap()).unwrap();
        }
        assert_eq!(objections(&dir, &inventory(&dir).unwrap()).unwrap(), [""; 0], "a broker took all of it");
    }
    let (_temp, root) = fixtures::unpack("plain-clean");
    assert!(OffsetCheckpoint::parse(&fs::read(root.join("bootstrap.checkpoint")).unwrap()).is_err(), "it is binary");
}

#[test]
fn an_inventory_has_everything_once() {
    let expected = [
        ("plain-clean", 6, vec![".kafka_cleanshutdown"]),
        ("codecs-live", 8, vec![]),
        ("txn-killed", 11, vec![]),
        ("compacted-clean", 12, vec![".kafka_cleanshutdown"]),
    ];
    for (fixture, partitions, more) in expected {
        let (_temp, root) = fixtures::unpack(fixture);
        let found = inventory(&open(&root)).unwrap();
        assert_eq!(found.partitions.len(), partitions, "{fixture}");
        assert_eq!(found.left_out, []);
        let usual = [
            "bootstrap.checkpoint",
            "cleaner-offset-checkpoint",
            "log-start-offset-checkpoint",
            "meta.properties",
            "recovery-point-offset-checkpoint",
            "replication-offset-checkpoint",
        ];
        assert_eq!(found.root_files, more.into_iter().chain(usual).collect::<Vec<_>>());
        for partition in &found.partitions {
            assert_eq!(partition.name, format!("{}-{}", partition.topic, partition.partition));
            let dir = open(&root.join(&partition.name));
            assert!(is_log_dir(&dir).unwrap() && !is_data_dir(&dir).unwrap());
        }
        assert!(is_data_dir(&open(&root)).unwrap() && !is_log_dir(&open(&root)).unwrap());
    }
}

#[test]
fn what_a_broker_has_given_up_is_left_out_and_named() {
    let (_temp, root) = fixtures::unpack("plain-clean");
    let id = "0123456789abcdef0123456789abcdef";
    let dirs = [format!("gone-0.{id}-delete"), format!("lost-1.{id}-stray"), format!("orders-0.{id}-future")];
    for dir in dirs.iter().map(String::as_str).chain(["lost+found"]) {
        fs::create_dir(root.join(dir)).unwrap();
        fs::write(root.join(dir).join("00000000000000000000.log"), b"x").unwrap();
    }
    for file in [".lock", "replication-offset-checkpoint.tmp", "orders-0/00000000000000000000.log.cleaned"] {
        fs::write(root.join(file), b"").unwrap();
    }
    let swap = "orders-0/00000000000000002970.log.swap";
    fs::copy(root.join("orders-0/00000000000000002970.log"), root.join(swap)).unwrap();
    std::os::unix::fs::symlink("orders-0", root.join("alias-0")).unwrap();
    let created = manager(&root).create().run().unwrap();
    let left_out: BTreeMap<_, _> = created.left_out.iter().map(|l| (l.path.as_str(), l.why.as_str())).collect();
    let expected: BTreeSet<&str> = dirs
        .iter()
        .map(String::as_str)
        .chain([".lock", "replication-offset-checkpoint.tmp", "orders-0/00000000000000000000.log.cleaned"])
        .chain(["lost+found", "alias-0"])
        .collect();
    assert_eq!(left_out.keys().copied().collect::<BTreeSet<_>>(), expected);
    assert!(left_out.values().all(|why| !why.is_empty()));
    for path in expected {
        assert!(!created.snapshot.path.join(path).exists(), "{path}");
    }
    let path = &created.snapshot.path;
    assert_eq!(fs::read(path.join(swap)).unwrap(), fs::read(root.join(swap)).unwrap());
    assert!(manager(&root).verify("latest", Level::Deep).unwrap().ok);
}

#[test]
fn a_name_that_a_manifest_cannot_hold_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    for place in ["", "orders-0"] {
        let (_temp, root) = fixtures::unpack("plain-clean");
        let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
        fs::write(root.join(place).join(name), b"").unwrap();
        let refused = manager(&root).create().run().unwrap_err();
        assert_eq!(refused.kind(), Kind::Validation, "{refused}");
        assert!(refused.to_string().contains("UTF-8") && refused.to_string().contains("caf"), "{refused}");
        assert!(manager(&root).list().unwrap().is_empty());
    }
}

#[test]
fn files_that_a_broker_would_not_take_are_kept_and_told_of() {
    let (temp, root) = fixtures::unpack("plain-clean");
    let broken = b"0\n9\norders 0 10000\n";
    fs::write(root.join("replication-offset-checkpoint"), broken).unwrap();
    fs::write(root.join("orders-0/leader-epoch-checkpoint"), b"zero").unwrap();
    fs::remove_file(root.join("orders-1/partition.metadata")).unwrap();
    let (manager, heard) = listening(&root);
    let created = manager.create().run().unwrap();
    let warned = heard.lock().unwrap().clone();
    assert!(warned.iter().any(|w| w.contains("replication-offset-checkpoint") && w.contains("9")), "{warned:?}");
    assert!(warned.iter().any(|w| w.contains("orders-1") && w.contains("stray")), "{warned:?}");
    assert!(warned.iter().all(|w| !w.contains("offsets-")), "{warned:?}");
    assert_eq!(created.snapshot.methods.get(&Method::Hardlink), None, "without a high watermark nothing is linked");
    assert_eq!(fs::read(created.snapshot.path.join("replication-offset-checkpoint")).unwrap(), broken);
    assert!(manager.verify("latest", Level::Deep).unwrap().ok);
    let target = temp.path().join("restored");
    manager.restore_id("latest", RestoreOptions::to(&target)).unwrap();
    assert_eq!(fs::read(target.join("replication-offset-checkpoint")).unwrap(), broken);
    let told = heard.lock().unwrap()[warned.len()..].join("\n");
    assert!(told.contains("orders-0/leader-epoch-checkpoint") && told.contains("orders-1"), "{told}");
}

#[test]
fn a_running_broker_is_known_by_its_lock() {
    let (_temp, root) = fixtures::unpack("plain-clean");
    fs::write(root.join(".lock"), b"").unwrap();
    let taken = manager(&root).create().run().unwrap();
    assert!(taken.left_out.iter().any(|l| l.path == ".lock"), "the file without a lock means nothing");
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "inventory::holder_of_a_brokers_lock", "--nocapture"])
        .env("COWLOG_TEST_HOLD_LOCK", &root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(holder.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("locked") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut out, &mut line).unwrap(), 0, "the holder ended");
    }
    let left_out = |created: &Created| created.left_out.iter().map(|l| l.path.clone()).collect::<Vec<_>>();
    assert!(!left_out(&taken).contains(&".kafka_cleanshutdown".to_owned()), "it was stopped then");
    let live = manager(&root).create().run().unwrap();
    assert!(left_out(&live).contains(&".kafka_cleanshutdown".to_owned()), "{:?}", live.left_out);
    let of_one = manager(&root.join("orders-0")).create().run().unwrap();
    assert_eq!(of_one.snapshot.log_end_offset, Some(10000));
    // Nothing is put into the place of what it has open.
    let onto = RestoreOptions::replace();
    let refused = manager(&root).restore_id(&live.snapshot.id, onto).unwrap_err();
    assert_eq!(refused.kind(), Kind::Concurrency, "{refused}");
    assert!(refused.to_string().contains(&format!("process {}", holder.id())), "{refused}");
    // What has been taken can be verified all the same.
    assert!(manager(&root).verify("latest", Level::Deep).unwrap().ok);
    holder.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(holder.wait().unwrap().success());
    manager(&root).create().run().unwrap();
}

/// Not a test: the process that holds the lock, as a JVM's `FileChannel.lock` does.
#[test]
fn holder_of_a_brokers_lock() {
    let Some(path) = std::env::var_os("COWLOG_TEST_HOLD_LOCK") else { return };
    let data = std::path::PathBuf::from(path);
    let _lock = crate::broker_lock::hold(&data);
    println!("\nlocked");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}
