//! R-I3: the console, in a real browser that is told what a person does.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod browser;
mod listener;

use std::{io::Write as _, net::SocketAddr};

use browser::Browser;
use serde_json::{Value, json};
use symple_tokio::{Server, ServerBuilder, VirtualPeer, admin::Admin, proto::Fields};
use tokio::runtime::Runtime;

const KEY: &str = "the key of the test";
/// A user whose name would be a picture, and a program, if it were taken for markup.
const HOSTILE: &str = "<img src=x onerror=\"document.title='taken'\">";

/// A server with a console.
struct Node {
    runtime: Runtime,
    server: Server,
    admin: SocketAddr,
}

impl Node {
    /// One that the router of the console is mounted in below a path.
    fn start(key: Option<&str>, below: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let (server, admin) = runtime.block_on(async {
            let server = ServerBuilder::new().bind("127.0.0.1:0").start().unwrap();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut admin = Admin::new(server.handle());
            if let Some(key) = key {
                admin = admin.key(key);
            }
            if below.is_empty() {
                tokio::spawn(admin.serve(listener, std::future::pending()));
            } else {
                let app = axum::Router::new().nest(below, admin.router());
                tokio::spawn(async move { axum::serve(listener, app).await });
            }
            (server, address)
        });
        Self { runtime, server, admin }
    }

    fn add(&self, user: &str, rooms: &[&str]) -> VirtualPeer {
        let handle = self.server.handle();
        let added = handle.add_peer(user.parse().unwrap(), Fields::new(), rooms.to_vec());
        self.runtime.block_on(added).unwrap()
    }

    fn users(&self) -> Vec<String> {
        let peers = self.runtime.block_on(self.server.handle().local_peers()).unwrap();
        let mut users: Vec<_> = peers.iter().map(|peer| peer.address.user.to_string()).collect();
        users.sort();
        users
    }

    /// The head and the body of an answer.
    fn get(&self, path: &str) -> (String, String) {
        listener::get(self.admin, path)
    }

    /// A browser in which the console is open, and the key given.
    fn open(&self) -> Option<Browser> {
        let mut browser = Browser::open()?;
        browser.go(&format!("http://{}/console", self.admin));
        browser.until("document.querySelector('#key')");
        browser.fill("#key", KEY);
        browser.click("main form button");
        browser.until("document.querySelector('#state').textContent == 'up'");
        Some(browser)
    }
}

/// Without a browser these tests pass, and say so; with `CI` set that is a failure.
fn not_run() {
    assert!(std::env::var_os("CI").is_none(), "there is no Chromium");
    let _ =
        writeln!(std::io::stderr(), "\nNOT RUN: the console in a browser; there is no Chromium");
}

/// R-I3: its files are there without a key, hold no secret and forbid what is not theirs; what they ask
/// for is not there without one.
#[test]
fn its_files_need_no_key_and_allow_nothing_foreign() {
    for below in ["", "/ops/symple"] {
        let node = Node::start(Some(KEY), below);
        for (path, kind) in [
            ("/console", "text/html"),
            ("/console/console.css", "text/css"),
            ("/console/console.js", "text/javascript"),
            ("/console/icon.svg", "image/svg+xml"),
        ] {
            let (head, body) = node.get(&format!("{below}{path}"));
            assert!(head.starts_with("http/1.1 200 "), "{path}: {head}");
            assert!(head.contains(&format!("content-type: {kind}")), "{head}");
            for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
                assert!(head.contains(part), "{path}: {head}");
            }
            assert!(!head.contains("unsafe") && !body.contains(KEY));
            if path == "/console" {
                assert!(
                    !body.contains("<style") && !body.contains("style=") && !body.contains(" on")
                );
                assert!(!body.contains("http"), "it asks for nothing from elsewhere");
            }
        }
        let (head, _) = node.get(if below.is_empty() { "/" } else { below });
        assert!(head.starts_with("http/1.1 307 "), "{head}");
        assert!(head.contains(&format!("location: {below}/console")), "{head}");
        for path in ["/v1/node", "/metrics", "/console/nothing"] {
            assert!(node.get(&format!("{below}{path}")).0.starts_with("http/1.1 401 "), "{path}");
        }
    }
    // A path may not become a host.
    let node = Node::start(None, "");
    let (head, _) = node.get("//evil.example/");
    assert!(!head.contains("evil"), "{head}");
}

