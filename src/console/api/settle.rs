//! Creates whose snapshot was published and whose end nobody wrote down: the server was killed in between.

use crate::console::app::App;
use crate::console::journal::Staged;

/// Those whose snapshot is there went well. Known for certain: no two snapshots have the same id and root.
pub(in crate::console) fn settle(app: &App) {
    for (number, source, Staged { id, root }) in app.jobs.unsettled() {
        let Ok(source) = app.source(&source) else { continue };
        match app.manager(&source).and_then(|manager| Ok(manager.list()?)) {
            Err(e) => tracing::warn!(source = source.name, id, error = e.detail, "whether it was taken is not known"),
            Ok(listed) => {
                if let Some(found) = listed.into_iter().find(|s| s.id == id && s.root == root) {
                    app.jobs.settle(number, id, serde_json::to_value(found).ok());
                }
            }
        }
    }
    for job in app.jobs.found_interrupted() {
        app.audit.note_job(&job, None, None);
    }
}
