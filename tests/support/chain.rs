//! A log whose records prove their own history: each holds the digest of the one before it, and the number of times
//! that the log had been truncated. A gap, a repetition or two histories spliced together cannot pass [`check`].

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use cowlog::log::{Log, LogConfig, LogReader};
use cowlog::{Batch, BatchBuilder};

use super::Random;

const LINK: usize = blake3::OUT_LEN;
/// Generation, log start offset, digest of the record before.
const HEAD: usize = 8 + 8 + LINK;

type Link = [u8; LINK];

fn link(offset: i64, value: &[u8]) -> Link {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&offset.to_be_bytes()).update(value);
    *hasher.finalize().as_bytes()
}

/// Where a checked log begins and ends, and the digest that stands for all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    pub start: i64,
    pub end: i64,
    /// Of the last record; 0 where there is none.
    pub generation: u64,
    /// Of the last record; empty where there is none.
    pub link: String,
}

/// Reads a log through, record by record.
pub fn check(reader: &LogReader) -> Result<Tail, String> {
    let mut tail = Tail { start: reader.log_start(), end: reader.log_start(), generation: 0, link: String::new() };
    walk(reader.read_from(reader.log_start()), |offset, generation, link| {
        (tail.end, tail.generation, tail.link) = (offset + 1, generation, hex(&link));
    })?;
    if tail.end != reader.log_end() {
        return Err(format!("the records end at {}, the log at {}", tail.end, reader.log_end()));
    }
    Ok(tail)
}

/// What [`survey`] found.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Of the record that was asked for.
    pub link: Option<String>,
    /// The oldest generation from an offset on.
    pub oldest: Option<u64>,
}

/// Looks for the link of one record and the oldest generation from an offset on, checking all on the way.
pub fn survey(reader: &LogReader, wanted: Option<i64>, from: i64) -> Result<Survey, String> {
    let mut survey = Survey::default();
    walk(reader.read_from(reader.log_start()), |offset, generation, link| {
        if Some(offset) == wanted {
            survey.link = Some(hex(&link));
        }
        if offset >= from {
            survey.oldest = Some(survey.oldest.map_or(generation, |oldest| oldest.min(generation)));
        }
    })?;
    Ok(survey)
}

fn hex(link: &Link) -> String {
    blake3::Hash::from_bytes(*link).to_hex().to_string()
}

fn walk(
    batches: impl Iterator<Item = cowlog::Result<Batch>>,
    mut seen: impl FnMut(i64, u64, Link),
) -> Result<(), String> {
    let mut before: Option<(i64, u64, Link)> = None;
    for batch in batches {
        let batch = batch.map_err(|e| e.to_string())?;
        for record in batch.records().map_err(|e| e.to_string())? {
            let offset = record.offset;
            let value = record.value.ok_or_else(|| format!("record {offset} has no value"))?;
            let (generation, previous) = parse(&value).ok_or_else(|| format!("record {offset} is too short"))?;
            if let Some((last, last_generation, last_link)) = before {
                if offset != last + 1 {
                    return Err(format!("record {offset} follows record {last}"));
                }
                if previous != last_link || generation < last_generation {
                    return Err(format!(
                        "record {offset} of generation {generation} was not written behind the record {last} of \
                         generation {last_generation} that stands before it"
                    ));
                }
            }
            let link = link(offset, &value);
            before = Some((offset, generation, link));
            seen(offset, generation, link);
        }
    }
    Ok(())
}

fn parse(value: &[u8]) -> Option<(u64, Link)> {
    let generation = u64::from_be_bytes(value.get(..8)?.try_into().ok()?);
    Some((generation, value.get(16..HEAD)?.try_into().ok()?))
}

/// The writer of such a log.
pub struct ChainLog {
    log: Log,
    links: Vec<Link>,
    first: i64,
    pub generation: u64,
}

impl ChainLog {
    /// Opens or makes a log; `generation` must be above all that were used before.
    pub fn open(dir: &Path, config: LogConfig, generation: u64) -> Result<ChainLog, String> {
        ChainLog::of(Log::open_with(dir, config).map_err(|e| e.to_string())?, generation)
    }

