//! Which snapshots may go: a pure function, and its application.

pub(in crate::snapshot) mod delete;
pub(in crate::snapshot) mod label;
pub(in crate::snapshot) mod policy;
mod unlink;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result, ValidationError};
use crate::fs::LockMode;
use crate::snapshot::manager::SnapshotManager;
use crate::snapshot::outcome::Deleted;
use crate::snapshot::set::incomplete;
use crate::store::{Record, Scope, SnapshotId};
use policy::{Policy, Span};

/// What is to become of one snapshot, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its scope.
    pub scope: Scope,
    /// Whether it goes.
    pub remove: bool,
    /// In words.
    pub reason: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.remove { "remove" } else { "keep" };
        write!(f, "{verb:<6} {} {}", self.id, self.reason)
    }
}

/// A plan for every snapshot of a store, newest first. Making one changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrunePlan {
    steps: Vec<Step>,
}

impl PrunePlan {
    /// All steps, newest snapshot first.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Without the snapshots of other scopes than this one, as [`SnapshotInfo::scope`](crate::snapshot::SnapshotInfo::scope) has it.
    pub fn only(mut self, scope: &str) -> Self {
        self.steps.retain(|step| step.scope.to_string() == scope);
        self
    }

    /// Those that remove.
    pub fn removals(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|s| s.remove)
    }
}

impl<'a> IntoIterator for &'a PrunePlan {
    type Item = &'a Step;
    type IntoIter = std::slice::Iter<'a, Step>;

    fn into_iter(self) -> Self::IntoIter {
        self.steps.iter()
    }
}

/// Decides. `now` is in milliseconds since 1970 UTC; `in_use` are locked by somebody.
///
/// Scope by scope. Pinned snapshots are neither removed nor counted, damaged ones are not counted and fill no slot of a
/// keep rule. Of the others, newest first, one goes when its rank is at or beyond `max_snapshots` or its age beyond
/// `retention_time`, unless something holds it: it is the newest of all, the newest that was verified in full, in use, or a
/// keep rule of the policy names it. A clock that stands before the newest snapshot suspends the age rule.
pub fn plan(records: &[Record], policy: &Policy, now: i64, in_use: &BTreeSet<SnapshotId>) -> PrunePlan {
    let mut scopes: BTreeMap<&Scope, Vec<&Record>> = BTreeMap::new();
    for record in records {
        scopes.entry(&record.scope).or_default().push(record);
    }
    let mut steps: Vec<Step> =
        scopes.into_values().flat_map(|of_scope| plan_scope(of_scope, policy, now, in_use)).collect();
    steps.sort_by_key(|step| std::cmp::Reverse(step.id));
    PrunePlan { steps }
}

fn plan_scope(mut records: Vec<&Record>, policy: &Policy, now: i64, in_use: &BTreeSet<SnapshotId>) -> Vec<Step> {
    records.sort_by_key(|r| std::cmp::Reverse(r.id));
    let good: Vec<&Record> = records.iter().copied().filter(|r| is_good(r) && !r.pinned).collect();
    let counted: BTreeMap<SnapshotId, usize> = good.iter().enumerate().map(|(rank, r)| (r.id, rank)).collect();
    // Where none is whole, one that lacks logs is better than none.
    let newest_good = records.iter().find(|r| is_good(r)).or_else(|| records.iter().find(|r| !is_damaged(r)));
    let newest_good = newest_good.map(|r| r.id);
    let newest_verified = records.iter().find(|r| is_good(r) && is_verified(r)).map(|r| r.id);
    let ruled = policy.holds(&records, &good, now);
    let clock_is_back = records.first().is_some_and(|r| r.timestamp > now);
    let step = |record: &Record| {
        let (remove, reason) = match counted.get(&record.id) {
            _ if record.state_unreadable => (false, STATE_UNREADABLE.to_owned()),
            _ if record.pinned => (false, "pinned".to_owned()),
            rank => {
                let age = age(record, now);
                let going = if rank.is_some_and(|rank| *rank >= policy.max_snapshots) {
                    Some(format!("more than {} snapshots", policy.max_snapshots))
                } else if !clock_is_back && age > policy.retention_time {
                    Some(format!("older than {}", Span(policy.retention_time)))
                } else {
                    None
                };
                let held = if in_use.contains(&record.id) {
                    Some("in use".to_owned())
                } else if newest_good == Some(record.id) {
                    Some("the newest".to_owned())
                } else if newest_verified == Some(record.id) {
                    Some("the newest that was verified in full".to_owned())
                } else {
                    ruled.get(&record.id).cloned()
                };
                match (going, held) {
                    (Some(_), Some(held)) => (false, held),
                    (Some(why), None) => (true, why),
                    (None, _) if record.partial => {
                        (false, "logs or parts are missing in it, and it is not yet too old".to_owned())
                    }
                    (None, _) if is_damaged(record) => (false, "damaged, and not yet too old".to_owned()),
                    (None, _) if clock_is_back => (false, "the clock stands before the newest snapshot".to_owned()),
                    (None, _) => (false, "within the limits".to_owned()),
                }
            }
        };
        Step { id: record.id, scope: record.scope.clone(), remove, reason }
    };
    records.into_iter().map(step).collect()
}

