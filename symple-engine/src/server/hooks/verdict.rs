//! Doing what the application has decided.

use alloc::{format, string::String};

use symple_proto::{
    FrameType, FrameView, Json, Recipient, RoutedType, Status, json::quote, state::StateRequest,
};

use super::{About, FrameVerdict, JoinVerdict};
use crate::server::{ConnId, EngineError, RequestId, Server, Text};

/// The message for a client whose join is denied without a message.
const JOIN_DENIED: &str = "Join denied";

/// The message for a client whose frame is refused without a message.
const FRAME_REFUSED: &str = "Frame refused";

impl Server {
    /// The question behind an answer, unless the peer is gone or the answer is late.
    fn take_question(&mut self, request: RequestId) -> Option<(ConnId, About)> {
        let hooks = &mut self.hooks;
        let conn = hooks.open.remove(&request)?;
        let asked = hooks.asked.remove(&conn)?;
        while let Some((_, oldest)) = hooks.deadlines.front()
            && !hooks.open.contains_key(oldest)
        {
            hooks.deadlines.pop_front();
        }
        Some((conn, asked.about))
    }

    /// Carries out the answer of the hook about a join (R-H1).
    pub(in crate::server) fn join_decided(&mut self, request: RequestId, verdict: JoinVerdict) {
        let Some((conn, about)) = self.take_question(request) else { return };
        match (about, verdict) {
            (About::Join { room }, JoinVerdict::Allow) => {
                self.charged_arrival(conn, |server| server.join(conn, &room));
            }
            (About::Join { room }, JoinVerdict::Deny { message }) => {
                self.deny_join(conn, &room, message.as_deref());
            }
            // The answer to another question lets nothing through.
            (about, _) => self.deny(conn, &about),
        }
        self.run_queue(conn);
    }

    /// Carries out the answer of the hook about a frame (R-H2).
    pub(in crate::server) fn frame_decided(
        &mut self,
        request: RequestId,
        verdict: FrameVerdict,
    ) -> Result<(), EngineError> {
        let Some((conn, about)) = self.take_question(request) else { return Ok(()) };
        let done = match &about {
            About::Frame { text } => self.do_with_frame(conn, text, verdict, None),
            About::State { room, text } => self.do_with_frame(conn, text, verdict, Some(room)),
            About::Join { .. } => Err(EngineError::Verdict("an answer to another question")),
        };
        if done.is_err() {
            self.deny(conn, &about);
        }
        self.run_queue(conn);
        done
    }

    fn do_with_frame(
        &mut self,
        conn: ConnId,
        text: &str,
        verdict: FrameVerdict,
        state: Option<&str>,
    ) -> Result<(), EngineError> {
        match verdict {
            FrameVerdict::Pass => self.pass_decided(conn, text, state),
            FrameVerdict::Drop => {
                self.stats.hooks_denied += 1;
                Ok(())
            }
            FrameVerdict::Replace(text) => {
                if text.len() > self.config.limits.message {
                    return Err(EngineError::Verdict("a frame over the limit of messages"));
                }
                self.pass_decided(conn, &text, state)
            }
            FrameVerdict::Answer(text) => {
                FrameView::parse(&text, self.config.limits.depth)?;
                self.stats.hooks_denied += 1;
                self.out.send_to(conn, Text::from(String::from(text)));
                Ok(())
            }
            FrameVerdict::Refuse { status, message } => {
                match state {
                    Some(room) => self.deny_state(conn, room, text, status, message.as_deref()),
                    None => self.refuse_frame(conn, status, message.as_deref()),
                }
                Ok(())
            }
        }
    }

    fn pass_decided(
        &mut self,
        conn: ConnId,
        text: &str,
        state: Option<&str>,
    ) -> Result<(), EngineError> {
        let Some(room) = state else { return self.relay_decided(conn, text) };
        let frame = FrameView::parse(text, self.config.limits.depth)?;
        let request = StateRequest::read(frame.object(), &self.config.state.limits)?;
        if *request.room != *room {
            return Err(EngineError::Verdict("a state of another room"));
        }
        // Meanwhile it may have left the room.
        if !self.may_set_state(conn, room) {
            self.deny_state(conn, room, text, Status::FORBIDDEN, Some("Not permitted"));
            return Ok(());
        }
        self.charged_arrival(conn, |server| server.request_state(conn, request));
        Ok(())
    }

    /// Refuses a change of a state; the answer names the room and the frame (R-K6).
    fn deny_state(
        &mut self,
        conn: ConnId,
        room: &str,
        text: &str,
        status: Status,
        message: Option<&str>,
    ) {
        self.stats.hooks_denied += 1;
        let message = message.filter(|message| !message.is_empty()).unwrap_or(FRAME_REFUSED);
        let frame = FrameView::parse(text, self.config.limits.depth);
        let id = frame.as_ref().ok().and_then(|frame| frame.object().get("id"));
        self.state_error(conn, status, message, Some(room), id.map(Json::text));
    }

    /// Relays a frame as if its sender had just written it. The sender is charged for the deliveries.
    fn relay_decided(&mut self, conn: ConnId, text: &str) -> Result<(), EngineError> {
        let (frame, kind) = self.check_routed(text)?;
        self.charged_arrival(conn, |server| server.route(conn, &frame, kind));
        Ok(())
    }

    /// Checks that a client might have written this frame.
    fn check_routed<'a>(&self, text: &'a str) -> Result<(FrameView<'a>, RoutedType), EngineError> {
        let frame = FrameView::parse(text, self.config.limits.depth)?;
        let Ok(FrameType::Routed(kind)) = frame.frame_type() else {
            return Err(EngineError::Verdict("a frame of a type that is not relayed"));
        };
        if frame.misspelt().is_some() {
            return Err(EngineError::Verdict("a frame with a key in another spelling"));
        }
        if Recipient::decode(frame.to(), self.config.limits.recipient_rooms).is_err() {
            return Err(EngineError::Verdict("a frame whose to is no address"));
        }
        Ok((frame, kind))
    }

    /// A hook has not answered in time: nothing is let through (R-H5).
    pub(super) fn hook_failed(&mut self, request: RequestId) {
        let Some((conn, about)) = self.take_question(request) else { return };
        self.deny(conn, &about);
        self.run_queue(conn);
    }

    fn deny(&mut self, conn: ConnId, about: &About) {
        match about {
            About::Join { room } => self.deny_join(conn, room, None),
            About::Frame { .. } => self.refuse_frame(conn, Status::FORBIDDEN, None),
            About::State { room, text } => {
                self.deny_state(conn, room, text, Status::FORBIDDEN, None);
            }
        }
    }

    fn deny_join(&mut self, conn: ConnId, room: &str, message: Option<&str>) {
        self.stats.hooks_denied += 1;
        let message = message.filter(|message| !message.is_empty()).unwrap_or(JOIN_DENIED);
        let more = format!("\"room\":{}", quote(room));
        self.error_with(conn, Status::FORBIDDEN, message, &more);
    }

    fn refuse_frame(&mut self, conn: ConnId, status: Status, message: Option<&str>) {
        self.stats.hooks_denied += 1;
        let message = message.filter(|message| !message.is_empty()).unwrap_or(FRAME_REFUSED);
        self.error(conn, status, message);
    }
}
