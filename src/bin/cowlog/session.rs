//! What all commands share: the resolved settings, the output, progress, Ctrl-C.

use std::path::Path;

use cowlog::observe::Observer;
use cowlog::snapshot::{SnapshotConfig, SnapshotManager};
use cowlog::store::Scope;

use crate::args::Global;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::Output;
use crate::progress::Progress;

/// One run of the program.
#[derive(Debug)]
pub struct Session {
    pub output: Output,
    pub progress: Progress,
    pub config: SnapshotConfig,
}

impl Session {
    /// The settings that follow from the global flags. From here on Ctrl-C cancels.
    pub fn new(global: &Global, output: Output) -> Self {
        let progress = Progress::new(output);
        let observer = progress.observer();
        interrupt::install(&observer);
        let config = SnapshotConfig { observer, ..settings(global) };
        Session { output, progress, config }
    }

    /// The snapshots of a source.
    pub fn manager(&self, source: &Path) -> Result<SnapshotManager, Failure> {
        Ok(SnapshotManager::open_with(source, self.config.clone())?)
    }

    /// Those of a part of it, where one is meant.
    pub fn manager_of(&self, source: &Path, part: Option<Scope>) -> Result<SnapshotManager, Failure> {
        let manager = self.manager(source)?;
        Ok(match part {
            Some(part) => manager.part(part)?,
            None => manager,
        })
    }

    pub fn observer(&self) -> &Observer {
        &self.config.observer
    }

    /// The time of day in milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.config.clock.now()
    }
}

/// What follows from the global flags.
pub fn settings(global: &Global) -> SnapshotConfig {
    let defaults = SnapshotConfig::default();
    SnapshotConfig {
        lock_timeout: global.lock_timeout.unwrap_or(defaults.lock_timeout),
        store: global.store.clone(),
        allow_network: global.allow_network,
        ..defaults
    }
}

/// Where there is no store nothing was verified or pruned, and a job that mistypes its path must not believe so.
pub fn must_have_store(manager: &SnapshotManager) -> Result<(), Failure> {
    manager.must_be_known()?;
    if manager.store_path()?.is_none() {
        // This names the places where one was looked for.
        manager.get("latest")?;
    }
    Ok(())
}
