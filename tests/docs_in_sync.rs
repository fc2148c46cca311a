//! The documents agree with the code: named tests exist, all limits are listed with their values, each
//! has a mutation test (`tests/mutation/run`), and each fault of those still applies.
//!
//! The tables of flags in README.md and `docs/configuration.md`, and the example file, are written by
//! `UPDATE_DOCS=1 cargo test --test docs_in_sync`, and otherwise compared.
//!
//! Must not: check prose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use musterd::config::{FLAGS, Flag, Kind};
use musterd::limits;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The texts between backticks that are `FILE.rs: test`.
fn tests_named(document: &str) -> Vec<(&str, &str)> {
    document.split('`').skip(1).step_by(2).filter_map(|text| text.split_once(".rs: ")).collect()
}

#[test]
fn every_named_test_exists() {
    for document in ["SECURITY.md", "tests/README.md"] {
        let text = read(document);
        let named = tests_named(&text);
        assert!(named.len() > 10, "{document} names {} tests", named.len());
        for (file, test) in named {
            let source = read(&format!("{file}.rs"));
            assert!(source.contains(&format!("fn {test}(")), "{document}: {file}.rs: {test}");
        }
    }
}

#[test]
fn every_path_in_contributing_exists() {
    let text = read("CONTRIBUTING.md");
    let words = text.split('`').skip(1).step_by(2).filter_map(|code| code.split(' ').next());
    let is_path = |word: &&str| {
        [".md", ".toml"].iter().any(|end| word.ends_with(end))
            || (word.contains('/') && !word.starts_with('/'))
    };
    let paths: Vec<_> = words.filter(is_path).collect();
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        assert!(path.exists(), "CONTRIBUTING.md: {}", path.display());
    }
}

/// Tables and code are as wide as they must be.
#[test]
fn text_of_documents_has_at_most_100_columns() {
    for document in [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "README.md",
        "SECURITY.md",
        "benches/comparison/notes.md",
        "docs/configuration.md",
        "docs/metrics.md",
        "loadgen/README.md",
        "tests/README.md",
        "tests/corpus/README.md",
        "tests/interop/README.md",
    ] {
        let text = read(document);
        // Between two fences is code.
        let parts = text.split("\n```").step_by(2);
        let lines = parts
            .flat_map(str::lines)
            .filter(|line| !line.trim_start().starts_with('|') && !line.starts_with("    "));
        let wide: Vec<_> = lines.filter(|line| line.chars().count() > 100).collect();
        assert!(wide.is_empty(), "{document}: {wide:#?}");
    }
}

/// The names and values of all limits.
macro_rules! limits {
    ($($name:ident)*) => { [$((stringify!($name), Limit::from(limits::$name))),*] };
}

/// A limit's value, as the tables show it.
enum Limit {
    Count(usize),
    Span(Duration),
}

impl From<usize> for Limit {
    fn from(count: usize) -> Self {
        Self::Count(count)
    }
}

impl From<u32> for Limit {
    fn from(count: u32) -> Self {
        Self::Count(usize::try_from(count).expect("it fits"))
    }
}

impl From<Duration> for Limit {
    fn from(span: Duration) -> Self {
        Self::Span(span)
    }
}

/// What the first cell of a row says behind the limit's name: `4 KiB`, `8 KiB + 64 B`, `100,000`, `10 s`.
fn value(text: &str) -> Option<usize> {
    let term = |term: &str| {
        let (number, unit) = term.trim().split_once(' ').unwrap_or((term.trim(), ""));
        let unit = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        Some(number.replace(',', "").parse::<usize>().ok()? * unit)
    };
    text.split('+').map(term).sum()
}

