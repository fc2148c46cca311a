//! The values of all flags as texts, and the effective one of each: command line over file over
//! default, as in NSQ.
//!
//! Must not: hold a text that `Kind::check` of its flag refuses.
//! Runs on the main thread, at start.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use super::flags::Flag;
use super::go_duration::GoDuration;

/// What one source gives: each flag's name, with its values in order.
pub(super) type Given = BTreeMap<&'static str, Vec<String>>;

/// What both sources give.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) command_line: Given,
    pub(super) file: Given,
}

impl Values {
    /// The values of a flag in the first source that gives it.
    fn given(&self, name: &str) -> Option<&Vec<String>> {
        self.command_line.get(name).or_else(|| self.file.get(name))
    }

    /// Whether any source gives the flag, be it without a value.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.given(name).is_some()
    }

    /// The effective value: the last one given, or the default, if there is one.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let default = Some(row(name).default).filter(|text| !text.is_empty());
        self.given(name).and_then(|texts| texts.last()).map(String::as_str).or(default)
    }

    /// The effective value, parsed.
    pub(super) fn get<T: FromStr<Err: Debug>>(&self, name: &str) -> T {
        parse(self.text(name).unwrap_or_default())
    }

    /// The effective values of a list, parsed.
    pub(super) fn list<T: FromStr<Err: Debug>>(&self, name: &str) -> Vec<T> {
        self.given(name).into_iter().flatten().map(|text| parse(text)).collect()
    }

    /// The words of the effective text, which commas separate.
    pub(super) fn words(&self, name: &str) -> Vec<String> {
        let words = self.text(name).unwrap_or_default().split(',').map(str::trim);
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// The effective number, checked against the limit of its row.
    pub(super) fn count(&self, name: &str) -> Result<usize, String> {
        match self.get(name) {
            0 if row(name).positive => Err(format!("--{name} must be more than 0")),
            count => Ok(count),
        }
    }

    /// The effective duration, checked against the limit of its row. Divergence: NSQ accepts a
    /// timeout of zero or less, and then lists no producer.
    pub(super) fn duration(&self, name: &str) -> Result<Duration, String> {
        let span = self.get::<GoDuration>(name);
        match span.to_std() {
            None => Err(format!("--{name} must not be negative, and is {span}")),
            Some(Duration::ZERO) if row(name).positive => {
                Err(format!("--{name} must be more than 0"))
            }
            Some(span) => Ok(span),
        }
    }
}

fn row(name: &str) -> &'static Flag {
    Flag::find(name).expect("a flag of the table")
}

fn parse<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("a text that was checked")
}
