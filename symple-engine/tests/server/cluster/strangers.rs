//! What a node makes of what others publish, whoever they are.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};
use symple_engine::server::{Config, EngineError, Input, Server};
use symple_proto::cluster::{Ask, Envelope, Payload, VERSION, next_sum};

use super::clustered;
use crate::common::Node;

/// Another node, played by the test.
pub(super) struct Other {
    id: &'static str,
    pub(super) number: u64,
    seq: u64,
    sum: u64,
}

impl Other {
    pub(super) fn new(id: &'static str) -> Self {
        Self { id, number: 0, seq: 0, sum: 0 }
    }

    /// Says something on a channel that the node hears.
    pub(super) fn say(
        &mut self,
        node: &mut Node,
        kind: &str,
        body: &str,
    ) -> Result<usize, EngineError> {
        self.number += 1;
        forge(node, self.id, self.number, self.seq, kind, body)
    }

    pub(super) fn beat(&mut self, node: &mut Node) {
        let body = json!({"sum": self.sum}).to_string();
        self.say(node, "beat", &body).unwrap();
    }

    fn hello(&mut self, node: &mut Node, known: &Value) {
        let body = json!({"nonce": 7, "sum": self.sum, "known": known}).to_string();
        self.say(node, "hello", &body).unwrap();
    }

    /// Changes something; the node does not hear of it.
    fn change_unheard(&mut self, change: &Value) -> String {
        let text = change.to_string();
        self.seq += 1;
        self.sum = next_sum(self.sum, &text);
        text
    }

    pub(super) fn change(&mut self, node: &mut Node, change: &Value) -> Result<usize, EngineError> {
        let text = self.change_unheard(change);
        self.say(node, "change", &text)
    }

    fn frame(&mut self, node: &mut Node, from: &str) -> Result<usize, EngineError> {
        let frame = json!({"type": "message", "to": "r", "from": from}).to_string();
        self.say(node, "frame", &frame)
    }

    /// The last thing that the node has asked of this one since it was looked at.
    pub(super) fn asked(&self, node: &mut Node) -> Option<Ask> {
        let published = std::mem::take(&mut node.published);
        let channel = format!("node:{}", self.id);
        let to_this = published.iter().filter(|(to, _)| *to == channel);
        let mut asks =
            to_this.filter_map(|(_, bytes)| match Envelope::parse(bytes).unwrap().payload {
                Payload::Ask(ask) => Some(ask),
                _ => None,
            });
        asks.next_back()
    }

    /// Answers with a part.
    pub(super) fn part(&mut self, node: &mut Node, ask: &Ask, next: Option<u32>, peers: &[Value]) {
        let part = json!({"nonce": ask.nonce, "sum": self.sum, "after": ask.after, "next": next, "peers": peers});
        self.say(node, "part", &part.to_string()).unwrap();
    }

    /// Answers with changes.
    fn changes(&mut self, node: &mut Node, nonce: u64, first: u64, changes: &[Value]) {
        let text = json!({"nonce": nonce, "sum": self.sum, "first": first, "changes": changes});
        self.say(node, "changes", &text.to_string()).unwrap();
    }

    /// Is known to the node, with these peers.
    pub(super) fn known(node: &mut Node, id: &'static str, peers: &[Value]) -> Self {
        let mut other = Self::new(id);
        other.beat(node);
        let ask = other.asked(node).expect("who is new is asked");
        other.part(node, &ask, None, peers);
        assert_eq!(other.asked(node), None);
        other
    }
}

fn forge(
    node: &mut Node,
    id: &str,
    number: u64,
    seq: u64,
    kind: &str,
    body: &str,
) -> Result<usize, EngineError> {
    let header = json!({"v": VERSION, "node": id, "number": number, "seq": seq, "kind": kind});
    let payload = format!("{header}\n{body}");
    node.input(Input::BusMessage { channel: "cluster", payload: payload.as_bytes() })
}

pub(super) fn node() -> Node {
    node_of(clustered())
}

fn node_of(config: Config) -> Node {
    let mut node = Node::new(config);
    node.drain();
    node.input(Input::BusUp).unwrap();
    node.published.clear();
    node
}

pub(super) fn state(user: &str, id: &str, rooms: &[&str]) -> Value {
    json!({"user": user, "id": id, "record": {"user": user, "id": id}, "rooms": rooms})
}

