//! What requests bring: parameters, names in paths, bodies. What is not known is refused, not
//! ignored: a misspelt parameter must not mean another list.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request},
};
use http::{StatusCode, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Deserialize, de::DeserializeOwned};
use symple_driver::Operation;
use symple_engine::server::ListCursor;

use crate::admin::{ClientAddress, Shared, error::ApiError};

/// How long the body of a request may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a text may be that is searched for, in bytes.
const MAX_SEARCH: usize = 256;

/// The parameters of a request.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(ApiError::bad_request(rejection.body_text())),
        }
    }
}

/// Says that a request has no parameters.
pub(super) struct NoParams;

/// No parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl<S: Send + Sync> FromRequestParts<S> for NoParams {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Params::<Nothing>::from_request_parts(parts, state).await.map(|_| Self)
    }
}

/// The name in the path of a request: any text, as it is percent-decoded.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let names = RawPathParams::from_request_parts(parts, state).await;
        let names = names.map_err(|_| ApiError::bad_request("the path is not UTF-8"))?;
        // Those before it are of the path that the application has mounted the router at.
        let last = names.iter().last().map(|(_, name)| Self(name.into()));
        last.ok_or_else(|| ApiError::bad_request("the path has no name"))
    }
}

/// Who asks, as far as it is known, for the log.
#[derive(Clone, Copy)]
pub(super) struct Client(Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get().map(|ClientAddress(address)| *address)))
    }
}

impl Client {
    /// Something that it has done, to be logged.
    pub(super) fn did<'a>(
        self,
        action: &'static str,
        subject: impl Into<Option<&'a str>>,
        count: impl Into<Option<usize>>,
    ) -> Operation<'a> {
        let (subject, count) = (subject.into(), count.into());
        Operation { action, subject, address: self.0, count }
    }
}

/// The body of a request, in whole.
pub(super) struct Text(pub(super) Bytes);

impl FromRequest<Arc<Shared>> for Text {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, ApiError> {
        let limit = shared.body_limit;
        let body = Limited::new(request.into_body(), limit).collect();
        let body = tokio::time::timeout(BODY_TIMEOUT, body).await.map_err(|_| {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come in time")
        })?;
        match body {
            Ok(body) => Ok(Self(body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => {
                let message = format!("the body is larger than {limit} bytes");
                Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message))
            }
            Err(_) => Err(ApiError::bad_request("the body cannot be read")),
        }
    }
}

impl Text {
    /// The body as JSON of a certain shape.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.0)
            .map_err(|error| ApiError::bad_request(format!("the body: {error}")))
    }

    /// As [`read`](Self::read), and the default for no body.
    pub(super) fn read_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, ApiError> {
        if self.0.is_empty() { Ok(T::default()) } else { self.read() }
    }

    /// The body as a text.
    pub(super) fn text(&self) -> Result<&str, ApiError> {
        std::str::from_utf8(&self.0).map_err(|_| ApiError::bad_request("the body is not UTF-8"))
    }
}

/// How many entries a page has at most.
pub(super) fn limit(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit.unwrap_or(100) {
        limit @ 1..=1000 => Ok(limit),
        _ => Err(ApiError::bad_request("limit must be from 1 to 1000")),
    }
}

/// A text that is searched for.
pub(super) fn search(text: Option<String>) -> Result<Option<String>, ApiError> {
    if text.as_ref().is_some_and(|text| text.len() > MAX_SEARCH) {
        let message = format!("search must have at most {MAX_SEARCH} bytes");
        return Err(ApiError::bad_request(message));
    }
    Ok(text)
}

/// Where a page begins.
pub(super) fn cursor(shared: &Shared, cursor: Option<&str>) -> Result<ListCursor, ApiError> {
    let Some(cursor) = cursor else { return Ok(ListCursor::default()) };
    let parts = cursor.split_once('-').and_then(|(instance, number)| {
        let instance = u64::from_str_radix(instance, 16).ok()?;
        Some((instance, u32::from_str_radix(number, 16).ok()?))
    });
    match parts {
        Some((instance, number)) if instance == shared.handle.instance() => {
            Ok(ListCursor::new(number))
        }
        Some(_) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "stale_cursor",
            "the cursor is of another node, or of an earlier start of this one: begin anew",
        )),
        None => Err(ApiError::bad_request("cursor is none that was given out")),
    }
}

/// A cursor as it is given out.
pub(super) fn show_cursor(shared: &Shared, cursor: Option<ListCursor>) -> Option<String> {
    cursor.map(|cursor| format!("{:x}-{:x}", shared.handle.instance(), cursor.get()))
}
