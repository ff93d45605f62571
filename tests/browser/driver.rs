//! A headless Chromium, driven as the WebDriver standard says.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// For whatever is waited for. A machine under load is slow, and nothing waits as long as this where all is well.
pub const LIMIT: Duration = Duration::from_secs(40);
pub const PAUSE: Duration = Duration::from_millis(25);

/// Under this name the standard hands elements over.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with a profile of its own. Dropping it ends it.
pub struct Browser {
    driver: Child,
    agent: ureq::Agent,
    session: String,
    /// Of Chromium, in whose process group all of its processes are.
    process: Option<i32>,
    _profile: tempfile::TempDir,
}

/// A program and the first line of what it says of itself, or why not.
fn version(program: &str) -> Result<(), String> {
    match Command::new(program).arg("--version").stderr(Stdio::null()).output() {
        Ok(said) if said.status.success() => Ok(()),
        Ok(said) => Err(format!("{program} --version: {}", said.status)),
        Err(e) => Err(format!("{program} does not start: {e}")),
    }
}

impl Browser {
    /// Or why there is none.
    pub fn start() -> Result<Browser, String> {
        version("chromedriver")?;
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.process_group(0).spawn().unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said = lines.find(|line| line.contains("started successfully on port"));
        let port = said.and_then(|line| Some(line.trim_end_matches('.').rsplit_once(' ')?.1.to_owned()));
        // What it says later must go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        let agent = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(2 * LIMIT)).build();
        let mut browser = Browser {
            driver,
            agent: agent.into(),
            session: format!("http://127.0.0.1:{}/session", port.ok_or("chromedriver names no port")?),
            process: None,
            _profile: profile,
        };
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            "--window-size=1280,900",
            &format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": LIMIT.as_millis() as u64 },
        } } });
        let begun = browser.command("POST", "", &wanted)?;
        browser.process = begun["capabilities"]["goog:processID"].as_i64().map(|id| id as i32);
        browser.session += &format!("/{}", begun["sessionId"].as_str().ok_or("chromedriver names no session")?);
        Ok(browser)
    }

    /// One command of the standard, in JSON.
    pub fn command(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.session));
        let answered = match method {
            "POST" => {
                self.agent.run(request.header("Content-Type", "application/json").body(body.to_string()).unwrap())
            }
            _ => self.agent.run(request.body(()).unwrap()),
        };
        let mut answered = answered.map_err(|e| format!("{method} {path}: {e}"))?;
        let text = answered.body_mut().with_config().limit(64 << 20).read_to_string();
        let answer = text.map_err(|e| format!("{method} {path}: {e}"))?;
        let mut answer: Value = serde_json::from_str(&answer).map_err(|e| format!("{method} {path}: {e}: {answer}"))?;
        match answer["value"].get("error") {
            Some(error) => Err(format!("{method} {path}: {error}: {}", answer["value"]["message"])),
            None => Ok(answer["value"].take()),
        }
    }

    /// Loads an address.
    #[track_caller]
    pub fn load(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url })).unwrap();
    }

    /// Runs the body of a function in the page; what it returns may be a promise.
    pub fn try_run(&self, script: &str, arguments: Value) -> Result<Value, String> {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// A command of the DevTools protocol, for what the standard does not have.
    #[track_caller]
    pub fn devtools(&self, name: &str, parameters: Value) -> Value {
        self.command("POST", "/goog/cdp/execute", &json!({ "cmd": name, "params": parameters })).unwrap()
    }

    /// A command of the first element that a selector of CSS finds.
    pub fn element(&self, selector: &str, command: &str, body: &Value) -> Result<Value, String> {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.command("POST", "/element", &wanted)?;
        let id = found[ELEMENT].as_str().ok_or("no element")?;
        self.command("POST", &format!("/element/{id}/{command}"), body)
    }

    /// Presses and releases keys, wherever the focus is.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let each = keys.chars().map(String::from);
        let actions: Vec<Value> =
            each.flat_map(|k| ["keyDown", "keyUp"].map(|t| json!({ "type": t, "value": k }))).collect();
        let keyboard = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.command("POST", "/actions", &keyboard).unwrap();
    }

    /// What the browser wrote into its log since the last call.
    pub fn log(&self) -> Vec<Value> {
        let written = self.command("POST", "/se/log", &json!({ "type": "browser" })).unwrap();
        written.as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.command("DELETE", "", &Value::Null);
        for group in self.process.into_iter().chain([self.driver.id() as i32]) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.driver.wait();
    }
}

/// Asks until there is something, or it takes too long.
#[track_caller]
pub fn until<T>(mut ask: impl FnMut() -> Option<T>, otherwise: impl FnOnce() -> String) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "after {LIMIT:?}: {}", otherwise());
        std::thread::sleep(PAUSE);
    }
}
