//! What happens to calls.

use alloc::{boxed::Box, collections::BTreeSet, string::String, vec::Vec};

use symple_proto::{
    Address, FrameView, PeerId, RawJson, call,
    json::{Json, push_string},
};

use crate::Timestamp;

use super::{
    super::{
        Action, Client, Event, OperationError, Reply,
        frame::short,
        input::OperationId,
        machine::{State, after},
    },
    Call, CallEnd, CallEvent, CallId, CallState, Callee, Signal,
};

/// The other sessions of a user are told this when one has taken a call.
const ELSEWHERE: &str = "answered elsewhere";
/// A caller is told this by one who has another call.
const BUSY: &str = "busy";
/// How many sessions of a user ring at most, of those that are told when the call is taken.
const MAX_RINGING: usize = 256;

impl Client {
    /// The caller wants to call somebody.
    pub(in super::super) fn call(
        &mut self,
        id: OperationId,
        callee: Callee,
        data: Option<&RawJson>,
    ) {
        let Some(config) = self.config.calls else {
            return self.fail(id, OperationError::CallsOff);
        };
        let State::Online(online) = &self.state else { return self.fail_offline(id) };
        if matches!(&callee, Callee::Peer(peer) if peer.id == online.address.id) {
            return self.fail(id, OperationError::PeerOffline);
        }
        let overlaps = |call: &Call| match (&call.with, &callee) {
            (Callee::User(user), Callee::User(called)) => user == called,
            (Callee::Peer(peer), Callee::User(user)) | (Callee::User(user), Callee::Peer(peer)) => {
                peer.user == *user
            }
            (Callee::Peer(peer), Callee::Peer(called)) => peer.id == called.id,
        };
        if self.calls.calls.values().any(overlaps) {
            return self.fail(id, OperationError::AlreadyCalling);
        }
        let limit = config.max_calls;
        if self.calls.calls.len() >= limit {
            return self.fail(id, OperationError::TooMany { what: "calls", limit });
        }
        let ringing = match &callee {
            Callee::Peer(_) => BTreeSet::new(),
            Callee::User(user) => {
                let sessions = self.roster.of_user(user).take(MAX_RINGING);
                sessions.map(|record| record.id().clone()).collect()
            }
        };
        let to = match &callee {
            Callee::Peer(peer) => Self::address_text(peer),
            Callee::User(user) => String::from(user.as_str()),
        };
        self.send_signal(call::INIT, &to, data.map_or("{}", RawJson::text));
        let call = Call {
            state: CallState::Ringing,
            with: callee,
            until: after(self.now, config.ring_timeout),
            ringing,
            crossing: None,
        };
        let call = self.add_call(call);
        self.out.push_back(Action::Finish { id, result: Ok(Reply::Call(call)) });
    }

    fn add_call(&mut self, call: Call) -> CallId {
        self.calls.last += 1;
        let id = CallId(self.calls.last);
        self.calls.calls.insert(id, call);
        id
    }

    /// A call in one of these states, or what is wrong with it.
    fn call_in(&self, call: CallId, states: &[CallState]) -> Result<Callee, OperationError> {
        let found = self.calls.calls.get(&call).ok_or(OperationError::NoSuchCall)?;
        if states.contains(&found.state) {
            Ok(found.with.clone())
        } else {
            Err(OperationError::WrongCallState(found.state))
        }
    }

    pub(in super::super) fn accept(
        &mut self,
        id: OperationId,
        call: CallId,
        data: Option<&RawJson>,
    ) {
        match self.call_in(call, &[CallState::Incoming]) {
            Ok(Callee::Peer(with)) => {
                self.take_call(call, with, data);
                self.done(id);
            }
            Ok(Callee::User(_)) => self.fail(id, OperationError::NoSuchCall),
            Err(error) => self.fail(id, error),
        }
    }

    /// When a call that is taken now must have heard of the other side.
    fn signal_until(&self) -> Timestamp {
        let timeout = self.config.calls.map(|config| config.signal_timeout);
        after(self.now, timeout.unwrap_or_default())
    }

