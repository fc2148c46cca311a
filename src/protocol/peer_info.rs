//! NSQ's `PeerInfo`: the IDENTIFY body, decoded by the rules of Go's `encoding/json`, and encoded.
//!
//! simd-json parses; what it does otherwise than Go is handled here. Must not: trust a length, a type
//! or an encoding of the peer. Source: nsq
//! `nsqlookupd/lookup_protocol_v1.go` `IDENTIFY` and `registration_db.go` `PeerInfo`; Go
//! `encoding/json`.

use std::borrow::Cow;

use simd_json::{Buffers, Node, StaticNode};

use super::decode::{CommandError, ErrorCode, LongField, WrongFields};
use super::json;
use crate::limits;

/// What an nsqd says of itself in IDENTIFY.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerInfo {
    /// The machine's host name; may be empty.
    pub hostname: Box<str>,
    /// The host name or address that consumers connect to; never empty.
    pub broadcast_address: Box<str>,
    /// Its TCP port; never 0. Go's `int`, which may be no valid port.
    pub tcp_port: i64,
    /// Its HTTP port; never 0.
    pub http_port: i64,
    /// Its version; never empty.
    pub version: Box<str>,
    /// Its zone, if it sent one (nsqd after 1.3.0).
    pub topology_zone: Option<Box<str>>,
    /// Its region, if it sent one (nsqd after 1.3.0).
    pub topology_region: Option<Box<str>>,
}

impl PeerInfo {
    /// Decodes an IDENTIFY body.
    ///
    /// # Errors
    /// `E_BAD_BODY` when it is no JSON object of Go's `PeerInfo`, or lacks an address, a port or
    /// a version, or is longer than [`limits::IDENTITY_FIELD`] or [`limits::IDENTITY`].
    pub fn decode(body: &[u8]) -> Result<Self, CommandError> {
        let peer_info = parse(body).ok_or_else(|| {
            CommandError::new(ErrorCode::BadBody, "IDENTIFY failed to decode JSON body")
        })?;
        let refuse = |text, fields| {
            let error = CommandError::new(ErrorCode::BadBody, text);
            Err(CommandError { fields: Some(fields), ..error })
        };
        match (peer_info.missing(), peer_info.too_long()) {
            (0, None) => Ok(peer_info),
            (0, Some(field)) => refuse("IDENTIFY field too long", WrongFields::TooLong(field)),
            (bits, _) => refuse("IDENTIFY missing fields", WrongFields::Missing(bits)),
        }
    }

    /// Which of [`REQUIRED`](super::decode::REQUIRED) are not there, a bit for each.
    fn missing(&self) -> u8 {
        let empty = [
            self.broadcast_address.is_empty(),
            self.tcp_port == 0,
            self.http_port == 0,
            self.version.is_empty(),
        ];
        empty.iter().rev().fold(0, |bits, &is_empty| bits << 1 | u8::from(is_empty))
    }

    /// Which field is too long, if one is.
    fn too_long(&self) -> Option<LongField> {
        // Divergence: nsqlookupd takes fields of any length, and shows them in every lookup.
        let fields = [
            (LongField::Hostname, Some(&*self.hostname)),
            (LongField::BroadcastAddress, Some(&*self.broadcast_address)),
            (LongField::Version, Some(&*self.version)),
            (LongField::TopologyZone, self.topology_zone.as_deref()),
            (LongField::TopologyRegion, self.topology_region.as_deref()),
        ];
        let mut length = 0;
        for (field, text) in fields {
            let text = text.unwrap_or_default();
            if text.len() > limits::IDENTITY_FIELD {
                return Some(field);
            }
            length += text.len();
        }
        // An escape takes six bytes at most, names and numbers less than 200: most need no look.
        if 6 * length + 200 <= limits::IDENTITY {
            return None;
        }
        let mut encoded = Vec::new();
        self.write_fields(&mut encoded);
        (encoded.len() > limits::IDENTITY).then_some(LongField::All)
    }

    /// Appends the fields as the inside of a JSON object, in the order of NSQ's answers:
    /// `"hostname":…,"broadcast_address":…,"tcp_port":…,"http_port":…,"version":…`, then
    /// `topology_zone` and `topology_region`, if it sent them.
    pub fn write_fields(&self, out: &mut Vec<u8>) {
        json::write_field("\"hostname\":", &self.hostname, out);
        json::write_field(",\"broadcast_address\":", &self.broadcast_address, out);
        let ports = format!(",\"tcp_port\":{},\"http_port\":{}", self.tcp_port, self.http_port);
        json::write_field(&format!("{ports},\"version\":"), &self.version, out);
        if let Some(zone) = &self.topology_zone {
            json::write_field(",\"topology_zone\":", zone, out);
        }
        if let Some(region) = &self.topology_region {
            json::write_field(",\"topology_region\":", region, out);
        }
    }

