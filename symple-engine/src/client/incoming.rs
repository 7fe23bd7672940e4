//! What arrives from the server.

use alloc::boxed::Box;
use core::time::Duration;

use symple_proto::{
    Address, FrameType, FrameView, RawJson, RoomName, RoutedType, ServerFrame, Status,
    json::{Json, MAX_DEPTH, Object},
};

use crate::server::Text;

use super::{
    Action, Client, ConnectionId, Event, OperationError, Reply,
    asked::What,
    frame::{Frame, short},
    machine::State,
};

/// How many characters of a message of the server's are kept.
const MAX_MESSAGE: usize = 256;

/// What there is to know of a routed frame before it is handed out.
struct Facts {
    kind: RoutedType,
    from: Option<Address>,
    /// It goes to the application.
    wanted: bool,
    /// The operation that it finishes.
    answers: Option<super::OperationId>,
}

impl Client {
    /// A text has arrived.
    pub(super) fn text(&mut self, conn: ConnectionId, text: Text) {
        if self.conn() != Some(conn) {
            self.stats.stale += 1;
            return;
        }
        self.stats.received += 1;
        match &mut self.state {
            State::Online(online) => {
                online.heard = self.now;
                online.pinged = None;
            }
            State::Authenticating { .. } => {}
            // Whatever is said to one who leaves is not heard.
            _ => return,
        }
        let online = matches!(self.state, State::Online(_));
        let facts = {
            let Ok(view) = FrameView::parse(&text, MAX_DEPTH) else { return self.not_symple() };
            match view.frame_type() {
                Ok(FrameType::Routed(kind)) if online => self.routed(&view, kind),
                // Nothing is relayed to one who is not welcome; a backend may not know.
                Ok(FrameType::Routed(_)) => None,
                Ok(FrameType::Unknown(name)) => {
                    self.answer(&view, &name);
                    None
                }
                Ok(_) => {
                    self.stats.unknown_types += 1;
                    None
                }
                Err(_) => {
                    self.not_symple();
                    None
                }
            }
        };
        let Some(Facts { kind, from, wanted, answers }) = facts else { return };
        if !wanted && answers.is_none() {
            return;
        }
        let peer = from.as_ref().and_then(|from| self.roster.get(&from.id)).cloned();
        let frame = Box::new(Frame { text, kind, from, peer });
        self.out.push_back(match answers {
            Some(id) => Action::Finish { id, result: Ok(Reply::Answer(frame)) },
            None => Action::Event(Event::Frame(frame)),
        });
    }

    /// A frame that the server has relayed, or made.
    fn routed(&mut self, view: &FrameView<'_>, kind: RoutedType) -> Option<Facts> {
        let from = view.from().and_then(|from| from.as_str()?.ok()?.parse::<Address>().ok());
        let mut facts = Facts { kind, from, wanted: true, answers: None };
        if kind == RoutedType::Presence {
            facts.wanted = self.hear_presence(view, facts.from.as_ref());
            return Some(facts);
        }
        let own = match (&self.state, &facts.from) {
            (State::Online(online), Some(from)) => online.address.id == from.id,
            _ => false,
        };
        if kind == RoutedType::Event && view.from().is_none() && is_shutdown(view.object()) {
            if let State::Online(online) = &mut self.state {
                online.shutting_down = true;
            }
            self.tell(Event::Shutdown);
            return None;
        }
        if own {
            if kind == RoutedType::Event
                && self.questions.has_fence()
                && let Some(id) = id_of(view)
                && self.fence_is_back(&id)
            {
                return None;
            }
            return Some(facts);
        }
        if !self.requests.is_empty()
            && let Some(id) = id_of(view)
        {
            let peer = facts.from.as_ref().map(|from| &from.id);
            if let Some(pending) = self.requests.answered(&id, peer) {
                self.handled = self.handled.max(pending.sent.unwrap_or_default());
                facts.answers = Some(pending.operation);
                return Some(facts);
            }
        }
        if kind == RoutedType::Message
            && self.config.calls.is_some()
            && let Some(from) = &facts.from
            && self.hear_signal(view, from)
        {
            return None;
        }
        Some(facts)
    }

