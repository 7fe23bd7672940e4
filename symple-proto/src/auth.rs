//! What is looked at in an `auth` frame before anything is made of it.

use alloc::string::String;
use core::ops::Range;

use thiserror::Error;

use crate::{
    fields::{Collector, Fields},
    json::{Kind, Member, Names, Object, Secrets, Spelling, decode_lossy, has_half_surrogate},
};

/// The members that do not become part of the record as they are written.
const KNOWN: [&str; 8] = ["type", "token", "id", "user", "online", "rooms", "host", "__proto__"];

/// The same, to be looked up.
const NAMES: Names = Names::new(&KNOWN);

/// Those of [`NAMES`] that have rules of their own for what may stand in them.
const NOT_CHECKED: Range<usize> = 0..2;

/// Those of [`NAMES`] that the server vouches for in the record of a peer: no other spelling of
/// them may stand there (R-F2).
const ENFORCED: [&str; 3] = ["id", "user", "online"];

/// Where [`ENFORCED`] begins in [`NAMES`].
const FIRST_ENFORCED: usize = 2;

/// How many characters of the name of a field are repeated in an error.
const MAX_ECHO: usize = 64;

/// Why an `auth` frame is refused at first sight. The text is the one that the client is told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The record of the peer would be larger than the limit (R-L6), which is named, in bytes.
    #[error("Peer data larger than {0} bytes")]
    TooLarge(usize),
    /// A key is the name for receivers that ignore case or stop at a NUL, and another one for all
    /// others (R-F2).
    #[error("Invalid {0} field: must be spelled {0}")]
    Misspelt(&'static str),
    /// Half a surrogate pair in the key or the value of this field: JSON can spell it, and it is
    /// no text (R-A1).
    #[error("Invalid {0} field: must not contain half a surrogate pair")]
    HalfSurrogate(String),
}

/// Reads the members of an `auth` frame; `limit` is that of the record, in bytes.
///
/// What does not become part of the record (`token`, `rooms`, and secrets at any depth) does not
/// count; a member that is repeated counts as often as it is written. It costs a look at each
/// member, and another one where there is more than the limit with secrets.
///
/// # Errors
/// [`AuthError`]
pub fn read_auth(auth: Object<'_>, limit: usize) -> Result<Fields, AuthError> {
    let halves = has_half_surrogate(auth.text());
    let secrets = Secrets::new();
    let mut members = Collector::default();
    let mut places = [None; KNOWN.len()];
    let mut decoded = String::new();
    // The first members count as they are written, up to the limit.
    let (mut first, mut ends) = (0, false);
    let mut others = 0;
    let mut checked = Ok(());
    auth.for_each_while(|member| {
        let found = member.spells(&NAMES);
        if let Some((name, Spelling::Other)) = found
            && let Some(name) = ENFORCED.get(name.wrapping_sub(FIRST_ENFORCED))
        {
            checked = Err(AuthError::Misspelt(name));
            return false;
        }
        let exact = found.filter(|(_, how)| *how == Spelling::Exact).map(|(name, _)| name);
        if halves && !exact.is_some_and(|name| NOT_CHECKED.contains(&name)) {
            checked = check_halves(&member);
            if checked.is_err() {
                return false;
            }
        }
        if exact.is_none() {
            let size = written_size(&member);
            ends |= first + size > limit;
            if !ends {
                first += size;
            } else if others <= limit {
                others += public_size(&member, &secrets, limit);
            }
        }
        // Nothing is made of what may be too large.
        if !ends {
            match exact {
                Some(name) => members.add_at(&mut places[name], NAMES.name(name), member.value),
                // What has no half of a surrogate pair is text.
                None => members.add(member.key_in(&mut decoded).unwrap_or_default(), member.value),
            }
        }
        true
    });
    checked?;
    if !ends {
        return Ok(members.finish());
    }
    if first + others > limit && public_size_of(auth, first, &secrets, limit) + others > limit {
        return Err(AuthError::TooLarge(limit));
    }
    // No key has half a surrogate pair.
    Ok(Fields::try_from(auth).unwrap_or_default())
}

/// How many bytes the first members take without their secrets, or some number over the limit;
/// `first` is how many they take as they are written.
fn public_size_of(auth: Object<'_>, first: usize, secrets: &Secrets, limit: usize) -> usize {
    let (mut written, mut public) = (0, 0);
    auth.for_each_while(|member| {
        if !matches!(member.spells(&NAMES), Some((_, Spelling::Exact))) {
            written += written_size(&member);
            if written <= first {
                public += public_size(&member, secrets, limit);
            }
        }
        written < first
    });
    public
}

/// How many bytes a member takes as it is written.
fn written_size(member: &Member<'_>) -> usize {
    member.quoted_key().len() + member.value.text().len() + ":,".len()
}

/// How many bytes a member takes without its secrets, or some number over the limit.
fn public_size(member: &Member<'_>, secrets: &Secrets, limit: usize) -> usize {
    if !matches!(member.value.kind(), Kind::Object | Kind::Array) {
        return written_size(member);
    }
    let mut size = member.quoted_key().len() + ":,".len();
    secrets.strip(member.value.text(), |part| {
        size += part.len();
        size <= limit
    });
    size
}