/// R-I3: what a person does in it: the key, the lists, kicking with a question first, and names that are
/// text whatever they are.
#[test]
fn peers_and_rooms() {
    let node = Node::start(Some(KEY), "");
    let Some(mut browser) = Browser::open() else { return not_run() };
    let _hostile = node.add(HOSTILE, &["<b>bold</b>"]);
    let _alice = node.add("alice", &["lobby", "a/b ?#%"]);
    let _bob = node.add("bob", &["lobby"]);

    browser.go(&format!("http://{}/", node.admin));
    browser.until("document.querySelector('#key')");
    browser.fill("#key", "wrong");
    browser.click("main form button");
    browser.until("document.querySelector('main').textContent.includes('not the key')");
    browser.fill("#key", KEY);
    browser.click("main form button");
    browser.until("document.querySelector('#state').textContent == 'up'");
    browser.until("document.querySelector('.figure .value').textContent == '3'");
    // The graphs begin with what has been before the page was opened.
    let asked = "performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/v1/history')).length";
    assert_eq!(browser.eval(asked), 1);
    browser.screenshot("console-overview");

    browser.click("a[href='#/peers']");
    browser.until("document.querySelectorAll('main tbody tr').length == 3");
    browser.screenshot("console-peers");
    browser.fill("input[type=search]", "onerror");
    browser.until("document.querySelectorAll('main tbody tr').length == 1");
    let shown = browser.eval("document.querySelector('main tbody a').textContent");
    assert_eq!(shown, HOSTILE);
    browser.click("main tbody a");
    browser.until("document.querySelector('h1').textContent.startsWith('<img')");
    assert_eq!(browser.eval("document.querySelectorAll('main img, main b').length"), 0);
    assert_ne!(browser.eval("document.title"), "taken");

    // Put in a room, and out of one.
    browser.fill("main form input", "other");
    browser.click("main form button");
    browser
        .until("[...document.querySelectorAll('.chip a')].some((a) => a.textContent == 'other')");
    browser.click("[aria-label='Take out of <b>bold</b>']");
    browser.until(
        "![...document.querySelectorAll('.chip a')].some((a) => a.textContent == '<b>bold</b>')",
    );

    // Nothing happens before the question is answered, nor where it is answered with no.
    browser.click("main .head .danger");
    browser.until("document.querySelector('dialog')?.open");
    browser.click("#ask-no");
    browser.until("!document.querySelector('dialog')");
    assert_eq!(node.users(), [HOSTILE, "alice", "bob"]);
    browser.click("main .head .danger");
    browser.fill("#ask-reason", "for a test");
    browser.click("#ask-yes");
    browser.until("location.hash == '#/peers'");
    browser.until("document.querySelectorAll('main tbody tr').length == 2");
    assert_eq!(node.users(), ["alice", "bob"]);

    // A room whose name means something in a path.
    browser.click("a[href='#/rooms']");
    browser.until(
        "[...document.querySelectorAll('main tbody a')].some((a) => a.textContent == 'a/b ?#%')",
    );
    browser.eval("[...document.querySelectorAll('main tbody a')].find((a) => a.textContent == 'a/b ?#%').click()");
    browser.until("document.querySelector('h1').textContent == 'a/b ?#%' && document.querySelectorAll('main tbody tr').length == 1");
    // Its state is shown, as text; where there is none, nothing is.
    assert_eq!(browser.eval("document.querySelector('pre').offsetParent"), Value::Null);
    let set = Fields::new().with("<b>", HOSTILE);
    node.runtime.block_on(node.server.handle().set_state("a/b ?#%", &set)).unwrap();
    browser.eval("[...document.querySelectorAll('main .buttons button')].find((b) => b.textContent == 'Refresh').click()");
    browser.until("document.querySelector('pre').textContent.includes('<img src=x')");
    browser.until("document.querySelector('main').textContent.includes('State (1 key)')");
    assert_eq!(browser.eval("document.querySelectorAll('main img, main b').length"), 0);
    browser.click("a[href='#/rooms']");
    browser.click_when("[aria-label='Close lobby']");
    browser.until("document.querySelector('dialog')?.open");
    browser.click("#ask-yes");
    browser.until(
        "document.querySelector('.toast')?.textContent.includes('2 peers were taken out of lobby')",
    );
    let members = node.runtime.block_on(node.server.handle().members("lobby")).unwrap();
    assert!(members.is_empty());
    browser.ends_well();
}

