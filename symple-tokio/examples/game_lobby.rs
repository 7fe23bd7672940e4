//! A lobby: games are rooms, and who wants to join one shows its code. Spectators see everything
//! and say nothing; who leaves is announced to the game.
//!
//! `cargo run -p symple-tokio --example game_lobby -- 127.0.0.1:4500`

#![allow(clippy::print_stdout, reason = "it is for who runs it in a terminal")]

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::Serialize;
use symple_tokio::{
    AuthDecision, AuthRequest, JoinDecision, JoinRequest, PeerOffline, Server, ServerBuilder,
    proto::frame::Event,
};

/// The codes of the games that are open.
type Games = HashMap<&'static str, &'static str>;

/// What a game is told of a player who is gone.
#[derive(Serialize)]
struct Gone {
    user: String,
}

/// Anyone may come in under any name; a name that begins with `spectator` only watches.
async fn authenticate(request: AuthRequest) -> AuthDecision {
    let decision = AuthDecision::allow_claimed();
    if request.user().starts_with("spectator") {
        // Read-only peers cannot join: they are put where they may watch.
        decision.rooms(["chess"]).read_only()
    } else {
        decision
    }
}

/// Who has the code of a game may join it.
async fn join(games: Arc<Games>, request: JoinRequest) -> JoinDecision {
    match (games.get(&*request.room), request.credential()) {
        (None, _) => JoinDecision::deny("No such game"),
        (Some(code), Some(credential)) if credential == **code => JoinDecision::allow(),
        _ => JoinDecision::deny("Wrong code"),
    }
}

/// Starts the server.
pub(crate) fn serve(address: &str) -> Result<Server, symple_tokio::StartError> {
    let games = Arc::new(Games::from([("chess", "e2e4"), ("go", "tengen")]));
    // Hooks that are told of changes do not wait; what takes time is done by a task of its own.
    let (gone, left) = async_channel::unbounded::<PeerOffline>();
    let server = ServerBuilder::new()
        .bind(address)
        .authenticate(authenticate)
        .on_join(move |request| join(Arc::clone(&games), request))
        .on_offline(move |change| drop(gone.try_send(change)))
        .start()?;
    let handle = server.handle();
    tokio::spawn(async move {
        while let Ok(PeerOffline { peer, rooms, .. }) = left.recv().await {
            let user = peer.user.to_string();
            for game in rooms.into_iter().filter(|room| **room != *user) {
                let gone = Gone { user: user.clone() };
                let Ok(event) = Event::to(&*game).name("gone").data(&gone) else { continue };
                let _ = handle.emit(event).await;
            }
        }
    });
    Ok(server)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4500".into());
    let server = serve(&address)?;
    println!("a lobby on ws://{}", server.local_address());
    tokio::signal::ctrl_c().await?;
    server.shutdown(Duration::ZERO).await?;
    Ok(())
}
