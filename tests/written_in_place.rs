//! A broker that writes in place into files that a snapshot may share, on real filesystems: what it does after an unclean restart
//! (a segment truncated and appended to, indexes written anew) is told apart from a disk that loses bits.

mod fixtures;
mod support;

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use cowlog::SnapshotManager;
use cowlog::snapshot::{Level, VerifyReport};
use support::mounts::{Kind, Mount};

struct Stage {
    data: PathBuf,
    manager: SnapshotManager,
    id: String,
}

impl Stage {
    fn new(mount: &Mount) -> Stage {
        let (_temp, unpacked) = fixtures::unpack("plain-clean");
        let data = mount.path().join("data");
        let copied = Command::new("cp").args(["-a", "--sparse=always"]).arg(&unpacked).arg(&data).status().unwrap();
        assert!(copied.success());
        let manager = SnapshotManager::open(&data).unwrap();
        let id = manager.create().run().unwrap().snapshot.id;
        Stage { data, manager, id }
    }

    /// The second segment of a partition: sealed.
    fn segment(&self) -> PathBuf {
        let logs = fs::read_dir(self.data.join("orders-0")).unwrap().map(|e| e.unwrap().path());
        let mut logs: Vec<_> = logs.filter(|p| p.extension().is_some_and(|e| e == "log")).collect();
        logs.sort();
        logs[1].clone()
    }

    fn in_snapshot(&self, path: &Path) -> PathBuf {
        let info = self.manager.get(&self.id).unwrap();
        Path::new(&info.path).join(path.strip_prefix(&self.data).unwrap())
    }

    fn verify(&self, level: Level) -> VerifyReport {
        self.manager.verify(&self.id, level).unwrap()
    }

    /// The only damage there is, and what it is called.
    #[track_caller]
    fn told(&self, level: Level) -> String {
        let report = self.verify(level);
        assert!(!report.ok);
        assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
        let damage = &report.damage[0];
        assert!(self.segment().ends_with(&damage.path), "{damage:?}");
        damage.detail.clone()
    }
}

fn truncate(path: &Path, by: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - by).unwrap();
}

fn segment_name(path: &Path) -> String {
    format!("segment {} of orders-0", path.file_stem().unwrap().to_str().unwrap().trim_start_matches('0'))
}

#[test]
fn what_a_broker_writes_into_a_hard_link_is_told_apart_from_rot() {
    let Some(mount) = Mount::new(Kind::Ext4) else { return };
    let stage = Stage::new(&mount);
    let segment = stage.segment();
    let kept = stage.in_snapshot(&segment);
    assert_eq!(fs::metadata(&segment).unwrap().ino(), fs::metadata(&kept).unwrap().ino(), "no hard link");
    let whole = fs::read(&segment).unwrap();
    let time = fs::metadata(&segment).unwrap().modified().unwrap();
    let mend = || {
        let file = File::options().write(true).open(&segment).unwrap();
        file.set_len(whole.len() as u64).unwrap();
        file.write_all_at(&whole, 0).unwrap();
        file
    };

    // An index that is written anew and has the same bytes in the end.
    let index = segment.with_extension("index");
    let bytes = fs::read(&index).unwrap();
    let file = File::options().write(true).open(&index).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    assert!(stage.verify(Level::Deep).ok);

    truncate(&segment, 1000);
    for level in [Level::Quick, Level::Full] {
        let told = stage.told(level);
        assert!(told.contains("truncated it in place") && told.contains(&segment_name(&segment)), "{told}");
    }
    let refused = stage.manager.verified(&stage.id).unwrap_err();
    assert!(format!("{refused:?}").contains("truncated it in place"), "{refused:?}");

    // Truncated, and appended to up to the same size.
    File::options().write(true).open(&segment).unwrap().write_all_at(&[7; 1000], whole.len() as u64 - 1000).unwrap();
    let told = stage.told(Level::Full);
    assert!(told.contains("rewrote it in place") && told.contains(&segment_name(&segment)), "{told}");
    File::options().write(true).open(&segment).unwrap().write_all_at(&[7; 500], whole.len() as u64).unwrap();
    assert!(stage.told(Level::Full).contains("went on writing"), "{}", stage.told(Level::Full));

    // The same bytes again are no damage, whatever the time stamps say.
    mend();
    assert!(stage.verify(Level::Deep).ok);

    // A disk that loses a bit moves no time stamp.
    let file = mend();
    file.write_all_at(&[whole[5000] ^ 1], 5000).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
    let told = stage.told(Level::Full);
    assert!(told.contains("the disk lost bits") && !told.contains("truncated") && !told.contains("rewrote"), "{told}");
}

#[test]
fn a_reflink_is_out_of_reach() {
    for kind in [Kind::Xfs, Kind::Btrfs] {
        let Some(mount) = Mount::new(kind) else { continue };
        let stage = Stage::new(&mount);
        let segment = stage.segment();
        for name in fs::read_dir(stage.data.join("orders-0")).unwrap().map(|e| e.unwrap().path()) {
            let file = File::options().write(true).open(&name).unwrap();
            file.write_all_at(b"written in place", 0).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }
        let report = stage.verify(Level::Deep);
        assert!(report.ok, "{kind}: {:?}", report.damage);

        // What happens to it all the same is not the broker's doing.
        let kept = stage.in_snapshot(&segment);
        let byte = fs::read(&kept).unwrap()[5000];
        File::options().write(true).open(&kept).unwrap().write_all_at(&[byte ^ 1], 5000).unwrap();
        let told = stage.told(Level::Full);
        assert!(told.contains("no writer could reach"), "{kind}: {told}");
    }
}
