//! What every request must pass before anything else is said to it.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State as Extract},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, header};
use subtle::ConstantTimeEq as _;

use super::{Key, Shared, State, console, error::ApiError};

/// Checks the key, the host and the origin; and that there are not too many requests at once.
pub(super) async fn guard(Extract(shared): State, request: Request, next: Next) -> Response {
    // Whoever opens the console has yet to be asked for the key.
    if console::is_for_everyone(&request) {
        return next.run(request).await;
    }
    if let Err(error) = check(&shared, &request) {
        return error.into_response();
    }
    let Ok(_permit) = shared.requests.try_acquire() else {
        return ApiError::busy("too many requests at once").into_response();
    };
    let mut response = next.run(request).await;
    // Answers tell of now, and are for nobody but who has the key.
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(http::HeaderValue::from_static("no-store"));
    let nosniff = http::HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn check(shared: &Arc<Shared>, request: &Request) -> Result<(), ApiError> {
    let headers = request.headers();
    // HTTP/2 has the host in the URI.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    match &shared.key {
        Some(Key(key)) if !is_authorized(key, headers) => {
            let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
            let html = accepted.is_some_and(|accepted| accepted.contains("text/html"));
            return Err(ApiError::unauthorized(html));
        }
        // A web page that is served under a name of its own may have that name point here later.
        None if !shared.any_host && !host.is_some_and(is_local) => {
            return Err(ApiError::forbidden(
                "without a key the host must be an address or localhost, not a name",
            ));
        }
        Some(_) | None => {}
    }
    // Browsers say from which page a request comes. Who only follows a link may come from anywhere.
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        let same =
            origin.is_some_and(|(_, from)| host.is_some_and(|to| from.eq_ignore_ascii_case(to)));
        if !same {
            return Err(ApiError::other_origin());
        }
    }
    let says = |name: &str, values: &[&str]| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| values.contains(&value))
    };
    if says("sec-fetch-site", &["cross-site", "same-site"])
        && !says("sec-fetch-mode", &["navigate"])
    {
        return Err(ApiError::other_origin());
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    // A page of another origin cannot send this type without being asked for permission first.
    match headers.get(header::CONTENT_TYPE) {
        Some(given) if is_json(given) => Ok(()),
        Some(_) => Err(ApiError::unsupported_type()),
        None if has_body(request) => Err(ApiError::unsupported_type()),
        None => Ok(()),
    }
}

/// True for a key as `Bearer`, or as the password of `Basic`.
fn is_authorized(key: &str, headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return false };
    let Some((scheme, credentials)) = given.to_str().ok().and_then(|text| text.split_once(' '))
    else {
        return false;
    };
    let credentials = credentials.trim();
    // Only the length of the key may be told by the time that this takes.
    if scheme.eq_ignore_ascii_case("bearer") {
        return credentials.as_bytes().ct_eq(key.as_bytes()).into();
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return false;
    }
    let Ok(pair) = STANDARD.decode(credentials) else { return false };
    let password = pair.iter().position(|byte| *byte == b':').map(|colon| &pair[colon + 1..]);
    password.is_some_and(|password| password.ct_eq(key.as_bytes()).into())
}

/// True for an address or `localhost`, with a port or without.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

fn is_json(content_type: &http::HeaderValue) -> bool {
    let essence = content_type.to_str().ok().and_then(|text| text.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn has_body(request: &Request) -> bool {
    use axum::body::HttpBody as _;
    !request.body().is_end_stream()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in [
            "localhost",
            "LOCALHOST:4501",
            "127.0.0.1:4501",
            "[::1]:4501",
            "[::1]",
            "10.0.0.1",
            "localhost.",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example:4501", "127.0.0.1.evil.example", "a:b"]
        {
            assert!(!is_local(host), "{host}");
        }
    }
}