fn online(user: &str, id: &str) -> Value {
    json!({"online": state(user, id, &["r"])})
}

fn offline(id: &str) -> Value {
    json!({"offline": {"id": id}})
}

fn members(server: &Server) -> String {
    let mut members: Vec<_> = server.members("r").map(|address| address.to_string()).collect();
    members.sort();
    members.join(" ")
}

/// R-C2: the peers of a node are asked for part by part, the next one when the last is here; who
/// comes between two parts is there, who goes is gone, and whoever is in no part was gone before.
#[test]
fn peers_are_pulled_part_by_part() {
    let mut node = node();
    let mut other = Other::known(&mut node, "n9", &[state("old", "o0", &["r"])]);
    other.seq = 5000;
    other.beat(&mut node);
    let ask = other.asked(&mut node).unwrap();
    assert_eq!(ask.since, Some((0, 0)), "what was missed may be known still");
    other.part(&mut node, &Ask { after: 0, ..ask }, Some(3), &[state("a", "a0", &["r"])]);
    let ask = other.asked(&mut node).unwrap();
    assert_eq!((ask.since, ask.after), (None, 3));
    other.change(&mut node, &online("b", "b0")).unwrap();
    other.change(&mut node, &json!({"join": {"id": "a0", "rooms": ["s"]}})).unwrap();
    // Of whom no part has told yet a part will tell all.
    other.change(&mut node, &json!({"join": {"id": "o0", "rooms": ["s"]}})).unwrap();
    other.change(&mut node, &online("c", "c0")).unwrap();
    other.change(&mut node, &offline("c0")).unwrap();
    other.change(&mut node, &offline("zz")).unwrap();
    assert_eq!(other.asked(&mut node), None, "one question at a time");
    assert_eq!(members(&node.server), "a|a0 b|b0 old|o0", "nobody is gone before all is known");
    assert_eq!(node.server.members("s").count(), 1);
    other.part(&mut node, &ask, Some(9), &[]);
    let ask = other.asked(&mut node).unwrap();
    assert_eq!(ask.after, 9);
    other.part(&mut node, &ask, None, &[state("d", "d0", &["r"])]);
    assert_eq!(members(&node.server), "a|a0 b|b0 d|d0");
    assert_eq!(other.asked(&mut node), None);
    assert_eq!(node.server.stats().pulls, 2);
}

/// R-C2, R-M3: what a node tells of a peer while the part that tells of it is still being taken in holds, and
/// not what the part says.
#[test]
fn a_change_overtakes_the_rest_of_a_part() {
    for next in [None, Some(9)] {
        let mut config = clustered();
        config.work_burst = 1;
        let mut node = node_of(config);
        let alice = node.peer("alice", &["r"]);
        let id = node.id(alice);
        let mut other = Other::new("n9");
        other.beat(&mut node);
        let ask = other.asked(&mut node).unwrap();
        let peers = [
            ("here", "h0"),
            ("gone", "g0"),
            ("moved", "m0"),
            ("left", "l0"),
            ("came", "c0"),
            ("told", "t0"),
            ("spoke", "s0"),
            ("last", "z0"),
        ];
        other.part(&mut node, &ask, next, &peers.map(|(user, id)| state(user, id, &["r"])));
        assert_eq!(members(&node.server), format!("alice|{id} here|h0"), "the rest waits");
        other.change(&mut node, &offline("g0")).unwrap();
        other.change(&mut node, &json!({"online": state("moved", "m0", &["s"])})).unwrap();
        other.change(&mut node, &json!({"leave": {"id": "l0", "room": "r"}})).unwrap();
        other.change(&mut node, &json!({"join": {"id": "c0", "rooms": ["s"]}})).unwrap();
        let record = json!({"user": "told", "id": "t0", "new": true});
        other.change(&mut node, &json!({"record": {"id": "t0", "record": record}})).unwrap();
        assert_eq!(other.frame(&mut node, "spoke|s0"), Ok(1));
        let before = format!("alice|{id} came|c0 here|h0 spoke|s0 told|t0");
        assert_eq!(members(&node.server), before, "the rest waits still");
        node.pass(Duration::from_millis(100));
        let after = format!("alice|{id} came|c0 here|h0 last|z0 spoke|s0 told|t0");
        assert_eq!(members(&node.server), after);
        let mut in_s: Vec<_> = node.server.members("s").map(|it| it.to_string()).collect();
        in_s.sort();
        assert_eq!(in_s, ["came|c0", "moved|m0"]);
        let told = node.server.peers().find(|peer| *peer.address.id == *"t0").unwrap();
        assert!(told.record.contains("new"), "{}", told.record);
        assert_eq!(node.server.stats().frames_missed, 0);
        assert_eq!(other.asked(&mut node).map(|ask| ask.after), next, "nothing is in doubt");
    }
}

