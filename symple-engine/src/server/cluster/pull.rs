//! Asking other nodes for what is missing of theirs (R-C2).
//!
//! A node that has missed changes is told those, or, where nobody knows them any more, all peers of
//! the node that has told them, part by part. The next part is asked for when this one is done, and
//! of a few nodes at a time: so what is on its way to this node is bounded, whatever the size of
//! the cluster, and paced by whoever is the slowest. What changes between two parts is told as
//! always, and taken in at once.

use alloc::vec::Vec;

use symple_proto::cluster::{Ask, Changes, Part, Payload, PeerState};

use crate::server::{EngineError, Event, Server, jobs::Job, remotes::NodeIndex};

use super::nodes::{Asked, Need};

/// Of how many nodes all peers are pulled at a time.
const MAX_PULLS: usize = 4;

/// How many bytes are asked of a node that has never answered: as many names may be made up as
/// there may be strangers.
const FOR_STRANGERS: usize = 4096;

/// How many bytes of changes are asked for at once.
const FOR_CHANGES: u32 = 64 * 1024;

impl Server {
    /// Asks those of whom something is missing, as many as may be asked now.
    pub(super) fn pull_more(&mut self) {
        let now = self.now;
        let Some(config) = &self.config.cluster else { return };
        let heartbeat = config.heartbeat;
        let Some(cluster) = self.cluster.as_ref().filter(|cluster| cluster.up && !cluster.left)
        else {
            return;
        };
        let mut pulls = cluster.pulls();
        let mut waiting = Vec::new();
        for (at, node) in cluster.nodes.iter() {
            if let Some(need) = node.needs(now, heartbeat) {
                // What is small, or must not wait for those who never answer, comes first.
                let small = need == Need::Changes || !node.proven;
                waiting.push((!small, node.turn, at, need));
            }
        }
        waiting.sort_unstable_by_key(|(large, turn, at, _)| (*large, *turn, *at));
        for (large, _, node, need) in waiting {
            if large {
                if pulls >= MAX_PULLS {
                    return;
                }
                pulls += 1;
            }
            self.ask_node(node, need, pulls);
        }
    }

    /// Asks a node for what is missing, while so many are asked for their peers.
    fn ask_node(&mut self, node: NodeIndex, need: Need, pulls: usize) {
        let (now, nonce) = (self.now, self.nonce());
        let window = self.config.cluster.as_ref().map_or(1, |config| config.pull_window);
        let Some(cluster) = &mut self.cluster else { return };
        cluster.turns += 1;
        let Some(state) = cluster.nodes.get_mut(node) else { return };
        state.turn = cluster.turns;
        let mut ask = Ask { nonce, since: None, after: 0, bytes: FOR_CHANGES };
        match need {
            Need::Changes => {
                state.checked = Some(now);
                ask.since = Some((state.seq, state.sum));
            }
            Need::Peers(after) => {
                let bytes = window / pulls.max(1);
                let bytes = if state.proven { bytes } else { bytes.min(FOR_STRANGERS) };
                ask.bytes = u32::try_from(bytes.max(1)).unwrap_or(u32::MAX);
                ask.after = after;
            }
        }
        let after = ask.since.is_none().then_some(ask.after);
        state.asked = Some(Asked { nonce, after, at: now });
        self.say_to(node, Payload::Ask(ask));
    }

