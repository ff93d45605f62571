//! The kit in this directory, from Rust: a real broker and Kafka's own tools.
#![allow(dead_code, reason = "each test uses a part")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs the kit's `broker` script.
pub fn kit(args: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/broker");
    let output = Command::new(script).args(args).stdin(Stdio::null()).output().unwrap();
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

/// The directory of a broker, which is killed if the test fails.
pub struct Node(pub PathBuf);

impl Node {
    /// A broker over an existing data directory, not started yet.
    pub fn adopt(node: PathBuf, data: &Path) -> Node {
        let node = Node(node);
        kit(&["adopt", node.path(), &free_ports().to_string(), data.to_str().unwrap()]);
        node
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// What the client prints, line by line.
    pub fn client(&self, args: &[&str]) -> Vec<Value> {
        let args: Vec<&str> = ["client", self.path()].iter().chain(args).copied().collect();
        kit(&args).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.0.join("broker.pid")) {
            let _ = Command::new("kill").args(["-9", pid.trim()]).status();
        }
    }
}

/// The first of two ports that are free now.
pub fn free_ports() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}
