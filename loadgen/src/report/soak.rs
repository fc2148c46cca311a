//! A soak's files: soak.tsv (every look), soak.svg (the graph) and soak.md (what it came to).
//!
//! Must not: judge.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::svg::{Chart, Line, Scale, draw, stack};
use crate::input::Refused;
use crate::input::span::show;
use crate::measure::footprint::Footprint;
use crate::modes::soak::{Course, Sample};

const MIB: f64 = 1_048_576.0;

/// The columns of the TSV that are figures.
type Column = (&'static str, fn(&Footprint) -> u64);
const COLUMNS: [Column; 9] = [
    ("resident_bytes", |held| held.resident),
    ("descriptors", |held| held.descriptors),
    ("threads", |held| held.threads),
    ("tcp_connections", |held| held.tcp),
    ("http_connections", |held| held.http),
    ("registrations", |held| held.registrations),
    ("names", |held| held.names),
    ("published_waiting", |held| held.waiting),
    ("queued_bytes", |held| held.queued),
];

/// Writes all three and returns the line that names them.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn write(course: &Course, directory: &Path) -> Result<String, Refused> {
    let refused = |error: std::io::Error| {
        Refused(format!("{}: {error}; name another --out", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(refused)?;
    for (ending, text) in [("tsv", tsv(course)), ("svg", graph(course)), ("md", page(course))] {
        std::fs::write(directory.join(format!("soak.{ending}")), text).map_err(refused)?;
    }
    let md = directory.join("soak.md");
    Ok(format!("report: {} (and .svg, .tsv beside it)", md.display()))
}

fn tsv(course: &Course) -> String {
    let mut out = "seconds\tcycle\tstage".to_owned();
    COLUMNS.iter().for_each(|(name, _)| out.extend(["\t", name]));
    for Sample { at, cycle, stage, held } in &course.samples {
        // Writing to a String cannot fail, here and below.
        let _ = write!(out, "\n{at:.1}\t{cycle}\t{stage}");
        COLUMNS.iter().for_each(|(_, figure)| {
            let _ = write!(out, "\t{}", figure(held));
        });
    }
    out.push('\n');
    out
}

fn graph(course: &Course) -> String {
    let line = |name: &str, samples: &[Sample], value: &dyn Fn(&Footprint) -> f64| Line {
        name: name.to_owned(),
        points: samples.iter().map(|sample| (sample.at / 60.0, value(&sample.held))).collect(),
    };
    let all = |name: &str, value: &dyn Fn(&Footprint) -> f64| line(name, &course.samples, value);
    let rests = |name: &str, value: &dyn Fn(&Footprint) -> f64| line(name, &course.rests, value);
    let resident = |held: &Footprint| held.resident as f64 / MIB;
    let descriptors = |held: &Footprint| held.descriptors as f64;
    let waiting = |held: &Footprint| held.waiting as f64;
    let charts = [
        ("resident memory", "MiB", vec![all("all looks", &resident), rests("at rest", &resident)]),
        (
            "descriptors and connections",
            "",
            vec![
                all("descriptors", &descriptors),
                rests("descriptors at rest", &descriptors),
                all("connections", &|held| (held.tcp + held.http) as f64),
            ],
        ),
        (
            "registrations and names",
            "",
            vec![
                all("registrations", &|held| held.registrations as f64),
                all("names", &|held| held.names as f64),
            ],
        ),
        (
            "published values that wait to be freed",
            "",
            vec![all("all looks", &waiting), rests("at rest", &waiting)],
        ),
    ];
    stack(charts.into_iter().map(|(title, y_name, lines)| {
        draw(&Chart { title, x: Scale::Even, x_name: "minutes", y: Scale::Even, y_name, lines })
    }))
}

fn page(course: &Course) -> String {
    let mut out = format!(
        "# A soak of {}: {}\n\n",
        show(course.length),
        if course.exit() == 0 { "good" } else { "FAILED" }
    );
    let quoted = |word: &String| {
        if word.contains(' ') { format!("'{word}'") } else { word.clone() }
    };
    let arguments: Vec<_> = course.arguments.iter().map(quoted).collect();
    let _ = writeln!(out, "    loadgen {}\n", arguments.join(" "));
    for finding in &course.findings {
        let _ = writeln!(out, "- {finding}\n");
    }
    let _ = writeln!(
        out,
        "{} cycles of load and rest, {} looks. {} requests answered, {} lookups checked: {} wrong answers, {} refused, {} links ended by the target, {} answers too late.\n",
        course.rests.len(),
        course.samples.len(),
        course.answered,
        course.checked,
        course.wrong,
        course.refused,
        course.lost,
        course.late
    );
    out.push_str("| at rest | before the load | after the first cycle | after the last | most, under load too |\n|---|---|---|---|---|\n");
    let (first, last) = (course.rests.first(), course.rests.last());
    for (name, figure) in COLUMNS {
        let at = |rest: Option<&Sample>| {
            rest.map_or_else(|| "-".to_owned(), |rest| figure(&rest.held).to_string())
        };
        let most = course.samples.iter().map(|sample| figure(&sample.held)).max().unwrap_or(0);
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {most} |",
            figure(&course.before),
            at(first),
            at(last)
        );
    }
    out.push_str("\n| behind the warm-up, at rest | median of the first quarter | of the last | trend | allowed |\n|---|---|---|---|---|\n");
    for judged in &course.judged {
        let growth = &judged.growth;
        let _ = writeln!(
            out,
            "| {} | {:.0} | {:.0} | {:+.0} | {:.0} |",
            judged.name, growth.first, growth.last, growth.trend, judged.allowed
        );
    }
    out.push_str("\n![the graph](soak.svg)\n");
    out
}

/// The last lines on standard output.
pub(crate) fn ending(course: &Course) -> String {
    let mut out = String::new();
    for judged in &course.judged {
        let growth = &judged.growth;
        let _ = writeln!(
            out,
            "{}: {:.0} in the first quarter, {:.0} in the last, trend {:+.0}, allowed {:.0}",
            judged.name, growth.first, growth.last, growth.trend, judged.allowed
        );
    }
    for finding in &course.findings {
        let _ = writeln!(out, "FAILED: {finding}");
    }
    let _ = write!(
        out,
        "soak of {}: {}",
        show(Duration::from_secs(course.length.as_secs())),
        if course.exit() == 0 { "good" } else { "failed" }
    );
    out
}
