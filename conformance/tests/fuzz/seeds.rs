//! The seeds of the fuzz targets, from the transcripts and from tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;
use symple_conformance::{Event, Frame, Transcript};
use symple_driver::fuzzing::deflate;
use symple_proto::cluster::{Change, Envelope, Payload};

use crate::targets;

/// The name of a seed, and what it is.
type Seeds = Vec<(String, Vec<u8>)>;

/// No seed is larger.
const LARGEST: usize = 3000;

fn transcripts() -> Vec<Transcript> {
    Transcript::built_in().unwrap()
}

fn table(seeds: &[&str]) -> Seeds {
    let numbered = seeds.iter().enumerate();
    numbered.map(|(n, seed)| (format!("table-{n:02}"), seed.as_bytes().to_vec())).collect()
}

/// Frames of all shapes: those in transcripts, and spellings that matter.
pub(crate) fn view() -> Seeds {
    let mut seeds = table(&[
        r#"{"type":"message","from":"carol|1","to":"bob","data":{"price":12.50}}"#,
        r#" {"type":"message","n":[12345678901234567890,1.0,-0,1e2],"s":"\u00e9\/" , "a" : { "b":null }}"#,
        r#"{"type":"message","\u0066rom":"carol|1","to":"x","from":3,"a":2}"#,
        r#"{"type":"a","to":"b","type":"command","to":"d","data":1, "data" : 2 }"#,
        r#"{"type":"message","FROM":"carol|1"}"#,
        r#"{"type":"message","from\u0000":"carol|1"}"#,
        r#"{"type":"event","\u0054o\u0000x":"carol|1"}"#,
        r#"{"type":"event","froM\u0000":1,"dat":2,"room":3,"ROOM":4}"#,
        r#"{"type":"presence","data":{"id":"x","user":"mallory","online":false,"token":"t"}}"#,
        r#"{"type":"presence","data":{"u\u017fer":"mallory"}}"#,
        r#"{"type":"presence","data":{"\u0130d":"x","USER\u0000y":1}}"#,
        r#"{"type":"presence","data":{"a":[{"token":1,"b":{"token":{}}}],"name":5,"__proto__":{}}}"#,
        r#"{"type":"presence","data":null,"from":2,"d\u0061ta":{"rooms":[],"host":"h","name":[]}}"#,
        r#"{"type":"presence","data":{"id":1,"id":2,"online":0,"x":"\ud800","x":1e999}}"#,
        r#"{"type":"presence","to":{},"data":[{}]}"#,
        r#"{"type":"message","x":"\ud83d\ude00 \ud83d \" \\","y":"}]{["}"#,
        "{}",
        " {\t}\r\n",
        r#"{"type":"message","a":{"b":{"c":{"d":[[[[1]]]]}}}}"#,
        r#"{"type":"close"} x"#,
        r#"{"type":"message",}"#,
        r#"{"type":"message","a":01}"#,
        "[{\"type\":\"message\"}]",
        "null",
    ]);
    let mut shapes = BTreeSet::new();
    for transcript in transcripts() {
        for (seq, event) in transcript.events.iter().enumerate() {
            let (Event::Send(_, Frame::Text(text)) | Event::Recv(_, text)) = event else {
                continue;
            };
            if text.len() <= LARGEST && shapes.insert(shape(text)) {
                let name = format!("{}-{}", transcript.header.name, seq + 1);
                seeds.push((name, text.clone().into_bytes()));
            }
        }
    }
    seeds
}

/// What makes a frame like others: its type, and the names of its members.
fn shape(text: &str) -> String {
    let names = |value: &Value| match value {
        Value::Object(members) => members.keys().cloned().collect::<Vec<_>>().join(","),
        _ => String::new(),
    };
    match serde_json::from_str::<Value>(text) {
        Ok(frame) => format!("{} {} {}", frame["type"], names(&frame), names(&frame["data"])),
        Err(_) => text.chars().take(10).collect(),
    }
}

