//! The end of a request head, looked for as its bytes arrive.

/// How far the bytes of a head have been looked at.
///
/// Each byte is looked at once, and what comes of it depends on those before it alone: so the same
/// bytes are answered in the same way however they are cut into packets, and a head that arrives
/// byte by byte costs no more than one that arrives whole.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    /// How many bytes have been looked at. A connection has this as long as it is there, so it is
    /// kept small: a head has less than 4 GiB.
    at: u32,
    /// Where the request line begins: behind empty lines, which are passed over (RFC 9112 §2.2).
    start: u32,
    /// Where the line begins that is being looked at.
    line: u32,
    /// The request line has ended.
    in_headers: bool,
}

/// What is known of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// It goes on.
    Incomplete,
    /// It has so many bytes.
    Complete(usize),
    /// It has more bytes than it may have.
    TooLarge,
    /// It is none.
    Malformed,
}

impl HeadScan {
    /// Looks at the bytes that it has not seen. They are all that have arrived of a head, which may
    /// have `limit` bytes, and of what comes behind it.
    ///
    /// Lines end with CR LF, and neither stands alone: others on the way may read that in another
    /// way (RFC 9112 §2.2 leaves it open). Nor may there be other control characters, which text
    /// has none of and TLS many, or a first line that is no request.
    pub(super) fn scan(&mut self, bytes: &[u8], limit: usize) -> Scanned {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        while let Some(&byte) = bytes.get(self.at as usize).filter(|_| self.at < limit) {
            let before = self.at.checked_sub(1).and_then(|at| bytes.get(at as usize));
            let after_cr = before == Some(&b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' => return Scanned::Malformed,
                _ if after_cr => return Scanned::Malformed,
                b'\r' => {
                    self.at += 1;
                    continue;
                }
                // Nearly all are of this kind: as many as follow are taken at once.
                _ if is_text(byte) => {
                    let rest = &bytes[self.at as usize..bytes.len().min(limit as usize)];
                    let end = rest.iter().position(|byte| !is_text(*byte)).unwrap_or(rest.len());
                    self.at += u32::try_from(end).unwrap_or(u32::MAX);
                    continue;
                }
                _ => return Scanned::Malformed,
            }
            let is_empty = self.at - self.line == 1;
            self.at += 1;
            self.line = self.at;
            if self.in_headers {
                if is_empty {
                    return Scanned::Complete(self.at as usize);
                }
            } else if is_empty {
                self.start = self.at;
            } else if is_request_line(&bytes[self.start as usize..self.at as usize]) {
                self.in_headers = true;
            } else {
                return Scanned::Malformed;
            }
        }
        if self.at < limit { Scanned::Incomplete } else { Scanned::TooLarge }
    }

    /// The request is of the method HEAD, as far as it can be told: its answer has no body.
    pub(super) fn is_head(&self, bytes: &[u8]) -> bool {
        bytes.get(self.start as usize..).is_some_and(|request| request.starts_with(b"HEAD "))
    }
}

/// Text, and no end of a line.
fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

fn is_request_line(line: &[u8]) -> bool {
    httparse::Request::new(&mut []).parse(line).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8], limit: usize) -> Scanned {
        HeadScan::default().scan(bytes, limit)
    }

    #[test]
    fn the_end_of_a_head() {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(scan(head, 1000), Scanned::Complete(head.len()));
        assert_eq!(scan(&[head, &b"\r\n\r\n"[..]].concat(), 1000), Scanned::Complete(head.len()));
        assert_eq!(scan(&[b"\r\n\r\n", &head[..]].concat(), 1000), Scanned::Complete(31));
        assert_eq!(scan(b"GET / HTTP/1.1\r\n\r\n", 1000), Scanned::Complete(18));
        for end in 0..head.len() {
            assert_eq!(scan(&head[..end], 1000), Scanned::Incomplete, "{end}");
        }
        assert_eq!(scan(b"\r\n\r\n\r\n", 1000), Scanned::Incomplete);
    }

    /// A head that arrives byte by byte costs no more than one that arrives whole.
    #[test]
    fn each_byte_is_looked_at_once() {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut scan = HeadScan::default();
        assert_eq!(scan.scan(&head[..20], 1000), Scanned::Incomplete);
        // Whatever becomes of what it has seen, it goes on behind it.
        let changed = [&[b'\n'; 20], &head[20..]].concat();
        assert_eq!(scan.scan(&changed, 1000), Scanned::Complete(head.len()));
    }

    /// R-T7: the limit counts the bytes of the head, and no others.
    #[test]
    fn the_limit_is_exact() {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let pipelined = [&head[..], &[b'x'; 100]].concat();
        assert_eq!(scan(head, head.len()), Scanned::Complete(head.len()));
        assert_eq!(scan(&pipelined, head.len()), Scanned::Complete(head.len()));
        assert_eq!(scan(head, head.len() - 1), Scanned::TooLarge);
        assert_eq!(scan(&pipelined, head.len() - 1), Scanned::TooLarge);
        assert_eq!(scan(&head[..26], 27), Scanned::Incomplete);
        assert_eq!(scan(&head[..26], 26), Scanned::TooLarge);
        assert_eq!(scan(&b"\r\n".repeat(100), 100), Scanned::TooLarge);
    }

    #[test]
    fn what_is_no_head() {
        for bytes in [
            &b"\n"[..],
            b"GET / HTTP/1.1\n",
            b"GET / HTTP/1.1\r\nHost: x\n",
            b"GET / HTTP/1.1\r\nHost: x\rY",
            b"GET / HTTP/1.1\r\nHost: x\r\r",
            b"GET / HTTP/1.1\r\nHost: \0",
            b"GET / HTTP/1.1\r\nHost: \x7f",
            b"\x16\x03\x01",
            b"GET /\r\n",
            b"GET / HTTP/2.0\r\n",
            b" GET / HTTP/1.1\r\n",
            b"GET  / HTTP/1.1\r\n",
            b"hello\r\n",
            b"PRI * HTTP/2.0\r\n",
        ] {
            assert_eq!(scan(bytes, 1000), Scanned::Malformed, "{}", bytes.escape_ascii());
        }
    }
}
