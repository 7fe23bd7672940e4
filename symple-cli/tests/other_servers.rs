//! The page for those who come from other servers: what it names exists, and it leaves nothing out.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    fs,
    path::{Path, PathBuf},
};

#[path = "support/sources.rs"]
mod support;

use support::sources_below;

/// The options, hooks, methods and events of the other servers, as their documents write them.
const OF_OTHERS: &[&str] = &[
    // symple-server
    "port",
    "authentication",
    "dynamicRooms",
    "sessionTTL",
    "redis",
    "ssl.enabled",
    "ssl.key",
    "ssl.cert",
    "PORT",
    "SYMPLE_PORT",
    "SYMPLE_SESSION_TTL",
    "SYMPLE_AUTHENTICATION",
    "SYMPLE_DYNAMIC_ROOMS",
    "SYMPLE_REDIS_URL",
    "SYMPLE_REDIS_HOST",
    "SYMPLE_REDIS_PORT",
    "SYMPLE_SSL_ENABLED",
    "SYMPLE_SSL_KEY",
    "SYMPLE_SSL_CERT",
    "DEBUG=symple:*",
    "init()",
    "authenticate(peer, auth)",
    "onAuthorize(ws, peer)",
    "shutdown()",
    // ws
    "server",
    "noServer",
    "host",
    "backlog",
    "clientTracking",
    "clients",
    "maxPayload",
    "skipUTF8Validation",
    "allowSynchronousEvents",
    "autoPong",
    "path",
    "perMessageDeflate",
    "threshold",
    "concurrencyLimit",
    "serverMaxWindowBits",
    "clientMaxWindowBits",
    "serverNoContextTakeover",
    "clientNoContextTakeover",
    "verifyClient",
    "handleProtocols",
    "WebSocket",
    "address()",
    "close(cb)",
    "shouldHandle(req)",
    "handleUpgrade(req, socket, head, cb)",
    "connection",
    "error",
    "headers",
    "listening",
    "wsClientError",
    // websocket-node
    "httpServer",
    "maxReceivedFrameSize",
    "maxReceivedMessageSize",
    "fragmentOutgoingMessages",
    "fragmentationThreshold",
    "keepalive",
    "keepaliveInterval",
    "dropConnectionOnKeepaliveTimeout",
    "keepaliveGracePeriod",
    "assembleFragments",
    "autoAcceptConnections",
    "closeTimeout",
    "disableNagleAlgorithm",
    "ignoreXForwardedFor",
    "parseExtensions",
    "parseCookies",
    "mount",
    "unmount",
    // websocket-room-server
    "addWebsockets(httpServer)",
    "onHelloReq",
    "clientState",
    "readonly",
    "onChangeReq",
    "roomChanges",
    "clientChanges",
    "echo",
    "onActionReq",
    "roomCredential",
    "clientCredential",
    "close a room",
    "eject a client",
    "room state",
    "client state",
    "actions",
    "enforce constraints",
    "closeAllConnections",
    "shutDown",
    "request",
    "connect",
    "close",
    "upgradeError",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// What stands in backquotes.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The cells of a line of a table. A bar that is escaped separates nothing.
fn cells(line: &str) -> Vec<&str> {
    let Some(line) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
        return Vec::new();
    };
    line.split(" | ").collect()
}

/// The sources of the crates whose items the page names.
fn sources() -> Vec<String> {
    let crates = ["symple-proto", "symple-engine", "symple-driver", "symple-tokio"];
    crates.iter().flat_map(|name| sources_below(&root().join(name).join("src"))).collect()
}

/// True if this stands there, and is not the beginning of a longer name.
fn has(text: &str, wanted: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(wanted).any(|(at, _)| !text[at + wanted.len()..].starts_with(is_name))
}

/// The bodies of what begins like this, up to the brace that ends it.
fn bodies<'a>(texts: &'a [String], start: &'a str) -> impl Iterator<Item = &'a str> {
    let rests = texts.iter().flat_map(move |text| {
        text.match_indices(start).map(move |(at, _)| &text[at + start.len()..])
    });
    let rests = rests.filter(|rest| rest.starts_with([' ', '<', '(', ';']));
    rests.map(|rest| rest.split("\n}").next().unwrap())
}

/// True if the type has a public function, a public field or a variant of this name.
fn has_member(texts: &[String], name: &str, member: &str) -> bool {
    let (function, waits) = (format!("pub fn {member}"), format!("pub async fn {member}"));
    let field = format!("pub {member}:");
    let variants = ["(", ",", " {"].map(|end| format!("\n    {member}{end}"));
    let starts = ["", "<R: Runtime>", "<R: Connect>"].map(|of| format!("\nimpl{of} {name}"));
    starts
        .iter()
        .any(|start| bodies(texts, start).any(|body| has(body, &function) || has(body, &waits)))
        || bodies(texts, &format!("pub struct {name}")).any(|body| body.contains(&field))
        || bodies(texts, &format!("pub enum {name}"))
            .any(|body| variants.iter().any(|variant| body.contains(variant)))
}