    /// `None` where another writer has it.
    pub fn try_open(dir: &Path, config: LogConfig, generation: u64) -> Result<Option<ChainLog>, String> {
        match Log::open_with(dir, config) {
            Ok(log) => ChainLog::of(log, generation).map(Some),
            Err(e) if e.kind() == cowlog::error::Kind::Concurrency => Ok(None),
            Err(e) => Err(format!("{e}; {e:?}")),
        }
    }

    fn of(log: Log, generation: u64) -> Result<ChainLog, String> {
        let (mut links, mut first) = (Vec::new(), log.log_end_offset());
        let batches = log.read(log.log_start_offset(), u64::MAX).map_err(|e| e.to_string())?;
        walk(batches.into_iter().map(Ok), |offset, _, link| {
            first = first.min(offset);
            links.push(link);
        })?;
        Ok(ChainLog { log, links, first, generation })
    }

    pub fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    pub fn append(&mut self, records: u64, random: &mut Random, largest: u64) -> cowlog::Result<()> {
        let mut builder = BatchBuilder::new();
        let (base, start) = (self.log.log_end_offset(), self.log.log_start_offset());
        let known = self.links.len();
        for offset in (base..).take(records as usize) {
            let previous = self.links.last().copied().unwrap_or_default();
            let padding = random.below(largest) as usize;
            let mut value = Vec::with_capacity(HEAD + padding);
            value.extend_from_slice(&self.generation.to_be_bytes());
            value.extend_from_slice(&start.to_be_bytes());
            value.extend_from_slice(&previous);
            value.resize(HEAD + padding, random.next() as u8);
            self.links.push(link(offset, &value));
            builder.record(1_735_998_123_000 + offset, None, Some(&value));
        }
        let appended = builder.build().and_then(|batch| self.log.append(batch));
        if appended.is_err() {
            self.links.truncate(known);
        }
        assert_eq!(appended?, base);
        Ok(())
    }

    /// Begins another history.
    pub fn truncate(&mut self, to: i64) -> cowlog::Result<()> {
        self.generation += 1;
        let end = self.log.truncate_to(to)?;
        self.links.truncate(usize::try_from(end - self.first).unwrap_or(0));
        if self.links.is_empty() {
            self.first = end;
        }
        Ok(())
    }

    /// Somewhere in the last few hundred records.
    pub fn point_to_truncate_to(&self, random: &mut Random) -> i64 {
        let (start, end) = (self.log.log_start_offset(), self.log.log_end_offset());
        let reach = (end - start).min(400);
        end - random.below(reach as u64 + 1) as i64
    }

    pub fn tail(&self) -> Tail {
        let (start, end) = (self.log.log_start_offset(), self.log.log_end_offset());
        Tail {
            start,
            end,
            // Which generation the last record is of is not kept; its link says more.
            generation: 0,
            link: if end > start { self.links.last().map(hex).unwrap_or_default() } else { String::new() },
        }
    }
}

/// What a writer has got to, as other processes see it: a few numbers in a file, rewritten in place.
pub struct Progress(File);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Raised before the truncation that it counts.
    pub generation: u64,
    /// Written before this was.
    pub start: i64,
    pub end: i64,
}

impl Progress {
    pub fn open(path: &Path) -> Progress {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        Progress(file.expect("the progress file"))
    }

    pub fn publish(&self, at: Reached) {
        let mut bytes = [at.generation, at.start as u64, at.end as u64].map(u64::to_be_bytes).concat();
        bytes.extend_from_slice(&blake3::hash(&bytes).as_bytes()[..8]);
        self.0.write_all_at(&bytes, 0).expect("progress is published");
    }

    /// Waits for the first publication.
    pub fn read(&self) -> Reached {
        let begun = std::time::Instant::now();
        loop {
            let mut bytes = [0; 32];
            let whole = self.0.read_exact_at(&mut bytes, 0).is_ok();
            if whole && blake3::hash(&bytes[..24]).as_bytes()[..8] == bytes[24..] {
                let field = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
                return Reached { generation: field(0), start: field(8) as i64, end: field(16) as i64 };
            }
            assert!(begun.elapsed().as_secs() < 30, "the writer does not get going");
            std::thread::yield_now();
        }
    }
}
