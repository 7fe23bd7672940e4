//! Two honest clients in a room of their own, who have nothing to do with an attack.
//!
//! One sends at a fixed rate, whatever comes back, and the other answers each message. How late an
//! answer is counts from the moment when the message was due, so that one that could not be sent in
//! time counts, too. Beside them the same clock drives an echo in this process: how late that is
//! tells of the machine, and not of the server. All run on threads of their own.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{Fault, wire};

/// A message each: 150 a second and client, below what a client may send.
const PERIOD: Duration = Duration::from_micros(6_667);
/// How long an answer may take until it counts as lost.
const LOST: Duration = Duration::from_secs(10);
const SIZE: usize = 64;

/// How late answers were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl Latency {
    fn of(mut late: Vec<Duration>) -> Self {
        late.sort_unstable();
        let at = |part: usize| late.get(late.len().saturating_sub(1) * part / 100);
        let at = |part| at(part).copied().unwrap_or_default();
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

/// What happened to the pair meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) pair: Latency,
    /// Of the echo that has nothing to do with the server.
    pub(crate) machine: Latency,
}

struct Shared {
    start: Instant,
    stop: AtomicBool,
    sent: AtomicUsize,
    /// Of each message how late its answer was.
    late: Mutex<Vec<Option<Duration>>>,
    machine: Mutex<Vec<Option<Duration>>>,
    faults: Mutex<Vec<String>>,
}

