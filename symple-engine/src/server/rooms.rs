//! Rooms: names made small, members side by side.

use alloc::{boxed::Box, vec::Vec};
use core::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use siphasher::sip::SipHasher13;

use super::{ConnId, split_table::SplitTable};

/// A room, by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RoomIndex(u32);

impl RoomIndex {
    fn at(self) -> usize {
        self.0 as usize
    }
}

/// A keyed hash: clients choose the names of rooms and must not be able to choose collisions.
#[derive(Clone, Debug)]
pub(super) struct Keys(pub(super) u64, pub(super) u64);

impl BuildHasher for Keys {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// A member of a room, as the room has it: all that a fan-out needs, in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// The connection that frames for the member go to.
    pub(super) conn: ConnId,
    /// The position of this membership in the list of the member.
    pub(super) membership: u32,
}

#[derive(Debug)]
struct Room {
    name: Box<str>,
    /// The members on this node, which frames go to.
    members: Vec<Member>,
    /// The members on other nodes.
    remotes: Vec<Member>,
    /// The last mark that was set; see [`Rooms::mark`].
    mark: u32,
    /// The last aim that was taken at it; see [`Rooms::aim_at`].
    aim: u32,
}

/// All rooms of the node. A room is there as long as it has members (R-R4).
#[derive(Debug)]
pub(super) struct Rooms {
    rooms: Vec<Room>,
    free: Vec<RoomIndex>,
    names: SplitTable<RoomIndex>,
    keys: Keys,
    mark: u32,
    aim: u32,
    /// Rooms that have got their first member of this node, or lost their last, in order; where
    /// anyone wants to know.
    occupancy: Option<Vec<(Box<str>, bool)>>,
}

