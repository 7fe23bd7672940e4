use alloc::{format, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{PublicRecord, RawJson, json::Kind, record::name_text};

fn object(text: &str) -> Object<'_> {
    Json::parse(text, 128).unwrap().as_object().unwrap()
}

fn peer(members: &PeerMembers, host: Option<&str>) -> String {
    let mut out = String::new();
    members.push_peer("al\"ice", "0a", host, &mut out);
    out
}

/// The same member by member.
fn slowly(fields: &Fields, host: Option<&str>) -> Fields {
    let mut peer = fields.clone();
    peer.retain(|name| !["type", "token", "rooms", "__proto__"].contains(&name));
    let same = peer.get_str("user").is_some_and(|user| user == "al\"ice");
    if !same {
        peer.set("user", "al\"ice");
    }
    peer.set("id", "0a");
    peer.set("online", true);
    let name = peer.get("name").and_then(|name| display_name(name.get()));
    peer.set("name", name.unwrap_or_else(|| RawJson::string("al\"ice")));
    match host {
        Some(host) => peer.set("host", host),
        None => drop(peer.remove("host")),
    }
    peer
}

fn display_name(value: Json<'_>) -> Option<RawJson> {
    name_text(value).map(|text| RawJson::from(Json::checked(&text, Kind::String)))
}

fn without_hidden(fields: &Fields) -> Fields {
    let mut fields = fields.clone();
    fields.retain(|name| name != "a" && name != "host");
    fields
}

/// R-A8
#[test]
fn a_peer_is_what_was_written_but_for_what_the_server_knows() {
    for (written, expected) in [
        ("{}", r#"{"user":"al\"ice","id":"0a","online":true,"name":"al\"ice"}"#),
        (r#"{"host":1}"#, r#"{"user":"al\"ice","id":"0a","online":true,"name":"al\"ice"}"#),
        (
            r#"{"host":1,"user":"al\u0022ice","host":2,"id":{},"name":5,"online":0}"#,
            r#"{"user":"al\u0022ice","id":"0a","name":"5","online":true}"#,
        ),
        (
            r#"{"id":1,"a" : [ 1 ] ,"\u0062":2,"host":3,"a":4,"b":5}"#,
            r#"{"id":"0a","a":4,"b":5,"user":"al\"ice","online":true,"name":"al\"ice"}"#,
        ),
    ] {
        let fields = Fields::try_from(object(written)).unwrap();
        assert_eq!(peer(&PeerMembers::from(&fields), None), expected, "{written}");
        assert_eq!(slowly(&fields, None).to_json(), expected, "{written}");
    }
}

/// What would be too long to be looked through is not taken, and the rest stays.
#[test]
fn more_than_is_taken() {
    let mut members = PeerMembers::new(7);
    members.merge(&Fields::default().with("a", true));
    let before = members.clone();
    let long = "x".repeat(MAX_TEXT);
    members.merge(&Fields::default().with("b", long.as_str()));
    assert!(members == before);
    members.merge(&Fields::default().with("b", false));
    assert_eq!(members.text, r#"{"a":true,"b":false}"#);
    assert_eq!(format!("{members:?}"), r#"PeerMembers("{\"a\":true,\"b\":false}")"#);
}

/// Names whose hashes are alike are told apart, too: whoever knew the seed could choose them.
#[test]
fn names_with_the_same_hash() {
    let text = r#"{"a":1,"b":2,"c":3,"b":4,"a":5,"d":6,"b":7}"#;
    let mut collector = Collector::new(object(text), 7);
    object(text).for_each_entry(|entry| {
        collector.add(None, &entry);
        true
    });
    for hash in &mut collector.hashes {
        *hash &= (1 << INDEX_BITS) - 1;
    }
    assert_eq!(collector.finish().text, r#"{"a":5,"b":7,"c":3,"d":6}"#);
}

fn any_member() -> impl Strategy<Value = String> {
    let key = prop::sample::select(
        &[
            "id",
            "user",
            "online",
            "name",
            "host",
            "type",
            "token",
            "rooms",
            "__proto__",
            "a",
            "b",
            "c",
            "k1",
            "k2",
            "\\u006b1",
            "\\u0069d",
            "n\\u0061me",
            "a\\\"",
            "",
            "a name that is long",
            "a name that is longer",
            "Name",
        ][..],
    );
    let value = prop::sample::select(
        &[
            "1",
            "\"x\"",
            "\"al\\\"ice\"",
            "\"\"",
            "null",
            "true",
            "[]",
            "{\"token\":1}",
            "[{\"a\":1,\"t\\u006fken\":{}},2]",
            "{\"id\":[]}",
        ][..],
    );
    let space = prop::sample::select(&["", "", "", " ", "\n\t"][..]);
    (key, value, space.clone(), space.clone(), space)
        .prop_map(|(key, value, a, b, c)| format!("\"{key}\"{a}:{b}{value}{c}"))
}

proptest! {
    /// R-A4, R-A5, R-A8, R-P5: whatever repeats, a peer and its record are the same as they are
    /// member by member.
    #[test]
    fn agrees_with_what_goes_member_by_member(
        first in prop::collection::vec(any_member(), 0..40),
        over in prop::collection::vec(any_member(), 0..20),
        host in prop::sample::select(&[None, Some("::1")][..]),
    ) {
        let text = |members: &[String]| format!("{{{}}}", members.join(","));
        let (first, over) = (text(&first), text(&over));
        let mut members = PeerMembers::of(object(&first), 5, |_| true);
        let mut fields = Fields::try_from(object(&first)).unwrap();
        let over = Fields::try_from(object(&over)).unwrap();
        for merged in [false, true] {
            if merged {
                members.merge(&over);
                // What has been settled once stays so.
                if let Some(name) = fields.get("name") {
                    let name = display_name(name.get()).unwrap_or_else(|| RawJson::string(""));
                    fields.set("name", name);
                }
                fields.retain(|name| !["type", "token", "rooms", "__proto__"].contains(&name));
                fields.merge(over.clone());
            }
            let expected = slowly(&fields, host).to_json();
            prop_assert_eq!(peer(&members, host), &*expected);
            for (members, fields) in [
                (members.clone(), fields.clone()),
                (members.only(|name| name != "a" && name != "host"), without_hidden(&fields)),
            ] {
                let mut expected = slowly(&fields, None);
                expected.set("user", "al\"ice");
                let expected = expected.to_json();
                let expected = PublicRecord::of_presence(object(&expected), "al\"ice", "0a");
                let record = PublicRecord::of_peer(&members, "al\"ice", "0a");
                prop_assert_eq!(record, expected);
            }
        }
    }
}

/// However many members there are, each name is there once.
#[test]
fn many_names() {
    let written: Vec<_> = (0..5000).map(|n| format!("\"k{}\":{n}", n % 2500)).collect();
    let text = format!("{{{}}}", written.join(","));
    let expected: Vec<_> = (2500..5000).map(|n| format!("\"k{}\":{n}", n - 2500)).collect();
    let members = PeerMembers::of(object(&text), 5, |_| true);
    assert_eq!(members.text, format!("{{{}}}", expected.join(",")));
}
