//! Processes of this program's own: what they use, and that they end.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

/// The ports that are used: below those that systems give to connections.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Resident memory in bytes.
pub(crate) fn memory(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/statm")).unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// The time that a process has used processors for.
pub(crate) fn processor(id: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The name, in parentheses, may have blanks.
    let rest = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = rest.split(' ').skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Sends a signal to a process that this one has started.
pub(crate) fn signal(id: u32, signal: Signal) -> io::Result<()> {
    let id = Pid::from_raw(id.cast_signed()).ok_or(io::ErrorKind::NotFound)?;
    Ok(kill_process(id, signal)?)
}

/// A port where nobody listens, and that this process was not given lately; other processes begin
/// elsewhere.
pub(crate) fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    let first = std::process::id().wrapping_mul(997) % count;
    let mut failed = io::Error::other("no port is free");
    for _ in 0..count {
        let nth = (first + NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = PORTS.start + u16::try_from(nth).map_err(io::Error::other)?;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
