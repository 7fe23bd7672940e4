//! Public records: what peers may know of a peer, and nothing else (R-P4, R-P5).

use alloc::{borrow::Cow, boxed::Box, string::String};

use crate::{
    fields::Fields,
    json::{Json, Kind, Object, push_string},
};

/// The members that never stand in a public record.
const PRIVATE: [&str; 3] = ["token", "rooms", "host"];

/// The member that the server's own frames do not carry at any depth.
const SECRET: &str = "token";

/// What other peers are told of a peer: the `data` of the presence frames that the server makes.
///
/// Its `id` and `user` are those of the peer and its `online` is the server's. It has no `rooms`
/// and no `host`, and no member named `token` at any depth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicRecord {
    /// The record of the peer while it is online.
    text: Box<str>,
    /// Where its `true` stands.
    online: usize,
}

impl PublicRecord {
    /// The record of a peer that has not told its own yet: the peer of the `welcome`, without
    /// what is private.
    #[must_use]
    pub fn of_peer(peer: &Fields, user: &str, id: &str) -> Self {
        let mut record = Builder::new(user, id);
        for (name, value) in peer.iter() {
            if name != SECRET {
                record.add(name, &without_secrets(value.get()));
            }
        }
        record.finish_online()
    }

    /// The record that a peer tells in the `data` of a presence frame.
    #[must_use]
    pub fn of_presence(data: Object<'_>, user: &str, id: &str) -> Self {
        let mut record = Builder::new(user, id);
        data.for_each(|member| match member.key() {
            Some(name) if name == SECRET => {}
            Some(name) => record.add(&name, &without_secrets(member.value)),
            None => record.add_quoted(member.quoted_key(), &without_secrets(member.value)),
        });
        record.finish_online()
    }

    /// The record while the peer is online.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Appends the record with `online` as given.
    pub fn push(&self, online: bool, out: &mut String) {
        if online {
            out.push_str(&self.text);
        } else {
            let at = self.online;
            out.push_str(&self.text[..at]);
            out.push_str("false");
            out.push_str(&self.text[at + "true".len()..]);
        }
    }
}

/// The `data` of a client's presence frame as it is relayed (R-P4): `id`, `user` and `online` are
/// the server's, in their places or at the end; `token`, `rooms` and `host` are gone; every other
/// member is as the client wrote it.
#[must_use]
pub fn presence_data(data: Object<'_>, user: &str, id: &str) -> String {
    let mut record = Builder::new(user, id);
    data.for_each(|member| match member.key() {
        Some(name) => record.add(&name, member.value.text()),
        None => record.add_quoted(member.quoted_key(), member.value.text()),
    });
    record.finish().0
}

/// Writes a record member by member.
struct Builder<'a> {
    out: String,
    user: &'a str,
    id: &'a str,
    has_user: bool,
    has_id: bool,
    online: Option<usize>,
}

impl<'a> Builder<'a> {
    fn new(user: &'a str, id: &'a str) -> Self {
        Self { out: String::from("{"), user, id, has_user: false, has_id: false, online: None }
    }

    fn add(&mut self, name: &str, value: &str) {
        match name {
            "user" => self.add_user(),
            "id" => self.add_id(),
            "online" => self.add_online(),
            _ if PRIVATE.contains(&name) => {}
            _ => {
                self.comma();
                push_string(&mut self.out, name);
                self.out.push(':');
                self.out.push_str(value);
            }
        }
    }

    /// A member whose name is none of the known ones, as it was written.
    fn add_quoted(&mut self, quoted: &str, value: &str) {
        self.comma();
        self.out.push_str(quoted);
        self.out.push(':');
        self.out.push_str(value);
    }

    fn comma(&mut self) {
        if self.out.len() > 1 {
            self.out.push(',');
        }
    }

    fn add_user(&mut self) {
        if !core::mem::replace(&mut self.has_user, true) {
            self.comma();
            self.out.push_str("\"user\":");
            push_string(&mut self.out, self.user);
        }
    }

    fn add_id(&mut self) {
        if !core::mem::replace(&mut self.has_id, true) {
            self.comma();
            self.out.push_str("\"id\":");
            push_string(&mut self.out, self.id);
        }
    }

    fn add_online(&mut self) {
        if self.online.is_none() {
            self.comma();
            self.out.push_str("\"online\":");
            self.online = Some(self.out.len());
            self.out.push_str("true");
        }
    }

    /// The record, and where its `online` has its value.
    fn finish(mut self) -> (String, usize) {
        self.add_id();
        self.add_user();
        self.add_online();
        self.out.push('}');
        (self.out, self.online.unwrap_or_default())
    }

    fn finish_online(self) -> PublicRecord {
        let (text, online) = self.finish();
        PublicRecord { text: text.into(), online }
    }
}

