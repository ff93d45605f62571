//! The table of `docs/retention.md`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use cowlog::snapshot::{Policy, plan};
use cowlog::store::Record;

/// Wednesday 2025-01-15, 12:00 UTC.
const NOW: i64 = 1_736_942_400_000;

/// `2d!#release`
fn record(written: &str) -> Record {
    let marks = written.find(['*', '!', '+', '#']).unwrap_or(written.len());
    let (age, marks) = written.split_at(marks);
    let unit = age.find(|c: char| c.is_alphabetic()).unwrap();
    let millis = match &age[unit..] {
        "d" => 86_400_000,
        "h" => 3_600_000,
        "m" => 60_000,
        other => panic!("{written}: {other}"),
    };
    let timestamp = NOW - age[..unit].parse::<i64>().unwrap() * millis;
    let json = format!(
        r#"{{"id":"snapshot-{timestamp}","timestamp":{timestamp},"scope":"all","num_segments":1,"total_size":1,
            "methods":{{}},"bytes_copied":0,"exposed":0,"oldest_read":null,"root":"00"}}"#
    );
    let mut record: Record = serde_json::from_str(&json).unwrap();
    let (marks, tag) = marks.split_once('#').unwrap_or((marks, ""));
    record.tags.extend((!tag.is_empty()).then(|| tag.to_owned()));
    for mark in marks.chars() {
        match mark {
            '*' => record.pinned = true,
            '!' => record.damaged = Some("a bit".into()),
            '+' => record.verified = Some((timestamp, "full".into(), true)),
            other => panic!("{written}: {other}"),
        }
    }
    record
}

fn policy(rules: &str) -> Policy {
    let mut policy = Policy::default();
    let mut words = rules.split_whitespace();
    while let Some(flag) = words.next() {
        let value = words.next().unwrap();
        let number = || value.parse::<usize>().unwrap();
        let time = || cowlog::units::parse_duration(value).unwrap();
        match flag {
            "--max-snapshots" => policy.max_snapshots = number(),
            "--retention" => policy.retention_time = time(),
            "--keep-last" => policy.keep_last = number(),
            "--keep-within" => policy.keep_within = time(),
            "--keep-tag" => drop(policy.keep_tags.insert(value.to_owned())),
            "--keep-hourly" => policy.keep_hourly = number(),
            "--keep-daily" => policy.keep_daily = number(),
            "--keep-weekly" => policy.keep_weekly = number(),
            "--keep-monthly" => policy.keep_monthly = number(),
            other => panic!("{other} is in no test"),
        }
    }
    policy
}

#[test]
fn the_table_of_the_documentation_holds() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/retention.md")).unwrap();
    let (_, table) = text.split_once("| what | snapshots | rules | these go |\n|---|---|---|---|\n").unwrap();
    let mut rows = 0;
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [what, snapshots, rules, gone] = cells.as_slice() else { panic!("{row}") };
        let written: Vec<&str> = snapshots.split_whitespace().collect();
        let records: Vec<Record> = written.iter().map(|w| record(w)).collect();
        let policy = policy(rules);
        let planned = plan(&records, &policy, NOW, &BTreeSet::new());
        assert_eq!(planned.steps().len(), records.len(), "{what}: a line for each");
        assert!(planned.steps().iter().all(|step| !step.reason.is_empty()), "{what}: with a reason");
        let removed: BTreeSet<_> = planned.removals().map(|step| step.id).collect();
        let went: Vec<&str> =
            written.iter().zip(&records).filter(|(_, r)| removed.contains(&r.id)).map(|(w, _)| *w).collect();
        assert_eq!(went, gone.split_whitespace().collect::<Vec<_>>(), "{what}: {planned:?}");
        rows += 1;
    }
    assert!(rows > 20, "{rows}");
}

#[test]
fn what_holds_is_said() {
    let records: Vec<Record> = ["0h", "1h", "2d#v1", "3d", "4d", "40d"].iter().map(|w| record(w)).collect();
    let policy = Policy {
        max_snapshots: 0,
        keep_last: 2,
        keep_within: Duration::from_secs(3 * 86_400),
        keep_monthly: 2,
        ..policy("--keep-tag v1")
    };
    let plan = plan(&records, &policy, NOW, &BTreeSet::new());
    let said: Vec<(bool, &str)> = plan.steps().iter().map(|s| (s.remove, s.reason.as_str())).collect();
    assert_eq!(
        said,
        [
            (false, "the newest"),
            (false, "one of the newest 2"),
            (false, "tagged v1"),
            (false, "not older than 3 d"),
            (true, "more than 0 snapshots"),
            (false, "the newest of its month"),
        ]
    );
}
