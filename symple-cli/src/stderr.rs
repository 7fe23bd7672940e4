//! Standard error, written so that it can neither end the program nor block it.
//!
//! The file, pipe or terminal behind standard error may be full, closed or stuck. So a separate thread
//! writes, and lines wait for it in a bounded queue. A line that finds no room, or cannot be
//! written, is counted, and the count is logged as soon as something can be written again.
//!
//! `tracing-appender` does much of this. But its queue has a limit in lines only, what cannot be
//! written is not counted, and it prints to standard output itself where it fails, which panics.

use std::{
    cell::Cell,
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How many bytes may wait.
const MAX_BYTES: usize = 1024 * 1024;
/// How many lines may wait.
const MAX_LINES: usize = 8192;
/// How long a line may be.
const MAX_LINE: usize = 64 * 1024;
/// After how long a write is tried again that would have blocked.
const RETRY: Duration = Duration::from_millis(20);
/// How long the end of the program waits for what is still to be written.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

thread_local! {
    /// The number of lost lines that the line tells of which this thread queues; 0 for all other lines.
    static TELLS_OF: Cell<u64> = const { Cell::new(0) };
}

static STDERR: LazyLock<Lines> = LazyLock::new(|| Lines::start(io::stderr(), crate::logging::lost));

/// Writes a text to standard error, whole or not at all. Never blocks and never fails.
pub(crate) fn write(text: impl Into<Vec<u8>>) {
    STDERR.push(text.into());
}

/// How many lines have been lost so far.
#[cfg(feature = "admin")]
pub(crate) fn lost_lines() -> u64 {
    STDERR.lost_in_all()
}

/// Waits until everything is written that was to be, when it is dropped; but not for long.
pub(crate) struct Flush;

impl Drop for Flush {
    fn drop(&mut self) {
        STDERR.flush(LAST_WORDS);
    }
}

/// A line, or a few that belong together.
struct Line {
    text: Vec<u8>,
    /// The number of lost lines that it tells of; 0 if it is any other line.
    tells_of: u64,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Line>,
    bytes: usize,
    /// The number of lost lines that have not been reported yet.
    lost: u64,
    /// The number of lines lost since the start. A line that tells of others and is lost itself is not
    /// counted.
    lost_in_all: u64,
    /// Whether the thread is writing a line, or reporting lost ones.
    busy: bool,
}

impl Queue {
    /// A line is lost.
    fn lose(&mut self, tells_of: u64) {
        // With one that tells of others these are to be told of again.
        self.lost = self.lost.saturating_add(tells_of.max(1));
        self.lost_in_all += u64::from(tells_of == 0);
    }
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Signals that a line is queued.
    filled: Condvar,
    /// Signals that the queue is empty.
    idle: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that is done while it is locked can be left half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines on their way to an output.
pub(crate) struct Lines {
    shared: Arc<Shared>,
    /// There is a thread that writes them. Without one they are written at once.
    threaded: bool,
}

impl Lines {
    /// Lines for an output. `lost` is called on their thread with how many were lost; it is to
    /// queue a line that says so.
    pub(crate) fn start(out: impl Write + Send + 'static, lost: fn(u64)) -> Self {
        let shared: Arc<Shared> = Arc::default();
        let theirs = Arc::clone(&shared);
        let run = move || Writer { out, torn: false }.run(&theirs, lost);
        let threaded = thread::Builder::new().name("stderr".into()).spawn(run).is_ok();
        Self { shared, threaded }
    }

    /// Queues a text, whole or not at all. Never blocks.
    pub(crate) fn push(&self, text: Vec<u8>) {
        if !self.threaded {
            // A machine that has no thread left for this has none for a server.
            let _ = io::stderr().write_all(&text);
            return;
        }
        let tells_of = TELLS_OF.get();
        let mut queue = self.shared.queue();
        if queue.lines.len() >= MAX_LINES
            || queue.bytes + text.len() > MAX_BYTES
            || text.len() > MAX_LINE
        {
            queue.lose(tells_of);
            return;
        }
        queue.bytes += text.len();
        queue.lines.push_back(Line { text, tells_of });
        self.shared.filled.notify_one();
    }

    /// How many lines have been lost so far.
    #[cfg(any(feature = "admin", test))]
    pub(crate) fn lost_in_all(&self) -> u64 {
        self.shared.queue().lost_in_all
    }

    /// Waits until everything is written that is queued, but not longer than this. True if it is.
    pub(crate) fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut queue = self.shared.queue();
        while self.threaded && (queue.busy || !queue.lines.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.idle.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// The state of the thread.
struct Writer<W> {
    out: W,
    /// The line before was written in part.
    torn: bool,
}

impl<W: Write> Writer<W> {
    fn run(mut self, shared: &Shared, lost: fn(u64)) {
        let mut queue = shared.queue();
        loop {
            let Some(line) = queue.lines.pop_front() else {
                queue.busy = false;
                shared.idle.notify_all();
                let waited = shared.filled.wait(queue);
                queue = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.bytes -= line.text.len();
            queue.busy = true;
            drop(queue);
            let written = self.write(&line.text).is_ok();
            queue = shared.queue();
            if !written {
                queue.lose(line.tells_of);
            } else if queue.lost > 0 {
                let count = std::mem::take(&mut queue.lost);
                drop(queue);
                TELLS_OF.set(count);
                lost(count);
                queue = shared.queue();
            }
        }
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_all(b"\n")?;
            self.torn = false;
        }
        self.write_all(text)
    }

    fn write_all(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            match self.out.write(text) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    text = &text[written..];
                    self.torn = !text.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another program that shares the terminal or the pipe may have made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
