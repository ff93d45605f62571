//! Changes of `record.json`, the one object of a snapshot that changes.

use std::cell::Cell;
use std::time::Duration;

use super::conditional::Over;
use super::list::RemoteRecord;
use super::names::{RECORD, SnapshotKey};
use super::remote::Remote;
use crate::error::Result;
use crate::fs::{Deadline, locked};
use crate::store::MAX_MANIFEST;

impl Remote {
    /// Changes what is known of a snapshot. `change` is given the record, or nothing where that is lost or not to be believed,
    /// and says what is to be there; nothing leaves all as it is. It is asked again, with what is there then, whenever
    /// somebody else was faster, and has to say the same of its own result.
    ///
    /// After `Ok` the change is there, and so is what others changed meanwhile. Where a place cannot replace one version of
    /// an object only, one that another machine makes in the same moment may be lost.
    ///
    /// # Errors
    ///
    /// `Concurrency` where others are faster all the time. `Filesystem`: the server cannot be reached or does not let this
    /// user write. And those of `change`.
    pub(super) fn change_record(
        &self,
        key: &SnapshotKey,
        change: impl Fn(Option<RemoteRecord>) -> Result<Option<RemoteRecord>>,
    ) -> Result<()> {
        const LONG: Duration = Duration::from_secs(60);
        const PUTS: u32 = 5;
        let object = key.object(RECORD);
        let deadline = Deadline::after(LONG, self.observer());
        let puts = Cell::new(0);
        let _alone = self.bucket.alone(self.observer())?;
        let changed = deadline.retry(|| {
            let (bytes, version) = self.bucket.get_versioned(&object, MAX_MANIFEST)?.unzip();
            let parsed = bytes.and_then(|bytes| RemoteRecord::parse(&self.unsealed(bytes).ok()?).ok());
            let known = parsed.filter(|there| there.record.id == key.id);
            let Some(wanted) = change(known.clone())? else { return Ok(Some(())) };
            if known.as_ref() == Some(&wanted) {
                return Ok(Some(()));
            }
            let put = self.bucket.put_over(&object, self.sealed(wanted.to_bytes()?)?, version.as_ref())?;
            if put != Over::Overtaken {
                puts.set(puts.get() + 1);
            }
            // It is looked whether the change is there: some servers look at the condition first and write then.
            Ok((puts.get() >= PUTS).then_some(()))
        })?;
        changed.ok_or_else(|| locked(self.bucket.address(&object), "others change it all the time", &deadline, None))
    }
}
