//! A process that does everything that can be done to a log and its store, in random order, and writes down what it
//! is about to do and what it was told is done: one line each, to a file on another filesystem.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlog::fs::MethodChoice;
use cowlog::log::{LogConfig, LogReader};
use cowlog::snapshot::{Policy, RestoreOptions, SnapshotConfig, SnapshotManager};

use super::Random;
use super::chain::{self, ChainLog, Tail};

/// What the worker wrote down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Created {
        id: String,
        root: String,
        start: i64,
        end: i64,
        link: String,
    },
    BeginRemove {
        id: String,
    },
    Removed {
        id: String,
    },
    BeginRestore {
        name: String,
        id: String,
    },
    Restored {
        name: String,
    },
    Forget {
        name: String,
    },
    BeginTruncate,
    Truncated {
        end: i64,
        link: String,
        generation: u64,
    },
    /// The log is about to be exchanged for one that is this.
    BeginExchange {
        start: i64,
        end: i64,
        link: String,
    },
    Exchanged {
        start: i64,
        end: i64,
        link: String,
        generation: u64,
    },
    Started {
        start: i64,
    },
    Flushed {
        end: i64,
        link: String,
    },
    /// So many changes of a log; none where it was an operation on the store.
    Changed {
        changes: u64,
    },
    Failed {
        why: String,
    },
}

impl Line {
    pub fn verb(&self) -> &'static str {
        match self {
            Line::Created { .. } => "created",
            Line::BeginRemove { .. } => "begin-remove",
            Line::Removed { .. } => "removed",
            Line::BeginRestore { .. } => "begin-restore",
            Line::Restored { .. } => "restored",
            Line::Forget { .. } => "forget",
            Line::BeginTruncate => "begin-truncate",
            Line::Truncated { .. } => "truncated",
            Line::BeginExchange { .. } => "begin-exchange",
            Line::Exchanged { .. } => "exchanged",
            Line::Started { .. } => "started",
            Line::Flushed { .. } => "flushed",
            Line::Changed { .. } => "changed",
            Line::Failed { .. } => "failed",
        }
    }

    fn text(&self) -> String {
        let verb = self.verb();
        match self {
            Line::Created { id, root, start, end, link } => format!("{verb} {id} {root} {start} {end} {link}"),
            Line::BeginRemove { id } | Line::Removed { id } => format!("{verb} {id}"),
            Line::BeginRestore { name, id } => format!("{verb} {name} {id}"),
            Line::Restored { name } | Line::Forget { name } => format!("{verb} {name}"),
            Line::BeginTruncate => verb.into(),
            Line::Truncated { end, link, generation } => format!("{verb} {end} {generation} {link}"),
            Line::BeginExchange { start, end, link } => format!("{verb} {start} {end} {link}"),
            Line::Exchanged { start, end, link, generation } => format!("{verb} {start} {end} {generation} {link}"),
            Line::Started { start } => format!("{verb} {start}"),
            Line::Flushed { end, link } => format!("{verb} {end} {link}"),
            Line::Changed { changes } => format!("{verb} {changes}"),
            Line::Failed { why } => format!("{verb} {}", why.replace('\n', " ")),
        }
    }

    fn parse(text: &str) -> Option<Line> {
        if let Some(why) = text.strip_prefix("failed ") {
            return Some(Line::Failed { why: why.into() });
        }
        let words: Vec<&str> = text.split(' ').collect();
        let s = |at: usize| words.get(at).map(|w| (*w).to_owned());
        let n = |at: usize| words.get(at)?.parse::<i64>().ok();
        Some(match *words.first()? {
            "created" => {
                Line::Created { id: s(1)?, root: s(2)?, start: n(3)?, end: n(4)?, link: s(5).unwrap_or_default() }
            }
            "begin-remove" => Line::BeginRemove { id: s(1)? },
            "removed" => Line::Removed { id: s(1)? },
            "begin-restore" => Line::BeginRestore { name: s(1)?, id: s(2)? },
            "restored" => Line::Restored { name: s(1)? },
            "forget" => Line::Forget { name: s(1)? },
            "begin-truncate" => Line::BeginTruncate,
            "truncated" => Line::Truncated { end: n(1)?, generation: n(2)? as u64, link: s(3)? },
            "begin-exchange" => Line::BeginExchange { start: n(1)?, end: n(2)?, link: s(3)? },
            "exchanged" => Line::Exchanged { start: n(1)?, end: n(2)?, generation: n(3)? as u64, link: s(4)? },
            "started" => Line::Started { start: n(1)? },
            "changed" => Line::Changed { changes: n(1)? as u64 },
            "flushed" => Line::Flushed { end: n(1)?, link: s(2)? },
            _ => return None,
        })
    }
}

