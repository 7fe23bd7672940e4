//! Acts the clients' part of a transcript, and holds what comes back against what is expected.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use crate::{
    compare::Bindings,
    deviation::Expectation,
    transcript::{Event, Frame, Transcript},
    world::{Seen, World, slowest_answer},
};

/// The first thing that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The event of the transcript that it is about; 0 for the start.
    pub seq: usize,
    /// What was expected.
    pub expected: String,
    /// What was seen instead.
    pub seen: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at event {}\n    expected  {}\n    seen      {}",
            self.seq, self.expected, self.seen
        )
    }
}

/// What is expected of a connection, or of the process.
#[derive(Debug, Default)]
struct Queue {
    expected: VecDeque<(usize, Event)>,
    /// What came before it was expected.
    early: VecDeque<Seen>,
}

/// A replay that is under way.
struct Replay<'a> {
    world: &'a mut World,
    bindings: Bindings,
    /// By connection; the process has the empty name.
    queues: BTreeMap<String, Queue>,
    /// How long an expected event may take beyond the time that was recorded.
    patience: Duration,
    /// How much longer the next event may take.
    extra: Duration,
}

/// Replays a transcript.
///
/// # Errors
/// The first difference.
pub(crate) async fn replay(
    transcript: &Transcript,
    expectation: &Expectation,
    world: &mut World,
    patience: Duration,
) -> Result<(), Failure> {
    let bindings = Bindings::of(transcript);
    let queues = BTreeMap::new();
    let mut replay = Replay { world, bindings, queues, patience, extra: Duration::ZERO };
    let mut last = 0;
    for (seq, event) in &expectation.steps {
        last = *seq;
        replay.step(*seq, event).await?;
    }
    let late = slowest_answer(&transcript.header);
    if late > Duration::ZERO {
        replay.barrier(last, late + Duration::from_millis(150)).await?;
    }
    replay.barrier(last, Duration::from_millis(150)).await
}

/// What an event is in words.
fn describe(event: &Event) -> String {
    match event {
        Event::Recv(conn, text) => format!("{conn} receives {text}"),
        Event::Pong(conn, data) => format!("{conn} receives a pong of {} bytes", data.len()),
        Event::ServerClose(conn, code) => format!("the server closes {conn} with {code}"),
        Event::ServerExit(code) => format!("the server ends with {code}"),
        Event::Connect(conn, _) => format!("{conn} connects"),
        Event::ConnectFailed(conn) => format!("{conn} cannot connect"),
        Event::Send(conn, Frame::Text(text)) => format!("{conn} sends {text}"),
        Event::Send(conn, Frame::Binary(data) | Frame::BrokenText(data)) => {
            format!("{conn} sends {} bytes", data.len())
        }
        Event::Ping(conn, data) => format!("{conn} sends a ping of {} bytes", data.len()),
        Event::ClientClose(conn, code) => format!("{conn} closes with {code}"),
        Event::RedisPublish(channel, text) => format!("{text} is published on {channel}"),
        Event::ServerShutdown => "the server shuts down".into(),
        Event::ServerKill => "the server is killed".into(),
        Event::ServerStart => "the server starts again".into(),
        Event::Quiet(_) | Event::Wait(_) | Event::Application => "nothing".into(),
    }
}

/// What was seen in words.
fn describe_seen(seen: &Seen) -> String {
    match seen {
        Seen::Text(conn, text) => format!("{conn} receives {text}"),
        Seen::Binary(conn, data) => {
            format!("{conn} receives a binary frame of {} bytes", data.len())
        }
        Seen::Pong(conn, data) => format!("{conn} receives a pong of {} bytes", data.len()),
        Seen::Close(conn, code) => format!("the server closes {conn} with {code}"),
        Seen::Exit(code) => format!("the server ends with {code}"),
    }
}