impl Rooms {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            rooms: Vec::new(),
            free: Vec::new(),
            names: SplitTable::new(),
            keys,
            mark: 0,
            aim: 0,
            occupancy: None,
        }
    }

    /// The key for other hashes of values that clients choose, so that clients cannot predict these either.
    pub(super) fn seed(&self) -> u64 {
        self.keys.0
    }

    /// Keeps account of the rooms that this node has members in.
    pub(super) fn watch_occupancy(&mut self) {
        self.occupancy = Some(Vec::new());
    }

    /// The rooms that have got their first member of this node (`true`), or lost their last,
    /// since this was asked last.
    pub(super) fn take_occupancy(&mut self) -> Vec<(Box<str>, bool)> {
        self.occupancy.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// How many rooms have members.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn find(&self, name: &str) -> Option<RoomIndex> {
        let hash = self.keys.hash_one(name);
        self.names.find(hash, |room| *self.rooms[room.at()].name == *name).copied()
    }

    /// The room of that name, made if there is none. Its first member must follow.
    pub(super) fn find_or_add(&mut self, name: &str) -> RoomIndex {
        let Self { rooms, free, names, keys, .. } = self;
        let hash = keys.hash_one(name);
        let entry = names.entry(
            hash,
            |room| *rooms[room.at()].name == *name,
            |room| keys.hash_one(&*rooms[room.at()].name),
        );
        match entry {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let room = Room {
                    name: name.into(),
                    members: Vec::new(),
                    remotes: Vec::new(),
                    mark: 0,
                    aim: 0,
                };
                let index = match free.pop() {
                    Some(index) => {
                        rooms[index.at()] = room;
                        index
                    }
                    None => {
                        rooms.push(room);
                        RoomIndex(u32::try_from(rooms.len() - 1).expect("fewer rooms than 2^32"))
                    }
                };
                entry.insert(index);
                index
            }
        }
    }

    pub(super) fn name(&self, room: RoomIndex) -> &str {
        &self.rooms[room.at()].name
    }

    /// The members that are peers of this node.
    pub(super) fn members(&self, room: RoomIndex) -> &[Member] {
        &self.rooms[room.at()].members
    }

    /// The members that are peers of other nodes.
    pub(super) fn remotes(&self, room: RoomIndex) -> &[Member] {
        &self.rooms[room.at()].remotes
    }

    /// Adds a member that is not there yet; its position.
    pub(super) fn add(&mut self, room: RoomIndex, member: Member) -> u32 {
        let room = &mut self.rooms[room.at()];
        let list = if member.conn.is_remote() { &mut room.remotes } else { &mut room.members };
        if list.is_empty() {
            // Most rooms are those of users, and have one member: no place is kept for many.
            list.reserve_exact(2);
        }
        list.push(member);
        if let Some(occupancy) = &mut self.occupancy
            && room.members.len() == 1
            && !member.conn.is_remote()
        {
            occupancy.push((room.name.clone(), true));
        }
        let list = if member.conn.is_remote() { &room.remotes } else { &room.members };
        u32::try_from(list.len() - 1).expect("fewer members than 2^32")
    }

    /// Takes the member at that position out, of this node or of another; the one that now stands
    /// there instead, if any. The last one takes the room with it.
    pub(super) fn remove(
        &mut self,
        room: RoomIndex,
        position: u32,
        remote: bool,
    ) -> Option<Member> {
        let Room { name, members, remotes, .. } = &mut self.rooms[room.at()];
        let list = if remote { &mut *remotes } else { &mut *members };
        list.swap_remove(position as usize);
        let moved = list.get(position as usize).copied();
        // A room that was large does not keep its size for ever.
        if list.len() < list.capacity() / 4 {
            list.shrink_to(list.len() * 2);
        }
        if let Some(occupancy) = &mut self.occupancy
            && members.is_empty()
            && !remote
        {
            occupancy.push((name.clone(), false));
        }
        if members.is_empty() && remotes.is_empty() {
            let hash = self.keys.hash_one(&**name);
            if let Ok(entry) = self.names.find_entry(hash, |index| *index == room) {
                entry.remove();
            }
            *name = Box::default();
            *members = Vec::new();
            *remotes = Vec::new();
            self.free.push(room);
        }
        moved
    }

    /// A member's membership has moved in its own list.
    pub(super) fn set_membership(
        &mut self,
        room: RoomIndex,
        position: u32,
        membership: u32,
        remote: bool,
    ) {
        let room = &mut self.rooms[room.at()];
        let list = if remote { &mut room.remotes } else { &mut room.members };
        list[position as usize].membership = membership;
    }

    /// Unmarks all rooms.
    pub(super) fn unmark_all(&mut self) {
        self.mark = self.mark.wrapping_add(1);
        if self.mark == 0 {
            for room in &mut self.rooms {
                room.mark = 0;
            }
            self.mark = 1;
        }
    }

    /// Marks a room; false if it was marked already.
    pub(super) fn mark(&mut self, room: RoomIndex) -> bool {
        core::mem::replace(&mut self.rooms[room.at()].mark, self.mark) != self.mark
    }

    /// True if the room has been marked since all were unmarked.
    pub(super) fn is_marked(&self, room: RoomIndex) -> bool {
        self.rooms[room.at()].mark == self.mark
    }

    /// Aims at these rooms and at no others.
    pub(super) fn aim_at(&mut self, rooms: &[RoomIndex]) {
        self.aim = self.aim.wrapping_add(1);
        if self.aim == 0 {
            for room in &mut self.rooms {
                room.aim = 0;
            }
            self.aim = 1;
        }
        for room in rooms {
            self.rooms[room.at()].aim = self.aim;
        }
    }

    /// True if the room is one of those that were aimed at last.
    pub(super) fn is_aimed_at(&self, room: RoomIndex) -> bool {
        self.rooms[room.at()].aim == self.aim
    }

    /// The room in one of the places, if there is one; `None` behind the last place.
    pub(super) fn place(&self, place: u32) -> Option<Option<RoomIndex>> {
        let room = self.rooms.get(place as usize)?;
        Some((!room.name.is_empty()).then_some(RoomIndex(place)))
    }

    /// The rooms that have members, in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = RoomIndex> {
        (0..)
            .map(RoomIndex)
            .zip(&self.rooms)
            .filter_map(|(index, room)| (!room.name.is_empty()).then_some(index))
    }
}
