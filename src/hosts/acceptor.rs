//! The acceptor: a thread with an event loop that has no connections. It accepts, checks, tells those
//! that are rejected why, and hands the others to the workers.
//!
//! Must not: do anything for a connection that was let in, so that no peer can keep it busy.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::thread::Builder;

use super::{Join, WorkerInit, panicked, thread};
use crate::clock::Timestamp;
use crate::handler::{CloseReason, ConnectionHandler, Handled, Input, Token};
use crate::work::Work;

/// Starts it.
///
/// # Errors
/// When no thread can be had.
pub(super) fn spawn(init: WorkerInit) -> io::Result<Join> {
    let builder = Builder::new().name(init.name.to_owned());
    let thread = builder.spawn(move || init.run(|_| NoConnections, thread::drive))?;
    Ok(Box::new(move || thread.join().unwrap_or_else(|_| Err(panicked()))))
}

/// The handler of a loop that opens no connection.
struct NoConnections;

impl ConnectionHandler for NoConnections {
    type Connection = Infallible;

    fn on_open(&mut self, _: SocketAddr, _: Token, _: Timestamp) -> (Infallible, Timestamp) {
        unreachable!("the acceptor hands over all connections")
    }

    fn on_input(
        &mut self,
        connection: &mut Infallible,
        _: Input<'_>,
        _: Timestamp,
        _: &mut Vec<u8>,
        _: usize,
        _: &mut Work,
    ) -> Handled {
        match *connection {}
    }

    fn on_timeout(&mut self, connection: &mut Infallible, _: &mut Vec<u8>) {
        match *connection {}
    }

    fn commit(&mut self) {}

    fn on_close(&mut self, connection: &mut Infallible, _: CloseReason, _: &mut Work) -> bool {
        match *connection {}
    }
}
