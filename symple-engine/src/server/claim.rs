//! What a client claims in its `auth` frame, and what sessions and hooks make of it.

use alloc::{borrow::Cow, boxed::Box, collections::BTreeSet, format, vec::Vec};

use symple_proto::{
    AuthError, CloseCode, Fields, FrameView, RawJson, SessionRecord, Status, Token, check_auth,
    check_room, check_user, json::Kind,
};

use super::{Config, membership::Reason};

/// Members of an `auth` frame that never become members of the peer.
const NOT_OF_THE_PEER: [&str; 3] = ["type", "token", "rooms"];

/// Members of a peer that are the server's.
const OF_THE_SERVER: [&str; 6] = ["type", "token", "rooms", "id", "online", "host"];

/// Why an authentication fails: the `error` that is sent, and the code of the close after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: Status,
    pub(super) message: Cow<'static, str>,
    pub(super) code: CloseCode,
}

impl Refusal {
    /// 401, the usual one (R-A7).
    pub(super) fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        let (status, code) = (Status::UNAUTHORIZED, CloseCode::UNAUTHORIZED);
        Self { status, message: message.into(), code }
    }

    /// 400: the frame makes no sense.
    pub(super) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        let (status, code) = (Status::BAD_REQUEST, CloseCode::BAD_REQUEST);
        Self { status, message: message.into(), code }
    }

    /// 413: more than the limit; the message says which.
    pub(super) fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        let (status, code) = (Status::TOO_LARGE, CloseCode::UNAUTHORIZED);
        Self { status, message: message.into(), code }
    }

    /// 503: what decides cannot be reached (R-A4). It says no more than that.
    pub(super) fn unavailable() -> Self {
        Self {
            status: Status::UNAVAILABLE,
            message: "Authentication unavailable".into(),
            code: CloseCode::UNAVAILABLE,
        }
    }
}

/// Who a client says it is, and later: who it has turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) user: Box<str>,
    /// The members of the peer that is to be.
    pub(super) peer: Fields,
    /// The rooms it is to be put in beside its user's own, in order, each once, and why.
    pub(super) rooms: Vec<(Box<str>, Reason)>,
    pub(super) token: Option<Token>,
}

impl Claim {
    /// Reads an `auth` frame (R-A1, R-A3, R-A6, R-A12).
    pub(super) fn read(frame: &FrameView<'_>, config: &Config) -> Result<Self, Refusal> {
        let limits = &config.limits;
        // No first frame is larger, so a later one need not be either (R-A9).
        let limit = limits.message_unauthenticated;
        if frame.text().len() > limit {
            return Err(Refusal::too_large(format!("Auth frame larger than {limit} bytes")));
        }
        check_auth(frame.object(), limits.record).map_err(|error| match error {
            AuthError::TooLarge(_) => Refusal::too_large(format!("{error}")),
            _ => Refusal::unauthorized(format!("{error}")),
        })?;
        let mut peer = Fields::try_from(frame.object())
            .map_err(|error| Refusal::unauthorized(format!("Invalid frame: {error}")))?;
        let user = read_user(peer.get("user"))?;
        if config.proves() {
            check_token(peer.get("token"))?;
        }
        let token = peer.remove("token").and_then(|token| token.as_str().and_then(Token::new));
        let rooms = peer.remove("rooms");
        peer.remove("type");
        let mut claim = Self { user, peer, rooms: Vec::new(), token };
        claim.check_name()?;
        if config.proves() {
            if config.authentication && claim.token.is_none() {
                return Err(Refusal::unauthorized("Authentication failed: Missing token"));
            }
        } else {
            claim.token = None;
            claim.ask_for_rooms(rooms.as_ref(), config.limits.rooms_per_peer)?;
        }
        Ok(claim)
    }

    /// Lays a session over the claim (R-A4): its user is the peer's user everywhere.
    pub(super) fn merge_session(&mut self, session: SessionRecord) -> Result<(), Refusal> {
        let SessionRecord(mut session) = session;
        let rooms = session.remove("rooms");
        self.override_peer(session, &NOT_OF_THE_PEER)?;
        if let Some(rooms) = rooms.as_ref().and_then(|rooms| rooms.get().as_array()) {
            rooms.for_each_str(|room| self.assign_room(&room));
        }
        self.dedupe_rooms();
        Ok(())
    }

