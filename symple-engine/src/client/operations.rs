//! What the caller wants done.

use alloc::{boxed::Box, string::String};
use core::time::Duration;

use crate::server::Text;

use super::{
    Client, End, Operation, OperationError,
    config::OfflinePolicy,
    input::OperationId,
    machine::{State, after},
    outgoing::Outgoing,
};

impl Client {
    pub(super) fn operate(&mut self, id: OperationId, operation: Operation) {
        match operation {
            Operation::Connect => self.connect(id),
            Operation::Close => self.close(id),
            Operation::Send(frame) => self.send(id, &frame),
            Operation::Request { frame, timeout } => self.request(id, frame, timeout),
            Operation::Flush => self.flush(id),
            Operation::Join(room) => self.join(id, room),
            Operation::Leave(room) => self.leave(id, room),
            Operation::SetState { room, set } => self.set_state(id, &room, &set),
            Operation::SetRecord(record) => self.set_record(id, record),
            Operation::UpdateRecord(patch) => self.update_record(id, patch),
            Operation::Refresh(token) => self.refresh(id, token),
            Operation::Call { callee, data } => self.call(id, callee, data.as_ref()),
            Operation::Accept { call, data } => self.accept(id, call, data.as_ref()),
            Operation::Reject { call, reason } => self.reject(id, call, reason.as_deref()),
            Operation::Signal { call, signal } => self.signal(id, call, &signal),
            Operation::MarkActive { call } => self.mark_active(id, call),
            Operation::HangUp { call, reason } => self.hang_up(id, call, reason.as_deref()),
        }
    }

    /// Nobody waits for an operation any more.
    pub(super) fn cancel(&mut self, id: OperationId) {
        // A request that waits to be sent stands in both.
        let queued = self.queue.remove(id);
        let pending = self.requests.cancel(id);
        if queued
            || pending
            || self.changes.cancel(id)
            || self.cancel_join(id)
            || self.cancel_question(id)
        {
            return;
        }
        self.connects.retain(|connect| *connect != id);
        self.closes.retain(|close| *close != id);
    }

    fn encode(&mut self, frame: &Outgoing) -> Result<String, OperationError> {
        let id = if frame.id.is_some() { String::new() } else { self.random_id() };
        Ok(frame.encode(&id, self.config.limits.message)?)
    }

    fn send(&mut self, id: OperationId, frame: &Outgoing) {
        match self.encode(frame) {
            Err(error) => self.fail(id, error),
            Ok(text) if matches!(self.state, State::Online(_)) => {
                self.send_text(text);
                self.done(id);
            }
            Ok(text) => {
                if let Err(error) = self.enqueue(id, text.into(), None) {
                    self.fail(id, error);
                }
            }
        }
    }

    fn request(&mut self, id: OperationId, mut frame: Outgoing, timeout: Option<Duration>) {
        let limit = self.config.limits.requests;
        if self.requests.len() >= limit {
            return self.fail(id, OperationError::TooMany { what: "requests", limit });
        }
        let frame_id: Box<str> = match &frame.id {
            Some(frame_id) => frame_id.clone(),
            None => self.random_id().into(),
        };
        if self.requests.contains(&frame_id) {
            return self.fail(id, OperationError::IdInUse);
        }
        frame.id = Some(frame_id.clone());
        let text = match self.encode(&frame) {
            Ok(text) => text,
            Err(error) => return self.fail(id, error),
        };
        let timeout = timeout.unwrap_or(self.config.limits.request_timeout);
        let until = after(self.now, timeout);
        if matches!(self.state, State::Online(_)) {
            self.requests.add(frame_id.clone(), id, frame.to, until);
            self.send_text(text);
            self.request_sent(&frame_id);
        } else {
            match self.enqueue(id, text.into(), Some(frame_id.clone())) {
                Ok(()) => self.requests.add(frame_id, id, frame.to, until),
                Err(error) => self.fail(id, error),
            }
        }
    }

    fn request_sent(&mut self, frame_id: &str) {
        let sent = self.sent;
        if let Some(pending) = self.requests.get_mut(frame_id) {
            pending.sent = Some(sent);
        }
    }

    /// A frame waits for the client to be online, if that is what the caller wants.
    fn enqueue(
        &mut self,
        id: OperationId,
        text: Text,
        request: Option<Box<str>>,
    ) -> Result<(), OperationError> {
        match (&self.state, &self.config.offline) {
            (State::Closed(end), _) => Err(OperationError::Closed(end.clone())),
            (State::Closing { .. }, _) => Err(OperationError::Closed(End::Requested)),
            (_, OfflinePolicy::Refuse) => Err(OperationError::Offline),
            (_, OfflinePolicy::Queue(limits)) => {
                self.queue.push(self.now, limits, id, text, request)
            }
        }
    }

    /// The client has come online: what waits is sent, in order.
    pub(super) fn send_queued(&mut self) {
        while let Some(queued) = self.queue.pop() {
            match queued.request {
                None => {
                    self.send_text(queued.text);
                    self.done(queued.operation);
                }
                // It may have timed out meanwhile, and another one may have its id.
                Some(request) => {
                    let waits = self.requests.get_mut(&request);
                    if waits.is_some_and(|pending| pending.operation == queued.operation) {
                        self.send_text(queued.text);
                        self.request_sent(&request);
                    }
                }
            }
        }
    }
}
