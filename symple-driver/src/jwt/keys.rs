//! The keys that tokens are checked with: a secret, PEM, a JSON Web Key Set (RFC 7517).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use symple_proto::{Json, json::MAX_DEPTH};
use thiserror::Error;
use x509_parser::{
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
    },
    prelude::{FromDer as _, X509Certificate},
    public_key::RSAPublicKey,
    x509::SubjectPublicKeyInfo,
};

use super::algorithm::{Algorithm, Material};

/// The fewest bytes of a secret: as many as the smallest hash has (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;
/// The most keys that one source may have.
pub(super) const MAX_KEYS: usize = 64;
/// The bits that an RSA key may have.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why something is no key that tokens can be checked with. Nothing of the key is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JwtKeyError {
    /// A secret that could be guessed: whoever has a token can try as many as they like.
    #[error("the secret has fewer than 32 bytes, so it could be guessed (RFC 7518, 3.2)")]
    ShortSecret,
    /// A text in which there is no PEM block.
    #[error("it has no PEM block that can be read")]
    NoPem,
    /// A private key, which only the issuer of tokens may have.
    #[error("it is a private key: the server needs the public one, and must not have the other")]
    Private,
    /// A key of a kind, curve or size that none of the algorithms can use.
    #[error("it is no RSA key of 2048 to 8192 bits, no P-256 and no Ed25519 key")]
    Unsupported,
    /// A text that is no JSON object with `keys`.
    #[error("it is no JSON Web Key Set: an object with keys, an array")]
    NoKeySet,
    /// A key set in which there is no key that signatures can be checked with.
    #[error("none of its keys can be used to check a signature")]
    NoKeys,
    /// More keys than anybody needs.
    #[error("it has more than 64 keys")]
    TooMany,
}

/// A key, and what may be done with it.
#[derive(Clone)]
pub(super) struct Key {
    /// The name that tokens have for it.
    pub(super) id: Option<Box<str>>,
    /// The only algorithm that it is for, where that was said.
    pub(super) only: Option<Algorithm>,
    pub(super) material: Material,
}

impl Key {
    /// Whether a token of this algorithm may be signed with it.
    pub(super) fn allows(&self, algorithm: Algorithm) -> bool {
        self.only.is_none_or(|only| only == algorithm)
            && self.material.algorithms().contains(&algorithm)
    }
}

/// The keys that tokens are checked with (R-V1). `Debug` does not show them.
#[derive(Clone, Default)]
pub struct JwtKeys(pub(super) Vec<Key>);

impl fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwtKeys({})", self.0.len())
    }
}

impl JwtKeys {
    /// A secret that the issuer knows, too: for HS256, HS384 and HS512. At least 32 bytes.
    ///
    /// # Errors
    /// [`JwtKeyError::ShortSecret`].
    pub fn from_secret(secret: impl AsRef<[u8]>) -> Result<Self, JwtKeyError> {
        let secret = secret.as_ref();
        if secret.len() < MIN_SECRET {
            return Err(JwtKeyError::ShortSecret);
        }
        Ok(Self::of(Material::Secret(secret.into())))
    }

    /// Public keys in PEM form, one or more: `PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE`. RSA
    /// keys are for RS256 and PS256, P-256 for ES256, Ed25519 for `EdDSA`. The dates of a
    /// certificate do not count.
    ///
    /// # Errors
    /// [`JwtKeyError`]: one of them cannot be used, or there is none.
    pub fn from_pem(text: &str) -> Result<Self, JwtKeyError> {
        // A label that the parser does not know is one that it passes over.
        const PKCS1: &str = "RSA PUBLIC KEY-----";
        let pkcs1 = text.contains(PKCS1);
        let text = text.replace(PKCS1, "PUBLIC KEY-----");
        let mut keys = Vec::new();
        for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            let (kind, der) = block.map_err(|_| JwtKeyError::NoPem)?;
            let material = match kind {
                SectionKind::PublicKey => from_spki(&der)
                    .or_else(|error| if pkcs1 { from_pkcs1(&der) } else { Err(error) })?,
                SectionKind::Certificate => {
                    let (_, certificate) =
                        X509Certificate::from_der(&der).map_err(|_| JwtKeyError::NoPem)?;
                    from_spki(certificate.public_key().raw)?
                }
                SectionKind::PrivateKey
                | SectionKind::RsaPrivateKey
                | SectionKind::EcPrivateKey => return Err(JwtKeyError::Private),
                _ => return Err(JwtKeyError::Unsupported),
            };
            keys.push(Key { id: None, only: None, material });
        }
        match keys.len() {
            0 => Err(JwtKeyError::NoPem),
            1..=MAX_KEYS => Ok(Self(keys)),
            _ => Err(JwtKeyError::TooMany),
        }
    }

    /// A JSON Web Key Set. Keys in it that no algorithm here can use, or that are not for
    /// signatures, are passed over, as RFC 7517 §5 wants it.
    ///
    /// # Errors
    /// [`JwtKeyError`]: it is none, or none of its keys can be used.
    pub fn from_jwks(text: &str) -> Result<Self, JwtKeyError> {
        Self::read_jwks(text, true)
    }

    /// As [`from_jwks`](Self::from_jwks); secrets may be passed over: a set that anyone can fetch
    /// makes none of them a secret.
    pub(crate) fn read_jwks(text: &str, secrets: bool) -> Result<Self, JwtKeyError> {
        let set = Json::parse(text, MAX_DEPTH).ok().and_then(Json::as_object);
        let keys = set.and_then(|set| set.get("keys")?.as_array());
        let keys = keys.ok_or(JwtKeyError::NoKeySet)?;
        let (mut read, mut too_many) = (Vec::new(), false);
        keys.for_each_while(|key| {
            let key = from_jwk(key);
            let usable = |key: &Key| secrets || !matches!(key.material, Material::Secret(_));
            read.extend(key.filter(usable));
            too_many = read.len() > MAX_KEYS;
            !too_many
        });
        match read.len() {
            _ if too_many => Err(JwtKeyError::TooMany),
            0 => Err(JwtKeyError::NoKeys),
            _ => Ok(Self(read)),
        }
    }

    /// These keys and others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(material: Material) -> Self {
        Self(vec![Key { id: None, only: None, material }])
    }
}

