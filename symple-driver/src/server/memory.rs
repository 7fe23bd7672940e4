//! How much memory there is.

use std::{fs, sync::OnceLock};

/// What may wait for all connections together, where there is enough memory.
const LARGEST: usize = 1024 * 1024 * 1024;

/// What may wait for all connections together by default (R-L7): 1 GiB, or a quarter of the memory
/// that there is.
pub(crate) fn default_total() -> usize {
    static TOTAL: OnceLock<usize> = OnceLock::new();
    *TOTAL.get_or_init(|| match available() {
        Some(bytes) => usize::try_from(bytes / 4).unwrap_or(LARGEST).min(LARGEST),
        None => LARGEST,
    })
}

/// The memory of the machine, or what the container may have of it, in bytes; as far as the system
/// tells.
fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text));
    let limit = |path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let container = limit("/sys/fs/cgroup/memory.max")
        .or_else(|| limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    [machine, container].into_iter().flatten().min()
}

/// The total in the text of `/proc/meminfo`.
fn mem_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine() {
        let text = "MemFree: 1 kB\nMemTotal:       24650536 kB\nMemAvailable: 3 kB\n";
        assert_eq!(mem_total(text), Some(24_650_536 * 1024));
        for text in ["", "MemTotal: x kB", "MemTotal: 5", "MemTotal: 99999999999999999999 kB"] {
            assert_eq!(mem_total(text), None, "{text}");
        }
        assert!((1..=LARGEST).contains(&default_total()));
    }
}
