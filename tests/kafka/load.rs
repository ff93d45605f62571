//! `Load.java`, running against a broker.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde::Deserialize;

use super::Node;

/// Everything at once; killed when dropped.
pub struct Load {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    dir: PathBuf,
}

/// Offsets by `topic-partition`.
pub type Offsets = BTreeMap<String, i64>;

/// What the load had done at a moment.
#[derive(Debug, Clone, Deserialize)]
pub struct Mark {
    /// The offset behind the last record that was acknowledged.
    pub acked: Offsets,
    /// What the group has committed.
    pub commits: Offsets,
    /// Where the logs begin.
    pub starts: Offsets,
    /// Records that were not acknowledged, and clients that gave up.
    pub failed: u64,
}

impl Load {
    /// Begins, each writer with so many records per second, topics with so many replicas. The history goes to
    /// `dir/history`.
    pub fn begin(node: &Node, dir: &Path, rate: u32, replicas: u32) -> Load {
        let options = [format!("rate={rate}"), format!("replicas={replicas}")];
        let mut child = node
            .command()
            .args(["client", node.path(), "load", dir.to_str().unwrap()])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut load = Load { child, input, output, dir: dir.to_owned() };
        assert!(load.answer().contains("loading"));
        load
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    fn parsed(&mut self) -> Mark {
        let line = self.answer();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
    }

    /// What is acknowledged, which it was before this was asked, and committed.
    pub fn mark(&mut self) -> Mark {
        writeln!(self.input.as_mut().unwrap()).unwrap();
        self.parsed()
    }

    /// Ends it and waits for the history to be whole.
    pub fn end(mut self) -> (Mark, PathBuf) {
        drop(self.input.take());
        let mark = self.parsed();
        assert!(self.child.wait().unwrap().success(), "the load failed: {mark:?}");
        (mark, self.dir.join("history"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
