//! The kit in this directory, from Rust: a real broker and Kafka's own tools.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

pub mod history;
pub mod load;

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/broker"))
}

/// Runs the kit's `broker` script.
pub fn kit(args: &[&str]) -> String {
    finished(script().args(args), args)
}

fn finished(command: &mut Command, args: &[&str]) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "broker {args:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Whether the kit can run here. With `COWLOG_NO_SKIP=1` it must.
pub fn kit_works() -> bool {
    let missing = ["bash", "java", "javac", "mvn"].into_iter().find(|tool| {
        !Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().is_ok_and(|o| o.status.success())
    });
    let Some(tool) = missing else { return true };
    assert!(std::env::var_os("COWLOG_NO_SKIP").is_none_or(|v| v != "1"), "{tool} is not here, and COWLOG_NO_SKIP=1");
    println!("skipped, because {tool} is not here");
    false
}

/// The directory of a broker, which is killed if the test fails, and its version of Kafka if that is not the kit's.
pub struct Node(pub PathBuf, Option<&'static str>);

impl Node {
    /// A broker over an existing data directory, not started yet.
    pub fn adopt(node: PathBuf, data: &Path) -> Node {
        Node::adopt_as(node, data, None)
    }

    /// The same of a version of Kafka.
    pub fn adopt_as(node: PathBuf, data: &Path, version: Option<&'static str>) -> Node {
        let node = Node(node, version);
        node.run("adopt", &[&free_ports().to_string(), data.to_str().unwrap()]);
        node
    }

    /// A broker over a data directory of its own, `data` below its own, not started yet.
    pub fn new(node: PathBuf, version: Option<&'static str>, settings: &[&str]) -> Node {
        let node = Node(node, version);
        let port = free_ports().to_string();
        let args: Vec<&str> = [port.as_str()].iter().chain(settings).copied().collect();
        node.run("new", &args);
        node
    }

    /// Three brokers, each also a controller, not started yet.
    pub fn cluster(home: &Path, settings: &[&str]) -> Vec<Node> {
        let mut ports: Vec<u16> = Vec::new();
        while ports.len() < 3 {
            let port = free_ports();
            if ports.iter().all(|other| port.abs_diff(*other) > 1) {
                ports.push(port);
            }
        }
        let voters: Vec<String> =
            ports.iter().enumerate().map(|(n, port)| format!("{}@127.0.0.1:{}", n + 1, port + 1)).collect();
        let voters = format!("controller.quorum.voters={}", voters.join(","));
        let id = kit(&["tool", "kafka.tools.StorageTool", "random-uuid"]);
        let make = |(n, port): (usize, &u16)| {
            let node = Node(home.join(format!("node-{}", n + 1)), None);
            let (port, id_of) = (port.to_string(), format!("node.id={}", n + 1));
            let args = ["new", node.path(), &port, &voters, &id_of];
            let args: Vec<&str> = args.iter().chain(settings).copied().collect();
            finished(node.command().env("CLUSTER_ID", id.trim()).args(&args), &args);
            node
        };
        ports.iter().enumerate().map(make).collect()
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Its log.dirs, where it was made with [`new`](Self::new).
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub fn command(&self) -> Command {
        let mut command = script();
        command.envs(self.1.map(|version| ("KAFKA_KIT_VERSION", version)));
        command
    }

    /// Runs a command of the kit on it.
    pub fn run(&self, command: &str, args: &[&str]) -> String {
        let args: Vec<&str> = [command, self.path()].iter().chain(args).copied().collect();
        finished(self.command().args(&args), &args)
    }

    /// What the client prints, line by line.
    pub fn client(&self, args: &[&str]) -> Vec<Value> {
        self.run("client", args).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.0.join("broker.pid")) {
            let _ = Command::new("kill").args(["-9", pid.trim()]).status();
        }
    }
}

/// The first of two ports that are free now, below those that the system gives to connections.
pub fn free_ports() -> u16 {
    loop {
        let random = RandomState::new().build_hasher().finish();
        let port = 15_000 + (random % 8_000) as u16 * 2;
        let free = |port| TcpListener::bind(("127.0.0.1", port));
        if let (Ok(_first), Ok(_second)) = (free(port), free(port + 1)) {
            return port;
        }
    }
}
