//! How the daemon stops.
//!
//! Must not: wait longer than [`limits::SHUTDOWN`], whatever the workers do.

use std::time::Duration;

use crossbeam::channel::{Receiver, after, select};

use super::Server;
use crate::clock::Clock;
use crate::hosts::WorkerExit;
use crate::limits;
use crate::logging::DRAIN_TIMEOUT;

/// A signal so soon after the one that stops is the same one.
const SAME_SIGNAL: Duration = Duration::from_millis(500);
/// How long the workers may take; the rest of [`limits::SHUTDOWN`] is for the log.
const WORKERS: Duration = limits::SHUTDOWN.checked_sub(DRAIN_TIMEOUT).expect("the log takes less");

const _: () = assert!(limits::DRAIN.as_millis() < WORKERS.as_millis());

/// Stops both servers: no more accepts, what is in flight is finished, the rest ends. Waits for that,
/// but no longer than [`limits::SHUTDOWN`] allows, nor past a second signal.
pub(super) fn stop(servers: [Server; 2], clock: &Clock, signals: &Receiver<i32>) {
    let began = clock.now();
    let deadline = began + limits::DRAIN;
    for server in &servers {
        tracing::info!("{}: closing {}", server.name, server.address);
        server.workers.stop(deadline);
    }
    let late = after(WORKERS);
    for server in servers {
        let mut running = server.workers.handles.len();
        while running > 0 {
            select! {
                recv(server.workers.exits) -> exit => {
                    running -= 1;
                    if let Ok(WorkerExit { name, result: Err(error) }) = exit {
                        tracing::error!("{} {name}: {error}", server.name);
                    }
                },
                recv(late) -> _ => return tracing::warn!("{} did not stop in time", server.name),
                // Some supervisors send one to the group and one to the process.
                recv(signals) -> _ => if clock.now().since(began) >= SAME_SIGNAL {
                    return tracing::warn!("a second signal: not waiting");
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam::channel::unbounded;

    use super::*;
    use crate::connections::LoopFds;
    use crate::hosts::Workers;

    #[test]
    fn shutdown_does_not_wait_for_a_worker_that_never_ends() {
        let fds = LoopFds::new(String::new(), Clock::system().now()).expect("descriptors");
        let server = |name, handles| {
            let mut workers = Workers::none();
            workers.handles = handles;
            let address = ([127, 0, 0, 1], 0).into();
            Server { name, address, workers, counters: Arc::default() }
        };
        let servers = [server("TCP", vec![fds.handle.clone()]), server("HTTP", Vec::new())];
        let (stopped, has_stopped) = unbounded();
        std::thread::spawn(move || {
            stop(servers, &Clock::system(), &crossbeam::channel::never());
            stopped.send(())
        });
        has_stopped.recv_timeout(4 * limits::SHUTDOWN).expect("it gives up");
    }
}
