//! The console's page, as somebody sees and uses it. A `hook` is the value of a `data-test` attribute, or a selector of CSS.

use serde_json::{Value, json};

use crate::driver::{Browser, until};
use crate::served::Served;

pub const ENTER: &str = "\u{e007}";
pub const ESCAPE: &str = "\u{e00c}";
pub const TAB: &str = "\u{e004}";

/// When it is dropped, nothing may have gone wrong unseen.
pub struct Page {
    pub browser: Browser,
    pub url: String,
}

fn selector(hook: &str) -> String {
    match hook.contains(['[', '#', '.', ' ', '>']) {
        true => hook.to_owned(),
        false => format!("[data-test={hook}]"),
    }
}

impl Page {
    /// The page of a server. `None` where there is no browser, after saying so.
    pub fn open(served: &Served) -> Option<Page> {
        let browser = match Browser::start() {
            Ok(browser) => browser,
            Err(why) => {
                crate::mounts::skip(&format!("there is no browser: {why}"));
                return None;
            }
        };
        let page = Page { browser, url: served.url.clone() };
        page.browser.load(&format!("{}/", page.url));
        Some(page)
    }

    /// Signed in by an address with a token in it.
    pub fn signed_in(served: &Served, token: &str) -> Option<Page> {
        let page = Page::open(served)?;
        page.sign_in(token);
        Some(page)
    }

    #[track_caller]
    pub fn sign_in(&self, token: &str) {
        self.browser.load("about:blank");
        self.browser.load(&format!("{}/#token={token}", self.url));
        self.see("source-card");
    }

    #[track_caller]
    pub fn run(&self, script: &str, arguments: Value) -> Value {
        self.browser.try_run(script, arguments).unwrap_or_else(|e| panic!("{e}; {script}"))
    }

    #[track_caller]
    pub fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        until(&mut ask, || {
            let shown = self.browser.try_run("return location.href + '\\n' + document.body.innerText", json!([]));
            let shown = shown.unwrap_or_else(|e| e.into());
            format!("{what}; there is {}\n{:?}", shown.as_str().unwrap_or_default(), self.browser.log())
        })
    }

    /// What is shown in all that have this hook; without what only screen readers see.
    pub fn texts(&self, hook: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)";
        let found = self.run(script, json!([selector(hook)]));
        found.as_array().unwrap().iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
    }

    pub fn count(&self, hook: &str) -> usize {
        self.texts(hook).len()
    }

    /// Of the first that has this hook.
    pub fn attribute(&self, hook: &str, name: &str) -> Option<String> {
        let script = "return document.querySelector(arguments[0])?.getAttribute(arguments[1])";
        self.run(script, json!([selector(hook), name])).as_str().map(str::to_owned)
    }

    /// Waits until it is there.
    #[track_caller]
    pub fn see(&self, hook: &str) {
        self.until(&format!("{hook} is not there"), || (self.count(hook) > 0).then_some(()));
    }

    #[track_caller]
    pub fn gone(&self, hook: &str) {
        self.until(&format!("{hook} is still there"), || (self.count(hook) == 0).then_some(()));
    }

    /// Waits until one of those says something; gives all that it says.
    #[track_caller]
    pub fn says(&self, hook: &str, text: &str) -> String {
        let ask = || self.texts(hook).into_iter().find(|said| said.contains(text));
        self.until(&format!("{hook} does not say {text:?}"), ask)
    }

    pub fn enabled(&self, hook: &str) -> bool {
        self.run("return document.querySelector(arguments[0])?.disabled === false", json!([selector(hook)])) == true
    }

    /// Clicks the first that has this hook, as soon as it is enabled and nothing lies above it.
    #[track_caller]
    pub fn click(&self, hook: &str) {
        let script = "const e = document.querySelector(arguments[0]); return !!e && !e.disabled";
        let mut why = String::new();
        self.until(&format!("{hook} cannot be clicked"), || {
            if self.run(script, json!([selector(hook)])) != true {
                return None;
            }
            match self.browser.element(&selector(hook), "click", &json!({})) {
                Ok(_) => Some(()),
                // It was drawn anew, or is covered.
                Err(e) => {
                    why = e;
                    None
                }
            }
        });
    }

    /// Replaces what stands in a field.
    #[track_caller]
    pub fn fill(&self, hook: &str, text: &str) {
        self.see(hook);
        self.browser.element(&selector(hook), "clear", &json!({})).unwrap();
        self.browser.element(&selector(hook), "value", &json!({ "text": text })).unwrap();
    }

    /// Goes to a view and waits for its heading.
    #[track_caller]
    pub fn go(&self, hash: &str, heading: &str) {
        self.run("location.hash = arguments[0]", json!([hash]));
        self.says("heading", heading);
        self.until("it is still loading", || (self.count("[class=loading]") == 0).then_some(()));
    }

    /// Of a source, with its list.
    #[track_caller]
    pub fn go_to_source(&self, name: &str) {
        self.go(&format!("#/source/{name}"), name);
        self.see("create");
    }

    #[track_caller]
    pub fn go_to_snapshot(&self, source: &str, id: &str) {
        self.go(&format!("#/snapshot/{source}~{id}"), id);
        self.see("files");
    }

    pub fn address(&self) -> String {
        self.run("return location.href", json!([])).as_str().unwrap().to_owned()
    }

    /// The hook of what has the focus; empty where it has none.
    pub fn focus(&self) -> String {
        let hook = self.run("return document.activeElement?.dataset.test ?? ''", json!([]));
        hook.as_str().unwrap().to_owned()
    }

    /// As the settings of a system say.
    pub fn dark(&self, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.browser.devtools("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    pub fn width(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.browser.devtools("Emulation.setDeviceMetricsOverride", size);
    }

    /// Addresses of what was asked for elsewhere than at the server.
    pub fn strangers(&self) -> Vec<String> {
        let script = "return performance.getEntriesByType('resource').map((e) => e.name)";
        let asked: Vec<String> = serde_json::from_value(self.run(script, json!([]))).unwrap();
        assert!(!asked.is_empty(), "the page has asked for nothing at all");
        asked.into_iter().filter(|url| !url.starts_with(&format!("{}/", self.url))).collect()
    }
}

/// Answers that say no, and connections that fail, are the browser's to tell; all else in its log is a fault.
impl Drop for Page {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut faults = self.browser.log();
        faults.retain(|entry| {
            let loud = entry["level"] == "SEVERE" || entry["level"] == "WARNING";
            loud && entry["source"] != "network" || entry["message"].to_string().contains("Content Security Policy")
        });
        assert!(faults.is_empty(), "in the browser's log: {faults:#?}");
    }
}
