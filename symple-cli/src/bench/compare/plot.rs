//! Pictures of the figures.

use std::fmt::Display;

use plotters::{
    coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged},
    prelude::*,
};

use super::{case::Bar, summary::Results};

const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb2);
const NODE: RGBColor = RGBColor(0xb0, 0xb0, 0xb0);
const MUST: RGBColor = RGBColor(0xc0, 0x39, 0x2b);
const FONT: &str = "sans-serif";

fn failed(error: impl Display) -> String {
    format!("cannot draw: {error}")
}

/// The server's CPU time for a unit of work, in percent of the Node server's.
pub(crate) fn cpu(results: &Results) -> Result<String, String> {
    let bars: Vec<_> = results
        .rows()
        .filter_map(|(case, nth, row)| {
            let ours = results.cost("symple", case.name, nth)?;
            let node = results.cost("node", case.name, nth)?;
            Some((row, ours / node * 100.0))
        })
        .collect();
    let mut svg = String::new();
    {
        let height = 90 + 32 * u32::try_from(bars.len()).unwrap_or(0);
        let area = SVGBackend::with_string(&mut svg, (760, height)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let rows = bars.len() as f64;
        let mut chart = ChartBuilder::on(&area)
            .caption("Server CPU time for each unit of work, Node = 100 %", (FONT, 18))
            .margin(10)
            .set_label_area_size(LabelAreaPosition::Left, 190)
            .set_label_area_size(LabelAreaPosition::Bottom, 30)
            .build_cartesian_2d(0.0..108.0, Rows(rows))
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|percent| {
                // Behind 100 % is where the figures are.
                if *percent > 100.0 { String::new() } else { format!("{percent:.0} %") }
            })
            .y_labels(bars.len())
            .y_label_formatter(&|at| {
                // The first row is at the top.
                let nth = (rows - at) as usize;
                bars.get(nth).map_or(String::new(), |(row, _)| row.name.into())
            })
            .label_style((FONT, 13))
            .draw()
            .map_err(failed)?;
        for (nth, (row, percent)) in bars.iter().enumerate() {
            let middle = rows - nth as f64 - 0.5;
            let end = percent.min(100.0);
            let bar = |to: f64, style: ShapeStyle| {
                Rectangle::new([(0.0, middle - 0.32), (to, middle + 0.32)], style)
            };
            let label = Text::new(format!("{percent:.0} %"), (101.5, middle + 0.2), (FONT, 13));
            chart
                .draw_series([bar(100.0, NODE.mix(0.3).filled()), bar(end, OURS.filled())])
                .map_err(failed)?;
            chart.draw_series([label]).map_err(failed)?;
            if let Bar::Share { must, .. } = row.bar {
                let at = must * 100.0;
                let mark = [(at, middle - 0.42), (at, middle + 0.42)];
                chart
                    .draw_series([PathElement::new(mark, MUST.stroke_width(2))])
                    .map_err(failed)?;
            }
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// An axis with a label in the middle of each row.
struct Rows(f64);

impl Ranged for Rows {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (f64::from(to - from) * value / self.0.max(1.0)) as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        (0..self.0 as usize).map(|nth| nth as f64 + 0.5).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        0.0..self.0
    }
}

/// The latency of the workload `mixed`, by its rate.
pub(crate) fn latency(results: &Results) -> Result<String, String> {
    const RATES: [f64; 3] = [9.0, 36.0, 90.0];
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (760, 400)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Latency of mixed, from the intended time of sending", (FONT, 18))
            .margin(10)
            .set_label_area_size(LabelAreaPosition::Left, 70)
            .set_label_area_size(LabelAreaPosition::Bottom, 45)
            .build_cartesian_2d(0.0..100.0, (0.1..10_000.0).log_scale())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("thousands of deliveries in a second")
            .y_desc("ms")
            .x_label_formatter(&|rate| format!("{rate:.0}"))
            .y_label_formatter(&|ms| format!("{ms}"))
            .label_style((FONT, 13))
            .draw()
            .map_err(failed)?;
        for (server, name, colour) in
            [("node", "Node", BLACK.mix(0.45)), ("symple", "Symple", OURS.mix(1.0))]
        {
            for (percentile, width) in [("p50", 1), ("p99", 3)] {
                let points: Vec<_> = RATES
                    .iter()
                    .enumerate()
                    .filter_map(|(nth, rate)| {
                        let figure = format!("/latency/{percentile}");
                        Some((*rate, results.median(server, "mixed", nth, &figure)? / 1000.0))
                    })
                    .collect();
                if points.is_empty() {
                    continue;
                }
                chart
                    .draw_series(points.iter().map(|at| Circle::new(*at, 3, colour.filled())))
                    .map_err(failed)?;
                chart
                    .draw_series(LineSeries::new(points, colour.stroke_width(width)))
                    .map_err(failed)?
                    .label(format!("{name}, {percentile}"))
                    .legend(move |(x, y)| {
                        PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width))
                    });
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(NODE)
            .label_font((FONT, 13))
            .draw()
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}
