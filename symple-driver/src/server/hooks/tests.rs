//! What the log says of hooks, and what becomes of changes that nobody takes.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex},
    time::Duration,
};

use symple_engine::server::{Changed, PeerChange};
use symple_proto::Address;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use super::{
    changes::{BACKLOG, Changes},
    frames::{FrameDecision, ask_now},
};

/// A log that keeps its lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// What is logged meanwhile.
fn logged(job: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), job);
    let lines = lines.0.lock().unwrap();
    lines.clone()
}

/// R-H2: a plain function that takes long is logged with its time, at most once a second.
#[test]
fn a_plain_function_that_takes_long() {
    let long = |_: &()| {
        std::thread::sleep(Duration::from_millis(110));
        FrameDecision::pass()
    };
    assert!(logged(|| drop(ask_now(&|_: &()| FrameDecision::pass(), &()))).is_empty());
    let lines = logged(|| {
        for _ in 0..3 {
            ask_now(&long, &());
        }
    });
    let [line] = &*lines else { panic!("{lines:?}") };
    assert!(line.contains("all clients wait for it"), "{line}");
    let took = line.split("took=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let took: f64 = took.parse().unwrap();
    assert!(took >= 0.11, "{line}");
}

/// R-H3: functions that do not take changes lose the newest, beyond 65 536 that wait; the log says so.
#[test]
fn changes_that_nobody_takes() {
    let change = |number: usize| PeerChange {
        peer: Address { user: "alice".parse().unwrap(), id: "a1".parse().unwrap() },
        number: number as u64,
        what: Changed::Left { room: "r".into() },
    };
    let (mut changes, told) = Changes::new();
    assert_eq!(BACKLOG, 65_536);
    let lines = logged(|| (0..BACKLOG + 10).for_each(|number| changes.push(change(number))));
    assert_eq!(told.len(), BACKLOG);
    let [line] = &*lines else { panic!("{lines:?}") };
    assert!(line.contains("lost=1 ") && line.contains("changes of peers are lost"), "{line}");
    // Once one is taken there is room for another one.
    assert_eq!(told.try_recv().unwrap(), change(0));
    changes.push(change(BACKLOG + 10));
    changes.push(change(BACKLOG + 11));
    let rest: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).collect();
    assert_eq!(rest.len(), BACKLOG);
    assert!(
        rest.iter()
            .map(|change| change.number)
            .eq((1..BACKLOG as u64).chain([BACKLOG as u64 + 10]))
    );
}