#[test]
fn every_limit_is_what_the_threat_model_says() {
    let all = limits!(
        SHARED_FROM PROXY_HEADER LOG_RATE LOG_PEERS WORKERS ITERATION CALL SLICES SMALL_REGISTRY WIDE_TOPIC WIDE_LOOKUP CACHED_LOOKUP WALKS NODES_INDEX READ_RATE
        COMMAND_LINE IDENTIFY_BODY IDENTITY_FIELD IDENTITY NAME HANDSHAKE COMMAND SILENCE_TIMEOUTS SILENCE KEEPALIVE QUEUED_OUTPUT SEND_BUFFER
        WRITE_STALL KEEPALIVE_INTERVAL TCP_USER_TIMEOUT LINGER READ_BUFFER UNCONSUMED_INPUT REGISTRATIONS_PER_NSQD REGISTRATIONS REGISTRATIONS_UNSHARED HTTP_NAMES_SHARE REFUSED_PER_NSQD REFUSED HTTP_HEAD
        HTTP_HEADERS HTTP_URI HTTP_BODY HTTP_TOKEN HTTP_AUTHORIZATION HTTP_REQUEST HTTP_IDLE HTTP_IDLE_FULL HTTP_IDLE_LEAST HTTP_IDLE_MOST
        RESPONSE_CACHE HTTP_QUEUED_OUTPUT HTTP_RESERVED_OUTPUT TCP_QUEUED_OUTPUT MEMORY_RESERVE MEMORY_OF_REGISTRY MEMORY_OF_UNREAD MEMORY_OF_CACHE SMALL_BUFFERS MEMORY_LEAST SHUTDOWN DRAIN LOG_LINES LOG_BYTES LOG_LINE
    );
    let source = read("src/limits.rs");
    let constants =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(':'));
    let names: BTreeSet<_> = constants.map(|(name, _)| name).collect();
    assert_eq!(all.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), names);
    let security = read("SECURITY.md");
    let (_, security) = security.split_once("\n## Each limit, and ").expect("a section");
    for (name, limit) in all {
        let start = format!("| `{name}` ");
        let row = security.lines().find_map(|line| line.strip_prefix(&start));
        let cell = row.and_then(|row| row.split(" | ").next());
        let (want, unit) = match limit {
            Limit::Count(count) => (count, ""),
            Limit::Span(span) => (usize::try_from(span.as_millis()).expect("it fits"), "s"),
        };
        let cell = cell.unwrap_or_else(|| panic!("SECURITY.md lacks {name}"));
        assert!(value(cell) == Some(want) && cell.ends_with(unit), "{name} {want}{unit}: {cell}");
    }
}

