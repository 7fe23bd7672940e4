//! What a link does while it is connected.

use std::task::{Context, Poll};

use ::redis::{Pipeline, Value};

use super::{
    super::{
        RedisError,
        inbox::Condition,
        ops::{BusOp, LinkEvent, Lookup},
    },
    Batch, Deadline, Link, State,
};

/// How many operations on the bus are sent at once. What comes meanwhile makes the next batch.
const BATCH: usize = 1024;
/// And how many bytes: look-ups and checks wait behind no more than that. A batch takes the time of
/// an answer, so over a link that takes 1 ms this is 256 MB/s.
const BATCH_BYTES: usize = 256 * 1024;
/// How many look-ups are sent at once; each may be answered with the largest session.
const LOOKUPS: usize = 64;
/// How many messages the server is given before others have their turn, and how many bytes; one is
/// given whatever its size.
const MESSAGES: usize = 256;
const MESSAGE_BYTES: usize = 512 * 1024;

impl Link {
    /// Hears what Redis has to say, and sends what waits.
    pub(super) fn serve(&mut self, cx: &mut Context<'_>) -> Result<(), RedisError> {
        loop {
            let busy = self.poll_bus(cx)?;
            self.poll_check(cx)?;
            self.poll_lookups(cx)?;
            self.take_messages()?;
            if busy || !self.start_bus() {
                return Ok(());
            }
        }
    }

    /// True if a batch is on its way.
    fn poll_bus(&mut self, cx: &mut Context<'_>) -> Result<bool, RedisError> {
        let State::Connected(connected) = &mut self.state else { return Ok(true) };
        let Some((batch, deadline)) = &mut connected.bus else { return Ok(false) };
        let answers = match batch.answer.as_mut().poll(cx) {
            Poll::Ready(answers) => answers,
            Poll::Pending if deadline.is_over(self.now, connected.inbox.heard()) => {
                return Err(RedisError::timeout(&self.address));
            }
            Poll::Pending => return Ok(true),
        };
        let answers = answers.map_err(|error| RedisError::new(&self.address, &error))?;
        self.round_trips.bus.add(batch.sent.elapsed());
        let what = connected.bus.take().map(|(batch, _)| batch.what).unwrap_or_default();
        // What the socket has taken may wait in it for long, and in Redis's own buffer; what is
        // answered to has been handed to all who hear it. Refused or not, it waits no more.
        let taken: usize = what.iter().map(BusOp::payload_size).sum();
        if taken > 0 && connected.up {
            self.events.push_back(LinkEvent::Taken(taken as u64));
        }
        for (op, answer) in what.iter().zip(answers) {
            let Value::ServerError(error) = answer else { continue };
            let below = &self.config.prefix;
            match op {
                // Without it nobody here would be reached.
                BusOp::Subscribe(_) => {
                    let what = format!("subscribing to channels below {below}");
                    return Err(RedisError::of(&self.address, &what, error));
                }
                BusOp::Unsubscribe(_) | BusOp::Publish { .. } => {
                    let error = RedisError::new(&self.address, &error.into());
                    self.warnings.warn(self.now, "messages are not published", &error);
                }
            }
        }
        Ok(false)
    }

    /// Sends what waits for the bus. True if there is something to be polled.
    fn start_bus(&mut self) -> bool {
        let State::Connected(connected) = &mut self.state else { return false };
        let mut what: Vec<BusOp> = Vec::new();
        while what.len() < BATCH
            && let Some(channel) = connected.resubscribe.pop()
        {
            what.push(BusOp::Subscribe(channel));
        }
        let mut bytes = 0;
        while what.len() < BATCH
            && bytes < BATCH_BYTES
            && let Some(op) = self.queue.pop_front()
        {
            bytes += op.size();
            self.queued -= op.size();
            what.push(op);
        }
        if what.is_empty() {
            return false;
        }
        let mut pipeline = Pipeline::with_capacity(what.len());
        for op in &what {
            op.push_to(&mut pipeline, &self.config.prefix);
        }
        let heard = connected.inbox.heard();
        let deadline = Deadline::new(self.now, self.config.response_timeout, heard);
        let batch = Batch::new(what, pipeline, connected.connection.clone());
        connected.bus = Some((batch, deadline));
        true
    }

