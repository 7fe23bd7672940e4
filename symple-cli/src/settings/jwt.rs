//! The settings that are about JSON Web Tokens (R-V1).

use std::{fs::File, io::Read as _};

use symple_driver::{HttpEndpoint, Jwt, JwtKeyError, JwtKeys, JwtSettings};

use super::{
    source::{Source, is_url},
    typed::{Reader, ValueError},
};

/// The largest file of keys that is read.
const MAX_FILE: u64 = 1024 * 1024;

/// How tokens are checked.
#[derive(Debug)]
pub(crate) struct JwtSource {
    pub(crate) jwt: Jwt,
    /// Where more keys are.
    pub(crate) url: Option<HttpEndpoint>,
}

impl JwtSource {
    /// Reads the settings of a command that needs no server.
    pub(crate) fn collect(source: &Source) -> Result<Option<Self>, ValueError> {
        Self::read(&Reader(source))
    }

    /// Reads the settings, and the files that they name. None if there is no key.
    pub(super) fn read(reader: &Reader<'_>) -> Result<Option<Self>, ValueError> {
        let leeway = reader.seconds("jwt-leeway")?;
        let expiry = [("required", false), ("optional", true)];
        let expiry_optional = reader.choice("jwt-expiry", &expiry)?;
        let (audience, issuer) = (reader.list("jwt-audience")?, reader.list("jwt-issuer")?);
        let user_claim = reader.text("jwt-user-claim").unwrap_or_default();
        let mut keys = JwtKeys::default();
        let mut add = |setting, read: fn(&str) -> Result<JwtKeys, String>| {
            let found = reader.read(setting, |value| match value {
                "" => Ok(JwtKeys::default()),
                value => read(value),
            })?;
            keys = std::mem::take(&mut keys).and(found);
            Ok(())
        };
        add("jwt-secret", |secret| JwtKeys::from_secret(secret).map_err(said))?;
        add("jwt-public-key", |path| JwtKeys::from_pem(&file(path)?).map_err(said))?;
        let is_remote = reader.text("jwt-jwks").is_some_and(|value| is_url(&value));
        let mut url = None;
        if is_remote {
            url = Some(reader.read("jwt-jwks", |url| {
                HttpEndpoint::new(url).map_err(|error| error.to_string())
            })?);
        } else {
            add("jwt-jwks", |path| JwtKeys::from_jwks(&file(path)?).map_err(said))?;
        }
        if keys.is_empty() && url.is_none() {
            // Who says whose tokens count wants some to be asked for: without a key everyone is let in.
            for (setting, names) in [("jwt-audience", &audience), ("jwt-issuer", &issuer)] {
                if !names.is_empty() {
                    return reader.read(setting, |_| {
                        Err("needs a key for tokens: jwt-secret, jwt-public-key or jwt-jwks".into())
                    });
                }
            }
            return Ok(None);
        }
        let jwt = Jwt::new(keys).configure(|settings: &mut JwtSettings| {
            settings.audience = audience;
            settings.issuer = issuer;
            settings.user_claim = user_claim;
            settings.leeway = leeway;
            settings.expiry_optional = expiry_optional;
        });
        Ok(Some(Self { jwt, url }))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is what errors are mapped with")]
fn said(error: JwtKeyError) -> String {
    error.to_string()
}

/// A file of keys.
fn file(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    match read {
        Ok(size) if size as u64 > MAX_FILE => Err("it is larger than 1 MiB".into()),
        Ok(_) => Ok(text),
        Err(error) => Err(format!("it cannot be read: {error}")),
    }
}
