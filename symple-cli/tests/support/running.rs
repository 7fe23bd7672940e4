//! A process that does not outlive its test.

use std::{
    ops::{Deref, DerefMut},
    process::{Child, Command, ExitStatus},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// Longer than anything takes; not a measure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process that is killed with this value, if it has not ended before.
pub(crate) struct Running(pub(crate) Child);

#[allow(dead_code, reason = "not every test waits")]
impl Running {
    /// Waits for something that the process does. One that does not do it in time is killed: then
    /// nothing more comes of it.
    pub(crate) fn within<T>(child: &mut Child, act: impl FnOnce(&mut Child) -> T) -> T {
        let (done, waits) = channel::<()>();
        let kill = format!("kill -s KILL {}", child.id());
        let watch = thread::spawn(move || {
            if waits.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let _ = Command::new("sh").args(["-c", &kill]).status();
            }
        });
        let done_with = act(child);
        drop(done);
        watch.join().unwrap();
        done_with
    }

    /// Waits for its end, which must come in time.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        Self::within(&mut self.0, |child| child.wait().unwrap())
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
