//! `symple serve`

use std::{io, net::SocketAddr, sync::Arc};

use symple_driver::{
    Config, Handle, Server, ServerBuilder, StartError, runtime::Runtime, rustls, tls,
};

use crate::{
    Failure, logging,
    runtime::Within,
    settings::{Settings, Source},
    signals::{Signals, Wish},
};

/// The addresses to listen on.
pub(crate) fn addresses(settings: &Settings) -> Vec<String> {
    let port = settings.port;
    if settings.hosts.is_empty() {
        return vec![format!("[::]:{port}")];
    }
    let bracket = |host: &String| host.contains(':') && !host.starts_with('[');
    settings
        .hosts
        .iter()
        .map(
            |host| {
                if bracket(host) { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
            },
        )
        .collect()
}

/// Checks what can be checked without listening.
pub(crate) fn check(settings: &Settings) -> Result<Option<TlsConfig>, Failure> {
    if settings.config.engine.authentication && settings.config.redis.is_none() {
        return Err(Failure::usage("authentication needs Redis (redis-url)"));
    }
    settings.config.check().map_err(Failure::usage)?;
    let files = settings.tls.as_ref();
    files.map(|files| tls::load(&files.certificate, &files.key)).transpose().map_err(Failure::usage)
}

type TlsConfig = Arc<rustls::ServerConfig>;

/// Runs a server until it is told to end.
pub(crate) fn run(settings: &Settings, source: &Source) -> Result<(), Failure> {
    logging::init(settings.log_format);
    for warning in source.warnings() {
        tracing::warn!("{warning}");
    }
    let tls = check(settings)?;
    for warning in source.without_effect() {
        tracing::warn!("{warning}");
    }
    raise_descriptor_limit();
    settings.runtime.run(Serve { settings, tls }).map_err(Failure::crash)?
}

/// What is done within the runtime.
struct Serve<'a> {
    settings: &'a Settings,
    tls: Option<TlsConfig>,
}

impl Within for Serve<'_> {
    type Output = Result<(), Failure>;

    async fn run<R: Runtime>(self) -> Self::Output {
        // Before anyone can know that there is something to be signalled.
        let signals = Signals::new().map_err(Failure::crash)?;
        let server = start::<R>(self.settings, self.tls.as_ref())?;
        greet(self.settings, &server);
        obey(&signals, &server, self.settings).await
    }
}

fn start<R: Runtime>(settings: &Settings, tls: Option<&TlsConfig>) -> Result<Server, Failure> {
    let start = |addresses: Vec<String>| {
        let mut builder = ServerBuilder::<R>::new().config(settings.config.clone());
        if let Some(tls) = tls {
            builder = builder.tls(Arc::clone(tls));
        }
        addresses.into_iter().fold(builder, ServerBuilder::bind).start()
    };
    let started = match start(addresses(settings)) {
        // A machine without IPv6 has other addresses.
        Err(StartError::Bind { error, .. })
            if settings.hosts.is_empty() && error.kind() != io::ErrorKind::AddrInUse =>
        {
            start(vec![format!("0.0.0.0:{}", settings.port)])
        }
        started => started,
    };
    started.map_err(|error| match error {
        StartError::Start(_) | StartError::Crashed(_) => Failure::crash(error),
        _ => Failure::usage(error),
    })
}

/// Says where the server listens and what it is like; and, where anyone may be anyone, says so.
fn greet(settings: &Settings, server: &Server) {
    let scheme = if settings.tls.is_some() { "wss" } else { "ws" };
    let path = settings.config.path.as_deref().unwrap_or("");
    let urls: Vec<_> = server
        .local_addresses()
        .iter()
        .map(|address| format!("{scheme}://{address}{path}"))
        .collect();
    tracing::info!(
        "symple {} listens on {} ({})",
        env!("CARGO_PKG_VERSION"),
        urls.join(", "),
        describe(settings)
    );
    warn_of_open_rooms(settings);
    let public: Vec<_> = server
        .local_addresses()
        .iter()
        .filter(|address| !is_loopback(address))
        .map(ToString::to_string)
        .collect();
    if !public.is_empty() && !settings.config.engine.authentication {
        tracing::warn!(
            "ANYONE WHO CAN REACH {} CAN BE ANY USER AND JOIN ANY ROOM: authentication is off. \
             Listen on 127.0.0.1 only (--host 127.0.0.1), or turn authentication on.",
            public.join(", ")
        );
    }
}

/// Says what authentication does not protect from, and one might think that it does.
fn warn_of_open_rooms(settings: &Settings) {
    let engine = &settings.config.engine;
    if !engine.authentication {
        return;
    }
    if engine.dynamic_rooms {
        tracing::warn!(
            "clients may join any room, also the room of another user, and read what is sent to it: \
             dynamic rooms are on. Turn them off (--dynamic-rooms false) unless that is wanted."
        );
    }
    if engine.sessions.user_optional {
        tracing::warn!(
            "whoever has the token of a session without a user can be any user: session-user is \
             optional. Let sessions name their users (--session-user required) unless that is wanted."
        );
    }
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// What kind of server it is, in a few words.
fn describe(settings: &Settings) -> String {
    let Config { engine, redis, .. } = &settings.config;
    let rooms = if engine.dynamic_rooms { "dynamic rooms" } else { "assigned rooms only" };
    let clients = if engine.authentication { "sessions" } else { "anonymous" };
    let rate = match engine.rate {
        Some(rate) => format!("{} units/s per peer", rate.units_per_second),
        None => "no rate limit".into(),
    };
    let redis = match redis {
        Some(redis) if redis.cluster => format!("cluster on {}", redis.address()),
        Some(redis) => redis.address(),
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

/// Reads certificate and key again.
async fn reload_tls(settings: &Settings, handle: &Handle) {
    let Some(files) = &settings.tls else { return };
    match tls::load(&files.certificate, &files.key) {
        Ok(config) => {
            if handle.set_tls(config).await.is_ok() {
                tracing::info!("new connections use the certificate that was read just now");
            }
        }
        Err(error) => tracing::error!(%error, "the certificate stays as it was"),
    }
}

/// Waits until the server has ended, and ends it when that is wished (SPEC §12).
async fn obey(signals: &Signals, server: &Server, settings: &Settings) -> Result<(), Failure> {
    let mut ending = false;
    loop {
        match signals.next_or(server.wait()).await {
            Err(ended) => return ended.map_err(Failure::crash),
            Ok(Wish::ReloadTls) => reload_tls(settings, &server.handle()).await,
            Ok(Wish::End) if ending => return Err(Failure::crash("ended by a second signal")),
            Ok(Wish::End) => {
                ending = true;
                tracing::info!("shutting down");
                // One that has ended already need not be told.
                let _ = server.handle().shutdown(settings.drain).await;
            }
        }
    }
}
