//! What the end of a connection means: one table.

use alloc::boxed::Box;
use core::{fmt, ops::RangeInclusive};

use symple_proto::{CloseCode, Status};

use super::input::ConnectFailure;

/// What a client does when its connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It comes back after a while.
    Reconnect,
    /// It comes back with another token, and not with the same.
    FreshToken,
    /// It does not come back.
    Final,
}

/// What each close code means (SPEC §7). Where several rows hold a code, the first counts.
pub const CLOSE_CODES: &[(RangeInclusive<u16>, Ending, &str)] = &[
    (1000..=1001, Ending::Reconnect, "the server closes the connection or shuts down"),
    (1002..=1003, Ending::Final, "the server does not understand this client"),
    (1005..=1006, Ending::Reconnect, "the connection was cut, or closed without a code"),
    (1007..=1007, Ending::Final, "this client has sent what is no text"),
    (1008..=1008, Ending::Reconnect, "a message was not completed in time"),
    (1009..=1010, Ending::Final, "this client has sent too much, or wants too much"),
    (1011..=1015, Ending::Reconnect, "the server, or a proxy, is at fault or at capacity"),
    (4400..=4400, Ending::Final, "the server cannot read this client's first frame"),
    (4401..=4401, Ending::FreshToken, "the token is missing, wrong or expired"),
    (4408..=4408, Ending::Reconnect, "this client did not authenticate in time"),
    (4429..=4429, Ending::Reconnect, "this client reads too slowly, or sends too fast"),
    (4400..=4499, Ending::Final, "this client is not allowed, or was sent away"),
    (0..=u16::MAX, Ending::Reconnect, "anything else"),
];

/// What each HTTP status that answers an upgrade means, as long as no server has welcomed the
/// client. Later such an answer is that of a proxy in front of a server that is away, and the
/// client comes back. Where several rows hold a status, the first counts.
pub const HTTP_STATUSES: &[(RangeInclusive<u16>, Ending, &str)] = &[
    (408..=408, Ending::Reconnect, "too late"),
    (421..=421, Ending::Reconnect, "misdirected"),
    (425..=425, Ending::Reconnect, "too early"),
    (429..=429, Ending::Reconnect, "too often"),
    (400..=499, Ending::Final, "there is no server for this client"),
    (0..=u16::MAX, Ending::Reconnect, "anything else, also 200"),
];

fn look_up(table: &[(RangeInclusive<u16>, Ending, &str)], number: u16) -> Ending {
    let row = table.iter().find(|(range, ..)| range.contains(&number));
    row.map_or(Ending::Reconnect, |(_, ending, _)| *ending)
}

impl Ending {
    /// What a close code means, by [`CLOSE_CODES`].
    #[must_use]
    pub fn of_code(code: CloseCode) -> Self {
        look_up(CLOSE_CODES, code.0)
    }

    /// What an HTTP status means to a client that was never welcomed, by [`HTTP_STATUSES`].
    #[must_use]
    pub fn of_http_status(status: u16) -> Self {
        look_up(HTTP_STATUSES, status)
    }
}

/// Why a connection, or an attempt to make one, has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The connection was closed, by this code.
    Code {
        /// The code; 1006 where there was no close frame.
        code: CloseCode,
        /// The reason in the close frame, one line of at most 123 characters.
        reason: Box<str>,
    },
    /// The server has refused the authentication; the code is what it closes with, or would.
    Refused {
        /// The code.
        code: CloseCode,
        /// The status of the `error`; the Node server leaves it out of some.
        status: Option<Status>,
        /// Its message, one line of at most 256 characters.
        message: Box<str>,
    },
    /// There is no WebSocket.
    Failed(ConnectFailure),
    /// The connection was not open in time.
    ConnectTimeout,
    /// The server did not answer `auth` in time.
    AuthTimeout,
    /// The server does not answer any more (R-T3).
    Silent,
    /// The application had no token in time.
    NoToken,
    /// What the server said is not the protocol.
    NotSymple,
    /// The server speaks another version of the protocol.
    OtherProtocol(Box<str>),
    /// The caller wanted it.
    Requested,
    /// The client was never started.
    NotStarted,
}

impl End {
    /// What the end means, to a client that a server has `welcomed` before or not.
    #[must_use]
    pub fn ending(&self, welcomed: bool) -> Ending {
        match self {
            Self::Code { code, .. } | Self::Refused { code, .. } => Ending::of_code(*code),
            Self::Failed(ConnectFailure::Http { status, .. }) if !welcomed => {
                Ending::of_http_status(*status)
            }
            Self::Failed(ConnectFailure::Tls(_)) if !welcomed => Ending::Final,
            Self::OtherProtocol(_) | Self::Requested | Self::NotStarted => Ending::Final,
            Self::Failed(_)
            | Self::ConnectTimeout
            | Self::AuthTimeout
            | Self::Silent
            | Self::NoToken
            | Self::NotSymple => Ending::Reconnect,
        }
    }

