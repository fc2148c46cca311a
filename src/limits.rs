//! The limits that a peer or an operator can reach: unit, reason, and what happens past each.
//!
//! Nothing that a peer sends makes the daemon allocate more than a constant of this file; flags
//! change those that say so. SECURITY.md lists them all, and a test for each. Sizes that only cost
//! speed (batches, initial buffers, events of one wait, the listen queue) are constants of the
//! module that uses them. Must not: contain behaviour.

use std::time::Duration;

/// The longest nsqd command line, in bytes with its newline. The longest valid command has about 150
/// bytes; the rest leaves room for further parameters, which NSQ ignores. Past it: `E_INVALID`,
/// close.
pub const COMMAND_LINE: usize = 4 * 1024;
/// The longest IDENTIFY body, in bytes. nsqd sends about 200. Past it, and for a negative length:
/// `E_BAD_BODY`, close.
pub const IDENTIFY_BODY: usize = 64 * 1024;
/// The longest text field of an IDENTIFY body, in bytes of UTF-8: a DNS name has 253 at most. Every
/// answer that shows the nsqd repeats them. Past it: `E_BAD_BODY`, close.
pub const IDENTITY_FIELD: usize = 255;
/// The fields of an IDENTIFY body together, in bytes as answers show them: escaped, with their names.
/// Past it: `E_BAD_BODY`, close.
pub const IDENTITY: usize = 1024;
/// The longest topic or channel name, in bytes with its `#ephemeral`: NSQ's own limit. Past it:
/// `E_BAD_TOPIC` or `E_BAD_CHANNEL`, close; or 400.
pub const NAME: usize = 64;

/// From accept to a complete IDENTIFY (`--handshake-timeout`). Past it: close.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// From a command's first byte to its last. nsqd's own write deadline is 1 s. Past it: close.
pub const COMMAND: Duration = Duration::from_secs(10);
/// An identified nsqd that sends nothing for this many inactive-producer-timeouts, and for
/// [`SILENCE`], is closed. After the first of them it is already left out of every answer.
pub const SILENCE_TIMEOUTS: u32 = 2;
/// The least of that: an nsqd that was stopped for a while, or whose network was, comes back with all
/// it has registered. Past it, and earlier when [`SHARED_FROM`] of the connections are taken, those
/// that have been silent for longest first: close.
pub const SILENCE: Duration = Duration::from_secs(600);
/// How long a connection may be silent before the kernel probes it (TCP keepalive).
pub const KEEPALIVE: Duration = Duration::from_secs(15);
/// From one probe to the next: five must be lost before [`TCP_USER_TIMEOUT`].
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(9);
/// The kernel closes a connection whose peer acknowledges nothing for this long, neither data nor
/// probes. An nsqd would have sent four PINGs in that time.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(60);

/// TCP workers (`--shards`), and HTTP workers. Past it: the daemon does not start.
pub const WORKERS: usize = 1024;
/// How long the calls of handlers in one iteration of an event loop may take together. Past it:
/// what is left is done in the next iteration.
pub const ITERATION: Duration = Duration::from_millis(5);
/// How much one call of a handler may do, in units of work, of about 100 ns each, so that no
/// connection takes an iteration for itself. Past it: the rest goes on in slices, behind the others.
pub const CALL: usize = 1024;
/// How long the slices of long work may take in one iteration, all together, beside that. Past it:
/// they go on in the next iteration, behind everything that is ready by then.
pub const SLICES: Duration = Duration::from_millis(1);

/// How full a pool is (connections, buffers, unread output, long requests, registrations), in per
/// cent, when shares begin to count. Past it: what is new of the address that has most is refused,
/// and of an nsqd that has identified what is new of that nsqd.
pub const SHARED_FROM: usize = 80;

/// [`SHARED_FROM`] of `most` bytes or registrations, of which a hundred are few.
#[must_use]
pub(crate) const fn shared_from(most: usize) -> usize {
    most / 100 * SHARED_FROM
}

/// Output that a peer has not read yet, in bytes. Past it the event loop stops reading from that
/// connection.
pub const QUEUED_OUTPUT: usize = 256 * 1024;
/// The kernel's buffer for the output of one connection, in bytes; it takes twice as much memory for
/// it. Without a limit it gives each connection up to 4 MiB (`net.ipv4.tcp_wmem`), and when all have
/// too much together it drops what comes in, for every connection of the machine. Also how much one
/// write can cost. So much for each round trip is 100 MB/s at 1 ms, and 1 MB/s at 100 ms. Past it: the
/// output waits here.
pub const SEND_BUFFER: usize = 128 * 1024;
/// How long output may make no progress, because the peer does not read it or its machine does not
/// acknowledge it (`TCP_USER_TIMEOUT`). Past it: close.
pub const WRITE_STALL: Duration = Duration::from_secs(30);
/// What a peer must read, in bytes per second: it has [`WRITE_STALL`] and as long as its queued
/// output takes at this rate; and of a long HTTP response as much over the time that it makes that
/// wait, of [`WRITE_STALL`] at least. Below it: close.
pub const READ_RATE: usize = 64 * 1024;
/// How long a connection that the daemon closes still discards input after the last reply, so that
/// the peer reads that reply instead of a reset. Past it: close.
pub const LINGER: Duration = Duration::from_secs(2);
/// Bytes read from one connection at a time, so that one peer's flood does not delay the others.
pub const READ_BUFFER: usize = 64 * 1024;
/// Input that a connection handler may leave unconsumed, in bytes: an incomplete IDENTIFY body or
/// HTTP head. The handlers' own limits are lower, so that only a faulty handler reaches it. Past it:
/// close.
pub const UNCONSUMED_INPUT: usize = 128 * 1024;

