//! What the claims of a token say (RFC 7519): whether it counts now and here, and who its holder is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use symple_proto::{Fields, Json, PRIVATE_MEMBER, RawJson, SessionRecord, json::Kind};

use super::{JwtError, JwtSettings};

/// The longest that a token lasts, in seconds: some thirty years. What says more lasts as long.
const FOREVER: f64 = 1e9;
/// The claims that become members of the session, each checked as those of a session are.
const OF_THE_SESSION: [&str; 3] = ["rooms", "readonly", "hidden"];

/// What a token proves (R-V1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JwtProof {
    /// What is known of its holder, as a session says it (R-A4). All claims are in its member
    /// `private`, which hooks see and nobody else.
    pub session: SessionRecord,
    /// How long the token still counts; `None` is for ever.
    pub expires: Option<Duration>,
}

/// Checks the claims of a token whose signature is right.
pub(super) fn check(
    claims: &Fields,
    settings: &JwtSettings,
    now: SystemTime,
) -> Result<JwtProof, JwtError> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let leeway = settings.leeway.as_secs_f64();
    let expires = match time(claims, "exp")? {
        Some(at) if now >= at + leeway => return Err(JwtError::Expired),
        Some(at) => Some(Duration::from_secs_f64((at + leeway - now).min(FOREVER))),
        None if settings.expiry_optional => None,
        None => return Err(JwtError::NoExpiry),
    };
    if time(claims, "nbf")?.is_some_and(|at| now + leeway < at) {
        return Err(JwtError::NotYetValid);
    }
    check_audience(claims, &settings.audience)?;
    if !settings.issuer.is_empty() {
        let issuer = claims.get_str("iss").ok_or(JwtError::Issuer)?;
        if !settings.issuer.iter().any(|ours| *ours == *issuer) {
            return Err(JwtError::Issuer);
        }
    }
    Ok(JwtProof { session: session(claims, settings)?, expires })
}

/// A claim that is a time, in seconds since 1970, with or without a fraction.
fn time(claims: &Fields, name: &'static str) -> Result<Option<f64>, JwtError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) if value.get().kind() == Kind::Number => {
            let seconds = value.text().parse().ok().filter(|seconds: &f64| seconds.is_finite());
            seconds.map(Some).ok_or(JwtError::NotATime(name))
        }
        Some(_) => Err(JwtError::NotATime(name)),
    }
}

/// A token that is for others is not for this server, also where the server has no name of its own
/// (RFC 7519 §4.1.3).
fn check_audience(claims: &Fields, ours: &[String]) -> Result<(), JwtError> {
    let is_ours = |name: &str| ours.iter().any(|ours| ours == name);
    let Some(audience) = claims.get("aud") else {
        return if ours.is_empty() { Ok(()) } else { Err(JwtError::Audience) };
    };
    if ours.is_empty() {
        return Err(JwtError::AudienceUnknown);
    }
    let mut found = audience.as_str().is_some_and(|name| is_ours(&name));
    if let Some(names) = audience.get().as_array() {
        names.for_each_str(|name| found |= is_ours(&name));
    }
    if found { Ok(()) } else { Err(JwtError::Audience) }
}

/// The session that the claims amount to.
fn session(claims: &Fields, settings: &JwtSettings) -> Result<SessionRecord, JwtError> {
    let user = claims.get(&settings.user_claim).cloned();
    let user = user.ok_or_else(|| JwtError::NoUser(settings.user_claim.clone()))?;
    let mut session = match claims.get("peer").map(RawJson::get) {
        None => Fields::new(),
        Some(peer) if peer.kind() == Kind::Null => Fields::new(),
        Some(peer) => {
            let peer = Json::as_object(peer).and_then(|peer| Fields::try_from(peer).ok());
            peer.ok_or(JwtError::Peer)?
        }
    };
    // What decides about the peer are claims of their own: `peer` is how others see it.
    session.retain(|name| !OF_THE_SESSION.contains(&name) && name != PRIVATE_MEMBER);
    for name in OF_THE_SESSION {
        if let Some(value) = claims.get(name) {
            session.set(name, value.clone());
        }
    }
    session.set("user", user);
    let all = RawJson::parse(&claims.to_json()).map_err(|_| JwtError::Claims)?;
    session.set(PRIVATE_MEMBER, all);
    let session = SessionRecord(session);
    session
        .check_refused()
        .map_err(|problem| JwtError::Session { claim: settings.user_claim.clone(), problem })?;
    Ok(session)
}
