//! What the client tells of itself, and what it hears of others (SPEC §6).

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use symple_proto::{
    Address, Fields, FrameView, RawJson, RoomName, To,
    json::{Json, Kind, push_string},
};

use crate::Timestamp;

use super::{
    Client, Event, OperationError,
    input::OperationId,
    machine::State,
    outgoing::{MAX_RECORD, OutgoingError},
    roster::{self, Change, Told},
};

/// What the client may do by itself: so much at once, and so much in a second.
#[derive(Debug)]
pub(super) struct Courtesy {
    full_at: Timestamp,
}

impl Courtesy {
    pub(super) fn new() -> Self {
        Self { full_at: Timestamp::ZERO }
    }

    /// True if there is one left, which then is used.
    pub(super) fn take(&mut self, now: Timestamp, per_second: u32) -> bool {
        /// How many there are at once, in seconds' worth.
        const BURST: u32 = 4;
        if per_second == 0 {
            return false;
        }
        let each = Duration::from_secs(1) / per_second;
        let full_at = self.full_at.max(now) + each;
        if full_at.since(now) > each * per_second * BURST {
            return false;
        }
        self.full_at = full_at;
        true
    }
}

impl Client {
    /// What the client tells of itself beside its address and name.
    #[must_use]
    pub fn record(&self) -> &Fields {
        &self.record
    }

    /// The caller has something else to tell of the client (R-P4). While it is not online it is
    /// told later.
    pub(super) fn set_record(&mut self, id: OperationId, record: Fields) {
        let size = record.to_json().len();
        if size > MAX_RECORD {
            let error = OutgoingError::TooLarge { size, limit: MAX_RECORD };
            return self.fail(id, error.into());
        }
        self.record = record;
        if matches!(self.state, State::Online(_)) {
            self.send_presence(None, false);
        }
        self.done(id);
    }

    pub(super) fn update_record(&mut self, id: OperationId, patch: Fields) {
        let mut record = self.record.clone();
        let removed: Vec<_> = patch
            .iter()
            .filter(|(_, value)| value.get().kind() == Kind::Null)
            .map(|(name, _)| String::from(name))
            .collect();
        record.merge(patch);
        for name in removed {
            record.remove(&name);
        }
        self.set_record(id, record);
    }

    /// Tells one, or all, what the client tells of itself. Who it is stands in it, too: not every
    /// server adds that.
    pub(super) fn send_presence(&mut self, to: Option<&str>, probe: bool) {
        let State::Online(online) = &self.state else { return };
        let mut data = Fields::new()
            .with("user", online.address.user.as_str())
            .with("id", online.address.id.as_str());
        // A session may have named it (R-A4).
        if let Some(name) = self.config.name.as_ref().or(online.peer.name.as_ref()) {
            data.set("name", name.as_str());
        }
        data.merge(self.record.clone());
        data.set("user", online.address.user.as_str());
        data.set("id", online.address.id.as_str());
        data.set("online", true);
        let mut text = String::from("{\"type\":\"presence\"");
        if let Some(to) = to {
            text.push_str(",\"to\":");
            push_string(&mut text, to);
        }
        if probe {
            text.push_str(",\"probe\":true");
        }
        text.push_str(",\"data\":");
        data.push_json(&mut text);
        text.push('}');
        self.send_text(text);
    }

    /// Where the server tells nothing of those who are in a room, they are asked.
    pub(super) fn probe_room(&mut self, room: &RoomName) {
        if matches!(&self.state, State::Online(online) if !online.tells_roster) && self.config.probe
        {
            self.send_presence(Some(room.as_str()), true);
        }
    }

    /// A presence has arrived: what it says goes to the roster, and a probe is answered. True if it
    /// says more than what the server itself says of a peer.
    pub(super) fn hear_presence(&mut self, view: &FrameView<'_>, from: Option<&Address>) -> bool {
        self.questions.progress(self.now);
        let own = |client: &Self, id: &str| matches!(&client.state, State::Online(online) if *online.address.id == *id);
        if from.is_some_and(|from| own(self, &from.id)) {
            self.stats.false_presence += 1;
            return false;
        }
        match view.data().filter(|data| data.kind() != Kind::Null) {
            None => {}
            Some(data) => match roster::read(from, data) {
                Some(told) if !own(self, told.record.id()) => self.fold(told),
                _ => self.stats.false_presence += 1,
            },
        }
        let (mut members, mut probe) = (0, false);
        view.object().for_each(|member| {
            members += 1;
            if member.key().as_deref() == Some("probe") {
                probe = member.value.text() == "true";
            }
        });
        if let Some(from) = from.filter(|_| probe) {
            self.answer_probe(from);
        }
        /// `type`, `from` and `data`.
        const MADE_BY_SERVER: usize = 3;
        members != MADE_BY_SERVER || view.data().is_none()
    }

