//! Rules of the source that no lint checks: which room may import which, where each foreign crate is
//! used, how files begin, how long they are, and words that have a plain equivalent.
//!
//! A room is a file or a folder of `src`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file below `folder`, with its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut files) = (vec![root.join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path: PathBuf = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root).expect("below the root").display().to_string();
                files.push((name, fs::read_to_string(&path).expect("text")));
            }
        }
    }
    assert!(!files.is_empty(), "{folder} holds sources");
    files
}

/// The code of a file: without comments and what follows `#[cfg(test)]`.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Fails for each file of `src` outside `allowed` whose code has one of the `words`.
fn check_only(words: &[&str], allowed: &[&str]) {
    for (name, text) in sources("src") {
        if allowed.iter().any(|room| name.starts_with(room)) || name.contains("/tests") {
            continue;
        }
        for line in code(&text) {
            let found = words.iter().find(|word| line.contains(**word));
            assert!(found.is_none(), "{name} must not use {found:?}: {line}");
        }
    }
}

#[test]
fn each_foreign_crate_is_used_in_one_place() {
    check_only(&["use glommio::", "io_uring::"], &["src/hosts/glommio.rs"]);
    check_only(&["use may::", "may::go!"], &["src/hosts/may.rs"]);
    check_only(&["may_minihttp::"], &["src/api/minihttp.rs"]);
    check_only(&["dashmap::"], &["src/registry/"]);
    check_only(&["epoch::", "crossbeam_epoch"], &["src/published/"]);
    check_only(&["simd_json::"], &["src/protocol/peer_info.rs"]);
    check_only(&["httparse::"], &["src/http1/request.rs", "src/http1/body.rs"]);
    check_only(&["signal_hook::"], &["src/daemon.rs"]);
    check_only(&["ipnet::"], &["src/access/allow_list.rs"]);
    check_only(&["prometheus_client"], &["src/metrics/"]);
    check_only(&["constant_time_eq"], &["src/access/token.rs"]);
}

#[test]
fn unsafe_code_is_only_in_listed_files() {
    let doors = ["src/published/", "src/hosts/glommio.rs"];
    check_only(&["unsafe {", "unsafe fn", "unsafe impl"], &doors);
}

/// A wall clock that steps must decide nothing: it is read for people only, in the log and in `Date`,
/// and once at the start, for where the monotonic clock's zero lies.
#[test]
fn only_the_log_and_the_date_read_the_wall_clock() {
    check_only(&["SystemTime"], &["src/clock.rs"]);
    let readers = ["src/clock.rs", "src/logging/line.rs", "src/api/service.rs"];
    check_only(&[".wall()", ".wall_seconds()"], &readers);
    check_only(&["ClockId::Realtime"], &[]);
    let clock = sources("src").into_iter().find(|(name, _)| name == "src/clock.rs").expect("it").1;
    let now = clock.split("pub fn now(&self)").nth(1).and_then(|rest| rest.split("pub fn").next());
    let now = now.expect("the clock tells the time");
    assert!(now.contains("monotonic()") && !now.contains("SystemTime"), "{now}");
}

/// Every room, lowest first, with the rooms that it may import. A room may import only rooms that
/// stand above it in this list, so that there are no circles.
const LAYERS: &[(&str, &str)] = &[
    ("limits", ""),
    ("clock", ""),
    ("work", "limits clock"),
    ("reclaim", ""),
    ("cow_set", ""),
    ("metrics", ""),
    ("memory", "limits metrics"),
    ("published", "metrics"),
    ("logging", "limits clock metrics"),
    ("protocol", "limits"),
    ("access", "limits metrics logging"),
    ("proxy", "limits"),
    ("handler", "clock work"),
    ("snapshots", "limits clock reclaim cow_set published protocol"),
    ("registry", "limits clock work reclaim cow_set metrics memory published protocol snapshots"),
    ("session", "limits clock work protocol access handler snapshots registry"),
    ("event_log", "metrics logging protocol handler registry session"),
    ("listener", "limits clock metrics access"),
    ("connections", "limits clock work metrics memory access proxy handler listener"),
    ("http1", "limits clock work handler"),
    (
        "api",
        "limits clock work cow_set metrics memory logging protocol access handler listener snapshots reclaim registry \
         http1",
    ),
    ("hosts", "clock work access handler listener connections"),
    ("config", "limits clock logging access"),
    ("resources", "limits metrics access listener hosts config"),
    ("watchdog", "clock access registry connections"),
];
/// These may import all of them.
const TOP: [&str; 3] = ["daemon", "main", "lib"];