    /// A frame that only a server sends.
    fn answer(&mut self, view: &FrameView<'_>, name: &str) {
        match name {
            "welcome" => match ServerFrame::parse(view.text()) {
                Ok(ServerFrame::Welcome(welcome)) => self.welcome(welcome),
                _ => self.not_symple(),
            },
            "error" => self.error(view.object()),
            "join:ok" | "leave:ok" => {
                let room = view.room().and_then(|room| room.as_str()?.ok());
                let Some(room) = room.and_then(|room| RoomName::new(room.into_owned()).ok()) else {
                    self.stats.malformed += 1;
                    return;
                };
                self.room_answer(&room, name == "join:ok");
            }
            "roster" => self.hear_roster(view),
            "state" => self.hear_state(view),
            "state:ok" => self.state_taken(view),
            _ => self.stats.unknown_types += 1,
        }
    }

    /// `join:ok` or `leave:ok` (R-R2).
    fn room_answer(&mut self, room: &RoomName, joined: bool) {
        if !matches!(self.state, State::Online(_)) {
            self.stats.unexpected_answers += 1;
            return;
        }
        let position = self.questions.position(|what| match what {
            What::Join { room: asked } => joined && asked == room,
            What::Leave { room: asked, .. } => !joined && asked == room,
            _ => false,
        });
        let asked = position.and_then(|at| self.take_answered(at));
        if asked.is_none() {
            self.stats.unexpected_answers += 1;
        }
        if joined {
            self.joined(room);
        } else {
            self.left(room);
        }
        if let Some(What::Leave { operation: Some(id), .. }) = asked.map(|asked| asked.what) {
            self.done(id);
        }
    }

    /// An `error` (SPEC §7). It says why; what was refused has to be found out.
    fn error(&mut self, error: Object<'_>) {
        let status = error.get("status").and_then(|status| status.text().parse().ok()).map(Status);
        let message = error.get("message").and_then(Json::as_str).and_then(Result::ok);
        let message = short(message.as_deref().unwrap_or_default(), MAX_MESSAGE);
        let to = error.get("to").map(RawJson::from);
        if !matches!(self.state, State::Online(_)) {
            let seconds = error.get("retry_after").and_then(|after| after.text().parse().ok());
            return self.auth_refused(status, message, seconds.map(Duration::from_secs));
        }
        let refused = OperationError::Refused { status, message: message.clone() };
        let id = error.get("id").and_then(|id| id.as_str()?.ok());
        if id.is_some_and(|id| self.state_refused(&id, refused.clone())) {
            return;
        }
        if let Some(to) = to.as_ref().and_then(Self::read_to) {
            let pending = self.requests.addressed_to(&to);
            if !pending.is_empty() {
                for pending in pending {
                    self.fail(pending.operation, refused.clone());
                }
                return;
            }
        } else if let Some(at) = self.refused_question(error, status, &message) {
            if let Some(asked) = self.take_answered(at) {
                self.refuse(asked, refused);
            }
            return;
        } else if self.sent == self.handled + 1
            && let Some(pending) = self.requests.with_number(self.sent)
        {
            // Nothing else was sent that it can be about.
            self.handled = self.sent;
            return self.fail(pending.operation, refused);
        }
        self.questions.last_error = Some(refused);
        self.tell(Event::Error { status, message, to });
    }

    /// The question that an `error` answers, as far as can be told.
    fn refused_question(
        &self,
        error: Object<'_>,
        status: Option<Status>,
        message: &str,
    ) -> Option<usize> {
        let room = error.get("room").and_then(Json::as_str).and_then(Result::ok);
        if let Some(room) = room {
            return self.questions.position(|what| match what {
                What::Join { room: asked } | What::Leave { room: asked, .. } => *asked == *room,
                _ => false,
            });
        }
        let about_rooms = ["Dynamic rooms", "Too many rooms", "Invalid room", "Missing room"];
        let fits = match self.questions.first()? {
            What::Join { .. } | What::Leave { .. } => {
                about_rooms.iter().any(|start| message.starts_with(start))
            }
            What::Refresh { .. } => matches!(status, Some(Status(401 | 403 | 408 | 503))),
            What::Fence { .. } => false,
        };
        fits.then(|| self.questions.position(|what| !matches!(what, What::Fence { .. })))?
    }
}

/// The `id` of a frame, if it is a string.
fn id_of<'a>(view: &FrameView<'a>) -> Option<alloc::borrow::Cow<'a, str>> {
    view.object().get("id")?.as_str()?.ok()
}

/// True for the event that a server sends before it closes (SPEC §12); the Node server's has no
/// name.
fn is_shutdown(event: Object<'_>) -> bool {
    ["name", "subtype"]
        .iter()
        .any(|member| event.get(member).is_some_and(|value| value.text() == "\"shutdown\""))
}
