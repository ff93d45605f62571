//! Random sequences of operations on a log and its store, in memory, with changes that fail, processes that die and
//! power that goes, held against a list of records. Used by the fuzz target `operations` and by `tests/faults.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use cowlog::Result;
use cowlog::error::Kind;
use cowlog::fs::mem::{Abilities, MemFs, Op};
use cowlog::fs::{Dir, Fs};
use cowlog::log::{BatchBuilder, Log, LogConfig, LogReader};
use cowlog::snapshot::{ForkOptions, Level, Policy, RestoreOptions, SnapshotConfig, SnapshotManager};

const LOG: &str = "/log";
const STORE: &str = "/log/.snapshots";
const TARGET: &str = "/restored";
/// A restore's, and those of forks.
const TARGETS: [&str; 3] = [TARGET, "/restored-1", "/restored-2"];
const STEPS: usize = 40;

/// What is done, and what goes wrong meanwhile.
#[derive(Debug, Clone)]
pub struct Plan {
    pub reflinks: bool,
    pub steps: Vec<Step>,
}

impl Plan {
    /// Any bytes are a plan; more bytes are more steps.
    pub fn of(bytes: &[u8]) -> Plan {
        let mut bytes = Unstructured::new(bytes);
        let reflinks = bytes.arbitrary().unwrap_or(true);
        let mut steps = Vec::new();
        while !bytes.is_empty() && steps.len() < STEPS {
            steps.extend(bytes.arbitrary::<Step>());
        }
        Plan { reflinks, steps }
    }
}

#[derive(Debug, Clone, Arbitrary)]
pub struct Step {
    pub what: What,
    pub fate: Fate,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum What {
    Append(u8),
    AppendMore(u8),
    Flush,
    Roll,
    Close,
    Truncate(u8),
    StartAt(u8),
    Retain,
    Create { at_cut: bool },
    CreateAgain,
    Delete(u8),
    Prune(u8),
    Restore(u8),
    Verify(u8),
    Repair,
    Fork(u8),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Fate {
    Well,
    AlsoWell,
    /// One change, of a kind or of any, fails.
    Fails {
        kind: u8,
        nth: u8,
        errno: u8,
    },
    /// The process dies after so many changes.
    Dies {
        after: u8,
    },
    /// The power goes after so many changes, and one of the states that the disk may have comes back.
    Cut {
        after: u8,
        state: u8,
    },
}

/// What the plans came to.
#[derive(Debug, Default)]
pub struct Tally {
    pub steps: u64,
    pub failed: u64,
    pub deaths: u64,
    pub cuts: u64,
}

/// The records of a snapshot: from which offset on, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    start: i64,
    records: Vec<u64>,
}

struct World {
    fs: MemFs,
    log: Option<Log>,
    /// By offset, from 0.
    live: Vec<u64>,
    next: u64,
    /// Below it records are durable.
    floor: usize,
    /// Between which the log start lies.
    start: (i64, i64),
    /// Acknowledged.
    snapshots: BTreeMap<String, Content>,
    /// May be there, or come back.
    doubtful: BTreeMap<String, Content>,
    tally: Tally,
}

/// Panics where something does not hold.
pub fn run(plan: &Plan) -> Tally {
    let fs = MemFs::with(Abilities { reflink: plan.reflinks, ..Abilities::default() });
    let mut world = World {
        fs,
        log: None,
        live: Vec::new(),
        next: 1,
        floor: 0,
        start: (0, 0),
        snapshots: BTreeMap::new(),
        doubtful: BTreeMap::new(),
        tally: Tally::default(),
    };
    world.log = Some(world.open().expect("a new log"));
    for step in &plan.steps {
        world.step(step);
    }
    world.settle();
    world.check_all(Level::Deep);
    std::mem::take(&mut world.tally)
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in step {}; of {} records {} are durable", self.tally.steps, self.live.len(), self.floor);
        }
    }
}

