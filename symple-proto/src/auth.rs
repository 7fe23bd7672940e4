//! What is looked at in an `auth` frame before anything is made of it.

use alloc::string::String;

use thiserror::Error;

use crate::{
    json::{Member, Object, Spelling, decode_lossy, push_without},
    record::{SECRET, has_secrets},
};

/// The members that the server vouches for in the record of a peer: no other spelling of them may
/// stand there (R-F2).
const ENFORCED: [&str; 3] = ["id", "user", "online"];

/// The members that do not become part of the record as they are written.
const NOT_COUNTED: [&str; 8] =
    ["type", "token", "id", "user", "online", "rooms", "host", "__proto__"];

/// How many of [`NOT_COUNTED`] have rules of their own for what may stand in them.
const NOT_CHECKED: usize = 2;

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
/// member, and one pass more where there are secrets or escapes.
///
/// # Errors
/// [`AuthError`]
pub fn check_auth(auth: Object<'_>, limit: usize) -> Result<(), AuthError> {
    let escapes = auth.text().contains("\\u");
    let mut size = 0;
    let mut checked = Ok(());
    auth.for_each_while(|member| {
        size += size_in_record(&member);
        checked = check_member(&member, escapes);
        checked.is_ok()
    });
    checked?;
    if size > limit && has_secrets(auth.text()) {
        let mut public = String::new();
        push_without(auth.text(), SECRET, &mut public);
        size = 0;
        Object::checked(&public).for_each(|member| size += size_in_record(&member));
    }
    if size > limit { Err(AuthError::TooLarge(limit)) } else { Ok(()) }
}

fn check_member(member: &Member<'_>, escapes: bool) -> Result<(), AuthError> {
    if let Some((name, Spelling::Other)) = member.spells(&ENFORCED) {
        return Err(AuthError::Misspelt(ENFORCED[name]));
    }
    if !escapes {
        return Ok(());
    }
    let own_rules =
        matches!(member.spells(&NOT_COUNTED[..NOT_CHECKED]), Some((_, Spelling::Exact)));
    if !own_rules && (member.key().is_none() || member.value.has_half_surrogate()) {
        return Err(AuthError::HalfSurrogate(decode_lossy(member.quoted_key(), MAX_ECHO)));
    }
    Ok(())
}

/// How many bytes a member takes in the record.
fn size_in_record(member: &Member<'_>) -> usize {
    match member.spells(&NOT_COUNTED) {
        Some((_, Spelling::Exact)) => 0,
        _ => member.quoted_key().len() + member.value.text().len() + ":,".len(),
    }
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
