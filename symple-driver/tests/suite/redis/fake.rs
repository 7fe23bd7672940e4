//! What stands where a Redis should: others, liars, and a door that leads to one or another.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    thread,
};

/// What makes a server of a machine's standards out of a greeting.
pub(crate) const HELLO: &str = "%2\r\n+mode\r\n+standalone\r\n+role\r\n+master\r\n";

/// Handles each connection on a thread of its own. The URL at which that happens.
fn listen(handle: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let handle = Arc::clone(&handle);
            // Whoever connects hangs up when it likes.
            thread::spawn(move || handle(socket.unwrap()));
        }
    });
    format!("redis://127.0.0.1:{port}")
}

/// One that says this to whoever comes, and hangs up.
pub(crate) fn saying(text: &'static str) -> String {
    listen(move |mut socket| socket.write_all(text.as_bytes()))
}

/// One that hears commands, of which it knows nothing, and says this.
pub(crate) fn answering_all(text: &'static str) -> String {
    listen(move |mut socket| {
        let mut some = [0; 4096];
        while socket.read(&mut some)? > 0 {
            socket.write_all(text.as_bytes())?;
        }
        Ok(())
    })
}

/// One that understands commands; what it answers to each. It adds what `SUBSCRIBE` needs.
pub(crate) fn answering(answer: impl Fn(&[String]) -> String + Send + Sync + 'static) -> String {
    listen(move |socket| {
        let mut reader = BufReader::new(socket.try_clone()?);
        let mut socket = socket;
        while let Some(words) = command(&mut reader)? {
            let answered = match &*words[0] {
                "SUBSCRIBE" => {
                    let channel = &words[1];
                    let length = channel.len();
                    format!(">3\r\n$9\r\nsubscribe\r\n${length}\r\n{channel}\r\n:1\r\n")
                }
                _ => answer(&words),
            };
            socket.write_all(answered.as_bytes())?;
        }
        Ok(())
    })
}

/// The words of the next command.
fn command(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Vec<String>>> {
    let mut line = String::new();
    let mut number = |reader: &mut BufReader<TcpStream>| {
        line.clear();
        reader.read_line(&mut line)?;
        Ok::<_, io::Error>(line.trim_end().get(1..).and_then(|n| n.parse::<usize>().ok()))
    };
    let Some(count) = number(reader)? else { return Ok(None) };
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number(reader)?.unwrap_or(0) + 2];
        reader.read_exact(&mut word)?;
        word.truncate(word.len() - 2);
        words.push(String::from_utf8(word).unwrap());
    }
    Ok(Some(words))
}

/// A message that was published.
pub(crate) fn message(channel: &str, payload: &str) -> String {
    let (channels, payloads) = (channel.len(), payload.len());
    format!(">3\r\n$7\r\nmessage\r\n${channels}\r\n{channel}\r\n${payloads}\r\n{payload}\r\n")
}

/// A door that leads to one server or another: what a name or an address is that moves.
pub(crate) struct Door {
    pub(crate) url: String,
    port: Arc<AtomicU16>,
    knocks: Arc<AtomicUsize>,
}

impl Door {
    /// A door to the server at a URL.
    pub(crate) fn to(url: &str) -> Self {
        let port = Arc::new(AtomicU16::new(port(url)));
        let knocks = Arc::new(AtomicUsize::new(0));
        let (there, knocked) = (Arc::clone(&port), Arc::clone(&knocks));
        let url = listen(move |socket| {
            knocked.fetch_add(1, Ordering::SeqCst);
            let server = TcpStream::connect(("127.0.0.1", there.load(Ordering::SeqCst)))?;
            let (mut from, mut to) = (socket.try_clone()?, server.try_clone()?);
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let (mut from, mut to) = (server, socket);
            let _ = io::copy(&mut from, &mut to);
            to.shutdown(Shutdown::Both)
        });
        Self { url, port, knocks }
    }

    /// How often somebody has come, whether there was a server or not.
    pub(crate) fn knocks(&self) -> usize {
        self.knocks.load(Ordering::SeqCst)
    }

    /// Leads whoever comes from now on there. Who is inside stays.
    pub(crate) fn lead(&self, url: &str) {
        self.port.store(port(url), Ordering::SeqCst);
    }
}

/// The port of a URL without a path.
pub(crate) fn port(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().unwrap()
}
