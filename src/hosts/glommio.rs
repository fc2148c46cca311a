//! The glommio host: one executor per event loop, pinned to a CPU.
//!
//! The executor waits for the event loop's epoll, not for the sockets: one POLL_ADD per park instead
//! of one per connection.
//!
//! Must not: know a protocol, or run a task beside its event loop's.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::Poll;
use std::time::Duration;

use futures_io::AsyncRead;
use glommio::net::TcpStream;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use io_uring::{IoUring, Probe, opcode};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::{HostConfig, WorkerInit, Workers};
use crate::connections::{EventLoop, Progress};
use crate::handler::ConnectionHandler;

/// Memory that the process must be allowed to lock, in bytes: with less glommio 0.9 starts no
/// executor.
pub(crate) const LOCKED_MEMORY: u64 = 512 * 1024;
/// How long a worker that has just worked waits inside epoll before it parks. A park costs seven
/// system calls, so that a trickle of commands a few milliseconds apart must not park between
/// them. Nothing waits for it: all that a worker can be told comes through that epoll.
const LINGER: Duration = Duration::from_millis(20);
/// How long a worker may run before glommio asks it to yield: never, in effect, since its event loop
/// is the executor's only task. A short time is worse than useless: glommio 0.9 parks an executor with
/// a task that is ready to run when this passes between the poll of the ring and the run of the task,
/// as it does whenever a busy machine takes the CPU away in between; then the worker sleeps for good.
const PREEMPT: Duration = Duration::from_secs(3600);
/// Memory that an executor registers for storage I/O, in bytes; sockets need next to none, and
/// more would not fit the usual RLIMIT_MEMLOCK.
const IO_MEMORY: usize = 64 * 1024;
/// Entries of an executor's rings: it never has more than a park's few polls in flight.
const RING_DEPTH: u32 = 128;
/// The newest operations that glommio 0.9 uses; where one is missing it ends the process. All of its
/// others are older.
const OPERATIONS: [u8; 4] =
    [opcode::PollAdd::CODE, opcode::OpenAt::CODE, opcode::Send::CODE, opcode::Recv::CODE];

/// What is missing to run executors: the system call, and its error.
///
/// # Errors
/// That of the call; ENOSYS when the kernel is older than Linux 5.8.
pub(crate) fn probe() -> Result<(), (&'static str, Errno)> {
    let failed =
        |call| move |error: io::Error| (call, Errno::from_io_error(&error).unwrap_or(Errno::IO));
    let mut ring = IoUring::new(RING_DEPTH).map_err(failed("io_uring_setup"))?;
    let mut operations = Probe::new();
    ring.submitter().register_probe(&mut operations).map_err(failed("io_uring_register"))?;
    // FAST_POLL came with Linux 5.7; glommio asks for 5.8.
    let recent = OPERATIONS.iter().all(|&operation| operations.is_supported(operation));
    if !recent || !ring.params().is_feature_fast_poll() {
        return Err(("io_uring_setup", Errno::NOSYS));
    }
    push_nop(&mut ring);
    ring.submit_and_wait(1).map_err(failed("io_uring_enter"))?;
    match ring.completion().next() {
        Some(completion) if completion.result() == 0 => Ok(()),
        _ => Err(("io_uring_enter", Errno::IO)),
    }
}

/// A real ring is used up to its completion: a seccomp profile may allow some of the three system
/// calls only, and inside glommio a refused one is a panic. A ring of our own is cleaner for this than
/// an executor: nothing panics, no thread is left, and it is known which call was refused.
#[allow(unsafe_code, reason = "the crate cannot know that an operation's buffers live long enough")]
fn push_nop(ring: &mut IoUring) {
    // SAFETY: a NOP has no buffers or descriptors that would have to outlive it.
    let pushed = unsafe { ring.submission().push(&opcode::Nop::new().build()) };
    pushed.expect("the queue is empty");
}

/// Starts one executor per event loop and returns once all of them run; `make` is called on each
/// one's own thread, with its index. More event loops than CPUs share them.
///
/// # Errors
/// When descriptors, threads, locked memory or `io_uring` cannot be had; nothing is left running.
pub(crate) fn spawn<H, F>(config: HostConfig, make: F) -> io::Result<Workers>
where
    H: ConnectionHandler + 'static,
    F: Fn(usize) -> H + Send + Sync + 'static,
{
    let cpus = config.cpus.clone();
    let make = Arc::new(make);
    config.start(|init| {
        let placement = match cpus.len() {
            0 => Placement::Unbound,
            count => Placement::Fixed(cpus[init.index % count]),
        };
        let executor = start(init, placement, Arc::clone(&make))?;
        Ok(Box::new(move || join(executor)))
    })
}

type Executor = ExecutorJoinHandle<io::Result<()>>;

/// Starts the executor of one event loop and waits until it runs: glommio reports what an executor
/// lacks only at its end.
fn start<H, F>(init: WorkerInit, placement: Placement, make: Arc<F>) -> io::Result<Executor>
where
    H: ConnectionHandler + 'static,
    F: Fn(usize) -> H + Send + Sync + 'static,
{
    let (started, has_started) = channel();
    let executor = LocalExecutorBuilder::new(placement)
        .name(init.name)
        .io_memory(IO_MEMORY)
        .ring_depth(RING_DEPTH as usize)
        .preempt_timer(PREEMPT)
        .spawn(move || run(init, make, started))?;
    if has_started.recv().is_ok() {
        return Ok(executor);
    }
    let unknown = io::Error::other("an executor ended before it ran");
    Err(join(executor).err().unwrap_or(unknown))
}

/// Waits for an executor to end.
fn join(executor: Executor) -> io::Result<()> {
    executor.join().map_err(io::Error::from)?
}

/// An executor's only task.
async fn run<H, F>(init: WorkerInit, make: Arc<F>, started: Sender<()>) -> io::Result<()>
where
    H: ConnectionHandler,
    F: Fn(usize) -> H,
{
    let exit_guard = init.exit_guard();
    let handler = make(init.index);
    let mut event_loop = init.event_loop(handler)?;
    // It fails only when the daemon is gone.
    let _ = started.send(());
    let result = drive(&mut event_loop).await;
    exit_guard.report(&result);
    result
}

/// Polls the event loop until it is drained. An iteration waits in epoll unless there is work left;
/// one that has waited in vain is followed by a park.
async fn drive<H: ConnectionHandler>(event_loop: &mut EventLoop<H>) -> io::Result<()> {
    loop {
        match event_loop.poll_once(LINGER)? {
            Progress::Drained => return Ok(()),
            // No yield: see `PREEMPT`.
            Progress::Busy => {}
            Progress::Quiet => readable(&*event_loop).await?,
        }
    }
}

/// Parks the executor's only task until `epoll` has an event.
///
/// glommio has no public way to poll a descriptor. Its `TcpStream` arms exactly one POLL_ADD in its
/// making and waits for that in its first `poll_read`; only a second one would try to receive.
async fn readable(epoll: impl AsFd) -> io::Result<()> {
    let own = fcntl_dupfd_cloexec(epoll, 0)?;
    let mut stream = into_stream(own);
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

#[allow(unsafe_code, reason = "glommio's stream has no safe constructor from a descriptor")]
fn into_stream(descriptor: OwnedFd) -> TcpStream {
    // SAFETY: `from_raw_fd` takes over an open descriptor that nothing else owns. `into_raw_fd`
    // has just given up the ownership of this one; the stream closes it.
    unsafe { TcpStream::from_raw_fd(descriptor.into_raw_fd()) }
}
