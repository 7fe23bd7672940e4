//! What the clients of a storm have been told of each other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Of so many clients it is known whom they take for online; of the others, how many.
const SAMPLES: usize = 16;

/// What each client has been told.
#[derive(Debug, Default)]
pub(super) struct Rosters {
    clients: Vec<Client>,
    /// The ids of those that are there.
    here: BTreeSet<String>,
    samples: BTreeMap<usize, BTreeSet<String>>,
    /// Frames that told of somebody, since this was last set to none.
    pub(super) frames: u64,
    /// Bytes of the largest of them.
    pub(super) largest: usize,
    /// When the last of them came, in nanoseconds since the start.
    pub(super) last_told: u64,
    /// Connections that the server has ended.
    pub(super) closed: u64,
    /// What must not happen, and has: how often, and the first.
    faults: u64,
    fault: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Client {
    /// While it is there.
    id: Option<String>,
    /// How often it was told that somebody is online, less how often that somebody is offline.
    online: i64,
}

impl Rosters {
    /// A client has been let in.
    pub(super) fn came(&mut self, client: usize, id: &str) {
        if self.clients.len() <= client {
            self.clients.resize(client + 1, Client::default());
        }
        self.clients[client] = Client { id: Some(id.into()), online: 0 };
        self.here.insert(id.into());
        if client < SAMPLES {
            self.samples.insert(client, BTreeSet::new());
        }
    }

    /// A client has left.
    pub(super) fn went(&mut self, client: usize) {
        if let Some(id) = self.clients.get_mut(client).and_then(|client| client.id.take()) {
            self.here.remove(&id);
        }
        self.samples.remove(&client);
    }

    /// The server has ended a connection.
    pub(super) fn closed(&mut self, client: usize) {
        self.closed += 1;
        self.went(client);
    }

    /// A client was told something.
    pub(super) fn told(&mut self, client: usize, text: &[u8], now: u64) {
        let Some(Client { online, id: Some(_) }) = self.clients.get_mut(client) else { return };
        let text = std::str::from_utf8(text).unwrap_or_default();
        *online += if text.starts_with(r#"{"type":"presence""#) {
            if text.contains(r#""online":false"#) { -1 } else { 1 }
        } else if text.starts_with(r#"{"type":"roster""#) {
            let (came, gone) = text.split_once(r#""offline":["#).unwrap_or((text, ""));
            let gone = gone.split_once(']').map_or("", |(gone, _)| gone);
            let count = |text: &str, what: &str| i64::try_from(text.matches(what).count());
            count(came, r#""online":true"#).unwrap_or(0) - count(gone, "\"").unwrap_or(0) / 2
        } else {
            return;
        };
        self.frames += 1;
        self.largest = self.largest.max(text.len());
        self.last_told = now;
        if self.samples.contains_key(&client) {
            self.sample(client, &serde_json::from_str(text).unwrap_or_default());
        }
    }

    /// A client of which more is known was told something.
    fn sample(&mut self, client: usize, frame: &Value) {
        let Some(known) = self.samples.get_mut(&client) else { return };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |name: &str| frame[name].as_array().cloned().unwrap_or_default();
        let news: Vec<(String, bool)> = if frame["type"] == "presence" {
            vec![(text(&frame["from"]), frame["data"]["online"] == true)]
        } else {
            let online = list("online").into_iter().map(|data| (text(&data["id"]), true));
            online.chain(list("offline").iter().map(|address| (text(address), false))).collect()
        };
        for (address, online) in news {
            let id = address.rsplit('|').next().unwrap_or_default();
            let new = if online { known.insert(id.into()) } else { known.remove(id) };
            if !new {
                self.faults += 1;
                let what = if online { "online" } else { "offline" };
                self.fault.get_or_insert_with(|| {
                    format!("client {client} was told twice that {address} is {what}")
                });
            }
        }
    }

    /// What is counted is counted from now on.
    pub(super) fn forget_figures(&mut self) {
        (self.frames, self.largest, self.closed) = (0, 0, 0);
    }

    /// Those that are there know of as many others as there are.
    pub(super) fn are_right(&self) -> bool {
        let others = i64::try_from(self.here.len()).unwrap_or(0) - 1;
        self.clients.iter().all(|client| client.id.is_none() || client.online == others)
    }

    /// Everybody was told once of everybody who came, and once of everybody who left.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(fault) = &self.fault {
            return Err(format!("{fault}; {} such faults in all", self.faults));
        }
        let others = i64::try_from(self.here.len()).unwrap_or(0) - 1;
        let clients = self.clients.iter().enumerate();
        let mut wrong = clients.filter(|(_, it)| it.id.is_some() && it.online != others);
        if let Some((client, Client { online, .. })) = wrong.next() {
            let more = wrong.count();
            return Err(format!(
                "the roster of client {client} has {online} peers and not {others}; {more} more are \
                 wrong"
            ));
        }
        for (client, known) in &self.samples {
            let own = self.clients[*client].id.as_deref().unwrap_or_default();
            if !known.iter().map(String::as_str).eq(self
                .here
                .iter()
                .map(String::as_str)
                .filter(|id| *id != own))
            {
                return Err(format!("the roster of client {client} has peers that are not there"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn online(id: &str) -> String {
        format!(r#"{{"type":"presence","from":"u|{id}","data":{{"id":"{id}","online":true}}}}"#)
    }

    fn offline(id: &str) -> String {
        online(id).replace("true", "false")
    }

    /// Both forms of presence are counted, for clients of which all is known and for others.
    #[test]
    fn what_is_told_is_counted() {
        for first in [0, SAMPLES] {
            let mut rosters = Rosters::default();
            let told = |rosters: &mut Rosters, text: &str| {
                rosters.told(first, text.as_bytes(), 7);
            };
            rosters.came(first, "a");
            assert!(rosters.are_right());
            for (client, id) in ["b", "c", "d"].into_iter().enumerate() {
                rosters.came(SAMPLES + 1 + client, id);
            }
            told(&mut rosters, &online("b"));
            assert!(!rosters.are_right());
            told(
                &mut rosters,
                r#"{"type":"roster","online":[{"id":"c","online":true},{"id":"d","online":true}],"offline":["u|b"]}"#,
            );
            for client in 1..4 {
                rosters.went(SAMPLES + client);
            }
            told(&mut rosters, r#"{"type":"message","data":{"online":true}}"#);
            assert!(!rosters.are_right() && rosters.check().is_err());
            told(&mut rosters, &offline("c"));
            told(&mut rosters, r#"{"type":"roster","online":[],"offline":["u|d"]}"#);
            assert!(rosters.are_right());
            assert_eq!(rosters.check(), Ok(()));
            assert_eq!((rosters.frames, rosters.last_told), (4, 7));
        }
    }

    /// Of some clients it is known whom they have been told of.
    #[test]
    fn what_is_told_twice_or_of_the_wrong_one_is_found() {
        let mut rosters = Rosters::default();
        rosters.came(0, "a");
        rosters.came(SAMPLES, "b");
        rosters.told(SAMPLES, online("a").as_bytes(), 0);
        rosters.told(0, online("x").as_bytes(), 0);
        assert!(rosters.are_right());
        assert!(rosters.check().unwrap_err().contains("peers that are not there"));
        rosters.told(0, offline("x").as_bytes(), 0);
        rosters.told(0, offline("x").as_bytes(), 0);
        assert_eq!(
            rosters.check().unwrap_err(),
            "client 0 was told twice that u|x is offline; 1 such faults in all"
        );
    }
}
