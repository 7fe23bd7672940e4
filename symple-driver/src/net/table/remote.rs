//! The connections of other threads, as the engine's thread knows them.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use symple_engine::server::{ConnId, TransportFault};

use super::{ConnectionTable, Entry};
use crate::{
    net::source::Source,
    runtime::Socket,
    worker::mailbox::{WorkerCommand, WorkerEvent, WorkerMailbox},
};

/// What the engine's thread knows of another thread's connection.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(super) id: ConnId,
    /// Where in the list of workers its thread stands.
    pub(super) worker: usize,
    /// Whose it is.
    address: IpAddr,
    /// It is not WebSocket yet.
    handshake: bool,
    /// Texts to it may be compressed (R-T10).
    pub(super) deflates: bool,
    /// What the engine keeps of it is too much, and it is about to be closed.
    pub(super) overflowed: bool,
    /// Its thread has been told not to read from it.
    pub(super) paused: bool,
    /// What its thread had read before it was told.
    held: Held,
}

/// Events that are kept, in order, and their texts.
#[derive(Debug, Default)]
struct Held {
    events: VecDeque<WorkerEvent>,
    texts: String,
}

impl Held {
    fn push(&mut self, mut event: WorkerEvent, texts: &str) {
        if let WorkerEvent::Text { text, .. } = &mut event {
            let start = self.texts.len();
            self.texts.push_str(texts.get(text.clone()).unwrap_or_default());
            *text = start..self.texts.len();
        }
        self.events.push_back(event);
    }

