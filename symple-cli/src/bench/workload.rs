//! The workloads. Each connects its clients, lets them work, and tells what it saw.

mod connect;
mod direct;
mod fan_out;
mod idle;
mod mixed;
mod pace;
mod rooms;
mod slow;
mod soak;
mod storm;

pub(crate) use connect::connect;
pub(crate) use direct::{Direct, DirectShape};
pub(crate) use fan_out::{FanOut, FanOutShape};
pub(crate) use idle::idle;
pub(crate) use mixed::mixed;
pub(crate) use pace::Pace;
pub(crate) use rooms::RoomsShape;
pub(crate) use slow::{Slow, SlowShape};
pub(crate) use soak::soak;
pub(crate) use storm::{Storm, StormKind, StormShape};