/// None where the snapshot is of the future.
pub(in crate::snapshot) fn age(record: &Record, now: i64) -> Duration {
    Duration::from_millis(u64::try_from(now.saturating_sub(record.timestamp)).unwrap_or(0))
}

const STATE_UNREADABLE: &str = "its state cannot be read, it counts as pinned";

/// One in which logs are missing is not counted either: it must not push out the last that has them.
fn is_good(record: &Record) -> bool {
    !is_damaged(record) && !record.partial
}

fn is_damaged(record: &Record) -> bool {
    record.damaged.is_some() || record.verified.as_ref().is_some_and(|(_, _, ok)| !ok)
}

fn is_verified(record: &Record) -> bool {
    record.verified.as_ref().is_some_and(|(_, _, ok)| *ok)
}

impl SnapshotManager {
    /// What a policy would do to the snapshots of the source. Nothing is changed. The observer is warned of those that
    /// cannot be read.
    pub fn plan_prune(&self, policy: &Policy) -> Result<PrunePlan> {
        let Some(store) = self.find_store()? else { return Ok(PrunePlan::default()) };
        let mut records = self.records(&store)?;
        // What is missing of it, others lack as well.
        records.iter_mut().for_each(|r| r.partial |= incomplete(self.fs(), r).is_some());
        let guard = store.lock(LockMode::Shared, &self.deadline())?;
        let in_use = records.iter().map(|r| r.id).filter(|id| store.is_in_use(*id, &guard)).collect();
        drop(guard);
        for record in &records {
            let why = record.damaged.as_deref().or(record.state_unreadable.then_some(STATE_UNREADABLE));
            if let Some(why) = why {
                self.config().observer.warn(&format!("{}: {why}", record.id));
            }
        }
        Ok(plan(&records, policy, self.config().clock.now(), &in_use))
    }

    /// What the configured `max_snapshots` and `retention_time` would do.
    pub fn plan_cleanup(&self) -> Result<PrunePlan> {
        self.plan_prune(&self.policy())
    }

    /// The policy of the configuration.
    pub fn policy(&self) -> Policy {
        let config = self.config();
        Policy { max_snapshots: config.max_snapshots, retention_time: config.retention_time, ..Policy::default() }
    }