    /// A node answers with a part of its peers.
    pub(super) fn take_part(
        &mut self,
        node: NodeIndex,
        number: u64,
        seq: u64,
        text: &str,
    ) -> Result<usize, EngineError> {
        let now = self.now;
        let Some(asked) = self.node_mut(node).and_then(|state| state.asked) else { return Ok(0) };
        let part = Part::parse(text)?;
        if part.nonce != asked.nonce {
            // Too late, or nobody has asked for it.
            return Ok(0);
        }
        self.proves(node);
        let Some(state) = self.node_mut(node) else { return Ok(0) };
        state.answers(number, now);
        let mut pulls = 0;
        if part.after == 0 && asked.after.is_none_or(|after| after == 0) {
            state.pull = state.pull.wrapping_add(1).max(1);
            (state.seq, state.sum) = (seq, part.sum);
            (state.whole, state.behind, state.doubted) = (false, false, false);
            state.disputed = false;
            state.pulled = now;
            state.pulling = true;
            pulls = 1;
        } else if asked.after != Some(part.after) {
            self.pull_more();
            return Ok(0);
        } else if (state.seq, state.sum) != (seq, part.sum) {
            // Something was missed before this part. Its peers are as they are after that.
            state.behind = true;
            self.pull_more();
            return Ok(0);
        }
        state.cursor = part.next;
        state.rest = part.peers;
        state.rest.reverse();
        self.stats.pulls += pulls;
        self.start(Job::Arrive { node });
        Ok(0)
    }

    /// A node has answered: it is more than a name.
    fn proves(&mut self, node: NodeIndex) {
        let Some(state) = self.node_mut(node) else { return };
        if !core::mem::replace(&mut state.proven, true) {
            let id = self.cluster.as_ref().and_then(|cluster| cluster.nodes.id(node));
            if let Some(id) = id.map(Into::into) {
                self.tell_host_of_node(Event::NodeJoined { node: id });
            }
        }
    }

    /// The next one of those peers that a node has told in a part and that are not here yet.
    pub(in crate::server) fn next_arrival(&mut self, node: NodeIndex) -> Option<PeerState> {
        self.node_mut(node)?.rest.pop()
    }

    /// All peers of a part are here.
    pub(in crate::server) fn part_done(&mut self, node: NodeIndex) {
        let Some(state) = self.node_mut(node) else { return };
        if state.pulling && state.cursor.is_none() && state.rest.is_empty() {
            // Those that have not been told of are gone.
            state.pulling = false;
            let pull = state.pull;
            self.start(Job::Sweep { node, pull, at: 0, any: false });
        }
        self.pull_more();
        self.check_caught_up();
    }

    /// Those peers of a node are gone that it has not told of; whether there were any.
    pub(in crate::server) fn swept(&mut self, node: NodeIndex, any: bool) {
        if let Some(state) = self.node_mut(node)
            && !state.disputed
        {
            state.disputes = 0;
        }
        if let Some(cluster) = self.cluster.as_mut().filter(|_| any) {
            cluster.nodes.settle_disputes();
        }
    }

    /// A node answers with changes that have been missed.
    pub(super) fn take_changes(
        &mut self,
        node: NodeIndex,
        number: u64,
        seq: u64,
        text: &str,
    ) -> Result<usize, EngineError> {
        let now = self.now;
        let Some(hello) = self.cluster.as_ref().map(|cluster| cluster.hello) else { return Ok(0) };
        let Some(state) = self.node_mut(node) else { return Ok(0) };
        let asked = state.asked.filter(|asked| asked.after.is_none());
        if asked.is_none() && (state.greeted || !state.is_known()) {
            return Ok(0);
        }
        let changes = Changes::parse(text)?;
        if asked.is_some_and(|asked| asked.nonce == changes.nonce) {
            state.answers(number, now);
        } else if changes.nonce == hello && !core::mem::replace(&mut state.greeted, true) {
            let asked = state.asked;
            state.answers(number, now);
            state.asked = asked;
        } else {
            return Ok(0);
        }
        let mut result = Ok(0);
        for (seq, text) in changes.iter() {
            let Some(state) = self.node_mut(node) else { return result };
            if state.seq.checked_add(1) == Some(seq) {
                result = result.and(self.apply(node, seq, text));
            }
        }
        let Some(state) = self.node_mut(node) else { return result };
        state.behind = state.seq < seq;
        if state.seq == seq {
            // What was told in between was another's word.
            state.whole |= state.sum != changes.sum;
            state.doubted = false;
        }
        self.pull_more();
        self.check_caught_up();
        result
    }
}
