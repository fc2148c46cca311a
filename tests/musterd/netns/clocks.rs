//! Shifted clocks, by time namespaces. Only monotonic clocks can be shifted, and only at the start;
//! `tidy.rs` checks that nothing but the log and `Date` reads the wall clock.

use musterd::clock::Clock;

use crate::support::{ANYWHERE, Daemon, HttpClient, Nsqd, command_by, eventually};

/// `last_update` of the only producer of topic `t`, in Unix nanoseconds.
fn last_update(http: &mut HttpClient) -> i64 {
    let debug: serde_json::Value = serde_json::from_str(&http.get("/debug")).expect("JSON");
    debug["topic:t:"][0]["last_update"].as_i64().expect("a number")
}

#[test]
#[ignore = "needs a time namespace: tests/slow faults"]
fn an_uptime_of_a_century_changes_nothing() {
    // In seconds: 100 years. The kernel takes no more than 232.
    let with = ["--time", "--monotonic=3153600000", "--boottime=3153600000", "--fork"];
    let with = [&with[..], &["--kill-child"]].concat();
    let flags =
        [&ANYWHERE[..], &["--inactive-producer-timeout=500ms", "--handshake-timeout=5s"]].concat();
    let daemon = Daemon::spawn(command_by("unshare", &with, &flags));
    let mut http = HttpClient::connect(daemon.http);
    let mut nsqd = Nsqd::identified(daemon.tcp, "a");
    let before = Clock::system().wall().unix_nanos();
    nsqd.command("REGISTER t");
    nsqd.command("PING");
    eventually("active", || {
        nsqd.command("PING");
        http.get("/lookup?topic=t").contains("nsqd-a.example").then_some(())
    });
    let after = Clock::system().wall().unix_nanos();
    let updated = last_update(&mut http);
    // The two processes read the wall clock at different times: by less than a second.
    let second = 1_000_000_000;
    assert!((before - second..after + second).contains(&updated), "{before} {updated} {after}");
    // Timeouts work: a silent nsqd becomes inactive, and one that does not identify is closed.
    eventually("inactive", || {
        (!http.get("/lookup?topic=t").contains("nsqd-a.example")).then_some(())
    });
    assert_eq!(Nsqd::connect(daemon.tcp).rest(), b"");
}