/// The rooms that code imports by `crate::`.
fn imported(code: &str) -> BTreeSet<String> {
    let word = |text: &str| {
        let text = text.trim_start();
        text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())].into()
    };
    let mut rooms = BTreeSet::new();
    for behind in code.split("crate::").skip(1) {
        let Some(group) = behind.strip_prefix('{') else {
            rooms.insert(word(behind));
            continue;
        };
        // `crate::{a, b::{c, d}}`: the words at the first level.
        let (mut depth, mut start) = (0, true);
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                _ if start && !character.is_whitespace() => {
                    rooms.insert(word(&group[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    rooms
}

#[test]
fn rooms_import_only_lower_rooms() {
    for (at, (room, lower)) in LAYERS.iter().enumerate() {
        let above: Vec<_> = LAYERS[..at].iter().map(|(name, _)| *name).collect();
        for name in lower.split_whitespace() {
            assert!(above.contains(&name), "LAYERS: {name} must stand above {room}");
        }
    }
    for (name, text) in sources("src").into_iter().filter(|(name, _)| !name.contains("/tests")) {
        let mut parts = name.split('/').skip(1);
        let room = parts.next().expect("below src").trim_end_matches(".rs");
        if TOP.contains(&room) {
            continue;
        }
        let row = LAYERS.iter().find(|(listed, _)| *listed == room);
        let (_, lower) = row.unwrap_or_else(|| panic!("{name}: add {room} to LAYERS"));
        let code: String = code(&text).collect::<Vec<_>>().join("\n");
        for import in imported(&code).iter().filter(|import| *import != room) {
            let may = lower.split_whitespace().any(|room| room == import);
            assert!(may, "{name} must not import crate::{import}; see LAYERS");
        }
        let is_pure = ["routes", "handlers", "listings", "response"];
        let is_pure = is_pure.iter().any(|file| name == format!("src/api/{file}.rs"));
        assert!(
            !is_pure || !code.contains("crate::access"),
            "{name}: only the service asks access"
        );
        // In a room's first file `super` is the crate.
        let is_first = parts.next().is_none_or(|file| file == "mod.rs");
        assert!(!is_first || !code.contains("super::"), "{name}: say crate:: instead of super::");
    }
}

#[test]
fn architecture_shows_the_layers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = fs::read_to_string(path).expect("text");
    let (_, table) = text.split_once("\n| room |").expect("the table of rooms");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
    let mut shown = rows.map(|row| {
        let (room, rest) = row[2..].split_once(" | ").expect("a first cell");
        let (_, imports) = rest.trim_end_matches(" |").rsplit_once(" | ").expect("a last cell");
        (room.replace('`', ""), imports.replace('`', ""))
    });
    for (room, lower) in LAYERS {
        let lower = if lower.is_empty() { "nothing" } else { lower };
        let want = (room.to_string(), lower.to_owned());
        assert_eq!(shown.next(), Some(want), "ARCHITECTURE.md and LAYERS");
    }
    let rest: Vec<_> = shown.collect();
    assert!(matches!(&rest[..], [(_, imports)] if imports == "all"), "{rest:?}");
}

#[test]
fn every_file_begins_with_what_it_is() {
    for folder in ["src", "tests", "benches", "loadgen/src"] {
        for (name, text) in sources(folder) {
            assert!(text.starts_with("//!"), "{name} begins with what it is");
            assert!(text.lines().count() <= 500, "{name} is longer than 500 lines");
        }
    }
}

/// Words that have a plain equivalent, in the singular, and that equivalent.
const WORDS: [(&str, &str); 16] = [
    ("berth", "host configuration"),
    ("conversation", "session, or connection handler"),
    ("crew", "workers"),
    ("crowd", "connections"),
    ("crowded", "too many connections"),
    ("deaf", "never reads"),
    ("dialogue", "session"),
    ("diary", "recorder"),
    ("farewell", "exit guard"),
    ("patience", "timeout"),
    ("rogue", "misbehaving"),
    ("stranger", "unidentified, or not allowed"),
    ("stray", "extra newline"),
    ("stubborn", "abuse"),
    ("tenant", "value, or connection"),
    ("yardstick", "baseline"),
];
/// Where one of them must stay: a name that is accepted for old files, or this list.
const WORDS_MAY_STAND_IN: [&str; 2] = ["loadgen/src/input/scenario.rs", "tests/musterd/tidy.rs"];

/// The words of `text` in lower case; those of `CamelCase` and `snake_case` one by one.
fn words(text: &str) -> BTreeSet<String> {
    let (mut words, mut word, mut before) = (BTreeSet::new(), String::new(), ' ');
    for character in text.chars().chain([' ']) {
        let begins = character.is_uppercase() && !before.is_uppercase();
        if !character.is_alphabetic() || begins {
            words.insert(std::mem::take(&mut word));
        }
        if character.is_alphabetic() {
            word.extend(character.to_lowercase());
        }
        before = character;
    }
    words
}

#[test]
fn words_with_a_plain_equivalent_are_not_used() {
    let mut found = Vec::new();
    for folder in ["src", "tests", "benches", "loadgen"] {
        for (name, text) in sources(folder) {
            if WORDS_MAY_STAND_IN.contains(&&*name) {
                continue;
            }
            let words = words(&text);
            for (word, plain) in WORDS {
                if words.contains(word) || words.contains(&format!("{word}s")) {
                    found.push(format!("{name}: {word}; say {plain}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
