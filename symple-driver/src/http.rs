//! The HTTP that comes before WebSocket: upgrades, health checks, refusals.

mod address;
mod authority;
mod extensions;
mod forwarded;
mod head;
pub(crate) mod mounted;
pub(crate) mod origin;
mod policy;
pub(crate) mod proxy;
mod request;
mod response;
mod scan;
mod target;
#[cfg(test)]
mod tests;
mod upgrade;

pub(crate) use address::{UNIX_PEER, UNKNOWN_PEER};
pub use mounted::MountedRequest;
pub(crate) use policy::{Answer, Policy, RefusedUpgrade};
pub use request::Request;
pub(crate) use response::{Upgrade, parse_response, refusal};
pub(crate) use scan::HeadScan;
pub(crate) use upgrade::UpgradeRequest;
