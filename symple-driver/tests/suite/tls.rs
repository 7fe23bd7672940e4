//! Encrypted connections.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::json;

use super::{
    client::{Client, exchange, socket_to},
    start, start_with,
};
use crate::adapter::{HandleError, Server, block_on, tls};

/// A certificate for `localhost`, and its key, in files.
pub(crate) struct Certificate {
    der: CertificateDer<'static>,
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (chain, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Self { der: made.cert.der().clone(), chain, key }
    }

    /// A connection by a client that trusts this certificate only.
    fn connect(
        &self,
        server: &Server,
    ) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        self.connect_to(server.local_address())
    }

    pub(crate) fn connect_to(
        &self,
        address: SocketAddr,
    ) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = socket_to(address);
        session.complete_io(&mut socket)?;
        Ok(StreamOwned::new(session, socket))
    }

    fn client(&self, server: &Server) -> Client<StreamOwned<ClientConnection, TcpStream>> {
        let stream = self.connect(server).unwrap();
        Client::over(stream, "wss://localhost/", &[]).unwrap().0
    }
}

pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn encrypted() {
    let certificate = Certificate::new(&folder("encrypted"), "one");
    let config = tls::load(&certificate.chain, &certificate.key).unwrap();
    let server = start_with(|builder| builder.tls(config));
    let mut alice = certificate.client(&server);
    alice.auth(&json!({ "type": "auth", "user": "alice", "rooms": ["r"] }));
    let mut bob = certificate.client(&server);
    bob.auth(&json!({ "type": "auth", "user": "bob", "rooms": ["r"] }));
    bob.recv_type("presence");
    alice.recv_type("presence");
    // More than any buffer between holds at once.
    let pad = "x".repeat(900_000);
    for n in 0..5 {
        alice.send(&json!({ "type": "message", "to": "r", "n": n, "pad": pad }));
    }
    for n in 0..5 {
        let frame = bob.recv();
        assert_eq!((&frame["n"], &frame["pad"]), (&json!(n), &json!(pad)));
    }
    bob.send(&json!({ "type": "close" }));
    assert_eq!(bob.closed(), 1000);
    assert_eq!(alice.recv()["data"]["online"], false);

    let mut stream = certificate.connect(&server).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok\n"), "{answer}");
}