/// Where the lines go.
pub struct Lines(File);

impl Lines {
    pub fn append(path: &Path) -> Lines {
        Lines(File::options().append(true).create(true).open(path).expect("a file for the lines"))
    }

    /// In one piece: a power cut of the other filesystem does not tear it.
    pub fn say(&mut self, line: &Line) {
        self.0.write_all(format!("{}\n", line.text()).as_bytes()).expect("a line is written");
    }
}

/// The lines that are whole.
pub fn read_lines(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|l| Line::parse(l).unwrap_or_else(|| panic!("a line that nobody writes: {l}"))).collect()
}

/// How one worker works.
#[derive(Debug, Clone)]
pub struct Job {
    /// Holds `orders-0`, its store, and what is restored.
    pub dir: PathBuf,
    /// Where the lines go.
    pub lines: PathBuf,
    pub seed: u64,
    pub method: MethodChoice,
    pub generation: u64,
    pub segment_bytes: u64,
}

impl Job {
    pub fn to_args(&self) -> Vec<String> {
        let text = |p: &Path| p.to_str().expect("UTF-8").to_owned();
        let method = format!("{:?}", self.method).to_lowercase();
        let numbers = [self.seed, self.generation, self.segment_bytes].map(|n| n.to_string());
        [vec![text(&self.dir), text(&self.lines), method], numbers.to_vec()].concat()
    }

    pub fn from_args(args: &[String]) -> Job {
        let number = |at: usize| args[at].parse().expect("a number");
        Job {
            dir: (&args[0]).into(),
            lines: (&args[1]).into(),
            method: args[2].parse().expect("a method"),
            seed: number(3),
            generation: number(4),
            segment_bytes: number(5),
        }
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("orders-0")
    }

    pub fn log_config(&self) -> LogConfig {
        let retention_bytes = Some(24 * self.segment_bytes);
        LogConfig { segment_bytes: self.segment_bytes, retention_bytes, ..LogConfig::default() }
    }

    pub fn manager(&self) -> cowlog::Result<SnapshotManager> {
        SnapshotManager::open_with(self.log(), SnapshotConfig { method: self.method, ..SnapshotConfig::default() })
    }

    /// Works until it is killed or something fails.
    pub fn work(&self) -> ! {
        let mut worker = Worker { job: self, lines: Lines::append(&self.lines), random: Random::seeded(self.seed) };
        let why = match worker.all() {
            Err(why) => why,
            Ok(never) => never,
        };
        worker.lines.say(&Line::Failed { why });
        std::process::exit(3);
    }
}

struct Worker<'a> {
    job: &'a Job,
    lines: Lines,
    random: Random,
}

type Outcome<T = ()> = Result<T, String>;

fn text(e: cowlog::Error) -> String {
    format!("{e}; {e:?}")
}

