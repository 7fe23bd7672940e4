//! From the first attempt to the last: token, connection, `auth`, backing off, closing.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use symple_proto::{CloseCode, RawJson, RoomName, Token, frame::Welcome, json::push_string};

use crate::Timestamp;

use super::{
    Action, Client, ConnectionId, End, Ending, Event, OperationError,
    asked::{Purpose, What},
    backoff::part,
    config::TokenSource,
    frame::short,
    input::{ConnectFailure, OperationId, TokenRequest, TokenUnavailable},
    machine::{Online, State, after},
};

/// What servers that this client understands say of their protocol.
const PROTOCOL: &str = symple_proto::PROTOCOL;

impl Client {
    /// The caller wants the client to be online.
    pub(super) fn connect(&mut self, id: OperationId) {
        if matches!(self.state, State::Online(_)) {
            return self.done(id);
        }
        if let Err(error) = self.may_wait() {
            return self.fail(id, error);
        }
        match &self.state {
            State::Closed(_) => {
                self.connects.push(id);
                self.backoff.failures = 0;
                self.refused = None;
                self.retry_after = None;
                self.attempt();
            }
            State::Closing { .. } => self.fail(id, OperationError::Closed(End::Requested)),
            _ => self.connects.push(id),
        }
    }

    /// The caller wants the client to be closed.
    pub(super) fn close(&mut self, id: OperationId) {
        if matches!(self.state, State::Closed(_)) {
            return self.done(id);
        }
        if matches!(self.state, State::Closing { .. }) {
            if let Err(error) = self.may_wait() {
                return self.fail(id, error);
            }
            return self.closes.push(id);
        }
        // Whatever else waits ends with it, so there is always room for the one that ends the client.
        self.closes.push(id);
        let conn = self.conn();
        self.leave_online(&OperationError::Closed(End::Requested));
        match conn {
            Some(conn) => {
                self.close_connection(conn, CloseCode::NORMAL, "Closed");
                let until = after(self.now, self.config.limits.close_timeout);
                self.state = State::Closing { conn, until };
            }
            None => self.end_for_good(End::Requested),
        }
    }

    /// The connection that there is, or is being made.
    pub(super) fn conn(&self) -> Option<ConnectionId> {
        match &self.state {
            State::Connecting { conn, .. }
            | State::Authenticating { conn, .. }
            | State::Closing { conn, .. } => Some(*conn),
            State::Online(online) => Some(online.conn),
            State::Closed(_) | State::AskingToken { .. } | State::BackingOff { .. } => None,
        }
    }

    /// True if an input is about the connection that there is.
    fn is_current(&mut self, conn: ConnectionId) -> bool {
        let current = self.conn() == Some(conn);
        if !current {
            self.stats.stale += 1;
        }
        current
    }

    fn close_connection(&mut self, conn: ConnectionId, code: CloseCode, reason: &'static str) {
        self.out.push_back(Action::Close { conn, code, reason });
    }

    /// Begins an attempt.
    fn attempt(&mut self) {
        self.stats.attempts += 1;
        self.retry_after = None;
        match &self.config.token {
            TokenSource::None => self.open(None),
            TokenSource::Fixed(token) => {
                let token = token.clone();
                self.open(Some(token));
            }
            TokenSource::Ask => {
                self.last_token_request += 1;
                let request = TokenRequest(self.last_token_request);
                let until = after(self.now, self.config.limits.token_timeout);
                self.state = State::AskingToken { request, until };
                let refused = self.refused.is_some();
                self.out.push_back(Action::AskToken { request, refused });
            }
        }
    }

    pub(super) fn token_found(
        &mut self,
        request: TokenRequest,
        token: Result<Option<Token>, TokenUnavailable>,
    ) {
        match &self.state {
            State::AskingToken { request: asked, .. } if *asked == request => {}
            _ => {
                self.stats.stale += 1;
                return;
            }
        }
        match (token, &self.refused) {
            (Err(TokenUnavailable), _) => self.ended(End::NoToken),
            // It would be refused again.
            (Ok(token), Some((refused, end))) if token == *refused => {
                let end = end.clone();
                self.end_for_good(end);
            }
            (Ok(token), _) => self.open(token),
        }
    }

