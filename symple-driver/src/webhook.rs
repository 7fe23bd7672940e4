//! What the operator's own HTTP service is asked and told: about authentications (R-V2), and of peers
//! that come and go (R-W1).

pub(crate) mod authentication;
pub(crate) mod events;
mod queue;
