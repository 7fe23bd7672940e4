//! Redis: SPEC §3 and §9, with real servers.

mod dead;
mod emission;
#[allow(dead_code, reason = "others use more of it")]
mod fake;
mod outage;
mod process;
mod sessions;
mod starting;
mod watched;

use std::{
    thread,
    time::{Duration, Instant},
};

use self::process::Redis;
use super::{
    client::{PATIENCE, get},
    start_with,
};
use crate::adapter::{Config, RedisConfig, Server};

/// A server on a Redis.
fn serve(redis: &Redis, change: impl FnOnce(&mut Config)) -> Server {
    let config = RedisConfig::new(redis.url()).unwrap();
    start_with(|builder| builder.redis(config).configure(change))
}

/// Asks until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `/readyz` says so.
fn until_ready(server: &Server, status: u16) {
    until(&format!("/readyz {status}"), || get(server, "/readyz").0 == status);
}
