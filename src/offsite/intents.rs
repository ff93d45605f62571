//! Announcements: which blobs pushes that are under way will need. They keep `gc` away from them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::blobs::BlobId;
use super::bucket::Object;
use super::config::run;
use super::names::{PUSHES, SnapshotKey};
use super::remote::Remote;
use crate::error::{Error, IntegrityError, Result, ValidationError};
use crate::store::{MAX_MANIFEST, seal, unseal};

#[derive(Debug, Serialize, Deserialize)]
struct Body {
    blobs: Vec<String>,
}

/// What one push has announced.
pub(super) struct Intent<'a> {
    remote: &'a Remote,
    key: String,
    /// When it was made, by the server's clock: milliseconds since 1970 UTC.
    pub(super) made: i64,
}

impl<'a> Intent<'a> {
    /// After `Ok` no `gc` that looks from now on takes any of these blobs.
    pub(super) fn announce(
        remote: &'a Remote,
        snapshot: &SnapshotKey,
        blobs: impl Iterator<Item = BlobId>,
    ) -> Result<Self> {
        let key = snapshot.intent(&run()?);
        remote.bucket.put(&key, seal("an announcement", &Body { blobs: blobs.map(BlobId::to_hex).collect() })?)?;
        let mut intent = Intent { remote, key, made: 0 };
        intent.made = intent.look()?;
        Ok(intent)
    }

    /// That it still stands: after a long sleep it may have been taken for one of the dead.
    pub(super) fn look(&self) -> Result<i64> {
        let gone = || -> Error {
            ValidationError::Refused {
                what: "this push took so long that its announcement was removed; nothing was published".into(),
                path: Some(self.remote.bucket.address(&self.key)),
                hint: Some("push again: what has arrived is not sent again".into()),
            }
            .into()
        };
        let meta = self.remote.bucket.head(&self.key)?.ok_or_else(gone)?;
        Ok(meta.last_modified.timestamp_millis())
    }

    /// The same after a failure or an interruption: it is tried once, for a short time.
    pub(super) fn give_up(self) {
        self.remote.bucket.delete_quickly(&self.key);
    }

    /// Best effort: one that stays keeps some bytes for a while.
    pub(super) fn withdraw(self) {
        if let Err(e) = self.remote.bucket.delete(&self.key) {
            self.remote.observer().warn(&format!("{e}; it keeps its blobs for a week"));
        }
    }
}

impl Remote {
    /// All announcements. Other names mean nothing.
    pub(super) fn intents(&self) -> Result<Vec<Object>> {
        let listed = self.bucket.list(PUSHES)?;
        Ok(listed.into_iter().filter(|object| SnapshotKey::of_intent(&object.key).is_some()).collect())
    }

    /// The blobs of an announcement; `None` where it has been withdrawn meanwhile.
    pub(super) fn announced(&self, key: &str) -> Result<Option<BTreeSet<BlobId>>> {
        let Some(bytes) = self.bucket.get(key, MAX_MANIFEST)? else { return Ok(None) };
        let bad = |what: String| {
            let hint = "nobody knows which blobs it keeps: once no push is under way, remove this object";
            IntegrityError { hint: Some(hint.into()), ..IntegrityError::new(self.bucket.address(key), what) }
        };
        let body: Body = unseal("an announcement", &bytes).map_err(|e| bad(e.to_string()))?;
        let id = |text: &String| BlobId::from_hex(text).ok_or_else(|| bad(format!("{text:?} is no blob")).into());
        body.blobs.iter().map(id).collect::<Result<_>>().map(Some)
    }
}
