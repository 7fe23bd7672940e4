//! A client of the API that blocks, and holds every answer against the description of the API.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::OnceLock,
};

use serde_json::Value;

use crate::{client::PATIENCE, schema};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Answer {
    /// The code of an error.
    pub(crate) fn code(&self) -> (u16, &str) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or(""))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// The API of a server, and the key that is brought.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) key: Option<&'static str>,
}

/// The description, as the first server that is asked for it has it.
pub(crate) static DESCRIPTION: OnceLock<Value> = OnceLock::new();

impl Api {
    pub(crate) fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// A request as it goes over the wire.
    pub(crate) fn request(&self, line: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut request = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            write!(request, "Host: {}\r\n", self.address).unwrap();
        }
        if let Some(key) = self.key {
            write!(request, "Authorization: Bearer {key}\r\n").unwrap();
        }
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        if !body.is_empty() {
            if !headers.iter().any(|(name, _)| *name == "Content-Type") {
                request += "Content-Type: application/json\r\n";
            }
            write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        request + "\r\n" + body
    }

    /// What is answered, whatever it is.
    pub(crate) fn raw(&self, request: &[u8]) -> Answer {
        let mut socket = self.connect();
        // Who is refused early may hear of it before everything is sent.
        let _ = socket.write_all(request);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        Answer { status, head: head.into(), body }
    }

    /// What is answered: it must be as it is described.
    pub(crate) fn ask(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let answer = self.raw(self.request(line, headers, body).as_bytes());
        let description = DESCRIPTION.get_or_init(|| {
            self.raw(self.request("GET /v1/openapi.json", &[], "").as_bytes()).body
        });
        schema::check_answer(description, line, &answer);
        answer
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(&format!("POST {path}"), &[], &body.to_string())
    }

    pub(crate) fn post_once(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.ask(&format!("POST {path}"), &[("Idempotency-Key", key)], &body.to_string())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.ask(&format!("DELETE {path}"), &[], "")
    }

    /// All pages of a list.
    pub(crate) fn all(&self, path: &str, list: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let mark = if path.contains('?') { '&' } else { '?' };
            let path = if cursor.is_empty() {
                path.into()
            } else {
                format!("{path}{mark}cursor={cursor}")
            };
            let answer = self.get(&path);
            assert_eq!(answer.status, 200, "{answer:?}");
            all.extend(answer.body[list].as_array().unwrap().iter().cloned());
            match answer.body["next"].as_str() {
                Some(next) => cursor = next.into(),
                None => return all,
            }
        }
    }

    /// Follows events. They are told from when this returns.
    pub(crate) fn follow(&self, query: &str) -> Result<Followed, u16> {
        let mut socket = self.connect();
        let request = self.request(&format!("GET /v1/events{query}"), &[], "");
        socket.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(socket);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let status: u16 = line.split(' ').nth(1).unwrap().parse().unwrap();
        if status != 200 {
            return Err(status);
        }
        while line.trim() != "" {
            line.clear();
            lines.read_line(&mut line).unwrap();
        }
        Ok(Followed(lines))
    }
}

/// Events as they come.
pub(crate) struct Followed(BufReader<TcpStream>);

impl Followed {
    /// The next event: its number and what it says. Each is as it is described.
    pub(crate) fn next(&mut self) -> Option<(u64, Value)> {
        let (mut id, mut name, mut line) = (0, String::new(), String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let (field, value) = line.trim_end().split_once(':').unwrap_or_default();
            match field {
                "id" => id = value.trim().parse().unwrap(),
                "event" => name = value.trim().into(),
                "data" => {
                    let data: Value = serde_json::from_str(value).unwrap();
                    assert_eq!(data["type"], name.as_str());
                    let description = DESCRIPTION.get().unwrap();
                    let schema = &description["components"]["schemas"]["Event"];
                    schema::check(description, schema, &data, "an event").unwrap();
                    return Some((id, data));
                }
                // Lines of chunks, and comments.
                _ => {}
            }
        }
    }
}