impl World {
    fn arc(&self) -> Arc<dyn Fs> {
        Arc::new(self.fs.clone())
    }

    fn open(&self) -> Result<Log> {
        let config = LogConfig {
            segment_bytes: 500,
            index_interval: 200,
            lock_timeout: Duration::ZERO,
            retention_bytes: Some(1500),
            ..LogConfig::default()
        };
        Log::open_in(self.arc(), LOG, config)
    }

    fn manager(&self) -> Result<SnapshotManager> {
        let config = SnapshotConfig {
            min_interval: Duration::ZERO,
            lock_timeout: Duration::ZERO,
            clock: self.fs.clock(),
            ..SnapshotConfig::default()
        };
        SnapshotManager::open_on(self.arc(), LOG, config)
    }

    fn step(&mut self, step: &Step) {
        self.tally.steps += 1;
        self.fs.advance(3);
        match step.fate {
            Fate::Well | Fate::AlsoWell => {}
            Fate::Fails { kind, nth, errno } => {
                let kinds = [Op::Any, Op::Any, Op::Sync, Op::Write, Op::Rename, Op::Create, Op::Link, Op::Remove];
                let errnos = [5, 28, 30, 122, 4];
                let (kind, errno) = (kinds[usize::from(kind) % kinds.len()], errnos[usize::from(errno) % errnos.len()]);
                self.fs.fail(kind, u64::from(nth % 40) + 1, errno);
            }
            Fate::Dies { after } | Fate::Cut { after, .. } => self.fs.cut_power_after(u64::from(after % 80)),
        }
        let outcome = self.perform(step.what);
        self.fs.heal();
        match (&outcome, step.fate) {
            (Ok(()), _) => {}
            (Err(e), Fate::Well | Fate::AlsoWell) => panic!("{step:?} failed by itself: {e}; {e:?}"),
            (Err(e), _) => {
                assert_eq!(e.kind(), Kind::Filesystem, "{step:?}: {e}; {e:?}");
                self.tally.failed += 1;
            }
        }
        match step.fate {
            Fate::Dies { .. } => {
                self.tally.deaths += 1;
                self.log = None;
            }
            Fate::Cut { state, .. } => {
                self.tally.cuts += 1;
                self.log = None;
                let mut states = self.fs.crash_states(4, 5, state.into());
                let at = usize::from(state) % states.len();
                self.fs = states.swap_remove(at);
            }
            _ => {}
        }
        if outcome.is_err() || self.log.is_none() {
            self.settle();
        }
        self.check_all(if matches!(step.fate, Fate::Cut { .. }) { Level::Deep } else { Level::Quick });
    }

