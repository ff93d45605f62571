//! The commands, one a file. Each prints its result and gives the exit code.

pub mod cat;
pub mod completions;
mod contents;
pub mod create;
pub mod delete;
pub mod diff;
pub mod doctor;
pub mod elsewhere;
pub mod fork;
pub mod label;
pub mod list;
pub mod man;
pub mod prune;
mod record_json;
mod record_text;
pub mod repair;
pub mod restore;
pub mod run;
pub mod show;
pub mod space;
pub mod topics;
pub mod undo;
pub mod verify;

use std::collections::BTreeMap;

use cowlog::fs::Method;

use crate::units;

/// `24 inherit, 3 reflink`
pub fn methods(methods: &BTreeMap<Method, u64>) -> String {
    let used = methods.iter().filter(|(_, files)| **files > 0);
    used.map(|(method, files)| format!("{} {method}", units::count(*files))).collect::<Vec<_>>().join(", ")
}
