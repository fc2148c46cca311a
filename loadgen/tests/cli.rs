//! Invalid input gives one line that says what to do, and the documented exit code.

use std::process::Command;

/// Runs the program; it must fail with `code` and one line on stderr that contains all of `words`.
fn check(arguments: &[&str], code: i32, words: &[&str]) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_loadgen")).args(arguments).output().expect("it starts");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} says {said}, not {word}");
    }
}

/// Loopback addresses that nothing listens on.
const UNREACHABLE: [&str; 4] = ["--tcp", "127.0.0.99:1", "--http", "127.0.0.99:2"];

#[test]
fn invalid_input_is_one_line_that_says_what_to_do() {
    check(&["run", "stedy"], 1, &["no scenario `stedy`", "steady, ramp"]);
    check(&["run", "./nowhere.toml"], 1, &["nowhere.toml", "check the path"]);
    check(&["run", "steady", "--scale", "0"], 1, &["--scale", "above 0"]);
    check(&["run", "steady", "--tcp", "192.0.2.1:4160"], 1, &["--i-own-this-target"]);
    check(
        &["run", "steady", "--server-cmd", "./no-such-program"],
        1,
        &["cannot start", "--server-cmd"],
    );
    check(&["run", "steady", "--slo", "lookup<5"], 1, &["write lookup.p99<5ms"]);
    let storm = [&["run", "storm"], &UNREACHABLE[..]].concat();
    check(&storm, 1, &["127.0.0.99:1", "start a lookupd there"]);
    let restart = [&["run", "restart"], &UNREACHABLE[..]].concat();
    check(&restart, 1, &["restarts the target", "--server-cmd"]);
    let soak = [&["soak"], &UNREACHABLE[..]].concat();
    check(&soak, 1, &["reads the target's process", "--server-pid"]);
    check(&["hostile", "--only", "node"], 1, &["no actor `node`", "cross-site"]);
    let far = ["hostile", "--tcp", "192.0.2.1:4160", "--i-own-this-target"];
    check(&far, 1, &["192.0.2.1", "loopback addresses only"]);
    check(&["hostile", "--duration", "5m"], 1, &["at most 4m"]);
    check(&["soak", "--scenarios", ","], 1, &["--scenarios", "churn,hostile"]);
    check(&["compare", "'", "b", "--scenarios", "storm"], 1, &["is no command"]);
}

#[test]
fn values_out_of_range_are_refused_with_the_range() {
    for (arguments, range) in [
        (&["calibrate", "--step", "0s"][..], "at least 1s"),
        (&["calibrate", "--step", "2h"], "at most 1h"),
        (&["run", "steady", "--threads", "0"], "from 1 to 64"),
        (&["peak", "--depth", "1,0"], "from 1 to 10000"),
        (&["peak", "--connections", "0"], "from 1 to 10000"),
        (&["soak", "--every", "0s"], "at least 100ms"),
        (&["soak", "--for", "soon"], "write 250ms"),
        (&["compare", "a", "b", "--rounds", "0"], "1..=50"),
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_loadgen")).args(arguments).output().expect("starts");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(range) && said.contains(arguments[arguments.len() - 2]), "{said}");
    }
    check(&["run", "steady", "--duration", "0s"], 1, &["duration", "at least 100ms"]);
    check(&["compare", "a", "b", "--names", "A,A"], 1, &["--names", "two different names"]);
    check(&["compare", "a", "b", "--scenarios", ","], 1, &["--scenarios", "steady,herd"]);
}

#[test]
fn invalid_scenario_file_gives_the_line() {
    let path = std::env::temp_dir().join(format!("loadgen-broken-{}.toml", std::process::id()));
    std::fs::write(&path, "about = 'x'\nduration = 'soon'\n").expect("a temporary file");
    check(&["run", path.to_str().expect("UTF-8")], 1, &["line 2", "write 250ms"]);
    std::fs::remove_file(path).expect("it was written above");
}

#[test]
fn list_names_every_scenario_and_needs_no_target() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_loadgen")).arg("list").output().expect("it starts");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(said.lines().count(), 10, "{said}");
    assert!(output.status.success() && said.contains("herd       10,000 nsqds arrive at once"));
}
