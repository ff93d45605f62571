//! What is restored takes the place of what is there, which is kept, and comes back by `undo`.

mod fixtures;
mod native;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlog::error::{ConcurrencyError, Error, ValidationError};
use cowlog::fs::{Dir, Rename};
use cowlog::observe::{Event, Observer};
use cowlog::snapshot::{Level, Policy, RestoreOptions, SnapshotConfig, SnapshotManager};
use cowlog::store::{Scope, UndoState};
use cowlog::{Log, LogReader};
use native::{append, content, make_log, manager, open_log, temp};
use support::mounts::{Kind, Mount};
use support::process::contents;

fn quick(source: &Path) -> SnapshotManager {
    let config = SnapshotConfig {
        min_interval: Duration::ZERO,
        lock_timeout: Duration::from_millis(50),
        ..SnapshotConfig::default()
    };
    SnapshotManager::open_with(source, config).unwrap()
}

/// The names in a directory, hidden ones included.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All files of a log but for locks and its store.
fn files(log: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = contents(log);
    files.retain(|name, _| !name.contains(".snapshots/") && !name.ends_with(".lock"));
    files
}

fn add(log: &Path, count: usize) {
    let mut log = open_log(log);
    append(&mut log, count);
    log.close().unwrap();
}

#[track_caller]
fn refused(result: cowlog::Result<impl std::fmt::Debug>) -> (String, String) {
    let e = result.unwrap_err();
    assert!(matches!(e, Error::Validation(_)), "{e}");
    (e.to_string(), e.hint().unwrap_or_default())
}

#[test]
fn a_log_is_replaced_and_comes_back() {
    let (temp, log) = temp();
    make_log(&log, 100);
    let snaps = manager(&log);
    let id = snaps.create().run().unwrap().snapshot.id;
    let old = content(&log);
    add(&log, 30);
    let grown = files(&log);
    fs::set_permissions(&log, fs::Permissions::from_mode(0o750)).unwrap();

    let restored = snaps.restore_id(&id, RestoreOptions::replace()).unwrap();
    let replaced = restored.replaced.unwrap();
    assert_eq!((restored.target.as_path(), restored.end_offset, replaced.offsets), (log.as_path(), Some(100), 30));
    assert_eq!(content(&log), old);
    assert_eq!(files(&replaced.kept.join("dirs/whole")), grown, "it is kept as it was");
    // The store is in the log that is in place, and works.
    assert!(snaps.verify(&id, Level::Deep).unwrap().ok);
    assert_eq!(names(temp.path()), [format!(".orders-0.{}", replaced.undo), "orders-0".into()]);
    // The log goes on, and so do snapshots of it.
    add(&log, 5);
    let second = snaps.create().run().unwrap().snapshot.id;
    let branch = content(&log);

    let undone = snaps.undo().unwrap();
    assert_eq!(
        (undone.state, undone.id.as_str(), undone.snapshot.as_str()),
        (UndoState::Undone, replaced.undo.as_str(), id.as_str())
    );
    assert_eq!(files(&log), grown);
    assert_eq!(fs::metadata(&log).unwrap().mode() & 0o777, 0o750);
    assert_eq!(content(&replaced.kept.join("dirs/whole")), branch, "what was written meanwhile is kept");
    assert_eq!(snaps.list().unwrap().len(), 2);
    assert!(snaps.verify(&second, Level::Deep).unwrap().ok);
    // There is no more to undo, which is said.
    let (what, hint) = refused(snaps.undo());
    assert!(what.contains("has been undone") && hint.contains(&replaced.undo), "{what}; {hint}");
    // The other branch is in a snapshot too.
    snaps.restore_id(&second, RestoreOptions::replace()).unwrap();
    assert_eq!(content(&log), branch);
    assert_eq!(LogReader::open(&log).unwrap().log_end(), 105);
}

