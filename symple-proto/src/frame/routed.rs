//! The four types that a server relays.

use alloc::string::String;

use crate::{address::To, json::RawJson};

use super::field::frame;

frame! {
    /// `message`: what peers say to each other, chat and signalling (see [`call`](crate::call)).
    #[derive(Default)]
    Message = "message" {
        ? /// The client's own id for the frame.
        id: String,
        ? /// Who sent it; the server's word (R-F2).
        from: String,
        ? /// Whom it is for; every peer that shares a room, without one.
        to: To,
        ? /// What kind of message it is; free for the application.
        subtype: String,
        ? /// What it says.
        data: RawJson,
    }
}

frame! {
    /// `presence`: what a peer tells of itself, and what the server tells of peers (SPEC §6).
    #[derive(Default)]
    Presence = "presence" {
        ? /// The client's own id for the frame.
        id: String,
        ? /// Whose presence it is.
        from: String,
        ? /// Whom it is for; every peer that shares a room, without one.
        to: To,
        ? /// Receivers are asked to answer with their own presence.
        probe: bool,
        ? /// The public record of the peer.
        data: RawJson,
    }
}

frame! {
    /// `command`: what a peer wants another one to do.
    #[derive(Default)]
    Command = "command" {
        ? /// The client's own id for the frame.
        id: String,
        ? /// Who sent it; the server's word (R-F2).
        from: String,
        ? /// Whom it is for; every peer that shares a room, without one.
        to: To,
        ? /// What it is about.
        node: String,
        ? /// What to do with it.
        action: String,
        ? /// With what.
        data: RawJson,
    }
}

frame! {
    /// `event`: what has happened.
    #[derive(Default)]
    Event = "event" {
        ? /// The client's own id for the frame.
        id: String,
        ? /// Who sent it; none if the server itself did.
        from: String,
        ? /// Whom it is for; every peer that shares a room, without one.
        to: To,
        ? /// What has happened.
        name: String,
        ? /// More about it.
        data: RawJson,
    }
}

impl Event {
    /// The event that a server sends to every peer before it closes (SPEC §12).
    pub const SHUTDOWN: &'static str = concat!(
        r#"{"type":"event","name":"shutdown","subtype":"shutdown","#,
        r#""message":"Server shutting down"}"#
    );
}