    fn poll_lookups(&mut self, cx: &mut Context<'_>) -> Result<(), RedisError> {
        loop {
            let State::Connected(connected) = &mut self.state else { return Ok(()) };
            if let Some((batch, deadline)) = &mut connected.lookups {
                let answers = match batch.answer.as_mut().poll(cx) {
                    Poll::Ready(answers) => answers,
                    Poll::Pending if deadline.is_over(self.now, connected.inbox.heard()) => {
                        return Err(RedisError::timeout(&self.address));
                    }
                    Poll::Pending => return Ok(()),
                };
                let answers = answers.map_err(|error| RedisError::new(&self.address, &error))?;
                self.round_trips.lookups.add(batch.sent.elapsed());
                let lookups = connected.lookups.take();
                let asked = lookups.map(|(batch, _)| batch.what).unwrap_or_default();
                self.looked_up(asked, answers)?;
            }
            let State::Connected(connected) = &mut self.state else { return Ok(()) };
            let count = self.lookups.len().min(LOOKUPS);
            if count == 0 {
                return Ok(());
            }
            let what: Vec<_> = self.lookups.drain(..count).collect();
            let mut pipeline = Pipeline::with_capacity(count);
            for lookup in &what {
                lookup.push_to(&mut pipeline, &self.config);
            }
            let heard = connected.inbox.heard();
            let deadline = Deadline::new(self.now, self.config.response_timeout, heard);
            let batch = Batch::new(what, pipeline, connected.connection.clone());
            connected.lookups = Some((batch, deadline));
        }
    }

    /// What the answers to look-ups mean.
    fn looked_up(&mut self, asked: Vec<Lookup>, answers: Vec<Value>) -> Result<(), RedisError> {
        let mut answers = answers.into_iter();
        // Whoever asked is answered, also when the connection is left for one of the answers.
        let mut lost = None;
        for lookup in asked {
            let reads = matches!(lookup, Lookup::Load { .. } | Lookup::Check { .. });
            let failed = match lookup {
                Lookup::Claim { .. } => "the end of a dead node's peers cannot be claimed",
                Lookup::ClaimForHost { .. } => "a call cannot be kept from being repeated",
                _ => "sessions cannot be extended",
            };
            let mut problem = None;
            self.events.extend(lookup.answered(&mut answers, &mut problem));
            let Some(problem) = problem else { continue };
            let is_left = self.is_left_for(problem.code());
            self.moved |= problem.code() == "MOVED" && !is_left;
            let error = RedisError::new(&self.address, &problem.into());
            if is_left {
                lost.get_or_insert(error);
            } else if reads {
                self.sessions_are(Some(error));
            } else {
                self.warnings.warn(self.now, failed, &error);
            }
        }
        lost.map_or(Ok(()), Err)
    }

    fn take_messages(&mut self) -> Result<(), RedisError> {
        let State::Connected(connected) = &self.state else { return Ok(()) };
        let (inbox, up) = (&connected.inbox, connected.up);
        // What came before the bus is up is told after that. The server takes what it can; what it
        // cannot waits in the inbox, which has a limit.
        let mut bytes: usize = self.events.iter().map(LinkEvent::payload_size).sum();
        for _ in self.events.len()..if up { MESSAGES } else { 0 } {
            if bytes >= MESSAGE_BYTES {
                break;
            }
            let Some(message) = inbox.pop() else { break };
            bytes += message.payload.len();
            let channel = String::from_utf8(message.channel).ok();
            let channel =
                channel.as_deref().and_then(|name| name.strip_prefix(&*self.config.prefix));
            if let Some(channel) = channel {
                let payload = message.payload;
                self.events.push_back(LinkEvent::Message { channel: channel.into(), payload });
            }
        }
        let reason = match inbox.condition() {
            Condition::Fine => {
                self.behind = up && !inbox.is_empty();
                return Ok(());
            }
            Condition::Closed if up && !inbox.is_empty() => {
                self.behind = true;
                return Ok(());
            }
            Condition::Closed => "the connection is closed",
            Condition::Full => "more is published than this server can take",
        };
        Err(RedisError::unreachable(&self.address, reason))
    }
}
