//! A help desk within an application: its own server, its own hook, and a client of its own that
//! answers, all in one process.
//!
//! `cargo run -p symple-async-std --example helpdesk -- 127.0.0.1:4500`

#![allow(clippy::print_stdout, reason = "it is for who runs it in a terminal")]

use std::{error::Error, time::Duration};

use symple_async_std::{
    AuthDecision, AuthRequest, Client, FrameDecision, FrameRequest, Server, ServerBuilder,
    client::{Event, Outgoing},
    proto::RoutedType,
};

/// What the desk itself shows; whoever else claims to be the desk does not know it.
fn secret() -> String {
    // Anything that nobody guesses, and that lives no longer than this process.
    use std::hash::{BuildHasher as _, RandomState};
    format!("{:x}{:x}", RandomState::new().hash_one(1), RandomState::new().hash_one(2))
}

/// Who comes is a guest; the desk is who has its secret.
fn decide(request: &AuthRequest, secret: &str) -> AuthDecision {
    match request.token().as_deref() {
        Some(token) if token == secret => AuthDecision::allow("desk").rooms(["help"]),
        Some(_) => AuthDecision::deny("Unknown token"),
        None if request.user() == "desk" => AuthDecision::deny("The desk has a token"),
        None => AuthDecision::allow_claimed().rooms(["help"]),
    }
}

/// Guests talk to the desk alone, and in texts that are not long.
fn moderate(request: &FrameRequest) -> FrameDecision {
    match request.kind {
        _ if &*request.sender.user == "desk" => FrameDecision::pass(),
        // What guests tell of themselves goes to all.
        RoutedType::Presence => FrameDecision::pass(),
        _ if request.text.len() > 4096 => FrameDecision::refuse("Too long"),
        _ => match request.view().to().and_then(|to| to.as_str()?.ok()) {
            Some(to) if *to == *"desk" || to.starts_with("desk|") => FrameDecision::pass(),
            _ => FrameDecision::refuse("Talk to the desk"),
        },
    }
}

/// Starts the server, and the desk.
pub(crate) async fn serve(address: &str) -> Result<(Server, Client), Box<dyn Error>> {
    let secret = secret();
    let shown = secret.clone();
    let server = ServerBuilder::new()
        .bind(address)
        .authenticate(move |request: AuthRequest| {
            let decision = decide(&request, &secret);
            async move { decision }
        })
        .on_frame(moderate)
        .start()?;
    let url = format!("ws://{}", server.local_address());
    let (desk, mut events) = Client::builder(url).user("desk").token(shown).connect().await?;
    let client = desk.clone();
    async_std::task::spawn(async move {
        let mut tickets = 0;
        while let Some(event) = events.next().await {
            let Event::Frame(frame) = event else { continue };
            let (RoutedType::Message, Some(from)) = (frame.kind(), frame.from()) else { continue };
            tickets += 1;
            let text = format!("Thank you. Your ticket is number {tickets}.");
            // Whoever is gone needs no ticket.
            let _ = match frame.id() {
                Some(_) => client.respond(&frame, text.as_str()).await,
                None => client.send(Outgoing::message(text.as_str()).to(from)).await,
            };
        }
    });
    Ok((server, desk))
}

#[async_std::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4500".into());
    let (server, desk) = serve(&address).await?;
    println!("a help desk on ws://{}: press Enter to end", server.local_address());
    let mut line = String::new();
    async_std::io::stdin().read_line(&mut line).await?;
    desk.close().await?;
    server.shutdown(Duration::from_secs(1)).await?;
    Ok(())
}