    fn open(&mut self, token: Option<Token>) {
        self.token = token;
        self.last_connection += 1;
        let conn = ConnectionId(self.last_connection);
        let until = after(self.now, self.config.limits.connect_timeout);
        self.state = State::Connecting { conn, until };
        self.out.push_back(Action::Connect { conn });
    }

    pub(super) fn opened(&mut self, conn: ConnectionId) {
        if !self.is_current(conn) {
            return;
        }
        if !matches!(self.state, State::Connecting { .. }) {
            self.stats.stale += 1;
            return;
        }
        (self.sent, self.handled) = (0, 0);
        let until = after(self.now, self.config.limits.auth_timeout);
        self.state = State::Authenticating { conn, until };
        self.rooms.claimed = self.rooms_at_start().cloned().collect();
        let token = self.token.clone();
        let text = self.auth(token.as_ref());
        self.send_text(text);
    }

    /// The `auth` frame (R-A1).
    pub(super) fn auth(&self, token: Option<&Token>) -> String {
        let mut text = String::from("{\"type\":\"auth\"");
        let mut member = |name: &str, value: &str| {
            text.push(',');
            push_string(&mut text, name);
            text.push(':');
            text.push_str(value);
        };
        member("user", RawJson::string(&self.config.user).text());
        if let Some(name) = &self.config.name {
            member("name", RawJson::string(name).text());
        }
        if let Some(token) = token {
            member("token", RawJson::string(token.expose()).text());
        }
        let mut list = |name: &str, items: Vec<&str>| {
            let items: Vec<_> = items.into_iter().map(RawJson::string).collect();
            let items: Vec<_> = items.iter().map(RawJson::text).collect();
            if !items.is_empty() {
                member(name, &format!("[{}]", items.join(",")));
            }
        };
        list("rooms", self.rooms_at_start().map(RoomName::as_str).collect());
        list("extensions", self.config.extensions.iter().map(String::as_str).collect());
        if let Some(data) = &self.config.auth_data {
            member("data", data.text());
        }
        for (name, value) in self.config.auth.iter() {
            let known = ["type", "user", "name", "token", "rooms", "extensions", "data"];
            if !known.contains(&name) {
                member(name, value.text());
            }
        }
        text.push('}');
        text
    }

    pub(super) fn failed(&mut self, conn: ConnectionId, failure: ConnectFailure) {
        if !self.is_current(conn) {
            return;
        }
        if matches!(self.state, State::Closing { .. }) {
            return self.end_for_good(End::Requested);
        }
        if let ConnectFailure::Http { retry_after, .. } = &failure {
            self.retry_after = *retry_after;
        }
        self.ended(End::Failed(failure));
    }

    pub(super) fn closed(&mut self, conn: ConnectionId, code: CloseCode, reason: &str) {
        /// As long as a reason in a close frame can be.
        const MAX_REASON: usize = 123;
        if !self.is_current(conn) {
            return;
        }
        if matches!(self.state, State::Closing { .. }) {
            return self.end_for_good(End::Requested);
        }
        self.ended(End::Code { code, reason: short(reason, MAX_REASON) });
    }

    pub(super) fn alive(&mut self, conn: ConnectionId) {
        if self.is_current(conn)
            && let State::Online(online) = &mut self.state
        {
            online.heard = self.now;
            online.pinged = None;
        }
    }

    /// When the server is pinged next, or is taken for gone.
    pub(super) fn next_ping(&self, online: &Online) -> Timestamp {
        let limits = &self.config.limits;
        match online.pinged {
            Some(pinged) => after(pinged, limits.pong_timeout),
            None => after(online.heard, limits.ping_interval),
        }
    }