/// The value without any member named `token`, at any depth.
fn without_secrets(value: Json<'_>) -> Cow<'_, str> {
    // An escape may spell the name another way.
    let text = value.text();
    if !text.contains(SECRET) && !text.contains("\\u") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    push_without_secrets(value, &mut out);
    Cow::Owned(out)
}

/// Recurses as deep as the value is nested: at most [`MAX_DEPTH`](crate::json::MAX_DEPTH) levels.
fn push_without_secrets(value: Json<'_>, out: &mut String) {
    let mut first = true;
    let mut comma = |out: &mut String| {
        if !core::mem::take(&mut first) {
            out.push(',');
        }
    };
    match value.kind() {
        Kind::Object => {
            out.push('{');
            if let Some(object) = value.as_object() {
                object.for_each(|member| {
                    if member.key().is_none_or(|key| key != SECRET) {
                        comma(out);
                        out.push_str(member.quoted_key());
                        out.push(':');
                        push_without_secrets(member.value, out);
                    }
                });
            }
            out.push('}');
        }
        Kind::Array => {
            out.push('[');
            if let Some(array) = value.as_array() {
                array.for_each(|element| {
                    comma(out);
                    push_without_secrets(element, out);
                });
            }
            out.push(']');
        }
        _ => out.push_str(value.text()),
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use proptest::prelude::*;

    use super::*;

    fn object(text: &str) -> Object<'_> {
        Json::parse(text, 128).unwrap().as_object().unwrap()
    }

    fn both(record: &PublicRecord) -> (String, String) {
        let (mut online, mut offline) = (String::new(), String::new());
        record.push(true, &mut online);
        record.push(false, &mut offline);
        (online, offline)
    }

    /// R-P5
    #[test]
    fn of_a_peer_without_what_is_private() {
        let peer = Fields::from(object(
            r#"{"user":"al\"ice","token":"t","data":{"a":1.0,"token":"t"},"id":"0a","online":true,"name":"Alice","host":"::1"}"#,
        ));
        let record = PublicRecord::of_peer(&peer, "al\"ice", "0a");
        let expected = |online| {
            format!(
                r#"{{"user":"al\"ice","data":{{"a":1.0}},"id":"0a","online":{online},"name":"Alice"}}"#
            )
        };
        assert_eq!(both(&record), (expected(true), expected(false)));
    }

    /// R-P4: enforced in its place, removed, passed on.
    #[test]
    fn of_presence() {
        for (data, relayed, stored) in [
            (
                r#"{}"#,
                r#"{"id":"0a","user":"alice","online":true}"#,
                r#"{"id":"0a","user":"alice","online":true}"#,
            ),
            (
                r#"{"online":false,"user":"bob","id":"0b","status":"away","rooms":[],"token":1,"host":2}"#,
                r#"{"online":true,"user":"alice","id":"0a","status":"away"}"#,
                r#"{"online":true,"user":"alice","id":"0a","status":"away"}"#,
            ),
            (
                r#"{"id":1,"\u0069d":2,"t\u006fken":"t","n": 1.0 ,"x":[{"token":"t","y":-0}],"z\ud800":1}"#,
                r#"{"id":"0a","n":1.0,"x":[{"token":"t","y":-0}],"z\ud800":1,"user":"alice","online":true}"#,
                r#"{"id":"0a","n":1.0,"x":[{"y":-0}],"z\ud800":1,"user":"alice","online":true}"#,
            ),
        ] {
            assert_eq!(presence_data(object(data), "alice", "0a"), relayed, "{data}");
            let record = PublicRecord::of_presence(object(data), "alice", "0a");
            assert_eq!(record.text(), stored, "{data}");
        }
    }

    fn with_tokens() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![Just("1".to_string()), Just("\"token\"".to_string())];
        leaf.prop_recursive(5, 40, 4, |inner| {
            let key = prop_oneof![
                Just("\"token\""),
                Just("\"t\\u006fken\""),
                Just("\"\\u0074\\u006f\\u006b\\u0065\\u006e\""),
                Just("\"user\""),
                Just("\"a\""),
            ];
            let member = (key, inner.clone()).prop_map(|(key, value)| format!("{key}:{value}"));
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|v| format!("[{}]", v.join(","))),
                prop::collection::vec(member, 0..4).prop_map(|v| format!("{{{}}}", v.join(","))),
            ]
        })
    }

    fn names_a_token(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::Object(members) => {
                members.iter().any(|(key, value)| key == "token" || names_a_token(value))
            }
            serde_json::Value::Array(elements) => elements.iter().any(names_a_token),
            _ => false,
        }
    }

    proptest! {
        /// R-P5: no token in what the server makes, under any spelling, at any depth.
        #[test]
        fn no_token_is_left(value in with_tokens()) {
            let data = format!("{{\"x\":{value},\"token\":{value}}}");
            let record = PublicRecord::of_presence(object(&data), "alice", "0a");
            let (online, offline) = both(&record);
            for text in [online, offline] {
                let parsed = serde_json::from_str(&text).unwrap();
                prop_assert!(!names_a_token(&parsed), "{}", text);
            }
            let peer = Fields::from(object(&data));
            let record = PublicRecord::of_peer(&peer, "alice", "0a");
            prop_assert!(!names_a_token(&serde_json::from_str(record.text()).unwrap()));
        }
    }
}
