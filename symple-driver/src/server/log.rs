//! What the log says of clients: who is refused, how each connection ends; and of other nodes.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use symple_engine::{
    Timestamp,
    server::{ConnId, Event},
};
use symple_proto::{Address, CloseCode, Status};

use crate::{
    http::{RefusedUpgrade, UNIX_PEER, UNKNOWN_PEER},
    net::connection::Gone,
    redis::one_line,
    server::stats::UpgradeCounts,
};

/// Lets one line a second through, and counts the others: how often something happens is for clients
/// to choose, and they must not fill the log.
#[derive(Debug, Default)]
pub(crate) struct OncePerSecond(Mutex<(Option<Instant>, u64)>);

impl OncePerSecond {
    const INTERVAL: Duration = Duration::from_secs(1);

    pub(crate) const fn new() -> Self {
        Self(Mutex::new((None, 0)))
    }

    /// The number of lines that were kept back since the last one, if another one may be written.
    pub(crate) fn is_due(&self) -> Option<u64> {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (logged, more) = &mut *last;
        if logged.is_some_and(|logged| now.saturating_duration_since(logged) < Self::INTERVAL) {
            *more += 1;
            return None;
        }
        *logged = Some(now);
        Some(std::mem::take(more))
    }
}

/// A connection or a stream cannot be used.
pub(crate) fn not_taken_in(error: &std::io::Error) {
    static LINES: OncePerSecond = OncePerSecond::new();
    if let Some(more) = LINES.is_due() {
        tracing::warn!(%error, more, "cannot take a connection in");
    }
}

/// A stream of the application's has panicked.
pub(crate) fn stream_panicked() {
    static LINES: OncePerSecond = OncePerSecond::new();
    if let Some(more) = LINES.is_due() {
        tracing::error!(more, "a stream that was handed over has panicked");
    }
}

/// A hook of the application's has panicked, or its runtime is gone.
pub(crate) fn no_answer() {
    static LINES: OncePerSecond = OncePerSecond::new();
    if let Some(more) = LINES.is_due() {
        tracing::warn!(more, "a hook has ended without an answer");
    }
}

/// A hook has not answered in time, and has been dropped.
pub(crate) fn late_answer() {
    static LINES: OncePerSecond = OncePerSecond::new();
    if let Some(more) = LINES.is_due() {
        tracing::warn!(more, "a hook has not answered in time: it is dropped");
    }
}

/// A client's address as the log shows it, if there is one: two stand for what is none.
struct Shown(IpAddr);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            address if address == UNIX_PEER.ip() => f.write_str("Unix socket"),
            address if address == UNKNOWN_PEER.ip() => f.write_str("unknown"),
            address => address.fmt(f),
        }
    }
}

/// Says who was refused and what they were told: at info at most once a second for upgrades, and once
/// for authentications; those in between at debug.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    upgrades: OncePerSecond,
    authentications: OncePerSecond,
    limits: OncePerSecond,
    /// How many upgrades were refused with each of the statuses, and with others.
    statuses: [AtomicU64; UpgradeCounts::PLACES],
}

impl Refusals {
    /// True if the log has lines at info.
    pub(crate) fn are_wanted() -> bool {
        tracing::enabled!(tracing::Level::INFO)
    }

    /// An upgrade was answered with an HTTP status instead of 101.
    pub(crate) fn upgrade(&self, refused: &RefusedUpgrade) {
        const WHAT: &str = "an upgrade was refused";
        self.statuses[UpgradeCounts::place(refused.status)].fetch_add(1, Ordering::Relaxed);
        if !Self::are_wanted() {
            return;
        }
        let RefusedUpgrade { address, status, body, origin } = refused;
        // What a macro is given is made only if its line is written.
        let (told, origin) = (|| one_line(body), || origin.as_deref().map(one_line));
        let (address, status) = (Shown(*address), status.as_u16());
        match self.upgrades.is_due() {
            Some(more) => {
                tracing::info!(%address, status, told = told(), origin = origin(), more, "{WHAT}");
            }
            None => {
                tracing::debug!(%address, status, told = told(), origin = origin(), "{WHAT}");
            }
        }
    }

