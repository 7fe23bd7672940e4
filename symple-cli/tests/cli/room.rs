//! Two people in terminals and one in a browser, in one room.

use std::io::Write as _;

use serde_json::json;

use super::{super::*, Terminal};

#[path = "../../../symple-tokio/tests/browser/mod.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod browser;

use browser::Browser;

/// A client in a page: as much as it takes to be in a room, to come back to it, and to remember
/// what was said.
const PAGE: &str = r#"
    window.heard = []; window.online = 0;
    window.say = (data) => socket.send(JSON.stringify({ type: 'message', to: 'lobby', data }));
    (window.open = () => {
        window.socket = new WebSocket(url);
        socket.onopen = () => socket.send(JSON.stringify({ type: 'auth', user: 'carol', rooms: ['lobby'] }));
        socket.onmessage = ({ data }) => {
            const frame = JSON.parse(data);
            if (frame.type === 'welcome') online += 1;
            if (frame.type === 'presence' && frame.data.online) heard.push('+ ' + frame.data.user);
            if (frame.type === 'message') heard.push(frame.from.split('|')[0] + ': ' + frame.data);
        };
        socket.onclose = () => setTimeout(window.open, 200);
    })();
"#;

/// Without a browser the test passes, and says so; with `CI` set that is a failure.
fn not_run() {
    assert!(std::env::var_os("CI").is_none(), "there is no Chromium");
    let _ = writeln!(
        std::io::stderr(),
        "\nNOT RUN: two terminals and a browser in a room; there is no Chromium"
    );
}

/// Each hears the two others.
fn all_talk(terminals: [&mut Terminal; 2], browser: &mut Browser, round: &str) {
    let [alice, bob] = terminals;
    let heard = |browser: &mut Browser, text: &str| {
        browser.until(&format!("heard.includes({})", json!(text)));
    };
    alice.types(&format!("one {round}\r"));
    bob.until(&format!("alice: one {round}"));
    heard(browser, &format!("alice: one {round}"));
    bob.types(&format!("two {round}\r"));
    alice.until(&format!("bob: two {round}"));
    heard(browser, &format!("bob: two {round}"));
    browser.eval(&format!("say('three {round}')"));
    alice.until(&format!("carol: three {round}"));
    bob.until(&format!("carol: three {round}"));
}

/// Two `symple chat` in terminals and a page in a real browser talk in a room, the server is
/// killed and started again, and they talk on.
#[test]
fn two_terminals_and_a_browser_through_a_restart() {
    let Some(mut browser) = Browser::open() else { return not_run() };
    let folder = folder("chat-browser");
    let server = Server::start(&folder, &[]);
    let address = server.address;
    let url = format!("ws://{address}");
    let start = |user| {
        let arguments = ["chat", &url, "--user", user, "--room", "lobby"];
        Terminal::start(&folder, &arguments, &[("NO_COLOR", "1")])
    };
    let (mut alice, mut bob) = (start("alice"), start("bob"));
    alice.until("online as alice|");
    bob.until("online as bob|");
    browser.eval(&format!("window.url = {}; {PAGE}", json!(url)));
    browser.until("online == 1");
    alice.until("+ carol");
    bob.until("+ carol");
    all_talk([&mut alice, &mut bob], &mut browser, "before");

    server.signal("KILL");
    drop(server);
    alice.until("trying again in");
    bob.until("trying again in");
    browser.eval("heard.length = 0");
    let _again = Server::start_at(&folder, address);
    alice.until("online as alice|");
    bob.until("online as bob|");
    // The rooms are those of before, whoever came first.
    browser.until("online == 2");
    browser.eval("socket.send(JSON.stringify({ type: 'presence', probe: true }))");
    browser.until("heard.includes('+ alice') && heard.includes('+ bob')");
    all_talk([&mut alice, &mut bob], &mut browser, "after");
}
