//! Calls between peers: WebRTC signalling, as the call manager of the JavaScript player speaks it.
//!
//! A call is a row of messages with a `subtype` of [`symple_proto::call`]. The caller *rings*,
//! the callee has an *incoming* call; once that is taken both are *connecting*, and *active* when
//! the application says that media flow. Media are the application's affair.
//!
//! ```text
//!              Call                 call:accept            MarkActive
//!  caller  ────────────► Ringing ────────────────┐      ┌─────────────► Active
//!                                                ▼      │                 │
//!                                              Connecting                 │
//!                                                ▲      │                 │
//!  callee  ────────────► Incoming ───────────────┘      └────────┬────────┘
//!            call:init               Accept                      ▼
//!                                     reject, hang up, timeout, peer offline: Ended
//! ```
//!
//! The messages do not name the call, so there is at most one between two peers. Where both call
//! each other at once, the call of the peer with the smaller id stands, and the other side takes it
//! without being asked: it wanted to talk anyway.

mod machine;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
};
use core::fmt;

use symple_proto::{Address, PeerId, RawJson, UserName, call};

use crate::Timestamp;

/// A call, named by the client; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u64);

/// Whom to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callee {
    /// One session.
    Peer(Address),
    /// All sessions of a user: the first that takes the call has it.
    User(UserName),
}

impl fmt::Display for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(address) => address.fmt(f),
            Self::User(user) => user.fmt(f),
        }
    }
}

/// What WebRTC has to say to the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// A session description of the one who begins: `{"type":"offer","sdp":…}`.
    Offer(RawJson),
    /// A session description of the other one: `{"type":"answer","sdp":…}`.
    Answer(RawJson),
    /// An ICE candidate: `{"candidate":…,"sdpMid":…,"sdpMLineIndex":…}`.
    Candidate(RawJson),
}

impl Signal {
    /// An offer of that SDP.
    #[must_use]
    pub fn offer(sdp: &str) -> Self {
        Self::Offer(description("offer", sdp))
    }

    /// An answer of that SDP.
    #[must_use]
    pub fn answer(sdp: &str) -> Self {
        Self::Answer(description("answer", sdp))
    }

    /// A candidate, and the part of the session that it is for.
    #[must_use]
    pub fn candidate(candidate: &str, sdp_mid: Option<&str>, line: Option<u16>) -> Self {
        use alloc::format;
        let candidate = RawJson::string(candidate);
        let mid = sdp_mid.map_or_else(|| "null".into(), |mid| RawJson::string(mid).text().into());
        let mid: alloc::string::String = mid;
        let line = line.map_or_else(|| "null".into(), |line| format!("{line}"));
        let text = format!(r#"{{"candidate":{candidate},"sdpMid":{mid},"sdpMLineIndex":{line}}}"#);
        Self::Candidate(RawJson::parse(&text).unwrap_or_else(|_| RawJson::bool(false)))
    }

    fn subtype(&self) -> &'static str {
        match self {
            Self::Offer(_) => call::OFFER,
            Self::Answer(_) => call::ANSWER,
            Self::Candidate(_) => call::CANDIDATE,
        }
    }

    /// What it says, as it goes over the wire.
    #[must_use]
    pub fn data(&self) -> &RawJson {
        match self {
            Self::Offer(data) | Self::Answer(data) | Self::Candidate(data) => data,
        }
    }
}

fn description(kind: &str, sdp: &str) -> RawJson {
    let text = alloc::format!(r#"{{"type":"{kind}","sdp":{}}}"#, RawJson::string(sdp));
    RawJson::parse(&text).unwrap_or_else(|_| RawJson::bool(false))
}

/// What a call is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallState {
    /// The callee is asked.
    Ringing,
    /// The application is asked.
    Incoming,
    /// The call was taken; both sides make a connection.
    Connecting,
    /// Media flow.
    Active,
}

impl fmt::Display for CallState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ringing => "ringing",
            Self::Incoming => "incoming",
            Self::Connecting => "connecting",
            Self::Active => "active",
        })
    }
}

/// Why a call has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEnd {
    /// The application has hung up.
    HungUp,
    /// The application has not taken it.
    Declined,
    /// The other side has hung up, for this reason; one line of at most 256 characters.
    HungUpByPeer(Box<str>),
    /// The other side has not taken it, for this reason; one line of at most 256 characters.
    /// `busy`: it has another call.
    Rejected(Box<str>),
    /// It was not taken in time, or the other side was not heard of in time.
    NotTaken,
    /// The other side is offline.
    PeerOffline,
    /// The client's connection was lost.
    ConnectionLost,
}

/// Something has happened to a call.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CallEvent {
    /// A peer calls.
    Incoming {
        /// The call.
        call: CallId,
        /// Who calls.
        from: Address,
        /// What the caller says of it.
        data: RawJson,
    },
    /// The call was taken. The side that has called now makes an offer.
    Accepted {
        /// The call.
        call: CallId,
        /// The session that it is with.
        with: Address,
        /// This side makes the offer.
        offers: bool,
        /// What the other side says of it; `{}` where this side has taken the call.
        data: RawJson,
    },
    /// The other side has something to say to WebRTC.
    Signal {
        /// The call.
        call: CallId,
        /// What.
        signal: Signal,
    },
    /// The call has ended.
    Ended {
        /// The call.
        call: CallId,
        /// Why.
        end: CallEnd,
    },
}

/// What there is to know of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallInfo {
    /// The call.
    pub call: CallId,
    /// Whom it is with, or who is called.
    pub with: Callee,
    /// What it is at.
    pub state: CallState,
}

#[derive(Debug)]
struct Call {
    state: CallState,
    with: Callee,
    /// When it has rung long enough.
    until: Timestamp,
    /// The sessions of a user that ring, as far as they are known.
    ringing: BTreeSet<PeerId>,
    /// A peer that calls while it is called, and is expected to take this call instead.
    crossing: Option<Address>,
}

impl Call {
    /// True if a frame of that peer is about this call.
    fn concerns(&self, peer: &Address) -> bool {
        match &self.with {
            Callee::Peer(address) => address.id == peer.id,
            Callee::User(user) => *user == peer.user,
        }
    }
}

/// All calls that there are.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: BTreeMap<CallId, Call>,
    last: u64,
}

impl Calls {
    pub(super) fn iter(&self) -> impl Iterator<Item = CallInfo> {
        self.calls.iter().map(|(call, Call { with, state, .. })| CallInfo {
            call: *call,
            with: with.clone(),
            state: *state,
        })
    }

    /// The call that a frame of a peer is about.
    fn with(&self, peer: &Address) -> Option<CallId> {
        // A call with the very session counts before one to all sessions of its user.
        let direct = |call: &Call| matches!(&call.with, Callee::Peer(with) if with.id == peer.id);
        let found = self.calls.iter().find(|(_, call)| direct(call));
        let found = found.or_else(|| self.calls.iter().find(|(_, call)| call.concerns(peer)));
        found.map(|(id, _)| *id)
    }

    /// When the next one has rung long enough.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.calls.values().map(|call| call.until).min().filter(|until| *until < Timestamp::MAX)
    }
}
