//! Actions of a room, as `onActionReq` of websocket-room-server has them: a client asks, and the server answers with
//! success and data, or with an error and what is wrong.
//!
//! A client sends `{"type":"command","id":"a1","node":"test","to":"game","data":{"n":1}}`, and is sent
//! `{"type":"event","name":"action","id":"a1","data":{"success":true,"data":{"n":1}}}`. Nobody else gets either.
//!
//! `cargo run -p symple-tokio --example room_actions -- 127.0.0.1:4500`

#![allow(clippy::print_stdout, reason = "it is for who runs it in a terminal")]

use serde::Serialize;
use symple_tokio::{
    FrameDecision, FrameRequest, Server, ServerBuilder,
    proto::{ClientFrame, RawJson, frame::Event},
};

/// What an action comes to.
#[derive(Serialize)]
struct Answer {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<&'static str>,
}

/// Does what a client asks for.
fn act(action: Option<&str>, data: Option<RawJson>) -> Answer {
    match (action, data) {
        (Some("test"), Some(data)) => Answer { success: true, data: Some(data), msg: None },
        (Some("test"), None) => Answer { success: false, data: None, msg: Some("test needs data") },
        _ => Answer { success: false, data: None, msg: Some("no such action") },
    }
}

/// Decides about one frame: a command is an action, and everything else is passed on.
fn decide(request: &FrameRequest) -> Result<FrameDecision, Box<dyn std::error::Error>> {
    let ClientFrame::Command(command) = request.parse()? else { return Ok(FrameDecision::pass()) };
    let answer = act(command.node.as_deref(), command.data);
    let event = Event { name: Some("action".into()), id: command.id, ..Event::default() };
    Ok(FrameDecision::answer(event.data(&answer)?))
}

/// Starts the server.
pub(crate) fn serve(address: &str) -> Result<Server, symple_tokio::StartError> {
    ServerBuilder::new()
        .bind(address)
        // An error is logged, and refuses the frame.
        .on_frame(|request: &FrameRequest| decide(request).map_err(|error| error.to_string()))
        .start()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4500".into());
    let server = serve(&address)?;
    println!("actions on ws://{}", server.local_address());
    tokio::signal::ctrl_c().await?;
    server.shutdown(std::time::Duration::ZERO).await?;
    Ok(())
}
