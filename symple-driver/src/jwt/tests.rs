//! Tokens that Node's crypto has signed, and what is wrong with them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use symple_proto::{Fields, Json};

use super::*;

/// Keys of all kinds, tokens that are signed with them, and tokens that are not.
const VECTORS: &str = include_str!("vectors.json");

/// A text in [`VECTORS`], by its path.
fn vector(path: &[&str]) -> String {
    let mut at = Json::parse(VECTORS, MAX_DEPTH).unwrap();
    for name in path {
        at = at.as_object().unwrap().get(name).unwrap();
    }
    match at.as_str() {
        Some(text) => text.unwrap().into_owned(),
        None => at.text().to_owned(),
    }
}

/// The members of an object in [`VECTORS`].
fn vectors(name: &str) -> Vec<(String, String)> {
    let object = Json::parse(VECTORS, MAX_DEPTH).unwrap().as_object().unwrap();
    let mut all = Vec::new();
    object.get(name).unwrap().as_object().unwrap().for_each(|member| {
        let text = member.value.as_str().unwrap().unwrap();
        all.push((member.key().unwrap().into_owned(), text.into_owned()));
    });
    assert!(!all.is_empty());
    all
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "a secret that has more than 32 bytes";

fn with_secret() -> Jwt {
    Jwt::new(JwtKeys::from_secret(SECRET).unwrap())
}

fn pem(name: &str) -> JwtKeys {
    JwtKeys::from_pem(&vector(&[name])).unwrap()
}

/// A key set of keys in [`VECTORS`], each with what else is said of it.
fn jwks(keys: &[(&str, &str)]) -> String {
    let key = |(name, more): &(&str, &str)| {
        let key = vector(&["jwks", name]);
        format!("{},{more}", key.trim().trim_end_matches('}')).trim_end_matches(',').to_owned()
            + "}"
    };
    format!(r#"{{"keys":[{}]}}"#, keys.iter().map(key).collect::<Vec<_>>().join(","))
}

/// A token of the right signature with these claims, as JSON.
fn token(claims: &str) -> String {
    let claims = Json::parse(claims, MAX_DEPTH).unwrap().as_object().unwrap();
    Jwt::issue_claims(SECRET, &Fields::try_from(claims).unwrap())
}

fn refused(jwt: &Jwt, token: &str) -> JwtError {
    jwt.verify(token, at(NOW)).unwrap_err()
}

/// R-V1: each algorithm, with keys of each form.
#[test]
fn every_algorithm_by_every_form_of_its_key() {
    let all =
        jwks(&[("oct", ""), ("rsa", ""), ("ec", r#""use":"sig""#), ("ed", r#""alg":"EdDSA""#)]);
    let all = Jwt::new(JwtKeys::from_jwks(&all).unwrap());
    let apart = |name: &str| match name {
        "HS256" | "HS384" | "HS512" => vec![JwtKeys::from_secret(SECRET).unwrap()],
        "RS256" | "PS256" => vec![pem("rsa"), pem("rsa_pkcs1")],
        "ES256" => vec![pem("ec")],
        _ => vec![pem("ed")],
    };
    let good = vectors("good");
    assert_eq!(good.len(), 7);
    for (name, token) in good {
        let proof = all.verify(&token, at(NOW)).unwrap();
        assert_eq!(proof.session.user().unwrap().unwrap(), "alice", "{name}");
        for keys in apart(&name) {
            Jwt::new(keys).verify(&token, at(NOW)).unwrap();
        }
        // A byte of the signature, of the claims, of the header.
        let parts: Vec<_> = token.split('.').collect();
        for part in 0..3 {
            let mut changed: Vec<_> = parts.iter().map(ToString::to_string).collect();
            let at_byte = changed[part].len() / 2;
            let other = if &changed[part][at_byte..=at_byte] == "A" { "B" } else { "A" };
            changed[part].replace_range(at_byte..=at_byte, other);
            assert!(all.verify(&changed.join("."), at(NOW)).is_err(), "{name} {part}");
        }
    }
}

/// R-V1: what the token says of its algorithm never widens what its key is for.
#[test]
fn no_token_chooses_how_it_is_checked() {
    let keys = pem("rsa").and(pem("ec")).and(pem("ed"));
    let public = Jwt::new(keys.clone());
    let both = Jwt::new(keys.and(JwtKeys::from_secret(SECRET).unwrap()));
    for (name, token) in vectors("bad") {
        for jwt in [&public, &both] {
            let error = refused(jwt, &token);
            assert_eq!(error.message(), "Invalid token", "{name}");
        }
    }
    let of = |name: &str| refused(&public, &vector(&["bad", name]));
    assert_eq!(of("alg none"), JwtError::Algorithm);
    assert_eq!(of("HS256 with the RSA key as a secret"), JwtError::UnknownKey);
    assert_eq!(of("RS256 that says PS256"), JwtError::Signature);
    assert_eq!(of("critical"), JwtError::Critical);
}

/// R-V1: a key of a set that is for one algorithm, or for something else.
#[test]
fn what_a_key_set_says_of_its_keys() {
    let good = vector(&["good", "ES256"]);
    for (more, ok) in [
        ("", true),
        (r#""alg":"ES256""#, true),
        (r#""key_ops":["verify"]"#, true),
        (r#""use":"sig","kid":"x""#, true),
        (r#""use":"enc""#, false),
        (r#""use":5"#, false),
        (r#""key_ops":["encrypt"]"#, false),
        (r#""key_ops":5"#, false),
        (r#""alg":"RS256""#, false),
        (r#""alg":"ES384""#, false),
        (r#""alg":"none""#, false),
        (r#""kid":5"#, false),
    ] {
        let keys = JwtKeys::from_jwks(&jwks(&[("ec", more)]));
        let verified = keys.map(|keys| Jwt::new(keys).verify(&good, at(NOW)).is_ok());
        assert_eq!(verified.unwrap_or(false), ok, "{more}");
    }
    // RS256 only.
    let only = Jwt::new(JwtKeys::from_jwks(&jwks(&[("rsa", r#""alg":"RS256""#)])).unwrap());
    assert!(only.verify(&vector(&["good", "RS256"]), at(NOW)).is_ok());
    assert_eq!(refused(&only, &vector(&["good", "PS256"])), JwtError::UnknownKey);
    // What is of no use is passed over, and hurts nothing else.
    let odd =
        jwks(&[("ec", "")]).replace("[{", r#"[5,null,{},{"kty":"AKP"},{"kty":"RSA","n":"!"},{"#);
    assert_eq!(JwtKeys::from_jwks(&odd).unwrap().len(), 1);
    // No secret is fetched from where others may fetch it, too.
    assert_eq!(JwtKeys::read_jwks(&jwks(&[("oct", "")]), false).unwrap_err(), JwtKeyError::NoKeys);
}

/// R-V1: a token that names its key, and one that does not.
#[test]
fn keys_with_names() {
    let named = [("ec", r#""kid":"first""#), ("other", r#""kid":"second""#)];
    let jwt = Jwt::new(JwtKeys::from_jwks(&jwks(&named)).unwrap());
    assert!(jwt.verify(&vector(&["kid", "first"]), at(NOW)).is_ok());
    assert!(jwt.verify(&vector(&["kid", "second"]), at(NOW)).is_ok());
    assert!(jwt.verify(&vector(&["good", "ES256"]), at(NOW)).is_ok());
    let first = Jwt::new(JwtKeys::from_jwks(&jwks(&named[..1])).unwrap());
    assert_eq!(refused(&first, &vector(&["kid", "second"])), JwtError::UnknownKey);
    let wrong = [("ec", r#""kid":"second""#)];
    let wrong = Jwt::new(JwtKeys::from_jwks(&jwks(&wrong)).unwrap());
    assert_eq!(refused(&wrong, &vector(&["kid", "second"])), JwtError::Signature);
    // A PEM file has no names, and may hold any key; another may have to be fetched.
    let jwt = Jwt::new(pem("ec"));
    assert!(jwt.verify(&vector(&["kid", "first"]), at(NOW)).is_ok());
    assert_eq!(refused(&jwt, &vector(&["kid", "second"])), JwtError::UnknownKey);
    // Nobody makes the server try all of many keys.
    let many: Vec<_> = (0..5).map(|_| ("other", "")).collect();
    let many = Jwt::new(JwtKeys::from_jwks(&jwks(&many)).unwrap());
    assert_eq!(refused(&many, &vector(&["good", "ES256"])), JwtError::Ambiguous);
    assert_eq!(refused(&many, &vector(&["kid", "first"])), JwtError::UnknownKey);
    let too_many: Vec<_> = (0..65).map(|_| ("ec", "")).collect();
    assert_eq!(JwtKeys::from_jwks(&jwks(&too_many)).unwrap_err(), JwtKeyError::TooMany);
}

/// R-V1: keys that are none.
#[test]
fn keys_that_cannot_be_used() {
    for (name, error) in [
        ("p384", JwtKeyError::Unsupported),
        ("secp256k1", JwtKeyError::Unsupported),
        ("small", JwtKeyError::Unsupported),
        ("private_key", JwtKeyError::Private),
        ("secret", JwtKeyError::NoPem),
    ] {
        assert_eq!(JwtKeys::from_pem(&vector(&[name])).unwrap_err(), error, "{name}");
    }
    assert_eq!(JwtKeys::from_pem(include_str!("certificate.pem")).unwrap().len(), 1);
    let both = vector(&["ec"]) + &vector(&["ed"]);
    assert_eq!(JwtKeys::from_pem(&both).unwrap().len(), 2);
    assert_eq!(JwtKeys::from_pem("").unwrap_err(), JwtKeyError::NoPem);
    let short = JwtKeys::from_secret("x".repeat(31)).unwrap_err();
    assert_eq!(short, JwtKeyError::ShortSecret);
    for text in ["", "5", "{}", r#"{"keys":5}"#, "[]"] {
        assert_eq!(JwtKeys::from_jwks(text).unwrap_err(), JwtKeyError::NoKeySet, "{text}");
    }
    assert_eq!(JwtKeys::from_jwks(r#"{"keys":[]}"#).unwrap_err(), JwtKeyError::NoKeys);
    assert_eq!(format!("{:?}", pem("ec")), "JwtKeys(1)");
    assert!(!format!("{:?}", with_secret()).contains("secret"));
}

/// R-V1: `exp` and `nbf`, with leeway. A session lasts as long as its token is taken.
#[test]
fn times() {
    let exp = |exp: &str| token(&format!(r#"{{"sub":"a","exp":{exp}}}"#));
    let jwt = with_secret();
    for (exp_at, expires) in [
        ("1800000100", Some(130.0)),
        ("1800000000.5", Some(30.5)),
        ("1.80000001E9", Some(40.0)),
        ("1799999971", Some(1.0)),
        ("1e300", Some(1e9)),
        ("1799999970", None),
        ("1799999969.5", None),
        ("0", None),
        ("-1", None),
    ] {
        let verified = jwt.verify(&exp(exp_at), at(NOW));
        match expires {
            None => assert_eq!(verified.unwrap_err(), JwtError::Expired, "{exp_at}"),
            Some(expires) => {
                let left = verified.unwrap().expires.unwrap().as_secs_f64();
                assert!((left - expires).abs() < 1e-3, "{exp_at}: {left}");
            }
        }
    }
    for odd in [r#""1800000100""#, "null", "true", "[1800000100]", "1e999"] {
        assert_eq!(refused(&jwt, &exp(odd)), JwtError::NotATime("exp"), "{odd}");
    }
    let nbf = |nbf: &str| token(&format!(r#"{{"sub":"a","exp":2e9,"nbf":{nbf}}}"#));
    assert!(jwt.verify(&nbf("1800000030"), at(NOW)).is_ok());
    assert_eq!(refused(&jwt, &nbf("1800000031")), JwtError::NotYetValid);
    assert_eq!(refused(&jwt, &nbf("1800000031")).message(), "Token not valid yet");
    assert_eq!(refused(&jwt, &nbf("{}")), JwtError::NotATime("nbf"));
    let never = token(r#"{"sub":"a"}"#);
    assert_eq!(refused(&jwt, &never), JwtError::NoExpiry);
    let jwt = jwt.configure(|settings| {
        settings.expiry_optional = true;
        settings.leeway = Duration::ZERO;
    });
    assert_eq!(jwt.verify(&never, at(NOW)).unwrap().expires, None);
    assert_eq!(refused(&jwt, &exp("1800000000")), JwtError::Expired);
    assert!(jwt.verify(&exp("1800000001"), at(NOW)).is_ok());
    // A clock that was never set.
    assert!(jwt.verify(&exp("1"), UNIX_EPOCH - Duration::from_secs(5)).is_ok());
}

/// R-V1: `aud` and `iss`.
#[test]
fn whom_a_token_is_for() {
    let claims = |more: &str| token(&format!(r#"{{"sub":"a","exp":2e9{more}}}"#));
    let anyone = with_secret();
    let ours = with_secret().configure(|settings| {
        settings.audience = vec!["chat".into(), "https://chat.example".into()];
        settings.issuer = vec!["login".into()];
    });
    for (more, result) in [
        (r#","aud":"chat","iss":"login""#, None),
        (r#","aud":["x","https://chat.example"],"iss":"login""#, None),
        (r#","aud":"chat","aud":"x","iss":"login""#, Some(JwtError::Audience)),
        (r#","aud":"chats","iss":"login""#, Some(JwtError::Audience)),
        (r#","aud":[],"iss":"login""#, Some(JwtError::Audience)),
        (r#","aud":[["chat"]],"iss":"login""#, Some(JwtError::Audience)),
        (r#","aud":null,"iss":"login""#, Some(JwtError::Audience)),
        (r#","iss":"login""#, Some(JwtError::Audience)),
        (r#","aud":"chat""#, Some(JwtError::Issuer)),
        (r#","aud":"chat","iss":["login"]"#, Some(JwtError::Issuer)),
        (r#","aud":"chat","iss":"Login""#, Some(JwtError::Issuer)),
    ] {
        assert_eq!(ours.verify(&claims(more), at(NOW)).err(), result, "{more}");
    }
    assert_eq!(refused(&anyone, &claims(r#","aud":"other""#)), JwtError::AudienceUnknown);
    assert!(anyone.verify(&claims(r#","iss":"whoever""#), at(NOW)).is_ok());
}

/// R-V1, R-A4: what becomes of the claims.
#[test]
fn what_a_token_says_of_its_holder() {
    let says = |jwt: &Jwt, claims: &str| {
        let proof = jwt.verify(&token(claims), at(NOW));
        proof.map(|proof| {
            let mut session = proof.session.0;
            let all = session.remove("private").unwrap();
            assert!(all.get().as_object().unwrap().get("exp").is_some());
            session.to_json()
        })
    };
    let jwt = with_secret();
    for (claims, session) in [
        (r#"{"sub":"alice","exp":2e9,"email":"a@example.com"}"#, r#"{"user":"alice"}"#),
        (
            r#"{"sub":"alice","exp":2e9,"rooms":["a"],"readonly":true,"hidden":false}"#,
            r#"{"rooms":["a"],"readonly":true,"hidden":false,"user":"alice"}"#,
        ),
        (
            r#"{"sub":"alice","exp":2e9,"peer":{"name":"Alice","n":1.0,"user":"root","rooms":["x"],"private":1,"readonly":false,"hidden":true}}"#,
            r#"{"name":"Alice","n":1.0,"user":"alice"}"#,
        ),
        (r#"{"sub":"alice","exp":2e9,"peer":null}"#, r#"{"user":"alice"}"#),
    ] {
        assert_eq!(says(&jwt, claims).unwrap(), session);
    }
    let named = with_secret()
        .configure(|settings| settings.user_claim = "https://example.com/login".into());
    let claims = r#"{"sub":"auth0|5","exp":2e9,"https://example.com/login":"bob"}"#;
    assert_eq!(says(&named, claims).unwrap(), r#"{"user":"bob"}"#);
    for (claims, message) in [
        (r#"{"exp":2e9}"#, "the token has no claim sub, which says who its holder is"),
        (
            r#"{"sub":"auth0|5","exp":2e9}"#,
            "the claims of the token make no session: Session user must not contain '|' (the user is the claim sub)",
        ),
        (
            r#"{"sub":5,"exp":2e9}"#,
            "the claims of the token make no session: Session user must be a string (the user is the claim sub)",
        ),
        (r#"{"sub":"a","exp":2e9,"peer":5}"#, "the claim peer of the token is no object"),
    ] {
        let error = says(&jwt, claims).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.message()), (message, "Invalid token"));
    }
}

/// R-V1: what is no token costs little and says little, however large it is.
#[test]
fn texts_that_are_no_tokens() {
    let jwt = with_secret();
    let good = vector(&["good", "HS256"]);
    let deep = URL_SAFE_NO_PAD.encode("[".repeat(1000));
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "é.é.é",
        &good[1..],
        &good.replace('.', ""),
        &format!("{good}."),
        &format!(".{good}"),
        &format!("{good}="),
        &format!(" {good}"),
        &format!("{good}\n"),
        &format!("{deep}.{deep}.{deep}"),
    ] {
        let error = refused(&jwt, text);
        assert_eq!(error.message(), "Invalid token", "{text}");
    }
    let mut large = good.clone();
    large.insert_str(0, &"A".repeat(MAX_TOKEN - good.len() + 1));
    assert_eq!(refused(&jwt, &large), JwtError::TooLarge);
    assert_eq!(refused(&jwt, &large).message(), "Token too large");
    assert!(Jwt::is_token(&good));
    assert!(Jwt::is_token(&vector(&["bad", "alg none"])));
    for text in ["", "a random token", "a.b.c", &good[1..], &format!("{good}.x"), &large] {
        assert!(!Jwt::is_token(text), "{text}");
    }
}

/// R-V1: the vectors of RFC 7515, appendix A.1 and A.3.
#[test]
fn the_vectors_of_the_rfc() {
    const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let set = r#"{"keys":[
        {"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
        {"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
    ]}"#;
    let jwt = Jwt::new(JwtKeys::from_jwks(set).unwrap());
    let jwt = jwt.configure(|settings| settings.user_claim = "iss".into());
    for (header, signature) in [
        ("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        (
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    ] {
        let token = format!("{header}.{CLAIMS}.{signature}");
        let proof = jwt.verify(&token, at(1_300_819_000)).unwrap();
        assert_eq!(proof.session.user().unwrap().unwrap(), "joe");
        assert_eq!(proof.expires, Some(Duration::from_secs(410)));
    }
}

/// R-V1: keys that are fetched join those that are there, and replace those fetched before.
#[test]
fn fetched_keys_are_replaced() {
    let jwt = Jwt::new(JwtKeys::default());
    let (first, second) = (vector(&["kid", "first"]), vector(&["kid", "second"]));
    assert_eq!(refused(&jwt, &first), JwtError::UnknownKey);
    let fetched = |keys: &[(&str, &str)]| JwtKeys::from_jwks(&jwks(keys)).unwrap();
    jwt.fetched().set(fetched(&[("ec", r#""kid":"first""#)]));
    assert!(jwt.verify(&first, at(NOW)).is_ok());
    assert_eq!(refused(&jwt, &second), JwtError::UnknownKey);
    jwt.fetched().set(fetched(&[("other", r#""kid":"second""#)]));
    assert!(jwt.verify(&second, at(NOW)).is_ok());
    assert_eq!(refused(&jwt, &first), JwtError::UnknownKey);
}
