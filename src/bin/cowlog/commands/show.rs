//! `cowlog show`

use std::fmt::Write;

use cowlog::kafka::Profile;
use cowlog::log::CutQuality;
use cowlog::snapshot::{Contents, SnapshotInfo, SnapshotSpace};
use cowlog::store::{FileManifest, Loaded, LogManifest, SourceManifest, rfc3339};
use serde::Serialize;

use super::contents::sections;
use super::create::{extent, files, offset};
use super::elsewhere::fetched;
use super::list::seconds;
use super::methods;
use super::space::between;
use crate::args;
use crate::failure::{DONE, Failure};
use crate::output;
use crate::session::Session;
use crate::style::printable;
use crate::table::{Cell, Side, Table, Tone};
use crate::units::{age, bytes, plural};

/// The JSON value: what `list` prints, and the manifest's particulars.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    snapshot: &'a SnapshotInfo,
    cowlog: &'a str,
    source: &'a SourceManifest,
    cuts: &'a [LogManifest],
    files: Vec<ShownFile<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka: Option<Contents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    space: Option<SnapshotSpace>,
}

#[derive(Serialize)]
struct ShownFile<'a> {
    path: &'a str,
    kind: cowlog::store::FileRole,
    size: u64,
    digest: String,
    method: cowlog::fs::Method,
    exposed: bool,
    trimmed: bool,
    uid: u32,
    gid: u32,
    mode: String,
    mtime: String,
    read_at: String,
}

pub fn run(session: Session, args: args::Show) -> Result<u8, Failure> {
    let (manager, info, _fetched);
    if args.elsewhere.from.is_some() {
        let found = fetched::for_show(&session, &args)?;
        (manager, info, _fetched) = (found.manager.clone(), found.snapshot.clone(), Some(found));
    } else {
        manager = session.manager(&args.source.source)?;
        (info, _fetched) = (manager.get(&args.id)?, None);
    }
    let loaded = manager.manifest(&info.id)?;
    let contents = args.kafka.then(|| manager.contents(&info.id)).transpose()?;
    let space = match args.space {
        true => manager.space()?.snapshots.into_iter().find(|s| s.id == info.id),
        false => None,
    };
    if session.output.json {
        let manifest = &loaded.manifest;
        session.output.value(&Shown {
            snapshot: &info,
            cowlog: &manifest.cowlog,
            source: &manifest.source,
            cuts: &manifest.logs,
            files: manifest.files.iter().map(|f| shown(f, &loaded)).collect(),
            kafka: contents,
            space,
        })?;
    } else {
        session.output.text(&page(&info, &loaded, (contents.as_ref(), space.as_ref()), &session))?;
    }
    Ok(DONE)
}

fn digest(file: &FileManifest, loaded: &Loaded) -> String {
    loaded.digests.get(&file.path).map(|d| d.to_hex().to_string()).unwrap_or_default()
}

fn shown<'a>(file: &'a FileManifest, loaded: &Loaded) -> ShownFile<'a> {
    ShownFile {
        path: &file.path,
        kind: file.kind,
        size: file.size,
        digest: digest(file, loaded),
        method: file.method,
        exposed: file.exposed,
        trimmed: file.trimmed,
        uid: file.uid,
        gid: file.gid,
        mode: format!("{:04o}", file.mode),
        mtime: nanoseconds(file.mtime),
        read_at: rfc3339(loaded.read_at(file)),
    }
}

fn nanoseconds(since_1970: i64) -> String {
    jiff::Timestamp::from_nanosecond(since_1970.into()).map(|t| t.to_string()).unwrap_or_default()
}

