//! Access rules of a listener, checked at accept, before a connection costs anything.
//!
//! Must not: hold a lock between two calls. Runs on the thread that accepts.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::{AllowList, Denials, DenyReason, PerIpLimiter, PerIpPermit};

/// What happens to a peer that an access rule denies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rejection {
    /// How the denial is counted.
    pub reason: DenyReason,
    /// The bytes that the peer is sent before its connection is closed.
    pub message: &'static [u8],
}

/// The access rules of one listener.
#[derive(Debug)]
pub(crate) struct AcceptPolicy {
    denials: Arc<Denials>,
    allowed: Option<(AllowList, Rejection)>,
    limiter: Option<(Arc<PerIpLimiter>, Rejection)>,
}

impl AcceptPolicy {
    /// A policy without rules, which admits every peer. Denials are counted in `denials`.
    #[must_use]
    pub(crate) fn new(denials: Arc<Denials>) -> Self {
        Self { denials, allowed: None, limiter: None }
    }

    /// Admits only peers of `networks`, unless that list is empty.
    #[must_use]
    pub(crate) fn allow_only(self, networks: &AllowList, rejection: Rejection) -> Self {
        let allowed = Some(networks).filter(|networks| !networks.is_empty());
        Self { allowed: allowed.map(|networks| (networks.clone(), rejection)), ..self }
    }

    /// Admits at most `max` connections of each address; any number when `None`.
    #[must_use]
    pub(crate) fn limit_per_ip(self, max: Option<NonZeroUsize>, rejection: Rejection) -> Self {
        Self { limiter: max.map(|max| (PerIpLimiter::new(max), rejection)), ..self }
    }

    /// `None` when it has no rule: such a listener skips the check.
    #[must_use]
    pub(crate) fn if_any_rule(self) -> Option<Self> {
        (self.allowed.is_some() || self.limiter.is_some()).then_some(self)
    }

    /// Checks a peer; with a per-IP limit its connection must keep the permit until it is closed.
    ///
    /// # Errors
    /// The bytes for a peer that a rule denies. The denial is counted.
    pub(crate) fn admit(&self, peer: IpAddr) -> Result<Option<PerIpPermit>, &'static [u8]> {
        let deny = |rejection: &Rejection| {
            self.denials.count(rejection.reason, peer);
            rejection.message
        };
        if let Some((networks, rejection)) = &self.allowed
            && !networks.allows(peer)
        {
            return Err(deny(rejection));
        }
        match &self.limiter {
            Some((limiter, rejection)) => {
                limiter.acquire(peer).map(Some).ok_or_else(|| deny(rejection))
            }
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTSIDE: Rejection = Rejection { reason: DenyReason::TcpAllow, message: b"outside" };
    const TOO_MANY: Rejection = Rejection { reason: DenyReason::TcpPerIp, message: b"too many" };

    #[test]
    fn both_rules_must_hold_and_denials_are_counted() {
        let denials = Arc::new(Denials::default());
        let networks = AllowList::from(vec!["10.0.0.0/8".parse().unwrap()]);
        let policy = AcceptPolicy::new(Arc::clone(&denials))
            .allow_only(&networks, OUTSIDE)
            .limit_per_ip(NonZeroUsize::new(1), TOO_MANY)
            .if_any_rule()
            .unwrap();
        let (known, unknown) = (IpAddr::from([10, 1, 1, 1]), IpAddr::from([11, 1, 1, 1]));
        let permit = policy.admit(known).unwrap();
        assert!(permit.is_some());
        assert_eq!(policy.admit(known).unwrap_err(), b"too many");
        assert_eq!(policy.admit(unknown).unwrap_err(), b"outside");
        drop(permit);
        assert!(policy.admit(known).is_ok());
        let seen = [DenyReason::TcpAllow, DenyReason::TcpPerIp].map(|reason| denials.get(reason));
        assert_eq!(
            seen.map(|seen| (seen.count, seen.last)),
            [(1, Some(unknown)), (1, Some(known))]
        );
    }

    #[test]
    fn a_policy_without_rules_is_none() {
        let policy = AcceptPolicy::new(Arc::default()).allow_only(&AllowList::default(), OUTSIDE);
        assert!(policy.limit_per_ip(None, TOO_MANY).if_any_rule().is_none());
    }
}
