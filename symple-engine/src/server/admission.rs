//! From a connection to a peer (SPEC §3).

use alloc::{
    boxed::Box,
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec::Vec,
};

use symple_proto::{
    CloseCode, Extensions, FrameType, FrameView, SessionError, SessionRecord, Status, error::Fault,
    frame::Welcome,
};

use super::{
    Action, ConnId, Event, FrameKind, RequestId, Server, SessionLookup, Verdict,
    claim::{Claim, FAILED, INVALID_SESSION, Refusal},
    flow::{PAUSED_BY_BUS, PAUSED_BY_PENDING, PAUSED_BY_RATE},
    jobs::Job,
    membership::Reason,
    newcomers::Place,
    peer::Peer,
    pending::{Pending, Stage},
    registry::Session,
    timers::Timer,
};

/// The length of a peer id: 103 random bits in digits and letters (R-F6).
const ID_LEN: usize = 20;

impl Server {
    /// The first frame of a connection (R-F4).
    pub(super) fn first_frame(&mut self, conn: ConnId, text: &str) {
        let parsed = FrameView::parse(text, self.config.limits.depth);
        let kind = parsed
            .as_ref()
            .map_or(FrameKind::Other, |frame| FrameKind::of_client(&frame.frame_type()));
        self.stats.received.add(kind, 1);
        let refusal = match parsed {
            Ok(frame) if frame.frame_type() == Ok(FrameType::Auth) => {
                return self.authenticate(conn, &frame);
            }
            // Valid JSON that is not an object is not a protocol error here: it is just not `auth`.
            Ok(_) => Refusal::unauthorized("Not authenticated"),
            Err(error) if error.fault() == Fault::NotAnObject => {
                Refusal::unauthorized("Not authenticated")
            }
            Err(error) => Refusal::bad_request(format!("Invalid frame: {error}")),
        };
        self.refuse(conn, &refusal);
    }

    /// An `auth` frame, of a stranger or of a peer (R-A1, R-A9).
    pub(super) fn authenticate(&mut self, conn: ConnId, frame: &FrameView<'_>) {
        let claim = match Claim::read(frame, &self.config, self.registry.rooms.seed()) {
            Ok(claim) => claim,
            Err(refusal) => return self.refuse(conn, &refusal),
        };
        let id = match self.registry.peer(conn) {
            Some(peer) => peer.id().into(),
            None => self.new_id(),
        };
        if !self.config.proves() {
            return self.admit(conn, &claim, &id);
        }
        let stage = if self.config.authentication { Stage::Session } else { Stage::Hook };
        let place = match self.registry.get(conn) {
            Some(connection) if self.registry.peer(conn).is_none() => {
                self.deciding.add(conn, connection.address, self.now)
            }
            _ => Place::default(),
        };
        let auth = frame.text().into();
        let mut pending = Pending::new(stage, claim, id, place, auth, &self.waiting);
        pending.since = self.now;
        self.ask(conn, Box::new(pending));
    }

    /// Asks who decides at this stage.
    fn ask(&mut self, conn: ConnId, mut pending: Box<Pending>) {
        self.last_request += 1;
        let request = RequestId(self.last_request);
        pending.request = request;
        self.requests.insert(request, conn);
        if !self.config.auth_timeout.is_zero() {
            self.timers.set(self.now + self.config.auth_timeout, Timer::Decision(request));
        }
        match (pending.stage, &pending.claim.token) {
            (Stage::Session, Some(token)) => {
                self.out.push(Action::LoadSession { request, token: token.clone() });
            }
            _ => {
                pending.stage = Stage::Hook;
                let host = self.host(conn);
                self.out.push(Action::Authenticate {
                    request,
                    conn,
                    peer: pending.claim.peer(&pending.id, host.as_deref()).into(),
                    auth: pending.auth.clone(),
                    session: pending.take_session(),
                });
            }
        }
        let Some(connection) = self.registry.get_mut(conn) else { return };
        match &mut connection.session {
            Session::Online(peer) => {
                // It stood itself among what waited: the rest waits for it.
                if let Some(mut before) = peer.pending.take() {
                    pending.take_queue(&mut before);
                }
                peer.pending = Some(pending);
            }
            session => *session = Session::Authenticating(pending),
        }
    }