    /// The oldest, and its text.
    fn pop(&mut self) -> Option<(WorkerEvent, Box<str>)> {
        let event = self.events.pop_front()?;
        let text = match &event {
            WorkerEvent::Text { text, .. } => {
                self.texts.get(text.clone()).unwrap_or_default().into()
            }
            _ => Box::default(),
        };
        if self.is_empty() {
            *self = Self::default();
        }
        Some((event, text))
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl<S: Socket> ConnectionTable<S> {
    /// The address that a connection comes from, on whatever thread it is.
    pub(crate) fn address_of(&mut self, id: ConnId) -> Option<IpAddr> {
        match self.remote(id) {
            Some(remote) => Some(remote.address),
            None => self.get(id).map(|conn| conn.address),
        }
    }

    /// The worker that a new connection goes to; none is this thread, which has the least.
    pub(crate) fn place(&self) -> Option<usize> {
        let remote: usize = self.workers.iter().map(|worker| worker.sockets).sum();
        let (index, worker) =
            self.workers.iter().enumerate().min_by_key(|(_, worker)| worker.sockets)?;
        (worker.sockets < self.sockets - remote).then_some(index)
    }

    /// Gives a new connection to a worker.
    pub(crate) fn open_remote(
        &mut self,
        id: ConnId,
        worker: usize,
        source: Source<S>,
        address: SocketAddr,
        waited: Duration,
    ) {
        let remote = Remote {
            id,
            worker,
            address: address.ip(),
            handshake: true,
            deflates: false,
            overflowed: false,
            paused: false,
            held: Held::default(),
        };
        self.insert(id, Entry::Remote(Box::new(remote)));
        let worker = &mut self.workers[worker];
        worker.sockets += 1;
        worker.push(WorkerCommand::Open { id, source, address, waited });
    }

    pub(crate) fn remote(&mut self, id: ConnId) -> Option<&mut Remote> {
        match self.entries.get_mut(id.slot as usize)? {
            Some(Entry::Remote(remote)) if remote.id == id => Some(remote),
            _ => None,
        }
    }

    /// Tells the worker that has the connection, if one has it.
    pub(crate) fn command(&mut self, id: ConnId, command: WorkerCommand<S>) {
        if let Some(worker) = self.remote(id).map(|remote| remote.worker) {
            self.workers[worker].push(command);
        }
    }

    /// Keeps an event of a worker's connection for later, if nothing is to be read from it, or
    /// others are kept: what was read too much counts as if it had not been read yet.
    pub(crate) fn hold(
        &mut self,
        id: ConnId,
        event: WorkerEvent,
        texts: &str,
    ) -> Option<WorkerEvent> {
        let Some(remote) = self.remote(id) else { return Some(event) };
        let at_once = match &event {
            // These are about what the connection was sent,
            WorkerEvent::Fault { fault: TransportFault::TooSlow, .. }
            | WorkerEvent::Behind(_)
            | WorkerEvent::Drained(_)
            | WorkerEvent::Undelivered { .. }
            // and this is why what is kept need not be any more.
            | WorkerEvent::Departed(_) => true,
            _ => false,
        };
        if at_once || !remote.paused && remote.held.is_empty() {
            return Some(event);
        }
        remote.held.push(event, texts);
        None
    }

    /// The next event that was kept for a connection from which may be read again.
    pub(crate) fn next_held(&mut self) -> Option<(WorkerEvent, Box<str>)> {
        while let Some(id) = self.released.last().copied() {
            match self.remote(id) {
                Some(remote) if !remote.paused && !remote.held.is_empty() => {
                    let next = remote.held.pop();
                    if remote.held.is_empty() {
                        self.command(id, WorkerCommand::Resume(id));
                    }
                    return next;
                }
                _ => drop(self.released.pop()),
            }
        }
        None
    }

    /// Events were kept that may be handled.
    pub(crate) fn has_held(&self) -> bool {
        !self.released.is_empty()
    }

    /// Events are kept of the connection.
    pub(crate) fn is_holding(&mut self, id: ConnId) -> bool {
        self.remote(id).is_some_and(|remote| !remote.held.is_empty())
    }

    /// Events that were kept may be handled.
    pub(crate) fn release(&mut self, id: ConnId) {
        if let Some(remote) = self.remote(id)
            && std::mem::take(&mut remote.paused)
            && !remote.held.is_empty()
        {
            self.released.push(id);
        }
    }

    /// A worker's connection has become a WebSocket connection; whether texts to it may be
    /// compressed.
    pub(crate) fn remote_connected(&mut self, id: ConnId, deflates: bool) {
        self.remote_leaves_handshake(id);
        if let Some(remote) = self.remote(id) {
            remote.deflates = deflates;
        }
    }

    /// A worker's connection is a WebSocket connection, or never will be.
    pub(super) fn remote_leaves_handshake(&mut self, id: ConnId) {
        if self.remote(id).is_some_and(|remote| std::mem::take(&mut remote.handshake)) {
            self.handshakes -= 1;
        }
    }

    /// A worker's connection is no more.
    pub(crate) fn remove_remote(&mut self, id: ConnId) {
        self.remote_leaves_handshake(id);
        if let Some(worker) = self.remote(id).map(|remote| remote.worker) {
            self.workers[worker].sockets -= 1;
            self.sockets -= 1;
            self.entries[id.slot as usize] = None;
        }
    }

    /// The connection is not WebSocket yet, and has not ended.
    pub(crate) fn is_handshake(&mut self, id: ConnId) -> bool {
        match self.entries.get_mut(id.slot as usize) {
            Some(Some(Entry::Connection(conn))) => conn.id == id && !conn.announced && !conn.ended,
            Some(Some(Entry::Remote(remote))) => remote.id == id && remote.handshake,
            _ => false,
        }
    }

    /// Hands over to workers what they are to do.
    pub(crate) fn hand_over(&mut self) {
        for worker in &mut self.workers {
            worker.hand_over();
        }
    }

    /// A worker has so much to do that nothing more should be handled before it is done.
    pub(crate) fn is_blocked(&self) -> bool {
        self.workers.iter().any(WorkerMailbox::is_full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::connection::Gone;

    #[test]
    fn what_is_held_comes_back_in_order() {
        let id = ConnId::new(1, 1);
        let mut held = Held::default();
        for text in [3..5, 0..2] {
            held.push(WorkerEvent::Text { id, text }, "abcde");
        }
        held.push(WorkerEvent::Disconnected(id, Gone::Lost), "abcde");
        for expected in ["de", "ab"] {
            let (event, text) = held.pop().unwrap();
            assert!(matches!(event, WorkerEvent::Text { .. }));
            assert_eq!(&*text, expected);
        }
        assert!(!held.is_empty());
        assert!(matches!(held.pop(), Some((WorkerEvent::Disconnected(..), _))));
        assert!(held.is_empty() && held.pop().is_none());
        assert_eq!(held.texts.capacity(), 0, "nothing is held for nobody");
    }
}
