//! The HTTP that comes before WebSocket: upgrades, health checks, and no for an answer.

mod address;
mod head;
mod policy;
mod request;
mod response;
mod scan;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use policy::{Answer, Policy};
pub use request::Request;
pub(crate) use response::{Upgrade, refusal};
pub(crate) use scan::HeadScan;