    /// Does what is due about the connection.
    pub(super) fn check_connection(&mut self) {
        let due = |until: Timestamp| until <= self.now;
        match &self.state {
            State::AskingToken { until, .. } if due(*until) => self.ended(End::NoToken),
            State::Connecting { conn, until } if due(*until) => {
                let conn = *conn;
                self.close_connection(conn, CloseCode::NORMAL, "Timeout");
                self.ended(End::ConnectTimeout);
            }
            State::Authenticating { conn, until } if due(*until) => {
                let conn = *conn;
                self.close_connection(conn, CloseCode::NORMAL, "Authentication timeout");
                self.ended(End::AuthTimeout);
            }
            State::BackingOff { until } if due(*until) => self.attempt(),
            State::Closing { until, .. } if due(*until) => self.end_for_good(End::Requested),
            State::Online(online) if due(self.next_ping(online)) => {
                if online.pinged.is_some() {
                    let conn = online.conn;
                    self.close_connection(conn, CloseCode::GOING_AWAY, "Ping timeout");
                    self.ended(End::Silent);
                } else if let State::Online(online) = &mut self.state {
                    online.pinged = Some(self.now);
                    self.out.push_back(Action::Ping);
                }
            }
            _ => {}
        }
    }

    /// What the server says is not the protocol: it is left, and tried again later.
    pub(super) fn not_symple(&mut self) {
        self.stats.malformed += 1;
        if let State::Authenticating { conn, .. } = &self.state {
            let conn = *conn;
            self.close_connection(conn, CloseCode::PROTOCOL_ERROR, "Not symple/4");
            self.ended(End::NotSymple);
        }
    }

    /// The server has refused the authentication. Not every server closes the connection then
    /// (D-CLOSE).
    pub(super) fn auth_refused(
        &mut self,
        status: Option<symple_proto::Status>,
        message: Box<str>,
        retry_after: Option<core::time::Duration>,
    ) {
        let Some(conn) = self.conn() else { return };
        self.retry_after = retry_after;
        self.close_connection(conn, CloseCode::NORMAL, "Refused");
        let code = End::code_of_status(status);
        self.ended(End::Refused { code, status, message });
    }

    /// The client is welcome (R-A8), or welcome with another token (R-A9).
    pub(super) fn welcome(&mut self, welcome: Welcome) {
        match &mut self.state {
            State::Authenticating { conn, .. } => {
                let conn = *conn;
                let status = welcome.status;
                if status != symple_proto::Status::OK {
                    return self.auth_refused(Some(status), Box::default(), None);
                }
                if welcome.protocol != PROTOCOL {
                    self.close_connection(conn, CloseCode::PROTOCOL_ERROR, "Not symple/4");
                    return self.ended(End::OtherProtocol(short(&welcome.protocol, 64)));
                }
                self.come_online(conn, welcome);
            }
            State::Online(online) if online.address == welcome.peer.address() => {
                let position = self.questions.position(|what| matches!(what, What::Refresh { .. }));
                match position.and_then(|at| self.take_answered(at)).map(|asked| asked.what) {
                    Some(What::Refresh { token, operation }) => {
                        self.refreshed(token);
                        if let Some(id) = operation {
                            self.done(id);
                        }
                    }
                    _ => self.stats.false_welcomes += 1,
                }
            }
            _ => self.stats.false_welcomes += 1,
        }
    }

    fn come_online(&mut self, conn: ConnectionId, welcome: Welcome) {
        self.stats.welcomes += 1;
        self.welcomed = true;
        self.refused = None;
        let now = self.now;
        let rooms: Vec<Box<str>> =
            welcome.rooms.into_iter().take(self.config.limits.held_rooms).map(Into::into).collect();
        self.state = State::Online(Box::new(Online {
            conn,
            address: welcome.peer.address(),
            peer: welcome.peer.clone(),
            since: now,
            heard: now,
            pinged: None,
            // Only the Node server's peer has a type (D-PEER).
            tells_roster: welcome.peer.extra.get("type").is_none(),
            complete_at: None,
            extensions: welcome.extensions.unwrap_or_default(),
            shutting_down: false,
        }));
        self.roster.begin();
        self.tell(Event::Online { peer: Box::new(welcome.peer), rooms: rooms.clone() });
        for id in core::mem::take(&mut self.connects) {
            self.done(id);
        }
        if self.config.probe {
            self.send_presence(None, true);
        } else if !self.record.is_empty() {
            self.send_presence(None, false);
        }
        self.enter_rooms(&rooms);
        self.send_fence(Purpose::Roster);
        self.send_queued();
    }

