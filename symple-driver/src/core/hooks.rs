//! Asking the application's hooks, and telling them.

use symple_engine::server::{
    EngineError, FrameVerdict, Input, JoinVerdict, Question, QuestionAbout, RequestId,
};

use crate::{
    core::{Core, request::CoreRequest},
    net::table::ConnectionTable,
    runtime::Runtime,
    server::hooks::{
        Hooks,
        changes::Changes,
        complaints::Complaint,
        frames::{self, FrameHook, FrameRequest},
        joins::JoinRequest,
        states::StateRequest,
    },
};

/// What the log says of hooks that answer wrongly.
static WRONG: Complaint =
    Complaint::new("the answer of a hook cannot be used: nothing is let through");

/// An answer that is there already.
#[derive(Debug)]
pub(super) enum Answer {
    Join(RequestId, JoinVerdict),
    Frame(RequestId, FrameVerdict),
}

impl Answer {
    pub(super) fn into_input(self) -> Input<'static> {
        match self {
            Self::Join(request, verdict) => Input::JoinDecided { request, verdict },
            Self::Frame(request, verdict) => Input::FrameDecided { request, verdict },
        }
    }
}

/// Starts to tell the application's functions of changes, on its runtime.
pub(super) fn tell_changes(runtime: &impl Runtime, hooks: &Hooks) -> Option<Changes> {
    if !hooks.changes.is_some() {
        return None;
    }
    let (changes, told) = Changes::new();
    runtime.spawn(hooks.changes.clone().tell_all(told));
    Some(changes)
}

impl<R: Runtime> Core<R> {
    /// Asks about what a peer does. Whatever becomes of it, there is an answer.
    pub(super) fn ask_hook(&mut self, request: RequestId, question: Question) {
        let Question { peer, frame, about } = question;
        match about {
            QuestionAbout::Join { room, record } => {
                let deny = JoinVerdict::Deny { message: None };
                let Some(hook) = self.hooks.join.clone() else {
                    return self.decided.push(Answer::Join(request, deny));
                };
                let question = JoinRequest::new(peer, &room, &record, &frame);
                let deny = CoreRequest::JoinDecided(request, deny);
                let answer =
                    async move { CoreRequest::JoinDecided(request, hook(question).await.0) };
                self.ask(self.config.engine.hooks.timeout, answer, deny);
            }
            QuestionAbout::Frame { kind } => {
                let question = FrameRequest::new(peer, kind, frame);
                self.ask_about_frame(self.hooks.frame.clone(), request, question);
            }
            QuestionAbout::State { room } => {
                let question = StateRequest::new(peer, room, frame);
                self.ask_about_frame(self.hooks.state.clone(), request, question);
            }
        }
    }

    /// Asks about a frame: a plain function at once, another one on the host's runtime.
    fn ask_about_frame<Q: Send + 'static>(
        &mut self,
        hook: Option<FrameHook<Q>>,
        request: RequestId,
        question: Q,
    ) {
        match hook {
            None => self.decided.push(Answer::Frame(request, frames::failed())),
            Some(FrameHook::Plain(hook)) => {
                let verdict = frames::ask_now(&*hook, &question);
                self.decided.push(Answer::Frame(request, verdict));
            }
            Some(FrameHook::Async(hook)) => {
                let refuse = CoreRequest::FrameDecided(request, frames::failed());
                let answer =
                    async move { CoreRequest::FrameDecided(request, hook(question).await.0) };
                self.ask(self.config.engine.hooks.timeout, answer, refuse);
            }
        }
    }

    /// A hook has decided about a frame.
    pub(crate) fn frame_decided(
        &mut self,
        table: &mut ConnectionTable<R::Socket>,
        request: RequestId,
        verdict: FrameVerdict,
    ) {
        if let Err(error) = self.input(table, Input::FrameDecided { request, verdict }) {
            hook_is_wrong(&error);
        }
    }
}

/// A hook has answered what cannot be used.
pub(super) fn hook_is_wrong(error: &EngineError) {
    WRONG.log(error);
}
