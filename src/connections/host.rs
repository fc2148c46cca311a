//! What the two hosts have in common: what they are given, what they give back, and how the end
//! of a table becomes known.
//!
//! Must not: know a runtime. Runs on the thread that starts the daemon; a [`Farewell`] travels
//! with its table.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use crossbeam::channel::Sender;

use super::acceptor::{Acceptor, Route};
use super::counters::Counters;
use super::mailbox::{Handle, Mail};
use super::table::{Options, Seat, Table};
use crate::access::Door;
use crate::clock::{Clock, Timestamp};
use crate::flow::Service;

/// What a host needs to run the tables of one listener.
pub struct Hosting {
    /// How many tables; at least one.
    pub tables: usize,
    /// Bound already. The first table accepts for all.
    pub listener: TcpListener,
    /// Which table a peer belongs to.
    pub route: Route,
    /// Who is let in; none asks nobody.
    pub door: Option<Door>,
    /// The same for every table.
    pub options: Options,
    /// The time for every table.
    pub clock: Clock,
    /// Where every table counts.
    pub counters: Arc<Counters>,
    /// Told when a table ends, for whatever reason: one that was not asked to is a reason to end
    /// the process, since its peers hang.
    pub exits: Sender<Exit>,
}

/// The end of a table.
#[derive(Debug)]
pub struct Exit {
    /// Which of the tables.
    pub table: usize,
    /// It was stopped and drained, or it failed.
    pub result: io::Result<()>,
}

/// Tables that run.
pub struct Running {
    handles: Vec<Handle>,
    joins: Vec<Join>,
}

/// Waits for one table's host to end.
pub(crate) type Join = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Everything a table needs, on its way to the thread that will run it.
pub(crate) struct Berth {
    seat: Seat,
    acceptor: Option<Acceptor>,
    options: Options,
    clock: Clock,
    counters: Arc<Counters>,
    /// Which of the tables.
    pub(crate) index: usize,
    exits: Sender<Exit>,
}

/// Tells the end of a table even when a panic is that end.
pub(crate) struct Farewell {
    table: usize,
    exits: Sender<Exit>,
    result: io::Result<()>,
}

impl Hosting {
    /// Opens every table's descriptors, in order, and the listener.
    pub(crate) fn prepare(self) -> io::Result<(Vec<Berth>, Vec<Handle>)> {
        let seats = (0..self.tables).map(|_| Seat::new()).collect::<io::Result<Vec<_>>>()?;
        let handles: Vec<_> = seats.iter().map(Seat::handle).collect();
        let keepalive = self.options.keepalive;
        let acceptor = Acceptor::new(self.listener, handles.clone(), 0, self.route, keepalive)?;
        let mut acceptor = Some(acceptor.behind(self.door));
        let berths = seats.into_iter().enumerate().map(|(index, seat)| Berth {
            seat,
            acceptor: acceptor.take(),
            options: self.options,
            clock: self.clock.clone(),
            counters: Arc::clone(&self.counters),
            index,
            exits: self.exits.clone(),
        });
        Ok((berths.collect(), handles))
    }
}

impl Berth {
    /// The epoll that the table will have.
    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// What tells of the table's end.
    pub(crate) fn farewell(&self) -> Farewell {
        let result = Err(io::Error::other("a table ended in a panic"));
        Farewell { table: self.index, exits: self.exits.clone(), result }
    }

    /// The table itself, on the thread that runs it.
    pub(crate) fn table<S: Service>(self, service: S) -> io::Result<Table<S>> {
        let mut table = Table::new(self.seat, service, self.options, self.counters, self.clock);
        if let Some(acceptor) = self.acceptor {
            table.listen(acceptor)?;
        }
        Ok(table)
    }
}

impl Farewell {
    /// The table has ended in an orderly way, or by an error that is known.
    pub(crate) fn say(mut self, result: &io::Result<()>) {
        self.result = match result {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        // Nobody may be listening any more: then nobody needs to know.
        let _ = self.exits.send(Exit { table: self.table, result });
    }
}

impl Running {
    pub(crate) fn new(handles: Vec<Handle>, joins: Vec<Join>) -> Self {
        Self { handles, joins }
    }

    /// The mailboxes of the tables, in order.
    #[must_use]
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// Asks every table to stop accepting, to close what is idle, to finish what is in flight and
    /// to end the rest at `deadline`.
    pub fn stop(&self, deadline: Timestamp) {
        for handle in &self.handles {
            handle.send(Mail::Stop { deadline });
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

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("handles", &self.handles).finish_non_exhaustive()
    }
}

impl fmt::Debug for Hosting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosting").field("tables", &self.tables).finish_non_exhaustive()
    }
}
