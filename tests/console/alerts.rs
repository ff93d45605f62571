//! The alerts by Prometheus' own reading of them: each fires when it should, and none where all is well.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// What is scraped, a sample a minute; a name without labels here gets those of a source.
type Series<'a> = &'a [(&'a str, &'a str)];

const WELL: Series = &[
    ("up", "1x3000"),
    ("cowlog_snapshots", "3x3000"),
    ("cowlog_damaged_snapshots", "0x3000"),
    ("cowlog_source_readable", "1x3000"),
    ("cowlog_newest_snapshot_age_seconds", "600x3000"),
    ("cowlog_newest_verified_snapshot_age_seconds", "600x3000"),
    ("cowlog_free_bytes", "50000000000x3000"),
    ("cowlog_drill_age_seconds", "600x3000"),
    ("cowlog_drill_ok", "1x3000"),
    ("cowlog_offsite_snapshot_age_seconds", "600x3000"),
    ("cowlog_task_failing{task=push}", "0x3000"),
    ("cowlog_task_failing{task=create}", "0x3000"),
    ("cowlog_job_failures_total{task=verify,kind=integrity}", "0x3000"),
    ("cowlog_job_failures_total{task=create,kind=validation}", "0x3000"),
    ("cowlog_http_requests_total{method=GET,status=200}", "0+60x3000"),
];

/// What is otherwise (a series without values is not there), when it is looked, and what fires then.
const CASES: &[(Series, &str, Option<&str>)] = &[
    (&[("cowlog_offsite_snapshot_age_seconds", "93000+60x60")], "40m", Some("CowlogOffsiteTooOld")),
    // Nothing has ever arrived; or nothing is carried anywhere.
    (&[("cowlog_offsite_snapshot_age_seconds", "")], "25h", None),
    (&[("cowlog_offsite_snapshot_age_seconds", "")], "27h", Some("CowlogNeverOffsite")),
    (&[("cowlog_offsite_snapshot_age_seconds", ""), ("cowlog_task_failing{task=push}", "")], "40h", None),
    (
        &[("cowlog_offsite_snapshot_age_seconds", ""), ("cowlog_task_failing{task=push}", "1x200")],
        "20m",
        Some("CowlogTaskFailing"),
    ),
    // A server that was never scraped before, and one that has long been.
    (&[], "0m", None),
    (&[], "3m", None),
    (&[], "3h", None),
    (&[("up", "0x60")], "4m", None),
    (&[("up", "0x60")], "6m", Some("CowlogDown")),
    (&[("up", "")], "6m", Some("CowlogDown")),
    (&[("cowlog_newest_snapshot_age_seconds", "7000+60x60")], "20m", Some("CowlogNoRecentSnapshot")),
    (&[("cowlog_snapshots", "0x200"), ("cowlog_newest_verified_snapshot_age_seconds", "")], "119m", None),
    (
        &[("cowlog_snapshots", "0x200"), ("cowlog_newest_verified_snapshot_age_seconds", "")],
        "121m",
        Some("CowlogNoSnapshot"),
    ),
    (&[("cowlog_newest_verified_snapshot_age_seconds", "172000+60x60")], "40m", Some("CowlogNoRecentVerification")),
    (&[("cowlog_newest_verified_snapshot_age_seconds", "")], "49h", Some("CowlogNeverVerified")),
    (&[("cowlog_damaged_snapshots", "0x9 1x60")], "10m", Some("CowlogDamage")),
    (&[("cowlog_job_failures_total{task=verify,kind=integrity}", "0x29 1x60")], "31m", Some("CowlogIntegrityFailure")),
    (&[("cowlog_job_failures_total{task=verify,kind=integrity}", "0x29 1x60")], "50m", None),
    // It failed before it was scraped for the first time.
    (&[("cowlog_job_failures_total{task=verify,kind=integrity}", "1x60")], "1m", Some("CowlogIntegrityFailure")),
    (&[("cowlog_job_failures_total{task=verify,kind=integrity}", "1x60")], "20m", None),
    // The server was started again.
    (&[("cowlog_job_failures_total{task=verify,kind=integrity}", "3x29 0x60")], "31m", None),
    (&[("cowlog_job_failures_total{task=create,kind=validation}", "0x29 1 2 3 4x60")], "40m", Some("CowlogJobsFail")),
    (
        &[
            ("cowlog_job_failures_total{task=create,kind=validation}", "0x29 1 2 3 4x60"),
            ("cowlog_task_failing{task=create}", "0x29 1x60"),
        ],
        "46m",
        Some("CowlogTaskFailing"),
    ),
    (&[("cowlog_source_readable", "0x60")], "6m", Some("CowlogUnreadable")),
    (&[("cowlog_drill_ok", "0x60")], "1m", Some("CowlogDrillFailed")),
    (&[("cowlog_drill_age_seconds", "1209000+60x60")], "20m", Some("CowlogDrillTooOld")),
    (&[("cowlog_free_bytes", "900000000x60")], "16m", Some("CowlogDiskFull")),
    // Full within a day, at the rate of the last hours.
    (&[("cowlog_free_bytes", "50000000000-60000000x600")], "4h", Some("CowlogDiskFull")),
    (&[("cowlog_free_bytes", "50000000000-6000000x600")], "4h", None),
    (&[("cowlog_http_requests_total{method=GET,status=500}", "0+3x60")], "30m", Some("CowlogFaults")),
];

