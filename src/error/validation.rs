//! What is wrong with a request.

use std::path::{Path, PathBuf};

/// The request cannot be carried out as it was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValidationError {
    /// Not the shape of a snapshot id.
    #[error("invalid snapshot id {given:?}: {why}")]
    InvalidId {
        /// What was given, shortened where it is long.
        given: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A prefix that fits more than one snapshot.
    #[error("{given:?} could be any of {}", candidates.join(", "))]
    AmbiguousId {
        /// What was given.
        given: String,
        /// Which snapshots it fits.
        candidates: Vec<String>,
    },
    /// The store has no such snapshot.
    #[error("no snapshot {id} in {}", store.display())]
    NoSuchSnapshot {
        /// What was asked for.
        id: String,
        /// Where it was looked for.
        store: PathBuf,
    },
    /// It is kept until somebody lets go of it.
    #[error("{id} {}", if *unreadable { "counts as pinned: its state cannot be read" } else { "is pinned" })]
    Pinned {
        /// The snapshot.
        id: String,
        /// Its directory.
        path: PathBuf,
        /// Nobody knows: its state cannot be read.
        unreadable: bool,
    },
    /// No snapshot holds the topic or partition, or none holds all of it.
    #[error("no snapshot in {} holds {}{part}", store.display(), if pieces.is_empty() { "" } else { "all of " })]
    NoSuchPart {
        /// The topic or partition that was asked for.
        part: String,
        /// Where one was looked for.
        store: PathBuf,
        /// Those that the snapshots there hold, the most alike first.
        known: Vec<String>,
        /// The snapshots that hold a piece of it.
        pieces: Vec<String>,
    },
    /// No snapshot that could be restored was begun at a time or later.
    #[error("no intact snapshot in {} was taken at {time} or later", store.display())]
    NoSnapshotSince {
        /// The time that was asked for: RFC 3339.
        time: String,
        /// Where one was looked for.
        store: PathBuf,
        /// Those that come nearest, in words.
        nearest: Vec<String>,
    },
    /// There is no store for the source yet.
    #[error("no snapshots of {}: there is no store{}", source_path.display(), if *gone { ", and one that lay in it has gone with it" } else { "" })]
    NoSuchStore {
        /// The source that was named.
        source_path: PathBuf,
        /// Where a store was looked for.
        looked: Vec<PathBuf>,
        /// The source is gone, with a store that may have been in it.
        gone: bool,
    },
    /// The source is not there.
    #[error("no such source: {}", path.display())]
    NoSuchSource {
        /// The path that was given.
        path: PathBuf,
    },
    /// A place elsewhere has nothing of this.
    #[error("there is nothing at {}", path.display())]
    NoSuchCopy {
        /// The address.
        path: PathBuf,
        /// What there is.
        hint: String,
    },
    /// The path is neither a log directory nor a data directory.
    #[error("{} is not a log: {why}", path.display())]
    NotALog {
        /// The path that was given.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
    /// A restore never overwrites.
    #[error("{} exists already", path.display())]
    TargetExists {
        /// The target.
        path: PathBuf,
    },
    /// More sealed data would have to be copied than was allowed.
    #[error(
        "{} bytes of sealed data in {} cannot be shared with {} and would be copied; the limit is {limit}",
        bytes, source_path.display(), store.display()
    )]
    TooMuchToCopy {
        /// Bytes that would be copied.
        bytes: u64,
        /// The limit in force, in bytes.
        limit: u64,
        /// The source.
        source_path: PathBuf,
        /// The store.
        store: PathBuf,
        /// Why, and where sharing would work.
        advice: String,
    },
    /// Anything else that was asked for and cannot be done so.
    #[error("{what}")]
    Refused {
        /// What, and why not.
        what: String,
        /// What it concerns.
        path: Option<PathBuf>,
        /// What to do instead.
        hint: Option<String>,
    },
}

impl ValidationError {
    /// A refusal in plain words.
    pub fn refused(what: impl Into<String>) -> Self {
        ValidationError::Refused { what: what.into(), path: None, hint: None }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            ValidationError::InvalidId { .. } | ValidationError::AmbiguousId { .. } => None,
            ValidationError::NoSuchSnapshot { store, .. }
            | ValidationError::NoSuchPart { store, .. }
            | ValidationError::NoSnapshotSince { store, .. } => Some(store),
            ValidationError::NoSuchStore { source_path, .. } | ValidationError::TooMuchToCopy { source_path, .. } => {
                Some(source_path)
            }
            ValidationError::Pinned { path, .. }
            | ValidationError::NoSuchSource { path }
            | ValidationError::NoSuchCopy { path, .. }
            | ValidationError::NotALog { path, .. }
            | ValidationError::TargetExists { path } => Some(path),
            ValidationError::Refused { path, .. } => path.as_deref(),
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            ValidationError::InvalidId { .. } => {
                "an id is `latest`, `snapshot-<digits>`, the digits alone, or the beginning of them".into()
            }
            ValidationError::AmbiguousId { .. } => "give more digits".into(),
            ValidationError::NoSuchSnapshot { .. } => "`cowlog list` shows what there is".into(),
            ValidationError::Pinned { unreadable: false, .. } => {
                "`cowlog unpin` lets go of it; `--force` deletes it all the same".into()
            }
            ValidationError::Pinned { .. } => "`--force` deletes it all the same".into(),
            ValidationError::NoSuchPart { pieces, .. } if !pieces.is_empty() => {
                format!("name one that holds a piece of it: {}", first_few(pieces))
            }
            ValidationError::NoSuchPart { known, .. } if known.is_empty() => {
                "the snapshots there hold no topic at all; `cowlog list` shows them".into()
            }
            ValidationError::NoSuchPart { known, .. } => {
                format!("what they hold, the most alike first: {}", first_few(known))
            }
            ValidationError::NoSnapshotSince { nearest, .. } if nearest.is_empty() => {
                "there is none that was taken earlier either".into()
            }
            ValidationError::NoSnapshotSince { nearest, .. } => {
                format!("nearest: {}; `cowlog list` shows what there is", nearest.join(", "))
            }
            ValidationError::NoSuchStore { looked, gone, .. } => {
                let places: Vec<_> = looked.iter().map(|p| p.display().to_string()).collect();
                let instead = "bring the directory back from a backup; `cowlog undo --list` shows what replacements took out of it";
                let instead = if *gone { format!("{instead}; ") } else { String::new() };
                format!("{instead}looked in {}; `--store DIR` names another place", places.join(", "))
            }
            ValidationError::NoSuchCopy { hint, .. } => hint.clone(),
            ValidationError::NoSuchSource { .. } | ValidationError::NotALog { .. } => {
                "name a directory of segments, or a directory of such directories".into()
            }
            ValidationError::TargetExists { .. } => "name a directory that does not exist yet".into(),
            ValidationError::TooMuchToCopy { advice, .. } => advice.clone(),
            ValidationError::Refused { hint, .. } => return hint.clone(),
        })
    }
}

fn first_few(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.get(..SHOWN).unwrap_or(names).join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}
