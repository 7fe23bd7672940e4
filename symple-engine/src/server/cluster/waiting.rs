//! The messages that were published and that the bus has not taken yet, and which clients caused them.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use crate::server::ConnId;

/// The bytes beyond which nodes that ask for peers get no answer, so that heartbeats, changes and frames
/// never wait behind more than this.
pub(super) const FOR_ANSWERS: u64 = 256 * 1024;

/// The bytes beyond which changes are not told one by one.
pub(super) const FOR_CHANGES: u64 = 1024 * 1024;

/// The bytes of frames that may wait for all clients together.
const FOR_FRAMES: u64 = 4 * 1024 * 1024;

/// The bytes of frames that may wait for one client.
const FOR_ONE: u64 = FOR_FRAMES / 4;

/// The bytes at which reading from a client stops.
const PAUSE_AT: u64 = FOR_ONE / 4;

/// The bytes at which reading from it goes on.
const RESUME_AT: u64 = PAUSE_AT / 2;

/// The waiting messages, oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: VecDeque<(u64, Option<ConnId>)>,
    /// The bytes of all waiting messages.
    bytes: u64,
    /// The bytes of those that are frames of clients.
    frames: u64,
    /// The bytes of frames by client.
    senders: BTreeMap<ConnId, u64>,
    /// The clients that are not read from because of this.
    paused: BTreeSet<ConnId>,
}

impl Waiting {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True if there is room for a frame of a client. A frame larger than the limit is admitted when nothing
    /// else waits.
    pub(super) fn has_room(&self, sender: ConnId, bytes: u64) -> bool {
        let own = self.senders.get(&sender).copied().unwrap_or(0);
        let fits = |waiting: u64, limit: u64| waiting == 0 || waiting + bytes <= limit;
        fits(own, FOR_ONE) && fits(self.frames, FOR_FRAMES)
    }

    /// Adds a message, with its client if it is a frame of one. True if reading from the client must stop
    /// until the bus has taken more.
    pub(super) fn push(&mut self, bytes: u64, sender: Option<ConnId>) -> bool {
        self.bytes += bytes;
        self.queue.push_back((bytes, sender));
        let Some(sender) = sender else { return false };
        self.frames += bytes;
        let own = self.senders.entry(sender).or_default();
        *own += bytes;
        *own >= PAUSE_AT && self.paused.insert(sender)
    }

    /// Removes the bytes that the bus has taken. Returns the clients that may be read from again.
    pub(super) fn take(&mut self, mut bytes: u64) -> Vec<ConnId> {
        let mut resumed = Vec::new();
        while bytes > 0
            && let Some((left, sender)) = self.queue.front_mut()
        {
            let taken = bytes.min(*left);
            *left -= taken;
            bytes -= taken;
            self.bytes -= taken;
            let done = *left == 0;
            if let Some(sender) = *sender {
                self.frames -= taken;
                if let Some(own) = self.senders.get_mut(&sender) {
                    *own -= taken;
                    if *own <= RESUME_AT && self.paused.remove(&sender) {
                        resumed.push(sender);
                    }
                    if *own == 0 {
                        self.senders.remove(&sender);
                    }
                }
            }
            if done {
                self.queue.pop_front();
            }
        }
        resumed
    }

    /// Forgets all messages: the bus is down and will not take them.
    pub(super) fn clear(&mut self) -> Vec<ConnId> {
        core::mem::take(self).paused.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId::new(1, 0);
    const B: ConnId = ConnId::new(2, 0);

    #[test]
    fn what_is_taken_is_the_oldest() {
        let mut waiting = Waiting::default();
        waiting.push(100, None);
        assert!(!waiting.push(1000, Some(A)));
        waiting.push(10, None);
        assert_eq!(waiting.take(50), []);
        assert_eq!((waiting.bytes(), waiting.frames), (1060, 1000));
        assert_eq!(waiting.take(550), []);
        assert_eq!((waiting.bytes(), waiting.frames), (510, 500));
        assert_eq!(waiting.senders.get(&A), Some(&500));
        assert_eq!(waiting.take(u64::MAX), []);
        assert_eq!((waiting.bytes(), waiting.frames), (0, 0));
        assert!(waiting.senders.is_empty() && waiting.queue.is_empty());
    }

    /// R-C6: one client has a quarter, and all of them have the whole.
    #[test]
    fn how_much_of_whom_may_wait() {
        let mut waiting = Waiting::default();
        assert!(waiting.has_room(A, u64::from(u32::MAX)), "what is too large for all goes alone");
        assert!(waiting.push(FOR_ONE, Some(A)));
        assert!(!waiting.has_room(A, 1));
        assert!(waiting.has_room(B, FOR_ONE));
        for slot in 3..6 {
            waiting.push(FOR_ONE, Some(ConnId::new(slot, 0)));
        }
        assert!(!waiting.has_room(B, 1));
        waiting.take(FOR_ONE);
        assert!(waiting.has_room(B, 1));
    }

    /// R-C6: reading stops before anything is lost, and goes on once enough has been taken.
    #[test]
    fn reading_stops_and_goes_on() {
        let mut waiting = Waiting::default();
        assert!(!waiting.push(PAUSE_AT - 1, Some(A)));
        assert!(waiting.push(1, Some(A)));
        assert!(!waiting.push(1, Some(A)), "it has stopped");
        assert_eq!(waiting.take(PAUSE_AT - RESUME_AT), []);
        assert_eq!(waiting.take(1), [A]);
        assert_eq!(waiting.take(PAUSE_AT), []);
        assert!(waiting.push(PAUSE_AT, Some(B)));
        assert_eq!(waiting.clear(), [B]);
        assert_eq!(waiting.bytes(), 0);
    }
}
