//! The requests that are made of an object store, each waited for, with its address in every error.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    GetOptions, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};
use tokio::runtime::Runtime;

use super::body::{Body, Stream};
use super::place::Place;
use super::trouble::{io_error, is_broken};
use crate::error::{Error, Result};
use crate::observe::Observer;

/// One place of an object store.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// For what takes as long as what is sent.
    pub(super) sending: Arc<dyn ObjectStore>,
    prefix: Path,
    shown: PathBuf,
    /// Where the place is a directory.
    pub(super) directory: Option<PathBuf>,
    /// How long requests are tried again.
    pub(super) retry: Duration,
    runtime: Arc<Running>,
    observer: Observer,
}

/// A runtime that may be dropped anywhere, also in a thread of another one.
#[derive(Debug)]
struct Running(Option<Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Whose error it is that is none of the server's.
const OURS: &str = "cowlog";

/// What became of a conditional put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Made,
    /// Something of this name was there.
    Exists,
}

impl Bucket {
    pub(super) fn new(place: Place, observer: Observer) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| Error::io("start the threads that talk to", &place.shown, e))?;
        let Place { store, sending, prefix, shown, retry, directory } = place;
        Ok(Bucket {
            store,
            sending,
            prefix,
            shown,
            retry,
            directory,
            runtime: Arc::new(Running(Some(runtime))),
            observer,
        })
    }

    /// How the place is called.
    pub(super) fn shown(&self) -> &std::path::Path {
        &self.shown
    }

    /// What a key is called in messages.
    pub(super) fn address(&self, key: &str) -> PathBuf {
        self.shown.join(key)
    }

    pub(super) fn path(&self, key: &str) -> Path {
        let parts = key.split('/').filter(|part| !part.is_empty()).map(object_store::path::PathPart::from);
        self.prefix.parts().chain(parts).collect()
    }

    /// The key of an object of the place.
    fn key(&self, location: &Path) -> Option<String> {
        let parts: Vec<_> = location.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
        (!parts.is_empty()).then(|| parts.join("/"))
    }

    /// Waits, and looks several times a second whether it is to stop.
    pub(super) fn wait<T>(
        &self,
        op: &'static str,
        key: &str,
        future: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T> {
        const LOOK: Duration = Duration::from_millis(100);
        let Some(runtime) = &self.runtime.0 else { return Err(Error::Interrupted) };
        runtime.block_on(async {
            tokio::pin!(future);
            loop {
                match tokio::time::timeout(LOOK, &mut future).await {
                    Ok(result) => return result.map_err(|e| self.failed(op, key, e)),
                    Err(_) => self.observer.check()?,
                }
            }
        })
    }

    /// Makes a request again where the connection broke. The library does so only where it knows that it does no harm if the
    /// request had arrived; whoever calls this says that.
    pub(super) fn again<T>(&self, request: impl Fn() -> Result<T>) -> Result<T> {
        let (begun, mut pause) = (Instant::now(), Duration::from_millis(100));
        loop {
            match request() {
                Err(Error::Filesystem(e)) if is_broken(&e.source) && begun.elapsed() < self.retry => {
                    self.pause(pause)?;
                    pause = (pause * 2).min(Duration::from_secs(15));
                }
                other => return other,
            }
        }
    }

    pub(super) fn pause(&self, long: Duration) -> Result<()> {
        let slept = async {
            tokio::time::sleep(long).await;
            Ok(())
        };
        self.wait("wait for", "", slept)
    }

    fn failed(&self, op: &'static str, key: &str, e: object_store::Error) -> Error {
        Error::elsewhere(op, self.address(key), io_error(e))
    }

    /// The bytes of an object that is not larger than `limit`; `None` where there is none.
    pub(super) fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.get_versioned(key, limit)?.map(|(bytes, _)| bytes))
    }

    /// The same, with what a [`put_over`](Self::put_over) takes.
    pub(super) fn get_versioned(&self, key: &str, limit: u64) -> Result<Option<(Vec<u8>, UpdateVersion)>> {
        match self.get_once(key, limit) {
            Ok(got) => Ok(Some(got)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn get_once(&self, key: &str, limit: u64) -> Result<(Vec<u8>, UpdateVersion)> {
        let mut out = Vec::new();
        let mut body = Body::open(self, key)?;
        let too_large = || Error::elsewhere("read", self.address(key), io::ErrorKind::FileTooLarge.into());
        if body.size > limit {
            return Err(too_large());
        }
        while let Some(chunk) = body.next()? {
            if (out.len() + chunk.len()) as u64 > limit {
                return Err(too_large());
            }
            out.extend_from_slice(&chunk);
        }
        match out.len() as u64 == body.size {
            true => Ok((out, body.version)),
            false => Err(Error::elsewhere("read all of", self.address(key), io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Begins to read an object.
    pub(super) fn begin(&self, key: &str, options: GetOptions) -> Result<(ObjectMeta, Stream)> {
        let path = self.path(key);
        let got = self.again(|| self.wait("read", key, self.store.get_opts(&path, options.clone())))?;
        Ok((got.meta.clone(), got.into_stream()))
    }

    /// What an object is; `None` where there is none.
    pub(super) fn head(&self, key: &str) -> Result<Option<ObjectMeta>> {
        let path = self.path(key);
        match self.wait("look at", key, self.store.head(&path)) {
            Ok(meta) => Ok(Some(meta)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes an object, whatever is there.
    pub(super) fn put(&self, key: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let path = self.path(key);
        self.wait("write", key, self.sending.put(&path, PutPayload::from(bytes.into()))).map(drop)
    }

    /// Writes an object if there is none of this name. Where the answer was lost, what this wrote itself counts as there.
    pub(super) fn put_new(&self, key: &str, bytes: impl Into<Bytes>) -> Result<Put> {
        const TRIES: u32 = 5;
        let (path, bytes) = (self.path(key), bytes.into());
        let put = || {
            let (payload, options) = (PutPayload::from(bytes.clone()), PutOptions::from(PutMode::Create));
            self.wait("write", key, self.sending.put_opts(&path, payload, options))
        };
        let mut tries = 1;
        loop {
            match self.again(put) {
                Ok(_) => return Ok(Put::Made),
                Err(Error::Filesystem(e)) if e.source.kind() == io::ErrorKind::AlreadyExists => {
                    // A server may also say so of one that somebody else is just writing, and that never comes to be.
                    if tries == TRIES || self.head(key)?.is_some() {
                        return Ok(Put::Exists);
                    }
                    self.pause(Duration::from_millis(100 << tries))?;
                    tries += 1;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Begins an upload in parts.
    pub(super) fn upload(&self, key: &str) -> Result<Upload> {
        let path = self.path(key);
        let parts = self.wait("begin to write", key, self.sending.put_multipart(&path))?;
        Ok(Upload { bucket: self.clone(), key: key.to_owned(), parts, running: None })
    }

    /// Removes an object. That there is none is no failure.
    pub(super) fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key);
        match self.again(|| self.wait("remove", key, self.store.delete(&path))) {
            Err(e) if e.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// The same, best effort, for a few seconds, also when it is to stop.
    pub(super) fn delete_quickly(&self, key: &str) {
        const LONG: Duration = Duration::from_secs(5);
        let (path, Some(runtime)) = (self.path(key), &self.runtime.0) else { return };
        let _ = runtime.block_on(async { tokio::time::timeout(LONG, self.store.delete(&path)).await });
    }

    /// Removes objects, many with a request where the server can. It is looked before each request whether there is still
    /// time; from then on none is removed any more.
    pub(super) fn delete_all(
        &self,
        keys: &[String],
        left: impl Fn() -> Option<Duration> + Send + 'static,
    ) -> Result<Removed> {
        let late = || object_store::Error::Generic { store: OURS, source: "it took too long".into() };
        let paths: Vec<Path> = keys.iter().map(|key| self.path(key)).collect();
        let within = left().unwrap_or_default();
        let in_time = move |path| left().map(|_| path).ok_or_else(late);
        // Not more at a time than can be looked at: a process may stand still for hours between two of them.
        let locations = futures_util::stream::iter(paths.into_iter().map(in_time)).boxed();
        let deleted = self.store.delete_stream(locations).collect::<Vec<_>>();
        let all =
            self.wait("remove", "blobs", async { tokio::time::timeout(within, deleted).await.map_err(|_| late()) })?;
        let mut deleted = BTreeSet::new();
        let mut refused = None;
        for result in all {
            match result {
                Ok(path) => deleted.extend(self.key(&path)),
                Err(object_store::Error::NotFound { path, .. }) => deleted.extend(self.key(&Path::from(path))),
                // There was no time left.
                Err(object_store::Error::Generic { store: OURS, .. }) => {}
                Err(e) => refused = Some(self.failed("remove", "blobs", e)),
            }
        }
        let (gone, mut kept): (Vec<_>, Vec<_>) = keys.iter().cloned().partition(|key| deleted.contains(key));
        if refused.is_none() {
            kept.clear();
        }
        Ok(Removed { gone, kept, refused })
    }

    /// Everything whose key begins with these directories. Keys are relative to the place.
    pub(super) fn list(&self, below: &str) -> Result<Vec<Object>> {
        let path = self.path(below);
        let list = || self.wait("list", below, self.store.list(Some(&path)).try_collect::<Vec<_>>());
        let listed = self.again(list)?;
        let object = |meta: ObjectMeta| {
            Some(Object {
                key: self.key(&meta.location)?,
                size: meta.size,
                modified: meta.last_modified.timestamp_millis(),
            })
        };
        Ok(listed.into_iter().filter_map(object).collect())
    }

    /// Whether there is anything at all.
    pub(super) fn is_empty(&self) -> Result<bool> {
        let listed = self.again(|| self.wait("list", "", self.store.list_with_delimiter(Some(&self.prefix))))?;
        // A browser of buckets may have made an object of the directory itself.
        let is_other = |meta: &ObjectMeta| self.key(&meta.location).is_some();
        Ok(!listed.objects.iter().any(is_other) && listed.common_prefixes.is_empty())
    }
}

/// What became of objects that were to be removed.
pub(super) struct Removed {
    pub(super) gone: Vec<String>,
    pub(super) kept: Vec<String>,
    /// What the server said of one of those that it kept.
    pub(super) refused: Option<Error>,
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) key: String,
    /// Bytes.
    pub(super) size: u64,
    /// By the server's clock: milliseconds since 1970 UTC.
    pub(super) modified: i64,
}

/// An object that is being written in parts. Dropping it leaves nothing under its key; the parts that were sent are
/// the server's to clean up, unless [`abort`](Self::abort) was called.
pub(super) struct Upload {
    bucket: Bucket,
    key: String,
    parts: Box<dyn MultipartUpload>,
    running: Option<tokio::task::JoinHandle<object_store::Result<()>>>,
}

impl Upload {
    /// Sends a part, while the one before it may still be on the way.
    pub(super) fn part(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.arrived()?;
        let Some(runtime) = &self.bucket.runtime.0 else { return Err(Error::Interrupted) };
        self.running = Some(runtime.spawn(self.parts.put_part(PutPayload::from(Bytes::from(bytes)))));
        Ok(())
    }

    /// The part that is on the way has arrived.
    fn arrived(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let joined = async {
            running.await.unwrap_or_else(|e| Err(object_store::Error::Generic { store: "cowlog", source: e.into() }))
        };
        self.bucket.wait("write a part of", &self.key, joined)
    }

    /// The commit point of the object.
    pub(super) fn complete(mut self) -> Result<()> {
        self.arrived()?;
        let Upload { bucket, key, parts, .. } = &mut self;
        bucket.wait("write", key, parts.complete()).map(drop)
    }

    /// Best effort.
    pub(super) fn abort(mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
        let Some(runtime) = &self.bucket.runtime.0 else { return };
        const LONG: Duration = Duration::from_secs(5);
        let parts = &mut self.parts;
        let _ = runtime.block_on(async { tokio::time::timeout(LONG, parts.abort()).await });
    }
}
