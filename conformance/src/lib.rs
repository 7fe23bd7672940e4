//! Conformance of anything that speaks symple/4: recorded exchanges, replayed.
//!
//! A [`Transcript`] tells what clients and a server said to each other. A
//! [`Target`] is something to say it to: the bare engine, a server in this process, a
//! server that a command starts, or one that runs somewhere. The clients' part is acted again, and
//! every frame and close is held against what is expected: what was recorded, or where the
//! specification wants it otherwise, what is [declared](deviation).

#![forbid(unsafe_code)]

mod align;
mod compare;
pub mod deviation;
mod draft;
mod js_client;
mod port;
mod record;
mod redis;
mod replay;
mod runner;
mod rust_client;
mod target;
mod transcript;
mod world;

pub use compare::Bindings;
pub use draft::draft;
pub use js_client::{Check, KNOWN_FAULTS, js_client};
pub use record::record;
pub use redis::Redis;
pub use replay::Failure;
pub use runner::{RunOptions, run_all};
pub use rust_client::{FAULTS_FOR_OUR_CLIENT, rust_client};
pub use target::{Target, Verdict};
pub use transcript::{
    Event, Frame, FrameAnswer, FrameChoice, Header, HookAnswer, RecordedFrom, RedisContents,
    ScenarioConfig, Transcript, TranscriptError,
};
