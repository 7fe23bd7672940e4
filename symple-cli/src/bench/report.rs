//! What a workload saw: for machines, and for people.

use std::{
    fmt,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;

use super::{ledger::Account, process::Process};

/// From this share of a core on, whoever uses it is busy.
const BUSY: f64 = 90.0;

/// What a workload saw.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Its name on the command line.
    pub(crate) workload: &'static str,
    /// How it was run.
    pub(crate) parameters: Value,
    /// What is counted.
    pub(crate) unit: &'static str,
    /// How many of them.
    pub(crate) units: u64,
    /// In how many seconds.
    pub(crate) seconds: f64,
    /// Units in a second.
    pub(crate) rate: f64,
    /// What it cost the server.
    pub(crate) server: Option<ServerCost>,
    /// The CPU time of this program, in percent of a core.
    pub(crate) generator_cpu_percent: Option<f64>,
    /// True if this program was the bottleneck, not the server.
    pub(crate) generator_bound: bool,
    /// In microseconds.
    pub(crate) latency: Option<Latency>,
    /// What became of the messages.
    pub(crate) deliveries: Option<Account>,
    /// What else there is to say, by name.
    pub(crate) notes: serde_json::Map<String, Value>,
}

/// What a workload cost the server.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ServerCost {
    /// Microseconds of CPU time for each unit, user and system, all threads.
    pub(crate) cpu_us_per_unit: Option<f64>,
    /// In percent of a core.
    pub(crate) cpu_percent: Option<f64>,
    /// PSS in bytes.
    pub(crate) memory_before: Option<u64>,
    /// PSS in bytes.
    pub(crate) memory_after: Option<u64>,
    /// The most that was seen of it.
    pub(crate) memory_peak: Option<u64>,
}

/// Percentiles, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
}

/// A histogram of nanoseconds, up to two minutes.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(120_000_000_000, 3).expect("the bounds make sense")
}

impl Latency {
    /// The percentiles of a histogram of nanoseconds; none if it is empty.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |percentile| histogram.value_at_percentile(percentile) as f64 / 1000.0;
        (!histogram.is_empty()).then(|| Self {
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p99_9: at(99.9),
            max: histogram.max() as f64 / 1000.0,
        })
    }
}

/// Measures the time, and what processes use.
#[derive(Debug)]
pub(crate) struct Meter {
    server: Option<Process>,
    started: Instant,
    own_cpu: Option<Duration>,
    server_cpu: Option<Duration>,
    memory: Option<u64>,
    peak: Option<u64>,
    sampled: Instant,
}

impl Meter {
    /// How often memory is looked at: it takes the server's time.
    const EVERY: Duration = Duration::from_millis(500);

    /// Begins to measure.
    pub(crate) fn start(server: Option<Process>) -> Self {
        let memory = server.and_then(Process::memory);
        Self {
            server,
            memory,
            peak: memory,
            own_cpu: Process::own().cpu(),
            server_cpu: server.and_then(Process::cpu),
            started: Instant::now(),
            sampled: Instant::now(),
        }
    }

    /// Looks at the memory, if it is time for it.
    pub(crate) fn sample(&mut self) {
        if self.sampled.elapsed() >= Self::EVERY {
            self.sampled = Instant::now();
            self.peak = self.peak.max(self.server.and_then(Process::memory));
        }
    }

    /// Ends to measure: so many units were done.
    pub(crate) fn stop(
        self,
        workload: &'static str,
        parameters: Value,
        unit: &'static str,
        units: u64,
    ) -> Report {
        let seconds = self.started.elapsed().as_secs_f64();
        let since = |now: Option<Duration>, before: Option<Duration>| {
            Some(now?.checked_sub(before?)?.as_secs_f64())
        };
        let server_cpu = since(self.server.and_then(Process::cpu), self.server_cpu);
        let own_cpu = since(Process::own().cpu(), self.own_cpu);
        let memory_after = self.server.and_then(Process::memory);
        let percent = |cpu: f64| cpu / seconds * 100.0;
        let generator_cpu_percent = own_cpu.map(percent);
        let cpu_percent = server_cpu.map(percent);
        Report {
            workload,
            parameters,
            unit,
            units,
            seconds,
            rate: units as f64 / seconds,
            server: self.server.map(|_| ServerCost {
                cpu_us_per_unit: server_cpu.map(|cpu| cpu * 1e6 / units.max(1) as f64),
                cpu_percent,
                memory_before: self.memory,
                memory_after,
                memory_peak: self.peak.max(memory_after),
            }),
            generator_cpu_percent,
            generator_bound: generator_cpu_percent.is_some_and(|own| own >= BUSY)
                && cpu_percent.is_none_or(|server| server < BUSY),
            latency: None,
            deliveries: None,
            notes: serde_json::Map::new(),
        }
    }
}

impl Report {
    /// Notes something else.
    pub(crate) fn note(&mut self, name: &str, value: impl Into<Value>) {
        self.notes.insert(name.into(), value.into());
    }

    /// True if nothing was lost, duplicated, reordered or misdelivered.
    pub(crate) fn is_exact(&self) -> bool {
        self.deliveries.is_none_or(|account| account.is_exact())
    }
}

/// Microseconds, for people.
struct Micros(f64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1?}", Duration::from_nanos((self.0 * 1000.0) as u64))
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters = self.parameters.as_object().into_iter().flatten();
        let parameters: Vec<_> =
            parameters.map(|(name, value)| format!("{name} {value}")).collect();
        writeln!(f, "{} ({})", self.workload, parameters.join(", "))?;
        let Self { unit, units, rate, seconds, .. } = self;
        let many = unit.strip_suffix('y').map_or_else(|| format!("{unit}s"), |y| format!("{y}ies"));
        writeln!(f, "  rate        {rate:.0} {many}/s ({units} in {seconds:.1} s)")?;
        if let Some(server) = &self.server {
            write!(f, "  server     ")?;
            if let (Some(cost), Some(percent)) = (server.cpu_us_per_unit, server.cpu_percent) {
                write!(f, " {cost:.3} µs/{unit}, {percent:.0} % of a core")?;
            }
            if let (Some(before), Some(after), Some(peak)) =
                (server.memory_before, server.memory_after, server.memory_peak)
            {
                let [before, after, peak] = [before, after, peak].map(megabytes);
                write!(f, "; memory {before:.1} MB, then {after:.1}, at most {peak:.1}")?;
            }
            writeln!(f)?;
        }
        if let Some(percent) = self.generator_cpu_percent {
            let bound = if self.generator_bound { ": this program was the bottleneck" } else { "" };
            writeln!(f, "  generator   {percent:.0} % of a core{bound}")?;
        }
        if let Some(Latency { p50, p90, p99, p99_9, max }) = self.latency {
            let [p50, p90, p99, p99_9, max] = [p50, p90, p99, p99_9, max].map(Micros);
            writeln!(f, "  latency     p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}, max {max}")?;
        }
        if let Some(account) = self.deliveries {
            let Account { expected, delivered, lost, duplicated, reordered, misdelivered } =
                account;
            writeln!(
                f,
                "  deliveries  {delivered} of {expected}, {lost} lost, {duplicated} duplicated, \
                 {reordered} reordered, {misdelivered} misdelivered"
            )?;
        }
        for (name, value) in self.notes.iter().filter(|(_, value)| !value.is_array()) {
            writeln!(f, "  {name}: {value}")?;
        }
        Ok(())
    }
}
