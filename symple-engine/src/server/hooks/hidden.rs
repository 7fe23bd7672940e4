//! Peers that nobody can address (R-H4).

use symple_proto::Recipient;

use crate::server::{ConnId, Server};

impl Server {
    /// Takes those hidden peers out of the pending receivers to whom a frame is addressed as users:
    /// they hear what their rooms hear, but for the room that bears their own name. Of the
    /// receivers the first so many are members; how many of these are left.
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
