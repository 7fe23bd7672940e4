//! When a program that was started can be used.

use std::{
    io::{BufRead as _, BufReader, Read},
    sync::mpsc::{RecvTimeoutError, channel},
    time::Duration,
};

/// Longer than any program takes to start; not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a program says one of these words; false if it ends before that. What it says
/// later is read, and thrown away: who writes to a pipe that nobody reads stops.
pub(crate) fn says(output: impl Read + Send + 'static, words: &'static [&'static str]) -> bool {
    let (heard, wait) = channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line);
            if words.iter().any(|words| text.contains(words)) {
                let _ = heard.send(());
            }
            line.clear();
        }
    });
    match wait.recv_timeout(PATIENCE) {
        Ok(()) => true,
        Err(RecvTimeoutError::Disconnected) => false,
        Err(RecvTimeoutError::Timeout) => panic!("it never says any of {words:?}"),
    }
}

/// What Redis says when it listens, a server and a sentinel.
pub(crate) const REDIS_LISTENS: &[&str] = &["Server initialized", "Sentinel ID is"];
