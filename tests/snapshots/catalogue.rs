//! What create writes into the catalogue, which it reads once, before anything is shared.

use std::sync::Mutex;

use cowlog::store::Catalogue;

use super::*;

/// The ids that `snapshots.json` names, whatever is there.
fn named(log: &Path) -> Vec<String> {
    let bytes = fs::read(log.join(".snapshots/snapshots.json")).unwrap();
    Catalogue::parse(&bytes).unwrap().snapshots.iter().map(|r| r.id.to_string()).collect()
}

fn listed(snaps: &SnapshotManager) -> Vec<String> {
    snaps.list().unwrap().into_iter().map(|s| s.id).collect()
}

#[test]
fn a_create_puts_right_what_the_catalogue_says_of_others() {
    let (_temp, log) = temp();
    make_log(&log, 50);
    let snaps = manager(&log);
    let path = log.join(".snapshots/snapshots.json");
    snaps.create().run().unwrap();
    let of_one = fs::read(&path).unwrap();
    let second = snaps.create().run().unwrap().snapshot;
    // As if whoever made the second one had died before it was written.
    fs::write(&path, of_one).unwrap();
    snaps.create().run().unwrap();
    assert_eq!(named(&log), listed(&snaps));
    assert_eq!(named(&log).len(), 3);
    fs::remove_dir_all(&second.path).unwrap();
    snaps.create().run().unwrap();
    assert_eq!(named(&log), listed(&snaps));
    assert!(!named(&log).contains(&second.id));
    for catalogue in [None, Some(&b"{"[..])] {
        match catalogue {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        snaps.create().run().unwrap();
        assert_eq!(named(&log), listed(&snaps), "{catalogue:?}");
    }
}

/// Does something once, after the catalogue was read and before it is written.
fn once_synced(meanwhile: impl FnOnce() + Send + 'static) -> Observer {
    let meanwhile = Mutex::new(Some(meanwhile));
    Observer::new(move |event| {
        let due = matches!(event, Event::Phase { name: "sync", .. }).then(|| meanwhile.lock().unwrap().take());
        if let Some(Some(meanwhile)) = due {
            meanwhile();
        }
    })
}

/// Creates one while another does something.
fn create_while(log: &Path, meanwhile: impl FnOnce() + Send + 'static) -> String {
    let config =
        SnapshotConfig { observer: once_synced(meanwhile), min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    SnapshotManager::open_with(log, config).unwrap().create().run().unwrap().snapshot.id
}

#[test]
fn what_others_do_while_one_is_taken_stands_in_the_catalogue() {
    let (_temp, log) = temp();
    make_log(&log, 50);
    let snaps = manager(&log);
    let first = snaps.create().run().unwrap().snapshot;
    let second = snaps.create().run().unwrap().snapshot;
    let of = log.clone();
    let gone = first.id.clone();
    let third = create_while(&log, move || drop(manager(&of).delete(&gone).unwrap()));
    assert_eq!(named(&log), [second.id.clone(), third.clone()]);
    let of = log.clone();
    let fifth = create_while(&log, move || drop(manager(&of).create().run().unwrap()));
    assert_eq!(named(&log), listed(&snaps));
    assert!(named(&log).len() == 4 && named(&log).contains(&fifth));
    let (of, pinned) = (log.clone(), second.id.clone());
    create_while(&log, move || drop(manager(&of).set_pinned(&pinned, true).unwrap()));
    let bytes = fs::read(log.join(".snapshots/snapshots.json")).unwrap();
    let catalogue = Catalogue::parse(&bytes).unwrap();
    assert!(catalogue.get(second.id.parse().unwrap()).unwrap().pinned);
    assert_eq!(named(&log), listed(&snaps));
}

#[test]
fn one_that_comes_first_meanwhile_makes_the_other_too_soon() {
    let (_temp, log) = temp();
    make_log(&log, 50);
    let of = log.clone();
    let observer = once_synced(move || drop(manager(&of).create().run().unwrap()));
    let config = SnapshotConfig { observer, min_interval: HOUR, ..SnapshotConfig::default() };
    let e = SnapshotManager::open_with(&log, config).unwrap().create().run().unwrap_err();
    assert!(matches!(e, Error::Concurrency(ConcurrencyError::TooSoon { .. })), "{e}");
    assert_eq!(manager(&log).list().unwrap().len(), 1);
}
