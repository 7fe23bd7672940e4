//! Public records: what peers may know of a peer, and nothing else (R-P4, R-P5).

use alloc::{borrow::Cow, boxed::Box, string::String};

use thiserror::Error;

use crate::{
    json::{Entry, Json, Kind, Names, Object, Secrets, Spelling, decode, push_string, quote},
    members::{PeerMembers, Writer},
};

/// The members that records treat in a way of their own: those that the server vouches for first.
const KNOWN: [&str; 8] = ["id", "user", "online", "name", "token", "rooms", "host", "__proto__"];

/// The same, to be looked up.
const NAMES: Names = Names::new(&KNOWN);

/// Where in [`KNOWN`] those stand that are in a record.
const ID: usize = 0;
const USER: usize = 1;
const ONLINE: usize = 2;
const NAME: usize = 3;

/// How many of [`KNOWN`] the server vouches for: no other spelling of them may stand in a record.
const ENFORCED: usize = 3;

/// The largest record that is told as it is when its peer goes offline, in bytes (R-P2).
const MAX_OFFLINE: usize = 1024;

/// What other peers are told of a peer: the `data` of the presence frames that the server makes.
///
/// Its `id` and `user` are those of the peer and its `online` is the server's. It has no `rooms`,
/// no `host` and no `__proto__`, and no member named `token` at any depth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicRecord {
    /// The record of the peer while it is online.
    text: Box<str>,
    at: Places,
}

/// Where in a record the values stand that the server knows, in bytes; 0 is nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Places {
    id: u32,
    user: u32,
    online: u32,
    /// The last one counts, as in `JSON.parse`.
    name: u32,
}

/// Why a peer cannot tell a record of itself. The text is the one that it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It is larger than the limit (R-L6), which is named, in bytes.
    #[error("Public record larger than {0} bytes")]
    TooLarge(usize),
    /// A key is the name for receivers that ignore case or stop at a NUL, and another one for all
    /// others (R-F2).
    #[error("Invalid {0} field: must be spelled {0}")]
    Misspelt(&'static str),
}

/// What a peer tells of itself in the `data` of a presence frame (R-P4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldRecord {
    /// The `data` as it is relayed: `id`, `user` and `online` are the server's, in their places or
    /// at the end, each once; `token`, `rooms`, `host` and `__proto__` are gone; a `name` is one
    /// that may be shown (R-A1); every other member is as the peer wrote it.
    pub relayed: String,
    /// The record as it is stored, and told by the server: the same without secrets.
    pub record: PublicRecord,
}

impl ToldRecord {
    /// Reads what a peer tells of itself.
    ///
    /// What does not become part of the record costs a look at its key, and past the limit nothing
    /// more is written.
    ///
    /// # Errors
    /// [`RecordError`]: to be told to the peer, whose record stays as it was.
    pub fn read(data: Object<'_>, user: &str, id: &str, limit: usize) -> Result<Self, RecordError> {
        let mut relayed = Builder::new(data, user, id, limit);
        let mut misspelt = None;
        data.for_each_entry(|entry| {
            let key = &data.text()[entry.key.clone()];
            match NAMES.find(key, entry.escaped) {
                Some((name, Spelling::Other)) if name < ENFORCED => misspelt = Some(KNOWN[name]),
                found => relayed.add(found, &entry),
            }
            !relayed.over && misspelt.is_none()
        });
        if let Some(name) = misspelt {
            return Err(RecordError::Misspelt(name));
        }
        let over = relayed.over;
        let (relayed, at) = relayed.finish();
        if over || relayed.len() > limit {
            return Err(RecordError::TooLarge(limit));
        }
        let record = PublicRecord::without_secrets(&relayed, at);
        Ok(Self { relayed, record })
    }
}