    /// The server closes a connection because it has broken a limit (SPEC §8): at info, at most once a second.
    pub(crate) fn limit(&self, code: CloseCode, reason: &'static str, address: Option<IpAddr>) {
        if !matches!(code, CloseCode::TOO_SLOW | CloseCode::POLICY | CloseCode::TOO_BIG) {
            return;
        }
        if let Some(more) = self.limits.is_due() {
            let address = address.map(|address| tracing::field::display(Shown(address)));
            let code = code.0;
            tracing::info!(address, code, reason, more, "a connection was closed for a limit");
        }
    }

    /// How many upgrades were refused, on all threads.
    pub(crate) fn refused_upgrades(&self) -> UpgradeCounts {
        UpgradeCounts(self.statuses.each_ref().map(|count| count.load(Ordering::Relaxed)))
    }

    /// A WebSocket client was sent an `error` frame instead of a `welcome`.
    pub(crate) fn authentication(&self, address: Option<IpAddr>, status: Status, message: &str) {
        const WHAT: &str = "an authentication was refused";
        let address = address.map(|address| tracing::field::display(Shown(address)));
        let (status, told) = (status.0, || one_line(message));
        match self.authentications.is_due() {
            Some(more) => tracing::info!(address, status, told = told(), more, "{WHAT}"),
            None => tracing::debug!(address, status, told = told(), "{WHAT}"),
        }
    }
}

/// What an operator has done over an API of an adapter, for the log.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// What was done: `kick`, `emit`.
    pub action: &'static str,
    /// To whom or what, a foreign text; none where the body says it, which the log does not have.
    pub subject: Option<&'a str>,
    /// From where it was asked for, where that is known.
    pub address: Option<IpAddr>,
    /// How many peers it concerned, where that is known.
    pub count: Option<usize>,
}

impl Operation<'_> {
    /// Writes the line, at info.
    pub fn log(&self) {
        self.write(None);
    }

    /// As [`log`](Self::log), for what a backend does all the time: at most one line a second.
    pub fn log_often(&self) {
        static LINES: OncePerSecond = OncePerSecond::new();
        if let Some(more) = LINES.is_due() {
            self.write(Some(more));
        }
    }

    fn write(&self, more: Option<u64>) {
        let Self { action, subject, address, count } = *self;
        let address = address.map(|address| tracing::field::display(Shown(address)));
        let subject = subject.map(one_line);
        tracing::info!(action, subject, address, count, more, "an operator has acted");
    }
}

/// What is remembered of a connection until it ends.
#[derive(Debug)]
struct Record {
    id: ConnId,
    address: IpAddr,
    since: Timestamp,
    peer: Option<Address>,
    closed: Option<(CloseCode, &'static str)>,
}

/// Says one line of each WebSocket connection when it ends, at debug. Where nobody reads that, nothing is
/// remembered.
#[derive(Debug, Default)]
pub(crate) struct ConnectionLog(Vec<Option<Box<Record>>>);

impl ConnectionLog {
    /// True if the log has lines at debug.
    pub(crate) fn is_wanted() -> bool {
        tracing::enabled!(tracing::Level::DEBUG)
    }

    pub(crate) fn connected(&mut self, id: ConnId, address: IpAddr, now: Timestamp) {
        if !Self::is_wanted() {
            return;
        }
        let slot = id.slot as usize;
        if slot >= self.0.len() {
            self.0.resize_with(slot + 1, || None);
        }
        let record = Record { id, address, since: now, peer: None, closed: None };
        self.0[slot] = Some(Box::new(record));
    }

    pub(crate) fn online(&mut self, id: ConnId, peer: &Address) {
        if let Some(record) = self.get(id) {
            record.peer = Some(peer.clone());
        }
    }

