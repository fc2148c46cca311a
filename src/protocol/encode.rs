//! Replies to bytes. The client's side of the protocol is in `tests/kit`.
//!
//! Must not: decide what is said. Source: nsq `internal/protocol/protocol.go` `SendResponse`.

use super::json;

/// The reply to everything but IDENTIFY, framed.
pub const OK: &[u8] = b"\0\0\0\x02OK";

/// What a peer outside of `--tcp-allow` is told, framed. An nsqd logs it.
pub const NOT_ALLOWED: &[u8] = b"\0\0\0\x26E_INVALID this address may not connect";

/// What a peer with too many connections (`--max-connections-per-ip`) is told, framed.
pub const CROWDED: &[u8] = b"\0\0\0\x2eE_INVALID too many connections of this address";

/// Appends `payload` behind its 4-byte big-endian length.
///
/// # Panics
/// When `payload` is longer than 4 GiB: replies are bounded by the limits on what they repeat.
pub fn frame(payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("a reply is bounded by limits::COMMAND_LINE");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The lookupd's answer to IDENTIFY, framed: whom an nsqd asks over HTTP about channels.
#[must_use]
pub fn identify_reply(
    broadcast_address: &str,
    hostname: &str,
    tcp_port: u16,
    http_port: u16,
) -> Vec<u8> {
    let mut body = b"{\"broadcast_address\":".to_vec();
    json::write_string(broadcast_address, &mut body);
    body.extend_from_slice(b",\"hostname\":");
    json::write_string(hostname, &mut body);
    let rest = format!(
        ",\"http_port\":{http_port},\"tcp_port\":{tcp_port},\"version\":\"{}\"}}",
        super::NSQ_VERSION
    );
    body.extend_from_slice(rest.as_bytes());
    let mut framed = Vec::with_capacity(4 + body.len());
    frame(&body, &mut framed);
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_framed_by_hand_has_its_length() {
        for framed in [OK, NOT_ALLOWED, CROWDED] {
            let mut want = Vec::new();
            frame(&framed[4..], &mut want);
            assert_eq!(framed, want);
        }
    }

    #[test]
    fn the_identify_reply_has_sorted_keys_and_go_s_escapes() {
        let reply = identify_reply("lookup.example", "<h>", 4160, 4161);
        let body = br#"{"broadcast_address":"lookup.example","hostname":"\u003ch\u003e","http_port":4161,"tcp_port":4160,"version":"1.3.0"}"#;
        assert_eq!(&reply[4..], body);
        assert_eq!(reply[..4], u32::try_from(body.len()).expect("small").to_be_bytes());
    }
}
