//! Reading all snapshots through, a piece at a time.

pub(in crate::snapshot) mod budget;
pub(in crate::snapshot) mod inodes;
pub(in crate::snapshot) mod readings;
pub(in crate::snapshot) mod remember;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::{Damage, DamageKind, Error, Result};
use crate::fs::{Buffer, Dir, Guard, LockMode, Open, Stat, try_lock_dir};
use crate::observe::Observer;
use crate::snapshot::each::each;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::verify::blame::changed;
use crate::snapshot::verify::examine::differs;
use crate::snapshot::verify::hash::{buffer, hash_until};
use crate::store::{Pass, Reads, SCRUB, SnapshotId, State, Store, Verification, rfc3339};
use budget::Budget;
use inodes::{Holder, Inodes, Unit};

/// What one run of a scrub found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScrubReport {
    /// How much it might do.
    #[serde(serialize_with = "as_text")]
    pub budget: Budget,
    /// Whether all that was read is right, and all the rest there.
    pub ok: bool,
    /// When the pass began that this run belongs to: RFC 3339. It is through once every file was read since.
    pub since: String,
    /// Whether the pass is through.
    pub through: bool,
    /// Files that were read, each inode once.
    pub files_read: u64,
    /// Bytes of these.
    pub bytes_read: u64,
    /// Bytes that are left of the pass.
    pub bytes_left: u64,
    /// Bytes of all snapshots, each inode once.
    pub bytes_total: u64,
    /// When that was read of which it is the longest ago: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_read: Option<String>,
    /// Snapshot by snapshot, file by file: an inode is named for every snapshot that shares it.
    pub damage: Vec<Found>,
    /// Snapshots of which something was left out since they were being deleted or mended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub busy: Vec<String>,
}

/// Damage of one file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The snapshot.
    pub id: String,
    /// The file, and what is wrong.
    #[serde(flatten)]
    pub damage: Damage,
}

fn as_text<S: serde::Serializer>(budget: &Budget, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(budget)
}

impl SnapshotManager {
    /// Reads as much of the snapshots as the budget allows and holds it against the recorded digests: what was read the longest ago
    /// first, then, where a file is larger than what is left of the budget, those behind it that are not, each inode once however many snapshots share it. The next run goes on where this one ended, also where it was killed:
    /// what had been read some seconds before counts. A file that was not read to its end does not.
    ///
    /// When files were read, and damage, stand in the states of all snapshots that share them afterwards, if this user may write
    /// there. A budget in bytes is exceeded only by a single file that is larger than it; of one of time, reading ends when it is over.
    /// A snapshot that is deleted meanwhile is passed over.
    ///
    /// # Errors
    ///
    /// `Validation`: there is no store. `Concurrency`: another scrub or a heal is at work. `Filesystem`: something may not be read.
    /// `Interrupted`: what was read until then counts.
    pub fn scrub(&self, budget: Budget) -> Result<ScrubReport> {
        let begun = Instant::now();
        let store = self.store()?;
        let _alone = self.upkeep(&store)?;
        let ids: Vec<SnapshotId> = self.records(&store)?.into_iter().map(|r| r.id).collect();
        let now = self.config().clock.now();
        let inodes = Inodes::of(self, &store, &ids, now)?;
        let mut since = inodes.snapshots.iter().filter_map(|s| s.pass).max().unwrap_or(now);
        let mut order = inodes.unread_since(since);
        if order.is_empty() {
            since = now;
            order = inodes.unread_since(since);
        }
        let total = inodes.total();
        let chosen = within(&inodes.units, &order, budget.bytes_of(total));
        let size = |at: &usize| inodes.units.get(*at).map_or(0, |unit| unit.size);
        let bytes: u64 = chosen.iter().map(size).sum();
        let observer = &self.config().observer;
        observer.phase("verify", chosen.len() as u64, if budget.time().is_some() { 0 } else { bytes });
        // What was read has to be recorded in that time, too.
        let recording = RECORDING.saturating_mul(u32::try_from(inodes.snapshots.len()).unwrap_or(u32::MAX));
        let until = budget.time().map(|time| begun + time.saturating_sub(recording.min(time / 2)));
        let mut run = Run {
            manager: self,
            store: &store,
            now,
            since,
            until,
            done: vec![false; inodes.units.len()],
            wrong: HashMap::new(),
            busy: BTreeSet::new(),
            damage: BTreeMap::new(),
            inodes,
        };
        let read = run.read(&chosen);
        run.account();
        if let Err(e) = run.note() {
            observer.warn(&format!("what was read was not recorded, and will be read again: {e}"));
        }
        read?;
        Ok(run.report(budget, total))
    }
}

/// About what it takes to record a state.
const RECORDING: Duration = Duration::from_millis(4);
/// So many files are read before it is looked whether to record.
const AT_A_TIME: usize = 64;
/// How often that is done at the most.
const OFTEN: Duration = Duration::from_secs(5);

