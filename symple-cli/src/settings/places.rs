//! Where a server listens, as it is written: `tcp://host:port`, `tls://host:port?cert=…&key=…`,
//! `unix:path?mode=660`, `fd:3`.

use std::{fmt, path::PathBuf, str::FromStr};

use thiserror::Error;

use super::typed::Tls;

/// A place where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: PlaceAddress,
    pub(crate) tls: PlaceTls,
    pub(crate) backlog: Option<u32>,
}

/// Where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlaceAddress {
    Tcp(String),
    Unix {
        path: PathBuf,
        mode: Option<u32>,
    },
    /// A socket that the service manager has opened; the first is 3.
    Inherited(u32),
}

/// Whether connections are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlaceTls {
    Off,
    /// With the certificate of the settings (`ssl-cert`).
    OfSettings,
    Own(Tls),
}

/// Why a text is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum PlaceError {
    #[error(
        "a place is written tcp://HOST:PORT, tls://HOST:PORT, unix:PATH, fd:NUMBER or tls+fd:NUMBER"
    )]
    Syntax,
    #[error("an address is written HOST:PORT, with an address of IPv6 in brackets")]
    Address,
    #[error("a path is needed behind unix:")]
    Path,
    #[error("sockets that are handed over are counted from 3")]
    Number,
    #[error(
        "there is no such option here: of all places backlog, of tls cert and key, of unix mode"
    )]
    Option,
    #[error("an option is given twice, or has no value")]
    Twice,
    #[error("the mode must be three octal digits, such as 660")]
    Mode,
    #[error("the backlog must be a number from 1 to 65535")]
    Backlog,
    #[error("a certificate needs its key, and a key its certificate")]
    HalfTls,
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (place, options) = text.split_once('?').unwrap_or((text, ""));
        let (kind, rest) = place.split_once(':').ok_or(PlaceError::Syntax)?;
        let socket = |rest: &str| {
            let address = rest.strip_prefix("//").ok_or(PlaceError::Syntax)?;
            is_address(address).then(|| address.to_owned()).ok_or(PlaceError::Address)
        };
        let number = || match rest.parse() {
            Ok(number @ 3..=65_535) => Ok(PlaceAddress::Inherited(number)),
            _ => Err(PlaceError::Number),
        };
        let (mut address, tls) = match kind {
            "tcp" => (PlaceAddress::Tcp(socket(rest)?), false),
            "tls" => (PlaceAddress::Tcp(socket(rest)?), true),
            "fd" => (number()?, false),
            "tls+fd" => (number()?, true),
            "unix" if rest.is_empty() => return Err(PlaceError::Path),
            "unix" => (PlaceAddress::Unix { path: rest.into(), mode: None }, false),
            _ => return Err(PlaceError::Syntax),
        };
        let (mut certificate, mut key, mut backlog) = (None, None, None);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').ok_or(PlaceError::Twice)?;
            let given = match (name, &mut address) {
                _ if value.is_empty() => return Err(PlaceError::Twice),
                ("cert", _) if tls => certificate.replace(PathBuf::from(value)).is_some(),
                ("key", _) if tls => key.replace(PathBuf::from(value)).is_some(),
                ("mode", PlaceAddress::Unix { mode, .. }) => {
                    let octal = value.len() == 3 && value.bytes().all(|b| b.is_ascii_digit());
                    let bits = u32::from_str_radix(value, 8).ok().filter(|_| octal);
                    mode.replace(bits.ok_or(PlaceError::Mode)?).is_some()
                }
                ("backlog", _) => match value.parse() {
                    Ok(count @ 1..=65_535) => backlog.replace(count).is_some(),
                    _ => return Err(PlaceError::Backlog),
                },
                _ => return Err(PlaceError::Option),
            };
            if given {
                return Err(PlaceError::Twice);
            }
        }
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => PlaceTls::Own(Tls { certificate, key }),
            (None, None) if tls => PlaceTls::OfSettings,
            (None, None) => PlaceTls::Off,
            _ => return Err(PlaceError::HalfTls),
        };
        Ok(Self { address, tls, backlog })
    }
}

