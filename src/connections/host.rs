//! What the two hosts have in common: what they are given, what they give back, and how the end
//! of a table becomes known.
//!
//! Must not: know a runtime. Runs on the thread that starts the daemon; a [`ExitGuard`] travels
//! with its table.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use crossbeam::channel::Sender;

use super::acceptor::{Acceptor, Route};
use super::counters::ConnectionCounters;
use super::event_loop::{EventLoop, LoopFds, Options};
use super::messages::{LoopHandle, LoopMessage};
use crate::access::AcceptPolicy;
use crate::clock::{Clock, Timestamp};
use crate::handler::ConnectionHandler;

/// What a host needs to run the tables of one listener.
pub struct HostConfig {
    /// How many tables; at least one.
    pub tables: usize,
    /// Bound already. The first table accepts for all.
    pub listener: TcpListener,
    /// Which table a peer belongs to.
    pub route: Route,
    /// Who is let in; none asks nobody.
    pub policy: Option<AcceptPolicy>,
    /// The same for every table.
    pub options: Options,
    /// The time for every table.
    pub clock: Clock,
    /// Where every table counts.
    pub counters: Arc<ConnectionCounters>,
    /// Told when a table ends, for whatever reason: one that was not asked to is a reason to end
    /// the process, since its peers hang.
    pub exits: Sender<WorkerExit>,
}

/// The end of a table.
#[derive(Debug)]
pub struct WorkerExit {
    /// Which of the tables.
    pub table: usize,
    /// It was stopped and drained, or it failed.
    pub result: io::Result<()>,
}

/// Tables that run.
pub struct Workers {
    handles: Vec<LoopHandle>,
    joins: Vec<Join>,
}

/// Waits for one table's host to end.
pub(crate) type Join = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Everything a table needs, on its way to the thread that will run it.
pub(crate) struct WorkerInit {
    fds: LoopFds,
    acceptor: Option<Acceptor>,
    options: Options,
    clock: Clock,
    counters: Arc<ConnectionCounters>,
    /// Which of the tables.
    pub(crate) index: usize,
    exits: Sender<WorkerExit>,
}

/// Tells the end of a table even when a panic is that end.
pub(crate) struct ExitGuard {
    table: usize,
    exits: Sender<WorkerExit>,
    result: io::Result<()>,
}

impl HostConfig {
    /// Opens every table's descriptors, in order, and the listener.
    pub(crate) fn prepare(self) -> io::Result<(Vec<WorkerInit>, Vec<LoopHandle>)> {
        let loop_fds = (0..self.tables).map(|_| LoopFds::new()).collect::<io::Result<Vec<_>>>()?;
        let handles: Vec<_> = loop_fds.iter().map(LoopFds::handle).collect();
        let keepalive = self.options.keepalive;
        let acceptor = Acceptor::new(self.listener, handles.clone(), 0, self.route, keepalive)?;
        let mut acceptor = Some(acceptor.behind(self.policy));
        let inits = loop_fds.into_iter().enumerate().map(|(index, fds)| WorkerInit {
            fds,
            acceptor: acceptor.take(),
            options: self.options,
            clock: self.clock.clone(),
            counters: Arc::clone(&self.counters),
            index,
            exits: self.exits.clone(),
        });
        Ok((inits.collect(), handles))
    }
}

impl WorkerInit {
    /// The epoll that the table will have.
    pub(crate) fn fds(&self) -> &LoopFds {
        &self.fds
    }

    /// What tells of the table's end.
    pub(crate) fn exit_guard(&self) -> ExitGuard {
        let result = Err(io::Error::other("a table ended in a panic"));
        ExitGuard { table: self.index, exits: self.exits.clone(), result }
    }

    /// The table itself, on the thread that runs it.
    pub(crate) fn table<S: ConnectionHandler>(self, service: S) -> io::Result<EventLoop<S>> {
        let mut table = EventLoop::new(self.fds, service, self.options, self.counters, self.clock);
        if let Some(acceptor) = self.acceptor {
            table.listen(acceptor)?;
        }
        Ok(table)
    }
}

impl ExitGuard {
    /// The table has ended in an orderly way, or by an error that is known.
    pub(crate) fn say(mut self, result: &io::Result<()>) {
        self.result = match result {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        // Nobody may be listening any more: then nobody needs to know.
        let _ = self.exits.send(WorkerExit { table: self.table, result });
    }
}

impl Workers {
    pub(crate) fn new(handles: Vec<LoopHandle>, joins: Vec<Join>) -> Self {
        Self { handles, joins }
    }

    /// The mailboxes of the tables, in order.
    #[must_use]
    pub fn handles(&self) -> &[LoopHandle] {
        &self.handles
    }

    /// Asks every table to stop accepting, to close what is idle, to finish what is in flight and
    /// to end the rest at `deadline`.
    pub fn stop(&self, deadline: Timestamp) {
        for handle in &self.handles {
            handle.send(LoopMessage::Stop { deadline });
        }
    }

    /// Waits for the end of every table.
    ///
    /// # Errors
    /// The first failure of a table or its host.
    pub fn join(self) -> io::Result<()> {
        let ends: Vec<_> = self.joins.into_iter().map(|join| join()).collect();
        ends.into_iter().collect()
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("handles", &self.handles).finish_non_exhaustive()
    }
}

impl fmt::Debug for HostConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostConfig").field("tables", &self.tables).finish_non_exhaustive()
    }
}
