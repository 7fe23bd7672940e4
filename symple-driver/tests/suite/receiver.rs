//! An HTTP service of the operator's, as good or as bad as a test wants it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

/// Longer than anything takes; not a measure.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request that came.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The first line, and the headers in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// What a service does with a request.
pub(crate) enum Reply {
    /// Answers with a status and a body.
    Answer(u16, String),
    /// Writes these bytes and closes.
    Raw(&'static str),
    /// Says nothing until the other side has gone.
    Stall,
}

/// A service. What it was asked can be read; it is there until the test ends.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    asked: Receiver<Asked>,
}

impl Service {
    pub(crate) fn start(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), reply)
    }

    pub(crate) fn start_on(
        listener: TcpListener,
        reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let (sender, asked) = channel();
        let reply = Arc::new(reply);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (sender, reply) = (sender.clone(), Arc::clone(&reply));
                thread::spawn(move || serve(socket.unwrap(), &sender, &*reply));
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?key=hidden", self.address)
    }

    /// The next request.
    pub(crate) fn next(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).unwrap()
    }

    /// How many requests have come that were not read.
    pub(crate) fn count(&self) -> usize {
        self.asked.try_iter().count()
    }
}

fn serve(socket: TcpStream, asked: &Sender<Asked>, reply: &dyn Fn(&Asked) -> Reply) -> Option<()> {
    let mut writer = socket.try_clone().ok()?;
    let mut reader = BufReader::new(socket);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let (first, headers) = head.split_once("\r\n")?;
        let mut request = Asked {
            head: format!("{first}\r\n{headers}").replace("\r\n", "\n"),
            body: String::new(),
        };
        let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        request.body = String::from_utf8(body).unwrap();
        let reply = reply(&request);
        asked.send(request).ok()?;
        match reply {
            Reply::Answer(status, body) => {
                let length = body.len();
                let location = "Location: http://127.0.0.1:1/\r\n";
                let location = if (300..400).contains(&status) { location } else { "" };
                write!(
                    writer,
                    "HTTP/1.1 {status} X\r\n{location}Content-Length: {length}\r\n\r\n{body}"
                )
                .ok()?;
            }
            Reply::Raw(bytes) => {
                let _ = writer.write_all(bytes.as_bytes());
                return None;
            }
            Reply::Stall => {
                let _ = reader.read(&mut [0]);
                return None;
            }
        }
    }
}
