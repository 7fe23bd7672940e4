//! Redis: SPEC §3 and §9, with real servers.

mod dead;
mod emission;
#[allow(dead_code, reason = "others use more of it")]
mod fake;
mod outage;
pub(super) mod process;
mod sessions;
mod starting;
mod watched;

use self::process::Redis;
use super::{
    client::{get, until},
    start_with,
};
use crate::adapter::{Config, RedisConfig, Server};

/// A server on a Redis.
fn serve(redis: &Redis, change: impl FnOnce(&mut Config)) -> Server {
    let config = RedisConfig::new(redis.url()).unwrap();
    start_with(|builder| builder.redis(config).configure(change))
}

/// Waits until `/readyz` says so.
fn until_ready(server: &Server, status: u16) {
    until(&format!("/readyz {status}"), || get(server, "/readyz").0 == status);
}
