//! `docs/json.md` names the fields that there are, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::stage::{Stage, append, cowlog, run};

/// Of each table behind a `<!-- fields: NAME -->`: field, and whether it is optional.
fn tables() -> BTreeMap<String, BTreeMap<String, bool>> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md")).unwrap();
    let mut tables = BTreeMap::new();
    for part in text.split("<!-- fields: ").skip(1) {
        let (name, rest) = part.split_once(" -->").unwrap();
        let rows = rest.lines().skip(3).take_while(|line| line.starts_with('|'));
        let mut fields = BTreeMap::new();
        for row in rows {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            for field in cells[1].split(", ") {
                fields.insert(field.trim_matches('`').to_owned(), cells[2].contains("optional"));
            }
        }
        assert!(fields.len() >= 3, "{name}: {fields:?}");
        tables.insert(name.to_owned(), fields);
    }
    tables
}

struct Seen {
    tables: BTreeMap<String, BTreeMap<String, bool>>,
    seen: BTreeSet<(String, String)>,
}

impl Seen {
    /// `value` is what these tables together describe.
    #[track_caller]
    fn is(&mut self, names: &[&str], value: &Value) {
        let object = value.as_object().unwrap_or_else(|| panic!("{names:?}: {value}"));
        let mut known = BTreeSet::new();
        for name in names {
            for (field, optional) in &self.tables[*name] {
                assert!(*optional || object.contains_key(field), "{name}: {field} is missing from {value}");
                if object.contains_key(field) {
                    self.seen.insert(((*name).to_owned(), field.clone()));
                }
                known.insert(field.as_str());
            }
        }
        for field in object.keys() {
            assert!(known.contains(field.as_str()), "{names:?} do not document {field} of {value}");
        }
    }
}

