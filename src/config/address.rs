//! Go's listen addresses: `:4160`, `host:4160`, `[::1]:4160`.
//!
//! Must not: open a socket; `resources` does.
//! Runs on the main thread, at start, and may ask the resolver.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

/// The socket address that `text` stands for. Without a host it is all addresses, without a port any
/// free port; of a name's addresses the first IPv4 one is used. Source: Go's `net.Listen`.
///
/// # Errors
/// When the text is not an address, or its host has no address; in the words of NSQ and Go's `net`.
pub(super) fn resolve(text: &str) -> Result<SocketAddr, String> {
    let failed = |reason| format!("listen ({text}) failed - listen tcp: {reason}");
    if text.is_empty() {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    }
    let (host, port) =
        split_host_port(text).map_err(|reason| failed(format!("address {text}: {reason}")))?;
    let port = port_number(port).map_err(failed)?;
    if host.is_empty() {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::from((ip, port)));
    }
    let lookup = |reason: &dyn fmt::Display| failed(format!("lookup {host}: {reason}"));
    let found: Vec<_> = (host, port).to_socket_addrs().map_err(|error| lookup(&error))?.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| lookup(&"no such host"))
}

/// Splits at the colon before the port, and removes the brackets of an IPv6 host. Source: Go's
/// `net.SplitHostPort`.
fn split_host_port(text: &str) -> Result<(&str, &str), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("missing port in address")?;
    if let Some(inner) = text.strip_prefix('[') {
        let (host, after) = inner.split_once(']').ok_or("missing ']' in address")?;
        return match after.strip_prefix(':') {
            Some(port) if port.contains(':') => Err("too many colons in address"),
            Some(port) => Ok((host, port)),
            None => Err("missing port in address"),
        };
    }
    match host {
        _ if host.contains(':') => Err("too many colons in address"),
        _ if host.contains(['[', ']']) => Err("unexpected bracket in address"),
        _ => Ok((host, port)),
    }
}

/// Reads a port. Divergence: the name of a service (`:http`) is refused.
fn port_number(text: &str) -> Result<u16, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("lookup tcp/{text}: unknown port; give its number"));
    }
    text.parse().map_err(|_| format!("address {text}: invalid port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_go_does() {
        for (text, want) in [
            ("127.0.0.1:4160", Ok("127.0.0.1:4160")),
            ("0.0.0.0:4160", Ok("0.0.0.0:4160")),
            (":4160", Ok("[::]:4160")),
            ("", Ok("[::]:0")),
            ("[::1]:0", Ok("[::1]:0")),
            ("[127.0.0.1]:0", Ok("127.0.0.1:0")),
            ("127.0.0.1:", Ok("127.0.0.1:0")),
            (":+5", Ok("[::]:5")),
            ("localhost:7", Ok("127.0.0.1:7")),
            ("-version", Err("address -version: missing port in address")),
            ("127.0.0.1", Err("address 127.0.0.1: missing port in address")),
            ("127.0.0.1:99999", Err("address 99999: invalid port")),
            (":-1", Err("address -1: invalid port")),
            ("127.0.0.1:abc", Err("lookup tcp/abc: unknown port; give its number")),
            ("::1:5", Err("address ::1:5: too many colons in address")),
            ("[::1:5", Err("address [::1:5: missing ']' in address")),
            ("[::1]5:", Err("address [::1]5:: missing port in address")),
            ("a]:5", Err("address a]:5: unexpected bracket in address")),
        ] {
            let got = resolve(text).map(|address| address.to_string());
            let want = want.map(str::to_owned);
            let want = want.map_err(|e| format!("listen ({text}) failed - listen tcp: {e}"));
            assert_eq!(got, want);
        }
    }

    #[test]
    fn an_address_error_names_the_address() {
        let error = resolve("127.0.0.1").unwrap_err();
        assert_eq!(
            error,
            "listen (127.0.0.1) failed - listen tcp: address 127.0.0.1: missing port in address"
        );
    }
}