fn page(
    info: &SnapshotInfo,
    loaded: &Loaded,
    (contents, space): (Option<&Contents>, Option<&SnapshotSpace>),
    session: &Session,
) -> String {
    let styles = &session.output.styles;
    let manifest = &loaded.manifest;
    let now = session.now();
    let mut out = format!("{}\n", styles.bold(&info.id));
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(out, "  {}  {}", styles.dim(&format!("{name:<8}")), printable(text));
    };
    let age = age(now, info.timestamp_ms);
    line("taken", &format!("{} UTC (age: {age}) by cowlog {}", seconds(&info.timestamp), manifest.cowlog));
    let source = &manifest.source;
    let writer = match source.profile {
        Profile::Native => "cowlog",
        Profile::Kafka => "Kafka",
    };
    line("source", &format!("{}, written by {writer}, scope {}", source.path, info.scope));
    line("holds", &extent(info));
    line(
        "size",
        &format!("{} in {} ({})", bytes(info.total_size), plural(files(info), "file"), methods(&info.methods)),
    );
    line(
        "shared",
        &format!(
            "{}, copied {}, exposed {}",
            bytes(info.bytes_shared),
            bytes(info.bytes_copied),
            plural(info.exposed, "file")
        ),
    );
    if let Some(space) = space {
        let (disk, held) = (bytes(space.physical), between(space.held));
        line("on disk", &format!("{disk}, of it only the store keeps {held}"));
        line("frees", &format!("{} when it is deleted", between(space.frees)));
        let (files, size) = (plural(space.exposed, "file"), bytes(space.exposed_bytes));
        line("exposed", &format!("{files}, {size}, to the source's writer now"));
    }
    if let Some(v) = &info.verified {
        line("verified", &format!("{} UTC, {}: {}", seconds(&v.at), v.level, if v.ok { "ok" } else { "damage found" }));
    }
    if let Some(oldest) = &info.oldest_read {
        line("read", &format!("the oldest bytes were last read {} UTC", seconds(oldest)));
    }
    if let Some(damaged) = &info.damaged {
        line("damaged", damaged);
    }
    for member in &info.set {
        line("with", &format!("{}, whose part is in {}", member.source, member.store));
    }
    if let Some(incomplete) = &info.incomplete {
        line("lacks", incomplete);
    }
    for missing in &manifest.missing {
        line("missing", &format!("{}: {}", missing.path, missing.why));
    }
    if info.pinned {
        line("pinned", "prune passes it over");
    }
    if !info.tags.is_empty() {
        line("tags", &info.tags.join(", "));
    }
    line("path", &output::path(&info.path));
    line("root", &info.root);
    out.push('\n');
    out.push_str(&logs(&manifest.logs).render(styles));
    out.push('\n');
    if let Some(contents) = contents {
        out.push_str(&sections(contents, styles));
    }
    let mut table = Table::new(&[
        ("FILE", Side::Left),
        ("SIZE", Side::Right),
        ("METHOD", Side::Left),
        ("BLAKE3", Side::Left),
        ("NOTES", Side::Left),
    ]);
    for file in &manifest.files {
        let digest = digest(file, loaded);
        let shown = if session.output.verbose { digest } else { digest.chars().take(16).collect() };
        let notes = [(file.exposed, "exposed"), (file.trimmed, "trimmed")];
        let notes: Vec<&str> = notes.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        table.row(vec![
            file.path.clone().into(),
            bytes(file.size).into(),
            file.method.to_string().into(),
            Cell::new(shown, Tone::Dim),
            notes.join(", ").into(),
        ]);
    }
    out.push_str(&table.render(styles));
    out
}

fn logs(logs: &[LogManifest]) -> Table {
    let mut table = Table::new(&[
        ("LOG", Side::Left),
        ("SEGMENTS", Side::Right),
        ("START", Side::Right),
        ("HIGH WATERMARK", Side::Right),
        ("END", Side::Right),
        ("CUT BY", Side::Left),
    ]);
    for log in logs {
        let cut = &log.cut;
        table.row(vec![
            if log.dir.is_empty() { "." } else { log.dir.as_str() }.into(),
            log.segments.len().to_string().into(),
            offset(cut.log_start_offset).into(),
            offset(cut.high_watermark).into(),
            offset(cut.log_end_offset).into(),
            match cut.quality {
                CutQuality::Writer => "its writer",
                CutQuality::Crash => "the last whole batch",
            }
            .into(),
        ]);
    }
    table
}
