//! From a name to an object store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use url::Url;

use super::address::{self, Address};
use crate::error::{Error, Result, ValidationError};

/// How a place is reached.
#[derive(Debug, Clone)]
pub struct PlaceOptions {
    /// Another server than that of the cloud: `http://127.0.0.1:7070`. Of S3, Azure and Google Cloud Storage.
    pub endpoint: Option<String>,
    /// The region of an S3 bucket.
    pub region: Option<String>,
    /// `bucket.host/key` instead of `host/bucket/key`.
    pub virtual_hosted: bool,
    /// How long a request is tried again, with growing pauses, while the server fails or asks to slow down. 3 minutes.
    pub retry: Duration,
    /// How long nothing may come back from a server: a request that is waited for, the next bytes of an object. A request that
    /// sends something may take ten times that. 60 seconds.
    pub timeout: Duration,
}

impl Default for PlaceOptions {
    fn default() -> Self {
        PlaceOptions {
            endpoint: None,
            region: None,
            virtual_hosted: false,
            retry: Duration::from_secs(180),
            timeout: Duration::from_secs(60),
        }
    }
}

/// An object store, where in it, and how that is called.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) store: Arc<dyn ObjectStore>,
    /// The same, for requests that take as long as what they send.
    pub(super) sending: Arc<dyn ObjectStore>,
    pub(super) prefix: object_store::path::Path,
    pub(super) shown: PathBuf,
    /// Where it is a directory.
    pub(super) directory: Option<PathBuf>,
    /// How long requests are tried again.
    pub(super) retry: Duration,
}

/// Opens a place. `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix`, `file:///dir`, or the path of a
/// directory. No request is made, but a directory is made where `make` says so.
pub(super) fn open(given: &str, options: &PlaceOptions, make: bool) -> Result<Place> {
    match address::parse(given)? {
        Address::Url(url) => cloud(given, &url, options),
        Address::Directory(path) => directory(&path, make),
    }
}

#[cfg(feature = "clouds")]
fn cloud(given: &str, url: &Url, options: &PlaceOptions) -> Result<Place> {
    let (store, sending, prefix) = super::clouds::open(given, url, options)?;
    let shown = PathBuf::from(given.trim_end_matches('/'));
    Ok(Place { store, sending, prefix, shown, retry: options.retry, directory: None })
}

#[cfg(not(feature = "clouds"))]
fn cloud(given: &str, _: &Url, _: &PlaceOptions) -> Result<Place> {
    let why = "lies in a cloud, and this build knows only directories: build it with the feature `clouds`";
    Err(address::refused(given, why.into()))
}

fn directory(path: &Path, make: bool) -> Result<Place> {
    if make {
        crate::fs::Dir::make_all(path)?;
    }
    let store = LocalFileSystem::new_with_prefix(path).map_err(|_| -> Error {
        let hint = "`cowlog push` makes it; a URL begins with s3://, az://, gs:// or file://".into();
        ValidationError::NoSuchCopy { path: path.into(), hint }.into()
    })?;
    // What was acknowledged survives a power cut.
    let store: Arc<dyn ObjectStore> = Arc::new(store.with_fsync(true));
    Ok(Place {
        sending: store.clone(),
        store,
        prefix: object_store::path::Path::default(),
        shown: path.to_owned(),
        directory: Some(path.to_owned()),
        retry: Duration::ZERO,
    })
}