    fn perform(&mut self, what: What) -> Result<()> {
        match what {
            What::Append(n) | What::AppendMore(n) => self.append(usize::from(n % 8) + 1),
            What::Flush => {
                self.log().flush()?;
                self.floor = self.live.len();
                Ok(())
            }
            What::Roll => {
                self.log().roll()?;
                self.floor = self.live.len();
                Ok(())
            }
            What::Close => {
                let log = self.log.take().expect("it is open");
                log.close()?;
                self.floor = self.live.len();
                self.log = Some(self.open()?);
                Ok(())
            }
            What::Truncate(to) => {
                let start = self.log().log_start_offset();
                let to = start + (self.live.len() as i64 - start) * i64::from(to) / 256;
                // A batch of several records goes as a whole.
                self.floor = self.floor.min(usize::try_from(to).expect("no offset is negative").saturating_sub(8));
                self.start.0 = self.start.0.min(self.floor as i64);
                let end = self.log().truncate_to(to)?;
                self.live.truncate(usize::try_from(end).expect("no offset is negative"));
                self.floor = self.live.len();
                self.start = (self.log().log_start_offset(), self.log().log_start_offset());
                Ok(())
            }
            What::StartAt(part) => {
                let (start, end) = (self.log().log_start_offset(), self.log().high_watermark());
                let to = start + (end - start) * i64::from(part) / 256;
                self.start.1 = self.start.1.max(to);
                self.log().set_log_start_offset(to)?;
                self.start.0 = to;
                Ok(())
            }
            What::Retain => {
                self.start.1 = self.live.len() as i64;
                self.log().apply_retention(0)?;
                let start = self.log().log_start_offset();
                self.start = (start, start);
                Ok(())
            }
            What::Create { at_cut } => self.create(at_cut),
            What::CreateAgain => self.create(false),
            What::Delete(which) => {
                let Some(id) = self.choose(which) else { return Ok(()) };
                self.doubt(&id);
                self.manager()?.delete(&id)?;
                self.doubtful.remove(&id);
                Ok(())
            }
            What::Prune(keep) => {
                let manager = self.manager()?;
                if manager.store_path()?.is_none() {
                    return Ok(());
                }
                let policy = Policy { max_snapshots: usize::from(keep % 4) + 1, ..Policy::default() };
                let plan = manager.plan_prune(&policy)?;
                let going: Vec<String> = plan.removals().map(|s| s.id.to_string()).collect();
                going.iter().for_each(|id| self.doubt(id));
                manager.prune(&plan)?;
                going.iter().for_each(|id| drop(self.doubtful.remove(id)));
                Ok(())
            }
            What::Restore(which) => {
                let Some(id) = self.choose(which) else { return Ok(()) };
                self.manager()?.restore_id(&id, RestoreOptions::to(TARGET))?;
                assert_eq!(self.read(TARGET), self.snapshots[&id], "the restored {id}");
                Ok(())
            }
            What::Fork(which) => {
                let Some(id) = self.choose(which) else { return Ok(()) };
                let forks = self.manager()?.fork(&id, &ForkOptions::to(TARGET).count(2))?;
                for (fork, _) in forks {
                    let fork = fork.keep();
                    assert_eq!(self.read(&fork.path().to_string_lossy()), self.snapshots[&id], "a fork of {id}");
                }
                Ok(())
            }
            What::Verify(which) => {
                let Some(id) = self.choose(which) else { return Ok(()) };
                let report = self.manager()?.verify(&id, Level::Full)?;
                // A read that fails is told as damage of the file.
                assert!(report.ok, "{id}: {report:?}");
                Ok(())
            }
            What::Repair => match self.manager()?.store_path()? {
                Some(_) => self.manager()?.repair(None).map(drop),
                None => Ok(()),
            },
        }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("it is open")
    }

    fn append(&mut self, records: usize) -> Result<()> {
        let mut builder = BatchBuilder::new();
        let values: Vec<u64> = (self.next..).take(records).collect();
        self.next += records as u64;
        for value in &values {
            builder.record(1000 + *value as i64, None, Some(&value.to_be_bytes()));
        }
        let batch = builder.build()?;
        let segments = self.log().segments().len();
        let known = self.live.len();
        // It may roll first, and then what was there before is durable.
        self.live.extend(&values);
        match self.log().append(batch) {
            Ok(base) => assert_eq!(base, known as i64),
            Err(e) => {
                self.live.truncate(known);
                return Err(e);
            }
        }
        if self.log().segments().len() > segments {
            self.floor = known;
        }
        Ok(())
    }

    fn create(&mut self, at_cut: bool) -> Result<()> {
        let manager = self.manager()?;
        let create = manager.create().force(true);
        let create = if at_cut { create.at(self.log().cut()?) } else { create };
        let id = create.run()?.snapshot.id;
        let start = self.log().log_start_offset();
        let records = self.live.get(usize::try_from(start).expect("no offset is negative")..).unwrap_or_default();
        self.snapshots.insert(id, Content { start, records: records.to_vec() });
        Ok(())
    }

    fn choose(&self, which: u8) -> Option<String> {
        let at = usize::from(which).checked_rem(self.snapshots.len())?;
        self.snapshots.keys().nth(at).cloned()
    }

