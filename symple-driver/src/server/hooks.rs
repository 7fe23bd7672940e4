//! What the host is asked: whether a request may become a connection, and a connection a peer, and
//! what a peer may do; and what it is told of peers.

pub(crate) mod changes;
pub(crate) mod complaints;
pub(crate) mod frames;
pub(crate) mod joins;
pub(crate) mod states;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use symple_engine::server::{AllowedUser, Verdict};
use symple_proto::{Fields, Json, UserName, json::MAX_DEPTH};

use crate::http::Request;
use changes::ChangeHooks;
use complaints::Complaint;
use frames::{FrameHook, FrameRequest, IntoFrameDecision};
use joins::{IntoJoinDecision, JoinDecision, JoinRequest};
use states::StateRequest;

/// A client that wants to come in (R-A5).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuthRequest {
    /// The peer as it will be: the members of its `auth` frame, and over them those of its session
    /// but `private`; its `id` and its `user`.
    ///
    /// Where there is no session these are **claims of the client**: nothing in them is proved.
    pub peer: Fields,
    /// The `auth` frame, `token` included: claims of the client.
    pub auth: Fields,
    /// The session behind the token, as it is stored, `private` included (R-A4), or what a JSON Web
    /// Token says, with all its claims in `private` (R-V1); none where no token is needed. Nobody but
    /// the hook sees `private`.
    pub session: Option<Fields>,
    /// The request that its connection began with.
    pub request: Arc<Request>,
}

impl AuthRequest {
    pub(crate) fn new(
        peer: &str,
        auth: &str,
        session: Option<&str>,
        request: Arc<Request>,
    ) -> Self {
        let fields = |text| {
            // The engine lets no key pass that no Rust string can hold.
            let object = Json::parse(text, MAX_DEPTH).ok().and_then(Json::as_object);
            object.and_then(|object| Fields::try_from(object).ok()).unwrap_or_default()
        };
        Self { peer: fields(peer), auth: fields(auth), session: session.map(fields), request }
    }

    /// Who the client is: the user that its session names; where there is none, the one that the
    /// client claims to be, which proves nothing.
    #[must_use]
    pub fn user(&self) -> String {
        self.peer.get_str("user").unwrap_or_default().into_owned()
    }

    /// The token of the `auth` frame; none if it is empty.
    #[must_use]
    pub fn token(&self) -> Option<String> {
        self.auth.get_str("token").filter(|token| !token.is_empty()).map(Into::into)
    }
}

/// What a hook says of a client (R-A5).
///
/// Who allows says who the client is. A token proves who somebody is, or it proves nothing:
///
/// ```
/// # use symple_driver::{AuthDecision, AuthRequest};
/// # fn user_of(token: &str) -> Option<String> { None }
/// fn decide(request: &AuthRequest) -> AuthDecision {
///     match request.token().and_then(|token| user_of(&token)) {
///         Some(user) => AuthDecision::allow(user).rooms(["team-a"]),
///         None => AuthDecision::deny("Invalid token"),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct AuthDecision(pub(crate) Verdict);

impl AuthDecision {
    /// It may come in, and is this user, whatever it or its session says.
    ///
    /// What is no name of a user (R-A1: empty, longer than 255 bytes, with `|` or control
    /// characters) denies, and is logged.
    pub fn allow(user: impl Into<String>) -> Self {
        match UserName::new(user.into()) {
            Ok(user) => Self::allow_as(AllowedUser::Named(user)),
            Err(error) => {
                static NO_USER: Complaint =
                    Complaint::new("the authentication hook allows what is no user");
                NO_USER.log(&error);
                Self(Verdict::Deny { message: None })
            }
        }
    }

    /// It may come in as the user that its session names; where there is no session, as the user
    /// that it **claims** to be ([`AuthRequest::user`]): only for a hook that has checked that very
    /// claim, or a server where everyone may be anyone.
    pub fn allow_claimed() -> Self {
        Self::allow_as(AllowedUser::Claimed)
    }

    fn allow_as(user: AllowedUser) -> Self {
        Self(Verdict::Allow { user, rooms: Vec::new(), peer: Fields::new(), expires: None })
    }

    /// It may not; it is told why. Without a message it is told `Authentication failed`.
    pub fn deny(message: impl Into<String>) -> Self {
        Self(Verdict::Deny { message: Some(message.into().into()) })
    }

