//! What `symple chat` and `symple call` share: a client and a console, and what happens at either.

use std::{future::poll_fn, task::Poll};

use futures_util::{
    StreamExt as _,
    future::BoxFuture,
    stream::{FuturesUnordered, Stream as _},
};
use symple_driver::ClientEvents;
use symple_engine::client::Event;
use symple_proto::Address;

use crate::{
    Failure,
    client::{Client, SHOWN, why},
    console::{Console, Input},
    listen::news,
    text::escape,
};

/// How many things may be under way before the next line is read.
const UNDER_WAY: usize = 64;
/// And how many at all: others cause some of them.
const MOST: usize = 4 * UNDER_WAY;

/// What came of something that was asked for: lines to show, or why it was not done.
pub(crate) type Done = Result<Vec<String>, String>;

/// What is to become of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Goes,
    Ends,
}

/// What a program makes of what happens.
pub(crate) trait Program {
    /// What stands before the line that is typed.
    fn prompt(&self) -> String;

    /// The client was told something; what is said of its connection is shown already.
    fn hear(&mut self, talk: &mut Talk, event: &Event);

    /// A line was typed.
    fn obey(&mut self, talk: &mut Talk, line: &str) -> Flow;

    /// True if there is something to wait for when there are no more lines.
    fn is_busy(&self) -> bool {
        false
    }
}

/// A client and a console.
pub(crate) struct Talk {
    pub(crate) client: Client,
    pub(crate) console: Console,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    /// A line has been asked for, and has not come.
    asked: bool,
    /// There will be no more lines.
    ended: bool,
    /// Something was not done.
    failed: bool,
    /// Something was asked for that the server may not have handled.
    sent: bool,
}

/// A text of others as it is shown: one line that does nothing to a terminal.
pub(crate) fn safe(text: &str) -> String {
    escape(text, SHOWN, |_| false)
}

enum Happens {
    Told(Option<Event>),
    Done(Done),
}

impl Talk {
    /// Does something, and shows what came of it. It is begun now, and done when it can be.
    pub(crate) fn begin(&mut self, does: impl Future<Output = Done> + Send + 'static) {
        self.sent = true;
        self.push(does);
    }

    fn push(&mut self, does: impl Future<Output = Done> + Send + 'static) {
        if self.under_way.len() < MOST {
            self.under_way.push(Box::pin(does));
        } else {
            self.fail("too much is under way");
        }
    }

    /// Shows who is there.
    pub(crate) fn who(&mut self) {
        let (client, colours) = (self.client.clone(), self.console.colours());
        self.push(async move {
            let roster = client.roster().await.map_err(|error| error.to_string())?;
            let line = |address: &Address, name: &str| {
                let known = if name == address.user.as_str() { String::new() } else { safe(name) };
                let user = colours.name(&safe(&address.user));
                let id = colours.notice(&safe(&format!("|{}", address.id)));
                format!("  {user}{id} {known}").trim_end().to_owned()
            };
            let mut lines = vec![colours.notice(&format!("{} here beside you", roster.len()))];
            lines.extend(roster.iter().map(|peer| line(peer.address(), peer.name())));
            Ok(lines)
        });
    }

    /// Shows something that nobody says.
    pub(crate) fn notice(&self, text: &str) {
        self.console.show(&self.console.colours().notice(&safe(text)));
    }

    /// Shows why something was not done.
    pub(crate) fn fail(&mut self, problem: &str) {
        self.failed = true;
        self.notice(&format!("! {problem}"));
    }