#[test]
fn the_newest_is_undone_first_and_kept_until_it_is_discarded() {
    let (temp, log) = temp();
    make_log(&log, 20);
    let snaps = manager(&log);
    let id = snaps.create().run().unwrap().snapshot.id;
    let mut states = Vec::new();
    for _ in 0..3 {
        add(&log, 7);
        states.push(content(&log));
        snaps.restore_id(&id, RestoreOptions::replace()).unwrap();
    }
    let listed = snaps.undo_list().unwrap();
    assert_eq!(listed.len(), 3);
    assert!(listed.windows(2).all(|two| two[0].id < two[1].id), "{listed:?}");
    for state in states.into_iter().rev() {
        snaps.undo().unwrap();
        assert_eq!(content(&log), state);
    }
    let listed = snaps.undo_list().unwrap();
    assert!(listed.iter().all(|e| e.state == UndoState::Undone && e.bytes > 0 && e.path.is_dir()), "{listed:?}");
    // Nothing that cleans up takes them.
    snaps.prune(&snaps.plan_prune(&Policy { max_snapshots: 1, ..Policy::default() }).unwrap()).unwrap();
    snaps.repair(None).unwrap();
    assert_eq!(snaps.undo_list().unwrap(), listed);
    for entry in &listed {
        assert_eq!(&snaps.undo_discard(&entry.id).unwrap(), entry);
        refused(snaps.undo_discard(&entry.id));
    }
    assert_eq!(names(temp.path()), ["orders-0"]);
    let (what, _) = refused(snaps.undo());
    assert!(what.contains("nothing"), "{what}");
}

#[test]
fn a_log_that_is_open_is_left_alone() {
    let (temp, log) = temp();
    make_log(&log, 20);
    let snaps = quick(&log);
    let id = snaps.create().run().unwrap().snapshot.id;
    let mut writer = open_log(&log);
    append(&mut writer, 5);
    let before = contents(&log);
    let e = snaps.restore_id(&id, RestoreOptions::replace()).unwrap_err();
    assert!(
        matches!(&e, Error::Concurrency(ConcurrencyError::Locked { path, .. }) if *path == log.join(".lock")),
        "{e}"
    );
    assert!(e.to_string().contains("a writer"), "{e}");
    assert_eq!((contents(&log), names(temp.path())), (before, vec!["orders-0".to_owned()]));
    writer.close().unwrap();
    snaps.restore_id(&id, RestoreOptions::replace()).unwrap();
    // And neither is it undone under a writer.
    let writer = open_log(&log);
    let e = snaps.undo().unwrap_err();
    assert!(matches!(e, Error::Concurrency(ConcurrencyError::Locked { .. })), "{e}");
    drop(writer);
    let _cut_held = { open_log(&log).cut().unwrap() };
    let e = snaps.undo().unwrap_err();
    assert!(e.to_string().contains("snapshot"), "{e}");
}

/// A cut, a broken snapshot, and one of something else.
#[test]
fn only_what_is_whole_and_fits_takes_the_place() {
    let (temp, log) = temp();
    make_log(&log, 60);
    let snaps = manager(&log);
    let id = snaps.create().run().unwrap().snapshot.id;
    let restored = snaps.restore_id(&id, RestoreOptions::replace().until_offset(40)).unwrap();
    assert_eq!((restored.end_offset, LogReader::open(&log).unwrap().log_end()), (Some(40), 40));
    snaps.undo().unwrap();
    let before = files(&log);
    let victim = log.join(".snapshots").join(&id).join(format!("{:020}.log", 0));
    let mut bytes = fs::read(&victim).unwrap();
    bytes[70] ^= 1;
    fs::remove_file(&victim).unwrap();
    fs::write(&victim, bytes).unwrap();
    let e = snaps.restore_id(&id, RestoreOptions::replace()).unwrap_err();
    assert!(matches!(e, Error::Integrity(_)), "{e}");
    assert_eq!(files(&log), before);
    assert_eq!(names(temp.path()).len(), 2, "the undone entry and the log");

    // A data directory, and partitions of it.
    let data = temp.path().join("data");
    for partition in ["a-0", "a-1", "b-0"] {
        make_log(&data.join(partition), 20);
    }
    let all = manager(&data);
    let whole = all.create().run().unwrap().snapshot.id;
    let part = all.part(Scope::Partition { topic: "a".into(), partition: 1 }).unwrap();
    let one = part.create().run().unwrap().snapshot.id;
    let before = contents(&data);
    let (what, hint) = refused(all.restore_id(&one, RestoreOptions::replace()));
    assert!(what.contains("a-1") && hint.contains("--partition"), "{what}; {hint}");
    let (what, _) = refused(all.restore_id(&whole, RestoreOptions::into_data_dir(&data)));
    assert!(what.contains("all of"), "{what}");
    assert!(contents(&data) == before);
    assert_eq!(names(&data), ["a-0", "a-1", "b-0"]);
}

