//! The state that all threads of an attack share: the target, whether it goes on, and what each actor
//! has sent and got.
//!
//! Must not: hold a socket.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::input::target::Target;

/// What one kind of actor has sent and got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) connections: u64,
    /// Connections that could not be opened.
    pub(crate) refused: u64,
    /// Connections that the target ended.
    pub(crate) ended: u64,
    /// Requests and commands.
    pub(crate) sent: u64,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    /// By HTTP status, or by the first word of a reply.
    pub(crate) answers: BTreeMap<String, u64>,
    /// Answers that no right target gives.
    pub(crate) wrong: u64,
}

/// One attack.
#[derive(Debug)]
pub(crate) struct Attack {
    pub(crate) target: Target,
    pub(crate) clock: Clock,
    /// Names that are made in all, half by nsqds before and half by POSTs.
    pub(crate) names: usize,
    /// The next of the names that POSTs make.
    pub(crate) next_name: AtomicUsize,
    /// From one request of a bystander to its next.
    pub(crate) every: Duration,
    stopped: AtomicBool,
}

impl Attack {
    /// An attack that goes on until [`Attack::stop`].
    pub(crate) fn new(target: Target, clock: Clock, names: usize, every: Duration) -> Self {
        let (next_name, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { target, clock, names, next_name, every, stopped }
    }

    /// Ends it; every thread sees that within a fifth of a second.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether it is over.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Waits; `None` when the attack is over.
    pub(crate) fn wait(&self, length: Duration) -> Option<()> {
        let until = self.clock.now() + length;
        while self.clock.now() < until && !self.stopped() {
            std::thread::sleep(until.since(self.clock.now()).min(Duration::from_millis(100)));
        }
        (!self.stopped()).then_some(())
    }
}

/// Changes a tally.
pub(crate) fn note(tally: &Mutex<Tally>, change: impl FnOnce(&mut Tally)) {
    change(&mut tally.lock().unwrap_or_else(PoisonError::into_inner));
}
