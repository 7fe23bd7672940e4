//! A table whose sockets take what they are told to.

use std::{
    io::{self, IoSlice},
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    task::{Context, Poll},
};

use super::*;
use crate::net::{io::Io, ready::Ready};

/// A socket of which nothing comes, and which takes so many bytes.
struct Narrow(usize);

impl Narrow {
    fn take(&mut self, count: usize) -> Poll<io::Result<usize>> {
        match count.min(self.0) {
            0 => Poll::Pending,
            taken => {
                self.0 -= taken;
                Poll::Ready(Ok(taken))
            }
        }
    }
}

impl Socket for Narrow {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take(bytes.len())
    }

    fn poll_write_vectored(
        &mut self,
        _: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.take(pieces.iter().map(|piece| piece.len()).sum())
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

const MIB: usize = 1 << 20;

fn table(change: impl FnOnce(&mut Config)) -> ConnectionTable<Narrow> {
    table_of(change, Waiting::default())
}

/// The table of one of several threads.
fn table_of(change: impl FnOnce(&mut Config), waiting: Waiting) -> ConnectionTable<Narrow> {
    let mut config = Config::default();
    change(&mut config);
    let mut table = ConnectionTable::new(Arc::new(config), Vec::new(), waiting);
    table.begin_turn(Timestamp::from_millis(1_000_000));
    table
}

impl ConnectionTable<Narrow> {
    /// Takes in a connection whose socket takes so many bytes.
    fn opened(&mut self, slot: u32, takes: usize) -> ConnId {
        let id = ConnId::new(slot, 1);
        let waker = Arc::new(Ready::default()).waker(slot);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let io = Io::new(Narrow(takes), None).unwrap();
        let conn = Connection::new(id, io, address, waker, MIB, self.now);
        self.insert(id, Entry::Connection(Box::new(conn)));
        self.enter(id, Phase::Open);
        id
    }

    fn say(&mut self, to: &[ConnId], sender: Option<ConnId>, size: usize) {
        self.input += 1;
        self.send(&Text::from("x".repeat(size)), to, sender);
    }

    fn waits(&mut self, id: ConnId) -> usize {
        self.get(id).unwrap().out.len()
    }

    fn write_all(&mut self) {
        while self.has_dirty() {
            self.flush_some(usize::MAX / WRITE);
        }
    }
}

/// R-L7: what waits for connections that are closed already counts as any, and goes before any: so
/// nobody else is closed for it.
#[test]
fn those_that_are_closed_already_go_first() {
    let mut table = table(|config| config.outbound_total = 8 * MIB);
    let closing: Vec<_> = (0..8).map(|slot| table.opened(slot, 0)).collect();
    let others: Vec<_> = (8..12).map(|slot| table.opened(slot, 0)).collect();
    for _ in 0..MIB / 1000 {
        table.say(&closing, None, 900);
    }
    for id in &closing {
        table.close(*id, CloseCode::NORMAL, "Closed", false);
    }
    table.say(&others, None, 900);
    table.shed(0, |_| 0);
    assert_eq!(table.stats.shed, 0, "it is less than the limit");
    for _ in 0..800 {
        table.say(&others, None, 900);
        table.shed(0, |_| 0);
    }
    assert!(table.stats.shed > 0);
    assert!(table.overflowed.is_empty(), "none of the others");
    assert_eq!(table.ended.len() as u64, table.stats.shed);
    assert!(table.buffers.waiting <= 8 * MIB);
    for id in others {
        assert!(table.waits(id) > 700_000);
    }
    // What is dropped is dropped at once, not when its turn to be removed comes.
    for id in table.ended.clone() {
        assert_eq!(table.waits(id), 0);
    }
}

/// R-L7: who reads on one thread does not pay for what waits on others, copied or shared.
#[test]
fn each_thread_gives_way_for_its_own() {
    for size in [900, 20_000] {
        let waiting = Waiting::default();
        let mut tables = [(); 4].map(|()| {
            let change = |config: &mut Config| {
                config.outbound_total = 4 * MIB;
                config.threads = NonZeroUsize::new(4).unwrap();
            };
            table_of(change, waiting.clone())
        });
        for table in &mut tables {
            let sleeper = table.opened(0, 0);
            for _ in 0..MIB / size + 1 {
                table.say(&[sleeper], None, size);
            }
        }
        let reader = tables[0].opened(1, 0);
        tables[0].say(&[reader], None, size);
        for table in tables.iter_mut().rev() {
            table.shed(0, |_| 0);
        }
        for table in &mut tables {
            table.shed(0, |_| 0);
        }
        assert!(tables[0].waits(reader) > 0, "{size}: nobody closes who reads");
        assert!(tables.iter().any(|table| table.stats.shed > 0), "{size}");
        let waits: usize = tables.iter_mut().map(|table| table.waits(ConnId::new(0, 1))).sum();
        assert!(waits <= 4 * MIB, "{size}: {waits}");
    }
}

/// R-L7: a large frame that was begun to be written to many is not copied for each of them when
/// they are closed.
#[test]
fn to_close_takes_no_memory() {
    let mut table = table(|config| config.outbound_total = 0);
    let all: Vec<_> = (0..50).map(|slot| table.opened(slot, 1000)).collect();
    table.say(&all, None, MIB);
    table.write_all();
    for id in &all {
        table.overflow(*id);
        assert!(table.waits(*id) > MIB - 1000, "the frame is not cut");
    }
    assert_eq!(table.buffers.waiting, 0);
    assert!(table.buffers.shared.load(std::sync::atomic::Ordering::Relaxed) < MIB + 100);
}

/// R-L8: each sender is told of what was refused, however many frames of one are refused.
#[test]
fn each_sender_has_a_place() {
    let mut table = table(|_| {});
    let [receiver, flooder, alice] = [0, 1, 2].map(|slot| table.opened(slot, 0));
    for _ in 0..1000 {
        table.say(&[receiver], Some(flooder), MIB / 2);
    }
    table.say(&[receiver], Some(alice), MIB);
    table.say(&[receiver], Some(alice), MIB);
    assert_eq!(table.undelivered.keys().copied().collect::<Vec<_>>(), [flooder, alice]);
    assert_eq!(table.undelivered[&flooder].as_bytes().len(), MIB / 2);
}

/// R-L7: what the engine keeps of what a client has sent counts with what waits for it, and who has
/// most goes first.
#[test]
fn what_the_engine_keeps_counts() {
    let mut table = table(|config| config.outbound_total = 4 * MIB);
    let [asking, slow, other] = [0, 1, 2].map(|slot| table.opened(slot, 0));
    let kept_of = |id: ConnId| if id == asking { 3 * MIB } else { 0 };
    table.say(&[slow], None, MIB - 1000);
    table.say(&[other], None, 100);
    table.shed(3 * MIB, kept_of);
    assert_eq!(table.stats.shed, 0, "it is less than the limit");
    table.say(&[other], None, 1000);
    for _ in 0..3 {
        // What is kept is dropped when the engine has been told, and nobody else goes meanwhile.
        table.shed(3 * MIB, kept_of);
        assert_eq!(table.overflowed, [asking]);
    }
    assert_eq!(table.stats.shed, 1);
}
