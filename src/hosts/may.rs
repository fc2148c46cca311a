//! The may host: one coroutine per event loop, which runs it and sleeps on its epoll.
//!
//! Must not: know HTTP, hold a lock, guard or thread-local across a yield, or use may's timers.
//! A coroutine may resume on another of may's threads after each wait, so what it runs is `Send`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use may::coroutine::{Builder, yield_now};
use may::io::{CoIo, WaitIo};
use rustix::io::fcntl_dupfd_cloexec;

use super::{HostConfig, WorkerInit, Workers, panicked};
use crate::connections::{EventLoop, Progress};
use crate::handler::ConnectionHandler;

/// With fewer threads may wedges for good when the process runs out of descriptors.
pub(crate) const LEAST_WORKERS: usize = 2;
/// The stack of a coroutine, in words of eight bytes: 1 MiB, of which only the pages ever touched
/// cost memory. may's default of 32 KiB is less than a panic needs to be printed.
const STACK_WORDS: usize = 128 * 1024;
/// Iterations in a row with only a yield between them. A thread that only yields never looks at
/// its own epoll, so that what else sleeps there would starve.
const YIELDS: usize = 64;
/// How long a thread of may's without work sleeps. may's default of 10 ms costs an idle process 0.7 %
/// of a core. Nothing waits for it: events and wake-ups end the sleep, and no timer of may's is used.
const IDLE_SLEEP: Duration = Duration::from_millis(100);

/// Starts one coroutine per event loop and as many of may's threads, [`LEAST_WORKERS`] at least;
/// `make` is called once for each event loop, with its index. Only the first call in a process decides
/// how many threads there are.
///
/// # Errors
/// When descriptors cannot be had; nothing is left running.
pub(crate) fn spawn<H, F>(config: HostConfig, make: F) -> io::Result<Workers>
where
    H: ConnectionHandler + Send + 'static,
    H::Connection: Send,
    F: Fn(usize) -> H,
{
    let threads = configure(config.workers);
    config.start(|init| {
        let epoll = watched_epoll(&init, threads)?;
        let handler = make(init.index);
        let builder = Builder::new().name(init.name()).stack_size(STACK_WORDS);
        let run = move || init.run(|_| handler, |event_loop| drive(event_loop, epoll));
        let coroutine = may::go!(builder, run)?;
        Ok(Box::new(move || coroutine.join().unwrap_or_else(|_| Err(panicked()))))
    })
}

/// Gives may as many threads, [`LEAST_WORKERS`] at least; returns how many.
pub(crate) fn configure(threads: usize) -> usize {
    let threads = threads.max(LEAST_WORKERS);
    // A pinned thread fights with the TCP worker on the same CPU.
    may::config().set_workers(threads).set_worker_pin(false);
    may::config().set_timeout_ns(IDLE_SLEEP.as_nanos().try_into().expect("it is short"));
    threads
}

/// Polls the event loop until it is drained, and sleeps in between until its epoll has an event.
fn drive<H: ConnectionHandler>(mut event_loop: EventLoop<H>, epoll: OwnedFd) -> io::Result<()> {
    let epoll = CoIo::new(epoll).map_err(io::Error::from)?;
    loop {
        for iteration in 1.. {
            match event_loop.poll_once(Duration::ZERO)? {
                Progress::Drained => return Ok(()),
                Progress::Quiet => break,
                Progress::Busy if iteration < YIELDS => yield_now(),
                Progress::Busy => {
                    // Sleeps, but only until the thread has looked at its epoll.
                    event_loop.handle().ping();
                    break;
                }
            }
        }
        epoll.wait_io();
    }
}

/// An event loop's epoll as may watches it: a second descriptor, since may closes what it watches. may
/// gives a descriptor to the thread that its number names: each event loop's is chosen to land on a
/// thread of its own.
fn watched_epoll(init: &WorkerInit, threads: usize) -> io::Result<OwnedFd> {
    let mut least = 0;
    loop {
        let epoll = fcntl_dupfd_cloexec(&init.fds, least)?;
        let number = epoll.as_raw_fd();
        if usize::try_from(number).is_ok_and(|number| number % threads == init.index % threads) {
            return Ok(epoll);
        }
        least = number + 1;
    }
}