/// The first of them, and, where the next does not fit any more, those behind it that do: the budget is used up as far as that can be. The
/// very first is chosen whatever its size, so that there is no budget with which a large file is never read.
fn within(units: &[Unit], order: &[usize], bytes: u64) -> Vec<usize> {
    let (mut chosen, mut left) = (Vec::new(), bytes);
    for at in order {
        let Some(unit) = units.get(*at) else { continue };
        if unit.size <= left || chosen.is_empty() {
            left = left.saturating_sub(unit.size);
            chosen.push(*at);
        }
    }
    chosen
}

/// What is wrong with an inode.
#[derive(Debug, Clone)]
enum Wrong {
    /// Its size, or its bytes.
    Differs(Box<Stat>),
    Unreadable(String),
}

enum Read {
    Right,
    Wrong(Wrong),
    /// There was no time for all of it, or it is gone: another run will tell.
    Not,
}

struct Run<'a> {
    manager: &'a SnapshotManager,
    store: &'a Store,
    now: i64,
    since: i64,
    until: Option<Instant>,
    inodes: Inodes,
    done: Vec<bool>,
    wrong: HashMap<usize, Wrong>,
    busy: BTreeSet<SnapshotId>,
    damage: BTreeMap<SnapshotId, Vec<Damage>>,
}

