//! The may host: one coroutine per table, which pumps it and sleeps on its epoll.
//!
//! Must not: know HTTP, hold a lock, guard or thread-local across a yield, or use may's timers.
//! A coroutine may resume on another of may's workers after each wait, so what it pumps is `Send`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use may::coroutine::{Builder, JoinHandle, yield_now};
use may::io::{CoIo, WaitIo};
use rustix::io::fcntl_dupfd_cloexec;

use crate::connections::{
    EventLoop, HostConfig, Join, LoopMessage, Progress, Route, WorkerInit, Workers,
};
use crate::handler::ConnectionHandler;

/// The stack of a table's coroutine, in words of eight bytes: 1 MiB, of which only the pages ever
/// touched cost memory. may's default of 32 KiB is less than a panic needs to be printed.
const STACK_WORDS: usize = 128 * 1024;
/// Turns taken in a row with only a yield between them. A worker that only yields never looks at
/// its own epoll, so that what else sleeps there would starve.
const ROUNDS: usize = 64;
/// With fewer workers may wedges for good when the process runs out of descriptors.
const LEAST_WORKERS: usize = 2;
/// How long a worker without work sleeps. may's default of 10 ms costs an idle process 0.7 % of a
/// core. Nothing waits for it: events and wake-ups end the sleep, and no timer of
/// may's is used.
const POLL: Duration = Duration::from_millis(100);

/// Gives each table in turn a connection.
#[must_use]
pub fn in_turn(tables: usize) -> Route {
    let mut turns = (0..tables.max(1)).cycle();
    Box::new(move |_: SocketAddr| turns.next().unwrap_or(0))
}

/// Starts one coroutine per table and as many of may's workers as there are tables, two at least;
/// `make` is called once for each table, with its index. Only the first call in a process decides
/// how many workers there are.
///
/// # Errors
/// When descriptors cannot be had; nothing is left running.
pub fn spawn<S, F>(config: HostConfig, make: F) -> io::Result<Workers>
where
    S: ConnectionHandler + Send + 'static,
    S::Connection: Send,
    F: Fn(usize) -> S,
{
    let workers = configure(config.tables);
    let clock = config.clock.clone();
    let (inits, handles) = config.prepare()?;
    let coroutines: io::Result<Vec<_>> =
        inits.into_iter().map(|init| start(init, workers, &make)).collect();
    match coroutines {
        Ok(coroutines) => Ok(Workers::new(handles, coroutines.into_iter().map(join).collect())),
        Err(error) => {
            // Those that were started end by themselves.
            handles
                .iter()
                .for_each(|handle| handle.send(LoopMessage::Stop { deadline: clock.now() }));
            Err(error)
        }
    }
}

/// Gives may as many workers, two at least; returns how many.
pub(crate) fn configure(workers: usize) -> usize {
    let workers = workers.max(LEAST_WORKERS);
    // A pinned worker fights with the shard on the same CPU.
    may::config().set_workers(workers).set_worker_pin(false);
    may::config().set_timeout_ns(POLL.as_nanos().try_into().expect("it is short"));
    workers
}

fn start<S, F>(init: WorkerInit, workers: usize, make: &F) -> io::Result<JoinHandle<io::Result<()>>>
where
    S: ConnectionHandler + Send + 'static,
    S::Connection: Send,
    F: Fn(usize) -> S,
{
    let bell = Bell::of(&init, workers)?;
    let service = make(init.index);
    let builder = Builder::new().name(format!("table-{}", init.index)).stack_size(STACK_WORDS);
    may::go!(builder, move || run(init, service, bell))
}

fn join(coroutine: JoinHandle<io::Result<()>>) -> Join {
    Box::new(move || match coroutine.join() {
        Ok(result) => result,
        Err(_) => Err(io::Error::other("a table ended in a panic")),
    })
}

/// A coroutine's whole life.
fn run<S: ConnectionHandler>(init: WorkerInit, service: S, bell: Bell) -> io::Result<()> {
    let exit_guard = init.exit_guard();
    let result = init.table(service).and_then(|mut table| pump(&mut table, bell));
    exit_guard.say(&result);
    result
}

/// Takes turns until the table is drained, and sleeps between them until its epoll has an event.
fn pump<S: ConnectionHandler>(table: &mut EventLoop<S>, bell: Bell) -> io::Result<()> {
    let bell = CoIo::new(bell).map_err(io::Error::from)?;
    loop {
        for round in 1.. {
            match table.turn(Duration::ZERO)? {
                Progress::Drained => return Ok(()),
                Progress::Quiet => break,
                Progress::Busy if round < ROUNDS => yield_now(),
                Progress::Busy => {
                    // Sleeps, but only until the worker has looked at its epoll.
                    table.handle().send(LoopMessage::Wake);
                    break;
                }
            }
        }
        bell.wait_io();
    }
}

/// A table's epoll as may watches it: a second descriptor, since may closes what it watches.
struct Bell(OwnedFd);

impl Bell {
    /// may gives a descriptor to the worker that its number names: each table's is chosen to land
    /// on a worker of its own.
    fn of(init: &WorkerInit, workers: usize) -> io::Result<Self> {
        let mut least = 0;
        loop {
            let descriptor = fcntl_dupfd_cloexec(init.fds(), least)?;
            let number = descriptor.as_raw_fd();
            if usize::try_from(number).is_ok_and(|number| number % workers == init.index % workers)
            {
                return Ok(Self(descriptor));
            }
            least = number + 1;
        }
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