/// True if the item exists: `Type`, `Type::member`, `Type::field.field`, `module::item`, or the name
/// of a method of the builder.
fn exists(texts: &[String], item: &str) -> bool {
    let is_type = |name: &str| name.starts_with(|c: char| c.is_ascii_uppercase());
    let declared = |name: &str| {
        ["pub fn", "pub async fn", "pub struct", "pub enum", "pub trait", "pub mod", "mod"]
            .iter()
            .any(|keyword| texts.iter().any(|text| has(text, &format!("{keyword} {name}"))))
    };
    match item.split_once("::") {
        Some((name, rest)) if is_type(name) => {
            let mut parts = rest.split('.');
            has_member(texts, name, parts.next().unwrap())
                && parts.all(|part| texts.iter().any(|text| text.contains(&format!("pub {part}:"))))
        }
        Some((_, rest)) => declared(rest),
        None if is_type(item) => declared(item),
        None => has_member(texts, "ServerBuilder", item),
    }
}

/// True for what is written as an item is: nothing of a command, a flag, a header, or JavaScript.
fn is_item(span: &str) -> bool {
    span.starts_with(|c: char| c.is_ascii_alphabetic())
        && span.chars().all(|c| c.is_ascii_alphanumeric() || "_:.".contains(c))
}

/// Names of the second column that are no items of ours: frames, files, headers, subprotocols,
/// programs, and what the other server calls something.
const NO_ITEMS: &[&str] = &[
    "leave",
    "join",
    "error",
    "head",
    "answered",
    "symple",
    "symple.v4",
    "config.js",
    "RUST_LOG",
    "wsClientError",
    "members",
    "Forwarded",
    "auth",
    "patch",
    "command",
];

/// True if the text has a test of this name.
fn has_test(text: &str, name: &str) -> bool {
    text.split("#[test]").skip(1).any(|rest| {
        let rest = rest.split("fn ").nth(1).unwrap_or_default();
        rest.strip_prefix(name).is_some_and(|rest| rest.starts_with("()"))
    })
}

/// What a page says that is not so.
fn wrong(folder: &Path, page: &str) -> Vec<String> {
    let texts = sources();
    let settings = fs::read_to_string(root().join("symple-cli/src/settings/table.rs")).unwrap();
    let mut wrong = Vec::new();
    for line in page.lines() {
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap();
            let target = target.split('#').next().unwrap();
            let Ok(text) = fs::read_to_string(folder.join(target)) else {
                wrong.push(format!("no file: {target}"));
                continue;
            };
            let name = line[..at].rsplit('[').next().unwrap().trim_matches('`');
            let in_table = line.starts_with("| ");
            if in_table && !has_test(&text, name) {
                wrong.push(format!("no test {name} in {target}"));
            }
        }
        let cells = cells(line);
        if line.starts_with("| ") && (cells.len() < 2 || cells.iter().any(|cell| cell.is_empty())) {
            wrong.push(format!("an empty cell: {line}"));
        }
        for flag in spans(line).filter_map(|span| span.strip_prefix("--")) {
            if !settings.contains(&format!("\"{flag}\"")) {
                wrong.push(format!("no setting --{flag}"));
            }
        }
        // The first column has the names of others, the third tests.
        let [_, here, _] = *cells else { continue };
        for item in spans(here).filter(|span| is_item(span) && !NO_ITEMS.contains(span)) {
            if !exists(&texts, item) {
                wrong.push(format!("no item {item}"));
            }
        }
    }
    wrong
}

fn page() -> (PathBuf, String) {
    let folder = root().join("symple-tokio/docs");
    let page = fs::read_to_string(folder.join("from-other-servers.md")).unwrap();
    (folder, page)
}

/// Every link leads to a file and names a test in it; every item and every flag is there.
#[test]
fn links_and_names() {
    let (folder, page) = page();
    let wrong = wrong(&folder, &page);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whatever others have is in the first column of a table, with what is here or why not.
#[test]
fn nothing_is_left_out() {
    let (_, page) = page();
    let lines: Vec<_> = page.lines().map(cells).filter(|cells| cells.len() == 3).collect();
    let left_out: Vec<_> = OF_OTHERS
        .iter()
        .filter(|name| !lines.iter().any(|cells| spans(cells[0]).any(|span| span == **name)))
        .collect();
    assert!(left_out.is_empty(), "{left_out:?}");
}

#[test]
fn what_is_gone_is_noticed() {
    let (folder, _) = page();
    let test = "../../symple-driver/tests/suite/mount.rs";
    let page = format!(
        "| `a` | `Handle::upgrade`, `on_upgrade`, `Config::engine.limits.message`, `tls::load`, \
         `OfflineReason::Closed`, `Event` | [`every_way`]({test}) |\n\
         | `b` | `Handle::gone`, `on_gone`, `Config::engine.gone`, `tls::gone`, \
         `OfflineReason::Gone`, `Gone`, `Handle::upgr`, `--gone` | [`start`]({test}) [`gone`]({test}) |\n\
         | `c` | `bind` | [`every_way`](gone.rs) |\n\
         | `d` |  | none |\n"
    );
    let expected = [
        "no test start in ../../symple-driver/tests/suite/mount.rs",
        "no test gone in ../../symple-driver/tests/suite/mount.rs",
        "no setting --gone",
        "no item Handle::gone",
        "no item on_gone",
        "no item Config::engine.gone",
        "no item tls::gone",
        "no item OfflineReason::Gone",
        "no item Gone",
        "no item Handle::upgr",
        "no file: gone.rs",
        "an empty cell: | `d` |  | none |",
    ];
    assert_eq!(wrong(&folder, &page), expected);
}
