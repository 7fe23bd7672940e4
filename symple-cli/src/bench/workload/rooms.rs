//! Rooms in which everyone sends, in an open loop; clients may come and go beside.

use std::io;

use hdrhistogram::Histogram;

use crate::bench::{
    ledger::{Account, Ledger},
    message::{Stamp, compose, read},
    outbox::Outboxes,
    report::histogram,
    run::{Plan, Run},
    swarm::{Handler, Identity, Swarm},
};

use super::pace::Schedule;

/// How many clients in how many rooms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomsShape {
    pub(crate) clients: usize,
    pub(crate) rooms: usize,
    /// How many clients are replaced in a second, beside those.
    pub(crate) churn: f64,
}

impl RoomsShape {
    /// How many members a room has: those that stay.
    pub(crate) fn size(self) -> usize {
        self.clients / self.rooms
    }
}

/// Clients of a room are neighbours: room `n` has those from `n * size` on.
pub(crate) struct Rooms {
    shape: RoomsShape,
    data: String,
    messages: Option<Schedule>,
    churn: Option<Schedule>,
    /// Sent numbers, by client.
    next: Vec<u32>,
    pub(crate) ledger: Ledger,
    pub(crate) latency: Histogram<u64>,
    /// By client behind those that stay: where its streams begin, while it is there.
    guests: Vec<Option<usize>>,
    /// Guests that have been let in, and those that have gone.
    pub(crate) came: u64,
    pub(crate) went: u64,
    /// The guest that goes next.
    oldest: usize,
}

impl Handler for Rooms {
    fn ready(&mut self, _: &mut Outboxes, client: usize, _: &str) {
        if client >= self.shape.clients {
            // Of streams that began before it came, a guest knows what follows.
            let first = self.ledger.join();
            for _ in 1..self.shape.size() {
                self.ledger.join();
            }
            let guest = client - self.shape.clients;
            if self.guests.len() <= guest {
                self.guests.resize(guest + 1, None);
            }
            self.guests[guest] = Some(first);
            self.came += 1;
        }
    }

    fn text(&mut self, out: &mut Outboxes, client: usize, text: &[u8]) {
        let Some(stamp) = read(text) else { return };
        let size = self.shape.size();
        let stream = match client.checked_sub(self.shape.clients) {
            None if client / size == stamp.sender / size => Some(client * size),
            Some(guest) if guest % self.shape.rooms == stamp.sender / size => {
                self.guests.get(guest).copied().flatten()
            }
            _ => None,
        };
        let Some(stream) = stream else { return self.ledger.misdeliver() };
        self.ledger.enter(stream + stamp.sender % size, stamp.number);
        self.latency.saturating_record(out.now.saturating_sub(stamp.sent));
    }

    fn closed(&mut self, _: &mut Outboxes, client: usize, _: Option<u16>) -> bool {
        // A guest that has said goodbye.
        let guest = client.wrapping_sub(self.shape.clients);
        let asked = guest < self.oldest;
        if asked {
            self.guests[guest] = None;
            self.went += 1;
        }
        asked
    }

    fn due(&mut self, swarm: &mut Swarm) -> io::Result<Option<u64>> {
        let now = swarm.out.now;
        let mut due = None;
        if let Some(messages) = &mut self.messages {
            while let Some((count, sent)) = messages.take(now) {
                // Neighbours do not send one after the other.
                let (size, rooms) = (self.shape.size(), self.shape.rooms);
                let turn = usize::try_from(count).unwrap_or_default() % (size * rooms);
                let room = turn % rooms;
                let sender = room * size + turn / rooms;
                let stamp = Stamp { number: self.next[sender], sender, sent };
                self.next[sender] += 1;
                let text = compose(stamp, &format!("\"room{room}\""), &self.data);
                swarm.out.send(sender, &text);
            }
            due = Some(messages.next_at());
        }
        if let Some(mut churn) = self.churn {
            while let Some((count, _)) = churn.take(now) {
                let guest = swarm.len() - self.shape.clients;
                swarm.connect(identity(self.shape, swarm.len()))?;
                // There are as many as come in two seconds; one half says goodbye, the other does
                // not.
                let stays = (self.shape.churn * 2.0).ceil() as usize;
                if guest >= self.oldest + stays
                    && self.guests.get(self.oldest).is_some_and(Option::is_some)
                {
                    let client = self.shape.clients + self.oldest;
                    if count % 2 == 0 {
                        swarm.out.close(client);
                    } else {
                        swarm.cut(client);
                        self.guests[self.oldest] = None;
                        self.went += 1;
                    }
                    self.oldest += 1;
                }
            }
            self.churn = Some(churn);
            due = due.into_iter().chain([churn.next_at()]).min();
        }
        Ok(due)
    }
}

fn identity(shape: RoomsShape, client: usize) -> Identity {
    let room = match client.checked_sub(shape.clients) {
        None => client / shape.size(),
        Some(guest) => guest % shape.rooms,
    };
    Identity::new(format!("u{client}"), [format!("room{room}")])
}

impl Rooms {
    /// With all clients that stay connected.
    pub(crate) fn enter(plan: &Plan, shape: RoomsShape) -> io::Result<(Run<'_>, Self)> {
        let mut run = Run::new(plan)?;
        let mut this = Self {
            shape,
            data: plan.data(),
            messages: None,
            churn: None,
            next: vec![0; shape.clients],
            ledger: Ledger::new(shape.clients * shape.size()),
            latency: histogram(),
            guests: Vec::new(),
            came: 0,
            went: 0,
            oldest: 0,
        };
        run.connect(&mut this, (0..shape.clients).map(|client| identity(shape, client)))?;
        run.settle(&mut this, |_| true)?;
        Ok((run, this))
    }

    /// From now on, so many messages a second in all.
    pub(crate) fn begin(&mut self, swarm: &mut Swarm, rate: f64) {
        let now = swarm.out.tick();
        self.messages = Some(Schedule::new(now, rate));
        if self.shape.churn > 0.0 && self.churn.is_none() {
            self.churn = Some(Schedule::new(now, self.shape.churn));
        }
    }

    /// Nothing more is sent, and nobody comes any more.
    pub(crate) fn stop(&mut self) {
        self.messages = None;
        self.churn = None;
    }

    /// True if those that stay have got everything.
    pub(crate) fn all_there(&self) -> bool {
        let others = self.shape.size() as u64 - 1;
        let expected: u64 = self.next.iter().map(|sent| u64::from(*sent) * others).sum();
        self.ledger.arrived_in(self.shape.clients * self.shape.size()) >= expected
    }

    /// What became of the messages.
    pub(crate) fn account(&self) -> Account {
        let size = self.shape.size();
        let sent = (0..self.shape.clients).flat_map(|client| {
            (0..size).map(move |mate| {
                let sender = client / size * size + mate;
                if sender == client { 0 } else { self.next[sender] }
            })
        });
        self.ledger.account(sent)
    }
}
