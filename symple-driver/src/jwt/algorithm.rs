//! The algorithms that tokens are signed with (RFC 7518), and what checks a signature.

use std::fmt;

use ring::{hmac, signature};

/// A signature algorithm of JSON Web Tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Ps256,
    Es256,
    EdDsa,
}

use Algorithm::{EdDsa, Es256, Hs256, Hs384, Hs512, Ps256, Rs256};

const ALL: [(Algorithm, &str); 7] = [
    (Hs256, "HS256"),
    (Hs384, "HS384"),
    (Hs512, "HS512"),
    (Rs256, "RS256"),
    (Ps256, "PS256"),
    (Es256, "ES256"),
    (EdDsa, "EdDSA"),
];

impl Algorithm {
    /// The algorithm of that name; the names are case-sensitive (RFC 7515 §4.1.1). None of `none`.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        ALL.iter().find(|(_, known)| *known == name).map(|(algorithm, _)| *algorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = ALL.iter().find(|(algorithm, _)| algorithm == self);
        f.write_str(found.map_or("", |(_, name)| name))
    }
}

/// What a key is made of.
#[derive(Clone)]
pub(super) enum Material {
    /// What issuer and server both know.
    Secret(Box<[u8]>),
    /// An RSA key: modulus and exponent, big-endian.
    Rsa { n: Box<[u8]>, e: Box<[u8]> },
    /// A point on the curve P-256, not compressed.
    P256(Box<[u8]>),
    /// A point on the curve of Ed25519.
    Ed25519(Box<[u8]>),
}

impl Material {
    /// The algorithms that such a key may be used with. The key decides, never the token: otherwise
    /// whoever knows a public key could use it as the secret of an HMAC.
    pub(super) fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            Self::Secret(_) => &[Hs256, Hs384, Hs512],
            Self::Rsa { .. } => &[Rs256, Ps256],
            Self::P256(_) => &[Es256],
            Self::Ed25519(_) => &[EdDsa],
        }
    }

    /// Whether the signature is one of this key's. An algorithm that is not of this kind of key
    /// never is.
    pub(super) fn has_signed(&self, algorithm: Algorithm, message: &[u8], by: &[u8]) -> bool {
        let mac = |algorithm, secret| {
            hmac::verify(&hmac::Key::new(algorithm, secret), message, by).is_ok()
        };
        let rsa = |parameters, n, e| {
            signature::RsaPublicKeyComponents { n, e }.verify(parameters, message, by).is_ok()
        };
        let point = |algorithm: &'static dyn signature::VerificationAlgorithm, key| {
            signature::UnparsedPublicKey::new(algorithm, key).verify(message, by).is_ok()
        };
        match (self, algorithm) {
            (Self::Secret(secret), Hs256) => mac(hmac::HMAC_SHA256, secret),
            (Self::Secret(secret), Hs384) => mac(hmac::HMAC_SHA384, secret),
            (Self::Secret(secret), Hs512) => mac(hmac::HMAC_SHA512, secret),
            (Self::Rsa { n, e }, Rs256) => rsa(&signature::RSA_PKCS1_2048_8192_SHA256, n, e),
            (Self::Rsa { n, e }, Ps256) => rsa(&signature::RSA_PSS_2048_8192_SHA256, n, e),
            (Self::P256(key), Es256) => point(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Self::Ed25519(key), EdDsa) => point(&signature::ED25519, key),
            _ => false,
        }
    }
}
