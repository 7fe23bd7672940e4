//! The claim of a client in its `auth` frame, and how sessions and hooks change it.

use alloc::{borrow::Cow, boxed::Box, collections::BTreeSet, format, string::String, vec::Vec};

use symple_proto::{
    AuthError, CloseCode, Extensions, Fields, FrameView, Json, PRIVATE_MEMBER, PeerMembers,
    PublicRecord, SessionError, SessionRecord, Status, Token, check_room, check_user, json::Kind,
    read_auth,
};

use crate::Timestamp;

use super::{AllowedUser, Config, PublicMembers, SessionConfig, membership::Reason};

/// Members of a session that never become members of the peer, beside those that
/// [`PeerMembers`] never has.
const NOT_OF_THE_SESSION: [&str; 5] = ["type", "token", "rooms", PROTO, PRIVATE_MEMBER];

/// Members of a peer that a hook does not decide by its fields.
const NOT_OF_THE_HOOK: [&str; 9] =
    ["type", "token", "rooms", PROTO, PRIVATE_MEMBER, "id", "online", "host", "user"];

/// What JavaScript takes for more than a member (R-A8).
const PROTO: &str = "__proto__";

/// The message for a client whose session is malformed. It reveals nothing of what is stored.
pub(super) const INVALID_SESSION: &str = "Authentication failed: Invalid session";

/// Why an authentication fails: the `error` that is sent, and the code of the close after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: Status,
    pub(super) message: Cow<'static, str>,
    pub(super) code: CloseCode,
}

/// The message for a client that must not learn the reason.
pub(super) const FAILED: &str = "Authentication failed";

impl Refusal {
    /// The reason in the close frame: the code in words (SPEC §7).
    pub(super) fn reason(&self) -> &'static str {
        match self.code {
            CloseCode::BAD_REQUEST => "Bad request",
            CloseCode::FORBIDDEN => "Forbidden",
            CloseCode::UNAVAILABLE => "Authentication unavailable",
            _ => FAILED,
        }
    }

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

/// The user that a client claims to be and, once a session or a hook has decided, the user that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) user: Box<str>,
    /// Whether a session or a hook has named the user, and not the client alone.
    pub(super) named: bool,
    /// The members of the peer that is to be.
    pub(super) peer: PeerMembers,
    /// Those of them that others do not see (R-A4).
    pub(super) hidden: BTreeSet<Box<str>>,
    /// The rooms it is to be put in beside its user's own, in order, each once, and why.
    pub(super) rooms: Vec<(Box<str>, Reason)>,
    pub(super) token: Option<Token>,
    /// Whether it is read-only, as a session or a hook says (R-H4).
    pub(super) read_only: bool,
    /// Whether it is hidden, as a session or a hook says (R-H4).
    pub(super) unseen: bool,
    /// When the authentication ends, as a token or a hook says (R-V1); never without it.
    pub(super) expires: Option<Timestamp>,
    /// The extensions that the client asks for, if it asks for any (R-X1).
    pub(super) extensions: Option<Extensions>,
}

impl Claim {
    /// Reads an `auth` frame (R-A1, R-A3, R-A6, R-A12); `seed` is that of [`PeerMembers::new`].
    pub(super) fn read(frame: &FrameView<'_>, config: &Config, seed: u64) -> Result<Self, Refusal> {
        let limits = &config.limits;
        // No first frame is larger, so a later one need not be either (R-A9).
        let limit = limits.message_unauthenticated;
        if frame.text().len() > limit {
            return Err(Refusal::too_large(format!("Auth frame larger than {limit} bytes")));
        }
        let auth = read_auth(frame.object(), limits.record, seed).map_err(|error| match error {
            AuthError::TooLarge(_) => Refusal::too_large(format!("{error}")),
            _ => Refusal::unauthorized(format!("{error}")),
        })?;
        let user = read_user(auth.user)?;
        if config.proves() {
            check_token(auth.token)?;
        }
        let token = auth.token.and_then(|token| token.as_str()?.ok());
        let mut claim = Self::new(user, auth.members);
        claim.token = token.and_then(Token::new);
        claim.extensions = auth.extensions.and_then(Extensions::read);
        if config.proves() {
            if config.authentication && claim.token.is_none() {
                return Err(Refusal::unauthorized("Authentication failed: Missing token"));
            }
        } else {
            claim.token = None;
            // Where joins are asked about, nobody comes in another way (R-H1).
            if !config.hooks.join {
                claim.ask_for_rooms(auth.rooms, config.limits.rooms_per_peer)?;
            }
        }
        Ok(claim)
    }

