//! The rooms of docs/design.md: each uses only those above it, and only `fs` touches the operating system.

use std::collections::BTreeMap;
use std::path::Path;

/// From the top; each may use those before it.
const ROOMS: [&str; 12] = [
    "units", "error", "observe", "fs", "log", "kafka", "store", "snapshot", "topics", "offsite", "schedule", "console",
];

/// What only `fs` may name. The numbers of errors are no calls.
const OUTSIDE: [&str; 10] = [
    "std::fs",
    "std::os",
    "std::env",
    "std::process",
    "std::net",
    "nix::",
    "fs2::",
    "reflink_copy",
    "xattr::",
    "rustix",
];
const ALLOWED: &str = "nix::libc::E";

const MOST_LINES: usize = 420;

/// The code without comments, strings and tests.
fn code_of(source: &str) -> String {
    let source = source.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut code = String::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map_or(rest.len(), |end| end + 5)
        } else if c == '"' {
            string_length(rest)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\''") {
            rest[1..].find("'").map_or(1, |end| end + 2).max(3)
        } else {
            code.push(c);
            c.len_utf8()
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    code
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The rooms that code names by `crate::room` or in `use crate::{room::…, …}`.
fn rooms_named(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (at, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && depth == 0 && c.is_alphabetic() => {
                        named.push(first_word(&group[at..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            named.push(first_word(rest));
        }
    }
    named
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// What is wrong with a file of the library; `path` is below `src`.
fn objections(path: &str, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let code = code_of(source);
    let room = path.split(['/', '.']).next().unwrap_or_default();
    let lines = source.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default().lines().count();
    if lines > MOST_LINES {
        found.push(format!("{path}: {lines} lines"));
    }
    let may = path == "fs/extents.rs";
    if !may && code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe") {
        found.push(format!("{path}: unsafe"));
    }
    if room == "lib" {
        return found;
    }
    let Some(level) = ROOMS.iter().position(|r| *r == room) else {
        found.push(format!("{path}: no room is called {room}"));
        return found;
    };
    for named in rooms_named(&code) {
        match ROOMS.iter().position(|r| *r == named) {
            Some(other) if other > level => found.push(format!("{path}: {room} uses {named}, which lies below it")),
            Some(_) => {}
            None => found.push(format!("{path}: crate::{named} is no room")),
        }
    }
    if room != "fs" {
        let code = code.replace(ALLOWED, "");
        // A server has an address.
        let outside = OUTSIDE.iter().filter(|o| code.contains(**o) && !(room == "console" && **o == "std::net"));
        found.extend(outside.map(|o| format!("{path}: {o} belongs into fs")));
    }
    // The requests that are made of an object store, each waited for.
    let waits = path == "offsite/bucket.rs";
    if room != "console" && !waits && (code.contains("async ") || code.contains("tokio::")) {
        found.push(format!("{path}: async code belongs into console"));
    }
    found
}

fn sources(dir: &Path, below: &Path, into: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, below, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(below).expect("below").to_str().expect("UTF-8").to_owned();
            into.insert(name, std::fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn rooms_use_only_those_above_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    sources(&src, &src, &mut files);
    assert!(files.len() > 50, "{} files", files.len());
    let found: Vec<String> = files
        .iter()
        .filter(|(path, _)| !path.starts_with("bin/"))
        .flat_map(|(path, source)| objections(path, source))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    // The command line is a user of the library like any other.
    for (path, source) in files.iter().filter(|(path, _)| path.starts_with("bin/")) {
        assert!(source.lines().count() <= MOST_LINES, "{path} is too long");
    }
    for room in ROOMS {
        assert!(
            files.keys().any(|f| f.starts_with(&format!("{room}/")) || *f == format!("{room}.rs")),
            "{room} is empty"
        );
    }
}

#[test]
fn the_checker_finds_what_it_looks_for() {
    let wrong = [
        ("log/a.rs", "use crate::store::Manifest;", "log uses store"),
        ("log/a.rs", "use crate::{error::Result, snapshot::{A, B}, fs::Dir};", "log uses snapshot"),
        ("fs/a.rs", "fn f() { crate::kafka::g() }", "fs uses kafka"),
        ("error.rs", "use crate::fs::Dir;", "error uses fs"),
        ("store/a.rs", "use std::fs::File;", "std::fs belongs"),
        ("store/a.rs", "fn f() { nix::unistd::sync() }", "nix:: belongs"),
        ("attic/a.rs", "", "no room is called attic"),
        ("snapshot/a.rs", "async fn f() {}", "async code belongs"),
        ("console/a.rs", "use std::fs::File;", "std::fs belongs"),
        ("log/a.rs", "use crate::Error;", "crate::Error is no room"),
        ("fs/a.rs", "fn f() { unsafe { g() } }", "unsafe"),
        ("log/a.rs", "const A: char = '\"'; use crate::store::X;", "log uses store"),
    ];
    for (path, source, expected) in wrong {
        let found = objections(path, source);
        assert!(found.len() == 1 && found[0].contains(expected), "{path}, {source}: {found:?}");
    }
    assert_eq!(objections("log/a.rs", &"let x = 1;\n".repeat(MOST_LINES + 1)).len(), 1);
    let right = [
        ("store/a.rs", "use crate::{error::{Error, Result}, fs::Dir, log::Cut};"),
        ("fs/a.rs", "use std::fs::File; use nix::unistd;"),
        ("error.rs", "fn f() -> bool { 5 == nix::libc::EIO }"),
        ("log/a.rs", "// use crate::store::X\nconst A: &str = \"crate::store \\\" std::fs\";"),
        ("log/a.rs", "const A: &str = r#\"crate::store\"#;"),
        ("log/a.rs", "fn f() {}\n\n#[cfg(test)]\nmod tests { use crate::store::X; }"),
        ("console/a.rs", "use std::net::SocketAddr; async fn f() {}"),
        ("lib.rs", "pub use crate::snapshot::X;"),
        ("fs/extents.rs", "fn f() { unsafe { g() } }"),
    ];
    for (path, source) in right {
        assert!(objections(path, source).is_empty(), "{path}, {source}: {:?}", objections(path, source));
    }
}
