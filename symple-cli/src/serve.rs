//! `symple serve`

use std::{io, net::SocketAddr};

use symple_driver::{
    Config, Endpoint, HttpEndpoint, ListenAddress, Server, ServerBuilder, StartError,
    WebhookSettings,
    tls::{self, SharedTls, TlsError},
    transport::Connect,
};

use crate::{
    Failure, logging,
    runtime::Within,
    settings::{
        Settings, Source, Tls,
        jwt::JwtSource,
        places::{Place, PlaceAddress, PlaceTls},
    },
    signals::{Signals, Wish},
};

/// The places to listen at.
pub(crate) fn places(settings: &Settings) -> Vec<Place> {
    if !settings.places.is_empty() {
        return settings.places.clone();
    }
    let tls = if settings.tls.is_some() { PlaceTls::OfSettings } else { PlaceTls::Off };
    let place =
        |address| Place { address: PlaceAddress::Tcp(address), tls: tls.clone(), backlog: None };
    let port = settings.port;
    if settings.hosts.is_empty() {
        return vec![place(format!("[::]:{port}"))];
    }
    let bracket = |host: &String| host.contains(':') && !host.starts_with('[');
    let hosts = settings.hosts.iter();
    let address =
        |host| if bracket(host) { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    hosts.map(|host| place(address(host))).collect()
}

/// The certificates that are in use, each with its files.
pub(crate) struct Certificates(Vec<(Tls, SharedTls)>);

impl Certificates {
    /// Reads those of all places, each once.
    fn load(settings: &Settings) -> Result<Self, TlsError> {
        let own = settings.places.iter().filter_map(|place| match &place.tls {
            PlaceTls::Own(files) => Some(files),
            PlaceTls::Off | PlaceTls::OfSettings => None,
        });
        let mut all = Self(Vec::new());
        for files in settings.tls.iter().chain(own) {
            if all.get(files).is_none() {
                let config = tls::load(&files.certificate, &files.key)?;
                all.0.push((files.clone(), config.into()));
            }
        }
        Ok(all)
    }

    fn get(&self, files: &Tls) -> Option<SharedTls> {
        let found = self.0.iter().find(|(known, _)| known == files);
        found.map(|(_, shared)| shared.clone())
    }

    /// Reads all of them again. What cannot be used stays as it was.
    fn reload(&self) {
        let mut read = false;
        for (files, shared) in &self.0 {
            match tls::load(&files.certificate, &files.key) {
                Ok(config) => {
                    shared.replace(config);
                    read = true;
                }
                Err(error) => tracing::error!(%error, "the certificate stays as it was"),
            }
        }
        if read {
            tracing::info!("new connections use the certificate that was read just now");
        }
    }
}

/// Checks what can be checked without listening.
pub(crate) fn check(settings: &Settings) -> Result<Certificates, Failure> {
    if settings.config.engine.authentication && settings.config.redis.is_none() {
        return Err(Failure::usage(
            "authentication needs Redis (redis-url), a key for tokens (jwt-secret, jwt-public-key, jwt-jwks) or an auth-url",
        ));
    }
    settings.config.check().map_err(Failure::usage)?;
    Certificates::load(settings).map_err(Failure::usage)
}

/// Runs a server until it is told to end.
pub(crate) fn run(settings: &Settings, source: &Source) -> Result<(), Failure> {
    logging::init(settings.log_format);
    for warning in source.warnings() {
        tracing::warn!("{warning}");
    }
    let certificates = check(settings)?;
    for warning in source.without_effect() {
        tracing::warn!("{warning}");
    }
    raise_descriptor_limit();
    settings.runtime.run(Serve { settings, certificates }).map_err(Failure::crash)?
}

/// What is done within the runtime.
struct Serve<'a> {
    settings: &'a Settings,
    certificates: Certificates,
}

impl Within for Serve<'_> {
    type Output = Result<(), Failure>;

    async fn run<R: Connect>(self) -> Self::Output {
        // This comes before the greeting: after it, somebody may send signals.
        let signals = Signals::new().map_err(Failure::crash)?;
        let server = start::<R>(self.settings, &self.certificates)?;
        // It ends with the server, whatever becomes of that.
        #[cfg(feature = "admin")]
        let _admin = crate::admin::Admin::start(self.settings, &server)?;
        greet(self.settings, &server);
        obey(&signals, &server, self.settings, &self.certificates).await
    }
}

