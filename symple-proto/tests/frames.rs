//! Every frame, read and written: the text, the type, and the text again.

use symple_proto::{
    Address, ClientFrame, Extension, Fields, FrameError, PeerId, PeerMembers, PublicRecord,
    RawJson, ServerFrame, Status, To, Token, UserName,
    frame::{Auth, Event, Message, Welcome, push_error, push_presence},
};

/// Frames of clients, written as a client might.
const CLIENT: &[&str] = &[
    r#"{"type":"auth","user":"alice","name":"Alice","token":"t","rooms":["team-a"],"data":{"a":1.0},"extensions":["state"],"group":"staff"}"#,
    r#"{"type":"auth","user":"Zoë-日本-🎈"}"#,
    r#"{"type":"message","id":"m1","from":"alice|0a","to":"bob|0b","subtype":"call:init","data":{"audio":true},"n":12345678901234567890}"#,
    r#"{"type":"message","to":["a","b"],"data":-0}"#,
    r#"{"type":"presence","probe":true,"data":{"user":"alice","id":"0a","online":true}}"#,
    r#"{"type":"command","id":"c1","to":"bob","node":"media:video","action":"start","data":{}}"#,
    r#"{"type":"event","name":"typing","data":{}}"#,
    r#"{"type":"join","room":"r"}"#,
    r#"{"type":"leave","room":"café 🎤"}"#,
    r#"{"type":"close"}"#,
];

/// Frames of a server.
const SERVER: &[&str] = &[
    r#"{"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"alice","id":"0a","online":true,"name":"Alice","host":"::1","group":"staff"},"rooms":["alice","team-a"]}"#,
    r#"{"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"alice","id":"0a","online":true},"rooms":["alice"],"extensions":["state"]}"#,
    r#"{"type":"error","status":401,"message":"Missing user field"}"#,
    r#"{"type":"error","message":"Dynamic rooms disabled"}"#,
    r#"{"type":"join:ok","room":"r"}"#,
    r#"{"type":"leave:ok","room":"r"}"#,
    r#"{"type":"presence","from":"alice|0a","data":{"user":"alice","id":"0a","online":false}}"#,
    r#"{"type":"message","id":"m1","from":"alice|0a","to":"bob","data":1}"#,
    r#"{"type":"command","from":"alice|0a","node":"n","action":"a"}"#,
    Event::SHUTDOWN,
];

#[test]
fn frames_of_clients() {
    let mut snapshot = String::new();
    for text in CLIENT {
        let frame = ClientFrame::parse(text).unwrap();
        snapshot += &format!("{text}\n{frame:#?}\n\n");
        assert_eq!(frame.to_text(), *text);
        assert_eq!(serde_json::from_str::<ClientFrame>(text).unwrap(), frame);
        assert_eq!(serde_json::to_string(&frame).unwrap(), *text);
    }
    insta::assert_snapshot!(snapshot);
}

#[test]
fn frames_of_servers() {
    let mut snapshot = String::new();
    for text in SERVER {
        let frame = ServerFrame::parse(text).unwrap();
        snapshot += &format!("{text}\n{frame:#?}\n\n");
        assert_eq!(frame.to_text(), *text);
        assert_eq!(serde_json::from_str::<ServerFrame>(text).unwrap(), frame);
        assert_eq!(serde_json::to_string(&frame).unwrap(), *text);
    }
    insta::assert_snapshot!(snapshot);
}

#[test]
fn what_is_no_frame_says_why() {
    for (text, message) in [
        ("", "unexpected end of JSON at byte 0"),
        ("null", "a frame must be a JSON object at byte 0"),
        ("{}", "Missing type field"),
        (r#"{"type":5}"#, "Invalid type field: must be a string"),
        (r#"{"type":"welcome"}"#, "unknown type: welcome"),
        (r#"{"type":"auth"}"#, "missing user field"),
        (r#"{"type":"auth","user":"a|b"}"#, "invalid user field: must be a user name"),
        (
            r#"{"type":"auth","user":"a","rooms":"r"}"#,
            "invalid rooms field: must be an array of strings",
        ),
        (r#"{"type":"join","room":5}"#, "invalid room field: must be a room name"),
        (
            r#"{"type":"message","to":5}"#,
            "invalid to field: must be a string or an array of strings",
        ),
        (r#"{"type":"presence","probe":1}"#, "invalid probe field: must be true or false"),
    ] {
        assert_eq!(ClientFrame::parse(text).unwrap_err().to_string(), message, "{text}");
    }
    assert!(matches!(
        ServerFrame::parse(r#"{"type":"auth","user":"a"}"#),
        Err(FrameError::UnknownType(_))
    ));
}

#[test]
fn frames_are_built() {
    let address = Address::new(UserName::new("bob").unwrap(), PeerId::new("0b").unwrap());
    let message = Message {
        to: Some(To::from(&address)),
        data: Some(RawJson::from_value(&serde_json::json!({ "text": "hi" })).unwrap()),
        extra: Fields::new().with("urgent", true),
        ..Message::default()
    };
    assert_eq!(
        message.to_text(),
        r#"{"type":"message","to":"bob|0b","data":{"text":"hi"},"urgent":true}"#
    );
    let auth = Auth { token: Token::new("secret"), ..Auth::new(UserName::new("bob").unwrap()) };
    assert_eq!(auth.to_text(), r#"{"type":"auth","user":"bob","token":"secret"}"#);
}

/// The server writes its frames without building types: both ways must agree.
#[test]
fn what_the_server_writes_can_be_read() {
    let peer = Fields::new()
        .with("user", "a\"b")
        .with("token", "t")
        .with("id", "0a")
        .with("online", true)
        .with("name", "A");
    let mut text = String::new();
    Welcome::push(&peer.to_json(), &["a\"b", "r"], None, &mut text);
    let ServerFrame::Welcome(welcome) = ServerFrame::parse(&text).unwrap() else { panic!() };
    assert_eq!(welcome.rooms, ["a\"b", "r"]);
    assert_eq!(welcome.peer.address().to_string(), "a\"b|0a");
    assert_eq!(welcome.peer.name.as_deref(), Some("A"));
    assert_eq!(welcome.extensions, None);
    let mut text = String::new();
    let extensions = [Extension::Roster, Extension::State].into_iter().collect();
    Welcome::push(&peer.to_json(), &["r"], Some(extensions), &mut text);
    let ServerFrame::Welcome(welcome) = ServerFrame::parse(&text).unwrap() else { panic!() };
    assert_eq!(welcome.extensions.unwrap(), ["roster", "state"]);

    let mut text = String::new();
    push_error(Status::BAD_REQUEST, "no \"such\" thing", &mut text);
    assert_eq!(text, r#"{"type":"error","status":400,"message":"no \"such\" thing"}"#);

    let record = PublicRecord::of_peer(&PeerMembers::from(&peer), "a\"b", "0a");
    for online in [true, false] {
        let mut text = String::new();
        push_presence(r#""a\"b|0a""#, &record, online, &mut text);
        assert_eq!(
            text,
            format!(
                r#"{{"type":"presence","from":"a\"b|0a","data":{{"user":"a\"b","id":"0a","online":{online},"name":"A"}}}}"#
            )
        );
    }
}
