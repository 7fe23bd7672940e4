//! Asking an HTTP service about authentications (R-V2).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_channel::{Receiver, Sender};
use http::{HeaderMap, HeaderName, header};
use symple_proto::{
    Fields, Json, RawJson,
    json::{Kind, MAX_DEPTH, push_string},
};

use crate::{
    client::transport::Connect,
    fetch::{FetchError, Fetcher, endpoint::HttpEndpoint},
    http::Request,
    runtime::within,
    server::{
        hooks::{AuthDecision, AuthRequest},
        log::OncePerSecond,
    },
};

/// The most bytes that an answer may have.
const MAX_ANSWER: usize = 64 * 1024;
/// How many requests are under way at a time; others wait for their turn.
const AT_ONCE: usize = 64;
/// The longest message for a client, in bytes.
const MAX_MESSAGE: usize = 1024;
/// The headers that are passed on: where the page is from, what kind of client it is, and what
/// proves who is in front of it.
const HEADERS: [HeaderName; 5] = [
    header::ORIGIN,
    header::USER_AGENT,
    header::ACCEPT_LANGUAGE,
    header::COOKIE,
    header::AUTHORIZATION,
];

/// Asks about authentications.
pub(crate) struct AuthWebhook<R> {
    fetcher: Fetcher<R>,
    timeout: Duration,
    /// As many tokens as there may be requests; who has one may ask.
    permits: (Sender<()>, Receiver<()>),
}

impl<R: Connect> AuthWebhook<R> {
    pub(crate) fn new(runtime: R, endpoint: HttpEndpoint) -> Self {
        let permits = async_channel::bounded(AT_ONCE);
        while permits.0.try_send(()).is_ok() {}
        let timeout = endpoint.timeout;
        Self { fetcher: Fetcher::new(runtime, endpoint, MAX_ANSWER), timeout, permits }
    }

    /// Asks about a client. Whatever is not a clear answer lets nobody in (R-H5).
    pub(crate) async fn decide(&self, request: AuthRequest) -> AuthDecision {
        let has_session = request.session.is_some();
        let answered = self.ask(&request).await;
        let decided = answered.and_then(|answer| {
            let text = std::str::from_utf8(&answer).map_err(|_| "it is not UTF-8".to_owned());
            text.and_then(|text| read(text, has_session, SystemTime::now()))
                .map_err(|problem| FetchError::Nonsense(format!("the answer is none: {problem}")))
        });
        decided.unwrap_or_else(|error| {
            static LINES: OncePerSecond = OncePerSecond::new();
            if let Some(more) = LINES.is_due() {
                let url = self.fetcher.endpoint();
                tracing::warn!(%error, more, "{url} does not say whether clients may come in");
            }
            AuthDecision::unavailable()
        })
    }

    async fn ask(&self, request: &AuthRequest) -> Result<bytes::Bytes, FetchError> {
        let (give, take) = &self.permits;
        let answer = async {
            let _ = take.recv().await;
            // Given back also where nobody waits for the answer any more.
            let _permit = Permit(give);
            self.fetcher.post(body(request)).await
        };
        // To wait for a turn is part of it: the engine waits no longer than it does.
        let answer = within(self.fetcher.runtime(), self.timeout, answer).await;
        answer.unwrap_or(Err(FetchError::Timeout))
    }
}

struct Permit<'a>(&'a Sender<()>);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

