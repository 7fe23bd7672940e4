//! Asking about frames (R-H2).

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Hook, complaints::Complaint};
use crate::server::log::OncePerSecond;
use symple_engine::server::{FrameVerdict, Text};
use symple_proto::{Address, ClientFrame, FrameError, FrameView, RoutedType, Status};

/// A frame of a client that is about to be relayed (R-H2).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FrameRequest {
    /// The address of the sender.
    pub sender: Address,
    /// The type of the frame.
    pub kind: RoutedType,
    /// The frame as the client wrote it. Do not rely on its `from`: a client can write anything there.
    pub text: Text,
}

impl FrameRequest {
    pub(crate) fn new(sender: Address, kind: RoutedType, text: Text) -> Self {
        Self { sender, kind, text }
    }

    /// The frame as a view, of which nothing is copied: `to`, `data` and the rest.
    ///
    /// # Panics
    /// Never: the server has read the frame before.
    #[must_use]
    pub fn view(&self) -> FrameView<'_> {
        FrameView::parse(&self.text, symple_proto::json::MAX_DEPTH)
            .expect("the server has read the frame before")
    }

    /// The frame as a type, to be changed and [replaced](FrameDecision::replace).
    ///
    /// # Errors
    /// A member has another type than it should have, such as a `to` that is a number.
    pub fn parse(&self) -> Result<ClientFrame, FrameError> {
        ClientFrame::parse(&self.text)
    }
}

/// The answer of a hook about a frame (R-H2).
#[derive(Clone, Debug)]
#[must_use]
pub struct FrameDecision(pub(crate) FrameVerdict);

impl FrameDecision {
    /// The frame is relayed as it is.
    pub fn pass() -> Self {
        Self(FrameVerdict::Pass)
    }

    /// It is not relayed, and nobody is told.
    pub fn discard() -> Self {
        Self(FrameVerdict::Drop)
    }

    /// Another frame is relayed in its place, of one of the four routed types: a text, or a type
    /// such as [`Message`](symple_proto::frame::Message). It is checked as if the client had written it;
    /// one that cannot be relayed is refused, and logged.
    pub fn replace(frame: impl Into<String>) -> Self {
        Self(FrameVerdict::Replace(frame.into().into()))
    }

    /// It is not relayed, and its sender alone is sent this frame.
    pub fn answer(frame: impl Into<String>) -> Self {
        Self(FrameVerdict::Answer(frame.into().into()))
    }

    /// It is not relayed, and its sender is told why with `error` 403. An empty message is
    /// `Frame refused`.
    pub fn refuse(message: impl Into<String>) -> Self {
        Self::refuse_with(Status::FORBIDDEN, message)
    }

    /// As [`refuse`](Self::refuse), with another status.
    pub fn refuse_with(status: Status, message: impl Into<String>) -> Self {
        Self(FrameVerdict::Refuse { status, message: Some(message.into().into()) })
    }
}

impl From<FrameDecision> for FrameVerdict {
    fn from(decision: FrameDecision) -> Self {
        decision.0
    }
}

/// What a hook about frames may return: a decision, or a result that is one. An error refuses; it
/// is logged, and the client is not told of it (R-H5).
pub trait IntoFrameDecision {
    /// The decision.
    fn into_decision(self) -> FrameDecision;
}

impl IntoFrameDecision for FrameDecision {
    fn into_decision(self) -> FrameDecision {
        self
    }
}

impl<E: fmt::Display> IntoFrameDecision for Result<FrameDecision, E> {
    fn into_decision(self) -> FrameDecision {
        self.unwrap_or_else(|error| {
            static FAILED: Complaint = Complaint::new("the hook about frames failed");
            FAILED.log(&error);
            FrameDecision(failed())
        })
    }
}

/// The answer about a frame if the hook fails (R-H5).
pub(crate) const fn failed() -> FrameVerdict {
    FrameVerdict::Refuse { status: Status::FORBIDDEN, message: None }
}

/// A function that is asked about frames: those that are relayed, or those that change the state of a
/// room.
pub(crate) enum FrameHook<Q> {
    /// At once, on the engine's thread.
    Plain(Arc<dyn Fn(&Q) -> FrameDecision + Send + Sync>),
    /// On the host's runtime.
    Async(Hook<Q, FrameDecision>),
}

// What is asked need not be clonable.
impl<Q> Clone for FrameHook<Q> {
    fn clone(&self) -> Self {
        match self {
            Self::Plain(hook) => Self::Plain(Arc::clone(hook)),
            Self::Async(hook) => Self::Async(Arc::clone(hook)),
        }
    }
}

impl<Q> FrameHook<Q> {
    pub(crate) fn plain<D: IntoFrameDecision>(
        hook: impl Fn(&Q) -> D + Send + Sync + 'static,
    ) -> Self {
        Self::Plain(Arc::new(move |request| hook(request).into_decision()))
    }

    pub(crate) fn asynchronous<F, D>(hook: impl Fn(Q) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = D> + Send + 'static,
        D: IntoFrameDecision,
    {
        Self::Async(Arc::new(move |request| {
            let decision = hook(request);
            Box::pin(async move { decision.await.into_decision() })
        }))
    }
}

/// A plain function that takes as long keeps all clients waiting, and the log says so.
const SLOW: Duration = Duration::from_millis(100);

/// Asks a plain function, on the thread that calls this. One that panics refuses.
pub(crate) fn ask_now<Q>(
    hook: &(dyn Fn(&Q) -> FrameDecision + Send + Sync),
    request: &Q,
) -> FrameVerdict {
    let begun = Instant::now();
    let verdict = ask_safely(hook, request);
    let took = begun.elapsed();
    if took >= SLOW {
        // Clients choose how often it is asked.
        static LINES: OncePerSecond = OncePerSecond::new();
        if let Some(more) = LINES.is_due() {
            let took = took.as_secs_f64();
            tracing::warn!(
                took,
                more,
                "the hook about frames takes long, and all clients wait for it"
            );
        }
    }
    verdict
}

fn ask_safely<Q>(hook: &(dyn Fn(&Q) -> FrameDecision + Send + Sync), request: &Q) -> FrameVerdict {
    // State that the function leaves half changed belongs to the application.
    catch_unwind(AssertUnwindSafe(|| hook(request))).map_or_else(
        |_| {
            static PANICKED: Complaint = Complaint::new("the hook about frames failed");
            PANICKED.log(&"it has panicked");
            failed()
        },
        |decision| decision.0,
    )
}
