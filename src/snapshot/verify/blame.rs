//! Who probably changed a file of a snapshot: the writer of the log, or nobody who should.
//!
//! A hard link is the log's own inode. What a writer does to it in place (a broker truncates a segment after an unclean
//! restart or when it follows another leader: `storage: LogSegment.recover`, `LocalLog.truncateTo`) moves its mtime; a disk that loses
//! bits does not.

use crate::error::{Damage, DamageKind};
use crate::fs::Stat;
use crate::log::parse_segment_name;
use crate::store::{FileManifest, rfc3339};

/// Damage of a file whose size is another one.
pub(in crate::snapshot) fn resized(file: &FileManifest, stat: &Stat) -> Damage {
    let sizes = format!("{} bytes, should be {}", stat.size, file.size);
    let detail = match written_since(file, stat) {
        Some(at) if stat.size < file.size => {
            format!("{sizes}: {} truncated it in place {at}; {AS_BROKERS_DO}", whose(file))
        }
        Some(at) => format!("{sizes}: {} went on writing to it {at}", whose(file)),
        None if is_the_logs_own(file, stat) => format!("{sizes}: {UNMOVED}"),
        None => sizes,
    };
    Damage { path: file.path.clone(), kind: DamageKind::Size, detail }
}

/// Damage of a file whose bytes are others, of the same number.
pub(in crate::snapshot) fn changed(file: &FileManifest, stat: Option<&Stat>) -> Damage {
    let why = match stat.filter(|stat| is_the_logs_own(file, stat)) {
        Some(stat) => match written_since(file, stat) {
            Some(at) => format!("{} rewrote it in place {at}; {AS_BROKERS_DO}", whose(file)),
            None => UNMOVED.to_owned(),
        },
        None if file.exposed => {
            "the live log named this very file, so its writer may have changed it in place".to_owned()
        }
        None => "no writer could reach this file, so the disk or somebody else changed it".to_owned(),
    };
    let detail = format!("its bytes are not what they were; {why}");
    Damage { path: file.path.clone(), kind: DamageKind::Digest, detail }
}

const AS_BROKERS_DO: &str =
    "a broker does so after an unclean restart or to follow another leader; the disk is not to blame";
const UNMOVED: &str = "it is a hard link to the log's own file, but its time stamp has not moved since, \
                       so the disk lost bits, or somebody wrote and set the time back";

/// Whether the snapshot's file still is the inode that the source named when the snapshot was taken. By its number alone: that of
/// the device may be another one after a reboot.
fn is_the_logs_own(file: &FileManifest, stat: &Stat) -> bool {
    file.exposed && file.source.is_some_and(|source| source.ino == stat.ino)
}

/// When the log's inode was written after it was shared, in words.
fn written_since(file: &FileManifest, stat: &Stat) -> Option<String> {
    const NANOSECONDS: i64 = 1_000_000;
    let written = is_the_logs_own(file, stat) && stat.mtime != file.mtime;
    written.then(|| format!("at {}", rfc3339(stat.mtime.div_euclid(NANOSECONDS))))
}

/// Subject of the sentence, with the segment that the file belongs to.
fn whose(file: &FileManifest) -> String {
    let (dir, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let of = if dir.is_empty() { String::new() } else { format!(" of {dir}") };
    match parse_segment_name(name) {
        Some((base, _)) => format!("it is a hard link to segment {base}{of}, whose writer"),
        None => "it is a hard link to the log's own file, whose writer".to_owned(),
    }
}
