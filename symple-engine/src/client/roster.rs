//! Who else is there, folded from what the server tells (SPEC §6).

use alloc::{
    boxed::Box,
    collections::{BTreeMap, btree_map::Entry as MapEntry},
    sync::Arc,
    vec::Vec,
};
use core::mem::size_of;

use symple_proto::{Address, PeerId, RawJson, UserName, json::Json};

use crate::Timestamp;

use super::config::ClientLimits;

/// What a peer tells of itself (R-P4), as it was told last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    address: Address,
    name: Option<Box<str>>,
    data: RawJson,
}

impl PeerRecord {
    /// Where to send frames for it.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whose session it is.
    #[must_use]
    pub fn user(&self) -> &UserName {
        &self.address.user
    }

    /// Which one.
    #[must_use]
    pub fn id(&self) -> &PeerId {
        &self.address.id
    }

    /// How it wants to be called; its user, if it does not say.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.address.user)
    }

    /// All that it tells, a JSON object.
    #[must_use]
    pub fn data(&self) -> &RawJson {
        &self.data
    }

    /// A member of what it tells.
    #[must_use]
    pub fn get(&self, member: &str) -> Option<RawJson> {
        self.data.get().as_object()?.get(member).map(RawJson::from)
    }

    /// One of its capabilities: a member of the object `capabilities`.
    #[must_use]
    pub fn capability(&self, name: &str) -> Option<RawJson> {
        let capabilities = self.data.get().as_object()?.get("capabilities")?;
        capabilities.as_object()?.get(name).map(RawJson::from)
    }

    /// True if it has that capability, and it is not `false`.
    #[must_use]
    pub fn has_capability(&self, name: &str) -> bool {
        self.capability(name).is_some_and(|value| value.text() != "false")
    }

    /// About how many bytes it takes.
    fn bytes(&self) -> usize {
        let name = self.name.as_deref().map_or(0, str::len);
        // The id stands in the table, too; a table of that kind is two thirds full.
        size_of::<Self>()
            + 2 * size_of::<Known>()
            + self.address.user.len()
            + 2 * self.address.id.len()
            + name
            + self.data.text().len()
    }
}

/// What a presence says of a peer.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) online: bool,
    pub(super) record: PeerRecord,
}

/// Reads the `data` of a presence. None if it does not say whose it is, or somebody else than who
/// sent it.
pub(super) fn read(from: Option<&Address>, data: Json<'_>) -> Option<Told> {
    let (mut id, mut user, mut name, mut online) = (None, None, None, true);
    data.as_object()?.for_each(|member| match member.key().as_deref() {
        Some("id") => id = member.value.as_str().and_then(Result::ok),
        Some("user") => user = member.value.as_str().and_then(Result::ok),
        Some("name") => name = member.value.as_str().and_then(Result::ok),
        Some("online") => online = member.value.text() != "false",
        _ => {}
    });
    let address = match from {
        Some(from) if id.as_deref().is_none_or(|id| *id == *from.id) => from.clone(),
        Some(_) => return None,
        // A backend may speak for a peer without being one (R-S3).
        None => Address::new(
            UserName::new(user?.into_owned()).ok()?,
            PeerId::new(id?.into_owned()).ok()?,
        ),
    };
    let name = name.map(|name| name.into_owned().into());
    let record = PeerRecord { address, name, data: data.into() };
    Some(Told { online, record })
}

#[derive(Debug)]
struct Known {
    record: Arc<PeerRecord>,
    /// On which connection the client was told of it last.
    told: u64,
    /// When its probe was answered last.
    answered: Option<Timestamp>,
}

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Online(Arc<PeerRecord>),
    Updated(Arc<PeerRecord>),
    Nothing,
    /// There is no room for another peer.
    Full,
}

/// The peers that share a room with the client, by id (R-P1).
///
/// After a reconnect it holds those of before, until the new connection has told of everyone: then
/// those who were not told again are offline.
#[derive(Debug, Default)]
pub struct Roster {
    peers: BTreeMap<PeerId, Known>,
    bytes: usize,
    connection: u64,
    complete: bool,
}

impl Roster {
    /// What a peer tells of itself, by its id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<PeerRecord>> {
        self.peers.get(id).map(|known| &known.record)
    }

    /// All peers, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<PeerRecord>> {
        self.peers.values().map(|known| &known.record)
    }

    /// The sessions of a user, in the order of their ids.
    pub fn of_user<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a Arc<PeerRecord>> {
        self.iter().filter(move |record| **record.user() == *user)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// True if the server has told of everyone on the connection that there is.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// There is a new connection, which tells of everyone again.
    pub(super) fn begin(&mut self) {
        self.connection += 1;
        self.complete = false;
    }

    /// What is known may be out of date: there is no connection.
    pub(super) fn lose(&mut self) {
        self.complete = false;
    }

    pub(super) fn clear(&mut self) {
        self.peers.clear();
        self.bytes = 0;
        self.complete = false;
    }

    /// A peer is online, and tells this of itself.
    pub(super) fn tell(&mut self, record: PeerRecord, limits: &ClientLimits) -> Change {
        let room = self.peers.len() < limits.roster;
        let bytes = record.bytes();
        match self.peers.entry(record.address.id.clone()) {
            MapEntry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.told = self.connection;
                if *known.record == record {
                    return Change::Nothing;
                }
                let total = self.bytes - known.record.bytes() + bytes;
                if total > limits.roster_bytes {
                    return Change::Full;
                }
                self.bytes = total;
                known.record = Arc::new(record);
                Change::Updated(known.record.clone())
            }
            MapEntry::Vacant(_) if !room || self.bytes + bytes > limits.roster_bytes => {
                Change::Full
            }
            MapEntry::Vacant(entry) => {
                self.bytes += bytes;
                let record = Arc::new(record);
                let told = self.connection;
                entry.insert(Known { record: record.clone(), told, answered: None });
                Change::Online(record)
            }
        }
    }

    /// A peer is offline.
    pub(super) fn remove(&mut self, id: &str) -> Option<Arc<PeerRecord>> {
        let known = self.peers.remove(id)?;
        self.bytes -= known.record.bytes();
        Some(known.record)
    }

    /// The new connection has told of everyone: those of whom it has not are offline.
    pub(super) fn finish(&mut self) -> Vec<Arc<PeerRecord>> {
        self.complete = true;
        let gone: Vec<_> = self
            .peers
            .values()
            .filter(|known| known.told != self.connection)
            .map(|known| known.record.clone())
            .collect();
        for record in &gone {
            self.remove(record.id());
        }
        gone
    }

    /// True if a probe of that peer is to be answered: it was not within that time. Peers that are
    /// not known are answered.
    pub(super) fn may_answer(&mut self, id: &str, now: Timestamp) -> bool {
        /// How often one peer is answered at most.
        const INTERVAL: core::time::Duration = core::time::Duration::from_secs(1);
        let Some(known) = self.peers.get_mut(id) else { return true };
        if known.answered.is_some_and(|at| now.since(at) < INTERVAL) {
            return false;
        }
        known.answered = Some(now);
        true
    }
}
