//! The signature of what the server posts (R-W1): who has the secret can tell that it is from there,
//! and from when.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ring::hmac;

/// The name of the header.
pub(crate) const HEADER: &str = "symple-signature";

/// The value of the header: the time in seconds since 1970, and HMAC-SHA256 over it, a dot, and the body.
pub(crate) fn sign(secret: &[u8], now: SystemTime, body: &[u8]) -> String {
    let time = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(format!("{time}.").as_bytes());
    context.update(body);
    let mut header = format!("t={time},v1=");
    for byte in context.sign().as_ref() {
        let _ = write!(header, "{byte:02x}");
    }
    header
}

/// Checks the header `Symple-Signature` of a request from a server (R-V2, R-W1), for services in Rust:
/// that it is of somebody who has the secret, and not older than `tolerance`, nor that far ahead. Nothing is
/// signed with an empty secret.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use symple_driver::verify_signature;
///
/// # let (header, body) = ("t=1,v1=00", b"{}");
/// if !verify_signature("the secret", header, body, SystemTime::now(), Duration::from_secs(300)) {
///     // Answer with 401, and do nothing.
/// }
/// ```
#[must_use]
pub fn verify_signature(
    secret: impl AsRef<[u8]>,
    header: &str,
    body: &[u8],
    now: SystemTime,
    tolerance: Duration,
) -> bool {
    // With no secret anybody could have signed it.
    if secret.as_ref().is_empty() {
        return false;
    }
    let parts = header.strip_prefix("t=").and_then(|rest| rest.split_once(",v1="));
    let Some((time, signature)) = parts else { return false };
    let Ok(seconds) = time.parse::<u64>() else { return false };
    let Some(signed_at) = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) else {
        return false;
    };
    let apart = now.duration_since(signed_at).unwrap_or_else(|error| error.duration());
    if apart > tolerance || signature.len() != 64 || !signature.is_ascii() {
        return false;
    }
    let digits = signature.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = digits
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
        .collect();
    let Some(bytes) = bytes else { return false };
    let message = [time.as_bytes(), b".", body].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref());
    hmac::verify(&key, &message, &bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-W1: who checks it as the server makes it.
    #[test]
    fn signatures_are_checked() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let minute = Duration::from_secs(60);
        let header = sign(b"secret", now, b"body");
        let check = |secret: &str, header: &str, body: &[u8], now| {
            verify_signature(secret, header, body, now, minute)
        };
        assert!(check("secret", &header, b"body", now));
        assert!(check("secret", &header, b"body", now + minute));
        assert!(check("secret", &header, b"body", now - minute));
        assert!(!check("secret", &header, b"body", now + 2 * minute));
        assert!(!check("secret", &header, b"body", now - 2 * minute));
        assert!(!check("other", &header, b"body", now));
        assert!(!check("secret", &header, b"bodY", now));
        let later = header.replace("t=1800000000", "t=1800000001");
        for bad in ["", "t=,v1=", "v1=00,t=1", &header[..header.len() - 1], &later, "t=-1,v1=00"] {
            assert!(!check("secret", bad, b"body", now), "{bad}");
        }
        let odd = format!("t=1800000000,v1={}", "é".repeat(32));
        assert!(!check("secret", &odd, b"body", now));
    }

    /// R-W1: what `openssl dgst -sha256 -hmac secret` says of `1800000000.{"a":1}`.
    #[test]
    fn a_signature() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let signed = sign(b"secret", now, br#"{"a":1}"#);
        assert_eq!(
            signed,
            concat!(
                "t=1800000000,v1=",
                "440dfbb83aabca24d9e5027629cfd81cb45254690f8d410bb28f1cc17c990dbc"
            )
        );
    }
}
