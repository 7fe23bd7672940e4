//! Whether a text is the one that was expected, ids aside.
//!
//! The server makes ids anew each time. A recorded id stands for the one that takes its place when
//! it is first seen; from then on only for that one.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::Value;

use crate::{
    deviation::Step,
    transcript::{Event, Transcript},
    world::Seen,
};

/// The address of clients, as Node sees it on a socket for IPv4 and IPv6.
const RECORDED_HOST: &str = "::ffff:127.0.0.1";

/// Texts of the JavaScript engine: only their beginnings are compared.
const VARIABLE: &str = "Authentication failed: Redis error:";

/// Recorded ids, and what stands in their places.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    recorded: BTreeSet<String>,
    bound: BTreeMap<String, String>,
}

impl Bindings {
    /// The ids of a transcript: those of welcomes, and of presence whose peer was never welcome.
    #[must_use]
    pub fn of(transcript: &Transcript) -> Self {
        Self::of_events(transcript.events.iter())
    }

    /// The ids of a transcript, and those that only what is expected gives: where a peer is welcome
    /// that the original server refused.
    pub(crate) fn of_steps(transcript: &Transcript, steps: &[Step]) -> Self {
        Self::of_events(transcript.events.iter().chain(steps.iter().map(|step| &step.event)))
    }

    fn of_events<'a>(events: impl Iterator<Item = &'a Event>) -> Self {
        let mut recorded = BTreeSet::new();
        for event in events {
            let Event::Recv(_, text) = event else { continue };
            let Ok(frame) = serde_json::from_str::<Value>(text) else { continue };
            if let Some(id) = frame["peer"]["id"].as_str() {
                recorded.insert(id.to_owned());
            }
            if frame["type"] == "presence"
                && let Some((_, id)) = frame["from"].as_str().and_then(|from| from.split_once('|'))
            {
                recorded.insert(id.to_owned());
            }
        }
        Self { recorded, bound: BTreeMap::new() }
    }

    /// A recorded text with the ids that are known now.
    #[must_use]
    pub fn resolve(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, id)) = self.next_id(rest) {
            out.push_str(&rest[..at]);
            out.push_str(self.bound.get(id).map_or(id, String::as_str));
            rest = &rest[at + id.len()..];
        }
        out.push_str(rest);
        out
    }

    /// From now on a recorded id stands for this one.
    pub(crate) fn bind(&mut self, recorded: &str, seen: &str) {
        self.bound.insert(recorded.into(), seen.into());
    }

    /// Binds the ids of an expected frame, in its peer and its author, to those of the frame that
    /// takes its place, whatever else differs.
    pub(crate) fn learn(&mut self, expected: &Event, seen: &Seen) {
        let (Event::Recv(_, expected), Seen::Text(_, seen)) = (expected, seen) else { return };
        if self.accept(expected, seen) {
            return;
        }
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let (expected, seen) = (parse(expected), parse(seen));
        let author = |frame: &Value| {
            let (_, id) = frame["from"].as_str()?.split_once('|')?;
            Some(id.to_owned())
        };
        let peer = |frame: &Value| frame["peer"]["id"].as_str().map(str::to_owned);
        for (recorded, other) in
            [(author(&expected), author(&seen)), (peer(&expected), peer(&seen))]
        {
            if let (Some(recorded), Some(other)) = (recorded, other)
                && self.recorded.contains(&recorded)
                && !self.bound.contains_key(&recorded)
                && !self.bound.values().any(|known| *known == other)
            {
                self.bind(&recorded, &other);
            }
        }
    }

    /// A text that was seen with the ids that were recorded.
    pub(crate) fn as_recorded(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (recorded, seen) in &self.bound {
            out = out.replace(seen, recorded);
        }
        out.replace(r#""host":"127.0.0.1""#, &format!(r#""host":"{RECORDED_HOST}""#))
    }

    /// The first recorded id in a text, and where it stands.
    fn next_id(&self, text: &str) -> Option<(usize, &str)> {
        let found =
            self.recorded.iter().filter_map(|id| Some((text.find(id.as_str())?, id.as_str())));
        // Of two ids one of which begins with the other, the whole one.
        found.min_by_key(|(at, id)| (*at, std::cmp::Reverse(id.len())))
    }

    /// True if the text that was seen is the one that was expected. Ids that were not known before
    /// are known afterwards.
    pub fn accept(&mut self, expected: &str, seen: &str) -> bool {
        if expected.contains(VARIABLE) {
            let end = expected.find(VARIABLE).map_or(0, |at| at + VARIABLE.len());
            return seen.starts_with(&expected[..end]);
        }
        let seen = &at_once(seen);
        // The address of a client depends on the socket that the server listens on.
        let elsewhere = expected.replace(RECORDED_HOST, "127.0.0.1");
        for expected in [expected, &elsewhere] {
            let mut bound = self.bound.clone();
            if self.unify(expected, seen, &mut bound) {
                self.bound = bound;
                return true;
            }
        }
        false
    }

    fn unify(&self, expected: &str, seen: &str, bound: &mut BTreeMap<String, String>) -> bool {
        let (mut expected, mut seen) = (expected, seen);
        while let Some((at, id)) = self.next_id(expected) {
            let Some(rest) = seen.strip_prefix(&expected[..at]) else { return false };
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && !c.is_ascii_lowercase())
                .unwrap_or(rest.len());
            let other = &rest[..end];
            if other.is_empty() || bound.get(id).is_some_and(|known| known != other) {
                return false;
            }
            // Two recorded ids are never the same one.
            if bound.iter().any(|(recorded, known)| recorded != id && known == other) {
                return false;
            }
            bound.insert(id.into(), other.into());
            expected = &expected[at + id.len()..];
            seen = &rest[end..];
        }
        expected == seen
    }
}

