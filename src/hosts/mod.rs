//! Hosts: the runtimes that run event loops, one file each: [`glommio`], [`may`] and a plain
//! [`thread`]. Each has one function, `spawn`, which starts a worker per event loop from a
//! [`HostConfig`] and gives back the running [`Workers`]. Stopping, reporting the end of a worker
//! and the watchdog's wake-ups work the same on all, since they go through the event loop itself.
//! Where the workers do not accept themselves, an [`acceptor`] does, on any host.
//!
//! Must not: know a protocol. `spawn` is called on the main thread; a [`WorkerInit`] moves to the
//! worker that it describes.

mod acceptor;
pub(crate) mod glommio;
pub(crate) mod may;
#[cfg(test)]
mod tests;
pub(crate) mod thread;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, never, unbounded};

use crate::access::AcceptPolicy;
use crate::clock::{Clock, Timestamp};
use crate::connections::{
    Acceptor, ConnectionCounters, EventLoop, LoopFds, LoopHandle, LoopMessage, Options, Route,
    Targets,
};
use crate::handler::ConnectionHandler;
use crate::listener::Listener;

/// Which host runs the TCP workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// [`glommio`].
    Glommio,
    /// [`thread`].
    Thread,
}

/// What a host needs to run the workers of one listener.
pub(crate) struct HostConfig {
    /// The name of the worker threads; each adds its index.
    pub name: &'static str,
    /// How many workers; at least one.
    pub workers: usize,
    /// The CPUs that workers are pinned to, in order and again from the first; empty: the kernel
    /// places them. Only glommio pins.
    pub cpus: Vec<usize>,
    /// Bound already.
    pub listener: TcpListener,
    /// Who accepts from it.
    pub accepting: Accepting,
    /// Who may connect.
    pub policy: AcceptPolicy,
    /// The same for every worker.
    pub options: Options,
    /// The time for every worker.
    pub clock: Clock,
    /// Where every worker counts.
    pub counters: Arc<ConnectionCounters>,
}

/// Who accepts for the workers of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepting {
    /// A thread of this name, which hands each connection to the worker that a hash of the peer's
    /// address names.
    Thread(&'static str),
    /// Each worker, for itself and for those that have fewer connections and nothing else to do.
    Workers,
}

/// The end of a worker, or of the acceptor.
#[derive(Debug)]
pub(crate) struct WorkerExit {
    /// What the log calls it.
    pub name: String,
    /// Ok after a stop that was asked for.
    pub result: io::Result<()>,
}

/// Workers that run.
pub(crate) struct Workers {
    /// What messages go to: one for each worker, in order, and one for the acceptor, if there is one.
    pub handles: Vec<LoopHandle>,
    /// Brings the end of each of them, for whatever reason. If nobody asked it to end, the process
    /// should end too, since its peers hang.
    pub exits: Receiver<WorkerExit>,
    joins: Vec<Join>,
}

/// Waits for the end of one worker.
type Join = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Everything a worker needs, on its way to the thread that will run it.
struct WorkerInit {
    name: &'static str,
    index: usize,
    fds: LoopFds,
    /// Only one that accepts has it.
    acceptor: Option<Acceptor>,
    options: Options,
    policy: Arc<AcceptPolicy>,
    clock: Clock,
    counters: Arc<ConnectionCounters>,
    exits: Sender<WorkerExit>,
}

/// Reports the end of a worker when it is dropped, so also after a panic.
struct ExitGuard {
    name: String,
    exits: Sender<WorkerExit>,
    result: io::Result<()>,
}

/// Spreads peers over workers by a hash of their address and port. The hash differs from run to
/// run, so that no peer can choose its worker.
#[must_use]
fn by_peer(workers: usize) -> Route {
    let hasher = ahash::RandomState::new();
    let workers = workers.max(1) as u64;
    Box::new(move |peer: SocketAddr| {
        usize::try_from(hasher.hash_one(peer) % workers).expect("less than a number of workers")
    })
}