    /// That of a user, and nobody has said more.
    pub(super) fn new(user: Box<str>, peer: PeerMembers) -> Self {
        let (rooms, hidden) = (Vec::new(), BTreeSet::new());
        Self {
            user,
            named: false,
            peer,
            hidden,
            rooms,
            token: None,
            read_only: false,
            unseen: false,
            expires: None,
            extensions: None,
        }
    }

    /// Lays a session over the claim (R-A4): its user is the peer's user everywhere.
    pub(super) fn merge_session(
        &mut self,
        session: SessionRecord,
        config: &SessionConfig,
    ) -> Result<(), Refusal> {
        let invalid = |_: SessionError| Refusal::unauthorized(INVALID_SESSION);
        session.check_refused().map_err(invalid)?;
        if let Some(user) = session.user().map_err(invalid)? {
            (self.user, self.named) = (user.into(), true);
        }
        let SessionRecord(mut session) = session;
        let rooms = session.remove("rooms");
        session.retain(|name| !NOT_OF_THE_SESSION.contains(&name));
        self.limit(&session);
        if let PublicMembers::Only(public) = &config.public {
            let public: BTreeSet<&str> =
                public.iter().map(String::as_str).chain(["user", "name"]).collect();
            let names = session.iter().map(|(name, _)| name);
            self.hidden.extend(names.filter(|name| !public.contains(name)).map(Box::from));
        }
        self.peer.merge(&session);
        if let Some(rooms) = rooms.as_ref().and_then(|rooms| rooms.get().as_array()) {
            rooms.for_each_str(|room| self.assign_room(&room));
        }
        self.dedupe_rooms();
        Ok(())
    }

    /// Lays what a hook has said over the claim (R-A5). Its word is final, also about the user:
    /// members that it sets are seen by others, whatever the session says.
    pub(super) fn merge_hook(
        &mut self,
        user: AllowedUser,
        rooms: &[impl AsRef<str>],
        mut peer: Fields,
    ) -> Result<(), Refusal> {
        if peer.iter().any(|(_, value)| value.get().has_half_surrogate()) {
            return Err(Refusal::unauthorized(FAILED));
        }
        if let AllowedUser::Named(user) = user {
            (self.user, self.named) = (user.as_str().into(), true);
        }
        peer.retain(|name| !NOT_OF_THE_HOOK.contains(&name));
        self.limit(&peer);
        for (name, _) in peer.iter() {
            self.hidden.remove(name);
        }
        self.peer.merge(&peer);
        for room in rooms {
            self.assign_room(room.as_ref());
        }
        self.dedupe_rooms();
        Ok(())
    }

    /// With sessions, somebody who knows must have said who the client is (R-A4).
    pub(super) fn check_named(&self, config: &Config) -> Result<(), Refusal> {
        if config.authentication && !self.named && !config.sessions.user_optional {
            let error = SessionError::NoUser;
            return Err(Refusal::unauthorized(format!("{FAILED}: {error}")));
        }
        Ok(())
    }

    /// The peer as it will be (R-A8), as a JSON object.
    pub(super) fn peer(&self, id: &str, host: Option<&str>) -> String {
        let mut peer = String::new();
        self.peer.push_peer(&self.user, id, host, &mut peer);
        peer
    }

    /// What others are told of the peer: its members but for those that are hidden.
    pub(super) fn record(&self, id: &str) -> PublicRecord {
        if self.hidden.is_empty() {
            return PublicRecord::of_peer(&self.peer, &self.user, id);
        }
        let public = self.peer.only(|name| !self.hidden.contains(name));
        PublicRecord::of_peer(&public, &self.user, id)
    }

    /// Takes in whether the peer is read-only or hidden, where a session or a hook says so (R-H4).
    fn limit(&mut self, said: &Fields) {
        // What is no boolean was meant to say something: it is taken for the narrower one.
        let says = |name| {
            said.get(name)
                .map(|value| !(value.get().kind() == Kind::Null || value.text() == "false"))
        };
        self.read_only = says("readonly").unwrap_or(self.read_only);
        self.unseen = says("hidden").unwrap_or(self.unseen);
    }