#[test]
fn a_data_directory_is_replaced_whole_and_what_it_held_is_kept_outside() {
    let (temp, data) = fixtures::unpack("plain-clean");
    let snaps = manager(&data);
    let id = snaps.create().run().unwrap().snapshot.id;
    // A broker's lock is not part of a snapshot, and is made to keep brokers out.
    let now = || {
        let mut now = contents(&data);
        now.remove(".lock");
        now
    };
    let before = now();
    fs::remove_dir_all(data.join("orders-0")).unwrap();
    fs::write(data.join("orders-1/stranger"), "").unwrap();
    let changed = now();
    let restored = snaps.restore_id(&id, RestoreOptions::replace()).unwrap();
    let kept = restored.replaced.unwrap().kept;
    assert!(kept.starts_with(temp.path().join("plain-clean.snapshots")), "in the store, which is beside it: {kept:?}");
    assert!(now() == before);
    assert_eq!(snaps.list().unwrap().len(), 1);
    snaps.undo().unwrap();
    assert!(now() == changed);
    for entry in snaps.undo_list().unwrap() {
        snaps.undo_discard(&entry.id).unwrap();
    }
    assert!(!kept.exists());
    assert!(snaps.verify(&id, Level::Full).unwrap().ok);
}

/// Crashed between the exchange and the move of the store: whoever comes next finds the store.
#[test]
fn the_store_is_found_after_a_crash_in_the_middle() {
    let (temp, log) = temp();
    make_log(&log, 20);
    let snaps = manager(&log);
    let id = snaps.create().run().unwrap().snapshot.id;
    add(&log, 3);
    let kept = snaps.restore_id(&id, RestoreOptions::replace()).unwrap().replaced.unwrap().kept;
    // As it was in the middle: the journal of then, and the store still in the old log.
    let undo_to = |state: &str| {
        let text = fs::read_to_string(kept.join("undo.json")).unwrap();
        let body = text[text.find("\"body\":").unwrap() + 7..text.rfind('}').unwrap()].to_owned();
        let body = body.replace("\"state\":\"replaced\"", &format!("\"state\":\"{state}\""));
        let checksum = blake3::hash(body.as_bytes());
        fs::write(kept.join("undo.json"), format!("{{\"checksum\":\"{checksum}\",\"body\":{body}}}")).unwrap();
    };
    let root = Dir::open(&log).unwrap();
    root.rename(".snapshots", &Dir::open(kept.join("dirs/whole")).unwrap(), ".snapshots", Rename::NoReplace).unwrap();
    undo_to("replacing");
    // A writer is no hindrance.
    let writer = open_log(&log);
    let listed: Vec<String> = manager(&log).list().unwrap().into_iter().map(|s| s.id).collect();
    assert_eq!(listed, std::slice::from_ref(&id));
    drop(writer);
    assert_eq!(manager(&log).undo_list().unwrap()[0].state, UndoState::Replaced);
    // And a manager that was opened before all of that.
    root.rename(".snapshots", &Dir::open(kept.join("dirs/whole")).unwrap(), ".snapshots", Rename::NoReplace).unwrap();
    undo_to("replacing");
    snaps.create().run().unwrap();
    assert_eq!(snaps.list().unwrap().len(), 2);
    assert_eq!(names(temp.path()).len(), 2);
}

#[test]
fn what_is_taken_out_is_told_of() {
    let (_temp, log) = temp();
    make_log(&log, 20);
    let id = manager(&log).create().run().unwrap().snapshot.id;
    add(&log, 12);
    let said = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let to = said.clone();
    let observer = Observer::new(move |event| {
        if let Event::Warning(text) = event {
            to.lock().unwrap().push(text.to_string());
        }
    });
    let snaps = SnapshotManager::open_with(&log, SnapshotConfig { observer, ..SnapshotConfig::default() }).unwrap();
    snaps.restore_id(&id, RestoreOptions::replace()).unwrap();
    let said = said.lock().unwrap();
    assert!(said.iter().any(|text| text.contains("12 offsets")), "{said:?}");
}