impl PublicRecord {
    /// The record of a peer that has not told its own yet: the peer of the `welcome`, without
    /// what is private.
    #[must_use]
    pub fn of_peer(peer: &PeerMembers, user: &str, id: &str) -> Self {
        let mut text = String::new();
        let [id, user, online, name] = peer.push_record(user, id, &mut text);
        // A text of 4 GiB is over every limit.
        let narrow = |at: usize| u32::try_from(at).unwrap_or_default();
        let at = Places {
            id: narrow(id),
            user: narrow(user),
            online: narrow(online),
            name: narrow(name),
        };
        Self::without_secrets(&text, at)
    }

    /// The record that a peer has told, as another node passes it on.
    #[must_use]
    pub fn of_presence(data: Object<'_>, user: &str, id: &str) -> Self {
        let mut record = Builder::new(data, user, id, usize::MAX);
        record.writer.out.reserve(data.text().len());
        data.for_each_entry(|entry| {
            let key = &data.text()[entry.key.clone()];
            record.add(NAMES.find(key, entry.escaped), &entry);
            true
        });
        let (text, at) = record.finish();
        Self::without_secrets(&text, at)
    }

    /// Takes the secrets out of a record that has none at its top level.
    fn without_secrets(text: &str, at: Places) -> Self {
        let secrets = Secrets::new();
        let mut found = secrets.of(text);
        let all = 0..text.len();
        if !found.any_in(&all) {
            return Self { text: text.into(), at };
        }
        let mut out = String::with_capacity(text.len());
        let known = [at.id, at.user, at.online, at.name];
        let mut order = [0, 1, 2, 3];
        order.sort_unstable_by_key(|place: &usize| known[*place]);
        // What the server knows is no secret: it is in some part, unless it is nowhere.
        let mut order = order.into_iter().filter(|place| known[*place] > 0).peekable();
        let mut moved = [0; 4];
        found.strip(all, |part| {
            let from = part.as_ptr() as usize - text.as_ptr() as usize;
            let here = |place: &usize| (known[*place] as usize) < from + part.len();
            while let Some(place) = order.next_if(here) {
                let at = known[place] as usize - from + out.len();
                moved[place] = u32::try_from(at).unwrap_or_default();
            }
            out.push_str(part);
            true
        });
        let [id, user, online, name] = moved;
        Self { text: out.into(), at: Places { id, user, online, name } }
    }

    /// The record while the peer is online.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name that the peer is shown by, if the record has one.
    #[must_use]
    pub fn name(&self) -> Option<Cow<'_, str>> {
        let name = self.scalar(self.at.name);
        if name.starts_with('"') { decode(name).ok() } else { None }
    }

    /// Appends the record with `online` as given.
    ///
    /// The record of a peer that is gone is told to everyone who saw it, and serves nobody any
    /// more: one of more than 1 KiB is cut down to `id`, `user`, `name` and `online` (R-P2), and a
    /// `name` of more than that is left out, too.
    pub fn push(&self, online: bool, out: &mut String) {
        if online {
            out.push_str(&self.text);
        } else if self.text.len() <= MAX_OFFLINE {
            let at = self.at.online as usize;
            out.push_str(&self.text[..at]);
            out.push_str("false");
            out.push_str(&self.text[at + "true".len()..]);
        } else {
            out.push_str("{\"id\":");
            out.push_str(self.scalar(self.at.id));
            out.push_str(",\"user\":");
            out.push_str(self.scalar(self.at.user));
            let name = self.scalar(self.at.name);
            if (1..=MAX_OFFLINE).contains(&name.len()) {
                out.push_str(",\"name\":");
                out.push_str(name);
            }
            out.push_str(",\"online\":false}");
        }
    }

    /// The string, or the `null`, that stands there.
    fn scalar(&self, at: u32) -> &str {
        let rest = &self.text[at as usize..];
        if at == 0 {
            return "";
        }
        if !rest.starts_with('"') {
            return "null";
        }
        let mut escaped = false;
        let end = rest[1..].find(|character| {
            let ends = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        });
        end.map_or("", |end| &rest[..end + 2])
    }
}

/// Writes a record member by member.
struct Builder<'a> {
    writer: Writer<'a>,
    data: Object<'a>,
    user: &'a str,
    id: &'a str,
    at: Places,
    limit: usize,
    /// There was more than the limit allows.
    over: bool,
}

