//! The bytes of one log, in Kafka's format.
//!
//! Facts of the format are cited as `module: Class.method` of Apache Kafka's source, 4.x.

mod batch;
mod check;
mod checkpoint;
mod codec;
mod cut;
mod header;
mod index;
mod record;
mod scan;
mod segment;

pub use batch::{Batch, BatchBuilder};
pub use check::{IndexChecker, IndexVerdict, SegmentCheck, SegmentProblem, check_segment};
pub use checkpoint::{CHECKPOINT, Checkpoint, SEGMENTS_LOCK, WRITER_LOCK};
pub use codec::Codec;
pub use cut::{Cut, CutQuality, HeldCut};
pub use header::{BatchError, BatchHeader};
pub use index::{
    INDEX_INTERVAL, IndexBuilder, IndexBytes, IndexEntry, IndexStop, OffsetEntry, ParsedIndex, TimeEntry,
    parse_offset_index, parse_time_index,
};
pub use record::Record;
pub use scan::{BatchScanner, ScanEnd, ScannedBatch, Stop, scan, scan_until};
pub use segment::{Listing, SealedSegment, SegmentEntry, SegmentFile, list_log, parse_segment_name, segment_file_name};
