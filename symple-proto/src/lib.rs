//! The Symple v4 protocol (`symple/4`): JSON over WebSocket for messaging and presence.
//!
//! This crate is what travels: addresses, frames, records and limits, as types and as text. It
//! has no state and does no IO; it needs an allocator and nothing of `std`. What *happens* when a
//! frame arrives is the business of `symple-engine`; sockets are the business of the adapters.
//!
//! There are two ways to read a frame:
//!
//! - [`frame`] has a type for each: for clients, tools and tests.
//! - [`FrameView`] is what a server needs: it reads the text once, borrows from it, and relays it
//!   byte for byte.
//!
//! ```
//! use symple_proto::{ClientFrame, FrameView, ServerFrame, frame::Message};
//!
//! let text = r#"{"type":"message","to":"bob","data":{"price":12.50}}"#;
//!
//! // A client builds and reads types; what it does not read keeps its spelling.
//! let ClientFrame::Message(message) = ClientFrame::parse(text)? else { panic!() };
//! assert_eq!(message.data.unwrap().text(), r#"{"price":12.50}"#);
//!
//! // A server adds the sender and changes nothing else.
//! let mut relayed = String::new();
//! FrameView::parse(text, 128)?.relay("\"alice|7gf\"", &mut relayed);
//! assert_eq!(
//!     relayed,
//!     r#"{"type":"message","to":"bob","data":{"price":12.50},"from":"alice|7gf"}"#
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Items name the rules of the [specification] that they carry out: `R-…`.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[doc = include_str!("../docs/specification.md")]
pub mod specification {}

mod address;
mod auth;
pub mod call;
pub mod cluster;
mod emission;
pub mod error;
mod extension;
mod fields;
pub mod frame;
pub mod json;
mod limits;
mod members;
mod name;
mod record;
mod session;
pub mod state;
mod status;
mod view;

pub use address::{Address, AddressError, Recipient, RecipientError, To};
pub use auth::{AuthError, AuthFrame, read_auth};
pub use emission::{Emission, EmissionError};
pub use error::DecodeError;
pub use extension::{Extension, Extensions};
pub use fields::Fields;
pub use frame::{ClientFrame, FrameError, ServerFrame};
pub use json::{Json, RawJson};
pub use limits::Limits;
pub use members::PeerMembers;
pub use name::{
    MAX_ID_LEN, MAX_NAME_LEN, NameError, PeerId, RoomName, UserName, check_id, check_room,
    check_user,
};
pub use record::{PublicRecord, RecordError, ToldRecord};
pub use session::{PRIVATE_MEMBER, SessionError, SessionRecord, Token};
pub use status::{CloseCode, Status};
pub use view::{FrameType, FrameView, RoutedType, TypeError};

/// The name of the protocol, as the `welcome` has it.
pub const PROTOCOL: &str = "symple/4";

/// The port that servers listen on by default (R-T2).
pub const DEFAULT_PORT: u16 = 4500;
