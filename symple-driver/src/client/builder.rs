//! A client that is being set up.

use std::{
    future::Future,
    io,
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use http::{
    HeaderName, HeaderValue,
    header::{CONNECTION, HOST, UPGRADE},
};
use rand::{
    Rng as _, SeedableRng as _,
    rngs::{StdRng, SysRng},
};
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier, pki_types::CertificateDer,
};
use rustls_platform_verifier::BuilderVerifierExt as _;
use symple_engine::client::{Client as Machine, Config, TokenSource};
use symple_proto::{Fields, NameError, RawJson, RoomName, Token, UserName};
use thiserror::Error;

use super::{
    events::{ClientEvents, Inbox, InboxLimits},
    handle::{Client, ClientError, Held},
    shared::Shared,
    task::Task,
    transport::{Connect, Target},
};
use crate::ws::deflate::Compression;

/// Why a client cannot be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientStartError {
    /// This is no URL of a server.
    #[error("{url} is no URL of a server: {problem}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The client has no user, or this is no name of one, or of a room.
    #[error("the name {0}")]
    Name(#[from] NameError),
    /// A token is no token.
    #[error("the token is empty or too long")]
    Token,
    /// This is no header, or one of the handshake's own.
    #[error("{0} is no header that can be set, or has a value that is none")]
    Header(String),
    /// There is no such compressor.
    #[error("compression must have a window of 9 to 15 bits and a level from 1 to 9")]
    Compression,
    /// The certificates that are to be trusted cannot be read, or there are none.
    #[error("no certificates to trust: {0}")]
    Certificates(String),
    /// There is no runtime, or no randomness.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// It has not come online.
    #[error(transparent)]
    Connect(#[from] ClientError),
}

/// Finds a token: the argument is true where the server has refused the last one.
pub(super) type FindToken = Arc<
    dyn Fn(bool) -> Pin<Box<dyn Future<Output = Result<Option<String>, ()>> + Send>> + Send + Sync,
>;

/// Changes how the machine is set up.
type Change = Box<dyn FnOnce(&mut Config) + Send>;

/// A client that is being set up.
#[must_use = "a builder does nothing until it is started"]
pub struct ClientBuilder<R> {
    url: String,
    user: String,
    name: Option<String>,
    token: Option<String>,
    find_token: Option<FindToken>,
    rooms: Vec<String>,
    record: Fields,
    headers: Vec<(String, String)>,
    tls: Option<Arc<ClientConfig>>,
    inbox: InboxLimits,
    max_message: usize,
    compression: Option<Compression>,
    configure: Vec<Change>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Connect> ClientBuilder<R> {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            user: String::new(),
            name: None,
            token: None,
            find_token: None,
            rooms: Vec::new(),
            record: Fields::new(),
            headers: Vec::new(),
            tls: None,
            inbox: InboxLimits::default(),
            max_message: 16 * 1024 * 1024,
            compression: None,
            configure: Vec::new(),
            runtime: PhantomData,
        }
    }

    /// Who the client says it is (R-A1). It must say so.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// How it wants to be called; its user without one.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its token (R-A4).
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Asks for a token before each attempt to connect; the argument is true where the server has
    /// refused the last one, and another one is needed. An error counts as a failed attempt, and
    /// it is asked again at the next one.
    pub fn token_with<F, E>(mut self, find: impl Fn(bool) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Option<String>, E>> + Send + 'static,
        E: Send + 'static,
    {
        self.find_token = Some(Arc::new(move |refused| {
            let found = find(refused);
            Box::pin(async move { found.await.map_err(drop) })
        }));
        self
    }

    /// A room that it wants to be in, from the start and after each reconnect.
    pub fn room(mut self, room: impl Into<String>) -> Self {
        self.rooms.push(room.into());
        self
    }

    /// What it tells of itself to others (R-P4), beside its name.
    pub fn record(mut self, member: &str, value: impl Into<RawJson>) -> Self {
        self.record.set(member, value.into());
        self
    }

    /// A header of the upgrade request, such as `Origin` or `Cookie`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// How `wss://` is encrypted, and whom it trusts. Without this, whom the system trusts: that is
    /// read once in a process, when the first client needs it.
    pub fn tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// How many events may wait for the application.
    pub fn inbox(mut self, change: impl FnOnce(&mut InboxLimits)) -> Self {
        change(&mut self.inbox);
        self
    }

    /// The largest message that the server may send, in bytes; a larger one ends the connection.
    /// It counts as it is inflated. 16 MiB.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Asks servers for compression, and compresses texts where they agree (R-T10); without this
    /// nothing is compressed. A server that answers what it was not asked is not connected to.
    ///
    /// A connection takes up to 120 KB once it has inflated a message, and 370 KB once it has
    /// compressed one.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// Everything else that a client can be told: its offline queue, how it reconnects, calls,
    /// limits.
    pub fn configure(mut self, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.configure.push(Box::new(change));
        self
    }

    /// Starts the client, and waits until it is online.
    ///
    /// # Errors
    /// [`ClientStartError`]: also if the server does not let it in. While a server cannot be
    /// reached it is tried again, for as long as the
    /// [configuration](symple_engine::client::ReconnectConfig) says.
    pub async fn connect(self) -> Result<(Client<R>, ClientEvents), ClientStartError> {
        let (client, events) = self.start()?;
        client.connect().await?;
        Ok((client, events))
    }

    /// Starts the client, which connects in the background: [`ClientEvents`] tell how it goes.
    ///
    /// # Errors
    /// [`ClientStartError`]: something is wrong with how it is set up. It must be called within
    /// the runtime.
    pub fn start(mut self) -> Result<(Client<R>, ClientEvents), ClientStartError> {
        let url = std::mem::take(&mut self.url);
        let (mut target, name) = match Target::new(&url) {
            Ok(read) => read,
            Err(problem) => return Err(ClientStartError::Url { url, problem }),
        };
        for (name, value) in &self.headers {
            let problem = || ClientStartError::Header(name.clone());
            let key = HeaderName::try_from(name.as_str()).map_err(|_| problem())?;
            // These are the handshake's own.
            if key.as_str().starts_with("sec-websocket-")
                || matches!(key, HOST | CONNECTION | UPGRADE)
            {
                return Err(problem());
            }
            let value = HeaderValue::try_from(value.as_str()).map_err(|_| problem())?;
            target.headers.append(key, value);
        }
        target.max_message = self.max_message;
        if self.compression.as_ref().is_some_and(|compression| !compression.is_valid()) {
            return Err(ClientStartError::Compression);
        }
        target.compression = self.compression;
        if let Some(name) = name {
            let config = self.tls.take().map_or_else(trust_the_system, Ok)?;
            target.server.tls = Some((config, name));
        }
        let mut config = Config::new(UserName::new(self.user.as_str())?);
        config.name = self.name.take();
        for room in &self.rooms {
            config.rooms.push(RoomName::new(room.as_str())?);
        }
        config.record = std::mem::take(&mut self.record);
        if let Some(token) = &self.token {
            let token = Token::new(token.as_str()).ok_or(ClientStartError::Token)?;
            config.token = TokenSource::Fixed(token);
        }
        if self.find_token.is_some() {
            config.token = TokenSource::Ask;
        }
        for change in self.configure {
            change(&mut config);
        }
        // Without randomness of the system nothing can be started. It is asked once: each frame that
        // is sent has a random id, and that would be a system call.
        let mut random = StdRng::try_from_rng(&mut SysRng).map_err(io::Error::other)?;
        // Masks have a generator of their own: what the other one makes, others see.
        let masks = StdRng::from_rng(&mut random);
        let random = move |bytes: &mut [u8]| random.fill_bytes(bytes);
        let runtime = R::current()?;
        let inbox = Inbox::new(self.inbox);
        let shared = Arc::new(Shared::new(Machine::new(config, random), Arc::clone(&inbox)));
        let task = Task::new(runtime.clone(), Arc::clone(&shared), target, masks, self.find_token);
        runtime.spawn(task);
        let client = Client { held: Arc::new(Held(shared)), runtime: PhantomData };
        Ok((client, ClientEvents(inbox)))
    }
}

/// Trusts whom the system trusts. That is read once in a process, and shared: it is a file of
/// some 200 KB, or a folder of as many certificates, and half a megabyte of memory. What fails is
/// tried again for the next client.
pub(crate) fn trust_the_system() -> Result<Arc<ClientConfig>, ClientStartError> {
    static SYSTEM: Mutex<Option<Arc<ClientConfig>>> = Mutex::new(None);
    // There is nothing in it, or all.
    let mut system = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(config) = &*system {
        return Ok(Arc::clone(config));
    }
    let config = read_system()?;
    *system = Some(Arc::clone(&config));
    Ok(config)
}

fn read_system() -> Result<Arc<ClientConfig>, ClientStartError> {
    let config = tls()?
        .with_platform_verifier()
        .map_err(|error| certificates(&error))?
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn tls() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, ClientStartError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| certificates(&error))
}

fn certificates(error: &rustls::Error) -> ClientStartError {
    ClientStartError::Certificates(error.to_string())
}

/// A configuration of TLS that trusts these authorities and no others, for
/// [`ClientBuilder::tls`].
///
/// # Errors
/// [`ClientStartError::Certificates`]: none of them can be used.
pub fn trust(
    authorities: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<Arc<ClientConfig>, ClientStartError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(authorities);
    if added == 0 {
        return Err(ClientStartError::Certificates("there are none".into()));
    }
    Ok(Arc::new(tls()?.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the system trusts is read once, and is the same for all; where it trusts nobody that
    /// is said each time.
    #[test]
    fn the_system_is_read_once() {
        match (trust_the_system(), trust_the_system()) {
            (Ok(one), Ok(other)) => assert!(Arc::ptr_eq(&one, &other)),
            (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
            differ => panic!("{differ:?}"),
        }
    }
}
