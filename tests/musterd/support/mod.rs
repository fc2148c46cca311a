//! What every test of the daemon needs: the process, an nsqd's side and a consumer's side.

mod daemon;
mod http;
mod nsqd;

pub(crate) use daemon::{Daemon, command, listening_ports};
pub(crate) use http::{Answer, Http};
pub(crate) use nsqd::Nsqd;

use std::time::Duration;

use musterd::clock::Clock;

/// How long anything may take before a test fails. No test passes because of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What `look` finds, once it finds something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::system();
    let deadline = clock.now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
