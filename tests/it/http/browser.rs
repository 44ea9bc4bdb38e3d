//! A real browser, driven over its debugging pipe.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A page of it, at some width.
pub(crate) struct Browser {
    child: Child,
    commands: File,
    answers: BufReader<File>,
    number: u64,
    session: String,
    /// What the page complained of.
    pub(crate) complaints: Vec<String>,
    _folder: TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
        });
        let program = found.expect(
            "no browser is here: scripts/install-servers chromium installs it, as scripts/test does",
        );
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for pipe in ["in", "out"] {
            assert!(Command::new("mkfifo").arg(path(pipe)).status().unwrap().success());
        }
        // The browser reads commands from 3 and answers on 4.
        let script = "exec \"$0\" \"$@\" 3<\"$BROWSER_IN\" 4>\"$BROWSER_OUT\"";
        let data = format!("--user-data-dir={}", path("data").display());
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", script, program])
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-pipe", "--no-first-run", "--disable-background-networking"])
            .args(["--hide-scrollbars", &data, "about:blank"])
            .env("BROWSER_IN", path("in"))
            .env("BROWSER_OUT", path("out"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = OpenOptions::new().write(true).open(path("in")).unwrap();
        let answers = BufReader::new(File::open(path("out")).unwrap());
        let mut browser = Self {
            child,
            commands,
            answers,
            number: 0,
            session: String::new(),
            complaints: Vec::new(),
            _folder: folder,
        };
        let page = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &attach);
        attached["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method, "params": parameters});
        if !self.session.is_empty() {
            command["sessionId"] = self.session.as_str().into();
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let mut bytes = Vec::new();
            let read = self.answers.read_until(0, &mut bytes).unwrap();
            assert!(read > 0, "the browser has ended");
            let answer: Value = serde_json::from_slice(&bytes[..read - 1]).unwrap();
            if answer["id"] == self.number {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            match answer["method"].as_str() {
                Some("Log.entryAdded") if answer["params"]["entry"]["level"] == "error" => {
                    self.complaints.push(answer["params"]["entry"].to_string());
                }
                Some("Runtime.exceptionThrown") => self.complaints.push(answer.to_string()),
                _ => {}
            }
        }
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", &json!({"url": url}));
        self.until("document.readyState === 'complete'");
    }

    /// What an expression of the page is; promises are awaited.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let wanted = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", &wanted);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    pub(crate) fn text(&mut self, expression: &str) -> String {
        self.value(expression).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    pub(crate) fn until(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.value(expression) != true {
            if begun.elapsed() > Duration::from_secs(20) {
                let page = self.value("document.body.innerText");
                panic!("not in time: {expression}\n{page}\n{:#?}", self.complaints);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Clicks where an element is, as a person does.
    pub(crate) fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{block: 'center'}}); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        );
        let place = self.value(&place);
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", &event);
        }
    }

    /// Types into an element, in place of what is there.
    pub(crate) fn type_into(&mut self, selector: &str, text: &str) {
        self.value(&format!("document.querySelector({selector:?}).select()"));
        self.value(&format!("document.querySelector({selector:?}).focus()"));
        self.call("Input.insertText", &json!({"text": text}));
    }

    /// A window of this width, in light or dark.
    pub(crate) fn look(&mut self, width: u32, dark: bool) {
        let size =
            json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &media);
    }

    /// Without JavaScript, from the next page on.
    pub(crate) fn without_script(&mut self, without: bool) {
        self.call("Emulation.setScriptExecutionDisabled", &json!({"value": without}));
    }

    /// A picture of the whole page, among the tests' files, to be looked at.
    pub(crate) fn picture(&mut self, name: &str) -> PathBuf {
        let whole = json!({"captureBeyondViewport": true});
        let picture = self.call("Page.captureScreenshot", &whole);
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(picture["data"].as_str().unwrap());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        fs::write(&path, bytes.unwrap()).unwrap();
        path
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
