//! The console: a page for people over what the API and the metrics say (R-I3).
//!
//! Its files are in the program, and ask for nothing from elsewhere. They hold no secret, so that they
//! need no key: the page asks for it, and sends it with each request to the API.

use std::sync::Arc;

use axum::{
    Router,
    extract::{OriginalUri, Request},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http::{Method, header};

use super::Shared;

/// What the page may do: nothing that is written into it, nothing from elsewhere, and WebSocket to
/// whatever server is to be tried.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self' ws: wss:; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
    form-action 'none'";

/// The files: below which path, of which type.
const FILES: [(&str, &str, &str); 4] = [
    ("/console", "text/html; charset=utf-8", include_str!("console/index.html")),
    ("/console/console.css", "text/css; charset=utf-8", include_str!("console/console.css")),
    ("/console/console.js", "text/javascript; charset=utf-8", include_str!("console/console.js")),
    ("/console/icon.svg", "image/svg+xml", include_str!("console/icon.svg")),
];

/// The routes of the console, which need no key.
pub(super) fn routes() -> Router<Arc<Shared>> {
    FILES.into_iter().fold(Router::new().route("/", get(root)), |router, (path, kind, text)| {
        router.route(path, get(async move || file(kind, text)))
    })
}

/// True for a request for the page and what belongs to it.
pub(super) fn is_for_everyone(request: &Request) -> bool {
    let path = request.uri().path();
    matches!(*request.method(), Method::GET | Method::HEAD)
        && (path == "/" || FILES.iter().any(|(known, ..)| *known == path))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Another version of the program has another page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

/// Shows the way to the page, wherever the router is mounted.
async fn root(OriginalUri(uri): OriginalUri) -> Redirect {
    // A path that begins with two slashes would lead to another host.
    let mounted = uri.path().trim_matches('/');
    let slash = if mounted.is_empty() { "" } else { "/" };
    Redirect::temporary(&format!("/{mounted}{slash}console"))
}
