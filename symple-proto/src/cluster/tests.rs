use alloc::string::ToString;

use super::*;

fn state() -> PeerState {
    PeerState {
        user: UserName::new("alice").unwrap(),
        id: PeerId::new("0ab").unwrap(),
        record: RawJson::parse(r#"{"user":"alice","n":1.0}"#).unwrap(),
        hidden: false,
        read_only: false,
        rooms: [RoomName::new("alice").unwrap(), RoomName::new("a\nb").unwrap()].into(),
    }
}

/// R-C4: envelopes of their own, and what a client wrote is not written anew.
#[test]
fn every_payload_is_read_as_it_was_written() {
    let id = || PeerId::new("0ab").unwrap();
    let room = || RoomName::new("team").unwrap();
    let entry = |value: Option<&str>| StateEntry {
        key: "k".into(),
        value: value.map(|value| RawJson::parse(value).unwrap()),
        clock: 7,
        node: "0b".into(),
    };
    for payload in [
        Payload::Beat(Beat { sum: u64::MAX }),
        Payload::Hello(Hello { nonce: 1, sum: 2, known: BTreeMap::new() }),
        Payload::Hello(Hello { nonce: 1, sum: 2, known: [("n2".into(), (3, 4))].into() }),
        Payload::Bye,
        Payload::Ask(Ask { nonce: 1, since: None, after: 7, bytes: 9 }),
        Payload::Ask(Ask { nonce: 1, since: Some((5, u64::MAX)), after: 0, bytes: 9 }),
        Payload::Change("{}".into()),
        Payload::Changes("{}".into()),
        Payload::Part("{}".into()),
        Payload::Frame("{\"to\":\n1.0}".into()),
        Payload::Emission("".into()),
        Payload::Call(Call::Send { id: id(), text: "{}".into() }),
        Payload::Call(Call::Broadcast { text: "{}".into() }),
        Payload::Call(Call::Kick { id: id(), reason: "because".into() }),
        Payload::Call(Call::KickUser { user: UserName::new("bob").unwrap(), reason: "é".into() }),
        Payload::Call(Call::Join { id: id(), room: room() }),
        Payload::Call(Call::Leave { id: id(), room: room() }),
        Payload::Call(Call::CloseRoom { room: room() }),
        Payload::Call(Call::Buried { lives: 2 }),
        Payload::State(StateTalk::Sum { room: room(), sum: u64::MAX, clock: 3 }),
        Payload::State(StateTalk::Ask { nonce: 1, rooms: [room()].into() }),
        Payload::State(StateTalk::All {
            nonce: 1,
            rooms: [(room(), [entry(None)].into())].into(),
            more: true,
        }),
        Payload::State(StateTalk::Set {
            room: room(),
            from: Some("a|1".into()),
            id: Some(RawJson::parse("1.0").unwrap()),
            entries: [entry(Some(r#"{"b":1.0,"a":-0}"#)), entry(None)].into(),
        }),
    ] {
        let lives = u32::from(payload == Payload::Bye);
        let envelope = Envelope { node: "n1".into(), number: 31, seq: 7, lives, payload };
        let bytes = envelope.encode();
        assert_eq!(Envelope::parse(&bytes).unwrap(), envelope);
        assert!(Envelope::is_from(&bytes, "n1"));
        assert!(!Envelope::is_from(&bytes, "n"));
        assert!(!Envelope::is_from(&bytes, "n11"));
    }
    let payload = Payload::Frame("{\"a\":1.0}".into());
    let envelope = Envelope { node: "n1".into(), number: 31, seq: 7, lives: 0, payload };
    assert_eq!(
        envelope.encode(),
        "{\"v\":3,\"node\":\"n1\",\"number\":31,\"seq\":7,\"kind\":\"frame\"}\n{\"a\":1.0}"
    );
}

#[test]
fn changes_are_read_as_they_were_written() {
    let id = || PeerId::new("0ab").unwrap();
    let room = || RoomName::new("team").unwrap();
    let changes = [
        Change::Online(state()),
        Change::Join { id: id(), rooms: [room()].into() },
        Change::Leave { id: id(), room: room() },
        Change::Record { id: id(), record: RawJson::parse("{\n}").unwrap() },
        Change::Offline { id: id() },
    ];
    let texts: Vec<_> = changes.iter().map(Change::encode).collect();
    for (change, text) in changes.iter().zip(&texts) {
        assert_eq!(Change::parse(text).as_ref(), Ok(change));
        assert_eq!(*change.id(), id());
    }
    let list = Changes::encode(1, 2, 7, texts.iter().map(|text| &**text));
    let list = Changes::parse(&list).unwrap();
    assert_eq!((list.nonce, list.sum), (1, 2));
    let read: Vec<_> = list.iter().map(|(seq, text)| (seq, text.into())).collect();
    assert_eq!(read, (7..).zip(texts).collect::<Vec<_>>());
    assert_eq!(
        Changes::parse(&Changes::encode(1, 2, 7, [].into_iter())).unwrap().iter().count(),
        0
    );
}

#[test]
fn a_part_is_read_as_it_was_written() {
    let part = Part { nonce: 3, sum: 4, after: 1, next: Some(9), peers: [state()].into() };
    assert_eq!(Part::parse(&part.encode()), Ok(part.clone()));
    for next in [0, 1] {
        let part = Part { next: Some(next), ..part.clone() };
        assert_eq!(Part::parse(&part.encode()), Err(EnvelopeError::Payload("part")));
    }
}

#[test]
fn sums_tell_changes_and_their_order_apart() {
    let sum = |changes: &[&str]| changes.iter().fold(0, |sum, change| next_sum(sum, change));
    let sums =
        [sum(&[]), sum(&[""]), sum(&["a"]), sum(&["a", "b"]), sum(&["b", "a"]), sum(&["ab"])];
    for (at, one) in sums.iter().enumerate() {
        assert!(!sums[at + 1..].contains(one), "{at}");
    }
}

/// R-C5: what this version does not know is named, whatever else it says.
#[test]
fn foreign_envelopes_are_refused() {
    use EnvelopeError::{Header, Kind, Node, Payload, Utf8, Version};
    let long = format!("{{\"v\":3,\"x\":\"{}\"}}\n", "x".repeat(MAX_HEADER_LEN));
    for (text, error) in [
        ("", Header),
        ("\n", Header),
        ("hello", Header),
        ("null\n", Header),
        ("{}\n", Header),
        (r#"{"v":3,"node":"n","number":1,"seq":1,"kind":"beat"}"#, Header),
        ("{\"v\":\"1\"}\n", Header),
        ("{\"v\":3}\n", Header),
        (&long, Header),
        ("{\"v\":1}\n", Version(1)),
        ("{\"v\":99,\"node\":5,\"new\":[]}\nwhatever", Version(99)),
        ("{\"v\":3,\"node\":\"a b\",\"number\":1,\"seq\":1,\"kind\":\"beat\"}\n", Node),
        ("{\"v\":3,\"node\":\"\",\"number\":1,\"seq\":1,\"kind\":\"beat\"}\n", Node),
        ("{\"v\":3,\"node\":\"n\",\"number\":1,\"seq\":-1,\"kind\":\"beat\"}\n", Header),
        ("{\"v\":3,\"node\":\"n\",\"number\":1,\"seq\":1,\"kind\":\"quux\"}\n", Kind),
        ("{\"v\":3,\"node\":\"n\",\"number\":1,\"seq\":1,\"kind\":\"beat\"}\n", Payload("beat")),
        (
            "{\"v\":3,\"node\":\"n\",\"number\":1,\"seq\":1,\"kind\":\"hello\"}\n{}",
            Payload("hello"),
        ),
        ("{\"v\":3,\"node\":\"n\",\"number\":1,\"seq\":1,\"kind\":\"ask\"}\n{}", Payload("ask")),
        (
            "{\"v\":3,\"node\":\"n\",\"number\":1,\"seq\":1,\"kind\":\"call\"}\n{\"a\":1}",
            Payload("call"),
        ),
    ] {
        assert_eq!(Envelope::parse(text.as_bytes()).unwrap_err(), error, "{text}");
    }
    assert_eq!(Part::parse("[]").unwrap_err(), Payload("part"));
    assert_eq!(Change::parse("{\"offline\":{\"id\":\"A\"}}").unwrap_err(), Payload("change"));
    assert_eq!(Envelope::parse(b"\xff\n").unwrap_err(), Utf8);
    assert_eq!(Version(1).to_string(), "an envelope of version 1; this node reads version 3");
}