/// Programs that do what the clients of transcripts did, and some that do more.
pub(crate) fn engine() -> Seeds {
    let mut seeds = table(&[
        "1\n+00\na0070\n+00\na1071\n+01\na2030\nj00\nm000\nm003\nr0\nr1\nj12\nl10\n-1\nr2",
        "2e\n+00\na0010\n+00\na0010\nm0101\nh000\nh0101\nh022\nh6\nh72\nh41\n-0",
        "s\n+00\na0070\n+00\na1060\nj01\nl01\nh0012\nh1012\nm0032\nh3001",
        "rl\n+00\na0070\n+00\na1070\nm003\nm003\nm003\nm003\nm003\nm003\nf09\nd0\nm003\nm003\n-0\nw3\nT",
        "p\n+00\n+00\n+00\n+01\n+02\n+02\n+03\na0070\na1070\nw4\nw4",
        "at\n+00\na0070\ns00\nw4\ne00\ne01\na0070\ns00m\nm003\n+00\na1070\ns00f{\"user\":\"carol\",\"rooms\":[\"r0\",\"r1\"],\"name\":\"C\"}",
        "ao\n+00\na0070\ns00f{\"rooms\":5,\"name\":{}}\n+00\na1070\ns00u\n+00\na2070\nm203\n-2\ns00",
        "h\n+00\na0070\nv00n17\nm003\n+00\na1070\nm103\nj11\nv00y07\na1070\nv00d\nm103",
        "ah\n+00\na0070\ns00\nv00n37\n+00\na2070\nx00\ns00\nv00n17",
        "n1\n+00\na0070\n+10\na1070\nm003\nm1032\nj12\nj02\nm0011\nh0012\nh1012\nh721\nh31\nl12\n-1",
        "n2\n+00\na0070\n+10\na1070\n+10\na0070\nu00\nm003\nj12\nu01\nw4\nu10\nl12\nu11\nw4\nm003",
        "n\n+00\na0070\n+10\na1070\nz1\nm0011\nm0011\nz1\nh80037\nh81137\nm2\nQ1\nw3\nw2",
        "1\n+00\na0070\n+00\na1170\n+00\na2270\n+00\na3370\nl10\nl11\nl12\nl20\nl21\nl22\nm0031\nr3\nr3\nr3\nr3",
        "n1\n+00\na0070\n+10\na1170\n+00\na2270\n+10\na3370\nl00\nm1000\nm0003\nh2010\nr3\nr2\nr3\nr3",
        "k1\n+00\na0070\n+00\na1070\n+00\na2070\nx005\nx101\n+00\na3070\nx302\nx0\nx204\n+00\nx403\nQ0\nw1",
        "i\n+00\na0070\n+00\na1070\nj00\nj00\nm003\ni00p\nj10\ni00d\nj11\ni00w\nm003\ni00r{\"type\":\"presence\",\"data\":{\"n\":1}}\nm003\ni00r{\nm003\ni00x\nm003\nw4\ni00p\nm003\n-0\ni00p",
        "in\n+00\na0070\n+10\na1070\nj00\ni00p\nj10\ni10p\nm003\nm003\nm0032\ni00a\ni00p\ni00r{\"type\":\"command\",\"to\":\"bob|$1\"}\nj02\nm003\nw4\ni00p\nh0012\nm103\n-1",
        "c\n+00\na0070\n+00\na1070\nj05\nm013\n-1",
        "l\n+00\na0070\nt0{\"type\":\"presence\",\"to\":\"alice|$0\",\"data\":{\"name\":\"x\"}}\nt0{\"type\":\"message\",\"FROM\":1}\nt0[[[[[\nt0null",
    ]);
    // One that has sent more than may still be handled when it has left.
    let mut crowd = String::from("r");
    for client in b'0'..b'0' + 24 {
        crowd += &format!("\n+00\na{}070", char::from(client));
    }
    crowd += "\nm000\nm000\nd0";
    crowd += &"\nm000".repeat(20);
    seeds.push(("crowd".into(), crowd.into_bytes()));
    // One of those that do the same.
    let mut steps = BTreeSet::new();
    for transcript in transcripts() {
        // What is about several clients on two nodes, half of it.
        let several = matches!(&*transcript.header.group, "rooms" | "routing" | "presence");
        let nodes = if several && seeds.len().is_multiple_of(2) { 2 } else { 1 };
        let program = program(&transcript, nodes);
        let mut lines = program.lines();
        let letters = lines.next().unwrap_or_default().replace('1', "");
        let mut is_new = |line: &str| {
            let frame = line.get(2..).filter(|_| line.starts_with('t')).map(shape);
            steps.insert((letters.clone(), line[..1].to_owned(), frame))
        };
        let new = lines.filter(|line| is_new(line)).count();
        if new > 0 && program.len() <= LARGEST {
            seeds.push((transcript.header.name.clone(), program.into_bytes()));
        }
    }
    seeds
}

