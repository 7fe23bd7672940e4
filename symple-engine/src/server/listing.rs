//! Lists of peers and rooms, in pages: for the application and its operators (R-I1).
//!
//! A page is found by looking at a bounded number of places, however many peers there are and
//! however few of them are wanted. Peers and rooms stay in their places as long as they are there,
//! so a list from beginning to end has each of them exactly once that is there all the time.

use alloc::{string::String, vec::Vec};

use super::{
    ClusterPeer, ConnId, RoomInfo, Server, peer::Peer, remotes::NodeIndex, rooms::RoomIndex,
};

/// The most members of a room that are looked through for one page. In a larger room they are found
/// among all peers instead.
const FEW_MEMBERS: usize = 16_384;
/// How many members of a room can be looked through with the effort that one place costs.
const MEMBERS_PER_EFFORT: usize = 16;
/// What it costs to list a peer, beside its rooms.
const EFFORT_FOR_A_PEER: usize = 4;
/// The bytes of a record that cost as much to copy as one place costs to look at.
const BYTES_PER_EFFORT: usize = 64;
/// How many letters of a text that is searched for are compared in one look.
const LETTERS_PER_LOOK: usize = 16;
/// How many places without a peer cost as much as one with a peer.
const VACANT_PER_EFFORT: usize = 8;

/// Which peers a list has: those that match all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerFilter {
    /// The sessions of this user.
    pub user: Option<String>,
    /// The members of this room.
    pub room: Option<String>,
    /// The peers of the node of this id.
    pub node: Option<String>,
    /// Those whose user, id or name contains this text. Letters of ASCII match in either case.
    pub search: Option<String>,
}

/// Where a page of a list begins. The default is the beginning of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListCursor(u32);

impl ListCursor {
    /// The cursor of that number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number. It means something to the server that has made it, and as long as that runs.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// What is listed, in no order that means anything. There may be nothing although the list goes
    /// on.
    pub entries: Vec<T>,
    /// Where the list goes on; `None` at its end.
    pub next: Option<ListCursor>,
    /// The effort that it took: about the number of places that were looked at.
    pub effort: usize,
    /// The bytes of the records and of the names of rooms in it.
    pub bytes: usize,
}

impl<T> Page<T> {
    fn new() -> Self {
        Self { entries: Vec::new(), next: None, effort: 0, bytes: 0 }
    }
}

/// A [`PeerFilter`] with names that have been looked up.
struct Wanted<'a> {
    user: Option<&'a str>,
    room: Option<RoomIndex>,
    /// One of this node's, or of another one.
    node: Option<Option<NodeIndex>>,
    search: Option<&'a str>,
}

impl Wanted<'_> {
    /// What it costs to see whether a peer is wanted, beyond looking at its place.
    fn effort(&self, peer: &Peer) -> usize {
        let rooms = self.room.map_or(0, |_| peer.memberships.len() / MEMBERS_PER_EFFORT);
        // A name may be most of a record, and begin with the text in each of its places but for the end.
        let name = self.search.map_or(0, |text| {
            peer.record.text().len() / BYTES_PER_EFFORT * (1 + text.len() / LETTERS_PER_LOOK)
        });
        rooms + name
    }

    fn includes(&self, peer: &Peer, node: Option<NodeIndex>) -> bool {
        self.node.is_none_or(|wanted| wanted == node)
            && self.user.is_none_or(|user| peer.user() == user)
            && self.room.is_none_or(|room| peer.membership(room).is_some())
            && self.search.is_none_or(|text| {
                let found = |within: &str| contains(within, text);
                found(peer.user())
                    || found(peer.id())
                    || peer.record.name().is_some_and(|name| found(&name))
            })
    }
}

/// Whether a text contains another one, in which letters of ASCII match in either case.
fn contains(text: &str, sought: &str) -> bool {
    let (text, sought) = (text.as_bytes(), sought.as_bytes());
    sought.is_empty()
        || text.windows(sought.len()).any(|window| window.eq_ignore_ascii_case(sought))
}