/// R-C2: an answer from another place than was asked for is not taken, whatever question it answers: those
/// in between would be missing, and would be taken for gone.
#[test]
fn a_part_of_another_place_is_not_taken() {
    let mut node = node();
    let mut other = Other::new("n9");
    other.beat(&mut node);
    let ask = other.asked(&mut node).unwrap();
    let wrong = [state("x", "x0", &["r"])];
    other.part(&mut node, &Ask { after: 3, ..ask }, None, &wrong);
    assert_eq!(members(&node.server), "");
    let ask = other.asked(&mut node).expect("it is asked again");
    assert_eq!((ask.since, ask.after), (None, 0));
    other.part(&mut node, &ask, Some(3), &[state("a", "a0", &["r"])]);
    let mut ask = other.asked(&mut node).unwrap();
    for place in [0, 2, 4] {
        other.part(&mut node, &Ask { after: place, ..ask }, None, &wrong);
        assert_eq!(members(&node.server), "a|a0", "{place}");
        ask = other.asked(&mut node).expect("it is asked again");
        assert_eq!((ask.since, ask.after), (None, 3), "{place}");
    }
    // Nor is one from the right place that answers the question for changes.
    let missed = online("b", "b0");
    other.change_unheard(&missed);
    other.part(&mut node, &ask, None, &wrong);
    let ask = other.asked(&mut node).unwrap();
    assert_eq!(ask.since, Some((0, 0)));
    let told = (other.seq, other.sum);
    (other.seq, other.sum) = (0, 0);
    other.part(&mut node, &Ask { after: 3, ..ask }, None, &wrong);
    (other.seq, other.sum) = told;
    assert_eq!(members(&node.server), "a|a0");
    let ask = other.asked(&mut node).expect("it is asked again");
    assert_eq!(ask.since, Some((0, 0)));
    other.changes(&mut node, ask.nonce, 1, &[missed]);
    let ask = other.asked(&mut node).unwrap();
    assert_eq!((ask.since, ask.after), (None, 3));
    other.part(&mut node, &ask, None, &[]);
    assert_eq!(members(&node.server), "a|a0 b|b0");
    assert_eq!(node.server.stats().pulls, 1);
}

/// R-C2: what is missed between two parts is asked for before the next one counts.
#[test]
fn a_gap_between_parts_is_noticed() {
    let mut node = node();
    let mut other = Other::new("n9");
    other.beat(&mut node);
    let ask = other.asked(&mut node).unwrap();
    other.part(&mut node, &ask, Some(3), &[state("a", "a0", &["r"])]);
    let ask = other.asked(&mut node).unwrap();
    let missed = offline("a0");
    other.change_unheard(&missed);
    other.part(&mut node, &ask, None, &[state("b", "b0", &["r"])]);
    assert_eq!(members(&node.server), "a|a0", "it may tell of what is not known yet");
    let ask = other.asked(&mut node).unwrap();
    assert_eq!(ask.since, Some((0, 0)));
    other.changes(&mut node, ask.nonce, 1, &[missed]);
    assert_eq!(members(&node.server), "");
    let ask = other.asked(&mut node).unwrap();
    assert_eq!((ask.since, ask.after), (None, 3), "nothing is told twice");
    other.part(&mut node, &ask, None, &[state("b", "b0", &["r"])]);
    assert_eq!(members(&node.server), "b|b0");
    assert_eq!(node.server.stats().resyncs, 0);
}