    /// Takes a call that has come in.
    fn take_call(&mut self, id: CallId, with: Address, data: Option<&RawJson>) {
        let until = self.signal_until();
        let Some(call) = self.calls.calls.get_mut(&id) else { return };
        call.state = CallState::Connecting;
        call.until = until;
        call.with = Callee::Peer(with.clone());
        call.crossing = None;
        let to = Self::address_text(&with);
        self.send_signal(call::ACCEPT, &to, data.map_or("{}", RawJson::text));
        let data = no_data();
        self.tell(Event::Call(CallEvent::Accepted { call: id, with, offers: false, data }));
    }

    pub(in super::super) fn reject(&mut self, id: OperationId, call: CallId, reason: Option<&str>) {
        match self.call_in(call, &[CallState::Incoming]) {
            Ok(with) => {
                self.send_reason(call::REJECT, &with, reason.unwrap_or("declined"));
                self.end_call(call, CallEnd::Declined);
                self.done(id);
            }
            Err(error) => self.fail(id, error),
        }
    }

    pub(in super::super) fn signal(&mut self, id: OperationId, call: CallId, signal: &Signal) {
        match self.call_in(call, &[CallState::Connecting, CallState::Active]) {
            Ok(with) => {
                let to = Self::callee_text(&with);
                self.send_signal(signal.subtype(), &to, signal.data().text());
                self.done(id);
            }
            Err(error) => self.fail(id, error),
        }
    }

    pub(in super::super) fn mark_active(&mut self, id: OperationId, call: CallId) {
        match self.call_in(call, &[CallState::Connecting, CallState::Active]) {
            Ok(_) => {
                if let Some(call) = self.calls.calls.get_mut(&call) {
                    call.state = CallState::Active;
                    call.until = Timestamp::MAX;
                }
                self.done(id);
            }
            Err(error) => self.fail(id, error),
        }
    }

    pub(in super::super) fn hang_up(
        &mut self,
        id: OperationId,
        call: CallId,
        reason: Option<&str>,
    ) {
        let Some(found) = self.calls.calls.get(&call) else {
            return self.fail(id, OperationError::NoSuchCall);
        };
        let with = found.with.clone();
        self.send_reason(call::HANGUP, &with, reason.unwrap_or("hangup"));
        self.end_call(call, CallEnd::HungUp);
        self.done(id);
    }

    fn callee_text(callee: &Callee) -> String {
        match callee {
            Callee::Peer(peer) => Self::address_text(peer),
            Callee::User(user) => String::from(user.as_str()),
        }
    }

    fn send_reason(&mut self, subtype: &str, to: &Callee, reason: &str) {
        let mut data = String::from("{\"reason\":");
        push_string(&mut data, reason);
        data.push('}');
        let to = Self::callee_text(to);
        self.send_signal(subtype, &to, &data);
    }

    fn send_signal(&mut self, subtype: &str, to: &str, data: &str) {
        let id = self.random_id();
        let mut text = String::from("{\"type\":\"message\",\"id\":");
        push_string(&mut text, &id);
        text.push_str(",\"to\":");
        push_string(&mut text, to);
        text.push_str(",\"subtype\":");
        push_string(&mut text, subtype);
        text.push_str(",\"data\":");
        text.push_str(data);
        text.push('}');
        self.send_text(text);
    }

    fn end_call(&mut self, call: CallId, end: CallEnd) {
        if self.calls.calls.remove(&call).is_some() {
            self.tell(Event::Call(CallEvent::Ended { call, end }));
        }
    }

    /// The connection is gone. The other sides see the client go offline, and end the calls too.
    pub(in super::super) fn end_calls(&mut self) {
        let calls: Vec<_> = self.calls.calls.keys().copied().collect();
        for call in calls {
            self.end_call(call, CallEnd::ConnectionLost);
        }
    }

