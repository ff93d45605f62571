//! `cowlog restore --from`

use std::time::Instant;

use super::{name_of, open};
use crate::args;
use crate::commands::restore::{options, report};
use crate::failure::{DONE, Failure};
use crate::session::Session;

pub fn run(session: Session, args: args::Restore) -> Result<u8, Failure> {
    let remote = open(&session, args.elsewhere.from.as_deref().unwrap_or_default(), &args.elsewhere.reach)?;
    let source = name_of(&args.source.source);
    let part = args.part.scope();
    let started = Instant::now();
    let (id, chosen) = match (&args.id, args.at) {
        (Some(id), _) => (id.clone(), None),
        (None, at) => {
            let chosen = remote.at(&source, at.unwrap_or_default(), part.as_ref())?;
            (chosen.info.id.clone(), Some(chosen.info))
        }
    };
    let restored = remote.restore(&source, &id, part.as_ref(), options(&args), session.config.clone());
    session.progress.finish();
    report(&session, &restored?, chosen.as_ref(), started)?;
    Ok(DONE)
}
