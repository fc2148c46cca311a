//! The lookup protocol V1 as nsqd writes and reads it, without sockets.
//!
//! Must not: check what it encodes. Source: go-nsq `command.go` and nsq
//! `internal/protocol/protocol.go` `SendResponse`.

/// The first bytes of a connection.
pub const MAGIC: &[u8; 4] = b"  V1";
/// The PING command.
pub const PING: &[u8] = b"PING\n";
/// The framed reply to everything but IDENTIFY.
pub const OK: &[u8] = b"\0\0\0\x02OK";

/// `tcp_port` of every sample nsqd.
pub const TCP_PORT: u16 = 4150;
/// `http_port` of every sample nsqd.
pub const HTTP_PORT: u16 = 4151;
/// `version` of every sample nsqd.
pub const VERSION: &str = "1.3.0";

/// The IDENTIFY body of a sample nsqd. Both names are JSON text as they are.
#[must_use]
pub fn peer_info(hostname: &str, broadcast_address: &str) -> String {
    format!(
        "{{\"hostname\":\"{hostname}\",\"broadcast_address\":\"{broadcast_address}\",\
         \"tcp_port\":{TCP_PORT},\"http_port\":{HTTP_PORT},\"version\":\"{VERSION}\"}}"
    )
}

/// Appends `payload` behind its 4-byte big-endian length.
///
/// # Panics
/// When `payload` is longer than 4 GiB.
pub fn frame(payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("a payload is below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Appends an IDENTIFY command with that body.
pub fn identify(body: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"IDENTIFY\n");
    frame(body.as_bytes(), out);
}

/// Appends a REGISTER command.
pub fn register(topic: &str, channel: Option<&str>, out: &mut Vec<u8>) {
    command("REGISTER", topic, channel, out);
}

/// Appends an UNREGISTER command.
pub fn unregister(topic: &str, channel: Option<&str>, out: &mut Vec<u8>) {
    command("UNREGISTER", topic, channel, out);
}

fn command(verb: &str, topic: &str, channel: Option<&str>, out: &mut Vec<u8>) {
    for word in [Some(verb), Some(topic), channel].into_iter().flatten() {
        out.extend_from_slice(word.as_bytes());
        out.push(b' ');
    }
    out.pop();
    out.push(b'\n');
}

/// Takes the first frame off `input`: its payload and how many bytes it took, `None` while it is
/// incomplete.
#[must_use]
pub fn take_frame(input: &[u8]) -> Option<(&[u8], usize)> {
    let (length, rest) = input.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    Some((rest.get(..length)?, 4 + length))
}

/// The payloads of all frames in `input`, `None` when the last one is incomplete.
#[must_use]
pub fn frames(mut input: &[u8]) -> Option<Vec<&[u8]>> {
    let mut payloads = Vec::new();
    while !input.is_empty() {
        let (payload, taken) = take_frame(input)?;
        payloads.push(payload);
        input = &input[taken..];
    }
    Some(payloads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_or_not_at_all() {
        let mut bytes = OK.to_vec();
        frame(b"", &mut bytes);
        assert_eq!(frames(&bytes), Some(vec![&b"OK"[..], b""]));
        assert_eq!(frames(&bytes[..bytes.len() - 1]), None);
        assert_eq!(take_frame(&bytes[..5]), None);
    }
}
