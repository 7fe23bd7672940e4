//! What is counted.

use http::StatusCode;
pub use symple_engine::server::ClosedBy;
use symple_engine::server::{Latency, Stats};
use symple_proto::CloseCode;

use crate::net::connection::Gone;

/// What a server has counted since its start (SPEC §8: every refusal is counted).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// What the engine has counted: connections, peers, rooms, frames, refusals.
    pub engine: Stats,
    /// What the transport has counted.
    pub transport: TransportStats,
    /// How WebSocket connections have ended.
    pub closes: CloseCounts,
    /// Upgrades that were refused, by HTTP status.
    pub refused_upgrades: UpgradeCounts,
    /// What has been counted of Redis, if the server uses it.
    pub redis: Option<RedisStats>,
    /// What has been counted of event webhooks, all together, if there are any.
    pub webhooks: Option<WebhookStats>,
}

/// What has been counted of event webhooks (R-W1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebhookStats {
    /// Events that have not been told, now.
    pub waiting: usize,
    /// Events that were dropped: too many waited, or nobody took them for too long.
    pub dropped: u64,
}

impl WebhookStats {
    /// The sum over all webhooks; none where there are none.
    pub(crate) fn of(counts: impl Iterator<Item = (usize, u64)>) -> Option<Self> {
        counts
            .map(|(waiting, dropped)| Self { waiting, dropped })
            .reduce(|a, b| Self { waiting: a.waiting + b.waiting, dropped: a.dropped + b.dropped })
    }
}

/// How many WebSocket connections have ended, by who ended them and the close code. Clients choose
/// theirs, so those that the protocol does not know are counted together. Peers that the application
/// has added are counted where the server closes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseCounts([[u64; CloseCounts::CODES.len() + 1]; ClosedBy::ALL.len()]);

impl CloseCounts {
    /// A close frame without a code (RFC 6455 §7.1.5).
    const NO_CODE: CloseCode = CloseCode(1005);
    /// No close frame.
    const NO_FRAME: CloseCode = CloseCode(1006);
    const CODES: [CloseCode; 17] = [
        CloseCode::NORMAL,
        CloseCode::GOING_AWAY,
        CloseCode::PROTOCOL_ERROR,
        Self::NO_CODE,
        Self::NO_FRAME,
        CloseCode::INVALID_DATA,
        CloseCode::POLICY,
        CloseCode::TOO_BIG,
        CloseCode::INTERNAL,
        CloseCode::AT_CAPACITY,
        CloseCode::BAD_REQUEST,
        CloseCode::UNAUTHORIZED,
        CloseCode::FORBIDDEN,
        CloseCode::AUTH_TIMEOUT,
        CloseCode::KICKED,
        CloseCode::TOO_SLOW,
        CloseCode::UNAVAILABLE,
    ];

    pub(crate) fn add(&mut self, by: ClosedBy, code: CloseCode) {
        let place = Self::CODES.iter().position(|known| *known == code);
        self.0[by as usize][place.unwrap_or(Self::CODES.len())] += 1;
    }

    pub(crate) fn gone(&mut self, gone: &Gone) {
        match gone {
            Gone::Closed(code, _) => self.add(ClosedBy::Client, code.unwrap_or(Self::NO_CODE)),
            Gone::Silent => self.add(ClosedBy::Silence, Self::NO_FRAME),
            Gone::Lost => self.add(ClosedBy::Network, Self::NO_FRAME),
        }
    }

    /// Who ended connections, with which code, and how many. The code is `None` where it is one
    /// that the protocol does not know, 1005 where the close frame had none, and 1006 where there
    /// was no close frame.
    pub fn iter(&self) -> impl Iterator<Item = (ClosedBy, Option<CloseCode>, u64)> {
        ClosedBy::ALL.into_iter().zip(self.0).flat_map(|(by, counts)| {
            let codes = Self::CODES.into_iter().map(Some).chain([None]);
            codes.zip(counts).map(move |(code, count)| (by, code, count))
        })
    }

    /// How many connections have ended, or are about to: one that the server closes is counted when
    /// its close frame is queued.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().flatten().sum()
    }
}

/// How many upgrades were refused, by HTTP status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpgradeCounts(pub(crate) [u64; UpgradeCounts::PLACES]);

impl UpgradeCounts {
    const STATUSES: [StatusCode; 9] = [
        StatusCode::BAD_REQUEST,
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::UPGRADE_REQUIRED,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    pub(crate) const PLACES: usize = Self::STATUSES.len() + 1;

    /// Where a status is counted.
    pub(crate) fn place(status: StatusCode) -> usize {
        let place = Self::STATUSES.iter().position(|known| *known == status);
        place.unwrap_or(Self::STATUSES.len())
    }

    /// The statuses, and how many upgrades were refused with each; `None` stands for others, which
    /// an application's hook has chosen.
    pub fn iter(&self) -> impl Iterator<Item = (Option<StatusCode>, u64)> {
        Self::STATUSES.into_iter().map(Some).chain([None]).zip(self.0)
    }
}

/// What has been counted of the connection to Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStats {
    /// Whether it can be used now.
    pub up: bool,
    /// Bytes that wait to be sent to it, now.
    pub queued: usize,
    /// Times that the connection was lost, or could not be made.
    pub losses: u64,
    /// How long it took to answer.
    pub round_trips: RoundTrips,
}

/// How long Redis took to answer to what was sent together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoundTrips {
    /// To publications and subscriptions.
    pub bus: Latency,
    /// To questions about sessions, and claims.
    pub lookups: Latency,
}

/// What the transport has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportStats {
    /// Sockets now, those included that are no WebSocket connections.
    pub sockets: usize,
    /// Those of them that are no WebSocket connections, or not yet.
    pub handshakes: usize,
    /// Bytes read from sockets, HTTP and the heads of frames included, before TLS.
    pub received: u64,
    /// Bytes written to sockets, likewise.
    pub sent: u64,
    /// Bytes that wait in memory for all connections together, in either direction, now (R-L7).
    pub waiting: usize,
    /// Requests answered with something else than an upgrade: health checks and refusals.
    pub answered: u64,
    /// Connections dropped because the upgrade took too long (R-L5), gave way to another one (R-L2),
    /// or was brought by the application when too many waited to be taken in.
    pub upgrades_dropped: u64,
    /// Connections dropped because nothing was heard from them (R-T3).
    pub silent: u64,
    /// Connections closed because too much waited for all of them together (R-L7).
    pub shed: u64,
    /// Texts that were compressed: each once, however many clients it went to (R-T10).
    pub deflated: u64,
    /// Messages of clients that were inflated.
    pub inflated: u64,
}

impl TransportStats {
    /// With what another thread has counted. What all threads count together is not added.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            answered: self.answered + other.answered,
            upgrades_dropped: self.upgrades_dropped + other.upgrades_dropped,
            silent: self.silent + other.silent,
            shed: self.shed + other.shed,
            deflated: self.deflated + other.deflated,
            inflated: self.inflated + other.inflated,
            ..self
        }
    }
}
