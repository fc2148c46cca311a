//! Line charts as SVG elements.
//!
//! Must not: know what the lines mean.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
/// Room for labels: left, right, top, bottom.
const MARGIN: [f64; 4] = [62.0, 24.0, 30.0, 40.0];
const COLOURS: [&str; 6] = ["#1668b8", "#d1495b", "#2e8b57", "#b8860b", "#6a4c93", "#666666"];

/// The style of a chart, on a page or alone.
pub(crate) const STYLE: &str = "svg text{font:10.5px system-ui,sans-serif;fill:#444}\
svg .t{font-weight:600;font-size:12px}svg .g{stroke:#e9ebee}";

/// One line of a chart.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// How an axis is divided.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    Log,
    /// Percentiles as HdrHistogram plots them: x is 1 / (1 − quantile), on a log scale.
    Percentile,
}

/// A chart.
pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: Scale,
    pub(crate) x_name: &'a str,
    pub(crate) y: Scale,
    pub(crate) y_name: &'a str,
    pub(crate) lines: Vec<Line>,
    /// The range of x and what happened in it, which several charts share.
    pub(crate) time: Option<&'a TimeAxis>,
}

/// A range of seconds, and marks in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TimeAxis {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) marks: Vec<(f64, String)>,
}

/// One axis with its range of values and of coordinates.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let (least, most) =
            (values.clone().fold(f64::MAX, f64::min), values.fold(f64::MIN, f64::max));
        let (low, high) = match scale {
            Scale::Linear => {
                (least.min(0.0), if most > least.min(0.0) { most } else { least + 1.0 })
            }
            _ => {
                let low = 10_f64.powf(least.max(1e-3).log10().floor());
                (low, 10_f64.powf(most.max(low * 1.01).log10().ceil()))
            }
        };
        Self { scale, low, high, from, to }
    }

    fn coordinate(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            _ => (value.max(self.low) / self.low).log10() / (self.high / self.low).log10(),
        };
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let decades = || {
            (0..)
                .map(|power| self.low * 10_f64.powi(power))
                .take_while(|at| *at <= self.high * 1.001)
        };
        match self.scale {
            Scale::Log => decades().map(|at| (at, number(at))).collect(),
            Scale::Percentile => decades().map(|at| (at, percent(at))).collect(),
            Scale::Linear => {
                let rough = (self.high - self.low) / 5.0;
                let power = 10_f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
                let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
                let first = (self.low / step).ceil();
                let marks = (0..12).map(|count| (first + f64::from(count)) * step);
                marks.take_while(|at| *at <= self.high * 1.001).map(|at| (at, number(at))).collect()
            }
        }
    }
}

fn percent(at: f64) -> String {
    let percent = 100.0 * (1.0 - 1.0 / at);
    let text = format!("{percent:.4}");
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        v if v >= 1e4 => format!("{}k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Escapes text for HTML and SVG.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The chart as an `<svg>` element; empty when it has no points.
pub(crate) fn draw(chart: &Chart<'_>) -> String {
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    if points().next().is_none() {
        return String::new();
    }
    let [left, right, top, bottom] = MARGIN;
    let range = chart.time.map_or(Vec::new(), |time| vec![time.from, time.to]);
    let x = points().map(|point| point.0).chain(range);
    let x = Axis::new(chart.x, x, left, WIDTH - right);
    let y = Axis::new(chart.y, points().map(|point| point.1), HEIGHT - bottom, top);
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>{}</title>",
        escape(chart.title)
    );
    frame(chart, &x, &y, &mut out);
    for (line, colour) in chart.lines.iter().zip(COLOURS.iter().cycle()) {
        let path: Vec<_> = line
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x.coordinate(point.0), y.coordinate(point.1)))
            .collect();
        // Writing to a String cannot fail, here and below.
        let _ = write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>",
            path.join(" ")
        );
    }
    for (at, what) in chart.time.iter().flat_map(|time| &time.marks) {
        mark(x.coordinate(*at), what, &mut out);
    }
    out.push_str("</svg>");
    out
}