fn check_halves(member: &Member<'_>) -> Result<(), AuthError> {
    if member.key().is_none() || member.value.has_half_surrogate() {
        return Err(AuthError::HalfSurrogate(decode_lossy(member.quoted_key(), MAX_ECHO)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString, vec::Vec};

    use proptest::prelude::*;

    use super::*;
    use crate::Json;

    fn check(text: &str) -> Result<(), String> {
        let auth = Json::parse(text, 128).unwrap().as_object().unwrap();
        read_auth(auth, 100).map(drop).map_err(|error| format!("{error}"))
    }

    /// R-A1, R-F2: no member is lost silently, and none is two things for two receivers.
    #[test]
    fn what_is_refused_names_the_field() {
        let half = "must not contain half a surrogate pair";
        for (members, message) in [
            (r#""name":"Bob \ud83d""#, format!("Invalid name field: {half}")),
            (r#""name":"\udc00""#, format!("Invalid name field: {half}")),
            (r#""n\u0061me":["\ud83d"]"#, format!("Invalid name field: {half}")),
            (r#""x":{"\ud83d":1}"#, format!("Invalid x field: {half}")),
            (r#""k\ud83d":1"#, format!("Invalid k\u{fffd} field: {half}")),
            (r#""rooms":["\ud83d"]"#, format!("Invalid rooms field: {half}")),
            (r#""\n\ud83d":1"#, format!("Invalid \\n\u{fffd} field: {half}")),
            (r#""ID":1"#, "Invalid id field: must be spelled id".into()),
            (r#""user\u0000":"b""#, "Invalid user field: must be spelled user".into()),
            (r#""Online":true"#, "Invalid online field: must be spelled online".into()),
        ] {
            assert_eq!(check(&format!("{{{members}}}")), Err(message), "{members}");
        }
        for good in [
            r#""name":"Bob \ud83d\ude00 \\ud83d""#,
            r#""token":"\ud83d","k\u0065y":1"#,
            r#""userId":1,"x":{"ID":1}"#,
        ] {
            assert_eq!(check(&format!("{{{good}}}")), Ok(()), "{good}");
        }
    }

    /// R-L6
    #[test]
    fn what_is_not_in_the_record_does_not_count() {
        let long = "x".repeat(200);
        for (members, good) in [
            (format!(r#""x":"{long}""#), false),
            (format!(r#""token":"{long}","rooms":["{long}"],"host":"{long}""#), true),
            (format!(r#""x":[{{"t\u006fken":"{long}"}}]"#), true),
            (format!(r#""x":[{{"token":1}}],"y":"{long}""#), false),
        ] {
            assert_eq!(check(&format!("{{{members}}}")).is_ok(), good, "{members}");
        }
    }

    /// What counts, from a parsed text: no text here has white space, or escapes but in keys.
    fn size(members: &[(&str, serde_json::Value)]) -> usize {
        fn strip(value: &mut serde_json::Value) {
            match value {
                serde_json::Value::Object(members) => {
                    members.retain(|key, _| key != "token");
                    members.values_mut().for_each(strip);
                }
                serde_json::Value::Array(elements) => elements.iter_mut().for_each(strip),
                _ => {}
            }
        }
        let counted = members.iter().filter(|(key, _)| {
            !["type", "t\\u006fken", "token", "user", "rooms", "\\u0069d"].contains(key)
        });
        let sizes = counted.map(|(key, value)| {
            let mut value = value.clone();
            strip(&mut value);
            key.len() + 4 + value.to_string().len()
        });
        sizes.sum()
    }

    proptest! {
        /// R-L6: whatever stands where, before the limit or behind.
        #[test]
        fn what_counts_is_the_size_without_secrets(
            members in prop::collection::vec(any_member(), 0..12),
            limit in 0..200_usize,
        ) {
            let written: Vec<_> =
                members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            let text = format!("{{{}}}", written.join(","));
            let auth = Json::parse(&text, 128).unwrap().as_object().unwrap();
            let expected = if size(&members) > limit { Err(AuthError::TooLarge(limit)) } else { Ok(()) };
            let expected = expected.map(|()| Fields::try_from(auth).unwrap());
            prop_assert_eq!(read_auth(auth, limit), expected, "{}", text);
        }
    }

    fn any_member() -> impl Strategy<Value = (&'static str, serde_json::Value)> {
        let keys = ["type", "t\\u006fken", "token", "user", "rooms", "\\u0069d", "x", "y", "name"];
        let long = serde_json::json!("a long text that is a value: a long text that is a value");
        let value = prop::sample::select(alloc::vec![
            serde_json::json!(1),
            long.clone(),
            serde_json::json!([{"token": long, "a": {"token": 1, "b": 2}}]),
            serde_json::json!({"token": [long]}),
            serde_json::json!({"a": long, "token": 1}),
        ]);
        (prop::sample::select(keys.to_vec()), value)
    }
}
