//! Opening connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, PushInfo, RedisResult, Role,
    aio::MultiplexedConnection, cmd,
};
use rustls::crypto::{CryptoProvider, ring};

use super::{RedisConfig, RedisError, address::url_of, config::Place};

/// How many requests may wait in a connection; each may be many commands.
const REQUESTS: usize = 4;

/// A connection for those who have their own clock; what is published arrives at `push`, which
/// must not block.
pub(super) async fn open_link(
    config: RedisConfig,
    push: impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static,
) -> Result<MultiplexedConnection, RedisError> {
    let without_clock =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let settings = without_clock.clone().set_pipeline_buffer_size(REQUESTS).set_push_sender(push);
    open(&config, &settings, &without_clock).await
}

async fn open(
    config: &RedisConfig,
    settings: &AsyncConnectionConfig,
    to_sentinels: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, RedisError> {
    provide_tls();
    let (info, address, is_found) = match config.place()? {
        Place::Server(info) => (info, config.address(), false),
        Place::Sentinels(sentinels) => {
            let found = sentinels.find_master(to_sentinels).await?;
            let address = url_of(&found);
            (config.complete(sentinels.master.set_addr(found)), address, true)
        }
    };
    let client = Client::open(info).map_err(|error| RedisError::new(&address, &error))?;
    let failed = |error| RedisError::new(&address, &error);
    let mut connection =
        client.get_multiplexed_async_connection_with_config(settings).await.map_err(failed)?;
    if is_found {
        let role = cmd("ROLE").query_async(&mut connection).await.map_err(failed)?;
        if !matches!(role, Role::Primary { .. }) {
            let reason = "it is not the master any more".into();
            return Err(RedisError::Unreachable { address, reason });
        }
    }
    Ok(connection)
}

/// A connection for backends: one that is lost is made again for the next command.
#[derive(Clone)]
pub(super) struct Connection {
    config: Arc<RedisConfig>,
    settings: AsyncConnectionConfig,
    current: Arc<Mutex<Option<MultiplexedConnection>>>,
}

impl Connection {
    /// Connects to Redis.
    pub(super) async fn open(config: &RedisConfig) -> Result<Self, RedisError> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(config.response_timeout));
        let connection =
            Self { config: Arc::new(config.clone()), settings, current: Arc::default() };
        connection.get().await?;
        Ok(connection)
    }

    pub(super) fn config(&self) -> &RedisConfig {
        &self.config
    }

    pub(super) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let result = command.query_async(&mut self.get().await?).await;
        self.check(result)
    }

    pub(super) async fn run_all<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
    ) -> Result<T, RedisError> {
        let result = pipeline.query_async(&mut self.get().await?).await;
        self.check(result)
    }

    async fn get(&self) -> Result<MultiplexedConnection, RedisError> {
        if let Some(connection) = self.lock().clone() {
            return Ok(connection);
        }
        let connection = open(&self.config, &self.settings, &self.settings).await?;
        *self.lock() = Some(connection.clone());
        Ok(connection)
    }

    /// After what went wrong, a connection may be of no use.
    fn check<T>(&self, result: RedisResult<T>) -> Result<T, RedisError> {
        result.map_err(|error| {
            // The server may be there, and not be the master any more.
            if error.is_io_error() || error.code() == Some("READONLY") {
                *self.lock() = None;
            }
            RedisError::new(&self.config.address(), &error)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With several providers compiled in, none of them is the obvious one for TLS; a program that has
/// made its choice keeps it.
fn provide_tls() {
    if CryptoProvider::get_default().is_none() {
        let _ = ring::default_provider().install_default();
    }
}
