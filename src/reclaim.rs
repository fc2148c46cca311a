//! Frees large values on a thread of its own: millions of names are not freed within an iteration of
//! an event loop.
//!
//! Must not: make its caller wait. Any thread may call.

use std::sync::OnceLock;
use std::thread;

use crossbeam::channel::{Sender, unbounded};

/// Items from which on a value is worth sending to another thread.
const LARGE: usize = 1000;

type Garbage = Box<dyn Send>;

/// Frees `items`, at once if they are few.
pub(crate) fn free<T: Send + 'static>(items: Vec<T>) {
    if items.len() >= LARGE
        && let Some(thread) = reclaimer()
    {
        // It fails when the thread has ended, as in a panic of an item's drop: then it is freed here.
        drop(thread.send(Box::new(items)));
    }
}

/// The thread that frees, started with the first large value; none if it cannot be started.
fn reclaimer() -> Option<&'static Sender<Garbage>> {
    static THREAD: OnceLock<Option<Sender<Garbage>>> = OnceLock::new();
    let start = || {
        let (send, receive) = unbounded::<Garbage>();
        let run = move || receive.into_iter().for_each(drop);
        thread::Builder::new().name("reclaim".to_owned()).spawn(run).ok().map(|_| send)
    };
    THREAD.get_or_init(start).as_ref()
}