/// With the labels that they have when Prometheus has scraped them.
fn labelled(series: &str) -> String {
    let (name, labels) =
        series.split_once('{').map_or((series, ""), |(name, labels)| (name, labels.trim_end_matches('}')));
    let mut labels: Vec<String> =
        labels.split(',').filter_map(|label| label.split_once('=')).map(|(k, v)| format!("{k}=\"{v}\"")).collect();
    labels.extend(["job=\"cowlog\"".to_owned(), "instance=\"here:7462\"".to_owned()]);
    if name.starts_with("cowlog_") && !name.starts_with("cowlog_http") {
        labels.push("source=\"orders\"".to_owned());
    }
    format!("{name}{{{}}}", labels.join(","))
}

#[test]
fn each_fires_when_it_should_and_none_where_all_is_well() {
    let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus/alerts.yml");
    let promtool = |args: &[&std::ffi::OsStr]| Command::new("promtool").args(args).output();
    if promtool(&["--version".as_ref()]).is_err() {
        assert!(std::env::var_os("COWLOG_NO_SKIP").is_none_or(|v| v != "1"), "promtool is not here");
        return eprintln!("skipped, because promtool is not here");
    }
    let mut text = format!("rule_files: [{alerts:?}]\nevaluation_interval: 1m\ntests:\n");
    for (otherwise, at, expected) in CASES {
        let mut series: BTreeMap<&str, &str> = WELL.iter().copied().collect();
        series.extend(otherwise.iter().copied());
        text += "  - interval: 1m\n    input_series:\n";
        for (name, values) in series.into_iter().filter(|(_, values)| !values.is_empty()) {
            writeln!(text, "      - {{ series: '{}', values: '{values}' }}", labelled(name)).unwrap();
        }
        text += "    promql_expr_test:\n      - expr: count by (alertname) (ALERTS{alertstate=\"firing\"})\n";
        writeln!(text, "        eval_time: {at}").unwrap();
        match expected {
            None => text += "        exp_samples: []\n",
            Some(name) => {
                writeln!(text, "        exp_samples: [{{ labels: '{{alertname=\"{name}\"}}', value: 1 }}]").unwrap();
            }
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("cases.yml");
    std::fs::write(&file, &text).unwrap();
    let ran = promtool(&["test".as_ref(), "rules".as_ref(), file.as_os_str()]).unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{told}");
    // Each alert has its case.
    let rules = std::fs::read_to_string(&alerts).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(CASES.iter().any(|(_, _, fires)| *fires == Some(alert)), "{alert} has no case");
    }
}
