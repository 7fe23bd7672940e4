//! Answers to other nodes that have missed changes of this one.
//!
//! An answer goes only to the node that asked, and is as large as that node wants. Only the last question
//! of each node is remembered. It is answered when little waits for the bus: fifty
//! thousand peers are twenty megabytes, and nothing else should wait behind those.

use alloc::{collections::VecDeque, vec::Vec};
use core::time::Duration;

use symple_proto::cluster::{Ask, Beat, Changes, Part, Payload, PeerState};

use crate::server::{Server, remotes::NodeIndex};

use super::waiting::FOR_ANSWERS;

/// The largest answer in bytes, not counting its last peer.
const MAX_SIZE: usize = 256 * 1024;

/// The largest list of changes in bytes.
const MAX_CHANGES_SIZE: usize = 64 * 1024;

/// The number of places that are looked at for one part.
const MAX_PLACES: usize = 16_384;

/// A `hello` is answered once in this time: whoever speaks in a node's name could make others
/// speak for ever. What is missing then is seen with the next heartbeat.
const HELLO_INTERVAL: Duration = Duration::from_millis(250);

/// The open questions of other nodes: the last one of each.
#[derive(Debug, Default)]
pub(super) struct Asks(VecDeque<(NodeIndex, Ask)>);

impl Asks {
    fn add(&mut self, node: NodeIndex, ask: Ask) {
        match self.0.iter_mut().find(|(known, _)| *known == node) {
            Some((_, known)) => *known = ask,
            None => self.0.push_back((node, ask)),
        }
    }

    /// Forgets the question of a node that is gone.
    pub(super) fn forget(&mut self, node: NodeIndex) {
        self.0.retain(|(asker, _)| *asker != node);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Server {
    /// Handles a `hello`: another node is there, and says which changes of this one it knows.
    pub(super) fn answer_hello(&mut self, node: NodeIndex, nonce: u64, known: Option<(u64, u64)>) {
        let now = self.now;
        let Some(state) = self.node_mut(node) else { return };
        if state.answered.is_some_and(|at| now.since(at) < HELLO_INTERVAL) {
            return;
        }
        state.answered = Some(now);
        if !self.answer_with_changes(node, nonce, known, MAX_CHANGES_SIZE) {
            self.say_to(node, Payload::Beat(self.beat()));
        }
    }

    pub(in crate::server) fn beat(&self) -> Beat {
        let sum = self.cluster.as_ref().map_or(0, |cluster| cluster.ring.last().1);
        Beat { sum }
    }

    /// Remembers the question of another node until its turn comes.
    pub(super) fn asked(&mut self, node: NodeIndex, ask: Ask) {
        if let Some(cluster) = &mut self.cluster {
            cluster.asks.add(node, ask);
        }
        self.answer_asks();
    }

    /// Answers open questions as long as little waits for the bus.
    pub(super) fn answer_asks(&mut self) {
        while let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.up)
            && cluster.waiting.bytes() <= FOR_ANSWERS
            && let Some((node, ask)) = cluster.asks.0.pop_front()
        {
            let bytes = usize::try_from(ask.bytes).unwrap_or(MAX_SIZE).min(MAX_SIZE);
            let size = bytes.min(MAX_CHANGES_SIZE);
            if ask.since.is_none() {
                self.answer_with_peers(node, ask.nonce, ask.after, bytes);
            } else if !self.answer_with_changes(node, ask.nonce, ask.since, size) {
                self.answer_with_peers(node, ask.nonce, 0, bytes);
            }
        }
    }

    /// Tells a node the first of the changes that it has missed. False if they are not known any
    /// more.
    fn answer_with_changes(
        &mut self,
        node: NodeIndex,
        nonce: u64,
        since: Option<(u64, u64)>,
        bytes: usize,
    ) -> bool {
        let Some(cluster) = &self.cluster else { return false };
        let Some((seq, sum)) = since else { return false };
        let Some(missed) = cluster.ring.since(seq, sum) else { return false };
        let mut size = 0;
        let some = missed.take_while(|text| {
            let fits = size < bytes.max(1);
            size += text.len();
            fits
        });
        let (_, sum) = cluster.ring.last();
        let text = Changes::encode(nonce, sum, seq.saturating_add(1), some);
        self.say_to(node, Payload::Changes(text.into()));
        true
    }

    /// Tells a node the peers from one place on.
    fn answer_with_peers(&mut self, node: NodeIndex, nonce: u64, after: u32, bytes: usize) {
        let slots = self.registry.slots();
        let first = (after as usize).min(slots);
        let end = slots.min(first + MAX_PLACES);
        let (mut peers, mut size, mut slot) = (Vec::new(), 0, first);
        while slot < end && size < bytes.max(1) {
            if let Some(state) = self.registry.peer_in(slot).and_then(|peer| self.state_of(peer)) {
                size += size_of_state(&state);
                peers.push(state);
            }
            slot += 1;
        }
        let next = u32::try_from(slot).ok().filter(|_| slot < slots);
        let sum = self.beat().sum;
        let text = Part { nonce, sum, after, next, peers }.encode();
        self.say_to(node, Payload::Part(text));
    }
}

/// About how many bytes a peer takes.
fn size_of_state(state: &PeerState) -> usize {
    let rooms: usize = state.rooms.iter().map(|room| room.as_str().len() + 3).sum();
    state.record.text().len() + state.user.as_str().len() + 64 + rooms
}
