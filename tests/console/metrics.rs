//! What is measured is right, is what the alerts and the dashboard use, and is described.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::served::{ADMIN, Place, READ, Served, damage};

/// A family: its type, and its samples: name, labels, value.
#[derive(Debug, Default)]
pub struct Family {
    kind: String,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Reads OpenMetrics strictly: whatever is not understood fails.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let body = text.strip_suffix("# EOF\n").expect("it ends with EOF");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let (word, rest) = rest.split_once(' ').unwrap();
            let (name, value) = rest.split_once(' ').unwrap();
            match word {
                "HELP" => {
                    assert!(!families.contains_key(name), "{name} comes twice");
                    current = name.to_owned();
                    assert!(value.len() > 5, "{line}");
                }
                "TYPE" => families.entry(name.to_owned()).or_default().kind = value.to_owned(),
                "UNIT" => assert!(name.ends_with(&format!("_{value}")), "{line}"),
                _ => panic!("{line}"),
            }
            assert_eq!(name, current);
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(!value.contains(' ') && is_name(series.split('{').next().unwrap()), "{line}");
        let (name, labels) = series.split_once('{').map_or((series, ""), |(n, l)| (n, l.strip_suffix('}').unwrap()));
        // No value here has a comma, a quote or a backslash in it: what a source may be called sees to that.
        let pairs = labels.split(',').filter(|l| !l.is_empty()).map(|label| {
            let (key, value) = label.split_once('=').unwrap();
            let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(key) && !value.contains(['"', '\\']), "{line}");
            (key.to_owned(), value.to_owned())
        });
        let pairs: Vec<(String, String)> = pairs.collect();
        let labels: BTreeMap<String, String> = pairs.iter().cloned().collect();
        assert_eq!(labels.len(), pairs.len(), "a label comes twice: {line}");
        let family = families.get_mut(&current).unwrap();
        let suffix = name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("{line} is not of {current}"));
        let right = match family.kind.as_str() {
            "gauge" => suffix.is_empty(),
            "counter" => suffix == "_total",
            "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
            other => panic!("{other}"),
        };
        assert!(right, "{line}");
        let value: f64 = value.parse().unwrap();
        assert!(value.is_finite() && value >= 0.0, "{line}");
        assert!(!family.samples.iter().any(|(n, l, _)| n == name && *l == labels), "it comes twice: {line}");
        family.samples.push((name.to_owned(), labels, value));
    }
    for (name, family) in families.iter().filter(|(_, family)| family.kind == "histogram") {
        whole(name, family);
    }
    families
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// The buckets of each series of a histogram rise to its count.
fn whole(name: &str, family: &Family) {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for (_, labels, value) in family.samples.iter().filter(|(n, ..)| *n == format!("{name}_bucket")) {
        let mut labels = labels.clone();
        let le = labels.remove("le").unwrap_or_else(|| panic!("{name} has a bucket without bound"));
        series.entry(labels).or_default().push((le.parse().unwrap(), *value));
    }
    for (labels, buckets) in &series {
        assert!(buckets.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1), "{name} {labels:?}: {buckets:?}");
        let count = family.samples.iter().find(|(n, l, _)| *n == format!("{name}_count") && l == labels);
        let (bound, last) = *buckets.last().unwrap();
        assert!(bound.is_infinite() && count.is_some_and(|(.., count)| *count == last), "{name} {labels:?}");
    }
}

pub fn scrape(served: &Served) -> BTreeMap<String, Family> {
    let answer = served.ask("GET", "/metrics", READ, &[], None);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    parse(&answer.body)
}

pub fn value(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let samples = families.values().flat_map(|family| &family.samples);
    let mut fitting =
        samples.filter(|(n, has, _)| n == name && labels.iter().all(|(k, v)| has.get(*k).is_some_and(|h| h == v)));
    fitting.next().map(|(.., value)| *value)
}

