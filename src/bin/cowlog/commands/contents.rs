//! What `show --kafka` adds.

use std::fmt::Write;

use cowlog::snapshot::Contents;

use super::list::seconds;
use crate::style::{Styles, printable};
use crate::table::{Side, Table};

/// Topics, logs, open transactions and groups, each followed by an empty line.
pub fn sections(contents: &Contents, styles: &Styles) -> String {
    let mut out = String::new();
    let mut section = |table: Table| {
        out.push_str(&table.render(styles));
        out.push('\n');
    };
    section(topics(contents));
    section(logs(contents));
    if contents.logs.iter().any(|log| !log.open_transactions.is_empty()) {
        section(transactions(contents));
    }
    match &contents.groups {
        Some(groups) if groups.is_empty() => out.push_str("No group has committed an offset.\n\n"),
        Some(_) => section(groups(contents)),
        None => out.push_str("Groups are not in this snapshot: it has no __consumer_offsets.\n\n"),
    }
    for unread in &contents.unread {
        let _ = writeln!(out, "Not read: {}\n", printable(unread));
    }
    out
}

fn topics(contents: &Contents) -> Table {
    let mut table = Table::new(&[("TOPIC", Side::Left), ("ID", Side::Left), ("PARTITIONS", Side::Right)]);
    for topic in &contents.topics {
        table.row(vec![
            topic.topic.clone().into(),
            topic.topic_id.clone().unwrap_or_default().into(),
            topic.partitions.len().to_string().into(),
        ]);
    }
    table
}

fn logs(contents: &Contents) -> Table {
    let mut table = Table::new(&[
        ("LOG", Side::Left),
        ("LEADER EPOCHS", Side::Left),
        ("CODECS", Side::Left),
        ("OPEN TRANSACTIONS", Side::Right),
    ]);
    for log in &contents.logs {
        let epochs = match log.leader_epochs.as_slice() {
            [.., last] => format!("{} from {}", last.epoch, last.start_offset),
            [] => String::new(),
        };
        let before = log.leader_epochs.len().saturating_sub(1);
        let epochs = if before == 0 { epochs } else { format!("{epochs}, {before} before") };
        table.row(vec![
            format!("{}-{}", log.topic, log.partition).into(),
            epochs.into(),
            log.codecs.join(", ").into(),
            log.open_transactions.len().to_string().into(),
        ]);
    }
    table
}

fn transactions(contents: &Contents) -> Table {
    let mut table = Table::new(&[
        ("OPEN TRANSACTION", Side::Left),
        ("PRODUCER", Side::Right),
        ("EPOCH", Side::Right),
        ("FROM", Side::Right),
        ("SINCE", Side::Left),
    ]);
    for log in &contents.logs {
        for open in &log.open_transactions {
            table.row(vec![
                format!("{}-{}", log.topic, log.partition).into(),
                open.producer_id.to_string().into(),
                open.producer_epoch.to_string().into(),
                open.first_offset.to_string().into(),
                open.since.as_deref().map(seconds).unwrap_or_default().to_string().into(),
            ]);
        }
    }
    table
}

fn groups(contents: &Contents) -> Table {
    let mut table = Table::new(&[
        ("GROUP", Side::Left),
        ("LOG", Side::Left),
        ("COMMITTED", Side::Right),
        ("LAG", Side::Left),
        ("AT", Side::Left),
    ]);
    for group in contents.groups.iter().flatten() {
        for offset in &group.offsets {
            let lag = match offset.lag {
                None => "not in this snapshot".to_owned(),
                Some(lag) if lag < 0 => format!("{} beyond the end", lag.unsigned_abs()),
                Some(lag) => lag.to_string(),
            };
            table.row(vec![
                group.group.clone().into(),
                format!("{}-{}", offset.topic, offset.partition).into(),
                offset.offset.to_string().into(),
                lag.into(),
                seconds(&offset.committed_at).to_string().into(),
            ]);
        }
    }
    table
}
