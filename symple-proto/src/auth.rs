//! What is looked at in an `auth` frame before anything is made of it.

use alloc::string::String;

use thiserror::Error;

use crate::{
    json::{
        Entry, Json, Kind, Object, Secrets, Spelling, decode_lossy, decode_to, has_half_surrogate,
    },
    members::{
        Collector, EXTENSIONS, ID, MAX_TEXT, NAME, NAMES, ONLINE, PeerMembers, ROOMS, TOKEN, TYPE,
        USER,
    },
};

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

/// What an `auth` frame says: of each member the last value, as in `JSON.parse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthFrame<'a> {
    /// Who the client is.
    pub user: Option<Json<'a>>,
    /// What proves it.
    pub token: Option<Json<'a>>,
    /// The rooms that it wants to be in.
    pub rooms: Option<Json<'a>>,
    /// The extensions that it asks for (R-X1).
    pub extensions: Option<Json<'a>>,
    /// The members of its peer.
    pub members: PeerMembers,
}

/// Reads the members of an `auth` frame; `limit` is that of the record, in bytes, and `seed` that
/// of [`PeerMembers::new`].
///
/// What does not become part of the record (`token`, `rooms`, `extensions`, and secrets at any depth) does not
/// count; a member that is repeated counts as often as it is written. It costs one look at each
/// member, and none at all past the limit but at its key.
///
/// # Errors
/// [`AuthError`]
pub fn read_auth(auth: Object<'_>, limit: usize, seed: u64) -> Result<AuthFrame<'_>, AuthError> {
    let text = auth.text();
    if text.len() > MAX_TEXT {
        return Err(AuthError::TooLarge(limit));
    }
    let halves = has_half_surrogate(text);
    let secrets = Secrets::new();
    let mut secrets_of = None;
    let mut members = Collector::new(auth, seed);
    let mut size = 0;
    let mut checked = Ok(());
    auth.for_each_entry(|entry| {
        let found = NAMES.find(&text[entry.key.clone()], entry.escaped);
        let exact = match found {
            Some((name @ (ID | USER | ONLINE), Spelling::Other)) => {
                checked = Err(AuthError::Misspelt(NAMES.name(name)));
                return false;
            }
            Some((name, Spelling::Exact)) => Some(name),
            _ => None,
        };
        if halves && !matches!(exact, Some(TYPE | TOKEN)) {
            checked = check_halves(auth, &entry);
            if checked.is_err() {
                return false;
            }
        }
        if matches!(exact, None | Some(NAME)) && size <= limit {
            size += entry.value.end - entry.value.start + entry.key.len() + ":,".len();
            if let Kind::Object | Kind::Array = entry.kind {
                let secrets = secrets_of.get_or_insert_with(|| secrets.of(text));
                if secrets.any_in(&entry.value) {
                    size -= entry.value.len();
                    secrets.strip(entry.value.clone(), |part| {
                        size += part.len();
                        size <= limit
                    });
                }
            }
        }
        // Nothing is made of what is too large.
        if size <= limit {
            members.add(exact, &entry);
        }
        true
    });
    checked?;
    if size > limit {
        return Err(AuthError::TooLarge(limit));
    }
    Ok(AuthFrame {
        user: members.value(USER),
        token: members.value(TOKEN),
        rooms: members.value(ROOMS),
        extensions: members.value(EXTENSIONS),
        members: members.finish(),
    })
}

fn check_halves(auth: Object<'_>, entry: &Entry) -> Result<(), AuthError> {
    let quoted = &auth.text()[entry.key.clone()];
    let bad_key = entry.escaped && decode_to(quoted, &mut String::new()).is_err();
    if bad_key || auth.value(entry).has_half_surrogate() {
        return Err(AuthError::HalfSurrogate(decode_lossy(quoted, MAX_ECHO)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString, vec::Vec};

    use proptest::prelude::*;

    use super::*;
    use crate::{Fields, Json};

    fn check(text: &str) -> Result<(), String> {
        let auth = Json::parse(text, 128).unwrap().as_object().unwrap();
        read_auth(auth, 100, 7).map(drop).map_err(|error| format!("{error}"))
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

    const NOT_COUNTED: [&str; 7] =
        ["type", "t\\u006fken", "token", "user", "rooms", "\\u0069d", "extensions"];

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
        let counted = members.iter().filter(|(key, _)| !NOT_COUNTED.contains(key));
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
            let read = read_auth(auth, limit, 7);
            if size(&members) > limit {
                prop_assert_eq!(read, Err(AuthError::TooLarge(limit)), "{}", text);
                return Ok(());
            }
            let read = read.unwrap();
            prop_assert_eq!(read.user, auth.get("user"));
            prop_assert_eq!(read.token, auth.get("token"));
            prop_assert_eq!(read.rooms, auth.get("rooms"));
            prop_assert_eq!(read.extensions, auth.get("extensions"));
            let mut fields = Fields::try_from(auth).unwrap();
            fields.remove("extensions");
            let expected = PeerMembers::from(&fields);
            let text_of = |members: &PeerMembers| {
                let mut out = String::new();
                members.push_peer("a", "0a", None, &mut out);
                out
            };
            prop_assert_eq!(text_of(&read.members), text_of(&expected), "{}", text);
        }
    }

    fn any_member() -> impl Strategy<Value = (&'static str, serde_json::Value)> {
        let keys = NOT_COUNTED.into_iter().chain(["x", "y", "name"]).collect::<Vec<_>>();
        let long = serde_json::json!("a long text that is a value: a long text that is a value");
        let value = prop::sample::select(alloc::vec![
            serde_json::json!(1),
            long.clone(),
            serde_json::json!([{"token": long, "a": {"token": 1, "b": 2}}]),
            serde_json::json!({"token": [long]}),
            serde_json::json!({"a": long, "token": 1}),
        ]);
        (prop::sample::select(keys), value)
    }
}
