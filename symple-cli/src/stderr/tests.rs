use std::sync::{
    OnceLock,
    mpsc::{Receiver, Sender, channel},
};

use super::*;

/// An output that writes when it is told to, and as it is told to.
struct Output {
    asked: Sender<()>,
    orders: Receiver<io::Result<usize>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Output {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let _ = self.asked.send(());
        let count = self.orders.recv().unwrap_or(Ok(usize::MAX))?.min(text.len());
        self.written.lock().unwrap().extend(&text[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines whose output is stuck until there is an order, and writes everything when there will be
/// no more orders.
struct Stuck {
    lines: Lines,
    /// Each write asks, and waits for an order.
    asks: Receiver<()>,
    order: Sender<io::Result<usize>>,
    written: Arc<Mutex<Vec<u8>>>,
}

fn stuck(lost: fn(u64)) -> Stuck {
    let ((asked, asks), (order, orders)) = (channel(), channel());
    let written: Arc<Mutex<Vec<u8>>> = Arc::default();
    let lines = Lines::start(Output { asked, orders, written: Arc::clone(&written) }, lost);
    Stuck { lines, asks, order, written }
}

fn text(written: &Mutex<Vec<u8>>) -> String {
    String::from_utf8(written.lock().unwrap().clone()).unwrap()
}

const LONG: Duration = Duration::from_secs(60);

fn nobody(_: u64) {
    panic!("nothing is lost");
}

#[test]
fn lines_are_written_in_order() {
    let Stuck { lines, order, written, .. } = stuck(nobody);
    drop(order);
    for n in 0..1000 {
        lines.push(format!("{n}\n").into());
    }
    assert!(lines.flush(LONG));
    let expected: String = (0..1000).map(|n| format!("{n}\n")).collect();
    assert_eq!(text(&written), expected);
}

/// What finds no room is lost, in bytes as in lines, and spoken of when there is room again.
#[test]
fn a_queue_that_is_full() {
    static LINES: OnceLock<Lines> = OnceLock::new();
    let Stuck { lines, asks, order, written } =
        stuck(|count| LINES.get().unwrap().push(format!("{count} lost\n").into()));
    let lines = LINES.get_or_init(|| lines);
    lines.push(b"x\n".to_vec());
    // The thread has taken one.
    asks.recv().unwrap();
    for _ in 0..MAX_LINES {
        lines.push(b"x\n".to_vec());
    }
    for _ in 0..10 {
        lines.push(b"y\n".to_vec());
    }
    assert!(!lines.flush(Duration::from_millis(1)), "it waits for ever");
    assert!(lines.shared.queue().lines.len() <= MAX_LINES);
    drop(order);
    assert!(lines.flush(LONG));
    let seen = text(&written);
    assert_eq!(seen.matches("x\n").count(), MAX_LINES + 1);
    assert_eq!(seen.matches("y\n").count(), 0);
    assert_eq!(seen.matches("lost\n").count(), 1, "said once");
    assert_eq!(lines.lost_in_all(), 10, "counted for the metrics");
    assert!(seen.contains("10 lost\n"));
}

/// The same for a few lines that are long, and for one that is too long for anything.
#[test]
fn lines_that_are_long() {
    static LINES: OnceLock<Lines> = OnceLock::new();
    let Stuck { lines, asks, order, written } =
        stuck(|count| LINES.get().unwrap().push(format!("{count} lost\n").into()));
    let lines = LINES.get_or_init(|| lines);
    lines.push(vec![b'x'; MAX_LINE + 1]);
    lines.push(vec![b'x'; MAX_LINE]);
    asks.recv().unwrap();
    for _ in 0..20 {
        lines.push(vec![b'x'; MAX_LINE]);
        assert!(lines.shared.queue().bytes <= MAX_BYTES);
    }
    drop(order);
    assert!(lines.flush(LONG));
    let seen = text(&written);
    assert_eq!(seen.matches('x').count(), MAX_LINE + MAX_BYTES);
    assert!(seen.contains("5 lost\n"));
}

/// What cannot be written is counted, also what tells of it; a line that was written in part does
/// not become one with the next.
#[test]
fn an_output_that_fails() {
    static LINES: OnceLock<Lines> = OnceLock::new();
    let Stuck { lines, order, written, .. } =
        stuck(|count| LINES.get().unwrap().push(format!("{count} lost\n").into()));
    let lines = LINES.get_or_init(|| lines);
    let full = || Err(io::ErrorKind::StorageFull.into());
    order.send(Ok(3)).unwrap();
    order.send(full()).unwrap();
    for line in ["first\n", "second\n", "third\n", "fourth\n"] {
        lines.push(line.into());
    }
    // The second and the third, the line break that goes before them.
    order.send(full()).unwrap();
    order.send(full()).unwrap();
    // The line break and the fourth, and then what tells of the three.
    order.send(Ok(1)).unwrap();
    order.send(Ok(99)).unwrap();
    order.send(full()).unwrap();
    assert!(lines.flush(LONG));
    assert_eq!(text(&written), "fir\nfourth\n");
    order.send(Err(io::ErrorKind::Interrupted.into())).unwrap();
    order.send(Err(io::ErrorKind::WouldBlock.into())).unwrap();
    drop(order);
    lines.push("fifth\n".into());
    assert!(lines.flush(LONG));
    assert_eq!(text(&written), "fir\nfourth\nfifth\n3 lost\n");
}

/// What nobody takes does not keep the program from ending.
#[test]
fn an_output_that_is_stuck() {
    let Stuck { lines, order, written, .. } = stuck(nobody);
    lines.push(b"x\n".to_vec());
    assert!(!lines.flush(Duration::from_millis(20)));
    assert_eq!(text(&written), "");
    drop(order);
    assert!(lines.flush(LONG));
}
