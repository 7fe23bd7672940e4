//! Opening connections.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, Pipeline, PushInfo,
    PushKind, RedisResult, Value, aio::MultiplexedConnection, cmd, from_redis_value,
};
use rustls::crypto::{CryptoProvider, ring};

use super::{RedisConfig, RedisError, address::url_of, config::Place, role};

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
    to_ask: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, RedisError> {
    let opened = find_and_enter(config, settings, to_ask).await;
    opened.map_err(|error| error.without(&config.secrets()))
}

async fn find_and_enter(
    config: &RedisConfig,
    settings: &AsyncConnectionConfig,
    to_ask: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, RedisError> {
    provide_tls();
    config.check()?;
    let info = match config.place()? {
        Place::Server(info) => info,
        Place::Cluster(slot) => {
            let enter = |info| alone(config.complete(info));
            slot.find_master(&config.session_prefix(), enter, to_ask).await?
        }
        Place::Sentinels(sentinels) => {
            sentinels.find_master(&config.complete(sentinels.master.clone()), to_ask).await?
        }
    };
    let address = url_of(info.addr());
    let database = info.redis_settings().db();
    let mut connection = connect(alone(info), settings, &address).await?;
    if database != 0 {
        let selected = cmd("SELECT").arg(database).exec_async(&mut connection).await;
        selected.map_err(|error| RedisError::new(&address, &error))?;
    }
    Ok(connection)
}

/// A connection to one server, whose address this is in errors.
pub(super) async fn connect(
    info: ConnectionInfo,
    settings: &AsyncConnectionConfig,
    address: &str,
) -> Result<MultiplexedConnection, RedisError> {
    let failed = |error| RedisError::new(address, &error);
    let client = Client::open(info).map_err(failed)?;
    client.get_multiplexed_async_connection_with_config(settings).await.map_err(failed)
}

/// With a greeting and nothing else behind it: a server that has no room for a connection says so
/// once and closes it, and who waits for a second answer does not learn why.
fn alone(info: ConnectionInfo) -> ConnectionInfo {
    let settings = info.redis_settings().clone().set_db(0).set_skip_set_lib_name();
    info.set_redis_settings(settings)
}

/// A connection for backends: one that is lost is made again for the next command.
#[derive(Clone)]
pub(super) struct Connection {
    config: Arc<RedisConfig>,
    settings: AsyncConnectionConfig,
    current: Arc<Mutex<Option<Current>>>,
}

/// A connection, and whether it has been lost.
struct Current {
    connection: MultiplexedConnection,
    lost: Arc<AtomicBool>,
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
        let mut connection = self.get().await?;
        self.check(command.query_async(&mut connection).await)
    }

    /// Publishes a text, and sees whether anybody could hear it; how many servers did.
    pub(super) async fn publish(&self, channel: &str, text: &str) -> Result<usize, RedisError> {
        let mut connection = self.get().await?;
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.add_command(role::ask()).cmd("PUBLISH").arg(channel).arg(text);
        let answers = connection.send_packed_commands(&pipeline, 0, 2).await;
        let mut answers = self.check(answers)?.into_iter();
        let (role, heard) = (answers.next(), answers.next());
        if let Some(reason) = role.as_ref().and_then(role::problem) {
            *self.lock() = None;
            return Err(RedisError::unreachable(&self.config.address(), reason));
        }
        // An error of the first answer says more than that of the second.
        for answer in [role, heard.clone()].into_iter().flatten() {
            if let Value::ServerError(error) = answer {
                return self.check(Err(error.into()));
            }
        }
        self.check(from_redis_value(heard.unwrap_or(Value::Nil)).map_err(Into::into))
    }

    /// The connection of now, for those that need the same one more than once.
    pub(super) async fn get(&self) -> Result<MultiplexedConnection, RedisError> {
        if let Some(current) = &*self.lock()
            && !current.lost.load(Ordering::Acquire)
        {
            return Ok(current.connection.clone());
        }
        let lost = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&lost);
        let settings = self.settings.clone().set_push_sender(move |info: PushInfo| {
            if info.kind == PushKind::Disconnection {
                flag.store(true, Ordering::Release);
            }
            Ok::<(), ()>(())
        });
        let connection = open(&self.config, &settings, &self.settings).await?;
        *self.lock() = Some(Current { connection: connection.clone(), lost });
        Ok(connection)
    }

    /// After what went wrong, a connection may be of no use.
    pub(super) fn check<T>(&self, result: RedisResult<T>) -> Result<T, RedisError> {
        result.map_err(|error| {
            // The server may be there, and not be the master any more, or not that of the slot.
            if error.is_io_error() || matches!(error.code(), Some("READONLY" | "MOVED")) {
                *self.lock() = None;
            }
            RedisError::new(&self.config.address(), &error).without(&self.config.secrets())
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
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

#[cfg(test)]
mod tests {
    use ::redis::cmd;

    use super::{super::process::Redis, *};

    /// R-S4: what was lost while nobody used it costs no command.
    #[tokio::test]
    async fn a_connection_lost_in_silence() {
        let Some(redis) = Redis::start() else { return };
        let connection = Connection::open(&RedisConfig::new(redis.url()).unwrap()).await.unwrap();
        let ping = async || connection.run::<String>(&cmd("PING")).await;
        assert_eq!(ping().await, Ok("PONG".into()));
        let _: usize = redis.ask("CLIENT KILL TYPE normal SKIPME yes");
        let lost = || connection.lock().as_ref().is_some_and(|it| it.lost.load(Ordering::Acquire));
        while !lost() {
            tokio::task::yield_now().await;
        }
        assert_eq!(ping().await, Ok("PONG".into()));
    }
}
