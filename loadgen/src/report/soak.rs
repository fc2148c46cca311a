//! The result files of a soak: soak.tsv (every sample), soak.svg (the graph), soak.md (the summary).
//!
//! Must not: decide whether the soak passed.

use std::fmt::Write as _;
use std::time::Duration;

use super::files::OutputDirectory;
use super::svg::{Chart, Line, Scale, draw, stack};
use crate::commands::soak::{FootprintSample, SoakResult};
use crate::input::Error;
use crate::input::human_duration::show;
use crate::measure::footprint::Footprint;

const MIB: f64 = 1_048_576.0;

/// The numeric columns of the TSV.
type Column = (&'static str, fn(&Footprint) -> u64);
const COLUMNS: [Column; 9] = [
    ("resident_bytes", |footprint| footprint.resident),
    ("descriptors", |footprint| footprint.descriptors),
    ("threads", |footprint| footprint.threads),
    ("tcp_connections", |footprint| footprint.tcp),
    ("http_connections", |footprint| footprint.http),
    ("registrations", |footprint| footprint.registrations),
    ("names", |footprint| footprint.names),
    ("published_waiting", |footprint| footprint.waiting),
    ("queued_bytes", |footprint| footprint.queued),
];

/// Writes all three and returns a line that names them.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn write(result: &SoakResult, directory: &OutputDirectory) -> Result<String, Error> {
    let files = directory.files("soak", &["md", "svg", "tsv"])?;
    files.write("tsv", tsv(result))?;
    files.write("svg", graph(result))?;
    files.write("md", page(result, &files.stem))?;
    Ok(files.line())
}

fn tsv(result: &SoakResult) -> String {
    let mut out = "seconds\tcycle\tstage".to_owned();
    COLUMNS.iter().for_each(|(name, _)| out.extend(["\t", name]));
    for FootprintSample { at, cycle, stage, footprint } in &result.samples {
        // Writing to a String cannot fail, here and below.
        let _ = write!(out, "\n{at:.1}\t{cycle}\t{stage}");
        COLUMNS.iter().for_each(|(_, figure)| {
            let _ = write!(out, "\t{}", figure(footprint));
        });
    }
    out.push('\n');
    out
}

fn graph(result: &SoakResult) -> String {
    let line = |name: &str, samples: &[FootprintSample], value: &dyn Fn(&Footprint) -> f64| Line {
        name: name.to_owned(),
        points: samples.iter().map(|sample| (sample.at / 60.0, value(&sample.footprint))).collect(),
    };
    let all = |name: &str, value: &dyn Fn(&Footprint) -> f64| line(name, &result.samples, value);
    let rests = |name: &str, value: &dyn Fn(&Footprint) -> f64| line(name, &result.rests, value);
    let resident = |footprint: &Footprint| footprint.resident as f64 / MIB;
    let descriptors = |footprint: &Footprint| footprint.descriptors as f64;
    let waiting = |footprint: &Footprint| footprint.waiting as f64;
    let charts = [
        (
            "resident memory",
            "MiB",
            vec![all("all samples", &resident), rests("at rest", &resident)],
        ),
        (
            "descriptors and connections",
            "",
            vec![
                all("descriptors", &descriptors),
                rests("descriptors at rest", &descriptors),
                all("connections", &|footprint| (footprint.tcp + footprint.http) as f64),
            ],
        ),
        (
            "registrations and names",
            "",
            vec![
                all("registrations", &|footprint| footprint.registrations as f64),
                all("names", &|footprint| footprint.names as f64),
            ],
        ),
        (
            "published values that wait to be freed",
            "",
            vec![all("all samples", &waiting), rests("at rest", &waiting)],
        ),
    ];
    stack(charts.into_iter().map(|(title, y_name, lines)| {
        draw(&Chart {
            title,
            x: Scale::Linear,
            x_name: "minutes",
            y: Scale::Linear,
            y_name,
            lines,
            time: None,
        })
    }))
}

fn page(result: &SoakResult, stem: &str) -> String {
    let mut out = format!(
        "# A soak of {}: {}\n\n",
        show(result.length),
        if result.exit() == 0 { "passed" } else { "FAILED" }
    );
    let quoted = |word: &String| {
        if word.contains(' ') { format!("'{word}'") } else { word.clone() }
    };
    let arguments: Vec<_> = result.arguments.iter().map(quoted).collect();
    let _ = writeln!(out, "    loadgen {}\n", arguments.join(" "));
    for failure in &result.failures {
        let _ = writeln!(out, "- {failure}\n");
    }
    for note in &result.notes {
        let _ = writeln!(out, "Note: {note}\n");
    }
    let SoakResult { answered, checked, wrong, refused, lost, late, .. } = result;
    let _ = writeln!(
        out,
        "{} cycles of load and rest, {} samples. {answered} requests answered, {checked} lookups checked: {wrong} wrong answers, {refused} refused, {lost} connections closed by the target, {late} timeouts.\n",
        result.rests.len(),
        result.samples.len()
    );
    out.push_str("| at rest | before the load | after the first cycle | after the last | most, under load too |\n|---|---|---|---|---|\n");
    let (first, last) = (result.rests.first(), result.rests.last());
    for (name, figure) in COLUMNS {
        let at = |rest: Option<&FootprintSample>| {
            rest.map_or_else(|| "-".to_owned(), |rest| figure(&rest.footprint).to_string())
        };
        let most = result.samples.iter().map(|sample| figure(&sample.footprint)).max().unwrap_or(0);
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {most} |",
            figure(&result.before),
            at(first),
            at(last)
        );
    }
    out.push_str("\n| after the warm-up, at rest | median of the first quarter | of the last | trend | allowed |\n|---|---|---|---|---|\n");
    for check in &result.growth_checks {
        let growth = &check.growth;
        let _ = writeln!(
            out,
            "| {} | {:.0} | {:.0} | {:+.0} | {:.0} |",
            check.name, growth.first, growth.last, growth.trend, check.allowed
        );
    }
    let _ = writeln!(out, "\n![the graph]({stem}.svg)");
    out
}

/// The last lines on standard output.
pub(crate) fn summary(result: &SoakResult) -> String {
    let mut out = String::new();
    for check in &result.growth_checks {
        let growth = &check.growth;
        let _ = writeln!(
            out,
            "{}: {:.0} in the first quarter, {:.0} in the last, trend {:+.0}, allowed {:.0}",
            check.name, growth.first, growth.last, growth.trend, check.allowed
        );
    }
    for failure in &result.failures {
        let _ = writeln!(out, "FAILED: {failure}");
    }
    for note in &result.notes {
        let _ = writeln!(out, "note: {note}");
    }
    let _ = write!(
        out,
        "soak of {}: {}",
        show(Duration::from_secs(result.length.as_secs())),
        if result.exit() == 0 { "passed" } else { "failed" }
    );
    out
}
