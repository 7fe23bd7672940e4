//! Starting a server beside other tasks.

use std::{future::poll_fn, net::TcpListener, pin::pin, task::Poll};

use crate::adapter::{
    ClusterConfig, ConfigError, RedisConfig, ServerBuilder, StartError, block_on,
};

/// A start that waits for Redis does not keep other tasks of the same thread from running: the start
/// fails because of what such a task does.
#[test]
fn other_tasks_run_while_a_server_starts() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let redis = RedisConfig::new(format!("redis://{}", silent.local_addr().unwrap())).unwrap();
    let started = block_on(async {
        let builder = ServerBuilder::new().bind("127.0.0.1:0").redis(redis);
        let mut start = pin!(builder.start_async());
        let first = poll_fn(|cx| Poll::Ready(start.as_mut().poll(cx))).await;
        assert!(first.is_pending(), "other tasks had to wait: {first:?}");
        drop(silent.accept().unwrap());
        drop(silent);
        start.await
    });
    assert!(matches!(started, Err(StartError::Redis(_))), "{started:?}");
}

/// A cluster that could not be one is refused, and not forgotten.
#[test]
fn a_cluster_without_redis_is_refused() {
    let builder = ServerBuilder::new().bind("127.0.0.1:0").configure(|config| {
        config.engine.cluster = Some(ClusterConfig::default());
    });
    let started = block_on(builder.start_async());
    let error = started.expect_err("there is no Redis");
    assert!(matches!(error, StartError::Config(ConfigError::ClusterWithoutRedis)), "{error}");
}
