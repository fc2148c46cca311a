//! Faults from outside: the daemon is stopped and continued, its peers reset, its system refuses.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Daemon, Http, Nsqd};

/// A busy machine takes the CPU away at any moment: here, hundreds of times, for longer than any
/// preemption timer of the runtimes. Nobody may be left waiting afterwards.
#[test]
fn a_daemon_that_is_stopped_and_continued_at_any_moment_goes_on() {
    let daemon = Daemon::start(&["--shards=2"]);
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (tcp, http, over, answered) = (daemon.tcp, daemon.http, &over, &answered);
            scope.spawn(move || {
                let mut nsqd = Nsqd::identified(tcp, &number.to_string());
                let mut http = Http::connect(http);
                while !over.load(Ordering::Relaxed) {
                    nsqd.command("PING");
                    http.get("/ping");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..300 {
            daemon.signal(Signal::STOP);
            std::thread::sleep(Duration::from_millis(8));
            daemon.signal(Signal::CONT);
            std::thread::sleep(Duration::from_micros(round * 7 % 2000));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(answered.load(Ordering::Relaxed) > 0);
}