    fn doubt(&mut self, id: &str) {
        if let Some((id, content)) = self.snapshots.remove_entry(id) {
            self.doubtful.insert(id, content);
        }
    }

    fn read(&self, path: &str) -> Content {
        let dir = Dir::open_on(self.arc(), path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let reader = LogReader::open_on(dir).unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut content = Content { start: reader.log_start(), records: Vec::new() };
        for batch in reader.read_from(reader.log_start()) {
            for record in batch.unwrap_or_else(|e| panic!("{path}: {e}")).records().expect("records") {
                if record.offset >= content.start {
                    assert_eq!(record.offset, content.start + content.records.len() as i64, "{path}: a gap");
                    let value = record.value.expect("a value");
                    content.records.push(u64::from_be_bytes(value.as_slice().try_into().expect("a number")));
                }
            }
        }
        content
    }

    /// Opens the log anew, as a process does after one that ended in the middle, and takes what it finds for true if
    /// it may be.
    fn settle(&mut self) {
        self.log = None;
        let mut log = self.open().unwrap_or_else(|e| panic!("the log does not open: {e}; {e:?}"));
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        let upper = self.start.1.max(self.start.0);
        assert!((self.start.0..=upper).contains(&start), "it starts at {start}, not within {:?}", self.start);
        let bounds = self.floor as i64..=self.live.len() as i64;
        assert!(bounds.contains(&end), "it ends at {end}, not within {bounds:?}");
        log.flush().expect("nothing fails any more");
        self.log = Some(log);
        let found = self.read(LOG);
        let end = usize::try_from(end).expect("no offset is negative");
        let from = usize::try_from(start).expect("no offset is negative");
        assert_eq!((found.start, found.records.as_slice()), (start, &self.live[from..end]), "the log's records");
        self.live.truncate(end);
        (self.floor, self.start) = (end, (start, start));
        for target in TARGETS.iter().filter(|target| Dir::open_on(self.arc(), target).is_ok()) {
            let found = self.read(target);
            let known = self.snapshots.values().chain(self.doubtful.values()).any(|c| *c == found);
            assert!(known, "what stands at the target is no snapshot's: {found:?}");
        }
        self.remove_target();
    }

    /// For good: in part it must not come back.
    fn remove_target(&self) {
        let root = Dir::open_on(self.arc(), "/").expect("the root");
        let all = TARGETS.iter().try_for_each(|target| root.remove_tree(target.trim_start_matches('/')));
        all.and_then(|()| root.sync()).expect("nothing fails any more");
    }

    fn check_all(&mut self, level: Level) {
        self.remove_target();
        let manager = self.manager().expect("a manager");
        let listed = manager.list().unwrap_or_else(|e| panic!("it does not list: {e}; {e:?}"));
        for id in self.snapshots.keys() {
            assert!(listed.iter().any(|s| s.id == *id), "{id} was acknowledged and is gone");
        }
        for snapshot in &listed {
            let id = &snapshot.id;
            assert_eq!(snapshot.damaged, None, "{id}");
            let report = manager.verify(id, level).unwrap_or_else(|e| panic!("{id}: {e}"));
            assert!(report.ok, "{id}: {report:?}");
            let found = self.read(&format!("{STORE}/{id}"));
            match self.snapshots.get(id).or_else(|| self.doubtful.get(id)) {
                Some(content) => assert_eq!(found, *content, "{id}"),
                // Its creator never heard that it was made; it is one moment of the log all the same.
                None => drop(self.doubtful.insert(id.clone(), found)),
            }
        }
        if level == Level::Deep && !listed.is_empty() {
            manager.repair(None).expect("nothing fails any more");
            let store = Dir::open_on(self.arc(), STORE).expect("the store");
            for entry in store.list().expect("nothing fails any more") {
                let name = entry.name.to_string_lossy().into_owned();
                let known = name.starts_with("snapshot-") || [".lock", "snapshots.json"].contains(&name.as_str());
                assert!(known, "{name} was left in the store");
            }
        }
    }
}
