//! The bytes of one log, in Kafka's format.
//!
//! Facts of the format are cited as `module: Class.method` of Apache Kafka's source, 4.x.

mod batch;
mod check;
mod checkpoint;
mod codec;
mod config;
mod cut;
mod cut_reader;
mod entries;
mod header;
mod index;
mod open;
mod read;
mod reader;
mod record;
mod recover;
mod retention;
mod scan;
mod sealed;
mod seek;
mod segment;
mod truncate;
mod walk;
mod window;
mod writer;

pub use batch::{Batch, BatchBuilder};
pub use check::{IndexChecker, IndexVerdict, SegmentCheck, SegmentProblem, check_segment};
pub use checkpoint::{CHECKPOINT, Checkpoint, Durable, SEGMENTS_LOCK, WRITER_LOCK};
pub use codec::Codec;
pub use config::{HighWatermark, LogConfig};
pub use cut::{Cut, CutQuality, HeldCut};
pub use cut_reader::CutReader;
pub use header::{BatchError, BatchHeader};
pub use index::{
    INDEX_INTERVAL, IndexBuilder, IndexBytes, IndexEntry, IndexStop, OffsetEntry, ParsedIndex, TimeEntry,
    parse_offset_index, parse_time_index,
};
pub use open::Recovery;
pub use read::Batches;
pub use reader::LogReader;
pub use record::{Record, RecordView};
pub use scan::{BatchScanner, ScanEnd, ScannedBatch, Stop, scan, scan_until};
pub(crate) use sealed::{SegmentEnd, segment_end};
pub(crate) use segment::list_live;
pub use segment::{Listing, SealedSegment, SegmentEntry, SegmentFile, list_log, parse_segment_name, segment_file_name};
pub(crate) use walk::walk;
pub use writer::Log;
