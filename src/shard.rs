//! The glommio host: one pinned executor per shard, each of which pumps one table.
//!
//! Must not: know a protocol, or let a task live that is not its table's. One thread per shard,
//! bound to a CPU.
//!
//! The executor waits for the table's epoll, not for the sockets: one POLL_ADD per park instead
//! of one per connection.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::Poll;
use std::time::Duration;

use futures_io::AsyncRead;
use glommio::net::TcpStream;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use rustix::io::fcntl_dupfd_cloexec;

use crate::clock::Clock;
use crate::connections::{
    EventLoop, HostConfig, Join, LoopHandle, LoopMessage, Progress, Route, WorkerInit, Workers,
};
use crate::handler::ConnectionHandler;

/// How long a shard that has just worked waits inside epoll before it parks. A park costs seven
/// system calls, so that a trickle of commands a few milliseconds apart must not park between
/// them. Nothing waits for it: all that a shard can be told comes through that epoll.
const LINGER: Duration = Duration::from_millis(20);
/// How long a shard may work before glommio asks it to yield: never, in effect, since its table is
/// the executor's only task. A short time is worse than useless: glommio 0.9 parks an executor with a
/// task that is ready to run when this passes between the poll of the ring and the run of the task,
/// as it does whenever a busy machine takes the CPU away in between; then the shard sleeps for good.
const PREEMPT: Duration = Duration::from_secs(3600);
/// Memory that an executor registers for storage I/O, in bytes; sockets need next to none, and
/// more would not fit the usual RLIMIT_MEMLOCK.
const IO_MEMORY: usize = 64 * 1024;
/// Entries of an executor's rings: it never has more than a park's few polls in flight.
const RING_DEPTH: usize = 128;

/// Spreads peers over `shards` by a hash of their address and port. No two runs hash alike, so
/// that nobody can choose the shard it lands on.
#[must_use]
pub fn by_peer(shards: usize) -> Route {
    let hasher = ahash::RandomState::new();
    let shards = shards.max(1) as u64;
    Box::new(move |peer: SocketAddr| {
        usize::try_from(hasher.hash_one(peer) % shards).expect("less than a number of shards")
    })
}

/// Starts one executor per table and returns once all of them run; `make` is called on each one's
/// own thread, with its index. Executors take `cpus`, which must not be empty, in turn, so that more
/// tables than CPUs share them.
///
/// # Errors
/// When descriptors, threads, locked memory or `io_uring` cannot be had; nothing is left running.
pub fn spawn<S, F>(config: HostConfig, cpus: &[usize], make: F) -> io::Result<Workers>
where
    S: ConnectionHandler + 'static,
    F: Fn(usize) -> S + Send + Sync + 'static,
{
    let clock = config.clock.clone();
    let (inits, handles) = config.prepare()?;
    let make = Arc::new(make);
    let mut executors = Executors { handles, executors: Vec::new() };
    for init in inits {
        let cpu = cpus[init.index % cpus.len()];
        if let Err(error) = executors.spawn(init, cpu, &make) {
            executors.shutdown(&clock);
            return Err(error);
        }
    }
    Ok(executors.into_running())
}

/// The executors that are up so far.
struct Executors {
    handles: Vec<LoopHandle>,
    executors: Vec<ExecutorJoinHandle<io::Result<()>>>,
}

impl Executors {
    /// Starts the executor of one table and waits until it runs.
    fn spawn<S, F>(&mut self, init: WorkerInit, cpu: usize, make: &Arc<F>) -> io::Result<()>
    where
        S: ConnectionHandler + 'static,
        F: Fn(usize) -> S + Send + Sync + 'static,
    {
        let (up, is_up) = channel();
        let make = Arc::clone(make);
        let executor = LocalExecutorBuilder::new(Placement::Fixed(cpu))
            .name("shard")
            .io_memory(IO_MEMORY)
            .ring_depth(RING_DEPTH)
            .preempt_timer(PREEMPT)
            .spawn(move || run(init, make, up))?;
        if is_up.recv().is_ok() {
            self.executors.push(executor);
            return Ok(());
        }
        let silent = io::Error::other("a shard ended before it ran");
        Err(finish(executor).err().unwrap_or(silent))
    }

    /// Ends the executors that are up, because one more could not be had.
    fn shutdown(self, clock: &Clock) {
        for handle in &self.handles {
            handle.send(LoopMessage::Stop { deadline: clock.now() });
        }
        for executor in self.executors {
            let _ = executor.join(); // what failed first is what matters
        }
    }

    fn into_running(self) -> Workers {
        let join = |executor| -> Join { Box::new(move || finish(executor)) };
        Workers::new(self.handles, self.executors.into_iter().map(join).collect())
    }
}

/// Waits for an executor to end.
fn finish(executor: ExecutorJoinHandle<io::Result<()>>) -> io::Result<()> {
    executor.join().map_err(io::Error::from)?
}

/// One executor's only task.
async fn run<S, F>(init: WorkerInit, make: Arc<F>, up: Sender<()>) -> io::Result<()>
where
    S: ConnectionHandler,
    F: Fn(usize) -> S,
{
    let exit_guard = init.exit_guard();
    let service = make(init.index);
    let mut table = init.table(service)?;
    // Nobody waits for it only when the daemon is gone.
    let _ = up.send(());
    let result = pump(&mut table).await;
    exit_guard.say(&result);
    result
}

/// Takes turns until the table is drained. A turn waits in epoll unless the table has work left;
/// one that has waited in vain is followed by a park.
async fn pump<S: ConnectionHandler>(table: &mut EventLoop<S>) -> io::Result<()> {
    loop {
        match table.turn(LINGER)? {
            Progress::Drained => return Ok(()),
            // No yield: see `PREEMPT`.
            Progress::Busy => {}
            Progress::Quiet => readable(&*table).await?,
        }
    }
}

/// Parks the executor's only task until `epoll` has an event.
///
/// glommio has no public way to poll a descriptor. Its `TcpStream` arms exactly one POLL_ADD in its
/// making and waits for that in its first `poll_read`; only a second one would try to receive.
async fn readable(epoll: impl AsFd) -> io::Result<()> {
    let own = fcntl_dupfd_cloexec(epoll, 0)?;
    let mut stream = adopt(own);
    let mut armed = false;
    poll_fn(|context| {
        if armed {
            return Poll::Ready(Ok(()));
        }
        armed = true;
        match Pin::new(&mut stream).poll_read(context, &mut [0]) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => Poll::Ready(Err(io::Error::other("glommio did not wait for epoll"))),
        }
    })
    .await
}

#[allow(unsafe_code)]
fn adopt(descriptor: OwnedFd) -> TcpStream {
    // SAFETY: `from_raw_fd` takes over an open descriptor that nothing else owns. `into_raw_fd`
    // has just given up the ownership of this one; the stream closes it.
    unsafe { TcpStream::from_raw_fd(descriptor.into_raw_fd()) }
}