impl Run<'_> {
    fn in_time(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }

    fn read(&mut self, chosen: &[usize]) -> Result<()> {
        let (mut noted, mut patience) = (Instant::now(), OFTEN);
        for batch in chosen.chunks(AT_A_TIME) {
            if !self.in_time() {
                break;
            }
            self.read_batch(batch)?;
            if noted.elapsed() > patience {
                let began = Instant::now();
                self.account();
                self.note()?;
                // Of many snapshots it takes long: it is to be a small part of the whole.
                patience = OFTEN.max(began.elapsed() * 20);
                noted = Instant::now();
            }
        }
        if let (Some(first), false) = (chosen.first(), self.done.contains(&true))
            && let Some(unit) = self.inodes.units.get(*first).filter(|_| !self.in_time())
        {
            let observer = &self.manager.config().observer;
            observer.warn(&format!("the time did not suffice for {} of {} bytes: allow more", unit.path, unit.size));
        }
        Ok(())
    }

    fn read_batch(&mut self, batch: &[usize]) -> Result<()> {
        let units: Vec<(usize, &Unit)> =
            batch.iter().filter_map(|at| Some((*at, self.inodes.units.get(*at)?))).collect();
        let mut held: HashMap<usize, Option<Guard>> = HashMap::new();
        for (_, unit) in &units {
            let Some(snapshot) = self.inodes.snapshots.get(unit.holder) else { continue };
            if held.contains_key(&unit.holder) {
                continue;
            }
            let guard = match try_lock_dir(self.store.dir(), snapshot.id.to_string(), LockMode::Shared) {
                Err(e) if e.is_not_found() => None,
                other => other?,
            };
            if guard.is_none() {
                self.busy.insert(snapshot.id);
            }
            held.insert(unit.holder, guard);
        }
        let dirs: HashMap<usize, &Dir> =
            held.iter().filter_map(|(at, guard)| Some((*at, guard.as_ref()?.dir()?))).collect();
        let (observer, until) = (&self.manager.config().observer, self.until);
        let read = |buffer: &mut Buffer, (at, unit): &(usize, &Unit)| {
            observer.check()?;
            let read = match dirs.get(&unit.holder) {
                Some(dir) => read_unit(dir, unit, buffer, observer, until)?,
                None => Read::Not,
            };
            Ok((*at, read))
        };
        // What was read before something failed counts.
        let results: Vec<Result<(usize, Read)>> = each(&units, buffer, read);
        let mut failed = None;
        for result in results {
            let (at, wrong) = match result {
                Ok((at, Read::Right)) => (at, None),
                Ok((at, Read::Wrong(wrong))) => (at, Some(wrong)),
                Ok((_, Read::Not)) => continue,
                Err(e) => {
                    failed.get_or_insert(e);
                    continue;
                }
            };
            if let (Some(done), Some(unit)) = (self.done.get_mut(at), self.inodes.units.get_mut(at)) {
                *done = true;
                unit.read_at = self.since;
            }
            self.wrong.extend(wrong.map(|wrong| (at, wrong)));
        }
        failed.map_or(Ok(()), Err)
    }

    /// Says of each snapshot what is damaged in it, as far as is known now.
    fn account(&mut self) {
        for snapshot in &self.inodes.snapshots {
            let mut damage = snapshot.missing.clone();
            let wrong: Vec<(usize, &Wrong)> =
                snapshot.files().filter_map(|(at, unit)| Some((at, self.wrong.get(&unit)?))).collect();
            if !wrong.is_empty()
                && let Ok(loaded) = self.store.load(snapshot.id)
            {
                for (at, wrong) in wrong {
                    let Some(file) = loaded.manifest.files.get(at) else { continue };
                    damage.push(match wrong {
                        Wrong::Differs(stat) => differs(file, stat).unwrap_or_else(|| changed(file, Some(stat))),
                        Wrong::Unreadable(why) => {
                            Damage { path: file.path.clone(), kind: DamageKind::Unreadable, detail: why.clone() }
                        }
                    });
                }
            }
            if !damage.is_empty() {
                self.damage.insert(snapshot.id, damage);
            }
        }
    }

    fn note(&self) -> Result<()> {
        let by_id: BTreeMap<SnapshotId, &Holder> = self.inodes.snapshots.iter().map(|s| (s.id, s)).collect();
        let ids = by_id.keys().copied().collect();
        self.manager.remember(self.store, ids, |id, state| {
            if let Some(snapshot) = by_id.get(&id) {
                self.note_in(snapshot, state);
            }
        })
    }

    fn note_in(&self, snapshot: &Holder, state: &mut State) {
        let units = &self.inodes.units;
        let is_read = |(_, unit): &(usize, usize)| units.get(*unit).is_some_and(|unit| unit.read_at >= self.since);
        let oldest = snapshot.oldest(units);
        let through = oldest >= self.since;
        let before = state.reads.take().unwrap_or_default();
        let reads = if through {
            Reads::at(self.since.max(before.all))
        } else {
            let read = snapshot.files().filter(is_read).filter_map(|(at, _)| u32::try_from(at).ok());
            let pass = Some(Pass::new(self.since, read)).filter(|pass| !pass.files.is_empty());
            Reads { all: before.all, oldest, pass }
        };
        state.reads = Some(reads);
        let is_right = |path: &str| {
            let unit = snapshot.unit_of_known(path);
            unit.is_some_and(|unit| self.done.get(unit) == Some(&true) && !self.wrong.contains_key(&unit))
        };
        state.forget_damage(|d| d.kind.is_of_bytes() && is_right(&d.path));
        state.add_damage(self.damage.get(&snapshot.id).cloned().unwrap_or_default(), self.now);
        if through && state.verified.as_ref().is_none_or(|v| v.ok && v.at < self.since) {
            let (level, at) = (SCRUB.to_owned(), self.since);
            state.verified = Some(Verification { level, at, ok: true, damage: Vec::new() });
        }
    }

    fn report(self, budget: Budget, bytes_total: u64) -> ScrubReport {
        let units = &self.inodes.units;
        let size_of = |these: &dyn Fn(usize, &Unit) -> bool| {
            let these = units.iter().enumerate().filter(|(at, unit)| these(*at, unit));
            these.map(|(_, unit)| unit.size).fold(0, u64::saturating_add)
        };
        let unbelievable = self.inodes.unbelievable.iter().map(|(id, damage)| (id, damage));
        let found = unbelievable.chain(&self.damage);
        let found =
            found.flat_map(|(id, damage)| damage.iter().map(|d| Found { id: id.to_string(), damage: d.clone() }));
        let damage: Vec<Found> = found.collect();
        ScrubReport {
            budget,
            ok: damage.is_empty(),
            since: rfc3339(self.since),
            through: units.iter().all(|unit| unit.read_at >= self.since),
            files_read: self.done.iter().filter(|done| **done).count() as u64,
            bytes_read: size_of(&|at, _| self.done.get(at) == Some(&true)),
            bytes_left: size_of(&|_, unit| unit.read_at < self.since),
            bytes_total,
            oldest_read: units.iter().map(|unit| unit.read_at).min().map(rfc3339),
            damage,
            busy: self.busy.iter().map(SnapshotId::to_string).collect(),
        }
    }
}

fn read_unit(
    snapshot: &Dir,
    unit: &Unit,
    buffer: &mut [u8],
    observer: &Observer,
    until: Option<Instant>,
) -> Result<Read> {
    let mut read = || {
        let (within, name) = unit.path.rsplit_once('/').unwrap_or(("", &unit.path));
        let dir = if within.is_empty() { snapshot.clone() } else { snapshot.open_dir(within)? };
        let file = dir.open_file(name, Open::Read)?;
        let stat = file.stat()?;
        if stat.kind != crate::fs::FileKind::File || stat.size != unit.size {
            return Ok(Read::Wrong(Wrong::Differs(Box::new(stat))));
        }
        Ok(match hash_until(&file, unit.size, buffer, observer, until)? {
            Some((digest, _)) if digest == unit.digest => Read::Right,
            Some(_) => Read::Wrong(Wrong::Differs(Box::new(stat))),
            None => Read::Not,
        })
    };
    match read() {
        Err(e) if e.is_not_found() => Ok(Read::Not),
        Err(e) if e.is_denied() => Err(e),
        Err(e @ Error::Filesystem(_)) => Ok(Read::Wrong(Wrong::Unreadable(e.to_string()))),
        other => other,
    }
}