impl Server {
    /// A page of the peers of all nodes that are online.
    ///
    /// It ends after `limit` peers, or when about `effort` places have been looked at, which costs
    /// at most some microseconds each. A page makes progress in any case.
    #[must_use]
    pub fn list_peers(
        &self,
        filter: &PeerFilter,
        from: ListCursor,
        limit: usize,
        effort: usize,
    ) -> Page<ClusterPeer> {
        let mut page = Page::new();
        let node = match &filter.node {
            None => None,
            Some(id) if self.node_id() == Some(id) => Some(None),
            Some(id) => {
                let Some(node) = self.find_node(id) else { return page };
                Some(Some(node))
            }
        };
        let room = match &filter.room {
            None => None,
            Some(name) => {
                let Some(room) = self.registry.rooms.find(name) else { return page };
                Some(room)
            }
        };
        let (user, search) = (filter.user.as_deref(), filter.search.as_deref());
        let wanted = Wanted { user, room, node, search };
        let rooms = &self.registry.rooms;
        let members = |room| rooms.members(room).iter().chain(rooms.remotes(room));
        if let Some(room) = room
            && rooms.members(room).len() + rooms.remotes(room).len() <= FEW_MEMBERS
        {
            let count = rooms.members(room).len() + rooms.remotes(room).len();
            page.effort += count / MEMBERS_PER_EFFORT;
            let slots = members(room).map(|member| member.conn.slot);
            let mut slots: Vec<_> = slots.filter(|slot| *slot >= from.0).collect();
            slots.sort_unstable();
            self.fill(&mut page, &wanted, slots.into_iter(), (limit, effort));
        } else {
            let here = u32::try_from(self.registry.slots()).unwrap_or(ConnId::REMOTE);
            let elsewhere = ConnId::REMOTE + self.registry.remote_places();
            let (here, elsewhere) = match node {
                None => (0..here, ConnId::REMOTE..elsewhere),
                Some(None) => (0..here, 0..0),
                Some(Some(_)) => (0..0, ConnId::REMOTE..elsewhere),
            };
            let here = here.start.max(from.0)..here.end;
            let elsewhere = elsewhere.start.max(from.0)..elsewhere.end;
            self.fill(&mut page, &wanted, here.chain(elsewhere), (limit, effort));
        }
        page
    }

    /// Lists who of those in the places is wanted, until the page is full.
    fn fill(
        &self,
        page: &mut Page<ClusterPeer>,
        wanted: &Wanted<'_>,
        places: impl Iterator<Item = u32>,
        (limit, effort): (usize, usize),
    ) {
        let (mut vacant, mut looked) = (0, false);
        for slot in places {
            // However little is allowed, the list goes on.
            if looked && (page.entries.len() >= limit || page.effort >= effort) {
                page.next = Some(ListCursor(slot));
                return;
            }
            looked = true;
            let Some((peer, node)) = self.registry.peer_at(slot) else {
                vacant += 1;
                page.effort += usize::from(vacant % VACANT_PER_EFFORT == 0);
                continue;
            };
            page.effort += 1 + wanted.effort(peer);
            if wanted.includes(peer, node)
                && let Some(listed) = self.listed(peer, node)
            {
                let rooms = listed.rooms.iter().map(|room| room.len()).sum::<usize>();
                let bytes = listed.record.len() + rooms;
                page.bytes += bytes;
                page.effort += EFFORT_FOR_A_PEER + listed.rooms.len() + bytes / BYTES_PER_EFFORT;
                page.entries.push(listed);
            }
        }
    }

    /// A page of the rooms that have members, on all nodes: those whose name contains a text, if one
    /// is given, in which letters of ASCII match in either case. As [`list_peers`](Self::list_peers).
    #[must_use]
    pub fn list_rooms(
        &self,
        search: Option<&str>,
        from: ListCursor,
        limit: usize,
        effort: usize,
    ) -> Page<RoomInfo> {
        let mut page = Page::new();
        let rooms = &self.registry.rooms;
        for place in from.0.. {
            let Some(room) = rooms.place(place) else { return page };
            if place > from.0 && (page.entries.len() >= limit || page.effort >= effort) {
                page.next = Some(ListCursor(place));
                return page;
            }
            page.effort += 1;
            if let Some(room) = room
                && search.is_none_or(|text| contains(rooms.name(room), text))
            {
                page.effort += EFFORT_FOR_A_PEER;
                page.bytes += rooms.name(room).len();
                page.entries.push(self.listed_room(room));
            }
        }
        page
    }

    /// The peer of that id, or of that full address, on whatever node it is.
    #[must_use]
    pub fn find_in_cluster(&self, peer: &str) -> Option<ClusterPeer> {
        let conn = self.find_peer(peer).ok()?;
        let node = self.registry.remote(conn).map(|remote| remote.node);
        self.registry.peer(conn).and_then(|peer| self.listed(peer, node))
    }

    /// The room of that name, if it has members on any node.
    #[must_use]
    pub fn find_room(&self, name: &str) -> Option<RoomInfo> {
        self.registry.rooms.find(name).map(|room| self.listed_room(room))
    }

    /// A peer as the application sees it. `None` for one of a node that is gone, which will be
    /// offline in a moment.
    pub(super) fn listed(&self, peer: &Peer, node: Option<NodeIndex>) -> Option<ClusterPeer> {
        let node = match node {
            Some(node) => Some(self.node_name(node)?),
            None => None,
        };
        Some(ClusterPeer {
            address: peer.address(),
            record: peer.record.text().into(),
            rooms: self.rooms_of(peer),
            node,
            read_only: peer.read_only,
            hidden: peer.hidden,
        })
    }

    pub(super) fn listed_room(&self, room: RoomIndex) -> RoomInfo {
        let rooms = &self.registry.rooms;
        RoomInfo {
            name: rooms.name(room).into(),
            members: rooms.members(room).len() + rooms.remotes(room).len(),
        }
    }
}
