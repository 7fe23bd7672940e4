//! Medians of what was measured, and the table.

use std::{fmt::Write as _, fs, process::Command, thread};

use serde_json::{Map, Value, json};

use super::{
    case::{Bar, CASES, Case, IDLE, Row, SLOW},
    server::Kind,
};

/// All runs.
#[derive(Debug)]
pub(crate) struct Results {
    about: Value,
    /// What was done, in order.
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    server: &'static str,
    case: &'static str,
    outcome: Result<Vec<Value>, String>,
}

/// The first line of what a command says.
fn says(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next()?.trim().to_owned())
}

impl Results {
    /// Nothing yet, but where and when.
    pub(crate) fn new(note: &str, seconds: u32, repeats: u32, kinds: &[Kind]) -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
        let node = kinds.iter().any(|kind| matches!(kind, Kind::Node(_)));
        let node = node.then(|| says("node", &["--version"])).flatten();
        let serve = kinds.iter().find_map(|kind| match kind {
            Kind::Symple(flags) => Some(flags.join(" ")),
            Kind::Node(_) => None,
        });
        let about = json!({
            "date": says("date", &["-u", "+%Y-%m-%d"]),
            "cpu": model.trim_start_matches([' ', '\t', ':']),
            "cores": thread::available_parallelism().map_or(0, usize::from),
            "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|s| s.trim().to_owned()),
            "node": node,
            "symple": env!("CARGO_PKG_VERSION"),
            "serve": serve,
            "note": note,
            "seconds": seconds,
            "repeats": repeats,
        });
        Self { about, runs: Vec::new() }
    }

    /// What a run gave.
    pub(crate) fn enter(&mut self, kind: &Kind, case: &Case, outcome: Result<Vec<Value>, String>) {
        self.runs.push(Run { server: kind.name(), case: case.name, outcome });
    }

    /// How many runs failed.
    pub(crate) fn failures(&self) -> usize {
        self.runs.iter().filter(|run| run.outcome.is_err()).count()
    }

    /// The reports of a row, by repeat.
    fn reports<'a>(
        &'a self,
        server: &'a str,
        case: &'a str,
        nth: usize,
    ) -> impl Iterator<Item = &'a Value> {
        let runs = self.runs.iter().filter(move |run| run.server == server && run.case == case);
        runs.filter_map(move |run| run.outcome.as_ref().ok()?.get(nth))
    }

    /// The median of a figure, by its JSON pointer.
    pub(crate) fn median(&self, server: &str, case: &str, nth: usize, figure: &str) -> Option<f64> {
        let figures = self.reports(server, case, nth).filter_map(|r| r.pointer(figure)?.as_f64());
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        if figures.len() % 2 == 1 {
            figures.get(middle).copied()
        } else {
            Some((figures.get(middle.checked_sub(1)?)? + figures.get(middle)?) / 2.0)
        }
    }

    /// The server's CPU time for a unit, in microseconds.
    pub(crate) fn cost(&self, server: &str, case: &str, nth: usize) -> Option<f64> {
        self.median(server, case, nth, "/server/cpu_us_per_unit")
    }

    /// Lost, duplicated, reordered and misdelivered, in all repeats.
    fn faults(&self, server: &str, case: &str, nth: usize) -> Option<f64> {
        let names = ["lost", "duplicated", "reordered", "misdelivered"];
        self.reports(server, case, nth)
            .flat_map(|report| names.map(|name| report["deliveries"][name].as_f64()))
            .flatten()
            .reduce(|sum, count| sum + count)
    }

    /// Every row that was measured: its case, its number in there, itself.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static Case, usize, &'static Row)> {
        let measured = |case: &Case| self.runs.iter().any(|run| run.case == case.name);
        CASES
            .iter()
            .filter(move |case| measured(case))
            .flat_map(|case| case.rows.iter().enumerate().map(move |(nth, row)| (case, nth, row)))
    }

    /// Everything, for machines.
    pub(crate) fn json(&self) -> String {
        let rows = self.rows().map(|(case, nth, row)| {
            let mut object = Map::new();
            object.insert("name".into(), row.name.into());
            for server in ["symple", "node"] {
                object.insert(server.into(), self.cost(server, case.name, nth).into());
            }
            let [ours, node] = ["symple", "node"].map(|s| self.cost(s, case.name, nth));
            object.insert("ratio".into(), ours.zip(node).map(|(ours, node)| ours / node).into());
            if let Bar::Share { must, aim } = row.bar {
                object.insert("must".into(), must.into());
                object.insert("aim".into(), aim.into());
            }
            Value::Object(object)
        });
        let runs = self.runs.iter().map(|run| {
            let Run { server, case, outcome } = run;
            match outcome {
                Ok(reports) => json!({ "server": server, "case": case, "reports": reports }),
                Err(error) => json!({ "server": server, "case": case, "error": error }),
            }
        });
        let document = json!({
            "about": self.about,
            "cpu_us_per_unit": rows.collect::<Vec<_>>(),
            "runs": runs.collect::<Vec<_>>(),
        });
        format!("{document:#}\n")
    }

    /// The figures, in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_about(&mut text);
        let _ = self.write_costs(&mut text);
        let _ = self.write_rates(&mut text);
        let _ = self.write_memory(&mut text);
        let _ = self.write_slow(&mut text);
        text
    }

    fn write_about(&self, text: &mut String) -> std::fmt::Result {
        let about = |name: &str| match &self.about[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let beside = match &self.about["node"] {
            Value::String(version) => format!(" beside the Node server on Node {version}"),
            _ => String::new(),
        };
        writeln!(
            text,
            "{}; {}, {} cores, Linux {}; Symple {}{}; medians of {} runs of {} s.",
            about("date"),
            about("cpu"),
            about("cores"),
            about("kernel"),
            about("symple"),
            beside,
            about("repeats"),
            about("seconds"),
        )?;
        if !about("serve").is_empty() {
            writeln!(text, "`symple serve` with `{}`.", about("serve"))?;
        }
        if !about("note").is_empty() {
            writeln!(text, "**{}**", about("note"))?;
        }
        match self.failures() {
            0 => Ok(()),
            count => writeln!(text, "**{count} runs failed.**"),
        }
    }

    fn write_costs(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\nµs of server CPU time for each unit of work:\n")?;
        writeln!(text, "| workload | unit | Node | Symple | ratio | must | aim | |")?;
        writeln!(text, "|---|---|--:|--:|--:|--:|--:|---|")?;
        for (case, nth, row) in self.rows() {
            let [ours, node] = ["symple", "node"].map(|s| self.cost(s, case.name, nth));
            let ratio = ours.zip(node).map(|(ours, node)| ours / node);
            let unit = self.reports("symple", case.name, nth).find_map(|r| r["unit"].as_str());
            let (must, aim, verdict) = match (&row.bar, ratio) {
                (Bar::None, _) => (None, None, ""),
                (Bar::Share { must, aim }, None) => (Some(*must), Some(*aim), ""),
                (Bar::Share { must, aim }, Some(ratio)) => {
                    let verdict = match ratio {
                        ratio if ratio <= *aim => "aim reached",
                        ratio if ratio <= *must => "holds",
                        _ => "**misses**",
                    };
                    (Some(*must), Some(*aim), verdict)
                }
            };
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {verdict} |",
                row.name,
                unit.unwrap_or(""),
                figure(node, 2),
                figure(ours, 2),
                figure(ratio, 3),
                figure(must, 2),
                figure(aim, 2),
            )?;
        }
        Ok(())
    }

    fn write_rates(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\nUnits in a second, latency in ms, and faults (lost, duplicated,")?;
        writeln!(text, "reordered, misdelivered) in all runs:\n")?;
        writeln!(
            text,
            "| workload | Node | p50 | p99 | faults | Symple | p50 | p99 | faults |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|"
        )?;
        for (case, nth, row) in self.rows() {
            write!(text, "| {} |", row.name)?;
            for server in ["node", "symple"] {
                let median = |figure| self.median(server, case.name, nth, figure);
                let milliseconds = |name| median(name).map(|micros| micros / 1000.0);
                write!(
                    text,
                    " {} | {} | {} | {} |",
                    figure(median("/rate"), 0),
                    figure(milliseconds("/latency/p50"), 2),
                    figure(milliseconds("/latency/p99"), 2),
                    figure(self.faults(server, case.name, nth), 0),
                )?;
            }
            writeln!(text)?;
        }
        let bound = self.runs.iter().filter_map(|run| run.outcome.as_ref().ok()).flatten();
        match bound.filter(|report| report["generator_bound"] == true).count() {
            0 => Ok(()),
            count => writeln!(text, "\nIn {count} runs the load was the bottleneck."),
        }
    }

    fn write_memory(&self, text: &mut String) -> std::fmt::Result {
        if !self.rows().any(|(case, ..)| case.name == "idle") {
            return Ok(());
        }
        let (must, aim) = IDLE;
        writeln!(
            text,
            "\n5000 idle connections (bytes of PSS for each: must be at most {must}, aim {aim}):\n"
        )?;
        writeln!(text, "| | bytes each | accepted in, s | told all in, s |\n|---|--:|--:|--:|")?;
        for (server, name) in [("node", "Node"), ("symple", "Symple")] {
            let median = |figure| self.median(server, "idle", 0, figure);
            writeln!(
                text,
                "| {name} | {} | {} | {} |",
                figure(median("/notes/bytes_per_connection"), 0),
                figure(median("/seconds"), 2),
                figure(median("/notes/broadcast_seconds"), 3),
            )?;
        }
        Ok(())
    }

    fn write_slow(&self, text: &mut String) -> std::fmt::Result {
        if !self.rows().any(|(case, ..)| case.name == "slow") {
            return Ok(());
        }
        let most = SLOW / 1e6;
        writeln!(
            text,
            "\nA receiver that does not read (memory may grow by {most} MB, and it is to be \
             closed with 4429):\n\n| | growth, MB | closed | code | after, s |\n\
             |---|--:|---|--:|--:|"
        )?;
        for (server, name) in [("node", "Node"), ("symple", "Symple")] {
            let median = |figure| self.median(server, "slow", 0, figure);
            let closed = self.reports(server, "slow", 0).map(|r| r["notes"]["slow_closed"] == true);
            let closed = closed.reduce(|all, one| all && one);
            writeln!(
                text,
                "| {name} | {} | {} | {} | {} |",
                figure(median("/notes/memory_growth").map(|bytes| bytes / 1e6), 1),
                closed.map_or("–", |closed| if closed { "yes" } else { "no" }),
                figure(median("/notes/slow_close_code"), 0),
                figure(median("/notes/slow_closed_after_seconds"), 1),
            )?;
        }
        Ok(())
    }
}

