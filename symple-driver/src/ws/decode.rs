//! From bytes to messages: WebSocket frames as a server or a client reads them (RFC 6455 §5).
//!
//! It is done here for the sake of memory: a connection that has sent nothing in part holds no buffer,
//! and a message that arrived in one piece is never copied.

use std::ops::Range;

use crate::ws::{
    deflate::compressed_limit,
    header::{Header, Malformed, Opcode},
};

/// How many fragments a message may have (R-L3).
pub(crate) const MAX_FRAGMENTS: u32 = 1024;

/// The parts of a message that comes in several frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    fragments: Option<Box<Fragments>>,
}

/// What a connection's messages may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    /// How many bytes a message may have.
    pub(crate) limit: usize,
    /// In how many fragments it may come (R-L3).
    pub(crate) max_fragments: u32,
    /// They may be compressed: the first reserved bit says which are (RFC 7692 §6).
    pub(crate) deflates: bool,
    /// Who sends them.
    pub(crate) sender: Sender,
}

/// Which side of a connection it is that sends. A client must mask its frames, and a server must
/// not (RFC 6455 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Server,
}

/// How the other side has broken the rules of WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A message over the limit, noticed at its header: so many bytes, as far as is known.
    TooBig { size: u64, limit: usize },
    /// The bytes are no frames, or not those that may stand there.
    Protocol,
    /// A message in more fragments than a message may have.
    TooManyFragments,
    /// The reason of a close frame is not UTF-8.
    InvalidUtf8,
}

/// The fragments of a message that have arrived.
#[derive(Debug, PartialEq)]
pub(crate) struct Fragments {
    pub(crate) message: Vec<u8>,
    count: u32,
    /// They are to be inflated, all of them together.
    deflated: bool,
}

/// What stands at the start of the bytes.
#[derive(Debug, PartialEq)]
pub(crate) enum Decoded {
    /// Not all of a frame yet.
    Incomplete,
    /// A message in one piece: where its payload stands, unmasked.
    Message(Range<usize>),
    /// As a message in one piece, but compressed.
    Deflated(Range<usize>),
    /// The last fragment of a message: its payload.
    Assembled(Vec<u8>),
    /// The last fragment of a compressed message: all of them, and where its own payload stands.
    AssembledDeflated(Box<Fragments>, Range<usize>),
    /// A fragment that is not the last.
    Fragment,
    /// A ping: where its payload stands, unmasked.
    Ping(Range<usize>),
    /// A pong.
    Pong,
    /// A close frame; the code and the text that it has. Without a code there is no text.
    Close(Option<u16>, Box<str>),
    /// What may not be sent.
    Fault(Violation),
}

impl Decoder {
    /// A message has begun and not ended.
    pub(crate) fn is_within_message(&self) -> bool {
        self.fragments.is_some()
    }

    /// How many bytes of a message that has not ended are kept.
    pub(crate) fn held(&self) -> usize {
        self.fragments.as_ref().map_or(0, |fragments| fragments.message.len())
    }

    /// Takes a compressed frame of a client back, whose payload stood there: it will be decoded once
    /// more. If it was the last of several, these are the fragments.
    pub(crate) fn take_back(
        &mut self,
        bytes: &mut [u8],
        payload: Range<usize>,
        fragments: Option<Box<Fragments>>,
    ) {
        self.fragments = fragments.map(|mut fragments| {
            fragments.message.truncate(fragments.message.len().saturating_sub(payload.len()));
            fragments.count -= 1;
            fragments
        });
        // The mask stands before the payload.
        if let Some((header, payload)) =
            bytes.get_mut(..payload.end).and_then(|frame| frame.split_at_mut_checked(payload.start))
            && let Some(mask) = header.last_chunk::<4>()
        {
            apply_mask(payload, *mask);
        }
    }

    /// Forgets a message that has not ended.
    pub(crate) fn forget(&mut self) {
        self.fragments = None;
    }

    /// As [`decode_within`](Self::decode_within), in as many fragments as usual, without compression.
    #[cfg(test)]
    pub(crate) fn decode(&mut self, bytes: &mut [u8], limit: usize) -> (usize, Decoded) {
        self.decode_within(bytes, tests::allowed(limit))
    }