    /// Lays what a hook has said over the claim (R-A5).
    pub(super) fn merge_hook(
        &mut self,
        rooms: &[impl AsRef<str>],
        peer: Fields,
    ) -> Result<(), Refusal> {
        self.override_peer(peer, &OF_THE_SERVER)?;
        for room in rooms {
            self.assign_room(room.as_ref());
        }
        self.dedupe_rooms();
        Ok(())
    }

    /// The peer as it will be (R-A8).
    pub(super) fn peer(&self, id: &str, host: Option<&str>) -> Fields {
        let mut peer = self.peer.clone();
        peer.set("id", id);
        peer.set("online", true);
        if peer.get_str("name").is_none_or(|name| name.is_empty()) {
            peer.set("name", &*self.user);
        }
        match host {
            Some(host) => peer.set("host", host),
            None => drop(peer.remove("host")),
        }
        peer
    }

    fn override_peer(&mut self, mut over: Fields, except: &[&str]) -> Result<(), Refusal> {
        for name in except {
            over.remove(name);
        }
        if let Some(user) = over.get("user") {
            let invalid = || Refusal::unauthorized("Authentication failed: Invalid session");
            let user = user.as_str().ok_or_else(invalid)?;
            check_user(&user).map_err(|_| invalid())?;
            self.user = user.into();
        }
        self.peer.merge(over);
        self.check_name()
    }

    fn check_name(&mut self) -> Result<(), Refusal> {
        match self.peer.get("name").map(|name| name.get().kind()) {
            Some(Kind::Null) => drop(self.peer.remove("name")),
            Some(Kind::String) | None => {}
            Some(_) => {
                return Err(Refusal::unauthorized("Invalid name field: must be a string"));
            }
        }
        Ok(())
    }

    /// The rooms of an `auth` frame that counts (R-A3).
    fn ask_for_rooms(&mut self, rooms: Option<&RawJson>, max: usize) -> Result<(), Refusal> {
        let Some(array) = rooms.and_then(|rooms| rooms.get().as_array()) else { return Ok(()) };
        // Never holds more than the limit, so a long list costs little for each element.
        let mut seen = BTreeSet::new();
        let mut checked = Ok(());
        array.for_each(|room| {
            let Some(Ok(room)) = room.as_str().filter(|_| checked.is_ok()) else { return };
            if room.is_empty() || *room == *self.user || seen.contains(&*room) {
                return;
            }
            checked = match check_room(&room) {
                Err(error) => Err(format!("Invalid rooms field: a room {error}")),
                Ok(()) if seen.len() == max => Err(format!("Too many rooms: the limit is {max}")),
                Ok(()) => {
                    let room = Box::<str>::from(room);
                    seen.insert(room.clone());
                    self.rooms.push((room, Reason::Asked));
                    Ok(())
                }
            };
        });
        checked.map_err(Refusal::bad_request)
    }

    /// Rooms from a session or a hook: what is no room does not count (R-A3).
    fn assign_room(&mut self, room: &str) {
        if check_room(room).is_ok() {
            self.rooms.push((room.into(), Reason::Assigned));
        }
    }

    /// Keeps each room once, at its first place, and not the user's own.
    fn dedupe_rooms(&mut self) {
        let mut seen = BTreeSet::new();
        let user = &self.user;
        self.rooms.retain(|(room, _)| room != user && seen.insert(room.clone()));
    }
}