    /// The caller has a new token (R-A9).
    pub(super) fn refresh(&mut self, id: OperationId, token: Token) {
        if !matches!(self.state, State::Online(_)) {
            if matches!(self.config.token, TokenSource::Fixed(_)) {
                self.config.token = TokenSource::Fixed(token);
                return self.done(id);
            }
            return self.fail_offline(id);
        }
        if let Err(error) = self.may_wait() {
            return self.fail(id, error);
        }
        let text = self.auth(Some(&token));
        self.send_text(text);
        self.ask(What::Refresh { token, operation: Some(id) });
    }

    fn refreshed(&mut self, token: Token) {
        if let TokenSource::Fixed(fixed) = &mut self.config.token {
            *fixed = token.clone();
        }
        self.token = Some(token);
    }

    /// Gives up all that needs the connection.
    fn leave_online(&mut self, error: &OperationError) {
        let State::Online(online) = &self.state else { return };
        let since = online.since;
        self.backoff.was_online(&self.config.reconnect, since, self.now);
        self.state = State::BackingOff { until: Timestamp::MAX };
        self.roster.lose();
        self.rooms.held.clear();
        self.drop_questions();
        for pending in self.requests.take_sent() {
            self.fail(pending.operation, error.clone());
        }
        self.drop_changes(error);
        self.end_calls();
    }

    /// A connection, or an attempt to make one, has ended: the client comes back, or not.
    pub(super) fn ended(&mut self, end: End) {
        let (was_online, shutting_down) = match &self.state {
            State::Online(online) => (true, online.shutting_down),
            _ => (false, false),
        };
        let mut ending = end.ending(self.welcomed);
        if ending == Ending::FreshToken {
            let again = self.config.token == TokenSource::Ask && self.refused.is_none();
            ending = if again { Ending::Reconnect } else { Ending::Final };
            if again {
                self.refused = Some((self.token.take(), end.clone()));
            }
        }
        self.leave_online(&OperationError::ConnectionLost);
        let config = &self.config.reconnect;
        let given_up =
            !was_online && config.max_attempts.is_some_and(|max| self.backoff.failures + 1 >= max);
        if ending == Ending::Final || !config.enabled || given_up {
            return self.end_for_good(end);
        }
        let mut wait = self.backoff.next(config, &mut *self.random);
        if shutting_down {
            wait = part(config.after_shutdown, &mut *self.random);
        }
        if let Some(asked) = self.retry_after.take() {
            wait += asked.min(config.max_retry_after);
        }
        self.state = State::BackingOff { until: self.now + wait };
        self.tell(if was_online {
            Event::Disconnected { end, retry_in: wait }
        } else {
            Event::AttemptFailed { end, retry_in: wait }
        });
    }

    /// The client does not come back by itself.
    fn end_for_good(&mut self, end: End) {
        let error = OperationError::Closed(end.clone());
        self.leave_online(&error);
        self.state = State::Closed(end.clone());
        self.roster.clear();
        self.fail_joins(&error);
        while let Some(queued) = self.queue.pop() {
            if queued.request.is_none() {
                self.fail(queued.operation, error.clone());
            }
        }
        for pending in self.requests.take_all() {
            self.fail(pending.operation, error.clone());
        }
        for id in core::mem::take(&mut self.connects) {
            self.fail(id, error.clone());
        }
        self.tell(Event::Closed { end });
        for id in core::mem::take(&mut self.closes) {
            self.done(id);
        }
    }
}
