//! `cowlog keygen`

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use cowlog::offsite::new_identity;
use serde::Serialize;

use crate::args;
use crate::failure::{DONE, Failure};
use crate::output;
use crate::session::Session;

#[derive(Serialize)]
struct Made {
    file: String,
    recipient: String,
}

pub fn run(session: Session, args: args::Keygen) -> Result<u8, Failure> {
    let (identity, recipient) = new_identity();
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file);
    let written = made.and_then(|mut file| file.write_all(identity.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|e| cowlog::Error::io("make", &args.file, e))?;
    if session.output.json {
        let file = args.file.to_string_lossy().into_owned();
        session.output.value(&Made { file, recipient })?;
    } else {
        let file = output::path(&args.file);
        session.output.text(&format!("{recipient}\n"))?;
        if !session.output.quiet {
            session.output.note(&format!("{file} is the only key to what is encrypted to it: keep a copy elsewhere"));
        }
    }
    Ok(DONE)
}