/// R-C2: who has missed a few changes is told those, and pulls nothing.
#[test]
fn a_blip_costs_what_was_missed() {
    let mut node = node();
    let alice = node.peer("alice", &["r"]);
    let mut other = Other::known(&mut node, "n9", &[state("a", "a0", &["r"])]);
    node.forget();
    node.input(Input::BusDown).unwrap();
    let missed = [online("b", "b0"), offline("a0")];
    for change in &missed {
        other.change_unheard(change);
    }
    node.pass(Duration::from_secs(3));
    node.input(Input::BusUp).unwrap();
    let hello = node.published.iter().find(|(channel, _)| channel == "cluster").unwrap();
    let Payload::Hello(hello) = Envelope::parse(&hello.1).unwrap().payload else { panic!() };
    assert_eq!(hello.known.get("n9"), Some(&(0, 0)));
    let nonce = hello.nonce;
    other.changes(&mut node, nonce, 1, &missed);
    assert_eq!(node.received(alice).len(), 2);
    assert_eq!(members(&node.server), format!("alice|{} b|b0", node.id(alice)));
    other.beat(&mut node);
    assert_eq!(other.asked(&mut node), None);
    // Once.
    other.changes(&mut node, nonce, 1, &[online("mallory", "m0")]);
    assert_eq!(node.server.stats().remote_peers, 1);
    assert_eq!(node.server.stats().pulls, 1);
}

