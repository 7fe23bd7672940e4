//! The subtypes of `message` by which two peers set up a WebRTC call.
//!
//! The server relays them like any message; their order is a matter between the peers:
//! [`INIT`], then [`ACCEPT`] or [`REJECT`]; then [`OFFER`], [`ANSWER`], [`CANDIDATE`]s both ways;
//! at any time [`HANGUP`].

/// The caller asks for a call; `data` says what kind.
pub const INIT: &str = "call:init";
/// The callee takes it.
pub const ACCEPT: &str = "call:accept";
/// The callee does not; `data.reason` may say why.
pub const REJECT: &str = "call:reject";
/// The caller's session description in `data`.
pub const OFFER: &str = "call:offer";
/// The callee's session description in `data`.
pub const ANSWER: &str = "call:answer";
/// An ICE candidate of either in `data`.
pub const CANDIDATE: &str = "call:candidate";
/// Either ends the call; `data.reason` may say why.
pub const HANGUP: &str = "call:hangup";