impl<'a> Builder<'a> {
    fn new(data: Object<'a>, user: &'a str, id: &'a str, limit: usize) -> Self {
        let writer = Writer::new(data.text());
        Self { writer, data, user, id, at: Places::default(), limit, over: false }
    }

    /// Adds a member; `found` is which of [`KNOWN`] its key spells.
    #[inline]
    fn add(&mut self, found: Option<(usize, Spelling)>, entry: &Entry) {
        let name = match found {
            Some((name, Spelling::Exact)) => Some(name),
            _ => None,
        };
        match name {
            // White space around the colon is not written.
            None if self.has_room(entry.key.len() + 1 + entry.value.len()) => {
                self.writer.member(entry.key.clone(), entry.value.clone());
            }
            Some(ID) => self.add_id(),
            Some(USER) => self.add_user(),
            Some(ONLINE) => self.add_online(),
            Some(NAME) => self.add_name(self.data.value(entry)),
            _ => {}
        }
    }

    /// A record over the limit is of no use to anyone: nothing more is written.
    fn has_room(&mut self, bytes: usize) -> bool {
        self.over |= self.writer.len() + bytes > self.limit;
        !self.over
    }

    fn here(&self) -> u32 {
        // A text of 4 GiB is over every limit.
        u32::try_from(self.writer.out.len()).unwrap_or_default()
    }

    fn add_user(&mut self) {
        if self.at.user == 0 {
            self.writer.key("\"user\"");
            self.at.user = self.here();
            push_string(&mut self.writer.out, self.user);
        }
    }

    fn add_id(&mut self) {
        if self.at.id == 0 {
            self.writer.key("\"id\"");
            self.at.id = self.here();
            push_string(&mut self.writer.out, self.id);
        }
    }

    fn add_online(&mut self) {
        if self.at.online == 0 {
            self.writer.key("\"online\"");
            self.at.online = self.here();
            self.writer.out.push_str("true");
        }
    }

    /// A name is a string, whatever it was (R-A1); `null` stays, as no name.
    fn add_name(&mut self, value: Json<'_>) {
        if !self.has_room(value.text().len()) {
            return;
        }
        self.writer.key("\"name\"");
        self.at.name = self.here();
        match name_text(value) {
            Some(name) => self.writer.out.push_str(&name),
            None if value.kind() == Kind::Null => self.writer.out.push_str("null"),
            None => push_string(&mut self.writer.out, self.user),
        }
    }

    /// The record, and where its values stand.
    fn finish(mut self) -> (String, Places) {
        self.add_id();
        self.add_user();
        self.add_online();
        (self.writer.finish(), self.at)
    }
}