/// A figure with so many decimals, if there is one.
fn figure(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_verdicts() {
        let kinds = [Kind::Symple(Vec::new()), Kind::Node(".".into())];
        let mut results = Results::new("note", 1, 3, &kinds);
        let case = CASES.iter().find(|case| case.name == "direct").unwrap();
        let run = |cost: f64| {
            Ok(vec![json!({ "unit": "message", "server": { "cpu_us_per_unit": cost } })])
        };
        for (ours, node) in [(4.0, 30.0), (9.0, 10.0), (8.0, 20.0)] {
            results.enter(&kinds[0], case, run(ours));
            results.enter(&kinds[1], case, run(node));
        }
        assert_eq!(results.cost("symple", "direct", 0), Some(8.0));
        let table = results.table();
        assert!(
            table.contains("| direct | message | 20.00 | 8.00 | 0.400 | 0.42 | 0.29 | holds |")
        );
        results.enter(&kinds[0], case, Err("broken".into()));
        assert_eq!(results.failures(), 1);
        assert!(results.table().contains("1 runs failed"));
        let json: Value = serde_json::from_str(&results.json()).unwrap();
        assert_eq!(json["cpu_us_per_unit"][0]["ratio"], 0.4);
        assert_eq!(json["runs"][6]["error"], "broken");
    }
}
