//! What has been published and not yet been taken by the bus, and whose it is.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use crate::server::ConnId;

/// While more waits, nothing is answered to those who ask for peers: heartbeats, changes and frames
/// never stand behind more than that.
pub(super) const FOR_ANSWERS: u64 = 256 * 1024;

/// While more waits, changes are not told one by one.
pub(super) const FOR_CHANGES: u64 = 1024 * 1024;

/// So many bytes of frames may wait, of all clients together.
const FOR_FRAMES: u64 = 4 * 1024 * 1024;

/// So many of one client.
const FOR_ONE: u64 = FOR_FRAMES / 4;

/// When so much of a client waits, nothing is read from it.
const PAUSE_AT: u64 = FOR_ONE / 4;

/// When no more than that is left, it is read from again.
const RESUME_AT: u64 = PAUSE_AT / 2;

/// What waits, oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: VecDeque<(u64, Option<ConnId>)>,
    /// All that waits.
    bytes: u64,
    /// Of that, frames of clients.
    frames: u64,
    /// By client.
    senders: BTreeMap<ConnId, u64>,
    /// From whom nothing is read for it.
    paused: BTreeSet<ConnId>,
}

impl Waiting {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a frame of a client finds room. What is larger than all the room there is goes alone.
    pub(super) fn has_room(&self, sender: ConnId, bytes: u64) -> bool {
        let own = self.senders.get(&sender).copied().unwrap_or(0);
        let fits = |waiting: u64, limit: u64| waiting == 0 || waiting + bytes <= limit;
        fits(own, FOR_ONE) && fits(self.frames, FOR_FRAMES)
    }

    /// Something has been published; of a client, if it is a frame of one. True if nothing is to be
    /// read from the client until it is taken.
    pub(super) fn push(&mut self, bytes: u64, sender: Option<ConnId>) -> bool {
        self.bytes += bytes;
        self.queue.push_back((bytes, sender));
        let Some(sender) = sender else { return false };
        self.frames += bytes;
        let own = self.senders.entry(sender).or_default();
        *own += bytes;
        *own >= PAUSE_AT && self.paused.insert(sender)
    }

    /// So many bytes have been taken; those clients from whom may be read again.
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

    /// Nothing of it will be taken any more.
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