    /// Applies a plan: deletes what it removes, oldest first. What has gone meanwhile is passed over; what has come
    /// into use, or was pinned, since the plan was made stays.
    ///
    /// Returns what went. With an error, what went before it is gone; the plan can be made and applied again.
    pub fn prune(&self, plan: &PrunePlan) -> Result<Vec<Deleted>> {
        let store = match self.find_store()? {
            Some(store) => store,
            None => return Ok(Vec::new()),
        };
        let mut gone = Vec::new();
        for step in plan.removals().collect::<Vec<_>>().into_iter().rev() {
            self.config().observer.check()?;
            let guard = store.lock(LockMode::Shared, &self.deadline())?;
            match store.read_state(step.id) {
                Ok(state) if state.unreadable => {
                    self.config().observer.warn(&format!("{}: {STATE_UNREADABLE}", step.id));
                    continue;
                }
                Ok(state) if state.pinned => continue,
                Err(e) if e.is_not_found() => continue,
                _ if store.is_in_use(step.id, &guard) => continue,
                _ => drop(guard),
            }
            match self.delete_for(&store, step.id, false, &step.reason) {
                Ok(deleted) => gone.push(deleted),
                // Another process was faster, or has pinned it since.
                Err(e) if e.is_not_found() => {}
                Err(Error::Validation(ValidationError::Pinned { unreadable: false, .. })) => {}
                Err(Error::Validation(ValidationError::Pinned { .. })) => {
                    self.config().observer.warn(&format!("{}: {STATE_UNREADABLE}", step.id));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    /// Wednesday 2025-01-15 12:00 UTC.
    const NOW: i64 = 1_736_942_400_000;

    fn record(timestamp: i64) -> Record {
        let json = format!(
            r#"{{"id":"snapshot-{timestamp}","timestamp":{timestamp},"scope":"all","num_segments":1,"total_size":1,
                "methods":{{}},"bytes_copied":0,"exposed":0,"oldest_read":null,"root":"00"}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn ages(ages: &[i64]) -> Vec<Record> {
        let mut records: Vec<Record> = ages.iter().map(|age| record(NOW - age)).collect();
        records.sort_by_key(|r| r.id);
        records
    }

    fn removed(records: &[Record], policy: &Policy) -> Vec<i64> {
        plan(records, policy, NOW, &BTreeSet::new())
            .removals()
            .map(|s| NOW - i64::try_from(s.id.ms()).unwrap())
            .collect()
    }

    #[test]
    fn the_defaults_keep_five_of_a_day() {
        let policy = Policy::default();
        assert_eq!(removed(&ages(&[0, 1, 2, 3, 4, 5, 6]), &policy), [5, 6]);
        assert_eq!(removed(&ages(&[0, HOUR, DAY, DAY + 1]), &policy), [DAY + 1]);
        assert_eq!(removed(&ages(&[3 * DAY]), &policy), [] as [i64; 0], "the newest never goes by age");
        assert_eq!(removed(&[], &policy), [] as [i64; 0]);
    }

    #[test]
    fn pins_damage_and_verifications() {
        let policy = Policy { max_snapshots: 2, ..Policy::default() };
        let mut records = ages(&[0, 1, 2, 3]);
        records[1].pinned = true; // age 2
        assert_eq!(removed(&records, &policy), [3], "a pinned one is not counted");
        let mut records = ages(&[0, 1, 2, 3]);
        records[3].damaged = Some("x".into()); // age 0
        assert_eq!(removed(&records, &policy), [3], "a damaged one is not counted");
        (records[3].damaged, records[3].partial) = (None, true);
        assert_eq!(removed(&records, &policy), [3], "nor is one in which logs are missing");
        let mut records = ages(&[2 * DAY, 3 * DAY]);
        records.iter_mut().for_each(|r| r.partial = true);
        assert_eq!(removed(&records, &policy), [3 * DAY], "the last one stays, if none is whole");
        let mut records = ages(&[0, 1, 2, 3]);
        (records[3].damaged, records[3].partial) = (Some("x".into()), false);
        let mut records = ages(&[0, 2 * DAY]);
        records[1].damaged = Some("x".into());
        assert_eq!(removed(&records, &policy), [] as [i64; 0], "the last good one stays");
        let mut records = ages(&[0, 1, 2 * DAY, 3 * DAY]);
        records[0].verified = Some((0, "full".into(), true));
        assert_eq!(removed(&records, &policy), [2 * DAY], "the newest verified one stays");
        let mut records = ages(&[0, 1, 2 * DAY]);
        records[0].verified = Some((0, "full".into(), false));
        assert_eq!(removed(&records, &policy), [2 * DAY], "found damaged, it holds nothing");
    }

    #[test]
    fn in_use_stays() {
        let records = ages(&[0, 2 * DAY]);
        let in_use = BTreeSet::from([records[0].id]);
        assert_eq!(plan(&records, &Policy::default(), NOW, &in_use).removals().count(), 0);
    }

    #[test]
    fn a_clock_that_went_back_suspends_age() {
        let records = ages(&[-HOUR, 2 * DAY, 3 * DAY]);
        assert_eq!(removed(&records, &Policy::default()), [] as [i64; 0]);
        assert_eq!(removed(&records, &Policy { max_snapshots: 2, ..Policy::default() }), [3 * DAY]);
    }

    #[test]
    fn scopes_are_counted_apart() {
        let mut records = ages(&[0, 1, 2, 3]);
        records[0].scope = Scope::Partition { topic: "a".into(), partition: 0 };
        records[1].scope = Scope::Partition { topic: "a".into(), partition: 0 };
        assert_eq!(removed(&records, &Policy { max_snapshots: 1, ..Policy::default() }), [1, 3]);
    }

    #[test]
    fn a_step_reads_as_a_line() {
        let plan = plan(&ages(&[0, 25 * HOUR]), &Policy::default(), NOW, &BTreeSet::new());
        let lines: Vec<String> = plan.steps().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                format!("keep   snapshot-{NOW} within the limits"),
                format!("remove snapshot-{} older than 1 d", NOW - 25 * HOUR)
            ]
        );
    }
}