#[test]
fn every_field_is_documented_and_every_documented_field_is_there() {
    let mut docs = Seen { tables: tables(), seen: BTreeSet::new() };
    let stage = Stage::new();
    let json = |verb: &str, args: &[&str]| stage.run(verb, &[args, &["--json"]].concat()).json();

    let created = json("create", &["--tag", "a"]);
    docs.is(&["snapshot", "created"], &created);
    let id = created["id"].as_str().unwrap().to_owned();
    let shown = json("show", &[&id]);
    docs.is(&["snapshot", "shown"], &shown);
    shown["files"].as_array().unwrap().iter().for_each(|file| docs.is(&["file"], file));
    let snapshot = stage.snapshot(&id);
    std::fs::write(snapshot.join("stranger"), "").unwrap();
    docs.is(&["verify"], &json("verify", &[&id]));
    docs.is(&["restore"], &json("restore", &[&id, "--to", stage.path("r").to_str().unwrap()]));
    let at = ["--at", "1970-01-01", "--since", "10", "--until", "2100-01-01", "--to"];
    let cut = json("restore", &[&at[..], &[stage.path("b").to_str().unwrap()]].concat());
    docs.is(&["restore"], &cut);
    docs.is(&["cut"], &cut["cuts"][0]);
    docs.is(&["cut-batch"], &cut["cuts"][0]["before"]);
    let cut = json("restore", &[&id, "--until", "10", "--to", stage.path("u").to_str().unwrap()]);
    docs.is(&["cut"], &cut["cuts"][0]);
    docs.is(&["fork"], &json("fork", &[&id, "--to", stage.path("f").to_str().unwrap(), "--count", "2"]));
    let listed = json("list", &[]);
    docs.is(&["snapshot"], &listed[0]);
    docs.is(&["verified"], &listed[0]["verified"]);
    docs.is(&["repair"], &json("repair", &[]));
    let of_machine = run(cowlog().args(["doctor", "--json"])).json();
    let findings =
        [&json("doctor", &[])["findings"], &of_machine["findings"]].map(|all| all.as_array().unwrap().clone());
    findings.iter().flatten().for_each(|finding| docs.is(&["finding"], finding));
    record_lines(&mut docs, &stage, &id);
    docs.is(&["snapshot", "shown"], &json("show", &[&id, "--space"]));
    let space = json("space", &[&id, "--segments"]);
    docs.is(&["space"], &space);
    docs.is(&["snapshot-space"], &space["snapshots"][0]);
    docs.is(&["segment-copies"], &space["segments"][0]);
    docs.is(&["deleted"], &json("delete", &[&id, "--dry-run"])[0]);
    elsewhere(&mut docs, &stage);
    // It takes an hour of snapshots.
    let forecast = cowlog::snapshot::Forecast {
        since: String::new(),
        hours: 1.0,
        appended_per_day: 1,
        copied_per_day: 1,
        days_until_full: Some(1.0),
    };
    docs.is(&["forecast"], &serde_json::to_value(forecast).unwrap());

    append(&stage.log, 2);
    let replaced = json("restore", &[&id, "--replace"]);
    docs.is(&["restore"], &replaced);
    docs.is(&["replaced"], &replaced["replaced"]);
    docs.is(&["undo"], &json("undo", &["--list"])[0]);
    docs.is(&["undo"], &json("undo", &[]));
    docs.is(&["undo"], &json("undo", &["--discard", "--dry-run"])[0]);
    docs.is(&["undo"], &json("undo", &["--discard"])[0]);
    assert_eq!(json("undo", &["--list"]), serde_json::json!([]));

    // Damage, in a file and in a manifest.
    let log = snapshot.join(format!("{:020}.log", 0));
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, [b"x", &bytes[1..]].concat()).unwrap();
    std::fs::remove_file(snapshot.join(format!("{:020}.index", 0))).unwrap();
    let report = json("verify", &[&id]);
    docs.is(&["verify"], &report);
    docs.is(&["damage"], &report["damage"][0]);
    docs.is(&["error"], &json("restore", &[&id, "--to", stage.path("r2").to_str().unwrap()])["error"]);
    docs.is(&["error"], &json("show", &["nonsense!"])["error"]);
    std::fs::remove_file(snapshot.join("checkpoint.json")).unwrap();
    let scrubbed = json("verify", &["--budget", "100%"]);
    docs.is(&["scrub"], &scrubbed);
    docs.is(&["scrub-damage"], &scrubbed["damage"][0]);
    let healed = json("repair", &["--heal"]);
    docs.is(&["healed"], &healed);
    docs.is(&["mended"], &healed["mended"][0]);
    docs.is(&["not-mended"], &healed["not_mended"][0]);
    append(&stage.log, 1);
    let second = stage.create();
    std::fs::write(stage.snapshot(&second).join("manifest.json"), "{}").unwrap();
    docs.is(&["snapshot"], &json("list", &[])[1]);
    docs.is(&["deleted"], &json("delete", &[&second])[0]);

    // Logs with topics.
    let temp = tempfile::tempdir().unwrap();
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/codecs-live.tar.zst");
    let packed = std::fs::File::open(packed).unwrap();
    tar::Archive::new(zstd::Decoder::new(packed).unwrap()).unpack(temp.path()).unwrap();
    let data = temp.path().join("codecs-live");
    std::fs::write(data.join("cleaner-offset-checkpoint.tmp"), "").unwrap();
    let created = run(cowlog().arg("create").arg(&data).arg("--json")).expect_code(0).json();
    docs.is(&["snapshot", "created"], &created);
    created["logs"].as_array().unwrap().iter().for_each(|log| docs.is(&["log"], log));
    let topics = run(cowlog().arg("topics").arg(&data).arg("--json")).expect_code(0).json();
    topics.as_array().unwrap().iter().for_each(|topic| docs.is(&["topic"], topic));
    let then = ["latest", "--json", "--until", "2100-01-01", "--to", temp.path().join("then").to_str().unwrap()]
        .map(str::to_owned);
    let then = run(cowlog().arg("restore").arg(&data).args(then)).expect_code(0).json();
    docs.is(&["restore"], &then);
    then["cuts"].as_array().unwrap().iter().for_each(|cut| docs.is(&["cut"], cut));
    let part = ["latest", "--json", "--topic", "events-gzip", "--replace"];
    docs.is(&["restore"], &run(cowlog().arg("restore").arg(&data).args(part)).expect_code(0).json());
    docs.is(&["undo"], &run(cowlog().arg("undo").arg(&data).arg("--json")).expect_code(0).json());
    kafka(&mut docs, temp.path());
    let target = temp.path().join("r");
    let restored = run(cowlog().arg("restore").arg(&data).args(["latest", "--json", "--to"]).arg(target));
    docs.is(&["restore"], &restored.expect_code(0).json());

    // Two directories of one broker, of which one part is lost.
    let other = temp.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::copy(data.join("meta.properties"), other.join("meta.properties")).unwrap();
    std::fs::rename(data.join("events-gzip-0"), other.join("events-gzip-0")).unwrap();
    let both = run(cowlog().arg("create").args([&data, &other]).args(["--force", "--json"])).expect_code(0).json();
    both.as_array().unwrap().iter().for_each(|part| docs.is(&["snapshot", "created"], part));
    std::fs::remove_dir_all(temp.path().join("other.snapshots")).unwrap();
    let listed = run(cowlog().arg("list").arg(&data).arg("--json")).expect_code(0).json();
    docs.is(&["snapshot"], &listed[1]);

    let measured =
        run(cowlog().arg("bench").arg(temp.path()).args(["--size", "16MiB", "--json"])).expect_code(0).json();
    docs.is(&["bench"], &measured);
    for contender in measured["results"].as_array().unwrap() {
        docs.is(&["contender"], contender);
        contender.get("times").into_iter().for_each(|times| docs.is(&["times"], times));
    }

    // Which this user may always set; what only a locked bucket does; what only a running broker makes, see `live` and `kafka_live`; and a broker's records
    // that cannot be read.
    let unseen = [
        ("scrub", "busy"),
        ("restore", "not_restored"),
        ("created", "missing"),
        ("kafka", "unread"),
        ("space", "forecast"),
        ("collected", "kept_because"),
    ];
    let unseen = unseen.map(|(name, field)| (name.to_owned(), field.to_owned()));
    let all = docs.tables.iter().flat_map(|(name, fields)| fields.keys().map(|field| (name.clone(), field.clone())));
    let missing: Vec<_> = all.filter(|pair| !docs.seen.contains(pair) && !unseen.contains(pair)).collect();
    assert!(missing.is_empty(), "documented, and nowhere to be seen: {missing:?}");
}

