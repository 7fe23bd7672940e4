//! Whom the server asks what a token proves.
//!
//! A hook or a webhook about authentications comes behind this, and has the last word: it sees the
//! session, wherever that came from.
//!
//! | sessions | JWT | hook | who comes in |
//! |---|---|---|---|
//! | – | – | – | anyone, as whoever they claim to be |
//! | yes | – | – | who has the token of a session |
//! | – | yes | – | who has a JWT that counts |
//! | yes | yes | – | either: what has the form of a JWT must count as one, anything else is the token of a session |
//! | – | – | yes | whom the hook lets in, with a token or without |
//! | … | … | yes | who could come in without the hook, if the hook lets them in, too |

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_channel::Sender;
use symple_engine::server::SessionLookup;
use symple_proto::Token;

use crate::{
    jwt::{Jwt, JwtError},
    server::log::OncePerSecond,
};

/// What may prove who the holder of a token is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proofs {
    /// Whether sessions in Redis do.
    pub(crate) sessions: bool,
    /// How JSON Web Tokens do.
    pub(crate) jwt: Option<TokenCheck>,
}

/// Whom to ask about a token.
#[derive(Debug)]
pub(crate) enum Prover<'a> {
    /// Redis has its session, or nobody knows it.
    Sessions,
    /// It says itself who its holder is.
    Jwt(&'a TokenCheck),
}

impl Proofs {
    /// True if clients need a token.
    pub(crate) fn are_wanted(&self) -> bool {
        self.sessions || self.jwt.is_some()
    }

    /// Whom to ask about this token. What has the form of a JWT never becomes the key of a session,
    /// and no session decides about it.
    pub(crate) fn prover(&self, token: &Token) -> Prover<'_> {
        match &self.jwt {
            Some(jwt) if !self.sessions || Jwt::is_token(token.expose()) => Prover::Jwt(jwt),
            _ => Prover::Sessions,
        }
    }
}

/// What a token has proved, as [`SessionLookup`] but owned.
#[derive(Debug)]
pub(crate) enum Proof {
    /// Who its holder is.
    Proved { session: String, expires: Option<Duration> },
    /// Nothing; what the client is told.
    Refused(&'static str),
    /// There are no keys yet to check it with.
    Unavailable,
}

impl Proof {
    pub(crate) fn as_lookup(&self) -> SessionLookup<'_> {
        match self {
            Self::Proved { session, expires } => {
                SessionLookup::Proved { session, expires: *expires }
            }
            Self::Refused(message) => SessionLookup::Refused { message },
            Self::Unavailable => SessionLookup::Unavailable,
        }
    }
}

/// Checks JSON Web Tokens, and has keys fetched that are missing.
#[derive(Clone, Debug)]
pub(crate) struct TokenCheck {
    jwt: Arc<Jwt>,
    /// Where keys are asked for that may have come up since they were fetched last. Whoever asks is
    /// answered when that has been tried, or need not be.
    missing: Option<Sender<Sender<()>>>,
}

impl TokenCheck {
    pub(crate) fn new(jwt: Jwt, missing: Option<Sender<Sender<()>>>) -> Self {
        Self { jwt: Arc::new(jwt), missing }
    }

    /// Says what a token proves.
    pub(crate) async fn prove(&self, token: &Token) -> Proof {
        let verify = || self.jwt.verify(token.expose(), SystemTime::now());
        let mut verified = verify();
        if let (Err(JwtError::UnknownKey), Some(missing)) = (&verified, &self.missing) {
            let (sender, answer) = async_channel::bounded(1);
            if missing.send(sender).await.is_ok() {
                // It ends without an answer only with the server.
                let _ = answer.recv().await;
                verified = verify();
            }
        }
        match verified {
            Ok(proof) => {
                Proof::Proved { session: proof.session.0.to_json(), expires: proof.expires }
            }
            Err(JwtError::UnknownKey)
                if self.missing.is_some() && self.jwt.fetched().get().is_none() =>
            {
                Proof::Unavailable
            }
            Err(error) => {
                static LINES: OncePerSecond = OncePerSecond::new();
                if let Some(more) = LINES.is_due() {
                    tracing::info!(reason = %error, more, "a token was refused");
                }
                Proof::Refused(error.message())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::JwtKeys;

    const SECRET: &str = "a secret that has more than 32 bytes";

    fn asked(sessions: bool, jwt: bool, token: &str) -> &'static str {
        let jwt = jwt.then(|| Jwt::new(JwtKeys::from_secret(SECRET).unwrap()));
        let proofs = Proofs { sessions, jwt: jwt.map(|jwt| TokenCheck::new(jwt, None)) };
        match proofs.prover(&Token::new(token).unwrap()) {
            Prover::Sessions => "sessions",
            Prover::Jwt(_) => "jwt",
        }
    }

    /// R-V1: who decides about a token; never both, and never the other where one has refused.
    #[test]
    fn whom_to_ask_about_a_token() {
        let token = Jwt::issue(SECRET, "alice", Duration::from_secs(60));
        for (sessions, jwt, of_token, of_other) in [
            (true, false, "sessions", "sessions"),
            (false, true, "jwt", "jwt"),
            (true, true, "jwt", "sessions"),
        ] {
            assert_eq!(asked(sessions, jwt, &token), of_token);
            assert_eq!(asked(sessions, jwt, "a random token"), of_other);
        }
        assert!(!Proofs::default().are_wanted());
    }
}