    /// The server closes the connection. Whatever its client does then, this is why it ends.
    pub(crate) fn closed(&mut self, id: ConnId, code: CloseCode, reason: &'static str) {
        if let Some(record) = self.get(id) {
            record.closed.get_or_insert((code, reason));
        }
    }

    pub(crate) fn disconnected(&mut self, id: ConnId, gone: &Gone, now: Timestamp) {
        if self.get(id).is_none() {
            return;
        }
        if let Some(record) = self.0.get_mut(id.slot as usize).and_then(Option::take) {
            let (code, cause) = match gone {
                Gone::Closed(code, _) => (*code, "closed by the client"),
                Gone::Silent => (None, "did not answer a ping"),
                Gone::Lost => (None, "lost"),
            };
            record.log(code, cause, now);
        }
    }

    /// The server ends, whoever is still there.
    pub(crate) fn end_all(&mut self, now: Timestamp) {
        for record in self.0.drain(..).flatten() {
            record.log(None, "the server has ended", now);
        }
    }

    fn get(&mut self, id: ConnId) -> Option<&mut Record> {
        let record = self.0.get_mut(id.slot as usize)?.as_deref_mut()?;
        (record.id == id).then_some(record)
    }
}

impl Record {
    /// Writes the line; `code` and `cause` are for a connection that the server did not close.
    fn log(&self, code: Option<CloseCode>, cause: &str, now: Timestamp) {
        // It may have been read when the connection began, and no longer.
        if !ConnectionLog::is_wanted() {
            return;
        }
        let (code, cause) = match self.closed {
            Some((code, reason)) => (Some(code), format!("closed by the server: {reason}")),
            None => (code, cause.to_owned()),
        };
        tracing::debug!(
            user = self.peer.as_ref().map(|peer| one_line(&peer.user)),
            id = self.peer.as_ref().map(|peer| &*peer.id),
            address = %Shown(self.address),
            code = code.map(|code| code.0),
            cause,
            duration = format!("{:.3?}", now.since(self.since)),
            "a connection has ended"
        );
    }
}

/// Whoever runs a cluster wants to read who is in it.
pub(crate) fn log_cluster(event: &Event) {
    match event {
        Event::NodeJoined { node } => {
            tracing::info!(node = one_line(node), "a node has joined the cluster");
        }
        Event::NodeLeft { node, dead: false } => {
            tracing::info!(node = one_line(node), "a node has left the cluster");
        }
        Event::NodeLeft { node, dead: true } => {
            let node = one_line(node);
            tracing::warn!(node, "a node is silent and taken for dead: its peers are offline");
        }
        Event::NotCaughtUp { nodes } => {
            let (count, node) = (nodes.len(), nodes.first().map_or("", |node| node));
            let node = one_line(node);
            tracing::warn!(
                count,
                node,
                "other nodes have not told their peers in ten seconds: rosters lack them"
            );
        }
        Event::StateNotFetched { rooms, nodes } => {
            static LATE: OncePerSecond = OncePerSecond::new();
            if let Some(more) = LATE.is_due() {
                let (count, node) = (nodes.len(), nodes.first().map_or("", |node| node));
                let node = one_line(node);
                tracing::warn!(
                    rooms,
                    count,
                    node,
                    more,
                    "other nodes have not told the states of rooms in time"
                );
            }
        }
        Event::StateNotSet { room, error } => {
            static REFUSED: OncePerSecond = OncePerSecond::new();
            if let Some(more) = REFUSED.is_due() {
                let room = one_line(room);
                tracing::warn!(room, %error, more, "what the application has set of a state is refused");
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second() {
        let limit = OncePerSecond::new();
        let begun = Instant::now();
        let due = |millis| limit.is_due_at(begun + Duration::from_millis(millis));
        assert_eq!(due(0), Some(0));
        assert_eq!((due(1), due(999)), (None, None));
        assert_eq!((due(1000), due(1001)), (Some(2), None));
        assert_eq!(due(5000), Some(1));
    }
}
