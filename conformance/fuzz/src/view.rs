//! The server's view of a frame, and what it relays, against a full parser (R-F1, R-F2, R-P4).

use symple_proto::{
    ClientFrame, Emission, FrameType, FrameView, RoutedType, ServerFrame, SessionRecord,
    ToldRecord,
    json::{Json, Kind, MAX_DEPTH},
};

use super::json::{Member, Reading, depth, is_sound, members, range};

/// What the server knows of the sender.
const USER: &str = "alice";
const ID: &str = "0a";
const FROM: &str = r#""alice|0a""#;

/// The limit of a public record by default, in bytes.
const RECORD: usize = 16 * 1024;

/// Reads the data as a frame of a client.
///
/// # Panics
/// If the view takes what a full parser does not, or the other way round; if it finds other members
/// than that one; if what is relayed is not what was written, but for what is enforced; or if a
/// receiver of any [habits](Reading) reads another `type`, `to`, `from` or presence `data` than the
/// server has enforced.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    others(text);
    let object = text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{');
    let sound = object && is_sound(text);
    let levels = if sound { depth(text) } else { 0 };
    for max_depth in [1, 2, 3, MAX_DEPTH] {
        let parsed = FrameView::parse(text, max_depth);
        assert_eq!(parsed.is_ok(), sound && levels <= max_depth, "{levels} of {max_depth}");
    }
    let Ok(frame) = FrameView::parse(text, MAX_DEPTH) else { return };
    let Some(written) = members(frame.text()) else { panic!("no object: {}", frame.text()) };
    found(&frame, &written);
    let Ok(FrameType::Routed(kind)) = frame.frame_type() else { return };
    assert_eq!(frame.misspelt().is_some(), is_misspelt(&written, &["type", "to", "from", "data"]));
    if frame.misspelt().is_some() {
        return;
    }
    if kind == RoutedType::Presence {
        let data = frame.data();
        match data.filter(|data| data.kind() == Kind::Object) {
            Some(data) => {
                if let Some(record) = told(data) {
                    relay(&frame, &written, Some(Some(&record)));
                }
            }
            None => relay(&frame, &written, Some(None)),
        }
    } else {
        relay(&frame, &written, None);
    }
}

/// Those who read frames as types: they take what the view takes, or less.
fn others(text: &str) {
    let sound = FrameView::parse(text, MAX_DEPTH).is_ok();
    assert!(sound || ClientFrame::parse(text).is_err());
    assert!(sound || ServerFrame::parse(text).is_err());
    if let Ok(emission) = Emission::parse(text, MAX_DEPTH, 256) {
        assert!(sound && is_sound(emission.text()));
        let again = Emission::parse(emission.text(), MAX_DEPTH, 256);
        assert!(again.is_ok_and(|again| again.text() == emission.text()));
    }
    if let Ok(session) = SessionRecord::parse(text) {
        assert!(sound, "{session:?}");
    }
}

