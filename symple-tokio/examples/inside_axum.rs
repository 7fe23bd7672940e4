//! An axum application with routes of its own, and Symple on the same port: one server on two
//! paths.
//!
//! `cargo run -p symple-tokio --features axum --example inside_axum -- 127.0.0.1:4500`

#![allow(clippy::print_stdout, reason = "it is for who runs it in a terminal")]

use std::{
    future::{Future, IntoFuture as _},
    net::SocketAddr,
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use symple_tokio::{
    AuthDecision, AuthRequest, Handle, Server, ServerBuilder, axum::symple, proto::frame::Event,
};
use tokio::net::TcpListener;

/// Who comes by way of `/guests` may only read.
async fn authenticate(request: AuthRequest) -> AuthDecision {
    let decision = AuthDecision::allow_claimed().rooms(["news"]);
    match request.request.uri.path() {
        "/rooms/guests" => decision.read_only(),
        _ => decision,
    }
}

/// How many are online, on all nodes.
async fn count(State(handle): State<Handle>) -> Result<String, StatusCode> {
    let peers = handle.peers().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(peers.len().to_string())
}

/// Tells everyone the news.
async fn tell(State(handle): State<Handle>, Path(news): Path<String>) -> StatusCode {
    let told = match Event::to("news").name("news").data(&news) {
        Ok(event) => handle.emit(event).await.is_ok(),
        Err(_) => false,
    };
    if told { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// An application that has been started: where it listens, the Symple server in it, and what runs it.
pub(crate) struct Started<F> {
    pub(crate) address: SocketAddr,
    pub(crate) server: Server,
    pub(crate) run: F,
}

/// Starts the application.
pub(crate) async fn serve(
    address: &str,
) -> Result<Started<impl Future<Output = std::io::Result<()>> + use<>>, Box<dyn std::error::Error>>
{
    let server = ServerBuilder::new().authenticate(authenticate).start_unbound()?;
    let rooms = Router::new()
        .route("/members", get(symple(server.handle())))
        .route("/guests", get(symple(server.handle())));
    let app = Router::new()
        .route("/", get("Symple is at /rooms/members, and at /rooms/guests"))
        .route("/count", get(count))
        .route("/news/{news}", post(tell))
        .nest("/rooms", rooms)
        .with_state(server.handle());
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    // So the server knows whose connections they are.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let mut events = server.events();
    let run = axum::serve(listener, app)
        // When the Symple server has ended, the application does.
        .with_graceful_shutdown(async move { while events.next().await.is_some() {} });
    Ok(Started { address, server, run: run.into_future() })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4500".into());
    let Started { address, server, run } = serve(&address).await?;
    println!("an application on http://{address}");
    let run = tokio::spawn(run);
    tokio::signal::ctrl_c().await?;
    server.shutdown(Duration::ZERO).await?;
    run.await??;
    Ok(())
}
