//! Every block of commands of every page does what the page says, as it stands there, on a machine on
//! which nothing of this project is installed.
//!
//! A page's blocks are run in order. What runs until Ctrl-C goes on running until a block needs its
//! port, as if the reader had opened another terminal. Cargo is replaced: what it would build is built.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod page;
mod sandbox;

#[path = "../../../symple-driver/tests/suite/redis/missing.rs"]
mod missing;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use page::{Block, all_blocks};
use sandbox::{Sandbox, Step};

/// What a block must do.
struct Claim {
    page: &'static str,
    /// The first line of the block.
    block: &'static str,
    /// What the text before the block takes for granted, for a shell.
    before: &'static str,
    /// What looks at what came of it.
    after: &'static str,
    /// What it prints, or `after` does, in this order.
    prints: &'static [&'static str],
}

const README: &str = "README.md";
const AUTHENTICATION: &str = "symple-cli/docs/authentication.md";
const NODE: &str = "symple-cli/docs/backends/node.md";
const PYTHON: &str = "symple-cli/docs/backends/python.md";
const RAILS: &str = "symple-cli/docs/backends/rails.md";
const CLUSTER: &str = "symple-cli/docs/cluster.md";
const PERFORMANCE: &str = "symple-cli/docs/performance.md";
const CONFORMANCE: &str = "conformance/README.md";
const ADMIN: &str = "symple-tokio/docs/admin.md";

/// Stands for what the page shows below the block.
const SHOWN: &str = "what the page shows";
const START_REDIS: &str = "redis-server --save '' > /dev/null & until redis-cli ping; do :; done";
const START_SERVER: &str = "cargo run --release -p symple-cli -- serve --host 127.0.0.1";

const INSTALL_AND_START_REDIS: &str = "cargo install --path symple-cli --locked
    redis-server --save '' > /dev/null & until redis-cli ping; do :; done";
/// What the blocks of the pages for backends begin with.
const COME_IN: &str = "cd demo; set -a; . ./.env; set +a";
const LISTENERS_HEAR: &str = "for log in $BOX/logs/alice $BOX/logs/last; do
        await $log '7}' $$; await $log '8}' $$
        cat $log; echo \"$(grep -c '8}' $log) with 8\"
    done";