/// Copies in a directory.
fn elsewhere(docs: &mut Seen, stage: &Stage) {
    let place = stage.path("elsewhere");
    let place = place.to_str().unwrap();
    let of = |verb: &str, args: &[&str]| run(cowlog().arg(verb).args(args).args(["--from", place, "--json"])).json();
    let pushed = stage.run("push", &["--to", place, "--host", "web-1", "--json"]).expect_code(0).json();
    docs.is(&["pushed"], &pushed["pushed"][0]);
    // One that is pinned stays.
    stage.run("pin", &["latest"]).expect_code(0);
    let delete = ["--to", place, "--host", "web-1", "--delete-local-after", "--json"];
    docs.is(&["pushed"], &stage.run("push", &delete).expect_code(0).json()["pushed"][0]);
    stage.run("unpin", &["latest"]).expect_code(0);
    let source = format!("web-1/{}", stage.log.file_name().unwrap().to_str().unwrap());
    let listed = of("list", &[]);
    docs.is(&["snapshot", "elsewhere"], &listed[0]);
    let file = format!("{:020}.log", 0);
    let to = stage.path("a.log");
    docs.is(&["pulled-file"], &of("pull", &[&source, "--file", &file, "--to", to.to_str().unwrap()]));
    let store = stage.path("pulled.snapshots");
    let pulled = of("pull", &[&source, "--store", store.to_str().unwrap()]);
    docs.is(&["pulled"], &pulled);
    docs.is(&["snapshot"], &pulled["snapshot"]);
    docs.is(&["remote-verify"], &of("verify", &[&source]));
    docs.is(&["collected"], &of("gc", &[]));
    docs.is(&["remote-step"], &of("prune", &[&source, "--dry-run"])[0]);
    docs.is(&["remote-step"], &of("delete", &[&source, "latest"])[0]);
    docs.is(&["error"], &of("list", &[&source])["error"]);
    let made = run(cowlog().arg("keygen").arg(stage.path("key")).arg("--json")).expect_code(0).json();
    assert_eq!(made.as_object().unwrap().keys().collect::<Vec<_>>(), ["file", "recipient"]);
}

