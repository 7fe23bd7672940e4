//! Ports for servers of our own.

use std::{
    io,
    net::TcpListener,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// The ports that are used: below those that systems give to connections, which could take one
/// between the moment that it is found free and the moment that a server listens on it.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

/// A port where nobody listens, and that no other part of this process was given lately; other
/// processes begin elsewhere. Whoever starts a server on it tries another one if it is taken after
/// all.
pub(crate) fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = process::id().wrapping_mul(997);
    let mut failed = io::Error::other("no port is free");
    for _ in 0..COUNT {
        let next = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + next % COUNT).map_err(io::Error::other)?;
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