/// A place, as the driver knows it.
fn endpoint(
    place: Place,
    settings: &Settings,
    certificates: &Certificates,
) -> Result<Endpoint, StartError> {
    let name = place.to_string();
    let endpoint = match place.address {
        PlaceAddress::Tcp(address) => Endpoint::tcp(address),
        #[cfg(unix)]
        PlaceAddress::Unix { path, mode: None } => Endpoint::unix(path),
        #[cfg(unix)]
        PlaceAddress::Unix { path, mode: Some(mode) } => Endpoint::unix(path).mode(mode),
        #[cfg(not(unix))]
        PlaceAddress::Unix { .. } => {
            let error = io::ErrorKind::Unsupported.into();
            return Err(StartError::Bind { address: name, error });
        }
        PlaceAddress::Inherited(number) => Endpoint::inherited(number)
            .map_err(|error| StartError::Bind { address: name, error })?,
    };
    let endpoint = match place.backlog {
        Some(count) => endpoint.backlog(count),
        None => endpoint,
    };
    let tls = match &place.tls {
        PlaceTls::Off => None,
        PlaceTls::OfSettings => settings.tls.as_ref(),
        PlaceTls::Own(files) => Some(files),
    };
    Ok(match tls.and_then(|files| certificates.get(files)) {
        Some(shared) => endpoint.tls(shared),
        None => endpoint,
    })
}

fn start<R: Connect>(settings: &Settings, certificates: &Certificates) -> Result<Server, Failure> {
    let start = |places: Vec<Place>| {
        let builder = ServerBuilder::<R>::new().config(settings.config.clone());
        let mut builder = with_services(builder, settings);
        for place in places {
            builder = builder.listen(endpoint(place, settings, certificates)?);
        }
        builder.start()
    };
    let everywhere = settings.places.is_empty() && settings.hosts.is_empty();
    let mut places = places(settings);
    let started = match start(places.clone()) {
        // A machine without IPv6 has other addresses.
        Err(StartError::Bind { error, .. })
            if everywhere && error.kind() != io::ErrorKind::AddrInUse =>
        {
            for place in &mut places {
                place.address = PlaceAddress::Tcp(format!("0.0.0.0:{}", settings.port));
            }
            start(places)
        }
        started => started,
    };
    started.map_err(|error| match error {
        StartError::Start(_) | StartError::Crashed(_) => Failure::crash(error),
        _ => Failure::usage(error),
    })
}

/// Adds who says who clients are, and who is told of them.
fn with_services<R: Connect>(
    mut builder: ServerBuilder<R>,
    settings: &Settings,
) -> ServerBuilder<R> {
    if let Some(JwtSource { jwt, url }) = &settings.jwt {
        builder = match url {
            Some(url) => builder.jwt_with_jwks(jwt.clone(), url.clone()),
            None => builder.jwt(jwt.clone()),
        };
    }
    if let Some(url) = &settings.auth_url {
        builder = builder.authenticate_by_webhook(url.clone());
    }
    if let Some(url) = &settings.webhook_url {
        let mut webhook = WebhookSettings::default();
        webhook.flush = webhook.flush.max(settings.drain);
        builder = builder.webhook(url.clone(), webhook);
    }
    builder
}

/// Logs where the server listens and its main settings. Warns if clients can be any user that they want.
fn greet(settings: &Settings, server: &Server) {
    let path = settings.config.path.as_deref().unwrap_or("");
    let urls: Vec<_> = server
        .listen_addresses()
        .iter()
        .map(|(address, encrypted)| match address {
            ListenAddress::Tcp(address) if *encrypted => format!("wss://{address}{path}"),
            ListenAddress::Tcp(address) => format!("ws://{address}{path}"),
            address => address.to_string(),
        })
        .collect();
    tracing::info!(
        "symple {} listens on {} ({})",
        env!("CARGO_PKG_VERSION"),
        urls.join(", "),
        describe(settings, server.node_id())
    );
    warn_of_open_rooms(settings);
    let public: Vec<_> = server
        .local_addresses()
        .iter()
        .filter(|address| !is_loopback(address))
        .map(ToString::to_string)
        .collect();
    warn_of_plain_http(settings);
    if !public.is_empty() && !settings.proves() {
        tracing::warn!(
            "ANYONE WHO CAN REACH {} CAN BE ANY USER AND JOIN ANY ROOM: authentication is off. \
             Listen on 127.0.0.1 only (--host 127.0.0.1), or turn authentication on.",
            public.join(", ")
        );
    }
}

