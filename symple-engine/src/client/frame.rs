//! A frame that has arrived, as it was written.

use alloc::{boxed::Box, string::String, sync::Arc};
use core::fmt;

use symple_proto::{
    Address, FrameError, FrameView, RawJson, RoutedType, ServerFrame, json::MAX_DEPTH,
};

use crate::server::Text;

use super::roster::PeerRecord;

/// A routed frame that has arrived (R-F1): its text as it came, and who sent it.
///
/// Members are read when they are asked for.
#[derive(Clone, PartialEq)]
pub struct Frame {
    pub(super) text: Text,
    pub(super) kind: RoutedType,
    pub(super) from: Option<Address>,
    pub(super) peer: Option<Arc<PeerRecord>>,
}

impl Frame {
    /// The type of the frame.
    #[must_use]
    pub fn kind(&self) -> RoutedType {
        self.kind
    }

    /// The text as it came.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// Who sent it, on the server's word (R-F2); none for what a server or a backend says.
    #[must_use]
    pub fn from(&self) -> Option<&Address> {
        self.from.as_ref()
    }

    /// What its sender had told of itself when the frame arrived, where that is known.
    #[must_use]
    pub fn peer(&self) -> Option<&Arc<PeerRecord>> {
        self.peer.as_ref()
    }

    /// The frame as a typed one.
    ///
    /// # Errors
    /// [`FrameError`]: a member is not what the type says, such as a `subtype` that is a number.
    pub fn parse(&self) -> Result<ServerFrame, FrameError> {
        ServerFrame::parse(&self.text)
    }

    /// A member as it was written; the last one, where it is repeated.
    #[must_use]
    pub fn get(&self, member: &str) -> Option<RawJson> {
        let view = FrameView::parse(&self.text, MAX_DEPTH).ok()?;
        view.object().get(member).map(RawJson::from)
    }

    /// A member that is a string.
    #[must_use]
    pub fn get_str(&self, member: &str) -> Option<String> {
        let view = FrameView::parse(&self.text, MAX_DEPTH).ok()?;
        let text = view.object().get(member)?.as_str()?.ok()?;
        Some(text.into_owned())
    }

    /// What the frame says: its `data`.
    #[must_use]
    pub fn data(&self) -> Option<RawJson> {
        // The view has found it, so its members need not be walked through again.
        FrameView::parse(&self.text, MAX_DEPTH).ok()?.data().map(RawJson::from)
    }

    /// The sender's id for the frame.
    #[must_use]
    pub fn id(&self) -> Option<Box<str>> {
        self.get_str("id").map(Into::into)
    }

    /// True for a command whose `node` matches a pattern; see [`node_matches`].
    #[must_use]
    pub fn is_command(&self, pattern: &str) -> bool {
        self.kind == RoutedType::Command
            && self.get_str("node").is_some_and(|node| node_matches(&node, pattern))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// True if the path of a command, such as `camera:front:zoom`, matches a pattern: part by part,
/// where `*` is any part, and at the end of the pattern any further parts, at least one.
#[must_use]
pub fn node_matches(node: &str, pattern: &str) -> bool {
    let mut parts = node.split(':');
    let mut patterns = pattern.split(':').peekable();
    while let Some(wanted) = patterns.next() {
        let Some(part) = parts.next() else { return false };
        let any = wanted == "*";
        if any && patterns.peek().is_none() {
            return true;
        }
        if !any && part != wanted {
            return false;
        }
    }
    parts.next().is_none()
}

/// The start of a text, for people: one line of at most `max` characters.
pub(super) fn short(text: &str, max: usize) -> Box<str> {
    text.chars()
        .take(max)
        .map(|character| if character.is_control() { '\u{fffd}' } else { character })
        .collect::<String>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SPEC §2: the node of a command is a path, and a pattern stands for several.
    #[test]
    fn paths_of_commands() {
        for (node, pattern, expected) in [
            ("a", "a", true),
            ("a:b", "a:b", true),
            ("a:b", "a", false),
            ("a", "a:b", false),
            ("a:b:c", "a:b:*", true),
            ("a:b:c:d", "a:b:*", true),
            ("a:b", "a:b:*", false),
            ("a:x:c", "a:*:c", true),
            ("a:x:c:d", "a:*:c", false),
            ("a:x:y:c", "a:*:c", false),
            ("a:b", "*", true),
            ("", "*", true),
            ("", "", true),
            ("a:", "a:*", true),
            ("b:a", "a:*", false),
        ] {
            assert_eq!(node_matches(node, pattern), expected, "{node} {pattern}");
        }
    }

    #[test]
    fn what_others_wrote_is_shown_short_and_in_one_line() {
        assert_eq!(&*short("a\nb\u{1b}[1mc", 5), "a\u{fffd}b\u{fffd}[");
        assert_eq!(&*short("", 5), "");
    }
}
