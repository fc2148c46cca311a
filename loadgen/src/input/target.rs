//! The target: the two addresses of a lookupd, on loopback unless the operator allows others.
//!
//! Must not: connect.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use super::{Error, fail};

/// The addresses of one lookupd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) tcp: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Target {
    /// Parses `--tcp` and `--http`.
    ///
    /// # Errors
    /// When one does not resolve, or is not on this machine and `owned` is false.
    pub(crate) fn new(tcp: &str, http: &str, owned: bool) -> Result<Self, Error> {
        Ok(Self { tcp: resolve("--tcp", tcp, owned)?, http: resolve("--http", http, owned)? })
    }

    /// The source address of actor number `actor`: another loopback address for every 64 actors, so
    /// that none runs out of ports. `None`: the system chooses.
    pub(crate) fn source(&self, actor: u32) -> Option<Ipv4Addr> {
        let loopback = |address: &SocketAddr| address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST);
        let [_, high, middle, low] = (actor / 64 + 1).to_be_bytes();
        (loopback(&self.tcp) && loopback(&self.http)).then(|| Ipv4Addr::new(127, high, middle, low))
    }
}

fn resolve(flag: &str, text: &str, owned: bool) -> Result<SocketAddr, Error> {
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    let Some(address) = found else {
        return fail(format!("{flag} {text}: no such address; give host:port, as 127.0.0.1:4160"));
    };
    if !address.ip().is_loopback() && !owned {
        return fail(format!(
            "{flag} {text} is not on this machine; add --i-own-this-target if it is yours to load"
        ));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_unless_owned() {
        let target = |tcp, owned| Target::new(tcp, "127.0.0.1:4161", owned);
        assert!(target("127.0.0.1:4160", false).is_ok());
        assert!(target("127.9.9.9:1", false).is_ok());
        assert!(target("[::1]:4160", false).is_ok());
        let error = target("192.0.2.1:4160", false).expect_err("far away").to_string();
        assert!(error.contains("--i-own-this-target"), "{error}");
        assert!(target("192.0.2.1:4160", true).is_ok());
        assert!(target("nonsense", false).expect_err("no port").to_string().contains("host:port"));
    }

    #[test]
    fn source_addresses_spread_over_loopback() {
        let target = Target::new("127.0.0.1:4160", "127.0.0.1:4161", false).expect("loopback");
        assert_eq!(target.source(0), Some(Ipv4Addr::new(127, 0, 0, 1)));
        assert_eq!(target.source(64 * 300), Some(Ipv4Addr::new(127, 0, 1, 45)));
        let other = Target::new("[::1]:4160", "127.0.0.1:4161", false).expect("loopback");
        assert_eq!(other.source(5), None);
    }
}
