//! An object store in memory, with a clock of its own, whose requests wait for their turn.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::turns::{Turns, Want};

/// What is shared by all who use it.
#[derive(Debug)]
pub struct Server {
    objects: InMemory,
    written: Mutex<HashMap<Path, u64>>,
    /// Milliseconds.
    now: AtomicU64,
}

impl Server {
    pub fn new() -> Arc<Self> {
        Arc::new(Server { objects: InMemory::new(), written: Mutex::default(), now: AtomicU64::new(1_000_000_000_000) })
    }

    /// Another one with the same objects.
    pub fn fork(&self) -> Arc<Self> {
        let written = Mutex::new(self.written.lock().unwrap().clone());
        Arc::new(Server { objects: self.objects.fork(), written, now: AtomicU64::new(self.now.load(Ordering::SeqCst)) })
    }

    pub fn now(&self) -> Duration {
        Duration::from_millis(self.now.load(Ordering::SeqCst))
    }

    pub fn pass(&self, time: Duration) {
        self.now.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn dated(&self, meta: ObjectMeta) -> ObjectMeta {
        let at = self.written.lock().unwrap().get(&meta.location).copied().unwrap_or(0);
        let last_modified = chrono::DateTime::from_timestamp_millis(i64::try_from(at).unwrap()).unwrap();
        ObjectMeta { last_modified, ..meta }
    }
}

/// The server as one actor reaches it; without turns as somebody who is alone.
#[derive(Debug)]
pub struct Client {
    pub server: Arc<Server>,
    pub turns: Option<(usize, Arc<Turns>)>,
    /// Removes one after the other, and stands still for so long after each.
    pub stands_still: Option<Duration>,
}

impl Client {
    fn turn(&self, want: Want) {
        if let Some((actor, turns)) = &self.turns {
            turns.turn(*actor, want);
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("in memory")
    }
}

#[async_trait]
impl ObjectStore for Client {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.turn(Want::Request);
        let put = self.server.objects.put_opts(location, payload, opts).await?;
        let now = self.server.now.load(Ordering::SeqCst);
        self.server.written.lock().unwrap().insert(location.clone(), now);
        Ok(put)
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        panic!("nothing here is large");
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.turn(Want::Request);
        let got = self.server.objects.get_opts(location, options).await?;
        Ok(GetResult { meta: self.server.dated(got.meta.clone()), ..got })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let server = self.server.clone();
        let turns = self.turns.clone();
        if let Some(long) = self.stands_still {
            let one = move |location| {
                let server = server.clone();
                async move {
                    server.objects.delete(&location).await?;
                    server.pass(long);
                    Ok(location)
                }
            };
            return locations.and_then(one).boxed();
        }
        // All of them in one request, as the server of a cloud does it.
        futures_util::stream::once(async move {
            let locations: Vec<Path> = locations.try_collect().await?;
            if let Some((actor, turns)) = &turns {
                turns.turn(*actor, Want::Removal);
            }
            for location in &locations {
                server.objects.delete(location).await?;
            }
            Ok::<_, object_store::Error>(futures_util::stream::iter(locations.into_iter().map(Ok)))
        })
        .try_flatten()
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.turn(Want::Request);
        let server = self.server.clone();
        self.server.objects.list(prefix).map_ok(move |meta| server.dated(meta)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.turn(Want::Request);
        self.server.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        panic!("nothing is copied");
    }
}
