//! JSON Web Tokens (R-V1): whether a token counts, and what it says of its holder.
//!
//! Nothing here does IO or reads a clock. Keys come from elsewhere, and the caller says what time it
//! is. Signatures are checked by ring, which TLS uses, too.

mod algorithm;
mod claims;
mod keys;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use symple_proto::{Fields, Json, SessionError, json::MAX_DEPTH};
use thiserror::Error;

use algorithm::Algorithm;
pub use claims::JwtProof;
pub use keys::{JwtKeyError, JwtKeys};

/// The largest token that is looked at, in bytes.
pub(crate) const MAX_TOKEN: usize = 16 * 1024;
/// How many keys a token may be checked with that does not name one: each costs as much as a
/// signature.
const MAX_TRIES: usize = 4;

/// Why a token proves nothing. The text is for the log: nothing of the token is in it but the name of
/// a claim that is configured. [`message`](Self::message) is what the client is told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JwtError {
    /// A token over 16 KiB.
    #[error("the token is larger than 16384 bytes")]
    TooLarge,
    /// A text that has not the form of a token.
    #[error("it is no JSON Web Token")]
    NotAToken,
    /// An algorithm that is none, such as `none`, or that is not known here.
    #[error("the token has an algorithm that is not allowed")]
    Algorithm,
    /// A header that asks for what is not known here (RFC 7515 §4.1.11).
    #[error("the token has critical headers (crit) that are not known here")]
    Critical,
    /// None of the keys may be used for this token: none has its `kid` and allows its algorithm.
    #[error("there is no key for this token: none has its kid and is for its algorithm")]
    UnknownKey,
    /// Too many keys might have signed it.
    #[error("the token names no key (kid), and more than 4 keys might have signed it")]
    Ambiguous,
    /// The signature is of none of the keys that may be used.
    #[error("the signature of the token is wrong")]
    Signature,
    /// Claims that are no JSON object.
    #[error("the claims of the token are no JSON object")]
    Claims,
    /// It has expired.
    #[error("the token has expired (exp)")]
    Expired,
    /// It never expires.
    #[error("the token has no exp, which is required")]
    NoExpiry,
    /// It does not count yet.
    #[error("the token does not count yet (nbf)")]
    NotYetValid,
    /// A time that is no number.
    #[error("the claim {0} of the token is no time")]
    NotATime(&'static str),
    /// It is for somebody else.
    #[error("the token is for another audience (aud)")]
    Audience,
    /// It is for somebody, and the server does not know who it is itself.
    #[error("the token has an audience (aud), and the server has none (jwt-audience)")]
    AudienceUnknown,
    /// It is of an issuer that does not count.
    #[error("the token is of another issuer (iss)")]
    Issuer,
    /// It does not say who its holder is.
    #[error("the token has no claim {0}, which says who its holder is")]
    NoUser(String),
    /// A `peer` that is no object.
    #[error("the claim peer of the token is no object")]
    Peer,
    /// The claims make no session that counts (R-A4).
    #[error("the claims of the token make no session: {problem} (the user is the claim {claim})")]
    Session {
        /// The claim that names the user.
        claim: String,
        /// What is wrong.
        #[source]
        problem: SessionError,
    },
}

impl JwtError {
    /// What the client is told: what it can do something about, and nothing of how tokens are
    /// checked.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::TooLarge => "Token too large",
            Self::Expired => "Token expired",
            Self::NotYetValid => "Token not valid yet",
            _ => "Invalid token",
        }
    }
}

/// How tokens are checked beyond their signatures (R-V1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JwtSettings {
    /// Whom tokens must be for: one of these must be in `aud`. None: tokens must have no `aud`.
    pub audience: Vec<String>,
    /// Who may have issued them: `iss` must be one of these. None: whoever has the key.
    pub issuer: Vec<String>,
    /// The claim that says who the holder is. `sub`.
    pub user_claim: String,
    /// How far clocks may differ; `exp` and `nbf` are taken so much more generously. 30 s.
    pub leeway: Duration,
    /// How often keys that come from a URL are fetched again. 5 minutes.
    pub jwks_refresh: Duration,
    /// How often they are fetched at most because a token names one that is not there. 30 s.
    pub jwks_refetch: Duration,
    /// Whether a token may do without `exp`. Off: nobody could ever get rid of such a token.
    pub expiry_optional: bool,
}

impl Default for JwtSettings {
    fn default() -> Self {
        Self {
            audience: Vec::new(),
            issuer: Vec::new(),
            user_claim: "sub".into(),
            leeway: Duration::from_secs(30),
            jwks_refresh: Duration::from_secs(300),
            jwks_refetch: Duration::from_secs(30),
            expiry_optional: false,
        }
    }
}

/// Checks JSON Web Tokens (R-V1).
///
/// The algorithms that count follow from the keys, and never from the token.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use symple_driver::{Jwt, JwtKeys};
///
/// let secret = "a secret that has more than 32 bytes";
/// let jwt = Jwt::new(JwtKeys::from_secret(secret).unwrap());
/// let token = Jwt::issue(secret, "alice", Duration::from_secs(60));
/// let proof = jwt.verify(&token, SystemTime::now()).unwrap();
/// assert_eq!(proof.session.user().unwrap().unwrap(), "alice");
/// ```
#[derive(Clone, Debug)]
pub struct Jwt {
    keys: JwtKeys,
    /// Keys that are replaced while the server runs; none as long as there are none yet.
    fetched: FetchedKeys,
    settings: JwtSettings,
}

