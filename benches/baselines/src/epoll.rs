//! One thread, one edge-triggered epoll, direct reads and writes. It counts the ends of requests and
//! writes as many answers.
//!
//! Must not: know what it answers.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// The listener's token; connections are numbered from 0.
const LISTENER: u64 = u64::MAX;
/// Bytes read at once.
const SCRATCH: usize = 64 * 1024;

struct Connection {
    stream: TcpStream,
    /// How many bytes of a request's end were seen last.
    matched: usize,
    /// Answers not written yet, and how much of the first is.
    unanswered: usize,
    written: usize,
}

/// Answers whatever ends in `end` with `answer`, forever.
///
/// # Errors
/// When the address cannot be bound or the epoll fails.
pub(crate) fn serve(address: &str, end: &[u8], answer: &[u8]) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let (mut events, mut scratch) = (Vec::with_capacity(256), vec![0; SCRATCH]);
    // Several answers to one read leave in one write.
    let batch = answer.repeat(if answer.len() < 64 { 64 } else { 1 });
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            if event.data.u64() == LISTENER {
                accept(&listener, &epoll, &mut connections)?;
                continue;
            }
            let at = usize::try_from(event.data.u64()).expect("an index");
            let Some(connection) = connections[at].as_mut() else { continue };
            if !serve_connection(connection, end, answer.len(), &batch, &mut scratch) {
                connections[at] = None;
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &impl std::os::fd::AsFd,
    connections: &mut Vec<Option<Connection>>,
) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(epoll, &stream, EventData::new_u64(connections.len() as u64), flags)?;
        connections.push(Some(Connection { stream, matched: 0, unanswered: 0, written: 0 }));
    }
}

/// Reads what is there and answers it; whether the connection goes on.
fn serve_connection(
    connection: &mut Connection,
    end: &[u8],
    answer: usize,
    batch: &[u8],
    scratch: &mut [u8],
) -> bool {
    loop {
        let read = match connection.stream.read(scratch) {
            Ok(0) => return false,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return false,
        };
        for &byte in &scratch[..read] {
            connection.matched = match byte == end[connection.matched] {
                true => connection.matched + 1,
                false => usize::from(byte == end[0]),
            };
            if connection.matched == end.len() {
                connection.matched = 0;
                connection.unanswered += 1;
            }
        }
        if !write(connection, answer, batch) {
            return false;
        }
        if read < scratch.len() {
            return true;
        }
    }
}

fn write(connection: &mut Connection, answer: usize, batch: &[u8]) -> bool {
    while connection.unanswered > 0 {
        let upto = batch.len().min(connection.unanswered * answer);
        match connection.stream.write(&batch[connection.written..upto]) {
            Ok(sent) => {
                connection.written += sent;
                connection.unanswered -= connection.written / answer;
                connection.written %= answer;
            }
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
    true
}