/// A partition of a data directory whose snapshots are in its store: what is kept is not put among the partitions.
#[test]
fn a_partition_is_replaced_alone() {
    let (temp, data) = (tempfile::tempdir().unwrap(), "data");
    let data = temp.path().join(data);
    for partition in ["a-0", "a-1", "b-0"] {
        make_log(&data.join(partition), 20);
    }
    manager(&data).create().run().unwrap();
    let old: BTreeMap<&str, Vec<u8>> = ["a-0", "a-1", "b-0"].map(|p| (p, content(&data.join(p)))).into();
    for part in old.keys() {
        add(&data.join(part), 4);
    }
    let grown: BTreeMap<&str, Vec<u8>> = ["a-0", "a-1", "b-0"].map(|p| (p, content(&data.join(p)))).into();
    let part = Scope::Partition { topic: "a".into(), partition: 1 };
    let snaps = manager(&data);
    let kept = snaps.restore_part("latest", &part, RestoreOptions::replace()).unwrap().replaced.unwrap().kept;
    assert!(!kept.starts_with(&data), "{kept:?}");
    assert_eq!(names(&data), ["a-0", "a-1", "b-0"]);
    assert_eq!(content(&data.join("a-1")), old["a-1"]);
    assert_eq!(content(&data.join("a-0")), grown["a-0"]);
    // All of the topic, as one.
    let topic = Scope::Topic("a".into());
    snaps.restore_part("latest", &topic, RestoreOptions::into_data_dir(&data)).unwrap();
    assert_eq!(content(&data.join("a-0")), old["a-0"]);
    assert_eq!(content(&data.join("b-0")), grown["b-0"]);
    // By the name of a partition only what was of it alone.
    let one = manager(&data.join("a-1"));
    let (what, hint) = refused(one.undo());
    assert!(what.contains("more than that") && hint.contains(data.to_str().unwrap()), "{what}; {hint}");
    let undone = snaps.undo().unwrap();
    assert_eq!(undone.partitions, ["a-0", "a-1"]);
    assert_eq!(content(&data.join("a-0")), grown["a-0"]);
    assert_eq!(content(&data.join("a-1")), old["a-1"], "the first replacement is in place again");
    one.undo().unwrap();
    assert_eq!(content(&data.join("a-1")), grown["a-1"]);
    // One that is gone is put there, and undo takes it out again.
    fs::remove_dir_all(data.join("b-0")).unwrap();
    let part = Scope::Partition { topic: "b".into(), partition: 0 };
    snaps.restore_part("latest", &part, RestoreOptions::into_data_dir(&data)).unwrap();
    assert_eq!(content(&data.join("b-0")), old["b-0"]);
    snaps.undo().unwrap();
    assert_eq!(names(&data), ["a-0", "a-1"]);
}

#[test]
fn a_mount_point_is_told_apart() {
    let Some(mount) = Mount::new(Kind::Ext4) else { return };
    let log: PathBuf = mount.path().into();
    let store = tempfile::tempdir().unwrap();
    {
        let mut log = Log::open(&log).unwrap();
        append(&mut log, 10);
        log.close().unwrap();
    }
    let config = SnapshotConfig { store: Some(store.path().join("s")), ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&log, config).unwrap();
    let id = snaps.create().run().unwrap().snapshot.id;
    let before = contents(&log);
    let (what, hint) = refused(snaps.restore_id(&id, RestoreOptions::replace()));
    assert!(what.contains("mount point") && hint.contains("--to"), "{what}; {hint}");
    assert_eq!(contents(&log), before);
    // Partitions in one have no place outside of it.
    let data = mount.path().join("orders-0");
    make_log(&data, 10);
    let config = SnapshotConfig { store: Some(store.path().join("t")), ..SnapshotConfig::default() };
    fs::remove_file(mount.path().join("checkpoint.json")).unwrap();
    for entry in names(mount.path()).into_iter().filter(|n| n.starts_with('0')) {
        fs::remove_file(mount.path().join(entry)).unwrap();
    }
    let snaps = SnapshotManager::open_with(mount.path(), config).unwrap();
    let id = snaps.create().run().unwrap().snapshot.id;
    let part = Scope::Partition { topic: "orders".into(), partition: 0 };
    let (what, _) = refused(snaps.restore_part(&id, &part, RestoreOptions::replace()));
    assert!(what.contains("mount point"), "{what}");
}