/// Keys that come from elsewhere, and are replaced from time to time.
#[derive(Clone, Debug, Default)]
pub(crate) struct FetchedKeys(Arc<RwLock<Option<Arc<JwtKeys>>>>);

impl FetchedKeys {
    /// Replaces them.
    pub(crate) fn set(&self, keys: JwtKeys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
    }

    /// The keys, as far as there have been any.
    pub(crate) fn get(&self) -> Option<Arc<JwtKeys>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Jwt {
    /// Checks tokens with these keys, and with the [settings](JwtSettings) that are usual.
    #[must_use]
    pub fn new(keys: JwtKeys) -> Self {
        Self { keys, fetched: FetchedKeys::default(), settings: JwtSettings::default() }
    }

    /// Changes how tokens are checked.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut JwtSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Checks tokens with further keys, too.
    #[must_use]
    pub fn with_keys(mut self, keys: JwtKeys) -> Self {
        self.keys = self.keys.and(keys);
        self
    }

    /// The keys that are fetched.
    pub(crate) fn fetched(&self) -> &FetchedKeys {
        &self.fetched
    }

    /// How tokens are checked.
    #[must_use]
    pub fn settings(&self) -> &JwtSettings {
        &self.settings
    }

    /// Checks a token. It costs one signature, or four of those that name no key.
    ///
    /// # Errors
    /// [`JwtError`]: it proves nothing.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<JwtProof, JwtError> {
        if token.len() > MAX_TOKEN {
            return Err(JwtError::TooLarge);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(JwtError::NotAToken)?;
        let (header, claims) = message.split_once('.').ok_or(JwtError::NotAToken)?;
        let header = Header::read(header)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwtError::NotAToken)?;
        let fetched = self.fetched.get();
        let all = self.keys.0.iter().chain(fetched.iter().flat_map(|keys| &keys.0));
        // A key without a name may be that of any token: whoever has a PEM file has no name for it.
        let may_be = |id: &str| header.key.as_deref().is_none_or(|wanted| wanted == id);
        let mut keys: Vec<_> = all
            .filter(|key| key.id.as_deref().is_none_or(may_be) && key.allows(header.algorithm))
            .collect();
        if keys.is_empty() {
            return Err(JwtError::UnknownKey);
        }
        if header.key.is_some() {
            // That of its name is most probably the one.
            keys.sort_by_key(|key| key.id.is_none());
            keys.truncate(MAX_TRIES);
        } else if keys.len() > MAX_TRIES {
            return Err(JwtError::Ambiguous);
        }
        let message = message.as_bytes();
        let signed =
            keys.iter().any(|key| key.material.has_signed(header.algorithm, message, &signature));
        if !signed {
            // What names a key that nobody has may have been signed with a newer one.
            let named = header.key.is_none() || keys.iter().any(|key| key.id.is_some());
            return Err(if named { JwtError::Signature } else { JwtError::UnknownKey });
        }
        claims::check(&object(claims).ok_or(JwtError::Claims)?, &self.settings, now)
    }

    /// True if a text has the form of a token: three parts, of which the first is a header. Whether
    /// it proves anything is another matter.
    #[must_use]
    pub fn is_token(text: &str) -> bool {
        let mut parts = text.split('.');
        let header = parts.next().filter(|_| text.len() <= MAX_TOKEN);
        parts.count() == 2
            && header.and_then(object).is_some_and(|header| header.get("alg").is_some())
    }

    /// A token for a user, signed with HS256: for trying out, and for backends in Rust.
    /// [`issue_claims`](Self::issue_claims) takes any claims.
    #[must_use]
    pub fn issue(secret: impl AsRef<[u8]>, user: &str, ttl: Duration) -> String {
        let expires = (SystemTime::now() + ttl).duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires = symple_proto::RawJson::parse(&expires.as_secs().to_string());
        let mut claims = Fields::new().with("sub", user);
        if let Ok(expires) = expires {
            claims.set("exp", expires);
        }
        Self::issue_claims(secret, &claims)
    }

    /// A token with these claims, signed with HS256.
    #[must_use]
    pub fn issue_claims(secret: impl AsRef<[u8]>, claims: &Fields) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_json()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref());
        let signature = hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What the header of a token says (RFC 7515 §4).
struct Header {
    algorithm: Algorithm,
    key: Option<String>,
}

impl Header {
    fn read(encoded: &str) -> Result<Self, JwtError> {
        let header = object(encoded).ok_or(JwtError::NotAToken)?;
        let algorithm = header.get_str("alg").and_then(|name| Algorithm::from_name(&name));
        let algorithm = algorithm.ok_or(JwtError::Algorithm)?;
        if header.get("crit").is_some() {
            return Err(JwtError::Critical);
        }
        let key = match header.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().ok_or(JwtError::NotAToken)?.into_owned()),
        };
        Ok(Self { algorithm, key })
    }
}

/// A JSON object in base64; of a member that is repeated the last one counts.
fn object(encoded: &str) -> Option<Fields> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?;
    let object = Json::parse(text, MAX_DEPTH).ok()?.as_object()?;
    Fields::try_from(object).ok()
}
