//! The results as versioned JSON: latencies in microseconds, times in seconds, memory in bytes.
//!
//! Must not: write a file.

use serde_json::{Map, Value, json};

use super::interval::Interval;
use super::ops::Count;
use super::results::{FORMAT_VERSION, Results, Summary};

/// A run without its histograms.
pub(crate) fn json(results: &Results) -> Value {
    json!({
        "form": FORMAT_VERSION,
        "scenario": results.scenario,
        "about": results.about,
        "seed": results.seed,
        "duration": results.duration.as_secs_f64(),
        "setup": results.setup.as_secs_f64(),
        "actors": results.actors,
        "environment": results.environment,
        "lookups_per_second": results.lookup_rate(),
        "latency": latencies(&results.total),
        "failures": failures(&results.total),
        "spans": delays(&results.total),
        "counts": counts(&results.total),
        "before_main": { "latency": latencies(&results.before), "counts": counts(&results.before) },
        "recovery": results.recovery,
        "knee": results.knee,
        "server": results.server,
        "generator": results.generator,
        "slo": results.slo,
        "verdict": results.generator_health,
        "wrong_answers": results.wrong_answers(),
        "findings": results.findings(),
        "errors": { "failed": results.errors().0, "requests": results.errors().1, "budget": results.error_budget },
        "exit": results.exit(),
        "series": results.series,
        "events": results.events,
    })
}

fn latencies(interval: &Interval) -> Value {
    let of = |op, latency: &super::interval::Latency| {
        json!({
            "corrected": Summary::of(&latency.corrected),
            "raw": Summary::of(&latency.raw),
            "own_lag": interval.lags.get(op).map(Summary::of),
        })
    };
    let all =
        interval.latencies.iter().map(|(op, latency)| (op.name().to_owned(), of(op, latency)));
    Value::Object(all.collect())
}

fn failures(interval: &Interval) -> Value {
    let mut all = Map::new();
    for ((op, why), lengths) in &interval.failures {
        let of_op = all.entry(op.name()).or_insert_with(|| json!({}));
        of_op[why.name()] = json!(Summary::of(lengths));
    }
    Value::Object(all)
}

fn delays(interval: &Interval) -> Value {
    let all = interval.delays.iter();
    let named = all.map(|(delay, lengths)| (delay.name().to_owned(), json!(Summary::of(lengths))));
    Value::Object(named.collect())
}

fn counts(interval: &Interval) -> Value {
    let named =
        Count::ALL.iter().map(|kind| (kind.name().to_owned(), json!(interval.counted(*kind))));
    Value::Object(named.collect::<Map<_, _>>())
}
