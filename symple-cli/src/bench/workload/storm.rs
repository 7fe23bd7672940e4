//! Many peers that come into one room, leave it, or come and go: what that costs, when all rosters
//! are right, and what becomes meanwhile of a room that has nothing to do with it.

mod probe;
mod rosters;

use std::io;

use serde_json::{Value, json};

use crate::bench::{
    outbox::Outboxes,
    report::{Latency, Report},
    run::{Plan, Run},
    swarm::{Handler, Identity, Swarm},
};

use super::pace::Schedule;
use probe::Probe;
use rosters::Rosters;

/// The room.
const ROOM: &str = "storm";

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StormKind {
    /// All come, within the time that is measured.
    Come,
    /// All are there, and all but some leave at once.
    Leave,
    /// All are there, and one more comes and goes, as fast as the server lets it in.
    Flap,
}

impl StormKind {
    /// Its name on the command line, if it is one.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Come, Self::Leave, Self::Flap].into_iter().find(|kind| kind.name() == name)
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Come => "come",
            Self::Leave => "leave",
            Self::Flap => "flap",
        }
    }
}

/// A storm.
#[derive(Clone, Debug)]
pub(crate) struct StormShape {
    /// How many peers.
    pub(crate) count: usize,
    /// What happens, one after the other, each with peers of its own.
    pub(crate) kinds: Vec<StormKind>,
    /// How many stay when the others leave.
    pub(crate) stay: usize,
    /// They are told in batches (R-X2).
    pub(crate) roster: bool,
}

/// The clients of a storm.
pub(crate) struct Storm {
    roster: bool,
    /// What each has been told.
    rosters: Rosters,
    /// When those come who come bit by bit.
    coming: Option<Schedule>,
    /// How many those are.
    count: usize,
    /// The peer that comes and goes, and whether it has been let in.
    flapping: Option<(usize, bool)>,
    flaps: u64,
}

impl Handler for Storm {
    fn ready(&mut self, _: &mut Outboxes, client: usize, peer_id: &str) {
        self.rosters.came(client, peer_id);
        if let Some((_, inside)) = self.flapping.as_mut().filter(|(who, _)| *who == client) {
            *inside = true;
        }
    }

    fn text(&mut self, out: &mut Outboxes, client: usize, text: &[u8]) {
        self.rosters.told(client, text, out.now);
    }

    fn closed(&mut self, _: &mut Outboxes, client: usize, _: Option<u16>) -> bool {
        // A server that closes those who do not keep up with the storm does what it must (R-L4).
        self.rosters.closed(client);
        true
    }

    fn due(&mut self, swarm: &mut Swarm) -> io::Result<Option<u64>> {
        if let Some((client, true)) = self.flapping {
            self.go(swarm, client);
            self.flapping = Some((swarm.connect(self.identity(swarm.len()))?, false));
            self.flaps += 1;
        }
        let Some(mut coming) = self.coming else { return Ok(None) };
        let now = swarm.out.now;
        while coming.count < self.count as u64 && coming.take(now).is_some() {
            swarm.connect(self.identity(swarm.len()))?;
        }
        self.coming = Some(coming);
        Ok((coming.count < self.count as u64).then(|| coming.next_at()))
    }
}

impl Storm {
    fn identity(&self, client: usize) -> Identity {
        let extensions = if self.roster { &["roster"][..] } else { &[] };
        Identity::new(format!("u{client}"), [ROOM]).with_extensions(extensions)
    }

    /// A client leaves without a word.
    fn go(&mut self, swarm: &mut Swarm, client: usize) {
        swarm.cut(client);
        self.rosters.went(client);
    }

    /// Waits until all rosters are right.
    ///
    /// # Errors
    /// The first that is wrong, where none of them changes any more.
    fn settle(&mut self, run: &mut Run<'_>) -> io::Result<()> {
        let settled =
            run.settle_by(self, |this| this.rosters.are_right(), |this, _| this.rosters.last_told);
        self.rosters.check().map_err(io::Error::other)?;
        settled
    }

    /// Runs the workload.
    pub(crate) fn run(plan: &Plan, shape: &StormShape) -> io::Result<Vec<Report>> {
        shape.kinds.iter().map(|kind| Self::one(plan, shape, *kind)).collect()
    }

    fn one(plan: &Plan, shape: &StormShape, kind: StormKind) -> io::Result<Report> {
        let mut run = Run::new(plan)?;
        let mut this = Self {
            roster: shape.roster,
            rosters: Rosters::default(),
            coming: None,
            count: shape.count,
            flapping: None,
            flaps: 0,
        };
        if kind != StormKind::Come {
            let identities: Vec<_> = (0..shape.count).map(|n| this.identity(n)).collect();
            run.connect(&mut this, identities)?;
            this.settle(&mut run)?;
        }
        let probe = Probe::start(plan)?;
        this.rosters.forget_figures();
        let bytes = run.swarm.bytes_read;
        let started = run.swarm.out.tick();
        run.measure();
        match kind {
            StormKind::Come => {
                let seconds = plan.duration.as_secs_f64().max(0.001);
                this.coming = Some(Schedule::new(started, shape.count as f64 / seconds));
                run.work(&mut this, "come", plan.duration)?;
                let count = shape.count as u64;
                // The last ones may not have been due yet, or not been let in.
                run.work_until(&mut this, "come", |this, swarm| {
                    this.coming.is_none_or(|coming| coming.count >= count)
                        && swarm.welcomed >= shape.count
                })?;
            }
            StormKind::Leave => {
                for client in shape.stay.min(shape.count)..shape.count {
                    this.go(&mut run.swarm, client);
                }
            }
            StormKind::Flap => {
                this.flapping = Some((run.swarm.connect(this.identity(shape.count))?, false));
                run.work(&mut this, "flap", plan.duration)?;
                run.work_until(&mut this, "flap", |this, _| {
                    this.flapping.is_some_and(|(_, inside)| inside)
                })?;
                if let Some((client, _)) = this.flapping.take() {
                    this.go(&mut run.swarm, client);
                }
            }
        }
        let over = run.swarm.out.tick();
        this.settle(&mut run)?;
        let last = this.rosters.last_told.max(over);
        let bytes = run.swarm.bytes_read - bytes;
        let frames = this.rosters.frames;
        let parameters = json!({
            "kind": kind.name(), "count": shape.count, "roster": shape.roster,
            "seconds": plan.duration.as_secs(), "stay": shape.stay,
        });
        let mut report = run.measured().stop("storm", parameters, "frame", frames);
        let cpu = report.server.and_then(|server| server.cpu_us_per_unit);
        report.note("server_cpu_seconds", cpu.map(|cpu| cpu * frames.max(1) as f64 / 1e6));
        report.note("bytes_read", bytes);
        report.note("largest_frame", this.rosters.largest);
        let seconds = |from: u64| last.saturating_sub(from) as f64 / 1e9;
        report.note("rosters_right_after_seconds", seconds(started));
        report.note("rosters_right_after_the_end_seconds", seconds(over));
        report.note("closed_by_the_server", this.rosters.closed);
        report.note("flaps", if kind == StormKind::Flap { json!(this.flaps) } else { Value::Null });
        let (latency, account) = probe.stop(last.saturating_sub(started))?;
        report.latency = Latency::of(&latency);
        report.deliveries = Some(account);
        Ok(report)
    }
}
