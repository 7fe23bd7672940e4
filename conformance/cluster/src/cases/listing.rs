//! An operator walks through all peers of a large node, page by page.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::super::{
    fault::{Fault, fault},
    probe::Probe,
    process::free_port,
    report::Outcome,
    stage::{Options, Stage},
};

/// How much longer than before somebody may wait for the engine's thread at most.
const PAUSE: Duration = Duration::from_millis(5);
/// How long is looked at what others notice.
const LOOK: Duration = Duration::from_secs(5);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(options: &Options) -> Result<Outcome, Fault> {
    let peers = if options.quick { 5_000 } else { 50_000 };
    let stage = Stage::set(options).await?;
    let mut setup = stage.setup("large");
    (setup.peers, setup.pad, setup.admin) = (peers, 200, free_port()?);
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, setup.admin));
    let node = stage.start(&setup).await?;
    // A node that has nothing to do, in a process of its own: how long one waits there is the machine's affair.
    let calm = stage.start(&stage.setup("calm")).await?;
    let probe = Probe::start(node.address, None).await?;
    let control = Probe::start(calm.address, None).await?;
    sleep(Duration::from_secs(1)).await;
    probe.take();
    control.take();
    sleep(LOOK).await;
    let before = probe.take();
    control.take();
    let done = format!(
        "one node has {peers} peers with records of 200 bytes more; all are listed, again and again"
    );
    let mut outcome = Outcome::new("listing", done);
    outcome.note("a bystander's messages before", before);
    // The probes are peers, too. Few match what is searched for: the engine looks at all of them for each.
    for (what, query, expected) in [
        ("all, 1000 at a time", "limit=1000", peers + 2),
        ("all, 100 at a time", "limit=100", peers + 2),
        ("a rare search", "limit=1000&search=-000007", 1),
    ] {
        let begun = Instant::now();
        let (mut walks, mut requests, mut found) = (0_u32, 0_u32, expected);
        while begun.elapsed() < LOOK {
            let (listed, pages) = walk(admin, query).await?;
            (walks, requests) = (walks + 1, requests + pages);
            if listed != expected {
                found = listed;
            }
        }
        let each = begun.elapsed() / walks.max(1);
        let (during, machine) = (probe.take(), control.take());
        outcome.check(format!("{what}: each peer once"), found, found == expected);
        let bound = machine.max + PAUSE;
        outcome.check(
            format!("{what}: nobody waits longer than {bound:.1?}"),
            format!("{during}"),
            during.max <= bound,
        );
        outcome.note(format!("{what}: on the node with nothing to do"), machine);
        outcome.note(what, format!("{each:.1?} for {} requests", requests / walks.max(1)));
    }
    Ok(outcome)
}

/// Walks through a list; how many entries it has, and how many pages.
async fn walk(admin: SocketAddr, query: &str) -> Result<(usize, u32), Fault> {
    let (mut entries, mut pages, mut cursor) = (0, 0, String::new());
    loop {
        let answer = timeout(PATIENCE, get(admin, &format!("/v1/peers?{query}{cursor}"))).await??;
        let page: serde_json::Value = serde_json::from_str(&answer)?;
        let Some(peers) = page["peers"].as_array() else { return fault(answer) };
        (entries, pages) = (entries + peers.len(), pages + 1);
        let Some(next) = page["next"].as_str() else { return Ok((entries, pages)) };
        cursor = format!("&cursor={next}");
    }
}

/// The body of an answer.
async fn get(admin: SocketAddr, path: &str) -> Result<String, Fault> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.into()),
        _ => fault(answer),
    }
}
