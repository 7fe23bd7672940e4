//! Acts the clients' part of a transcript, and holds what comes back against what is expected.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use crate::{
    align::{Pair, align, is_of_kind},
    compare::Bindings,
    deviation::{Expectation, Step},
    transcript::{Event, Frame, Transcript},
    world::{Seen, World, slowest_answer},
};

/// Something that is not as expected.
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
    /// What was not as expected so far.
    failures: Vec<Failure>,
    /// Something has not come: the rest is not waited for as long.
    gave_up: bool,
}

/// How long anything is waited for, beyond the time that was recorded, when something has been
/// amiss already.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// Replays a transcript, to its end whatever happens.
///
/// # Errors
/// All differences, in the order of the transcript.
pub(crate) async fn replay(
    transcript: &Transcript,
    expectation: &Expectation,
    world: &mut World,
    patience: Duration,
) -> Result<(), Vec<Failure>> {
    let mut replay = Replay {
        world,
        bindings: Bindings::of_steps(transcript, &expectation.steps),
        queues: BTreeMap::new(),
        patience,
        extra: Duration::ZERO,
        failures: Vec::new(),
        gave_up: false,
    };
    let mut last = 0;
    for step in &expectation.steps {
        last = step.seq;
        replay.step(step).await;
    }
    let late = slowest_answer(&transcript.header);
    if late > Duration::ZERO {
        replay.barrier(last, late + Duration::from_millis(150)).await;
    }
    replay.barrier(last, Duration::from_millis(150)).await;
    let mut failures = replay.failures;
    failures.sort_by_key(|failure| failure.seq);
    if failures.is_empty() { Ok(()) } else { Err(failures) }
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
    async fn step(&mut self, Step { seq, event, possible }: &Step) {
        let seq = *seq;
        if event.is_of_server() {
            let conn = event.conn().unwrap_or_default();
            let queue = self.queues.entry(conn.into()).or_default();
            queue.expected.push_back((seq, event.clone()));
            return self.match_queue(conn);
        }
        // A client acts when it has seen what came before.
        if let Some(conn) = event.conn() {
            self.expect_all(conn).await;
            if !possible {
                return self.expect_closed(seq, conn, event);
            }
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
        if let Err(seen) = done {
            self.fail(seq, &describe(event), seen);
        }
    }

    fn fail(&mut self, seq: usize, expected: &str, seen: String) {
        let expected = self.bindings.resolve(expected);
        self.failures.push(Failure { seq, expected, seen });
    }

    /// A client cannot act any more.
    fn expect_closed(&mut self, seq: usize, conn: &str, event: &Event) {
        if self.world.is_open(conn) {
            let expected = format!("the connection is closed, so not: {}", describe(event));
            self.fail(seq, &expected, format!("the connection of {conn} is open"));
        }
    }

    /// Waits until as much has come as is expected on a connection.
    async fn expect_all(&mut self, conn: &str) {
        let mut patience = self.patience;
        while let Some(queue) = self.queues.get(conn)
            && queue.early.len() < queue.expected.len()
        {
            if self.gave_up || !queue.early.is_empty() {
                patience = patience.min(IMPATIENCE);
            }
            let patience = patience + std::mem::take(&mut self.extra);
            let Some(seen) = self.world.next(patience).await else {
                self.gave_up = true;
                return;
            };
            self.take(seen);
        }
    }

    fn take(&mut self, seen: Seen) {
        let conn = seen.conn().unwrap_or_default().to_owned();
        self.queues.entry(conn.clone()).or_default().early.push_back(seen);
        self.match_queue(&conn);
    }

    /// Holds what has come against what is expected, as far as there is both, up to something that
    /// does not stand in the place of the other.
    fn match_queue(&mut self, conn: &str) {
        let Self { bindings, queues, failures, .. } = self;
        let Some(queue) = queues.get_mut(conn) else { return };
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
                if !is_of_kind(expected, seen, bindings) {
                    return;
                }
                bindings.learn(expected, seen);
                let expected = bindings.resolve(&describe(expected));
                failures.push(Failure { seq: *seq, expected, seen: describe_seen(seen) });
            }
            queue.expected.pop_front();
            queue.early.pop_front();
        }
    }

    /// Everything that is expected has come, and nothing else; otherwise tells all differences, and
    /// goes on as if there were none.
    async fn barrier(&mut self, seq: usize, quiet: Duration) {
        let names: Vec<_> = self.queues.keys().cloned().collect();
        for name in names {
            self.expect_all(&name).await;
        }
        self.world.settle(quiet).await;
        while let Some(seen) = self.world.next(Duration::ZERO).await {
            self.take(seen);
        }
        for queue in std::mem::take(&mut self.queues).into_values() {
            self.compare(seq, queue);
        }
    }

    fn compare(&mut self, seq: usize, queue: Queue) {
        let (places, expected): (Vec<_>, Vec<_>) = queue.expected.into_iter().unzip();
        let seen: Vec<_> = queue.early.into();
        for pair in align(&expected, &seen, &mut self.bindings) {
            let nothing = || match self.gave_up {
                true => format!("nothing within {} s", self.patience.as_secs()),
                false => "nothing".into(),
            };
            match pair {
                Pair::Same(..) => {}
                Pair::Changed(row, column) => {
                    self.fail(places[row], &describe(&expected[row]), describe_seen(&seen[column]));
                }
                Pair::Missing(row) => {
                    let seen = nothing();
                    self.fail(places[row], &describe(&expected[row]), seen);
                }
                Pair::More(column) => {
                    self.fail(seq, "nothing more", describe_seen(&seen[column]));
                }
            }
        }
    }
}
