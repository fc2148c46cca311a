//! The queues between those who log and the log's thread: one for each class of lines, so that a
//! flood of one class drops no line of another.
//!
//! Must not: block a caller. Any thread queues lines; the log's thread writes them, in the order in
//! which they were queued.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam::channel::{Receiver, Select, Sender, bounded};
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::level::Level;
use super::writer::Shared;
use crate::limits;

/// The target of an event about a request that has changed something.
pub const CHANGE: &str = "change";
/// The target of an event about something that was refused to a peer, or went wrong with it.
pub const REFUSAL: &str = "refusal";

/// What a line is about. Each class has a queue.
#[derive(Clone, Copy, Debug)]
enum Class {
    /// What somebody has changed.
    Change,
    /// What the daemon warns of: its own words, of which there are few.
    Warning,
    /// What was refused to a peer, or went wrong with it.
    Refusal,
    /// All others.
    Other,
}

const CLASSES: usize = 4;

impl Class {
    fn of(event: &Metadata<'_>) -> Self {
        match event.target() {
            CHANGE => Self::Change,
            REFUSAL => Self::Refusal,
            _ if Level::of(event) >= Level::Warn => Self::Warning,
            _ => Self::Other,
        }
    }
}

/// A line, and how many were queued before it.
#[derive(Debug)]
struct Line {
    number: u64,
    text: Box<[u8]>,
}

/// Bytes of text in each queue.
type Bytes = Arc<[AtomicUsize; CLASSES]>;

/// The ends of the queues where lines come in; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Queues {
    queues: [Sender<Line>; CLASSES],
    bytes: Bytes,
    next: Arc<AtomicU64>,
    shared: Arc<Shared>,
}

/// The ends where lines come out.
#[derive(Debug)]
pub(super) struct Lines {
    queues: [Receiver<Line>; CLASSES],
    bytes: Bytes,
    /// The first line of each queue, once it was looked at.
    first: [Option<Line>; CLASSES],
}

/// Queues of so many lines each. Lines that find theirs full are counted in `shared`.
pub(super) fn queues(capacity: usize, shared: &Arc<Shared>) -> (Queues, Lines) {
    let both: [_; CLASSES] = std::array::from_fn(|_| bounded(capacity));
    let senders = both.each_ref().map(|(sender, _)| sender.clone());
    let receivers = both.map(|(_, receiver)| receiver);
    let (bytes, next, shared) = (Bytes::default(), Arc::default(), Arc::clone(shared));
    let first = [const { None }; CLASSES];
    let lines = Lines { queues: receivers, bytes: Arc::clone(&bytes), first };
    (Queues { queues: senders, bytes, next, shared }, lines)
}

impl Queues {
    fn push(&self, class: Class, text: &[u8]) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (bytes, size) = (&self.bytes[class as usize], text.len());
        let fits = bytes.fetch_add(size, Ordering::Relaxed) + size <= limits::LOG_BYTES;
        let queue = &self.queues[class as usize];
        if !fits || queue.try_send(Line { number, text: text.into() }).is_err() {
            bytes.fetch_sub(size, Ordering::Relaxed);
            self.shared.drop_lines(1);
        }
    }

    /// Has the log's thread look whether the log stops. If the queue is full, it is awake.
    pub(super) fn wake(&self) {
        let _ = self.queues[Class::Other as usize].try_send(Line { number: 0, text: [].into() });
    }
}

/// Queues the lines of one event.
#[derive(Debug)]
pub(super) struct QueueWriter<'a> {
    queues: &'a Queues,
    class: Class,
}

impl<'a> MakeWriter<'a> for Queues {
    type Writer = QueueWriter<'a>;

    fn make_writer(&'a self) -> QueueWriter<'a> {
        QueueWriter { queues: self, class: Class::Other }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> QueueWriter<'a> {
        QueueWriter { queues: self, class: Class::of(event) }
    }
}

impl io::Write for QueueWriter<'_> {
    /// Takes a whole line; never fails.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queues.push(self.class, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// The oldest line of all queues; none when they are empty.
    pub(super) fn next(&mut self) -> Option<Box<[u8]>> {
        for (class, (first, queue)) in self.first.iter_mut().zip(&self.queues).enumerate() {
            if first.is_none()
                && let Ok(line) = queue.try_recv()
            {
                self.bytes[class].fetch_sub(line.text.len(), Ordering::Relaxed);
                *first = Some(line);
            }
        }
        let waiting = self.first.iter_mut().filter(|first| first.is_some());
        let oldest = waiting.min_by_key(|first| first.as_ref().map(|line| line.number))?;
        oldest.take().map(|line| line.text)
    }

    /// Waits until there may be a line.
    pub(super) fn wait(&self) {
        let mut select = Select::new();
        for queue in &self.queues {
            select.recv(queue);
        }
        select.ready();
    }
}