    /// The rooms of an `auth` frame that counts (R-A3).
    fn ask_for_rooms(&mut self, rooms: Option<Json<'_>>, max: usize) -> Result<(), Refusal> {
        let Some(array) = rooms.and_then(Json::as_array) else { return Ok(()) };
        // Never holds more than the limit.
        let mut seen = BTreeSet::new();
        let mut checked = Ok(());
        array.for_each_while(|room| {
            let Some(Ok(room)) = room.as_str() else { return true };
            if room.is_empty() || *room == *self.user || seen.contains(&*room) {
                return true;
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
            checked.is_ok()
        });
        checked.map_err(Refusal::bad_request)
    }

    /// Reads the rooms of a session or a hook. Names that no room can have are ignored (R-A3).
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
fn read_user(user: Option<Json<'_>>) -> Result<Box<str>, Refusal> {
    const MISSING: &str = "Missing user field";
    let Some(json) = user else { return Err(Refusal::unauthorized(MISSING)) };
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
fn check_token(token: Option<Json<'_>>) -> Result<(), Refusal> {
    let valid = token.is_none_or(|token| match token.kind() {
        Kind::Null => true,
        Kind::String => matches!(token.as_str(), Some(Ok(_))),
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
    use alloc::{string::String, vec};

    use symple_proto::RawJson;

    use super::*;

    fn read(text: &str, config: &Config) -> Result<Claim, (u16, String)> {
        let frame = FrameView::parse(text, 128).unwrap();
        Claim::read(&frame, config, 7)
            .map_err(|refusal| (refusal.code.0, refusal.message.into_owned()))
    }

    fn with_hook() -> Config {
        Config { hook: true, ..Config::default() }
    }

    fn with_sessions() -> Config {
        Config { authentication: true, ..Config::default() }
    }

    fn session_over(claim: &mut Claim, session: &str) -> Result<(), Refusal> {
        let session = SessionRecord::parse(session).unwrap();
        claim.merge_session(session, &SessionConfig::default())
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
            (
                r#"{"user":"alice","name":"Bob \ud83d"}"#,
                "Invalid name field: must not contain half a surrogate pair",
            ),
            (
                r#"{"user":"alice","k\ud83d":1}"#,
                "Invalid k\u{fffd} field: must not contain half a surrogate pair",
            ),
            (r#"{"user":"alice","USER":"bob"}"#, "Invalid user field: must be spelled user"),
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
        session_over(&mut claim, session).unwrap();
        let fields = Fields::new().with("id", "x").with("level", "7").with("user", "carol");
        claim.merge_hook(AllowedUser::Claimed, &["h", "a", ""], fields).unwrap();
        assert_eq!(&*claim.user, "bob");
        let rooms: Vec<_> = claim.rooms.iter().map(|(room, _)| &**room).collect();
        assert_eq!(rooms, ["b", "a", "h"]);
        assert_eq!(
            claim.peer("0a", Some("::1")),
            r#"{"user":"bob","name":"Bob","data":{"a":1.0},"plan":1e2,"level":"7","id":"0a","online":true,"host":"::1"}"#
        );
    }

    #[test]
    fn what_the_client_writes_of_itself_is_the_servers() {
        let text = r#"{"type":"auth","id":"1","user":"alice","online":false,"host":"h","name":""}"#;
        let claim = read(text, &Config::default()).unwrap();
        assert_eq!(
            claim.peer("0a", Some("::1")),
            r#"{"id":"0a","user":"alice","online":true,"host":"::1","name":"alice"}"#
        );
    }

    /// R-A12
    #[test]
    fn a_session_with_a_broken_user_is_refused() {
        for session in [r#"{"user":5}"#, r#"{"user":""}"#, r#"{"user":"a|b"}"#, r#"{"user":null}"#]
        {
            let mut claim = read(r#"{"user":"alice","token":"t"}"#, &with_sessions()).unwrap();
            let refusal = session_over(&mut claim, session).unwrap_err();
            assert_eq!(refusal.message, "Authentication failed: Invalid session", "{session}");
        }
    }

    /// R-A1: a name is a string, whatever it was; what is none is the user, who comes to be known
    /// later.
    #[test]
    fn names() {
        for (name, shown) in [
            (r#""Al""#, r#""Al""#),
            ("12", r#""12""#),
            ("1.0", r#""1.0""#),
            ("false", r#""false""#),
            (r#""""#, r#""bob""#),
            ("null", r#""bob""#),
            ("[]", r#""bob""#),
            (r#"{"first":"Al"}"#, r#""bob""#),
        ] {
            let expected = format!(r#"{{"user":"bob","name":{shown},"id":"0a","online":true}}"#);
            let text = format!(r#"{{"user":"alice","name":{name},"token":"t"}}"#);
            let mut claim = read(&text, &with_sessions()).unwrap();
            session_over(&mut claim, r#"{"user":"bob"}"#).unwrap();
            assert_eq!(claim.peer("0a", None), expected, "{name}");

            let mut claim = read(r#"{"user":"alice","token":"t"}"#, &with_sessions()).unwrap();
            session_over(&mut claim, &format!(r#"{{"user":"bob","name":{name}}}"#)).unwrap();
            assert_eq!(claim.peer("0a", None), expected, "{name}");

            let mut claim = read(r#"{"user":"bob"}"#, &with_hook()).unwrap();
            let fields = Fields::new().with("name", RawJson::parse(name).unwrap());
            claim.merge_hook(AllowedUser::Claimed, &[] as &[&str], fields).unwrap();
            assert_eq!(claim.peer("0a", None), expected, "{name}");
        }
    }

    /// R-A4: what is private stays inside, and of the rest others see what is listed.
    #[test]
    fn what_others_see_of_a_session() {
        let session = r#"{"user":"bob","name":"Bob","email":"b@example.com","plan":"pro","private":{"csrf":1}}"#;
        for (public, record) in [
            (
                PublicMembers::All,
                r#"{"user":"bob","x":1,"email":"b@example.com","name":"Bob","plan":"pro","id":"0a","online":true}"#,
            ),
            (
                PublicMembers::Only(vec!["plan".into()]),
                r#"{"user":"bob","x":1,"name":"Bob","plan":"pro","id":"0a","online":true}"#,
            ),
            (
                PublicMembers::Only(Vec::new()),
                r#"{"user":"bob","x":1,"name":"Bob","id":"0a","online":true}"#,
            ),
        ] {
            let auth = r#"{"user":"a","token":"t","x":1,"email":"claimed@example.com"}"#;
            let mut claim = read(auth, &with_sessions()).unwrap();
            let config = SessionConfig { public, ..SessionConfig::default() };
            claim.merge_session(SessionRecord::parse(session).unwrap(), &config).unwrap();
            let peer = claim.peer("0a", None);
            let welcome = r#"{"user":"bob","x":1,"email":"b@example.com","name":"Bob","plan":"pro","id":"0a","online":true}"#;
            assert_eq!(peer, welcome);
            assert_eq!(claim.record("0a").text(), record);
            // What a hook says of a peer, it says to all.
            let fields = Fields::new().with("email", "hook@example.com").with("private", "1");
            claim.merge_hook(AllowedUser::Claimed, &[] as &[&str], fields).unwrap();
            let shown = claim.record("0a");
            assert!(shown.text().contains("hook@example.com"), "{shown:?}");
            assert!(!shown.text().contains("private"), "{shown:?}");
        }
    }

    /// R-A4, R-A5: who the client is has been said by a session or a hook; the hook's word is the
    /// last.
    #[test]
    fn somebody_names_the_user() {
        let hook = |user: &str| AllowedUser::Named(symple_proto::UserName::new(user).unwrap());
        for (session, user, expected) in [
            (r#"{"user":"bob"}"#, None, Some("bob")),
            (r#"{"user":"bob"}"#, Some(AllowedUser::Claimed), Some("bob")),
            (r#"{"user":"bob"}"#, Some(hook("carol")), Some("carol")),
            ("{}", None, None),
            ("{}", Some(AllowedUser::Claimed), None),
            ("{}", Some(hook("carol")), Some("carol")),
        ] {
            let mut config = with_sessions();
            let mut claim = read(r#"{"user":"alice","token":"t"}"#, &config).unwrap();
            session_over(&mut claim, session).unwrap();
            if let Some(user) = user {
                claim.merge_hook(user, &[] as &[&str], Fields::new()).unwrap();
            }
            let named = claim.check_named(&config).map(|()| &*claim.user);
            let refused = "Authentication failed: Session names no user";
            match expected {
                Some(user) => assert_eq!(named, Ok(user), "{session}"),
                None => assert_eq!(named.unwrap_err().message, refused, "{session}"),
            }
            config.sessions.user_optional = true;
            assert_eq!(claim.check_named(&config), Ok(()));
        }
    }

    /// R-A8: what JavaScript takes for more than a member is none, whoever writes it.
    #[test]
    fn no_prototypes() {
        let auth = r#"{"user":"a","token":"t","__proto__":{"x":1},"\u005f_proto__":2}"#;
        let mut claim = read(auth, &with_sessions()).unwrap();
        session_over(&mut claim, r#"{"user":"a","__proto__":{"x":1}}"#).unwrap();
        let fields = Fields::new().with("__proto__", "x");
        claim.merge_hook(AllowedUser::Claimed, &[] as &[&str], fields).unwrap();
        assert!(!claim.peer("0a", None).contains("proto"));
    }

    /// R-A1: nothing is lost silently, wherever it comes from.
    #[test]
    fn half_surrogates_of_sessions_and_hooks() {
        let auth = r#"{"user":"alice","token":"t"}"#;
        let mut claim = read(auth, &with_sessions()).unwrap();
        let refusal = session_over(&mut claim, r#"{"user":"a","name":"\ud800"}"#).unwrap_err();
        assert_eq!(refusal.message, INVALID_SESSION);
        let half = RawJson::parse(r#""\ud800""#).unwrap();
        let fields = Fields::new().with("name", half);
        let refusal = claim.merge_hook(AllowedUser::Claimed, &[] as &[&str], fields).unwrap_err();
        assert_eq!(refusal.message, FAILED);
    }
}