#[test]
fn what_is_kept_has_to_be_moved_before_its_store_could_be_discarded() {
    let (_temp, log) = temp();
    make_log(&log, 20);
    let snaps = manager(&log);
    let id = snaps.create().run().unwrap().snapshot.id;
    let replaced = snaps.restore_id(&id, RestoreOptions::replace()).unwrap().replaced.unwrap();
    let stray = replaced.kept.join("dirs/whole/.snapshots");
    fs::create_dir(&stray).unwrap();
    let e = snaps.undo_discard(&replaced.undo).unwrap_err();
    assert!(
        matches!(&e, Error::Validation(ValidationError::Refused { path: Some(path), .. }) if *path == stray),
        "{e}"
    );
    fs::remove_dir(&stray).unwrap();
    snaps.undo_discard(&replaced.undo).unwrap();
}

/// The most common disaster: the files are gone, with a shell's `*` or with the directory.
#[test]
fn an_emptied_log_and_one_that_is_gone_are_replaced_and_undone() {
    let (temp, log) = temp();
    make_log(&log, 30);
    let snaps = quick(&log);
    let id = snaps.create().run().unwrap().snapshot.id;
    let old = content(&log);
    add(&log, 5);
    // `rm orders-0/*` leaves what begins with a dot.
    let empty = |keep: &[&str]| {
        for name in names(&log).into_iter().filter(|name| !keep.contains(&name.as_str())) {
            fs::remove_file(log.join(name)).unwrap();
        }
    };
    for keep in [&[".snapshots", ".lock", ".segments.lock"][..], &[".snapshots"], &[".snapshots", INDEX]] {
        empty(keep);
        let left = names(&log);
        let snaps = quick(&log);
        let replaced = snaps.restore_id(&id, RestoreOptions::replace()).unwrap().replaced.unwrap();
        assert_eq!((content(&log), replaced.offsets), (old.clone(), 0), "{keep:?}");
        assert!(snaps.verify(&id, Level::Deep).unwrap().ok);
        let mut kept = names(&replaced.kept.join("dirs/whole"));
        kept.retain(|name| !name.ends_with(".lock"));
        assert_eq!(kept, left.into_iter().filter(|n| n.starts_with('0')).collect::<Vec<_>>(), "{keep:?}");
        // Back and forth, and it goes on.
        snaps.undo().unwrap();
        assert!(!log.join("checkpoint.json").exists());
        snaps.restore_id(&id, RestoreOptions::replace()).unwrap();
        add(&log, 2);
        snaps.create().run().unwrap();
    }
    // And it is undone where the files of what was restored are gone.
    let grown = files(&log);
    snaps.restore_id(&id, RestoreOptions::replace()).unwrap();
    empty(&[".snapshots", ".lock", ".segments.lock"]);
    snaps.undo().unwrap();
    assert_eq!(files(&log), grown);
    assert!(snaps.verify(&id, Level::Deep).unwrap().ok);
    // `rm -rf orders-0` takes the store with it. What replacements took out lies beside.
    snaps.restore_id(&id, RestoreOptions::replace()).unwrap();
    fs::remove_dir_all(&log).unwrap();
    let e = quick(&log).restore_id(&id, RestoreOptions::replace()).unwrap_err();
    assert!(e.is_not_found() && e.to_string().contains("gone with it"), "{e}");
    assert!(e.hint().unwrap().contains("backup") && e.hint().unwrap().contains("undo --list"), "{e}");
    quick(&log).undo().unwrap();
    assert_eq!(files(&log), grown);
    assert!(names(temp.path()).iter().all(|name| name == "orders-0" || name.starts_with(".orders-0.undo-")));
}

const INDEX: &str = "00000000000000000000.index";