fn rsa(n: &[u8], e: &[u8]) -> Result<Material, JwtKeyError> {
    let digits = |number: &[u8]| -> Box<[u8]> {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number[zeros..].into()
    };
    let (n, e) = (digits(n), digits(e));
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) || e.is_empty() || e.len() > 5 {
        return Err(JwtKeyError::Unsupported);
    }
    Ok(Material::Rsa { n, e })
}

/// A point of P-256 that is not compressed; whether it is on the curve is seen when it is used.
fn p256(point: &[u8]) -> Result<Material, JwtKeyError> {
    match point {
        [4, rest @ ..] if rest.len() == 64 => Ok(Material::P256(point.into())),
        _ => Err(JwtKeyError::Unsupported),
    }
}

fn ed25519(point: &[u8]) -> Result<Material, JwtKeyError> {
    if point.len() == 32 {
        Ok(Material::Ed25519(point.into()))
    } else {
        Err(JwtKeyError::Unsupported)
    }
}

fn from_spki(der: &[u8]) -> Result<Material, JwtKeyError> {
    let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| JwtKeyError::Unsupported)?;
    let key = &*info.subject_public_key.data;
    let kind = &info.algorithm.algorithm;
    if *kind == OID_PKCS1_RSAENCRYPTION {
        from_pkcs1(key)
    } else if *kind == OID_SIG_ED25519 {
        ed25519(key)
    } else if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        if curve == Some(OID_EC_P256) { p256(key) } else { Err(JwtKeyError::Unsupported) }
    } else {
        Err(JwtKeyError::Unsupported)
    }
}

fn from_pkcs1(der: &[u8]) -> Result<Material, JwtKeyError> {
    let (_, key) = RSAPublicKey::from_der(der).map_err(|_| JwtKeyError::Unsupported)?;
    rsa(key.modulus, key.exponent)
}

/// A key of a set; none if it is of no use here.
fn from_jwk(key: Json<'_>) -> Option<Key> {
    let key = key.as_object()?;
    let text = |name| key.get(name)?.as_str()?.ok();
    // A member that is there and makes no sense was meant to say something.
    let understood = |name| key.get(name).is_none_or(|value| matches!(value.as_str(), Some(Ok(_))));
    if !["kty", "use", "alg", "kid"].into_iter().all(understood) {
        return None;
    }
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    if let Some(operations) = key.get("key_ops") {
        let mut verifies = false;
        operations.as_array()?.for_each_str(|operation| verifies |= operation == "verify");
        if !verifies {
            return None;
        }
    }
    let bytes = |name| URL_SAFE_NO_PAD.decode(&*text(name)?).ok();
    let curve = text("crv");
    let material = match (&*text("kty")?, curve.as_deref()) {
        ("oct", _) => {
            let secret = bytes("k").filter(|secret| secret.len() >= MIN_SECRET)?;
            Material::Secret(secret.into())
        }
        ("RSA", _) => rsa(&bytes("n")?, &bytes("e")?).ok()?,
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            p256(&[&[4], &*x, &*y].concat()).ok().filter(|_| x.len() == y.len())?
        }
        ("OKP", Some("Ed25519")) => ed25519(&bytes("x")?).ok()?,
        _ => return None,
    };
    let only = match text("alg") {
        Some(name) => Some(Algorithm::from_name(&name)?),
        None => None,
    };
    if only.is_some_and(|only| !material.algorithms().contains(&only)) {
        return None;
    }
    Some(Key { id: text("kid").map(Into::into), only, material })
}
