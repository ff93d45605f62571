//! How much may be copied because it cannot be shared.

use std::collections::HashMap;
use std::ops::Add;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Result, ValidationError};
use crate::fs::{Dir, MethodChoice};

/// Bytes, of what is not inherited.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::snapshot) struct Plan {
    /// Of everything, inherited or not.
    pub(in crate::snapshot) total: u64,
    /// Will have to be copied.
    pub(in crate::snapshot) copied: u64,
    /// Of these, sealed data: what could be shared in a better place.
    pub(in crate::snapshot) sealed: u64,
}

impl Add for Plan {
    type Output = Plan;

    fn add(self, other: Plan) -> Plan {
        Plan {
            total: self.total.saturating_add(other.total),
            copied: self.copied.saturating_add(other.copied),
            sealed: self.sealed.saturating_add(other.sealed),
        }
    }
}

/// What the copies of sealed data may add up to. Nothing is copied wholesale without having been asked for.
#[derive(Debug)]
pub(in crate::snapshot) struct Budget {
    /// `None`: a part of the source, known once there is a plan.
    asked: Option<u64>,
    limit: AtomicU64,
    copied: Mutex<Copied>,
    source: Dir,
    store: PathBuf,
}

/// What was copied so far.
#[derive(Debug, Default)]
struct Copied {
    total: u64,
    by_path: HashMap<String, u64>,
}

impl Budget {
    pub(in crate::snapshot) fn new(asked: Option<u64>, method: MethodChoice, source: &Dir, store: PathBuf) -> Self {
        let asked = if method == MethodChoice::Copy { asked.or(Some(u64::MAX)) } else { asked };
        Budget { asked, limit: AtomicU64::new(0), copied: Mutex::default(), source: source.clone(), store }
    }

    /// Whether the plan is within the limit, which holds from here on.
    pub(in crate::snapshot) fn accept(&self, plan: &Plan) -> Result<()> {
        const FLOOR: u64 = 1 << 30;
        let limit = self.asked.unwrap_or(FLOOR.max(plan.total / 10));
        self.limit.store(limit, Ordering::Relaxed);
        if plan.sealed <= limit { Ok(()) } else { Err(self.exceeded(plan.sealed)) }
    }

    /// Accounts for a copy that was made of the file of this path. One that is copied again takes the room of the first.
    pub(in crate::snapshot) fn spend(&self, path: &str, bytes: u64) -> Result<()> {
        let total = {
            let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
            let before = copied.by_path.insert(path.to_owned(), bytes).unwrap_or(0);
            copied.total = copied.total.saturating_sub(before).saturating_add(bytes);
            copied.total
        };
        if total <= self.limit.load(Ordering::Relaxed) { Ok(()) } else { Err(self.exceeded(total)) }
    }

    fn exceeded(&self, bytes: u64) -> crate::error::Error {
        ValidationError::TooMuchToCopy {
            bytes,
            limit: self.limit.load(Ordering::Relaxed),
            source_path: self.source.path().to_owned(),
            store: self.store.clone(),
            advice: match is_mount(&self.source) {
                true => {
                    "the source is the root of its filesystem, so nothing beside it can share with it: keep the log in \
                         a directory below the mount point, or allow the copies with `--max-copy SIZE`"
                }
                false => {
                    "a store on the source's own filesystem shares instead of copying; `--max-copy SIZE` allows \
                          the copies"
                }
            }
            .into(),
        }
        .into()
    }
}

/// Nothing beside a mount point can share its blocks.
fn is_mount(dir: &Dir) -> bool {
    let path = dir.fs().canonical(dir.path());
    let above =
        path.parent().and_then(|parent| dir.open_parent(parent).ok()).and_then(|parent| parent.stat_self().ok());
    matches!((dir.stat_self(), above), (Ok(this), Some(above)) if this.dev != above.dev)
}