    /// Whoever should decide cannot be reached (R-V2): the client is sent `error` 503, closed with
    /// 4503, and may try again. Nothing is let through.
    pub fn unavailable() -> Self {
        Self(Verdict::Unavailable)
    }

    /// Where it is allowed: for how long (R-V1). Then it is sent `error` 401 `Session expired` and
    /// closed with 4401, unless it has authenticated again meanwhile. It cannot stay longer than its
    /// token proves, whatever is said here.
    pub fn expires_in(mut self, time: Duration) -> Self {
        if let Verdict::Allow { expires, .. } = &mut self.0 {
            *expires = Some(time);
        }
        self
    }

    /// As [`expires_in`](Self::expires_in), with the time at which it has to go. A time that has
    /// passed denies.
    pub fn expires_at(self, time: SystemTime) -> Self {
        match time.duration_since(SystemTime::now()) {
            Ok(left) if !left.is_zero() => self.expires_in(left),
            _ if matches!(self.0, Verdict::Allow { .. }) => Self::deny("Session expired"),
            _ => self,
        }
    }

    /// Where it is allowed: the rooms that it is put in, beside its user's own.
    pub fn rooms(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        if let Verdict::Allow { rooms, .. } = &mut self.0 {
            rooms.extend(names.into_iter().map(Into::into));
        }
        self
    }

    /// Where it is allowed: members that go over those of the peer, such as `name`, for everyone
    /// to see. Who it is they do not say: a `user` among them does not count.
    pub fn peer(mut self, fields: Fields) -> Self {
        if let Verdict::Allow { peer, .. } = &mut self.0 {
            peer.merge(fields);
        }
        self
    }
}

impl AuthDecision {
    /// Where it is allowed: it may hear and not send, and join no rooms (R-H4). The client sees it
    /// in the peer of its `welcome`.
    pub fn read_only(self) -> Self {
        self.peer(Fields::new().with("readonly", true))
    }

    /// Where it is allowed: no other peer is told of it, and none can address it; it sees what
    /// others in its rooms see (R-H4).
    pub fn hidden(self) -> Self {
        self.peer(Fields::new().with("hidden", true))
    }
}

impl From<AuthDecision> for Verdict {
    fn from(decision: AuthDecision) -> Self {
        decision.0
    }
}

/// What an authentication hook may return: a decision, or a result that is one. An error denies;
/// it is logged, and the client is not told of it (R-A5, R-A12).
pub trait IntoAuthDecision {
    /// The decision.
    fn into_decision(self) -> AuthDecision;
}

impl IntoAuthDecision for AuthDecision {
    fn into_decision(self) -> AuthDecision {
        self
    }
}

impl<E: fmt::Display> IntoAuthDecision for Result<AuthDecision, E> {
    fn into_decision(self) -> AuthDecision {
        self.unwrap_or_else(|error| {
            static FAILED: Complaint = Complaint::new("the authentication hook failed");
            FAILED.log(&error);
            AuthDecision(Verdict::Deny { message: None })
        })
    }
}

/// What a hook says of a request to be upgraded.
#[derive(Clone, Debug)]
pub struct UpgradeDecision(pub(crate) Result<Acceptance, Rejection>);

/// What goes into the answer to an upgrade that is accepted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acceptance {
    pub(crate) headers: HeaderMap,
    pub(crate) subprotocol: Subprotocol,
}

/// The subprotocol that is answered (R-T4).
#[derive(Clone, Debug, Default)]
pub(crate) enum Subprotocol {
    /// The first that the client offers and the server knows.
    #[default]
    Known,
    /// The one that the hook has chosen; none without one.
    Chosen(Option<Box<str>>),
}

