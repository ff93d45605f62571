//! Creates whose snapshot was published and whose end nobody wrote down: the server was killed in between.

use serde_json::Value;

use crate::console::app::App;
use crate::console::journal::Staged;
use crate::schedule::SourceConfig;
use crate::snapshot::SnapshotInfo;

/// Those whose snapshot is there went well. Known for certain: no two snapshots have the same id and root.
pub(in crate::console) fn settle(app: &App) {
    for (number, source, Staged { id, root }) in app.jobs.unsettled() {
        let Ok(source) = app.source(&source) else { continue };
        match app.manager(&source).and_then(|manager| Ok(manager.list()?)) {
            Err(e) => tracing::warn!(source = source.name, id, error = e.detail, "whether it was taken is not known"),
            Ok(listed) => {
                if let Some(found) = listed.into_iter().find(|s| s.id == id && s.root == root) {
                    app.jobs.settle(number, id, Some(result(app, &source, found)));
                }
            }
        }
    }
    for job in app.jobs.found_interrupted() {
        app.audit.note_job(&job, None, None);
    }
}

/// What is still known of what the create told: how long it took is not.
fn result(app: &App, source: &SourceConfig, found: SnapshotInfo) -> Value {
    let missing = app.manager(source).and_then(|manager| Ok(manager.manifest(&found.id)?.manifest.missing));
    let mut result = serde_json::to_value(found).unwrap_or_default();
    if let (Some(fields), Some(missing)) = (result.as_object_mut(), missing.ok().filter(|missing| !missing.is_empty()))
    {
        fields.insert("missing".into(), serde_json::to_value(missing).unwrap_or_default());
    }
    result
}
