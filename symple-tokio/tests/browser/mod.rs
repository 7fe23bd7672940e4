//! A headless Chromium, driven over its protocol for developer tools.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, stream::MaybeTlsStream};

/// How long anything may take that is waited for.
const LONG: Duration = Duration::from_secs(60);

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    _folder: tempfile::TempDir,
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    session: Value,
    number: u64,
    /// What the page has complained of.
    complaints: Vec<String>,
}

impl Browser {
    /// None, where there is no Chromium.
    pub(crate) fn open() -> Option<Self> {
        let programs = ["chromium", "chromium-browser", "google-chrome"].map(PathBuf::from);
        let named = std::env::var_os("SYMPLE_CHROMIUM").map(PathBuf::from);
        let folder = tempfile::tempdir().unwrap();
        let child = named.into_iter().chain(programs).find_map(|program| {
            Command::new(program)
                .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"])
                .args(["--disable-background-networking", "--remote-debugging-port=0"])
                .args(["--disable-dev-shm-usage", "--window-size=1200,900"])
                .arg(format!("--user-data-dir={}", folder.path().display()))
                .arg("about:blank")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()
        })?;
        // It says in a file where it can be spoken to.
        let begun = Instant::now();
        let url = loop {
            let said = fs::read_to_string(folder.path().join("DevToolsActivePort"));
            let said = said.unwrap_or_default();
            if let [port, path] = said.lines().collect::<Vec<_>>()[..] {
                break format!("ws://127.0.0.1:{port}{path}");
            }
            assert!(begun.elapsed() < LONG, "the browser does not start");
            std::thread::yield_now();
        };
        let (socket, _) = tungstenite::connect(url).unwrap();
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(LONG)).unwrap();
        }
        let mut browser = Self {
            child,
            _folder: folder,
            socket,
            session: Value::Null,
            number: 0,
            complaints: Vec::new(),
        };
        let target = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.ask("Target.attachToTarget", &target)["sessionId"].clone();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, &json!({}));
        }
        Some(browser)
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.number += 1;
        let mut request = json!({ "id": self.number, "method": method, "params": params });
        if !self.session.is_null() {
            request["sessionId"] = self.session.clone();
        }
        self.socket.send(Message::text(request.to_string())).unwrap();
        loop {
            let message = self.socket.read().unwrap_or_else(|error| panic!("{method}: {error}"));
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => {
                    self.complaints.push(message["params"].to_string());
                }
                Some("Log.entryAdded") if message["params"]["entry"]["level"] == "error" => {
                    self.complaints.push(message["params"]["entry"].to_string());
                }
                _ => {}
            }
            if message["id"] == self.number {
                assert!(message["error"].is_null(), "{method} {params}: {}", message["error"]);
                return message["result"].clone();
            }
        }
    }

    /// Opens a page, and waits until it is there.
    pub(crate) fn go(&mut self, url: &str) {
        self.ask("Page.navigate", &json!({ "url": url }));
        self.until("document.readyState == 'complete'");
    }

    /// Goes to another place in the page.
    pub(crate) fn go_to(&mut self, hash: &str) {
        self.eval(&format!("location.hash = {}", json!(hash)));
    }

    /// The value of an expression; a promise is awaited.
    #[track_caller]
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", &params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn until(&mut self, condition: &str) {
        let millis = LONG.as_millis() / 2;
        let expression = format!(
            "new Promise((done) => {{ const end = Date.now() + {millis}; const look = () => \
             ({condition}) ? done('') : Date.now() > end ? done(document.body.innerText || '-') : \
             setTimeout(look, 20); look(); }})"
        );
        // The page may be replaced by another one meanwhile.
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let begun = Instant::now();
        loop {
            let answer = self.ask("Runtime.evaluate", &params);
            match answer["result"]["value"].as_str() {
                Some("") => return,
                Some(seen) => panic!("not seen: {condition}\n{seen}"),
                None => assert!(begun.elapsed() < LONG, "{condition}: {answer}"),
            }
        }
    }

    #[track_caller]
    fn element(selector: &str) -> String {
        format!("document.querySelector({})", json!(selector))
    }

    #[track_caller]
    pub(crate) fn click(&mut self, selector: &str) {
        self.eval(&format!("{}.click()", Self::element(selector)));
    }

    /// Clicks what has yet to appear.
    #[track_caller]
    pub(crate) fn click_when(&mut self, selector: &str) {
        self.until(&Self::element(selector));
        self.click(selector);
    }

    /// Writes into a field as a person does: what listens hears of it.
    #[track_caller]
    pub(crate) fn fill(&mut self, selector: &str, text: &str) {
        let (field, text) = (Self::element(selector), json!(text));
        self.eval(&format!(
            "(() => {{ const field = {field}; field.value = {text}; \
             field.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"
        ));
    }

    #[track_caller]
    pub(crate) fn fill_when(&mut self, selector: &str, text: &str) {
        self.until(&Self::element(selector));
        self.fill(selector, text);
    }

    /// Presses a key and lets it go.
    pub(crate) fn key(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Escape" => 27,
            _ => 13,
        };
        // What a key writes is what makes Enter press a button.
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in [if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "keyUp"] {
            let mut params =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" {
                params["text"] = text.into();
            }
            self.ask("Input.dispatchKeyEvent", &params);
        }
    }

    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let params =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": true });
        self.ask("Emulation.setDeviceMetricsOverride", &params);
    }

    /// As for someone whose system is dark.
    pub(crate) fn dark(&mut self) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
        self.ask("Emulation.setEmulatedMedia", &features);
    }

    /// Keeps a picture of the page where `SYMPLE_SCREENSHOTS` says, if it does: that is how those of the
    /// docs are made.
    pub(crate) fn screenshot(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("SYMPLE_SCREENSHOTS").map(PathBuf::from) else {
            return;
        };
        let picture = self.ask("Page.captureScreenshot", &json!({ "format": "png" }));
        let picture = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// The page has complained of nothing but of a wrong key, which it had been given: neither a policy
    /// nor a program of it was broken.
    pub(crate) fn ends_well(self) {
        let refused = |complaint: &&String| !complaint.contains("status of 401");
        let complaints: Vec<_> = self.complaints.iter().filter(refused).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
