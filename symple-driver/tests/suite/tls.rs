//! Encrypted connections.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::json;

use super::{
    client::{Client, exchange, socket},
    start, start_with,
};
use crate::adapter::{HandleError, Server, block_on, tls};

/// A certificate for `localhost`, and its key, in files.
struct Certificate {
    der: CertificateDer<'static>,
    chain: PathBuf,
    key: PathBuf,
}

impl Certificate {
    fn new(folder: &Path, name: &str) -> Self {
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
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = socket(server);
        session.complete_io(&mut socket)?;
        Ok(StreamOwned::new(session, socket))
    }

    fn client(&self, server: &Server) -> Client<StreamOwned<ClientConnection, TcpStream>> {
        let stream = self.connect(server).unwrap();
        Client::over(stream, "wss://localhost/", &[]).unwrap().0
    }
}

fn folder(name: &str) -> PathBuf {
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
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
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

#[test]
fn files_that_are_no_keys() {
    let folder = folder("no_keys");
    let (one, two) = (Certificate::new(&folder, "one"), Certificate::new(&folder, "two"));
    let missing = folder.join("missing");
    let load = |chain: &Path, key: &Path| tls::load(chain, key).unwrap_err().to_string();
    assert!(load(&missing, &one.key).starts_with("cannot read "));
    assert!(load(&one.chain, &missing).starts_with("cannot read "));
    assert!(load(&one.key, &one.key).ends_with("has no certificate in PEM form"));
    assert!(load(&one.chain, &one.chain).ends_with("has no private key in PEM form"));
    assert!(load(&one.chain, &two.key).contains("cannot be used"));
}
