//! Counts of what access rules have denied, for the metrics and for a warning once a minute.
//!
//! Must not: be used for a peer or a request that is allowed. Any thread.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::Families;

/// The access rule that denied something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// A TCP peer outside of `--tcp-allow`.
    TcpAllow,
    /// A TCP connection past `--max-connections-per-ip`.
    TcpPerIp,
    /// An HTTP connection past `--max-connections-per-ip`.
    HttpPerIp,
    /// A TCP connection of the address that has most, when nearly all are taken.
    TcpShare,
    /// An HTTP connection, the same.
    HttpShare,
    /// A TCP connection from `--proxy-protocol-from` without a PROXY header.
    TcpProxy,
    /// An HTTP connection, the same.
    HttpProxy,
    /// A POST from outside of `--http-write-allow`.
    WriteAllow,
    /// A POST without the token of `--http-write-token-file`.
    WriteToken,
    /// A POST by a web page of another site, which `--http-origin-allow` does not name.
    WriteOrigin,
    /// A GET neither from `--http-read-allow` nor with the token of `--http-read-token-file`.
    Read,
}

impl DenyReason {
    /// All reasons.
    pub const ALL: [Self; 11] = [
        Self::TcpAllow,
        Self::TcpPerIp,
        Self::HttpPerIp,
        Self::TcpShare,
        Self::HttpShare,
        Self::TcpProxy,
        Self::HttpProxy,
        Self::WriteAllow,
        Self::WriteToken,
        Self::WriteOrigin,
        Self::Read,
    ];

    /// The flag that sets the rule, for a log line.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::TcpAllow => "--tcp-allow",
            Self::TcpPerIp | Self::HttpPerIp => "--max-connections-per-ip",
            Self::TcpShare => "the share of their address in --max-tcp-connections",
            Self::HttpShare => "the share of their address in --max-http-connections",
            Self::TcpProxy | Self::HttpProxy => "--proxy-protocol-from, for want of a header",
            Self::WriteAllow => "--http-write-allow",
            Self::WriteToken => "--http-write-token-file",
            Self::WriteOrigin => "--http-origin-allow",
            Self::Read => "--http-read-allow and --http-read-token-file",
        }
    }

    /// What the rule denies, for a log line.
    #[must_use]
    pub fn denied_requests(self) -> &'static str {
        match self {
            Self::TcpAllow | Self::TcpPerIp | Self::TcpShare | Self::TcpProxy => "TCP connections",
            Self::HttpPerIp | Self::HttpShare | Self::HttpProxy => "HTTP connections",
            Self::WriteAllow | Self::WriteToken | Self::WriteOrigin => "HTTP POSTs",
            Self::Read => "HTTP GETs",
        }
    }
}

/// How often each rule has denied something, and to whom last.
#[derive(Debug, Default)]
pub struct Denials([Mutex<DenialCount>; DenyReason::ALL.len()]);

/// What one rule has denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DenialCount {
    /// How often.
    pub count: u64,
    /// To whom last.
    pub last: Option<IpAddr>,
}

impl Denials {
    /// Counts a denial to `address`, which is canonical.
    pub fn count(&self, reason: DenyReason, address: IpAddr) {
        let mut entry = self.lock(reason);
        *entry = DenialCount { count: entry.count + 1, last: Some(address) };
    }

    /// What a rule has denied so far.
    #[must_use]
    pub fn get(&self, reason: DenyReason) -> DenialCount {
        *self.lock(reason)
    }

    /// Registers the families of what was rejected.
    pub fn register_metrics(self: &Arc<Self>, families: &mut Families) {
        for reason in DenyReason::ALL {
            let denials = Arc::clone(self);
            let count = move || denials.get(reason).count;
            let (port, label) = match reason {
                DenyReason::TcpAllow => ("tcp", "allow_list"),
                DenyReason::TcpPerIp => ("tcp", "max_connections_per_ip"),
                DenyReason::HttpPerIp => ("http", "max_connections_per_ip"),
                DenyReason::TcpShare => ("tcp", "share"),
                DenyReason::HttpShare => ("http", "share"),
                DenyReason::TcpProxy => ("tcp", "proxy_header"),
                DenyReason::HttpProxy => ("http", "proxy_header"),
                DenyReason::WriteAllow => ("", "allow_list"),
                DenyReason::WriteToken => ("", "token"),
                DenyReason::WriteOrigin => ("", "origin"),
                DenyReason::Read => {
                    let help = "HTTP GETs rejected by the access rules.";
                    families.counter("musterd_http_reads_rejected_total", help, &[], count);
                    continue;
                }
            };
            if port.is_empty() {
                let help = "HTTP POSTs rejected by an access rule.";
                let labels = [("reason", label)];
                families.counter("musterd_http_writes_rejected_total", help, &labels, count);
            } else {
                register_rejections(families, port, label, count);
            }
        }
    }

    fn lock(&self, reason: DenyReason) -> MutexGuard<'_, DenialCount> {
        self.0[reason as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a reason to the family of rejected connections; `count` reads how many there were.
pub(crate) fn register_rejections(
    families: &mut Families,
    port: &'static str,
    reason: &'static str,
    count: impl Fn() -> u64 + Send + Sync + 'static,
) {
    let (name, help) = ("musterd_connections_rejected_total", "Connections rejected at accept.");
    families.counter(name, help, &[("port", port), ("reason", reason)], count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_count_and_label() {
        let denials = Denials::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        for (times, reason) in DenyReason::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| denials.count(reason, address));
        }
        for (times, reason) in DenyReason::ALL.into_iter().enumerate() {
            let last = (times > 0).then_some(address);
            assert_eq!(denials.get(reason), DenialCount { count: times as u64, last });
        }
        let denials = Arc::new(denials);
        let mut families = Families::default();
        denials.register_metrics(&mut families);
        let text = Arc::new(families).render(crate::metrics::Format::Text);
        let (connections, writes) =
            ("musterd_connections_rejected_total", "musterd_http_writes_rejected_total");
        for line in [
            format!("{connections}{{port=\"tcp\",reason=\"allow_list\"}} 0"),
            format!("{connections}{{port=\"tcp\",reason=\"max_connections_per_ip\"}} 1"),
            format!("{connections}{{port=\"http\",reason=\"max_connections_per_ip\"}} 2"),
            format!("{writes}{{reason=\"allow_list\"}} 7"),
            format!("{writes}{{reason=\"token\"}} 8"),
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }
}
