//! Certificates and keys.

mod chain;
mod pem;

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::ring::{self, sign::any_supported_type},
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
    },
};
use thiserror::Error;

use chain::Chain;
use pem::Block;

/// How large a file may be, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// How much of a path is shown: its end.
const PATH_SHOWN: usize = 120;
/// What keys there may be.
const KINDS: &str = "RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519";

/// TLS of a place where a server listens, whose certificate can be replaced while it listens: clones
/// are the same.
///
/// Connections that there are keep what they began with.
#[derive(Clone, Debug)]
pub struct SharedTls(Arc<RwLock<Arc<ServerConfig>>>);

impl SharedTls {
    /// From now on new connections use this.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        // What is behind the lock is whole whatever has panicked.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// What new connections use now.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<Arc<ServerConfig>> for SharedTls {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(RwLock::new(config)))
    }
}

/// Why files do not make TLS. Nothing that is in a key file is ever repeated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// A file has something else in it, or something that cannot be used.
    #[error("{path} {problem}")]
    File {
        /// Which.
        path: String,
        /// What is wrong with it.
        problem: FileProblem,
    },
    /// The key is that of another certificate.
    #[error("the key in {key} is not that of the certificate in {certificate}")]
    Mismatch {
        /// The file with the certificate.
        certificate: String,
        /// The file with the key.
        key: String,
    },
    /// The certificate and the key cannot be used for another reason.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// What is wrong with a file of certificates or with one of a key. Certificates are counted from 1,
/// and so are lines.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// There is nothing in it.
    #[error("is empty")]
    Empty,
    /// It is larger than 1 MiB, the limit.
    #[error("is larger than 1 MiB")]
    TooLarge,
    /// It is binary: DER, or PKCS #12.
    #[error("is in binary form (DER or PKCS #12): PEM is needed, which openssl makes of it")]
    Binary,
    /// What is needed is not there.
    #[error("has no {wanted} in PEM form{}", but(.found))]
    Missing {
        /// What should be in it.
        wanted: &'static str,
        /// What is there instead: the label of the first PEM block, if there is one.
        found: String,
    },
    /// A PEM block cannot be read: with those that can, it would be half a chain.
    #[error("has a PEM block that cannot be read, in line {line}: {problem}")]
    Block {
        /// Where.
        line: usize,
        /// Why not.
        problem: &'static str,
    },
    /// A PEM block is none of those that belong there.
    #[error("has a PEM block in line {line} that is of no use there: {label}")]
    Unwanted {
        /// Where.
        line: usize,
        /// What it says that it is.
        label: String,
    },
    /// The key has a password.
    #[error(
        "has an encrypted key, and nobody can be asked for the password: `openssl pkey` decrypts it"
    )]
    Encrypted,
    /// There are several keys, and only one can be that of the certificate.
    #[error("has {0} private keys: which?")]
    SeveralKeys(usize),
    /// The key is of another kind, or damaged.
    #[error("has a private key that cannot be used: it must be {KINDS}")]
    Key,
    /// The DER in a PEM block is no certificate.
    #[error("has a certificate that cannot be read: number {0}")]
    Certificate(usize),
    /// The certificate is for a key that cannot be used for TLS here.
    #[error(
        "has a certificate for a key of a kind that is not supported ({0}): it must be {KINDS}"
    )]
    Kind(String),
    /// Nobody would trust the certificate any more.
    #[error("has a certificate that has expired: it was valid until {0}")]
    Expired(String),
    /// Nobody would trust the certificate yet.
    #[error("has a certificate that is not valid yet: it will be from {from}, and it is {now} now")]
    NotYetValid {
        /// From when it is valid.
        from: String,
        /// The time of the machine, which may be wrong.
        now: String,
    },
    /// The certificate of the key is not the first.
    #[error(
        "has its certificates in the wrong order: number {0} is that of the key and must be the first"
    )]
    OwnNotFirst(usize),
    /// A certificate has signed none of those before it.
    #[error(
        "has its certificates in the wrong order: each must have signed one before it, and number \
         {0} has signed none"
    )]
    Order(usize),
}

/// What is there instead, as the end of a sentence.
fn but(found: &str) -> String {
    if found.is_empty() { String::new() } else { format!(", but a block {found}") }
}

