//! What a workload saw.

use std::{
    fmt,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::{message::Ledger, process::Process};

/// What a workload saw.
#[derive(Debug)]
pub(crate) struct Report {
    unit: &'static str,
    server: Option<Process>,
    started: Instant,
    own_before: Option<Duration>,
    server_before: Option<Duration>,
    units: u64,
    elapsed: Duration,
    own_cpu: Option<Duration>,
    server_cpu: Option<Duration>,
    percentiles: Vec<(f64, Duration)>,
    /// Lost, repeated or reordered.
    faults: Option<(u64, u64)>,
    /// Bytes of the server's for each unit.
    pub(crate) memory: Option<u64>,
}

impl Report {
    /// Begins to measure.
    pub(crate) fn begin(unit: &'static str, server: Option<Process>) -> Self {
        Self {
            unit,
            server,
            own_before: Process::own().cpu(),
            server_before: server.and_then(Process::cpu),
            started: Instant::now(),
            units: 0,
            elapsed: Duration::ZERO,
            own_cpu: None,
            server_cpu: None,
            percentiles: Vec::new(),
            faults: None,
            memory: None,
        }
    }

    /// Ends to measure: so many units of work were done.
    pub(crate) fn end(&mut self, units: u64) {
        self.elapsed = self.started.elapsed();
        self.units = units;
        let since = |now: Option<Duration>, before: Option<Duration>| now?.checked_sub(before?);
        self.server_cpu = since(self.server.and_then(Process::cpu), self.server_before);
        self.own_cpu = since(Process::own().cpu(), self.own_before);
    }

    pub(crate) fn latency(&mut self, latency: &Histogram<u64>) {
        self.percentiles = [50.0, 99.0, 99.9, 100.0]
            .map(|at| (at, Duration::from_nanos(latency.value_at_percentile(at))))
            .into();
    }

    pub(crate) fn account(&mut self, expected: u64, ledger: &Ledger) {
        let lost = expected.saturating_sub(ledger.delivered - ledger.repeated);
        self.faults = Some((lost.max(ledger.skipped), ledger.repeated));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let units = self.units.max(1) as f64;
        write!(f, "{:.0} {}s/s", units / seconds, self.unit)?;
        if let Some(cpu) = self.server_cpu {
            write!(
                f,
                ", server {:.3} µs/{} at {:.0} %",
                cpu.as_secs_f64() * 1e6 / units,
                self.unit,
                cpu.as_secs_f64() / seconds * 100.0
            )?;
        }
        if let Some(cpu) = self.own_cpu {
            write!(f, ", load at {:.0} %", cpu.as_secs_f64() / seconds * 100.0)?;
        }
        if let Some(memory) = self.memory {
            write!(f, ", {memory} bytes/{}", self.unit)?;
        }
        for (at, latency) in &self.percentiles {
            write!(f, ", p{at} {latency:.1?}")?;
        }
        if let Some((lost, repeated)) = self.faults {
            write!(f, ", {lost} lost, {repeated} repeated or reordered")?;
        }
        Ok(())
    }
}