/// The user of an `auth` frame. What JavaScript takes for false is missing.
fn read_user(user: Option<&RawJson>) -> Result<Box<str>, Refusal> {
    const MISSING: &str = "Missing user field";
    let Some(user) = user else { return Err(Refusal::unauthorized(MISSING)) };
    let json = user.get();
    match json.as_str() {
        Some(Ok(text)) if text.is_empty() => Err(Refusal::unauthorized(MISSING)),
        Some(Ok(text)) => match check_user(&text) {
            Ok(()) => Ok(text.into()),
            Err(error) => Err(Refusal::unauthorized(format!("Invalid user field: {error}"))),
        },
        Some(Err(_)) => {
            Err(Refusal::unauthorized("Invalid user field: must not contain half a surrogate pair"))
        }
        None => {
            let is_false = match json.kind() {
                Kind::Null => true,
                Kind::Bool => json.text() == "false",
                Kind::Number => json.text().parse::<f64>().is_ok_and(|number| number == 0.0),
                _ => false,
            };
            Err(Refusal::unauthorized(if is_false {
                MISSING
            } else {
                "Invalid user field: must be a string"
            }))
        }
    }
}

/// A token is a string (R-A12); none, or an empty one, may still be allowed by a hook.
fn check_token(token: Option<&RawJson>) -> Result<(), Refusal> {
    let valid = token.is_none_or(|token| match token.get().kind() {
        Kind::Null => true,
        Kind::String => token.as_str().is_some(),
        _ => false,
    });
    if valid {
        Ok(())
    } else {
        Err(Refusal::unauthorized("Invalid token field: must be a non-empty string"))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn read(text: &str, config: &Config) -> Result<Claim, (u16, String)> {
        let frame = FrameView::parse(text, 128).unwrap();
        Claim::read(&frame, config)
            .map_err(|refusal| (refusal.code.0, refusal.message.into_owned()))
    }

    fn with_hook() -> Config {
        Config { hook: true, ..Config::default() }
    }

    fn with_sessions() -> Config {
        Config { authentication: true, ..Config::default() }
    }

    /// R-A1
    #[test]
    fn faults_of_an_auth_frame_name_the_field() {
        let long = format!(r#"{{"user":"{}"}}"#, "x".repeat(256));
        for (text, message) in [
            ("{}", "Missing user field"),
            (r#"{"user":null}"#, "Missing user field"),
            (r#"{"user":""}"#, "Missing user field"),
            (r#"{"user":0}"#, "Missing user field"),
            (r#"{"user":-0.0}"#, "Missing user field"),
            (r#"{"user":false}"#, "Missing user field"),
            (r#"{"user":1}"#, "Invalid user field: must be a string"),
            (r#"{"user":true}"#, "Invalid user field: must be a string"),
            (r#"{"user":["alice"]}"#, "Invalid user field: must be a string"),
            (r#"{"user":{}}"#, "Invalid user field: must be a string"),
            (r#"{"user":"al|ice"}"#, "Invalid user field: must not contain '|'"),
            (r#"{"user":"al\nice"}"#, "Invalid user field: must not contain control characters"),
            (&long, "Invalid user field: must not be longer than 255 bytes"),
            (r#"{"user":"\ud800"}"#, "Invalid user field: must not contain half a surrogate pair"),
            (r#"{"user":"alice","name":5}"#, "Invalid name field: must be a string"),
        ] {
            assert_eq!(read(text, &Config::default()), Err((4401, message.into())), "{text}");
        }
    }

    /// R-A3
    #[test]
    fn rooms_that_are_asked_for() {
        let rooms = |text: &str| {
            read(text, &Config::default()).map(|claim| {
                claim.rooms.iter().map(|(room, _)| room.clone()).collect::<Vec<_>>().join(" ")
            })
        };
        let many = |count: usize| {
            let rooms: Vec<_> = (0..count).map(|n| format!("\"r{n}\",\"r{n}\"")).collect();
            format!(r#"{{"user":"alice","rooms":["alice",{}]}}"#, rooms.join(","))
        };
        assert_eq!(
            rooms(r#"{"user":"alice","rooms":["b","",7,null,"a","b",["c"],"alice"]}"#),
            Ok("b a".into())
        );
        assert_eq!(rooms(r#"{"user":"alice","rooms":"team-a"}"#), Ok(String::new()));
        assert!(rooms(&many(256)).is_ok());
        assert_eq!(rooms(&many(257)), Err((4400, "Too many rooms: the limit is 256".into())));
        assert_eq!(
            rooms(&format!(r#"{{"user":"alice","rooms":["{}"]}}"#, "x".repeat(256))),
            Err((4400, "Invalid rooms field: a room must not be longer than 255 bytes".into()))
        );
    }

    /// R-A6: who must prove who it is cannot choose its rooms.
    #[test]
    fn rooms_of_the_client_do_not_count_where_something_is_proved() {
        let text = r#"{"user":"alice","token":"t","rooms":["secret"]}"#;
        assert_eq!(read(text, &with_hook()).unwrap().rooms, []);
        assert_eq!(read(text, &with_sessions()).unwrap().rooms, []);
    }

    /// R-A12
    #[test]
    fn tokens_are_strings() {
        let invalid = "Invalid token field: must be a non-empty string";
        let missing = "Authentication failed: Missing token";
        for (token, with_hook_only, with_session) in [
            (r#""token":"t""#, Ok(true), Ok(true)),
            (r#""token":"""#, Ok(false), Err(missing)),
            (r#""token":null"#, Ok(false), Err(missing)),
            (r#""x":1"#, Ok(false), Err(missing)),
            (r#""token":5"#, Err(invalid), Err(invalid)),
            (r#""token":["t"]"#, Err(invalid), Err(invalid)),
            (r#""token":"\ud800""#, Err(invalid), Err(invalid)),
        ] {
            let text = format!(r#"{{"user":"alice",{token}}}"#);
            let seen = |config| read(&text, &config).map(|claim| claim.token.is_some());
            let refused = |message: &str| (4401, String::from(message));
            assert_eq!(seen(with_hook()), with_hook_only.map_err(refused), "{token}");
            assert_eq!(seen(with_sessions()), with_session.map_err(refused), "{token}");
            assert_eq!(seen(Config::default()), Ok(false), "{token}");
        }
    }

    /// R-A4, R-A8
    #[test]
    fn a_session_goes_over_the_claim() {
        let text = r#"{"type":"auth","user":"alice","name":"Other","token":"t","data":{"a":1.0},"rooms":["x"]}"#;
        let mut claim = read(text, &with_sessions()).unwrap();
        let session = r#"{"user":"bob","token":"s","name":"Bob","rooms":["b","bob",5,"","a","b"],"plan":1e2}"#;
        claim.merge_session(SessionRecord::parse(session).unwrap()).unwrap();
        claim
            .merge_hook(&["h", "a", ""], Fields::new().with("id", "x").with("level", "7"))
            .unwrap();
        assert_eq!(&*claim.user, "bob");
        let rooms: Vec<_> = claim.rooms.iter().map(|(room, _)| &**room).collect();
        assert_eq!(rooms, ["b", "a", "h"]);
        assert_eq!(
            claim.peer("0a", Some("::1")).to_json(),
            r#"{"user":"bob","name":"Bob","data":{"a":1.0},"plan":1e2,"level":"7","id":"0a","online":true,"host":"::1"}"#
        );
    }

    #[test]
    fn what_the_client_writes_of_itself_is_the_servers() {
        let text = r#"{"type":"auth","id":"1","user":"alice","online":false,"host":"h","name":""}"#;
        let claim = read(text, &Config::default()).unwrap();
        assert_eq!(
            claim.peer("0a", Some("::1")).to_json(),
            r#"{"id":"0a","user":"alice","online":true,"host":"::1","name":"alice"}"#
        );
    }

    /// R-A12
    #[test]
    fn a_session_with_a_broken_user_is_refused() {
        for session in [r#"{"user":5}"#, r#"{"user":""}"#, r#"{"user":"a|b"}"#, r#"{"user":null}"#]
        {
            let mut claim = read(r#"{"user":"alice","token":"t"}"#, &with_sessions()).unwrap();
            let refusal = claim.merge_session(SessionRecord::parse(session).unwrap()).unwrap_err();
            assert_eq!(refusal.message, "Authentication failed: Invalid session", "{session}");
        }
    }
}
