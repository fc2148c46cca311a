//! Failing accepts, by strace's fault injection: they are counted and logged, use no CPU, and the
//! daemon recovers.

use std::path::PathBuf;
use std::time::Duration;

use musterd::clock::Clock;

use crate::support::{ANYWHERE, Daemon, HttpClient, Nsqd, command_by, eventually};

/// A daemon whose accepts fail as injected, and the trace of all its accepts.
struct Traced {
    daemon: Daemon,
    trace: PathBuf,
}

impl Traced {
    /// `when`: which accepts of each thread fail, as strace counts: `1..3`, `5+`.
    fn start(error: &str, when: &str) -> Self {
        let name = format!("musterd-accepts-{}-{error}-{when}", std::process::id());
        let trace = std::env::temp_dir().join(name);
        let inject = format!("inject=accept4:error={error}:when={when}");
        let file = trace.to_str().expect("text");
        // -D: the daemon, not strace, is our child.
        let with = ["-D", "-f", "-qqq", "-e", "signal=none", "-e", "trace=accept4"];
        let with = [&with[..], &["-e", &inject, "-o", file]].concat();
        let flags = [&ANYWHERE[..], &["--http-workers=2"]].concat();
        Self { daemon: Daemon::spawn(command_by("strace", &with, &flags)), trace }
    }

    /// How many accepts were made to fail, and how many there were.
    fn accepts(&self) -> (usize, usize) {
        let trace = std::fs::read_to_string(&self.trace).expect("strace writes it");
        let count = |word: &str| trace.lines().filter(|line| line.contains(word)).count();
        (count("(INJECTED)"), count("accept4("))
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.trace);
    }
}

/// Threads that accept: that of TCP, and two HTTP workers.
const ACCEPTORS: usize = 3;
const ERRORS: &str = "musterd_accept_errors_total{port=\"http\"}";
const NSQD_ERRORS: &str = "musterd_accept_errors_total{port=\"tcp\"}";

/// Three accepts of each thread fail, then they succeed again: the peers that waited are served.
fn check_recovery(error: &str) {
    let traced = Traced::start(error, "1..3");
    let mut http = HttpClient::connect(traced.daemon.http);
    assert_eq!(http.get("/ping"), "OK", "{error}");
    let mut nsqd = Nsqd::identified(traced.daemon.tcp, "a");
    nsqd.command("REGISTER t");
    // The HTTP worker that is the first to have failed three times serves the connection.
    assert!((3..=6).contains(&http.metric(ERRORS)), "{error}");
    assert_eq!(http.metric(NSQD_ERRORS), 3, "{error}");
    traced.daemon.line_with("accepts failed; too few descriptors");
    let (failed, all) = traced.accepts();
    // Behind the failures: one accept for each thread, and perhaps one that finds no other connection.
    let most = (3 * ACCEPTORS, 2 * ACCEPTORS);
    assert!(
        failed <= most.0 && all <= failed + most.1,
        "{error}: {failed} of {all} accepts failed"
    );
}

#[test]
#[ignore = "needs strace: tests/slow faults"]
fn accept_pauses_after_errors_and_then_serves_every_peer() {
    std::thread::scope(|scope| {
        for error in ["ENOMEM", "EMFILE", "ENFILE", "ENOBUFS", "EPERM"] {
            scope.spawn(move || check_recovery(error));
        }
    });
}

#[test]
#[ignore = "needs strace: tests/slow faults"]
fn a_connection_that_broke_in_the_queue_causes_no_pause() {
    std::thread::scope(|scope| {
        for error in ["ECONNABORTED", "EPROTO", "EINTR"] {
            scope.spawn(move || {
                let traced = Traced::start(error, "1..3");
                let mut http = HttpClient::connect(traced.daemon.http);
                assert_eq!(http.get("/ping"), "OK");
                assert!((3..=6).contains(&http.metric(ERRORS)), "{error}");
                let (failed, all) = traced.accepts();
                assert!(failed <= 6 && all <= failed + 4, "{error}: {failed} of {all}");
            });
        }
    });
}

/// All accepts fail with `error`: at most `limit` of them for each pause of half a second.
fn check_endless(error: &str, limit: usize) {
    // The first connection of a thread takes two accepts: the second finds no connection.
    let traced = Traced::start(error, "3+");
    let mut http = HttpClient::connect(traced.daemon.http);
    assert_eq!(http.get("/ping"), "OK");
    let mut nsqd = Nsqd::identified(traced.daemon.tcp, "a");
    let clock = Clock::system();
    let start = clock.now();
    // More than two HTTP workers accept before they fail.
    let waiting: Vec<_> = (0..4).map(|_| HttpClient::connect(traced.daemon.http)).collect();
    let nsqd_waiting = Nsqd::connect(traced.daemon.tcp);
    std::thread::sleep(Duration::from_secs(3));
    // Open connections are served meanwhile.
    nsqd.command("REGISTER t");
    assert!(http.get("/lookup?topic=t").contains("nsqd-a.example"));
    eventually("accepts fail", || (http.metric(ERRORS) > 0).then_some(()));
    let (failed, _) = traced.accepts();
    let pauses = usize::try_from(clock.now().since(start).as_millis() / 500).expect("few") + 2;
    assert!(failed <= ACCEPTORS * pauses * limit, "{error}: {failed} in {pauses} pauses");
    drop((waiting, nsqd_waiting));
}

#[test]
#[ignore = "needs strace: tests/slow faults"]
fn accepts_that_always_fail_use_no_cpu() {
    std::thread::scope(|scope| {
        scope.spawn(|| check_endless("ENOMEM", 1));
        scope.spawn(|| check_endless("EPERM", 1));
        // These errors concern one connection each: there is a pause only after 16 in a row.
        scope.spawn(|| check_endless("ECONNABORTED", 16));
    });
}
