//! [`ConnectionCounters`]: what the event loops of one listener have seen.
//!
//! What only grows is in stripes; the two numbers that decisions are made by (`open`, `queued_output`)
//! are single atomics. Must not: order anything: every access is relaxed, and each number is exact only
//! by itself. Written by the event loops, read by any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::access::{Permit, Pool, register_rejections};
use crate::handler::CloseReason;
use crate::limits;
use crate::memory::{self, Memory, Room, Use};
use crate::metrics::{Families, Histograms, StripedCounter};

/// Numbers shared by all event loops of one listener.
#[derive(Debug, Default)]
pub struct ConnectionCounters {
    open: AtomicU64,
    queued_output: AtomicU64,
    /// Connections accepted, those rejected included.
    pub accepted: StripedCounter,
    /// Connections rejected because as many as allowed were open.
    pub refused: StripedCounter,
    /// Accepts that failed. Those for want of descriptors or memory pause the listener.
    pub accept_errors: StripedCounter,
    /// Bytes received.
    pub received: StripedCounter,
    /// Bytes sent.
    pub sent: StripedCounter,
    /// Iterations of the event loops, for the test that they sleep.
    #[cfg(test)]
    pub iterations: StripedCounter,
    closed: [StripedCounter; CloseReason::ALL.len()],
    /// How long iterations take.
    spans: IterationSpans,
    port: Port,
    memory: Arc<Memory>,
    /// What the buffers of each address take, or of each nsqd, on both ports.
    buffers: Option<Arc<Pool>>,
}

/// The two listeners.
#[derive(Clone, Copy, Debug, Default)]
pub enum Port {
    /// That of nsqds.
    #[default]
    Tcp,
    /// That of HTTP clients.
    Http,
}

impl Port {
    fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
        }
    }

    /// What a connection takes, in bytes, beside its buffers.
    fn bytes_of_connection(self) -> usize {
        match self {
            Self::Tcp => memory::NSQD,
            Self::Http => memory::CLIENT,
        }
    }
}

/// How much CPU time the iterations of all event loops take.
#[derive(Clone, Debug)]
pub struct IterationSpans(Arc<Histograms>);

impl Default for IterationSpans {
    fn default() -> Self {
        Self(Arc::new(Histograms::new(2)))
    }
}

impl IterationSpans {
    /// Registers their family.
    pub fn register_metrics(&self, families: &mut Families) {
        let help = "CPU time of the iterations of event loops that had something to do.";
        families.histogram("musterd_loop_iteration_cpu_seconds", help, Arc::clone(&self.0));
    }
}

/// What one event loop has done and not added yet: the busiest numbers are summed on its own thread
/// and added once an iteration.
#[derive(Debug, Default)]
pub(super) struct LocalCounters {
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl ConnectionCounters {
    /// Counters of the listener of this port, whose iterations are added to `spans`.
    #[must_use]
    pub fn new(port: Port, spans: IterationSpans) -> Self {
        Self { port, spans, ..Self::default() }
    }

    /// The same, for connections whose size counts towards `memory`.
    #[must_use]
    pub fn within(self, memory: Arc<Memory>) -> Self {
        Self { memory, ..self }
    }

    /// The same, whose buffers have shares in `buffers`.
    #[must_use]
    pub(crate) fn sharing(self, buffers: Arc<Pool>) -> Self {
        Self { buffers: Some(buffers), ..self }
    }

    /// An iteration took this much CPU time.
    pub(super) fn iterated(&self, span: Duration) {
        let port = self.port;
        self.spans.0.observe(port as usize, || vec![("port", port.label())], span);
    }

    /// Connections that are open now, from accept to the close of the descriptor.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// How many connections are to be closed before one more comes in without a look at shares, of
    /// `most` that may be open.
    #[must_use]
    pub fn past_shared(&self, most: usize) -> usize {
        let open = usize::try_from(self.open()).unwrap_or(usize::MAX);
        open.saturating_add(1).saturating_sub(Pool::shared_from(most))
    }

    /// Bytes of output that peers have not taken yet, now.
    #[must_use]
    pub fn queued_output(&self) -> u64 {
        self.queued_output.load(Ordering::Relaxed)
    }

    /// Connections that ended for `reason`.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize].get()
    }