/// R-C2: this node, too, tells whoever has missed a few changes those, and others the whole.
#[test]
fn what_others_have_missed_is_told() {
    let mut node = node();
    let mut other = Other::known(&mut node, "n9", &[]);
    let own = node.server.node_id().unwrap().to_owned();
    let bob = node.peer("bob", &["r"]);
    let mut sums = vec![0];
    for (_, bytes) in std::mem::take(&mut node.published) {
        if let Payload::Change(text) = Envelope::parse(&bytes).unwrap().payload {
            sums.push(next_sum(*sums.last().unwrap(), &text));
        }
    }
    node.disconnect(bob);
    node.published.clear();
    let answer = |node: &mut Node| {
        let published = std::mem::take(&mut node.published);
        let to_it: Vec<_> = published.iter().filter(|(to, _)| to == "node:n9").collect();
        assert_eq!(to_it.len(), published.len(), "nobody else hears it");
        to_it
            .iter()
            .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
            .collect::<String>()
    };
    other.hello(&mut node, &json!({&own: [1, sums[1]]}));
    let text = answer(&mut node);
    assert!(text.contains(r#""kind":"changes""#) && text.contains(r#""first":2"#), "{text}");
    assert!(text.contains("offline") && !text.contains("online\":{"), "{text}");
    // At once again: somebody may let it say hello for ever.
    other.hello(&mut node, &json!({}));
    assert_eq!(answer(&mut node), "");
    for (known, kind) in [
        (json!({&own: [2, 5]}), r#""kind":"beat""#),
        (json!({&own: [9, 5]}), r#""kind":"beat""#),
        (json!({}), r#""kind":"beat""#),
        (json!({&own: [0, 0]}), r#""first":1"#),
    ] {
        node.pass(Duration::from_millis(300));
        node.published.clear();
        other.hello(&mut node, &known);
        let text = answer(&mut node);
        assert!(text.contains(kind), "{known} {text}");
    }
    let ask =
        |since: Value| json!({"nonce": 3, "since": since, "after": 0, "bytes": 1000}).to_string();
    other.say(&mut node, "ask", &ask(json!([2, 7]))).unwrap();
    assert!(answer(&mut node).contains(r#""kind":"part""#), "its sum is another one");
    other.say(&mut node, "ask", &ask(json!([1, sums[1]]))).unwrap();
    assert!(answer(&mut node).contains(r#""kind":"changes""#));
    other.say(&mut node, "ask", &ask(Value::Null)).unwrap();
    assert!(answer(&mut node).contains(r#""next":null,"peers":[]"#));
}

/// R-C2: what is asked again is answered again, and a question without an answer is repeated.
#[test]
fn a_lost_answer_is_asked_for_again() {
    let mut node = node();
    let mut other = Other::new("n9");
    other.beat(&mut node);
    let first = other.asked(&mut node).unwrap();
    node.pass(Duration::from_secs(1));
    other.beat(&mut node);
    assert_eq!(other.asked(&mut node), None);
    node.pass(Duration::from_millis(1500));
    let second = other.asked(&mut node).expect("it is asked again");
    assert_ne!(first.nonce, second.nonce);
    other.part(&mut node, &first, None, &[state("a", "a0", &["r"])]);
    assert_eq!(members(&node.server), "", "too late");
    other.part(&mut node, &second, Some(2), &[state("a", "a0", &["r"])]);
    let third = other.asked(&mut node).unwrap();
    other.part(&mut node, &second, None, &[]);
    assert_eq!(members(&node.server), "a|a0", "a part that has been");
    node.pass(Duration::from_millis(2500));
    let again = other.asked(&mut node).unwrap();
    assert_eq!((again.after, again.nonce == third.nonce), (2, false), "it goes on where it was");
    other.part(&mut node, &again, None, &[]);
    assert_eq!(other.asked(&mut node), None);
}

/// R-C2: of a few nodes everything is pulled at a time, and nobody waits for those who are mute.
#[test]
fn a_few_nodes_at_a_time() {
    const NAMES: [&str; 8] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];
    let mut node = node();
    let mut others: Vec<_> = NAMES.into_iter().map(Other::new).collect();
    for other in &mut others {
        other.beat(&mut node);
        let ask = other.asked(&mut node).expect("a first question for everyone");
        assert!(ask.bytes <= 4096);
        other.part(&mut node, &ask, Some(1), &[]);
    }
    // Those that were first have been asked for more.
    node.published.clear();
    node.pass(Duration::from_millis(2500));
    let published = std::mem::take(&mut node.published);
    let mut asked: Vec<_> = published.iter().map(|(to, _)| to.clone()).collect();
    asked.retain(|to| to.starts_with("node:"));
    asked.sort();
    assert_eq!(asked, ["node:n4", "node:n5", "node:n6", "node:n7"], "the mute lose their turn");
    for (_, bytes) in &published {
        if let Payload::Ask(ask) = Envelope::parse(bytes).unwrap().payload {
            assert!(ask.bytes >= 64 * 1024);
        }
    }
}

/// R-M3: who has been told of may speak while the rest is still to come, and nobody else.
#[test]
fn frames_between_parts() {
    let mut node = node();
    let alice = node.peer("alice", &["r"]);
    let mut other = Other::known(&mut node, "n9", &[state("old", "o0", &["r"])]);
    other.seq = 5000;
    other.beat(&mut node);
    let ask = other.asked(&mut node).unwrap();
    other.part(&mut node, &Ask { after: 0, ..ask }, Some(3), &[state("a", "a0", &["r"])]);
    node.forget();
    assert_eq!(other.frame(&mut node, "a|a0"), Ok(1));
    assert_eq!(other.frame(&mut node, "old|o0"), Ok(0), "it may have left the room");
    assert_eq!(other.frame(&mut node, "d|d0"), Ok(0));
    assert_eq!(node.received(alice).len(), 1);
    assert_eq!(node.server.stats().frames_missed, 2);
    // What depends on what has been missed is not delivered.
    other.change_unheard(&json!({"leave": {"id": "a0", "room": "r"}}));
    assert_eq!(other.frame(&mut node, "a|a0"), Ok(0));
}

/// R-F2, R-M3: no node speaks for the peers of another one, or for this one's.
#[test]
fn a_frame_that_names_another_nodes_peer() {
    let mut node = node();
    let alice = node.peer("alice", &["r"]);
    let own = format!("alice|{}", node.id(alice));
    let mut one = Other::known(&mut node, "n8", &[state("a", "a0", &["r"])]);
    let mut two = Other::known(&mut node, "n9", &[state("b", "b0", &["r"])]);
    node.forget();
    for from in ["b|b0", &own, "a|b0", "b|a0", "a", "", "nobody|x"] {
        assert_eq!(one.frame(&mut node, from), Err(EngineError::UnknownPeer), "{from}");
    }
    node.nothing();
    assert_eq!(one.frame(&mut node, "a|a0"), Ok(1));
    assert_eq!(two.frame(&mut node, "b|b0"), Ok(1));
    // Nor does one change another's.
    for change in [
        offline("b0"),
        json!({"leave": {"id": "b0", "room": "r"}}),
        json!({"record": {"id": "b0", "record": {}}}),
        online("mallory", "b0"),
    ] {
        let _ = one.change(&mut node, &change);
        assert_eq!(two.frame(&mut node, "b|b0"), Ok(1), "{change}");
    }
}

/// R-C6: an envelope that has been is dropped; and one repeat after the other costs one question.
#[test]
fn repeats_are_dropped() {
    let mut node = node();
    let alice = node.peer("alice", &["r"]);
    let mut other = Other::known(&mut node, "n9", &[state("a", "a0", &["r"])]);
    assert_eq!(other.frame(&mut node, "a|a0"), Ok(1));
    other.change(&mut node, &online("b", "b0")).unwrap();
    other.change(&mut node, &offline("b0")).unwrap();
    node.forget();
    node.published.clear();
    let frame = json!({"type": "message", "to": "r", "from": "a|a0"}).to_string();
    for _ in 0..100 {
        assert_eq!(forge(&mut node, "n9", 3, 0, "frame", &frame), Ok(0));
        forge(&mut node, "n9", 4, 1, "change", &online("b", "b0").to_string()).unwrap();
        forge(&mut node, "n9", 1, 0, "beat", "{\"sum\":0}").unwrap();
        forge(&mut node, "n9", 2, 0, "bye", "").unwrap();
    }
    assert_eq!(node.received(alice), [""; 0]);
    assert_eq!(node.server.stats().repeats, 400);
    let asks = node.published.len();
    assert_eq!(asks, 1);
    let ask = other.asked(&mut node).unwrap();
    other.changes(&mut node, ask.nonce, 3, &[]);
    assert_eq!(other.frame(&mut node, "a|a0"), Ok(1));
    assert_eq!(node.server.stats().pulls, 1, "nothing was pulled for it");
}

/// R-C6: what is said in a node's name does not silence it: neither a `hello`, nor a heartbeat, nor
/// a number from the end of time.
#[test]
fn a_node_in_whose_name_another_speaks_is_heard() {
    let hello = json!({"nonce": 1, "sum": 9, "known": {}}).to_string();
    let frame = json!({"type": "message", "to": "r", "from": "a|a0"}).to_string();
    for (number, seq, kind, body) in [
        (3, 0, "hello", &*hello),
        (3, 77, "hello", &hello),
        (3, u64::MAX, "beat", "{\"sum\":0}"),
        (3, 0, "beat", "{\"sum\":1}"),
        (3, u64::MAX, "frame", &frame),
        (u64::MAX, 0, "beat", "{\"sum\":0}"),
        (2 << 20, 0, "hello", &hello),
    ] {
        let mut node = node();
        node.peer("alice", &["r"]);
        let mut other = Other::known(&mut node, "n9", &[state("a", "a0", &["r"])]);
        forge(&mut node, "n9", number, seq, kind, body).unwrap();
        other.number += 1;
        assert_eq!(other.frame(&mut node, "a|a0"), Ok(1), "{kind} {number} {seq}");
        // It is asked, and says what is right; nothing else is needed.
        let ask = other.asked(&mut node).expect("it is asked");
        other.changes(&mut node, ask.nonce, 1, &[]);
        assert_eq!(other.asked(&mut node), None, "{kind} {number} {seq}");
        assert_eq!(node.server.stats().pulls, 1);
    }
    // One that makes its own words repeats is noticed with the first of them.
    let mut node = node();
    node.peer("alice", &["r"]);
    let mut other = Other::known(&mut node, "n9", &[state("a", "a0", &["r"])]);
    forge(&mut node, "n9", 1 << 19, 0, "beat", "{\"sum\":0}").unwrap();
    assert_eq!(other.frame(&mut node, "a|a0"), Ok(0));
    let ask = other.asked(&mut node).expect("it is asked");
    other.changes(&mut node, ask.nonce, 1, &[]);
    assert_eq!(other.frame(&mut node, "a|a0"), Ok(1));
}

/// R-P1: a change that another has told in a node's name shows in the sum, and the node tells its
/// peers anew.
#[test]
fn a_forged_change_is_found_out() {
    let mut node = node();
    let mut other = Other::known(&mut node, "n9", &[]);
    forge(&mut node, "n9", 3, 1, "change", &online("mallory", "m0").to_string()).unwrap();
    assert_eq!(members(&node.server), "mallory|m0");
    // The right one comes too late.
    other.number += 1;
    other.change(&mut node, &online("b", "b0")).unwrap();
    let ask = other.asked(&mut node).expect("it is asked");
    assert_eq!(ask.since, Some((1, next_sum(0, &online("mallory", "m0").to_string()))));
    other.part(&mut node, &Ask { after: 0, ..ask }, None, &[state("b", "b0", &["r"])]);
    assert_eq!(members(&node.server), "b|b0");
}

/// R-C6: names that never answer are few, and take no place from those who do.
#[test]
fn made_up_nodes() {
    let mut node = node();
    node.peer("alice", &["r"]);
    let mut other = Other::known(&mut node, "n9", &[state("a", "a0", &["r"])]);
    node.forget();
    for name in 0..1000 {
        forge(&mut node, &format!("x{name}"), 1, 1, "beat", "{\"sum\":1}").unwrap();
        let change = online("mallory", &format!("m{name}")).to_string();
        forge(&mut node, &format!("x{name}"), 2, 1, "change", &change).unwrap();
    }
    assert_eq!(node.server.nodes().collect::<Vec<_>>(), ["n9".into()]);
    assert_eq!(node.server.stats().remote_peers, 1);
    assert_eq!(node.seen().iter().filter(|line| line.contains("Event")).count(), 0);
    let mut late = Other::known(&mut node, "n8", &[state("b", "b0", &["r"])]);
    assert_eq!(late.frame(&mut node, "b|b0"), Ok(1));
    assert_eq!(other.frame(&mut node, "a|a0"), Ok(1));
    node.published.clear();
    node.pass(Duration::from_millis(5900));
    let asks = node.published.iter().filter(|(to, _)| to.starts_with("node:x")).count();
    assert!(asks <= 64 * 3, "{asks}");
    node.pass(Duration::from_secs(1));
    node.published.clear();
    node.pass(Duration::from_secs(10));
    assert!(node.published.iter().all(|(to, _)| to == "cluster"), "they are forgotten");
}

/// R-F5: what a peer of another node costs does not grow with the square of its rooms.
#[test]
fn a_remote_peer_may_be_in_many_rooms() {
    let mut node = node();
    let alice = node.peer("alice", &["r"]);
    let rooms: Vec<_> = (0..100_000).map(|n| format!("r{n}")).collect();
    let twice: Vec<_> = rooms.iter().chain(&rooms).map(String::as_str).chain(["r"]).collect();
    let mut other = Other::known(&mut node, "n9", &[state("bob", "b0", &twice)]);
    other.change(&mut node, &json!({"online": state("bob", "b0", &twice)})).unwrap();
    assert_eq!(node.server.rooms().count(), 100_003 - 1);
    other.change(&mut node, &json!({"online": state("bob", "b0", &["r99999"])})).unwrap();
    assert_eq!(node.server.rooms().count(), 3);
    assert_eq!(node.received(alice).len(), 2, "bob came, and went");
}

/// R-P1: the node whose peer it is knows its user; what was said before was wrong.
#[test]
fn a_peer_told_of_as_another_users() {
    let mut node = node();
    let alice = node.peer("alice", &["r"]);
    let mut other = Other::known(&mut node, "n9", &[state("mallory", "b0", &["r"])]);
    other.change(&mut node, &online("bob", "b0")).unwrap();
    let mut seen = String::new();
    for frame in node.received(alice) {
        let frame: Value = serde_json::from_str(&frame).unwrap();
        let _ = write!(seen, "{} {} ", frame["from"].as_str().unwrap(), frame["data"]["online"]);
    }
    assert_eq!(seen, "mallory|b0 true mallory|b0 false bob|b0 true ");
    node.published.clear();
    node.pass(Duration::from_secs(5));
    assert_eq!(other.asked(&mut node), None, "nothing is in dispute");
}

/// R-P1: a peer that two nodes claim is asked for again, less and less often, and at once when the
/// other is gone.
#[test]
fn a_peer_that_two_nodes_claim() {
    let mut node = node();
    let mut one = Other::known(&mut node, "n8", &[state("a", "a0", &["r"])]);
    let mut two = Other::known(&mut node, "n9", &[state("a", "a0", &["r"])]);
    let mut pulls = 0;
    for _ in 0..120 {
        node.pass(Duration::from_secs(1));
        one.beat(&mut node);
        let published = node.published.clone();
        two.beat(&mut node);
        node.published.extend(published);
        if let Some(ask) = two.asked(&mut node) {
            assert_eq!(ask.since, None);
            pulls += 1;
            two.part(&mut node, &ask, None, &[state("a", "a0", &["r"])]);
        }
    }
    assert!((3..8).contains(&pulls), "{pulls}");
    one.say(&mut node, "bye", "").unwrap();
    assert_eq!(members(&node.server), "");
    node.pass(Duration::from_secs(2));
    let ask = two.asked(&mut node).expect("it is asked soon");
    two.part(&mut node, &ask, None, &[state("a", "a0", &["r"])]);
    assert_eq!(members(&node.server), "a|a0");
}