/// It looks like `host:port`.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plain = !host.is_empty() && !host.contains([':', '/', '[', ']']);
    (bracketed || plain) && port.parse::<u16>().is_ok() && !port.starts_with('+')
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encrypted = self.tls != PlaceTls::Off;
        match &self.address {
            PlaceAddress::Tcp(address) if encrypted => write!(f, "tls://{address}"),
            PlaceAddress::Tcp(address) => write!(f, "tcp://{address}"),
            PlaceAddress::Unix { path, .. } => {
                write!(f, "unix:{}", path.display().to_string().escape_debug())
            }
            PlaceAddress::Inherited(number) if encrypted => write!(f, "tls+fd:{number}"),
            PlaceAddress::Inherited(number) => write!(f, "fd:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-T9
    #[test]
    fn places_are_read_and_written() {
        for text in [
            "tcp://127.0.0.1:4500",
            "tcp://[::1]:0",
            "tcp://localhost:80",
            "tls://[::]:443",
            "unix:/run/symple.sock",
            "unix:here.sock",
            "fd:3",
            "tls+fd:4",
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.to_string(), text);
            assert_eq!(place.backlog, None);
            assert_eq!(
                place.tls,
                if text.starts_with("tls") { PlaceTls::OfSettings } else { PlaceTls::Off }
            );
        }
        let place: Place = "tls://a:1?cert=/c.pem&key=/k.pem&backlog=9".parse().unwrap();
        let own = Tls { certificate: "/c.pem".into(), key: "/k.pem".into() };
        assert_eq!((place.tls, place.backlog), (PlaceTls::Own(own), Some(9)));
        let place: Place = "unix:/x y?mode=660".parse().unwrap();
        assert_eq!(place.address, PlaceAddress::Unix { path: "/x y".into(), mode: Some(0o660) });
    }

    /// R-T9: what is no place.
    #[test]
    fn what_is_no_place() {
        for (text, expected) in [
            ("", PlaceError::Syntax),
            ("4500", PlaceError::Syntax),
            ("127.0.0.1:4500", PlaceError::Syntax),
            ("http://a:1", PlaceError::Syntax),
            ("tcp:a:1", PlaceError::Syntax),
            ("tcp://a", PlaceError::Address),
            ("tcp://:1", PlaceError::Address),
            ("tcp://a:+1", PlaceError::Address),
            ("tcp://a:65536", PlaceError::Address),
            ("tcp://::1:80", PlaceError::Address),
            ("tcp://a:1/x", PlaceError::Address),
            ("tls://http://a:1", PlaceError::Address),
            ("unix:", PlaceError::Path),
            ("fd:", PlaceError::Number),
            ("fd:2", PlaceError::Number),
            ("fd:x", PlaceError::Number),
            ("tcp://a:1?cert=x&key=y", PlaceError::Option),
            ("tcp://a:1?mode=660", PlaceError::Option),
            ("tls://a:1?x=y", PlaceError::Option),
            ("unix:/a?key=x", PlaceError::Option),
            ("unix:/a?mode=660&mode=660", PlaceError::Twice),
            ("unix:/a?mode", PlaceError::Twice),
            ("unix:/a?mode=", PlaceError::Twice),
            ("unix:/a?mode=9", PlaceError::Mode),
            ("unix:/a?mode=0660", PlaceError::Mode),
            ("unix:/a?mode=+66", PlaceError::Mode),
            ("tcp://a:1?backlog=0", PlaceError::Backlog),
            ("tls://a:1?cert=x", PlaceError::HalfTls),
            ("tls://a:1?key=x", PlaceError::HalfTls),
        ] {
            assert_eq!(text.parse::<Place>(), Err(expected), "{text}");
        }
    }
}
