//! `cowlog gc`

use std::fmt::Write;

use cowlog::offsite::{Collected, GcOptions};

use super::open;
use crate::args;
use crate::failure::{DONE, Failure, IN_PART};
use crate::session::Session;
use crate::style::printable;
use crate::units::{bytes, plural};

pub fn run(session: Session, args: args::Gc) -> Result<u8, Failure> {
    let remote = open(&session, &args.place.from, &args.place.reach)?;
    let done = remote.gc(&GcOptions { grace: args.grace, dry_run: args.dry_run });
    session.progress.finish();
    let done = done?;
    if session.output.json {
        session.output.value(&done)?;
    } else if !session.output.quiet {
        session.output.text(&page(&done, args.dry_run))?;
    }
    Ok(if done.kept > 0 { IN_PART } else { DONE })
}

fn page(done: &Collected, dry_run: bool) -> String {
    let mut out = format!("{}, {}\n", plural(done.blobs, "blob"), bytes(done.bytes));
    let removed = if dry_run { "would be removed" } else { "removed" };
    let _ = writeln!(out, "  {removed}: {}, {}", plural(done.removed, "blob"), bytes(done.bytes_removed));
    let _ = writeln!(
        out,
        "  named by nothing, to go after the grace period: {}, {}",
        plural(done.marked, "blob"),
        bytes(done.bytes_marked)
    );
    if done.announcements_removed > 0 {
        let _ = writeln!(out, "  {} of pushes that have died", plural(done.announcements_removed, "announcement"));
    }
    if done.unfinished_removed > 0 {
        let (files, size) = (plural(done.unfinished_removed, "file"), bytes(done.bytes_unfinished));
        let _ = writeln!(out, "  {removed}: {files} of uploads that have died, {size}");
    }
    if done.kept > 0 {
        let why = done.kept_because.as_deref().unwrap_or_default();
        let _ = writeln!(out, "  kept by the server: {}: {}", plural(done.kept, "blob"), printable(why));
    }
    out
}
