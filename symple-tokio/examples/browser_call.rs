//! Calls between browsers: a server for the signalling, and the page that calls. Media, here a
//! channel of texts, go from browser to browser.
//!
//! `cargo run -p symple-tokio --example browser_call`, and open the address that it prints in two
//! windows, with two names.

#![allow(clippy::print_stdout, reason = "it is for who runs it in a terminal")]

use std::{error::Error, io, net::SocketAddr, time::Duration};

use symple_tokio::{Server, ServerBuilder};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// The page; `PORT` stands for that of the server.
const PAGE: &str = include_str!("browser_call.html");
/// How large a request may be, in bytes.
const MAX_REQUEST: usize = 8192;
/// How long it may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Starts the server, and a port for the page beside it.
pub(crate) async fn serve(
    address: &str,
    page: &str,
) -> Result<(Server, SocketAddr), Box<dyn Error>> {
    let server = ServerBuilder::new().bind(address).start()?;
    let text = PAGE.replace("PORT", &server.local_address().port().to_string());
    let listener = TcpListener::bind(page).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    let text = text.clone();
                    tokio::spawn(async move { drop(timeout(WITHIN, answer(socket, text)).await) });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    Ok((server, address))
}

/// Answers one request, and closes.
async fn answer(mut socket: TcpStream, page: String) -> io::Result<()> {
    let (mut request, mut part) = (Vec::new(), [0; 1024]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = socket.read(&mut part).await?;
        if read == 0 || request.len() + read > MAX_REQUEST {
            return Ok(());
        }
        request.extend_from_slice(&part[..read]);
    }
    let is_page = request.starts_with(b"GET / ") || request.starts_with(b"GET /?");
    let (status, body) = if is_page { ("200 OK", &*page) } else { ("404 Not Found", "") };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body.as_bytes()).await?;
    socket.shutdown().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (server, page) = serve("127.0.0.1:4500", "127.0.0.1:4580").await?;
    println!("open http://{page}/?user=alice and http://{page}/?user=bob");
    tokio::signal::ctrl_c().await?;
    server.shutdown(Duration::ZERO).await?;
    Ok(())
}