    /// Runs until there is nothing left to do, or nobody to do it for.
    pub(crate) async fn run(
        client: Client,
        mut events: ClientEvents,
        console: Console,
        mut program: impl Program,
    ) -> Result<(), Failure> {
        let mut talk = Self {
            client,
            console,
            under_way: FuturesUnordered::new(),
            asked: false,
            ended: false,
            failed: false,
            sent: false,
        };
        let mut dropped = 0;
        loop {
            // What is piped in has its turn when the line before is done; a person need not wait.
            let room = if talk.console.is_terminal() { UNDER_WAY } else { 1 };
            if !talk.asked && !talk.ended && talk.under_way.len() < room {
                talk.asked = true;
                talk.console.prompt(program.prompt());
            }
            if talk.ended && talk.under_way.is_empty() && !program.is_busy() {
                return talk.finish(events).await;
            }
            let under_way = &mut talk.under_way;
            let happens = poll_fn(|cx| {
                if let Poll::Ready(event) = std::pin::Pin::new(&mut events).poll_next(cx) {
                    return Poll::Ready(Happens::Told(event));
                }
                match under_way.poll_next_unpin(cx) {
                    Poll::Ready(Some(done)) => Poll::Ready(Happens::Done(done)),
                    Poll::Ready(None) | Poll::Pending => Poll::Pending,
                }
            });
            match talk.console.next_or(happens).await {
                Ok(Input::Line(line)) => {
                    talk.asked = false;
                    if program.obey(&mut talk, &line) == Flow::Ends {
                        return talk.finish(events).await;
                    }
                }
                Ok(Input::Bad(problem)) => {
                    talk.asked = false;
                    talk.fail(&problem);
                }
                // A person who leaves does not wait.
                Ok(Input::End) if talk.console.is_terminal() => return talk.leave().await,
                Ok(Input::End) => talk.ended = true,
                Ok(Input::Stop) => return talk.leave().await,
                Ok(Input::Broken(problem)) => return Err(unwritable(&problem)),
                Err(Happens::Done(Ok(lines))) => {
                    lines.iter().for_each(|line| talk.console.show(line));
                }
                Err(Happens::Done(Err(problem))) => talk.fail(&problem),
                Err(Happens::Told(Some(Event::Closed { end }))) => {
                    return Err(Failure::crash(why(&end)));
                }
                Err(Happens::Told(None)) => return Err(Failure::crash("the client has ended")),
                Err(Happens::Told(Some(event))) => {
                    talk.note(&event);
                    program.hear(&mut talk, &event);
                }
            }
            let now = events.dropped();
            if now > dropped {
                talk.notice(&format!("{} events came too fast and are not shown", now - dropped));
                dropped = now;
            }
        }
    }

    /// Shows what is said of the connection, and remembers what may not have been done.
    fn note(&mut self, event: &Event) {
        if let Some(news) = news(event) {
            self.notice(&news);
        }
        match event {
            Event::Error { .. } | Event::RoomRefused { .. } => self.failed = true,
            // Nobody knows whether the server has handled what was under way to it.
            Event::Disconnected { .. } => self.failed |= self.sent,
            _ => {}
        }
    }

    /// Ends when the server has handled what was asked for; what it cannot do now it never will.
    /// Whoever wants the program to end does not wait for that.
    async fn finish(mut self, mut events: ClientEvents) -> Result<(), Failure> {
        if self.console.is_terminal() {
            return self.leave().await;
        }
        loop {
            match self.console.stop_or(self.under_way.next()).await {
                Ok(Some(Ok(lines))) => lines.iter().for_each(|line| self.console.show(line)),
                Ok(Some(Err(problem))) => self.fail(&problem),
                Ok(None) => break,
                Err(stopped) => return Err(stop(stopped)),
            }
        }
        if self.sent && !self.failed {
            let flushed = self.console.stop_or(self.client.flush()).await.map_err(stop)?;
            flushed.map_err(|error| Failure::crash(safe(&error.to_string())))?;
        }
        let _ = self.console.stop_or(self.client.close()).await.map_err(stop)?;
        // What the server has said of the last of it.
        while let Ok(Some(event)) = self.console.stop_or(events.next()).await {
            if !matches!(event, Event::Closed { .. }) {
                self.note(&event);
            }
        }
        if self.failed { Err(Failure::crash("not everything was done")) } else { Ok(()) }
    }

    /// Says goodbye, and ends.
    async fn leave(self) -> Result<(), Failure> {
        let _ = self.console.stop_or(self.client.close()).await;
        Ok(())
    }
}

/// Why a program ends that had something left to do.
fn stop(input: Input) -> Failure {
    match input {
        Input::Broken(problem) => unwritable(&problem),
        _ => Failure::crash("ended before everything was done"),
    }
}

fn unwritable(problem: &str) -> Failure {
    Failure::crash(format!("cannot write to standard output: {}", safe(problem)))
}