    /// The code that a server closes with behind an `error` of that status (SPEC §7), for servers
    /// that leave the connection open (D-CLOSE).
    pub(super) fn code_of_status(status: Option<Status>) -> CloseCode {
        match status {
            Some(Status::BAD_REQUEST) => CloseCode::BAD_REQUEST,
            Some(Status::FORBIDDEN) => CloseCode::FORBIDDEN,
            Some(Status::TIMEOUT) => CloseCode::AUTH_TIMEOUT,
            Some(Status::TOO_LARGE) => CloseCode::TOO_BIG,
            Some(Status::TOO_MANY) => CloseCode::TOO_SLOW,
            Some(Status::UNAVAILABLE) => CloseCode::UNAVAILABLE,
            Some(Status(500..)) => CloseCode::INTERNAL,
            _ => CloseCode::UNAUTHORIZED,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code { code: CloseCode(1005), .. } => f.write_str("closed without a code"),
            Self::Code { code: CloseCode(1006), .. } => f.write_str("the connection was cut"),
            Self::Code { code, reason } if reason.is_empty() => write!(f, "closed with {code}"),
            Self::Code { code, reason } => write!(f, "closed with {code}: {reason}"),
            Self::Refused { message, .. } => write!(f, "refused: {message}"),
            Self::Failed(ConnectFailure::Unreachable(why)) => write!(f, "cannot connect: {why}"),
            Self::Failed(ConnectFailure::Tls(why)) => write!(f, "TLS: {why}"),
            Self::Failed(ConnectFailure::Http { status, .. }) => {
                write!(f, "the upgrade was answered with HTTP {status}")
            }
            Self::Failed(ConnectFailure::Protocol(why)) => write!(f, "not a WebSocket: {why}"),
            Self::ConnectTimeout => f.write_str("not connected in time"),
            Self::AuthTimeout => f.write_str("no answer to the authentication in time"),
            Self::Silent => f.write_str("the server is silent"),
            Self::NoToken => f.write_str("no token"),
            Self::NotSymple => f.write_str("the server does not speak Symple"),
            Self::OtherProtocol(protocol) => write!(f, "the server speaks {protocol}"),
            Self::Requested => f.write_str("closed by the application"),
            Self::NotStarted => f.write_str("not started"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SPEC §7: what each end means.
    #[test]
    fn the_table_says_what_each_code_means() {
        for (codes, ending) in [
            (&[4401][..], Ending::FreshToken),
            (&[4400, 4403, 4409, 4499, 1002, 1003, 1007, 1009, 1010], Ending::Final),
            (
                &[
                    1000, 1001, 1004, 1005, 1006, 1008, 1011, 1012, 1013, 1014, 1015, 1016, 3000,
                    4000, 4399, 4408, 4429, 4500, 4503, 0, 65535,
                ],
                Ending::Reconnect,
            ),
        ] {
            for code in codes {
                assert_eq!(Ending::of_code(CloseCode(*code)), ending, "{code}");
            }
        }
        for (statuses, ending) in [
            (&[400, 401, 403, 404, 405, 426, 431][..], Ending::Final),
            (&[101, 200, 204, 301, 408, 425, 429, 500, 502, 503, 504], Ending::Reconnect),
        ] {
            for status in statuses {
                assert_eq!(Ending::of_http_status(*status), ending, "{status}");
            }
        }
    }

    /// SPEC §7: what a proxy answers for a server that has welcomed the client before is passing.
    #[test]
    fn a_failure_may_be_final_only_before_the_first_welcome() {
        let http = |status| End::Failed(ConnectFailure::Http { status, retry_after: None });
        let tls = End::Failed(ConnectFailure::Tls("unknown issuer".into()));
        for (end, before, after) in [
            (http(404), Ending::Final, Ending::Reconnect),
            (http(200), Ending::Reconnect, Ending::Reconnect),
            (tls, Ending::Final, Ending::Reconnect),
            (
                End::Failed(ConnectFailure::Unreachable("refused".into())),
                Ending::Reconnect,
                Ending::Reconnect,
            ),
            (End::OtherProtocol("symple/5".into()), Ending::Final, Ending::Final),
        ] {
            assert_eq!((end.ending(false), end.ending(true)), (before, after), "{end}");
        }
    }

    /// SPEC §7: every status of an `error` before the welcome stands for the code that follows it.
    #[test]
    fn statuses_stand_for_codes() {
        for (status, code) in [
            (Some(400), 4400),
            (Some(401), 4401),
            (None, 4401),
            (Some(403), 4403),
            (Some(408), 4408),
            (Some(413), 1009),
            (Some(429), 4429),
            (Some(500), 1011),
            (Some(503), 4503),
        ] {
            assert_eq!(End::code_of_status(status.map(Status)), CloseCode(code), "{status:?}");
        }
    }
}
