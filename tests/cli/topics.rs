//! Topics and partitions of a data directory.

use std::path::Path;

use serde_json::Value;

use crate::stage::{append, cowlog, records, run};

fn cowlog_on(verb: &str, data: &Path, args: &[&str]) -> crate::stage::Ran {
    run(cowlog().arg(verb).arg(data).args(args))
}

#[test]
fn topics_are_listed_snapshotted_and_restored() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for name in ["orders-0", "orders-1", "pay.ments-eu-0"] {
        append(&data.join(name), 10);
    }
    let json = |verb: &str, args: &[&str]| cowlog_on(verb, &data, &[args, &["--json"]].concat()).expect_code(0).json();
    let one = json("create", &["--topic", "pay.ments-eu", "--partition", "0"]);
    assert_eq!(one["scope"], "pay.ments-eu-0");
    let topic = json("create", &["--topic", "orders"]);
    assert_eq!((&topic["scope"], topic["logs"].as_array().unwrap().len()), (&Value::from("orders"), 2));
    cowlog_on("create", &data, &["--topic", "orders", "--json"]).expect_error(11, "concurrency");
    cowlog_on("create", &data, &["--topic", "nothing", "--json"]).expect_error(10, "validation");
    cowlog_on("create", &data, &["--partition", "0", "--json"]).expect_error(2, "validation");

    let listed = json("topics", &[]);
    assert_eq!(listed[0]["topic"], "orders");
    assert_eq!((&listed[1]["topic"], &listed[1]["newest"]), (&Value::from("pay.ments-eu"), &one["id"]));
    let ids = |args: &[&str]| -> Vec<Value> {
        json("list", args).as_array().unwrap().iter().map(|s| s["id"].clone()).collect()
    };
    assert_eq!(ids(&["--topic", "orders", "--partition", "1"]), [topic["id"].clone()]);
    assert_eq!(ids(&["--topic", "pay.ments-eu"]), [one["id"].clone()]);
    assert_eq!(ids(&[]).len(), 2);

    let back = temp.path().join("back");
    let restored = json(
        "restore",
        &["latest", "--topic", "orders", "--partition", "1", "--to", back.to_str().unwrap(), "--until", "4"],
    );
    assert_eq!((&restored["id"], &restored["end_offset"]), (&topic["id"], &Value::from(4)));
    assert_eq!(records(&back), records(&data.join("orders-1"))[..4]);

    let table = cowlog_on("topics", &data, &[]).expect_code(0).stdout;
    assert!(table.lines().count() == 3 && table.contains("pay.ments-eu"), "{table}");
    std::fs::remove_dir_all(data.join("pay.ments-eu-0")).unwrap();
    assert!(cowlog_on("topics", &data, &[]).expect_code(0).stdout.contains("deleted"));
    let gone = cowlog_on("prune", &data, &["--topic", "pay.ments-eu", "--max-snapshots", "0", "--json"]);
    assert_eq!(gone.expect_code(0).json(), Value::Array(Vec::new()), "of another scope");
    cowlog_on("topics", &data.join("orders-0"), &["--json"]).expect_error(2, "validation");
    cowlog_on("topics", &data.join("gone"), &["--json"]).expect_error(10, "validation");
}
