//! What a process has used: its CPU time and its memory, as Linux tells.

use std::{fs, time::Duration};

/// A process that is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// This process.
    pub(crate) fn own() -> Self {
        Self(std::process::id())
    }

    /// User and system time of all its threads, to the nanosecond, where Linux tells.
    pub(crate) fn cpu(self) -> Option<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0)).ok()?.flatten() {
            // A thread that has just ended takes its time with it.
            let Ok(stat) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            nanos += stat.split(' ').next()?.parse::<u64>().ok()?;
        }
        Some(Duration::from_nanos(nanos))
    }

    /// Its share of memory, in bytes: PSS.
    pub(crate) fn memory(self) -> Option<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0)).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024)
    }
}
