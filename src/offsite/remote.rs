//! The entrance: one place elsewhere.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;

use super::blobs::BlobId;
use super::bucket::{Bucket, Put};
use super::config::{Compression, IdKey, RemoteConfig};
use super::keys::{Identities, Recipients};
use super::limit::Limit;
use super::names::CONFIG;
use super::place::{self, Place, PlaceOptions};
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Clock, since_boot};
use crate::observe::Observer;

const MAX_CONFIG: u64 = 1 << 20;

/// How a [`Remote`] behaves. `RemoteOptions::default()` is meant to be used.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// How the place is reached.
    pub place: PlaceOptions,
    /// Who reads an encrypted place.
    pub identities: Option<Identities>,
    /// How many files are on the way at a time. 32; memory is bounded beside that.
    pub jobs: usize,
    /// Bytes per second that are sent or fetched at most; more than 0.
    pub limit: Option<u64>,
    /// The time of day.
    pub clock: Clock,
    /// Told of progress; can cancel.
    pub observer: Observer,
    /// What keeps `gc` and pushes of other machines apart.
    pub timing: Timing,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        RemoteOptions {
            place: PlaceOptions::default(),
            identities: None,
            jobs: 32,
            limit: None,
            clock: Clock::default(),
            observer: Observer::default(),
            timing: Timing::default(),
        }
    }
}

/// Spans that all machines of a place have to agree on. Only tests change them.
#[derive(Debug, Clone)]
pub struct Timing {
    /// How long after it looked whether blobs are needed a `gc` may still be removing them. 3 minutes.
    pub window: Duration,
    /// How much longer than that a push waits. 2 minutes.
    pub margin: Duration,
    /// How long an announcement of a push that has died keeps its blobs. 7 days.
    pub announced: Duration,
    /// What time passes by.
    pub watch: Watch,
}

/// A clock that never jumps and that goes on while the machine sleeps, and waiting by it.
#[derive(Clone)]
pub struct Watch {
    elapsed: Arc<dyn Fn() -> Duration + Send + Sync>,
    wait: Arc<dyn Fn(Duration) + Send + Sync>,
}

impl Watch {
    /// Of the caller's own: how much time has passed since some moment, and how to wait.
    pub fn new(
        elapsed: impl Fn() -> Duration + Send + Sync + 'static,
        wait: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Self {
        Watch { elapsed: Arc::new(elapsed), wait: Arc::new(wait) }
    }

    pub(super) fn elapsed(&self) -> Duration {
        (self.elapsed)()
    }

    /// How much is left until then; nothing once it has come.
    pub(super) fn left(&self, until: Duration) -> impl Fn() -> Option<Duration> + Send + 'static {
        let elapsed = self.elapsed.clone();
        move || until.checked_sub(elapsed()).filter(|left| !left.is_zero())
    }

    /// Waits, and looks several times a second whether it is to stop.
    pub(super) fn wait(&self, long: Duration, observer: &Observer) -> Result<()> {
        const LOOK: Duration = Duration::from_millis(100);
        let until = self.elapsed() + long;
        loop {
            observer.check()?;
            match until.checked_sub(self.elapsed()) {
                Some(rest) if !rest.is_zero() => (self.wait)(rest.min(LOOK)),
                _ => return Ok(()),
            }
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Watch::new(since_boot, std::thread::sleep)
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watch({:?})", self.elapsed())
    }
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            window: Duration::from_secs(180),
            margin: Duration::from_secs(120),
            announced: Duration::from_secs(7 * 24 * 3600),
            watch: Watch::default(),
        }
    }
}

/// One place elsewhere, open.
///
/// Any number of machines may use a place at the same time; nobody has to know of the others.
#[derive(Debug, Clone)]
pub struct Remote {
    pub(super) bucket: Bucket,
    pub(super) config: RemoteConfig,
    pub(super) secret: Option<Secret>,
    pub(super) options: RemoteOptions,
    pub(super) limit: Arc<Limit>,
}

/// What is needed to read and write an encrypted place.
#[derive(Clone)]
pub(super) struct Secret {
    pub(super) recipients: Recipients,
    pub(super) identities: Identities,
    key: IdKey,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("recipients", &self.recipients).finish_non_exhaustive()
    }
}

