//! What is compared, and what is demanded.

/// A run of a workload that may report several things.
#[derive(Debug)]
pub(crate) struct Case {
    /// For `--only`, and in the results.
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static [&'static str],
    /// How long it is measured; as long as asked for, if `None`.
    pub(crate) seconds: Option<u32>,
    /// By report.
    pub(crate) rows: &'static [Row],
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) bar: Bar,
}

/// What the server's CPU time must be, as a share of the Node server's.
#[derive(Debug)]
pub(crate) enum Bar {
    /// At most this; and what is aimed at: what programs that do nothing but splice and write have
    /// taken of the Node server's time.
    Share { must: f64, aim: f64 },
    /// Nothing is demanded.
    None,
}

const fn row(name: &'static str, must: f64, aim: f64) -> Row {
    Row { name, bar: Bar::Share { must, aim } }
}

const fn free(name: &'static str) -> Row {
    Row { name, bar: Bar::None }
}

/// Everything.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "fan-out w1",
        arguments: &["fan-out"],
        seconds: None,
        rows: &[row("fan-out w1", 0.65, 0.56)],
    },
    Case {
        name: "fan-out w4",
        arguments: &["fan-out", "--window", "4"],
        seconds: None,
        rows: &[row("fan-out w4", 0.20, 0.14)],
    },
    Case {
        name: "fan-out 4xw4",
        arguments: &["fan-out", "--senders", "4", "--window", "4"],
        seconds: None,
        rows: &[row("fan-out 4×w4", 0.10, 0.067)],
    },
    Case {
        name: "direct",
        arguments: &["direct"],
        seconds: None,
        rows: &[row("direct", 0.42, 0.29)],
    },
    Case {
        name: "direct w4",
        arguments: &["direct", "--window", "4"],
        seconds: None,
        rows: &[row("direct, 4 outstanding", 0.20, 0.10)],
    },
    Case {
        name: "connect",
        arguments: &["connect", "--count", "2000"],
        seconds: None,
        rows: &[row("connect", 0.20, 0.11), row("disconnect", 0.35, 0.24)],
    },
    Case {
        name: "mixed",
        arguments: &["mixed", "--rates", "2,8,20"],
        seconds: None,
        rows: &[
            row("mixed, 9 000/s", 0.60, 0.43),
            free("mixed, 36 000/s"),
            free("mixed, 90 000/s"),
        ],
    },
    Case {
        name: "idle",
        arguments: &["idle", "--count", "5000"],
        seconds: Some(1),
        rows: &[free("idle, while connecting")],
    },
    Case {
        name: "slow",
        arguments: &["slow", "--payload", "1024"],
        seconds: Some(10),
        rows: &[free("slow")],
    },
];

/// The memory of an idle connection: at most so many bytes, and so many are aimed at.
pub(crate) const IDLE: (f64, f64) = (6000.0, 2000.0);
/// The memory that a slow receiver may cost.
pub(crate) const SLOW: f64 = 16e6;