/// R-I3: live events, a frame as anyone, and a client to try it with.
#[test]
fn events_frames_and_a_client() {
    let node = Node::start(Some(KEY), "");
    let Some(mut browser) = node.open() else { return not_run() };
    browser.click("a[href='#/events']");
    browser.until("document.querySelector('main .pill').textContent == 'live'");
    let mut alice = node.add("alice", &["lobby"]);
    browser.until(
        "document.querySelector('.log .online')?.parentElement.textContent.includes('alice|')",
    );
    drop(node.add(HOSTILE, &[]));
    browser.until(
        "document.querySelector('.log .offline')?.parentElement.textContent.includes('<img')",
    );
    browser.dark();
    browser.screenshot("console-events");

    browser.click("a[href='#/send']");
    browser.fill_when("input[placeholder^='user,']", "alice");
    browser.fill("input[placeholder^='nobody']", "nobody|0");
    browser.fill("textarea", "{\"a\":[1]}");
    browser.click("main form button");
    let frame = node.runtime.block_on(alice.recv()).unwrap();
    let frame: Value = serde_json::from_str(&frame).unwrap();
    let expected =
        json!({ "type": "message", "to": "alice", "from": "nobody|0", "data": { "a": [1] } });
    assert_eq!(frame, expected);
    browser.until("document.querySelector('.toast').textContent == 'Delivered to 1 peer'");
    browser.fill("textarea", "{\"a\":");
    assert_eq!(browser.eval("document.querySelector('main form button').disabled"), true);

    browser.click("a[href='#/client']");
    let ours = format!("ws://{}/", node.server.local_address());
    browser.until("document.querySelector('input[type=url]')");
    assert_eq!(browser.eval("document.querySelector('input[type=url]').value"), ours);
    browser.fill("input[placeholder^='lobby']", "lobby");
    browser.click("main form button");
    browser.until("[...document.querySelectorAll('main tbody tr')].some((tr) => tr.textContent.includes('alice'))");
    browser.click("main form:nth-of-type(2) button");
    // That the client is online is told before what it says.
    loop {
        let frame = node.runtime.block_on(alice.recv()).unwrap();
        let frame: Value = serde_json::from_str(&frame).unwrap();
        if frame["type"] == "message" {
            assert_eq!(frame["data"], "hello");
            assert!(frame["from"].as_str().unwrap().starts_with("console|"), "{frame}");
            break;
        }
    }
    browser.screenshot("console-client");
    browser.ends_well();
}

/// Presses Tab until that has the focus.
#[track_caller]
fn tab_to(browser: &mut Browser, what: &str) {
    for _ in 0..60 {
        browser.key("Tab");
        if browser.eval(&format!("document.activeElement.matches({})", json!(what))) == true {
            return;
        }
    }
    panic!("no Tab leads to {what}");
}

/// R-I3: whoever has no mouse opens a peer, answers a question with no and with yes, and finds the focus where it
/// was left.
#[test]
fn by_keyboard() {
    let node = Node::start(Some(KEY), "");
    let Some(mut browser) = node.open() else { return not_run() };
    let _alice = node.add("alice", &["lobby"]);
    browser.go_to("#/peers");
    browser.until("document.querySelectorAll('main tbody tr').length == 1");
    tab_to(&mut browser, "main tbody a");
    browser.key("Enter");
    browser.until("document.querySelector('h1').textContent == 'alice'");
    tab_to(&mut browser, "main .head .danger");
    browser.key("Enter");
    browser.until("document.querySelector('dialog')?.open");
    // A question holds the focus: no Tab leads out of it but to the browser itself.
    for _ in 0..6 {
        browser.key("Tab");
        let inside = "document.querySelector('dialog').contains(document.activeElement) \
                      || document.activeElement == document.body";
        assert_eq!(browser.eval(inside), true);
    }
    browser.key("Escape");
    browser.until("!document.querySelector('dialog')");
    assert_eq!(node.users(), ["alice"]);
    assert_eq!(browser.eval("document.activeElement.textContent"), "Kick");
    browser.key("Enter");
    browser.until("document.querySelector('dialog')?.open");
    tab_to(&mut browser, "#ask-yes");
    browser.key("Enter");
    browser.until("location.hash == '#/peers'");
    browser.until("!document.querySelector('dialog')");
    assert!(node.users().is_empty());
    browser.ends_well();
}