/// Registrations (topics and channels) of one nsqd. Past it: `E_INVALID`; what it has stays, and what
/// was refused is tried again.
pub const REGISTRATIONS_PER_NSQD: usize = 100_000;
/// Registrations of all nsqds together; also topics and channels together, so that those created
/// over HTTP are bounded. Past it: `E_INVALID` as above, or 503 `REGISTRY_FULL`.
pub const REGISTRATIONS: usize = 5_000_000;
/// Registrations that one nsqd may have whatever the others have. Past it, and once [`SHARED_FROM`] of
/// all registrations, of all names, or of the registry's memory are in use: `E_INVALID` as above for
/// an nsqd of which no other has more.
pub const REGISTRATIONS_UNSHARED: usize = 1_000;
/// One in this many topics and channels may be known to HTTP clients only (`--max-http-names`). Past
/// it: 503 `REGISTRY_FULL`; nsqds go on.
pub const HTTP_NAMES_SHARE: usize = 10;
/// Refused registrations of one nsqd that are tried again when it PINGs: nsqd never repeats them.
/// Past it: forgotten until it connects again.
pub const REFUSED_PER_NSQD: usize = 1_000;
/// Refused registrations of all nsqds that are tried again, about 200 bytes each at most. Past it:
/// as above.
pub const REFUSED: usize = 500_000;

/// A PROXY header, in bytes: its addresses, and whatever else the proxy adds. Past it: close.
pub const PROXY_HEADER: usize = 4 * 1024;

/// An HTTP request's head, in bytes. Past it: 431, close.
pub const HTTP_HEAD: usize = 16 * 1024;
/// Header lines of one HTTP request. Past it: 431, close.
pub const HTTP_HEADERS: usize = 100;
/// An HTTP request's target, in bytes: a parameter of 8 KiB, and its path. Past it: 414, close.
pub const HTTP_URI: usize = 8 * 1024 + 64;
/// An HTTP request's body, in bytes; bodies are discarded as they arrive. Past it: 413, close.
pub const HTTP_BODY: usize = 1024 * 1024;
/// The longest token of `--http-read-token-file` and `--http-write-token-file`, in bytes. Past it: the daemon does not start.
pub const HTTP_TOKEN: usize = 1024;
/// The longest value of an `Authorization` field that is compared, in bytes: a scheme, spaces and a
/// token. Past it: as if the field were empty.
pub const HTTP_AUTHORIZATION: usize = HTTP_TOKEN + 64;
/// From an HTTP request's first byte to the end of its head, from there to the end of its body, and
/// from accept to the first byte. Past it: 408, close; before the first byte: close.
pub const HTTP_REQUEST: Duration = Duration::from_secs(10);
/// A keep-alive connection without a request (`--http-idle-timeout`): longer than clients keep
/// theirs (go-nsq: 90 s), so that no POST meets the close. Past it: close.
pub const HTTP_IDLE: Duration = Duration::from_secs(120);
/// The same while [`SHARED_FROM`] of the connections are taken, so that there is room for those who
/// come: an nsqd asks once for the channels of a new topic, and does without them when it cannot. Past
/// it: close.
pub const HTTP_IDLE_FULL: Duration = Duration::from_secs(10);
/// The least `--http-idle-timeout`. Below it: the daemon does not start.
pub const HTTP_IDLE_LEAST: Duration = Duration::from_secs(1);
/// The most, longer than load balancers keep connections. Past it: the daemon does not start.
pub const HTTP_IDLE_MOST: Duration = Duration::from_secs(24 * 60 * 60);
/// Topics, channels, registrations and nsqds, of each at most, up to which a listing of all of them
/// is made at once. Past it: in slices, as the client reads.
pub const SMALL_REGISTRY: usize = 4096;
/// Producers, or channels, of a topic up to which a response about it is made at once. Past it: in
/// slices, or for `/lookup` whole in one of them, to be cached.
pub const WIDE_TOPIC: usize = 1024;
/// The same for `/lookup`, in bytes: producers with long identities are few. Past it: as above.
pub const WIDE_LOOKUP: usize = 256 * 1024;
/// The longest body of `/lookup` that is made whole to be cached, in bytes: as long as one slice can
/// take. Past it: in slices, each time.
pub const CACHED_LOOKUP: usize = 4 * 1024 * 1024;
/// Long responses and changes that are made in slices at a time, of all clients together; those about
/// one topic are not counted. Past it: 503 `BUSY`.
pub const WALKS: usize = 32;
/// What the responses to `/nodes` that are being made may collect together, in bytes; one is always
/// allowed. Past it: 503 `BUSY`.
pub const NODES_INDEX: usize = 256 * 1024 * 1024;
/// Cached bodies of `/lookup`, in bytes, all topics together. Past it those that are asked for least
/// give way to others, and are rendered for each request.
pub const RESPONSE_CACHE: usize = 64 * 1024 * 1024;
/// Responses that HTTP clients have not read yet, in bytes, all clients together. From
/// [`SHARED_FROM`] on: 503 for the long requests of the address that has most; past it: for all of
/// its requests.
pub const HTTP_QUEUED_OUTPUT: usize = 512 * 1024 * 1024;
/// The same beyond that, for those that read. Past it: 503 for all long requests, and for the short
/// ones (`/metrics`, and `/lookup` and `/channels` of one topic) of an address that has left anything
/// unread. Past twice as much: close, for a response that its client does not take at once.
pub const HTTP_RESERVED_OUTPUT: usize = 128 * 1024 * 1024;

