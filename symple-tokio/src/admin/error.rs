//! What is answered to requests that are refused: `{"error":{"code":"…","message":"…"}}`.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use symple_driver::HandleError;
use symple_engine::server::EngineError;

/// How many characters of a message are sent: parts of it may be foreign text.
const MAX_MESSAGE: usize = 300;

/// What a refusal is called after which the request may be made again.
const BUSY: &str = "busy";

/// A request that is refused.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    header: Option<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Content<'a>,
}

#[derive(Serialize)]
struct Content<'a> {
    code: &'a str,
    message: &'a str,
}

impl ApiError {
    /// A refusal. What is not printable in the message is escaped, and it is cut short.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let escaped = message.chars().take(MAX_MESSAGE).flat_map(|c| {
            let printable = !c.is_control();
            let escaped = (!printable).then(|| c.escape_debug());
            printable.then_some(c).into_iter().chain(escaped.into_iter().flatten())
        });
        Self { status, code, message: escaped.collect(), header: None }
    }

    fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, HeaderValue::from_static(value)));
        self
    }

    /// The request makes no sense.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// The key is missing or wrong. A browser asks its user for it where that helps.
    pub(super) fn unauthorized(asks_user: bool) -> Self {
        let message = "the key is missing or wrong: Authorization: Bearer <key>";
        let scheme = if asks_user { "Basic realm=\"symple\"" } else { "Bearer realm=\"symple\"" };
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
            .header(header::WWW_AUTHENTICATE, scheme)
    }

    /// The request comes from where it must not come from.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// The request comes from a web page that has nothing to do with the API.
    pub(super) fn other_origin() -> Self {
        Self::forbidden("the request comes from a page of another origin")
    }

    /// What is asked for is not there.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// The path has other methods.
    pub(super) fn method_not_allowed() -> Self {
        let message = "the path has other methods: see Allow";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// There are too many requests at once, or too much waits for other nodes: nothing was done.
    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, BUSY, message).header(header::RETRY_AFTER, "1")
    }

    /// Nothing was done, and it may be asked for again.
    pub(super) fn is_busy(&self) -> bool {
        self.code == BUSY
    }

    /// The body is of a type that is not understood.
    pub(super) fn unsupported_type() -> Self {
        let message = "a body needs content-type: application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }
}

impl From<HandleError> for ApiError {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Ended => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server has ended")
            }
            HandleError::Engine(EngineError::UnknownPeer) => Self::not_found("no such peer"),
            HandleError::Engine(EngineError::UnknownRoom) => {
                Self::not_found("nobody is in this room")
            }
            HandleError::Engine(error @ EngineError::Busy) => Self::busy(error.to_string()),
            HandleError::Engine(EngineError::State(error)) if error.is_limit() => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string())
            }
            HandleError::Engine(error @ EngineError::StatesTooLarge) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string())
            }
            error => Self::bad_request(error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = Content { code: self.code, message: &self.message };
        let mut response = (self.status, Json(Body { error })).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-C6, R-I1: what is refused because too much waits for other nodes may be asked for again; what makes no
    /// sense may not.
    #[test]
    fn a_busy_cluster_is_no_bad_request() {
        let busy = ApiError::from(HandleError::Engine(EngineError::Busy));
        assert!(busy.is_busy());
        let response = busy.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let error = ApiError::from(HandleError::Engine(EngineError::NotUtf8));
        assert!(!error.is_busy());
        assert_eq!(error.into_response().status(), StatusCode::BAD_REQUEST);
    }
}
