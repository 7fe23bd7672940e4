//! Requests that are carried out once, however often they are made: `Idempotency-Key`.
//!
//! A key is claimed on this node first, and then in Redis for the whole cluster. What was answered is
//! remembered here, as far as memory allows; elsewhere it is known that it was answered.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::Bytes,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::Serialize;
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use symple_driver::HandleError;
use tokio::sync::OwnedSemaphorePermit;

use crate::admin::{Shared, error::ApiError};

/// The header that has the key.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The most bytes of a key.
const MAX_KEY: usize = 255;
/// How long a key is remembered: as long as Redis remembers a claim.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How many keys are remembered here.
const MAX_KEYS: usize = 10_000;
/// How many bytes of answers are remembered here.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A request that is to be carried out once, if it has a key.
pub(super) struct Call {
    key: Option<Box<str>>,
    fingerprint: u128,
}

impl Call {
    /// The call of a request: what it is to do, with what, and the key in its headers.
    pub(super) fn new(headers: &HeaderMap, what: &[&str], body: &[u8]) -> Result<Self, ApiError> {
        let mut keys = headers.get_all(KEY).iter();
        let key = match (keys.next(), keys.next()) {
            (None, _) => None,
            (Some(key), None) => {
                let key = key.to_str().ok().filter(|key| {
                    let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
                    visible && (1..=MAX_KEY).contains(&key.len())
                });
                let message = "Idempotency-Key must have 1 to 255 visible characters of ASCII";
                Some(key.ok_or_else(|| ApiError::bad_request(message))?.into())
            }
            (Some(_), Some(_)) => {
                return Err(ApiError::bad_request("Idempotency-Key is given twice"));
            }
        };
        // Those who have the key of the API deceive nobody but themselves with a collision.
        let mut hasher = SipHasher13::new();
        for part in what.iter().map(|part| part.as_bytes()).chain([body]) {
            std::hash::Hasher::write(&mut hasher, &part.len().to_le_bytes());
            std::hash::Hasher::write(&mut hasher, part);
        }
        Ok(Self { key, fingerprint: hasher.finish128().as_u128() })
    }
}

/// What is known of a key.
#[derive(Clone, Debug)]
enum State {
    /// Its request is being carried out.
    Underway,
    /// It may have been claimed with this value: Redis did not say.
    InDoubt { claim: Box<str> },
    /// It was answered so.
    Done { status: StatusCode, body: Bytes },
}

#[derive(Debug)]
struct Entry {
    fingerprint: u128,
    state: State,
    number: u64,
    since: Instant,
}

/// The keys that are remembered here.
#[derive(Debug, Default)]
pub(in crate::admin) struct Keys(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Box<str>, Entry>,
    /// The keys by the order in which they came.
    order: BTreeMap<u64, Box<str>>,
    next: u64,
    bytes: usize,
}

/// What becomes of a request.
enum Begin {
    /// It is carried out, and claimed with this value.
    New {
        claim: Box<str>,
    },
    Answered(Response),
}

impl Keys {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, key: &str, fingerprint: u128, instance: u64, now: Instant) -> Begin {
        let mut table = self.lock();
        table.forget(now);
        let mut known = None;
        if let Some(entry) = table.entries.get(key) {
            if entry.fingerprint != fingerprint {
                return Begin::Answered(mismatch());
            }
            match &entry.state {
                State::Underway => {
                    let message = "a request with this key is being carried out";
                    let error = ApiError::new(StatusCode::CONFLICT, "under_way", message);
                    return Begin::Answered(error.into_response());
                }
                State::Done { status, body } => {
                    return Begin::Answered(again(*status, body.clone()));
                }
                State::InDoubt { claim } => known = Some(claim.clone()),
            }
        }
        let number = table.next;
        table.next += 1;
        let claim =
            known.unwrap_or_else(|| format!("{fingerprint:032x}:{instance:x}:{number:x}").into());
        table.set(key, fingerprint, State::Underway, number, now);
        Begin::New { claim }
    }

    /// Notes what became of a request that has begun.
    fn end(&self, key: &str, fingerprint: u128, state: Option<State>, now: Instant) {
        let mut table = self.lock();
        match state {
            Some(state) => {
                let number = table.next;
                table.next += 1;
                table.set(key, fingerprint, state, number, now);
                table.forget(now);
            }
            None => table.remove(key),
        }
    }
}

