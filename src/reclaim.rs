//! Frees large values on a thread of its own: millions of names are not freed within an iteration of
//! an event loop.
//!
//! Must not: make its caller wait. Any thread may call.

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};

/// Items from which on a value is worth sending to another thread.
pub(crate) const LARGE: usize = 1000;
/// Values that may wait for the thread before its callers free those that can be freed anywhere:
/// memory that peers have given back must not grow without a limit.
const BACKLOG: usize = 64;
/// How often the thread looks whether others have given up what it waits for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A value that takes long to free.
pub(crate) trait Garbage: Send {
    /// Whether nobody shares it: whoever gives up the last share pays for all of it.
    fn is_alone(&self) -> bool {
        true
    }
}

impl<T: Send> Garbage for Vec<T> {}

/// Frees a value, once nobody else has a share of it.
pub(crate) fn free(value: impl Garbage + 'static) {
    if let Some(thread) = reclaimer() {
        // It fails when the thread has ended, as in a panic of a drop: then it is freed here.
        drop(thread.send(Box::new(value)));
    }
}

/// Whether the thread has as much to do as it may: then its caller frees what is not very large.
pub(crate) fn is_behind() -> bool {
    reclaimer().is_none_or(|thread| thread.len() >= BACKLOG)
}

/// Starts the thread, for a process whose threads do not change in number while it serves.
pub(crate) fn start() {
    let _ = reclaimer();
}

/// The thread that frees, started with the first large value at the latest; none if it cannot be
/// started.
fn reclaimer() -> Option<&'static Sender<Box<dyn Garbage>>> {
    static THREAD: OnceLock<Option<Sender<Box<dyn Garbage>>>> = OnceLock::new();
    let start = || {
        let (send, receive) = unbounded();
        let run = move || run(&receive);
        thread::Builder::new().name("reclaim".to_owned()).spawn(run).ok().map(|_| send)
    };
    THREAD.get_or_init(start).as_ref()
}

/// Keeps what is still shared, and frees the rest.
fn run(values: &Receiver<Box<dyn Garbage>>) {
    let mut shared: Vec<Box<dyn Garbage>> = Vec::new();
    loop {
        let wait = if shared.is_empty() { Duration::MAX } else { LOOK_AGAIN };
        match values.recv_timeout(wait) {
            Ok(value) => shared.push(value),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        shared.retain(|value| !value.is_alone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::{Sender as Report, channel};

    /// Reports the thread that frees it.
    struct Value(Arc<()>, Report<Option<String>>);

    impl Garbage for Value {
        fn is_alone(&self) -> bool {
            Arc::strong_count(&self.0) == 1
        }
    }

    impl Drop for Value {
        fn drop(&mut self) {
            let _ = self.1.send(thread::current().name().map(str::to_owned));
        }
    }

    #[test]
    fn value_is_freed_by_the_thread_once_nobody_shares_it() {
        let (report, freed) = channel();
        let share = Arc::new(());
        free(Value(Arc::clone(&share), report.clone()));
        free(Value(Arc::default(), report));
        let by = |freed: &std::sync::mpsc::Receiver<_>| {
            freed.recv_timeout(Duration::from_secs(30)).expect("it is freed")
        };
        assert_eq!(by(&freed).as_deref(), Some("reclaim"), "the one that is not shared");
        assert!(freed.try_recv().is_err(), "the other is kept");
        drop(share);
        assert_eq!(by(&freed).as_deref(), Some("reclaim"));
    }
}
