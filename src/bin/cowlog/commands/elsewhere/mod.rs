//! Commands on copies in object stores.

pub mod fetched;
pub mod gc;
pub mod keygen;
pub mod list;
pub mod prune;
pub mod pull;
pub mod push;
pub mod restore;
pub mod verify;

use std::io::Read;
use std::path::Path;

use cowlog::offsite::{Identities, PlaceOptions, Remote, RemoteOptions};

use crate::args::Reach;
use crate::failure::Failure;
use crate::session::Session;

/// How a place is reached, as the command line says.
pub fn options(session: &Session, reach: &Reach) -> Result<RemoteOptions, Failure> {
    let identities = reach.identity.as_deref().map(identities).transpose()?;
    let place = PlaceOptions {
        endpoint: reach.endpoint.clone(),
        region: reach.region.clone(),
        virtual_hosted: reach.virtual_hosted,
        retry: reach.retry,
        ..PlaceOptions::default()
    };
    Ok(RemoteOptions {
        place,
        identities,
        jobs: usize::from(reach.jobs),
        limit: reach.rate,
        clock: session.config.clock.clone(),
        observer: session.observer().clone(),
        ..RemoteOptions::default()
    })
}

/// Opens a place that is there.
pub fn open(session: &Session, place: &str, reach: &Reach) -> Result<Remote, Failure> {
    Ok(Remote::open(place, options(session, reach)?)?)
}

fn identities(file: &Path) -> Result<Identities, Failure> {
    const LIMIT: u64 = 1 << 20;
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(LIMIT).read_to_string(&mut text));
    read.map_err(|e| cowlog::Error::io("read the identity file", file, e))?;
    Ok(Identities::parse(&text)?)
}

/// HOST/SOURCE, as it was typed where a path could have been.
pub fn name_of(source: &Path) -> String {
    source.to_string_lossy().trim_end_matches('/').to_owned()
}
