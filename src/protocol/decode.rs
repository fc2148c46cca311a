//! Decodes commands: input bytes to a complete command, or "incomplete", or NSQ's error.
//!
//! Must not: hold state; the session knows whether its peer has identified. Source: nsq
//! `nsqlookupd/lookup_protocol_v1.go`.

use std::fmt;

use super::names;
use crate::limits;

/// A complete command, borrowed from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Keeps the nsqd active.
    Ping,
    /// Describes the nsqd: the JSON body, a [`PeerInfo`](super::peer_info::PeerInfo).
    Identify(&'a [u8]),
    /// Registers the nsqd for this topic and channel. The names are valid.
    Register(&'a str, Option<&'a str>),
    /// Removes the nsqd from this channel, or without one from this topic and all its channels.
    Unregister(&'a str, Option<&'a str>),
}

/// Why a command is not executed: NSQ's error code and a text. Every error is fatal: it is sent,
/// then the connection is closed. NSQ: `FatalClientErr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// Which of NSQ's error codes.
    pub code: ErrorCode,
    /// What follows the code. It may repeat bytes of the peer that are not UTF-8.
    pub text: Vec<u8>,
    /// Which fields of IDENTIFY are wrong, for the log: it is not sent.
    pub fields: Option<WrongFields>,
}

/// The fields of IDENTIFY that are wrong. Two bytes: every decoded command has room for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongFields {
    /// It is too long.
    TooLong(LongField),
    /// They are missing, empty or 0: a bit for each of [`REQUIRED`].
    Missing(u8),
}

/// The fields that every IDENTIFY has.
pub const REQUIRED: [&str; 4] = ["broadcast_address", "tcp_port", "http_port", "version"];

/// A field of IDENTIFY that is too long. One byte: every decoded command has room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongField {
    /// `hostname`.
    Hostname,
    /// `broadcast_address`.
    BroadcastAddress,
    /// `version`.
    Version,
    /// `topology_zone`.
    TopologyZone,
    /// `topology_region`.
    TopologyRegion,
    /// All fields together, encoded.
    All,
}

impl LongField {
    /// Its name in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hostname => "hostname",
            Self::BroadcastAddress => "broadcast_address",
            Self::Version => "version",
            Self::TopologyZone => "topology_zone",
            Self::TopologyRegion => "topology_region",
            Self::All => "all of them together, encoded",
        }
    }
}

/// NSQ's error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// `E_INVALID`: an unknown command, or one that is not allowed in this state.
    Invalid,
    /// `E_BAD_TOPIC`: no valid topic name.
    BadTopic,
    /// `E_BAD_CHANNEL`: no valid channel name.
    BadChannel,
    /// `E_BAD_BODY`: an IDENTIFY body that cannot be used.
    BadBody,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Invalid, Self::BadTopic, Self::BadChannel, Self::BadBody];

    /// The code as it is sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "E_INVALID",
            Self::BadTopic => "E_BAD_TOPIC",
            Self::BadChannel => "E_BAD_CHANNEL",
            Self::BadBody => "E_BAD_BODY",
        }
    }
}

impl CommandError {
    pub(crate) fn new(code: ErrorCode, text: impl Into<Vec<u8>>) -> Self {
        Self { code, text: text.into(), fields: None }
    }

    /// The payload of the response: code, space, text.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        [self.code.as_str().as_bytes(), b" ", &self.text].concat()
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.as_str(), String::from_utf8_lossy(&self.text))?;
        match self.fields {
            None => Ok(()),
            Some(WrongFields::TooLong(field)) => write!(f, " ({})", field.as_str()),
            Some(WrongFields::Missing(bits)) => {
                let names = REQUIRED.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
                let names: Vec<_> = names.map(|(_, &name)| name).collect();
                write!(f, " ({})", names.join(", "))
            }
        }
    }
}

