//! Rules of the house that no lint knows: who may import what, one door for each foreign crate, and
//! how files begin.

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
    check_only(&["glommio::", "use glommio"], &["src/shard.rs"]);
    check_only(&["may::", "use may::"], &["src/http/server.rs"]);
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
    let doors = ["src/published/", "src/shard.rs", "src/resources.rs"];
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
    assert!(now.contains("start.elapsed()") && !now.contains("SystemTime"), "{now}");
}

#[test]
fn rooms_import_only_lower_rooms() {
    let check = |room: &str, forbidden: &[&str]| {
        for (name, text) in sources("src") {
            if !name.starts_with(room) || name.contains("/tests") {
                continue;
            }
            for line in code(&text).filter(|line| line.contains("crate::")) {
                let found = forbidden.iter().find(|word| line.contains(&format!("crate::{word}")));
                assert!(found.is_none(), "{name} must not import {found:?}: {line}");
            }
        }
    };
    let shell = ["shard", "daemon", "connections", "config", "preflight", "logging", "event_log"];
    let core = |more: &[&'static str]| [&shell[..], more].concat();
    check("src/limits.rs", &core(&["clock", "protocol", "registry", "directory", "http"]));
    check("src/published/", &core(&["clock", "protocol", "registry", "directory", "http"]));
    check("src/metrics", &core(&["access", "clock", "handler", "limits", "protocol", "published"]));
    check("src/metrics", &["http", "registry", "resources", "session", "snapshots", "watchdog"]);
    check("src/sorted", &core(&["clock", "protocol", "registry", "directory", "http"]));
    check("src/protocol", &core(&["clock", "flow", "registry", "directory", "session", "http"]));
    check("src/snapshots", &core(&["flow", "registry", "session", "http"]));
    check("src/registry", &core(&["flow", "session", "http"]));
    check("src/session.rs", &core(&["http"]));
    check("src/http1/", &core(&["protocol", "registry", "snapshots", "session", "api", "metrics"]));
    for pure in ["routes", "handlers", "listings", "response"] {
        check(&format!("src/api/{pure}.rs"), &core(&["session", "access"]));
    }
    check("src/api/", &["shard", "daemon", "connections", "config", "session", "event_log"]);
    check("src/access", &["clock", "flow", "protocol", "registry", "directory", "session", "http"]);
    check("src/access", &["shard", "daemon", "connections", "config", "preflight"]);
    check("src/connections", &["protocol", "registry", "directory", "session", "daemon", "config"]);
}

#[test]
fn every_file_begins_with_what_it_is() {
    for (name, text) in sources("src").into_iter().chain(sources("tests")) {
        assert!(text.starts_with("//!"), "{name} begins with what it is");
        assert!(text.lines().count() <= 600, "{name} is more than one room");
    }
}
