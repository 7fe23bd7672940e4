//! What the system says of this process, for its metrics: memory, processor time, descriptors, the
//! time of its start.

use std::time::Duration;

/// What the system says of this process. What it does not say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// The processor time that it has used, of all threads.
    pub(super) cpu: Option<Duration>,
    /// Its memory that is in use now, in bytes.
    pub(super) resident: Option<u64>,
    /// Its address space, in bytes.
    pub(super) mapped: Option<u64>,
    /// Its open descriptors, and how many it may have.
    pub(super) descriptors: Option<u64>,
    pub(super) most_descriptors: Option<u64>,
    /// When it was started, in seconds since 1970.
    pub(super) started: Option<f64>,
    /// Its threads.
    pub(super) threads: Option<u64>,
}

#[cfg(target_os = "linux")]
impl Process {
    /// Looks at `/proc`.
    pub(super) fn look() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let (status, stat) = (read("/proc/self/status"), read("/proc/self/stat"));
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self {
            resident: kibibytes(&status, "VmRSS:"),
            mapped: kibibytes(&status, "VmSize:"),
            descriptors: descriptors(),
            most_descriptors: limit,
            ..Self::of_stat(&stat, &read("/proc/stat"), rustix::param::clock_ticks_per_second())
        }
    }

    /// What stands in the `stat` of the process and in that of the system.
    fn of_stat(stat: &str, system: &str, ticks: u64) -> Self {
        // The second field is the name of the program, with whatever there is in it.
        let Some((_, rest)) = stat.rsplit_once(')') else { return Self::default() };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The first of these is the third of proc_pid_stat(5).
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = ticks.max(1);
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
        let seconds = |count: u64| count as f64 / ticks as f64;
        let booted = system.lines().find_map(|line| line.strip_prefix("btime "));
        let booted = booted.and_then(|at| at.trim().parse::<f64>().ok());
        Self {
            cpu: (|| Some(Duration::from_secs_f64(seconds(field(14)?.checked_add(field(15)?)?))))(),
            threads: field(20),
            started: booted.and_then(|at| Some(at + seconds(field(22)?))),
            ..Self::default()
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Process {
    /// Other systems are not asked.
    pub(super) fn look() -> Self {
        Self::default()
    }
}

/// The bytes that a line of `/proc/self/status` tells.
#[cfg(target_os = "linux")]
fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// How many descriptors are open. Since Linux 6.2 that is the size of the folder; before it is to be
/// read, which takes a while with many.
#[cfg(target_os = "linux")]
fn descriptors() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    let size = std::fs::metadata(FOLDER).ok()?.len();
    // One of those in the folder is that of the reading.
    let counted = || Some(std::fs::read_dir(FOLDER).ok()?.count().saturating_sub(1) as u64);
    if size > 0 { Some(size) } else { counted() }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        let before = Process::look();
        let kept: Vec<_> = (0..10).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let after = Process::look();
        assert!(after.descriptors.unwrap() >= before.descriptors.unwrap() + kept.len() as u64 - 5);
        assert!(after.most_descriptors.is_none_or(|most| most >= after.descriptors.unwrap()));
        assert!(after.resident.unwrap() > 100_000 && after.mapped >= after.resident);
        assert!(after.threads.unwrap() >= 1 && after.cpu >= before.cpu);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - after.started.unwrap();
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }

    #[test]
    fn a_program_may_have_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 3 0 1000 9 9";
        let found = Process::of_stat(stat, "cpu 1\nbtime 100\n", 100);
        assert_eq!(found.cpu, Some(Duration::from_secs(2)));
        assert_eq!((found.threads, found.started), (Some(3), Some(110.0)));
        for (stat, system) in [("", ""), ("7 (a)", "btime x"), (") S 1", "btime")] {
            assert_eq!(Process::of_stat(stat, system, 100), Process::default(), "{stat}");
        }
    }
}
