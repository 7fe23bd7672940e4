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

/// The bytes, headers of the bus included, beyond which nothing of the application is taken: emissions, broadcasts
/// and calls. The connection to Redis is given up at twice as much, so what others cause has room beside it.
const FOR_APPLICATION: u64 = 8 * 1024 * 1024;

/// About how many bytes the bus adds to a message: its channel and the command.
const HEADER: u64 = 128;

/// The bytes of frames that may wait for one client.
const FOR_ONE: u64 = FOR_FRAMES / 4;

/// The bytes at which reading from a client stops.
const PAUSE_AT: u64 = FOR_ONE / 4;

/// The bytes at which reading from it goes on.
const RESUME_AT: u64 = PAUSE_AT / 2;

/// On whose account a message waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// The node's own. What it says is limited where it decides to say it.
    Node,
    /// The application's.
    Application,
    /// A client's.
    Client(ConnId),
}

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

    /// True if there is room for a message. A frame of a client that is larger than the limit is admitted when
    /// nothing else waits.
    pub(super) fn has_room(&self, account: Account, bytes: u64) -> bool {
        match account {
            Account::Node => true,
            Account::Application => self.has_room_for(bytes, 1),
            Account::Client(sender) => {
                let own = self.senders.get(&sender).copied().unwrap_or(0);
                let fits = |waiting: u64, limit: u64| waiting == 0 || waiting + bytes <= limit;
                fits(own, FOR_ONE) && fits(self.frames, FOR_FRAMES)
            }
        }
    }

    /// True if there is room for so many messages of the application, of so many bytes each.
    pub(super) fn has_room_for(&self, bytes: u64, count: usize) -> bool {
        let waiting = self.bytes + HEADER * self.queue.len() as u64;
        let more = bytes.saturating_add(HEADER).saturating_mul(count as u64);
        waiting.saturating_add(more) <= FOR_APPLICATION
    }

    /// Adds a message. True if reading from its client must stop until the bus has taken more.
    pub(super) fn push(&mut self, bytes: u64, account: Account) -> bool {
        let sender = match account {
            Account::Client(sender) => Some(sender),
            Account::Node | Account::Application => None,
        };
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
        waiting.push(100, Account::Node);
        assert!(!waiting.push(1000, Account::Client(A)));
        waiting.push(10, Account::Node);
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
        assert!(
            waiting.has_room(Account::Client(A), u64::from(u32::MAX)),
            "what is too large for all goes alone"
        );
        assert!(waiting.push(FOR_ONE, Account::Client(A)));
        assert!(!waiting.has_room(Account::Client(A), 1));
        assert!(waiting.has_room(Account::Client(B), FOR_ONE));
        for slot in 3..6 {
            waiting.push(FOR_ONE, Account::Client(ConnId::new(slot, 0)));
        }
        assert!(!waiting.has_room(Account::Client(B), 1));
        waiting.take(FOR_ONE);
        assert!(waiting.has_room(Account::Client(B), 1));
    }

    /// R-C6: the application has what is left below its own limit, and small messages count for what they are on
    /// the way.
    #[test]
    fn how_much_of_the_application_may_wait() {
        let mut waiting = Waiting::default();
        assert!(!waiting.has_room(Account::Application, FOR_APPLICATION));
        assert!(waiting.has_room(Account::Application, FOR_APPLICATION - HEADER));
        waiting.push(FOR_APPLICATION / 2, Account::Node);
        assert!(!waiting.has_room(Account::Application, FOR_APPLICATION / 2 - HEADER));
        let rest = FOR_APPLICATION / 2 - HEADER;
        assert!(waiting.has_room_for(rest / 4 - HEADER, 4));
        assert!(!waiting.has_room_for(rest / 4 - HEADER + 1, 4));
        assert!(!waiting.has_room_for(u64::MAX, usize::MAX));
        assert!(waiting.has_room(Account::Node, u64::MAX));
        assert!(waiting.has_room(Account::Client(A), FOR_ONE));
        let mut waiting = Waiting::default();
        let mut count = 0;
        while waiting.has_room(Account::Application, 1) {
            waiting.push(1, Account::Application);
            count += 1;
        }
        assert_eq!(count, FOR_APPLICATION / (HEADER + 1));
    }

    /// R-C6: reading stops before anything is lost, and goes on once enough has been taken.
    #[test]
    fn reading_stops_and_goes_on() {
        let mut waiting = Waiting::default();
        assert!(!waiting.push(PAUSE_AT - 1, Account::Client(A)));
        assert!(waiting.push(1, Account::Client(A)));
        assert!(!waiting.push(1, Account::Client(A)), "it has stopped");
        assert_eq!(waiting.take(PAUSE_AT - RESUME_AT), []);
        assert_eq!(waiting.take(1), [A]);
        assert_eq!(waiting.take(PAUSE_AT), []);
        assert!(waiting.push(PAUSE_AT, Account::Client(B)));
        assert_eq!(waiting.clear(), [B]);
        assert_eq!(waiting.bytes(), 0);
    }
}
