//! Peers that nobody can address (R-H4).

use symple_proto::Recipient;

use crate::server::{ConnId, Server};

impl Server {
    /// Takes hidden peers out of the pending receivers if the frame is addressed to them as users. They
    /// receive frames for their rooms, except for the room that has their own name. The first receivers, as
    /// many as given, are members of a room. Returns how many of these are left.
    pub(in crate::server) fn spare_hidden(
        &mut self,
        recipient: &Recipient<'_>,
        members: usize,
    ) -> usize {
        if self.hooks.hidden == 0 {
            return members;
        }
        let pending = self.out.take_pending();
        let mut left = 0;
        for (at, conn) in pending.into_iter().enumerate() {
            if self.hears(conn, recipient) {
                left += usize::from(at < members);
                self.out.receivers().push(conn);
            }
        }
        left
    }

    fn hears(&self, conn: ConnId, recipient: &Recipient<'_>) -> bool {
        let Some(peer) = self.registry.peer(conn).filter(|peer| peer.hidden) else { return true };
        match recipient {
            Recipient::Name(name) => **name != *peer.user(),
            Recipient::Rooms(rooms) => {
                let mut other = false;
                rooms.for_each_str(|name| {
                    let room = self.registry.rooms.find(&name);
                    other |= *name != *peer.user()
                        && room.is_some_and(|room| self.registry.is_member(conn, room));
                });
                other
            }
            _ => true,
        }
    }
}
