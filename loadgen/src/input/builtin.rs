//! The built-in scenarios, and the loading of scenario files.
//!
//! Must not: interpret them (that is `scenario`).

use super::scenario::Scenario;
use super::{Error, fail};

/// Name and text of every built-in scenario.
pub(crate) const ALL: [(&str, &str); 10] = [
    ("steady", include_str!("../../scenarios/steady.toml")),
    ("ramp", include_str!("../../scenarios/ramp.toml")),
    ("herd", include_str!("../../scenarios/herd.toml")),
    ("vanish", include_str!("../../scenarios/vanish.toml")),
    ("restart", include_str!("../../scenarios/restart.toml")),
    ("churn", include_str!("../../scenarios/churn.toml")),
    ("wide", include_str!("../../scenarios/wide.toml")),
    ("many", include_str!("../../scenarios/many.toml")),
    ("storm", include_str!("../../scenarios/storm.toml")),
    ("hostile", include_str!("../../scenarios/hostile.toml")),
];

/// The built-in scenario of that name, or the one in that file (`./mine.toml`).
///
/// # Errors
/// One line, when no scenario has that name, the file cannot be read or its TOML is invalid.
pub(crate) fn load(name: &str) -> Result<Scenario, Error> {
    if let Some((_, text)) = ALL.iter().find(|(builtin, _)| *builtin == name) {
        return Scenario::parse(name, text);
    }
    if !name.contains('/') && !name.ends_with(".toml") {
        let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
        return fail(format!(
            "no scenario `{name}`; name one of {} or a file as ./{name}.toml",
            names.join(", ")
        ));
    }
    let text = std::fs::read_to_string(name)
        .or_else(|error| fail(format!("scenario file {name}: {error}; check the path")))?;
    Scenario::parse(name, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::scenario::Overrides;
    use std::time::Duration;

    #[test]
    fn every_builtin_scenario_parses_at_full_and_small_scale() {
        for (name, _) in ALL {
            let scenario = load(name).expect(name);
            let changes = Overrides {
                scale: Some(0.01),
                duration: Some(Duration::from_secs(3)),
                ..Overrides::default()
            };
            let small = scenario.clone().with_overrides(name, &changes).expect(name);
            assert_eq!(small.duration.0, Duration::from_secs(3));
            assert!(small.producers() <= scenario.producers(), "{name}");
        }
    }

    #[test]
    fn invalid_scenario_is_one_line_that_says_what_to_do() {
        let cases = [
            (
                "about = 'x'\nduration = '1s'\n[topics]\ncount = 1\nnope = 2",
                "line 5: unknown field `nope`",
            ),
            ("about = 'x'\nduration = 'soon'", "line 2: `soon` is not a duration; write 250ms"),
            (
                "about = 'x'\nduration = '2h'\n[topics]\ncount = 1",
                "duration: at least 100ms, at most 1h",
            ),
            ("about = 'x'\nduration = '1s'", "at least one topic"),
            ("about = ", "line 1"),
        ];
        for (text, want) in cases {
            let got = Scenario::parse("mine", text).expect_err(text).to_string();
            assert!(got.contains(want) && !got.contains('\n'), "{got}");
        }
        let got = load("stedy").expect_err("a typo").to_string();
        assert!(got.contains("name one of steady, ramp"), "{got}");
        assert!(
            load("./nowhere.toml").expect_err("no file").to_string().contains("check the path")
        );
    }
}
