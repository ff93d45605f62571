//! When the bytes of a snapshot's files were last read, beyond what its manifest says of that.

use serde::{Deserialize, Serialize};

/// Two times and some ranges, however many files there are. Times are milliseconds since 1970 UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// Every file was read at this time or later.
    #[serde(default)]
    pub all: i64,
    /// When that was read of which it is the longest ago.
    #[serde(default)]
    pub oldest: i64,
    /// What a scrub that is not through has read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Pass>,
}

/// Files that were read since a scrub of the store began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// When it began.
    pub since: i64,
    /// First and last of files that lie side by side in the manifest.
    pub files: Vec<(u32, u32)>,
}

impl Reads {
    /// All files were read at this time or later.
    pub fn at(time: i64) -> Self {
        Reads { all: time, oldest: time, pass: None }
    }

    /// When the file at this place of the manifest was last read, as far as this tells.
    pub fn of(&self, file: usize) -> i64 {
        let within = |pass: &&Pass| {
            let after =
                pass.files.partition_point(|(first, _)| usize::try_from(*first).is_ok_and(|first| first <= file));
            let range = after.checked_sub(1).and_then(|at| pass.files.get(at));
            range.is_some_and(|(_, last)| usize::try_from(*last).is_ok_and(|last| file <= last))
        };
        self.pass.as_ref().filter(within).map_or(self.all, |pass| pass.since.max(self.all))
    }
}

impl Pass {
    /// Of files in ascending order.
    pub fn new(since: i64, files: impl Iterator<Item = u32>) -> Self {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for file in files {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(file) => *last = file,
                _ => ranges.push((file, file)),
            }
        }
        Pass { since, files: ranges }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stand_for_what_they_were_made_of() {
        let read = [0, 1, 2, 5, 7, 8, u32::MAX];
        let pass = Pass::new(50, read.into_iter());
        assert_eq!(pass.files, [(0, 2), (5, 5), (7, 8), (u32::MAX, u32::MAX)]);
        let reads = Reads { all: 10, oldest: 10, pass: Some(pass) };
        for file in 0..12 {
            let expected = if read.contains(&file) { 50 } else { 10 };
            assert_eq!(reads.of(file as usize), expected, "{file}");
        }
        assert_eq!((Reads::default().of(3), Reads::at(7).of(3)), (0, 7));
        assert_eq!(Reads { all: 60, ..reads }.of(5), 60, "a full verification since");
    }

    #[test]
    fn it_is_small() {
        let pass = Pass::new(1_735_998_123_000, 0..15_000);
        let text = serde_json::to_string(&Reads { all: 1, oldest: 1, pass: Some(pass) }).unwrap();
        assert!(text.len() < 100, "{text}");
    }
}
