//! Emission, for those who have something to say to peers.

use std::fmt;

use symple_proto::{ClientFrame, Emission, Limits};

use super::{RedisConfig, RedisError, connection::Connection};

/// Sends frames to the peers of all servers on a Redis (R-S3), for a backend.
///
/// It needs no server: it is a connection to Redis, to be cloned for use by several tasks. One
/// that is lost fails what is under way, and is made again for what comes then.
///
/// ```no_run
/// # use symple_driver::{Emitter, RedisConfig};
/// # use symple_proto::frame::Event;
/// # async fn tell() -> Result<(), symple_driver::RedisError> {
/// let emitter = Emitter::connect(&RedisConfig::new("redis://localhost")?).await?;
/// emitter.emit(r#"{"type":"message","from":"backend","to":"alice","data":"hello"}"#).await?;
/// let (to, name) = (Some("team-a".into()), Some("deployed".into()));
/// emitter.emit_frame(Event { to, name, ..Event::default() }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Emitter {
    connection: Connection,
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter").field("config", self.connection.config()).finish_non_exhaustive()
    }
}

impl Emitter {
    /// Connects to Redis. To be called within the runtime whose adapter is used.
    ///
    /// # Errors
    /// [`RedisError`]
    pub async fn connect(config: &RedisConfig) -> Result<Self, RedisError> {
        Ok(Self { connection: Connection::open(config).await? })
    }

    /// Emits a frame as it stands: a JSON object that says in `to` whom it is for: a user, a
    /// session (`user|id`, or its id), a room, or an array of rooms. `from` is relayed as it is
    /// written. How many servers heard it, not how many peers.
    ///
    /// # Errors
    /// [`RedisError`]: also for what no server would deliver, and for a Redis that has become a
    /// replica, of which no server hears: then the next emission goes to the master of then.
    pub async fn emit(&self, frame: &str) -> Result<usize, RedisError> {
        let limits = Limits::default();
        Emission::parse(frame, limits.depth, limits.recipient_rooms)?;
        let channel = format!("{}broadcast", self.connection.config().prefix);
        self.connection.publish(&channel, frame).await
    }

    /// Emits a frame of a type, as [`emit`](Self::emit) does a text.
    ///
    /// # Errors
    /// [`RedisError`]
    pub async fn emit_frame(&self, frame: impl Into<ClientFrame>) -> Result<usize, RedisError> {
        self.emit(&frame.into().to_text()).await
    }
}