    /// The authentication behind a question, unless its connection is gone (R-A10).
    fn take_pending(&mut self, request: RequestId) -> Option<(ConnId, Box<Pending>)> {
        let conn = self.requests.remove(&request)?;
        let connection = self.registry.get_mut(conn)?;
        match &mut connection.session {
            Session::Online(peer) => peer.pending.take().map(|pending| (conn, pending)),
            session @ Session::Authenticating(_) => {
                match core::mem::replace(session, Session::AwaitingAuth(Place::default())) {
                    Session::Authenticating(pending) => Some((conn, pending)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Handles the result of the look-up of a session (R-A4).
    pub(super) fn session_loaded(&mut self, request: RequestId, found: SessionLookup<'_>) {
        let Some((conn, mut pending)) = self.take_pending(request) else { return };
        let merged = match found {
            SessionLookup::Found(text) => self.merge_session(conn, &mut pending.claim, text),
            SessionLookup::Proved { session, expires } => {
                // There is nothing in the store to be extended or watched.
                pending.claim.token = None;
                pending.claim.expires = expires.map(|after| self.now + after);
                self.merge_session(conn, &mut pending.claim, session)
            }
            SessionLookup::Refused { message } => {
                Err(Refusal::unauthorized(format!("{FAILED}: {message}")))
            }
            SessionLookup::Missing => {
                Err(Refusal::unauthorized("Authentication failed: No session"))
            }
            SessionLookup::Unavailable => Err(Refusal::unavailable()),
        };
        let session = match found {
            SessionLookup::Found(text) | SessionLookup::Proved { session: text, .. } => text,
            _ => "",
        };
        if merged.is_ok() && self.config.hook {
            pending.stage = Stage::Hook;
            pending.keep_session(session);
            self.ask(conn, pending);
        } else {
            self.decided(conn, pending, merged);
        }
    }

    /// Lays a session over a claim, and tells the host what is wrong with it (R-A4).
    fn merge_session(
        &mut self,
        conn: ConnId,
        claim: &mut Claim,
        text: &str,
    ) -> Result<(), Refusal> {
        let (fault, merged) = match SessionRecord::parse(text) {
            Ok(session) => {
                let fault = session.check().err();
                (fault, claim.merge_session(session, &self.config.sessions))
            }
            Err(error @ SessionError::NotAnObject) => {
                (Some(error), Err(Refusal::unauthorized(format!("{FAILED}: {error}"))))
            }
            Err(error) => (Some(error), Err(Refusal::unauthorized(INVALID_SESSION))),
        };
        if let Some(fault) = fault {
            let user = claim.user.clone();
            self.out.push(Action::Event(Event::SessionFault { conn, user, fault }));
        }
        merged
    }

    /// Handles the answer of the authentication hook (R-A5). Only an explicit answer allows (R-A12).
    pub(super) fn auth_decided(&mut self, request: RequestId, verdict: Verdict) {
        let Some((conn, mut pending)) = self.take_pending(request) else { return };
        let merged = match verdict {
            Verdict::Allow { user, rooms, peer, expires } => {
                // No hook prolongs what a token proves.
                let ends = [pending.claim.expires, expires.map(|after| self.now + after)];
                pending.claim.expires = ends.into_iter().flatten().min();
                pending.claim.merge_hook(user, &rooms, peer)
            }
            Verdict::Unavailable => Err(Refusal::unavailable()),
            Verdict::Deny { message } => Err(match message {
                Some(message) if !message.is_empty() => {
                    Refusal::unauthorized(String::from(message))
                }
                _ => Refusal::unauthorized(FAILED),
            }),
        };
        self.decided(conn, pending, merged);
    }

    /// Gives a re-authentication up that is being decided: what waits for it need not wait any more.
    pub(super) fn give_up_pending(&mut self, conn: ConnId) {
        if let Some(peer) = self.registry.peer_mut(conn)
            && let Some(pending) = &mut peer.pending
            && pending.stage != Stage::Settled
        {
            self.requests.remove(&pending.request);
            pending.settle();
        }
    }

    /// Ends a decision that takes too long. A late hook counts as a denial, a late look-up as unavailable.
    pub(super) fn decision_timeout(&mut self, request: RequestId) {
        let Some((conn, pending)) = self.take_pending(request) else { return };
        let refusal = match pending.stage {
            Stage::Session => Refusal::unavailable(),
            Stage::Hook | Stage::Settled => Refusal::unauthorized(FAILED),
        };
        self.decided(conn, pending, Err(refusal));
    }

    /// No `auth` in time (R-A2).
    pub(super) fn auth_timeout(&mut self, conn: ConnId) {
        if let Some(connection) = self.registry.get(conn)
            && let Session::AwaitingAuth(_) = connection.session
        {
            self.stats.refused += 1;
            self.tell_refused(conn, Status::TIMEOUT, "Authentication timeout");
            self.error(conn, Status::TIMEOUT, "Authentication timeout");
            self.close(conn, CloseCode::AUTH_TIMEOUT, "Authentication timeout");
        }
    }

    fn decided(&mut self, conn: ConnId, mut pending: Box<Pending>, merged: Result<(), Refusal>) {
        self.deciding.remove(core::mem::take(&mut pending.place));
        self.stats.authentication.add(self.now.since(pending.since));
        let named = merged.and_then(|()| {
            let named = pending.claim.check_named(&self.config);
            if named.is_err() {
                let (user, fault) = (pending.claim.user.clone(), SessionError::NoUser);
                self.out.push(Action::Event(Event::SessionFault { conn, user, fault }));
            }
            named
        });
        match named {
            // Whom it meets is charged to it, as with a frame.
            Ok(()) => self.charged_arrival(conn, |server| {
                server.admit(conn, &pending.claim, &pending.id);
            }),
            Err(refusal) => self.refuse(conn, &refusal),
        }
        if let Some(peer) = self.registry.peer_mut(conn) {
            pending.settle();
            peer.pending = Some(pending);
            self.run_queue(conn);
        }
    }

    /// Sends a client the error and closes it. A peer that could not authenticate again stays as it was (R-A7,
    /// R-A9).
    fn refuse(&mut self, conn: ConnId, refusal: &Refusal) {
        self.stats.refused += 1;
        self.tell_refused(conn, refusal.status, &refusal.message);
        self.error(conn, refusal.status, &refusal.message);
        if self.registry.peer(conn).is_none() {
            self.close(conn, refusal.code, refusal.reason());
        }
    }

    /// Lets a client in: a stranger becomes a peer, a peer is confirmed.
    fn admit(&mut self, conn: ConnId, claim: &Claim, id: &str) {
        if let Some(peer) = self.registry.peer(conn) {
            if *peer.user() != *claim.user {
                let refusal = Refusal {
                    status: Status::FORBIDDEN,
                    message: "Cannot authenticate as another user".into(),
                    code: CloseCode::FORBIDDEN,
                };
                return self.refuse(conn, &refusal);
            }
            return self.confirm(conn, claim, id);
        }
        let record = claim.record(id);
        let limit = self.config.limits.record;
        if record.text().len() > limit {
            let message = format!("Peer data larger than {limit} bytes");
            return self.refuse(conn, &Refusal::too_large(message));
        }
        self.unauthenticated -= 1;
        let limit = self.config.limits.message;
        self.out.push(Action::SetMessageLimit { conn, limit });
        let mut peer = Peer::new(&claim.user, id, record, claim.token.clone());
        (peer.read_only, peer.hidden) = (claim.read_only, claim.unseen);
        peer.extensions = claim.extensions;
        let host = self.host(conn);
        let told = claim.peer(id, host.as_deref());
        self.go_online(conn, Box::new(peer), &told, claim);
        self.session_used(conn);
        self.set_expiry(conn, claim.expires);
    }

    /// A new peer comes online (R-A8, R-P2, R-P3); `told` is what it is told of itself.
    pub(super) fn go_online(&mut self, conn: ConnId, peer: Box<Peer>, told: &str, claim: &Claim) {
        self.stats.admitted += 1;
        self.hooks.hidden += usize::from(peer.hidden);
        self.registry.set_online(conn, peer);
        let own = core::iter::once((&*claim.user, Reason::Own));
        let rooms: Vec<_> =
            own.chain(claim.rooms.iter().map(|(room, reason)| (&**room, *reason))).collect();
        self.welcome(conn, told, &rooms, claim.extensions);
        self.arrive(conn, &rooms);
        self.announce_online(conn);
        self.tell_online(conn);
        if let Some(peer) = self.registry.peer(conn) {
            let peer = self.config.events.then(|| peer.address());
            if let Some(peer) = peer {
                let rooms = rooms.iter().map(|(room, _)| (*room).into()).collect();
                self.tell_host(|| Event::Online { conn, peer, rooms });
            }
        }
    }

    /// A peer has authenticated again (R-A9): it gets the rooms that it is assigned now, keeps
    /// those that it has asked for, and is welcomed with the id that it has.
    fn confirm(&mut self, conn: ConnId, claim: &Claim, id: &str) {
        let Some(peer) = self.registry.peer(conn) else { return };
        let claimed: BTreeSet<&str> = claim.rooms.iter().map(|(name, _)| &**name).collect();
        let claimed = |room: &str| claimed.contains(room);
        let mut kept = Vec::new();
        let mut lost = Vec::new();
        for membership in &peer.memberships {
            let name = self.registry.rooms.name(membership.room);
            match membership.reason {
                // Its user's own is named first in any case, whoever has put it there.
                _ if *name == *claim.user => {}
                reason @ (Reason::Asked | Reason::Placed) if !claimed(name) => {
                    kept.push((Box::<str>::from(name), reason));
                }
                Reason::Assigned if !claimed(name) => lost.push(membership.room),
                _ => {}
            }
        }
        let asked = |rooms: &[(Box<str>, Reason)]| {
            rooms.iter().filter(|(_, reason)| *reason == Reason::Asked).count()
        };
        let limit = self.config.limits.rooms_per_peer;
        if asked(&claim.rooms) > 0 && asked(&kept) + asked(&claim.rooms) > limit {
            let message = format!("Too many rooms: the limit is {limit}");
            return self.refuse(conn, &Refusal::bad_request(message));
        }
        if let Some(peer) = self.registry.peer_mut(conn) {
            peer.token.clone_from(&claim.token);
            // Whether it is hidden stays as it was: others have been told of it, or not.
            let changed = peer.read_only != claim.read_only;
            peer.read_only = claim.read_only;
            if changed {
                self.announce_online(conn);
            }
        }
        self.session_used(conn);
        self.set_expiry(conn, claim.expires);
        let host = self.host(conn);
        let told = claim.peer(id, host.as_deref());
        let own = core::iter::once((&*claim.user, Reason::Own));
        let rooms: Vec<_> = own
            .chain(claim.rooms.iter().map(|(room, reason)| (&**room, *reason)))
            .chain(kept.iter().map(|(room, reason)| (&**room, *reason)))
            .collect();
        // Those of the connection stay as they were (R-X1).
        let asked_now = claim.extensions.map(|_| Extensions::NONE);
        let on = self.registry.peer(conn).and_then(|peer| peer.extensions).or(asked_now);
        self.welcome(conn, &told, &rooms, on);
        let gained: Vec<Box<str>> = if self.config.events {
            let outside = |room: &str| {
                let room = self.registry.rooms.find(room);
                room.is_none_or(|room| !self.registry.is_member(conn, room))
            };
            let gained = rooms.iter().map(|(room, _)| *room).filter(|room| outside(room));
            gained.map(Into::into).collect()
        } else {
            Vec::new()
        };
        self.enter(conn, &rooms);
        for room in gained {
            self.tell_host_of_room(conn, &room, |peer, room| Event::Joined { peer, room });
        }
        for room in lost {
            let name: Box<str> = self.registry.rooms.name(room).into();
            self.exit(conn, room);
            self.tell_host_of_room(conn, &name, |peer, room| Event::Left { peer, room });
        }
    }

    fn welcome(
        &mut self,
        conn: ConnId,
        peer: &str,
        rooms: &[(&str, Reason)],
        extensions: Option<Extensions>,
    ) {
        let rooms: Vec<_> = rooms.iter().map(|(room, _)| *room).collect();
        let text = Self::write(256 + peer.len(), |text| {
            Welcome::push(peer, &rooms, extensions, text);
        });
        self.out.send_to(conn, text);
        self.see_states(conn, rooms.iter().copied(), false);
        self.owe_complete(conn);
    }

    /// The client's address, as its peer has it.
    fn host(&self, conn: ConnId) -> Option<String> {
        let address = self.registry.get(conn)?.address?.to_canonical();
        (!address.is_unspecified()).then(|| address.to_string())
    }

    /// A new peer id (R-F6).
    pub(super) fn new_id(&mut self) -> Box<str> {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        loop {
            let mut bytes = [0; 16];
            self.random.fill(&mut bytes);
            let mut number = u128::from_le_bytes(bytes);
            let mut id = String::with_capacity(ID_LEN);
            for _ in 0..ID_LEN {
                id.push(char::from(DIGITS[(number % 36) as usize]));
                number /= 36;
            }
            if self.registry.find(&id).is_none() {
                return id.into();
            }
        }
    }

    /// A text that must wait for a decision (R-A11). What has been read is kept; past the bound
    /// nothing more is read.
    pub(super) fn queue(&mut self, conn: ConnId, text: &str) {
        let limit = self.config.limits.message_unauthenticated;
        let asked = self.hooks.is_asked(conn);
        let Some(connection) = self.registry.get_mut(conn) else { return };
        let pending = match &mut connection.session {
            Session::Authenticating(pending) => pending,
            // What waits for the application is handled as what has waited for a decision.
            Session::Online(peer) if peer.pending.is_some() || asked => {
                peer.pending.get_or_insert_with(|| Box::new(Pending::settled(&self.waiting)))
            }
            _ => return,
        };
        if pending.push(text) > limit {
            self.pause(conn, PAUSED_BY_PENDING);
        }
        // Of a client that is gone no more may come than is allowed, though it is not handled yet.
        if asked && self.departed.contains_key(&conn) {
            self.charge(conn, 1, 0, 0);
        }
    }

    /// Handles what has waited for a decision, in slices, and no faster than the peer may send
    /// (R-L3): that it came earlier is no reason to do all of it at once. Meanwhile what follows
    /// waits behind it; from the next question to somebody on all waits again.
    pub(super) fn run_queue(&mut self, conn: ConnId) {
        if let Some(peer) = self.registry.peer_mut(conn)
            && let Some(pending) = &mut peer.pending
            && pending.stage == Stage::Settled
            && !core::mem::replace(&mut pending.running, true)
        {
            self.start(Job::HandleQueue { conn });
        }
    }

    /// Handles the next frame of those that have waited; how many bytes it had. `None` if there is
    /// none, or it has to wait longer.
    pub(super) fn handle_queued(&mut self, conn: ConnId) -> Option<usize> {
        let slowed = !self.departed.contains_key(&conn)
            && self.registry.get(conn)?.paused & (PAUSED_BY_RATE | PAUSED_BY_BUS) != 0;
        let stops = slowed || self.hooks.is_asked(conn);
        let now = self.now;
        let peer = self.registry.peer_mut(conn)?;
        let pending = peer.pending.as_mut().filter(|pending| pending.stage == Stage::Settled)?;
        if stops {
            pending.running = false;
            return None;
        }
        let Some(text) = pending.pop() else {
            peer.pending = None;
            self.resume(conn, PAUSED_BY_PENDING);
            return None;
        };
        if peer.touch_at <= now {
            self.touch_session(conn);
        }
        self.charged(conn, |server| server.frame(conn, &text));
        Some(text.len())
    }

    /// A peer is gone: what has waited is handled now or never, and that is no more than others can
    /// wait for.
    pub(super) fn finish_queue(&mut self, conn: ConnId) {
        if self.registry.peer(conn).is_none_or(|peer| peer.pending.is_none()) {
            return;
        }
        let left = self.config.rate.unwrap_or_default().of_a_departed();
        self.departed.entry(conn).or_insert(left);
        self.hooks.forget(conn);
        self.give_up_pending(conn);
        let enough = self.caused() + self.config.work_burst;
        while self.caused() < enough && self.handle_queued(conn).is_some() {}
        let pending = self.registry.peer(conn).and_then(|peer| peer.pending.as_ref());
        if pending.is_some_and(|pending| !pending.is_empty()) {
            self.stats.departed_cut_short += 1;
        }
    }
}
