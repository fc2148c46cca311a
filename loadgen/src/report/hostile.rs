//! The report of an attack, as text and as JSON.
//!
//! Must not: decide whether it passed.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::files::OutputDirectory;
use super::table;
use crate::commands::hostile::HostileResult;
use crate::hostile::bystanders::Seen;
use crate::input::Error;
use crate::input::human_duration::{show, show_micros};
use crate::measure::results::{FORMAT_VERSION, Summary};

const MEGA: f64 = 1_048_576.0;
/// The CPU time that no iteration should take, in seconds.
const LONG: f64 = 0.01;

/// The result as lines of text: the fleet, the actors, the bystanders, the target.
pub(crate) fn text(result: &HostileResult) -> String {
    let mut out = table::table(&result.fleet);
    actors(result, &mut out);
    bystanders(result, &mut out);
    // Writing to a String cannot fail, here and below.
    if let Some(iterations) = &result.attack.iterations {
        let (count, long) = (iterations.count(), iterations.longer_than(LONG));
        let longest = iterations.longest() * 1e3;
        let _ = writeln!(
            out,
            "\niterations of the target's event loops: {count}, {long} of them took more than 10 ms of CPU; the longest at most {longest} ms"
        );
    }
    if result.idle() {
        let _ = writeln!(out, "NO ATTACK: an actor had no connection; the run has failed");
    }
    let wrong = result.wrong();
    if wrong > 0 {
        let _ =
            writeln!(out, "WRONG ANSWERS: {wrong} to bystanders and actors; the run has failed");
    }
    if result.attack.gone {
        let _ =
            writeln!(out, "THE TARGET IS GONE: it does not answer any more; the run has failed");
    }
    out
}

fn actors(result: &HostileResult, out: &mut String) {
    let _ = writeln!(
        out,
        "\n{} names made by nsqds before, in {}\n{:<14}{:>12}{:>9}{:>9}{:>12}{:>10}{:>10}  answers",
        result.attack.prepared,
        show(result.attack.preparation),
        "actor",
        "connections",
        "refused",
        "ended",
        "requests",
        "MB sent",
        "MB got"
    );
    for (name, tally) in &result.attack.actors {
        let answers: Vec<_> =
            tally.answers.iter().map(|(what, count)| format!("{count} × {what}")).collect();
        let _ = writeln!(
            out,
            "{name:<14}{:>12}{:>9}{:>9}{:>12}{:>10.1}{:>10.1}  {}",
            tally.connections,
            tally.refused,
            tally.ended,
            tally.sent,
            tally.bytes_out as f64 / MEGA,
            tally.bytes_in as f64 / MEGA,
            answers.join(", ")
        );
    }
}

fn bystanders(result: &HostileResult, out: &mut String) {
    let (p99, max) = (show(result.p99), show(result.max));
    let _ = writeln!(
        out,
        "\n{:<18}{:>8}{:>11}{:>11}{:>11}{:>12}{:>8}{:>7}",
        "bystander", "count", "p50", "p99", "max", "alone p99", "errors", "wrong"
    );
    for seen in &result.attack.seen {
        let Seen { kind, alone, attacked, errors, wrong, example } = seen;
        let mark = if result.missed(seen) {
            format!("  MISSED: p99 ≤ {p99}, max ≤ {max}, all answered")
        } else {
            String::new()
        };
        let _ = writeln!(
            out,
            "{:<18}{:>8}{:>11}{:>11}{:>11}{:>12}{errors:>8}{wrong:>7}{mark}",
            kind.name(),
            attacked.len(),
            show_micros(attacked.value_at_quantile(0.5)),
            show_micros(attacked.value_at_quantile(0.99)),
            show_micros(attacked.max()),
            show_micros(alone.value_at_quantile(0.99))
        );
        if !example.is_empty() {
            let _ = writeln!(out, "  the first wrong answer to {}: {example}", kind.name());
        }
    }
}

/// Writes `hostile.json` and returns a line that names it.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn write(result: &HostileResult, directory: &OutputDirectory) -> Result<String, Error> {
    let files = directory.files("hostile", &["json"])?;
    files.write("json", format!("{:#}", json(result)))?;
    Ok(files.line())
}

fn json(result: &HostileResult) -> Value {
    let actor = |(name, tally): &(&str, crate::hostile::attack::Tally)| {
        let value = json!({
            "connections": tally.connections,
            "refused": tally.refused,
            "ended": tally.ended,
            "requests": tally.sent,
            "bytes_out": tally.bytes_out,
            "bytes_in": tally.bytes_in,
            "answers": tally.answers,
            "wrong": tally.wrong,
        });
        ((*name).to_owned(), value)
    };
    let bystander = |seen: &Seen| {
        let value = json!({
            "attacked": Summary::of(&seen.attacked),
            "alone": Summary::of(&seen.alone),
            "errors": seen.errors,
            "wrong": seen.wrong,
            "first_wrong": seen.example,
        });
        (seen.kind.name().to_owned(), value)
    };
    json!({
        "form": FORMAT_VERSION,
        "names_before": result.attack.prepared,
        "actors": result.attack.actors.iter().map(actor).collect::<serde_json::Map<_, _>>(),
        "bystanders": result.attack.seen.iter().map(bystander).collect::<serde_json::Map<_, _>>(),
        "iterations_over_10ms": result.attack.iterations.as_ref().map(|all| all.longer_than(LONG)),
        "gone": result.attack.gone,
        "fleet": crate::measure::json::json(&result.fleet),
        "exit": result.exit(),
    })
}
