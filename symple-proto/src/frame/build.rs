//! Routed frames for applications that send them: no JSON is put together by hand.

use alloc::string::String;

use serde::Serialize;

use crate::{address::To, json::RawJson};

use super::routed::{Command, Event, Message, Presence};

macro_rules! build {
    ($($frame:ident),*) => {$(
        impl $frame {
            /// A frame for somebody: a peer's address or id, a user, a room, or several rooms.
            #[must_use]
            pub fn to(to: impl Into<To>) -> Self {
                Self { to: Some(to.into()), ..Self::default() }
            }

            /// Sets the `data` to any value that serde can write as JSON.
            ///
            /// # Errors
            /// What the value's own `Serialize` reports, and maps whose keys are not strings.
            pub fn data<T: Serialize + ?Sized>(self, data: &T) -> Result<Self, serde_json::Error> {
                Ok(self.raw_data(RawJson::from_value(data)?))
            }

            /// Sets the `data` to JSON that is written already.
            #[must_use]
            pub fn raw_data(mut self, data: RawJson) -> Self {
                self.data = Some(data);
                self
            }

            /// Sets who it is from, for a server that sends it on its own: clients cannot.
            #[must_use]
            pub fn sender(mut self, from: impl Into<String>) -> Self {
                self.from = Some(from.into());
                self
            }

            /// Sets the `id`.
            #[must_use]
            pub fn id(mut self, id: impl Into<String>) -> Self {
                self.id = Some(id.into());
                self
            }

            /// Sets a member that the protocol does not know.
            #[must_use]
            pub fn with(mut self, name: impl AsRef<str>, value: impl Into<RawJson>) -> Self {
                self.extra.set(name, value);
                self
            }
        }
    )*};
}

build!(Message, Presence, Command, Event);

impl Message {
    /// Sets the `subtype`.
    #[must_use]
    pub fn subtype(mut self, subtype: impl Into<String>) -> Self {
        self.subtype = Some(subtype.into());
        self
    }
}

impl Command {
    /// Sets the `node`: what it is about.
    #[must_use]
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Sets the `action`.
    #[must_use]
    pub fn action(mut self, action: impl Into<String>) -> Self {
        self.action = Some(action.into());
        self
    }
}

impl Event {
    /// Sets the `name`: what has happened.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, vec};

    use super::*;
    use crate::ClientFrame;

    #[test]
    fn frames_are_built_without_json() {
        #[derive(Serialize)]
        struct Position {
            x: u8,
        }
        let message = Message::to("r").data(&Position { x: 1 }).unwrap().subtype("move");
        for (frame, text) in [
            (
                ClientFrame::from(message),
                r#"{"type":"message","to":"r","subtype":"move","data":{"x":1}}"#,
            ),
            (
                Event::to(vec!["r".into(), "s".into()]).name("started").with("round", true).into(),
                r#"{"type":"event","to":["r","s"],"name":"started","round":true}"#,
            ),
            (
                Command::to("bob").node("lamp").action("on").id("7").sender("home").into(),
                r#"{"type":"command","id":"7","from":"home","to":"bob","node":"lamp","action":"on"}"#,
            ),
            (
                Presence::to("bob").raw_data(RawJson::parse("1.0").unwrap()).into(),
                r#"{"type":"presence","to":"bob","data":1.0}"#,
            ),
        ] {
            assert_eq!(frame.to_text(), text);
            assert_eq!(ClientFrame::parse(text), Ok(frame));
        }
        let no_json: BTreeMap<(u8, u8), u8> = [((1, 2), 3)].into();
        assert!(Message::to("r").data(&no_json).is_err());
    }
}
