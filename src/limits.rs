//! Every bound: its unit, its reason, and what happens past it.
//!
//! Must not: hold behaviour. Nothing a peer sends makes the daemon allocate more than a constant
//! of this file; an operator's flags change those that say so.

use std::time::Duration;

/// The longest nsqd command line, in bytes with its newline. Four times what two 64-byte names
/// and the longest verb take is 600; the rest is kindness. Past it: `E_INVALID`, close.
pub const COMMAND_LINE: usize = 4 * 1024;
/// The longest IDENTIFY body, in bytes. nsqd sends about 200. Past it, and below zero:
/// `E_BAD_BODY`, close.
pub const IDENTIFY_BODY: usize = 64 * 1024;
/// The longest topic or channel name, in bytes with its `#ephemeral`: NSQ's own rule.
pub const NAME: usize = 64;

/// From accept to a complete IDENTIFY (`--handshake-timeout`). Past it: close.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// From a command's first byte to its last. nsqd's own write deadline is 1 s. Past it: close.
pub const COMMAND: Duration = Duration::from_secs(10);
/// An identified nsqd that says nothing for this many inactive-producer-timeouts is closed; it
/// has been missing from every answer for all but the first.
pub const SILENCE_TIMEOUTS: u32 = 2;
/// How long a silent link is trusted before the kernel probes it (TCP keepalive).
pub const KEEPALIVE: Duration = Duration::from_secs(15);
/// From one probe to the next: five must be lost before [`TCP_USER_TIMEOUT`].
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(9);
/// A link that acknowledges nothing for this long, neither data nor probes, is given up by the
/// kernel; an nsqd behind it would have missed four PINGs.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(60);

/// Unread output of one connection, in bytes. Past it the table stops reading that connection.
pub const QUEUED_OUTPUT: usize = 256 * 1024;
/// Output that makes no progress for this long ends its connection: what a peer does not read, and
/// what its host does not acknowledge (`TCP_USER_TIMEOUT`).
pub const WRITE_STALL: Duration = Duration::from_secs(30);
/// After the last reply of a connection that the daemon ends, how long it still discards input,
/// so that the peer reads that reply instead of a reset.
pub const LINGER: Duration = Duration::from_secs(2);
/// Bytes read from one connection in one turn; the next connection must not wait for a flood.
pub const READ_BUFFER: usize = 64 * 1024;
/// Input that a conversation may leave unconsumed after a turn, in bytes: an IDENTIFY body or an
/// HTTP head that is still to be completed. A conversation ends its connection long before; one
/// that does not is taken for broken.
pub const UNCONSUMED_INPUT: usize = 128 * 1024;

/// Registrations (topics and channels) of one nsqd. Past it: `E_INVALID`, close.
pub const REGISTRATIONS_PER_PEER: usize = 100_000;
/// Registrations of all nsqds, and topics and channels created over HTTP. Past it: `E_INVALID`
/// and close, or 503 `REGISTRY_FULL`; a warning once.
pub const REGISTRATIONS: usize = 5_000_000;

/// An HTTP request's head, in bytes. Past it: 431, close.
pub const HTTP_HEAD: usize = 16 * 1024;
/// Header lines of one HTTP request. Past it: 431, close.
pub const HTTP_HEADERS: usize = 100;
/// An HTTP request's target, in bytes: a parameter of 8 KiB, and its path. Past it: 414, close.
pub const HTTP_URI: usize = 8 * 1024 + 64;
/// An HTTP request's body, in bytes; bodies are discarded as they come. Past it: 413, close.
pub const HTTP_BODY: usize = 1024 * 1024;
/// The longest token of `--http-write-token-file`, in bytes, and the reason why no longer value of an
/// `Authorization` field than [`HTTP_AUTHORIZATION`] is kept. Past it: the daemon does not start.
pub const HTTP_TOKEN: usize = 1024;
/// The longest value of an `Authorization` field that is looked at, in bytes: a scheme, spaces and a
/// token. Past it: as if it were empty.
pub const HTTP_AUTHORIZATION: usize = HTTP_TOKEN + 64;
/// From an HTTP request's first byte to the end of its head, from there to the end of its body, and
/// from accept to the first byte. Past it: 408, close; without a byte: close.
pub const HTTP_REQUEST: Duration = Duration::from_secs(10);
/// A keep-alive connection without a request. Past it: close.
pub const HTTP_IDLE: Duration = Duration::from_secs(90);
/// Answers to `/lookup` of wide topics that are kept for the next who asks, in bytes. Past it they are
/// rendered each time.
pub const RESPONSE_CACHE: usize = 64 * 1024 * 1024;
/// Answers rendered and not yet read by all HTTP clients together, in bytes. Past it: 503.
pub const HTTP_QUEUED_OUTPUT: usize = 512 * 1024 * 1024;

/// From SIGTERM to the end of the process, whatever the peers do.
pub const SHUTDOWN: Duration = Duration::from_secs(5);
/// From SIGTERM to the end of what was in flight; the rest of [`SHUTDOWN`] is for the log.
pub const DRAIN: Duration = Duration::from_secs(3);

/// Log lines that wait to be written. Past it: new ones are dropped, counted, and reported once a
/// minute.
pub const LOG_LINES: usize = 8 * 1024;
/// The text of one log line, in bytes before control characters are escaped (which takes up to six
/// bytes for two). Past it: cut.
pub const LOG_LINE: usize = 1024;

const _: () = assert!(COMMAND_LINE > "UNREGISTER".len() + 2 * (1 + NAME) + 1);
const _: () = assert!(IDENTIFY_BODY + COMMAND_LINE <= QUEUED_OUTPUT);
const _: () = assert!(IDENTIFY_BODY + COMMAND_LINE <= UNCONSUMED_INPUT);
const _: () = assert!(HTTP_HEAD + READ_BUFFER <= UNCONSUMED_INPUT);
const _: () = assert!(HTTP_URI + HTTP_AUTHORIZATION < HTTP_HEAD);
const _: () = assert!(DRAIN.as_secs() < SHUTDOWN.as_secs());