    /// Ends calls that have rung long enough.
    pub(in super::super) fn check_calls(&mut self) {
        let now = self.now;
        let due = self.calls.calls.iter().filter(|(_, call)| call.until <= now);
        let due: Vec<_> = due.map(|(id, call)| (*id, call.with.clone(), call.state)).collect();
        for (call, with, state) in due {
            let subtype = if state == CallState::Incoming { call::REJECT } else { call::HANGUP };
            self.send_reason(subtype, &with, "timeout");
            self.end_call(call, CallEnd::NotTaken);
        }
    }

    /// A peer is offline: its calls end.
    pub(in super::super) fn calls_peer_offline(&mut self, id: &str) {
        let mut ended = Vec::new();
        for (call, found) in &mut self.calls.calls {
            match &found.with {
                Callee::Peer(peer) if *peer.id == *id => ended.push(*call),
                // The last session that rang is gone.
                Callee::User(_) if found.ringing.remove(id) && found.ringing.is_empty() => {
                    ended.push(*call);
                }
                _ => {}
            }
        }
        for call in ended {
            self.end_call(call, CallEnd::PeerOffline);
        }
    }

    /// A message has arrived: true if it is about a call, and nobody else's affair.
    pub(in super::super) fn hear_signal(&mut self, view: &FrameView<'_>, from: &Address) -> bool {
        let subtype = view.object().get("subtype").and_then(Json::as_str).and_then(Result::ok);
        let Some(subtype) = subtype.filter(|subtype| subtype.starts_with("call:")) else {
            return false;
        };
        let data = view.data();
        let reason = || {
            let reason = data.and_then(Json::as_object).and_then(|data| data.get("reason"));
            let reason = reason.and_then(Json::as_str).and_then(Result::ok).unwrap_or_default();
            short(&reason, 256)
        };
        let raw = || data.map_or_else(no_data, RawJson::from);
        match &*subtype {
            call::INIT => self.hear_init(from, raw()),
            call::ACCEPT => self.hear_accept(from, raw()),
            call::REJECT => self.hear_reject(from, reason()),
            call::HANGUP => self.hear_hang_up(from, reason()),
            call::OFFER => self.hear_webrtc(from, Signal::Offer(raw())),
            call::ANSWER => self.hear_webrtc(from, Signal::Answer(raw())),
            call::CANDIDATE => self.hear_webrtc(from, Signal::Candidate(raw())),
            // Something that this client does not know, and the application may.
            _ => return false,
        }
        true
    }

    fn hear_init(&mut self, from: &Address, data: RawJson) {
        let Some(config) = self.config.calls else { return };
        let State::Online(online) = &self.state else { return };
        let stands = online.address.id < from.id;
        if let Some(id) = self.calls.with(from)
            && let Some(call) = self.calls.calls.get_mut(&id)
        {
            match call.state {
                // Both call: the other side takes this call, or says that it is busy.
                CallState::Ringing if stands => call.crossing = Some(from.clone()),
                CallState::Ringing => self.yield_to(id, from.clone()),
                CallState::Incoming => self.stats.stray_signals += 1,
                CallState::Connecting | CallState::Active => self.say_busy(from),
            }
            return;
        }
        if self.calls.calls.len() >= config.max_calls {
            return self.say_busy(from);
        }
        let call = Call {
            state: CallState::Incoming,
            with: Callee::Peer(from.clone()),
            until: after(self.now, config.incoming_timeout),
            ringing: BTreeSet::new(),
            crossing: None,
        };
        let call = self.add_call(call);
        self.tell(Event::Call(CallEvent::Incoming { call, from: from.clone(), data }));
    }

    fn say_busy(&mut self, to: &Address) {
        if self.may_answer() {
            self.send_reason(call::REJECT, &Callee::Peer(to.clone()), BUSY);
        } else {
            self.stats.unanswered += 1;
        }
    }

