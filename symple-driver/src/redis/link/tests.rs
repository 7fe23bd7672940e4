//! A link and a Redis, without a server.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use symple_engine::server::RequestId;
use tokio::time::timeout;

use super::{
    super::{fake, process::Redis},
    *,
};

/// Long enough for a machine that is busy; a test that waits so long fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Driven {
    link: Link,
    started: Instant,
    /// How many bytes Redis has taken.
    taken: u64,
}

impl Driven {
    fn new(redis: &Redis, change: impl FnOnce(&mut RedisConfig)) -> Self {
        Self::at(&redis.url(), change)
    }

    fn at(url: &str, change: impl FnOnce(&mut RedisConfig)) -> Self {
        let mut config = RedisConfig::new(url).unwrap();
        config.ping_interval = Duration::from_millis(50);
        change(&mut config);
        Self { link: Link::new(config), started: Instant::now(), taken: 0 }
    }

    /// The next thing that the link has to say, but for what Redis has taken.
    async fn next(&mut self) -> LinkEvent {
        loop {
            match self.next_of_all().await {
                LinkEvent::Taken(bytes) => self.taken += bytes,
                event => return event,
            }
        }
    }

    async fn next_of_all(&mut self) -> LinkEvent {
        let next = async {
            loop {
                let polled = poll_fn(|cx| {
                    let now = Timestamp::ZERO + self.started.elapsed();
                    if self.link.poll(cx, now) {
                        cx.waker().wake_by_ref();
                    }
                    self.link.next_event().map_or(Poll::Pending, Poll::Ready)
                });
                // A look at its deadlines now and then is as good as a timer.
                if let Ok(event) = timeout(Duration::from_millis(10), polled).await {
                    return event;
                }
            }
        };
        timeout(PATIENCE, next).await.unwrap()
    }

    /// Polls the link, and takes nothing from it, until it is so.
    async fn until(&mut self, so: impl Fn(&Link) -> bool) {
        let until = async {
            while !so(&self.link) {
                let now = Timestamp::ZERO + self.started.elapsed();
                let polled = poll_fn(|cx| {
                    let _ = self.link.poll(cx, now);
                    Poll::<()>::Pending
                });
                let _ = timeout(Duration::from_millis(10), polled).await;
            }
        };
        timeout(PATIENCE, until).await.unwrap();
    }

    fn publish(&mut self, channel: &str, payload: impl Into<Bytes>) {
        self.link.publish(channel.into(), payload.into());
    }

