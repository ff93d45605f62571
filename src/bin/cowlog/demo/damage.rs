//! One bit of a snapshot flips: it is found, named, and nothing is restored from it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Instant;

use cowlog::Error;
use cowlog::error::DamageKind;
use cowlog::snapshot::{Level, RestoreOptions};
use cowlog::store::FileRole;

use super::live::Snapshots;
use super::report::Report;
use super::stage::Stage;
use super::{check, io};
use crate::failure::{DAMAGED, Failure};
use crate::session::Session;
use crate::units::{bytes, duration};

pub fn flip_and_find(
    stage: &Stage,
    session: &Session,
    report: &mut Report,
    snapshots: &Snapshots,
) -> Result<(), Failure> {
    let manager = session.manager(&stage.log())?;
    let loaded = manager.manifest(&snapshots.first)?;
    // The active segment is a deep copy that nothing else has a name for: the flip reaches this snapshot only.
    let files = loaded.manifest.files.iter().filter(|f| f.kind == FileRole::Log && f.size > 0);
    let alone = |path: &Path| fs::metadata(path).is_ok_and(|m| m.nlink() == 1);
    let victim = files.rev().map(|f| f.path.as_str()).find(|path| alone(&loaded.dir.path().join(path)));
    let victim = victim.ok_or_else(|| Failure::Demo("no log file of the snapshot stands alone".into()))?;
    let path = loaded.dir.path().join(victim);
    let (at, bit) = flip(&path).map_err(io("flip a bit of", &path))?;
    report.figure("flipped", format!("bit {bit} of byte {at} of {victim}, in the first snapshot"))?;

    let started = Instant::now();
    let found = manager.verify(&snapshots.first, Level::Full)?;
    session.progress.finish();
    let named = matches!(found.damage.as_slice(), [d] if d.path == victim && d.kind == DamageKind::Digest);
    check(!found.ok && named, || format!("verify should have named {victim} and nothing else: {:?}", found.damage))?;
    report.figure(
        "verify the first",
        format!(
            "{}: {victim}, out of {} in {}",
            session.output.styles.bad("DAMAGED"),
            bytes(found.bytes_checked),
            duration(started.elapsed())
        ),
    )?;

    let target = stage.path().join("from-damaged");
    let refused = manager.restore_id(&snapshots.first, RestoreOptions::to(&target));
    session.progress.finish();
    let failure = match refused {
        Err(Error::Integrity(e)) if e.damage.iter().any(|d| d.path == victim) => Failure::from(Error::from(e)),
        other => return Err(Failure::Demo(format!("the restore should have been refused: {other:?}"))),
    };
    check(failure.exit_code() == DAMAGED, || format!("the exit code would be {}", failure.exit_code()))?;
    check(!target.exists(), || format!("the refused restore left {}", target.display()))?;
    report.figure("restore the first", format!("refused (exit code {DAMAGED}); no target directory"))?;

    let intact = manager.verify(&snapshots.second, Level::Full)?;
    session.progress.finish();
    check(intact.ok, || format!("{} is damaged too: {:?}", snapshots.second, intact.damage))?;
    report.figure("verify the second", format!("{}: {}", session.output.styles.good("ok"), bytes(intact.bytes_checked)))
}

/// Flips one bit in the middle of a file; says which.
fn flip(path: &Path) -> std::io::Result<(u64, u32)> {
    const BIT: u32 = 3;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let at = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&byte.map(|b| b ^ (1 << BIT)), at)?;
    Ok((at, BIT))
}
