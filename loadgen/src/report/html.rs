//! One run as one self-contained HTML file: no script, no network.
//!
//! Must not: write a file.

use super::svg::{self, Chart, Line, Scale, TimeAxis, draw, escape};
use super::table::table;
use crate::measure::interval::{Latency, Micros};
use crate::measure::ops::Op;
use crate::measure::results::Results;
use crate::measure::second::Second;

/// The style of every report, except that of its charts.
pub(crate) const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1320px;margin:2em auto;padding:0 1em;color:#1b1f24}\
h1{font-size:1.5em;margin-bottom:.2em}h2{font-size:1.15em;margin-top:2em}pre{background:#f5f6f8;padding:1em;overflow-x:auto;font-size:12.5px;line-height:1.4}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(520px,1fr));gap:1.2em}svg{width:100%;background:#fff;border:1px solid #e3e6ea;border-radius:6px}\
table{border-collapse:collapse}\
td,th{padding:.25em .8em;border-bottom:1px solid #e3e6ea;text-align:right}td:first-child,th:first-child{text-align:left}.good{color:#1a7f37}.bad{color:#b3261e}";

/// The report of one run.
pub(crate) fn html(results: &Results) -> String {
    let (class, outcome) = outcome(results);
    let body = format!(
        "<h1>loadgen: {} <span class=\"{class}\">{outcome}</span></h1><p>{}</p><div class=\"charts\">{}</div><h2>Figures</h2><pre>{}</pre><h2>Environment</h2>{}",
        escape(&results.scenario),
        escape(&results.about),
        charts(results),
        escape(table(results).trim()),
        environment(results),
    );
    page(&format!("loadgen: {}", results.scenario), &body)
}

/// A whole HTML page around `body`.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{}</title><style>{STYLE}{}</style><body>{body}</body></html>\n",
        escape(title),
        svg::STYLE
    )
}

fn outcome(results: &Results) -> (&'static str, &'static str) {
    match results.exit() {
        0 => ("good", "passed"),
        3 => ("bad", results.generator_health.outcome.text()),
        4 => ("bad", "a threshold was missed"),
        _ => ("bad", "wrong answers"),
    }
}

fn charts(results: &Results) -> String {
    let spectrum = spectra(results);
    let series = &results.series;
    let time = time_axis(results);
    let over_time = Chart {
        title: "corrected lookup latency over time",
        x: Scale::Linear,
        x_name: "seconds since the main part began",
        y: Scale::Log,
        y_name: "ms",
        lines: [("p50", 0), ("p99", 1), ("max", 2)]
            .map(|(name, which)| {
                line_where(
                    name,
                    series,
                    |s| s.lookups > 0,
                    |s| [s.p50, s.p99, s.max][which] as f64 / 1e3,
                )
            })
            .into(),
        time: Some(&time),
    };
    let charts = rows(series).into_iter().map(|(title, y_name, lines)| {
        draw(&Chart {
            title,
            x: Scale::Linear,
            x_name: "seconds",
            y: Scale::Linear,
            y_name,
            lines,
            time: Some(&time),
        })
    });
    [spectrum, draw(&over_time)].into_iter().chain(charts).collect()
}

/// The charts of figures by second: title, unit, lines.
fn rows(series: &[Second]) -> [(&'static str, &'static str, Vec<Line>); 7] {
    [
        (
            "lookups per second",
            "1/s",
            vec![
                line("offered", series, |s| s.offered as f64),
                line("answered", series, |s| s.lookups as f64),
            ],
        ),
        ("nsqd commands per second", "1/s", vec![line("answered", series, |s| s.commands as f64)]),
        (
            "connections and complete nsqds",
            "",
            vec![
                line("connections", series, |s| s.connections as f64),
                line("complete nsqds", series, |s| s.complete as f64),
            ],
        ),
        (
            "errors, and lookups that were due and not sent",
            "1/s",
            vec![
                line("errors", series, |s| s.errors as f64),
                line("dropped", series, |s| s.dropped as f64),
            ],
        ),
        ("the generator's own lag, p99", "ms", vec![line("lag", series, |s| s.lag as f64 / 1e3)]),
        (
            "CPU",
            "cores",
            vec![
                line("target", series, |s| s.server_cores.unwrap_or(0.0)),
                line("generator's busiest thread", series, |s| s.generator_busy),
                line("its wait for a CPU", series, |s| s.generator_waited),
                line("other programs", series, |s| s.others_cores.unwrap_or(0.0)),
            ],
        ),
        ("memory of the target", "MB", memory(series)),
    ]
}

/// The seconds of the run and the events in them.
fn time_axis(results: &Results) -> TimeAxis {
    let at = |second: Option<&Second>| second.map_or(0.0, |second| second.at as f64);
    TimeAxis {
        from: at(results.series.first()),
        to: at(results.series.last()),
        marks: results.events.iter().map(|event| (event.at, event.what.clone())).collect(),
    }
}

fn memory(series: &[Second]) -> Vec<Line> {
    let mega = |second: &Second| second.server_memory.unwrap_or(0) as f64 / 1_048_576.0;
    match series.iter().any(|second| second.server_memory.is_some()) {
        true => vec![line("resident", series, mega)],
        false => Vec::new(),
    }
}

fn line(name: &str, series: &[Second], value: impl Fn(&Second) -> f64) -> Line {
    line_where(name, series, |_| true, value)
}

fn line_where(
    name: &str,
    series: &[Second],
    keep: impl Fn(&Second) -> bool,
    value: impl Fn(&Second) -> f64,
) -> Line {
    let points = series.iter().filter(|second| keep(second));
    Line { name: name.to_owned(), points: points.map(|s| (s.at as f64, value(s))).collect() }
}

/// The latency percentiles of the main operations.
fn spectra(results: &Results) -> String {
    let with = |op: Op, what: &str, of: fn(&Latency) -> &Micros| {
        let latency = results.total.latencies.get(&op)?;
        Some(spectrum(format!("{} {what}", op.name()), of(latency)))
    };
    let lines = [
        with(Op::Lookup, "corrected", |l| &l.corrected),
        with(Op::Lookup, "raw", |l| &l.raw),
        with(Op::Ping, "corrected", |l| &l.corrected),
        with(Op::Register, "corrected", |l| &l.corrected),
        with(Op::Miss, "corrected", |l| &l.corrected),
    ];
    draw(&Chart {
        title: "latency spectrum",
        x: Scale::Percentile,
        x_name: "percentile",
        y: Scale::Log,
        y_name: "ms",
        lines: lines.into_iter().flatten().collect(),
        time: None,
    })
}

/// The percentiles of a histogram, as far as its count allows.
pub(crate) fn spectrum(name: String, histogram: &Micros) -> Line {
    let most = histogram.len().max(1) as f64;
    let steps = (0..=60).map(|step| 10_f64.powf(f64::from(step) / 10.0)).take_while(|x| *x <= most);
    let point = |x: f64| (x, histogram.value_at_quantile(1.0 - 1.0 / x) as f64 / 1e3);
    Line { name, points: steps.map(point).collect() }
}

fn environment(results: &Results) -> String {
    let value = serde_json::to_value(&results.environment).unwrap_or_default();
    let rows = value.as_object().into_iter().flatten().map(|(key, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("<tr><td>{}</td><td>{}</td></tr>", escape(key), escape(&text))
    });
    format!("<table>{}</table>", rows.collect::<String>())
}
