//! The table, the HTML report and the JSON file of a comparison.
//!
//! Must not: measure.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::files::{OutputDirectory, ResultFiles};
use super::html::{page, spectrum};
use super::svg::{Chart, Line, Scale, draw, escape};
use crate::commands::compare::{ScenarioComparison, Side};
use crate::commands::self_comparison::FalseAlarms;
use crate::input::Error;
use crate::measure::figures::Figure;
use crate::measure::interval::{Interval, histogram};
use crate::measure::ops::{Delay, Op};
use crate::measure::ratio::{MIN_ROUNDS, Ratio, median};
use crate::measure::results::{FORMAT_VERSION, Results};

/// One scenario's figures as lines of text.
pub(crate) fn table(sides: &[Side; 2], compared: &ScenarioComparison) -> String {
    let mut out = format!(
        "\n{:<26}{:>14}{:>14}   {}/{} (95 % interval; * differs)\n",
        compared.scenario, sides[0].name, sides[1].name, sides[1].name, sides[0].name
    );
    for figure in &compared.figures {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            out,
            "{:<26}{:>14}{:>14}   {}",
            format!("{} {}", figure.name, figure.unit),
            median_text(&figure.values[0]),
            median_text(&figure.values[1]),
            interval(figure)
        );
    }
    for line in &compared.left_out {
        let _ = writeln!(out, "{line}");
    }
    if compared.counted < MIN_ROUNDS {
        let _ = writeln!(out, "{}", few_rounds(compared.counted));
    }
    out
}

/// The median over the rounds that have the figure.
fn median_text(values: &[f64]) -> String {
    if values.is_empty() { "none".to_owned() } else { value(median(values)) }
}

fn value(value: f64) -> String {
    match value {
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

fn few_rounds(rounds: usize) -> String {
    format!(
        "too few rounds that count ({rounds}) to call a difference one, or to publish: at least {MIN_ROUNDS} must"
    )
}

fn interval(figure: &Figure) -> String {
    let Some(ratio) = figure.ratio else { return "-".to_owned() };
    let mark = if ratio.differs() { " *" } else { "" };
    format!("{:.3} ({}){mark}", ratio.mean, range(&ratio))
}

fn range(ratio: &Ratio) -> String {
    match ratio.low.zip(ratio.high) {
        Some((low, high)) => format!("{low:.3} … {high:.3}"),
        None => "one round".to_owned(),
    }
}

/// The names of the files that [`write`] writes.
pub(crate) const ENDINGS: &[&str] = &["html", "json"];

/// Writes the HTML report and the JSON file of what was compared so far.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(
    sides: &[Side; 2],
    all: &[ScenarioComparison],
    files: &ResultFiles,
) -> Result<(), Error> {
    files.write("json", format!("{:#}", json(sides, all)))?;
    files.write("html", html(sides, all))
}

fn json(sides: &[Side; 2], all: &[ScenarioComparison]) -> Value {
    let figure = |figure: &Figure| {
        json!({
            "name": figure.name, "unit": figure.unit, "less_is_better": figure.lower_is_better,
            "a": figure.values[0], "b": figure.values[1],
            "median_a": median(&figure.values[0]), "median_b": median(&figure.values[1]),
            "ratio": figure.ratio,
        })
    };
    let one = |compared: &ScenarioComparison| {
        json!({
            "scenario": compared.scenario,
            "figures": compared.figures.iter().map(figure).collect::<Vec<_>>(),
            "left_out": compared.left_out,
            "runs": compared.runs,
        })
    };
    let side = |side: &Side| json!({ "name": side.name, "command": side.command });
    json!({
        "form": FORMAT_VERSION,
        "a": side(&sides[0]),
        "b": side(&sides[1]),
        "rounds": all.iter().map(|compared| compared.runs[0].len()).max(),
        "scenarios": all.iter().map(one).collect::<Vec<_>>(),
    })
}

/// The whole comparison as one self-contained page.
pub(crate) fn html(sides: &[Side; 2], all: &[ScenarioComparison]) -> String {
    let mut body = format!(
        "<h1>{} and {}</h1><p>In each round both were started and loaded one after the other, in alternating order. A ratio is {} divided by {}: the geometric mean over paired rounds, with a 95 % interval by Student's t on the logarithms. It is coloured if the interval excludes 1, from {MIN_ROUNDS} rounds on: by chance, that happens to one in twenty figures that are equal.</p>",
        escape(&sides[0].name),
        escape(&sides[1].name),
        escape(&sides[1].name),
        escape(&sides[0].name)
    );
    for side in sides {
        let _ = write!(
            body,
            "<p><b>{}</b> <code>{}</code></p>",
            escape(&side.name),
            escape(&side.command)
        );
    }
    if let Some(first) = all.first().and_then(|compared| compared.runs[0].first()) {
        let value = |key: &str| match &first["environment"][key] {
            Value::String(text) => escape(text),
            other => other.to_string(),
        };
        let _ = write!(
            body,
            "<p>{} · {} · {} cores · loadgen {} with {} threads on the same machine</p>",
            value("kernel"),
            value("cpu"),
            value("cores"),
            value("loadgen"),
            value("threads")
        );
    }
    for compared in all {
        section(sides, compared, &mut body);
    }
    page(&format!("{} and {}", sides[0].name, sides[1].name), &body)
}

/// How often a target differed from itself, as lines of text.
pub(crate) fn false_alarms(all: &[FalseAlarms]) -> String {
    let mut out = format!(
        "\n{:<34}{:>14}{:>14}   by chance: 1 of 20\n",
        "false alarms of", "differed", "comparisons"
    );
    for row in all {
        let mark = if row.too_often() { "   TOO OFTEN" } else { "" };
        let name = format!("{} {}", row.scenario, row.figure);
        let _ = writeln!(out, "{name:<34}{:>14}{:>14}{mark}", row.alarms, row.comparisons);
    }
    if all.is_empty() {
        let _ = writeln!(out, "no comparison had {MIN_ROUNDS} rounds that were not left out");
    }
    out
}

/// Writes them as JSON and returns a line that names the file.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn write_false_alarms(
    all: &[FalseAlarms],
    directory: &OutputDirectory,
) -> Result<String, Error> {
    let files = directory.files("false-alarms", &["json"])?;
    let json = json!({ "form": FORMAT_VERSION, "false_alarms": all });
    files.write("json", format!("{json:#}"))?;
    Ok(files.line())
}

