//! Frames, counted by kind.

use core::fmt;

use symple_proto::{FrameType, RoutedType};

/// The kind of a frame, as it is counted: its type, as far as the protocol knows it. Clients choose
/// their types, so what is unknown has one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameKind {
    /// `auth`
    Auth,
    /// `message`
    Message,
    /// `presence`
    Presence,
    /// `command`
    Command,
    /// `event`
    Event,
    /// `join`
    Join,
    /// `leave`
    Leave,
    /// `close`
    Close,
    /// `welcome`
    Welcome,
    /// `error`
    Error,
    /// `join:ok`
    JoinOk,
    /// `leave:ok`
    LeaveOk,
    /// `state`
    State,
    /// `state:ok`
    StateOk,
    /// `roster`
    Roster,
    /// A WebSocket frame without a whole text: a ping, a pong, a part of a message.
    Control,
    /// Anything else, and what cannot be read.
    Other,
}

impl FrameKind {
    /// All of them, in the order of their places in [`FrameCounts`].
    pub const ALL: [Self; 17] = [
        Self::Auth,
        Self::Message,
        Self::Presence,
        Self::Command,
        Self::Event,
        Self::Join,
        Self::Leave,
        Self::Close,
        Self::Welcome,
        Self::Error,
        Self::JoinOk,
        Self::LeaveOk,
        Self::State,
        Self::StateOk,
        Self::Roster,
        Self::Control,
        Self::Other,
    ];

    /// The type on the wire, or `control` or `other`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Message => "message",
            Self::Presence => "presence",
            Self::Command => "command",
            Self::Event => "event",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Close => "close",
            Self::Welcome => "welcome",
            Self::Error => "error",
            Self::JoinOk => "join:ok",
            Self::LeaveOk => "leave:ok",
            Self::State => "state",
            Self::StateOk => "state:ok",
            Self::Roster => "roster",
            Self::Control => "control",
            Self::Other => "other",
        }
    }

    /// The kind of a frame of a client.
    pub(in crate::server) fn of_client<E>(found: &Result<FrameType<'_>, E>) -> Self {
        match found {
            Ok(FrameType::Routed(kind)) => (*kind).into(),
            Ok(FrameType::Auth) => Self::Auth,
            Ok(FrameType::Join) => Self::Join,
            Ok(FrameType::Leave) => Self::Leave,
            Ok(FrameType::Close) => Self::Close,
            Ok(_) | Err(_) => Self::Other,
        }
    }

    /// The kind of a frame that begins with its type and nothing between, as all do that a server
    /// writes.
    pub(in crate::server) fn of_text(text: &[u8]) -> Self {
        let Some(rest) = text.strip_prefix(br#"{"type":""#) else { return Self::Other };
        let is = |kind: &Self| {
            let behind = rest.strip_prefix(kind.name().as_bytes());
            behind.is_some_and(|behind| behind.first() == Some(&b'"'))
        };
        let found = Self::ALL.into_iter().find(is);
        found.filter(|kind| *kind != Self::Control).unwrap_or(Self::Other)
    }
}

impl From<RoutedType> for FrameKind {
    fn from(kind: RoutedType) -> Self {
        match kind {
            RoutedType::Message => Self::Message,
            RoutedType::Presence => Self::Presence,
            RoutedType::Command => Self::Command,
            RoutedType::Event => Self::Event,
        }
    }
}

/// Numbers of frames, by kind.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameCounts([u64; FrameKind::ALL.len()]);

impl FrameCounts {
    pub(in crate::server) fn add(&mut self, kind: FrameKind, count: u64) {
        self.0[kind as usize] += count;
    }

    /// How many of a kind there were.
    #[must_use]
    pub fn get(&self, kind: FrameKind) -> u64 {
        self.0[kind as usize]
    }

    /// Every kind, and how many of it there were.
    pub fn iter(&self) -> impl Iterator<Item = (FrameKind, u64)> {
        FrameKind::ALL.into_iter().zip(self.0)
    }

    /// How many there were in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl fmt::Debug for FrameCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = self.iter().filter(|(_, count)| *count > 0);
        f.debug_map().entries(some.map(|(kind, count)| (kind.name(), count))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_place_and_its_name() {
        for (kind, at) in FrameKind::ALL.into_iter().zip(0..) {
            assert_eq!(kind as usize, at, "{kind:?}");
            let text = alloc::format!("{{\"type\":\"{}\",\"a\":1}}", kind.name());
            let known = !matches!(kind, FrameKind::Control);
            let expected = if known { kind } else { FrameKind::Other };
            assert_eq!(FrameKind::of_text(text.as_bytes()), expected);
        }
        for text in ["", "{}", r#"{"type":"mess"#, r#"{"type":"messages"}"#, r#"{"type":5}"#] {
            assert_eq!(FrameKind::of_text(text.as_bytes()), FrameKind::Other, "{text}");
        }
    }
}
