//! `cowlog topics`

use cowlog::TopicManager;
use cowlog::snapshot::SnapshotInfo;
use serde::Serialize;

use crate::args;
use crate::failure::{DONE, Failure};
use crate::session::Session;
use crate::table::{Side, Table};
use crate::units::{age, count};

/// One topic.
#[derive(Debug, Serialize)]
struct Shown {
    topic: String,
    /// Those that are there now; none of a topic that was deleted.
    partitions: Vec<i32>,
    /// Snapshots that hold something of it.
    snapshots: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<String>,
    #[serde(skip)]
    newest_ms: Option<i64>,
}

pub fn run(session: Session, args: args::Topics) -> Result<u8, Failure> {
    let manager = TopicManager::open_with(&args.source, session.config.clone())?;
    manager.everything().must_be_known()?;
    let snapshots = manager.everything().list()?;
    let mut topics: Vec<Shown> =
        manager.topics()?.into_iter().map(|t| shown(t.name, t.partitions, &snapshots)).collect();
    // A topic that was deleted has its snapshots still.
    let mut gone: Vec<&str> = snapshots.iter().flat_map(|s| &s.logs).map(|log| log.topic.as_str()).collect();
    gone.retain(|name| !topics.iter().any(|t| t.topic == *name));
    gone.sort_unstable();
    gone.dedup();
    let gone: Vec<Shown> = gone.into_iter().map(|name| shown(name.to_owned(), Vec::new(), &snapshots)).collect();
    topics.extend(gone);
    topics.sort_by(|a, b| a.topic.cmp(&b.topic));
    if session.output.json {
        session.output.value(&topics)?;
    } else {
        session.output.text(&table(&topics, &session))?;
    }
    Ok(DONE)
}

fn shown(topic: String, partitions: Vec<i32>, snapshots: &[SnapshotInfo]) -> Shown {
    let holds = |s: &&SnapshotInfo| s.logs.iter().any(|log| log.topic == topic);
    let newest = snapshots.iter().rfind(holds);
    Shown {
        partitions,
        snapshots: snapshots.iter().filter(holds).count(),
        newest: newest.map(|s| s.id.clone()),
        newest_ms: newest.map(|s| s.timestamp_ms),
        topic,
    }
}

fn table(topics: &[Shown], session: &Session) -> String {
    let columns =
        [("TOPIC", Side::Left), ("PARTITIONS", Side::Right), ("SNAPSHOTS", Side::Right), ("NEWEST", Side::Right)];
    let mut table = Table::new(&columns);
    let now = session.now();
    for topic in topics {
        let partitions = match topic.partitions.len() {
            0 => "deleted".to_owned(),
            n => count(n as u64),
        };
        table.row(vec![
            topic.topic.clone().into(),
            partitions.into(),
            count(topic.snapshots as u64).into(),
            topic.newest_ms.map_or_else(|| "never".into(), |ms| age(now, ms)).into(),
        ]);
    }
    table.render(&session.output.styles)
}