    /// Reads the frame at the start of `bytes` and unmasks its payload there, if it is a client's.
    /// The number of bytes that are done with.
    pub(crate) fn decode_within(&mut self, bytes: &mut [u8], allowed: Allowed) -> (usize, Decoded) {
        const FAULT: (usize, Decoded) = (0, Decoded::Fault(Violation::Protocol));
        let Allowed { limit, max_fragments, deflates, sender } = allowed;
        let header = match Header::parse(bytes) {
            Ok(Some(header)) => header,
            Ok(None) => return (0, Decoded::Incomplete),
            Err(Malformed) => return FAULT,
        };
        let Header { is_final, rsv1, opcode, mask, payload: length, len: start } = header;
        if mask.is_some() != (sender == Sender::Client) {
            return FAULT;
        }
        // The first reserved bit stands where a message begins, if it was agreed on (RFC 7692 §6.1).
        if rsv1 && !(deflates && matches!(opcode, Opcode::Text | Opcode::Binary)) {
            return FAULT;
        }
        let in_fragments = self.fragments.is_some();
        let deflated = rsv1 || self.fragments.as_ref().is_some_and(|fragments| fragments.deflated);
        match opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                if !is_final || length > 125 {
                    return FAULT;
                }
            }
            Opcode::Continue if !in_fragments => return FAULT,
            Opcode::Text | Opcode::Binary if in_fragments => return FAULT,
            Opcode::Continue | Opcode::Text | Opcode::Binary => {
                let before = self.held() as u64;
                let size = before.saturating_add(length);
                let most = if deflated { compressed_limit(limit) } else { limit };
                if size > most as u64 {
                    // How long its text is nobody knows; it may be as long as that (R-A11).
                    let size = if deflated { size.min(limit as u64 + 1) } else { size };
                    return (0, Decoded::Fault(Violation::TooBig { size, limit }));
                }
            }
        }
        if !header.is_minimal() {
            return FAULT;
        }
        // The limit has been checked, so this is no more than a usize holds.
        let Some(end) = usize::try_from(length).ok().and_then(|length| start.checked_add(length))
        else {
            return FAULT;
        };
        let Some(payload) = bytes.get_mut(start..end) else { return (0, Decoded::Incomplete) };
        if let Some(key) = mask {
            apply_mask(payload, key);
        }
        let decoded = match opcode {
            Opcode::Ping => Decoded::Ping(start..end),
            Opcode::Close => close(payload),
            Opcode::Pong => Decoded::Pong,
            Opcode::Continue => match self.fragments.take() {
                Some(mut fragments) if fragments.count < max_fragments => {
                    fragments.message.extend_from_slice(payload);
                    fragments.count += 1;
                    if is_final && deflated {
                        Decoded::AssembledDeflated(fragments, start..end)
                    } else if is_final {
                        Decoded::Assembled(fragments.message)
                    } else {
                        self.fragments = Some(fragments);
                        Decoded::Fragment
                    }
                }
                _ => Decoded::Fault(Violation::TooManyFragments),
            },
            _ if is_final && deflated => Decoded::Deflated(start..end),
            _ if is_final => Decoded::Message(start..end),
            Opcode::Text | Opcode::Binary => {
                let message = payload.to_vec();
                self.fragments = Some(Box::new(Fragments { message, count: 1, deflated }));
                Decoded::Fragment
            }
        };
        (end, decoded)
    }
}

/// Looks for a close frame among whole frames, from `at` on: where it goes on when there is more,
/// and whether there is one. Nothing is unmasked.
pub(crate) fn find_close(bytes: &[u8], mut at: usize) -> (usize, bool) {
    while let Some(rest) = bytes.get(at..) {
        let Some(header) = Header::parse(rest).ok().flatten().filter(Header::is_minimal) else {
            break;
        };
        let whole = usize::try_from(header.payload).ok().and_then(|n| n.checked_add(header.len));
        let Some(end) = whole.and_then(|whole| at.checked_add(whole)) else { break };
        if end > bytes.len() {
            break;
        }
        if header.opcode == Opcode::Close {
            return (at, true);
        }
        at = end;
    }
    (at, false)
}

/// Reads the payload of a close frame (§5.5.1, §7.4.1).
fn close(payload: &[u8]) -> Decoded {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Decoded::Close(None, Box::default())
        } else {
            Decoded::Fault(Violation::Protocol)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        Decoded::Fault(Violation::Protocol)
    } else {
        std::str::from_utf8(reason).map_or(Decoded::Fault(Violation::InvalidUtf8), |reason| {
            Decoded::Close(Some(code), reason.into())
        })
    }
}

/// True for the codes that a close frame may carry (RFC 6455 §7.4): those that are registered at
/// IANA or may be some day, and those of libraries and applications. The others are reserved, or
/// stand for what was never sent.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 1016..=4999)
}