/// The view finds what a full parser finds.
fn found(frame: &FrameView<'_>, written: &[Member<'_>]) {
    let last = Reading { first: false, folded: false, cut: false };
    for (name, value) in
        [("to", frame.to()), ("from", frame.from()), ("data", frame.data()), ("room", frame.room())]
    {
        assert_eq!(value.map(Json::text), last.get(written, name), "{name}");
    }
    let kind = last.get(written, "type").map(serde_json::from_str::<String>);
    if let Some(Ok(kind)) = kind {
        let seen = match frame.frame_type() {
            Ok(FrameType::Auth) => "auth".into(),
            Ok(FrameType::Join) => "join".into(),
            Ok(FrameType::Leave) => "leave".into(),
            Ok(FrameType::Close) => "close".into(),
            Ok(FrameType::Routed(RoutedType::Message)) => "message".into(),
            Ok(FrameType::Routed(RoutedType::Presence)) => "presence".into(),
            Ok(FrameType::Routed(RoutedType::Command)) => "command".into(),
            Ok(FrameType::Routed(RoutedType::Event)) => "event".into(),
            Ok(FrameType::Unknown(name)) => name.into_owned(),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(seen, kind);
    }
}

/// A key is one of the names for some receivers, and none of them in itself.
fn is_misspelt(members: &[Member<'_>], names: &[&str]) -> bool {
    members.iter().map(Member::name).any(|key| {
        !names.contains(&&*key)
            && Reading::all().any(|reading| names.contains(&&*reading.read(&key)))
    })
}

/// What a presence tells, as it is relayed; none if it is refused.
fn told(data: Json<'_>) -> Option<String> {
    let object = data.as_object()?;
    let written = members(data.text())?;
    let record = ToldRecord::read(object, USER, ID, RECORD);
    let misspelt = is_misspelt(&written, &["id", "user", "online"]);
    if data.text().len() + 100 < RECORD {
        assert_eq!(record.is_err(), misspelt, "{record:?}");
    }
    let ToldRecord { relayed, record } = record.ok()?;
    for text in [&*relayed, record.text()] {
        let Some(read) = members(text) else { panic!("no object: {text}") };
        for reading in Reading::all() {
            for (name, value) in [("id", r#""0a""#), ("user", r#""alice""#), ("online", "true")] {
                assert_eq!(reading.get(&read, name), Some(value), "{reading:?} {text}");
            }
        }
        let exact = Reading { first: true, folded: false, cut: false };
        for name in ["token", "rooms", "host", "__proto__"] {
            assert_eq!(exact.get(&read, name), None, "{text}");
        }
        assert!(text.len() <= RECORD);
    }
    assert!(!names_anywhere(record.text(), "token"), "R-P5: {}", record.text());
    for online in [true, false] {
        let mut pushed = String::new();
        record.push(online, &mut pushed);
        let Some(read) = members(&pushed) else { panic!("no object: {pushed}") };
        let expected = if online { "true" } else { "false" };
        for reading in Reading::all() {
            assert_eq!(reading.get(&read, "online"), Some(expected), "{reading:?} {pushed}");
            assert_eq!(reading.get(&read, "id"), Some(r#""0a""#), "{reading:?} {pushed}");
            assert_eq!(reading.get(&read, "user"), Some(r#""alice""#), "{reading:?} {pushed}");
        }
    }
    Some(relayed)
}

/// A member of that name occurs at some depth.
fn names_anywhere(text: &str, name: &str) -> bool {
    match text.as_bytes().first() {
        Some(b'{') => members(text)
            .unwrap_or_default()
            .iter()
            .any(|member| member.name() == name || names_anywhere(member.value, name)),
        Some(b'[') => {
            let items: Vec<&serde_json::value::RawValue> =
                serde_json::from_str(text).unwrap_or_default();
            items.iter().any(|item| names_anywhere(item.get(), name))
        }
        _ => false,
    }
}

/// What is relayed. `data`: none if it is relayed as written; `Some(None)` if it is removed.
fn relay(frame: &FrameView<'_>, written: &[Member<'_>], data: Option<Option<&str>>) {
    let mut relayed = String::new();
    match data {
        Some(data) => frame.relay_with_data(FROM, data, &mut relayed),
        None => frame.relay(FROM, &mut relayed),
    }
    assert!(is_sound(&relayed), "broken: {relayed}");
    assert!(depth(&relayed) <= depth(frame.text()).max(MAX_DEPTH));
    let Some(read) = members(&relayed) else { panic!("no object: {relayed}") };

    // Four readings: the last key, the first, case folded, cut at a NUL; and all of them at once.
    let last = Reading { first: false, folded: false, cut: false };
    let enforced_data = data.map(|given| given.filter(|_| last.get(written, "data").is_some()));
    for reading in Reading::all() {
        for name in ["type", "to"] {
            let expected = last.get(written, name);
            assert_eq!(reading.get(&read, name), expected, "{name} {reading:?} {relayed}");
        }
        assert_eq!(reading.get(&read, "from"), Some(FROM), "{reading:?} {relayed}");
        if let Some(expected) = enforced_data {
            assert_eq!(reading.get(&read, "data"), expected, "{reading:?} {relayed}");
        }
    }

    // Member by member: what is enforced is there once, the last of several, and the rest as it was.
    let mut expected = Vec::new();
    for (at, member) in written.iter().enumerate() {
        let name = member.name();
        let repeated = written[at + 1..].iter().any(|later| later.name() == name);
        let value = match (&*name, data) {
            ("type" | "to" | "from", _) | ("data", Some(Some(_))) if repeated => continue,
            ("data", Some(None)) => continue,
            ("from", _) => FROM,
            ("data", Some(Some(given))) => given,
            _ => member.value,
        };
        expected.push((member.key, value));
    }
    if last.get(written, "from").is_none() {
        expected.push((r#""from""#, FROM));
    }
    let seen: Vec<_> = read.iter().map(|member| (member.key, member.value)).collect();
    assert_eq!(seen, expected, "{relayed}");

    // Byte by byte, where nothing is repeated and nothing goes.
    if expected.len() != written.len() + usize::from(last.get(written, "from").is_none()) {
        return;
    }
    let text = frame.text();
    let (mut same, mut at) = (String::new(), 0);
    for (member, (_, value)) in written.iter().zip(&expected) {
        let place = range(text, member.value);
        same.push_str(&text[at..place.start]);
        same.push_str(value);
        at = place.end;
    }
    if expected.len() == written.len() {
        same.push_str(&text[at..]);
    } else {
        same.push_str(&text[at..text.len() - 1]);
        same.push_str(if written.is_empty() { "\"from\":" } else { ",\"from\":" });
        same.push_str(FROM);
        same.push('}');
    }
    assert_eq!(relayed, same, "R-F1");
}