/// What is asked, as JSON.
fn body(request: &AuthRequest) -> String {
    let mut body = String::from(r#"{"auth":"#);
    request.auth.push_json(&mut body);
    body.push_str(r#","peer":"#);
    request.peer.push_json(&mut body);
    body.push_str(r#","session":"#);
    match &request.session {
        Some(session) => session.push_json(&mut body),
        None => body.push_str("null"),
    }
    body.push_str(r#","request":"#);
    push_request(&request.request, &mut body);
    body.push('}');
    body
}

fn push_request(request: &Request, body: &mut String) {
    body.push_str(r#"{"address":"#);
    if request.address.is_unspecified() {
        body.push_str("null");
    } else {
        push_string(body, &request.address.to_string());
    }
    body.push_str(if request.tls { r#","tls":true,"path":"# } else { r#","tls":false,"path":"# });
    push_string(body, request.uri.path());
    body.push_str(r#","query":"#);
    push_string(body, request.uri.query().unwrap_or_default());
    body.push_str(r#","headers":{"#);
    push_headers(&request.headers, body);
    body.push_str("}}");
}

fn push_headers(headers: &HeaderMap, body: &mut String) {
    let mut first = true;
    for name in HEADERS {
        let mut values = headers
            .get_all(&name)
            .into_iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let Some(mut all) = values.next() else { continue };
        let between = if name == header::COOKIE { "; " } else { ", " };
        for more in values {
            all.push_str(between);
            all.push_str(&more);
        }
        if !std::mem::replace(&mut first, false) {
            body.push(',');
        }
        push_string(body, name.as_str());
        body.push(':');
        push_string(body, &all);
    }
}

/// What an answer says. It must say it clearly: what is not of the right kind is no answer.
fn read(text: &str, has_session: bool, now: SystemTime) -> Result<AuthDecision, String> {
    let object = Json::parse(text, MAX_DEPTH).ok().and_then(Json::as_object);
    let object = object.ok_or("it is no JSON object")?;
    let fields = Fields::try_from(object).map_err(|error| error.to_string())?;
    let flag = |name: &str| match fields.get(name).map(|value| (value.text(), value.get().kind())) {
        None | Some((_, Kind::Null)) => Ok(None),
        Some((text, Kind::Bool)) => Ok(Some(text == "true")),
        Some(_) => Err(format!("{name} is neither true nor false")),
    };
    let text = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(value) if value.get().kind() == Kind::Null => Ok(None),
        Some(value) => match value.as_str() {
            Some(text) => Ok(Some(text.into_owned())),
            None => Err(format!("{name} is no string")),
        },
    };
    if !flag("allow")?.ok_or("allow is missing")? {
        let message = text("message")?.unwrap_or_default();
        let message = if message.len() > MAX_MESSAGE { String::new() } else { message };
        return Ok(AuthDecision::deny(message));
    }
    let mut decision = match text("user")? {
        Some(user) => {
            symple_proto::check_user(&user).map_err(|error| format!("user {error}"))?;
            AuthDecision::allow(user)
        }
        None if has_session => AuthDecision::allow_claimed(),
        None => return Err("user is missing, and there is no session that names one".into()),
    };
    if let Some(value) = fields.get("rooms").filter(|value| value.get().kind() != Kind::Null) {
        let array = value.get().as_array().ok_or("rooms is no array of strings")?;
        let (mut rooms, mut all) = (Vec::new(), true);
        array.for_each(|room| match room.as_str() {
            Some(Ok(room)) => rooms.push(room.into_owned()),
            _ => all = false,
        });
        if !all {
            return Err("rooms is no array of strings".into());
        }
        decision = decision.rooms(rooms);
    }
    if let Some(value) = fields.get("peer").filter(|value| value.get().kind() != Kind::Null) {
        let peer = value.get().as_object().ok_or("peer is no object")?;
        let mut peer = Fields::try_from(peer).map_err(|error| error.to_string())?;
        // What decides about the peer are members of their own.
        peer.retain(|name| name != "readonly" && name != "hidden");
        decision = decision.peer(peer);
    }
    for name in ["readonly", "hidden"] {
        if let Some(value) = flag(name)? {
            decision = decision.peer(Fields::new().with(name, value));
        }
    }
    match fields.get("expires") {
        None => Ok(decision),
        Some(value) if value.get().kind() == Kind::Null => Ok(decision),
        Some(value) => Ok(decision.expires_at(time(value, now)?)),
    }
}

/// A time in seconds since 1970.
fn time(value: &RawJson, now: SystemTime) -> Result<SystemTime, String> {
    /// The longest that an authentication lasts, in seconds: some thirty years.
    const FOREVER: f64 = 1e9;
    let seconds: f64 = value.text().parse().map_err(|_| "expires is no number")?;
    let left = seconds - now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    Ok(now + Duration::from_secs_f64(left.clamp(0.0, FOREVER)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use symple_engine::server::{AllowedUser, Verdict};

    fn verdict(text: &str, has_session: bool) -> Result<Verdict, String> {
        read(text, has_session, SystemTime::now()).map(Verdict::from)
    }

    /// R-V2: answers that let somebody in, and those that do not.
    #[test]
    fn answers() {
        let Ok(Verdict::Allow { user: AllowedUser::Named(user), rooms, peer, expires }) = verdict(
            r#"{"allow":true,"user":"alice","rooms":["a","b"],"peer":{"name":"Alice","hidden":true},
                "readonly":true,"hidden":false,"expires":4102444800}"#,
            false,
        ) else {
            panic!("it is a clear answer");
        };
        assert_eq!((user.as_str(), rooms), ("alice", vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(peer.to_json(), r#"{"name":"Alice","readonly":true,"hidden":false}"#);
        assert!(expires.unwrap() > Duration::from_secs(1));
        let claimed = verdict(r#"{"allow":true,"user":null,"rooms":null,"peer":null}"#, true);
        assert!(matches!(
            claimed,
            Ok(Verdict::Allow { user: AllowedUser::Claimed, expires: None, .. })
        ));
        for (text, message) in [
            (r#"{"allow":false}"#, ""),
            (r#"{"allow":false,"message":"Banned","user":5}"#, "Banned"),
            (r#"{"allow":true,"user":"a","allow":false}"#, ""),
            (r#"{"allow":true,"user":"a","expires":5}"#, "Session expired"),
        ] {
            match verdict(text, false) {
                Ok(Verdict::Deny { message: told }) => {
                    assert_eq!(told.as_deref().unwrap_or_default(), message, "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        let long = format!(r#"{{"allow":false,"message":"{}"}}"#, "x".repeat(MAX_MESSAGE + 1));
        assert_eq!(verdict(&long, false), Ok(Verdict::Deny { message: Some("".into()) }));
    }

    /// R-V2, R-H5: what is no clear answer.
    #[test]
    fn answers_that_are_none() {
        for text in [
            "",
            "true",
            "[]",
            "{}",
            r#"{"allow":1}"#,
            r#"{"allow":"true","user":"a"}"#,
            r#"{"allow":null,"user":"a"}"#,
            r#"{"Allow":true,"user":"a"}"#,
            r#"{"allow":true}"#,
            r#"{"allow":true,"user":""}"#,
            r#"{"allow":true,"user":5}"#,
            r#"{"allow":true,"user":"a|b"}"#,
            r#"{"allow":true,"user":"\ud800"}"#,
            r#"{"allow":true,"user":"a","rooms":"r"}"#,
            r#"{"allow":true,"user":"a","rooms":["r",5]}"#,
            r#"{"allow":true,"user":"a","peer":[]}"#,
            r#"{"allow":true,"user":"a","readonly":"yes"}"#,
            r#"{"allow":true,"user":"a","hidden":1}"#,
            r#"{"allow":true,"user":"a","expires":"tomorrow"}"#,
            r#"{"allow":false,"message":5}"#,
        ] {
            assert!(verdict(text, false).is_err(), "{text}");
        }
    }

    /// R-V2: what is asked, and which headers are in it.
    #[test]
    fn a_question() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::COOKIE, "session=5"),
            (header::ORIGIN, "https://a.example"),
            (header::COOKIE, "theme=\"dark\""),
            (header::SEC_WEBSOCKET_KEY, "x"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let request = Request {
            uri: "/ws?a=b%20c".parse().unwrap(),
            headers,
            address: "192.0.2.1".parse().unwrap(),
            tls: true,
        };
        let peer = r#"{"user":"alice","id":"0a"}"#;
        let auth = r#"{"type":"auth","user":"alice","token":"t"}"#;
        let session = r#"{"user":"alice","private":{"n":1.0}}"#;
        let asked = AuthRequest::new(peer, auth, Some(session), request.into());
        assert_eq!(
            body(&asked),
            concat!(
                r#"{"auth":{"type":"auth","user":"alice","token":"t"},"peer":{"user":"alice","id":"0a"},"#,
                r#""session":{"user":"alice","private":{"n":1.0}},"request":{"address":"192.0.2.1","tls":true,"#,
                r#""path":"/ws","query":"a=b%20c","headers":{"origin":"https://a.example","#,
                r#""cookie":"session=5; theme=\"dark\""}}}"#
            )
        );
    }
}
