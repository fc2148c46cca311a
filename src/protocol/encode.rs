//! Encodes responses. The client's side of the protocol is in `tests/kit`.
//!
//! Must not: decide which response is sent. Source: nsq `internal/protocol/protocol.go` `SendResponse`.

use super::json;

/// The response to every command but IDENTIFY, framed.
pub const OK: &[u8] = b"\0\0\0\x02OK";

/// The response to a peer outside of `--tcp-allow`, framed. An nsqd logs it.
pub const ADDRESS_NOT_ALLOWED: &[u8] = b"\0\0\0\x26E_INVALID this address may not connect";

/// The response to a peer with more connections than `--max-connections-per-ip`, framed.
pub const TOO_MANY_CONNECTIONS: &[u8] = b"\0\0\0\x2eE_INVALID too many connections of this address";

/// Appends the 4-byte big-endian length of `payload`, and `payload`.
///
/// # Panics
/// When `payload` is longer than 4 GiB. Responses are short: what they repeat of the input is bounded.
pub fn frame(payload: &[u8], out: &mut Vec<u8>) {
    let length =
        u32::try_from(payload.len()).expect("a response is bounded by limits::COMMAND_LINE");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The response to IDENTIFY, framed: an nsqd learns from it where to ask over HTTP for channels.
#[must_use]
pub fn identify_response(
    broadcast_address: &str,
    hostname: &str,
    tcp_port: u16,
    http_port: u16,
) -> Vec<u8> {
    let mut body = Vec::new();
    json::write_field("{\"broadcast_address\":", broadcast_address, &mut body);
    json::write_field(",\"hostname\":", hostname, &mut body);
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
    fn constants_are_framed_correctly() {
        for framed in [OK, ADDRESS_NOT_ALLOWED, TOO_MANY_CONNECTIONS] {
            let mut want = Vec::new();
            frame(&framed[4..], &mut want);
            assert_eq!(framed, want);
        }
    }

    #[test]
    fn the_identify_response_has_sorted_keys_and_go_s_escapes() {
        let response = identify_response("lookup.example", "<h>", 4160, 4161);
        let body = br#"{"broadcast_address":"lookup.example","hostname":"\u003ch\u003e","http_port":4161,"tcp_port":4160,"version":"1.3.0"}"#;
        assert_eq!(&response[4..], body);
        assert_eq!(response[..4], u32::try_from(body.len()).expect("small").to_be_bytes());
    }
}