impl Replay<'_> {
    async fn step(&mut self, seq: usize, event: &Event) -> Result<(), Failure> {
        if event.is_of_server() {
            let conn = event.conn().unwrap_or_default();
            let queue = self.queues.entry(conn.into()).or_default();
            queue.expected.push_back((seq, event.clone()));
            return self.match_queue(conn);
        }
        // A client acts when it has seen what came before.
        if let Some(conn) = event.conn() {
            self.expect_all(conn).await?;
        }
        let done = match event {
            Event::Connect(conn, headers) => self.world.connect(conn, headers).await,
            Event::ConnectFailed(conn) => match self.world.connect(conn, &[]).await {
                Ok(()) => Err("the connection is there".into()),
                Err(_) => Ok(()),
            },
            Event::Send(conn, frame) => {
                let frame = match frame {
                    Frame::Text(text) => Frame::Text(self.bindings.resolve(text)),
                    other => other.clone(),
                };
                self.world.send(conn, frame).await
            }
            Event::Ping(conn, data) => self.world.ping(conn, data.clone()).await,
            Event::ClientClose(conn, code) => self.world.close(conn, *code).await,
            Event::RedisPublish(channel, text) => {
                self.world.publish(channel, &self.bindings.resolve(text)).await
            }
            Event::ServerShutdown => self.world.shut_down().await,
            Event::ServerKill => self.world.kill().await,
            Event::ServerStart => self.world.start().await,
            Event::Quiet(ms) => return self.barrier(seq, Duration::from_millis(*ms)).await,
            Event::Wait(ms) => {
                self.extra = Duration::from_millis(*ms);
                Ok(())
            }
            _ => Ok(()),
        };
        done.map_err(|seen| Failure { seq, expected: describe(event), seen })
    }

    /// Waits until everything has come that is expected on a connection.
    async fn expect_all(&mut self, conn: &str) -> Result<(), Failure> {
        while let Some((seq, event)) =
            self.queues.get(conn).and_then(|queue| queue.expected.front()).cloned()
        {
            let patience = self.patience + std::mem::take(&mut self.extra);
            let Some(seen) = self.world.next(patience).await else {
                let seen = format!("nothing within {} s", patience.as_secs());
                return Err(Failure { seq, expected: self.in_words(&event), seen });
            };
            self.take(seen)?;
        }
        Ok(())
    }

    /// What is expected, with the ids that are known.
    fn in_words(&self, event: &Event) -> String {
        self.bindings.resolve(&describe(event))
    }

    fn take(&mut self, seen: Seen) -> Result<(), Failure> {
        let conn = seen.conn().unwrap_or_default().to_owned();
        self.queues.entry(conn.clone()).or_default().early.push_back(seen);
        self.match_queue(&conn)
    }

    /// Holds what has come against what is expected, as far as there is both.
    fn match_queue(&mut self, conn: &str) -> Result<(), Failure> {
        let Self { bindings, queues, .. } = self;
        let Some(queue) = queues.get_mut(conn) else { return Ok(()) };
        while let (Some((seq, expected)), Some(seen)) =
            (queue.expected.front(), queue.early.front())
        {
            let same = match (expected, seen) {
                (Event::Recv(_, expected), Seen::Text(_, seen)) => bindings.accept(expected, seen),
                (Event::Pong(_, expected), Seen::Pong(_, seen)) => expected == seen,
                (Event::ServerClose(_, expected), Seen::Close(_, seen)) => expected == seen,
                (Event::ServerExit(expected), Seen::Exit(seen)) => expected == seen,
                _ => false,
            };
            if !same {
                let expected = bindings.resolve(&describe(expected));
                return Err(Failure { seq: *seq, expected, seen: describe_seen(seen) });
            }
            queue.expected.pop_front();
            queue.early.pop_front();
        }
        Ok(())
    }

    /// Everything that is expected has come, and nothing else.
    async fn barrier(&mut self, seq: usize, quiet: Duration) -> Result<(), Failure> {
        let names: Vec<_> = self.queues.keys().cloned().collect();
        for name in names {
            self.expect_all(&name).await?;
        }
        self.world.settle(quiet).await;
        while let Some(seen) = self.world.next(Duration::ZERO).await {
            self.take(seen)?;
        }
        let unexpected = self.queues.values().find_map(|queue| queue.early.front());
        match unexpected {
            Some(seen) => {
                let expected = "nothing more".into();
                Err(Failure { seq, expected, seen: describe_seen(seen) })
            }
            None => Ok(()),
        }
    }
}
