//! Responses that take long: made in slices, in later calls of their connection.
//!
//! A handler that would take long returns a [`Task`]. The connection goes on with it whenever the
//! event loop calls, as far as the work of an iteration and the output that the client has not read
//! allow, and parses no other request meanwhile. Must not: buffer a body that the client does not
//! read. Belongs to the connection.

use std::fmt;
use std::time::Duration;

use super::connection::BYTES_PER_UNIT;
use super::pending::PendingRequest;
use super::response::{Framing, Response};
use crate::clock::Timestamp;
use crate::limits;
use crate::work::Work;

/// What is left to do for one request.
pub trait Task: fmt::Debug + Send {
    /// Goes on until it is done, which it returns, until `work` is over, or until the response has
    /// `most` bytes of a body that was not there before the call. A response that was not begun by
    /// the handler ([`Response::start_streamed`]) is begun by the last call.
    fn resume(
        &mut self,
        now: Timestamp,
        response: &mut Response<'_>,
        most: usize,
        work: &mut Work,
    ) -> bool;
}

/// A task with its request.
#[derive(Debug)]
pub(super) struct Running<R> {
    pub(super) request: PendingRequest<R>,
    task: Box<dyn Task>,
    /// When the request came.
    pub(super) since: Timestamp,
    /// The status that was sent; 0 before.
    status: u16,
    framing: Framing,
    reader: Reader,
}

/// How fast the client reads.
#[derive(Debug, Default)]
struct Reader {
    /// Since when output has waited for it.
    waits_since: Option<Timestamp>,
    /// How long it has made the task wait, and how much it has read meanwhile.
    waited: Duration,
    bytes: usize,
}

impl Reader {
    /// The client has read all there was at `now`; whether it is fast enough.
    fn has_read(&mut self, now: Timestamp) -> bool {
        if let Some(since) = self.waits_since.take() {
            self.waited += now.since(since);
        }
        if self.waited < limits::WRITE_STALL {
            return true;
        }
        let least = limits::READ_RATE as u128 * self.waited.as_millis() / 1000;
        let is_fast = self.bytes as u128 >= least;
        *self = Self::default();
        is_fast
    }
}

impl<R> Running<R> {
    /// `response` is what the handler has made of `request`, which came at `since`, so far.
    pub(super) fn new(
        request: PendingRequest<R>,
        task: Box<dyn Task>,
        since: Timestamp,
        response: &Response<'_>,
    ) -> Self {
        let (status, framing) = (response.status(), response.framing());
        Self { request, task, since, status, framing, reader: Reader::default() }
    }

    /// Whether the client has read fast enough to be written more at `now`.
    pub(super) fn is_read_at(&mut self, now: Timestamp) -> bool {
        self.reader.has_read(now)
    }

    /// Output waits for the client from `now` on.
    pub(super) fn waits_for_the_reader(&mut self, now: Timestamp) {
        self.reader.waits_since = Some(now);
    }

    /// Goes on; the status once it is done.
    pub(super) fn resume(
        &mut self,
        now: Timestamp,
        date: super::Date,
        output: &mut Vec<u8>,
        most: usize,
        work: &mut Work,
    ) -> Option<u16> {
        let before = output.len();
        let head = self.request.head();
        let mut response = Response::new(output, &head, date);
        response.resume(self.status, self.framing);
        let is_done = self.task.resume(now, &mut response, most, work);
        response.end_chunk();
        work.spend(response.cost());
        let status = is_done.then(|| response.finish());
        let written = output.len() - before;
        self.reader.bytes += written;
        work.spend(u32::try_from(written / BYTES_PER_UNIT).unwrap_or(u32::MAX));
        status
    }
}