/// The store is beside it, so that it outlives everything.
#[test]
fn a_data_directory_that_lost_its_partitions_is_replaced() {
    let (_temp, data) = fixtures::unpack("plain-clean");
    let snaps = quick(&data);
    let id = snaps.create().run().unwrap().snapshot.id;
    let mut before = contents(&data);
    before.retain(|name, _| name != ".lock");
    fs::remove_dir_all(&data).unwrap();
    quick(&data).restore_id(&id, RestoreOptions::replace()).unwrap();
    let now = || {
        let mut now = contents(&data);
        now.retain(|name, _| name != ".lock");
        now
    };
    assert!(now() == before);
    quick(&data).undo().unwrap();
    assert!(!data.exists());
    fs::create_dir(&data).unwrap();
    quick(&data).restore_id(&id, RestoreOptions::replace()).unwrap();
    assert!(now() == before);
    // One that is gone comes back by its own name.
    let one = data.join("orders-0");
    for gone in [true, false] {
        fs::remove_dir_all(&one).unwrap();
        if !gone {
            fs::create_dir(&one).unwrap();
        }
        quick(&one).restore_id("latest", RestoreOptions::replace()).unwrap_err();
        let part = Scope::Partition { topic: "orders".into(), partition: 0 };
        quick(&data).restore_part("latest", &part, RestoreOptions::replace()).unwrap();
        assert!(now().keys().eq(before.keys()), "gone: {gone}");
    }
    // All partitions of native logs.
    let (temp, _) = temp();
    let data = temp.path().join("data");
    make_log(&data.join("a-0"), 20);
    let id = quick(&data).create().run().unwrap().snapshot.id;
    let old = content(&data.join("a-0"));
    fs::remove_dir_all(data.join("a-0")).unwrap();
    let part = Scope::Partition { topic: "a".into(), partition: 0 };
    quick(&data).restore_part(&id, &part, RestoreOptions::replace()).unwrap();
    assert_eq!(content(&data.join("a-0")), old);
}

/// Its journal with another body.
fn rewrite(kept: &Path, change: impl Fn(String) -> String) {
    let text = fs::read_to_string(kept.join("undo.json")).unwrap();
    let body = change(text[text.find("\"body\":").unwrap() + 7..text.rfind('}').unwrap()].to_owned());
    let checksum = blake3::hash(body.as_bytes());
    fs::write(kept.join("undo.json"), format!("{{\"checksum\":\"{checksum}\",\"body\":{body}}}")).unwrap();
}

/// A replacement was interrupted with the store among what was taken out, and nobody can tell.
#[test]
fn a_journal_that_cannot_be_believed_is_in_the_way() {
    let (_temp, log) = temp();
    make_log(&log, 20);
    let snaps = manager(&log);
    let id = snaps.create().run().unwrap().snapshot.id;
    add(&log, 3);
    let kept = snaps.restore_id(&id, RestoreOptions::replace()).unwrap().replaced.unwrap().kept;
    let good = fs::read(kept.join("undo.json")).unwrap();
    let out = Dir::open(kept.join("dirs/whole")).unwrap();
    let damages: [(&str, &dyn Fn()); 3] = [
        ("checksum", &|| fs::write(kept.join("undo.json"), "{\"checksum\":\"0\",\"body\":{}}").unwrap()),
        ("newer", &|| {
            rewrite(&kept, |body| body.replace("\"version\":1", "\"version\":99").replace("\"swaps\"", "\"x\""))
        }),
        ("missing", &|| fs::remove_file(kept.join("undo.json")).unwrap()),
    ];
    for (what, damage) in damages {
        fs::write(kept.join("undo.json"), &good).unwrap();
        damage();
        for store_in_place in [true, false] {
            let root = Dir::open(&log).unwrap();
            if !store_in_place {
                root.rename(".snapshots", &out, ".snapshots", Rename::NoReplace).unwrap();
            }
            // One that was opened before: where the store is missing too, opening tells it already.
            for e in [
                snaps.create().run().unwrap_err(),
                snaps.restore_id(&id, RestoreOptions::replace()).unwrap_err(),
                snaps.undo().unwrap_err(),
            ] {
                assert!(e.to_string().contains(what) && e.hint().is_some(), "{what}: {e}; {:?}", e.hint());
            }
            if store_in_place {
                assert_eq!(snaps.list().unwrap().len(), 1);
                assert!(snaps.verify(&id, Level::Deep).unwrap().ok);
                assert_eq!(snaps.get(&id).unwrap().id, id);
            } else {
                assert!(!log.join(".snapshots").exists(), "{what}: no other store is made");
                assert!(snaps.list().is_err(), "{what}");
                out.rename(".snapshots", &root, ".snapshots", Rename::NoReplace).unwrap();
            }
        }
    }
    fs::write(kept.join("undo.json"), &good).unwrap();
    quick(&log).undo().unwrap();
}