    /// Sets the field of one member of the object. `None`: the value is not of the field's type.
    fn set(&mut self, key: &str, value: &Node<'_>) -> Option<()> {
        match fold(key).as_ref() {
            "hostname" => set_string(&mut self.hostname, value),
            "broadcast_address" => set_string(&mut self.broadcast_address, value),
            "version" => set_string(&mut self.version, value),
            "tcp_port" => set_int(&mut self.tcp_port, value),
            "http_port" => set_int(&mut self.http_port, value),
            // The type is checked, the value is not used: the socket's address counts.
            "remote_address" => set_string(&mut Box::default(), value),
            "topology_zone" => set_optional(&mut self.topology_zone, value),
            "topology_region" => set_optional(&mut self.topology_region, value),
            _ => Some(()),
        }
    }
}

/// The deepest nesting that Go's `encoding/json` reads.
const MAX_DEPTH: usize = 10_000;

/// Parses by Go's rules: keys in any case, the last duplicate wins, null changes nothing, unknown
/// keys are ignored with any value.
fn parse(body: &[u8]) -> Option<PeerInfo> {
    let mut text = with_replacement_characters(body).into_owned();
    let mut buffers = Buffers::with_max_depth(text.len(), MAX_DEPTH);
    let tape = simd_json::to_tape_with_buffers(&mut text, &mut buffers).ok()?;
    let mut peer_info = PeerInfo::default();
    let (root, mut rest) = tape.0.split_first()?;
    let members = match root {
        Node::Object { len, .. } => *len,
        Node::Static(StaticNode::Null) => 0,
        _ => return None,
    };
    for _ in 0..members {
        let [Node::String(key), value, ..] = rest else { return None };
        peer_info.set(key, value)?;
        let inside = match value {
            Node::Object { count, .. } | Node::Array { count, .. } => *count,
            Node::String(_) | Node::Static(_) => 0,
        };
        rest = rest.get(2 + inside..)?;
    }
    Some(peer_info)
}

fn set_string(field: &mut Box<str>, value: &Node<'_>) -> Option<()> {
    match value {
        Node::String(text) => *field = (*text).into(),
        Node::Static(StaticNode::Null) => {}
        _ => return None,
    }
    Some(())
}

fn set_int(field: &mut i64, value: &Node<'_>) -> Option<()> {
    match value {
        Node::Static(StaticNode::I64(number)) => *field = *number,
        Node::Static(StaticNode::U64(number)) => *field = i64::try_from(*number).ok()?,
        Node::Static(StaticNode::Null) => {}
        _ => return None,
    }
    Some(())
}

/// nsqlookupd 1.3.0 does not know these keys and ignores values of any type.
fn set_optional(field: &mut Option<Box<str>>, value: &Node<'_>) -> Option<()> {
    if let Node::String(text) = value {
        *field = (!text.is_empty()).then(|| (*text).into());
    }
    Some(())
}

/// The key as Go's decoder compares it: without case, by Unicode's simple folding, in which two
/// letters outside of ASCII fold to ASCII.
fn fold(key: &str) -> Cow<'_, str> {
    if key.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(key);
    }
    let folded = key.chars().map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => letter.to_ascii_lowercase(),
    });
    Cow::Owned(folded.collect())
}

/// Replaces what Go reads as U+FFFD, but simd-json refuses, by U+FFFD: every byte that is not UTF-8,
/// and escapes of lone surrogates.
fn with_replacement_characters(body: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(body).is_ok() && !body.windows(2).any(|pair| pair == b"\\u") {
        return Cow::Borrowed(body);
    }
    let mut text = Vec::with_capacity(body.len() + 16);
    for chunk in body.utf8_chunks() {
        text.extend_from_slice(chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            text.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    replace_lone_surrogates(&mut text);
    Cow::Owned(text)
}

/// Replaces each surrogate escape (`\uD800` to `\uDFFF`) that is not half of a pair by `\uFFFD`.
fn replace_lone_surrogates(text: &mut [u8]) {
    let mut at = 0;
    while at + 1 < text.len() {
        if text[at] != b'\\' {
            at += 1;
            continue;
        }
        at += match (code_unit(&text[at..]), text.get(at + 6..).and_then(code_unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                text[at..at + 6].copy_from_slice(b"\\uFFFD");
                6
            }
            _ => 2,
        };
    }
}

/// The code unit of the `\uXXXX` escape at the start of `text`, if there is one.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |number, digit| {
        Some(number << 4 | u16::try_from(char::from(*digit).to_digit(16)?).ok()?)
    })
}

