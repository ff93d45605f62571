//! A place elsewhere in which one object is not what it was. Whatever it has become: what comes back is what was sent, or
//! nothing does; what is found whole comes back; and `gc` takes nothing that does.
//!
//! An input is which object (one byte, the high bit for the place that is encrypted; 0 `config.json`, 1 `blobs.json`, 2
//! `manifest.b3`, 3 `manifest.json`, 4 `record.json`, and blobs), what happens to it (one byte), and bytes for that.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cowlog::fs::{Clock, Fs, MemFs};
use cowlog::log::LogConfig;
use cowlog::offsite::{
    Compression, GcOptions, Identities, PushOptions, Recipients, Remote, RemoteLevel, RemoteOptions, SourceName,
    Timing, Watch, new_identity,
};
use cowlog::snapshot::{Policy, SnapshotConfig, SnapshotManager};
use cowlog::store::DigestList;
use cowlog::{BatchBuilder, Log};
use futures_util::{FutureExt, TryStreamExt};
use libfuzzer_sys::fuzz_target;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

#[path = "mended.rs"]
mod mended;

/// A place that a snapshot was pushed to.
struct Stage {
    objects: InMemory,
    keys: Vec<Path>,
    identities: Option<Identities>,
    root: String,
}

static PLAIN: LazyLock<Stage> = LazyLock::new(|| stage(None));
static ENCRYPTED: LazyLock<Stage> = LazyLock::new(|| stage(Some(new_identity())));