    /// Takes the call of a peer that is being called, in the place of this one.
    fn yield_to(&mut self, id: CallId, with: Address) {
        self.stop_others(id, &with.id);
        self.take_call(id, with, None);
    }

    /// Tells the other sessions of the user that the call was taken.
    fn stop_others(&mut self, id: CallId, taken_by: &PeerId) {
        let Some(call) = self.calls.calls.get_mut(&id) else { return };
        let Callee::User(user) = call.with.clone() else { return };
        for session in core::mem::take(&mut call.ringing) {
            if session != *taken_by {
                let other = Callee::Peer(Address::new(user.clone(), session));
                self.send_reason(call::HANGUP, &other, ELSEWHERE);
            }
        }
    }

    fn hear_accept(&mut self, from: &Address, data: RawJson) {
        let found = self.calls.with(from);
        let ringing = found.filter(|id| {
            self.calls.calls.get(id).is_some_and(|call| call.state == CallState::Ringing)
        });
        let Some(id) = ringing else {
            self.stats.stray_signals += 1;
            // A session that takes the call of its user too late must not wait for an offer.
            if found.is_none() && self.may_answer() {
                self.send_reason(call::HANGUP, &Callee::Peer(from.clone()), ELSEWHERE);
            }
            return;
        };
        self.stop_others(id, &from.id);
        let until = self.signal_until();
        if let Some(call) = self.calls.calls.get_mut(&id) {
            call.state = CallState::Connecting;
            call.until = until;
            call.with = Callee::Peer(from.clone());
            call.crossing = None;
        }
        let with = from.clone();
        self.tell(Event::Call(CallEvent::Accepted { call: id, with, offers: true, data }));
    }

    fn hear_reject(&mut self, from: &Address, reason: Box<str>) {
        let Some(id) = self.calls.with(from) else {
            self.stats.stray_signals += 1;
            return;
        };
        let Some(call) = self.calls.calls.get_mut(&id) else { return };
        if call.state != CallState::Ringing {
            self.stats.stray_signals += 1;
            return;
        }
        // It calls itself, and knows no better answer than that it is busy: its call stands.
        if let Some(crossing) = call.crossing.take_if(|crossing| crossing.id == from.id)
            && *reason == *BUSY
        {
            return self.yield_to(id, crossing);
        }
        if let Callee::User(_) = &call.with {
            call.ringing.remove(&from.id);
            // One session that has another call does not speak for the user.
            if *reason == *BUSY && !call.ringing.is_empty() {
                return;
            }
            self.stop_others(id, &from.id);
        }
        self.end_call(id, CallEnd::Rejected(reason));
    }

    fn hear_hang_up(&mut self, from: &Address, reason: Box<str>) {
        let Some(id) = self.calls.with(from) else {
            self.stats.stray_signals += 1;
            return;
        };
        let Some(call) = self.calls.calls.get_mut(&id) else { return };
        match (&call.with, call.state) {
            // The one who called at the same time has given up; this call goes on.
            (_, CallState::Ringing) => {
                call.crossing.take_if(|crossing| crossing.id == from.id);
                if matches!(call.with, Callee::Peer(_)) {
                    self.end_call(id, CallEnd::HungUpByPeer(reason));
                } else {
                    self.stats.stray_signals += 1;
                }
            }
            _ => self.end_call(id, CallEnd::HungUpByPeer(reason)),
        }
    }

    fn hear_webrtc(&mut self, from: &Address, signal: Signal) {
        let found = self.calls.with(from).and_then(|id| Some((id, self.calls.calls.get_mut(&id)?)));
        match found {
            Some((id, call)) if matches!(call.state, CallState::Connecting | CallState::Active) => {
                call.until = Timestamp::MAX;
                let call = id;
                self.tell(Event::Call(CallEvent::Signal { call, signal }));
            }
            _ => self.stats.stray_signals += 1,
        }
    }
}

/// The `data` of a frame that has none.
fn no_data() -> RawJson {
    RawJson::parse("{}").unwrap_or_else(|_| RawJson::bool(false))
}