/// A vertical line with its text beside it.
fn mark(x: f64, what: &str, out: &mut String) {
    let [_, _, top, bottom] = MARGIN;
    let _ = write!(
        out,
        "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{}\" stroke=\"#888\" stroke-dasharray=\"4 3\"/><text x=\"{:.1}\" y=\"{}\">{}</text>",
        HEIGHT - bottom,
        x + 3.0,
        top + 10.0,
        escape(what)
    );
}

/// The charts below each other as one SVG file.
pub(crate) fn stack(charts: impl IntoIterator<Item = String>) -> String {
    let charts: Vec<_> = charts.into_iter().filter(|chart| !chart.is_empty()).collect();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\"><style>{STYLE}</style><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
        HEIGHT * charts.len() as f64
    );
    for (index, chart) in charts.iter().enumerate() {
        let inner =
            format!("<svg y=\"{}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" ", HEIGHT * index as f64);
        out.push_str(&chart.replacen("<svg ", &inner, 1));
    }
    out.push_str("</svg>\n");
    out
}

fn frame(chart: &Chart<'_>, x: &Axis, y: &Axis, out: &mut String) {
    let _ =
        write!(out, "<text x=\"{}\" y=\"14\" class=\"t\">{}</text>", x.from, escape(chart.title));
    for (at, label) in y.ticks() {
        let position = y.coordinate(at);
        let _ = write!(
            out,
            "<line x1=\"{}\" x2=\"{}\" y1=\"{position:.1}\" y2=\"{position:.1}\" class=\"g\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            x.from,
            x.to,
            x.from - 5.0,
            position + 3.5
        );
    }
    for (at, label) in x.ticks() {
        let position = x.coordinate(at);
        let _ = write!(
            out,
            "<line x1=\"{position:.1}\" x2=\"{position:.1}\" y1=\"{}\" y2=\"{}\" class=\"g\"/><text x=\"{position:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            y.from,
            y.to,
            y.from + 14.0
        );
    }
    let names = chart.lines.iter().zip(COLOURS.iter().cycle());
    let legend: String = names
        .map(|(line, colour)| {
            format!("<tspan fill=\"{colour}\" dx=\"10\">{}</tspan>", escape(&line.name))
        })
        .collect();
    let _ = write!(
        out,
        "<text x=\"{}\" y=\"14\" text-anchor=\"end\">{legend}</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><text x=\"4\" y=\"26\">{}</text>",
        x.to,
        x.to,
        HEIGHT - 6.0,
        escape(chart.x_name),
        escape(chart.y_name)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chart_places_its_points_inside_and_escapes_its_texts() {
        let line = Line { name: "a<b".to_owned(), points: vec![(1.0, 1.0), (1000.0, 10_000.0)] };
        let chart = Chart {
            title: "t & u",
            x: Scale::Percentile,
            x_name: "percentile",
            y: Scale::Log,
            y_name: "ms",
            lines: vec![line],
            time: None,
        };
        let svg = draw(&chart);
        assert!(svg.contains("points=\"62.0,220.0 616.0,30.0\""), "{svg}");
        assert!(svg.contains("a&lt;b") && svg.contains("t &amp; u") && svg.contains("99.9%"));
        let stacked = stack([svg.clone(), String::new(), svg]);
        assert!(stacked.contains("viewBox=\"0 0 640 520\"") && stacked.contains("<svg y=\"260\""));
        assert!(draw(&Chart { lines: Vec::new(), ..chart }).is_empty());
    }
    #[test]
    fn charts_share_a_time_axis_with_marks() {
        let time = TimeAxis { from: -2.0, to: 8.0, marks: vec![(3.0, "a < b".to_owned())] };
        let chart = |points| Chart {
            title: "t",
            x: Scale::Linear,
            x_name: "seconds",
            y: Scale::Linear,
            y_name: "",
            lines: vec![Line { name: "l".to_owned(), points }],
            time: Some(&time),
        };
        for points in [vec![(0.0, 1.0), (8.0, 2.0)], vec![(3.0, 1.0)]] {
            let svg = draw(&chart(points));
            assert!(svg.contains("x1=\"339.0\" x2=\"339.0\"") && svg.contains("a &lt; b"), "{svg}");
        }
    }
}