/// Partly done, then written to, then taken back: what was written is kept.
#[test]
fn what_was_written_to_while_it_was_in_place_is_not_removed() {
    let (temp, data) = temp();
    let data = {
        drop(data);
        temp.path().join("data")
    };
    for partition in ["a-0", "a-1"] {
        make_log(&data.join(partition), 20);
    }
    let snaps = quick(&data);
    snaps.create().run().unwrap();
    let topic = Scope::Topic("a".into());
    let kept = snaps.restore_part("latest", &topic, RestoreOptions::replace()).unwrap().replaced.unwrap().kept;
    rewrite(&kept, |body| body.replace("\"state\":\"replaced\"", "\"state\":\"replacing\""));
    // Nothing moved, as far as the journal can tell; but one of them was in place, and somebody wrote to it.
    for partition in ["a-0", "a-1"] {
        let (there, out) = (Dir::open(&data).unwrap(), Dir::open(kept.join("dirs")).unwrap());
        there.rename(partition, &out, partition, Rename::Exchange).unwrap();
    }
    add(&kept.join("dirs/a-1"), 4);
    let entries = quick(&data).undo_list().unwrap();
    assert_eq!(entries.iter().map(|e| e.state).collect::<Vec<_>>(), [UndoState::Undone]);
    assert_eq!(LogReader::open(kept.join("dirs/a-1")).unwrap().log_end(), 24);
    // Nobody wrote: it goes.
    let kept = quick(&data).restore_part("latest", &topic, RestoreOptions::replace()).unwrap().replaced.unwrap().kept;
    rewrite(&kept, |body| body.replace("\"state\":\"replaced\"", "\"state\":\"replacing\""));
    for partition in ["a-0", "a-1"] {
        let (there, out) = (Dir::open(&data).unwrap(), Dir::open(kept.join("dirs")).unwrap());
        there.rename(partition, &out, partition, Rename::Exchange).unwrap();
    }
    assert_eq!(quick(&data).undo_list().unwrap().len(), 1);
    assert!(!kept.exists());
}

#[test]
fn a_partition_that_is_a_link_is_told_of() {
    let (temp, _) = temp();
    let data = temp.path().join("data");
    for partition in ["a-0", "a-1"] {
        make_log(&data.join(partition), 20);
    }
    let snaps = quick(&data);
    snaps.create().run().unwrap();
    let elsewhere = temp.path().join("elsewhere");
    fs::rename(data.join("a-1"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, data.join("a-1")).unwrap();
    let (what, hint) = refused(snaps.restore_part("latest", &Scope::Topic("a".into()), RestoreOptions::replace()));
    assert!(what.contains("a-1 is a symbolic link") && hint.contains("move it there"), "{what}; {hint}");
    assert_eq!(names(&data), ["a-0", "a-1"]);
}

/// A directory with a broker's checkpoints is one in which a broker may start, before it has any `meta.properties`.
#[test]
fn what_is_kept_of_a_partition_is_not_put_beside_it_in_a_brokers_directory() {
    let (temp, data) = fixtures::unpack("plain-clean");
    fs::remove_file(data.join("meta.properties")).unwrap();
    let part = data.join("orders-0");
    let config = SnapshotConfig { store: Some(temp.path().join("elsewhere")), ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&part, config).unwrap();
    let id = snaps.create().run().unwrap().snapshot.id;
    fs::write(data.join(".lock"), "").unwrap();
    let before = names(&data);
    let kept = snaps.restore_id(&id, RestoreOptions::replace()).unwrap().replaced.unwrap().kept;
    assert_eq!((names(&data), kept.parent()), (before, data.parent()));
    snaps.undo().unwrap();
}
