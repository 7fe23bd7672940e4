//! A bot: it answers whoever asks it, and says back what it is told.
//!
//! `cargo run -p symple-tokio --example echo_bot -- ws://127.0.0.1:4500`

#![allow(clippy::print_stdout, reason = "it is for who runs it in a terminal")]

use symple_tokio::{
    Client, ClientError, ClientStartError,
    client::{CallConfig, CallEvent, Event, OperationError, Outgoing},
    proto::RoutedType,
};

/// Answers until the client has ended. What happens to it is said.
pub(crate) async fn run(url: &str, say: impl Fn(&str)) -> Result<(), ClientStartError> {
    let builder = Client::builder(url).user("echo").room("lobby").record("bot", true);
    // It rings for nobody: whoever calls a bot is told so at once.
    let builder = builder.configure(|config| config.calls = Some(CallConfig::default()));
    let (client, mut events) = builder.connect().await?;
    while let Some(event) = events.next().await {
        let answered = match event {
            Event::Online { peer, .. } => {
                say(&format!("online as {}|{}", peer.user, peer.id));
                Ok(())
            }
            Event::Frame(frame) if frame.kind() == RoutedType::Message => {
                let (Some(from), Some(data)) = (frame.from(), frame.data()) else { continue };
                match frame.id() {
                    // Whoever waits for an answer gets one; an answer is none that is waited for.
                    Some(_) => client.respond(&frame, data).await,
                    None => client.send(Outgoing::message(data).to(from)).await,
                }
            }
            Event::Call(CallEvent::Incoming { call, .. }) => {
                client.reject(call, Some("this is a bot")).await
            }
            Event::Closed { end } => {
                say(&format!("ended: {end}"));
                Ok(())
            }
            _ => Ok(()),
        };
        match answered {
            // Whoever asked is gone, or so is the connection: it comes back by itself.
            Ok(()) | Err(ClientError::Operation(OperationError::Offline)) => {}
            Err(error) => say(&format!("no answer: {error}")),
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), ClientStartError> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:4500".into());
    run(&url, |line| println!("{line}")).await
}
