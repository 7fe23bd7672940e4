//! A session that is online.

use alloc::{boxed::Box, string::String, vec::Vec};

use symple_proto::{
    Address, Extension, Extensions, PeerId, PublicRecord, Token, UserName, json::quote,
};

use crate::Timestamp;

use super::{
    membership::{Membership, Reason},
    pending::Pending,
    rooms::RoomIndex,
};

/// A peer: who it is, where it is, what others know of it.
#[derive(Debug)]
pub(super) struct Peer {
    /// The address as a JSON string, quotes included: the form in which it goes into frames.
    quoted: Box<str>,
    /// The user, where the JSON string spells it another way.
    user: Option<Box<str>>,
    /// How many bytes at the end of the address are the id.
    id_len: u8,
    /// A peer of the host's own.
    pub(super) of_host: bool,
    /// It may not send, and join no rooms (R-H4).
    pub(super) read_only: bool,
    /// Nobody is told of it, and nobody but the host can address it (R-H4).
    pub(super) hidden: bool,
    /// The extensions that are on for its connection, if it has asked for any (R-X1).
    pub(super) extensions: Option<Extensions>,
    /// In how many batches it stands that have not been sent yet (R-X2).
    pub(super) noted: u32,
    /// What others know of it.
    pub(super) record: PublicRecord,
    /// The rooms that it is in.
    pub(super) memberships: Vec<Membership>,
    /// What it authenticated with.
    pub(super) token: Option<Token>,
    /// From when on a frame extends its session (R-S2).
    pub(super) touch_at: Timestamp,
    /// Whether a timer for the next look at its session is set.
    pub(super) watched: bool,
    /// A re-authentication that is being decided (R-A9).
    pub(super) pending: Option<Box<Pending>>,
}

impl Peer {
    pub(super) fn new(user: &str, id: &str, record: PublicRecord, token: Option<Token>) -> Self {
        let mut address = String::with_capacity(user.len() + 1 + id.len());
        address.push_str(user);
        address.push('|');
        address.push_str(id);
        let quoted = quote(&address).into_boxed_str();
        let spelled_alike = quoted.len() == address.len() + 2;
        Self {
            quoted,
            user: (!spelled_alike).then(|| user.into()),
            id_len: u8::try_from(id.len()).expect("an id has at most 64 bytes"),
            of_host: false,
            read_only: false,
            hidden: false,
            extensions: None,
            noted: 0,
            record,
            memberships: Vec::new(),
            token,
            touch_at: Timestamp::MAX,
            watched: false,
            pending: None,
        }
    }

    /// The address as a JSON string, quotes included.
    pub(super) fn quoted(&self) -> &str {
        &self.quoted
    }

    pub(super) fn id(&self) -> &str {
        let end = self.quoted.len() - 1;
        &self.quoted[end - usize::from(self.id_len)..end]
    }

    pub(super) fn user(&self) -> &str {
        match &self.user {
            Some(user) => user,
            None => &self.quoted[1..self.quoted.len() - 2 - usize::from(self.id_len)],
        }
    }

    pub(super) fn address(&self) -> Address {
        Address::new(
            UserName::new(self.user()).expect("the user was checked at admission"),
            PeerId::new(self.id()).expect("ids are made of digits and letters"),
        )
    }

    /// True if the extension is on for its connection (R-X1).
    pub(super) fn has(&self, extension: Extension) -> bool {
        self.extensions.is_some_and(|extensions| extensions.contains(extension))
    }

    /// Which of the memberships is that of the room.
    pub(super) fn membership(&self, room: RoomIndex) -> Option<usize> {
        self.memberships.iter().position(|membership| membership.room == room)
    }

    /// How many rooms the client has asked for.
    pub(super) fn asked_rooms(&self) -> usize {
        self.memberships.iter().filter(|membership| membership.reason == Reason::Asked).count()
    }
}

#[cfg(test)]
mod tests {
    use symple_proto::PeerMembers;

    use super::*;

    #[test]
    fn an_address_is_kept_once_in_all_its_forms() {
        for user in ["alice", "a\"b\\c", "é"] {
            let record = PublicRecord::of_peer(&PeerMembers::new(0), user, "0a");
            let peer = Peer::new(user, "0a", record, None);
            assert_eq!((peer.user(), peer.id()), (user, "0a"));
            assert_eq!(alloc::format!("{}", peer.address()), alloc::format!("{user}|0a"));
            assert_eq!(serde_json::from_str::<Address>(peer.quoted()).unwrap(), peer.address());
        }
    }
}
