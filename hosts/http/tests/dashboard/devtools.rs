//! A headless Chromium, driven over its own protocol.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// How long a page may take to become what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub struct Browser {
    _process: Child,
    _profile: tempfile::TempDir,
    socket: WebSocketStream<TcpStream>,
    session: String,
    next: u64,
    /// What the page's console and the policy complained of.
    pub complaints: Vec<String>,
}

/// Whether to run: there is a browser, or its absence is a failure.
pub fn is_there() -> bool {
    let mut version = std::process::Command::new("chromium");
    let found = version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let needed = ["CI", "ORCHESTRA_TEST_DAEMONS"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(found || !needed, "chromium is not on the path; install chromium");
    if !found {
        eprintln!("skipped: needs chromium");
    }
    found
}

impl Browser {
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut process = Command::new("chromium")
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--remote-debugging-port=0", "--window-size=1280,800", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next_line().await.unwrap().expect("the browser says where it listens");
            if let Some(url) = line.strip_prefix("DevTools listening on ws://") {
                break url.to_owned();
            }
        };
        // What else it says is read, so that it never waits for somebody to.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let socket = connect(&url).await;
        let (session, next) = (String::new(), 0);
        let mut browser =
            Self { _process: process, _profile: profile, socket, session, next, complaints: Vec::new() };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attached = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attached).await;
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.ask(method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn ask(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        loop {
            let Message::Text(text) = self.socket.next().await.unwrap().unwrap() else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["id"] == self.next {
                return message
                    .get("error")
                    .map_or_else(|| Ok(message["result"].clone()), |error| Err(error.clone()));
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let entry = &message["params"]["entry"];
        match message["method"].as_str() {
            // What a page of a failure has as its code is no complaint.
            Some("Log.entryAdded") if entry["level"] == "error" && entry["source"] != "network" => {
                self.complaints.push(entry["text"].to_string());
            }
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(message["params"]["exceptionDetails"].to_string())
            }
            _ => {}
        }
    }

    pub async fn goto(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url})).await;
        self.until("document.readyState === 'complete'").await;
    }

    /// What an expression is in the page.
    pub async fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        // A page on its way to another has nothing to say.
        self.ask("Runtime.evaluate", asked)
            .await
            .map_or(Value::Null, |answer| answer["result"]["value"].clone())
    }

    /// Waits until an expression is true in the page; a page on its way to another is waited for too.
    pub async fn until(&mut self, expression: &str) {
        let began = Instant::now();
        while self.eval(&format!("!!({expression})")).await != true {
            if began.elapsed() > PATIENCE {
                let text = self.eval("location.href + '\\n' + document.body.innerText").await;
                panic!("it never is that {expression}, at {}", text.as_str().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    /// Waits until the page has a text.
    pub async fn sees(&mut self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// Clicks on what a selector finds, or the first link or button of a text.
    pub async fn click(&mut self, what: &str) {
        let find = format!(
            "((what) => {{ const named = [...document.querySelectorAll('a, button, summary')].find((e) => \
             e.textContent.trim() === what); if (named) return named; try {{ return document.querySelector(what); }} \
             catch {{ return null; }} }})({})",
            json!(what)
        );
        self.until(&find).await;
        self.eval(&format!("{find}.click()")).await;
    }

    /// Types into a field, in place of what it holds.
    pub async fn fill(&mut self, field: &str, text: &str) {
        let field = format!("document.querySelector({})", json!(field));
        self.until(&field).await;
        self.eval(&format!("{field}.focus(), {field}.select()")).await;
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Presses a key.
    pub async fn press(&mut self, key: &str) {
        // What hears keys is there when the page is whole.
        self.until("document.readyState === 'complete'").await;
        let text = match key {
            "Enter" => "\r",
            key if key.chars().count() == 1 => key,
            _ => "",
        };
        let code = if key == "Enter" { 13 } else { 0 };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({"type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    pub async fn resize(&mut self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    pub async fn dark(&mut self, is: bool) {
        let scheme = if is { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// Takes certificates of any authority.
    pub async fn trust(&mut self) {
        self.call("Security.setIgnoreCertificateErrors", json!({"ignore": true})).await;
    }

    /// Turns scripts off, for the pages that come.
    pub async fn scripts(&mut self, are: bool) {
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": !are})).await;
    }

    /// What is not as it should be for those who do not see the page: fields without a name, links without a text, the
    /// same id twice, no landmark, no heading of the first rank.
    pub async fn barriers(&mut self) -> Value {
        self.eval(
            "(() => { const found = []; const say = (e, what) => found.push(what + ': ' + e.outerHTML.slice(0, 120)); \
             for (const f of document.querySelectorAll('input:not([type=hidden]), select, textarea')) \
             if (!f.labels?.length && !f.getAttribute('aria-label')) say(f, 'no name'); \
             for (const a of document.querySelectorAll('a[href], button')) \
             if (!a.textContent.trim() && !a.getAttribute('aria-label')) say(a, 'no text'); \
             const ids = new Set(); for (const e of document.querySelectorAll('[id]')) { if (ids.has(e.id)) say(e, 'twice'); ids.add(e.id); } \
             if (document.querySelectorAll('main').length !== 1) found.push('no main'); \
             if (document.querySelectorAll('h1').length !== 1) found.push('not one h1'); \
             if (!document.documentElement.lang) found.push('no language'); \
             if (document.documentElement.scrollWidth > innerWidth + 1) found.push('wider than the window: ' + document.documentElement.scrollWidth); \
             return found; })()",
        )
        .await
    }

    /// Has the page run a script of others, whatever its policy says.
    pub async fn run(&mut self, script: &str) {
        self.call("Runtime.evaluate", json!({"expression": script})).await;
    }

    /// The texts of the page that differ too little from what is behind them, by WCAG's measure for small letters.
    pub async fn faint(&mut self) -> Value {
        self.eval(
            "(() => { const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true}); \
             const rgba = (c) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; }; \
             const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; }; \
             const behind = (e) => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] > 200) return c; } return [255, 255, 255, 255]; }; \
             const found = new Set(); \
             for (const e of document.querySelectorAll('body *')) { \
             if (![...e.childNodes].some((n) => n.nodeType === 3 && n.nodeValue.trim()) || e.closest('svg, option, script, noscript')) continue; \
             const box = e.getBoundingClientRect(), style = getComputedStyle(e); \
             if (box.width < 2 || box.height < 2 || style.visibility === 'hidden' || !e.checkVisibility()) continue; \
             const a = light(rgba(style.color)), b = light(behind(e)); \
             const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05); \
             if (ratio < 4.45) found.add(ratio.toFixed(2) + ' ' + e.outerHTML.slice(0, 90)); } \
             return [...found].slice(0, 8); })()",
        )
        .await
    }

    /// Keeps what the page looks like, for people to see.
    pub async fn shoot(&mut self, name: &str) {
        let Some(directory) = std::env::var_os("ORCHESTRA_SCREENSHOTS") else { return };
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"})).await;
        let png = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(PathBuf::from(directory).join(format!("{name}.png")), png).unwrap();
    }
}

/// Opens the socket that a browser named.
async fn connect(url: &str) -> WebSocketStream<TcpStream> {
    let (address, path) = url.split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let hello = format!(
        "GET /{path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    );
    stream.write_all(hello.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}
