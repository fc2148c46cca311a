//! Keys of the configuration file that no flag has: where each stands, and what was probably meant.
//!
//! NSQ ignores them, so that they are no error by themselves. One that could be a misspelt access
//! rule is: without the rule everyone is let in.
//!
//! Must not: decide what is an error; `file` does. Runs on the main thread, at start.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::flags::{FLAGS, Flag};
use crate::logging::Quoted;

/// Letters by which a key may differ from that of an access rule and still be taken for it.
const LETTERS: usize = 2;

/// A key that no flag has.
#[derive(Debug)]
pub(super) struct UnknownKey {
    /// The key behind the tables that it stands in, with dots.
    path: String,
    /// Where it begins in the text of the file.
    pub(super) start: usize,
    /// The flag whose key is nearest, of those that the file can set.
    nearest: &'static Flag,
    /// Letters by which it differs from that.
    distance: usize,
    /// Whether it is the name of a flag that only the command line has.
    of_command_line: bool,
}

impl UnknownKey {
    /// All of a table that the known ones have been taken out of, in the order of the file.
    pub(super) fn all(table: &DeTable<'_>) -> Vec<Self> {
        let mut found = Vec::new();
        visit(table, "", &mut found);
        found.sort_by_key(|key| key.start);
        found
    }

    /// Whether it could be meant as an access rule: but for case, dashes, its table and two letters.
    pub(super) fn is_like_access_rule(&self) -> bool {
        self.nearest.access_rule && self.distance <= LETTERS
    }

    fn new(path: String, key: &Spanned<toml::de::DeString<'_>>) -> Self {
        let (leaf, whole) = (letters(key.get_ref()), letters(&path));
        let distance = |flag: &Flag| {
            let name = letters(flag.name);
            strsim::osa_distance(&leaf, &name).min(strsim::osa_distance(&whole, &name))
        };
        let settable = FLAGS.iter().filter(|flag| flag.in_file);
        // Of two that are equally near the access rule counts.
        let nearest = settable.min_by_key(|flag| (distance(flag), !flag.access_rule));
        let nearest = nearest.expect("a table with flags");
        let of_command_line = FLAGS.iter().any(|f| !f.in_file && letters(f.name) == leaf);
        let distance = distance(nearest);
        Self { path, start: key.span().start, nearest, distance, of_command_line }
    }
}

/// Says which key it is, and what to write instead.
impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown key {}; ", Quoted(&self.path))?;
        if self.of_command_line {
            return f.write_str("only the command line has this flag");
        }
        let key = self.nearest.key().unwrap_or_default();
        write!(f, "the nearest key is {key}")?;
        if self.path.contains('.') {
            f.write_str(", which stands outside of tables")
        } else {
            Ok(())
        }
    }
}

/// Whether a word of the command line could be meant as an access rule, by the same rule.
pub(super) fn is_like_access_rule(word: &str) -> bool {
    let word = letters(word);
    let rules = FLAGS.iter().filter(|flag| flag.access_rule);
    rules.map(|flag| strsim::osa_distance(&word, &letters(flag.name))).any(|far| far <= LETTERS)
}

/// What is compared of a name: its letters and digits, without case.
fn letters(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '-' | '_' | '.' | ' '));
    letters.flat_map(char::to_lowercase).collect()
}

/// Adds the keys of a table that stands at `path`, and those of the tables within.
fn visit(table: &DeTable<'_>, path: &str, found: &mut Vec<UnknownKey>) {
    for (key, value) in table {
        let name = key.get_ref();
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        let unknown = UnknownKey::new(path.clone(), key);
        let mut inner = Vec::new();
        tables_of(value.get_ref(), &mut inner);
        // A table is named by its keys, if it has any.
        let has_keys = inner.iter().any(|table| !table.is_empty());
        if !has_keys || unknown.is_like_access_rule() {
            found.push(unknown);
        }
        for table in inner {
            visit(table, &path, found);
        }
    }
}

/// Adds the tables that a value is or, as a list, has in it.
fn tables_of<'t, 'i>(value: &'t DeValue<'i>, found: &mut Vec<&'t DeTable<'i>>) {
    match value {
        DeValue::Table(table) => found.push(table),
        DeValue::Array(items) => items.iter().for_each(|item| tables_of(item.get_ref(), found)),
        _ => {}
    }
}