/// Decodes the first command of `input`: the command and its length in bytes, or `None` when it is
/// incomplete. `identified`: whether the peer has identified; `end`: no byte will follow `input`.
///
/// # Errors
/// What NSQ refuses, with NSQ's texts and in NSQ's order; also lines and bodies longer than
/// [`limits::COMMAND_LINE`] and [`limits::IDENTIFY_BODY`].
pub fn decode(
    input: &[u8],
    identified: bool,
    end: bool,
) -> Result<Option<(Command<'_>, usize)>, CommandError> {
    let window = &input[..input.len().min(limits::COMMAND_LINE)];
    let Some(newline) = window.iter().position(|&byte| byte == b'\n') else {
        // Divergence: nsqlookupd reads a line of any length.
        return if window.len() < limits::COMMAND_LINE {
            Ok(None)
        } else {
            let text = format!("command line longer than {} bytes", limits::COMMAND_LINE);
            Err(CommandError::new(ErrorCode::Invalid, text))
        };
    };
    let mut params = trim_space(&input[..newline]).split(|&byte| byte == b' ');
    let command = params.next().unwrap_or_default();
    let rest = newline + 1;
    match command {
        b"PING" => Ok(Some((Command::Ping, rest))),
        b"IDENTIFY" if identified => {
            Err(CommandError::new(ErrorCode::Invalid, "cannot IDENTIFY again"))
        }
        b"IDENTIFY" => {
            let body = identify_body(&input[rest..], end)?;
            Ok(body.map(|body| (Command::Identify(body), rest + LENGTH + body.len())))
        }
        b"REGISTER" | b"UNREGISTER" if !identified => {
            Err(CommandError::new(ErrorCode::Invalid, "client must IDENTIFY"))
        }
        b"REGISTER" => {
            let (topic, channel) = topic_and_channel("REGISTER", params)?;
            Ok(Some((Command::Register(topic, channel), rest)))
        }
        b"UNREGISTER" => {
            let (topic, channel) = topic_and_channel("UNREGISTER", params)?;
            Ok(Some((Command::Unregister(topic, channel), rest)))
        }
        _ => Err(CommandError::new(ErrorCode::Invalid, [b"invalid command ", command].concat())),
    }
}

/// Bytes of the length before a body or a response.
const LENGTH: usize = 4;

/// The IDENTIFY body at the start of `input`, which begins with its length as a big-endian `int32`.
fn identify_body(input: &[u8], end: bool) -> Result<Option<&[u8]>, CommandError> {
    let incomplete = |error: &str| {
        if end { Err(CommandError::new(ErrorCode::BadBody, error)) } else { Ok(None) }
    };
    let Some((length, body)) = input.split_first_chunk::<LENGTH>() else {
        return incomplete("IDENTIFY failed to read body size");
    };
    // Divergence: nsqlookupd crashes on a negative length, and allocates any positive one.
    let length = i32::from_be_bytes(*length);
    let Ok(length) = usize::try_from(length) else {
        let text = format!("IDENTIFY invalid body size {length}");
        return Err(CommandError::new(ErrorCode::BadBody, text));
    };
    if length > limits::IDENTIFY_BODY {
        let text = format!("IDENTIFY body too big {length} > {}", limits::IDENTIFY_BODY);
        return Err(CommandError::new(ErrorCode::BadBody, text));
    }
    match body.get(..length) {
        Some(body) => Ok(Some(body)),
        None => incomplete("IDENTIFY failed to read body"),
    }
}

/// The names of a REGISTER or UNREGISTER. Further parameters are ignored; an empty channel is none.
fn topic_and_channel<'a>(
    command: &str,
    mut params: impl Iterator<Item = &'a [u8]>,
) -> Result<(&'a str, Option<&'a str>), CommandError> {
    let Some(topic) = params.next() else {
        let text = format!("{command} insufficient number of params");
        return Err(CommandError::new(ErrorCode::Invalid, text));
    };
    let topic = name(ErrorCode::BadTopic, command, "topic", topic)?;
    let channel = match params.next() {
        None | Some(b"") => None,
        Some(channel) => Some(name(ErrorCode::BadChannel, command, "channel", channel)?),
    };
    Ok((topic, channel))
}

fn name<'a>(
    code: ErrorCode,
    command: &str,
    kind: &str,
    name: &'a [u8],
) -> Result<&'a str, CommandError> {
    match std::str::from_utf8(name) {
        Ok(name) if names::is_valid(name.as_bytes()) => Ok(name),
        _ => {
            let text =
                [command.as_bytes(), b" ", kind.as_bytes(), b" name '", name, b"' is not valid"];
            Err(CommandError::new(code, text.concat()))
        }
    }
}

/// Go's `strings.TrimSpace` for text that may not be UTF-8: removes whole white-space characters
/// from both ends.
fn trim_space(mut line: &[u8]) -> &[u8] {
    if let [first, .., last] = line
        && first.is_ascii_graphic()
        && last.is_ascii_graphic()
    {
        return line;
    }
    while let Some(space) = leading_space(line) {
        line = &line[space..];
    }
    while let Some(space) = trailing_space(line) {
        line = &line[..line.len() - space];
    }
    line
}

/// The length of the white-space character at the start, if there is one.
fn leading_space(line: &[u8]) -> Option<usize> {
    let longest = longest_character(*line.first()?).min(line.len());
    (1..=longest).find_map(|length| space(&line[..length]))
}

/// The length of the white-space character at the end, if there is one.
fn trailing_space(line: &[u8]) -> Option<usize> {
    let longest = longest_character(*line.last()?).min(line.len());
    (1..=longest).find_map(|length| space(&line[line.len() - length..]))
}

/// The largest length of a character whose first or last byte is `edge`.
fn longest_character(edge: u8) -> usize {
    if edge.is_ascii() { 1 } else { 4 }
}