/// Puts the mask on, or takes it off, eight bytes at a time.
pub(crate) fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tungstenite::{
        Message,
        protocol::{Role, WebSocket, frame::CloseFrame},
    };

    use super::*;

    /// What a client may send, uncompressed and in as many fragments as usual.
    pub(super) fn allowed(limit: usize) -> Allowed {
        Allowed { limit, max_fragments: MAX_FRAGMENTS, deflates: false, sender: Sender::Client }
    }

    /// A frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..126 => bytes.push(0x80 | length as u8),
            length @ 126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    fn decode(bytes: &[u8]) -> Decoded {
        Decoder::default().decode(&mut bytes.to_vec(), 1000).1
    }

    #[test]
    fn what_clients_send() {
        assert_eq!(decode(&frame(0x81, b"hello")), Decoded::Message(6..11));
        assert_eq!(decode(&frame(0x82, b"hello")), Decoded::Message(6..11));
        assert_eq!(decode(&frame(0x81, &[b'x'; 200])), Decoded::Message(8..208));
        assert_eq!(decode(&frame(0x89, b"ping")), Decoded::Ping(6..10));
        assert_eq!(decode(&frame(0x8a, b"pong")), Decoded::Pong);
        assert_eq!(decode(&frame(0x88, b"")), Decoded::Close(None, "".into()));
        assert_eq!(decode(&frame(0x88, b"\x03\xe8bye")), Decoded::Close(Some(1000), "bye".into()));
        let mut bytes = frame(0x81, b"hello");
        Decoder::default().decode(&mut bytes, 1000);
        assert_eq!(&bytes[6..], b"hello");
    }

    /// RFC 6455 §5.2, §5.4, §5.5, §7.4
    #[test]
    fn what_no_client_may_send() {
        let protocol = Decoded::Fault(Violation::Protocol);
        for (what, bytes) in [
            ("length of 2 bytes", b"\x81\xfe\0\x05\0\0\0\0hello".to_vec()),
            ("length of 8 bytes", b"\x81\xff\0\0\0\0\0\0\0\x05\0\0\0\0hello".to_vec()),
            ("unmasked", b"\x81\x05hello".to_vec()),
            ("reserved bit 1", frame(0xc1, b"x")),
            ("reserved bit 2", frame(0xa1, b"x")),
            ("reserved bit 3", frame(0x91, b"x")),
            ("reserved data opcode", frame(0x83, b"x")),
            ("reserved control opcode", frame(0x8b, b"x")),
            ("continuation of nothing", frame(0x80, b"x")),
            ("fragmented ping", frame(0x09, b"x")),
            ("long ping", frame(0x89, &[0; 126])),
            ("close with one byte", frame(0x88, b"\x03")),
        ] {
            assert_eq!(decode(&bytes), protocol, "{what}");
        }
        assert_eq!(decode(&frame(0x88, b"\x03\xe8\xff")), Decoded::Fault(Violation::InvalidUtf8));
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(&mut frame(0x01, b"a"), 10).1, Decoded::Fragment);
        assert_eq!(decoder.decode(&mut frame(0x81, b"b"), 10).1, protocol);
    }

    /// RFC 6455 §5.1: what a server sends is not masked.
    #[test]
    fn what_servers_send() {
        let decode = |bytes: &[u8]| {
            let allowed = Allowed { sender: Sender::Server, ..allowed(1000) };
            Decoder::default().decode_within(&mut bytes.to_vec(), allowed)
        };
        assert_eq!(decode(b"\x81\x05hello"), (7, Decoded::Message(2..7)));
        assert_eq!(decode(b"\x89\x04ping"), (6, Decoded::Ping(2..6)));
        assert_eq!(decode(b"\x88\x02\x03\xe8"), (4, Decoded::Close(Some(1000), "".into())));
        assert_eq!(decode(&frame(0x81, b"hello")), (0, Decoded::Fault(Violation::Protocol)));
    }

    /// RFC 7692 §6.1: where it was agreed on, the first reserved bit stands on the first frame of a
    /// data message, and nowhere else.
    #[test]
    fn compressed_messages() {
        let protocol = Decoded::Fault(Violation::Protocol);
        let decode_with = |decoder: &mut Decoder, bytes: &mut [u8], limit| {
            decoder.decode_within(bytes, Allowed { deflates: true, ..allowed(limit) }).1
        };
        let decode = |bytes: &[u8]| decode_with(&mut Decoder::default(), &mut bytes.to_vec(), 1000);
        assert_eq!(decode(&frame(0xc1, b"hello")), Decoded::Deflated(6..11));
        assert_eq!(decode(&frame(0xc2, b"hello")), Decoded::Deflated(6..11));
        assert_eq!(decode(&frame(0x81, b"hello")), Decoded::Message(6..11));
        for first in [0xc8, 0xc9, 0xca, 0xe1, 0xd1, 0xc3, 0xc0] {
            assert_eq!(decode(&frame(first, b"")), protocol, "{first:x}");
        }
        let mut decoder = Decoder::default();
        assert_eq!(decode_with(&mut decoder, &mut frame(0x41, b"a"), 10), Decoded::Fragment);
        assert_eq!(decode_with(&mut decoder, &mut frame(0x89, b""), 10), Decoded::Ping(6..6));
        assert_eq!(decode_with(&mut decoder, &mut frame(0x00, b"b"), 10), Decoded::Fragment);
        // What is taken back is decoded to the same.
        let mut last = frame(0x80, b"c");
        let sent = last.clone();
        for _ in 0..2 {
            let decoded = decode_with(&mut decoder, &mut last, 10);
            let Decoded::AssembledDeflated(fragments, payload) = decoded else {
                panic!("{decoded:?}")
            };
            assert_eq!((&*fragments.message, fragments.count, &payload), (&b"abc"[..], 3, &(6..7)));
            assert!(!decoder.is_within_message());
            decoder.take_back(&mut last, payload, Some(fragments));
            assert_eq!(last, sent);
        }
        decoder.forget();
        decoder.take_back(&mut last, 6..7, None);
        assert_eq!(&last[6..], b"c");
        assert_eq!(decode_with(&mut decoder, &mut frame(0x01, b"a"), 10), Decoded::Fragment);
        assert_eq!(decode_with(&mut decoder, &mut frame(0xc0, b"b"), 10), protocol);
        decoder.forget();
        // R-L1: what cannot be compressed may be a little longer.
        let limit = compressed_limit(10);
        let too_big = Decoded::Fault(Violation::TooBig { size: 11, limit: 10 });
        assert_eq!(decode_with(&mut decoder, &mut frame(0xc1, &vec![0; limit + 1]), 10), too_big);
        assert_eq!(
            decode_with(&mut decoder, &mut frame(0xc1, &vec![0; limit]), 10),
            Decoded::Deflated(6..6 + limit)
        );
    }

    /// RFC 6455 §7.4: what stands for no frame at all is no code of a frame; what has no meaning yet
    /// may get one.
    #[test]
    fn close_codes() {
        let protocol = Decoded::Fault(Violation::Protocol);
        let refused = [0..=999, 1004..=1006, 1015..=1015, 5000..=u16::MAX];
        for code in 0..=u16::MAX {
            let decoded = decode(&frame(0x88, &code.to_be_bytes()));
            if refused.iter().any(|codes| codes.contains(&code)) {
                assert_eq!(decoded, protocol, "{code}");
            } else {
                assert_eq!(decoded, Decoded::Close(Some(code), "".into()), "{code}");
            }
        }
        for code in [1000, 1003, 1007, 1011, 1012, 1013, 1014, 1016, 2999, 3000, 4000, 4999_u16] {
            let decoded = decode(&frame(0x88, &code.to_be_bytes()));
            assert_eq!(decoded, Decoded::Close(Some(code), "".into()));
        }
    }

    /// R-L1: refused at the header, whatever it claims.
    #[test]
    fn too_big_is_noticed_at_the_header() {
        let claim = |size: u64| {
            let mut bytes = vec![0x81, 0xff];
            bytes.extend(size.to_be_bytes());
            bytes.extend([0; 4]);
            Decoder::default().decode(&mut bytes, 1000)
        };
        for size in [1001, 1 << 62, u64::MAX] {
            assert_eq!(claim(size), (0, Decoded::Fault(Violation::TooBig { size, limit: 1000 })));
        }
        let mut begun = [0x81, 0xfe, 0x03, 0xe8, 0, 0, 0, 0];
        assert_eq!(Decoder::default().decode(&mut begun, 1000), (0, Decoded::Incomplete));
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(&mut frame(0x01, &[b'x'; 600]), 1000).1, Decoded::Fragment);
        assert_eq!(
            decoder.decode(&mut frame(0x80, &[b'x'; 401]), 1000).1,
            Decoded::Fault(Violation::TooBig { size: 1001, limit: 1000 })
        );
    }

    /// R-L3: so many fragments, and no more.
    #[test]
    fn too_many_fragments() {
        for (count, too_many) in [(1022, false), (1023, true)] {
            let mut decoder = Decoder::default();
            decoder.decode(&mut frame(0x01, b"a"), 10_000);
            for _ in 0..count {
                assert_eq!(decoder.decode(&mut frame(0x00, b"a"), 10_000).1, Decoded::Fragment);
            }
            let last = decoder.decode(&mut frame(0x80, b"a"), 10_000).1;
            let fault = Decoded::Fault(Violation::TooManyFragments);
            assert_eq!(last == fault, too_many, "{last:?}");
            assert_eq!(matches!(last, Decoded::Assembled(_)), !too_many);
        }
    }

    #[test]
    fn a_close_frame_is_found() {
        let mut bytes = [frame(0x81, b"hello"), frame(0x89, &[0x88; 100])].concat();
        let (at, found) = find_close(&bytes, 0);
        assert_eq!((at, found), (bytes.len(), false));
        bytes.extend(&frame(0x88, b"\x03\xe8")[..5]);
        assert_eq!(find_close(&bytes, at), (at, false), "not all of it");
        bytes.extend(&frame(0x88, b"\x03\xe8")[5..]);
        assert_eq!(find_close(&bytes, at), (at, true));
        assert_eq!(find_close(b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 0), (0, false));
    }

    #[test]
    fn fragments_with_a_ping_between() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(&mut frame(0x01, b"he"), 10).1, Decoded::Fragment);
        assert_eq!(decoder.decode(&mut frame(0x89, b"?"), 10).1, Decoded::Ping(6..7));
        assert_eq!(decoder.decode(&mut frame(0x00, b"ll"), 10).1, Decoded::Fragment);
        assert_eq!(
            decoder.decode(&mut frame(0x80, b"o"), 10).1,
            Decoded::Assembled(b"hello".into())
        );
        assert!(decoder.fragments.is_none());
    }

    /// Where a client writes.
    #[derive(Debug, Default)]
    struct Wire(Vec<u8>);

    impl std::io::Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl std::io::Read for Wire {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::WouldBlock.into())
        }
    }

    proptest! {
        /// What tungstenite's client writes is read as it was meant, in whatever pieces it comes.
        #[test]
        fn reads_what_a_client_writes(
            messages in prop::collection::vec(prop_oneof![
                ".{0,300}".prop_map(Message::text::<String>),
                prop::collection::vec(any::<u8>(), 0..125).prop_map(|data| Message::Ping(data.into())),
                prop::collection::vec(any::<u8>(), 0..400).prop_map(Message::binary::<Vec<u8>>),
            ], 1..10),
            pieces in prop::collection::vec(1..200_usize, 1..50),
        ) {
            let mut client = WebSocket::from_raw_socket(Wire::default(), Role::Client, None);
            for message in &messages {
                client.write(message.clone()).unwrap();
            }
            client.close(Some(CloseFrame { code: 1000.into(), reason: "bye".into() })).unwrap();
            let wire = std::mem::take(&mut client.get_mut().0);

            let mut decoder = Decoder::default();
            let (mut buffer, mut seen, mut code) = (Vec::new(), Vec::new(), None);
            let mut sent = 0;
            let mut pieces = pieces.into_iter().cycle();
            while sent < wire.len() {
                let piece = pieces.next().unwrap().min(wire.len() - sent);
                buffer.extend_from_slice(&wire[sent..sent + piece]);
                sent += piece;
                loop {
                    let (used, decoded) = decoder.decode(&mut buffer, 100_000);
                    match decoded {
                        Decoded::Incomplete => break,
                        Decoded::Message(range) | Decoded::Ping(range) => {
                            seen.push(buffer[range].to_vec());
                        }
                        Decoded::Close(found, reason) => code = found.map(|code| (code, reason)),
                        other => prop_assert!(false, "{:?}", other),
                    }
                    buffer.drain(..used);
                }
            }
            let expected: Vec<_> =
                messages.into_iter().map(|message| message.into_data().to_vec()).collect();
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(code, Some((1000, "bye".into())));
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn never_panics(mut bytes in any::<Vec<u8>>(), limit in 0..2000_usize) {
            let mut decoder = Decoder::default();
            while let (used @ 1.., _) = decoder.decode(&mut bytes, limit) {
                bytes.drain(..used);
            }
        }
    }
}
