//! The API of operators over real sockets (R-I1).

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the client and the Redis can do more than is needed here")]

/// What the client of the suite needs of an adapter.
mod adapter {
    pub(crate) use symple_tokio::Server;
}

mod calls;
#[path = "../../../symple-driver/tests/suite/client.rs"]
mod client;
mod cluster;
mod hostile;
mod http;
mod lists;
#[path = "../../../symple-driver/tests/suite/redis/process.rs"]
mod process;
mod schema;

use std::sync::LazyLock;

use client::until;
use http::Api;
use symple_tokio::{RedisConfig, Server, ServerBuilder, admin::Admin};
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// The key of most servers here.
const KEY: &str = "correct-horse";

/// A server, and the API of it.
struct Service {
    server: Server,
    api: Api,
    _end: oneshot::Sender<()>,
}

impl Service {
    fn start() -> Self {
        Self::start_with(|builder| builder, |admin| admin.key(KEY), Some(KEY))
    }

    /// One of the servers on a Redis.
    fn on(redis: &process::Redis) -> Self {
        let config = RedisConfig::new(redis.url()).unwrap();
        Self::start_with(|builder| builder.redis(config), |admin| admin.key(KEY), Some(KEY))
    }

    fn start_with(
        build: impl FnOnce(ServerBuilder) -> ServerBuilder,
        set_up: impl FnOnce(Admin) -> Admin,
        key: Option<&'static str>,
    ) -> Self {
        let _guard = RUNTIME.enter();
        let server = build(ServerBuilder::new().bind("127.0.0.1:0")).start().unwrap();
        let admin = set_up(Admin::new(server.handle()));
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let api = Api { address: listener.local_addr().unwrap(), key };
        let (end, ended) = oneshot::channel::<()>();
        RUNTIME.spawn(admin.serve(listener, async { drop(ended.await) }));
        Self { server, api, _end: end }
    }
}
