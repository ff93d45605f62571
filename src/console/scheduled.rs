//! What the scheduler does are jobs like any other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::audit::Audit;
use super::jobs::{Jobs, Live, Outcome};
use super::problem::Problem;
use crate::schedule::{self, Ran, Told};

/// Where what the scheduler does is noted.
pub(super) struct Watched {
    pub(super) jobs: Arc<Jobs>,
    pub(super) audit: Arc<Audit>,
}

/// What a scheduler is to call; nothing is told before the jobs are there.
pub(super) fn told(watched: Arc<OnceLock<Watched>>) -> impl Fn(Told<'_>) + Send + Sync {
    let live: Mutex<HashMap<String, Arc<Live>>> = Mutex::default();
    move |told| {
        let lock = || live.lock().unwrap_or_else(PoisonError::into_inner);
        match (told, watched.get()) {
            (Told::Warning(text), _) => tracing::warn!("{text}"),
            (_, None) => {}
            (Told::Began(running), Some(Watched { jobs, audit })) => {
                if let Some(begun) = jobs.scheduled(running) {
                    audit.note_job(&begun.job(), None, Some(None));
                    lock().insert(running.source.clone(), begun);
                }
            }
            (Told::Progress(running, event), Some(Watched { jobs, .. })) => {
                let found = lock().get(&running.source).cloned();
                if let Some(live) = found {
                    jobs.tell(&live, event);
                }
            }
            (Told::Ended(ran), Some(Watched { jobs, audit })) => {
                log(ran);
                let found = lock().remove(&ran.source);
                if let Some(live) = found {
                    audit.note_job(&jobs.end(&live, outcome(ran)), None, None);
                }
            }
        }
    }
}

fn log(ran: &Ran) {
    let (source, task, ms) = (&ran.source, ran.task.to_string(), ran.took.as_millis() as u64);
    match &ran.result {
        Ok(_) => tracing::info!(source, task, ms, "done"),
        Err(e) => tracing::warn!(source, task, ms, error = %e, "failed"),
    }
}

fn outcome(ran: &Ran) -> Outcome {
    let json = |value: serde_json::Result<serde_json::Value>| value.ok();
    match &ran.result {
        Err(e) => Outcome { result: None, error: Some(Problem::from(e)) },
        Ok(schedule::Outcome::Create { created, pruned, not_pruned }) => {
            let mut result = json(serde_json::to_value(created)).unwrap_or_default();
            if let Some(fields) = result.as_object_mut() {
                fields.insert("pruned".into(), json(serde_json::to_value(pruned)).unwrap_or_default());
                fields.insert("not_pruned".into(), json(serde_json::to_value(not_pruned)).unwrap_or_default());
            }
            Outcome { result: Some(result), error: None }
        }
        Ok(schedule::Outcome::Push { report }) => Outcome { result: json(serde_json::to_value(report)), error: None },
        Ok(schedule::Outcome::Verify { report }) => Outcome { result: json(serde_json::to_value(report)), error: None },
        Ok(schedule::Outcome::Scrub { report }) => Outcome { result: json(serde_json::to_value(report)), error: None },
        Ok(schedule::Outcome::Drill { report }) => Outcome { result: json(serde_json::to_value(report)), error: None },
    }
}