/// R-F5: who speaks no TLS is dropped, and nobody else notices.
#[test]
fn not_encrypted() {
    let certificate = Certificate::new(&folder("not_encrypted"), "one");
    let config = tls::load(&certificate.chain, &certificate.key).unwrap();
    let server = start_with(|builder| builder.tls(config));
    let mut alice = certificate.client(&server);
    alice.auth(&json!({ "type": "auth", "user": "alice" }));
    let answer = exchange(&server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(!answer.contains("HTTP"), "{answer}");
    alice.hears_nothing();
}

/// New connections use new keys; those that are there stay.
#[test]
fn keys_are_exchanged() {
    let folder = folder("exchanged");
    let (one, two) = (Certificate::new(&folder, "one"), Certificate::new(&folder, "two"));
    let server = start_with(|builder| builder.tls(tls::load(&one.chain, &one.key).unwrap()));
    let mut alice = one.client(&server);
    alice.auth(&json!({ "type": "auth", "user": "alice" }));
    assert!(two.connect(&server).is_err());
    let config = tls::load(&two.chain, &two.key).unwrap();
    block_on(server.handle().set_tls(config)).unwrap();
    assert!(one.connect(&server).is_err());
    two.client(&server).auth(&json!({ "type": "auth", "user": "bob" }));
    alice.hears_nothing();
}

/// A server that began without TLS stays without.
#[test]
fn keys_for_a_server_without_tls() {
    let certificate = Certificate::new(&folder("without"), "one");
    let server = start(|_| {});
    let mut alice = Client::join(&server, "alice", &["r"]);
    let config = tls::load(&certificate.chain, &certificate.key).unwrap();
    let refused = block_on(server.handle().set_tls(config));
    assert_eq!(refused, Err(HandleError::NoTls));
    assert!(certificate.connect(&server).is_err());
    let mut bob = Client::join(&server, "bob", &["r"]);
    bob.recv_type("presence");
    assert_eq!(alice.recv_type("presence")["data"]["user"], "bob");
}

/// A file that openssl has made.
fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../symple-driver/tests/suite/tls");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// A certificate authority, or a certificate that one has signed, and its key.
struct Made {
    params: CertificateParams,
    pem: String,
    der: Vec<u8>,
    key: KeyPair,
}

/// Makes a certificate for localhost; `by` signs it, if it does not sign itself.
fn made(name: &str, by: Option<&Made>, change: impl FnOnce(&mut CertificateParams)) -> Made {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = match by {
        Some(by) => params.signed_by(&key, &Issuer::from_params(&by.params, &by.key)).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    Made { params, pem: certificate.pem(), der: certificate.der().to_vec(), key }
}

/// Writes two files and loads them; what is wrong, without the folder.
fn load(folder: &Path, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<(), String> {
    let (chain_path, key_path) = (folder.join("chain.pem"), folder.join("key.pem"));
    std::fs::write(&chain_path, &chain).unwrap();
    std::fs::write(&key_path, &key).unwrap();
    let folder = format!("{}/", folder.display());
    let result = tls::load(&chain_path, &key_path);
    let problem = result.map(drop).map_err(|error| error.to_string().replace(&folder, ""));
    if let Err(problem) = &problem {
        assert_eq!(problem.lines().count(), 1, "{problem}");
        for line in String::from_utf8_lossy(key.as_ref()).lines().filter(|line| line.len() > 40) {
            assert!(!problem.contains(line), "{problem}");
        }
    }
    problem
}

/// SPEC §11, D-TLS: files that cannot be used as they are, with a sentence for each reason. Never
/// is a part of them used.
#[test]
fn files_that_cannot_be_used() {
    let folder = folder("unusable");
    let one = made("one", None, |_| {});
    let two = made("two", None, |_| {});
    let (chain, key) = (&*one.pem, &*one.key.serialize_pem());
    let unreadable = "chain.pem has a PEM block that cannot be read, in line";
    let marker = "a line must be -----BEGIN …----- or -----END …-----, alone";
    let kinds = "it must be RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519";
    let kind = |kind: &str| {
        format!(
            "chain.pem has a certificate for a key of a kind that is not supported ({kind}): {kinds}"
        )
    };
    let lines = chain.lines().count();
    let mut damaged: Vec<_> = chain.lines().collect();
    damaged.remove(2);
    let damaged = damaged.join("\n");
    let cut = format!("{chain}{}", &chain[..chain.len() / 2]);
    let binary = "is in binary form (DER or PKCS #12): PEM is needed, which openssl makes of it";
    for (certificates, private, expected) in [
        ("", key, "chain.pem is empty".to_owned()),
        (chain, " \n", "key.pem is empty".into()),
        ("nonsense", key, "chain.pem has no certificate in PEM form".into()),
        (chain, "nonsense", "key.pem has no private key in PEM form".into()),
        (key, key, "chain.pem has no certificate in PEM form, but a block PRIVATE KEY".into()),
        (chain, chain, "key.pem has no private key in PEM form, but a block CERTIFICATE".into()),
        (&cut, key, format!("{unreadable} {}: it has no end", lines + 1)),
        (
            &format!("{}{}", chain.trim_end(), two.pem),
            key,
            format!("{unreadable} {lines}: {marker}"),
        ),
        (
            &format!("{chain}{}", two.pem.replace("-----BEGIN", "----BEGIN")),
            key,
            format!("{unreadable} {}: {marker}", lines + 1),
        ),
        (
            &format!("{chain}{}", two.pem.replacen("MII", "M*I", 1)),
            key,
            format!("{unreadable} {}: it is not in base64", lines + 1),
        ),
        (
            &format!("{chain}{damaged}"),
            key,
            "chain.pem has a certificate that cannot be read: number 2".into(),
        ),
        (
            &format!("{chain}{}", two.pem.replace("CERTIFICATE", "PKCS7")),
            key,
            format!(
                "chain.pem has a PEM block in line {} that is of no use there: PKCS7",
                lines + 1
            ),
        ),
        (
            chain,
            &fixture("encrypted.key"),
            "key.pem has an encrypted key, and nobody can be asked for the password: `openssl \
             pkey` decrypts it"
                .into(),
        ),
        (
            chain,
            &fixture("encrypted-old.key"),
            "key.pem has an encrypted key, and nobody can be asked for the password: `openssl \
             pkey` decrypts it"
                .into(),
        ),
        (
            chain,
            &format!("{key}{}", two.key.serialize_pem()),
            "key.pem has 2 private keys: which?".into(),
        ),
        (
            chain,
            &fixture("p521.key"),
            format!("key.pem has a private key that cannot be used: {kinds}"),
        ),
        (
            chain,
            &two.key.serialize_pem(),
            "the key in key.pem is not that of the certificate in chain.pem".into(),
        ),
        (&fixture("p521.crt"), &fixture("p521.key"), kind("ECDSA on P-521")),
        (&fixture("k1.crt"), key, kind("ECDSA on secp256k1")),
        (&fixture("rsa1024.crt"), key, kind("RSA of 1024 bits")),
        (&fixture("ed448.crt"), key, kind("Ed448")),
    ] {
        assert_eq!(load(&folder, certificates, private), Err(expected));
    }
    assert_eq!(load(&folder, &one.der, key), Err(format!("chain.pem {binary}")));
    assert_eq!(load(&folder, chain, one.key.serialize_der()), Err(format!("key.pem {binary}")));
    let large = vec![b'\n'; 1024 * 1024 + 1];
    assert_eq!(load(&folder, large, key), Err("chain.pem is larger than 1 MiB".into()));
    assert!(load(&folder, b"\xff\xfe-\0-\0", key).unwrap_err().contains("no certificate"));

    let missing = tls::load(&folder.join("missing"), &folder.join("missing")).unwrap_err();
    assert!(missing.to_string().starts_with("cannot read "), "{missing}");
    let odd = format!("{}/a\nb", "x".repeat(5000));
    let missing = tls::load(Path::new(&odd), Path::new(&odd)).unwrap_err().to_string();
    assert!(missing.lines().count() == 1 && missing.chars().count() < 250, "{missing}");
    assert!(missing.contains(r"/a\nb: "), "{missing}");
}

/// A certificate that nobody would trust now is refused.
#[test]
fn certificates_out_of_time() {
    let folder = folder("time");
    let certificate = |from: i32, until: i32, by: Option<&Made>| {
        made("one", by, |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
        })
    };
    let load = |made: &Made, and: &str| {
        load(&folder, format!("{}{and}", made.pem), made.key.serialize_pem())
    };
    let expired = certificate(2000, 2001, None);
    assert_eq!(
        load(&expired, ""),
        Err("chain.pem has a certificate that has expired: it was valid until Mon, 01 Jan 2001 \
             00:00:00 +0000"
            .into())
    );
    let early = load(&certificate(2900, 2901, None), "").unwrap_err();
    let expected = "chain.pem has a certificate that is not valid yet: it will be from Fri, 01 \
                    Jan 2900 00:00:00 +0000, and it is ";
    assert!(early.starts_with(expected), "{early}");
    assert_eq!(load(&certificate(2000, 2900, None), ""), Ok(()));

    // There may be another way to a root than one of the others.
    let authority = made("authority", None, |params| {
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
    });
    assert_eq!(load(&certificate(2000, 2900, Some(&authority)), &authority.pem), Ok(()));
}

/// Chains are in order, and complete as they are written.
#[test]
fn chains() {
    let folder = folder("chains");
    let authority = |name: &str, by: Option<&Made>| {
        made(name, by, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
    };
    let root = authority("root", None);
    let middle = authority("middle", Some(&root));
    let own = made("own", Some(&middle), |_| {});
    let (root, middle, key) = (&root.pem, &middle.pem, own.key.serialize_pem());
    // The same authority, signed by itself.
    let other = authority("middle", None).pem;
    let stranger = made("stranger", None, |_| {}).pem;
    let own = &own.pem;
    let order = "chain.pem has its certificates in the wrong order:";
    let signed = |number| {
        Err(format!(
            "{order} each must have signed one before it, and number {number} has signed none"
        ))
    };
    let first =
        |number| Err(format!("{order} number {number} is that of the key and must be the first"));
    for (chain, expected) in [
        (vec![own], Ok(())),
        (vec![own, middle], Ok(())),
        (vec![own, middle, root], Ok(())),
        (vec![own, middle, &other, root], Ok(())),
        (vec![own, root, middle], signed(2)),
        (vec![own, middle, &stranger], signed(3)),
        (vec![middle, own], first(2)),
        (vec![root, middle, own], first(3)),
    ] {
        let chain: String = chain.into_iter().map(String::as_str).collect();
        assert_eq!(load(&folder, &chain, &key), expected);
    }
    // Both in one file, and what some programs write besides.
    let both = format!("Bag Attributes\n{key}{own}{middle}");
    assert_eq!(load(&folder, &both, &both), Ok(()));
    assert_eq!(load(&folder, fixture("params.crt"), fixture("params.key")), Ok(()));
    let windows = |text: &str| format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(load(&folder, windows(own), windows(&key)), Ok(()));
}
