//! A filesystem that goes down under a machine that goes on: what was said to be durable is durable.

mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use cowlog::fs::{Dir, Open};
use support::env_number;
use support::mounts::Kind;
use support::power::PowerRig;

/// On XFS an `fdatasync` that a shutdown comes between can return `Ok` although the new size is lost.
#[test]
fn a_sync_that_returned_ok_while_xfs_went_down_was_one() {
    let Some(mut rig) = PowerRig::new(Kind::Xfs) else { return };
    let (mut synced, mut refused) = (0, 0);
    for round in 0..env_number("COWLOG_SHUTDOWNS", 60) {
        let acknowledged: [AtomicU64; 6] = Default::default();
        let off = std::thread::scope(|threads| {
            let dir = Dir::open(rig.path()).expect("the mount");
            for (n, acknowledged) in acknowledged.iter().enumerate() {
                let file = dir.open_file(format!("file-{n}"), Open::OpenOrCreate(0o600)).expect("a file");
                file.set_len(0).expect("it is emptied");
                threads.spawn(move || {
                    let block = [7; 512];
                    for i in 1.. {
                        if file.write_all_at(&block, (i - 1) * 512).and_then(|()| file.sync_data()).is_err() {
                            return;
                        }
                        acknowledged.store(i * 512, Ordering::SeqCst);
                    }
                });
            }
            drop(dir);
            std::thread::sleep(std::time::Duration::from_millis(5 + round % 20));
            rig.cut()
        });
        rig.restart(off);
        for (n, acknowledged) in acknowledged.iter().enumerate() {
            let acknowledged = acknowledged.load(Ordering::SeqCst);
            let len = std::fs::metadata(rig.path().join(format!("file-{n}"))).map_or(0, |m| m.len());
            assert!(
                len >= acknowledged,
                "round {round}: {acknowledged} bytes were said to be durable, {len} are there"
            );
            synced += acknowledged / 512;
            refused += 1;
        }
    }
    eprintln!("{synced} syncs, {refused} of them the last ones");
    assert!(synced > refused, "hardly anything was synced");
}
