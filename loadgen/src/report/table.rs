//! The final table.
//!
//! Must not: print; it makes lines.

use crate::input::span::show;
use crate::measure::ops::{Count, Op, Span};
use crate::measure::results::{Results, Summary};
use crate::measure::slo::as_span;
use std::fmt::Write as _;
use std::time::Duration;

/// The results as lines of text.
pub(crate) fn table(results: &Results) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(out, "\n{} — {}", results.scenario, results.about);
    let _ = writeln!(
        out,
        "{} actors against {} for {}, seed {}\n",
        results.actors,
        results.environment.http,
        show(results.duration),
        results.seed
    );
    latencies(results, &mut out);
    spans(results, &mut out);
    counts(results, &mut out);
    costs(results, &mut out);
    endings(results, &mut out);
    out
}

fn latencies(results: &Results, out: &mut String) {
    let _ = writeln!(
        out,
        "{:<24}{:>10}{:>11}{:>11}{:>11}{:>11}{:>11}",
        "latency", "count", "p50", "p90", "p99", "p99.9", "max"
    );
    for op in Op::ALL {
        let Some(latency) = results.total.latencies.get(op) else { continue };
        row(&format!("{} corrected", op.name()), &Summary::of(&latency.corrected), out);
        row(&format!("{} raw", op.name()), &Summary::of(&latency.raw), out);
    }
}

fn row(name: &str, summary: &Summary, out: &mut String) {
    let _ = write!(out, "{name:<24}{:>10}", summary.count);
    for at in ["p50", "p90", "p99", "p99_9", "max"] {
        let _ = write!(out, "{:>11}", show(Duration::from_micros(summary.at(at))));
    }
    out.push('\n');
}

fn spans(results: &Results, out: &mut String) {
    let names = [
        (Span::Appeared, "REGISTER → shown"),
        (Span::Vanished, "killed → gone"),
        (Span::Staleness, "staleness seen"),
        (Span::Lag, "generator's own lag"),
    ];
    for (span, name) in names {
        if let Some(summary) = results.span(span) {
            row(name, &summary, out);
        }
    }
    if let Some(recovery) = &results.recovery {
        let time = |seconds: Option<f64>| {
            seconds.map_or("not by the end".to_owned(), |s| format!("{s:.2} s"))
        };
        let _ = writeln!(
            out,
            "\n{}: all registered after {}, {} watched topics right after {}",
            recovery.event,
            if recovery.event == "the fleet vanished" {
                "-".to_owned()
            } else {
                time(recovery.registered)
            },
            recovery.watched,
            time(recovery.shown)
        );
    }
    if let Some(knee) = results.knee {
        let _ = writeln!(out, "\nthe knee: {knee:.0} lookups/s");
    }
}

fn counts(results: &Results, out: &mut String) {
    let count = |kind: Count| results.total.counted(kind);
    let _ = writeln!(
        out,
        "\nlookups {:.0}/s · {} answered · {} late · {} dropped · {} unanswered",
        results.lookup_rate(),
        count(Count::Answered),
        count(Count::Late),
        count(Count::Dropped),
        count(Count::Unanswered)
    );
    let _ = writeln!(
        out,
        "errors: {} timeouts · {} refused · {} lost · {} wrong replies · {} 404s",
        count(Count::Timeouts),
        count(Count::Refused),
        count(Count::Lost),
        count(Count::Wrong),
        count(Count::NotFound)
    );
    let _ = writeln!(
        out,
        "oracle: {} answers checked · {} missing · {} stale · {} extra · {} garbled ({} excused: their link had broken)",
        count(Count::Checked),
        count(Count::Missing),
        count(Count::Stale),
        count(Count::Extra),
        count(Count::Garbled),
        count(Count::Excused)
    );
}

fn costs(results: &Results, out: &mut String) {
    let mega = |bytes: u64| bytes as f64 / 1_048_576.0;
    if let Some(server) = &results.server {
        let _ = writeln!(
            out,
            "target:    {:.2} s CPU ({:.2} cores) · {:.1} MB, peak {:.1} MB",
            server.cpu,
            server.cores,
            mega(server.resident),
            mega(server.peak)
        );
    }
    let generator = &results.generator;
    let per_actor = generator.resident as f64 / results.actors.max(1) as f64 / 1024.0;
    let _ = writeln!(
        out,
        "generator: {:.2} s CPU ({:.2} cores) · peak {:.1} MB · {per_actor:.2} KB and {:.1} µs of CPU a second per actor",
        generator.cpu,
        generator.cores,
        mega(generator.peak),
        generator.cores * 1e6 / results.actors.max(1) as f64
    );
}

fn endings(results: &Results, out: &mut String) {
    for outcome in &results.slo {
        let mark = if outcome.met { "met   " } else { "MISSED" };
        let count = Count::ALL.iter().any(|count| outcome.slo.starts_with(count.name()));
        let value = if count { format!("{:.0}", outcome.value) } else { as_span(outcome.value) };
        let _ = writeln!(out, "slo {mark} {} (was {value})", outcome.slo);
    }
    for reason in &results.verdict.reasons {
        let _ = writeln!(out, "VERDICT: generator was the bottleneck: {reason}");
    }
    if !results.verdict.bottleneck {
        let _ = writeln!(out, "verdict: the generator kept up; the figures are the target's");
    }
    if results.wrong_answers() > 0 {
        let _ = writeln!(out, "WRONG ANSWERS: {}; the run has failed", results.wrong_answers());
    }
}
