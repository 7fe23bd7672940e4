//! Requests that wait for an answer: a frame with the same `id`.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use symple_proto::{PeerId, To};

use crate::Timestamp;

use super::input::OperationId;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) operation: OperationId,
    /// The peer that it is for, if it is for one: nobody else's answer counts.
    pub(super) peer: Option<PeerId>,
    pub(super) to: Option<To>,
    until: Timestamp,
    /// The number of its frame among those that were sent; none while it is not.
    pub(super) sent: Option<u64>,
}

/// All requests that wait, by the ids of their frames.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pending: BTreeMap<Box<str>, Pending>,
    deadlines: BTreeSet<(Timestamp, Box<str>)>,
    by_peer: BTreeMap<PeerId, BTreeSet<Box<str>>>,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.pending.contains_key(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Pending> {
        self.pending.get_mut(id)
    }

    pub(super) fn add(
        &mut self,
        id: Box<str>,
        operation: OperationId,
        to: Option<To>,
        until: Timestamp,
    ) {
        let peer = to.as_ref().and_then(peer_of);
        if let Some(peer) = &peer {
            self.by_peer.entry(peer.clone()).or_default().insert(id.clone());
        }
        self.deadlines.insert((until, id.clone()));
        self.pending.insert(id, Pending { operation, peer, to, until, sent: None });
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Pending> {
        let (id, pending) = self.pending.remove_entry(id)?;
        if let Some(peer) = &pending.peer
            && let Some(ids) = self.by_peer.get_mut(peer)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_peer.remove(peer);
            }
        }
        self.deadlines.remove(&(pending.until, id));
        Some(pending)
    }

    /// The request that a frame answers: it has the id, and comes from whom the request was for.
    pub(super) fn answered(&mut self, id: &str, from: Option<&PeerId>) -> Option<Pending> {
        let pending = self.pending.get(id)?;
        if pending.sent.is_none() || (pending.peer.is_some() && pending.peer.as_ref() != from) {
            return None;
        }
        self.remove(id)
    }

    /// Those that were for a peer.
    pub(super) fn for_peer(&mut self, peer: &str) -> Vec<Pending> {
        let Some(ids) = self.by_peer.get(peer).cloned() else { return Vec::new() };
        ids.iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Those that have that `to`.
    pub(super) fn addressed_to(&mut self, to: &To) -> Vec<Pending> {
        let ids: Vec<_> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.sent.is_some() && pending.to.as_ref() == Some(to))
            .map(|(id, _)| id.clone())
            .collect();
        ids.iter().filter_map(|id| self.remove(id)).collect()
    }

    /// The one whose frame has that number.
    pub(super) fn with_number(&mut self, number: u64) -> Option<Pending> {
        let mut pending = self.pending.iter();
        let id = pending.find(|(_, pending)| pending.sent == Some(number))?.0.clone();
        self.remove(&id)
    }

    /// Forgets the request of an operation.
    pub(super) fn cancel(&mut self, operation: OperationId) -> bool {
        let mut pending = self.pending.iter();
        let found = pending.find(|(_, pending)| pending.operation == operation);
        let Some(id) = found.map(|(id, _)| id.clone()) else { return false };
        self.remove(&id).is_some()
    }

    /// Those that have been sent.
    pub(super) fn take_sent(&mut self) -> Vec<Pending> {
        let sent = self.pending.iter().filter(|(_, pending)| pending.sent.is_some());
        let ids: Vec<_> = sent.map(|(id, _)| id.clone()).collect();
        ids.iter().filter_map(|id| self.remove(id)).collect()
    }

    /// All of them.
    pub(super) fn take_all(&mut self) -> Vec<Pending> {
        self.deadlines.clear();
        self.by_peer.clear();
        core::mem::take(&mut self.pending).into_values().collect()
    }

    /// One that has waited too long.
    pub(super) fn pop_expired(&mut self, now: Timestamp) -> Option<Pending> {
        let (at, id) = self.deadlines.first()?;
        if *at > now {
            return None;
        }
        let id = id.clone();
        self.remove(&id)
    }

    /// When the next one has waited too long.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }
}

/// The peer that a `to` names, if it has an id (R-M0).
fn peer_of(to: &To) -> Option<PeerId> {
    let To::One(name) = to else { return None };
    PeerId::new(name.split('|').nth(1)?).ok()
}
