//! A broker writes its indexes through a mapping, which moves a file's times late or not at all. A digest must never be
//! inherited for bytes that were written so. Needs Python for the mapping.

mod fixtures;
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use cowlog::fs::Method;
use cowlog::observe::{Event, Observer};
use cowlog::snapshot::{Level, SnapshotConfig, SnapshotManager};
use support::mounts::{each_filesystem, skip};

/// Holds a file mapped; flips a byte at each offset that it is told, and never syncs.
const MAPPER: &str = "
import mmap, sys
with open(sys.argv[1], 'r+b') as file:
    mapped = mmap.mmap(file.fileno(), 0)
    print('mapped', flush=True)
    for line in sys.stdin:
        mapped[int(line)] ^= 1
        print('written', flush=True)
";

struct Mapper(Child, ChildStdin, BufReader<ChildStdout>);

impl Mapper {
    fn of(path: &Path) -> Option<Mapper> {
        let mut command = Command::new("python3");
        command.args(["-c", MAPPER]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => {
                skip(&format!("python3 cannot be started: {e}"));
                return None;
            }
        };
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut mapper = Mapper(child, input, BufReader::new(output));
        mapper.hear();
        Some(mapper)
    }

    fn hear(&mut self) {
        let mut line = String::new();
        assert!(self.2.read_line(&mut line).expect("a line") > 0, "the mapper died");
    }

    fn flip(&mut self, at: u64) {
        writeln!(self.1, "{at}").expect("it listens");
        self.hear();
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where many files are new, they are synced otherwise.
fn never_inherited(filesystem: &str, dir: &Path, extension: &str, others: usize) {
    let (_temp, root) = fixtures::unpack("plain-clean");
    let data = dir.join(format!("data-{extension}-{others}"));
    let copied = Command::new("cp").arg("-a").arg(&root).arg(&data).status();
    assert!(copied.expect("cp").success());
    let file = format!("orders-0/00000000000000000000.{extension}");
    let live = data.join(&file);
    // Only what has not changed for a while can be inherited at all.
    std::thread::sleep(Duration::from_millis(2500));
    let config = SnapshotConfig { min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    let snaps = SnapshotManager::open_with(&data, config).expect("a manager");
    let take = || {
        let made = snaps.create().run().expect("a snapshot").snapshot;
        let manifest = snaps.manifest(&made.id).expect("a manifest").manifest;
        let entry = manifest.files.into_iter().find(|f| f.path == file).expect("the file");
        let told = format!("{filesystem}, .{extension}, {}", made.id);
        assert!(snaps.verify(&made.id, Level::Full).expect("a report").ok, "{told}");
        let bytes = fs::read(made.path.join(&file)).expect("it is there");
        assert!(bytes == fs::read(&live).expect("it is there"), "{told}: it is not what the source holds");
        (made.id, entry)
    };
    take();
    let (id, second) = take();
    assert_eq!(second.method, Method::Inherit, "{filesystem}, .{extension}: nothing had changed");

    let write_others = |text: &str| {
        for other in 0..others {
            fs::write(data.join(format!("orders-0/other-{other}")), text).expect("room");
        }
    };
    let size = fs::metadata(&live).expect("it is there").len();
    let Some(mut mapper) = Mapper::of(&live) else { return };
    for at in [size / 2, size / 2 + 1, 3, size / 2] {
        mapper.flip(at);
        write_others(&at.to_string());
        let (_, entry) = take();
        assert_ne!(entry.method, Method::Inherit, "{filesystem}, .{extension}, byte {at}");
    }
    if extension != "log" {
        written_meanwhile(mapper, &data, &|| write_others("and then"));
        let (_, entry) = take();
        assert_ne!(entry.method, Method::Inherit, "{filesystem}, .{extension}, {others} others: written meanwhile");
    }
    // The older snapshot saw nothing of it, unless it is the writer's own inode, which it said.
    let report = snaps.verify(&id, Level::Full).expect("a report");
    assert!(report.ok != second.exposed, "{filesystem}, .{extension}: {report:?}");
}

/// Takes a snapshot in the middle of which a page is written that was dirty before, when the file's times are believed already: had it not been
/// written back before the file was shared, nothing would tell of that.
fn written_meanwhile(mut mapper: Mapper, data: &Path, write_others: &dyn Fn()) {
    mapper.flip(3);
    write_others();
    std::thread::sleep(Duration::from_millis(2500));
    let mapper = Mutex::new(mapper);
    let observer = Observer::new(move |event| {
        if matches!(event, Event::Phase { name: "hash", .. }) {
            mapper.lock().expect("no panic").flip(4);
        }
    });
    let config = SnapshotConfig { observer, min_interval: Duration::ZERO, ..SnapshotConfig::default() };
    SnapshotManager::open_with(data, config).expect("a manager").create().run().expect("a snapshot");
}

#[test]
fn of_an_index() {
    each_filesystem(|filesystem, dir| never_inherited(filesystem, dir, "timeindex", 0));
}

#[test]
fn of_a_segment() {
    each_filesystem(|filesystem, dir| never_inherited(filesystem, dir, "log", 0));
}

#[test]
fn of_an_index_among_many_new_files() {
    each_filesystem(|filesystem, dir| never_inherited(filesystem, dir, "timeindex", 600));
}
