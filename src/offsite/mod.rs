//! Copies of snapshots in object stores: S3, Azure, Google Cloud Storage, or a directory.
//!
//! The clouds need the feature `clouds`; without it a place is a directory.
//!
//! A [`Remote`] is one place in which any number of machines keep their snapshots. Every distinct file is there once, as a
//! blob that is named by its content; a snapshot is its two manifests beside a list of blobs, and exists once its
//! `manifest.b3` does. What lies where is described in `docs/offsite-format.md`, exactly enough to write another reader.
//!
//! All calls block. They may be made from any thread that is not one of an async runtime.

mod address;
mod apart;
mod blobs;
mod body;
mod bucket;
#[cfg(feature = "clouds")]
mod clouds;
mod coding;
mod conditional;
mod config;
mod fetch;
mod gate;
mod gc;
mod intents;
mod keys;
mod label;
mod limit;
mod list;
mod look;
mod manifests;
mod meant;
mod names;
mod place;
mod presence;
#[cfg(feature = "clouds")]
mod profile;
mod prune;
mod pull;
mod push;
mod records;
mod remote;
mod sending;
mod trouble;
mod unfinished;
mod verify;
#[cfg(feature = "clouds")]
mod wire;

pub use address::check_address;
pub use apart::refuse_within;
pub use config::{Compression, RemoteConfig};
pub use gc::{Collected, GcOptions};
pub use keys::{Identities, Recipients, new_identity};
pub use list::RemoteSnapshot;
pub use names::SourceName;
pub use place::PlaceOptions;
pub use prune::RemoteStep;
pub use pull::Pulled;
pub use push::{PushOptions, Pushed};
pub use remote::{Remote, RemoteOptions, Timing, Watch};
pub use verify::{RemoteLevel, RemoteReport};
