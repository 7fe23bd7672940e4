//! Requests that are no upgrade, or more than one: each is answered as it must be, however its
//! bytes are cut (R-T5, R-T7, R-L5).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    Fault,
    client::{Client, How, exchange, silent},
    report::Outcome,
    scene::Stage,
    wire::{self, KEY},
};

/// The longest head.
const LIMIT: usize = 16 * 1024;
/// How long an answer is waited for, and what may come behind it.
const ANSWER: Duration = Duration::from_millis(250);

/// The status of an answer, and whether there is a `welcome` in it.
fn read(answer: &[u8]) -> (u16, bool) {
    let status = answer.get(9..12).and_then(|s| std::str::from_utf8(s).ok()?.parse().ok());
    let text = String::from_utf8_lossy(answer);
    (status.unwrap_or(0), text.contains("\"welcome\"") || text.contains("\"type\":\"error\""))
}

/// An `auth` frame whose bytes may all stand in a header's value.
fn hidden_frame() -> Vec<u8> {
    let text = b"{\"type\":\"auth\",\"user\":\"smuggler\"}";
    let mut frame = vec![wire::FIN | wire::TEXT, 0x80 | text.len() as u8];
    frame.extend([0x80; 4]);
    frame.extend(text.iter().map(|byte| byte ^ 0x80));
    frame
}

/// A head of this size, with frames all over its last header.
fn head_with_frames(size: usize, shift: usize) -> Vec<u8> {
    let mut head = wire::upgrade("");
    head.truncate(head.len() - 2);
    let mut head = head.into_bytes();
    head.extend(b"Cookie: ");
    head.extend(vec![b'x'; shift]);
    let frame = hidden_frame();
    while head.len() + frame.len() + 4 <= size {
        head.extend(&frame);
    }
    head.resize(size.saturating_sub(4), b'x');
    head.extend(b"\r\n\r\n");
    head
}

/// Where a head is cut.
fn cuts(head: &[u8]) -> Vec<(&'static str, Vec<&[u8]>)> {
    let at = |n: usize| {
        let (one, two) = head.split_at(n.min(head.len() - 1));
        vec![one, two]
    };
    vec![
        ("in one piece", vec![head]),
        ("in pieces of 1 400", head.chunks(1400).collect()),
        ("before the limit", at(LIMIT - 1)),
        ("at the limit", at(LIMIT)),
        ("behind the limit", at(LIMIT + 1)),
        ("before its end", at(head.len() - 4)),
        ("in its end", at(head.len() - 1)),
        ("early", at(100)),
    ]
}

/// Heads of all sizes, cut at all places, with frames in a header.
pub(crate) async fn heads(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let mut tasks = Vec::new();
    let length = hidden_frame().len();
    let step = if stage.quick { 13 } else { 3 };
    for size in [1000, 8000, LIMIT - 200, LIMIT + 100, 20_000, 40_000, 70_000, 200_000] {
        for shift in (0..length).step_by(if size > LIMIT { step } else { 20 }) {
            let head = head_with_frames(size, shift);
            for n in 0..cuts(&head).len() {
                let head = head.clone();
                tasks.push(async move {
                    let (cut, pieces) = cuts(&head).swap_remove(n);
                    let answer = exchange(address, &pieces, ANSWER).await.unwrap_or_default();
                    (size, cut, read(&answer))
                });
            }
        }
    }
    let count = tasks.len();
    // Some at a time: they wait for what must not come.
    let mut done = Vec::new();
    let mut tasks = tasks.into_iter();
    let mut running = tokio::task::JoinSet::new();
    loop {
        while running.len() < 200
            && let Some(task) = tasks.next()
        {
            running.spawn(task);
        }
        match running.join_next().await {
            Some(one) => done.push(one?),
            None => break,
        }
    }
    outcome.done(format!("{count} heads of 1 000 to 200 000 bytes, with frames in a header"));
    let sort = |good: fn(usize, u16) -> bool| {
        let wrong: Vec<_> =
            done.iter().filter(|(size, _, (status, _))| !good(*size, *status)).collect();
        let first = wrong.first().map(|(size, cut, (status, _))| {
            format!("{} others; first: {status} for {size} bytes {cut}", wrong.len())
        });
        (first.unwrap_or_else(|| "all".into()), wrong.is_empty())
    };
    let (seen, held) = sort(|size, status| size > LIMIT || status == 101);
    outcome.check("heads up to 16 KiB are answered by 101", seen, held);
    // Whoever closes while something is still sent may have its answer lost.
    let (seen, held) = sort(|size, status| size <= LIMIT || status == 431 || status == 0);
    outcome.check("longer ones by 431, however they are cut", seen, held);
    let answered = done.iter().filter(|(size, _, (status, _))| *size > LIMIT && *status == 431);
    let answered = answered.count();
    outcome.check("most of these answers arrive", answered, answered * 4 >= count);
    let peers = done.iter().filter(|(_, _, (_, peer))| *peer).count();
    outcome.check("nothing in a head is read as a frame", peers, peers == 0);
    scene.judge(&mut outcome, 200 * 200_000, "200 heads at a time").await;
    Ok(outcome)
}