impl Worker<'_> {
    fn all(&mut self) -> Outcome<String> {
        let mut chain = ChainLog::open(&self.job.log(), self.job.log_config(), self.job.generation)?;
        let snaps = self.job.manager().map_err(text)?;
        self.append(&mut chain)?;
        loop {
            match self.random.below(100) {
                0..30 => self.append(&mut chain)?,
                30..38 => {
                    chain.log().flush().map_err(text)?;
                    self.flushed(&mut chain);
                }
                38..43 => {
                    chain.log().roll().map_err(text)?;
                    self.flushed(&mut chain);
                }
                43..49 => self.truncate(&mut chain)?,
                49..53 => {
                    chain.log().apply_retention(0).map_err(text)?;
                    let start = chain.log().log_start_offset();
                    self.lines.say(&Line::Started { start });
                }
                53..71 => self.create(&mut chain, &snaps)?,
                71..78 => chain = self.exchange(chain, &snaps)?,
                78..84 => self.delete(&snaps)?,
                84..88 => self.prune(&snaps)?,
                88..96 => self.restore(&snaps)?,
                _ => {
                    if self.any(&snaps)?.is_some() {
                        snaps.repair(None).map_err(text)?;
                    }
                }
            }
        }
    }

    fn append(&mut self, chain: &mut ChainLog) -> Outcome {
        for _ in 0..self.random.between(1, 12) {
            let records = self.random.between(1, 5);
            chain.append(records, &mut self.random, 1500).map_err(text)?;
        }
        Ok(())
    }

    fn flushed(&mut self, chain: &mut ChainLog) {
        let tail = chain.tail();
        if tail.end > tail.start {
            self.lines.say(&Line::Flushed { end: tail.end, link: tail.link });
        }
    }

    fn truncate(&mut self, chain: &mut ChainLog) -> Outcome {
        let to = chain.point_to_truncate_to(&mut self.random);
        self.lines.say(&Line::BeginTruncate);
        chain.truncate(to).map_err(text)?;
        let tail = chain.tail();
        if tail.end > tail.start {
            self.lines.say(&Line::Truncated { end: tail.end, link: tail.link, generation: chain.generation });
        }
        Ok(())
    }

    fn create(&mut self, chain: &mut ChainLog, snaps: &SnapshotManager) -> Outcome {
        let create = snaps.create().force(true);
        let create = match self.random.below(2) {
            0 => create.at(chain.log().cut().map_err(text)?),
            _ => create,
        };
        let made = create.run().map_err(text)?.snapshot;
        let tail = chain.tail();
        if tail.end == tail.start {
            return Ok(());
        }
        self.lines.say(&Line::Created {
            id: made.id,
            root: made.root,
            start: tail.start,
            end: tail.end,
            link: tail.link,
        });
        Ok(())
    }

    fn delete(&mut self, snaps: &SnapshotManager) -> Outcome {
        let Some(id) = self.any(snaps)? else { return Ok(()) };
        self.lines.say(&Line::BeginRemove { id: id.clone() });
        snaps.delete(&id).map_err(text)?;
        self.lines.say(&Line::Removed { id });
        Ok(())
    }

    fn prune(&mut self, snaps: &SnapshotManager) -> Outcome {
        if self.any(snaps)?.is_none() {
            return Ok(());
        }
        let policy = Policy { max_snapshots: 4, retention_time: Duration::MAX, ..Policy::default() };
        let plan = snaps.plan_prune(&policy).map_err(text)?;
        for step in plan.removals() {
            self.lines.say(&Line::BeginRemove { id: step.id.to_string() });
        }
        // What cannot be read at the moment stays.
        for gone in snaps.prune(&plan).map_err(text)? {
            self.lines.say(&Line::Removed { id: gone.id });
        }
        Ok(())
    }

    fn restore(&mut self, snaps: &SnapshotManager) -> Outcome {
        let Some(id) = self.any(snaps)? else { return Ok(()) };
        let name = format!("restored-{}", self.random.next());
        let target = self.job.dir.join(&name);
        self.lines.say(&Line::BeginRestore { name: name.clone(), id: id.clone() });
        snaps.restore_id(&id, RestoreOptions::to(&target)).map_err(text)?;
        self.lines.say(&Line::Restored { name: name.clone() });
        if self.random.below(2) == 0 {
            self.lines.say(&Line::Forget { name });
            std::fs::remove_dir_all(&target).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Replaces the log by a snapshot of it, and now and then takes that back.
    fn exchange(&mut self, mut chain: ChainLog, snaps: &SnapshotManager) -> Outcome<ChainLog> {
        let open = |generation| ChainLog::open(&self.job.log(), self.job.log_config(), generation);
        chain.log().flush().map_err(text)?;
        let (before, generation) = (chain.tail(), chain.generation);
        // One that has records.
        let found = snaps.list().map_err(text)?.into_iter().rev().find(|s| s.log_end_offset > s.base_offset);
        let Some(found) = found.filter(|_| before.end > before.start) else { return Ok(chain) };
        let after = chain::check(&LogReader::open(&found.path).map_err(text)?)?;
        if after.end == after.start {
            return Ok(chain);
        }
        drop(chain);
        self.lines.say(&Line::BeginExchange { start: after.start, end: after.end, link: after.link.clone() });
        snaps.restore_id(&found.id, RestoreOptions::replace()).map_err(text)?;
        let Tail { start, end, link, .. } = after;
        self.lines.say(&Line::Exchanged { start, end, link, generation: 0 });
        if self.random.below(2) == 0 {
            let Tail { start, end, link, .. } = before;
            self.lines.say(&Line::BeginExchange { start, end, link: link.clone() });
            snaps.undo().map_err(text)?;
            self.lines.say(&Line::Exchanged { start, end, link, generation: 0 });
        }
        for kept in snaps.undo_list().map_err(text)? {
            snaps.undo_discard(&kept.id).map_err(text)?;
        }
        open(generation + 1)
    }

    fn any(&mut self, snaps: &SnapshotManager) -> Outcome<Option<String>> {
        // The store is made by the first create.
        let mut all = snaps.list().map_err(text)?;
        if all.is_empty() {
            return Ok(None);
        }
        let at = self.random.below(all.len() as u64) as usize;
        Ok(Some(all.swap_remove(at).id))
    }
}