impl Remote {
    /// Opens a place that snapshots were pushed to: `s3://bucket/prefix`, `az://container/prefix`,
    /// `gs://bucket/prefix`, `file:///directory`, or a directory. Credentials come from the environment.
    ///
    /// # Errors
    ///
    /// `Validation`: no such place, nothing was pushed there yet, encrypted and no key or the wrong one given, of a newer
    /// version. `Filesystem`: it cannot be reached or read.
    pub fn open(place: &str, options: RemoteOptions) -> Result<Self> {
        Self::opened(place::open(place, &options.place, false)?, options)
    }

    /// Opens a place, or makes one where nothing is: with this compression, encrypted to these recipients. Where there is
    /// one already, recipients have to be the same, in any order. With identities and no recipients it has to be there, and
    /// encrypted.
    ///
    /// After `Ok` all machines see it, as it is; of several that make it at the same time one does.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and `Validation` where something else is there, where it is encrypted to others or, against
    /// what is given, not at all, and where the identities would not open what would be made: nothing is made then.
    pub fn open_or_make(
        place: &str,
        compression: Compression,
        recipients: Option<&Recipients>,
        options: RemoteOptions,
    ) -> Result<Self> {
        // A directory that is missing may be one of a disk that is not mounted.
        let may_make = recipients.is_some() || options.identities.is_none();
        let place = place::open(place, &options.place, may_make).map_err(|e| match e {
            Error::Validation(ValidationError::NoSuchCopy { path, .. }) if !may_make => anew_though_key(&path),
            e => e,
        })?;
        Self::made(place, compression, recipients, options)
    }

    /// As [`open_or_make`](Self::open_or_make), of a place that is known to have been made: it is not made anew.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open): `Validation` where it is gone; and where it is encrypted to others.
    pub fn open_as_made(place: &str, recipients: Option<&Recipients>, options: RemoteOptions) -> Result<Self> {
        Self::opened(place::open(place, &options.place, false)?, options)?.held_against(recipients)
    }

    /// As [`open_or_make`](Self::open_or_make), of any object store; `shown` is how it is called in messages.
    pub fn over(
        store: Arc<dyn ObjectStore>,
        shown: &str,
        compression: Compression,
        recipients: Option<&Recipients>,
        options: RemoteOptions,
    ) -> Result<Self> {
        let (prefix, retry) = (object_store::path::Path::default(), options.place.retry);
        let place = Place { sending: store.clone(), store, prefix, shown: shown.into(), retry, directory: None };
        Self::made(place, compression, recipients, options)
    }

    fn made(
        place: Place,
        compression: Compression,
        recipients: Option<&Recipients>,
        options: RemoteOptions,
    ) -> Result<Self> {
        let bucket = Bucket::new(place, options.observer.clone())?;
        if bucket.get(CONFIG, MAX_CONFIG)?.is_none() {
            // Another machine may have made it meanwhile, and put something into it.
            if !bucket.is_empty()? && bucket.get(CONFIG, MAX_CONFIG)?.is_none() {
                return Err(ValidationError::Refused {
                    what: format!("{} holds something else than copies of snapshots", bucket.shown().display()),
                    path: Some(bucket.shown().into()),
                    hint: Some("name a place of its own, like s3://BUCKET/cowlog".into()),
                }
                .into());
            }
            if recipients.is_none() && options.identities.is_some() {
                return Err(anew_though_key(bucket.shown()));
            }
            let config = RemoteConfig::new(compression, recipients)?;
            // What is made now stays, so whoever makes it must be able to read it.
            config.unlock(options.identities.as_ref())?;
            if bucket.put_new(CONFIG, config.to_bytes()?)? == Put::Made {
                let how = if recipients.is_some() { "encrypted" } else { "not encrypted" };
                options.observer.warn(&format!("{} was made, {how}", bucket.shown().display()));
            }
        }
        Self::with(bucket, options)?.held_against(recipients)
    }

