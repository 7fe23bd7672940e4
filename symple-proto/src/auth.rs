//! What is looked at in an `auth` frame before anything is made of it.

use alloc::string::String;
use core::ops::Range;

use thiserror::Error;

use crate::json::{Member, Names, Object, Secrets, Spelling, decode_lossy, has_half_surrogate};

/// The members that do not become part of the record as they are written.
const NAMES: Names =
    Names::new(&["type", "token", "id", "user", "online", "rooms", "host", "__proto__"]);

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

/// Checks the members of an `auth` frame; `limit` is that of the record, in bytes.
///
/// What does not become part of the record (`token`, `rooms`, and secrets at any depth) does not
/// count; a member that is repeated counts as often as it is written. It costs a look at each
/// member, and one more where there is more than the limit before secrets are left out, or half a
/// surrogate pair.
///
/// # Errors
/// [`AuthError`]
pub fn check_auth(auth: Object<'_>, limit: usize) -> Result<(), AuthError> {
    let halves = has_half_surrogate(auth.text());
    let mut size = 0;
    let mut checked = Ok(());
    auth.for_each_while(|member| {
        match member.spells(&NAMES) {
            Some((name, Spelling::Exact)) => {
                if halves && !NOT_CHECKED.contains(&name) {
                    checked = check_halves(&member);
                }
            }
            Some((name, Spelling::Other)) if name.wrapping_sub(FIRST_ENFORCED) < ENFORCED.len() => {
                checked = Err(AuthError::Misspelt(ENFORCED[name - FIRST_ENFORCED]));
            }
            _ => {
                size += member.quoted_key().len() + member.value.text().len() + ":,".len();
                if halves {
                    checked = check_halves(&member);
                }
            }
        }
        checked.is_ok()
    });
    checked?;
    if size > limit && size_without_secrets(auth, limit) > limit {
        return Err(AuthError::TooLarge(limit));
    }
    Ok(())
}

fn check_halves(member: &Member<'_>) -> Result<(), AuthError> {
    if member.key().is_none() || member.value.has_half_surrogate() {
        return Err(AuthError::HalfSurrogate(decode_lossy(member.quoted_key(), MAX_ECHO)));
    }
    Ok(())
}

/// How many bytes the members take in the record, or some number over the limit.
fn size_without_secrets(auth: Object<'_>, limit: usize) -> usize {
    let secrets = Secrets::new();
    let mut size = 0;
    auth.for_each_while(|member| {
        if !matches!(member.spells(&NAMES), Some((_, Spelling::Exact))) {
            size += member.quoted_key().len() + ":,".len();
            secrets.strip(member.value.text(), |part| {
                size += part.len();
                size <= limit
            });
        }
        size <= limit
    });
    size
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::Json;

    fn check(text: &str) -> Result<(), String> {
        let auth = Json::parse(text, 128).unwrap().as_object().unwrap();
        check_auth(auth, 100).map_err(|error| format!("{error}"))
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
}