/// A request that differs from a good one by its lines.
fn request(line: &str, drop: &[&str], more: &str) -> String {
    let key = format!("Sec-WebSocket-Key: {KEY}");
    let lines = [
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        &key,
    ];
    let lines = lines.iter().filter(|line| !drop.iter().any(|name| line.starts_with(name)));
    let lines: Vec<_> = lines.map(|line| format!("{line}\r\n")).collect();
    format!("{line}\r\n{}{more}\r\n", lines.concat())
}

/// Requests, and how they are answered.
fn table() -> Vec<(&'static str, String, &'static [u16])> {
    let get = "GET / HTTP/1.1";
    let key = |value: &str| {
        request(get, &["Sec-WebSocket-Key"], &format!("Sec-WebSocket-Key:{value}\r\n"))
    };
    let version = |lines: &str| request(get, &["Sec-WebSocket-Version"], lines);
    vec![
        ("a good one", request(get, &[], ""), &[101]),
        ("absolute form", request("GET http://localhost/ HTTP/1.1", &[], ""), &[101]),
        ("absolute form, ws", request("GET ws://localhost/x?y HTTP/1.1", &[], ""), &[101]),
        ("a short key", key(" eA=="), &[400]),
        ("a key that is no base64", key(" !!!"), &[400]),
        ("a long key", key(" dGhlIHNhbXBsZSBub25jZSBhbmQgbW9yZQ=="), &[400]),
        ("an empty key", key(""), &[400]),
        ("no key", request(get, &["Sec-WebSocket-Key"], ""), &[400]),
        ("two keys", request(get, &[], &format!("Sec-WebSocket-Key: {KEY}\r\n")), &[400]),
        ("version 8", version("Sec-WebSocket-Version: 8\r\n"), &[426]),
        ("no version", version(""), &[400, 426]),
        ("two versions", request(get, &[], "Sec-WebSocket-Version: 13\r\n"), &[400, 426]),
        ("versions 13 and 8", request(get, &[], "Sec-WebSocket-Version: 8\r\n"), &[400, 426]),
        ("no host", request(get, &["Host"], ""), &[400]),
        ("two hosts", request(get, &[], "Host: other\r\n"), &[400]),
        ("HTTP/1.0", request("GET / HTTP/1.0", &[], ""), &[400, 426, 505]),
        ("POST", request("POST / HTTP/1.1", &[], ""), &[400, 405]),
        ("a body", request(get, &[], "Content-Length: 5\r\n") + "hello", &[400]),
        (
            "a chunked body",
            request(get, &[], "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n",
            &[400],
        ),
        ("a line without a name", request(get, &[], ": x\r\n"), &[400]),
        ("white space in a name", request(get, &[], "Some Name: x\r\n"), &[400]),
        // A server may undo this, too (RFC 9112 §5.2).
        ("a folded line", request(get, &[], "A: b\r\n c\r\n"), &[400, 101]),
        ("NUL in a value", request(get, &[], "A: b\0c\r\n"), &[400]),
        ("no HTTP", "hello\r\n\r\n".into(), &[400]),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\u{0}\r\n\r\n".into(), &[400, 0]),
        ("a thousand lines", request(get, &[], &"A: b\r\n".repeat(1000)), &[101, 400, 431]),
    ]
}

/// The table of requests, and a body of 100 MB.
pub(crate) async fn requests(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let mut wrong = Vec::new();
    let table = table();
    let count = table.len();
    for (name, request, expected) in table {
        for pieces in [vec![request.as_bytes()], request.as_bytes().chunks(17).collect()] {
            let answer = exchange(address, &pieces, Duration::from_millis(100)).await?;
            let (status, _) = read(&answer);
            if !expected.contains(&status) {
                wrong.push(format!("{name}: {status}, not {expected:?}"));
                break;
            }
        }
    }
    outcome.check("each is answered as it must be", wrong.join("; "), wrong.is_empty());
    for (status, header, request) in [
        (
            426,
            "sec-websocket-version",
            request("GET / HTTP/1.1", &["Sec-WebSocket-Version"], "Sec-WebSocket-Version: 8\r\n"),
        ),
        (405, "allow", "PUT / HTTP/1.1\r\nHost: x\r\n\r\n".into()),
    ] {
        let answer = exchange(address, &[request.as_bytes()], ANSWER).await?;
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let held = text.contains(&format!("\r\n{header}:")) && text.contains(&status.to_string());
        let seen = text.lines().next().unwrap_or_default().to_owned();
        outcome.check(format!("{status} has its header {header}"), seen, held);
    }
    let sent = body(address).await?;
    outcome.done(format!("{count} requests in two cuts each, and {} MB of bodies", sent >> 20));
    scene.judge(&mut outcome, 0, "").await;
    Ok(outcome)
}

/// Sends bodies for as long as the server takes them, for a second at most.
async fn body(address: SocketAddr) -> Result<usize, Fault> {
    let mut sent = 0;
    for head in [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n",
    ] {
        let mut stream = silent(address, How::default()).await?;
        stream.write_all(head.as_bytes()).await?;
        let block = vec![b'x'; 1 << 20];
        let deadline = Instant::now() + Duration::from_millis(500);
        for _ in 0..100 {
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left, stream.write_all(&block)).await {
                Ok(Ok(())) => sent += block.len(),
                _ => break,
            }
        }
    }
    Ok(sent)
}

