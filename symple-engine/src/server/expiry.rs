//! Peers whose authentication ends at a time that is known beforehand (R-V1).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
};
use core::time::Duration;

use symple_proto::{CloseCode, Extension, Status};

use crate::Timestamp;

use super::{ConnId, OfflineReason, Server, Text};

/// How long before its time a client is told that asks for it (extension `expires`).
const WARNING: Duration = Duration::from_secs(60);

/// When authentications end. It holds one entry for each peer that has such a time, and nothing for
/// all others.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    by_time: BTreeSet<(Timestamp, ConnId)>,
    by_peer: BTreeMap<ConnId, Expiry>,
}

#[derive(Clone, Copy, Debug)]
struct Expiry {
    /// When the authentication ends.
    ends: Timestamp,
    /// When there is something to do about it: to warn, or to end it.
    due: Timestamp,
}

impl Expiries {
    /// Sets when the authentication of a peer ends, in place of what was said before.
    fn set(&mut self, conn: ConnId, expiry: Expiry) {
        self.remove(conn);
        self.by_time.insert((expiry.due, conn));
        self.by_peer.insert(conn, expiry);
    }

    /// Forgets when the authentication of a peer ends.
    pub(super) fn remove(&mut self, conn: ConnId) {
        if let Some(expiry) = self.by_peer.remove(&conn) {
            self.by_time.remove(&(expiry.due, conn));
        }
    }

    /// When there is something to do.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out a peer for which there is something to do, and when its authentication ends.
    fn pop_due(&mut self, now: Timestamp) -> Option<(ConnId, Timestamp)> {
        let (due, conn) = *self.by_time.first()?;
        if due > now {
            return None;
        }
        let ends = self.by_peer.get(&conn)?.ends;
        self.remove(conn);
        Some((conn, ends))
    }
}

impl Server {
    /// Sets when the authentication of a peer ends, in place of what was said before; `None` means
    /// never. A client that has asked for the extension `expires` is warned a minute before, or now if
    /// less is left.
    pub(super) fn set_expiry(&mut self, conn: ConnId, ends: Option<Timestamp>) {
        let Some(ends) = ends else { return self.expiries.remove(conn) };
        let warns = self.registry.peer(conn).and_then(|peer| peer.extensions);
        let warns = warns.is_some_and(|extensions| extensions.contains(Extension::Expires));
        let due = if warns { (ends - WARNING).max(self.now) } else { ends };
        self.expiries.set(conn, Expiry { ends, due });
    }

    /// Warns and closes peers whose authentication ends. Many may end at the same moment: then the
    /// rest is done with the next [`Timeout`](super::Input::Timeout), which is due at once.
    pub(super) fn expire(&mut self) {
        let enough = self.caused() + self.config.work_burst.max(1);
        while let Some((conn, ends)) = self.expiries.pop_due(self.now) {
            if ends > self.now {
                // Rounded up: whoever has less than a second has a second, and not none.
                let left = (ends.since(self.now) + Duration::from_nanos(999_999_999)).as_secs();
                let text = format!(r#"{{"type":"event","name":"expires","data":{{"in":{left}}}}}"#);
                self.out.send_to(conn, Text::from(text));
                self.expiries.set(conn, Expiry { ends, due: ends });
            } else {
                self.session_expired(conn);
            }
            if self.caused() >= enough {
                return;
            }
        }
    }

    /// Closes a peer whose session or authentication has ended (R-S2, R-V1).
    pub(super) fn session_expired(&mut self, conn: ConnId) {
        self.stats.sessions_expired += 1;
        self.error(conn, Status::UNAUTHORIZED, "Session expired");
        let why = OfflineReason::SessionExpired;
        self.end(conn, CloseCode::UNAUTHORIZED, "Session expired", why);
    }
}