    fn answer_probe(&mut self, from: &Address) {
        if self.roster.may_answer(&from.id, self.now) && self.may_answer() {
            let to = Self::address_text(from);
            self.send_presence(Some(&to), false);
        } else {
            self.stats.unanswered += 1;
        }
    }

    /// True if the client may answer something by itself.
    pub(super) fn may_answer(&mut self) -> bool {
        self.courtesy.take(self.now, self.config.limits.automatic_answers)
    }

    /// A peer is there, or not (R-P2, R-P3).
    fn fold(&mut self, told: Told) {
        if !told.online {
            return self.peer_gone(told.record.id());
        }
        match self.roster.tell(told.record, &self.config.limits) {
            Change::Online(record) => self.tell(Event::PeerOnline(record)),
            Change::Updated(record) => self.tell(Event::PeerUpdated(record)),
            Change::Nothing => {}
            Change::Full => self.stats.roster_full += 1,
        }
    }

    /// A peer is offline: nothing waits for it any more.
    fn peer_gone(&mut self, id: &str) {
        if let Some(record) = self.roster.remove(id) {
            self.tell(Event::PeerOffline(record));
        }
        self.peer_is_offline(id);
    }

    fn peer_is_offline(&mut self, id: &str) {
        for pending in self.requests.for_peer(id) {
            self.fail(pending.operation, OperationError::PeerOffline);
        }
        self.calls_peer_offline(id);
    }

    /// A batch of presence (R-X2).
    pub(super) fn hear_roster(&mut self, view: &FrameView<'_>) {
        self.questions.progress(self.now);
        let object = view.object();
        let own = match &self.state {
            State::Online(online) => online.address.id.clone(),
            _ => return,
        };
        if let Some(online) = object.get("online").and_then(Json::as_array) {
            online.for_each(|data| match roster::read(None, data) {
                Some(told) if *told.record.id() != own => self.fold(told),
                _ => self.stats.false_presence += 1,
            });
        }
        if let Some(offline) = object.get("offline").and_then(Json::as_array) {
            offline.for_each_str(|address| match address.split_once('|') {
                Some((_, id)) if *id != *own => self.peer_gone(id),
                _ => self.stats.false_presence += 1,
            });
        }
        let complete = object.get("complete").is_some_and(|complete| complete.text() == "true");
        if complete && !self.roster.is_complete() {
            self.complete_roster();
        }
    }

    /// All that the server tells of those who are there has arrived. Where it tells nothing, those
    /// who are there have been asked, and may take a moment to answer.
    pub(super) fn roster_told(&mut self) {
        let grace = self.config.limits.probe_grace;
        let now = self.now;
        match &mut self.state {
            State::Online(online) if online.tells_roster => {}
            State::Online(online) => {
                online.complete_at = Some(now + grace);
                return;
            }
            _ => return,
        }
        if !self.roster.is_complete() {
            self.complete_roster();
        }
    }

    /// The roster is that of the new connection.
    pub(super) fn complete_roster(&mut self) {
        if let State::Online(online) = &mut self.state {
            online.complete_at = None;
        }
        for record in self.roster.finish() {
            let id = record.id().clone();
            self.tell(Event::PeerOffline(record));
            self.peer_is_offline(&id);
        }
        self.tell(Event::RosterComplete);
    }

    /// A `to` that an `error` repeats.
    pub(super) fn read_to(to: &RawJson) -> Option<To> {
        if let Some(name) = to.as_str() {
            return Some(To::One(name.into_owned()));
        }
        let mut rooms = Vec::new();
        to.get().as_array()?.for_each_str(|room| rooms.push(room.into_owned()));
        Some(To::Rooms(rooms))
    }
}