    /// Registers the families of the listener, which has at most `max` connections, whose peers may
    /// leave `most_unread` bytes.
    pub fn register_metrics(
        self: &Arc<Self>,
        families: &mut Families,
        max: u64,
        most_unread: usize,
    ) {
        let port = self.port.label();
        let label = ("port", port);
        let mut counter = |name, help, labels: &[_], read: fn(&Self) -> &StripedCounter| {
            let counters = Arc::clone(self);
            families.counter(name, help, labels, move || read(&counters).get());
        };
        let help = "Connections accepted, those rejected included.";
        counter("musterd_connections_accepted_total", help, &[label], |all| &all.accepted);
        let help = "Accepts that failed.";
        counter("musterd_accept_errors_total", help, &[label], |all| &all.accept_errors);
        let help = "Bytes received from peers.";
        counter("musterd_network_received_bytes_total", help, &[label], |all| &all.received);
        let help = "Bytes sent to peers.";
        counter("musterd_network_sent_bytes_total", help, &[label], |all| &all.sent);
        let counters = Arc::clone(self);
        register_rejections(families, port, "max_connections", move || counters.refused.get());
        for reason in CloseReason::ALL {
            let (counters, labels) = (Arc::clone(self), [label, ("reason", reason.label())]);
            let help = "Connections that ended, rejected ones left out.";
            let closed = move || counters.closed(reason);
            families.counter("musterd_connections_closed_total", help, &labels, closed);
        }
        let counters = Arc::clone(self);
        let open = move || counters.open();
        families.gauge("musterd_connections", "Open connections.", &[label], open);
        let help = "The most connections that may be open.";
        families.gauge("musterd_connections_max", help, &[label], move || max);
        let (help, counters) = ("Output that peers have not taken.", Arc::clone(self));
        let queued = move || counters.queued_output();
        families.gauge("musterd_output_queued_bytes", help, &[label], queued);
        let help = "The most output that may be queued.";
        families.gauge("musterd_output_queued_max_bytes", help, &[label], move || most_unread);
    }

    /// Counts one more open connection, or rejects it because `most` are open or there is too little
    /// memory, which [`Memory`] counts.
    pub(super) fn enter(&self, most: u64) -> bool {
        // Several loops may accept from one socket: the check and the count are one step.
        let one_more = |open| (open < most).then_some(open + 1);
        let bytes = self.port.bytes_of_connection();
        if !self.memory.has_room(Use::Connections, bytes) {
            return false;
        }
        let enters = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        if enters {
            self.memory.add(Use::Connections, bytes);
        } else {
            self.refused.inc();
        }
        enters
    }

    /// Whether there is so little memory for more connections that shares count. Those of HTTP clients
    /// take a tenth of what those of nsqds take, and are not refused for these.
    pub(super) fn is_short(&self) -> bool {
        matches!(self.port, Port::Tcp) && self.memory.room(Use::Connections, 0) != Room::Enough
    }

    /// A connection that entered is closed.
    pub(super) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.memory.remove(Use::Connections, self.port.bytes_of_connection());
    }

    /// A connection has ended.
    pub(super) fn ended(&self, reason: CloseReason) {
        self.closed[reason as usize].inc();
    }

    /// Adds what an event loop has done since the last time.
    pub(super) fn add(&self, done: LocalCounters) {
        #[cfg(test)]
        self.iterations.inc();
        self.received.add(done.received);
        self.sent.add(done.sent);
    }

    /// So much output waits for its peer.
    pub(crate) fn queued(&self, bytes: usize) {
        self.queued_output.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn unqueued(&self, bytes: usize) {
        self.queued_output.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// The buffers of a connection, which has this permit, took `before` bytes and take `now`. Returns
    /// whether they may.
    #[inline]
    pub(super) fn resized<'a>(
        &self,
        before: usize,
        now: usize,
        permit: impl FnOnce() -> Option<&'a mut Permit>,
    ) -> bool {
        before == now || self.resize(before, now, permit())
    }

    #[inline(never)]
    fn resize(&self, before: usize, now: usize, permit: Option<&mut Permit>) -> bool {
        let fits = if now > before {
            let room = self.memory.room_for_buffers(now, now - before);
            self.memory.add(Use::Buffers, now - before);
            match room {
                Room::Enough => true,
                Room::Little => self.has_share(permit.as_deref()),
                Room::None => false,
            }
        } else {
            self.memory.remove(Use::Buffers, before - now);
            true
        };
        if let (Some(permit), Some(buffers)) = (permit, &self.buffers) {
            permit.hold_buffers(buffers, now);
        }
        fits
    }

    /// Whether a connection may have more of buffers that are nearly full; if not, that is counted.
    fn has_share(&self, permit: Option<&Permit>) -> bool {
        let (Some(permit), Some(buffers)) = (permit, &self.buffers) else { return true };
        let is_behind = permit.is_behind_in(buffers);
        if !is_behind {
            self.memory.refuse(Use::Buffers);
        }
        is_behind
    }

    /// Whether a connection with this permit may have as much output queued as it has, where `most`
    /// may be queued in all.
    pub(super) fn may_queue<'a>(
        &self,
        most: usize,
        permit: impl FnOnce() -> Option<&'a Permit>,
    ) -> bool {
        let queued = self.queued_output();
        let shared_from = limits::shared_from(most);
        queued <= most as u64 && (queued <= shared_from as u64 || self.has_share(permit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_holds_with_several_acceptors() {
        let counters = ConnectionCounters::default();
        let enter = || (0..1000).filter(|_| counters.enter(500)).count();
        let entered: usize = std::thread::scope(|scope| {
            let acceptors = [(); 4].map(|()| scope.spawn(enter));
            acceptors.map(|acceptor| acceptor.join().unwrap()).iter().sum()
        });
        assert_eq!((entered, counters.open(), counters.refused.get()), (500, 500, 3500));
    }
}