/// What `--max-memory` holds back at least, in bytes, for what is not counted; otherwise 15 %.
pub const MEMORY_RESERVE: usize = 32 * 1024 * 1024;
/// The registry's part of the rest, in per cent, so that there is room to serve it. Past it: as past
/// [`REGISTRATIONS`].
pub const MEMORY_OF_REGISTRY: usize = 75;
/// The part of the rest that HTTP clients may leave unread, in per cent, and nsqds as much. Past it:
/// as past [`HTTP_QUEUED_OUTPUT`] and [`TCP_QUEUED_OUTPUT`].
pub const MEMORY_OF_UNREAD: usize = 25;
/// The part of the rest that cached responses may take, in per cent. Past it: as past
/// [`RESPONSE_CACHE`].
pub const MEMORY_OF_CACHE: usize = 10;
/// Buffers of a connection, in bytes, that may be filled with the last of the memory, for what is
/// usual: commands, heads and replies that come in two pieces. Past it, and past 90 % of the memory:
/// close.
pub const SMALL_BUFFERS: usize = 2 * 1024;
/// The least `--max-memory`, in bytes. Below it: the daemon does not start.
pub const MEMORY_LEAST: usize = 64 * 1024 * 1024;
/// Replies that nsqds have not read yet, in bytes, all nsqds together. From [`SHARED_FROM`] on: the
/// connection closes that would have more to read, if none has left more; past it: whoever's.
pub const TCP_QUEUED_OUTPUT: usize = 64 * 1024 * 1024;

/// From SIGTERM to the end of the process, whatever the peers do. Past it: exit.
pub const SHUTDOWN: Duration = Duration::from_secs(5);
/// From SIGTERM until requests in progress are ended; the rest of [`SHUTDOWN`] is for the log. Past
/// it: close.
pub const DRAIN: Duration = Duration::from_secs(3);

/// Log lines that one address may cause in a second, of each kind. Past it: left out, and their number
/// is logged.
pub const LOG_RATE: usize = 100;
/// Addresses and kinds whose lines are counted in a second. Past it: further ones share one count.
pub const LOG_PEERS: usize = 4096;
/// Log lines queued for stderr, of each class: changes, warnings, refusals, all others. Past it: new
/// lines of that class are dropped, counted, and reported once a minute.
pub const LOG_LINES: usize = 8 * 1024;
/// Bytes of the lines queued for stderr, of each class: together they are in the reserve of
/// `--max-memory`. Past it: as past [`LOG_LINES`].
pub const LOG_BYTES: usize = 2 * 1024 * 1024;
/// The text of one log line, in bytes before control characters are escaped (up to six bytes for two).
/// Past it: cut.
pub const LOG_LINE: usize = 1024;

const _: () = assert!(COMMAND_LINE > "UNREGISTER".len() + 2 * (1 + NAME) + 1);
const _: () = assert!(IDENTIFY_BODY + COMMAND_LINE <= QUEUED_OUTPUT);
const _: () = assert!(IDENTIFY_BODY + COMMAND_LINE <= UNCONSUMED_INPUT);
const _: () = assert!(HTTP_HEAD + READ_BUFFER <= UNCONSUMED_INPUT);
const _: () = assert!(HTTP_URI + HTTP_AUTHORIZATION < HTTP_HEAD);
const _: () = assert!(DRAIN.as_secs() < SHUTDOWN.as_secs());