/// A server with something of everything.
fn served() -> (Place, Served) {
    let place = Place::new();
    place.append("good", 50);
    place.append("bad", 50);
    std::fs::create_dir(place.path("drills")).unwrap();
    let drill = format!(
        "drill = {{ every = \"1h\", into = {:?} }}\nevery = \"1h\"\nverify = {{ every = \"1h\" }}\noffsite = {{ to = {:?}, host = \"here\" }}",
        place.path("drills"),
        place.path("elsewhere")
    );
    let failing = format!("every = \"1h\"\ndrill = {{ every = \"1h\", into = {:?} }}", place.path("nowhere"));
    place.configure("", &[("good", &drill), ("bad", &failing), ("gone", "")]);
    let served = place.serve();
    let began = Instant::now();
    // What is due at once is done: four jobs of one source, two of the other.
    while served.get("/api/jobs")["jobs"].as_array().unwrap().iter().filter(|job| job["ended_ms"].is_i64()).count() < 6
    {
        assert!(began.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    }
    let snapshot = served.get("/api/snapshots/bad~latest");
    let files = served.get("/api/snapshots/bad~latest/files");
    let copied = files["files"]
        .as_array()
        .unwrap()
        .iter()
        .find(|file| file["method"] == "copy" && file["path"].as_str().unwrap().ends_with(".log"));
    damage(&Path::new(snapshot["path"].as_str().unwrap()).join(copied.unwrap()["path"].as_str().unwrap()));
    let job = served.ended(&served.post("/api/snapshots/bad~latest/verify", json!({})).expect(202));
    assert_eq!(job["state"], "failed");
    served.ask("DELETE", "/api/snapshots/good~snapshot-9", ADMIN, &[], None).problem(404, "not-found");
    (place, served)
}

#[test]
fn they_say_what_is() {
    let (_place, served) = served();
    let all = scrape(&served);
    let of = |name: &str, source: &str| value(&all, name, &[("source", source)]);
    let source = served.get("/api/sources/good");
    assert_eq!((of("cowlog_snapshots", "good"), of("cowlog_snapshots", "gone")), (Some(1.0), Some(0.0)));
    let elsewhere = "cowlog_offsite_snapshot_age_seconds";
    assert!(of(elsewhere, "good").is_some_and(|age| age < 60.0) && of(elsewhere, "bad").is_none());
    assert_eq!(source["offsite"]["id"], source["newest"]["id"]);
    assert_eq!((of("cowlog_damaged_snapshots", "good"), of("cowlog_damaged_snapshots", "bad")), (Some(0.0), Some(1.0)));
    assert_eq!((of("cowlog_source_readable", "good"), of("cowlog_source_readable", "gone")), (Some(1.0), Some(0.0)));
    for name in [
        "cowlog_newest_snapshot_age_seconds",
        "cowlog_newest_verified_snapshot_age_seconds",
        "cowlog_drill_age_seconds",
    ] {
        let age = of(name, "good").unwrap_or_else(|| panic!("{name}"));
        assert!((0.0..60.0).contains(&age), "{name}: {age}");
        assert_eq!(of(name, "gone"), None, "{name}");
    }
    assert_eq!(of("cowlog_newest_verified_snapshot_age_seconds", "bad"), None, "what is damaged counts as verified");
    for (kind, field) in [("logical", "bytes_logical"), ("copied", "bytes_copied")] {
        let bytes = value(&all, "cowlog_snapshot_bytes", &[("source", "good"), ("kind", kind)]);
        assert_eq!(bytes, source[field].as_f64());
    }
    assert_eq!(source["drill"]["batches"], 50);
    assert!(source["drill"]["at_ms"].is_i64(), "{source}");
    assert!(of("cowlog_free_bytes", "good").unwrap() > 0.0);
    assert_eq!(
        (of("cowlog_drill_ok", "good"), of("cowlog_drill_ok", "bad"), of("cowlog_drill_ok", "gone")),
        (Some(1.0), Some(0.0), None)
    );
    let task = |name: &str, source: &str, task: &str| value(&all, name, &[("source", source), ("task", task)]);
    assert_eq!(
        (task("cowlog_task_failing", "bad", "drill"), task("cowlog_task_failing", "bad", "create")),
        (Some(1.0), Some(0.0))
    );
    assert_eq!(task("cowlog_job_duration_seconds_count", "good", "create"), Some(1.0));
    let jobs = |state| value(&all, "cowlog_jobs_total", &[("source", "bad"), ("task", "verify"), ("state", state)]);
    assert_eq!((jobs("failed"), jobs("done")), (Some(1.0), None));
    let failures =
        |task, kind| value(&all, "cowlog_job_failures_total", &[("source", "bad"), ("task", task), ("kind", kind)]);
    assert_eq!((failures("verify", "integrity"), failures("drill", "filesystem")), (Some(1.0), Some(1.0)));
    // What has not failed yet is there all the same: nobody sees the first of what begins with 1.
    assert_eq!((failures("prune", "concurrency"), failures("create", "validation")), (Some(0.0), Some(0.0)));
    assert_eq!(value(&all, "cowlog_jobs_running", &[]), Some(0.0));
    assert_eq!(value(&all, "cowlog_http_requests_total", &[("method", "DELETE"), ("status", "404")]), Some(1.0));
    assert!(value(&all, "cowlog_http_request_duration_seconds_count", &[]).unwrap() > 3.0);
    // What a client calls a method makes no series of its own.
    served.ask("BREW", "/", "", &[], None).problem(405, "method");
    let all = scrape(&served);
    assert_eq!(value(&all, "cowlog_http_requests_total", &[("method", "other"), ("status", "405")]), Some(1.0));
}

/// `cowlog_…` as it stands in a text, with what follows it in braces.
fn named(text: &str) -> Vec<(String, String)> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let found = text.match_indices("cowlog_").map(|(at, _)| {
        let rest = &text[at..];
        let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
        let after = &rest[name.len()..];
        let labels = after.strip_prefix('{').and_then(|l| l.split_once('}')).map_or("", |(l, _)| l);
        (name, labels.to_owned())
    });
    found.collect()
}

