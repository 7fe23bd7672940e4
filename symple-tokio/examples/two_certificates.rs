//! One server at three places: without encryption for this machine, and encrypted with one
//! certificate for the inside and another one for the outside, which is read again every hour.
//!
//! `cargo run -p symple-tokio --example two_certificates -- inside.crt inside.key outside.crt outside.key`

#![allow(clippy::print_stdout, reason = "it is for who runs it in a terminal")]

use std::{path::PathBuf, time::Duration};

use symple_tokio::{
    Endpoint, Server, ServerBuilder,
    tls::{self, SharedTls},
};

/// A certificate and its key, in files.
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    fn load(&self) -> Result<SharedTls, tls::TlsError> {
        tls::load(&self.certificate, &self.key).map(SharedTls::from)
    }
}

/// Reads a certificate again; one that cannot be used changes nothing.
pub(crate) fn renew(tls: &SharedTls, files: &Files) {
    match tls::load(&files.certificate, &files.key) {
        // New connections use it.
        Ok(config) => tls.replace(config),
        Err(error) => println!("the certificate stays as it was: {error}"),
    }
}

/// Starts the server; and what its outside is encrypted with.
pub(crate) fn serve(
    addresses: [&str; 3],
    inside: &Files,
    outside: &Files,
) -> Result<(Server, SharedTls), Box<dyn std::error::Error>> {
    let [plain, encrypted, public] = addresses;
    let renewed = outside.load()?;
    let server = ServerBuilder::new()
        .listen(Endpoint::tcp(plain))
        .listen(Endpoint::tcp(encrypted).tls(inside.load()?))
        .listen(Endpoint::tcp(public).tls(renewed.clone()).backlog(1024))
        .start()?;
    Ok((server, renewed))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let mut next = || arguments.next().ok_or("four files are needed");
    let inside = Files { certificate: next()?, key: next()? };
    let outside = Files { certificate: next()?, key: next()? };
    let addresses = ["127.0.0.1:4500", "127.0.0.1:4501", "[::]:4502"];
    let (server, tls) = serve(addresses, &inside, &outside)?;
    for (address, encrypted) in server.listen_addresses() {
        println!("{}://{address}", if *encrypted { "wss" } else { "ws" });
    }
    let mut hours = tokio::time::interval(Duration::from_secs(3600));
    loop {
        tokio::select! {
            _ = hours.tick() => renew(&tls, &outside),
            ended = server.wait() => return Ok(ended?),
            _ = tokio::signal::ctrl_c() => return Ok(server.shutdown(Duration::ZERO).await?),
        }
    }
}
