//! Snapshots of several directories of one broker of which a part has gone.

mod fixtures;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cowlog::error::{ConcurrencyError, Error};
use cowlog::fs::Clock;
use cowlog::snapshot::{SnapshotConfig, SnapshotManager};

const HOUR: i64 = 60 * 60 * 1000;

struct Broker {
    _temp: tempfile::TempDir,
    dirs: [PathBuf; 2],
    now: Arc<Mutex<i64>>,
}

impl Broker {
    fn new() -> Self {
        let (_temp, first) = fixtures::unpack("plain-clean");
        let second = first.with_file_name("second");
        fs::create_dir(&second).unwrap();
        fs::copy(first.join("meta.properties"), second.join("meta.properties")).unwrap();
        fs::rename(first.join("orders-1"), second.join("orders-1")).unwrap();
        Broker { _temp, dirs: [first, second], now: Arc::new(Mutex::new(1_795_444_200_000)) }
    }

    fn pass(&self, ms: i64) {
        *self.now.lock().unwrap() += ms;
    }

    fn managers(&self) -> [SnapshotManager; 2] {
        [0, 1].map(|at| {
            let now = self.now.clone();
            let config =
                SnapshotConfig { clock: Clock::new(move || *now.lock().unwrap()), ..SnapshotConfig::default() };
            SnapshotManager::open_with(&self.dirs[at], config).unwrap()
        })
    }

    fn create(&self) -> Result<String, Error> {
        let [first, second] = self.managers();
        Ok(first.create().with(&second).run_all()?[0].snapshot.id.clone())
    }

    fn part(&self, at: usize, id: &str) -> PathBuf {
        Path::new(&format!("{}.snapshots", self.dirs[at].display())).join(id)
    }
}

#[test]
fn an_incomplete_one_does_not_put_off_the_next() {
    let broker = Broker::new();
    let whole = broker.create().unwrap();
    broker.pass(1);
    let too_soon = broker.create().unwrap_err();
    assert!(matches!(too_soon, Error::Concurrency(ConcurrencyError::TooSoon { .. })), "{too_soon}");
    fs::remove_dir_all(broker.part(1, &whole)).unwrap();
    assert!(broker.managers()[0].list().unwrap()[0].incomplete.is_some());
    broker.create().unwrap();
}

#[test]
fn an_incomplete_one_pushes_out_nothing() {
    let broker = Broker::new();
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(broker.create().unwrap());
        broker.pass(HOUR);
    }
    let removed = || -> Vec<String> {
        broker.managers()[0].plan_cleanup().unwrap().removals().map(|step| step.id.to_string()).collect()
    };
    assert_eq!(removed(), [ids[1].clone(), ids[0].clone()], "five stay");
    for id in &ids[4..] {
        fs::remove_dir_all(broker.part(1, id)).unwrap();
    }
    assert_eq!(removed(), [""; 0], "of four whole ones none is too much");
    fs::remove_dir_all(broker.dirs[1].with_file_name("second.snapshots")).unwrap();
    broker.pass(30 * 24 * HOUR);
    assert_eq!(removed().len(), 6, "where none is whole the newest stays");
    assert!(!removed().contains(&ids[6]));
}
