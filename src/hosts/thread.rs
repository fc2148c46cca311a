//! The thread host: one plain thread per event loop, which waits in its epoll.
//!
//! It needs nothing that a system could refuse, so TCP runs on it where glommio cannot. It does not
//! pin its threads: the kernel may move one away from a CPU that something else keeps busy.
//!
//! Must not: know a protocol.

use std::io;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use super::{HostConfig, Workers, panicked};
use crate::connections::{EventLoop, Progress};
use crate::handler::ConnectionHandler;

/// How long an iteration waits for an event: in effect until there is one, since everything that an
/// event loop can be told comes through its epoll.
const WAIT: Duration = Duration::from_secs(3600);

/// Starts one thread per event loop; `make` is called on each one's own thread, with its index.
///
/// # Errors
/// When descriptors or threads cannot be had; nothing is left running.
pub(crate) fn spawn<H, F>(config: HostConfig, make: F) -> io::Result<Workers>
where
    H: ConnectionHandler + 'static,
    F: Fn(usize) -> H + Send + Sync + 'static,
{
    let make = Arc::new(make);
    config.start(|init| {
        let make = Arc::clone(&make);
        let thread = Builder::new().name(init.name()).spawn(move || init.run(&*make, drive))?;
        Ok(Box::new(move || thread.join().unwrap_or_else(|_| Err(panicked()))))
    })
}

pub(super) fn drive<H: ConnectionHandler>(mut event_loop: EventLoop<H>) -> io::Result<()> {
    while event_loop.poll_once(WAIT)? != Progress::Drained {}
    Ok(())
}
