//! What the documents say of the tests is true: tests that are named exist, limits are all there.
//!
//! Must not: judge prose.

use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The texts between backticks that are `FILE.rs: test`.
fn tests_named(document: &str) -> Vec<(&str, &str)> {
    document.split('`').skip(1).step_by(2).filter_map(|text| text.split_once(".rs: ")).collect()
}

#[test]
fn every_test_that_is_named_exists() {
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
fn every_limit_is_in_the_threat_model() {
    let limits = read("src/limits.rs");
    let names = limits.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(':'));
    let security = read("SECURITY.md");
    let missing: Vec<_> = names
        .map(|(name, _)| name)
        .filter(|name| !security.contains(&format!("| `{name}` ")))
        .collect();
    assert!(missing.is_empty(), "SECURITY.md lacks {missing:?}");
}