#[test]
fn alerts_dashboard_and_page_name_what_is_and_all_of_it() {
    let (_place, served) = served();
    let all = scrape(&served);
    let mut exposed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, labels, _) in all.values().flat_map(|family| &family.samples) {
        exposed.entry(name.clone()).or_default().extend(labels.keys().cloned());
    }
    let read = |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&read("packaging/grafana/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut used: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert!(used.len() > 15);
    used.push(dashboard["templating"]["list"][1]["definition"].as_str().unwrap().to_owned());
    let alerts = read("packaging/prometheus/alerts.yml");
    used.extend(alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned));
    let mut families = BTreeSet::new();
    for expression in &used {
        let names = named(expression);
        for (name, matchers) in &names {
            let labels = exposed.get(name).unwrap_or_else(|| panic!("{name} does not exist: {expression}"));
            let listed = |word: &str| -> Vec<&str> {
                let lists = expression.split(word).skip(1);
                lists.flat_map(|rest| rest.split(')').next().unwrap().split(", ")).collect()
            };
            // Prometheus itself adds the instance.
            let by =
                listed(" by (").into_iter().chain(listed(" on (").into_iter().filter(|label| *label != "instance"));
            let matched = matchers
                .split(',')
                .filter_map(|m| m.split(['=', '~', '!']).next())
                .map(str::trim)
                .filter(|m| !m.is_empty());
            for label in by.chain(matched) {
                assert!(labels.contains(label), "{name} has no {label}: {expression}");
            }
            families
                .insert(all.keys().filter(|family| name.starts_with(family.as_str())).max_by_key(|f| f.len()).unwrap());
        }
        assert!(!names.is_empty() || expression.starts_with("up{"), "{expression}");
    }
    assert_eq!(
        families.len(),
        all.len(),
        "not used: {:?}",
        all.keys().filter(|f| !families.contains(f)).collect::<Vec<_>>()
    );

    // Each is a row of the table, by the name that it is exposed with.
    let page = read("docs/operations.md");
    let rows: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `cowlog_")?.split('`').next()).collect();
    let kinds: BTreeSet<String> = all
        .iter()
        .map(|(name, family)| {
            let suffix = if family.kind == "counter" { "_total" } else { "" };
            format!("{name}{suffix}").replacen("cowlog_", "", 1)
        })
        .collect();
    assert_eq!(rows, kinds.iter().map(String::as_str).collect());
    // And each alert has a line.
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(page.contains(&format!("| `{alert}`")), "{alert} is not described");
    }
}
