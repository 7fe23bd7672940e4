//! Nodes of other builds in one cluster (R-C5).
//!
//! What version a program speaks is not asked but heard, on the channel on which it says hello: so any program
//! will do, however old.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
};

use symple_proto::cluster::VERSION;

use super::{
    Client,
    processes::{Node, PATIENCE, Redis, missing::not_run},
};

/// The header of an envelope begins with it.
const HEADER: &[u8] = b"{\"v\":";

fn join(node: &Node, user: &str) -> Client {
    Client::connect(node.address, user, &["team"])
}

/// Another build of the program, and the version that it speaks. Which one is tested says
/// `SYMPLE_OTHER_PROGRAM`, an absolute path, or `none` where there is none to be had; with `CI` set it must say
/// so.
fn other_program(redis: &Redis) -> Option<(OsString, u32)> {
    match std::env::var_os("SYMPLE_OTHER_PROGRAM") {
        Some(program) if program != "none" => {
            let version = spoken_by(program.as_ref(), redis);
            println!("{} speaks version {version}", program.display());
            Some((program, version))
        }
        said => {
            let required = said.is_none() && std::env::var_os("CI").is_some();
            assert!(!required, "SYMPLE_OTHER_PROGRAM must name the program of the commit before");
            not_run("the test with another build of the program: SYMPLE_OTHER_PROGRAM names none");
            None
        }
    }
}

/// The version of the first envelope that a node of that program publishes.
fn spoken_by(program: &Path, redis: &Redis) -> u32 {
    let mut socket = TcpStream::connect(redis.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"SUBSCRIBE symple:cluster\r\n").unwrap();
    let mut heard = BufReader::new(socket).lines().map(Result::unwrap);
    // The confirmation: from here on nothing is missed.
    assert!(heard.any(|line| line == ":1"));
    let _node = Node::start_program(program, redis, "tokio", 0);
    let header = std::str::from_utf8(HEADER).unwrap();
    let version = heard.find_map(|line| line.strip_prefix(header)?.split(',').next()?.parse().ok());
    version.unwrap()
}

/// Two nodes of one version: rosters are right at once, and messages go both ways.
fn are_one_server(redis: &Redis, one: &Node, other: &Node) {
    let [alice, bob] = [join(one, "alice"), join(other, "bob")];
    let [anna, ben] = [join(one, "anna"), join(other, "ben")];
    let everyone = [&alice, &bob, &anna, &ben];
    for client in everyone {
        client.sees(&everyone);
    }
    for n in 0..50 {
        alice.send(&format!(r#"{{"type":"message","to":"team","n":{n}}}"#));
        alice.send(&format!(r#"{{"type":"message","to":"{}","n":{n}}}"#, bob.address()));
    }
    let twice: Vec<_> = (0..50).flat_map(|n| [n; 2]).collect();
    let once: Vec<_> = (0..50).collect();
    assert_eq!(bob.numbers(100), twice);
    assert_eq!(ben.numbers(50), once);
    assert_eq!(anna.numbers(50), once);
    for n in 0..50 {
        bob.send(&format!(r#"{{"type":"message","to":"team","n":{n}}}"#));
        bob.send(&format!(r#"{{"type":"message","to":"{}","n":{n}}}"#, alice.address()));
    }
    assert_eq!(alice.numbers(100), twice);
    assert_eq!(anna.numbers(50), once);
    assert_eq!(ben.numbers(50), once);
    // Who comes later learns what was told before, and not only what changes.
    let third = Node::start(redis, "tokio");
    let carol = join(&third, "carol");
    carol.sees(&everyone);
    // Who leaves a room, and who goes, is seen to.
    bob.send(r#"{"type":"leave","room":"team"}"#);
    let address = anna.address();
    drop(anna);
    alice.sees(&[&alice, &ben, &carol]);
    ben.sees(&[&alice, &ben, &carol]);
    ben.saw_offline(&address, 1);
}

/// Two nodes of different versions: each goes on by itself, the log names the other's version, and when all are
/// of one version rosters are right.
fn do_no_harm(redis: &Redis, one: &Node, other: Node, version: u32) {
    one.logs(&format!("an envelope of version {version}; this node reads version {VERSION}"));
    let [alice, anna] = ["alice", "anna"].map(|user| join(one, user));
    let [bob, ben] = ["bob", "ben"].map(|user| join(&other, user));
    alice.sees(&[&alice, &anna]);
    bob.sees(&[&bob, &ben]);
    for n in 0..50 {
        alice.send(&format!(r#"{{"type":"message","to":"team","n":{n}}}"#));
        bob.send(&format!(r#"{{"type":"message","to":"team","n":{n}}}"#));
    }
    let numbers: Vec<_> = (0..50).collect();
    assert_eq!(anna.numbers(50), numbers);
    assert_eq!(ben.numbers(50), numbers);
    drop([bob, ben]);
    drop(other);
    let renewed = Node::start(redis, "tokio");
    let bob = join(&renewed, "bob");
    for client in [&alice, &anna, &bob] {
        client.sees(&[&alice, &anna, &bob]);
    }
}

/// R-C5: nodes of another version are not understood and do no harm. The other one is this very program, behind
/// a relay that writes another version into all envelopes, in both directions.
#[test]
fn another_version_does_no_harm() {
    let Some(redis) = Redis::start() else { return };
    let relay = relay(redis.address());
    let one = Node::start(&redis, "tokio");
    let other = Node::start_through(relay, &redis, "tokio");
    do_no_harm(&redis, &one, other, VERSION + 1);
}

/// R-C5, R-C1: another build, as a rule that of the commit before, is part of the cluster if it speaks the same
/// version; if not, it does no harm. So what nodes say to each other does not change without another version.
#[test]
fn another_build() {
    let Some(redis) = Redis::start() else { return };
    let Some((program, version)) = other_program(&redis) else { return };
    let one = Node::start(&redis, "tokio");
    let other = Node::start_program(program.as_ref(), &redis, "tokio", 0);
    if version == VERSION {
        are_one_server(&redis, &one, &other);
    } else {
        do_no_harm(&redis, &one, other, version);
    }
}

/// A way to Redis on which this version of envelopes is the next one, and the other way round.
fn relay(redis: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for node in listener.incoming().map_while(Result::ok) {
            let Ok(redis) = TcpStream::connect(redis) else { return };
            let (from_node, from_redis) = (node.try_clone().unwrap(), redis.try_clone().unwrap());
            thread::spawn(move || exchange_versions(from_node, redis));
            thread::spawn(move || exchange_versions(from_redis, node));
        }
    });
    address
}

fn exchange_versions(mut from: TcpStream, mut to: TcpStream) {
    let digit = |version: u32| b'0' + u8::try_from(version).unwrap();
    let (this, next) = (digit(VERSION), digit(VERSION + 1));
    let (mut matched, mut buffer) = (0, vec![0; 64 * 1024]);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        for byte in &mut buffer[..count] {
            if matched == HEADER.len() {
                *byte = match *byte {
                    byte if byte == this => next,
                    byte if byte == next => this,
                    byte => byte,
                };
                matched = 0;
            } else if *byte == HEADER[matched] {
                matched += 1;
            } else {
                matched = usize::from(*byte == HEADER[0]);
            }
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