fn section(sides: &[Side; 2], compared: &ScenarioComparison, body: &mut String) {
    let _ = write!(
        body,
        "<h2>{}</h2><p>{}; {} rounds</p>{}<div class=\"charts\">{}</div>",
        escape(&compared.scenario),
        escape(&compared.about),
        compared.runs[0].len(),
        warnings(sides, compared),
        charts(sides, compared)
    );
    let _ = write!(
        body,
        "<table><tr><th></th><th>{}</th><th>{}</th><th>ratio</th><th>95 % interval</th></tr>",
        escape(&sides[0].name),
        escape(&sides[1].name)
    );
    for figure in &compared.figures {
        let (mean, range) = figure.ratio.map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |ratio| (format!("{:.3}", ratio.mean), range(&ratio)),
        );
        let _ = write!(
            body,
            "<tr><td>{} {}</td><td>{}</td><td>{}</td><td class=\"{}\">{mean}</td><td>{range}</td></tr>",
            escape(figure.name),
            figure.unit,
            median_text(&figure.values[0]),
            median_text(&figure.values[1]),
            class(figure)
        );
    }
    body.push_str("</table>");
}

fn class(figure: &Figure) -> &'static str {
    match figure.ratio {
        Some(ratio) if ratio.differs() => {
            if (ratio.mean < 1.0) == figure.lower_is_better {
                "good"
            } else {
                "bad"
            }
        }
        _ => "",
    }
}

fn warnings(sides: &[Side; 2], compared: &ScenarioComparison) -> String {
    let mut lines = compared.left_out.clone();
    if compared.counted < MIN_ROUNDS {
        lines.push(few_rounds(compared.counted));
    }
    for (side, runs) in sides.iter().zip(&compared.runs) {
        let wrong: u64 = runs.iter().filter_map(|run| run["wrong_answers"].as_u64()).sum();
        if wrong > 0 {
            lines.push(format!("{}: {wrong} wrong answers", side.name));
        }
    }
    lines.iter().map(|line| format!("<p class=\"bad\">{}.</p>", escape(line))).collect()
}

fn charts(sides: &[Side; 2], compared: &ScenarioComparison) -> String {
    let sums = compared.results.each_ref().map(|runs| {
        let mut sum = Interval::default();
        runs.iter().for_each(|run| sum.add(&run.total));
        sum
    });
    let of_op = |op: Op| {
        for_each_side(sides, |side| {
            sums[side].latencies.get(&op).map(|l| spectrum(sides[side].name.clone(), &l.corrected))
        })
    };
    let of_delay = |delay: Delay| {
        for_each_side(sides, |side| {
            sums[side].delays.get(&delay).map(|d| spectrum(sides[side].name.clone(), d))
        })
    };
    let spectra = [
        ("lookup, corrected", of_op(Op::Lookup)),
        ("REGISTER, corrected", of_op(Op::Register)),
        ("REGISTER → shown", of_delay(Delay::Appeared)),
        ("killed → gone", of_delay(Delay::Vanished)),
    ];
    let percentiles = spectra.into_iter().map(|(title, lines)| {
        draw(&Chart {
            title,
            x: Scale::Percentile,
            x_name: "percentile",
            y: Scale::Log,
            y_name: "ms",
            lines,
            time: None,
        })
    });
    let time = draw(&Chart {
        title: "lookup p99 over time, round 1",
        x: Scale::Linear,
        x_name: "seconds",
        y: Scale::Log,
        y_name: "ms",
        lines: for_each_side(sides, |side| {
            over_time(&sides[side].name, compared.results[side].first()?)
        }),
        time: None,
    });
    percentiles.chain([time]).collect()
}

fn for_each_side(sides: &[Side; 2], line: impl Fn(usize) -> Option<Line>) -> Vec<Line> {
    (0..sides.len()).filter_map(line).collect()
}

fn over_time(name: &str, results: &Results) -> Option<Line> {
    let empty = histogram().max();
    let points: Vec<_> = results
        .series
        .iter()
        .filter(|second| second.p99 > empty)
        .map(|second| (second.at as f64, second.p99 as f64 / 1e3))
        .collect();
    (!points.is_empty()).then(|| Line { name: name.to_owned(), points })
}
