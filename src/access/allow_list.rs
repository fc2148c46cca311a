//! Lists of networks in CIDR notation.
//!
//! Must not: read the machine's interfaces, or resolve names. Pure; any thread.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// Addresses that share a prefix: `10.0.0.0/8`, `2001:db8::/32`, or one address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = String;

    /// Reads a CIDR or an address. Bits behind the prefix are ignored, as Go ignores them. A network
    /// within `::ffff:0:0/96` is IPv4, because peers' addresses are compared as IPv4.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim_ascii();
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| {
            format!("'{text}' is neither an address nor a CIDR (10.0.0.0/8, 2001:db8::/32, ::1)")
        })?;
        if let IpNet::V6(v6) = network
            && let Some(bits) = v6.prefix_len().checked_sub(96)
            && let Some(v4) = v6.addr().to_ipv4_mapped()
            && let Ok(v4) = Ipv4Net::new(v4, bits)
        {
            return Ok(Self(v4.into()));
        }
        Ok(Self(network))
    }
}

/// A list of networks. An empty list allows every address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Box<[Network]>);

impl AllowList {
    /// Whether it lists nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `address`, which is canonical, is in one of the networks, or the list is empty. The
    /// unspecified address, which stands for an unknown peer, is in no network.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let contains = |network: &Network| network.0.contains(&address);
        self.is_empty() || (!address.is_unspecified() && self.0.iter().any(contains))
    }
}

impl From<Vec<Network>> for AllowList {
    fn from(networks: Vec<Network>) -> Self {
        Self(networks.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> AllowList {
        texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Network>>().into()
    }

    #[test]
    fn a_list_allows_the_addresses_in_its_networks() {
        let cases: &[(&[&str], &[&str], &[&str])] = &[
            (&[], &["127.0.0.1", "::1", "0.0.0.0"], &[]),
            (&["127.0.0.1"], &["127.0.0.1", "::ffff:127.0.0.1"], &["127.0.0.2", "::1"]),
            (&["10.0.0.0/8"], &["10.255.0.1"], &["11.0.0.0", "9.255.255.255", "::a00:1"]),
            (&["10.1.2.3/8"], &["10.9.9.9"], &["11.1.2.3"]),
            (&["192.0.2.0/25", " 192.0.2.200"], &["192.0.2.127", "192.0.2.200"], &["192.0.2.128"]),
            (&["0.0.0.0/0"], &["1.2.3.4", "::ffff:1.2.3.4"], &["::1", "2001:db8::1", "0.0.0.0"]),
            (&["::/0"], &["::1", "2001:db8::1"], &["1.2.3.4", "::ffff:1.2.3.4", "::"]),
            (&["::1"], &["::1"], &["::2", "127.0.0.1"]),
            (&["2001:db8::/33"], &["2001:db8:7fff::1"], &["2001:db8:8000::"]),
            (&["::ffff:10.0.0.0/104"], &["10.1.1.1", "::ffff:10.1.1.1"], &["11.0.0.1"]),
            (&["::ffff:10.0.0.1"], &["10.0.0.1"], &["10.0.0.2"]),
        ];
        for (list, inside, outside) in cases {
            let networks = networks(list);
            for address in *inside {
                let ip: IpAddr = address.parse().unwrap();
                assert!(networks.allows(ip.to_canonical()), "{list:?} {address}");
            }
            for address in *outside {
                let ip: IpAddr = address.parse().unwrap();
                assert!(!networks.allows(ip.to_canonical()), "{list:?} {address}");
            }
        }
    }

    #[test]
    fn an_error_names_the_text_that_is_no_network() {
        let texts = [
            "",
            " ",
            "10",
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "/8",
            "::/129",
            "localhost",
            "10.0.0.1:4160",
            "[::1]",
            "fe80::1%eth0",
            "10.0.0.0/8/8",
            "010.0.0.1",
            "10.0.0.0 /8",
            "10.0.0.0/255.0.0.0",
            "*",
        ];
        for text in texts {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.starts_with(&format!("'{}' is neither", text.trim())), "{error}");
        }
    }
}
