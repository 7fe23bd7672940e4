//! What a link does while it is connected.

use std::task::{Context, Poll};

use ::redis::{Pipeline, Value};

use super::{
    super::{
        RedisError,
        inbox::Condition,
        ops::{BusOp, LinkEvent, Lookup},
    },
    Batch, Connected, Link, State,
};

/// How many operations on the bus are sent at once. What comes meanwhile makes the next batch.
const BATCH: usize = 1024;
/// How many look-ups are sent at once; each may be answered with the largest session.
const LOOKUPS: usize = 64;
/// How many messages the server is given before others have their turn.
const MESSAGES: usize = 256;

impl Link {
    /// Hears what Redis has to say, and sends what waits.
    pub(super) fn serve(&mut self, cx: &mut Context<'_>) -> Result<(), RedisError> {
        loop {
            let busy = self.poll_bus(cx)?;
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
        let Some(batch) = &mut connected.bus else { return Ok(false) };
        let answers = match batch.answer.as_mut().poll(cx) {
            Poll::Ready(answers) => answers,
            Poll::Pending if batch.until <= self.now => {
                return Err(RedisError::timeout(&self.address));
            }
            Poll::Pending => return Ok(true),
        };
        let answers = answers.map_err(|error| RedisError::new(&self.address, &error))?;
        connected.heard = self.now;
        let what = connected.bus.take().map(|batch| batch.what).unwrap_or_default();
        for (op, answer) in what.iter().zip(answers) {
            // A replica takes what is published, and tells nobody but its own clients.
            if let (BusOp::Role, Value::Array(role)) = (op, &answer)
                && role.first() != Some(&Value::BulkString(b"master".into()))
            {
                return Err(RedisError::demoted(&self.address));
            }
            let Value::ServerError(error) = answer else { continue };
            let error = RedisError::new(&self.address, &error.into());
            match op {
                // Without it nobody here would be reached.
                BusOp::Subscribe(_) => return Err(error),
                _ => self.warnings.warn(self.now, "messages are not published", &error),
            }
        }
        if !connected.up && connected.resubscribe.is_empty() {
            connected.up = true;
            self.been_up = true;
            if self.failures > 0 {
                tracing::info!(address = self.address, "Redis is back");
            }
            (self.failures, self.failure) = (0, None);
            self.events.push_back(LinkEvent::Up);
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
        while what.len() < BATCH
            && let Some(op) = self.queue.pop_front()
        {
            self.queued -= op.size();
            what.push(op);
        }
        let silent = connected.heard + self.config.ping_interval <= self.now;
        // A connection is up when Redis has answered something.
        if what.is_empty() && (silent || !connected.up) {
            what.push(BusOp::Ping);
        }
        if connected.ask_role.is_some_and(|at| at <= self.now) {
            what.push(BusOp::Role);
            connected.ask_role = Some(self.now + self.config.ping_interval);
        }
        if what.is_empty() {
            return false;
        }
        let mut pipeline = Pipeline::with_capacity(what.len());
        for op in &what {
            op.push_to(&mut pipeline, &self.config.prefix);
        }
        let until = self.now + self.config.response_timeout;
        let connection = connected.connection.clone();
        connected.bus = Some(Batch::new(what, pipeline, connection, until));
        true
    }

    fn poll_lookups(&mut self, cx: &mut Context<'_>) -> Result<(), RedisError> {
        let State::Connected(connected) = &mut self.state else { return Ok(()) };
        loop {
            if let Some(batch) = &mut connected.lookups {
                let answers = match batch.answer.as_mut().poll(cx) {
                    Poll::Ready(answers) => answers,
                    Poll::Pending if batch.until <= self.now => {
                        return Err(RedisError::timeout(&self.address));
                    }
                    Poll::Pending => return Ok(()),
                };
                let answers = answers.map_err(|error| RedisError::new(&self.address, &error))?;
                connected.heard = self.now;
                let asked = connected.lookups.take().map(|batch| batch.what).unwrap_or_default();
                let mut answers = answers.into_iter();
                let mut problem = None;
                let answered = |lookup: Lookup| lookup.answered(&mut answers, &mut problem);
                self.events.extend(asked.into_iter().filter_map(answered));
                if let Some(problem) = problem {
                    let error = RedisError::new(&self.address, &problem.into());
                    self.warnings.warn(self.now, "sessions cannot be looked up", &error);
                }
            }
            let count = self.lookups.len().min(LOOKUPS);
            if count == 0 {
                return Ok(());
            }
            let what: Vec<_> = self.lookups.drain(..count).collect();
            let mut pipeline = Pipeline::with_capacity(count);
            for lookup in &what {
                lookup.push_to(&mut pipeline, &self.config);
            }
            let until = self.now + self.config.response_timeout;
            let connection = connected.connection.clone();
            connected.lookups = Some(Batch::new(what, pipeline, connection, until));
        }
    }

    fn take_messages(&mut self) -> Result<(), RedisError> {
        let State::Connected(Connected { inbox, up, .. }) = &self.state else { return Ok(()) };
        // What came before the bus is up is told after that. The server takes what it can; what it
        // cannot waits in the inbox, which has a limit.
        for _ in self.events.len()..if *up { MESSAGES } else { 0 } {
            let Some(message) = inbox.pop() else { break };
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
                self.behind = *up && !inbox.is_empty();
                return Ok(());
            }
            Condition::Closed if *up && !inbox.is_empty() => {
                self.behind = true;
                return Ok(());
            }
            Condition::Closed => "the connection is closed",
            Condition::Full => "more is published than this server can take",
        };
        Err(RedisError::Unreachable { address: self.address.clone(), reason: reason.into() })
    }
}
