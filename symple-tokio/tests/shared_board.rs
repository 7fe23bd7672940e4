//! R-K1, R-K5: the page of the shared board, in two browsers on two nodes.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the browser and the Redis can do more than is needed here")]

mod browser;
#[path = "../../symple-driver/tests/suite/redis/process.rs"]
mod process;

use std::{io::Write as _, time::Duration};

use browser::Browser;
use process::Redis;
use symple_tokio::{RedisConfig, Server, ServerBuilder};
use tokio::runtime::Runtime;

/// What the notes of a page say, and where they are.
const NOTES: &str = "[...document.querySelectorAll('.note')].map((note) => [note.dataset.key, \
     note.style.left, note.style.top, note.querySelector('textarea').value].join(' ')).sort().join('; ')";

fn open(server: &Server, user: &str) -> Option<Browser> {
    let mut browser = Browser::open()?;
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shared_board.html");
    browser
        .go(&format!("file://{page}?server=ws://{}&user={user}&room=plan", server.local_address()));
    browser.until("document.querySelector('#state').textContent == 'online'");
    Some(browser)
}

/// Both show the same, and something.
fn agree(one: &mut Browser, other: &mut Browser) -> String {
    let notes = one.eval(NOTES).as_str().unwrap().to_owned();
    other.until(&format!("{NOTES} == {}", serde_json::json!(notes)));
    notes
}

/// R-K1, R-K2, R-K5: what one writes, moves and deletes the other sees; what both write at the same time is one
/// thing in the end; and a page that loses its connection has everything when it is back.
#[test]
fn two_browsers_edit_a_board() {
    let Some(redis) = Redis::start() else { return };
    let runtime = Runtime::new().unwrap();
    let _guard = runtime.enter();
    let start = || {
        let redis = RedisConfig::new(redis.url()).unwrap();
        ServerBuilder::new().bind("127.0.0.1:0").redis(redis).start().unwrap()
    };
    let (a, b) = (start(), start());
    let Some(mut alice) = open(&a, "alice") else {
        assert!(std::env::var_os("CI").is_none(), "there is no Chromium");
        let _ = writeln!(std::io::stderr(), "\nNOT RUN: the board in a browser; no Chromium");
        return;
    };
    let mut bob = open(&b, "bob").unwrap();
    for (page, other) in [(&mut alice, "bob"), (&mut bob, "alice")] {
        page.until(&format!("document.querySelector('#who').textContent == 'you, {other}'"));
    }

    alice.click("#add");
    alice.fill(".note textarea", "<b>bread</b>");
    bob.until("document.querySelector('.note textarea')?.value == '<b>bread</b>'");
    assert_eq!(bob.eval("document.querySelectorAll('.note b').length"), 0);
    bob.fill(".note textarea", "bread and butter");
    alice.until("document.querySelector('.note textarea').value == 'bread and butter'");

    // A note is dragged, and the other page has it where it is.
    let drag = "(() => { const bar = document.querySelector('.note div'); \
        bar.setPointerCapture = () => {}; \
        const at = (kind, x, y) => bar.dispatchEvent(new PointerEvent(kind, \
            { pointerId: 1, clientX: x, clientY: y, bubbles: true })); \
        at('pointerdown', 10, 10); for (let n = 0; n < 50; n++) at('pointermove', 10 + n, 10 + 2 * n); \
        at('pointermove', 310, 160); at('pointerup', 310, 160); })()";
    alice.eval(drag);
    bob.until("document.querySelector('.note').style.left == '320px'");
    bob.until("document.querySelector('.note').style.top == '170px'");

    // Both write at once, and on.
    let write = |who: &str| {
        format!(
            "new Promise((done) => {{ let n = 0; const field = document.querySelector('.note textarea'); \
             const next = () => {{ field.value = '{who} ' + n; field.dispatchEvent(new Event('input')); \
             if (++n < 100) setTimeout(next, 1); else done(); }}; next(); }})"
        )
    };
    std::thread::scope(|scope| {
        scope.spawn(|| alice.eval(&write("alice")));
        scope.spawn(|| bob.eval(&write("bob")));
    });
    for page in [&mut alice, &mut bob] {
        page.until("sent.size == 0 && queued.size == 0");
    }
    let last = "['alice 99', 'bob 99'].includes(document.querySelector('.note textarea').value)";
    alice.until(last);
    agree(&mut alice, &mut bob);

    // Alice's node closes her connection, and Bob goes on; she writes before she is back.
    let handle = a.handle();
    let mut closed = runtime.block_on(handle.local_peers()).unwrap();
    let id = closed.remove(0).address.to_string();
    alice.eval("connect = (() => { const back = connect; return () => { window.back = back } })()");
    runtime.block_on(handle.kick_peer(&*id, "for a test")).unwrap();
    alice.until("document.querySelector('#state').textContent == 'offline' && window.back");
    bob.click("#add");
    bob.until("document.querySelectorAll('.note').length == 2 && sent.size == 0");
    alice.fill(".note textarea", "written alone");
    alice.eval("window.back()");
    alice.until("document.querySelectorAll('.note').length == 2 && sent.size == 0");
    bob.until("[...document.querySelectorAll('textarea')].some((field) => field.value == 'written alone')");
    assert!(agree(&mut alice, &mut bob).contains("; "));

    // What is deleted is gone.
    bob.eval("for (const gone of document.querySelectorAll('.note button')) gone.click()");
    alice.until("document.querySelectorAll('.note').length == 0");
    let state = runtime.block_on(a.handle().room_state("plan")).unwrap().unwrap();
    assert!(state.is_empty());
    alice.ends_well();
    bob.ends_well();
    for server in [a, b] {
        runtime.block_on(server.shutdown(Duration::ZERO)).unwrap();
    }
}
