//! Whether Redis does what it is there for (R-S4).
//!
//! At every interval it is asked what it is, a session is read as one is read for a client, and a
//! number is published that must come back. A server of a Redis Cluster is asked for a key also by
//! who reads no sessions: only so does it say that another one has the slot. One such check is under way at a time. It is sent
//! beside what waits for the bus, and its number is seen before all that waits for the server.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use ::redis::{Pipeline, Value};
use symple_engine::Timestamp;

use super::{
    super::{RedisError, ops::whole_seconds, role},
    Batch, Link, LinkEvent, State,
    deadline::Deadline,
    limits,
};

/// The least time between two checks.
const LEAST: Duration = Duration::from_millis(10);
/// What is said when sessions cannot be read.
pub(super) const NO_SESSIONS: &str = "sessions cannot be looked up";

/// What a server does with sessions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SessionUse {
    /// It reads them.
    pub(crate) read: bool,
    /// It lets them live so long from their last use.
    pub(crate) ttl: Option<Duration>,
}

/// A check that is under way.
pub(super) struct Check {
    /// What must come back.
    number: u64,
    /// The answers to its commands, until they are here.
    batch: Option<Batch<()>>,
    deadline: Deadline,
}

impl Check {
    /// When it must be over.
    pub(super) fn until(&self) -> Timestamp {
        self.deadline.at()
    }
}

impl Link {
    /// Looks after the check that is under way, and begins one when it is time. The bus is up when
    /// the first is over.
    pub(super) fn poll_check(&mut self, cx: &mut Context<'_>) -> Result<(), RedisError> {
        loop {
            let State::Connected(connected) = &mut self.state else { return Ok(()) };
            let Some(check) = &mut connected.check else {
                // All that is wanted is subscribed to before the bus is up.
                let subscribed = connected.resubscribe.is_empty() && connected.bus.is_none();
                if !(connected.up || subscribed) || self.now < connected.next_check {
                    return Ok(());
                }
                self.begin_check();
                continue;
            };
            if let Some(batch) = &mut check.batch
                && let Poll::Ready(answers) = batch.answer.as_mut().poll(cx)
            {
                check.batch = None;
                let answers = answers.map_err(|error| RedisError::new(&self.address, &error))?;
                self.judge(answers)?;
                continue;
            }
            let answered = check.batch.is_none();
            if !answered || connected.inbox.echoed() != Some(check.number) {
                if check.deadline.is_over(self.now, connected.inbox.heard()) {
                    let reason = "what is published there does not come back";
                    return Err(if answered {
                        RedisError::unreachable(&self.address, reason)
                    } else {
                        RedisError::timeout(&self.address)
                    });
                }
                return Ok(());
            }
            connected.check = None;
            if !connected.up {
                connected.up = true;
                connected.up_since = self.now;
                self.been_up = true;
                self.failure = None;
                self.away.is_over(self.now);
                self.events.push_back(LinkEvent::Up);
            }
        }
    }

    fn begin_check(&mut self) {
        let State::Connected(connected) = &mut self.state else { return };
        self.checks += 1;
        let mut pipeline = Pipeline::with_capacity(6);
        pipeline.add_command(role::ask());
        let key = self.config.session_prefix();
        if self.sessions.read || self.has_slot {
            pipeline.cmd("EXISTS").arg(&key);
        }
        if self.sessions.read {
            pipeline.cmd("GETRANGE").arg(&key).arg(0).arg(0);
            if let Some(ttl) = self.sessions.ttl {
                pipeline.cmd("EXPIRE").arg(&key).arg(whole_seconds(ttl));
            }
        }
        let channel = format!("{}{}", self.config.prefix, self.echo);
        pipeline.cmd("PUBLISH").arg(channel).arg(self.checks);
        if !self.limits_asked {
            pipeline.add_command(limits::ask());
        }
        let heard = connected.inbox.heard();
        let deadline = Deadline::new(self.now, self.config.response_timeout, heard);
        let batch = Batch::new(Vec::new(), pipeline, connected.connection.clone());
        connected.check = Some(Check { number: self.checks, batch: Some(batch), deadline });
        connected.next_check = self.now + self.config.ping_interval.max(LEAST);
    }

    /// What the answers of a check mean.
    fn judge(&mut self, mut answers: Vec<Value>) -> Result<(), RedisError> {
        // Who may not ask does not learn it.
        if !std::mem::replace(&mut self.limits_asked, true)
            && let Some(problem) = answers.pop().as_ref().and_then(limits::problem)
        {
            tracing::warn!("{problem}");
        }
        let published = answers.pop();
        let mut answers = answers.into_iter();
        let role = answers.next().unwrap_or(Value::Nil);
        if let Some(reason) = role::problem(&role) {
            return Err(RedisError::unreachable(&self.address, reason));
        }
        if let Value::ServerError(error) = role {
            return Err(RedisError::new(&self.address, &error.into()));
        }
        if let Some(Value::ServerError(error)) = published {
            let what = format!("publishing on channels below {}", self.config.prefix);
            return Err(RedisError::of(&self.address, &what, error));
        }
        let below = self.config.session_prefix();
        let mut trouble = None;
        for (n, answer) in answers.enumerate() {
            let Value::ServerError(error) = answer else { continue };
            // Somebody has put something there; it can be read.
            if error.code() == "WRONGTYPE" || trouble.is_some() {
                continue;
            }
            let is_written = n == 2;
            let is_left = self.is_left_for(error.code());
            self.moved |= error.code() == "MOVED";
            let (code, what) = (error.code().to_owned(), ["reading", "extending"]);
            let what = format!("{} sessions below {below}", what[usize::from(is_written)]);
            let error = RedisError::of(&self.address, &what, error);
            match &*code {
                _ if is_left => return Err(error),
                // The slot is on its way, and still here.
                "ASK" | "TRYAGAIN" if !self.sessions.read => {}
                // A server without the right was set up wrongly; all else is no reason to send
                // nobody there.
                code if is_written && code != "NOPERM" => {
                    self.warnings.warn(self.now, "sessions cannot be extended", &error);
                }
                _ => trouble = Some(error),
            }
        }
        self.sessions_are(trouble);
        Ok(())
    }

    /// Whether an error with this code means that another server is to be asked for: the master,
    /// or in a Redis Cluster whoever has the slot now, and can speak for it.
    pub(super) fn is_left_for(&self, code: &str) -> bool {
        code == "READONLY" || (self.has_slot && matches!(code, "MOVED" | "CLUSTERDOWN"))
    }

    /// Whether sessions could be read now.
    pub(super) fn sessions_are(&mut self, trouble: Option<RedisError>) {
        // Some keys are at home here and others never will be: it is a Redis Cluster.
        if trouble.is_none() && self.moved {
            return;
        }
        match &trouble {
            // A server that needs them from the beginning does not start, and says why.
            Some(error) if self.been_up || !self.config.required => {
                self.unreadable.seen(self.now, NO_SESSIONS, &error.to_string());
            }
            Some(_) => {}
            None => {
                self.unreadable.is_over(self.now);
            }
        }
        self.trouble = trouble;
    }
}