/// Reads a certificate chain and its key, in PEM form, for TLS 1.2 and 1.3.
///
/// The chain begins with the server's own certificate; each of the others has signed one before it.
/// The own one must be valid now. Of the others those that are not are told of in the log: there
/// may be another way to a root. Both files may be the same one. Files are at most 1 MiB.
///
/// # Errors
/// [`TlsError`]: also if any part of a file cannot be read, so that never half a chain is used.
pub fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |path: &Path| {
        let path = shown(path);
        move |problem| TlsError::File { path, problem }
    };
    let chain = certificates(&read(certificate)?).map_err(file(certificate))?;
    let private = private_key(&read(key)?).map_err(file(key))?;
    let parsed = Chain::parse(&chain).map_err(file(certificate))?;
    parsed.check_kind().map_err(file(certificate))?;
    let signing = any_supported_type(&private).map_err(|_| file(key)(FileProblem::Key))?;
    if let Some(public) = signing.public_key() {
        match parsed.position_of(&public) {
            Some(0) => {}
            Some(index) => return Err(file(certificate)(FileProblem::OwnNotFirst(index + 1))),
            None => {
                return Err(TlsError::Mismatch {
                    certificate: shown(certificate),
                    key: shown(key),
                });
            }
        }
    }
    parsed.check_order().map_err(file(certificate))?;
    parsed.check_time(&shown(certificate)).map_err(file(certificate))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A path as it may be shown: one line, and not longer than it must be.
fn shown(path: &Path) -> String {
    let path: Vec<_> = path.display().to_string().chars().flat_map(char::escape_debug).collect();
    match path.len().checked_sub(PATH_SHOWN) {
        None | Some(0) => path.into_iter().collect(),
        Some(before) => ['…'].iter().chain(&path[before..]).collect(),
    }
}

/// What is in a file, as text: what is no UTF-8 is no PEM either.
fn read(path: &Path) -> Result<String, TlsError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    let size = read.map_err(|error| TlsError::Read { path: shown(path), error })?;
    let problem = match *bytes {
        _ if size as u64 > MAX_FILE => FileProblem::TooLarge,
        // A sequence with a length of more than one byte: whatever it is, it is long enough.
        [0x30, 0x80..=0xff, ..] => FileProblem::Binary,
        _ if bytes.iter().all(u8::is_ascii_whitespace) => FileProblem::Empty,
        _ => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
    };
    Err(TlsError::File { path: shown(path), problem })
}

/// True for blocks that some programs write into files of keys and certificates, and others need.
fn is_parameters(block: &Block) -> bool {
    matches!(&*block.label, "EC PARAMETERS" | "DH PARAMETERS")
}

/// A file without what is wanted.
fn missing(wanted: &'static str, blocks: &[Block]) -> FileProblem {
    let found = blocks.first().map(|block| block.label.clone()).unwrap_or_default();
    FileProblem::Missing { wanted, found }
}

/// The certificates in a file; there may be a key, too.
fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    let mut blocks = pem::blocks(text)?;
    if !blocks.iter().any(Block::is_certificate) {
        return Err(missing("certificate", &blocks));
    }
    blocks.retain(|block| !block.is_key() && !is_parameters(block));
    let certificate = |block: Block| {
        if block.is_certificate() {
            block.der().map(Into::into)
        } else {
            Err(FileProblem::Unwanted { line: block.line, label: block.label })
        }
    };
    blocks.into_iter().map(certificate).collect()
}

/// The key in a file; there may be certificates, too.
fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, FileProblem> {
    let blocks = pem::blocks(text)?;
    let keys: Vec<_> = blocks.iter().filter(|block| block.is_key()).collect();
    let key = match *keys {
        [] => return Err(missing("private key", &blocks)),
        [key] if key.is_encrypted() => return Err(FileProblem::Encrypted),
        [key] => key,
        _ => return Err(FileProblem::SeveralKeys(keys.len())),
    };
    let der = key.der()?;
    Ok(match &*key.label {
        "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(der).into(),
        "EC PRIVATE KEY" => PrivateSec1KeyDer::from(der).into(),
        _ => PrivatePkcs8KeyDer::from(der).into(),
    })
}
