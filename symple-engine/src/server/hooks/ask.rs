//! Asking the application about what a client does.

use alloc::{boxed::Box, format, string::String};

use symple_proto::{FrameView, Recipient, RoutedType, Status};

use super::{About, Asked, Question, QuestionAbout};
use crate::server::{Action, ConnId, RequestId, Server, Text, peer::Peer, timers::Timer};

/// So many deadlines of questions that have been answered are kept before they are cleared out.
const MAX_STALE: usize = 64;

impl Server {
    /// A routed frame of a peer of this node (R-H2, R-H4).
    pub(in crate::server) fn routed(
        &mut self,
        conn: ConnId,
        frame: &FrameView<'_>,
        kind: RoutedType,
    ) {
        let Some(peer) = self.registry.peer(conn) else { return };
        if peer.read_only {
            return self.refuse_read_only(conn);
        }
        if !self.config.hooks.frame || peer.of_host {
            return self.route(conn, frame, kind);
        }
        // What makes no sense is the client's own fault: nobody need be asked.
        let limit = self.config.limits.recipient_rooms;
        if let Err(error) = Recipient::decode(frame.to(), limit) {
            return self.bad_request(conn, &format!("Invalid to field: {error}"));
        }
        let text = Text::from(String::from(frame.text()));
        let about = QuestionAbout::Frame { kind };
        self.ask_hook(conn, text.clone(), about, About::Frame { text });
    }

    /// A client wants to join a room (R-H1, R-H4).
    pub(in crate::server) fn client_joins(
        &mut self,
        conn: ConnId,
        room: &str,
        frame: &FrameView<'_>,
    ) {
        let Some(peer) = self.registry.peer(conn) else { return };
        if peer.read_only {
            return self.refuse_read_only(conn);
        }
        let of_host = peer.of_host;
        let index = self.registry.rooms.find(room);
        let inside = index.is_some_and(|room| self.registry.is_member(conn, room));
        if !self.config.hooks.join || of_host || inside {
            return self.join(conn, room);
        }
        if self.join_reason(conn, room).is_none() {
            return;
        }
        let Some(peer) = self.registry.peer(conn) else { return };
        let record = peer.record.text().into();
        let text = Text::from(String::from(frame.text()));
        let about = QuestionAbout::Join { room: room.into(), record };
        self.ask_hook(conn, text, about, About::Join { room: room.into() });
    }

    /// A client wants to change the state of a room (R-K6).
    pub(in crate::server) fn ask_about_state(
        &mut self,
        conn: ConnId,
        room: &str,
        frame: &FrameView<'_>,
    ) {
        let text = Text::from(String::from(frame.text()));
        let about = QuestionAbout::State { room: room.into() };
        self.ask_hook(conn, text.clone(), about, About::State { room: room.into(), text });
    }

    pub(in crate::server) fn refuse_read_only(&mut self, conn: ConnId) {
        self.error(conn, Status::FORBIDDEN, "Read-only");
    }

    fn ask_hook(&mut self, conn: ConnId, frame: Text, question: QuestionAbout, about: About) {
        let Some(peer) = self.registry.peer(conn).map(Peer::address) else { return };
        self.last_request += 1;
        let request = RequestId(self.last_request);
        self.stats.hooks_asked += 1;
        let mut counted = self.waiting.part();
        counted.set(frame.as_bytes().len());
        let asked = Asked { request, about, counted };
        self.hooks.asked.insert(conn, asked);
        self.hooks.open.insert(request, conn);
        self.expect_answer(request);
        let question = Box::new(Question { peer, frame, about: question });
        self.out.push(Action::Ask { request, question });
    }

    /// Remembers when an answer is due. All may take as long, so they are due in order; and there
    /// is one timer for all, however many are answered in time.
    fn expect_answer(&mut self, request: RequestId) {
        let timeout = self.config.hooks.timeout;
        if timeout.is_zero() {
            return;
        }
        let due = self.now + timeout;
        let hooks = &mut self.hooks;
        hooks.deadlines.push_back((due, request));
        if hooks.deadlines.len() > MAX_STALE + 2 * hooks.open.len() {
            let open = &hooks.open;
            hooks.deadlines.retain(|(_, request)| open.contains_key(request));
        }
        if !core::mem::replace(&mut hooks.timer, true) {
            self.timers.set(due, Timer::Hooks);
        }
    }

    /// Denies what has not been answered in time (R-H5).
    pub(in crate::server) fn hooks_timeout(&mut self) {
        self.hooks.timer = false;
        while let Some((due, request)) = self.hooks.deadlines.front().copied() {
            let open = self.hooks.open.contains_key(&request);
            if open && due > self.now {
                self.hooks.timer = true;
                return self.timers.set(due, Timer::Hooks);
            }
            self.hooks.deadlines.pop_front();
            if open {
                self.stats.hooks_late += 1;
                self.hook_failed(request);
            }
        }
    }
}