#[test]
fn what_each_limit_costs_a_healthy_client_is_told() {
    let (security, source) = (read("SECURITY.md"), read("src/limits.rs"));
    let (_, section) =
        security.split_once("\n## What a limit costs a healthy client\n").expect("a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let constants =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(':'));
    for (name, _) in constants {
        assert!(section.contains(&format!("`{name}`")), "SECURITY.md does not tell of {name}");
    }
}

/// `tests/mutation/faults.toml`.
#[derive(serde::Deserialize)]
struct Mutations {
    exempt: BTreeMap<String, String>,
    fault: Vec<Fault>,
}

#[derive(serde::Deserialize)]
struct Fault {
    name: String,
    #[serde(default)]
    guards: String,
    file: String,
    find: String,
    replace: String,
    test: String,
}

fn mutations() -> Mutations {
    toml::from_str(&read("tests/mutation/faults.toml")).expect("`run` reads it too")
}

#[test]
fn every_mutation_applies_and_names_a_test() {
    let mut names = BTreeSet::new();
    for Fault { name, file, find, replace, test, .. } in mutations().fault {
        assert!(names.insert(name.clone()), "{name} is there twice");
        assert_eq!(read(&file).matches(&find).count(), 1, "{name}: {find}");
        assert_ne!(find, replace, "{name}");
        let (file, test) = test.split_once(".rs: ").expect("FILE.rs: test");
        assert!(read(&format!("{file}.rs")).contains(&format!("fn {test}(")), "{name}: {test}");
    }
    let count = format!("**{0} of {0}**", names.len());
    assert!(read("tests/README.md").contains(&count), "tests/README.md does not say {count}");
}

#[test]
fn every_row_of_the_threat_model_has_a_mutation() {
    let (security, mutations) = (read("SECURITY.md"), mutations());
    let mut guarded = BTreeSet::new();
    for section in ["\n## Access rules\n", "\n## Each limit, and the tests that check it\n"] {
        let (_, section) = security.split_once(section).expect("a section");
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
        for row in rows.skip(1) {
            let cell = row.split(" | ").next().unwrap_or_default();
            guarded.insert(cell.to_owned());
            if mutations.exempt.keys().any(|name| cell.starts_with(&format!("`{name}` "))) {
                continue;
            }
            let mut faults = mutations.fault.iter().filter(|fault| fault.guards == cell);
            let proved = faults.any(|fault| row.contains(&format!("`{}`", fault.test)));
            assert!(proved, "no fault names a test of SECURITY.md's row {cell}");
        }
    }
    for Fault { name, guards, .. } in mutations.fault {
        assert!(
            guards.is_empty() || guarded.contains(&guards),
            "{name}: no row begins with {guards}"
        );
    }
}

/// What each kind of value is called in `docs/configuration.md`, with its limit.
fn kind(flag: &Flag) -> String {
    let name = match flag.kind {
        Kind::Bool => "boolean",
        Kind::Count => "number",
        Kind::Duration => "duration",
        Kind::Text("ADDR:PORT") => "address",
        Kind::Text("FILE") | Kind::Checked("FILE", _) => "file name",
        Kind::Text(_) => "text",
        Kind::Checked(..) => "name",
        Kind::Networks => "networks",
    };
    if flag.positive { format!("{name}, more than 0") } else { name.to_owned() }
}

/// A flag as it is typed, between backticks.
fn typed(flag: &Flag) -> String {
    match flag.kind {
        Kind::Bool => format!("`--{}`", flag.name),
        kind => format!("`--{} {}`", flag.name, kind.value_name()),
    }
}

fn code(text: &str) -> String {
    match text {
        "" => String::new(),
        text if text.contains(' ') => format!("`{text:?}`"),
        text => format!("`{text}`"),
    }
}

/// A table of the flags that `shown` picks; `full` has their types too.
fn flag_table(full: bool, shown: impl Fn(&Flag) -> bool) -> String {
    let (head, rule) = if full { (" type |", "---|") } else { ("", "") };
    let mut table =
        format!("| flag | TOML key |{head} default | meaning |\n|---|---|{rule}---|---|\n");
    for flag in FLAGS.iter().filter(|flag| shown(flag)) {
        let key = code(&flag.key().unwrap_or_default());
        let kind = if full { format!(" {} |", kind(flag)) } else { String::new() };
        let deprecated = if flag.deprecated { "deprecated, " } else { "" };
        let (typed, default) = (typed(flag), code(flag.default));
        let row = format!("| {typed} | {key} |{kind} {default} | {deprecated}{} |\n", flag.help);
        table.push_str(&row.replace("|  |", "| |").replace("|  |", "| |"));
    }
    table
}

/// Compares what stands between two markers of a document with `want`, or writes it there.
fn check_section(document: &str, name: &str, want: &str) {
    let text = read(document);
    let (start, end) = (format!("<!-- flags: {name} -->\n"), "<!-- /flags -->");
    let (before, rest) = text.split_once(&start).expect("the start of the section");
    let (_, after) = rest.split_once(end).expect("the end of the section");
    check_document(document, &text, &format!("{before}{start}{want}{end}{after}"));
}

fn check_document(document: &str, text: &str, want: &str) {
    if text != want && std::env::var_os("UPDATE_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        std::fs::write(path, want).expect("a document that can be written");
    } else {
        let help = "write it with: UPDATE_DOCS=1 cargo test --test docs_in_sync";
        assert!(text == want, "{document} differs from src/config/flags.rs; {help}\n{want}");
    }
}

/// musterd's own flags that README.md shows.
const MOST_USED: [&str; 8] = [
    "shards",
    "tcp-runtime",
    "http-workers",
    "max-tcp-connections",
    "max-connections-per-ip",
    "tcp-allow",
    "http-write-allow",
    "http-write-token-file",
];

#[test]
fn tables_of_flags_are_those_of_the_source() {
    let nsqs = |flag: &Flag| flag.in_nsqlookupd;
    check_section("README.md", "nsqlookupd", &flag_table(false, nsqs));
    check_section("README.md", "musterd", &flag_table(false, |f| MOST_USED.contains(&f.name)));
    check_section("docs/configuration.md", "nsqlookupd", &flag_table(true, nsqs));
    check_section(
        "docs/configuration.md",
        "musterd",
        &flag_table(true, |flag| !flag.in_nsqlookupd),
    );
}

#[test]
fn the_example_file_has_every_key() {
    let mut text = String::from(
        "## A configuration file for `musterd --config=FILE`, with every key and its default.\n\
         ## Take the `# ` away from a line to change its value. docs/configuration.md says more.\n",
    );
    for in_nsqlookupd in [true, false] {
        let whose = if in_nsqlookupd { "of nsqlookupd" } else { "of musterd only" };
        text.push_str(&format!("\n#### Keys {whose}\n"));
        for flag in FLAGS.iter().filter(|flag| flag.in_nsqlookupd == in_nsqlookupd) {
            let Some(key) = flag.key() else { continue };
            let (sign, value) = match (flag.kind, flag.default) {
                (Kind::Bool | Kind::Count, default) => ("#", default.to_owned()),
                (Kind::Networks, _) => ("#", "[]".to_owned()),
                // There is no default that could be written down.
                (kind, "") => ("##", format!("\"{}\"", kind.value_name())),
                (_, default) => ("#", format!("{default:?}")),
            };
            let limit = if flag.positive { "; more than 0" } else { "" };
            text.push_str(&format!("\n## {}{limit}\n{sign} {key} = {value}\n", flag.help));
        }
    }
    let document = "contrib/musterd.cfg.example";
    check_document(document, &read(document), &text);
}