/// The lines of `cat` and of `diff --records`.
fn record_lines(docs: &mut Seen, stage: &Stage, id: &str) {
    let mut log = cowlog::Log::open(&stage.log).unwrap();
    let odd = cowlog::BatchBuilder::new().record(1, Some(&[0xff]), Some(&[0xfe])).header("h", Some(&[0xfd])).build();
    log.append(odd.unwrap()).unwrap();
    log.append(cowlog::BatchBuilder::new().record(1, None, None).header("h", None).build().unwrap()).unwrap();
    log.close().unwrap();
    let lines = |verb: &str, args: &[&str]| -> Vec<Value> {
        let ran = stage.run(verb, &[args, &["--json"]].concat()).expect_code(0);
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    for record in lines("cat", &["live"]) {
        docs.is(&["record"], &record);
        let headers = record["headers"].as_array().cloned().unwrap_or_default();
        headers.iter().for_each(|header| docs.is(&["record-header"], header));
    }
    let lines = lines("diff", &[id, "live", "--records"]);
    docs.is(&["diff"], &lines[0]);
    let log = &lines[0]["logs"][0];
    docs.is(&["log-diff"], log);
    docs.is(&["log-state"], &log["a"]);
    docs.is(&["segment-diff"], &log["segments"][0]);
    assert_eq!(lines.len(), 3);
    lines[1..].iter().for_each(|line| docs.is(&["record-diff"], line));
    let back = stage.run("diff", &["live", id, "--records", "--json"]).expect_code(0).stdout;
    docs.is(&["record-diff"], &serde_json::from_str(back.lines().nth(1).unwrap()).unwrap());
}

/// `show --kafka`, of logs of which one ends within a transaction.
fn kafka(docs: &mut Seen, temp: &Path) {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/txn-killed.tar.zst");
    tar::Archive::new(zstd::Decoder::new(std::fs::File::open(packed).unwrap()).unwrap()).unpack(temp).unwrap();
    let data = temp.join("txn-killed");
    run(cowlog().arg("create").arg(&data)).expect_code(0);
    let shown = run(cowlog().arg("show").arg(&data).args(["--kafka", "--json"])).expect_code(0).json();
    docs.is(&["snapshot", "shown"], &shown);
    let each = |value: &Value| value.as_array().unwrap().clone();
    let kafka = &shown["kafka"];
    docs.is(&["kafka"], kafka);
    each(&kafka["topics"]).iter().for_each(|topic| docs.is(&["kafka-topic"], topic));
    for log in each(&kafka["logs"]) {
        docs.is(&["kafka-log"], &log);
        each(&log["open_transactions"]).iter().for_each(|open| docs.is(&["open-transaction"], open));
    }
    for group in each(&kafka["groups"]) {
        each(&group["offsets"]).iter().for_each(|offset| docs.is(&["committed"], offset));
    }
    let cat = run(cowlog().arg("cat").arg(&data).args(["--json", "--topic", "payments"])).expect_code(0);
    cat.stdout.lines().for_each(|line| docs.is(&["record"], &serde_json::from_str(line).unwrap()));
    std::fs::remove_dir_all(data.join("payments-0")).unwrap();
    let diff = run(cowlog().arg("diff").arg(&data).args(["latest", "live", "--json"])).expect_code(0).json();
    docs.is(&["log-diff"], &diff["logs"][0]);
    let text = run(cowlog().arg("show").arg(&data).arg("--kafka")).expect_code(0).stdout;
    for told in ["OPEN TRANSACTION ", "LEADER EPOCHS", "readers", "clicks-0", "CODECS"] {
        assert!(text.contains(told), "{told}: {text}");
    }
}