#[cfg(test)]
impl PeerInfo {
    /// That of a test's nsqd.
    pub(crate) fn sample(hostname: &str, broadcast_address: &str) -> Self {
        let body = testkit::wire::peer_info(hostname, broadcast_address);
        Self::decode(body.as_bytes()).expect("a sample")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: &str = r#""version":"1","tcp_port":1,"http_port":2,"broadcast_address":"b""#;

    /// Decodes the body `{BASE, extra}`; the error is the response's text.
    fn with(extra: &[u8]) -> Result<PeerInfo, String> {
        let body = [b"{", BASE.as_bytes(), b",", extra, b"}"].concat();
        PeerInfo::decode(&body).map_err(|error| error.to_string())
    }

    #[test]
    fn accepts_what_go_accepts() {
        let hostname = |extra: &[u8]| with(extra).map(|identity| identity.hostname.into_string());
        let cases: &[(&[u8], &str)] = &[
            (br#""hostname":"h""#, "h"),
            (br#""HostName":"h""#, "h"),
            ("\"ho\u{17f}tname\":\"h\"".as_bytes(), "h"),
            (br#""hostname":"a","hostname":"b""#, "b"),
            (br#""hostname":"a","hostname":null"#, "a"),
            (b"\"hostname\":\"\xff\xe2\x82\"", "\u{fffd}\u{fffd}\u{fffd}"),
            (br#""hostname":"\ud834\udd1e""#, "\u{1d11e}"),
            (br#""hostname":"\ud834""#, "\u{fffd}"),
            (br#""hostname":"\udd1e\ud834x""#, "\u{fffd}\u{fffd}x"),
            (br#""hostname":"\\ud834""#, "\\ud834"),
            (br#""x":{"y":[1,{"hostname":"no"}],"z":{}},"hostname":"h""#, "h"),
            (br#""x":99999999999999999999,"hostname":"h""#, "h"),
            (br#""remote_address":"9.9.9.9:9""#, ""),
            (br#""topology_zone":5"#, ""),
        ];
        for (extra, want) in cases {
            let shown = String::from_utf8_lossy(extra);
            assert_eq!(hostname(extra).as_deref(), Ok(*want), "{shown}");
        }
        let zoned = with(br#""topology_zone":"z","topology_region":"""#).expect("valid");
        assert_eq!((zoned.topology_zone.as_deref(), zoned.topology_region), (Some("z"), None));
        let odd = with(br#""tcp_port":-1,"http_port":70000"#).expect("valid");
        assert_eq!((odd.tcp_port, odd.http_port), (-1, 70000));
    }

    #[test]
    fn refuses_what_go_refuses() {
        let undecodable = "E_BAD_BODY IDENTIFY failed to decode JSON body";
        let missing = "E_BAD_BODY IDENTIFY missing fields (broadcast_address, tcp_port, http_port, \
                       version)";
        let bodies: &[(&[u8], &str)] = &[
            (b"", undecodable),
            (b"[]", undecodable),
            (b"5", undecodable),
            (b"{} x", undecodable),
            (b"{,}", undecodable),
            (b"\"x\"", undecodable),
            (b"{}", missing),
            (b"null", missing),
        ];
        for (body, want) in bodies {
            let got = PeerInfo::decode(body).map_err(|error| error.to_string());
            assert_eq!(got, Err((*want).to_owned()), "{}", String::from_utf8_lossy(body));
        }
        let members: &[&[u8]] = &[
            br#""tcp_port":"1""#,
            b"\"tcp_port\":1\0",
            b"\"a\":null\0",
            b"\"a\":true\x01",
            br#""tcp_port":1.5"#,
            br#""tcp_port":1e3"#,
            br#""tcp_port":true"#,
            br#""tcp_port":99999999999999999999"#,
            br#""tcp_port":9223372036854775808"#,
            br#""version":5"#,
            br#""remote_address":5"#,
            b"\"hostname\":\"a\nb\"",
            br#""hostname":"\x""#,
            br#""a":01"#,
            br#""a":[1,]"#,
            br#""a":9223372036854775807-2"#,
            br#""a":99999999999999999999x"#,
        ];
        for extra in members {
            assert_eq!(
                with(extra),
                Err(undecodable.to_owned()),
                "{}",
                String::from_utf8_lossy(extra)
            );
        }
    }

    #[test]
    fn log_names_the_fields_that_are_missing_and_the_reply_does_not() {
        for (body, want) in [
            (r#"{"tcp_port":1,"http_port":2,"broadcast_address":"b"}"#, "version"),
            (r#"{"version":"","tcp_port":1,"http_port":2,"broadcast_address":"b"}"#, "version"),
            (r#"{"version":"1","http_port":0,"broadcast_address":"b"}"#, "tcp_port, http_port"),
            (r#"{"version":"1","tcp_port":1,"http_port":2}"#, "broadcast_address"),
            (r#"{"version":"1","tcp_port":1,"broadcast_address":"b"}"#, "http_port"),
        ] {
            let error = PeerInfo::decode(body.as_bytes()).unwrap_err();
            assert_eq!(error.message(), b"E_BAD_BODY IDENTIFY missing fields");
            let shown = format!("E_BAD_BODY IDENTIFY missing fields ({want})");
            assert_eq!(error.to_string(), shown, "{body}");
        }
    }

    #[test]
    fn fields_that_are_too_long_are_refused_and_named() {
        let cases = [
            ("hostname", "h".repeat(limits::IDENTITY_FIELD), None),
            ("hostname", "h".repeat(limits::IDENTITY_FIELD + 1), Some("hostname")),
            ("broadcast_address", "é".repeat(128), Some("broadcast_address")),
            ("version", "v".repeat(256), Some("version")),
            ("topology_zone", "z".repeat(256), Some("topology_zone")),
            ("topology_region", "r".repeat(256), Some("topology_region")),
            ("hostname", "<".repeat(120), None),
            // Six bytes each when encoded.
            ("hostname", "<".repeat(250), Some("all of them together, encoded")),
            ("unknown", "u".repeat(5000), None),
        ];
        for (key, value, want) in cases {
            let body = format!("{{{BASE},\"{key}\":\"{value}\"}}");
            let refused = PeerInfo::decode(body.as_bytes()).err();
            assert_eq!(
                refused.as_ref().and_then(|error| match error.fields {
                    Some(WrongFields::TooLong(field)) => Some(field.as_str()),
                    _ => None,
                }),
                want,
                "{key} {}",
                value.len()
            );
            if let Some(error) = refused {
                assert_eq!(error.message(), b"E_BAD_BODY IDENTIFY field too long");
                assert!(
                    error.to_string().ends_with(&format!("({})", want.expect("refused"))),
                    "{error}"
                );
            }
        }
        let encoded_length = |hostname: usize| {
            let mut out = Vec::new();
            let extra = format!("\"hostname\":\"{}\"", "<".repeat(hostname));
            with(extra.as_bytes())
                .map(|identity| identity.write_fields(&mut out))
                .map(|()| out.len())
        };
        let lengths: Vec<_> = (100..200).map_while(|count| encoded_length(count).ok()).collect();
        let longest = lengths.last().copied().expect("100 fit");
        assert!((limits::IDENTITY - 5..=limits::IDENTITY).contains(&longest), "{longest}");
    }

    #[test]
    fn nesting_is_limited_as_in_go() {
        let nested =
            |depth| with(format!("\"a\":{}{}", "[".repeat(depth), "]".repeat(depth)).as_bytes());
        // The object is one level itself.
        assert!(nested(MAX_DEPTH - 1).is_ok());
        assert!(nested(MAX_DEPTH).is_err());
        assert!(nested(limits::IDENTIFY_BODY / 2 - 100).is_err());
    }

    proptest! {
        /// Except for integers of more than 64 bits and lone surrogates, which Go and this decoder
        /// accept and serde_json does not.
        #[test]
        fn serde_json_agrees_on_what_is_json(
            extra in r#"("[a-z\\"\n/u0d]{0,6}":)?[0-9.eE+\-]{0,5}|("[a-z]{0,3}":)?[\[\]{}:,"tfn 1a]{0,12}"#,
        ) {
            let body = format!("{{{BASE},{extra}}}");
            let expected = serde_json::from_str::<serde_json::Value>(&body).is_ok();
            prop_assert_eq!(PeerInfo::decode(body.as_bytes()).is_ok(), expected, "{}", body);
        }

        #[test]
        fn encoding_and_decoding_give_the_same_peer_info(hostname in any::<String>(), zone in proptest::option::of(".+")) {
            let identity = PeerInfo {
                hostname: hostname.into(),
                broadcast_address: "b".into(),
                tcp_port: 4150,
                http_port: 4151,
                version: "1.3.0".into(),
                topology_zone: zone.map(Into::into),
                topology_region: None,
            };
            let mut body = b"{".to_vec();
            identity.write_fields(&mut body);
            body.push(b'}');
            prop_assert_eq!(PeerInfo::decode(&body), Ok(identity));
        }

        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = PeerInfo::decode(&body);
        }
    }
}
