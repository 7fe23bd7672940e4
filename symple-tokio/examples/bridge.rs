//! A bridge: who connects by plain TCP, and writes lines, is a peer like any other.
//!
//! `cargo run -p symple-tokio --example bridge -- 127.0.0.1:4500 127.0.0.1:4501`, and then
//! `nc 127.0.0.1 4501`: the first line is your name, the others are said in the lobby.

#![allow(clippy::print_stdout, reason = "it is for who runs it in a terminal")]

use std::{error::Error, io, net::SocketAddr, time::Duration};

use symple_tokio::{
    Handle, Server, ServerBuilder,
    proto::{Fields, ServerFrame, UserName, frame::Message},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// How long a line may be, in bytes.
const MAX_LINE: u64 = 4096;
/// How long somebody may take to say a name.
const NAME_WITHIN: Duration = Duration::from_secs(10);
/// Where they all are.
const ROOM: &str = "lobby";

/// Starts the server, and a port for lines beside it.
pub(crate) async fn serve(
    address: &str,
    lines: &str,
) -> Result<(Server, SocketAddr), Box<dyn Error>> {
    let server = ServerBuilder::new().bind(address).start()?;
    let listener = TcpListener::bind(lines).await?;
    let address = listener.local_addr()?;
    let handle = server.handle();
    tokio::spawn(async move {
        // The machine may be out of sockets for a while: then it waits a little.
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    let handle = handle.clone();
                    tokio::spawn(async move { drop(bridge(socket, handle).await) });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    Ok((server, address))
}

/// Reads into a line until it is whole. True if it is; it is not where there are no more.
async fn read_line(
    from: &mut (impl tokio::io::AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<bool> {
    let room = MAX_LINE.saturating_sub(line.len() as u64);
    from.take(room).read_until(b'\n', line).await?;
    Ok(line.ends_with(b"\n"))
}

/// Takes a line out, if it is text.
fn take(line: &mut Vec<u8>) -> Option<String> {
    let text = String::from_utf8(std::mem::take(line)).ok()?;
    Some(text.trim().to_owned())
}

/// Stands for somebody as long as the connection lasts.
async fn bridge(socket: TcpStream, handle: Handle) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (read, mut write) = socket.into_split();
    let (mut read, mut line) = (BufReader::new(read), Vec::new());
    timeout(NAME_WITHIN, read_line(&mut read, &mut line)).await??;
    let name = UserName::new(take(&mut line).unwrap_or_default())?;
    let mut peer = handle.add_peer(name, Fields::new().with("by", "tcp"), [ROOM]).await?;
    loop {
        tokio::select! {
            // What was read of a line stays in it when something else comes first.
            whole = read_line(&mut read, &mut line) => {
                // The end, or a line without one.
                if !whole? {
                    return Ok(());
                }
                let Some(text) = take(&mut line).filter(|text| !text.is_empty()) else { continue };
                let frame = Message::to(ROOM).data(&text)?;
                peer.send(frame).await?;
            }
            frame = peer.recv() => {
                // It was kicked, or the server ends.
                let Some(frame) = frame else { return Ok(()) };
                if let Some(said) = said(&frame) {
                    write.write_all(said.as_bytes()).await?;
                }
            }
        }
    }
}

/// What a message says, as one line; none for what is no message.
fn said(frame: &str) -> Option<String> {
    let Ok(ServerFrame::Message(message)) = ServerFrame::parse(frame) else { return None };
    let data = message.data?;
    let text = data.as_str().map_or_else(|| data.to_string(), String::from);
    // Lines are lines, and a terminal is not told to do anything, whatever somebody says.
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let line = format!("{}: {text}", message.from.as_deref().unwrap_or("the server"));
    Some(line.chars().map(printable).chain(['\n']).collect())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:4500".into());
    let lines = arguments.next().unwrap_or_else(|| "127.0.0.1:4501".into());
    let (server, lines) = serve(&address, &lines).await?;
    println!("a server on ws://{}, lines on {lines}", server.local_address());
    tokio::signal::ctrl_c().await?;
    server.shutdown(Duration::ZERO).await?;
    Ok(())
}