/// An answer that is no upgrade.
#[derive(Clone, Debug)]
pub(crate) struct Rejection {
    pub(crate) status: StatusCode,
    /// The reason phrase, if it is not the registered one.
    pub(crate) reason: Option<Box<str>>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl UpgradeDecision {
    /// It becomes a WebSocket connection.
    #[must_use]
    pub fn accept() -> Self {
        Self(Ok(Acceptance::default()))
    }

    /// It is answered with this status and text, and ends. A status below 400 becomes 403.
    #[must_use]
    pub fn reject(status: StatusCode, body: impl Into<String>) -> Self {
        let refuses = status.is_client_error() || status.is_server_error();
        let status = if refuses { status } else { StatusCode::FORBIDDEN };
        let headers = HeaderMap::new();
        Self(Err(Rejection { status, reason: None, headers, body: body.into() }))
    }

    /// A header of the answer, of either kind. Those that make the handshake cannot be set.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        let headers = match &mut self.0 {
            Ok(acceptance) => &mut acceptance.headers,
            Err(rejection) => &mut rejection.headers,
        };
        headers.append(name, value);
        self
    }

    /// Where it is accepted: answers with this subprotocol, one of those that the client
    /// [offers](Request::subprotocols) (R-T4); with none if `name` is `None`. Without this it is the
    /// first of `symple.v4` and `symple` that the client offers.
    ///
    /// A name that the client has not offered is logged and not answered: the client would have to
    /// end the connection (RFC 6455 §4.1).
    #[must_use]
    pub fn subprotocol(mut self, name: Option<&str>) -> Self {
        if let Ok(acceptance) = &mut self.0 {
            acceptance.subprotocol = Subprotocol::Chosen(name.map(Into::into));
        }
        self
    }

    /// Where it is rejected: the reason phrase of the answer, instead of the registered one of its
    /// status. Of it visible ASCII and spaces are sent, at most 128 bytes. Browsers do not show it,
    /// and an HTTP server of the application's writes its own.
    #[must_use]
    pub fn reason(mut self, phrase: &str) -> Self {
        if let Err(rejection) = &mut self.0 {
            let visible = phrase.chars().filter(|c| c.is_ascii_graphic() || *c == ' ');
            rejection.reason = Some(visible.take(128).collect());
        }
        self
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A function that is asked for an answer.
pub(crate) type Hook<Q, A> = Arc<dyn Fn(Q) -> Boxed<A> + Send + Sync>;

/// The functions of the host's.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) authenticate: Option<Hook<AuthRequest, AuthDecision>>,
    pub(crate) upgrade: Option<Hook<Arc<Request>, UpgradeDecision>>,
    pub(crate) join: Option<Hook<JoinRequest, JoinDecision>>,
    pub(crate) frame: Option<FrameHook<FrameRequest>>,
    pub(crate) state: Option<FrameHook<StateRequest>>,
    pub(crate) changes: ChangeHooks,
}

impl Hooks {
    pub(crate) fn set_authenticate<F, D>(
        &mut self,
        hook: impl Fn(AuthRequest) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = D> + Send + 'static,
        D: IntoAuthDecision,
    {
        self.authenticate = Some(Arc::new(move |request| {
            let decision = hook(request);
            Box::pin(async move { decision.await.into_decision() })
        }));
    }

    pub(crate) fn set_join<F, D>(&mut self, hook: impl Fn(JoinRequest) -> F + Send + Sync + 'static)
    where
        F: Future<Output = D> + Send + 'static,
        D: IntoJoinDecision,
    {
        self.join = Some(Arc::new(move |request| {
            let decision = hook(request);
            Box::pin(async move { decision.await.into_decision() })
        }));
    }

    pub(crate) fn set_frame<D: IntoFrameDecision>(
        &mut self,
        hook: impl Fn(&FrameRequest) -> D + Send + Sync + 'static,
    ) {
        self.frame = Some(FrameHook::plain(hook));
    }

    pub(crate) fn set_frame_async<F, D>(
        &mut self,
        hook: impl Fn(FrameRequest) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = D> + Send + 'static,
        D: IntoFrameDecision,
    {
        self.frame = Some(FrameHook::asynchronous(hook));
    }

    pub(crate) fn set_state<D: IntoFrameDecision>(
        &mut self,
        hook: impl Fn(&StateRequest) -> D + Send + Sync + 'static,
    ) {
        self.state = Some(FrameHook::plain(hook));
    }

    pub(crate) fn set_state_async<F, D>(
        &mut self,
        hook: impl Fn(StateRequest) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = D> + Send + 'static,
        D: IntoFrameDecision,
    {
        self.state = Some(FrameHook::asynchronous(hook));
    }

    pub(crate) fn set_upgrade<F>(
        &mut self,
        hook: impl Fn(Arc<Request>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = UpgradeDecision> + Send + 'static,
    {
        self.upgrade = Some(Arc::new(move |request| Box::pin(hook(request))));
    }
}
