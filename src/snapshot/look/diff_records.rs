//! The records that differ between two sides, in the order of their offsets.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::diff::{Comparison, LogDiff, Pair};
use super::diff_sides::SideLog;
use super::unreadable;
use crate::error::{Error, Result};
use crate::log::{Batch, BatchHeader, Batches, CutReader, Record};
use crate::observe::Observer;

/// A record that one side has, or that is another one there.
#[derive(Debug, Clone, Copy)]
pub struct RecordDiff<'a> {
    /// What `a` has at the offset, with the header of its batch.
    pub a: Option<(&'a BatchHeader, &'a Record)>,
    /// What `b` has.
    pub b: Option<(&'a BatchHeader, &'a Record)>,
}

impl Comparison {
    /// Shows the records of each log that differ, or that one side does not have: deleted, truncated, compacted, appended. Segments
    /// that were found equal are not read, batches whose bytes are equal are not decoded. It takes memory for one batch of each side and
    /// its records.
    ///
    /// # Errors
    ///
    /// `Integrity` where a batch is damaged. `Filesystem`, also where the source has let go of a segment since it was compared.
    /// `Interrupted`. The visitor's own.
    pub fn records<E: From<Error>>(
        &self,
        mut show: impl FnMut(&LogDiff, RecordDiff<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<ControlFlow<()>, E> {
        for (log, pair) in self.diff().logs.iter().zip(&self.pairs) {
            if between(pair, &self.observer, |record| show(log, record))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn between<E: From<Error>>(
    pair: &Pair,
    observer: &Observer,
    mut show: impl FnMut(RecordDiff<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<ControlFlow<()>, E> {
    let starts = [&pair.a, &pair.b].map(|side| side.as_ref().map_or(i64::MIN, SideLog::log_start));
    // Below it a batch that both have may be seen on one side only.
    let level = if starts.first() == starts.last() { i64::MIN } else { starts.into_iter().max().unwrap_or(i64::MIN) };
    let readers = [&pair.a, &pair.b].map(|side| side.as_ref().map(SideLog::reader));
    let read = [&pair.a, &pair.b].map(|side| -> Vec<i64> {
        let all = side.iter().flat_map(|side| side.segments.keys().copied());
        all.filter(|base| *base < level || !pair.equal.contains(base)).collect()
    });
    let ([reader_a, reader_b], [read_a, read_b]) = (&readers, &read);
    let (mut a, mut b) = (Stream::new(reader_a.as_ref(), read_a), Stream::new(reader_b.as_ref(), read_b));
    loop {
        observer.check()?;
        if a.pending.is_empty() && b.pending.is_empty() {
            a.fetch()?;
            b.fetch()?;
            let same = |one: &Batch, other: &Batch| one.header().base_offset >= level && one == other;
            if let (Some(one), Some(other)) = (&a.next, &b.next)
                && same(one, other)
            {
                (a.next, b.next) = (None, None);
                continue;
            }
        }
        a.fill()?;
        b.fill()?;
        let flow = match (a.pending.front(), b.pending.front()) {
            (None, None) => return Ok(ControlFlow::Continue(())),
            (Some(one), Some(other)) if one.1.offset == other.1.offset => {
                let (one, other) = (a.pending.pop_front(), b.pending.pop_front());
                let same = one.as_ref().map(content) == other.as_ref().map(content);
                if same { ControlFlow::Continue(()) } else { show(RecordDiff { a: seen(&one), b: seen(&other) })? }
            }
            (Some(one), other) if other.is_none_or(|other| one.1.offset < other.1.offset) => {
                show(RecordDiff { a: seen(&a.pending.pop_front()), b: None })?
            }
            _ => show(RecordDiff { a: None, b: seen(&b.pending.pop_front()) })?,
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
}

type Found = (BatchHeader, Record);

fn seen(found: &Option<Found>) -> Option<(&BatchHeader, &Record)> {
    found.as_ref().map(|(header, record)| (header, record))
}

/// What makes two records the same.
fn content((header, record): &Found) -> (bool, &Record) {
    (header.is_control(), record)
}

/// The records of one side.
struct Stream<'a> {
    reader: Option<&'a CutReader>,
    batches: Option<Batches<'a>>,
    next: Option<Batch>,
    /// Of the batch that is being compared.
    pending: VecDeque<Found>,
}

impl<'a> Stream<'a> {
    fn new(reader: Option<&'a CutReader>, segments: &'a [i64]) -> Self {
        let batches = reader.map(|reader| reader.read_segments(segments, reader.log_start()));
        Stream { reader, batches, next: None, pending: VecDeque::new() }
    }

    /// Has a next batch, if there is one.
    fn fetch(&mut self) -> Result<()> {
        if self.next.is_none() {
            self.next = self.batches.as_mut().and_then(Iterator::next).transpose()?;
        }
        Ok(())
    }

    /// Has records, if there are any.
    fn fill(&mut self) -> Result<()> {
        while self.pending.is_empty() {
            self.fetch()?;
            let (Some(batch), Some(reader)) = (self.next.take(), self.reader) else { return Ok(()) };
            let header = *batch.header();
            let records = batch.records().map_err(|why| unreadable(reader, &header, &why))?;
            let visible = records.into_iter().filter(|record| record.offset >= reader.log_start());
            self.pending.extend(visible.map(|record| (header, record)));
        }
        Ok(())
    }
}
