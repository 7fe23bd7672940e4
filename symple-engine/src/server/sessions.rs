//! The life of sessions (R-S2): one that is used is extended, and a peer ends with its session.

use symple_proto::Token;

use crate::Timestamp;

use super::{Action, ConnId, Server, timers::Timer};

/// A session is extended again when this part of its life has gone by.
const TOUCHES_PER_LIFE: u32 = 4;

impl Server {
    /// A peer has authenticated with a token: its session lives on, and is looked after.
    pub(super) fn session_used(&mut self, conn: ConnId) {
        self.touch_session(conn);
        let interval = self.config.sessions.check_interval;
        if !self.config.authentication || interval.is_zero() {
            return;
        }
        if let Some(peer) = self.registry.peer_mut(conn)
            && peer.token.is_some()
            && !core::mem::replace(&mut peer.watched, true)
        {
            self.timers.set(self.now + interval, Timer::Session(conn));
        }
    }

    /// Extends the session of a peer.
    pub(super) fn touch_session(&mut self, conn: ConnId) {
        let now = self.now;
        let ttl = self.config.sessions.ttl.filter(|_| self.config.authentication);
        let Some(peer) = self.registry.peer_mut(conn) else { return };
        match (ttl, peer.token.clone()) {
            (Some(ttl), Some(token)) => {
                peer.touch_at = now + ttl / TOUCHES_PER_LIFE;
                self.out.push(Action::TouchSession { token, ttl });
            }
            _ => peer.touch_at = Timestamp::MAX,
        }
    }

    /// It is time to see whether a peer's session is still there.
    pub(super) fn check_session(&mut self, conn: ConnId) {
        let Some(peer) = self.registry.peer_mut(conn) else { return };
        let Some(token) = peer.token.clone() else {
            // It has another proof by now. Should it come back with a session, that is watched anew.
            peer.watched = false;
            return;
        };
        self.out.push(Action::CheckSession { conn, token });
        self.timers.set(self.now + self.config.sessions.check_interval, Timer::Session(conn));
    }

    /// Whether a session is still there. The peer may be gone, or have another session by now.
    pub(super) fn session_checked(&mut self, conn: ConnId, token: &Token, live: bool) {
        let Some(peer) = self.registry.peer(conn) else { return };
        if !live && peer.token.as_ref() == Some(token) {
            self.session_expired(conn);
        }
    }
}