/// R-I3: however long names are, and without a place to break them, no view is wider than a phone.
#[test]
fn long_names_on_a_phone() {
    let node = Node::start(Some(KEY), "");
    let Some(mut browser) = node.open() else { return not_run() };
    browser.resize(360, 740);
    let long = |c: &str| c.repeat(250);
    let fields = Fields::new().with("name", long("n").as_str()).with(long("k"), long("v").as_str());
    let handle = node.server.handle();
    let (user, room) = (long("u"), long("r"));
    let added = handle.add_peer(user.parse().unwrap(), fields, [room.clone()]);
    let peer = node.runtime.block_on(added).unwrap();
    let set = Fields::new().with("s".repeat(100), long("t").as_str());
    node.runtime.block_on(handle.set_state(room.clone(), &set)).unwrap();
    let id = peer.peer().id.clone();
    for (view, sign) in [
        ("#/peers".to_owned(), "document.querySelectorAll('main tbody tr').length == 1"),
        (format!("#/peers/{id}"), "document.querySelector('pre').textContent.includes('vvv')"),
        ("#/rooms".into(), "document.querySelectorAll('main tbody tr').length == 2"),
        (format!("#/rooms/{room}"), "document.querySelector('pre').textContent.includes('ttt')"),
        (format!("#/send/{user}"), "document.querySelector('textarea')"),
    ] {
        browser.go_to(&view);
        browser.until(sign);
        let width = browser.eval("document.documentElement.scrollWidth").as_u64().unwrap();
        assert!(width <= 360, "{} is {width} px wide", &view[..8]);
    }
    // So is the question.
    browser.go_to(&format!("#/peers/{id}"));
    browser.click_when("main .head .danger");
    browser.until("document.querySelector('dialog')?.open");
    let wide = browser.eval("document.querySelector('dialog').getBoundingClientRect().right");
    assert!(wide.as_f64().unwrap() <= 360.0, "{wide}");
    browser.screenshot("console-long-names");
    browser.ends_well();
}

/// R-I3: of ten thousand peers and rooms the page has a hundred at a time; it is as wide as a phone, and the
/// keyboard is enough.
#[test]
fn ten_thousand_on_a_phone() {
    const MANY: usize = 10_000;
    let node = Node::start(Some(KEY), "");
    let Some(mut browser) = node.open() else { return not_run() };
    let _peers: Vec<_> = (0..MANY).map(|n| node.add(&format!("user{n}"), &[])).collect();
    browser.resize(360, 740);
    for (view, what) in [("peers", "user9999"), ("rooms", "user9999")] {
        browser.go_to(&format!("#/{view}"));
        browser.until("document.querySelectorAll('main tbody tr').length == 100");
        browser.eval("document.querySelector('.pager button:last-child').click()");
        browser.until("document.querySelector('.pager span').textContent.startsWith('101–200')");
        assert_eq!(browser.eval("document.querySelectorAll('main tbody tr').length"), 100);
        browser.fill("input[type=search]", what);
        browser.until("document.querySelectorAll('main tbody tr').length == 1");
    }
    for view in ["overview", "peers", "rooms", "events", "send", "client", "rooms/user1"] {
        browser.go_to(&format!("#/{view}"));
        browser.until("document.querySelector('main h1')");
        let width = browser.eval("document.documentElement.scrollWidth").as_u64().unwrap();
        assert!(width <= 360, "{view} is {width} px wide");
    }
    browser.go_to("#/overview");
    browser.until("document.querySelector('.figure .value').textContent == '10,000'");
    browser.screenshot("console-phone");

    // The first that a key comes to is the way past the views; each of these can be reached and opened.
    browser.go_to("#/overview");
    browser.eval("document.activeElement.blur()");
    let mut seen = Vec::new();
    for _ in 0..8 {
        browser.key("Tab");
        seen.push(browser.eval("document.activeElement.textContent").as_str().unwrap().to_owned());
    }
    for view in ["Peers", "Rooms", "Events", "Send", "Client"] {
        assert!(seen.iter().any(|text| text == view), "{seen:?}");
    }
    browser.ends_well();
}
