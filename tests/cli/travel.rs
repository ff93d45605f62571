//! Times: the records of a while, and a topic that goes back to a moment in place.

use crate::stage::{cowlog, records, run};
use crate::{fixtures, stage};

fn on(data: &std::path::Path, verb: &str, args: &[&str]) -> stage::Ran {
    run(cowlog().arg(verb).arg(data).args(args))
}

/// `--into` with a time: the partitions that are put in place end before the first record of it, and come back.
#[test]
fn a_topic_goes_back_to_a_moment_in_place() {
    let (_temp, data) = fixtures::unpack("plain-clean");
    on(&data, "create", &[]).expect_code(0);
    let logs = ["orders-0", "orders-1"].map(|name| data.join(name));
    let before = [&logs[0], &logs[1]].map(|log| records(log));
    let times: Vec<i64> = before[0].iter().map(|record| record.timestamp).collect();
    let until = times[times.len() / 2];
    let text = cowlog::store::rfc3339(until);
    let args = ["latest", "--topic", "orders", "--into", data.to_str().unwrap(), "--until", &text, "--json"];
    let restored = on(&data, "restore", &args).expect_code(0).json();
    let mut shorter = 0;
    for (n, log) in logs.iter().enumerate() {
        let now = records(log);
        assert!(now.len() < before[n].len() && before[n].starts_with(&now), "partition {n}");
        // No batch in front of the cut reaches the time; the one behind it does.
        assert!(now.iter().all(|record| record.timestamp < until), "partition {n}");
        let cut = restored["cuts"].as_array().unwrap().iter().find(|cut| cut["partition"] == n).unwrap();
        assert_eq!(cut["end_offset"].as_u64(), Some(now.len() as u64), "{restored}");
        assert!(before[n][now.len()..].iter().any(|record| record.timestamp >= until));
        shorter += 1;
    }
    assert_eq!(shorter, 2);
    on(&data, "undo", &[]).expect_code(0);
    assert_eq!([&logs[0], &logs[1]].map(|log| records(log)), before);
}

#[test]
fn cat_prints_the_records_of_a_while() {
    let (_temp, data) = fixtures::unpack("codecs-live");
    on(&data, "create", &[]).expect_code(0);
    for topic in ["events-gzip", "events-lz4", "events-snappy", "events-zstd"] {
        let all = records(&data.join(format!("{topic}-0")));
        let mut times: Vec<i64> = all.iter().map(|record| record.timestamp).collect();
        times.sort_unstable();
        let (since, until) = (times[times.len() / 3], times[times.len() * 2 / 3]);
        let printed = |args: &[&str]| -> Vec<i64> {
            let ran = on(&data, "cat", &[&["latest", "--topic", topic, "--format", "json"], args].concat());
            let offset =
                |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["offset"].as_i64().unwrap();
            ran.expect_code(0).stdout.lines().map(offset).collect()
        };
        let wanted = |is: &dyn Fn(i64) -> bool| -> Vec<i64> {
            all.iter().filter(|record| is(record.timestamp)).map(|record| record.offset).collect()
        };
        let (from, to) = (cowlog::store::rfc3339(since), cowlog::store::rfc3339(until));
        let some = printed(&["--since", &from, "--until", &to]);
        assert!(!some.is_empty() && some.len() < all.len(), "{topic}: {} of {}", some.len(), all.len());
        assert_eq!(some, wanted(&|time| (since..until).contains(&time)), "{topic}");
        assert_eq!(printed(&["--since", &from]), wanted(&|time| time >= since), "{topic}");
        assert_eq!(printed(&["--until", &to]), wanted(&|time| time < until), "{topic}");
        assert!(printed(&["--since", "2h"]).is_empty(), "{topic}: long ago");
    }
    on(&data, "cat", &["latest", "--topic", "events-lz4", "--since", "noon", "--json"]).expect_error(2, "validation");
}
