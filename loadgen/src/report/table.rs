//! The final table of a run, as text.
//!
//! Must not: print.

use crate::input::human_duration::{show, show_micros};
use crate::measure::generator_health::{median_of, waited};
use crate::measure::ops::{Count, Delay, Op};
use crate::measure::recovery::Recovery;
use crate::measure::results::{Results, Summary};
use crate::measure::slo::show_value;
use crate::measure::usage::Usage;
use std::fmt::Write as _;

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
    delays(results, &mut out);
    counts(results, &mut out);
    costs(results, &mut out);
    machine(results, &mut out);
    outcomes(results, &mut out);
    out
}

fn latencies(results: &Results, out: &mut String) {
    let _ = writeln!(
        out,
        "{:<24}{:>10}{:>11}{:>11}{:>11}{:>11}{:>11}{:>13}",
        "latency", "count", "p50", "p90", "p99", "p99.9", "max", "own lag p99"
    );
    for op in Op::ALL {
        let Some(latency) = results.total.latencies.get(op) else { continue };
        let lag = results.own_lag(*op);
        row_with_lag(
            &format!("{} corrected", op.name()),
            &Summary::of(&latency.corrected),
            lag,
            out,
        );
        row(&format!("{} raw", op.name()), &Summary::of(&latency.raw), out);
    }
    for ((op, why), failed) in &results.total.failures {
        row(&format!("{} {}", op.name(), why.name()), &Summary::of(failed), out);
    }
}

fn row(name: &str, summary: &Summary, out: &mut String) {
    row_with_lag(name, summary, None, out);
}

/// A row with the lag with which the generator itself sent its requests, in microseconds.
fn row_with_lag(name: &str, summary: &Summary, lag: Option<u64>, out: &mut String) {
    let _ = write!(out, "{name:<24}{:>10}", summary.count);
    for at in ["p50", "p90", "p99", "p99_9", "max"] {
        let _ = write!(out, "{:>11}", show_micros(summary.at(at)));
    }
    if let Some(lag) = lag {
        let _ = write!(out, "{:>13}", show_micros(lag));
    }
    out.push('\n');
}

fn delays(results: &Results, out: &mut String) {
    let names = [
        (Delay::Appeared, "REGISTER → shown"),
        (Delay::Vanished, "killed → gone"),
        (Delay::Staleness, "staleness seen"),
        (Delay::Lag, "generator's own lag"),
    ];
    for (delay, name) in names {
        if let Some(summary) = results.delay(delay) {
            row(name, &summary, out);
        }
    }
    if let Some(recovery) = &results.recovery {
        let time = |seconds: Option<f64>| {
            seconds.map_or("not by the end".to_owned(), |s| format!("{s:.2} s"))
        };
        let Recovery { event, watched, .. } = recovery;
        let vanished = *event == "the fleet vanished";
        let registered = if vanished { "-".to_owned() } else { time(recovery.registered) };
        let shown = time(recovery.shown);
        let _ = writeln!(
            out,
            "\n{event}: all registered after {registered}, {watched} watched topics up to date after {shown}"
        );
    }
    if let Some(knee) = results.knee {
        let _ = writeln!(out, "\nthe knee: {knee:.0} lookups/s");
    }
}

fn counts(results: &Results, out: &mut String) {
    let count = |kind: Count| results.total.counted(kind);
    let [answered, late, dropped] = [Count::Answered, Count::Late, Count::Dropped].map(count);
    let [timeouts, refused, lost, error_replies, unanswered] = Count::ERRORS.map(count);
    let [missing, stale, extra, garbled] = Count::FINDINGS.map(count);
    let [not_found, checked, excused, wrong] =
        [Count::NotFound, Count::Checked, Count::Excused, Count::WrongAnswers].map(count);
    let [resent, outage] = [Count::Resent, Count::Outage].map(count);
    let _ = writeln!(
        out,
        "\nlookups {:.0}/s · {answered} answered · {late} late · {dropped} dropped · {resent} resent · {not_found} 404s
errors: {timeouts} timeouts · {refused} refused · {lost} lost · {error_replies} error replies · {unanswered} unanswered ({outage} more while the scenario had killed the target)
oracle: {checked} answers checked, {wrong} wrong · findings: {missing} missing · {stale} stale · {extra} extra · {garbled} garbled ({excused} excused: their connection had broken)",
        results.lookup_rate()
    );
}

fn costs(results: &Results, out: &mut String) {
    let mega = |bytes: u64| bytes as f64 / 1_048_576.0;
    if let Some(server) = &results.server {
        let Usage { cpu, cores, .. } = server;
        let _ = writeln!(
            out,
            "target:    {cpu:.2} s CPU ({cores:.2} cores) · {:.1} MB, peak {:.1} MB",
            mega(server.resident),
            mega(server.peak)
        );
    }
    let Usage { cpu, cores, peak, resident } = results.generator;
    let actors = results.actors.max(1) as f64;
    let _ = writeln!(
        out,
        "generator: {cpu:.2} s CPU ({cores:.2} cores) · peak {:.1} MB · {:.2} KB and {:.1} µs of CPU a second per actor",
        mega(peak),
        resident as f64 / actors / 1024.0,
        cores * 1e6 / actors
    );
}

/// What the kernel knows of the machine, over the main part.
fn machine(results: &Results, out: &mut String) {
    let main: Vec<_> = results.series.iter().filter(|second| second.at >= 0).cloned().collect();
    let percent = |share: Option<f64>| {
        share.map_or_else(|| "unknown".to_owned(), |share| format!("{:.0} %", share * 100.0))
    };
    let others = median_of(&main, |second| second.others_cores);
    let _ = writeln!(
        out,
        "machine:   the generator waited for a CPU {} of the time in which it could run · CPU pressure {} · other programs used {}",
        percent(Some(waited(&main))),
        percent(median_of(&main, |second| second.cpu_pressure)),
        others.map_or_else(|| "unknown".to_owned(), |cores| format!("{cores:.2} cores"))
    );
}

fn outcomes(results: &Results, out: &mut String) {
    for outcome in &results.slo {
        let mark = if outcome.met { "met   " } else { "MISSED" };
        let count = Count::ALL.iter().any(|count| outcome.slo.starts_with(count.name()));
        let value = if count { format!("{:.0}", outcome.value) } else { show_value(outcome.value) };
        let _ = writeln!(out, "slo {mark} {} (was {value})", outcome.slo);
    }
    let health = &results.generator_health;
    for reason in &health.reasons {
        let _ = writeln!(out, "WARNING: {}: {reason}", health.outcome.text());
    }
    if health.of_target() {
        let _ = writeln!(out, "the generator kept up; {}", health.outcome.text());
    }
    let (errors, requests) = results.errors();
    if results.too_many_errors() {
        let _ = writeln!(
            out,
            "ERRORS: {errors} of {requests} requests failed, more than {} %; the run has failed",
            results.error_budget * 100.0
        );
    }
    if results.wrong_answers() > 0 {
        let _ = writeln!(
            out,
            "WRONG ANSWERS: {} with {} findings; the run has failed",
            results.wrong_answers(),
            results.findings()
        );
    }
}
