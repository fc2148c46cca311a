//! Compares results that earlier runs have stored.
//!
//! Must not: run anything.

use std::path::Path;

use serde_json::Value;

use super::compare::{ScenarioComparison, Side};
use crate::input::{Error, fail};

/// Whether this argument of `compare` names stored results: NAME.json, or several with commas.
pub(crate) fn names_files(argument: &str) -> bool {
    argument.split(',').all(|name| {
        Path::new(name.trim()).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
    })
}

/// Compares the results in these files, `names` being those of the sides. The first file of A and
/// the first of B are a pair, and so on. Returns the sides, the comparison, and the highest exit code
/// of the runs.
///
/// # Errors
/// One line, when a file cannot be read or is no result of a run, when the numbers of files differ,
/// or when the runs had different scenarios or durations.
pub(crate) fn compare(
    names: [&str; 2],
    files: [&str; 2],
) -> Result<([Side; 2], ScenarioComparison, u8), Error> {
    let load_all =
        |list: &str| list.split(',').map(|name| load(name.trim())).collect::<Result<_, _>>();
    let runs: [Vec<Value>; 2] = [load_all(files[0])?, load_all(files[1])?];
    let [of_a, of_b] = runs.each_ref().map(Vec::len);
    if of_a != of_b {
        return fail(format!(
            "A has {of_a} results, B {of_b}: give as many of each, paired in their order"
        ));
    }
    let first = &runs[0][0];
    for key in ["scenario", "about", "duration"] {
        if let Some(other) = runs.iter().flatten().find(|run| run[key] != first[key]) {
            return fail(format!(
                "the results have different values of {key}: {} and {}; compare runs of one scenario",
                first[key], other[key]
            ));
        }
    }
    let text = |key: &str| first[key].as_str().unwrap_or_default().to_owned();
    let exit = runs.iter().flatten().filter_map(|run| run["exit"].as_u64()).max().unwrap_or(0);
    let side = |side: usize| Side { name: names[side].to_owned(), command: files[side].to_owned() };
    let sides = [side(0), side(1)];
    let compared = ScenarioComparison::new(&sides, &text("scenario"), &text("about"), runs);
    Ok((sides, compared, u8::try_from(exit).unwrap_or(1)))
}

fn load(name: &str) -> Result<Value, Error> {
    let text = std::fs::read_to_string(name)
        .or_else(|error| fail(format!("{name}: {error}; check the path")))?;
    let run: Value =
        serde_json::from_str(&text).or_else(|error| fail(format!("{name} is no JSON: {error}")))?;
    match run["form"].as_u64() {
        // A comparison has no latencies of its own; earlier formats count errors otherwise.
        Some(2..) if run["latency"].is_object() => Ok(run),
        _ => fail(format!("{name} is not the result of a `loadgen run` of this version")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stored_results_are_paired_in_their_order() {
        let directory = std::env::temp_dir().join(format!("loadgen-stored-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let store = |name: &str, scenario: &str, rate: f64| {
            let path = directory.join(name).display().to_string();
            let run = json!({
                "form": 2, "scenario": scenario, "about": "a test", "duration": 1.0, "exit": 3,
                "latency": {}, "lookups_per_second": rate,
            });
            std::fs::write(&path, run.to_string()).expect("written");
            path
        };
        let a: Vec<_> = (1..=5).map(|n| store(&format!("a{n}.json"), "x", 100.0)).collect();
        let b: Vec<_> = (1..=5).map(|n| store(&format!("b{n}.json"), "x", 50.0)).collect();
        let (a, b) = (a.join(","), b.join(", "));
        assert!(names_files(&a) && names_files(&b) && !names_files("musterd --config a.toml"));
        let (sides, compared, exit) = compare(["A", "B"], [&a, &b]).expect("ten results");
        let ratio = compared.figures[0].ratio.expect("five pairs");
        assert!(ratio.differs() && (ratio.mean - 0.5).abs() < 1e-9, "{ratio:?}");
        assert_eq!((sides[1].name.as_str(), exit), ("B", 3));

        let other = store("c.json", "y", 1.0);
        let wrong = [
            ([a.as_str(), other.as_str()], "A has 5 results, B 1"),
            ([&other, a.split(',').next().expect("a name")], "different values of scenario"),
            ([&other, "nowhere.json"], "check the path"),
        ];
        for (files, words) in wrong {
            let error = compare(["A", "B"], files).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
        std::fs::remove_dir_all(directory).expect("it was made above");
    }
}