    /// Refuses a place that is encrypted to others than it is to be, or not at all: somebody may have exchanged
    /// `config.json`.
    fn held_against(self, recipients: Option<&Recipients>) -> Result<Self> {
        let has = self.config.encryption.as_ref();
        let Some(given) = recipients else {
            return match has.is_none() && self.options.identities.is_some() {
                true => Err(bare_though_key(self.bucket.shown(), "is not encrypted")),
                false => Ok(self),
            };
        };
        let given: BTreeSet<String> = given.to_texts().into_iter().collect();
        if has.is_some_and(|has| has.recipients.iter().cloned().collect::<BTreeSet<_>>() == given) {
            return Ok(self);
        }
        let how = match has {
            Some(has) => format!("encrypted to {}", has.recipients.join(", ")),
            None => "not encrypted".into(),
        };
        Err(ValidationError::Refused {
            what: format!("{} is {how}, which stays as it was made", self.bucket.shown().display()),
            path: Some(self.bucket.shown().into()),
            hint: Some("leave --recipient out, or name a new place".into()),
        }
        .into())
    }

    fn opened(place: Place, options: RemoteOptions) -> Result<Self> {
        Self::with(Bucket::new(place, options.observer.clone())?, options)
    }

    fn with(bucket: Bucket, options: RemoteOptions) -> Result<Self> {
        if options.limit == Some(0) {
            return Err(ValidationError::refused("a limit of 0 bytes per second lets nothing through").into());
        }
        let bytes = bucket.get(CONFIG, MAX_CONFIG)?.ok_or_else(|| -> Error {
            let hint = "`cowlog push SRC --to` makes it".into();
            ValidationError::NoSuchCopy { path: bucket.shown().into(), hint }.into()
        })?;
        let config = RemoteConfig::parse(&bytes).map_err(|e| match e {
            Error::Integrity(mut e) => {
                e.path = bucket.address(CONFIG);
                e.into()
            }
            e => e,
        })?;
        let unlocked = config.unlock(options.identities.as_ref())?;
        let secret = unlocked.zip(options.identities.clone()).map(|((recipients, key), identities)| Secret {
            recipients,
            identities,
            key,
        });
        let limit = Arc::new(Limit::new(options.limit));
        Ok(Remote { bucket, config, secret, options, limit })
    }

    /// What holds for all of it.
    pub fn config(&self) -> &RemoteConfig {
        &self.config
    }

    /// How it is called.
    pub fn address(&self) -> String {
        self.bucket.shown().display().to_string()
    }

    pub(super) fn observer(&self) -> &Observer {
        &self.options.observer
    }

    pub(super) fn blob_of(&self, digest: &blake3::Hash) -> BlobId {
        BlobId::of(digest, self.secret.as_ref().map(|secret| &secret.key))
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.secret.is_some()
    }

    /// Small objects that tell something: encrypted where the place is.
    pub(super) fn sealed(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        match &self.secret {
            None => Ok(bytes),
            Some(secret) => secret.recipients.seal(&bytes).map_err(super::coding::carried),
        }
    }

    /// The other way. What cannot be decrypted is told as damage of this object.
    pub(super) fn unsealed(&self, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        match &self.secret {
            None => Ok(bytes),
            Some(secret) => secret.identities.open(&bytes).map_err(|e| format!("it cannot be decrypted: {e}")),
        }
    }

    /// Runs over all of them, several at a time, until one fails. What came of each is in their order.
    pub(super) fn each<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
        use rayon::prelude::*;
        let work = |item: &T| self.observer().check().and_then(|()| work(item));
        // Threads of their own: these mostly wait.
        let threads = self.options.jobs.clamp(1, 256).min(items.len().max(1));
        if threads == 1 {
            return items.iter().map(work).collect();
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| ValidationError::refused(format!("no threads can be started: {e}")))?;
        pool.install(|| items.par_iter().with_max_len(1).map(work).collect())
    }
}

/// With a secret key everything is believed to be encrypted.
fn bare_though_key(place: &Path, how: &str) -> Error {
    let hint = "say by `--recipient` to whom a new place is encrypted; where nothing is to be, leave `--identity` and \
                COWLOG_IDENTITY out; where it was encrypted before, look who emptied or changed it";
    ValidationError::Refused {
        what: format!("{} {how}, though a secret key was given", place.display()),
        path: Some(place.into()),
        hint: Some(hint.into()),
    }
    .into()
}

fn anew_though_key(place: &Path) -> Error {
    bare_though_key(place, "would be made anew, not encrypted")
}
