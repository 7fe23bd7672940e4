//! A chat in which the server reads along: rude words are softened, links wait for a look-up, and
//! `/help` is answered by the server itself.
//!
//! `cargo run -p symple-tokio --example moderated_chat -- 127.0.0.1:4500`

#![allow(clippy::print_stdout, reason = "it is for who runs it in a terminal")]

use serde::{Deserialize, Serialize};
use symple_tokio::{
    FrameDecision, FrameRequest, Server, ServerBuilder,
    proto::{ClientFrame, frame::Message},
};

/// What chat clients write in the `data` of a message.
#[derive(Deserialize, Serialize)]
struct Line {
    text: String,
}

/// Decides about one frame.
async fn moderate(request: FrameRequest) -> Result<FrameDecision, Box<dyn std::error::Error>> {
    // What is no message is not for reading: presence, signalling.
    let ClientFrame::Message(message) = request.parse()? else { return Ok(FrameDecision::pass()) };
    let Some(line) = message.data.as_ref().and_then(|data| data.to::<Line>().ok()) else {
        return Ok(FrameDecision::refuse("A message needs a text"));
    };
    if line.text == "/help" {
        let help = Line { text: "Be kind.".into() };
        let answer = Message::to(&request.sender).sender("moderator").data(&help)?;
        return Ok(FrameDecision::answer(answer));
    }
    if line.text.contains("http://") && !is_allowed(&line.text).await {
        return Ok(FrameDecision::refuse("No such links here"));
    }
    let softened = line.text.replace("darn", "d***");
    if softened == line.text {
        return Ok(FrameDecision::pass());
    }
    Ok(FrameDecision::replace(message.data(&Line { text: softened })?))
}

/// Asks somebody about a link; here nobody, who takes their time.
async fn is_allowed(text: &str) -> bool {
    tokio::task::yield_now().await;
    text.contains("http://example.org")
}

/// Starts the server.
pub(crate) fn serve(address: &str) -> Result<Server, symple_tokio::StartError> {
    ServerBuilder::new()
        .bind(address)
        // An error is logged, and refuses the frame.
        .on_frame_async(|request| async {
            let decision = moderate(request).await;
            decision.map_err(|error| error.to_string())
        })
        .start()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4500".into());
    let server = serve(&address)?;
    println!("a moderated chat on ws://{}", server.local_address());
    tokio::signal::ctrl_c().await?;
    server.shutdown(std::time::Duration::ZERO).await?;
    Ok(())
}