/// Warns of what authentication does not protect from, although one might expect it.
fn warn_of_open_rooms(settings: &Settings) {
    let engine = &settings.config.engine;
    if !settings.proves() {
        return;
    }
    if engine.dynamic_rooms {
        tracing::warn!(
            "clients may join any room, also the room of another user, and read what is sent to it: \
             dynamic rooms are on. Turn them off (--dynamic-rooms false) unless that is wanted."
        );
    }
    if engine.authentication && engine.sessions.user_optional {
        tracing::warn!(
            "whoever has the token of a session without a user can be any user: session-user is \
             optional. Let sessions name their users (--session-user required) unless that is wanted."
        );
    }
}

/// Warns of answers that somebody on the way could change.
fn warn_of_plain_http(settings: &Settings) {
    let is_near = |url: &&HttpEndpoint| {
        let address = url.host().parse::<std::net::IpAddr>();
        url.is_encrypted()
            || url.host() == "localhost"
            || address.is_ok_and(|address| address.is_loopback())
    };
    let keys = settings.jwt.as_ref().and_then(|jwt| jwt.url.as_ref());
    for url in keys.into_iter().chain(&settings.auth_url).filter(|url| !is_near(url)) {
        tracing::warn!(
            "whoever is between this server and {url} can let anybody in: it is not encrypted. Use \
             https:// unless the network is yours alone."
        );
    }
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The main settings of the server, in a few words.
fn describe(settings: &Settings, node: Option<&str>) -> String {
    let Config { engine, redis, .. } = &settings.config;
    let rooms = if engine.dynamic_rooms { "dynamic rooms" } else { "assigned rooms only" };
    let clients: Vec<_> = [
        (engine.authentication, "sessions"),
        (settings.jwt.is_some(), "JWT"),
        (settings.auth_url.is_some(), "webhook authentication"),
    ]
    .into_iter()
    .filter_map(|(is_on, name)| is_on.then_some(name))
    .collect();
    let clients = if clients.is_empty() { "anonymous".into() } else { clients.join(" and ") };
    let rate = match engine.rate {
        Some(rate) => format!("{} units/s per peer", rate.units_per_second),
        None => "no rate limit".into(),
    };
    let redis = match redis {
        Some(redis) => match node {
            Some(node) => format!("cluster on {} as node {node}", redis.address()),
            None => redis.address(),
        },
        None => "no Redis".into(),
    };
    format!("{clients}, {rooms}, {rate}, {redis}, {}", settings.runtime)
}

/// A server for many connections needs many descriptors: as many as it may have.
fn raise_descriptor_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};

        let mut limit = getrlimit(Resource::Nofile);
        if limit.current < limit.maximum {
            limit.current = limit.maximum;
            if let Err(error) = setrlimit(Resource::Nofile, limit) {
                tracing::warn!(%error, "cannot raise the limit on descriptors");
            }
        }
    }
}

/// Waits until the server has ended, and ends it when that is wished (SPEC §12).
async fn obey(
    signals: &Signals,
    server: &Server,
    settings: &Settings,
    certificates: &Certificates,
) -> Result<(), Failure> {
    let mut ending = false;
    loop {
        match signals.next_or(server.wait()).await {
            Err(ended) => return ended.map_err(Failure::crash),
            Ok(Wish::ReloadTls) => certificates.reload(),
            Ok(Wish::End) if ending => return Err(Failure::crash("ended by a second signal")),
            Ok(Wish::End) => {
                ending = true;
                // A server that has already ended needs no shutdown.
                let _ = server.handle().shutdown(settings.drain).await;
            }
        }
    }
}