impl HostConfig {
    /// Opens the descriptors of every worker and starts each by `spawn`, and the acceptor last. When
    /// one cannot be started, stops those that run and waits for their end.
    fn start(self, mut spawn: impl FnMut(WorkerInit) -> io::Result<Join>) -> io::Result<Workers> {
        let now = self.clock.now();
        let open = |name| LoopFds::new(name, now);
        let fds = (0..self.workers).map(|index| open(format!("worker {index}")));
        let fds = fds.collect::<io::Result<Vec<_>>>()?;
        let handles: Vec<_> = fds.iter().map(|fds| fds.handle.clone()).collect();
        let listener = Listener::new(self.listener, self.options.keepalive)?;
        let (report, exits) = unbounded();
        let mut workers = Workers { handles: handles.clone(), exits, joins: Vec::new() };
        let policy = Arc::new(self.policy);
        let init = |name, index, fds, acceptor| WorkerInit {
            name,
            index,
            fds,
            acceptor,
            options: self.options,
            policy: Arc::clone(&policy),
            clock: self.clock.clone(),
            counters: Arc::clone(&self.counters),
            exits: report.clone(),
        };
        let start_all = || {
            for (index, fds) in fds.into_iter().enumerate() {
                let others = [&handles[..index], &handles[index + 1..]].concat();
                let targets = Targets::Fewest(others);
                let own = Acceptor { listener: listener.share(), targets };
                let own = (self.accepting == Accepting::Workers).then_some(own);
                workers.joins.push(spawn(init(self.name, index, fds, own))?);
            }
            if let Accepting::Thread(name) = self.accepting {
                let fds = open("acceptor".to_owned())?;
                workers.handles.push(fds.handle.clone());
                let targets = Targets::ByPeer { route: by_peer(self.workers), loops: handles };
                let acceptor = Acceptor { listener, targets };
                let init = init(name, self.workers, fds, Some(acceptor));
                workers.joins.push(acceptor::spawn(init)?);
            }
            Ok(())
        };
        match start_all() {
            Ok(()) => Ok(workers),
            Err(error) => {
                workers.stop(now);
                let _ = workers.join(); // the first failure is the one to report
                Err(error)
            }
        }
    }
}

impl WorkerInit {
    /// The name of its thread.
    fn name(&self) -> String {
        format!("{}-{}", self.name, self.index)
    }

    fn exit_guard(&self) -> ExitGuard {
        let name = self.fds.handle.name().to_owned();
        ExitGuard { name, exits: self.exits.clone(), result: Err(panicked()) }
    }

    /// The event loop, on the thread that runs it.
    fn event_loop<H: ConnectionHandler>(self, handler: H) -> io::Result<EventLoop<H>> {
        let Self { fds, options, policy, counters, clock, .. } = self;
        let mut event_loop = EventLoop::new(fds, handler, options, policy, counters, clock);
        if let Some(acceptor) = self.acceptor {
            event_loop.listen(acceptor)?;
        }
        Ok(event_loop)
    }

    /// The whole life of a worker whose `drive` blocks until its event loop is drained.
    fn run<H: ConnectionHandler>(
        self,
        make: impl FnOnce(usize) -> H,
        drive: impl FnOnce(EventLoop<H>) -> io::Result<()>,
    ) -> io::Result<()> {
        let exit_guard = self.exit_guard();
        let handler = make(self.index);
        let result = self.event_loop(handler).and_then(drive);
        exit_guard.report(&result);
        result
    }
}

/// What is reported of a worker that ended in a panic.
fn panicked() -> io::Error {
    io::Error::other("a worker ended in a panic")
}

impl ExitGuard {
    /// The worker has ended without a panic.
    fn report(mut self, result: &io::Result<()>) {
        self.result = match result {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        let name = std::mem::take(&mut self.name);
        // It fails when nobody waits for it any more.
        let _ = self.exits.send(WorkerExit { name, result });
    }
}

impl Workers {
    /// None: of a server that cannot be asked to stop.
    pub(crate) fn none() -> Self {
        Self { handles: Vec::new(), exits: never(), joins: Vec::new() }
    }

    /// Asks every worker to stop accepting, to close what is idle, to finish what is in flight and
    /// to close the rest at `deadline`. The acceptor is asked first, so that it hands over nothing to
    /// workers that have ended.
    pub(crate) fn stop(&self, deadline: Timestamp) {
        for handle in self.handles.iter().rev() {
            handle.send(LoopMessage::Stop { deadline });
        }
    }

    /// Waits for the end of every worker.
    ///
    /// # Errors
    /// The first failure of a worker or its host.
    pub(crate) fn join(self) -> io::Result<()> {
        let ends: Vec<_> = self.joins.into_iter().map(|join| join()).collect();
        ends.into_iter().collect()
    }
}

impl Runtime {
    /// Its name as `--tcp-runtime` and the metrics have it.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Glommio => "glommio",
            Self::Thread => "thread",
        }
    }

    /// Starts the workers on it; see the `spawn` of each.
    ///
    /// # Errors
    /// When the host lacks something; nothing is left running.
    pub(crate) fn spawn<H, F>(self, config: HostConfig, make: F) -> io::Result<Workers>
    where
        H: ConnectionHandler + 'static,
        F: Fn(usize) -> H + Send + Sync + 'static,
    {
        match self {
            Self::Glommio => glommio::spawn(config, make),
            Self::Thread => thread::spawn(config, make),
        }
    }
}
