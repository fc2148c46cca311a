//! Compares a lookupd with itself, several times: how often a figure differs, though nothing does.
//!
//! Must not: print or write files.

use serde::Serialize;
use statrs::distribution::{Binomial, DiscreteCDF as _};

use super::compare::{Comparison, ScenarioComparison, compare};
use super::run::ProgressView;
use crate::input::Error;
use crate::measure::ratio::MIN_ROUNDS;

/// The share of comparisons in which a figure differs by chance.
const EXPECTED: f64 = 0.05;
/// A figure differs too often if chance alone gives so many false alarms less often than this.
const IMPROBABLE: f64 = 0.02;

/// How often one figure of one scenario differed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FalseAlarms {
    pub(crate) scenario: String,
    pub(crate) figure: &'static str,
    pub(crate) alarms: u64,
    /// Comparisons with enough rounds.
    pub(crate) comparisons: u64,
}

impl FalseAlarms {
    /// Whether it differed more often than chance explains: in more than 3 of 20 comparisons.
    pub(crate) fn too_often(&self) -> bool {
        let Some(fewer) = self.alarms.checked_sub(1) else { return false };
        Binomial::new(EXPECTED, self.comparisons).is_ok_and(|chance| chance.sf(fewer) < IMPROBABLE)
    }
}

/// Runs the comparison `times` times, both sides of which are one command; `say` gets a line for
/// each. Returns the false alarms by scenario and figure, and the highest exit code of the runs.
///
/// # Errors
/// When the target does not start, a run fails, or `say` does.
pub(crate) fn compare_with_itself(
    comparison: &Comparison,
    times: u16,
    view: &mut dyn ProgressView,
    mut say: impl FnMut(&str) -> Result<(), Error>,
) -> Result<(Vec<FalseAlarms>, u8), Error> {
    let (mut all, mut worst) = (Vec::new(), 0);
    for number in 1..=times {
        let mut differing = Vec::new();
        let exit = compare(
            comparison,
            view,
            |_| Ok(()),
            |so_far| {
                differing.extend(so_far.last().map_or_else(Vec::new, |last| count(last, &mut all)));
                Ok(String::new())
            },
        )?;
        worst = worst.max(exit);
        if comparison.stopped() {
            break;
        }
        let differing = if differing.is_empty() { "none".to_owned() } else { differing.join(", ") };
        say(&format!("comparison {number} of {times}: false alarms: {differing}"))?;
    }
    Ok((all, worst))
}

/// Counts the figures of one comparison; those that differ.
fn count(compared: &ScenarioComparison, all: &mut Vec<FalseAlarms>) -> Vec<String> {
    let mut differing = Vec::new();
    for figure in &compared.figures {
        let Some(ratio) = figure.ratio.filter(|ratio| ratio.rounds >= MIN_ROUNDS) else { continue };
        let same =
            |row: &&mut FalseAlarms| row.scenario == compared.scenario && row.figure == figure.name;
        let row = match all.iter_mut().find(same) {
            Some(row) => row,
            None => {
                let (scenario, figure) = (compared.scenario.clone(), figure.name);
                all.push(FalseAlarms { scenario, figure, alarms: 0, comparisons: 0 });
                all.last_mut().expect("it was pushed")
            }
        };
        row.comparisons += 1;
        if ratio.differs() {
            row.alarms += 1;
            differing.push(format!("{} {}", compared.scenario, figure.name));
        }
    }
    differing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::compare::Side;
    use serde_json::json;

    #[test]
    fn figures_that_differ_are_counted() {
        let side = || Side { name: "A".to_owned(), command: String::new() };
        let runs = |rate: f64| (0..5).map(|_| json!({ "lookups_per_second": rate })).collect();
        let compared = |b, rounds: usize| {
            let mut runs: [Vec<_>; 2] = [runs(100.0), runs(b)];
            runs.iter_mut().for_each(|side| side.truncate(rounds));
            ScenarioComparison::new(&[side(), side()], "steady", "a test", runs)
        };
        let mut all = Vec::new();
        assert!(count(&compared(100.0, 5), &mut all).is_empty());
        assert_eq!(count(&compared(90.0, 5), &mut all), ["steady lookups answered"]);
        assert!(count(&compared(90.0, 4), &mut all).is_empty(), "too few rounds");
        assert_eq!((all.len(), all[0].alarms, all[0].comparisons), (1, 1, 2));
    }

    #[test]
    fn more_than_three_false_alarms_of_twenty_are_too_many() {
        for (alarms, too_often) in [(0, false), (1, false), (3, false), (4, true), (20, true)] {
            let (scenario, figure) = ("steady".to_owned(), "lookup p99");
            let row = FalseAlarms { scenario, figure, alarms, comparisons: 20 };
            assert_eq!(row.too_often(), too_often, "{alarms}");
        }
    }
}