    fn subscribe(&mut self, channel: &str) {
        self.link.subscribe(channel.into());
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn message(channel: &str, payload: &str) -> LinkEvent {
    LinkEvent::Message { channel: channel.into(), payload: payload.into() }
}

/// R-C4: what is published behind a subscription arrives, in order, also across batches.
#[test]
fn subscriptions_and_messages_are_in_order() {
    let Some(redis) = Redis::start() else { return };
    run(async {
        let mut link = Driven::new(&redis, |_| {});
        link.subscribe("early");
        assert_eq!(link.next().await, LinkEvent::Up);
        for n in 0..3000 {
            link.publish("early", format!("before {n}"));
            link.publish(&format!("channel {n}"), "nobody hears this");
            link.subscribe(&format!("channel {n}"));
            link.publish(&format!("channel {n}"), "hello");
        }
        for n in 0..3000 {
            assert_eq!(link.next().await, message("early", &format!("before {n}")));
            assert_eq!(link.next().await, message(&format!("channel {n}"), "hello"));
        }
        link.link.unsubscribe("channel 7".into());
        link.publish("channel 7", "nobody hears this");
        link.publish("early", "last");
        assert_eq!(link.next().await, message("early", "last"));
    });
}

/// R-S4: after a connection was cut, everything that is wanted is subscribed to again, before the
/// bus is up; nothing that was published meanwhile is sent later.
#[test]
fn a_cut_connection() {
    let Some(redis) = Redis::start() else { return };
    run(async {
        let mut link = Driven::new(&redis, |_| {});
        for n in 0..2500 {
            link.subscribe(&format!("channel {n}"));
        }
        assert_eq!(link.next().await, LinkEvent::Up);
        link.link.unsubscribe("channel 0".into());
        redis.ask::<()>("CLIENT KILL TYPE pubsub");
        assert_eq!(link.next().await, LinkEvent::Down);
        link.publish("channel 1", "nobody hears this");
        link.subscribe("late");
        assert_eq!(link.next().await, LinkEvent::Up);
        for channel in ["channel 0", "channel 1", "channel 2499", "late"] {
            link.publish(channel, "hello");
        }
        for channel in ["channel 1", "channel 2499", "late"] {
            assert_eq!(link.next().await, message(channel, "hello"));
        }
    });
}

/// R-S4: towards a Redis that takes nothing there is a bounded queue: past it the connection is
/// dropped.
#[test]
fn the_queue_is_bounded() {
    let Some(redis) = Redis::start() else { return };
    run(async {
        let mut link = Driven::new(&redis, |config| {
            config.outbound_limit = 1_000_000;
            // It is not for a lack of answers.
            config.response_timeout = PATIENCE * 2;
        });
        assert_eq!(link.next().await, LinkEvent::Up);
        redis.signal("STOP");
        let payload = Bytes::from(vec![b'x'; 10_000]);
        for _ in 0..1000 {
            link.publish("channel", payload.clone());
        }
        assert_eq!((link.link.queue.len(), link.link.queued), (0, 0));
        assert_eq!(link.next().await, LinkEvent::Down);
        redis.signal("CONT");
        assert_eq!(link.next().await, LinkEvent::Up);
    });
}

/// R-S4: what Redis has taken is told in bytes of payloads; what is lost with a connection is not
/// among it, nor what is published before the server knows that it is lost.
#[test]
fn what_is_taken_is_counted() {
    let Some(redis) = Redis::start() else { return };
    run(async {
        let mut link = Driven::new(&redis, |_| {});
        link.subscribe("channel");
        assert_eq!(link.next().await, LinkEvent::Up);
        assert_eq!(link.taken, 0);
        for _ in 0..3000 {
            link.publish("channel", "0123456789");
            link.publish("nobody hears this", "x");
        }
        while link.taken < 33_000 {
            if let LinkEvent::Taken(bytes) = link.next_of_all().await {
                link.taken += bytes;
            }
        }
        assert_eq!(link.taken, 33_000);
        redis.ask::<()>("CLIENT KILL TYPE pubsub");
        // It is lost and made again, and the server has not looked.
        link.until(|link| link.unheard_losses > 0 && link.is_up()).await;
        link.publish("channel", "lost");
        while link.next().await != LinkEvent::Down {}
        assert_eq!(link.next().await, LinkEvent::Up);
        link.publish("channel", "heard");
        assert_eq!(link.next().await, message("channel", "heard"));
        while link.taken < 33_005 {
            if let LinkEvent::Taken(bytes) = link.next_of_all().await {
                link.taken += bytes;
            }
        }
        assert_eq!(link.taken, 33_005);
    });
}

/// R-S4: look-ups that wait when Redis goes are answered: it cannot be told.
#[test]
fn look_ups_end() {
    let Some(redis) = Redis::start() else { return };
    run(async {
        let mut link = Driven::new(&redis, |config| {
            config.response_timeout = Duration::from_millis(200);
        });
        assert_eq!(link.next().await, LinkEvent::Up);
        redis.signal("STOP");
        let token = || symple_proto::Token::new("t").unwrap();
        let conn = symple_engine::server::ConnId::new(1, 1);
        for _ in 0..100 {
            link.link.look_up(Lookup::Check { conn, token: token() });
        }
        assert_eq!(link.next().await, LinkEvent::Down);
        redis.signal("CONT");
        assert_eq!(link.next().await, LinkEvent::Up);
        link.link.look_up(Lookup::Check { conn, token: token() });
        assert_eq!(link.next().await, LinkEvent::SessionChecked(conn, token(), false));
    });
}

/// Where several runtimes are compiled in, the one is taken that is there: none of tokio here.
#[cfg(feature = "smol")]
#[test]
fn outside_of_tokio() {
    struct Unpark(std::thread::Thread);

    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let Some(redis) = Redis::start() else { return };
    let mut link = Driven::new(&redis, |_| {});
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut next = || {
        while link.started.elapsed() < PATIENCE {
            link.link.poll(&Context::from_waker(&waker), Timestamp::ZERO + link.started.elapsed());
            if let Some(event) = link.link.next_event() {
                return event;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        panic!("nothing happens");
    };
    assert_eq!(next(), LinkEvent::Up);
    redis.ask::<()>("CLIENT KILL TYPE pubsub");
    assert_eq!(next(), LinkEvent::Down);
    assert_eq!(next(), LinkEvent::Up);
}

/// R-S4: a server that cannot take what is published does not hoard it: the inbox has a limit.
#[test]
fn what_the_server_does_not_take_is_bounded() {
    let Some(redis) = Redis::start() else { return };
    run(async {
        let mut link = Driven::new(&redis, |config| config.inbound_limit = 64 * 1024);
        link.subscribe("flood");
        assert_eq!(link.next().await, LinkEvent::Up);
        for _ in 0..1000 {
            link.publish("flood", "x".repeat(1024));
        }
        link.until(|link| !link.is_up()).await;
        let mut messages = 0;
        while link.next().await != LinkEvent::Down {
            messages += 1;
        }
        assert!(messages <= 256, "{messages} messages");
        assert_eq!(link.next().await, LinkEvent::Up);
    });
}

/// R-S4: a server that has become a replica still takes what is published, and others do not hear
/// it.
#[test]
fn a_demoted_master_is_left() {
    let Some(master) = Redis::start() else { return };
    let Some(other) = Redis::start() else { return };
    let sentinel = Redis::sentinel_of(&master);
    // What the README gives to a user is enough.
    let rights = "on >pw ~symple:* &symple:* -@all +@read +@write +@pubsub +@connection";
    let _: () = master.ask(&format!("ACL SETUSER symple {rights}"));
    run(async {
        let url = sentinel.url().replace("redis://", "redis+sentinel://symple:pw@");
        let mut link = Driven::at(&format!("{url}/main"), |_| {});
        assert_eq!(link.next().await, LinkEvent::Up);
        let port = other.url().rsplit_once(':').unwrap().1.to_owned();
        let _: () = master.ask(&format!("REPLICAOF 127.0.0.1 {port}"));
        assert_eq!(link.next().await, LinkEvent::Down);
        link.until(|link| {
            link.failure().is_some_and(|error| error.to_string().contains("not the master"))
        })
        .await;
        let _: () = master.ask("REPLICAOF NO ONE");
        assert_eq!(link.next().await, LinkEvent::Up);
    });
}

/// R-S4: a server whose messages do not come any more is left, and is not up before they do.
#[test]
fn what_does_not_come_back() {
    let delivers = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&delivers);
    let url = fake::answering(move |words| match &*words[0] {
        "HELLO" => fake::HELLO.into(),
        "PUBLISH" if delivers.load(Ordering::SeqCst) => {
            format!("{}:1\r\n", fake::message(&words[1], &words[2]))
        }
        // It comes, and is another one.
        "PUBLISH" => format!("{}:1\r\n", fake::message(&words[1], "1")),
        _ => "-ERR unknown command\r\n".into(),
    });
    run(async {
        let mut link =
            Driven::at(&url, |config| config.response_timeout = Duration::from_millis(200));
        assert_eq!(link.next().await, LinkEvent::Up);
        for _ in 0..2 {
            link.until(|link| link.checks >= 5).await;
            assert!(link.link.is_ready());
            switch.store(false, Ordering::SeqCst);
            assert_eq!(link.next().await, LinkEvent::Down);
            let says = |link: &Link| {
                let failure = link.failure().map(ToString::to_string).unwrap_or_default();
                failure.contains("does not come back")
            };
            assert!(says(&link.link));
            // Nor is it up again.
            let failures = link.link.failures;
            link.until(|link| link.failures > failures + 1).await;
            assert!(says(&link.link) && link.link.events.is_empty());
            switch.store(true, Ordering::SeqCst);
            assert_eq!(link.next().await, LinkEvent::Up);
        }
    });
}

/// R-S4: a server that does not take what is published for a while is not taken for a Redis that
/// is silent.
#[test]
fn checks_wait_behind_nothing() {
    let Some(redis) = Redis::start() else { return };
    run(async {
        let mut link = Driven::new(&redis, |_| {});
        link.subscribe("flood");
        assert_eq!(link.next().await, LinkEvent::Up);
        for n in 0..5000 {
            link.publish("flood", format!("{n}"));
        }
        let checks = link.link.checks;
        link.until(|link| link.checks > checks + 10).await;
        for n in 0..5000 {
            assert_eq!(link.next().await, message("flood", &format!("{n}")));
        }
    });
}

/// R-S4: sessions that cannot be read are no reason to leave the bus, but not to be ready either;
/// a look-up that fails is enough.
#[test]
fn sessions_that_cannot_be_read() {
    let Some(redis) = Redis::start() else { return };
    run(async {
        // It is not the check that finds it.
        let mut link = Driven::new(&redis, |config| config.ping_interval = PATIENCE * 2);
        link.link.use_sessions(SessionUse { read: true, ttl: None });
        assert_eq!(link.next().await, LinkEvent::Up);
        assert!(link.link.is_ready());
        let _: () = redis.ask("ACL SETUSER default resetkeys");
        let conn = symple_engine::server::ConnId::new(1, 1);
        let token = symple_proto::Token::new("t").unwrap();
        link.link.look_up(Lookup::Check { conn, token });
        link.until(|link| !link.is_ready()).await;
        assert!(link.link.is_up() && link.link.events.is_empty());
    });
}

/// R-S4: a node of a Redis Cluster has some sessions and not others: it is no Redis to be ready
/// with, whichever was asked for last.
#[test]
fn sessions_that_are_elsewhere() {
    let url = fake::answering(move |words| match &*words[0] {
        "HELLO" => fake::HELLO.into(),
        "PUBLISH" => format!("{}:1\r\n", fake::message(&words[1], &words[2])),
        "EXISTS" if words[1].ends_with(":t") => "-MOVED 1 127.0.0.1:1\r\n".into(),
        "GETRANGE" => "$0\r\n\r\n".into(),
        _ => ":0\r\n".into(),
    });
    run(async {
        let mut link = Driven::at(&url, |_| {});
        link.link.use_sessions(SessionUse { read: true, ttl: Some(Duration::from_secs(60)) });
        assert_eq!(link.next().await, LinkEvent::Up);
        assert!(link.link.is_ready());
        let conn = symple_engine::server::ConnId::new(1, 1);
        let token = symple_proto::Token::new("t").unwrap();
        link.link.look_up(Lookup::Check { conn, token });
        link.until(|link| !link.is_ready()).await;
        let checks = link.link.checks;
        link.until(|link| link.checks > checks + 3).await;
        assert!(link.link.is_up() && !link.link.is_ready());
        assert!(link.link.failure().unwrap().to_string().contains("Redis Cluster"));
    });
}

/// R-S4: a slot of a Redis Cluster that moves to another server is followed there.
#[test]
fn a_slot_that_moves() {
    let is_moved = Arc::new(AtomicBool::new(false));
    let healthy = |words: &[String]| match &*words[0] {
        "HELLO" => fake::HELLO.into(),
        "PUBLISH" => format!("{}:1\r\n", fake::message(&words[1], &words[2])),
        "GETRANGE" => "$0\r\n\r\n".into(),
        _ => ":0\r\n".to_owned(),
    };
    let new = fake::answering(move |words| healthy(words));
    let port = new.rsplit_once(':').unwrap().1.to_owned();
    let flag = Arc::clone(&is_moved);
    let old = fake::answering(move |words| match &*words[0] {
        // No host is that of whoever says so.
        "EXISTS" if flag.load(Ordering::Relaxed) => format!("-MOVED 1 :{port}\r\n"),
        _ => healthy(words),
    });
    run(async {
        let url = old.replace("redis://", "redis-cluster://");
        // Also where nobody reads sessions.
        for read in [true, false] {
            is_moved.store(false, Ordering::Relaxed);
            let mut link = Driven::at(&url, |config| config.prefix = "{symple}:".into());
            link.link.use_sessions(SessionUse { read, ttl: None });
            assert_eq!(link.next().await, LinkEvent::Up);
            is_moved.store(true, Ordering::Relaxed);
            assert_eq!(link.next().await, LinkEvent::Down);
            assert_eq!(link.next().await, LinkEvent::Up);
            assert!(link.link.is_ready());
        }
    });
}

/// R-H3, R-S4: everyone who asked before a slot was moved is answered, the claims of which nothing
/// is known among them: so they are made again.
#[test]
fn claims_when_a_slot_moves() {
    let url = fake::answering(move |words| match &*words[0] {
        "HELLO" => fake::HELLO.into(),
        "PUBLISH" => format!("{}:1\r\n", fake::message(&words[1], &words[2])),
        "EXISTS" => ":0\r\n".into(),
        _ => "-MOVED 1 127.0.0.1:1\r\n".into(),
    });
    run(async {
        let url = url.replace("redis://", "redis-cluster://");
        let mut link = Driven::at(&url, |config| config.prefix = "{symple}:".into());
        assert_eq!(link.next().await, LinkEvent::Up);
        let request = RequestId::default();
        for node in ["a", "b", "c"] {
            link.link.look_up(Lookup::Claim { request, key: "dead".into(), node: node.into() });
        }
        for _ in 0..3 {
            assert_eq!(link.next().await, LinkEvent::Claimed(request, None));
        }
        assert_eq!(link.next().await, LinkEvent::Down);
    });
}

/// R-S1, R-S4: servers of a Redis Cluster that send one another round and round are left, and
/// a prefix of many slots is refused.
#[test]
fn a_slot_that_nobody_has() {
    let own = Arc::new(std::sync::OnceLock::<String>::new());
    let port = Arc::clone(&own);
    let url = fake::answering(move |words| match &*words[0] {
        "HELLO" => fake::HELLO.into(),
        _ => format!("-MOVED 1 127.0.0.1:{}\r\n", port.get().unwrap()),
    });
    own.set(url.rsplit_once(':').unwrap().1.to_owned()).unwrap();
    run(async {
        for (prefix, said) in [("{symple}:", "do not agree"), ("symple:", "a hash tag")] {
            let url = url.replace("redis://", "redis-cluster://");
            let mut link = Driven::at(&url, |config| config.prefix = prefix.into());
            link.until(|link| link.failure().is_some()).await;
            assert!(link.link.failure().unwrap().to_string().contains(said), "{prefix}");
        }
    });
}

/// R-S4: a Redis that comes and goes is tried again ever more seldom, and is not in the log at
/// every turn.
#[test]
fn one_that_comes_and_goes() {
    let greetings = std::sync::atomic::AtomicUsize::new(0);
    let url = fake::answering(move |words| match &*words[0] {
        // To whoever connects, for the first check, and for the second one, which ends it.
        "HELLO" if greetings.fetch_add(1, Ordering::SeqCst) % 3 == 2 => {
            fake::HELLO.replace("master", "replica")
        }
        "HELLO" => fake::HELLO.into(),
        _ => format!("{}:1\r\n", fake::message(&words[1], &words[2])),
    });
    run(async {
        let mut link = Driven::at(&url, |_| {});
        for turn in 1..=4 {
            assert_eq!(link.next().await, LinkEvent::Up);
            assert_eq!(link.next().await, LinkEvent::Down);
            assert_eq!(link.link.failures, turn);
        }
        let State::Waiting { until } = link.link.state else { panic!() };
        assert!(until >= link.link.now + FIRST_BACKOFF * 4);
    });
}