/// Heads that come a byte at a time: the upgrade has its limit all the same.
pub(crate) async fn slow(stage: Stage) -> Result<Outcome, Fault> {
    const COUNT: usize = 300;
    let mut scene = stage.scene(&["--upgrade-timeout", "2"]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let mut tasks = Vec::new();
    for _ in 0..COUNT {
        tasks.push(tokio::spawn(async move {
            let mut stream = silent(address, How::default()).await?;
            let begun = Instant::now();
            for byte in wire::upgrade("").bytes().cycle().filter(|byte| *byte != b'\r') {
                if begun.elapsed() > Duration::from_secs(4) {
                    return Ok::<_, Fault>(None);
                }
                let mut answer = [0; 64];
                let read = timeout(Duration::from_millis(300), stream.read(&mut answer)).await;
                if read.is_ok() || stream.write_all(&[byte]).await.is_err() {
                    return Ok(Some(begun.elapsed()));
                }
            }
            Ok(None)
        }));
    }
    let (mut open, mut last) = (0, Duration::ZERO);
    for task in tasks {
        match task.await?? {
            Some(after) => last = last.max(after),
            None => open += 1,
        }
    }
    outcome.done(format!("{COUNT} heads that come by 3 bytes a second, with a limit of 2 s"));
    outcome.check(
        "all are refused within 3.5 s",
        format!("{open} still open, the last after {:.1} s", last.as_secs_f64()),
        open == 0 && last < Duration::from_millis(3500),
    );
    scene.judge(&mut outcome, COUNT as u64 * 16 * 1024, "300 heads of 16 KiB").await;
    Ok(outcome)
}

/// Health checks whose connections then idle, and health checks without end whose answers nobody
/// reads: both end, and nobody is kept out meanwhile (R-T2, R-L2).
pub(crate) async fn kept(stage: Stage) -> Result<Outcome, Fault> {
    const CHECK: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    const FRESH: usize = 20;
    const FLOODERS: usize = 10;
    let mut scene = stage.scene(&["--keep-alive-timeout", "2"]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    // More than may be there that are no WebSocket connections (R-L2).
    let count = stage.many(1200);
    let (mut idle, mut answered) = (Vec::new(), 0);
    for _ in 0..count {
        let mut stream = silent(address, How::default()).await?;
        stream.write_all(CHECK.as_bytes()).await?;
        let mut answer = [0; 1024];
        let read = timeout(Duration::from_secs(2), stream.read(&mut answer)).await;
        answered +=
            usize::from(matches!(read, Ok(Ok(12..))) && answer.starts_with(b"HTTP/1.1 200"));
        idle.push(stream);
    }
    let begun = Instant::now();
    let checks = CHECK.repeat(2000);
    let mut floods = Vec::new();
    for _ in 0..FLOODERS {
        let (mut stream, checks) = (silent(address, How::slow()).await?, checks.clone());
        let long = stage.long(2.0);
        floods.push(tokio::spawn(async move {
            let _ =
                timeout(long, async { while stream.write_all(checks.as_bytes()).await.is_ok() {} })
                    .await;
        }));
    }
    let mut fresh = 0;
    for n in 0..FRESH {
        let user = format!("fresh{n}");
        fresh += usize::from(Client::peer(address, How::default(), &user, &[]).await.is_ok());
    }
    let mut open = 0;
    for mut stream in idle {
        let left = Duration::from_secs(4).saturating_sub(begun.elapsed());
        let mut byte = [0];
        // What there is to be read is the end.
        open += usize::from(timeout(left, stream.read(&mut byte)).await.is_err());
    }
    for flood in floods {
        flood.await?;
    }
    outcome.done(format!(
        "{count} connections idle after a health check, {FLOODERS} check without reading"
    ));
    outcome.check("each check is answered by 200", answered, answered == count);
    outcome.check(format!("{FRESH} clients come meanwhile"), fresh, fresh == FRESH);
    outcome.check("whoever idles is closed within 4 s, with a limit of 2 s", open, open == 0);
    scene.judge(&mut outcome, 0, "").await;
    Ok(outcome)
}
