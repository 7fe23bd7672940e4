//! The HTTP that comes before WebSocket: upgrades, health checks, and no for an answer.

mod address;
mod head;
mod policy;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub(crate) use policy::{Answer, MAX_HEAD, Policy};
pub use request::Request;
pub(crate) use response::{Upgrade, response};
