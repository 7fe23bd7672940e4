//! Opening connections.

use ::redis::{
    AsyncConnectionConfig, Client, PushInfo,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
};
use rustls::crypto::{CryptoProvider, ring};

use super::{RedisConfig, RedisError};

/// How many requests may wait in a connection; each may be many commands.
const REQUESTS: usize = 4;

/// A connection for those who have their own clock; what is published arrives at `push`, which
/// must not block.
pub(super) async fn open_link(
    client: Client,
    address: String,
    push: impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(REQUESTS)
        .set_push_sender(push);
    provide_tls();
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|error| RedisError::new(&address, &error))
}

/// A connection for backends: one that is lost is made again for the next command.
pub(super) async fn open_simple(config: &RedisConfig) -> Result<ConnectionManager, RedisError> {
    provide_tls();
    let settings = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(config.response_timeout))
        .set_number_of_retries(0);
    config
        .client()?
        .get_connection_manager_with_config(settings)
        .await
        .map_err(|error| RedisError::new(&config.address(), &error))
}

/// With several providers compiled in, none of them is the obvious one for TLS; a program that has
/// made its choice keeps it.
fn provide_tls() {
    if CryptoProvider::get_default().is_none() {
        let _ = ring::default_provider().install_default();
    }
}