/// The length of `bytes`, if they are exactly one white-space character.
fn space(bytes: &[u8]) -> Option<usize> {
    if let [byte @ 0..0x80] = bytes {
        return char::from(*byte).is_whitespace().then_some(1);
    }
    let mut characters = std::str::from_utf8(bytes).ok()?.chars();
    let first = characters.next()?;
    (first.is_whitespace() && characters.next().is_none()).then_some(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &[u8], identified: bool, want: Result<Option<(Command<'_>, usize)>, &str>) {
        let got = decode(input, identified, false);
        let got = got.map_err(|error| String::from_utf8_lossy(&error.message()).into_owned());
        assert_eq!(got, want.map_err(str::to_owned), "{:?}", String::from_utf8_lossy(input));
    }

    #[test]
    fn a_command_of_a_client_is_decoded() {
        let mut bytes = Vec::new();
        testkit::wire::register("t", Some("c"), &mut bytes);
        assert_eq!(decode(&bytes, true, false), Ok(Some((Command::Register("t", Some("c")), 13))));
        bytes.clear();
        testkit::wire::unregister("t", None, &mut bytes);
        assert_eq!(decode(&bytes, true, false), Ok(Some((Command::Unregister("t", None), 13))));
    }

    #[test]
    fn commands_are_decoded() {
        check(b"PING\n", false, Ok(Some((Command::Ping, 5))));
        check(b"PIN", false, Ok(None));
        check(b"", false, Ok(None));
        check(b"PING a b\r\nPING\n", false, Ok(Some((Command::Ping, 10))));
        check("\u{a0}\u{2003}PING\u{85}\n".as_bytes(), false, Ok(Some((Command::Ping, 12))));
        check(b"\xa0PING\n", false, Err("E_INVALID invalid command \u{fffd}PING"));
        check(b"REGISTER t c extra\n", true, Ok(Some((Command::Register("t", Some("c")), 19))));
        check(b"REGISTER t  c\n", true, Ok(Some((Command::Register("t", None), 14))));
        check(b"UNREGISTER t\n", true, Ok(Some((Command::Unregister("t", None), 13))));
        check(b"IDENTIFY\n\0\0\0\x02{}PING", false, Ok(Some((Command::Identify(b"{}"), 15))));
        check(b"IDENTIFY\n\0\0\0\0", false, Ok(Some((Command::Identify(b""), 13))));
        check(b"IDENTIFY\n\0\0\0\x02{", false, Ok(None));
        check(b"IDENTIFY\n\0\0", false, Ok(None));
    }

    #[test]
    fn invalid_input_is_refused() {
        check(b"\n", false, Err("E_INVALID invalid command "));
        check(b"FOO bar\n", false, Err("E_INVALID invalid command FOO"));
        check(b"IDENTIFY\n", true, Err("E_INVALID cannot IDENTIFY again"));
        check(b"REGISTER\n", false, Err("E_INVALID client must IDENTIFY"));
        check(b"REGISTER\n", true, Err("E_INVALID REGISTER insufficient number of params"));
        check(b"REGISTER  t\n", true, Err("E_BAD_TOPIC REGISTER topic name '' is not valid"));
        check(
            b"UNREGISTER t c!\n",
            true,
            Err("E_BAD_CHANNEL UNREGISTER channel name 'c!' is not valid"),
        );
        check(
            b"IDENTIFY\n\xff\xff\xff\xff",
            false,
            Err("E_BAD_BODY IDENTIFY invalid body size -1"),
        );
        check(
            b"IDENTIFY\n\0\x01\0\x01",
            false,
            Err("E_BAD_BODY IDENTIFY body too big 65537 > 65536"),
        );
        let endless = vec![b'x'; limits::COMMAND_LINE];
        check(&endless[1..], false, Ok(None));
        check(&endless, false, Err("E_INVALID command line longer than 4096 bytes"));
    }

    #[test]
    fn an_end_inside_a_body_is_an_error() {
        let refusal = |input| decode(input, false, true).map_err(|error| error.to_string());
        let size = "E_BAD_BODY IDENTIFY failed to read body size".to_owned();
        assert_eq!(refusal(b"IDENTIFY\n\0\0"), Err(size));
        let body = "E_BAD_BODY IDENTIFY failed to read body".to_owned();
        assert_eq!(refusal(b"IDENTIFY\n\0\0\0\x05{}"), Err(body));
        assert_eq!(refusal(b"PING"), Ok(None));
    }

    proptest! {
        /// A prefix of the input is incomplete, or decodes as the whole input does.
        #[test]
        fn a_prefix_never_decodes_differently(
            input in prop_oneof![
                "(PING|IDENTIFY|REGISTER|UNREGISTER|FOO)?[ a-z#!]{0,20}\n.{0,9}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..200),
            ],
            identified in any::<bool>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(input.len() + 1);
            let prefix = decode(&input[..cut], identified, false);
            if prefix != Ok(None) {
                prop_assert_eq!(prefix, decode(&input, identified, false));
            }
        }
    }
}