fn program(transcript: &Transcript, nodes: usize) -> String {
    let config = &transcript.header.config;
    let mut lines = vec![String::new()];
    for (set, letter) in [
        (config.authentication, 'a'),
        (config.auth_hook.is_some(), 'h'),
        (config.has_own_hooks(), 'i'),
        (!config.dynamic_rooms, 's'),
        (config.settings.contains_key("presence"), 'c'),
        (config.settings.contains_key("room-send"), 'm'),
        (config.settings.contains_key("rate-limit"), 'r'),
        (nodes == 2, 'n'),
        // Half of them bit by bit.
        (transcript.header.name.len().is_multiple_of(2), '1'),
    ] {
        lines[0].extend(set.then_some(letter));
    }
    let stored: BTreeMap<_, _> = transcript.header.redis.stored().collect();
    let mut clients: Vec<&str> = Vec::new();
    let mut ids: Vec<(String, usize)> = Vec::new();
    for event in &transcript.events {
        let number = |conn: &String| clients.iter().rposition(|name| *name == conn).unwrap_or(0);
        let digit = |n: usize| char::from(b'0' + u8::try_from(n % 200).unwrap());
        match event {
            Event::Connect(conn, _) => {
                lines.push(format!("+{}0", clients.len() % nodes));
                clients.push(conn);
            }
            Event::Send(conn, Frame::Text(text)) => {
                let mut text = text.replace('\n', " ");
                for (id, owner) in ids.iter().filter(|(_, owner)| *owner < 10) {
                    text = text.replace(id, &format!("${owner}"));
                }
                lines.push(format!("t{}{text}", digit(number(conn))));
                let frame: Value = serde_json::from_str(&text).unwrap_or_default();
                if config.has_own_hooks() && frame["type"] != "auth" {
                    let answers = ["p", "d", "x", "a", "w"];
                    let answer = answers[lines.len() % answers.len()];
                    lines.push(format!("i{}0{answer}", number(conn) % nodes));
                }
                if frame["type"] == "auth" {
                    let at = number(conn) % nodes;
                    if config.authentication {
                        let token = frame["token"].as_str().unwrap_or_default();
                        let session = stored.get(token).map(|text| format!("f{text}"));
                        lines.push(format!("s{at}0{}", session.as_deref().unwrap_or("m")));
                    }
                    if config.auth_hook.is_some() {
                        lines.push(format!("v{at}0y07"));
                    }
                }
            }
            Event::Recv(conn, text) => {
                let frame: Value = serde_json::from_str(text).unwrap_or_default();
                if let Some(id) = frame["peer"]["id"].as_str() {
                    ids.push((id.to_owned(), number(conn)));
                }
            }
            Event::ClientClose(conn, _) => lines.push(format!("-{}", digit(number(conn)))),
            Event::Wait(ms) => lines.push(format!("w{}", ms.max(&1).ilog10())),
            Event::ServerShutdown => lines.push("Q0".into()),
            _ => {}
        }
    }
    lines.join("\n")
}

