//! What was refused for who asked, for metrics and for a warning now and then.
//!
//! Must not: be touched by anything that is allowed. Any thread.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which rule has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// A TCP peer outside of `--tcp-allow`.
    TcpAllow,
    /// A TCP connection past `--max-connections-per-ip`.
    TcpPerIp,
    /// An HTTP connection past `--max-connections-per-ip`.
    HttpPerIp,
    /// A POST from outside of `--http-write-allow`.
    WriteAllow,
    /// A POST without the token of `--http-write-token-file`.
    WriteToken,
}

impl DenyReason {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::TcpAllow, Self::TcpPerIp, Self::HttpPerIp, Self::WriteAllow, Self::WriteToken];

    /// Its label in `/metrics`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::TcpAllow => "tcp_allow",
            Self::TcpPerIp => "tcp_connections_per_ip",
            Self::HttpPerIp => "http_connections_per_ip",
            Self::WriteAllow => "http_write_allow",
            Self::WriteToken => "http_write_token",
        }
    }

    /// The flag that asks for it.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::TcpAllow => "--tcp-allow",
            Self::TcpPerIp | Self::HttpPerIp => "--max-connections-per-ip",
            Self::WriteAllow => "--http-write-allow",
            Self::WriteToken => "--http-write-token-file",
        }
    }

    /// What it refuses.
    #[must_use]
    pub fn refused(self) -> &'static str {
        match self {
            Self::TcpAllow | Self::TcpPerIp => "TCP connections",
            Self::HttpPerIp => "HTTP connections",
            Self::WriteAllow | Self::WriteToken => "HTTP POSTs",
        }
    }
}

/// How often each rule has refused, and whom last.
#[derive(Debug, Default)]
pub struct Denials([Mutex<Denied>; DenyReason::ALL.len()]);

/// What one rule has refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// How often.
    pub count: u64,
    /// Whom last.
    pub last: Option<IpAddr>,
}

impl Denials {
    /// `address` was refused.
    pub fn count(&self, reason: DenyReason, address: IpAddr) {
        let mut seen = self.lock(reason);
        *seen = Denied { count: seen.count + 1, last: Some(address.to_canonical()) };
    }

    /// What a rule has refused so far.
    #[must_use]
    pub fn seen(&self, reason: DenyReason) -> Denied {
        *self.lock(reason)
    }

    fn lock(&self, reason: DenyReason) -> MutexGuard<'_, Denied> {
        self.0[reason as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_count_and_a_label_of_its_own() {
        let denials = Denials::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        for (times, reason) in DenyReason::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| denials.count(reason, address));
        }
        for (times, reason) in DenyReason::ALL.into_iter().enumerate() {
            let last = (times > 0).then_some(address);
            assert_eq!(denials.seen(reason), Denied { count: times as u64, last });
        }
        let mut labels = DenyReason::ALL.map(DenyReason::label).to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DenyReason::ALL.len());
    }
}
