//! What waits to be written to the sockets of clients.

use std::time::Instant;

use super::wire::push_frame;

/// What waits to be written, for each client, and the time.
pub(crate) struct Outboxes {
    pub(super) boxes: Vec<Outbox>,
    /// Clients that have something to be written.
    pub(super) dirty: Vec<usize>,
    started: Instant,
    /// The time of what is being handled, in nanoseconds since the start: a clock is looked at
    /// once for everything that was read at once.
    pub(crate) now: u64,
}

#[derive(Default)]
pub(super) struct Outbox {
    pub(super) bytes: Vec<u8>,
    pub(super) written: usize,
    pub(super) dirty: bool,
    pub(super) blocked: bool,
}

impl Outboxes {
    pub(super) fn new() -> Self {
        Self { boxes: Vec::new(), dirty: Vec::new(), started: Instant::now(), now: 0 }
    }

    /// Looks at the clock.
    pub(crate) fn tick(&mut self) -> u64 {
        self.now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.now
    }

    pub(super) fn push(&mut self, client: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let outbox = &mut self.boxes[client];
        write(&mut outbox.bytes);
        self.mark(client);
    }

    /// There is something to be written.
    pub(super) fn mark(&mut self, client: usize) {
        if !std::mem::replace(&mut self.boxes[client].dirty, true) {
            self.dirty.push(client);
        }
    }

    /// Queues a text frame.
    pub(crate) fn send(&mut self, client: usize, text: &str) {
        self.push(client, |bytes| push_frame(bytes, 0x81, text.as_bytes()));
    }

    /// Queues a close frame with code 1000.
    pub(crate) fn close(&mut self, client: usize) {
        self.push(client, |bytes| push_frame(bytes, 0x88, &1000_u16.to_be_bytes()));
    }
}
