//! A real broker starts over what comes back from a bucket after its machine was lost.

use crate::fixtures;
use crate::kafka::{Node, kit, kit_works};
use crate::server::Place;
use crate::stage::Source;

#[test]
fn a_broker_serves_what_came_back() {
    if !kit_works() {
        return;
    }
    let Some(place) = Place::s3("a-broker") else { return };
    let source = Source::fixture("plain-clean");
    source.create();
    place.push("broker-1", &source, &[]).expect(0);
    // The machine is lost, with its store.
    std::fs::remove_dir_all(&source.dir).unwrap();
    std::fs::remove_dir_all(source.path("plain-clean.snapshots")).unwrap();
    let target = source.path("new-machine");
    place.from(&["restore", "broker-1/plain-clean", "latest", "--to", target.to_str().unwrap()]).expect(0);
    let node = Node::adopt(source.path("node"), &target);
    kit(&["start", node.path()]);
    let like = fixtures::data().join("oracle/plain-clean.sum.jsonl");
    assert_eq!(node.client(&["sum", &format!("like={}", like.display())]), fixtures::oracle("plain-clean.sum.jsonl"));
    assert_eq!(node.client(&["groups"]), fixtures::oracle("plain-clean.groups.jsonl"));
    kit(&["stop", node.path()]);
}