/// A text that was seen, with a hint when to come back as it stands in transcripts: servers spread
/// it at random (R-L2).
fn at_once(seen: &str) -> Cow<'_, str> {
    const HINT: &str = r#""retry_after":"#;
    let Some(start) = seen.find(HINT).map(|at| at + HINT.len()) else { return seen.into() };
    let rest = &seen[start..];
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    match rest[..end].parse() {
        Ok(1..=60) => format!("{}1{}", &seen[..start], &rest[end..]).into(),
        _ => seen.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bindings() -> Bindings {
        let recorded = ["abc", "xyz"].map(Into::into).into();
        Bindings { recorded, bound: BTreeMap::new() }
    }

    #[test]
    fn ids_are_bound_once() {
        let mut ids = bindings();
        assert!(ids.accept(r#"{"id":"abc","to":"bob|xyz"}"#, r#"{"id":"1","to":"bob|2"}"#));
        assert!(ids.accept(r#"{"id":"xyz"}"#, r#"{"id":"2"}"#));
        assert!(!ids.accept(r#"{"id":"xyz"}"#, r#"{"id":"1"}"#));
        assert!(!ids.accept(r#"{"id":"xyz"}"#, r#"{"id":"3"}"#));
        assert_eq!(ids.resolve("a|abc xyz abc"), "a|1 2 1");
    }

    #[test]
    fn hints_differ() {
        let hint = |seconds: &str| format!(r#"{{"status":503,"retry_after":{seconds}}}"#);
        assert!(bindings().accept(&hint("1"), &hint("9")));
        for other in ["0", "61", "-1", "\"1\"", "1.5"] {
            assert!(!bindings().accept(&hint("1"), &hint(other)), "{other}");
        }
    }

    #[test]
    fn two_ids_are_two() {
        assert!(!bindings().accept("abc xyz", "1 1"));
        assert!(bindings().accept("abc xyz abc", "1 2 1"));
    }

    #[test]
    fn everything_else_is_compared() {
        let mut ids = bindings();
        assert!(ids.accept("{\"a\":1.0}", "{\"a\":1.0}"));
        assert!(!ids.accept("{\"a\":1.0}", "{\"a\":1}"));
        assert!(ids.accept(r#""host":"::ffff:127.0.0.1""#, r#""host":"127.0.0.1""#));
        assert!(!ids.accept(r#""host":"::ffff:127.0.0.1""#, r#""host":"127.0.0.2""#));
        assert!(ids.accept(
            r#""Authentication failed: Redis error: Unexpected end"}"#,
            r#""Authentication failed: Redis error: something else"}"#
        ));
    }
}
