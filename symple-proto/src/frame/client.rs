//! What a client sends.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    fields::Fields,
    json::RawJson,
    name::{RoomName, UserName},
    session::Token,
};

use super::{
    field::{frame, frames},
    routed::{Command, Event, Message, Presence},
};

frame! {
    /// `auth`: the first frame of a connection (R-A1), and one that refreshes a session (R-A9).
    Auth = "auth" {
        /// Who the client says it is.
        user: UserName,
        ? /// How it wants to be called.
        name: String,
        ? /// What proves it.
        token: Token,
        ? /// The rooms that it wants to be in; counts only where nothing is proved (R-A6).
        rooms: Vec<String>,
        ? /// What else the application knows of it.
        data: RawJson,
        ? /// The extensions that it asks for, by name (R-X1).
        extensions: Vec<String>,
    }
}

impl Auth {
    /// A user without anything else.
    #[must_use]
    pub fn new(user: UserName) -> Self {
        Self {
            user,
            name: None,
            token: None,
            rooms: None,
            data: None,
            extensions: None,
            extra: Fields::new(),
        }
    }
}

frame! {
    /// `join`: to be in a room (R-R2).
    Join = "join" {
        /// The room.
        room: RoomName,
    }
}

frame! {
    /// `leave`: to be in a room no more (R-R2).
    Leave = "leave" {
        /// The room.
        room: RoomName,
    }
}

frame! {
    /// `state`: to change the state of a room (R-K1).
    SetState = "state" {
        /// The room.
        room: RoomName,
        /// The keys to set; `null` deletes one.
        set: Fields,
        ? /// To be repeated in the answer.
        id: RawJson,
        ? /// The frame comes back to its sender, too.
        echo: bool,
    }
}

frame! {
    /// `close`: to be closed, with code 1000.
    #[derive(Default)]
    Close = "close" {}
}

frames! {
    /// A frame that a client sends.
    ClientFrame { Auth, Message, Presence, Command, Event, Join, Leave, SetState, Close, }
}