impl Shared {
    fn due(&self, n: usize) -> Instant {
        self.start + PERIOD * u32::try_from(n).unwrap_or(u32::MAX)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn fault(&self, fault: impl Into<String>) {
        if !self.stopped() {
            lock(&self.faults).push(fault.into());
        }
    }

    /// Notes that an answer has come, and gives back whether it is the first.
    fn note(&self, list: &Mutex<Vec<Option<Duration>>>, n: usize) -> bool {
        let late = self.due(n).elapsed();
        let mut list = lock(list);
        if list.len() <= n {
            list.resize(n + 1, None);
        }
        list[n].replace(late).is_none()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pair. It says goodbye when it is dropped.
pub(crate) struct Pair {
    shared: Arc<Shared>,
    sockets: Vec<TcpStream>,
}

impl Pair {
    /// Two clients that talk from now on.
    pub(crate) fn start(address: SocketAddr) -> Result<Self, Fault> {
        let caller = honest(address, "bystander-a")?;
        let callee = honest(address, "bystander-b")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        let far = listener.accept()?.0;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let shared = Arc::new(Shared {
            start: Instant::now(),
            stop: AtomicBool::new(false),
            sent: AtomicUsize::new(0),
            late: Mutex::default(),
            machine: Mutex::default(),
            faults: Mutex::default(),
        });
        let sockets =
            vec![caller.try_clone()?, callee.try_clone()?, near.try_clone()?, far.try_clone()?];
        let (mut calls, mut beats) = (caller.try_clone()?, near.try_clone()?);
        let this = Arc::clone(&shared);
        thread::spawn(move || {
            for n in 0.. {
                thread::sleep(this.due(n).saturating_duration_since(Instant::now()));
                if this.stopped() {
                    return;
                }
                let mut beat = [0; SIZE];
                beat[..8].copy_from_slice(&(n as u64).to_le_bytes());
                let sent = beats.write_all(&beat).and_then(|()| call(&mut calls, n));
                if let Err(error) = sent {
                    return this.fault(format!("cannot send: {error}"));
                }
                this.sent.store(n + 1, Ordering::Relaxed);
            }
        });
        let this = Arc::clone(&shared);
        let mut answers = callee.try_clone()?;
        thread::spawn(move || {
            let mut next = 0;
            let ended = messages(callee, |n| {
                expect(&this, &mut next, n, "messages");
                call(&mut answers, n)
            });
            this.fault(format!("one of two honest connections ended: {ended}"));
        });
        let this = Arc::clone(&shared);
        thread::spawn(move || {
            let mut next = 0;
            let ended = messages(caller, |n| {
                expect(&this, &mut next, n, "answers");
                if !this.note(&this.late, n) {
                    this.fault(format!("answer {n} came twice"));
                }
                Ok(())
            });
            this.fault(format!("one of two honest connections ended: {ended}"));
        });
        thread::spawn(move || echo(far));
        let this = Arc::clone(&shared);
        thread::spawn(move || {
            let (mut near, mut beat) = (near, [0; SIZE]);
            while near.read_exact(&mut beat).is_ok() {
                let n = u64::from_le_bytes(beat[..8].try_into().unwrap_or_default());
                this.note(&this.machine, usize::try_from(n).unwrap_or_default());
            }
        });
        Ok(Self { shared, sockets })
    }

    /// Whether all that was due until now has been answered.
    pub(crate) fn is_settled(&self, until: Instant) -> bool {
        let late = lock(&self.shared.late);
        (0..)
            .take_while(|&n| self.shared.due(n) < until)
            .all(|n| late.get(n).copied().flatten().is_some())
    }

    /// How late answers were whose messages were due between these moments. One without an answer
    /// counts as late until now.
    pub(crate) fn seen(&self, from: Instant, until: Instant) -> Seen {
        let of = |list: &Mutex<Vec<Option<Duration>>>| {
            let list = lock(list);
            let due = |n: usize| self.shared.due(n);
            let first = from.saturating_duration_since(self.shared.start).div_duration_f64(PERIOD);
            let numbers = (first as usize..).take_while(|&n| due(n) < until);
            let late = |n: usize| list.get(n).copied().flatten().unwrap_or(due(n).elapsed());
            Latency::of(numbers.map(late).collect())
        };
        Seen { pair: of(&self.shared.late), machine: of(&self.shared.machine) }
    }

    /// How many messages there were, and what went wrong with them: what was lost, came twice or
    /// in another order, or that a connection ended.
    pub(crate) fn account(&self) -> (usize, Vec<String>) {
        let sent = self.shared.sent.load(Ordering::Relaxed);
        let mut faults = lock(&self.shared.faults).clone();
        let late = lock(&self.shared.late);
        let lost = (0..sent)
            .filter(|&n| late.get(n).copied().flatten().is_none())
            .filter(|&n| self.shared.due(n).elapsed() > LOST)
            .count();
        if lost > 0 {
            faults.insert(0, format!("{lost} of {sent} lost"));
        }
        (sent, faults)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for socket in &self.sockets {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn expect(shared: &Shared, next: &mut usize, n: usize, what: &str) {
    if n != *next {
        shared.fault(format!("{what}: {n} came where {next} was next"));
    }
    *next = n + 1;
}

/// To everyone who shares a room: the other one.
fn call(socket: &mut TcpStream, n: usize) -> io::Result<()> {
    socket.write_all(&wire::text(&format!("{{\"type\":\"message\",\"n\":{n},\"data\":\"hello\"}}")))
}

/// An honest client, by blocking calls.
fn honest(address: SocketAddr, user: &str) -> Result<TcpStream, Fault> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(LOST))?;
    socket.write_all(wire::upgrade("").as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        let head = String::from_utf8_lossy(&head).into_owned();
        return Err(Fault(head.lines().next().unwrap_or_default().into()));
    }
    let auth = wire::auth(user, &["bystanders".into()]);
    socket.write_all(&wire::text(&auth))?;
    let mut start = [0; 19];
    socket.peek(&mut start)?;
    Ok(socket)
}

/// Calls back for the number of each message, until the connection ends; says how it does.
fn messages(mut socket: TcpStream, mut each: impl FnMut(usize) -> io::Result<()>) -> String {
    let _ = socket.set_read_timeout(None);
    let (mut buffer, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let mut at = 0;
        while let Some((first, start, end)) = wire::parse(&buffer[at..]) {
            let payload = String::from_utf8_lossy(&buffer[at + start..at + end]).into_owned();
            at += end;
            if first & 0xf == wire::CLOSE {
                let code = payload.as_bytes().get(..2).unwrap_or_default();
                return format!("closed by the server, code {code:?}");
            }
            if first & 0xf == wire::PING {
                let pong = wire::frame(wire::FIN | wire::PONG, payload.as_bytes());
                if let Err(error) = socket.write_all(&pong) {
                    return error.to_string();
                }
                continue;
            }
            let Some((_, rest)) = payload.split_once("\"n\":") else { continue };
            let number = rest.split(',').next().and_then(|n| n.parse().ok());
            if let Err(error) = number.map_or(Ok(()), &mut each) {
                return error.to_string();
            }
        }
        buffer.drain(..at);
        match socket.read(&mut chunk) {
            Ok(0) => return "end of stream".into(),
            Ok(count) => buffer.extend(&chunk[..count]),
            Err(error) => return error.to_string(),
        }
    }
}

fn echo(mut socket: TcpStream) {
    let mut buffer = [0; SIZE];
    while socket.read_exact(&mut buffer).is_ok() && socket.write_all(&buffer).is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let latency = Latency::of((1..=100).map(Duration::from_millis).collect());
        assert_eq!(latency.p50, Duration::from_millis(50));
        assert_eq!(latency.p99, Duration::from_millis(99));
        assert_eq!(latency.max, Duration::from_millis(100));
        assert_eq!(Latency::of(Vec::new()).max, Duration::ZERO);
    }
}