const CLAIMS: &[Claim] = &[
    Claim {
        page: AUTHENTICATION,
        block: "export SYMPLE_JWT_SECRET='a secret that has more than 32 bytes'",
        before: "cargo install --path symple-cli --locked",
        after: "await $OUT 'listens on' $$",
        prints: &["allowed for"],
    },
    Claim {
        page: NODE,
        block: "mkdir demo && cp symple-cli/docs/backends/*.mjs symple-cli/docs/webhooks/verify.mjs demo && cd demo",
        before: INSTALL_AND_START_REDIS,
        after: "",
        prints: &["operators listens on", "(sessions and JWT, "],
    },
    Claim {
        page: NODE,
        block: COME_IN,
        before: "",
        after: "ln -s $(readlink $BOX/logs/last) $BOX/logs/alice",
        prints: &["online as alice|"],
    },
    Claim { page: NODE, block: COME_IN, before: "", after: "", prints: &["online as bob|"] },
    Claim {
        page: NODE,
        block: COME_IN,
        before: "",
        // Both hear it, and what was sent twice once.
        after: LISTENERS_HEAR,
        prints: &[r#"{"receivers":"#, r#"{"receivers":"#, "7}", "8}", "1 with 8", "7}", "8}", "1 with 8"],
    },
    Claim {
        page: NODE,
        block: COME_IN,
        before: "",
        after: "await demo/presence.log 'online alice' $$; await demo/presence.log 'online bob' $$; cat demo/presence.log",
        prints: &["online alice", "online bob"],
    },
    Claim {
        page: PYTHON,
        block: "mkdir demo && cp symple-cli/docs/backends/*.py symple-cli/docs/webhooks/verify.py demo && cd demo",
        before: INSTALL_AND_START_REDIS,
        after: "",
        prints: &["operators listens on", "(sessions and JWT, "],
    },
    Claim {
        page: PYTHON,
        block: COME_IN,
        before: "",
        after: "ln -s $(readlink $BOX/logs/last) $BOX/logs/alice",
        prints: &["online as alice|"],
    },
    Claim { page: PYTHON, block: COME_IN, before: "", after: "", prints: &["online as bob|"] },
    Claim {
        page: PYTHON,
        block: COME_IN,
        before: "",
        // Both hear it, and what was sent twice once.
        after: LISTENERS_HEAR,
        prints: &[r#"{"receivers":"#, r#"{"receivers":"#, "7}", "8}", "1 with 8", "7}", "8}", "1 with 8"],
    },
    Claim {
        page: PYTHON,
        block: COME_IN,
        before: "",
        after: "await demo/presence.log 'online alice' $$; await demo/presence.log 'online bob' $$; cat demo/presence.log",
        prints: &["online alice", "online bob"],
    },
    Claim {
        page: RAILS,
        block: "mkdir demo && cp symple-cli/docs/backends/*.rb symple-cli/docs/webhooks/verify.rb demo && cd demo",
        before: INSTALL_AND_START_REDIS,
        after: "",
        prints: &["operators listens on", "(sessions and JWT, "],
    },
    Claim {
        page: RAILS,
        block: COME_IN,
        before: "",
        after: "ln -s $(readlink $BOX/logs/last) $BOX/logs/alice",
        prints: &["online as alice|"],
    },
    Claim { page: RAILS, block: COME_IN, before: "", after: "", prints: &["online as bob|"] },
    Claim {
        page: RAILS,
        block: COME_IN,
        before: "",
        // Both hear it, and what was sent twice once.
        after: LISTENERS_HEAR,
        prints: &[r#"{"receivers":"#, r#"{"receivers":"#, "7}", "8}", "1 with 8", "7}", "8}", "1 with 8"],
    },
    Claim {
        page: RAILS,
        block: COME_IN,
        before: "",
        after: "await demo/presence.log 'online alice' $$; await demo/presence.log 'online bob' $$; cat demo/presence.log",
        prints: &["online alice", "online bob"],
    },
    Claim {
        page: README,
        block: "cargo run --release -p symple-cli -- serve    # a server on port 4500",
        before: "",
        after: "curl --silent localhost:4500/readyz",
        prints: &[":4500 (", "all tests", "ready"],
    },
    Claim {
        page: README,
        block: "cargo install --path symple-cli --locked",
        before: "",
        after: "symple --version",
        prints: &["symple 0."],
    },
    Claim {
        page: README,
        block: "symple serve --host 127.0.0.1",
        before: "",
        after: "curl --silent -i localhost:4500/readyz",
        prints: &[SHOWN, "200 OK", "ready"],
    },
    Claim {
        page: README,
        block: "symple listen ws://127.0.0.1:4500 --user ear --room lobby",
        before: "",
        after: "",
        prints: &["online as ear|"],
    },
    Claim {
        page: README,
        block: "symple send ws://127.0.0.1:4500 --user mouth --room lobby --to lobby --text hello",
        before: "",
        after: "await $BOX/logs/last hello $$; cat $BOX/logs/last",
        prints: &["mouth|", "hello"],
    },
    Claim {
        page: README,
        block: "export SYMPLE_JWT_SECRET='a secret that has more than 32 bytes'",
        before: "",
        after: "",
        prints: &["eyJ"],
    },
    Claim {
        page: README,
        block: "symple serve --host 127.0.0.1 --admin 127.0.0.1:4501",
        before: "",
        after: "symple listen ws://127.0.0.1:4500 --user alice --room lobby",
        prints: &["operators listens on http://127.0.0.1:4501", "listens on ws://", "online as alice|"],
    },
    Claim {
        page: README,
        block: "symple ctl peers --room lobby",
        before: "",
        after: "",
        prints: &[
            "PEER", "alice|", "lobby", "1 receiver", r#""peers":1"#, "1 peer closed", r#""rooms":["#,
        ],
    },
    Claim {
        page: README,
        block: "export SYMPLE_REDIS_URL=redis://localhost SYMPLE_SESSION_TTL=60",
        before: START_REDIS,
        // The holder of the session is in its room, and hears what is emitted there.
        after: "await $OUT 'listens on' $$
            symple listen ws://127.0.0.1:4500 --json --user alice --token 'a random token'
            symple emit --redis-url redis://localhost --to team-a --type event --name deployed \
                --data '{\"version\":7}'
            await $BOX/logs/last deployed $$; cat $BOX/logs/last
            redis-cli ttl 'symple:session:a random token'",
        prints: &["(sessions, ", "online as alice|", "deployed", "3600"],
    },
    Claim {
        page: README,
        block: "export SYMPLE_REDIS_URL=redis://localhost",
        before: "",
        // Another one in alice's room is told of her, and nothing that is kept back. What it gets is recorded
        // on the way. (Her own client tells of itself at once, so `plan` may be gone before it is told.)
        after: "symple session set --redis-url redis://localhost other '{\"user\":\"bob\"}'
            cargo run -p symple-conformance -- record --listen 127.0.0.1:4501 --upstream ws://127.0.0.1:4500 --out bob.jsonl
            read -r signal record < <(tail -n 1 $BOX/running)
            symple listen ws://127.0.0.1:4501 --user bob --token other --room alice
            bob=$(readlink $BOX/logs/last)
            symple listen ws://127.0.0.1:4500 --user alice --token 'a random token'
            await $bob '+ alice|' $$
            kill -s INT $record; tail --pid=$record -f /dev/null
            grep alice bob.jsonl
            if grep -e example.com -e csrf bob.jsonl; then exit 1; fi",
        prints: &["listens on ws://[::]:4500", r#"\"name\":\"Alice\""#],
    },
    Claim {
        page: README,
        block: "symple serve --host 127.0.0.1 --rate-limit 0 & server=$!",
        before: "",
        after: "",
        prints: &["ready", "fan-out"],
    },
    Claim {
        page: README,
        block: "cargo run -p symple-conformance -- replay --target tokio    # ours, in the same process",
        before: START_SERVER,
        after: "",
        prints: &[" passed, 0 failed", " passed, 0 failed"],
    },
    Claim {
        page: CLUSTER,
        block: "cargo build --release -p symple-cli",
        before: "",
        after: "curl --silent --retry 30 --retry-all-errors http://127.0.0.1:4500/readyz
            target/release/symple send ws://127.0.0.1:4500 --user mouth --to mouth --text hello
            for node in 1 2 3; do await $OUT 'a node has joined the cluster' $$; done",
        prints: &["PONG", "ready"],
    },
    Claim {
        page: PERFORMANCE,
        block: "cargo build --release -p symple-cli",
        before: "",
        after: "",
        prints: &["ready", "fan-out", "Usage: symple bench fan-out"],
    },
    Claim {
        page: CONFORMANCE,
        block: "cargo run -p symple-conformance -- replay --target ws://127.0.0.1:4500 --only auth-",
        before: START_SERVER,
        after: "",
        prints: &["passed   auth-minimal", "skipped  auth-required-without-redis: ", " passed, 0 failed"],
    },
    Claim {
        page: CONFORMANCE,
        block: "cargo run -p symple-conformance -- draft --target ws://127.0.0.1:4500 --only auth-name --out mine/",
        before: "",
        after: "",
        prints: &[" passed, 0 failed"],
    },
    Claim {
        page: CONFORMANCE,
        block: "cargo run -p symple-conformance -- client --target tokio --runtime async-std",
        before: "",
        after: "",
        prints: &[" passed, 0 failed"],
    },
    Claim {
        page: CONFORMANCE,
        block: "cargo run -p symple-conformance -- record --listen 127.0.0.1:4501 --upstream ws://127.0.0.1:4500 --out mine.jsonl",
        before: "",
        after: "cargo run --release -p symple-cli -- send ws://127.0.0.1:4501 --user mouth --to mouth --text hello
            read -r signal pid < <(tail -n 1 $BOX/running)
            kill -s INT $pid; tail --pid=$pid -f /dev/null; cat mine.jsonl",
        prints: &["recording from", "hello"],
    },
    Claim {
        page: ADMIN,
        block: "export SYMPLE_ADMIN_KEY=a-long-random-text",
        before: "cargo install --path symple-cli --locked",
        after: "symple listen ws://127.0.0.1:4500 --user alice --room lobby",
        prints: &["operators listens on http://127.0.0.1:4501", "online as alice|"],
    },
    Claim {
        page: ADMIN,
        block: "api=http://127.0.0.1:4501/v1 key='Authorization: Bearer a-long-random-text' json='Content-Type: application/json'",
        before: "",
        after: "await $BOX/logs/last paid $$; cat $BOX/logs/last",
        prints: &[
            r#""protocol":"symple/4""#, r#""user":"alice""#, r#"{"receivers":1}"#, r#"{"closed":1}"#, "paid",
        ],
    },
];

/// The blocks that are not run, and why. What can be run is no exception.
const NOT_RUN: &[(&str, &str, &str)] = &[
    (
        README,
        "symple chat ws://127.0.0.1:4500 --user alice --room lobby",
        "it is a conversation; symple-cli/tests/cli/chat.rs has it with a terminal",
    ),
    (
        README,
        "symple call ws://127.0.0.1:4500 --user alice --room lobby",
        "it is a conversation; symple-cli/tests/cli/chat.rs has it with a terminal",
    ),
    (
        CONFORMANCE,
        "cargo run -p symple-conformance -- parity --node ../symple-server --target tokio",
        "it needs a checkout of the Node server",
    ),
    (
        CONFORMANCE,
        "cargo run -p symple-conformance -- js-client ../symple-client --target tokio",
        "it needs a checkout of the JavaScript client",
    ),
    (
        "conformance/attack/README.md",
        "cargo build --release -p symple-cli --bin symple",
        "CI runs it as a step of its own",
    ),
    (
        "conformance/cluster/README.md",
        "CARGO_PROFILE_RELEASE_LTO=false cargo run --release -p symple-cluster            # all cases, some minutes",
        "it takes minutes and both cores",
    ),
    ("conformance/fuzz/README.md", "cargo install cargo-fuzz", "it needs a nightly compiler"),
    (
        "conformance/icey.md",
        "cargo run -p symple-conformance -- draft --target 'cmd:/path/to/icey-server PORT' --only auth- --out icey/",
        "it needs a program of icey",
    ),
    (
        "conformance/websocket.md",
        "UPDATE_WEBSOCKET=1 cargo test -p symple-conformance --test websocket",
        "it takes minutes, and the test is run",
    ),
    (
        AUTHENTICATION,
        "symple serve --jwt-jwks https://login.example.com/realms/chat/protocol/openid-connect/certs \\",
        "there is no such server",
    ),
    (PERFORMANCE, "ulimit -n 100100", "it needs 100 100 descriptors"),
    (
        PERFORMANCE,
        "target/release/symple bench storm --count 2000 --pid $server",
        "2 000 peers are four million frames",
    ),
    (
        PERFORMANCE,
        "target/release/symple bench soak --seconds 1800 --pid $server",
        "it takes half an hour",
    ),
    (
        PERFORMANCE,
        "target/release/symple bench compare --node ../symple-server \\",
        "it needs a checkout of the Node server",
    ),
];

/// Every block of every page is run by one of the tests below, or says why not.
#[test]
fn every_block_is_run() {
    let blocks = all_blocks();
    let name = |block: &Block| format!("{}: {}", block.page, block.first_line());
    let run: Vec<_> = blocks.iter().filter(|block| block.not_run.is_none()).map(name).collect();
    for page in
        [README, AUTHENTICATION, NODE, PYTHON, RAILS, CLUSTER, PERFORMANCE, CONFORMANCE, ADMIN]
    {
        let of_page = |name: &&String| name.starts_with(&format!("{page}: "));
        let seen: Vec<_> = run.iter().filter(of_page).collect();
        let claims = CLAIMS.iter().filter(|claim| claim.page == page);
        let claims: Vec<_> = claims.map(|claim| format!("{page}: {}", claim.block)).collect();
        assert_eq!(seen, claims.iter().collect::<Vec<_>>(), "in this order");
    }
    assert_eq!(run.len(), CLAIMS.len(), "a page of {run:#?} has no test");
    let not_run: Vec<_> = blocks
        .iter()
        .filter_map(|block| Some((&*block.page, block.first_line(), block.not_run.as_deref()?)))
        .collect();
    assert_eq!(not_run, NOT_RUN);
}

/// Carries out the blocks of a page.
fn run(page: &str, programs: &[(&str, &str)]) {
    run_with(page, programs, &[]);
}

/// As [`run`], with these variables.
fn run_with(page: &str, programs: &[(&str, &str)], variables: &[(&str, &Path)]) {
    let blocks: Vec<_> = all_blocks()
        .into_iter()
        .filter(|block| block.page == page && block.not_run.is_none())
        .collect();
    let Some(sandbox) = Sandbox::new(&page.replace('/', "-"), programs) else { return };
    let claims: Vec<_> = CLAIMS.iter().filter(|claim| claim.page == page).collect();
    let steps: Vec<_> = claims
        .iter()
        .zip(&blocks)
        .map(|(Claim { before, after, .. }, Block { text: block, .. })| Step {
            before,
            block,
            after,
        })
        .collect();
    let printed = sandbox.run(&steps, variables);
    for ((claim, block), printed) in claims.iter().zip(&blocks).zip(&printed) {
        let shown = || block.shown.as_deref().expect("the page shows it");
        let parts = claim
            .prints
            .iter()
            .flat_map(|part| if *part == SHOWN { shown().lines().collect() } else { vec![*part] });
        has_in_order(printed, parts, claim.block);
    }
}

/// The output has all of these, one after the other.
fn has_in_order<'a>(printed: &str, parts: impl Iterator<Item = &'a str>, block: &str) {
    let mut rest = printed;
    for part in parts {
        let found = rest.find(part);
        assert!(found.is_some(), "{block} does not print {part:?} there, but: {printed}");
        rest = &rest[found.unwrap() + part.len()..];
    }
}

const CURL: (&str, &str) = ("curl", "--version");
const REDIS: [(&str, &str); 2] = [("redis-server", "--version"), ("redis-cli", "--version")];

#[test]
fn commands_of_the_readme() {
    run(README, &[&REDIS[..], &[CURL]].concat());
}

#[test]
fn commands_of_authentication() {
    run(AUTHENTICATION, &[CURL]);
}

/// Fetches what a package manager needs to install a package where there is no network; false if that cannot be.
fn fetched(what: &str, folder: &Path, script: &str) -> bool {
    fs::create_dir_all(folder).unwrap();
    let mut shell = Command::new("bash");
    let shell = shell.args(["-ec", script]).current_dir(folder).stdin(Stdio::null());
    let done = shell.output().unwrap();
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(std::env::var_os("CI").is_none(), "{what} cannot be fetched: {said}");
        missing::not_run(&format!("commands for which {what} must be fetched"));
    }
    done.status.success()
}

#[test]
fn commands_of_a_backend_in_node() {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm-cache");
    let script = "rm -rf try; mkdir try; cd try
        install() { npm install --cache .. --no-audit --no-fund \"$@\" redis; }
        install --offline || install";
    if !fetched("the npm package redis", &cache, script) {
        return;
    }
    let offline = [("npm_config_cache", &*cache), ("npm_config_offline", Path::new("true"))];
    run_with(
        NODE,
        &[&REDIS[..], &[("node", "--version"), ("npm", "--version")]].concat(),
        &offline,
    );
}

#[test]
fn commands_of_a_backend_in_python() {
    let wheels = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wheels");
    // With that Python that the page will find.
    let script = "export PATH=/usr/local/bin:/usr/bin:/bin
        [ -x venv/bin/pip ] || python3 -m venv venv
        venv/bin/pip install --quiet --no-index --find-links . --dry-run redis \
            || venv/bin/pip download --quiet redis";
    if !fetched("the Python package redis", &wheels, script) {
        return;
    }
    let offline = [("PIP_FIND_LINKS", &*wheels), ("PIP_NO_INDEX", Path::new("1"))];
    run_with(PYTHON, &[&REDIS[..], &[("python3", "--version")]].concat(), &offline);
}

#[test]
fn commands_of_a_backend_in_rails() {
    run(RAILS, &[&REDIS[..], &[("ruby", "--version")]].concat());
}

#[test]
fn commands_of_several_nodes() {
    run(CLUSTER, &[&REDIS[..], &[CURL, ("nginx", "-v")]].concat());
}

#[test]
fn commands_of_performance() {
    run(PERFORMANCE, &[CURL]);
}

#[test]
fn commands_of_operators() {
    run(ADMIN, &[CURL]);
}

#[test]
fn commands_of_conformance() {
    run(CONFORMANCE, &[]);
}