/// What is shown as a peer's name where somebody has written this value (R-A1), as a JSON string: a
/// string is taken as it is, a number or a boolean as its JSON text; nothing else, and no empty
/// string, is a name. The user is shown then.
pub(crate) fn name_text(value: Json<'_>) -> Option<Cow<'_, str>> {
    match value.kind() {
        Kind::String => (value.text().len() > 2).then_some(Cow::Borrowed(value.text())),
        // Neither has a character that a string would have to escape.
        Kind::Number | Kind::Bool => Some(Cow::Owned(quote(value.text()))),
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString, vec::Vec};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        auth::read_auth,
        fields::Fields,
        json::{readings, work},
    };

    fn object(text: &str) -> Object<'_> {
        Json::parse(text, 128).unwrap().as_object().unwrap()
    }

    fn members(text: &str) -> PeerMembers {
        PeerMembers::from(&Fields::try_from(object(text)).unwrap())
    }

    fn told(data: &str) -> Result<ToldRecord, RecordError> {
        ToldRecord::read(object(data), "alice", "0a", 16 * 1024)
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
        let peer = members(
            r#"{"user":"al\"ice","token":"t","data":{"a":1.0,"token":"t"},"id":"0a","online":true,"name":"Alice","host":"::1","\u005f_proto__":{}}"#,
        );
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
            let told = told(data).unwrap();
            assert_eq!(told.relayed, relayed, "{data}");
            assert_eq!(told.record.text(), stored, "{data}");
            assert_eq!(told.record, PublicRecord::of_presence(object(data), "alice", "0a"));
        }
    }

    /// R-A1, R-P4: a name is a string, whatever it was.
    #[test]
    fn names() {
        for (name, expected) in [
            (r#""Al""#, r#""Al""#),
            (r#""\u0041l""#, r#""\u0041l""#),
            ("7", r#""7""#),
            ("-1.50e3", r#""-1.50e3""#),
            ("true", r#""true""#),
            (r#""""#, r#""alice""#),
            ("{}", r#""alice""#),
            (r#"["Al"]"#, r#""alice""#),
            ("null", "null"),
        ] {
            let told = told(&format!(r#"{{"n\u0061me":{name}}}"#)).unwrap();
            let expected =
                format!(r#"{{"name":{expected},"id":"0a","user":"alice","online":true}}"#);
            assert_eq!((&*told.relayed, told.record.text()), (&*expected, &*expected), "{name}");
        }
    }

    /// R-P5: what a JavaScript client would take for more than a member is none.
    #[test]
    fn no_prototypes() {
        for key in ["__proto__", r"\u005f_proto__", r"__pr\u006Fto__"] {
            let data = format!(r#"{{"{key}":{{"admin":true}},"x":{{"__proto__":1}}}}"#);
            let expected = r#"{"x":{"__proto__":1},"id":"0a","user":"alice","online":true}"#;
            let told = told(&data).unwrap();
            assert_eq!((&*told.relayed, told.record.text()), (expected, expected), "{key}");
            let peer = PublicRecord::of_peer(&members(&data), "alice", "0a");
            let expected =
                r#"{"x":{"__proto__":1},"user":"alice","id":"0a","online":true,"name":"alice"}"#;
            assert_eq!(peer.text(), expected, "{key}");
        }
    }

    /// R-F2: a key that is one of the server's for some receivers is refused, not dropped.
    #[test]
    fn other_spellings() {
        for (key, name) in [
            ("USER", "user"),
            ("uſer", "user"),
            (r"user\u0000", "user"),
            ("Id", "id"),
            (r"ID\u0000x", "id"),
            ("onLine", "online"),
            ("onlıne", "online"),
        ] {
            let error = told(&format!(r#"{{"{key}":"bob"}}"#)).unwrap_err();
            assert_eq!(error, RecordError::Misspelt(name), "{key}");
            assert_eq!(format!("{error}"), format!("Invalid {name} field: must be spelled {name}"));
        }
        // Others are the peer's own affair.
        assert!(told(r#"{"Name":1,"TOKEN":2,"x":{"USER":3}}"#).is_ok());
    }

    /// R-L6: what counts is what is relayed, in bytes; what is private does not.
    #[test]
    fn the_size_is_checked_while_it_is_written() {
        let limit = 16 * 1024;
        let empty = told("{}").unwrap().relayed.len();
        let data = |bytes: usize| {
            let (private, public) = ("x".repeat(1 << 20), "y".repeat(bytes - r#""y":"","#.len()));
            format!(r#"{{"rooms":"{private}","y":"{public}","host":"{private}"}}"#)
        };
        assert_eq!(told(&data(limit - empty)).unwrap().relayed.len(), limit);
        let too_large = Err(RecordError::TooLarge(limit));
        assert_eq!(told(&data(limit - empty + 1)).map(|told| told.relayed.len()), too_large);
        let many: Vec<_> = (0..90_000).map(|n| format!("\"k{n}\":1")).collect();
        assert_eq!(told(&format!("{{{}}}", many.join(","))).map(|_| 0), too_large);
    }

    /// R-P2
    #[test]
    fn a_large_record_goes_offline_as_a_small_one() {
        let offline = |data: &str| both(&told(data).unwrap().record).1;
        let large = "x".repeat(1024);
        assert_eq!(
            offline(&format!(r#"{{"x":"{large}","name":"a","n\u0061me":"A\"\\","user":1}}"#)),
            r#"{"id":"0a","user":"alice","name":"A\"\\","online":false}"#
        );
        assert_eq!(
            offline(&format!(r#"{{"x":"{large}"}}"#)),
            r#"{"id":"0a","user":"alice","online":false}"#
        );
        assert_eq!(
            offline(&format!(r#"{{"name":null,"x":"{large}"}}"#)),
            r#"{"id":"0a","user":"alice","name":null,"online":false}"#
        );
        assert_eq!(
            offline(&format!(r#"{{"name":"{large}"}}"#)),
            r#"{"id":"0a","user":"alice","online":false}"#
        );
        // 1 KiB is not over 1 KiB.
        let empty = told(r#"{"x":""}"#).unwrap().record.text().len();
        let data = format!(r#"{{"x":"{}"}}"#, "x".repeat(1024 - empty));
        assert_eq!(told(&data).unwrap().record.text().len(), 1024);
        assert!(offline(&data).contains("xxx"));
    }

    /// R-L6, R-P5: what a record costs grows with its bytes, not with its depth: each is read a
    /// few times, whatever is nested in what and however large the text is.
    #[test]
    fn work_is_linear() {
        let nested = |depth: usize, bytes: usize| {
            let open = r#"[{"token":1,"a":"#.repeat(depth / 2);
            let inner = format!("[{}1]", "1,".repeat(bytes / 2));
            format!(r#"{{"x":{open}{inner}{}}}"#, "}]".repeat(depth / 2))
        };
        let keys = |bytes: usize| {
            format!(r#"{{{}"z":1}}"#, r#""token":1,"k":{"token":2},"#.repeat(bytes / 26))
        };
        for bytes in [8_000, 1_000_000] {
            for data in [nested(2, bytes), nested(120, bytes), keys(bytes)] {
                let json = Json::parse(&data, 128).unwrap();
                let object = json.as_object().unwrap();
                let (_, read) = work::bytes_read(|| {
                    (
                        ToldRecord::read(object, "alice", "0a", 16 * 1024).is_ok(),
                        read_auth(object, 1024, 7).is_ok(),
                    )
                });
                assert!(read <= 6 * data.len() + 100, "{read} of {} bytes", data.len());
            }
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
            let record = told(&data).unwrap().record;
            let (online, offline) = both(&record);
            for text in [online, offline] {
                let parsed = serde_json::from_str(&text).unwrap();
                prop_assert!(!names_a_token(&parsed), "{}", text);
            }
            let peer = members(&data);
            let record = PublicRecord::of_peer(&peer, "alice", "0a");
            prop_assert!(!names_a_token(&serde_json::from_str(record.text()).unwrap()));
        }

        /// R-F2: what is stored and what is relayed say the same to every receiver: whether the
        /// first or the last of several keys counts, with and without case, up to a NUL or not.
        #[test]
        fn every_reading_is_the_servers(members in prop::collection::vec(any_member(), 0..8)) {
            let data = format!("{{{}}}", members.join(","));
            let Ok(told) = told(&data) else { return Ok(()) };
            for text in [&told.relayed, told.record.text()] {
                for reading in readings::all() {
                    for (name, value) in
                        [("id", "\"0a\""), ("user", "\"alice\""), ("online", "true")]
                    {
                        let read = reading.get(text, name);
                        prop_assert_eq!(read.unwrap().to_string(), value, "{:?} {}", reading, text);
                    }
                }
            }
        }
    }

    fn any_member() -> impl Strategy<Value = String> {
        let key = prop::sample::select(
            &[
                "user",
                "id",
                "online",
                r"\u0075ser",
                "User",
                "uſer",
                r"user\u0000",
                r"ID\u0000",
                "onlıne",
                "name",
                "x",
            ][..],
        );
        let value = prop_oneof![Just("\"bob\""), Just("false"), Just("{\"user\":\"bob\"}")];
        (key, value).prop_map(|(key, value)| format!("\"{key}\":{value}"))
    }
}