impl Table {
    fn set(&mut self, key: &str, fingerprint: u128, state: State, number: u64, since: Instant) {
        self.remove(key);
        self.bytes += state.size();
        self.order.insert(number, key.into());
        self.entries.insert(key.into(), Entry { fingerprint, state, number, since });
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.state.size();
            self.order.remove(&entry.number);
        }
    }

    /// Forgets the oldest as long as there are too many, or they are too old. Those that are being
    /// carried out stay: there are only as many as may be carried out at once.
    fn forget(&mut self, now: Instant) {
        let mut stay = 0;
        while let Some(key) = self.order.values().nth(stay) {
            let Some(entry) = self.entries.get(key) else { return };
            let old = now.saturating_duration_since(entry.since) >= LIFE;
            if !old && self.entries.len() <= MAX_KEYS && self.bytes <= MAX_BYTES {
                return;
            }
            if matches!(entry.state, State::Underway) {
                stay += 1;
            } else {
                let key = key.clone();
                self.remove(&key);
            }
        }
    }
}

impl State {
    fn size(&self) -> usize {
        match self {
            Self::Underway => 0,
            Self::InDoubt { claim } => claim.len(),
            Self::Done { body, .. } => body.len(),
        }
    }
}

fn mismatch() -> Response {
    let message = "this Idempotency-Key was used for another request";
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", message).into_response()
}

/// The answer that was given before.
fn again(status: StatusCode, body: Bytes) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    again_of((status, json, body).into_response())
}

/// An answer that another node has given.
#[derive(Debug, Serialize)]
struct Replayed {
    replayed: bool,
}

/// Carries a request out, unless one with its key was carried out before. It is carried out to its end
/// even if nobody waits for the answer any more.
///
/// What can be wrong with a request must be found before: afterwards the key is used up.
pub(super) async fn once<F>(
    shared: Arc<Shared>,
    call: Call,
    effect: F,
) -> Result<Response, ApiError>
where
    F: Future<Output = Result<Response, ApiError>> + Send + 'static,
{
    // What is carried out may go on when its request is gone, so it has a place of its own.
    let places = Arc::clone(&shared.carried_out);
    let place = || {
        let busy = |_| ApiError::busy("too many requests at once");
        Arc::clone(&places).try_acquire_owned().map_err(busy)
    };
    let in_its_place = |permit| async move {
        let _permit: OwnedSemaphorePermit = permit;
        effect.await
    };
    let Call { key, fingerprint } = call;
    let carried_out = match key {
        None => tokio::spawn(in_its_place(place()?)),
        Some(key) => {
            let instance = shared.handle.instance();
            let claim = match shared.keys.begin(&key, fingerprint, instance, Instant::now()) {
                Begin::New { claim } => claim,
                Begin::Answered(response) => return Ok(response),
            };
            let underway = Underway { shared, key, fingerprint };
            let permit = match place() {
                Ok(permit) => permit,
                Err(busy) => {
                    // Nothing was done: it may be asked for again.
                    underway.end(Some(State::InDoubt { claim }));
                    return Err(busy);
                }
            };
            tokio::spawn(underway.carry_out(claim, in_its_place(permit)))
        }
    };
    carried_out.await.unwrap_or_else(|_| {
        let message = "something has gone wrong: see the log";
        Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message))
    })
}

/// A request with a key that is being carried out.
struct Underway {
    shared: Arc<Shared>,
    key: Box<str>,
    fingerprint: u128,
}

impl Underway {
    async fn carry_out<F>(self, claim: Box<str>, effect: F) -> Result<Response, ApiError>
    where
        F: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        let name = format!("once:{}", self.key);
        match self.shared.handle.claim(name, claim.clone()).await {
            Ok(holder) if *holder == *claim => {}
            Ok(holder) => {
                let same = holder.split(':').next() == claim.split(':').next();
                if !same {
                    self.end(None);
                    return Ok(mismatch());
                }
                let replayed = Json(Replayed { replayed: true }).into_response();
                return Ok(self.done(again_of(replayed)).await);
            }
            // This node alone remembers it.
            Err(HandleError::NoRedis) => {}
            Err(error) => {
                self.end(Some(State::InDoubt { claim }));
                return Err(match error {
                    HandleError::RedisAway => ApiError::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "unavailable",
                        "nothing was done: Redis does not answer, which keeps a key from being used \
                         twice. Ask this node again with this key: another one may take it for done",
                    ),
                    error => error.into(),
                });
            }
        }
        match effect.await {
            // Nothing was done: this node carries it out when it is asked again.
            Err(busy) if busy.is_busy() => {
                self.end(Some(State::InDoubt { claim }));
                Err(busy)
            }
            done => Ok(self.done(done.unwrap_or_else(ApiError::into_response)).await),
        }
    }

    /// Remembers an answer.
    async fn done(&self, response: Response) -> Response {
        let (head, body) = response.into_parts();
        // All of it is here already.
        let body =
            body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        self.end(Some(State::Done { status: head.status, body: body.clone() }));
        Response::from_parts(head, body.into())
    }

    fn end(&self, state: Option<State>) {
        self.shared.keys.end(&self.key, self.fingerprint, state, Instant::now());
    }
}

impl Drop for Underway {
    /// A panic on the way leaves the key unusable for a while, and not for ever.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end(None);
        }
    }
}

fn again_of(mut response: Response) -> Response {
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