fn stage(key: Option<(String, String)>) -> Stage {
    let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
    let mut log =
        Log::open_in(fs.clone(), "/log", LogConfig { segment_bytes: 400, ..LogConfig::default() }).expect("a log");
    for value in ["x".repeat(300), "y".repeat(200), "z".into()] {
        log.append(BatchBuilder::new().record(1, None, Some(value.as_bytes())).build().expect("a batch"))
            .expect("room");
    }
    log.flush().expect("memory is durable");
    let config = SnapshotConfig { clock: clock(), ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_on(fs, "/log", config).expect("a manager");
    let id = snaps.create().run().expect("a snapshot").snapshot.id;
    let objects = Arc::new(InMemory::new());
    let recipients = key.as_ref().map(|(_, recipient)| Recipients::parse(&[recipient]).expect("a recipient"));
    let identities = key.as_ref().map(|(secret, _)| Identities::parse(secret).expect("an identity"));
    let remote = Remote::over(objects.clone(), "memory", Compression::Zstd, recipients.as_ref(), options(&identities));
    let (remote, name) = (remote.expect("a place"), SourceName::new("host", "log").expect("a name"));
    let pushed = remote.push(&snaps, &id, &PushOptions { name, again: false, moved: false }).expect("pushed");
    let listed = objects.list(None).map_ok(|meta| meta.location).try_collect().now_or_never();
    let mut keys: Vec<Path> = listed.expect("memory does not wait").expect("a listing");
    keys.sort_by_key(|key| (key.prefix_matches(&Path::from("blobs")), key.clone()));
    assert_eq!(pull(&remote).as_ref(), Some(&pushed.root));
    Stage { objects: objects.fork(), keys, identities, root: pushed.root }
}

fn clock() -> Clock {
    Clock::new(|| 1_735_998_123_000)
}

fn options(identities: &Option<Identities>) -> RemoteOptions {
    // No time passes here but where somebody waits.
    let timing =
        Timing { watch: Watch::new(|| Duration::ZERO, |_| panic!("nothing is to be waited for")), ..Timing::default() };
    RemoteOptions { jobs: 1, clock: clock(), identities: identities.clone(), timing, ..RemoteOptions::default() }
}

fn read(objects: &InMemory, key: &Path) -> Vec<u8> {
    let got = async { objects.get(key).await.expect("it is there").bytes().await.expect("its bytes") };
    got.now_or_never().expect("memory does not wait").to_vec()
}

fn write(objects: &InMemory, key: &Path, bytes: Vec<u8>) {
    objects.put(key, bytes.into()).now_or_never().expect("memory does not wait").expect("room");
}

/// Returns whether what is there now may be another snapshot than the one that was sent.
fn change(stage: &Stage, objects: &InMemory, which: u8, how: u8, data: &[u8]) -> Option<bool> {
    let key = &stage.keys[usize::from(which & 0x7f) % stage.keys.len()];
    let mut now = read(objects, key);
    match how % 7 {
        0 => now = data.to_vec(),
        1 => now = mended::seal(data)?,
        2 => {
            let (at, bits) = data.split_at_checked(2)?;
            let at = usize::from(u16::from_be_bytes([at[0], at[1]])) % (now.len() + 1);
            now.iter_mut().skip(at).zip(bits).for_each(|(byte, bit)| *byte ^= bit);
        }
        3 => now.truncate(usize::from(u16::from_be_bytes([*data.first()?, *data.get(1)?])) % (now.len() + 1)),
        4 => {
            objects.delete(key).now_or_never().expect("memory does not wait").expect("it was there");
            return Some(false);
        }
        5 => now = read(objects, &stage.keys[usize::from(*data.first()?) % stage.keys.len()]),
        _ => {
            // A manifest that its digests vouch for, of a snapshot whose record is lost.
            let of = |name: &str| stage.keys.iter().find(|key| key.filename() == Some(name)).expect("it was pushed");
            let digests = DigestList::parse(&read(objects, of("manifest.b3"))).ok()?;
            let fitting = |(path, digest): (&str, _)| {
                (path.to_owned(), if path == "manifest.json" { blake3::hash(data) } else { digest })
            };
            write(objects, of("manifest.b3"), DigestList::new(digests.iter().map(fitting).collect()).to_bytes());
            write(objects, of("manifest.json"), data.to_vec());
            objects.delete(of("record.json")).now_or_never().expect("memory does not wait").expect("it was there");
            return Some(true);
        }
    }
    write(objects, key, now);
    Some(false)
}

/// Brings the snapshot back into a store in memory; the root of what has come.
fn pull(remote: &Remote) -> Option<String> {
    let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
    let config = SnapshotConfig { store: Some("/store".into()), ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_on(fs, "/log", config).expect("a manager");
    let pulled = remote.pull("log", "latest", &snaps);
    let listed = snaps.list().expect("a listing");
    assert_eq!(pulled.is_ok(), listed.iter().any(|s| s.damaged.is_none()), "{pulled:?}: {listed:?}");
    let snapshot = pulled.ok()?.snapshot;
    let report = snaps.verify(&snapshot.id, cowlog::Level::Full).expect("a verification");
    assert!(report.ok, "{report:?}");
    Some(snapshot.root)
}

fuzz_target!(|input: &[u8]| {
    let [which, how, data @ ..] = input else { return };
    let stage = if which & 0x80 == 0 { &*PLAIN } else { &*ENCRYPTED };
    let objects = Arc::new(stage.objects.fork());
    let Some(forged) = change(stage, &objects, *which, *how, data) else { return };
    let Ok(remote) = Remote::over(objects, "memory", Compression::Zstd, None, options(&stage.identities)) else {
        return;
    };
    let _ = remote.list();
    let _ = remote.show("log", "latest");
    let _ = remote.verify("log", "latest", RemoteLevel::Presence);
    let whole = remote.verify("log", "latest", RemoteLevel::Full).is_ok_and(|report| report.ok);
    let back = pull(&remote);
    assert!(forged || back.as_ref().is_none_or(|root| *root == stage.root), "something else came back");
    assert!(!whole || back.is_some(), "what was found whole does not come back");
    let _ = remote.plan_prune(None, &Policy::default());
    for _ in 0..2 {
        let _ = remote.gc(&GcOptions { grace: Duration::ZERO, dry_run: false });
    }
    assert_eq!(pull(&remote), back, "gc took what was needed");
});
