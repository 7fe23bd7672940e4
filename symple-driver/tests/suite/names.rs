//! Every type in a signature of an adapter can be named from the adapter alone.
//!
//! Whoever adds a type to a public signature adds its path here.

use std::sync::Arc;

use crate::adapter::{self, adapter as traits, client, http, proto, rustls, tls};

/// Names a type, whatever it can do.
const fn name<T: ?Sized>() {}

/// The parts of the configuration.
#[test]
fn configuration() {
    fn assert_parts(config: adapter::Config) {
        let engine: adapter::EngineConfig = config.engine;
        let _: adapter::ConnectionLimits = engine.connections;
        let _: Option<adapter::RateLimit> = engine.rate;
        let sessions: adapter::SessionConfig = engine.sessions;
        let _: adapter::PublicMembers = sessions.public;
        let _: Option<adapter::ClusterConfig> = engine.cluster;
        let _: adapter::HookConfig = engine.hooks;
        let _: adapter::RoomSend = engine.room_send;
        let _: adapter::PresenceMode = engine.presence;
        let _: proto::Limits = engine.limits;
        let _: Vec<adapter::TrustedProxy> = config.trusted_proxies;
        let _: Vec<adapter::OriginPattern> = config.allowed_origins;
        let _: Option<adapter::RedisConfig> = config.redis;
    }
    assert_parts(adapter::Config::default());
}

/// What hooks are given and give back.
#[test]
fn hooks() {
    fn request(request: adapter::Request) -> (http::HeaderMap, http::Uri) {
        (request.headers, request.uri)
    }
    let _: fn(adapter::Request) -> _ = request;
    let _ = adapter::UpgradeDecision::reject(http::StatusCode::NOT_FOUND, "");
    let header = (http::HeaderName::from_static("x-a"), http::HeaderValue::from_static("b"));
    let _ = adapter::UpgradeDecision::accept().header(header.0, header.1);
    let _ = adapter::FrameDecision::refuse_with(proto::Status::FORBIDDEN, "");
    name::<(
        adapter::AuthRequest,
        adapter::AuthDecision,
        adapter::JoinRequest,
        adapter::JoinDecision,
    )>();
    name::<(adapter::FrameRequest, proto::FrameView<'_>, proto::ClientFrame, proto::FrameError)>();
    name::<(adapter::PeerOnline, adapter::PeerLeft, adapter::PeerOffline, adapter::OfflineReason)>(
    );
    name::<dyn Fn(proto::RoutedType, proto::Fields, proto::RawJson)>();
}

/// What a server gives.
#[test]
fn servers() {
    fn event(event: &adapter::Event) -> Option<(adapter::ConnId, proto::Status)> {
        match event {
            adapter::Event::Refused { conn, status, .. } => Some((*conn, *status)),
            _ => None,
        }
    }
    let _: fn(&adapter::Event) -> _ = event;
    name::<(adapter::Handle, adapter::HandleError, adapter::EngineError, adapter::Events)>();
    name::<(adapter::PeerInfo, adapter::ClusterPeer, adapter::RoomInfo, adapter::VirtualPeer)>();
    name::<adapter::Compression>();
    name::<(adapter::ServerStats, adapter::Stats, adapter::TransportStats, adapter::Text)>();
    name::<(adapter::Server, adapter::StartError, adapter::ConfigError, adapter::Crashed)>();
    name::<(proto::UserName, proto::Address, proto::SessionError, proto::PublicRecord)>();
    name::<(adapter::Emitter, adapter::Sessions, adapter::SessionEntry, adapter::RedisError)>();
    name::<(proto::Token, tls::TlsError, tls::FileProblem, Arc<rustls::ServerConfig>)>();
    name::<(adapter::ProxyError, adapter::OriginError)>();
}

/// What a client takes and gives.
#[test]
fn clients() {
    name::<(adapter::Client, adapter::ClientBuilder, adapter::ClientEvents, adapter::ClientError)>(
    );
    name::<(adapter::ClientStartError, adapter::InboxLimits, client::Event, client::Outgoing)>();
    name::<(client::Frame, client::PeerRecord, client::Status, client::OutgoingError)>();
    name::<(client::CallId, client::CallInfo, client::Callee, client::Signal)>();
    name::<(client::ClientLimits, client::QueueLimits, client::ReconnectConfig, client::CallConfig)>(
    );
    name::<(Arc<rustls::ClientConfig>, rustls::pki_types::CertificateDer<'_>)>();
}

/// The traits that stand in the bounds of builders, and what they name.
#[test]
fn bounds() {
    fn implements<R>()
    where
        R: traits::Runtime<
                Socket: traits::Socket,
                Listener: traits::Listener,
                Timer: traits::Timer,
            > + traits::Connect,
    {
    }
    implements::<adapter::Runtime>();
    name::<(traits::DialTarget, client::ConnectFailure, Box<dyn traits::Socket>)>();
}