/// What nodes say to each other, and what they do not.
pub(crate) fn envelope() -> Seeds {
    let mut seeds = table(&[
        "",
        "null\n",
        "{\"v\":1,\"node\":\"n9\",\"seq\":0,\"kind\":\"beat\"}\n{\"sum\":0}",
        "{\"v\":3,\"node\":\"A\",\"number\":1,\"seq\":0,\"kind\":\"beat\"}\n{\"sum\":0}",
        "{\"v\":3,\"node\":\"n9\",\"number\":1,\"seq\":-1,\"kind\":\"beat\"}\n{\"sum\":0}",
        "{\"v\":3,\"node\":\"n9\",\"number\":1,\"seq\":1,\"kind\":\"quux\"}\n{}",
        "{\"v\":3,\"node\":\"n9\",\"number\":1,\"seq\":0,\"kind\":\"hello\"}\n{\"nonce\":1,\"sum\":0,\"known\":{}}\x1e{\"v\":3,\"node\":\"n9\",\"number\":2,\"seq\":0,\"kind\":\"part\"}\n{\"nonce\":$N,\"sum\":0,\"after\":0,\"next\":null,\"peers\":[{\"user\":\"dave\",\"id\":\"d0\",\"record\":{\"user\":\"dave\",\"id\":\"d0\"},\"rooms\":[\"r1\"]}]}\x1e{\"v\":3,\"node\":\"n9\",\"number\":3,\"seq\":1,\"kind\":\"change\"}\n{\"join\":{\"id\":\"d0\",\"rooms\":[\"r0\",\"r1\",\"x\"]}}\x1e{\"v\":3,\"node\":\"n9\",\"number\":4,\"seq\":2,\"kind\":\"change\"}\n{\"leave\":{\"id\":\"d0\",\"room\":\"r0\"}}\x1e{\"v\":3,\"node\":\"n9\",\"number\":5,\"seq\":3,\"kind\":\"change\"}\n{\"record\":{\"id\":\"d0\",\"record\":{\"name\":\"D\"}}}\x1eR{\"v\":3,\"node\":\"n9\",\"number\":6,\"seq\":3,\"kind\":\"frame\"}\n{\"type\":\"message\",\"to\":\"r1\",\"from\":\"dave|d0\"}\x1e{\"v\":3,\"node\":\"n9\",\"number\":7,\"seq\":4,\"kind\":\"change\"}\n{\"offline\":{\"id\":\"d0\"}}\x1e{\"v\":3,\"node\":\"n9\",\"number\":8,\"seq\":4,\"kind\":\"bye\"}\n",
        "N{\"v\":3,\"node\":\"n9\",\"number\":1,\"seq\":0,\"kind\":\"call\"}\n{\"close_room\":{\"room\":\"r1\"}}\x1eN{\"v\":3,\"node\":\"n9\",\"number\":2,\"seq\":0,\"kind\":\"call\"}\n{\"kick_user\":{\"user\":\"bob\",\"reason\":\"out\"}}",
        "N{\"v\":3,\"node\":\"n9\",\"number\":1,\"seq\":0,\"kind\":\"call\"}\n{\"send\":{\"id\":\"x\",\"text\":\"{}\"}}\x1eN{\"v\":3,\"node\":\"n9\",\"number\":2,\"seq\":0,\"kind\":\"ask\"}\n{\"nonce\":1,\"since\":[0,0],\"after\":0,\"bytes\":1000}",
        "B{\"type\":\"event\",\"to\":\"alice\",\"from\":\"backend\"}\x1eB{\"type\":\"event\",\"to\":[\"r0\",\"r1\"]}\x1eBnull\x1eB",
        "{\"v\":3,\"node\":\"n9\",\"number\":1,\"seq\":0,\"kind\":\"beat\"}\n{\"sum\":0}\x1e{\"v\":3,\"node\":\"n9\",\"number\":1,\"seq\":18446744073709551615,\"kind\":\"part\"}\n{\"nonce\":$N,\"sum\":0,\"after\":0,\"next\":null,\"peers\":[]}\x1e{\"v\":3,\"node\":\"n9\",\"number\":2,\"seq\":1,\"kind\":\"beat\"}\n{\"sum\":0}",
    ]);
    let mut kinds = BTreeSet::new();
    let mut conversations = 0;
    for (name, program) in engine() {
        let published = targets::engine::play(&program).published;
        let mut conversation = Vec::new();
        let first = published.first().and_then(|bytes| Envelope::parse(bytes).ok());
        let first = first.map(|envelope| envelope.node.into_owned());
        for bytes in &published {
            let Ok(envelope) = Envelope::parse(bytes) else { continue };
            let what = match &envelope.payload {
                Payload::Change(text) => format!("{:?}", Change::parse(text).unwrap()),
                Payload::Call(call) => format!("{call:?}"),
                other => format!("{other:?}"),
            };
            let kind: String = what.chars().take_while(char::is_ascii_alphabetic).collect();
            if kinds.insert(kind.clone()) {
                seeds.push((format!("{name}-{kind}"), bytes.clone()));
            }
            // What one of two nodes has said.
            if first.as_deref() == Some(&*envelope.node) && kind != "Beat" {
                conversation.extend_from_slice(bytes);
                conversation.push(0x1e);
            }
        }
        if (400..=LARGEST).contains(&conversation.len()) && conversations < 60 {
            conversations += 1;
            seeds.push((format!("{name}-all"), conversation));
        }
    }
    seeds
}

