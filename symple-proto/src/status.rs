//! The numbers of the protocol: statuses in frames, codes in close frames.

use core::fmt;

use serde::{Deserialize, Serialize};

/// The `status` of a `welcome` or an `error` (SPEC §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Status(pub u16);

impl Status {
    /// 200: welcome.
    pub const OK: Self = Self(200);
    /// 400: the frame cannot be read or makes no sense.
    pub const BAD_REQUEST: Self = Self(400);
    /// 401: not authenticated, or the authentication failed.
    pub const UNAUTHORIZED: Self = Self(401);
    /// 403: not allowed.
    pub const FORBIDDEN: Self = Self(403);
    /// 408: no `auth` in time.
    pub const TIMEOUT: Self = Self(408);
    /// 413: too big.
    pub const TOO_LARGE: Self = Self(413);
    /// 429: too slow or too fast.
    pub const TOO_MANY: Self = Self(429);
    /// 503: at capacity, or what decides the authentication cannot be reached.
    pub const UNAVAILABLE: Self = Self(503);
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The code of a WebSocket close frame (RFC 6455 §7.4 and SPEC §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: the client sent `close`.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server shuts down.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the bytes are no WebSocket frames.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1007: not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: a message was not completed in time.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message over the limit.
    pub const TOO_BIG: Self = Self(1009);
    /// 1011: a fault of the server.
    pub const INTERNAL: Self = Self(1011);
    /// 1013: at capacity, try again later.
    pub const AT_CAPACITY: Self = Self(1013);
    /// 4400: the input of an unauthenticated connection made no sense.
    pub const BAD_REQUEST: Self = Self(4400);
    /// 4401: not authenticated, authentication failed, session expired.
    pub const UNAUTHORIZED: Self = Self(4401);
    /// 4403: not allowed.
    pub const FORBIDDEN: Self = Self(4403);
    /// 4408: no `auth` in time.
    pub const AUTH_TIMEOUT: Self = Self(4408);
    /// 4409: replaced or kicked.
    pub const KICKED: Self = Self(4409);
    /// 4429: the receiver is too slow, or sends too fast.
    pub const TOO_SLOW: Self = Self(4429);
    /// 4503: what decides the authentication cannot be reached.
    pub const UNAVAILABLE: Self = Self(4503);
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
