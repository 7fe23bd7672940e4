//! Every frame of the protocol as a type, for those who build or read them (SPEC §2).
//!
//! All of them keep the members that they do not know, as they were written, in `extra`. On the
//! server's own path frames are not taken apart like this; see [`FrameView`](crate::FrameView).

mod build;
mod client;
mod field;
mod routed;
mod server;

pub use client::{Auth, ClientFrame, Close, Join, Leave, SetState};
pub use field::FrameError;
pub use routed::{Command, Event, Message, Presence};
pub use server::{
    Error, JoinOk, LeaveOk, Peer, Roster, RosterBatch, ServerFrame, State, StateOk, Welcome,
    push_error, push_presence,
};