/// Requests, good and bad: those of the driver's tests.
pub(crate) fn http_head() -> Seeds {
    let upgrade = |target: &str, headers: &str| {
        format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        )
    };
    let good = upgrade("/", "");
    let mut requests = vec![
        good.clone(),
        good.replace("13\r\n", "8\r\n"),
        good.replace("13\r\n", "13\r\nSec-WebSocket-Version: 8\r\n"),
        good.replace("Sec-WebSocket-Key", "X-Key"),
        good.replace("bm9uY2U", "b"),
        good.replace("HTTP/1.1", "HTTP/1.0"),
        good.replace("GET", "POST"),
        good.replace("GET", "HEAD"),
        good.replace("Host: x\r\n", ""),
        good.replace("Host: x\r\n", "Host: a.example:4500\r\nhost: b\r\n"),
        good.replace("\r\n", "\n"),
        good.replace("websocket", "h2c, WebSocket"),
        format!("\r\n{good}"),
        format!("{good}\u{1}\u{2} frames"),
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "HEAD /healthz HTTP/1.0\r\n\r\n".into(),
        "GET http://h/readyz HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".into(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".into(),
    ];
    for target in ["/ws?token=x&y=%20", "ws://h:4500/ws?x", "*", "h:80", "/#x", "//ws", "/\u{e9}"] {
        requests.push(upgrade(target, ""));
    }
    for headers in [
        "Origin: https://a.example\r\nX-Forwarded-For: 192.0.2.1, , 10.0.0.1\r\n",
        "Origin: https://c.b.example:443\r\nX-Real-IP: 2001:db8::1\r\n",
        "Origin: null\r\n",
        "Origin: https://a.example https://b\r\n",
        "Sec-WebSocket-Protocol: chat, symple, symple.v4\r\n",
        "Sec-WebSocket-Protocol: a;b\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        "X-Forwarded-For: unknown\r\nX-Forwarded-For: ::ffff:192.0.2.1\r\n",
        "Content-Length: 0\r\n",
        "Content-Length: 00, 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "X-Y: z\r\n folded\r\n",
        "X-Y : z\r\n",
        "X-Y: z\n",
        "X-Y: z\rX-Z: y\r\n",
        ": z\r\n",
        "X-Y\r\n",
    ] {
        requests.push(upgrade("/", headers));
    }
    requests.push(upgrade("/", &"X-Y: z\r\n".repeat(100)));
    let requests: Vec<_> = requests.iter().map(String::as_str).collect();
    table(&requests)
}

/// Compressed messages: what transcripts say, and what RFC 7692 shows, and what nobody should send;
/// under limits that just suffice, and others.
pub(crate) fn inflate() -> Seeds {
    const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    const NOTHING: [u8; 5] = [0x00, 0x00, 0x00, 0xff, 0xff];
    let bomb = deflate(&b"x".repeat(60_000)).unwrap();
    let mixed = (0..2000_u32).map(|n| n.wrapping_mul(0x9e37_79b9).to_be_bytes()[0] & 0x3f);
    let mixed = deflate(&mixed.collect::<Vec<_>>()).unwrap();
    let mut messages: Vec<(usize, Vec<u8>)> = vec![
        (5, HELLO.into()),
        (4, HELLO.into()),
        (5, [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00].into()),
        (9, [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00].into()),
        (5, [&[0xf2, 0x48, 0x05], &NOTHING[1..], &[0xca, 0xc9, 0xc9, 0x07, 0x00]].concat()),
        (0, vec![0x00]),
        (0, vec![]),
        (9, vec![0xff; 20]),
        (99, b"no deflate data".into()),
        // What refers to a message before.
        (99, [0xf2, 0x00, 0x11, 0x00, 0x00].into()),
        (99, [&NOTHING.repeat(60)[..], &[0x00]].concat()),
        (99, [&NOTHING.repeat(500)[..], &[0x00]].concat()),
        (99, [0x03, 0x00].repeat(30)),
        (99, [0x03, 0x00].repeat(100)),
        (60_000, bomb.clone()),
        (59_999, bomb.clone()),
        (100, bomb.clone()),
        (60_000, bomb[..bomb.len() - 1].into()),
        (2000, mixed.clone()),
        (1999, mixed.clone()),
        (2000, mixed[1..].into()),
    ];
    for transcript in transcripts() {
        for event in &transcript.events {
            let (Event::Send(_, Frame::Text(text)) | Event::Recv(_, text)) = event else {
                continue;
            };
            if text.len() > LARGEST || messages.len() > 60 {
                continue;
            }
            if let Some(message) = deflate(text.as_bytes()) {
                messages.push((text.len() - messages.len() % 2, message));
            }
        }
    }
    let seed = |(n, (limit, message)): (usize, (usize, Vec<u8>))| {
        let limit = u16::try_from(limit).unwrap().to_le_bytes();
        (format!("table-{n:02}"), [&limit[..], &message].concat())
    };
    messages.into_iter().enumerate().map(seed).collect()
}

/// The texts that dotenv 16 has read, in the table of `symple-cli`.
pub(crate) fn dot_env() -> Seeds {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../symple-cli/src/settings/dot_env/cases.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let texts: Vec<_> = cases.iter().map(|case| case["text"].as_str().unwrap()).collect();
    table(&texts)
}
